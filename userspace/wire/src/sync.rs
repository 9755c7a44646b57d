//! The replication protocol between two daemons.
//!
//! [`v1`] is what conntrackd 1.4.x speaks, byte for byte; `docs/spec/sync.md` says it in words. [`v2`] is ours:
//! sealed, for any number of nodes, and it compares what they hold.

pub mod v1;
pub mod v2;
