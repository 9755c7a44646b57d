//! Version 2 of the replication protocol: the plaintext of a datagram.
//!
//! ```text
//!  0               4       6     7     8
//! +---------------+-------+-----+-----+--------+----------+--------------+--------+----------+---
//! | sent, us, BE  | age   |flags|  0  | type   | len, BE  | body, len    | type   | len, BE  | ...
//! +---------------+-------+-----+-----+--------+----------+--------------+--------+----------+---
//!   head, 8 bytes                       frame                              frame
//! ```
//!
//! [`Datagram`] encodes a datagram, [`Frames`] decodes one. Datagrams are independent: each may be lost, duplicated or
//! late. Decoders allocate nothing and borrow from the datagram. They skip unknown frames and attributes, and reject a
//! contradictory record alone.
//!
//! [`flow::Canonical`] is the canonical form of a flow, [`digest`] its id and fingerprint; both ends must agree on
//! them.

pub mod number;
pub mod flow;
pub mod digest;
pub mod control;
pub mod expect;
pub mod frame;
#[cfg(test)]
mod tests;

pub use control::{Ack, Bulk, Bye, Cut, Hold, Open, Role, Table};
pub use digest::{DigestKey, FlowId, Ids, Level, Sums, Wants};
pub use expect::{ExpectRecord, Expectations};
pub use flow::{Canonical, Claim, FlowRecord, Records, What};
pub use frame::{Datagram, Flags, FlowsFlags, Frame, Frames, Head};
