//! The commit of expectations: those of the peer become expectations of this node's kernel. The flows whose helpers
//! made them must be there already.

use super::remote::{Remote, writable, write_anew};
use super::{ExpectKey, next_after, seconds};
use crate::config::{Config, limit};
use crate::errno::EEXIST;
use crate::input::CommandId;
use crate::kernel::{InFlight, KernelQueue, Purpose};
use crate::output::{Event, Request};
use alloc::boxed::Box;
use common::Instant;

/// What a commit writes: settings, the peers' expectations, and which of them.
type From<'a> = (&'a Config, &'a Remote, &'a dyn Fn(&ExpectKey) -> bool);

/// A commit of expectations under way.
#[derive(Debug)]
pub struct ExpectCommit {
    /// The command that asked for the commit.
    pub id: CommandId,
    began: Instant,
    /// The last one that was queued, and whether there may be more.
    last: Option<ExpectKey>,
    more: bool,
    /// Requests not settled yet.
    open: usize,
    committed: u64,
    failed: u64,
}

impl ExpectCommit {
    /// Begins a commit.
    #[must_use]
    pub const fn new(id: CommandId, now: Instant) -> Self {
        Self { id, began: now, last: None, more: true, open: 0, committed: 0, failed: 0 }
    }

    /// Queues the next requests while few are open. `Some` when everything is settled.
    pub fn step(
        &mut self,
        (config, remote, takes): From<'_>,
        kernel: &mut KernelQueue,
        now: Instant,
    ) -> Option<Event> {
        while self.more && kernel.len() < limit::KERNEL_IN_FLIGHT_MAX {
            let Some((key, entry)) = next_after(remote.table(), self.last) else {
                self.more = false;
                break;
            };
            self.last = Some(*key);
            if !takes(key) {
                continue;
            }
            let age_s = seconds(now).saturating_sub(entry.updated_s);
            let Some(expect) = writable(config, entry.expect.clone(), age_s) else { continue };
            let request = Request::CreateExpectation(Box::new(expect));
            if kernel.push(Purpose::CommitExpect, request) {
                self.open += 1;
            } else {
                self.failed += 1;
            }
        }
        if self.more || self.open > 0 {
            return None;
        }
        let (committed, failed, took) = (self.committed, self.failed, now.since(self.began));
        Some(Event::ExpectationsCommitted { committed, failed, took })
    }

    /// A request of the commit succeeded.
    pub const fn on_success(&mut self) {
        self.open = self.open.saturating_sub(1);
        self.committed += 1;
    }

    /// A request of the commit failed. What is in the way is removed, once. Returns whether to report the failure.
    pub fn on_failure(&mut self, kernel: &mut KernelQueue, op: InFlight, errno: i32) -> bool {
        if let (Purpose::CommitExpect, Request::CreateExpectation(expect), EEXIST) =
            (op.purpose, op.request, errno)
            && write_anew(kernel, expect, Purpose::CommitExpectAgain)
        {
            return false;
        }
        self.open = self.open.saturating_sub(1);
        self.failed += 1;
        true
    }
}

/// Whether a request belongs to a commit of expectations.
#[must_use]
pub const fn is_expect_commit(purpose: Purpose) -> bool {
    matches!(purpose, Purpose::CommitExpect | Purpose::CommitExpectAgain)
}
