//! Flows of a commit whose master the kernel has not yet, because another shard commits it.
//!
//! ```text
//!   refused for want of its master --> waits --again, every 20 ms--> written
//!                                        |
//!                                        `-- 1 s after all else is settled: written without its master
//! ```

use crate::config::limit;
use alloc::vec::Vec;
use common::Instant;
use ctnetlink::FlowKey;

/// The flows that wait.
#[derive(Debug)]
pub(super) struct Orphans {
    /// At most [`limit::COMMIT_ORPHANS_MAX`].
    waiting: Vec<FlowKey>,
    /// No further one may wait: there is one shard, or the time is over.
    closed: bool,
    /// When the commit tries them again.
    next: Instant,
    /// When the commit stops waiting; set once all else is settled.
    until: Option<Instant>,
}

impl Orphans {
    /// `shards`: how many of them commit.
    pub(super) const fn new(shards: usize) -> Self {
        Self { waiting: Vec::new(), closed: shards <= 1, next: Instant(0), until: None }
    }

    /// Has a flow wait for its master; false when it must not.
    pub(super) fn wait(&mut self, key: FlowKey) -> bool {
        if self.closed || self.waiting.len() >= limit::COMMIT_ORPHANS_MAX {
            return false;
        }
        self.waiting.push(key);
        true
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// All else is settled: whether it is time to try the flows that wait. The last time, none waits any more.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        let until = *self.until.get_or_insert(now + limit::COMMIT_ORPHANS_WAIT);
        if now < self.next {
            return false;
        }
        self.next = now + limit::COMMIT_ORPHANS_PAUSE;
        self.closed |= now >= until;
        true
    }

    /// The next flow to try.
    pub(super) fn pop(&mut self) -> Option<FlowKey> {
        self.waiting.pop()
    }

    /// When [`Orphans::begin`] has something to do.
    pub(super) const fn due(&self) -> Option<Instant> {
        if self.waiting.is_empty() || self.until.is_none() { None } else { Some(self.next) }
    }
}
