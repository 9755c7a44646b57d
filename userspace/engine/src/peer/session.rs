//! A session with the peers, in either version of the protocol.
//!
//! # The contract
//!
//! A session has four kinds of methods:
//!
//! - *Changes of local flows* ([`Listener`], called by the node only): they mark the flow in the session's column and
//!   send nothing.
//! - *Input*: [`Session::handle_datagram`], and [`Session::handle_timeout`] when [`Session::poll_timeout`] is due. They
//!   may change the [`Node`]: its remote tables, kernel queue and events.
//! - *Output*: [`Session::poll_transmit`], until it returns `None`. It may release ended flows, which frees room in the
//!   table, and start pauses: [`Session::poll_timeout`] may change after each call.
//! - *State*: [`Session::standing`] and other getters.
//!
//! The one real dependency: after a method of the first two kinds there may be output.
//!
//! A session keeps its per-flow state in a column indexed by slot. The table keeps an ended flow while
//! [`Listener::holds`] returns true; the session releases it.

use super::reach::PeerReach;
use super::standing::Standing;
use super::v1::{Outbox, Peers, V1};
use super::v2::session::V2;
use crate::bounded::QueueUsages;
use crate::changed::{Elsewhere, Listener};
use crate::config::Config;
use crate::counters::ReplicaCounters;
use crate::expectations::ExpectKey;
use crate::flows::table::{FlowTable, Slot};
use crate::input::{CommandId, Sender};
use crate::message_id::{MessageId, PeerId};
use crate::node::{self, Node};
use crate::output::Event;
use crate::output::Sealed;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use common::Instant;
use ctnetlink::{Change, Expectation, Flow, FlowKey};

/// A session, by the version it speaks.
#[derive(Debug)]
pub enum Session {
    /// Version 1, with all nodes that are heard on the links.
    V1(Box<V1>),
    /// Version 2, with all nodes that are configured.
    V2(Box<V2>),
}

/// Datagrams in, datagrams out, and the state of the session.
impl Session {
    /// A session as the configuration has it, that begins at `now`.
    #[must_use]
    pub fn new(config: &Config, now: Instant) -> Self {
        match &config.cluster {
            Some(cluster) => Self::V2(Box::new(V2::new(config, Arc::clone(cluster), now))),
            None => Self::V1(Box::new(V1::new(config, now))),
        }
    }

    /// Version 1, if that is spoken.
    #[must_use]
    pub const fn v1(&self) -> Option<&V1> {
        match self {
            Self::V1(v1) => Some(v1),
            Self::V2(_) => None,
        }
    }

    const fn v1_mut(&mut self) -> Option<&mut V1> {
        match self {
            Self::V1(v1) => Some(v1),
            Self::V2(_) => None,
        }
    }

    /// Version 2, if that is spoken.
    #[must_use]
    pub const fn v2(&self) -> Option<&V2> {
        match self {
            Self::V1(_) => None,
            Self::V2(v2) => Some(v2),
        }
    }

    /// See [`Session::v2`].
    pub const fn v2_mut(&mut self) -> Option<&mut V2> {
        match self {
            Self::V1(_) => None,
            Self::V2(v2) => Some(v2),
        }
    }

    /// Takes a datagram of version 1 that came from an address.
    pub fn handle_datagram(&mut self, node: &mut Node, now: Instant, from: Sender, bytes: &[u8]) {
        if let Self::V1(v1) = self {
            v1.handle_datagram(node, now, from, bytes);
        }
    }

    /// Takes what a peer of version 2 sealed.
    pub fn on_opened(
        &mut self,
        node: &mut Node,
        now: Instant,
        from: (PeerId, u8, u64),
        bytes: &[u8],
    ) {
        if let Self::V2(v2) = self {
            v2.on_opened(node, now, from, bytes);
        }
    }

    /// Does what the time asks for and no event has to wait for.
    pub fn handle_timeout(&mut self, node: &mut Node, now: Instant) {
        match self {
            Self::V1(v1) => v1.handle_timeout(node, now),
            Self::V2(v2) => v2.handle_timeout(now),
        }
    }

    /// Does what the time asks for, with every input.
    pub fn on_time(&mut self, node: &mut Node, now: Instant) {
        match self {
            Self::V1(v1) => v1.on_time(node, now),
            Self::V2(v2) => v2.on_time(node, now),
        }
    }

    /// Fills `datagram` for all who listen on the links and returns its length; `None` when there is nothing to send.
    pub fn poll_transmit(
        &mut self,
        node: &mut Node,
        now: Instant,
        datagram: &mut [u8],
    ) -> Option<usize> {
        self.v1_mut()?.poll_transmit(node, now, datagram)
    }

