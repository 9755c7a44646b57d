//! Timers of table entries, for ALARM: when an entry is sent again, and when one that was not refreshed goes.

use crate::flows::table::Slot;
use alloc::vec::Vec;
use common::Instant;
use core::time::Duration;

/// A wheel: one bucket per tick, reused after a turn.
///
/// Entries name their timer by a ticket. A timer whose entry has gone, or has another ticket, has no effect.
#[derive(Debug)]
pub struct Wheel {
    buckets: Vec<Vec<(Slot, u32)>>,
    tick: Duration,
    /// The tick whose bucket is next.
    next: u64,
    planned: usize,
    tickets: u32,
}

impl Wheel {
    /// A wheel for timers of at most `longest`, as exact as `tick`, that begins to turn at `now`.
    #[must_use]
    pub fn new(tick: Duration, longest: Duration, now: Instant) -> Self {
        let ticks = longest.as_nanos() / tick.as_nanos() + 2;
        let mut buckets = Vec::new();
        buckets.resize_with(ticks as usize, Vec::new);
        Self { buckets, tick, next: ticks_of(now, tick) + 1, planned: 0, tickets: 0 }
    }

    /// A ticket that no entry has.
    pub const fn ticket(&mut self) -> u32 {
        self.tickets = self.tickets.wrapping_add(1);
        self.tickets
    }

    /// Plans a timer for `at`, or for the end of the longest one that is possible.
    pub fn plan(&mut self, at: Instant, slot: Slot, ticket: u32) {
        let last = self.next + self.buckets.len() as u64 - 1;
        // A timer never comes early.
        let tick = (ticks_of(at, self.tick) + 1).clamp(self.next, last);
        let turn = self.buckets.len() as u64;
        self.buckets[(tick % turn) as usize].push((slot, ticket));
        self.planned += 1;
    }

    /// Takes out the timers of one tick that has come; `None` when none has.
    pub fn due(&mut self, now: Instant) -> Option<Vec<(Slot, u32)>> {
        if ticks_of(now, self.tick) < self.next {
            return None;
        }
        let turn = self.buckets.len() as u64;
        let bucket = core::mem::take(&mut self.buckets[(self.next % turn) as usize]);
        self.next += 1;
        self.planned -= bucket.len();
        Some(bucket)
    }

    /// When the next tick comes; `None` while nothing is planned.
    #[must_use]
    pub fn next_tick(&self) -> Option<Instant> {
        (self.planned > 0).then(|| Instant(self.next * self.tick.as_nanos() as u64))
    }
}

const fn ticks_of(at: Instant, tick: Duration) -> u64 {
    at.0 / tick.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn timers_come_in_order_and_never_early() {
        let tick = Duration::from_millis(100);
        let mut wheel = Wheel::new(tick, Duration::from_secs(5), Instant(SECOND));
        for (slot, at) in [(1, 3 * SECOND), (2, 2 * SECOND + 50), (3, 60 * SECOND)] {
            wheel.plan(Instant(at), slot, 7);
        }
        let mut seen = Vec::new();
        let mut now = SECOND;
        while wheel.next_tick().is_some() {
            now += SECOND / 20;
            while let Some(due) = wheel.due(Instant(now)) {
                seen.extend(due.into_iter().map(|(slot, _)| (slot, now)));
            }
        }
        assert_eq!(seen.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), [2, 1, 3]);
        assert!(seen[0].1 > 2 * SECOND + 50 && seen[1].1 > 3 * SECOND && seen[1].1 < 4 * SECOND);
        assert!(seen[2].1 < 10 * SECOND, "longer than the longest is the longest");
    }
}
