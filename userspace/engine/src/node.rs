//! This node: its flows and its kernel's, the flows of its peers, and its requests to the kernel.
//!
//! ```text
//!   kernel events, answers, readings --> Node --changed--> Session --> datagrams
//!                                         ^  \--> kernel queue
//!   datagrams --> Session --flows of peers--'
//! ```
//!
//! A node knows no message. Its changes go through the seam ([`Listener`]); peers' messages come in as [`MessageId`].

use crate::bounded::{Bounded, QueueUsages};
use crate::changed::Listener;
use crate::config::{Config, limit};
use crate::counters::Counters;
use crate::expectations::{self, ExpectCommit, ExpectKey, is_expect_commit};
use crate::failover::{Commit, is_commit};
use crate::flows::exactness::{Census, Keeper};
use crate::flows::table::Slot;
use crate::input::{CommandId, Origin, Stamp};
use crate::kernel::{KernelQueue, Purpose};
use crate::lack;
use crate::local::{Flows, InputContext, Sweep};
use crate::message_id::MessageId;
use crate::output::{Event, Request, Side};
use crate::remote::Remote;
use alloc::boxed::Box;
use alloc::vec::Vec;
use common::Instant;
use ctnetlink::{Change, Flow, FlowKey};
use wire::packet::Seen;

mod expect;
mod hot;
mod mirror;
mod reading;
mod watch;

/// The listener that serves the peers: what the node reports to it besides changes of flows.
pub trait Peers: Listener {
    /// The kernel refused a peer's flow: it is not here in the state that was received.
    fn on_refused(&mut self, message: MessageId);

    /// A reading of the kernel's table is over that passed so many of its flows on, because no table is kept; and
    /// whether those were all.
    fn on_passed_on(&mut self, node: &mut Node, now: Instant, passed: (u64, bool));

    /// The kernel's table has been read.
    fn on_read(&mut self, node: &mut Node, now: Instant);

    /// Sends all local expectations.
    fn tell_expectations(&mut self, node: &mut Node);

    /// Whether everything that changed since `since` was sent.
    fn has_told_all_since(&self, since: Option<Instant>) -> bool;

    /// A flow ended that peers may have received from this node, and nothing is known of it that could be sent.
    fn on_end_unsent(&mut self);

    /// A hot node's kernel may not hold a flow as its owner has it.
    fn on_injected_changed(&mut self, _: &FlowKey) {}

    /// How many seconds ago the flow in a slot of the remote table had the lifetime that was received; `updated_s` is
    /// when it last changed. `None`: a commit does not write it.
    fn age_s(&self, _: Slot, updated_s: u32, now: Instant) -> Option<u32> {
        Some(crate::local::seconds(now).saturating_sub(updated_s))
    }

    /// Whether a commit that has begun has to wait until it is known what it takes.
    fn holds_commit(&self) -> bool {
        false
    }

    /// The commit is over, that of expectations included.
    fn on_commit_done(&mut self) {}

    /// Whether a commit takes over an expectation of the remote table.
    fn takes_expectation(&self, _: &ExpectKey) -> bool {
        true
    }

    /// The kernel's expectations have been read.
    fn on_expectations_read(&mut self) {}

    /// The kernel has not the flow that an injected expectation belongs to.
    fn on_expectation_without_master(&mut self, _: &ExpectKey) {}
}

/// The kernel's table is being read: into the local table or, where none is kept, for the peer.
#[derive(Debug)]
pub struct Dump {
    began: Instant,
    flows: u64,
    /// The first reading, at start, which is not sent to peers.
    pub first: bool,
    /// A commit had ended when the reading began: flows that the peer sent are not sent back.
    after_commit: bool,
    /// Started without a request or a known loss: it looks for flows without events.
    watch: bool,
    /// Operators who wait for it.
    commands: Vec<CommandId>,
    /// Everything has been read, and is being compared; and when to go on with that.
    sweep: Option<(Sweep, Instant)>,
    /// How far the peers' flows have been compared that were written straight into the kernel.
    mirror_from: Slot,
}

