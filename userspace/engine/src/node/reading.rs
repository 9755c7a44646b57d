//! Readings of the kernel's table: at the start, by command, after losses, and for the sake of silent flows.
//!
//! ```text
//!   Request::Dump --> Dumped ... Dumped --> DumpDone --> sweep, piece by piece --> over
//!                        events go on in between, all the way
//! ```

use super::{Dump, Node, Peers};
use crate::config::limit;
use crate::flows::exactness::{Cause, Exactness};
use crate::flows::table::Full;
use crate::input::CommandId;
use crate::kernel::{InFlight, Purpose};
use crate::local::{Ended, Reading};
use crate::output::{Event, Request, Side};
use alloc::vec::Vec;
use common::Instant;
use ctnetlink::{Flow, FlowKey};

impl Dump {
    const fn new(now: Instant) -> Self {
        Self {
            began: now,
            flows: 0,
            first: false,
            after_commit: false,
            watch: false,
            commands: Vec::new(),
            sweep: None,
            mirror_from: 0,
        }
    }
}

impl Node {
    /// An injection succeeded. Where the source sees packets only, and for a flow without events, nothing reports
    /// what the injection changed.
    pub(crate) fn note_injected(&mut self, session: &mut impl Peers, now: Instant, op: &InFlight) {
        match (op.purpose, &op.request) {
            (Purpose::InjectNew | Purpose::InjectAgain, Request::Create(flow)) => {
                self.remote.note_made(&flow.key(), now);
            }
            (Purpose::InjectUpdate | Purpose::InjectReplace, Request::Update(flow))
                if self.config.replication.keep_local
                    && (!self.config.hears_requests || self.flows.has_no_events(&flow.key())) =>
            {
                let (flows, mut cx) = self.context(session, now);
                flows.on_injected(&mut cx, flow);
            }
            _ => {}
        }
    }

    /// How many flows have been read while the kernel's table is read for the first time; `None` before and after.
    #[must_use]
    pub fn loading(&self) -> Option<u64> {
        let first = self.dump.as_ref().filter(|dump| dump.first && !self.flows.is_filled());
        first.map(|dump| dump.flows)
    }

    /// Events were lost.
    pub(crate) fn on_events_lost(&mut self, now: Instant, count: u64) {
        self.doubt(now, Cause::EventsLost, count);
    }

    /// The local table is not what the kernel holds.
    pub(crate) fn doubt(&mut self, now: Instant, cause: Cause, count: u64) {
        if !self.config.replication.keep_local {
            return;
        }
        if self.exactness.on_doubt(now, cause, count, self.config.repair_after) {
            self.tell(Event::Degraded(cause));
        }
    }

    /// Reports a full table once, until it has had room again.
    #[inline]
    pub(crate) fn note_room(&mut self, now: Instant, side: Side, outcome: Result<(), Full>) {
        let (len, limit) = match side {
            Side::Local => (self.flows.table.len(), self.flows.table.max()),
            Side::Remote => self.remote.room(),
        };
        let room = len < limit;
        match (side, outcome) {
            (Side::Local, Err(Full)) => self.doubt(now, Cause::TableFull, 1),
            (Side::Remote, Err(Full)) => self.remote_refused = Some(now),
            (_, Ok(())) => {}
        }
        let full = &mut self.full[side as usize];
        if outcome.is_err() && !*full {
            *full = true;
            self.tell(Event::TableFull { side, limit });
        } else if room {
            *full = false;
        }
    }

    /// Sees whether the local table, which had no room for a flow, has much room now. Ended flows give way.
    pub(crate) fn look_for_room(&mut self, now: Instant) {
        let table = &self.flows.table;
        if self.exactness.is_full() && table.alive() + table.max() / 16 < table.max() {
            self.exactness.on_room(now, self.config.repair_after);
        }
    }

    /// The host reports, about once a second, how many flows the kernel holds and whether it sends events.
    pub(crate) fn on_kernel_health(&mut self, now: Instant, flows: u64, events: bool) {
        if !self.config.replication.keep_local {
            return;
        }
        if !events {
            self.doubt(now, Cause::EventsOff, 0);
            return;
        }
        if self.exactness.are_events_off() {
            self.exactness.on_events_on(now, self.config.repair_after);
        }
        let max = self.flows.table.max() as u64;
        if self.exactness.is_full() && flows + max / 16 < max {
            // What fills the table has ended unseen: only a reading shows that.
            self.exactness.on_room(now, self.config.repair_after);
        }
        let comparable = self.is_countable()
            && self.is_loaded()
            && self.exactness.state() == Exactness::Exact
            && !self.is_committing();
        let (here, heard) = (self.flows.table.alive() as u64, self.flows.heard);
        if !comparable {
            return self.census.skip(heard);
        }
        if let Some(count) = self.census.compare(flows, here, heard) {
            self.doubt(now, Cause::CountDiffers, count);
        }
    }

