//! The replication protocol between two daemons.
//!
//! [`v1`] is what conntrackd 1.4.x speaks, byte for byte; `docs/spec/sync.md` says it in words.

pub mod v1;
