//! How far the local table can be trusted, and when to read it again.
//!
//! ```text
//!            events lost                    pause over               read, nothing lost since
//!   exact ----------------> degraded ------------------> repairing ---------------------------> exact
//!                              ^                              |
//!                              +------ more events lost ------+
//! ```
//!
//! Any complete reading of the kernel's table that began after the last known loss repairs all losses, whatever
//! caused the reading.

use crate::config::limit;
use common::Instant;
use core::time::Duration;

/// How far the local table can be trusted to be what the kernel holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exactness {
    /// No event is known to be missing.
    #[default]
    Exact,
    /// Events were lost, and what they said is not known.
    Degraded {
        /// When the first loss was noticed.
        since: Instant,
        /// How many events were lost.
        lost: u64,
    },
    /// The kernel's table is being read to make that good.
    Repairing {
        /// When the first loss was noticed.
        since: Instant,
        /// How many events were lost.
        lost: u64,
    },
}

/// Why the local table is not what the kernel holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    /// Events were lost.
    #[default]
    EventsLost,
    /// There was no room for a flow (`HashLimit`).
    TableFull,
    /// The kernel sends no events (`net.netfilter.nf_conntrack_events` is 0).
    EventsOff,
    /// The kernel holds another number of flows, for longer than news is on its way.
    CountDiffers,
    /// An operator had the table emptied.
    Flushed,
}

/// Keeps account of losses.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    state: Exactness,
    /// Why it is not exact, or was not the last time.
    cause: Cause,
    /// The table has had no room for a flow, and not much room since: a reading would be in vain.
    full: bool,
    /// How long the next reading after a full table waits: it may be full again at once.
    full_pause: Duration,
    /// The kernel sends no events.
    events_off: bool,
    last_loss: Instant,
    /// When the next reading begins.
    due: Option<Instant>,
    /// However often it is put off, it begins by then.
    latest: Instant,
    /// No reading of its own begins before this: readings take a bounded share of the time.
    rested: Instant,
    /// Events lost since the start.
    total: u64,
    /// There was reason for doubt since the start.
    doubted: bool,
}

impl Keeper {
    pub(crate) const fn state(&self) -> Exactness {
        self.state
    }

    /// Whether nothing was lost since `began`, as far as is known.
    pub(crate) fn is_lossless_since(&self, began: Instant) -> bool {
        !self.doubted || self.last_loss < began
    }

    /// When the next reading begins, if one is planned.
    pub(crate) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Why the table is not exact, or was not the last time.
    pub(crate) const fn cause(&self) -> Cause {
        self.cause
    }

    /// Whether a flow was refused, and there was not much room since.
    pub(crate) const fn is_full(&self) -> bool {
        self.full
    }

    /// Whether the kernel sends no events.
    pub(crate) const fn are_events_off(&self) -> bool {
        self.events_off
    }

    /// Whether the kernel sent no events for a while, and its table has not been read since.
    pub(crate) fn were_events_off(&self) -> bool {
        self.state != Exactness::Exact && self.cause == Cause::EventsOff
    }

    /// There is room again: the flows that were refused can be read. If readings fill the table again and again, they
    /// take place less and less often.
    pub(crate) fn on_room(&mut self, now: Instant, after: Option<Duration>) {
        self.full = false;
        let pause = self.full_pause.max(after.unwrap_or_default()).max(limit::WATCH_STEP);
        self.full_pause = (pause * 2).clamp(limit::FULL_PAUSE_MIN, limit::FULL_PAUSE_MAX);
        if after.is_some() {
            self.plan(now, pause);
        }
    }

    /// The kernel sends events again: flows of the time between can be read.
    pub(crate) fn on_events_on(&mut self, now: Instant, after: Option<Duration>) {
        self.events_off = false;
        if let Some(after) = after {
            self.plan(now, after);
        }
    }

    /// The table was found to differ from the kernel: `count` events or flows are missing, as far as that is known.
    /// `after`: how long to wait with the reading; `None`: another party reads. True if this is the first finding
    /// since the table was exact.
    pub(crate) fn on_doubt(
        &mut self,
        now: Instant,
        cause: Cause,
        count: u64,
        after: Option<Duration>,
    ) -> bool {
        let first = self.state == Exactness::Exact;
        if first || cause == Cause::EventsOff {
            self.cause = cause;
        }
        self.full |= cause == Cause::TableFull;
        self.events_off |= cause == Cause::EventsOff;
        let after = after.filter(|_| !self.full && !self.events_off);
        self.on_lost(now, count, after);
        if self.full || self.events_off {
            self.due = None;
        }
        first
    }

