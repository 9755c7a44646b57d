//! Flows as they are kept: the table and its rows, traces of what ended, what is newer, how far a table can be trusted.
//!
//! Nothing in here knows a peer, and nothing decides what an event does: that is [`local`](crate::local).

pub mod tombstone;
pub mod merge;
pub mod knowledge;
pub mod table;
pub mod news;
pub mod exactness;
