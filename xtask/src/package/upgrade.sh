# From an older version and back: the configuration and a changed conffile stay as they are, what systemd is asked for is
# what the administrator expects. /usr/local/bin holds stand-ins that write down what systemd is asked.
export PATH=/usr/local/bin:$PATH
mkdir -p /run/systemd/system /usr/local/bin /tmp/older
for name in systemctl deb-systemd-invoke; do
    printf '#!/bin/sh\necho "%s $*" >> /tmp/asked\n' $name > /usr/local/bin/$name
    chmod +x /usr/local/bin/$name
done
asked() { # WHAT: it was asked for once since the last look
    [ "$(grep -c "^deb-systemd-invoke $1\$" /tmp/asked)" = 1 ] || { cat /tmp/asked; fail "no or many: $1"; }
}
not_asked() { if grep -q "^deb-systemd-invoke $1" /tmp/asked; then cat /tmp/asked; fail "$1 was asked for"; fi; }
# The same files under an older version.
for deb in /srv/ours/*.deb; do
    dpkg-deb -R "$deb" /tmp/tree
    version=$(sed -n 's/^Version: //p' /tmp/tree/DEBIAN/control)
    sed -i "s/^Version: .*/Version: 0.0.1/; s/ctflow (= $version)/ctflow (= 0.0.1)/" /tmp/tree/DEBIAN/control
    dpkg-deb -Znone --root-owner-group --build /tmp/tree "/tmp/older/$(basename "$deb")" > /dev/null
    rm -rf /tmp/tree
done
listing > /tmp/before

apt install /tmp/older/*.deb
asked 'start conntrackd.service'
echo '# edited' >> /etc/conntrackd/conntrackd.conf
sed -i 's/weekly/daily/' /etc/logrotate.d/ctflow-conntrackd
md5sum /etc/conntrackd/conntrackd.conf /etc/logrotate.d/ctflow-conntrackd > /tmp/edited.md5

: > /tmp/asked
apt install /srv/ours/*.deb
[ "$(dpkg-query -W -f '${Version}' ctflow-conntrack-tools)" != 0.0.1 ] || fail "it was not upgraded"
md5sum --quiet -c /tmp/edited.md5 || fail "an edited file was changed"
# A daemon that runs is restarted, one that was stopped stays so: both are what try-restart does.
asked 'try-restart conntrackd.service'
not_asked stop
not_asked 'start '

: > /tmp/asked
apt install --allow-downgrades /tmp/older/*.deb
[ "$(dpkg-query -W -f '${Version}' ctflow)" = 0.0.1 ] || fail "it does not go back"
md5sum --quiet -c /tmp/edited.md5 || fail "an edited file was changed"
not_asked stop

: > /tmp/asked
apt remove ctflow-conntrack-tools ctflow
asked 'stop conntrackd.service'
md5sum --quiet -c /tmp/edited.md5 || fail "removing takes an edited file"
apt purge ctflow-conntrack-tools ctflow
[ -e /etc/conntrackd/conntrackd.conf ] || fail "purging takes an edited configuration"
rm -r /etc/conntrackd
listing > /tmp/after
diff /tmp/before /tmp/after || fail "files differ"
