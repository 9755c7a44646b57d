//! Nodes over a network in memory: what may happen to datagrams does, and each requirement of section 5 holds.

use super::*;

mod world;

mod flood;
mod requirements;
mod rotation;
mod simulation;
