//! What the peer says, and what is said to it beside flows.

use super::Engine;
use crate::config::{Mode, limit};
use crate::input::Sender;
use crate::output::{Event, Side};
use crate::peer::told::{PeerId, Told};
use crate::peer::v1::ftfw::Ftfw;
use crate::peer::v1::resend::Verdict;
use crate::peer::v1::{Belief, Place, Step, count_fault};
use common::Instant;
use core::time::Duration;
use wire::sync::v1::{self, Change, Control, Flags, Message, Messages, RawMessage};

/// How this node stands with its peer.
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

/// A message and where it came from.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    pub(super) peer: PeerId,
    seq: u32,
    flags: Flags,
    pub(super) place: Place,
}

impl Arrival {
    const fn told(self) -> Told {
        Told::new(self.peer, self.place.order)
    }
}

/// The numbers in a datagram.
struct Numbers {
    /// That of the first message.
    first: u32,
    /// The one that follows the last message.
    next: u32,
    /// The first message says HELLO.
    hello: bool,
    /// Each number follows the one before it, as every sender counts.
    in_order: bool,
}

/// The numbers in a datagram; `None` if there is no message in it.
fn numbers(bytes: &[u8]) -> Option<Numbers> {
    let mut numbers: Option<Numbers> = None;
    // Messages that are refused have numbers too.
    let mut refused = 0;
    for raw in Messages::datagram(bytes) {
        let Ok(raw) = raw else {
            refused += 1;
            continue;
        };
        let (seq, next) = (raw.header.seq, raw.header.seq.wrapping_add(1));
        if let Some(known) = &mut numbers {
            known.in_order &= seq == known.next.wrapping_add(refused);
            known.next = next;
        } else {
            let hello = raw.header.flags.contains(Flags::HELLO);
            numbers = Some(Numbers { first: seq, next, hello, in_order: true });
        }
        refused = 0;
    }
    numbers
}

impl Engine {
    pub(super) fn on_datagram(&mut self, now: Instant, from: Sender, bytes: &[u8]) {
        let Some(Numbers { first, next, hello, in_order }) = numbers(bytes) else {
            return self.on_messages(now, None, bytes);
        };
        let (id, is_new) = self.peers.identify(now, from, first);
        if is_new {
            self.greet_new(now, id);
        }
        let converses = self.config.replication.mode.converses();
        let Some(peer) = self.peers.get_mut(id).filter(|_| converses) else {
            return self.on_messages(now, Some(id), bytes);
        };
        if !in_order {
            // No sender counts like that: somebody else speaks in its name, or the bytes are damaged.
            self.counters.replica.jumps_doubted += 1;
            peer.whole.on_refused(peer.tracker.order());
            return;
        }
        let anew = hello && peer.ftfw.is_some();
        match peer.tracker.believe(first, next, anew) {
            Belief::Continues if peer.doubtful.is_empty() => {}
            Belief::Continues => {
                // Somebody else speaks in its name. What of that was believed nobody can say.
                peer.doubtful.clear();
                peer.whole.on_refused(peer.tracker.order());
            }
            Belief::Doubtful => {
                self.counters.replica.jumps_doubted += 1;
                peer.doubtful.clear();
                peer.doubtful.extend_from_slice(bytes);
                return;
            }
            Belief::Confirmed => {
                let first = core::mem::take(&mut peer.doubtful);
                self.on_messages(now, Some(id), &first);
            }
        }
        self.on_messages(now, Some(id), bytes);
    }

    /// Takes the messages of a datagram; those that are refused are counted.
    fn on_messages(&mut self, now: Instant, peer: Option<PeerId>, bytes: &[u8]) {
        for raw in Messages::datagram(bytes) {
            match raw.and_then(|raw| Ok((raw, v1::decode(&raw)?))) {
                Ok((raw, message)) => {
                    let whole = &bytes[raw.at..raw.at + usize::from(raw.header.len)];
                    if let Some(peer) = peer {
                        self.on_raw(now, peer, &raw, whole, message);
                    }
                }
                Err(fault) => {
                    count_fault(&fault, &mut self.counters.replica);
                    // What it told is not known; or else somebody speaks in the peer's name.
                    if let Some(peer) = peer.and_then(|id| self.peers.get_mut(id)) {
                        peer.whole.on_refused(peer.tracker.order());
                    }
                }
            }
        }
    }