    /// Whether the kernel's table has been read, and is not being read again.
    pub(crate) fn is_loaded(&self) -> bool {
        self.dump.as_ref().is_none_or(|dump| dump.watch) && self.is_filled()
    }

    /// The kernel says how a flow is.
    pub(crate) fn on_verified(
        &mut self,
        session: &mut impl Peers,
        now: Instant,
        key: &FlowKey,
        flow: Option<Flow>,
    ) {
        // The query is answered, whichever flow the answer shows: the next doubt queries again.
        self.flows.on_unverified(key);
        let is_made = self.on_hot_shown(session, key, flow.as_ref());
        if is_made && !self.is_own(key) {
            return;
        }
        let flow = flow.filter(|_| !is_made);
        // The kernel finds a flow by either direction, so the answer may be about the mirror of what was asked for.
        if flow.as_ref().is_none_or(|flow| flow.key() != *key) {
            self.on_missing(session, now, key);
        }
        if flow.is_some() && !self.remote.is_hot() && self.remote.made(key) && !self.is_own(key) {
            // The request was made for a reason that no longer holds.
            return;
        }
        if flow.is_some() && self.kernel.is_pending(key) {
            // Whether it is a peer's shows when it is known what became of that request.
            let (flows, mut cx) = self.context(session, now);
            return flows.on_noticed(&mut cx, key);
        }
        let is_there = flow.is_some();
        let (flows, mut cx) = self.context(session, now);
        let outcome = flows.on_verified(&mut cx, key, flow);
        self.note_room(now, Side::Local, outcome);
        if self.is_own(key) {
            self.remote.note_shared(key);
            if is_there && self.remote.is_hot() {
                self.remote.unmake(key);
            }
        }
        self.tell_vanished();
    }

    pub(crate) fn on_dumped(&mut self, session: &mut impl Peers, now: Instant, flow: Flow) {
        let reads = self.dump.as_ref().is_some_and(|dump| dump.sweep.is_none());
        let key = flow.key();
        if !reads || !self.config.share.holds(&key) {
            return;
        }
        if !self.config.replication.keep_remote {
            self.remote.note_shown(&key);
        }
        if self.remote.made(&key) && self.passes_over(&key, &flow) {
            return;
        }
        let Some(dump) = &mut self.dump else { return };
        dump.flows += 1;
        let doubtful = !self.config.replication.keep_remote && self.remote.has_heard_of(&key);
        if self.config.replication.keep_local {
            // Version 2 claims what a commit made this node's.
            let unsent = dump.after_commit && self.config.cluster.is_none();
            let committed = unsent && self.remote.table().find(&key).is_some();
            let tell = !dump.first && !committed;
            let (lossless, events_off) = (dump.watch, self.exactness.were_events_off());
            let reading = Reading { began: dump.began, tell, doubtful, lossless, events_off };
            let (flows, mut cx) = self.context(session, now);
            let outcome = flows.on_dumped(&mut cx, flow, reading);
            self.note_room(now, Side::Local, outcome);
        } else if self.config.filter.passes(&flow) {
            let began = dump.began;
            let (flows, mut cx) = self.context(session, now);
            flows.pass_dumped(&mut cx, flow, (began, doubtful));
        } else {
            dump.flows -= 1;
        }
    }

    /// A reading shows a flow that is there because of an injection alone. What traffic has done to it since is known,
    /// or will be asked for when the news of it comes in (`Local::on_reading_began`).
    fn passes_over(&mut self, key: &FlowKey, flow: &Flow) -> bool {
        if self.remote.is_hot() {
            return self.passes_over_hot(key, flow);
        }
        self.flows.table.find(key).is_none()
    }

