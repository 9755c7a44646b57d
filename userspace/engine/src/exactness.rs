//! How far the local table can be trusted, and when it is to be read anew.
//!
//! ```text
//!            events lost                    pause over               read, nothing lost since
//!   exact ----------------> degraded ------------------> repairing ---------------------------> exact
//!                              ^                              |
//!                              +------ more events lost ------+
//! ```
//!
//! Any complete reading of the kernel's table that began after the last known loss makes losses good, whoever asked
//! for it.

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
        /// How many.
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

/// Keeps account of losses.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    state: Exactness,
    last_loss: Instant,
    /// When a reading is to begin.
    due: Option<Instant>,
    /// However often it is put off, it begins by then.
    latest: Instant,
    /// No reading of its own begins before this: readings take a bounded share of the time.
    rested: Instant,
    /// Events lost since the start.
    total: u64,
}

impl Keeper {
    pub(crate) const fn state(&self) -> Exactness {
        self.state
    }

    /// Whether nothing was lost since `began`, as far as is known.
    pub(crate) fn is_lossless_since(&self, began: Instant) -> bool {
        self.total == 0 || self.last_loss < began
    }

    /// When a reading is to begin, if one is to.
    pub(crate) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Events were found to be missing. `after`: how long to wait with the reading; `None`: it is somebody else's
    /// business. True if this is the first loss since the table was exact.
    pub(crate) fn on_lost(&mut self, now: Instant, count: u64, after: Option<Duration>) -> bool {
        self.total += count;
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

    /// A reading is to begin that long after now. One that was to begin earlier is put off, but not for ever: it would
    /// make nothing good if more is lost while it goes on.
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
            return Some((lost, now.since(since)));
        }
        self.state = Exactness::Degraded { since, lost };
        if let (Some(after), None) = (again, self.due) {
            self.plan(now, after);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(ms: u64) -> Instant {
        Instant(0) + Duration::from_millis(ms)
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