    /// As [`Keeper::on_doubt`]: events were lost.
    fn on_lost(&mut self, now: Instant, count: u64, after: Option<Duration>) -> bool {
        self.total += count;
        self.doubted = true;
        self.last_loss = now;
        let (since, before) = match self.state {
            Exactness::Exact => (now, 0),
            Exactness::Degraded { since, lost } | Exactness::Repairing { since, lost } => {
                (since, lost)
            }
        };
        self.state = Exactness::Degraded { since, lost: before + count };
        if let Some(after) = after {
            self.plan(now, after);
        }
        before == 0
    }

    /// Plans a reading that long after now. A reading that was planned earlier is put off, but not for ever: it would
    /// repair nothing if more is lost while it goes on.
    fn plan(&mut self, now: Instant, after: Duration) {
        if self.due.is_none() {
            self.latest = now + after + limit::REPAIR_PUT_OFF;
        }
        self.due = Some((now + after).min(self.latest).max(self.rested));
    }

    /// The kernel could not be asked now.
    pub(crate) fn postpone(&mut self, now: Instant) {
        self.due = self.due.map(|due| due.max(now + limit::WATCH_STEP));
    }

    /// A reading begins.
    pub(crate) const fn on_reading_began(&mut self) {
        self.due = None;
        if let Exactness::Degraded { since, lost } = self.state {
            self.state = Exactness::Repairing { since, lost };
        }
    }

    /// A reading that began at `began` is over. Returns the losses it made good and how long the table was not exact,
    /// if it did. `again`: how long after a failure the next one begins.
    pub(crate) fn on_read(
        &mut self,
        began: Instant,
        now: Instant,
        complete: bool,
        again: Option<Duration>,
    ) -> Option<(u64, Duration)> {
        self.rested = now + now.since(began) * limit::REPAIR_REST;
        let (Exactness::Degraded { since, lost } | Exactness::Repairing { since, lost }) =
            self.state
        else {
            return None;
        };
        if complete && self.is_lossless_since(began) {
            (self.state, self.due) = (Exactness::Exact, None);
            self.full_pause = Duration::ZERO;
            return Some((lost, now.since(since)));
        }
        self.state = Exactness::Degraded { since, lost };
        let held = self.full || self.events_off;
        if let (Some(after), None, false) = (again, self.due, held) {
            self.plan(now, after);
        }
        None
    }
}

/// The kernel's count of flows beside the table's. News is always on its way, so only what stays counts.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// Events heard when the last comparison was made.
    heard: u64,
    /// Comparisons in a row that differed in the same direction, the smallest difference of these, and whether the
    /// kernel held more.
    streak: (u8, u64, bool),
    /// The difference that the last reading left, in that direction: flows that the kernel counts and does not show.
    explained: (u64, bool),
    /// The next difference that stays is what a reading left.
    read: bool,
}

impl Census {
    /// Nothing can be compared now.
    pub(crate) const fn skip(&mut self, heard: u64) {
        self.heard = heard;
        self.streak = (0, 0, false);
    }

    /// The kernel's table has been read because of what was found.
    pub(crate) const fn on_read(&mut self) {
        self.read = self.read || self.streak.0 >= limit::CENSUS_DIFFERS;
        self.streak = (0, 0, false);
    }

