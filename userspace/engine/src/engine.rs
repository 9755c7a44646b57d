//! One shard: routes inputs to the local and the remote side, and orders what they want.

use crate::changed::Changed;
use crate::config::{Config, Mode, limit};
use crate::counters::Counters;
use crate::expectations::{self, ExpectCommit, is_expect_commit};
use crate::failover::{Commit, is_commit};
use crate::flows::exactness::{Census, Keeper};
use crate::flows::table::{Entry, FlowTable, Marks, Notes};
use crate::flows::{Desk, Flows, Sweep};
use crate::input::{Command, CommandId, Input, Origin};
use crate::kernel::{KernelQueue, Purpose};
use crate::lack;
use crate::output::{Event, KernelOp, Request, Side};
use crate::peer::remote::{self, Remote};
use crate::peer::v1::{Manners, Outbox, Packer, Peers};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use common::Instant;
use core::time::Duration;
use ctnetlink::{EventKind, Flow, FlowKey};
use wire::sync::v1::Options;

mod conversation;
mod account;
mod expect;
#[cfg(test)]
mod tests;

pub use conversation::Standing;

mod mirror;
mod reading;
mod reconfigure;
mod watch;

/// The kernel's table is being read: into the local table or, where none is kept, for the peer.
#[derive(Debug)]
struct Dump {
    began: Instant,
    flows: u64,
    /// The first one, at start, of which nobody is told.
    first: bool,
    /// A commit was over when it began: what the peer told of need not be told back.
    after_commit: bool,
    /// Nobody asked for it, and no event is known to be lost: it is about silent flows.
    watch: bool,
    /// Operators who wait for it.
    commands: Vec<CommandId>,
    /// Everything has been read, and is being compared; and when to go on with that.
    sweep: Option<(Sweep, Instant)>,
}

/// One shard of the flow engine. See the crate's documentation for how to drive it.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    counters: Counters,
    flows: Flows,
    remote: Remote,
    outbox: Outbox,
    /// The nodes that were heard, and how much of what they have is here.
    peers: Peers,
    /// Whether it was told that the peer is silent.
    peer_silent: bool,
    kernel: KernelQueue,
    local_expectations: expectations::Local,
    remote_expectations: expectations::Remote,
    refusals: mirror::Refusals,
    commit: Option<Commit>,
    /// When the last commit began, or the first of several that followed soon after one another.
    commit_began: Option<Instant>,
    /// Expectations follow the flows, once the commit of those is through.
    expectations_follow: bool,
    expect_commit: Option<ExpectCommit>,
    expect_dump: Option<expect::ExpectDump>,
    /// ALARM: when expectations are looked at, and when they are told again.
    expect_look: Instant,
    expect_refresh: Instant,
    dump: Option<Dump>,
    watch: watch::Watch,
    unsure: watch::Unsure,
    exactness: Keeper,
    /// Asked for while the table was being read: what was read before may be outdated. With who waits for it.
    dump_again: Option<Vec<CommandId>>,
    /// A bulk transfer is to begin when the table has been read.
    bulk_wanted: bool,
    /// Datagrams a bulk transfer may still send before its next pause, and when that is over.
    bulk_left: u32,
    bulk_next: Instant,
    /// When the last bulk transfer began, and when the next one is to begin that the peer has asked for meanwhile.
    bulk_began: Option<Instant>,
    bulk_due: Option<Instant>,
    /// When this node last told of a flow while a peer wrote such words into its kernel.
    said_at: Option<Instant>,
    /// Number of the first message of the bulk transfer that is under way, and of the last one that came to its end.
    bulk_from: u32,
    transferred: Option<u32>,
    /// The local table may hold flows of which no peer has been told since the last transfer.
    untold: bool,
    /// An end was forgotten of which peers were to be told: only another transfer can show it.
    owes: bool,
    /// When that may begin, and how long to wait after that.
    pay_next: Instant,
    pay_pause: Duration,
    /// When peers are told how many flows they should hold, even if there is always something else to tell.
    account_next: Instant,
    /// The kernel's count of flows, beside ours.
    census: Census,
    alive_next: Instant,
    began: Instant,
    full: [bool; 2],
    /// When there was no room for a peer's flow.
    remote_refused: Option<Instant>,
    events: VecDeque<Event>,
}

