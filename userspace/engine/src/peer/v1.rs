//! What both ends of a conversation keep: the sender's numbers and queues, the receiver's view of the peer's numbers.
//!
//! ```text
//!  news --> [outbox] --> Packer --> datagram         datagram --> [tracker] where in the peer's sequence?
//!              ^             |                                        |
//!              |             v  FTFW only                             v  FTFW only
//!              +-- NACK -- [resend queue] -- ACK --> heard          [ftfw] what to acknowledge, what to ask again
//! ```

use crate::counters::ReplicaCounters;
use crate::flows::table::FlowTable;
use wire::sync::v1::{Account, Fault, FaultKind};

pub mod column;
pub mod kept;
pub mod packer;
pub mod tracker;
pub mod resend;
pub mod outbox;
mod bulk;
mod refresh;
pub mod ftfw;
pub mod whole;
pub mod peers;
pub mod session;
mod listen;
mod account;
mod transfer;
mod reach;

pub use outbox::Outbox;
pub use packer::{Packed, Packer};
pub use peers::{Manners, Peer, Peers};
pub use session::V1;

// For tests that play a peer.
pub use tracker::{Belief, Placement, Step, Tracker};
pub use whole::{Finding, Whole};
#[cfg(test)]
pub(crate) use wire::sync::v1 as codec;

/// Whether flows of an IP protocol travel as what they are, so that they count in accounts.
#[must_use]
pub const fn travels(proto: u8) -> bool {
    Account::counts(proto)
}

/// How many flows of a table count in accounts.
#[must_use]
pub fn counted(table: &FlowTable) -> usize {
    let others = (0..=u8::MAX).filter(|proto| !travels(*proto));
    table.alive() - others.map(|proto| table.alive_of(proto)).sum::<usize>()
}

/// Whether `a` comes before `b` in a count that wraps.
const fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// Counts a fault where conntrackd counts it.
pub fn count_fault(fault: &Fault, counters: &mut ReplicaCounters) {
    let counter = match fault.kind {
        FaultKind::Header => &mut counters.bad_header,
        FaultKind::Version => &mut counters.bad_version,
        FaultKind::Payload => &mut counters.bad_payload,
        FaultKind::Type => &mut counters.bad_type,
        FaultKind::Truncated => &mut counters.truncated,
        FaultKind::Size => &mut counters.bad_size,
    };
    *counter += 1;
}
