#!/bin/sh
# Checks what lies in contrib as far as one machine can: the shell by shellcheck, what is rendered and what stands in
# manifests by `conntrackd --check`, both resource agents by really running them in a network namespace of their own.
#
#   contrib/check.sh FOLDER      where conntrackd and ctflow are: target/debug
#
# RA_ROOT names a folder with the contents of Debian's package resource-agents (dpkg-deb -x); without it, and without the
# package, the agents are left out and said to be. Needs root.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
bin=$(cd "$1" && pwd)
if [ "${CTFLOW_CHECK_INSIDE:-}" != yes ]; then
    CTFLOW_CHECK_INSIDE=yes exec unshare --net --mount --pid --fork --mount-proc "$0" "$bin"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mount -t tmpfs tmpfs /run
mkdir -p /run/lock /run/conntrackd /run/resource-agents
ip link set lo up

done_with() { echo "ok: $*"; }
left_out() { echo "left out: $*"; }
fail() { echo "FAILED: $*"; exit 1; }
check() { "$bin/conntrackd" --check -C "$1" > "$work/said" 2>&1 || { cat "$work/said"; fail "$2"; }; done_with "$2"; }

if command -v shellcheck > /dev/null; then
    (cd "$here" && shellcheck primary-backup.sh check.sh pacemaker/conntrackd openwrt/files/conntrackd.init)
    done_with shellcheck
else
    left_out "shellcheck is not installed"
fi

check "$here/vyos/conntrackd.conf" "VyOS: the rendered file"

# The configuration in a manifest: the lines of the block behind `conntrackd.conf: |`.
for manifest in daemonset sidecar; do
    sed -n '/conntrackd.conf: |/,/^---/p' "$here/kubernetes/$manifest.yaml" | sed -e 1d -e '/^---/d' -e 's/^    //' \
        > "$work/$manifest.conf"
    check "$work/$manifest.conf" "Kubernetes: the configuration of $manifest.yaml"
done

# What the service of OpenWrt writes, with stand-ins for procd and UCI.
for mode in stats sync; do
    cat > "$work/openwrt" << END
config_load() { :; }
config_get_bool() { eval "\$1=1"; }
config_get() {
    case \$3 in
        mode) value=$mode ;; interface) value=lo ;; local) value=127.0.0.1 ;; peer) value=127.0.0.2 ;;
        metrics) value=127.0.0.1:10466 ;; hashlimit) value=1000 ;; *) value=\${4:-} ;;
    esac
    eval "\$1=\\\$value"
}
logger() { cat; }
procd_open_instance() { :; }
procd_close_instance() { :; }
procd_set_param() { echo "\$@" >> "$work/procd"; }
. "$here/openwrt/files/conntrackd.init"
PROG=$bin/conntrackd CONF=$work/openwrt-$mode.conf
start_service
END
    : > "$work/procd"
    sh "$work/openwrt" || fail "OpenWrt: the service in mode $mode"
    grep -q "^command $bin/conntrackd -C $work/openwrt-$mode.conf" "$work/procd" || fail "OpenWrt: nothing is started"
    check "$work/openwrt-$mode.conf" "OpenWrt: the configuration in mode $mode"
done

# Both resource agents, a life each.
root=${RA_ROOT:-}
if [ -z "$root" ] && [ ! -e /usr/lib/ocf/lib/heartbeat/ocf-shellfuncs ]; then
    left_out "the resource agents: there is no resource-agents"
    exit 0
fi
cat > "$work/node.conf" << END
General {
    HashLimit 1000
    LogFile $work/log
    LockFile $work/lock
    # The stock agent looks for the socket with awk: each on a line of its own.
    UNIX {
        Path $work/ctl
    }
    Filter { Protocol Accept { TCP } }
}
Sync { Mode FTFW { } UDP { IPv4_address 127.0.0.1 IPv4_Destination_Address 127.0.0.2 Port 3780 Interface lo } }
END
export OCF_ROOT="$root/usr/lib/ocf" OCF_RESKEY_binary="$bin/conntrackd" OCF_RESKEY_config="$work/node.conf"
export OCF_FUNCTIONS_DIR="$root/usr/lib/ocf/lib/heartbeat" OCF_RESOURCE_INSTANCE=node HA_RSCTMP="$work" HA_SBIN_DIR="$work/sbin"
export OCF_RESKEY_ctflow="$bin/ctflow" OCF_RESKEY_script="$here/primary-backup.sh" CTFLOW_RUN="$work/failover"
export OCF_RESKEY_CRM_meta_clone_max=2 OCF_RESKEY_CRM_meta_clone_node_max=1 OCF_RESKEY_CRM_meta_master_max=1
export OCF_RESKEY_CRM_meta_master_node_max=1 OCF_RESKEY_CRM_meta_notify=true OCF_RESKEY_CRM_meta_globally_unique=false
export OCF_RESKEY_CRM_meta_clone=0 OCF_RESKEY_CRM_meta_interval=0 OCF_RESOURCE_TYPE=conntrackd
mkdir -p "$work/sbin" "$work/failover"
# Stands for the cluster: it keeps the score of promotion.
cat > "$work/sbin/crm_master" << END
#!/bin/sh
case "\$*" in
    *-Q*) cat $work/score 2> /dev/null || exit 1 ;;
    *-D*) rm -f $work/score ;;
    *) for last; do :; done; echo "\$last" > $work/score ;;
esac
END
cat > "$work/sbin/crm_attribute" << 'END'
#!/bin/sh
exec "${0%/*}/crm_master" "$@"
END
chmod +x "$work/sbin/"*
export PATH="$work/sbin:$PATH"
life() { # AGENT NAME
    act() { # ACTION EXPECTED
        code=0
        __OCF_ACTION=$1 timeout 60 "$agent" "$1" > "$work/said" 2>&1 || code=$?
        [ "$code" = "$2" ] || { cat "$work/said"; cat "$work/log" 2> /dev/null; fail "$name: $1 gives $code, not $2"; }
    }
    agent=$1 name=$2
    act meta-data 0
    act validate-all 0
    act monitor 7
    act start 0
    act monitor 0
    act promote 0
    act monitor 8
    OCF_RESKEY_CRM_meta_notify_type=post OCF_RESKEY_CRM_meta_notify_operation=start
    export OCF_RESKEY_CRM_meta_notify_type OCF_RESKEY_CRM_meta_notify_operation
    act notify 0
    act demote 0
    act monitor 0
    act stop 0
    act monitor 7
    act stop 0
    "$bin/conntrackd" -C "$work/node.conf" -s > /dev/null 2>&1 && fail "$name: the daemon runs on"
    done_with "$name"
}
life "$here/pacemaker/conntrackd" ocf:ctflow:conntrackd
life "$root/usr/lib/ocf/resource.d/heartbeat/conntrackd" "ocf:heartbeat:conntrackd, the stock one"
