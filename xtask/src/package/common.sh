# What all scripts begin with. They run in a chroot of Debian, in network and process namespaces of their own, without
# network. /srv/ours holds our packages, /srv/debian the original's three.
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
mkdir -p /run/lock
apt() { apt-get -y -q -o Dpkg::Use-Pty=0 -o DPkg::Path="$PATH" "$@" < /dev/null > /tmp/apt.log 2>&1 || { cat /tmp/apt.log; return 1; }; }
# Every file but what package managers and user databases keep of everything.
listing() {
    find / -xdev \( -path /proc -o -path /sys -o -path /srv -o -path /tmp -o -path /run -o -path /var/lib/dpkg \
        -o -path /var/lib/apt -o -path /var/cache -o -path /var/log -o -path /var/lib/systemd \
        -o -path /etc/systemd/system \) -prune -o -print | grep -v -e '^/etc/[a-z]*-$' -e '^/etc/.pwd.lock$' | sort
}
fail() { echo "FAILED: $*"; exit 1; }
# Starts the daemon with that command, and waits until it answers.
start() {
    mkdir -p -m 1777 /run/conntrackd
    "$@" > /tmp/daemon.log 2>&1 &
    daemon=$!
    for _ in $(seq 100); do
        if conntrackd -s > /dev/null 2>&1; then return; fi
        kill -0 $daemon 2> /dev/null || break
        sleep 0.2
    done
    cat /tmp/daemon.log
    fail "the daemon does not answer"
}
stop() {
    kill $daemon
    wait $daemon || fail "the daemon ended badly"
}
effective() { sed -n 's/^CapEff:\t//p' /proc/$daemon/status; }
