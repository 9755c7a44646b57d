//! What both ends of a conversation keep: the sender's numbers and queues, the receiver's view of the peer's numbers.
//!
//! ```text
//!  news --> [outbox] --> Packer --> datagram         datagram --> [tracker] where in the peer's sequence?
//!              ^             |                                        |
//!              |             v  FTFW only                             v  FTFW only
//!              +-- NACK -- [resend queue] -- ACK --> heard          [ftfw] what to acknowledge, what to ask again
//! ```

use crate::counters::ReplicaCounters;
use wire::sync::v1::{Fault, FaultKind};

pub mod ftfw;
pub mod outbox;
pub mod packer;
pub mod refresh;
pub mod resend;
pub mod tracker;

pub use outbox::{Outbox, change_of};
pub use packer::{Packed, Packer};
pub use tracker::{Place, Step, Tracker};

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
