#!/bin/sh
# What conntrackd has to do when this node changes its role. keepalived, or whatever decides who is primary, calls it:
#
#   primary-backup.sh primary   this node carries the traffic now
#   primary-backup.sh backup    the other node does
#   primary-backup.sh fault     this node could not
#   primary-backup.sh check     exit code 0: this node may carry the traffic (for a track_script)
#
# It works with conntrack-tools' conntrackd, too. contrib/README.md tells why it does what it does.
#
# Variables that the environment may set:
#   CONNTRACKD_BIN     the daemon and its client
#   CONNTRACKD_CONFIG  its configuration
#   CONNTRACKD_LOCK    its lock file, which conntrack-tools leaves behind when it crashes, and then does not start
#   CONNTRACKD_START   the command that starts it
#   CTFLOW_BIN         ctflow, which knows whether this node has what the other one knows; without it, `check` is
#                      content with a daemon that answers
#   CTFLOW_GATE        an nftables file (contrib/gate.nft) that keeps traffic out until the flows are in the kernel
#   CTFLOW_RUN         the directory of this script's own files
set -u
PATH=$PATH:/usr/sbin:/sbin

: "${CONNTRACKD_BIN:=conntrackd}"
: "${CONNTRACKD_CONFIG:=/etc/conntrackd/conntrackd.conf}"
: "${CONNTRACKD_LOCK:=/var/lock/conntrack.lock}"
: "${CONNTRACKD_START:=$CONNTRACKD_BIN -C $CONNTRACKD_CONFIG -d}"
: "${CTFLOW_BIN:=ctflow}"
: "${CTFLOW_GATE:=}"
: "${CTFLOW_RUN:=/run/ctflow-failover}"

verb=${1:-}
failed=0

say() { # LEVEL TEXT
    logger -t "primary-backup[$$]" -p "daemon.$1" -- "$2" 2>/dev/null
    # What keepalived logs to a console, or a person at one, can read it there.
    echo "primary-backup $verb: $2" >&2
}

# One request to the daemon; a failure is told and remembered, and the next request is made all the same.
ask() { # FLAGS PURPOSE
    # shellcheck disable=SC2086 # flags are words
    if answer=$("$CONNTRACKD_BIN" -C "$CONNTRACKD_CONFIG" $1 2>&1 9>&-); then
        say info "conntrackd $1 ($2): done"
    else
        say err "conntrackd $1 ($2) failed: $answer"
        failed=1
    fi
}

answers() {
    "$CONNTRACKD_BIN" -C "$CONNTRACKD_CONFIG" -s >/dev/null 2>&1 9>&-
}

# Whether the daemon writes the other node's flows straight into the kernel.
injects() {
    grep -qiE '^[[:space:]]*DisableExternalCache[[:space:]]+(yes|on)' "$CONNTRACKD_CONFIG"
}

start_daemon() {
    say warning "conntrackd does not answer; starting it: $CONNTRACKD_START"
    # A lock file that nobody holds is what a crash left. ctflow's daemon holds its own for as long as it lives.
    if [ -e "$CONNTRACKD_LOCK" ] && flock -n "$CONNTRACKD_LOCK" true; then
        rm -f "$CONNTRACKD_LOCK"
    fi
    # shellcheck disable=SC2086 # a command is words
    if $CONNTRACKD_START >/dev/null 2>&1 9>&-; then
        say info "conntrackd has started"
    else
        say err "conntrackd cannot be started"
        failed=1
    fi
}

open_gate() {
    [ -z "$CTFLOW_GATE" ] && return
    # `add` first: deleting what is not there would be an error.
    if nft 'add table inet ctflow_gate; delete table inet ctflow_gate' 2>/dev/null; then
        say info "the gate is open"
    else
        say err "the gate cannot be opened: nft delete table inet ctflow_gate"
        failed=1
    fi
}

shut_gate() {
    [ -z "$CTFLOW_GATE" ] && return
    if nft -f "$CTFLOW_GATE"; then
        say info "the gate is shut"
    else
        say err "the gate cannot be shut: nft -f $CTFLOW_GATE"
        failed=1
    fi
}

become_primary() {
    ask -c "commit the flows of the other node to the kernel"
    open_gate
    # Traffic flows. The rest prepares for the next change of roles.
    ask -f "forget both tables"
    ask -R "read the kernel's flows again, those just taken over among them"
    ask -B "send them all to the other node"
}

become_backup() {
    shut_gate
    answers || start_daemon
    if injects; then
        # The kernel keeps the flows: it is where the other node's updates go. But they are not ours any more, and
        # when one expires here, the other node must not hear of it as the end of its own. This also calls off `-t`.
        ask "-f internal" "forget that the kernel's flows were ours"
    else
        ask -t "empty the kernel in PurgeTimeout seconds"
    fi
    ask -n "ask the other node for all flows"
}

become_faulty() {
    shut_gate
    ask -t "empty the kernel in PurgeTimeout seconds"
}

# A primary may: whatever it lacks, the other node lacks more. A backup may when it has what the primary knows.
check() {
    answers || exit 1
    # Only the keepalived that made this node primary can say that it is; one that was started later does not know.
    if [ "$(cat "$CTFLOW_RUN/role" 2>/dev/null)" = "primary $PPID" ]; then
        exit 0
    fi
    command -v "$CTFLOW_BIN" >/dev/null || exit 0
    "$CTFLOW_BIN" ready -C "$CONNTRACKD_CONFIG"
}

# keepalived does not wait for one script before it calls the next. They take turns, and one that was called before
# another but comes after it has nothing to do any more.
take_turn() {
    mkdir -p "$CTFLOW_RUN" || exit 1
    me="$verb $PPID"
    echo "$me" >"$CTFLOW_RUN/role.$$" && mv "$CTFLOW_RUN/role.$$" "$CTFLOW_RUN/role"
    exec 9>"$CTFLOW_RUN/turn"
    flock -w 120 9 || say err "an earlier call does not end; going on beside it"
    if [ "$(cat "$CTFLOW_RUN/role")" != "$me" ]; then
        say notice "another change of roles came after this one; nothing is left to do"
        exit 0
    fi
}

case $verb in
primary | backup | fault)
    take_turn
    say notice "this node becomes $verb"
    case $verb in
    primary) become_primary ;;
    backup) become_backup ;;
    fault) become_faulty ;;
    esac
    ;;
check)
    check
    exit
    ;;
*)
    echo "usage: primary-backup.sh primary|backup|fault|check" >&2
    exit 2
    ;;
esac
exit "$failed"
