//! What there is to tell about queues.

use wire::sync::v1::Control;

/// How full a queue is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Elements in it.
    pub len: usize,
    /// The most it takes.
    pub max: usize,
    /// Elements that found no room.
    pub no_space: u64,
}

/// A message that was sent and may have to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resend {
    /// Its sequence number.
    pub seq: u32,
    /// Flags of the header of a control message; `None` if it carries a flow or an expectation.
    pub control_flags: Option<u8>,
}

/// What was sent and may have to be sent again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResendReport {
    /// How full the queue is.
    pub queue: Queue,
    /// What is in it, oldest first.
    pub waiting: Vec<Resend>,
}

pub(super) const fn resend((seq, control): (u32, Option<Control>)) -> Resend {
    // Bits of the header's flags (`docs/spec/sync.md`).
    let control_flags = match control {
        None => None,
        Some(Control::Resync) => Some(0x02),
        Some(Control::Nack { .. }) => Some(0x04),
        Some(Control::Ack { .. }) => Some(0x08),
        Some(Control::Alive | Control::Settled) => Some(0x10),
    };
    Resend { seq, control_flags }
}
