//! Version 2 of the replication protocol: what it decides, piece by piece, and the session that puts these together.
//!
//! ```text
//!   kernel --> [claim] said --> [ledger] versions, positions --> [sent] in flight --> datagrams
//!                                   |                              ^  ^
//!                              [digest] sums                       |  +-- [rate] how much, how fast
//!                                   |                              |
//!   peer ----> [stream] which numbers came, cuts ----> [claim] outcome, meet
//! ```
//!
//! None of it reads a clock, and none of it knows bytes beyond `wire::sync::v2`. Requirements (`R10.1`) are those of
//! the specification of version 2.

pub mod claim;
pub mod ledger;
pub mod digest;
pub mod rate;
pub mod lag;
pub mod stream;
pub mod path;
pub mod claims;
pub mod sent;
pub mod compare;
pub mod association;
mod streams;
pub mod session;
mod peers;
mod expects;
mod handover;
mod listen;
mod inject;
mod people;
mod reach;
mod receive;
mod transmit;
#[cfg(test)]
mod tests;
