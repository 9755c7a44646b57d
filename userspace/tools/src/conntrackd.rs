//! The `conntrackd` program: what its command line says, and what it does about it.

pub mod flags;