    /// A node is heard for the first time.
    fn greet_new(&mut self, now: Instant, id: PeerId) {
        if !self.peers.asks_new() || !self.config.replication.mode.converses() {
            return;
        }
        let Self { peers, outbox, .. } = self;
        let Some(peer) = peers.get_mut(id) else { return };
        if peer.ftfw.is_some() {
            peer.with_ftfw(now, outbox, Ftfw::ask_after_greeting);
        } else {
            peer.whole.on_asked(now, peer.tracker.order());
            outbox.queue_resync();
        }
    }

    fn on_raw(
        &mut self,
        now: Instant,
        id: PeerId,
        raw: &RawMessage<'_>,
        whole: &[u8],
        message: Message,
    ) {
        let (seq, flags) = (raw.header.seq, raw.header.flags);
        let alarm = !self.config.replication.mode.converses();
        if alarm && (!flags.is_empty() || matches!(message, Message::Control(_))) {
            return;
        }
        let counters = &mut self.counters.replica;
        counters.received += 1;
        let Some(peer) = self.peers.get_mut(id) else { return };
        let anew = peer.ftfw.as_ref().is_some_and(|ftfw| ftfw.is_anew(flags));
        let place = peer.tracker.place(now, seq, whole, anew, counters);
        if place.restarted {
            self.tell(Event::PeerRestarted { at: now });
        }
        if self.peer_silent {
            self.peer_silent = false;
            self.tell(Event::PeerBack);
        }
        let arrival = Arrival { peer: id, seq, flags, place };
        if place.step == Step::Late && self.is_overtaken(&message, arrival) {
            // Its number stays one that is missing, and the peer tells again how the flow began.
            self.counters.remote.stale += 1;
            return;
        }
        let is_news = self.on_arrival(now, arrival);
        // Two lives of a peer that began in the same second begin with the same number, and with the same request.
        if is_news || message == Message::Control(Control::Resync) {
            self.on_message(now, arrival, message);
        }
    }

    /// Whether a late message tells the beginning of a flow of which later news is known. That was laid over what was
    /// known of an earlier life, and nobody can say any more what of that is to go.
    fn is_overtaken(&self, message: &Message, arrival: Arrival) -> bool {
        let Message::Flow { change: Change::New, flow } = message else { return false };
        let ftfw = matches!(self.config.replication.mode, Mode::Ftfw { .. });
        ftfw && self.remote.is_overtaken(&flow.key(), arrival.told())
    }

    /// Takes note of a message. False if it was here before.
    fn on_arrival(&mut self, now: Instant, arrival: Arrival) -> bool {
        let Arrival { peer: id, seq, flags, place } = arrival;
        let Self { peers, outbox, flows, .. } = self;
        let Some(peer) = peers.get_mut(id) else { return true };
        if place.restarted {
            peer.whole.on_restart();
            peer.began = now;
        }
        if flags.contains(Flags::ACCOUNTS) {
            peer.whole.on_accountable();
        }
        if peer.ftfw.is_none() {
            if place.restarted && self.config.replication.mode.converses() {
                // What became of its flows since it was last heard, nobody has told us.
                peer.whole.on_asked(now, place.order);
                outbox.queue_resync();
            }
            return true;
        }
        let step = place.step;
        peer.with_ftfw(now, outbox, |ftfw, outbox| {
            ftfw.on_arrival(now, outbox, (seq, flags), step);
        });
        if place.restarted {
            outbox.on_peer_restart(&mut flows.table);
            peer.with_ftfw(now, outbox, Ftfw::ask_after_greeting);
        }
        place.step != Step::Again
    }