impl Engine {
    /// A shard that begins at `now`. It asks for a dump of the kernel's table first, to learn of the flows that exist.
    #[must_use]
    pub fn new(config: Config, now: Instant) -> Self {
        let options = Options {
            timeout: config.commit_timeout_s.is_none(),
            window_scale: config.window_tracking,
        };
        let replication = config.replication;
        let ask = replication.startup_resync;
        let (ack_window, resend_max) = match replication.mode {
            Mode::Ftfw { resend_max, ack_window } => {
                (Some(ack_window.max(1)), Some(resend_max.max(1)))
            }
            Mode::NoTrack | Mode::Alarm { .. } => (None, None),
        };
        let mut engine = Self {
            counters: Counters::default(),
            flows: Flows::new(&config),
            remote: Remote::new(&config, now),
            outbox: Outbox::new(config.first_seq, options, resend_max)
                .speaking(config.replication.has_peer)
                .refreshing(&config, now),
            peers: Peers::new(Manners { seed: config.hash_seed, ack_window, ask }),
            peer_silent: false,
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
            unsure: watch::Unsure::new(now),
            exactness: Keeper::default(),
            dump_again: None,
            bulk_wanted: false,
            bulk_left: limit::BULK_DATAGRAMS,
            bulk_next: now,
            bulk_began: None,
            bulk_due: None,
            said_at: None,
            bulk_from: config.first_seq,
            transferred: None,
            untold: true,
            owes: false,
            pay_next: now,
            pay_pause: limit::ASK_AGAIN,
            account_next: now,
            census: Census::default(),
            alive_next: now + replication.alive_after,
            began: now,
            full: [false; 2],
            remote_refused: None,
            events: VecDeque::new(),
            config,
        };
        engine.start_expect_dump(now, Vec::new(), true);
        if replication.keep_local {
            engine.start_dump(now, Vec::new(), true);
        }
        if ask && replication.mode == Mode::NoTrack {
            engine.ask_for_everything(now);
        }
        engine
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Kernel { event, flow, origin, stamp } => {
                let origin = self.told_origin(origin);
                self.untold |= origin == Origin::Commit;
                let key = flow.key();
                let origin = self.meant_origin(event, &key, origin);
                let origin = self.note_traffic(event, &key, origin);
                let (flows, mut desk) = self.desk(now);
                let outcome = flows.on_event(&mut desk, event, flow, origin, stamp);
                self.note_room(now, Side::Local, outcome);
            }
            Input::Noticed(key) => {
                let (flows, mut desk) = self.desk(now);
                flows.on_noticed(&mut desk, &key);
            }
            Input::Packet { seen, at } => {
                self.remote.note_shared(&seen.flow.key());
                let (flows, mut desk) = self.desk(now);
                let outcome = flows.on_packet(&mut desk, seen, at);
                self.note_room(now, Side::Local, outcome);
            }
            Input::EventsLost { count } => self.on_events_lost(now, count),
            Input::Dumped(flow) => self.on_dumped(now, flow),
            Input::DumpDone { complete } => self.on_dump_done(now, complete),
            Input::Verified { key, flow } => self.on_verified(now, &key, flow),
            Input::KernelExpect { event, expect, origin } => {
                self.on_expect_event(now, event, *expect, origin);
            }
            Input::ExpectEventsLost => self.start_expect_dump(now, Vec::new(), false),
            Input::DumpedExpectation(expect) => self.on_dumped_expectation(now, *expect),
            Input::ExpectationDumpDone { complete } => self.on_expect_dump_done(now, complete),
            Input::Datagram { from, bytes } => self.on_datagram(now, from, bytes),
            Input::KernelHealth { flows, events } => self.on_kernel_health(now, flows, events),
            Input::Command(id, command) => self.on_command(now, id, command),
            Input::KernelFailed { token, errno } => self.on_kernel_failed(now, token, errno),
            Input::KernelSettled { token } => self.on_kernel_settled(now, token),
            Input::Timeout => self.on_timeout(now),
        }
        self.on_time(now);
        self.look_for_room(now);
        self.advance_commit(now);
    }

    /// Fills `datagram` with messages for the peer and returns its length; `None` when there is nothing to send now.
    ///
    /// `datagram` is as long as the link takes in one piece.
    pub fn poll_transmit(&mut self, now: Instant, datagram: &mut [u8]) -> Option<usize> {
        self.say_alive(now);
        let mut packer = Packer::new(datagram);
        self.pack(&mut packer);
        if !packer.is_empty() && self.owes_account(now) {
            self.queue_account(now);
            self.pack(&mut packer);
        }
        if self.outbox.is_empty() && self.outbox.is_in_bulk() {
            self.pack_bulk(now, &mut packer);
            // That it is done is to be said at once.
            self.pack(&mut packer);
        }
        self.look_for_room(now);
        if packer.is_empty() {
            return None;
        }
        self.alive_next = now + self.config.replication.alive_after;
        let len = packer.len();
        let keeps = self.config.replication.keep_remote;
        if keeps && self.peers.iter().any(|(_, peer)| peer.whole.injects()) {
            self.note_said(now, &datagram[..len]);
        }
        Some(len)
    }

    /// Packs what waits.
    fn pack(&mut self, packer: &mut Packer<'_>) {
        let Self { outbox, flows, local_expectations, counters, .. } = self;
        outbox.pack(&mut flows.table, local_expectations, packer, &mut counters.replica);
    }

    /// The next request for the kernel; `None` when there is none now.
    pub fn poll_kernel(&mut self) -> Option<KernelOp<'_>> {
        self.kernel.poll()
    }

    /// What [`Engine::poll_kernel`] would hand over, for who collects requests of one kind.
    #[must_use]
    pub fn peek_kernel(&self) -> Option<KernelOp<'_>> {
        self.kernel.peek()
    }

    /// Whether [`Engine::poll_kernel`] has something, or will have when requests in flight are settled.
    #[must_use]
    pub fn wants_kernel(&self) -> bool {
        self.kernel.waits()
    }

    /// The next thing worth telling.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Engine::handle`] with [`Input::Timeout`] and poll again, if nothing else happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        let pausing = self.outbox.is_in_bulk() && !self.outbox.is_congested();
        // What a bulk transfer sends says enough.
        let times = [
            (self.converses() && !pausing).then_some(self.alive_next),
            pausing.then_some(self.bulk_next),
            self.bulk_due,
            self.peers.iter().filter_map(|(_, peer)| peer.ftfw.as_ref()?.due()).min(),
            self.remote.sweep_next(),
            self.ask_due(),
            self.pay_due(),
            self.outbox.refresh_next(),
            self.remote.expiry_next(),
            self.expectations_due(),
            self.watch_due(),
            self.audit_due(),
            self.unsure_due(),
            self.reading_due(),
        ];
        let never = Instant(u64::MAX);
        times.into_iter().flatten().min().unwrap_or(never)
    }

    /// One of the two tables.
    #[must_use]
    pub const fn table(&self, side: Side) -> &FlowTable {
        match side {
            Side::Local => &self.flows.table,
            Side::Remote => self.remote.table(),
        }
    }

    /// How long an entry of a table stays if the peer does not tell it again; `None` where entries just stay.
    #[must_use]
    pub fn expires_in(&self, side: Side, entry: &Notes, now: Instant) -> Option<Duration> {
        match side {
            Side::Local => None,
            Side::Remote => self.remote.expires_in(entry, now),
        }
    }

    /// Flows of a table that live.
    pub fn flows(&self, side: Side) -> impl Iterator<Item = Flow> {
        let alive = |e: &Entry<'_>| !e.marks.contains(Marks::DEAD);
        self.table(side).iter().map(|(_, entry)| entry).filter(alive).map(|entry| entry.flow())
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters { kernel_no_space: self.kernel.dropped(), ..self.counters }
    }

    /// The settings it runs with.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Whether a commit is under way.
    #[must_use]
    pub const fn is_committing(&self) -> bool {
        self.commit.is_some() || self.expect_commit.is_some()
    }

    /// How far a commit of flows is: flows the kernel has answered for, and flows there are.
    #[must_use]
    pub fn commit_progress(&self) -> Option<(u64, u64)> {
        let of = self.remote.table().alive() as u64;
        self.commit.as_ref().map(|commit| (commit.settled().min(of), of))
    }

    /// Whether the kernel's table has been read once since the start. Where no local table is kept, there is nothing to
    /// read.
    #[must_use]
    pub const fn is_filled(&self) -> bool {
        self.flows.is_filled() || !self.config.replication.keep_local
    }

    /// Messages that wait to be sent.
    #[must_use]
    pub fn outbox_len(&self) -> usize {
        self.outbox.len()
    }

    fn desk(&mut self, now: Instant) -> (&mut Flows, Desk<'_>) {
        let desk = Desk {
            config: &self.config,
            counters: &mut self.counters,
            changed: Changed::new(&mut self.outbox, now),
            kernel: &mut self.kernel,
            now,
        };
        (&mut self.flows, desk)
    }

    fn on_command(&mut self, now: Instant, id: CommandId, command: Command) {
        let replication = self.config.replication;
        match command {
            Command::Commit => self.start_commit(now, id, (true, false)),
            Command::CommitExpectations => self.start_commit(now, id, (false, true)),
            Command::CommitAll => self.start_commit(now, id, (true, true)),
            Command::Flush { remote: true, .. } if self.is_committing() => {
                self.tell(Event::CommandRefused(id, "a commit is still in progress"));
            }
            Command::Flush { local, remote } => {
                if local {
                    self.flows.flush(Changed::new(&mut self.outbox, now), now);
                    self.local_expectations.flush();
                    self.outbox.withdraw_expectations(|_| true);
                    self.on_local_flushed(now);
                }
                if remote {
                    let orders = || self.peers.iter().map(|(_, peer)| peer.tracker.order());
                    self.remote_expectations.flush(orders());
                    // What was written straight into the kernel stays there, and is this node's own from here on: a
                    // node that takes over flushes, and reads the kernel's table.
                    self.remote.flush(orders());
                    self.on_remote_flushed();
                }
                self.tell(Event::CommandDone(id));
            }
            Command::Bulk | Command::RequestResync if !replication.mode.converses() => {
                // Every flow is told again anyway.
                self.tell(Event::CommandDone(id));
            }
            Command::Bulk => self.start_bulk(now, Some(id)),
            Command::RequestResync => {
                self.ask_for_everything(now);
                self.tell(Event::CommandDone(id));
            }
            Command::ResyncKernelExpectations => self.read_expectations(now, id),
            Command::ResyncKernel | Command::ResyncKernelAll if !replication.keep_local => {
                self.tell(Event::CommandRefused(id, "resync is unsupported in this mode"));
            }
            Command::ResyncKernelAll => {
                // The kernel is asked in this order, so the second answer is that to the command.
                self.start_expect_dump(now, Vec::new(), false);
                self.start_dump(now, alloc::vec![id], false);
            }
            Command::ResyncKernel => self.start_dump(now, alloc::vec![id], false),
        }
    }

    fn on_kernel_failed(&mut self, now: Instant, token: u32, errno: i32) {
        let Some((op, last_word)) = self.kernel.failed(token) else { return };
        if op.request.is_about_expectations() && op.purpose != Purpose::Clearing {
            return self.on_expect_failed(now, op, errno);
        }
        let (what, key) = match &op.request {
            Request::Create(flow) => ("create", flow.key()),
            Request::Update(flow) => ("update", flow.key()),
            Request::Delete(_) if op.purpose == Purpose::Clearing => return,
            Request::Delete(key) => ("delete", *key),
            Request::Get(key) => return self.flows.on_unverified(key),
            Request::Dump => return self.on_dump_done(now, false),
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
            _ => self.on_inject_failed(now, op, errno, last_word),
        };
        if to_tell {
            self.tell(Event::WriteFailed { what, flow: key, errno });
        }
    }

    fn on_kernel_settled(&mut self, now: Instant, token: u32) {
        while let Some((op, last_word)) = self.kernel.settled(token) {
            self.note_injected(now, &op);
            if is_expect_commit(op.purpose) {
                self.expect_commit.iter_mut().for_each(ExpectCommit::on_success);
            } else if op.purpose == Purpose::InjectReplace {
                let ours = matches!(&op.request, Request::Update(flow) if self.is_own(&flow.key()));
                remote::on_replace(&mut self.kernel, op, (last_word, ours));
            } else if let Some(commit) = &mut self.commit {
                commit.on_success(&op);
            }
        }
    }

    fn advance_commit(&mut self, now: Instant) {
        if let Some(commit) = &mut self.commit
            && let Some(done) = commit.step(&self.config, &self.remote, &mut self.kernel, now)
        {
            let id = commit.id;
            self.commit = None;
            self.tell(done);
            if !self.config.hears_requests && self.config.replication.keep_local {
                self.untold = true;
                self.start_dump(now, Vec::new(), false);
                self.dump.iter_mut().for_each(|dump| dump.after_commit = true);
            }
            if core::mem::take(&mut self.expectations_follow) {
                self.expect_commit = Some(ExpectCommit::new(id, now));
            } else {
                self.tell(Event::CommandDone(id));
            }
        }
        self.advance_expect_commit(now);
    }

    /// What an event counts as. The peers need not hear of what a commit makes local, unless everything was asked for
    /// since: then a transfer has been sent before the commit's events came in.
    fn told_origin(&self, origin: Origin) -> Origin {
        let asked = self.commit_began.is_some() && self.bulk_began >= self.commit_began;
        if origin == Origin::Commit && asked { Origin::Foreign } else { origin }
    }

    /// What an event of a write of ours counts as. The kernel finds what is to be deleted by either direction, so a
    /// write may end a flow of this node's that the peer never spoke of. One that is not known here was a peer's, even
    /// if what peers told was flushed since.
    fn meant_origin(&self, event: EventKind, key: &FlowKey, origin: Origin) -> Origin {
        if event != EventKind::Destroy || matches!(origin, Origin::Foreign | Origin::Purge) {
            return origin;
        }
        let keeps = self.config.replication.keep_local;
        let meant = self.remote.spoke_of(key) || (keeps && !self.is_own(key));
        if meant { origin } else { Origin::Foreign }
    }

    fn start_bulk(&mut self, now: Instant, command: Option<CommandId>) {
        if !self.config.replication.keep_local {
            self.on_transfer_began();
            self.start_dump(now, command.into_iter().collect(), false);
            return;
        }
        // It goes as fast as the peer and the link take it; if they are not there, it waits until they are.
        command.into_iter().for_each(|id| self.tell(Event::CommandDone(id)));
        if self.dump.as_ref().is_some_and(|dump| dump.first) {
            // The table is not filled yet, and of what the dump adds nobody is told.
            self.bulk_wanted = true;
            return;
        }
        self.tell(Event::BulkStarted { flows: self.flows.table.len() });
        self.on_transfer_began();
        self.outbox.start_bulk(&mut self.flows.table);
        self.bulk_began = Some(now);
        self.bulk_due = None;
        self.bulk_next = now;
    }

    /// Packs a piece of the bulk transfer, unless it is in a pause.
    fn pack_bulk(&mut self, now: Instant, packer: &mut Packer<'_>) {
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
        let Self { outbox, flows, counters, .. } = self;
        let done = outbox.pack_bulk(&mut flows.table, packer, &mut counters.replica);
        if let Some(flows) = done {
            self.queue_expectations();
            self.on_transfer_done(true);
            if self.bulk_due.is_none() {
                self.queue_account(now);
            }
            self.tell(Event::BulkDone { flows });
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

    fn tell(&mut self, event: Event) {
        // What a peer or a kernel causes can come by the thousand; what somebody waits for is never dropped.
        let awaited = matches!(
            event,
            Event::CommandDone(_) | Event::CommandRefused(..) | Event::CommitDone { .. }
        );
        if awaited || self.events.len() < limit::EVENTS_MAX {
            self.events.push_back(event);
        }
    }
}
