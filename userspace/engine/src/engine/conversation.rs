//! What the peer says, and what is said to it beside flows.

use super::Engine;
use crate::config::{Mode, limit};
use crate::output::{Event, Side};
use crate::replica::count_fault;
use crate::replica::resend::Verdict;
use crate::replica::{Place, Step};
use common::Instant;
use core::time::Duration;
use wire::sync::v1::{self, Change, Control, Flags, Message, Messages, RawMessage};

/// How long after a request everything is said to have come, where nobody acknowledges.
const ANSWER_TIME: Duration = Duration::from_secs(1);

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

impl Engine {
    pub(super) fn on_datagram(&mut self, now: Instant, bytes: &[u8]) {
        for raw in Messages::datagram(bytes) {
            match raw.and_then(|raw| Ok((raw, v1::decode(&raw)?))) {
                Ok((raw, message)) => {
                    let whole = &bytes[raw.at..raw.at + usize::from(raw.header.len)];
                    self.on_raw(now, &raw, whole, message);
                }
                Err(fault) => count_fault(&fault, &mut self.counters.replica),
            }
        }
    }

    fn on_raw(&mut self, now: Instant, raw: &RawMessage<'_>, whole: &[u8], message: Message) {
        let (seq, flags) = (raw.header.seq, raw.header.flags);
        let alarm = !self.config.replication.mode.converses();
        if alarm && (!flags.is_empty() || matches!(message, Message::Control(_))) {
            return;
        }
        let counters = &mut self.counters.replica;
        counters.received += 1;
        let anew = self.ftfw.as_ref().is_some_and(|ftfw| ftfw.is_anew(flags));
        let place = self.tracker.place(now, seq, whole, anew, counters);
        if place.restarted {
            self.tell(Event::PeerRestarted { at: now });
        }
        if self.peer_silent {
            self.peer_silent = false;
            self.tell(Event::PeerBack);
        }
        if place.step == Step::Late && self.is_overtaken(&message, place.order) {
            // Its number stays one that is missing, and the peer tells again how the flow began.
            self.counters.remote.stale += 1;
            return;
        }
        let is_news = self.on_arrival(now, (seq, flags), place);
        // Two lives of a peer that began in the same second begin with the same number, and with the same request.
        if is_news || message == Message::Control(Control::Resync) {
            self.on_message(now, place.order, message);
        }
    }

    /// Whether a late message tells the beginning of a flow of which later news is known. That was laid over what was
    /// known of an earlier life, and nobody can say any more what of that is to go.
    fn is_overtaken(&self, message: &Message, order: u64) -> bool {
        let Message::Flow { change: Change::New, flow } = message else { return false };
        self.ftfw.is_some() && self.remote.is_overtaken(&flow.key(), order)
    }

    /// FTFW: takes note of a message. False if it was here before.
    fn on_arrival(&mut self, now: Instant, (seq, flags): (u32, Flags), place: Place) -> bool {
        let Some(ftfw) = &mut self.ftfw else { return true };
        ftfw.on_arrival(now, &mut self.outbox, (seq, flags), place.step);
        if place.restarted {
            self.outbox.on_peer_restart(&mut self.local.table);
            // What became of its flows since we last heard of them, nobody has told us.
            ftfw.ask_after_greeting(&mut self.outbox);
        }
        place.step != Step::Again
    }

    fn on_message(&mut self, now: Instant, order: u64, message: Message) {
        match message {
            Message::Flow { change, flow } if self.config.replication.keep_remote => {
                let counters = &mut self.counters;
                let outcome = self.remote.on_message(counters, change, flow, order, now);
                self.note_room(Side::Remote, outcome);
            }
            Message::Flow { change, flow } => {
                let Self { config, kernel, counters, remote, .. } = self;
                remote.inject(config, kernel, counters, (change, flow), order);
            }
            Message::Expect { change, expect } => {
                self.on_expect_message(now, (change, expect), order);
            }
            Message::Control(control) => self.on_control(now, control),
        }
    }

