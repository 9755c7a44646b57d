//! Settings of a shard that can change while it runs.

use crate::log::Log;
use crate::nodes::Renewal;
use crate::source::KernelFilter;
use crate::sys::{self, Scheduling};
use engine::filter::Filter;
use std::time::Duration;

/// How long events coalesce where no peer waits for them: `ctflow bench growth-latency` shows what each length costs.
pub const COALESCE: Duration = Duration::from_micros(1600);
/// How long events may gather where a peer waits.
pub const COALESCE_FOR_PEER: Duration = Duration::from_micros(50);
/// What events may wait, by how late a timer may be.
const COALESCE_PER_SLACK: u32 = 16;

/// How a shard deals with its thread and its event source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// How large the event socket's buffer may grow after losses, bytes.
    pub buffer_max: usize,
    /// About how many events are taken before the other inputs get their turn.
    pub events_per_turn: usize,
    /// How its thread is scheduled; `None`: as the process was started.
    pub scheduling: Option<Scheduling>,
    /// How long events coalesce while they stream in: what one of them may wait. Zero: each wakes the thread.
    pub coalesce: Duration,
}

impl Tuning {
    /// Whether a thread that was scheduled as `before` says needs another policy.
    pub(crate) fn reschedules(&self, before: &Self) -> bool {
        (self.scheduling, self.coalesce) != (before.scheduling, before.coalesce)
    }

    /// Applies the scheduling policy to the calling thread; `who` names it in the log. Its timers may be late by a
    /// part of what events may wait anyway: the kernel's 50 us would be most of a short wait.
    pub(crate) fn schedule(&self, who: &str, log: &Log) {
        sys::set_timer_slack(self.coalesce / COALESCE_PER_SLACK);
        if let Some(scheduling) = self.scheduling
            && let Err(error) = sys::set_scheduling(scheduling)
        {
            log.warning(format!("cannot schedule the {who} as {scheduling:?}: {error}"));
        }
    }
}

/// A change of settings.
#[derive(Clone, Debug)]
pub struct Change {
    /// The scheduling and CPU settings.
    pub tuning: Tuning,
    /// The filter in user space and in the kernel; `None`: as before.
    pub filter: Option<(Filter, KernelFilter)>,
    /// As [`engine::Config::commit_timeout_s`].
    pub commit_timeout_s: Option<u32>,
    /// As [`engine::Config::repair_after`].
    pub repair_after: Option<Duration>,
    /// Keys, addresses and rates of the same peers of version 2; `None`: as before.
    pub peers: Option<Renewal>,
}
