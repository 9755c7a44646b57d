//! The one place that reads time.

use common::Instant;
use rustix::time::{ClockId, clock_getres, clock_gettime};

/// Now, on `CLOCK_MONOTONIC`: the clock that `bpf_ktime_get_ns` reads too, so records and the engine agree.
#[must_use]
pub fn now() -> Instant {
    let t = clock_gettime(ClockId::Monotonic);
    Instant(t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64)
}

/// Nanoseconds since 1970, the clock of the kernel's timestamps.
#[must_use]
pub fn wall_ns() -> u64 {
    let t = clock_gettime(ClockId::Realtime);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Seconds since 1970, for log lines and the first sequence number.
#[must_use]
pub fn wall_s() -> i64 {
    clock_gettime(ClockId::Realtime).tv_sec
}

/// How many jiffies the kernel has in a second: its coarse clock moves once in each.
#[must_use]
pub fn jiffies_per_second() -> u32 {
    let tick = clock_getres(ClockId::MonotonicCoarse).tv_nsec;
    let tick = u32::try_from(tick).unwrap_or(0).max(1);
    (1_000_000_000 + tick / 2) / tick
}
