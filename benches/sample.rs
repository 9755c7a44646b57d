//! Flows to measure with.

use ctnetlink::flow::{Known, ProtoState, Status, TcpState};
use ctnetlink::tuple::ipproto;
use ctnetlink::{Flow, Tuple};

/// The `n`-th of many established TCP flows over IPv4.
pub(crate) fn tcp_v4(n: u32) -> Flow {
    let [_, b, c, d] = n.to_be_bytes();
    let orig = Tuple::v4([10, b, c, d], [192, 0, 2, 1], ipproto::TCP).with_ports(40_000, 443);
    Flow {
        reply: orig.inverted(),
        status: Status::SEEN_REPLY | Status::ASSURED | Status::CONFIRMED,
        timeout_s: 432_000,
        id: n,
        known: Known::STATUS | Known::TIMEOUT | Known::MARK | Known::ID,
        proto: ProtoState::Tcp(TcpState { state: 3, ..TcpState::default() }),
        ..Flow::new(orig)
    }
}

/// A flow behind source translation.
pub(crate) fn tcp_v4_nat(n: u32) -> Flow {
    let mut flow = tcp_v4(n);
    flow.reply.dst[..4].copy_from_slice(&[203, 0, 113, 1]);
    flow.status |= Status::SRC_NAT | Status::SRC_NAT_DONE;
    flow
}

/// The `n`-th of many established TCP flows over IPv6.
pub(crate) fn tcp_v6(n: u32) -> Flow {
    let mut src = [0x20; 16];
    src[12..].copy_from_slice(&n.to_be_bytes());
    let orig = Tuple::v6(src, [0x30; 16], ipproto::TCP).with_ports(40_000, 443);
    Flow { orig, reply: orig.inverted(), ..tcp_v4(n) }
}
