//! A session with peers, whatever version of the protocol it speaks.
//!
//! # The contract
//!
//! A session has four kinds of methods.
//!
//! - *What happened to flows of this node* ([`Listener`], which only the node calls): they only note in the session's
//!   own column what is to be told. They cost nothing but that, and never send.
//! - *What came in*: [`Session::handle_datagram`], and [`Session::handle_timeout`] when the time of
//!   [`Session::poll_timeout`] has come. They may change the [`Node`]: its remote tables, its kernel queue, its events.
//! - *What is to go out*: [`Session::poll_transmit`], until it has nothing more. It may let go of flows that ended, so
//!   the table has more room afterwards, and it begins pauses, so [`Session::poll_timeout`] may change after each call.
//! - *How it stands*: [`Session::standing`] and what is only read.
//!
//! The one dependency that is real is from the first two kinds to the third: after either of them there may be
//! something to send.
//!
//! A session keeps what it must remember of each flow in a column of its own, by slot. The entry of a flow that ended
//! stays in the table for as long as [`Listener::holds`] says so: the session itself lets go of it.

use super::v1::{Outbox, Peers, V1};
use crate::changed::{Elsewhere, Listener};
use crate::config::Config;
use crate::counters::ReplicaCounters;
use crate::expectations::ExpectKey;
use crate::flows::table::{FlowTable, Slot};
use crate::input::{CommandId, Sender};
use crate::node::{self, Node};
use crate::told::Told;
use common::Instant;
use core::time::Duration;
use ctnetlink::{Change, Expectation, Flow};

/// How this node stands with its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The kernel's table has been read, and is not being read again.
    pub local_loaded: bool,
    /// How long ago the peer was heard; `None` if it never was.
    pub peer_heard: Option<Duration>,
    /// The peer's whole table came in since we asked for it.
    pub remote_complete: bool,
    /// No message of the peer is missing, as far as that is known.
    pub remote_exact: bool,
    /// A bulk transfer to the peer is under way.
    pub in_bulk: bool,
    /// A commit is under way.
    pub committing: bool,
}

/// A session, by the version it speaks.
#[derive(Debug)]
pub enum Session {
    /// Version 1, with all nodes that are heard on the links.
    V1(V1),
}

/// What came in, what is to go out, and how it stands.
impl Session {
    /// A session as the configuration has it, that begins at `now`.
    #[must_use]
    pub fn new(config: &Config, now: Instant) -> Self {
        Self::V1(V1::new(config, now))
    }

    /// Takes a datagram that came from an address.
    pub fn handle_datagram(&mut self, node: &mut Node, now: Instant, from: Sender, bytes: &[u8]) {
        let Self::V1(v1) = self;
        v1.handle_datagram(node, now, from, bytes);
    }

    /// Does what the time asks for and no event has to wait for.
    pub fn handle_timeout(&mut self, node: &mut Node, now: Instant) {
        let Self::V1(v1) = self;
        v1.handle_timeout(node, now);
    }

    /// Does what the time asks for, with every input.
    pub fn on_time(&mut self, node: &mut Node, now: Instant) {
        let Self::V1(v1) = self;
        v1.on_time(node, now);
    }

    /// Fills `datagram` and returns its length; `None` when there is nothing to send now.
    pub fn poll_transmit(
        &mut self,
        node: &mut Node,
        now: Instant,
        datagram: &mut [u8],
    ) -> Option<usize> {
        let Self::V1(v1) = self;
        v1.poll_transmit(node, now, datagram)
    }

    /// When to call [`Session::handle_timeout`] and [`Session::poll_transmit`], if nothing else happens before.
    #[must_use]
    pub fn poll_timeout(&self, node: &Node) -> Option<Instant> {
        let Self::V1(v1) = self;
        v1.poll_timeout(node)
    }

    /// How this node stands with its peers.
    #[must_use]
    pub fn standing(&self, node: &Node, now: Instant) -> Standing {
        let Self::V1(v1) = self;
        v1.standing(node, now)
    }

    /// Begins to tell everything; `command` waits for that.
    pub fn start_bulk(&mut self, node: &mut Node, now: Instant, command: Option<CommandId>) {
        let Self::V1(v1) = self;
        v1.start_bulk(node, now, command);
    }

    /// Asks all peers for everything.
    pub fn ask_for_everything(&mut self, node: &mut Node, now: Instant) {
        let Self::V1(v1) = self;
        v1.ask_for_everything(node, now);
    }

    /// Messages carry remaining lifetimes from here on, or do not.
    pub const fn send_lifetimes(&mut self, send: bool) {
        let Self::V1(v1) = self;
        v1.outbox.send_lifetimes(send);
    }

