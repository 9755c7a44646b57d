//! The atomics of what is lock-free by our hand. `tests/loom` checks that code with loom's in their place.

pub(crate) use std::sync::atomic::{AtomicBool, Ordering};
