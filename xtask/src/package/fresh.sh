# Installed where nothing was, run, removed, purged: nothing is left.
listing > /tmp/before
apt install /srv/ours/*.deb
getent passwd ctflow > /dev/null || fail "there is no user"
ctflow --version; conntrack --version; { nfct || true; } 2>&1 | grep -q Usage || fail 'nfct says nothing'; conntrackd --version
cmp /etc/conntrackd/conntrackd.conf /usr/share/ctflow/conntrackd.conf.default
# Before the unit's first start: the directory comes with the package.
[ "$(stat -c %a /run/conntrackd)" = 1777 ] || fail "there is no /run/conntrackd"
conntrackd --check
for script in /var/lib/dpkg/info/ctflow*.md5sums; do (cd / && md5sum --quiet -c "$script"); done
sed -i 's/Syslog on/Syslog off/; s/LogFile on/LogFile off/' /etc/conntrackd/conntrackd.conf

# As root it becomes the package's user; as that user, with systemd's ambient capabilities, it gives up the others.
start conntrackd
[ "$(stat -c %U /proc/$daemon)" = root ] || true
grep -q "^Uid:.*$(id -u ctflow)" /proc/$daemon/status || fail "it runs as another user"
[ "$(effective)" = 0000000000001000 ] || fail "it has $(effective)"
stop
[ -z "$(ls /run/conntrackd)" ] || fail "it leaves $(ls /run/conntrackd)"
caps=+net_admin,+bpf,+perfmon
start setpriv --reuid ctflow --regid ctflow --clear-groups --inh-caps $caps --ambient-caps $caps \
    --bounding-set -all,$caps conntrackd
[ "$(effective)" = 0000000000001000 ] || fail "it has $(effective)"
stop
cp /usr/share/ctflow/conntrackd.conf.default /etc/conntrackd/conntrackd.conf

apt remove ctflow-conntrack-tools ctflow
[ -e /etc/conntrackd/conntrackd.conf ] || fail "removing takes the configuration"
apt purge ctflow-conntrack-tools ctflow
listing > /tmp/after
diff /tmp/before /tmp/after || fail "files differ"