    fn on_control(&mut self, now: Instant, control: Control) {
        match (control, &mut self.ftfw) {
            (Control::Resync, ftfw) => {
                if let Some(ftfw) = ftfw {
                    ftfw.acknowledge(&mut self.outbox);
                }
                self.tell(Event::ResyncRequested);
                self.plan_bulk(now);
            }
            (Control::Ack { from, to }, Some(ftfw)) => {
                let verdict = self.outbox.on_ack(&mut self.local.table, (from, to));
                ftfw.on_acknowledged(&mut self.outbox, to);
                self.on_verdict(now, verdict);
            }
            (Control::Nack { from, to }, Some(_)) => {
                let verdict = self.outbox.on_nack(&mut self.local.table, (from, to));
                self.on_verdict(now, verdict);
            }
            (Control::Settled, Some(ftfw)) => ftfw.on_settled(),
            (Control::Settled | Control::Alive, None) => {
                if let Some((at, lost @ None)) = &mut self.asked
                    && now.since(*at) >= ANSWER_TIME
                {
                    *lost = Some(self.counters.replica.lost);
                }
            }
            (Control::Alive | Control::Ack { .. } | Control::Nack { .. }, _) => {}
        }
    }

    fn on_verdict(&mut self, now: Instant, verdict: Verdict) {
        match verdict {
            Verdict::Fine => {}
            Verdict::Absurd => self.counters.replica.absurd_ranges += 1,
            Verdict::Beyond => {
                if self.bulk_due.is_none() {
                    self.tell(Event::PeerMissed);
                }
                self.plan_bulk(now);
            }
        }
    }

    /// Begins a bulk transfer the peer needs. If one has just begun, a moment later: a peer that loses much asks often.
    fn plan_bulk(&mut self, now: Instant) {
        let soonest = self.bulk_began.map_or(now, |began| began + limit::BULK_PAUSE);
        self.bulk_due = Some(soonest.max(now));
        self.begin_due_bulk(now);
    }

    fn begin_due_bulk(&mut self, now: Instant) {
        if self.bulk_due.is_some_and(|due| now >= due) {
            self.bulk_due = None;
            self.start_bulk(now, None);
        }
    }

    /// Asks the peer for all its flows.
    pub(super) fn ask_for_everything(&mut self, now: Instant) {
        if let Some(ftfw) = &mut self.ftfw {
            ftfw.ask_after_greeting(&mut self.outbox);
        } else {
            self.outbox.queue_control(Control::Resync);
            self.asked = Some((now, None));
        }
    }

    /// Does what the time asks for.
    pub(super) fn on_time(&mut self, now: Instant) {
        if let Some(ftfw) = &mut self.ftfw {
            ftfw.on_time(now, &mut self.outbox);
        }
        self.begin_due_bulk(now);
        self.local.tell_again(&mut self.outbox, now);
        self.remote.expire(&mut self.counters, now);
        self.look_at_expectations(now);
        self.read_in_time(now);
        self.watch_silent(now);
        self.watch_unsure(now);
        let silence = self.tracker.heard_at().map_or(Duration::ZERO, |at| now.since(at));
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
        let busy = self.local.is_in_bulk();
        if !busy && self.bulk_due.is_none() {
            self.outbox.queue_control(Control::Settled);
        } else if !busy || self.outbox.is_congested() {
            self.outbox.queue_control(Control::Alive);
        }
    }

    /// How this node stands with its peer.
    #[must_use]
    pub fn standing(&self, now: Instant) -> Standing {
        let lost = self.asked.and_then(|(_, lost)| lost);
        let open = self.outbox.open_requests();
        let (remote_complete, remote_exact) = match (&self.config.replication.mode, &self.ftfw) {
            (Mode::Ftfw { .. }, Some(ftfw)) => {
                (ftfw.is_complete(), open.nacks == 0 && !ftfw.is_missing_some())
            }
            (Mode::Alarm { expire_s, .. }, _) => {
                // After so long, all that is not told again has gone, and all that is has come.
                let since = now.since(self.began);
                (since >= Duration::from_secs((*expire_s).into()), true)
            }
            _ => (lost.is_some(), lost.unwrap_or(0) == self.counters.replica.lost),
        };
        Standing {
            local_loaded: self.dump.as_ref().is_none_or(|dump| dump.watch)
                && (self.counters.resyncs > 0 || !self.config.replication.keep_local),
            peer_heard: self.tracker.heard_at().map(|at| now.since(at)),
            remote_complete,
            remote_exact,
            in_bulk: self.local.is_in_bulk(),
            committing: self.is_committing(),
        }
    }

    /// What waits to be sent and what waits to be acknowledged.
    #[must_use]
    pub const fn outbox(&self) -> &crate::replica::Outbox {
        &self.outbox
    }
}

#[cfg(test)]
mod tests;
