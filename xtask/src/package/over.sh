# Over Debian's three with an edited configuration, and back: the configuration stays what it is.
apt install /srv/debian/*.deb
echo '# edited' >> /etc/conntrackd/conntrackd.conf
md5sum /etc/conntrackd/conntrackd.conf > /tmp/conf.md5
listing > /tmp/before
for package in conntrack conntrackd nfct; do dpkg -s $package | grep -q '^Status: install ok installed'; done

apt install /srv/ours/*.deb
md5sum --quiet -c /tmp/conf.md5 || fail "the configuration was changed"
for package in conntrack conntrackd nfct; do
    dpkg -s $package 2> /dev/null | grep -q '^Status: install ok installed' && fail "$package is still there"
done
conntrackd --version | grep -qi ctflow || conntrackd --version
conntrackd --check
[ ! -e /etc/logrotate.d/conntrackd ] || fail "Debian's logrotate file would restart the daemon"
# What depends on conntrack goes on to be installable and does not throw ours out.
for package in python3-neutron nova-compute; do
    if apt-cache show $package > /dev/null 2>&1; then
        apt-get -s install $package > /tmp/simulated || fail "$package is not installable"
        grep -q '^Remv ctflow' /tmp/simulated && fail "$package removes ours"
        grep -q '^Inst conntrack ' /tmp/simulated && fail "$package brings Debian's conntrack"
    fi
done

# The same again is an upgrade: nothing is asked, nothing changes.
apt install --reinstall /srv/ours/*.deb
md5sum --quiet -c /tmp/conf.md5 || fail "the configuration was changed"

# Back.
apt install --allow-downgrades /srv/debian/*.deb
md5sum --quiet -c /tmp/conf.md5 || fail "the configuration was changed"
dpkg -s ctflow-conntrack-tools 2> /dev/null | grep -q '^Status: install ok installed' && fail "ours is still there"
apt purge ctflow-conntrack-tools ctflow
md5sum --quiet -c /tmp/conf.md5 || fail "the configuration was changed"
listing > /tmp/after
diff /tmp/before /tmp/after || fail "files differ"
