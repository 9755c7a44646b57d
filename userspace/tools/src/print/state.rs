//! What layer-4 states are called, by the number the kernel gives them.

use ctnetlink::flow::ProtoState;

/// `enum tcp_conntrack`
pub const TCP: [&str; 10] = [
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
];

/// `enum sctp_conntrack`
pub const SCTP: [&str; 10] = [
    "NONE",
    "CLOSED",
    "COOKIE_WAIT",
    "COOKIE_ECHOED",
    "ESTABLISHED",
    "SHUTDOWN_SENT",
    "SHUTDOWN_RECD",
    "SHUTDOWN_ACK_SENT",
    "HEARTBEAT_SENT",
    "HEARTBEAT_ACKED",
];

/// `enum ct_dccp_states`
pub const DCCP: [&str; 10] = [
    "NONE", "REQUEST", "RESPOND", "PARTOPEN", "OPEN", "CLOSEREQ", "CLOSING", "TIMEWAIT", "IGNORE",
    "INVALID",
];

/// The name of a state; `None` where there is no state. A number past the table is called NONE.
#[must_use]
pub fn name(proto: &ProtoState) -> Option<&'static str> {
    let (table, state) = match proto {
        ProtoState::Tcp(tcp) => (&TCP, tcp.state),
        ProtoState::Sctp { state, .. } => (&SCTP, *state),
        ProtoState::Dccp { state, .. } => (&DCCP, *state),
        _ => return None,
    };
    Some(table.get(usize::from(state)).copied().unwrap_or(table[0]))
}
