//! When to be woken by each event, and when to let some coalesce.
//!
//! A wake-up costs the thread, and the packet that causes it, some ten times what an event costs. Events that come one
//! by one are worth it: they are passed on at once. Events that stream in are not: they coalesce for a moment, which
//! also lets the states of one flow merge into one message. A setting says how long that is
//! ([`crate::tuning::Tuning::coalesce`]).

use common::Instant;
use std::time::Duration;

/// How long events are counted to distinguish a stream from single ones; the window before counts too.
const WINDOW: Duration = Duration::from_millis(8);
/// So many in two windows are a stream: some thousand in a second.
const STREAM: usize = 16;

/// Distinguishes streams from single events.
#[derive(Debug)]
pub struct Coalescer {
    began: Instant,
    /// Events of the last window and of this one.
    counts: [usize; 2],
}

impl Coalescer {
    /// Nothing has come yet.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { began: now, counts: [0; 2] }
    }

    /// A turn took so many events; whether they stream in.
    pub fn on_turn(&mut self, now: Instant, events: usize) -> bool {
        if events == 0 {
            return false;
        }
        let since = now.since(self.began);
        if since >= WINDOW {
            let last = if since < WINDOW * 2 { self.counts[1] } else { 0 };
            (self.began, self.counts) = (now, [last, 0]);
        }
        self.counts[1] += events;
        self.counts[0] + self.counts[1] > STREAM
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gaps in microseconds and the events of the turn after each.
    fn streams(gaps: impl IntoIterator<Item = (u64, usize)>) -> Vec<bool> {
        let mut now = Instant(1 << 40);
        let mut coalescer = Coalescer::new(now);
        let turn = |(gap, events)| {
            now += Duration::from_micros(gap);
            coalescer.on_turn(now, events)
        };
        gaps.into_iter().map(turn).collect()
    }

    #[test]
    fn single_events_are_passed_on_at_once() {
        assert!(streams((0..1000).map(|_| (2000, 1))).into_iter().all(|streams| !streams));
        assert!(streams((0..1000).map(|_| (12_000, 3))).into_iter().all(|streams| !streams));
    }

    #[test]
    fn streams_coalesce_and_a_silence_ends_them() {
        assert_eq!(streams([(9000, 1), (300, 10), (300, 10)]), [false, false, true]);
        assert_eq!(
            streams([(9000, 10), (9000, 10), (1500, 0), (100, 1)]),
            [false, true, false, true]
        );
        assert_eq!(streams([(9000, 20), (20_000, 1)]), [true, false]);
    }
}
