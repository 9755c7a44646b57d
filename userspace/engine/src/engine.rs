//! One shard: takes inputs to the node and to the session, and hands out what they want.

use crate::bounded::QueueUsages;
use crate::config::{Config, Mode, Owner};
use crate::counters::Counters;
use crate::expectations::{ExpectEntry, ExpectKey};
use crate::flows::exactness::{Cause, Exactness};
use crate::flows::table::{Entry, FlowTable, Notes, Slot};
use crate::input::{Command, CommandId, Input, Reconfigure, Stamp};
use crate::journal::Journal;
use crate::node::Node;
use crate::output::{Event, KernelOp, Sealed, Side};
use crate::peer::reach::PeerReach;
use crate::peer::session::Session;
use crate::peer::standing::Standing;
use crate::peer::v1::{self, Outbox, Peers};
use crate::peer::v2::session::{PeerStanding, V2};
use crate::turnover::Turnover;
use alloc::vec::Vec;
use common::Instant;
use core::time::Duration;
use ctnetlink::{Flow, FlowKey};
use wire::feed::Walked;

/// Why what only peers of version 2 can do is refused.
const NO_PEERS_OF_V2: &str = "there are no peers of version 2";

#[cfg(test)]
mod tests;

/// One shard of the flow engine. See the crate's documentation for how to drive it.
#[derive(Debug)]
pub struct Engine {
    node: Node,
    session: Session,
}

impl Engine {
    /// A shard that begins at `now`. It asks for a dump of the kernel's table first, to learn of the flows that exist.
    #[must_use]
    pub fn new(config: Config, now: Instant) -> Self {
        let replication = config.replication;
        let session = Session::new(&config, now);
        let mut engine = Self { node: Node::new(config, now, v1::travels), session };
        if replication.startup_resync && replication.mode == Mode::NoTrack {
            engine.session.ask_for_everything(&mut engine.node, now);
        }
        engine
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        for side in [Side::Local, Side::Remote] {
            self.table_mut(side).journal().into_iter().for_each(|journal| journal.begin(now));
        }
        let Self { node, session } = self;
        match input {
            Input::Kernel { event, flow, origin, stamp } => {
                if let (Stamp::At(at), Some(v2)) = (stamp, session.v2_mut()) {
                    v2.on_event_at(at);
                }
                node.on_event(session, now, (event, flow), (origin, stamp));
            }
            Input::Noticed(key) => {
                let (flows, mut cx) = node.context(session, now);
                flows.on_noticed(&mut cx, &key);
            }
            Input::Packet { seen, at } => node.on_packet(session, now, seen, at),
            Input::EventsLost { count } => node.on_events_lost(now, count),
            Input::Dumped(flow) => node.on_dumped(session, now, flow),
            Input::DumpDone { complete } => node.on_dump_done(session, now, complete),
            Input::Verified { key, flow } => node.on_verified(session, now, &key, flow),
            Input::KernelExpect { event, expect, origin } => {
                node.on_expect_event(session, now, (event, *expect), origin);
            }
            Input::ExpectEventsLost => node.start_expect_dump(now, Vec::new(), false),
            Input::DumpedExpectation(expect) => node.on_dumped_expectation(session, now, *expect),
            Input::ExpectationDumpDone { complete } => {
                node.on_expect_dump_done(session, now, complete);
            }
            Input::Datagram { from, bytes } => session.handle_datagram(node, now, from, bytes),
            Input::PeerUp { peer, incarnation, shards } => {
                let whole = (incarnation, shards);
                session.v2_mut().into_iter().for_each(|v2| v2.on_peer_up(now, peer, whole));
            }
            Input::PeerDown { peer } => {
                session.v2_mut().into_iter().for_each(|v2| v2.on_peer_down(now, peer));
            }
            Input::PathLimit { peer, to, tried, most } => {
                let (peer, limit) = ((peer, to), (tried, most));
                session.v2_mut().into_iter().for_each(|v2| v2.on_path_limit(now, peer, limit));
            }
            Input::Leaving => session.v2_mut().into_iter().for_each(V2::leave),
            Input::Opened { peer, from, number, bytes } => {
                session.on_opened(node, now, (peer, from, number), bytes);
            }
            Input::KernelHealth { flows, events } => node.on_kernel_health(now, flows, events),
            Input::Command(id, command) => self.on_command(now, id, command),
            Input::KernelFailed { token, errno } => {
                node.on_kernel_failed(session, now, token, errno);
            }
            Input::KernelSettled { token } => node.on_kernel_settled(session, now, token),
            Input::Reconfigure(settings) => self.reconfigure(settings),
            Input::SourceChanged { hears_requests } => node.on_source(now, hears_requests),
            Input::Timeout => {
                session.handle_timeout(node, now);
                node.audit(now);
            }
        }
        let Self { node, session } = self;
        session.on_time(node, now);
        node.on_time(session, now);
        node.look_for_room(now);
        node.advance_commit(session, now);
    }