    fn on_message(&mut self, now: Instant, arrival: Arrival, message: Message) {
        let told = arrival.told();
        match message {
            Message::Flow { change, flow } if self.config.replication.keep_remote => {
                let crossed = self.may_have_crossed(now, &flow.key());
                let Self { counters, remote, peers, .. } = self;
                let Some(peer) = peers.get_mut(arrival.peer) else { return };
                if crossed && peer.whole.injects() {
                    peer.whole.on_said(now);
                }
                let tells_all = peer.whole.tells_all();
                if change == Change::Update && remote.table().find(&flow.key()).is_some() {
                    peer.whole.on_update(told.order());
                }
                if peer.whole.tells_parts() && remote.is_overtaken(&flow.key(), told) {
                    peer.whole.on_refused(told.order());
                }
                let how = (now, tells_all);
                let outcome = remote.on_message(&mut counters.remote, (change, flow), told, how);
                if outcome.is_err() {
                    peer.whole.on_refused(told.order());
                }
                self.note_room(now, Side::Remote, outcome);
            }
            Message::Flow { change, flow } => self.inject(now, told, (change, flow)),
            Message::Expect { change, expect } => {
                self.on_expect_message(now, (change, expect), told);
            }
            Message::Control(control) => self.on_control(now, arrival, control),
        }
    }

    fn on_control(&mut self, now: Instant, arrival: Arrival, control: Control) {
        let reliable = self.peers.are_reliable();
        let Self { peers, outbox, flows, .. } = self;
        let Some(peer) = peers.get_mut(arrival.peer) else { return };
        let acknowledges = peer.ftfw.is_some();
        match control {
            Control::Resync => self.on_resync(now, arrival.peer),
            Control::Ack { from, to } if acknowledges => {
                let verdict = outbox.on_ack(&mut flows.table, (from, to));
                peer.with_ftfw(now, outbox, |ftfw, outbox| ftfw.on_acknowledged(outbox, to));
                self.on_verdict(now, verdict);
                self.conclude(now, arrival.peer);
            }
            Control::Nack { from, to } if acknowledges => {
                let verdict = match outbox.on_nack(&mut flows.table, (from, to)) {
                    // Another node may have acknowledged what this one lacks.
                    Verdict::Fine if !reliable => Verdict::Beyond,
                    verdict => verdict,
                };
                // The peer waits to hear that what it lacked has been sent.
                self.account_next = now;
                self.on_verdict(now, verdict);
            }
            Control::Settled(account) => {
                peer.ftfw.iter_mut().for_each(Ftfw::on_settled);
                match account {
                    Some(account) => self.on_account(now, arrival, account),
                    None => self.conclude(now, arrival.peer),
                }
            }
            Control::Alive if !acknowledges => self.conclude(now, arrival.peer),
            Control::Alive | Control::Ack { .. } | Control::Nack { .. } => {}
        }
    }

    /// A peer asks for everything.
    fn on_resync(&mut self, now: Instant, id: PeerId) {
        let Self { peers, outbox, counters, .. } = self;
        let Some(peer) = peers.get_mut(id) else { return };
        peer.with_ftfw(now, outbox, Ftfw::acknowledge);
        match peer.grant(now) {
            Ok(()) => self.plan_bulk(now, now),
            Err(later) => {
                counters.replica.resyncs_put_off += 1;
                self.plan_bulk(now, later);
            }
        }
        self.tell(Event::ResyncRequested);
    }

    fn on_verdict(&mut self, now: Instant, verdict: Verdict) {
        match verdict {
            Verdict::Fine => {}
            Verdict::Absurd => self.counters.replica.absurd_ranges += 1,
            Verdict::Beyond => {
                if self.bulk_due.is_none() {
                    self.tell(Event::PeerMissed);
                }
                // A peer that loses much asks often.
                let pause = self.bulk_began.map_or(now, |began| began + limit::BULK_PAUSE);
                self.plan_bulk(now, pause);
            }
        }
    }

