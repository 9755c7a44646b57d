//! Commits during which nobody hears what begins and changes.
//!
//! Each flow that a commit writes makes the kernel build a message, if anybody listens to such messages, and that costs
//! more than the write. Nobody needs them: what was written is known. So while a large commit runs, the host leaves the
//! kernel's groups of events about what begins and changes, and listens to ends alone. What traffic and other programs
//! do meanwhile goes unheard too, so the local table is not exact until the kernel's table has been read afterwards.
//!
//! ```text
//!   commit --> leaves_events: NEW, UPDATE off --> writes ... --> on again --> reading --> exact
//! ```
//!
//! No reading goes on meanwhile: it would miss what happens behind its back.

use super::Node;
use crate::config::limit;
use crate::flows::exactness::Cause;
use common::Instant;

impl Node {
    /// A commit begins: is it worth not listening? A reading of the table afterwards costs about as much for each flow
    /// of this node as an event, so few flows of peers beside many of this node's are not.
    pub(super) fn begin_quiet(&mut self, now: Instant) {
        let Some(least) = self.config.quiet_commit_min else { return };
        let (own, theirs) = (self.flows.table.alive(), self.remote.table().alive());
        let worth = theirs >= least && own / limit::QUIET_COMMIT_SHARE <= theirs;
        // Who passes events on without a table could not be told later what went unheard.
        let able = self.config.replication.keep_local && self.config.hears_requests;
        if !worth || !able || self.dump.is_some() || !self.is_filled() {
            return;
        }
        self.quiet = true;
        // The reading is due when the commit is over, whatever `NetlinkOverrunResync` says.
        self.exactness.on_doubt(now, Cause::Committing, 0, None);
    }

    /// The commit is over; whether events were left out for it.
    pub(super) const fn end_quiet(&mut self) -> bool {
        core::mem::replace(&mut self.quiet, false)
    }

    /// Reads the kernel's table: what a commit wrote, and what else happened while nobody listened.
    pub(super) fn read_after_commit(&mut self, now: Instant) {
        let commands = self.dump_again.take().unwrap_or_default();
        self.start_dump(now, commands, false);
        match &mut self.dump {
            Some(dump) => dump.after_commit = true,
            // The kernel could not be asked.
            None => {
                self.exactness.on_doubt(now, Cause::Committing, 0, Some(limit::WATCH_STEP));
            }
        }
    }

    /// Whether events about what begins and changes are left out.
    pub(crate) const fn is_quiet(&self) -> bool {
        self.quiet
    }
}
