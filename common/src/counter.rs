//! Indexes into the tap's per-CPU counter array. Every event the program sees ends in exactly one of the outcomes,
//! so that `SEEN` equals their sum: that identity is what the loss accounting rests on.

/// Events the program was run for.
pub const SEEN: u32 = 0;
/// Outcome: copied into a ring.
pub const RING: u32 = 1;
/// Outcome: refused by the filter.
pub const FILTERED: u32 = 2;
/// Outcome: left to the socket because the ring was full, and its neighbours' were.
pub const SPILLED_FULL: u32 = 3;
/// Outcome: left to the socket because the message exceeds the largest record.
pub const SPILLED_LARGE: u32 = 4;
/// Outcome: left to the socket because this CPU has no ring.
pub const SPILLED_NO_RING: u32 = 5;
/// Outcome: left to the socket because the message could not be read.
pub const SPILLED_UNREADABLE: u32 = 6;
/// Wake-ups sent to the reader (not an outcome).
pub const WAKEUPS: u32 = 7;
/// How many counters there are.
pub const COUNT: u32 = 8;