    /// Fills `datagram` with messages for the peers and returns its length; `None` when there is nothing to send now.
    ///
    /// `datagram` is as long as the link takes in one piece.
    pub fn poll_transmit(&mut self, now: Instant, datagram: &mut [u8]) -> Option<usize> {
        self.session.poll_transmit(&mut self.node, now, datagram)
    }

    /// Fills `datagram` for one peer of version 2; `None` when there is nothing to send now.
    pub fn poll_sealed(&mut self, now: Instant, datagram: &mut [u8]) -> Option<Sealed> {
        self.session.poll_sealed(&self.node, now, datagram)
    }

    /// How each peer of version 2 stands, in the order of the configuration.
    pub fn peer_standings(&self, now: Instant) -> impl Iterator<Item = PeerStanding> {
        self.session.v2().into_iter().flat_map(move |v2| v2.peer_standings(now))
    }

    /// Which node's claim of a living flow wins, as far as this node knows (version 2), and the flow as that node sent
    /// it.
    #[must_use]
    pub fn claimed(&self, key: &FlowKey) -> Option<(Owner, Flow)> {
        self.session.v2()?.claimed(&self.node, key)
    }

    /// How far the last change of a flow of this node has come, to each peer; nothing where there are none.
    #[must_use]
    pub fn reach(&self, key: &FlowKey, now: Instant) -> Vec<PeerReach> {
        self.session.reach(&self.node, key, now)
    }

