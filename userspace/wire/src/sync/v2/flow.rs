//! A flow on the wire, and the form of a flow that both ends agree on.
//!
//! ```text
//!   h0  what 2 | IPv6 1 | protocol 3 | EPOCH 1 | ATTR 1
//!   h1  src 2, dst 2 | sport 1, dport 1 | translation 2
//!   step v   [epoch v, base v]   [protocol 1]   src 0, 1, 4 or 0, 8, 16   dst likewise   l4 0, 2, 4
//!   translation 0, 2, 6, 18   S 1   [TCP: W 1]   T 1   [attributes: length v, each number v, length v, value]
//! ```
//!
//! | part | says |
//! |---|---|
//! | what | 0 state, 1 state of a NEW flow, 2 closed, 3 expired; an end stops in front of the translation |
//! | protocol | 0 TCP, 1 UDP, 2 ICMP(v6), 3 SCTP, 4 DCCP, 5 GRE, 6 UDP-Lite, 7 another, its number follows |
//! | src, dst | 0 whole; 1 the same /24 or /64 as in the record before, the rest follows; 2 the same |
//! | sport, dport | the first and the last two bytes of [`Tuple::l4`] are those of the record before |
//! | translation | 0 none, or an attribute; 1 source, to the last such address; 2 that, a port; 3 address, port |
//! | step | version less that of the record before, modulo 2^62 |
//! | S | TCP state 4 bits, SEEN_REPLY, ASSURED, both NAT_DONE, exact (0: an attribute has the status) |
//! | W | window scales of both directions, 4 bits each; 0xff: unknown |
//! | T | seconds left: to 31 as they are, then 16..31 times a power of two, rounded down; 255: unknown |
//! | attributes | length 0: those of the last record in this frame that had some |
//!
//! "The record before" is the last one of this frame; for addresses, the last one of the same family.

mod attribute;
mod canonical;
mod decode;
mod encode;

pub(in crate::sync::v2) use attribute::put_list;
pub use attribute::{ATTRIBUTES_LEN_MAX, LABEL_WORDS_MAX};
pub use canonical::{Canonical, TIMEOUT_MAX_S, timeout_code, timeout_of};
pub use decode::{FlowRecord, Records, State};
pub use encode::{Packer, RECORD_LEN_MAX};

use super::number;
use ctnetlink::Tuple;
use ctnetlink::flow::Status;
use ctnetlink::tuple::{FAMILY_IPV6, ipproto};

/// What a record says of its flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum What {
    /// The state of the flow.
    #[default]
    State = 0,
    /// How it is; and it began under this epoch: what was known of the identity was an earlier flow.
    New = 1,
    /// The flow is over because it was closed.
    Closed = 2,
    /// The flow is over because its time was.
    Expired = 3,
}

impl What {
    /// Whether the flow is over.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Closed | Self::Expired)
    }

    pub(in crate::sync::v2) const fn of_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::State,
            1 => Self::New,
            2 => Self::Closed,
            _ => Self::Expired,
        }
    }
}

/// What a record says of the claim: everything of section 10 but the owner and its incarnation, which the session
/// knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The owner's count of its changes, from 1; at most [`number::MAX`].
    pub version: u64,
    /// How often the owner changed.
    pub epoch: u32,
    /// The version of another's claim that this one superseded, or 0.
    pub base: u64,
    /// State or end.
    pub what: What,
}

/// Everything but the window of one record that the next may refer to.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    version: u64,
    /// By family.
    src: [Option<[u8; 16]>; 2],
    dst: [Option<[u8; 16]>; 2],
    l4: [Option<[u8; 2]>; 2],
    /// Where the last source was translated to, by family.
    translated: [Option<[u8; 16]>; 2],
}

/// Codes of h1 for an address.
mod same {
    pub(super) const WHOLE: u8 = 0;
    pub(super) const NET: u8 = 1;
    pub(super) const ADDRESS: u8 = 2;
}