/// All that is this node's, or is known of its peers' flows.
#[derive(Debug)]
pub struct Node {
    /// The settings.
    pub(crate) config: Config,
    /// The counters.
    pub(crate) counters: Counters,
    /// Flows of this node.
    pub(crate) flows: Flows,
    /// The flows of the peers, as received.
    pub(crate) remote: Remote,
    /// What goes to the kernel.
    pub(crate) kernel: KernelQueue,
    /// Expectations of this node.
    pub(crate) local_expectations: expectations::Local,
    /// Expectations of the peers.
    pub(crate) remote_expectations: expectations::Remote,
    /// When peers are asked again for what the kernel refused.
    pub(crate) refusals: mirror::Refusals,
    pub(crate) commit: Option<Commit>,
    /// When the last commit began, or the first of several that followed soon after one another.
    commit_began: Option<Instant>,
    /// Expectations follow the flows, once the commit of those is through.
    expectations_follow: bool,
    expect_commit: Option<ExpectCommit>,
    expect_dump: Option<expect::ExpectDump>,
    /// ALARM: when expectations are examined, and when they are sent again.
    expect_look: Instant,
    expect_refresh: Instant,
    /// The reading that is under way.
    pub(crate) dump: Option<Dump>,
    watch: watch::Watch,
    unconfirmed: watch::UnconfirmedScan,
    /// How far the local table can be trusted.
    pub(crate) exactness: Keeper,
    /// Asked for while the table was being read: what was read before may be outdated. With who waits for it.
    pub(crate) dump_again: Option<Vec<CommandId>>,
    /// The kernel's count of flows, beside ours.
    census: Census,
    full: [bool; 2],
    /// When there was no room for a peer's flow.
    pub(crate) remote_refused: Option<Instant>,
    pub(crate) events: Bounded<Event>,
}

impl Node {
    /// A node that begins at `now`, and has its kernel's tables read. `travels`: whether flows of an IP protocol reach
    /// the peers as what they are.
    #[must_use]
    pub fn new(config: Config, now: Instant, travels: fn(u8) -> bool) -> Self {
        let keep_local = config.replication.keep_local;
        let mut node = Self {
            counters: Counters::default(),
            flows: Flows::new(&config),
            remote: Remote::new(&config, now, travels),
            kernel: KernelQueue::new(config.hash_seed),
            local_expectations: expectations::Local::default(),
            remote_expectations: expectations::Remote::default(),
            refusals: mirror::Refusals::new(now),
            commit: None,
            commit_began: None,
            expectations_follow: false,
            expect_commit: None,
            expect_dump: None,
            expect_look: now,
            expect_refresh: now,
            dump: None,
            watch: watch::Watch::new(now),
            unconfirmed: watch::UnconfirmedScan::new(now),
            exactness: Keeper::default(),
            dump_again: None,
            census: Census::default(),
            full: [false; 2],
            remote_refused: None,
            events: Bounded::new(limit::EVENTS_MAX + limit::EVENTS_AWAITED_MAX),
            config,
        };
        node.start_expect_dump(now, Vec::new(), true);
        if keep_local {
            node.start_dump(now, Vec::new(), true);
        }
        node
    }

    /// Whether a commit is under way.
    #[must_use]
    pub const fn is_committing(&self) -> bool {
        self.commit.is_some() || self.expect_commit.is_some()
    }

    /// The kernel reported something about a flow.
    pub(crate) fn on_event(
        &mut self,
        session: &mut impl Peers,
        now: Instant,
        (event, flow): (Change, Flow),
        (origin, stamp): (Origin, Stamp),
    ) {
        let origin = self.origin_for_peers(session, origin);
        if origin == Origin::Commit {
            session.on_taken_unsent();
        }
        let key = flow.key();
        let origin = self.origin_of_write(event, &key, origin);
        let about = (event, &flow, origin);
        let Some(origin) = self.on_hot_event(session, now, about) else { return };
        let origin = self.note_traffic(event, &key, origin);
        let (flows, mut cx) = self.context(session, now);
        let outcome = flows.on_event(&mut cx, event, flow, origin, stamp);
        self.note_room(now, Side::Local, outcome);
    }

    /// A packet of a flow was seen.
    pub(crate) fn on_packet(
        &mut self,
        session: &mut impl Peers,
        now: Instant,
        seen: Seen,
        at: Instant,
    ) {
        self.remote.note_shared(&seen.flow.key());
        let (flows, mut cx) = self.context(session, now);
        let outcome = flows.on_packet(&mut cx, seen, at);
        self.note_room(now, Side::Local, outcome);
    }

