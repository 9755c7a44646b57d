//! The one clock of the demonstration, the same in all of its processes.

use rustix::time::{ClockId, clock_gettime};

/// Microseconds since the machine started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) u64);

impl Moment {
    /// The present moment.
    pub(super) fn now() -> Self {
        let time = clock_gettime(ClockId::Monotonic);
        Self(time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_nsec.unsigned_abs() / 1_000)
    }

    /// Milliseconds from an earlier moment to this one.
    pub(super) fn ms_since(self, earlier: Self) -> f64 {
        (self.0 as f64 - earlier.0 as f64) / 1_000.0
    }
}
