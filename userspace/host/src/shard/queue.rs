//! What there is to tell about queues.

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