    pub(crate) fn on_dump_done(&mut self, session: &mut impl Peers, now: Instant, complete: bool) {
        let Some(dump) = self.dump.as_mut().filter(|dump| dump.sweep.is_none()) else { return };
        let (began, lossless) = (dump.began, dump.watch);
        if self.config.replication.keep_local {
            let sweep = self.flows.begin_sweep(now, Ended { began, complete, lossless });
            dump.sweep = Some((sweep, now));
            self.sweep(session, now);
        } else {
            self.end_reading(session, now, (complete, 0));
        }
    }

    /// Goes on comparing what was read, if it is time.
    pub(crate) fn sweep(&mut self, session: &mut impl Peers, now: Instant) {
        let Some(dump) = &mut self.dump else { return };
        let Some((mut sweep, _)) = dump.sweep.take_if(|(_, due)| *due <= now) else { return };
        let (flows, mut cx) = self.context(session, now);
        let over = flows.sweep(&mut cx, &mut sweep);
        self.tell_vanished();
        if over && self.sweep_mirror(sweep.is_complete()) {
            if sweep.is_complete() {
                self.on_hot_read(sweep.began());
            }
            self.end_reading(session, now, (sweep.is_complete(), sweep.purged));
        } else if let Some(dump) = &mut self.dump {
            dump.sweep = Some((sweep, now + limit::SWEEP_STEP));
        }
    }

    /// Sweeps flows that were written straight into the kernel. True when it has looked at all.
    fn sweep_mirror(&mut self, complete: bool) -> bool {
        let Self { config, remote, kernel, dump: Some(dump), .. } = self else { return true };
        if config.replication.keep_remote {
            return true;
        }
        let ask = |key: &FlowKey| !complete || kernel.push(Purpose::Read, Request::Get(*key));
        let rest = remote.sweep_hidden(dump.mirror_from, ask);
        dump.mirror_from = rest.unwrap_or_default();
        rest.is_none()
    }

    fn end_reading(
        &mut self,
        session: &mut impl Peers,
        now: Instant,
        (complete, purged): (bool, u64),
    ) {
        let Some(Dump { began, flows, watch, commands, .. }) = self.dump.take() else { return };
        self.watch.on_reading(began, now, complete || watch);
        if complete {
            self.watch.on_whole_reading(began);
        }
        if self.config.replication.keep_local {
            self.counters.resyncs += u64::from(!watch);
            if !watch {
                self.tell(Event::KernelResynced { flows, purged });
                let again = self.config.repair_after;
                if let Some((lost, after)) = self.exactness.on_read(began, now, complete, again) {
                    let cause = self.exactness.cause();
                    self.tell(Event::Repaired { cause, lost, after });
                }
                self.census.on_read();
            }
        } else {
            session.on_passed_on(self, now, (flows, complete));
        }
        self.answer(commands, complete);
        session.on_read(self, now);
        if let Some(commands) = self.dump_again.take() {
            self.start_dump(now, commands, false);
        }
    }

    /// Reads the kernel's table; once more if it is being read, because what was read so far may be outdated.
    pub(crate) fn start_dump(&mut self, now: Instant, commands: Vec<CommandId>, first: bool) {
        if self.dump.is_some() {
            self.dump_again.get_or_insert_default().extend(commands);
        } else if self.kernel.push(Purpose::Read, Request::Dump) {
            self.exactness.on_reading_began();
            self.flows.on_reading_began(now);
            self.dump = Some(Dump { first, commands, ..Dump::new(now) });
        } else {
            self.answer(commands, false);
        }
    }

    /// Reads the kernel's table for the sake of silent flows.
    pub(crate) fn start_watch_dump(&mut self, now: Instant) {
        if self.kernel.push(Purpose::Read, Request::Dump) {
            if !self.config.replication.keep_remote {
                self.flows.on_reading_began(now);
            }
            self.dump = Some(Dump { watch: true, ..Dump::new(now) });
        }
    }

    /// Reads the kernel's table if losses are due to be repaired, and goes on with what was read.
    pub(crate) fn read_in_time(&mut self, session: &mut impl Peers, now: Instant) {
        self.sweep(session, now);
        if self.dump.is_none() && self.exactness.due().is_some_and(|due| due <= now) {
            self.start_dump(now, Vec::new(), false);
            self.exactness.postpone(now);
        }
    }

    /// When there is something to do next about readings.
    pub(crate) fn reading_due(&self) -> Option<Instant> {
        match &self.dump {
            Some(dump) => dump.sweep.as_ref().map(|(_, due)| *due),
            None => self.exactness.due(),
        }
    }
}
