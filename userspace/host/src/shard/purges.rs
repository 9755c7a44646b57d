//! Purges that were asked for, one at a time; those that come while one runs become the next one.

use super::CommandOutcome;
use super::replies::Replies;
use crate::log::Log;
use crate::purge::{PurgeSubject, PurgeTally, Purger};
use ctnetlink::Flow;
use tokio::sync::oneshot;

/// The purger and who waits for it.
#[derive(Debug)]
pub(super) struct Purges {
    purger: Purger,
    /// Replies that wait for the running purge.
    running: Vec<oneshot::Sender<CommandOutcome>>,
    /// The outcome of the purge that ran. The answer goes out when the events that it caused have been taken, in the
    /// next turn.
    ended: Option<CommandOutcome>,
    /// Replies that wait for the next purge, and the tables that it empties.
    waiting: Vec<oneshot::Sender<CommandOutcome>>,
    next: Vec<PurgeSubject>,
    /// Asked for since the start.
    pub(super) count: u64,
}

impl Purges {
    pub(super) const fn new(purger: Purger) -> Self {
        Self {
            purger,
            running: Vec::new(),
            ended: None,
            waiting: Vec::new(),
            next: Vec::new(),
            count: 0,
        }
    }

    /// Whether an event is their doing, by the port id it carries.
    pub(super) const fn caused(&self, portid: u32) -> bool {
        self.purger.caused(portid)
    }

    /// Whether one runs or is about to.
    pub(super) fn is_running(&self) -> bool {
        self.purger.is_running() || !self.next.is_empty()
    }

    pub(super) fn order(
        &mut self,
        subjects: Vec<PurgeSubject>,
        reply: oneshot::Sender<CommandOutcome>,
    ) {
        self.count += 1;
        for subject in subjects {
            if !self.next.contains(&subject) {
                self.next.push(subject);
            }
        }
        // A client that has gone needs no answer, and there may be many.
        self.waiting.retain(|reply| !reply.is_closed());
        self.waiting.push(reply);
    }

    /// A step of the one that runs; how much work that was.
    pub(super) fn step(
        &mut self,
        counts: impl Fn(&Flow) -> bool,
        log: &Log,
        replies: &mut Replies,
    ) -> usize {
        if let Some(outcome) = self.ended.take() {
            self.running.drain(..).for_each(|reply| replies.give(reply, outcome));
            return 1;
        }
        if !self.purger.is_running() {
            if self.next.is_empty() {
                return 0;
            }
            self.purger.start(self.next.drain(..));
            self.running.append(&mut self.waiting);
        }
        if let Some(PurgeTally { deleted, refused, unread }) = self.purger.step(counts) {
            log.info(format!("kernel entries deleted: {deleted}, refused: {refused}"));
            self.ended = Some(match unread {
                0 => Ok(()),
                _ => Err("the kernel's tables could not be read to their end"),
            });
        }
        1
    }
}