    /// Fills `datagram` for one peer; `None` when there is nothing to send now.
    pub fn poll_sealed(
        &mut self,
        node: &Node,
        now: Instant,
        datagram: &mut [u8],
    ) -> Option<Sealed> {
        self.v2_mut()?.poll_sealed(node, now, datagram)
    }

    /// When to call [`Session::handle_timeout`] and poll again, if nothing else happens before.
    #[must_use]
    pub fn poll_timeout(&self, node: &Node) -> Option<Instant> {
        match self {
            Self::V1(v1) => v1.poll_timeout(node),
            Self::V2(v2) => v2.poll_timeout(node),
        }
    }

    /// How this node stands with its peers.
    #[must_use]
    pub fn standing(&self, node: &Node, now: Instant) -> Standing {
        match self {
            Self::V1(v1) => v1.standing(node, now),
            Self::V2(v2) => v2.standing(node, now),
        }
    }

    /// How far the last change of a flow of this node has come, to each peer; nothing where there are none.
    #[must_use]
    pub fn reach(&self, node: &Node, key: &FlowKey, now: Instant) -> Vec<PeerReach> {
        match self {
            Self::V1(v1) => {
                let slot = node.flows.table.find(key);
                let reach = slot.and_then(|slot| v1.outbox.reach(slot));
                reach
                    .map(|reach| PeerReach { peer: None, reach, waits: None })
                    .into_iter()
                    .collect()
            }
            Self::V2(v2) => v2.reach(node, key, now),
        }
    }

    /// Begins a bulk transfer, or has the peers compare; `command` waits for that.
    pub fn start_bulk(&mut self, node: &mut Node, now: Instant, command: Option<CommandId>) {
        match self {
            Self::V1(v1) => v1.start_bulk(node, now, command),
            Self::V2(v2) => {
                v2.have_compared(now);
                command.into_iter().for_each(|id| node.report(Event::CommandDone(id)));
            }
        }
    }

    /// Asks all peers for everything, or compares what is held of them.
    pub fn ask_for_everything(&mut self, node: &mut Node, now: Instant) {
        match self {
            Self::V1(v1) => v1.ask_for_everything(node, now),
            Self::V2(v2) => v2.compare(now),
        }
    }

    /// Messages carry remaining lifetimes from here on, or do not.
    pub const fn send_lifetimes(&mut self, send: bool) {
        if let Some(v1) = self.v1_mut() {
            v1.outbox.send_lifetimes(send);
        }
    }

    /// Whether the last datagram held a message that was understood.
    #[must_use]
    pub const fn understood(&self) -> bool {
        match self {
            Self::V1(v1) => v1.understood,
            Self::V2(_) => false,
        }
    }

    /// Its queues, by name; those of several peers are one.
    pub fn queues(&self, queues: &mut QueueUsages) {
        match self {
            Self::V1(v1) => v1.queues(queues),
            Self::V2(v2) => v2.queues(queues),
        }
    }

    /// The nodes that were heard on the links.
    #[must_use]
    pub const fn peers(&self) -> Option<&Peers> {
        match self {
            Self::V1(v1) => Some(v1.peers()),
            Self::V2(_) => None,
        }
    }

    /// The messages that wait to be sent to the links, and those that wait for an acknowledgement.
    #[must_use]
    pub const fn outbox(&self) -> Option<&Outbox> {
        match self {
            Self::V1(v1) => Some(v1.outbox()),
            Self::V2(_) => None,
        }
    }
}

/// Commits, and who carries traffic.
impl Session {
    /// Commits the flows of a peer, or those that no living node carries.
    pub fn on_commit(&mut self, now: Instant, peer: Option<PeerId>) {
        if let Self::V2(v2) = self {
            v2.on_commit(now, peer);
        }
    }

    /// A commit of expectations alone is asked for.
    pub fn on_commit_expectations(&mut self, now: Instant) {
        if let Self::V2(v2) = self {
            v2.on_commit_expectations(now);
        }
    }

    /// Another node takes over; `release`: from now on, and this node's flows have no owner.
    pub fn on_stepping_back(&mut self, now: Instant, release: bool) {
        if let Self::V2(v2) = self {
            v2.on_stepping_back(now, release);
        }
    }
}

/// What was flushed.
impl Session {
    /// Everything was forgotten that the kernel holds.
    pub fn on_local_flushed(&mut self) {
        if let Self::V1(v1) = self {
            v1.outbox.withdraw_expectations(|_| true);
            v1.on_local_flushed();
        }
    }

    /// Order of the last message of each peer.
    pub fn orders(&self) -> impl Iterator<Item = u64> {
        let peers = self.v1().into_iter().flat_map(|v1| v1.peers.iter());
        peers.map(|(_, peer)| peer.tracker.order())
    }