    /// Begins a bulk transfer that a peer needs, at `soonest`.
    fn plan_bulk(&mut self, now: Instant, soonest: Instant) {
        let due = self.bulk_due.map_or(soonest, |due| due.min(soonest));
        self.bulk_due = Some(due.max(now));
        self.begin_due_bulk(now);
    }

    fn begin_due_bulk(&mut self, now: Instant) {
        if self.bulk_due.is_some_and(|due| now >= due) {
            self.bulk_due = None;
            self.start_bulk(now, None);
        }
    }

    /// Asks all peers for all their flows.
    pub(super) fn ask_for_everything(&mut self, now: Instant) {
        self.peers.ask_new();
        let Self { peers, outbox, .. } = self;
        for (_, peer) in peers.iter_mut() {
            if peer.with_ftfw(now, outbox, Ftfw::ask_after_greeting).is_none() {
                peer.whole.on_asked(now, peer.tracker.order());
            }
        }
        if !matches!(self.config.replication.mode, Mode::Ftfw { .. }) {
            self.outbox.queue_resync();
        }
    }

    /// Does what the time asks for and what no event has to wait for: only [`crate::Input::Timeout`] leads here.
    pub(super) fn on_timeout(&mut self, now: Instant) {
        self.sweep_remote(now);
        self.ask_in_time(now);
        self.pay_transfer(now);
        self.audit(now);
    }

    /// Does what the time asks for.
    pub(super) fn on_time(&mut self, now: Instant) {
        let Self { peers, outbox, .. } = self;
        for (_, peer) in peers.iter_mut() {
            peer.with_ftfw(now, outbox, |ftfw, outbox| ftfw.on_time(now, outbox));
        }
        self.begin_due_bulk(now);
        self.outbox.tell_again(&self.flows.table, now);
        self.remote.expire(&mut self.counters, now);
        self.look_at_expectations(now);
        self.read_in_time(now);
        self.watch_silent(now);
        self.watch_unsure(now);
        let silence = self.peers.heard_at().map_or(Duration::ZERO, |at| now.since(at));
        let converses = self.config.replication.mode.converses();
        if converses && !self.peer_silent && silence > limit::PEER_SILENCE {
            self.peer_silent = true;
            self.tell(Event::PeerSilent { since: silence });
        }
    }

    /// Whether there is a peer that is to see that this node lives.
    pub(super) const fn converses(&self) -> bool {
        let replication = &self.config.replication;
        replication.has_peer && replication.mode.converses()
    }

    /// After a while without a word, one is said, so that the peer sees what it may have missed.
    pub(super) fn say_alive(&mut self, now: Instant) {
        if now < self.alive_next || !self.outbox.is_empty() {
            return;
        }
        if !self.converses() {
            return;
        }
        // What a transfer from the table sends says enough.
        let speaks = self.outbox.is_in_bulk();
        if !self.is_transferring() && self.bulk_due.is_none() {
            self.queue_account(now);
        } else if !speaks || self.outbox.is_congested() {
            self.outbox.queue_control(Control::Alive);
        }
    }

    /// How this node stands with its peer.
    #[must_use]
    pub fn standing(&self, now: Instant) -> Standing {
        let (remote_complete, remote_exact) = self.remote_standing(now);
        Standing {
            local_loaded: self.is_loaded(),
            peer_heard: self.peers.heard_at().map(|at| now.since(at)),
            remote_complete,
            remote_exact,
            in_bulk: self.is_transferring(),
            committing: self.is_committing(),
        }
    }

    /// The nodes that were heard.
    #[must_use]
    pub const fn peers(&self) -> &crate::peer::v1::Peers {
        &self.peers
    }

    /// What waits to be sent and what waits to be acknowledged.
    #[must_use]
    pub const fn outbox(&self) -> &crate::peer::v1::Outbox {
        &self.outbox
    }
}

#[cfg(test)]
mod tests;