    /// Whether the kernel's table has been read once since the start. Where no local table is kept, there is nothing to
    /// read.
    #[must_use]
    pub const fn is_filled(&self) -> bool {
        self.flows.is_filled() || !self.config.replication.keep_local
    }

    /// Does what the time asks for.
    pub(crate) fn on_time(&mut self, session: &mut impl Peers, now: Instant) {
        self.remote.expire(&mut self.counters, now);
        self.look_at_expectations(session, now);
        self.read_in_time(session, now);
        self.watch_without_events(session, now);
        self.watch_unconfirmed(session, now);
    }

    /// When there is something to do next, if nothing else happens before.
    #[must_use]
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let times = [
            self.remote.sweep_next(),
            self.remote.expiry_next(),
            self.expectations_due(),
            self.watch_due(),
            self.audit_due(),
            self.unconfirmed_due(),
            self.reading_due(),
            self.commit.as_ref().and_then(Commit::due),
        ];
        times.into_iter().flatten().min()
    }

    /// Queries the kernel about a flow, if the queue has room.
    pub(crate) fn ask(&mut self, key: &FlowKey) {
        let _asked = self.kernel.push(Purpose::Read, Request::Get(*key));
    }

    /// The flows, and what they work with while one input is handled.
    pub(crate) fn context<'a, S: Peers>(
        &'a mut self,
        session: &'a mut S,
        now: Instant,
    ) -> (&'a mut Flows, InputContext<'a, S>) {
        let cx = InputContext {
            config: &self.config,
            counters: &mut self.counters,
            listener: session,
            kernel: &mut self.kernel,
            now,
        };
        (&mut self.flows, cx)
    }

    pub(crate) fn on_kernel_failed(
        &mut self,
        session: &mut impl Peers,
        now: Instant,
        token: u32,
        errno: i32,
    ) {
        let Some((op, last_word)) = self.kernel.failed(token) else { return };
        if op.request.is_about_expectations() && op.purpose != Purpose::Clearing {
            return self.on_expect_failed(session, now, op, errno);
        }
        let (what, key) = match &op.request {
            Request::Create(flow) => ("create", flow.key()),
            Request::Update(flow) => ("update", flow.key()),
            Request::Delete(..) if op.purpose == Purpose::Clearing => return,
            Request::Delete(key, _) => ("delete", *key),
            Request::Get(key) => return self.flows.on_unanswered(key),
            Request::Dump => return self.on_dump_done(session, now, false),
            Request::CreateExpectation(_)
            | Request::DeleteExpectation(_)
            | Request::DumpExpectations => return,
        };
        if last_word
            && let Some((request, part)) = lack::without_refused(&op.request, errno)
            && self.kernel.push(op.purpose, request)
        {
            self.counters.written_without += 1;
            return self.tell(Event::WrittenWithout { part, flow: key, errno });
        }
        let to_tell = match &mut self.commit {
            Some(commit) if is_commit(op.purpose) => commit.on_failure(&mut self.kernel, op, errno),
            _ if self.config.cluster.is_some() => self.on_hot_failed(session, op, errno),
            _ => self.on_inject_failed(session, now, op, errno, last_word),
        };
        self.note_emptied(session);
        if to_tell {
            self.tell(Event::WriteFailed { what, flow: key, errno });
        }
    }

    pub(crate) fn on_kernel_settled(&mut self, session: &mut impl Peers, now: Instant, token: u32) {
        while let Some((op, last_word)) = self.kernel.settled(token) {
            self.note_injected(session, now, &op);
            if is_expect_commit(op.purpose) {
                self.expect_commit.iter_mut().for_each(ExpectCommit::on_success);
            } else if op.purpose == Purpose::InjectReplace {
                self.on_replaced(session, now, op, last_word);
            } else if let Some(commit) = &mut self.commit {
                if let (true, Request::Create(flow) | Request::Update(flow)) =
                    (is_commit(op.purpose), &op.request)
                {
                    // The flow is this node's from here on.
                    self.remote.unmake(&flow.key());
                }
                commit.on_success(&op);
            }
        }
    }

    /// Where a commit left a cleared place empty, the peers may hold the flow that was there. Without a local table,
    /// the node took the end of that flow for a part of the commit, and a transfer of all flows has to show that the
    /// flow is gone. An end of its own could end a flow of the peer's that has the same identity.
    fn note_emptied(&mut self, session: &mut impl Peers) {
        let emptied = self.commit.as_mut().is_some_and(Commit::take_emptied);
        if emptied && !self.config.replication.keep_local {
            session.on_end_unsent();
        }
    }

    pub(crate) fn advance_commit(&mut self, session: &mut impl Peers, now: Instant) {
        if let Some(commit) = &mut self.commit
            && !session.holds_commit()
            && let Some(done) = commit.step(
                (&self.config, &self.remote, &|slot, updated_s| {
                    session.age_s(slot, updated_s, now)
                }),
                &mut self.kernel,
                now,
            )
        {
            let id = commit.id;
            self.note_emptied(session);
            self.commit = None;
            self.tell(done);
            if !self.config.hears_requests && self.config.replication.keep_local {
                session.on_taken_unsent();
                self.start_dump(now, Vec::new(), false);
                self.dump.iter_mut().for_each(|dump| dump.after_commit = true);
            }
            if core::mem::take(&mut self.expectations_follow) {
                self.expect_commit = Some(ExpectCommit::new(id, now));
            } else {
                session.on_commit_done();
                self.tell(Event::CommandDone(id));
            }
        }
        self.advance_expect_commit(session, now);
    }

    /// The cause that an event counts as. The peers need not receive what a commit makes local, unless they requested
    /// everything since: then a transfer has been sent before the commit's events came in.
    pub(crate) fn origin_for_peers(&self, session: &impl Peers, origin: Origin) -> Origin {
        let asked = session.has_told_all_since(self.commit_began);
        if origin == Origin::Commit && asked { Origin::Foreign } else { origin }
    }

    /// The origin of an event that a write of ours caused. The kernel finds the flow to delete by either direction,
    /// so a write may end a flow of this node's that the peer never named. A flow that is unknown here was a peer's,
    /// even if the peers' table was flushed since.
    pub(crate) fn origin_of_write(&self, event: Change, key: &FlowKey, origin: Origin) -> Origin {
        if event != Change::Destroy || matches!(origin, Origin::Foreign | Origin::Purge) {
            return origin;
        }
        let meant = match (self.config.replication.keep_local, origin) {
            (true, _) => self.remote.has_heard_of(key) || !self.is_own(key),
            // Without a table, an end of this node's flow is sent or never known: a commit means what peers have, not
            // what they had a moment ago.
            (false, Origin::Commit) => self.remote.holds(key),
            (false, _) => self.remote.has_heard_of(key),
        };
        if meant { origin } else { Origin::Foreign }
    }

    /// The next event to report.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// The queues of this node, by name.
    pub(crate) fn queues(&self, queues: &mut QueueUsages) {
        queues.extend([
            ("log_events", self.events.usage()),
            ("kernel_requests", self.kernel.usage()),
            ("tombstones", self.flows.tombstones.usage()),
            ("expectation_ends", self.remote_expectations.ends()),
        ]);
        self.remote.queues(queues);
    }

    /// Reports flows that ended without an event, if the configuration asks for that. One step of a sweep finds only
    /// so many, and they are reported before the next step.
    fn tell_vanished(&mut self) {
        for flow in core::mem::take(&mut self.flows.vanished) {
            let _ = self.events.push(Event::Vanished(Box::new(flow)));
        }
    }

    fn answer(&mut self, commands: Vec<CommandId>, complete: bool) {
        for id in commands {
            self.tell(if complete {
                Event::CommandDone(id)
            } else {
                Event::CommandRefused(id, "the kernel's table was not read")
            });
        }
    }

    /// Queues an event for the host.
    pub fn tell(&mut self, event: Event) {
        // What a peer or a kernel causes can come by the thousand; awaited events have room of their own.
        let awaited = matches!(
            event,
            Event::CommandDone(_)
                | Event::CommandRefused(..)
                | Event::CommitDone { .. }
                | Event::Compared(..)
        );
        let room = if awaited { usize::MAX } else { limit::EVENTS_MAX };
        let _ = self.events.push_within(room, event);
    }
}
