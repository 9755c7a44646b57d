//! The one place that reads time.

use common::Instant;
use rustix::time::{ClockId, clock_getres, clock_gettime};
use std::fs;
use std::sync::LazyLock;

const SECOND: i64 = 1_000_000_000;

/// How far this process's `CLOCK_MONOTONIC` is ahead of the kernel's, nanoseconds. They differ in a time namespace
/// (time_namespaces(7)); the offset cannot change while a process is in it.
static AHEAD: LazyLock<i64> = LazyLock::new(|| {
    // Kernels without time namespaces (before 5.6) have no such file.
    let offsets = fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    monotonic_offset(&offsets).unwrap_or(0)
});

/// Now, on the kernel's own monotonic clock: the one that `bpf_ktime_get_ns` reads, whatever time namespace this
/// process is in, so records and the engine agree.
#[must_use]
pub fn now() -> Instant {
    let t = clock_gettime(ClockId::Monotonic);
    let ours = t.tv_sec * SECOND + t.tv_nsec;
    Instant(ours.saturating_sub(*AHEAD) as u64)
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

/// The line about the monotonic clock: its name, seconds, which may be negative, and nanoseconds, which are not.
fn monotonic_offset(offsets: &str) -> Option<i64> {
    let mut words = offsets.lines().map(str::split_whitespace).find_map(|mut words| {
        // Kernels before 5.7 name it by its number.
        matches!(words.next(), Some("monotonic" | "1")).then_some(words)
    })?;
    let seconds: i64 = words.next()?.parse().ok()?;
    let nanoseconds: i64 = words.next()?.parse().ok()?;
    seconds.checked_mul(SECOND)?.checked_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_of_a_time_namespace_is_read() {
        let text = |line: &str| format!("{line}\nboottime            7         8\n");
        assert_eq!(monotonic_offset(&text("monotonic           0         0")), Some(0));
        assert_eq!(
            monotonic_offset(&text("monotonic          -3         5")),
            Some(5 - 3 * SECOND)
        );
        assert_eq!(monotonic_offset(&text("1 86400 0")), Some(86_400 * SECOND));
        assert_eq!(monotonic_offset(""), None);
        assert_eq!(monotonic_offset(&text("monotonic x 0")), None);
        assert_eq!(monotonic_offset(&text("monotonic 9223372036854775807 0")), None);
    }
}