    /// Whether the last datagram held a message that was understood.
    #[must_use]
    pub const fn understood(&self) -> bool {
        let Self::V1(v1) = self;
        v1.understood
    }

    /// The nodes that were heard.
    #[must_use]
    pub const fn peers(&self) -> &Peers {
        let Self::V1(v1) = self;
        v1.peers()
    }

    /// What waits to be sent and what waits to be acknowledged.
    #[must_use]
    pub const fn outbox(&self) -> &Outbox {
        let Self::V1(v1) = self;
        v1.outbox()
    }
}

/// What was flushed.
impl Session {
    /// Everything was forgotten that the kernel holds.
    pub fn on_local_flushed(&mut self) {
        let Self::V1(v1) = self;
        v1.outbox.withdraw_expectations(|_| true);
        v1.on_local_flushed();
    }

    /// Order of the last message of each peer.
    pub fn orders(&self) -> impl Iterator<Item = u64> {
        let Self::V1(v1) = self;
        v1.peers.iter().map(|(_, peer)| peer.tracker.order())
    }

    /// Nothing of the peers is held any more.
    pub fn on_remote_flushed(&mut self) {
        let Self::V1(v1) = self;
        v1.on_remote_flushed();
    }
}

impl node::Peers for Session {
    fn on_refused(&mut self, told: Told) {
        let Self::V1(v1) = self;
        if let Some(peer) = v1.peers.get_mut(told.peer()) {
            peer.whole.on_refused(told.order());
        }
    }

    fn on_passed_on(&mut self, node: &mut Node, now: Instant, passed: (u64, bool)) {
        let Self::V1(v1) = self;
        v1.on_passed_on(node, now, passed);
    }

    fn on_read(&mut self, node: &mut Node, now: Instant) {
        let Self::V1(v1) = self;
        v1.on_read(node, now);
    }

    fn tell_expectations(&mut self, node: &mut Node) {
        let Self::V1(v1) = self;
        v1.queue_expectations(node);
    }

    fn has_told_all_since(&self, since: Option<Instant>) -> bool {
        let Self::V1(v1) = self;
        v1.has_told_all_since(since)
    }
}

impl Listener for Session {
    fn on_added(&mut self, slot: Slot, elsewhere: Elsewhere, now: Instant) {
        let Self::V1(v1) = self;
        v1.outbox.on_added(slot, elsewhere, now);
    }

    fn on_changed(&mut self, slot: Slot) {
        let Self::V1(v1) = self;
        v1.outbox.queue_entry(slot);
    }

    fn start_over(&mut self, slot: Slot) {
        let Self::V1(v1) = self;
        v1.outbox.start_over(slot);
    }

    fn on_revived(&mut self, slot: Slot, now: Instant) {
        let Self::V1(v1) = self;
        v1.outbox.restart_timer(slot, now);
    }

    fn on_removed(&mut self, slot: Slot) {
        let Self::V1(v1) = self;
        v1.outbox.on_removed(slot);
    }

    fn is_untold(&self, slot: Slot) -> bool {
        let Self::V1(v1) = self;
        v1.outbox.is_untold(slot)
    }

    fn holds(&self, slot: Slot) -> bool {
        let Self::V1(v1) = self;
        v1.outbox.holds(slot)
    }

    fn silence(&mut self, slot: Slot) {
        let Self::V1(v1) = self;
        v1.outbox.silence(slot);
    }

    fn owe_end(&mut self, slot: Slot) {
        let Self::V1(v1) = self;
        v1.outbox.owe_end(slot);
    }

    fn on_overwritten(&mut self) {
        let Self::V1(v1) = self;
        v1.on_overwritten();
    }

    fn on_passed(&mut self, change: Change, flow: Flow, counters: &mut ReplicaCounters) {
        let Self::V1(v1) = self;
        v1.outbox.queue_message(change, flow, counters);
    }

    fn reclaim(&mut self, table: &mut FlowTable, counters: &mut ReplicaCounters) -> bool {
        let Self::V1(v1) = self;
        v1.outbox.reclaim(table, counters)
    }

    fn forget_entries(&mut self) {
        let Self::V1(v1) = self;
        v1.outbox.forget_entries();
    }

    fn note_untold(&mut self) {
        let Self::V1(v1) = self;
        v1.note_untold();
    }

    fn on_expectation(&mut self, expect: &Expectation, counters: &mut ReplicaCounters) {
        let Self::V1(v1) = self;
        v1.outbox.queue_expectation(expect, counters);
    }

    fn withdraw_expectation(&mut self, gone: &ExpectKey) {
        let Self::V1(v1) = self;
        v1.outbox.withdraw_expectations(|key| key == gone);
    }
}
