//! Whether a reader sleeps, so that only a sleeping one is woken.
//!
//! ```text
//!   writer                         reader
//!   1. puts something in           1. finds nothing, arms
//!   2. rings: was it armed?        2. looks once more
//!      then wakes the reader       3. sleeps, if there still is nothing
//! ```
//!
//! Both sides swap the one flag, and one swap is the first. Either the writer's finds the flag set and the reader is
//! woken, or the reader's follows it and the second look sees what was put in. Leave out that look, and the wake-up is
//! lost that would have come before the reader armed (`tests/loom` shows both).

use crate::atomic::{AtomicBool, Ordering};

/// The flag between one reader and its writers.
#[derive(Debug)]
pub(crate) struct Doorbell {
    armed: AtomicBool,
}

impl Doorbell {
    /// A doorbell that is not armed: it wakes no thread.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self { armed: AtomicBool::new(false) }
    }

    /// The reader's: asks to be woken. It must look for work once more before it sleeps.
    pub(crate) fn arm(&self) {
        self.armed.swap(true, Ordering::AcqRel);
    }

    /// The writer's, after it has put something in: whether it must wake the reader. Once is enough.
    #[must_use]
    pub(crate) fn ring(&self) -> bool {
        self.armed.swap(false, Ordering::AcqRel)
    }
}

impl Default for Doorbell {
    fn default() -> Self {
        Self::new()
    }
}
