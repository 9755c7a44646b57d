//! Flows of the peers that go straight into the kernel (`DisableExternalCache`), beside flows of this node in there.

use super::{Node, Peers};
use crate::config::limit;
use crate::flows::exactness::Cause;
use crate::flows::table::Full;
use crate::input::Origin;
use crate::kernel::{InFlight, Purpose};
use crate::message_id::{MessageId, PeerId};
use crate::output::{Request, Side};
use crate::remote::{self, InjectFailure, Pen};
use common::Instant;
use core::time::Duration;
use ctnetlink::{Change, Flow, FlowKey};

/// When peers are asked again for what the kernel refused, most likely because it is full. A transfer of all flows may
/// be refused like the last one, so each waits longer.
#[derive(Debug)]
pub(crate) struct Refusals {
    /// The earliest time of the next attempt.
    pub(crate) retry: Instant,
    pause: Duration,
}

impl Refusals {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { retry: now, pause: limit::ASK_AGAIN }
    }

    /// The kernel refused a flow.
    fn note(&mut self, now: Instant) {
        if now >= self.retry {
            self.retry = now + self.pause;
            self.pause = (self.pause * 2).min(limit::ASK_AGAIN_MAX);
        }
    }
}

impl Node {
    /// Writes a peer's word into the kernel.
    ///
    /// # Errors
    /// [`Full`] when the word could not be written, or the flow not be remembered.
    pub(crate) fn inject(
        &mut self,
        now: Instant,
        message: MessageId,
        word: (Change, Flow),
        tells_all: bool,
    ) -> Result<(), Full> {
        let ours = self.is_own(&word.1.key());
        let Self { config, counters, kernel, remote, .. } = self;
        let before = remote.unremembered();
        let mut pen = Pen { config, counters, kernel, now };
        let outcome = remote.inject(&mut pen, word, message, (tells_all, ours));
        let unremembered = remote.unremembered() > before;
        self.note_room(now, Side::Remote, outcome);
        if unremembered && self.config.replication.keep_local {
            // The local table holds all flows of the kernel but those that are known to be a peer's.
            self.doubt(now, Cause::TableFull, 1);
        }
        outcome
    }

    /// An injection failed; returns whether to report that.
    pub(crate) fn on_inject_failed(
        &mut self,
        session: &mut impl Peers,
        now: Instant,
        op: InFlight,
        errno: i32,
        last_word: bool,
    ) -> bool {
        let key = match &op.request {
            Request::Create(flow) | Request::Update(flow) => flow.key(),
            Request::Delete(key, _) | Request::Get(key) => *key,
            _ => return false,
        };
        let how = (last_word, self.is_own(&key));
        let Self { kernel, counters, .. } = self;
        let failure = remote::on_inject_failed(kernel, counters, op, errno, how);
        self.on_failure(session, now, &key, failure)
    }

    /// An update that was meant for another flow than the kernel held went through.
    pub(crate) fn on_replaced(
        &mut self,
        session: &mut impl Peers,
        now: Instant,
        op: InFlight,
        last_word: bool,
    ) {
        let Request::Update(flow) = &op.request else { return };
        let key = flow.key();
        let how = (last_word, self.is_own(&key));
        let failure = remote::on_replace(&mut self.kernel, op, how);
        self.on_failure(session, now, &key, failure);
    }

    /// Records the outcome of an injection; returns whether to report it.
    fn on_failure(
        &mut self,
        session: &mut impl Peers,
        now: Instant,
        key: &FlowKey,
        failure: InjectFailure,
    ) -> bool {
        if failure == InjectFailure::Fine {
            return false;
        }
        let message = self.remote.note_other(key);
        if failure == InjectFailure::LaidOver {
            return false;
        }
        self.refusals.note(now);
        if let Some(message) = message {
            session.on_refused(message);
        }
        true
    }

    /// The kernel does not have a flow. If an injection made it, it ended unreported: the peer has to send it again,
    /// as if the kernel had refused it.
    pub(crate) fn on_missing(&mut self, session: &mut impl Peers, now: Instant, key: &FlowKey) {
        self.remote.on_gone(key);
        if self.remote.is_hot() || !self.remote.made(key) || self.kernel.is_pending(key) {
            return;
        }
        self.refusals.note(now);
        if let Some(message) = self.remote.on_vanished(key) {
            session.on_refused(message);
        }
    }

    /// Goes on removing what a peer's transfer did not name. A flow that stays until the kernel removes it may have
    /// ended before: then the kernel is queried. Without a local table the answer would go to the peers.
    pub(crate) fn sweep_remote(&mut self, now: Instant) -> Option<(PeerId, u64)> {
        let Self { remote, counters, kernel, config, .. } = self;
        let asks = config.replication.keep_local;
        remote.sweep(counters, now, |key| {
            let _asked = asks && kernel.push(Purpose::Read, Request::Get(key));
        })
    }

    /// Records what traffic did to a flow of a peer, and returns whose doing the event counts as. Beside a local table,
    /// an end in this kernel says nothing of the peer's flow. Without a local table (`DisableInternalCache`) no node
    /// distinguishes its flows from the peers', and an end is an end for all of them, as with the original.
    pub(crate) fn note_traffic(&mut self, event: Change, key: &FlowKey, origin: Origin) -> Origin {
        if !matches!(origin, Origin::Foreign | Origin::Purge) {
            return origin;
        }
        let ended = event == Change::Destroy;
        let keep_local = self.config.replication.keep_local;
        let theirs = ended && keep_local && self.remote.made(key) && !self.is_own(key);
        self.remote.note_shared(key);
        if ended && self.remote.is_left(key) {
            // News comes late: it may be the end of an earlier flow than the one that a peer's word has made since.
            self.kernel.push(Purpose::Read, Request::Get(*key));
        }
        if theirs { Origin::Inject } else { origin }
    }

    /// Whether the kernel holds the peers' flows as they were received, as far as that is known, where they go
    /// straight there.
    pub(crate) fn is_mirror(&self) -> bool {
        let replication = &self.config.replication;
        if replication.keep_remote {
            return true;
        }
        // What an earlier life wrote and a peer has ended since looks like a flow of this node's that says nothing.
        let all_seen = self.is_filled() && !self.exactness.is_full();
        let sorted = replication.keep_local && all_seen && self.flows_without_events() == 0;
        let remembers = self.remote.unremembered() == 0;
        self.remote.unlike() == 0 && remembers && (sorted || !self.config.earlier_life)
    }

    /// Whether a flow is this node's own, according to the local table.
    pub(crate) fn is_own(&self, key: &FlowKey) -> bool {
        self.flows.table.find(key).is_some_and(|slot| self.flows.is_alive(slot))
    }
}

#[cfg(test)]
mod tests;