/// Codes of h1 for the translation.
mod nat {
    pub(super) const NONE: u8 = 0;
    pub(super) const SAME_ADDRESS: u8 = 1;
    pub(super) const PORT: u8 = 2;
    pub(super) const ADDRESS_AND_PORT: u8 = 3;
}

/// Bits of S under the TCP state.
mod bit {
    pub(super) const SEEN_REPLY: u8 = 8;
    pub(super) const ASSURED: u8 = 4;
    pub(super) const NAT_DONE: u8 = 2;
    pub(super) const EXACT: u8 = 1;
}

/// Bits of h0.
mod head {
    pub(super) const IPV6: u8 = 0x20;
    pub(super) const EPOCH: u8 = 2;
    pub(super) const ATTR: u8 = 1;
}

/// The code of protocols that have none.
const OTHER: u8 = 7;
/// The code of TCP.
const TCP: u8 = 0;
/// Both directions are translated, or the kernel decided that they are not.
const NAT_DONE: Status = Status::SRC_NAT_DONE.union(Status::DST_NAT_DONE);

/// The protocols that have a code, by code.
const fn protocols(v6: bool) -> [u8; 7] {
    let icmp = if v6 { ipproto::ICMPV6 } else { ipproto::ICMP };
    let (dccp, gre) = (ipproto::DCCP, ipproto::GRE);
    [ipproto::TCP, ipproto::UDP, icmp, ipproto::SCTP, dccp, gre, ipproto::UDPLITE]
}

const fn protocol_code(proto: u8, v6: bool) -> u8 {
    match proto {
        ipproto::TCP => TCP,
        ipproto::UDP => 1,
        ipproto::ICMP if !v6 => 2,
        ipproto::ICMPV6 if v6 => 2,
        ipproto::SCTP => 3,
        ipproto::DCCP => 4,
        ipproto::GRE => 5,
        ipproto::UDPLITE => 6,
        _ => OTHER,
    }
}

const fn is_v6(tuple: &Tuple) -> bool {
    tuple.family == FAMILY_IPV6
}

/// Bytes of an address, and of the network that clients share.
const fn address_lens(v6: bool) -> (usize, usize) {
    if v6 { (16, 8) } else { (4, 3) }
}

/// Where in the reply's layer-4 bytes the translated "port" of the source is: the id of ICMP, else the destination
/// port.
const fn source_half(reply: &Tuple) -> usize {
    if reply.is_icmp() { 0 } else { 2 }
}

/// The reply where only the source is translated; `port` stands for the id of ICMP.
fn translate_source(mut mirror: Tuple, address: [u8; 16], port: Option<[u8; 2]>) -> Tuple {
    mirror.dst = address;
    if let Some(port) = port {
        let half = source_half(&mirror);
        mirror.l4[half..half + 2].copy_from_slice(&port);
    }
    mirror
}

/// The bits of the status that follow from S and from the translation.
fn status_of(s: u8, mirror: &Tuple, reply: &Tuple) -> Status {
    let mut status = Status::CONFIRMED;
    status.set(Status::SEEN_REPLY, s & bit::SEEN_REPLY != 0);
    status.set(Status::ASSURED, s & bit::ASSURED != 0);
    status.set(NAT_DONE, s & bit::NAT_DONE != 0);
    let half = source_half(mirror);
    let port = |tuple: &Tuple, at: usize| [tuple.l4[at], tuple.l4[at + 1]];
    let source = reply.dst != mirror.dst || port(reply, half) != port(mirror, half);
    let destination = reply.src != mirror.src || port(reply, 2 - half) != port(mirror, 2 - half);
    status.set(Status::SRC_NAT, source);
    status.set(Status::DST_NAT, destination);
    status
}

/// A version one step on.
pub(in crate::sync::v2) const fn stepped(version: u64, step: u64) -> u64 {
    version.wrapping_add(step) & number::MAX
}
