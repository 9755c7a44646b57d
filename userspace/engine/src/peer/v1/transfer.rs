//! When bulk transfers begin, how fast they go, and what a transfer settles.

use super::packer::Packer;
use super::session::V1;
use crate::config::limit;
use crate::input::CommandId;
use crate::node::Node;
use crate::output::Event;
use common::Instant;

impl V1 {
    /// Begins a bulk transfer that a peer needs, at `soonest`.
    pub(super) fn plan_bulk(&mut self, node: &mut Node, now: Instant, soonest: Instant) {
        let due = self.bulk_due.map_or(soonest, |due| due.min(soonest));
        self.bulk_due = Some(due.max(now));
        self.begin_due_bulk(node, now);
    }

    pub(super) fn begin_due_bulk(&mut self, node: &mut Node, now: Instant) {
        if self.bulk_due.is_some_and(|due| now >= due) {
            self.bulk_due = None;
            self.start_bulk(node, now, None);
        }
    }

    /// Begins a bulk transfer: from the table or, where none is kept, straight from the kernel's.
    pub fn start_bulk(&mut self, node: &mut Node, now: Instant, command: Option<CommandId>) {
        if !node.config.replication.keep_local {
            self.on_transfer_began();
            node.start_dump(now, command.into_iter().collect(), false);
            return;
        }
        // The transfer goes as fast as the peer and the link take it; if they are not there, it waits until they are.
        command.into_iter().for_each(|id| node.tell(Event::CommandDone(id)));
        if node.dump.as_ref().is_some_and(|dump| dump.first) {
            // The table is not filled yet, and what the dump adds is sent to no peer.
            self.bulk_wanted = true;
            return;
        }
        node.tell(Event::BulkStarted { flows: node.flows.table.len() });
        self.on_transfer_began();
        let remote = &node.remote;
        self.outbox.start_bulk(&mut node.flows.table, |ended| {
            remote.has_told_of(&ended.key(), ended.updated_s)
        });
        self.bulk_began = Some(now);
        self.bulk_due = None;
        self.bulk_next = now;
    }

    /// Packs a piece of the bulk transfer, unless it is in a pause.
    pub(super) fn pack_bulk(&mut self, node: &mut Node, now: Instant, packer: &mut Packer<'_>) {
        if now >= self.bulk_next {
            self.bulk_left = limit::BULK_DATAGRAMS;
            let heard = self.outbox.resend().is_some();
            self.bulk_next =
                now + if heard { limit::BULK_INTERVAL_HEARD } else { limit::BULK_INTERVAL };
        }
        if self.bulk_left == 0 || self.outbox.is_congested() {
            return;
        }
        self.bulk_left -= 1;
        let Node { flows, counters, .. } = node;
        let done = self.outbox.pack_bulk(&mut flows.table, packer, &mut counters.replica);
        if let Some(flows) = done {
            self.queue_expectations(node);
            self.on_transfer_done(true);
            if self.bulk_due.is_none() {
                self.queue_account(node, now);
            }
            node.tell(Event::BulkDone { flows });
        }
    }

    /// Sends all local expectations to the peers, as the last part of a bulk transfer.
    pub fn queue_expectations(&mut self, node: &mut Node) {
        for entry in node.local_expectations.table().values() {
            self.outbox.queue_expectation(&entry.expect, &mut node.counters.replica);
        }
    }

    fn on_transfer_began(&mut self) {
        self.bulk_from = self.outbox.next_seq();
        self.has_unsent = false;
        (self.owes, self.debt_told) = (false, false);
        self.outbox.take_forgotten();
    }

    /// A bulk transfer has come to its end; `whole`: it has named every flow.
    fn on_transfer_done(&mut self, whole: bool) {
        if whole && !self.outbox.has_forgotten() {
            self.transferred = Some(self.bulk_from);
            self.pay_pause = limit::ASK_AGAIN;
        } else {
            self.owes = true;
        }
    }

    /// A reading of the kernel's table is over that passed `flows` of its flows on, because no table is kept.
    pub fn on_passed_on(&mut self, node: &mut Node, now: Instant, (flows, complete): (u64, bool)) {
        self.queue_expectations(node);
        self.on_transfer_done(complete);
        if self.bulk_due.is_none() && node.dump_again.is_none() && self.converses(node) {
            self.queue_account(node, now);
        }
        node.tell(Event::BulkDone { flows });
    }

    /// The kernel's table has been read: a transfer that waited for that begins.
    pub fn on_read(&mut self, node: &mut Node, now: Instant) {
        if core::mem::take(&mut self.bulk_wanted) {
            self.start_bulk(node, now, None);
        }
    }

    /// Whether a transfer has begun since `since`.
    #[must_use]
    pub fn has_told_all_since(&self, since: Option<Instant>) -> bool {
        since.is_some() && self.bulk_began >= since
    }

    /// A flow became this node's own that the peers need not receive: the table holds what none of them has received.
    pub const fn on_taken_unsent(&mut self) {
        self.has_unsent = true;
    }

    /// Everything about the kernel was forgotten, and with it ends that peers should have received.
    pub const fn on_local_flushed(&mut self) {
        self.owes = true;
    }

    /// Nothing of the peers is held any more.
    pub fn on_remote_flushed(&mut self) {
        for (_, peer) in self.peers.iter_mut() {
            let order = peer.tracker.order();
            peer.tracker.forgive(order);
            peer.whole.on_flushed(order);
        }
    }
}