    /// Compares. Returns how many flows differ, when that has lasted too long to be on its way.
    pub(crate) fn compare(&mut self, kernel: u64, here: u64, heard: u64) -> Option<u64> {
        let events = heard.wrapping_sub(core::mem::replace(&mut self.heard, heard));
        let (more, difference) = (kernel > here, kernel.abs_diff(here));
        let explained = if self.explained.1 == more { self.explained.0 } else { 0 };
        let slack = events.div_ceil(limit::CENSUS_IN_FLIGHT);
        let differs = difference.saturating_sub(explained) > slack;
        self.streak = match self.streak {
            _ if !differs => (0, 0, more),
            (count, least, same) if count > 0 && same == more => {
                (count.saturating_add(1), least.min(difference), more)
            }
            _ => (1, difference, more),
        };
        let (count, least, _) = self.streak;
        if count < limit::CENSUS_DIFFERS {
            return None;
        }
        if core::mem::take(&mut self.read) {
            // A reading has just shown all that the kernel shows.
            self.explained = (least, more);
            self.streak = (0, 0, more);
            return None;
        }
        Some(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(ms: u64) -> Instant {
        Instant(0) + Duration::from_millis(ms)
    }

    #[test]
    fn a_count_that_differs_for_long_is_told_and_what_a_reading_leaves_is_explained() {
        let mut census = Census::default();
        let mut said = Vec::new();
        for second in 0..20 {
            if let Some(count) = census.compare(150, 100, 0) {
                said.push((second, count));
                census.on_read();
            }
        }
        let first = u64::from(limit::CENSUS_DIFFERS) - 1;
        assert_eq!(said, [(first, 50)], "a reading left the difference as it was");
        let more: Vec<_> = (0..10).filter_map(|_| census.compare(190, 100, 0)).collect();
        assert_eq!(more.first(), Some(&90), "another difference is reported again");
    }

    #[test]
    fn counts_that_events_on_their_way_explain_are_not_told() {
        let mut census = Census::default();
        for second in 1..100 {
            assert_eq!(census.compare(10_500, 10_000, second * 100_000), None);
        }
        for second in 0..100 {
            let kernel = if second % 2 == 0 { 90 } else { 110 };
            assert_eq!(census.compare(kernel, 100, 9_900_000), None, "in both directions");
        }
    }

    #[test]
    fn a_full_table_is_read_when_there_is_room_and_ever_later_if_it_fills_again() {
        let mut keeper = Keeper::default();
        assert!(keeper.on_doubt(at(0), Cause::TableFull, 1, Some(SECOND)));
        assert_eq!((keeper.due(), keeper.is_full()), (None, true));
        assert!(!keeper.on_doubt(at(1), Cause::EventsLost, 1, Some(SECOND)));
        assert_eq!(keeper.due(), None, "in vain");
        keeper.on_room(at(100), Some(SECOND));
        assert_eq!(keeper.due(), Some(at(1100)));
        keeper.on_reading_began();
        keeper.on_doubt(at(1200), Cause::TableFull, 1, Some(SECOND));
        assert_eq!(keeper.on_read(at(1100), at(1300), true, Some(SECOND)), None);
        assert_eq!(keeper.due(), None);
        keeper.on_room(at(2000), Some(SECOND));
        assert_eq!(keeper.due(), Some(at(4000)));
    }

    #[test]
    fn a_reading_that_began_after_the_last_loss_makes_it_good() {
        let mut keeper = Keeper::default();
        assert!(keeper.on_lost(at(10), 3, Some(SECOND)));
        assert!(!keeper.on_lost(at(20), 4, Some(SECOND)));
        assert_eq!(keeper.due(), Some(at(1020)), "counted from the last loss");
        keeper.on_reading_began();
        assert_eq!(keeper.state(), Exactness::Repairing { since: at(10), lost: 7 });
        let good = keeper.on_read(at(1020), at(1110), true, Some(SECOND));
        assert_eq!(good, Some((7, Duration::from_millis(1100))));
        assert_eq!((keeper.state(), keeper.due(), keeper.total), (Exactness::Exact, None, 7));
    }

    #[test]
    fn a_reading_is_put_off_while_losses_go_on_but_not_for_ever() {
        let mut keeper = Keeper::default();
        for ms in (0..60_000).step_by(100) {
            keeper.on_lost(at(ms), 1, Some(SECOND));
        }
        assert_eq!(keeper.due(), Some(at(1000) + limit::REPAIR_PUT_OFF));
    }

    #[test]
    fn a_loss_while_it_is_read_or_a_torn_reading_calls_for_another_one_after_a_rest() {
        let mut keeper = Keeper::default();
        keeper.on_lost(at(0), 1, Some(SECOND));
        keeper.on_reading_began();
        keeper.on_lost(at(1500), 2, Some(SECOND));
        assert_eq!(keeper.on_read(at(1000), at(2000), true, Some(SECOND)), None);
        assert_eq!(keeper.state(), Exactness::Degraded { since: at(0), lost: 3 });
        assert_eq!(keeper.due(), Some(at(2500)));
        keeper.on_reading_began();
        assert_eq!(keeper.on_read(at(2500), at(3500), false, Some(SECOND)), None);
        assert_eq!(keeper.due(), Some(at(3500) + SECOND * limit::REPAIR_REST));
    }

    #[test]
    fn without_a_pause_nothing_is_read_by_itself_and_what_an_operator_asks_for_counts() {
        let mut keeper = Keeper::default();
        keeper.on_lost(at(0), 1, None);
        assert_eq!(keeper.due(), None);
        assert_eq!(keeper.on_read(at(5), at(6), true, None), Some((1, Duration::from_millis(6))));
    }
}
