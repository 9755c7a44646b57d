//! Version 2 of the replication protocol: the plain bytes of a datagram, before they are sealed and after they are
//! opened.
//!
//! ```text
//!  0               4       6     7     8
//! +---------------+-------+-----+-----+--------+----------+--------------+--------+----------+---
//! | sent, us, BE  | age   |flags|  0  | type   | len, BE  | body, len    | type   | len, BE  | ...
//! +---------------+-------+-----+-----+--------+----------+--------------+--------+----------+---
//!   head, 8 bytes                       frame                              frame
//! ```
//!
//! [`Datagram`] packs one, [`Frames`] takes one apart. Nothing in a datagram refers to another one: each can be lost,
//! come twice or late. Decoders take no memory; what they give borrows from the datagram. A frame or an attribute that
//! nobody knows is skipped, and a record that contradicts itself is refused alone.
//!
//! What both ends must agree on beside the bytes is here too: the canonical form of a flow ([`flow::Canonical`]), its
//! id and its print ([`digest`]).

pub mod number;
pub mod control;
pub mod digest;
pub mod flow;
pub mod expect;
pub mod frame;
#[cfg(test)]
mod tests;

pub use control::{Ack, Bulk, Bye, Cut, Hold, Open, Role, Table};
pub use digest::{DigestKey, FlowId, Ids, Level, Sums, Wants};
pub use expect::{ExpectRecord, Expectations};
pub use flow::{Canonical, Claim, Record, Records, What};
pub use frame::{Datagram, Flags, Frame, Frames, Head, Told};