    /// Nothing of the peers is held any more.
    pub fn on_remote_flushed(&mut self, now: Instant) {
        match self {
            Self::V1(v1) => v1.on_remote_flushed(),
            Self::V2(v2) => v2.on_remote_flushed(now),
        }
    }
}

/// Calls a method of whichever session there is.
macro_rules! either {
    ($session:expr, $each:ident => $call:expr) => {
        match $session {
            Session::V1($each) => $call,
            Session::V2($each) => $call,
        }
    };
}

impl node::Peers for Session {
    fn on_refused(&mut self, message: MessageId) {
        either!(self, each => each.on_refused(message));
    }

    fn on_passed_on(&mut self, node: &mut Node, now: Instant, passed: (u64, bool)) {
        either!(self, each => node::Peers::on_passed_on(&mut **each, node, now, passed));
    }

    fn on_read(&mut self, node: &mut Node, now: Instant) {
        either!(self, each => node::Peers::on_read(&mut **each, node, now));
    }

    fn send_expectations(&mut self, node: &mut Node) {
        either!(self, each => each.send_expectations(node));
    }

    fn has_sent_all_since(&self, since: Option<Instant>) -> bool {
        either!(self, each => node::Peers::has_sent_all_since(&**each, since))
    }

    fn on_end_unsent(&mut self) {
        either!(self, each => node::Peers::on_end_unsent(&mut **each));
    }

    fn on_injected_changed(&mut self, key: &FlowKey) {
        either!(self, each => node::Peers::on_injected_changed(&mut **each, key));
    }

    fn age_s(&self, slot: Slot, updated_s: u32, now: Instant) -> Option<u32> {
        either!(self, each => node::Peers::age_s(&**each, slot, updated_s, now))
    }

    fn holds_commit(&self) -> bool {
        either!(self, each => node::Peers::holds_commit(&**each))
    }

    fn on_commit_done(&mut self) {
        either!(self, each => node::Peers::on_commit_done(&mut **each));
    }

    fn takes_expectation(&self, key: &ExpectKey) -> bool {
        either!(self, each => node::Peers::takes_expectation(&**each, key))
    }

    fn on_expectations_read(&mut self) {
        either!(self, each => node::Peers::on_expectations_read(&mut **each));
    }

    fn on_expectation_without_master(&mut self, key: &ExpectKey) {
        either!(self, each => node::Peers::on_expectation_without_master(&mut **each, key));
    }
}

impl Listener for Session {
    fn on_added(&mut self, slot: Slot, elsewhere: Elsewhere, now: Instant) {
        either!(self, each => each.on_added(slot, elsewhere, now));
    }

    fn on_changed(&mut self, slot: Slot) {
        either!(self, each => each.on_changed(slot));
    }

    fn start_over(&mut self, slot: Slot) {
        either!(self, each => each.start_over(slot));
    }

    fn on_revived(&mut self, slot: Slot, now: Instant) {
        either!(self, each => each.on_revived(slot, now));
    }

    fn on_removed(&mut self, slot: Slot) {
        either!(self, each => each.on_removed(slot));
    }

    fn is_unsent(&self, slot: Slot) -> bool {
        either!(self, each => each.is_unsent(slot))
    }

    fn holds(&self, slot: Slot) -> bool {
        either!(self, each => each.holds(slot))
    }

    fn silence(&mut self, slot: Slot) {
        either!(self, each => each.silence(slot));
    }

    fn owe_end(&mut self, slot: Slot) {
        either!(self, each => each.owe_end(slot));
    }

    fn on_overwritten(&mut self, slot: Slot) {
        either!(self, each => Listener::on_overwritten(&mut **each, slot));
    }

    fn on_passed(&mut self, change: Change, flow: Flow, counters: &mut ReplicaCounters) {
        either!(self, each => each.on_passed(change, flow, counters));
    }

    fn reclaim(&mut self, table: &mut FlowTable, counters: &mut ReplicaCounters) -> bool {
        either!(self, each => each.reclaim(table, counters))
    }

    fn forget_entries(&mut self) {
        either!(self, each => each.forget_entries());
    }

    fn on_taken_unsent(&mut self) {
        either!(self, each => Listener::on_taken_unsent(&mut **each));
    }

    fn on_expectation(&mut self, expect: &Expectation, counters: &mut ReplicaCounters) {
        either!(self, each => each.on_expectation(expect, counters));
    }

    fn withdraw_expectation(&mut self, gone: &ExpectKey) {
        either!(self, each => each.withdraw_expectation(gone));
    }
}