    /// The next request for the kernel; `None` when there is none now.
    pub fn poll_kernel(&mut self) -> Option<KernelOp<'_>> {
        self.node.kernel.poll()
    }

    /// What [`Engine::poll_kernel`] would hand over, for who collects requests of one kind.
    #[must_use]
    pub fn peek_kernel(&self) -> Option<KernelOp<'_>> {
        self.node.kernel.peek()
    }

    /// Whether [`Engine::poll_kernel`] has something, or will have when requests in flight are settled.
    #[must_use]
    pub fn wants_kernel(&self) -> bool {
        self.node.kernel.waits()
    }

    /// The next event to report.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.node.poll_event()
    }

    /// When to call [`Engine::handle`] with [`Input::Timeout`] and poll again, if nothing else happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        let times = [self.session.poll_timeout(&self.node), self.node.poll_timeout()];
        times.into_iter().flatten().min().unwrap_or(Instant(u64::MAX))
    }

    /// How this node stands with its peers.
    #[must_use]
    pub fn standing(&self, now: Instant) -> Standing {
        self.session.standing(&self.node, now)
    }

    #[cfg(test)]
    pub(crate) const fn node(&self) -> &Node {
        &self.node
    }

    /// Forgets the claim of a flow, without a message of any peer.
    #[cfg(test)]
    pub(crate) fn spoil(&mut self, key: &FlowKey) {
        let Self { node, session } = self;
        session.v2_mut().into_iter().for_each(|v2| v2.spoil(node, key));
    }

    /// Replaces a peer's held flow with another state, without a message of any peer.
    #[cfg(test)]
    pub(crate) fn alter_held(&mut self, now: Instant, flow: Flow) {
        let Self { node, session } = self;
        if let Some(v2) = session.v2_mut() {
            v2.alter_held(node, now, flow);
        }
    }

    /// Whether the last datagram held a message that was understood.
    #[must_use]
    pub const fn understood(&self) -> bool {
        self.session.understood()
    }

    /// The nodes that were heard on the links of version 1.
    #[must_use]
    pub const fn peers(&self) -> Option<&Peers> {
        self.session.peers()
    }

    /// The messages of version 1: those that wait to be sent, and those that wait for an acknowledgement.
    #[must_use]
    pub const fn outbox(&self) -> Option<&Outbox> {
        self.session.outbox()
    }

    /// What came and went in the local table.
    #[must_use]
    pub const fn turnover(&self) -> &Turnover {
        &self.node.flows.turnover
    }

    /// One of the two tables.
    #[must_use]
    pub const fn table(&self, side: Side) -> &FlowTable {
        match side {
            Side::Local => &self.node.flows.table,
            Side::Remote => self.node.remote.table(),
        }
    }

    const fn table_mut(&mut self, side: Side) -> &mut FlowTable {
        match side {
            Side::Local => &mut self.node.flows.table,
            Side::Remote => self.node.remote.shown_mut(),
        }
    }

    /// Starts recording every change of a table in the journal, or stops. Returns the number of the last record of
    /// the journal before. Rows that are in the table already are not recorded: [`Engine::walk`] adds them between
    /// changes.
    pub fn listen(&mut self, side: Side, journal: Option<Journal>) -> u64 {
        self.table_mut(side).listen(journal)
    }

    /// The journal of a table, while a consumer listens.
    pub fn journal(&mut self, side: Side) -> Option<&mut Journal> {
        self.table_mut(side).journal()
    }

    /// Writes rows of a table into the journal as they are; see [`FlowTable::walk`].
    #[must_use]
    pub fn walk(&mut self, side: Side, (id, from): (u32, Slot), most: (u32, Slot)) -> Walked {
        self.table_mut(side).walk(id, from, most)
    }

    /// Writes the progress of a walk into the journal. Returns false, and writes nothing, if there is no room or no
    /// consumer.
    #[must_use]
    pub fn report_walked(&mut self, side: Side, walked: &Walked) -> bool {
        self.journal(side).is_some_and(|journal| journal.walked(walked))
    }

    /// Publishes the records of this turn to the consumers, at the end of the turn.
    pub fn hand_over(&mut self) {
        for side in [Side::Local, Side::Remote] {
            self.journal(side).into_iter().for_each(Journal::hand_over);
        }
    }

    /// Whether a consumer wants counters and times of flows.
    #[must_use]
    pub fn wants_counters(&self) -> bool {
        self.config().replication.keep_local && self.node.flows.table.wants_counters()
    }

    /// How long an entry of a table stays if the peer does not send it again; `None` where entries just stay.
    #[must_use]
    pub fn expires_in(&self, side: Side, entry: &Notes, now: Instant) -> Option<Duration> {
        match side {
            Side::Local => None,
            Side::Remote => self.node.remote.expires_in(entry, now),
        }
    }

    /// Flows of a table that live.
    pub fn flows(&self, side: Side) -> impl Iterator<Item = Flow> {
        let alive = |e: &Entry<'_>| !e.has_ended();
        self.table(side).iter().map(|(_, entry)| entry).filter(alive).map(|entry| entry.flow())
    }

    /// The counters of this engine.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let kernel_no_space = self.node.kernel.usage().no_space;
        let events_dropped = self.node.events.usage().no_space;
        Counters { kernel_no_space, events_dropped, ..self.node.counters }
    }

    /// Adds every queue, by name.
    pub fn queues(&self, queues: &mut QueueUsages) {
        self.node.queues(queues);
        self.session.queues(queues);
    }

    /// The settings it runs with.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.node.config
    }

    /// Whether a commit is under way.
    #[must_use]
    pub const fn is_committing(&self) -> bool {
        self.node.is_committing()
    }

    /// How far a commit of flows is: flows the kernel has answered for, and flows there are.
    #[must_use]
    pub fn commit_progress(&self) -> Option<(u64, u64)> {
        let of = self.node.remote.table().alive() as u64;
        self.node.commit.as_ref().map(|commit| (commit.settled().min(of), of))
    }

    /// Whether the kernel's table has been read once since the start. Where no local table is kept, there is nothing to
    /// read.
    #[must_use]
    pub const fn is_filled(&self) -> bool {
        self.node.is_filled()
    }

    /// How many messages wait to be sent.
    #[must_use]
    pub fn outbox_len(&self) -> usize {
        self.session.outbox().map_or(0, Outbox::len)
    }

    /// How far the local table can be trusted. Where none is kept, nothing in it can be wrong.
    #[must_use]
    pub const fn exactness(&self) -> Exactness {
        self.node.exactness.state()
    }

    /// Why the local table is not exact, or was not the last time.
    #[must_use]
    pub const fn inexact_because(&self) -> Cause {
        self.node.exactness.cause()
    }

    /// How many flows have been read while the kernel's table is read for the first time; `None` before and after.
    #[must_use]
    pub fn loading(&self) -> Option<u64> {
        self.node.loading()
    }

    /// Flows of which the kernel may never say anything, and that are looked after instead.
    #[must_use]
    pub fn flows_without_events(&self) -> usize {
        self.node.flows_without_events()
    }

    /// Expectations of one of the two tables, from behind `last` on, in order of identity.
    pub fn expectations(
        &self,
        side: Side,
        last: Option<ExpectKey>,
    ) -> impl Iterator<Item = (&ExpectKey, &ExpectEntry)> {
        self.node.expectations(side, last)
    }

    /// How many expectations the local and the remote table hold.
    #[must_use]
    pub fn expectation_counts(&self) -> [usize; 2] {
        self.node.expectation_counts()
    }

    fn reconfigure(&mut self, settings: Reconfigure) {
        let Reconfigure { filter, commit_timeout_s, repair_after, rates } = settings;
        let config = &mut self.node.config;
        filter.into_iter().for_each(|filter| config.filter = *filter);
        config.commit_timeout_s = commit_timeout_s;
        config.repair_after = repair_after;
        self.session.send_lifetimes(commit_timeout_s.is_none());
        if let (Some(rates), Some(v2)) = (rates, self.session.v2_mut()) {
            v2.set_rates(rates);
        }
    }

    fn flush(&mut self, now: Instant, local: bool, remote: bool) {
        let Self { node, session } = self;
        if local {
            node.flows.flush(session, now);
            node.local_expectations.flush();
            session.on_local_flushed();
            node.doubt(now, Cause::Flushed, 0);
            if session.v2().is_some() {
                // What is claimed is read again, flows and expectations.
                node.start_expect_dump(now, Vec::new(), false);
            }
        }
        if remote {
            node.remote_expectations.flush(session.orders());
            // What was written straight into the kernel stays there, and is this node's own from here on: a node that
            // takes over flushes, and reads the kernel's table.
            node.remote.flush(session.orders());
            session.on_remote_flushed(now);
        }
    }

    fn on_command(&mut self, now: Instant, id: CommandId, command: Command) {
        let Self { node, session } = self;
        let replication = node.config.replication;
        match command {
            Command::Commit => {
                session.on_commit(now, None);
                node.start_commit(now, id, (true, false));
            }
            Command::TakeOver(_) if session.v2().is_none() => {
                node.report(Event::CommandRefused(id, NO_PEERS_OF_V2));
            }
            Command::TakeOver(_) if node.is_committing() => {
                node.report(Event::CommandRefused(id, "a commit is still in progress"));
            }
            Command::TakeOver(peer) => {
                session.on_commit(now, Some(peer));
                node.start_commit(now, id, (true, node.config.expectations.any()));
            }
            Command::Compare(peer) => {
                let refused = match session.v2_mut() {
                    Some(v2) => v2.begin_comparing(now, peer, id),
                    None => Err(NO_PEERS_OF_V2),
                };
                refused
                    .err()
                    .into_iter()
                    .for_each(|why| node.report(Event::CommandRefused(id, why)));
            }
            Command::StandBy | Command::Release => {
                session.on_stepping_back(now, command == Command::Release);
                node.report(Event::CommandDone(id));
            }
            Command::CommitExpectations => {
                session.on_commit_expectations(now);
                node.start_commit(now, id, (false, true));
            }
            Command::CommitAll => {
                session.on_commit(now, None);
                node.start_commit(now, id, (true, true));
            }
            Command::Flush { remote: true, .. } if node.is_committing() => {
                node.report(Event::CommandRefused(id, "a commit is still in progress"));
            }
            Command::Flush { local, remote } => {
                self.flush(now, local, remote);
                self.node.report(Event::CommandDone(id));
            }
            Command::Bulk | Command::RequestResync if !replication.mode.converses() => {
                // ALARM sends every flow again anyway.
                node.report(Event::CommandDone(id));
            }
            Command::Bulk => session.start_bulk(node, now, Some(id)),
            Command::RequestResync => {
                session.ask_for_everything(node, now);
                node.report(Event::CommandDone(id));
            }
            Command::ResyncKernelExpectations => node.read_expectations(now, id),
            Command::ResyncKernel | Command::ResyncKernelAll if !replication.keep_local => {
                node.report(Event::CommandRefused(id, "resync is unsupported in this mode"));
            }
            Command::ResyncKernelAll => {
                // The kernel is asked in this order, so the second answer is that to the command.
                node.start_expect_dump(now, Vec::new(), false);
                node.start_dump(now, alloc::vec![id], false);
            }
            Command::ResyncKernel => node.start_dump(now, alloc::vec![id], false),
        }
    }
}
