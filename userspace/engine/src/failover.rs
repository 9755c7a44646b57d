//! The commit: the peer's flows become flows of this node's kernel.
//!
//! ```text
//!  start --> pass 1: flows without master --> settled --> pass 2: flows with master --> settled --> done
//!              step by step, so that events and messages go on in between
//! ```
//!
//! An expected flow needs its master in the kernel, which is why there are two passes.

use crate::config::{Config, limit};
use crate::input::CommandId;
use crate::kernel::{InFlight, KernelQueue, Purpose};
use crate::local::seconds;
use crate::output::{Event, Request};
use crate::remote::{Remote, writable};
use crate::table::Slot;
use common::Instant;

const EEXIST: i32 = 17;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    Masters,
    Expected,
}

/// A commit under way.
#[derive(Debug)]
pub struct Commit {
    /// Whose command it is.
    pub id: CommandId,
    began: Instant,
    pass: Pass,
    cursor: Option<Slot>,
    /// Requests not settled yet.
    open: usize,
    committed: u64,
    failed: u64,
}

impl Commit {
    /// Begins.
    #[must_use]
    pub const fn new(id: CommandId, now: Instant) -> Self {
        let (pass, cursor) = (Pass::Masters, Some(0));
        Self { id, began: now, pass, cursor, open: 0, committed: 0, failed: 0 }
    }

    /// Queues the next requests while few are open. `Some` when everything is settled.
    pub fn step(
        &mut self,
        config: &Config,
        remote: &Remote,
        kernel: &mut KernelQueue,
        now: Instant,
    ) -> Option<Event> {
        while let Some(from) = self.cursor.filter(|_| kernel.len() < limit::KERNEL_IN_FLIGHT_MAX) {
            self.cursor = self.walk(from, config, remote, kernel, now);
        }
        if self.cursor.is_some() || self.open > 0 {
            return None;
        }
        if self.pass == Pass::Masters {
            (self.pass, self.cursor) = (Pass::Expected, Some(0));
            return self.step(config, remote, kernel, now);
        }
        let (committed, failed, took) = (self.committed, self.failed, now.since(self.began));
        Some(Event::CommitDone { committed, failed, took })
    }

    /// Queues the flows of up to one step of slots; returns where to go on.
    fn walk(
        &mut self,
        mut from: Slot,
        config: &Config,
        remote: &Remote,
        kernel: &mut KernelQueue,
        now: Instant,
    ) -> Option<Slot> {
        for _ in 0..limit::COMMIT_STEP {
            let (slot, entry) = remote.table.next(from)?;
            from = slot + 1;
            let expected = entry.flow.master().is_some();
            if expected == (self.pass == Pass::Expected) {
                let age_s = seconds(now).saturating_sub(entry.updated_s);
                let flow = writable(config, entry.flow.clone(), age_s);
                kernel.push(Purpose::Commit, Request::Create(flow));
                self.open += 1;
            }
        }
        Some(from)
    }

    /// A request of the commit succeeded.
    pub fn on_success(&mut self, op: &InFlight) {
        if is_commit(op.purpose) {
            self.open = self.open.saturating_sub(1);
            self.committed += 1;
        }
    }

    /// A request of the commit failed: what is in the way is removed, once. Returns whether it is a failure to tell.
    pub fn on_failure(&mut self, kernel: &mut KernelQueue, op: InFlight, errno: i32) -> bool {
        if let (Purpose::Commit, Request::Create(flow), EEXIST) = (op.purpose, op.request, errno) {
            kernel.push_again(Purpose::Clearing, Request::Delete(flow.key()));
            kernel.push_again(Purpose::CommitAgain, Request::Create(flow));
            return false;
        }
        self.open = self.open.saturating_sub(1);
        self.failed += 1;
        true
    }
}

/// Whether a request belongs to a commit.
#[must_use]
pub const fn is_commit(purpose: Purpose) -> bool {
    matches!(purpose, Purpose::Commit | Purpose::CommitAgain)
}
