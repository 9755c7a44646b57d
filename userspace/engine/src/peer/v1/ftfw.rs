//! FTFW, the reliable conversation: greetings, acknowledgements, and whether the peer's table is all here.
//!
//! ```text
//!   us                                     peer
//!    |-- HELLO ------------------------------>|   every message says HELLO until ...
//!    |<---------------------- HELLO_BACK -----|   ... this
//!    |-- RESYNC ----------------------------->|   send me everything
//!    |<------ flow, flow, flow, ... ----------|
//!    |-- ACK (every ACKWindowSize messages) ->|   or a second after the first one
//!    |<------ flow 17, flow 19 ---------------|
//!    |-- ACK ..17, NACK 18..18 -------------->|   a moment later: 18 comes again, with a new number
//!  |<---------------- ALIVE ----------------|   after a second of silence: a gap before it shows what is lost
//! ```

use super::is_before;
use super::resend::ResendQueue;
use super::tracker::Step;
use crate::config::limit;
use crate::peer::v1::Outbox;
use alloc::collections::VecDeque;
use common::Instant;
use wire::sync::v1::{Control, Flags};

/// The conversation, as the receiver keeps it.
#[derive(Debug)]
pub struct Ftfw {
    /// Messages per acknowledgement.
    window: u32,
    /// Messages left of the current window.
    left: u32,
    /// The first and the last message received and not acknowledged.
    unacked: Option<(u32, u32)>,
    /// When they are acknowledged at the latest.
    due: Instant,
    /// Numbers between those two that have not come, and may only be late; ranges, in order.
    missing: VecDeque<(u32, u32)>,
    /// When they are asked for.
    missing_due: Instant,
    /// Whether the last message said HELLO.
    peer_greets: bool,
    /// Whether the peer announces when it has sent everything; conntrackd does not.
    peer_settles: bool,
    /// When the peer answered our HELLO, as long as it has not shown by an ACK that the answer was for this life of us.
    answered: Option<Instant>,
    asked: Asked,
    /// The peer was asked for missing messages and has not said since that it has nothing left to send: it may have to
    /// send everything, because it does not keep them any more.
    nacked: bool,
    /// Everything was requested since the session last checked.
    asked_anew: bool,
}

/// How far the request for the peer's whole table has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// No request.
    No,
    /// As soon as the peer has greeted back: what it sends before that can get lost unnoticed.
    AfterGreeting,
    /// The request is on its way.
    Yes,
    /// The peer has it. What it acknowledges from this number of ours on, it does after having sent everything.
    Heard(u32),
    /// Everything is here.
    Answered,
}

impl Ftfw {
    /// A conversation that begins. `ask`: whether to ask for everything as soon as the peer is there.
    #[must_use]
    pub const fn new(window: u32, ask: bool, now: Instant) -> Self {
        Self {
            window,
            left: window,
            unacked: None,
            due: now,
            missing: VecDeque::new(),
            missing_due: now,
            peer_greets: false,
            peer_settles: false,
            answered: None,
            asked: if ask { Asked::AfterGreeting } else { Asked::No },
            nacked: false,
            asked_anew: false,
        }
    }

    /// Whether a message with these flags is the first one of a new life of the peer, unless it is a late one.
    #[must_use]
    pub const fn is_anew(&self, flags: Flags) -> bool {
        flags.contains(Flags::HELLO) && !self.peer_greets
    }

    /// Takes note of a message that came in.
    pub fn on_arrival(
        &mut self,
        now: Instant,
        outbox: &mut Outbox,
        (seq, flags): (u32, Flags),
        step: Step,
    ) {
        match step {
            Step::Again => return,
            Step::Late => return self.on_late(now, outbox, seq),
            Step::First => self.peer_settles = false,
            Step::Next | Step::Gap(..) => {}
        }
        let hello = flags.contains(Flags::HELLO);
        self.peer_greets = hello;
        if step == Step::First {
            self.unacked = None;
            self.missing.clear();
        }
        if hello {
            outbox.greet_back();
            if outbox.is_empty() {
                outbox.queue_control(Control::Alive);
            }
        }
        if flags.contains(Flags::HELLO_BACK) {
            if outbox.is_greeting() {
                self.answered = Some(now);
            }
            outbox.stop_greeting();
            if self.asked == Asked::AfterGreeting {
                self.ask(outbox);
            }
        }
        if let Step::Gap(from, to) = step {
            self.on_gap(now, (from, to));
        }
        // Were acknowledgements acknowledged as soon as flows are, two peers with small windows would do nothing else.
        let control = flags.intersects(Flags::ACK | Flags::NACK | Flags::RESYNC | Flags::ALIVE);
        self.note(now, outbox, seq, !control);
    }

    /// Numbers were passed over. They may be on their way still, and a peer that is asked for them sends them again at
    /// once, only to be overtaken again: a burst in disorder would be sent for ever.
    fn on_gap(&mut self, now: Instant, (from, to): (u32, u32)) {
        if self.missing.is_empty() {
            self.missing_due = now + limit::GAP_PATIENCE;
        }
        self.missing.push_back((from, to));
        self.unacked.get_or_insert_with(|| {
            (self.due, self.left) = (now + limit::ACK_AFTER, self.window);
            (from, to)
        });
    }

    /// A number came that was passed over.
    fn on_late(&mut self, now: Instant, outbox: &mut Outbox, seq: u32) {
        let ends_before = |&(_, to): &(u32, u32)| is_before(to, seq);
        let at = self.missing.partition_point(ends_before);
        let Some((from, to)) = self.missing.get(at).copied().filter(|m| !is_before(seq, m.0))
        else {
            return;
        };
        self.missing.remove(at);
        if seq != to {
            self.missing.insert(at, (seq.wrapping_add(1), to));
        }
        if seq != from {
            self.missing.insert(at, (from, seq.wrapping_sub(1)));
        }
        self.on_full(now, outbox);
    }

    /// Acknowledges at once when a window is full, and asks at once when too much is missing to keep track of.
    fn on_full(&mut self, now: Instant, outbox: &mut Outbox) {
        if self.missing.len() > limit::GAPS_MAX {
            self.ask_for_missing(now, outbox);
        }
        if self.left == 0 && self.missing.is_empty() {
            self.acknowledge(outbox);
        }
    }

    /// Acknowledges what came before each gap, and asks for the gap.
    fn ask_for_missing(&mut self, now: Instant, outbox: &mut Outbox) {
        let Some((mut from, last)) = self.unacked else { return };
        for (first, to) in self.missing.drain(..) {
            if from != first {
                outbox.queue_control(Control::Ack { from, to: first.wrapping_sub(1) });
            }
            outbox.queue_control(Control::Nack { from: first, to });
            self.nacked = true;
            from = to.wrapping_add(1);
        }
        self.unacked = (!is_before(last, from)).then_some((from, last));
        self.due = now + limit::ACK_AFTER;
    }

    /// Whether messages that the peer was asked for may still be missing, according to a peer that sends accounts.
    #[must_use]
    pub const fn waits_for_missing(&self) -> bool {
        self.nacked
    }

    /// The peer has nothing left to send, and nothing of what it sent before is missing.
    pub const fn on_made_good(&mut self) {
        self.nacked = false;
    }

    /// Whether messages are missing that the peer has not been asked for yet.
    #[must_use]
    pub fn is_missing_some(&self) -> bool {
        !self.missing.is_empty()
    }

    /// One more message to acknowledge.
    fn note(&mut self, now: Instant, outbox: &mut Outbox, seq: u32, weighs: bool) {
        let from = match self.unacked {
            Some((from, _)) => from,
            None => {
                self.due = now + limit::ACK_AFTER;
                self.left = self.window;
                seq
            }
        };
        self.unacked = Some((from, seq));
        self.left = self.left.saturating_sub(u32::from(weighs));
        self.on_full(now, outbox);
    }

    /// Acknowledges what is not acknowledged yet, and asks for what is missing before it.
    pub fn acknowledge(&mut self, outbox: &mut Outbox) {
        self.ask_for_missing(self.due, outbox);
        if let Some((from, to)) = self.unacked.take() {
            outbox.queue_control(Control::Ack { from, to });
        }
    }

    /// Acknowledges what has waited long enough.
    pub fn on_time(&mut self, now: Instant, outbox: &mut Outbox) {
        if !self.missing.is_empty() && now >= self.missing_due {
            self.ask_for_missing(now, outbox);
            self.on_full(now, outbox);
        }
        if self.unacked.is_some() && now >= self.due {
            self.acknowledge(outbox);
        }
        self.doubt_answer(now, outbox);
    }

    /// Greets again if nothing shows that the peer knows of this life of us. An answer to the one before may have been
    /// on its way; then the peer takes all that we say for late, and drops it for ever.
    fn doubt_answer(&mut self, now: Instant, outbox: &mut Outbox) {
        if self.answered.is_none_or(|at| now < at + limit::ANSWER_PATIENCE) {
            return;
        }
        let nothing_waits = outbox.resend().is_none_or(ResendQueue::is_empty);
        self.answered = nothing_waits.then_some(now);
        if !nothing_waits {
            outbox.greet();
        }
    }

    /// When the next acknowledgement or request is due at the latest.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let missing = (!self.missing.is_empty()).then_some(self.missing_due);
        let unacked = self.unacked.map(|_| missing.map_or(self.due, |due| due.min(self.due)));
        let answered = self.answered.map(|at| at + limit::ANSWER_PATIENCE);
        unacked.into_iter().chain(answered).min()
    }

    /// Asks for everything, unless that is being done.
    pub fn ask(&mut self, outbox: &mut Outbox) {
        self.asked = Asked::Yes;
        self.asked_anew = true;
        if outbox.open_requests().resyncs == 0 {
            outbox.queue_control(Control::Resync);
        }
    }

    /// Asks for everything as soon as the peer has greeted back.
    pub fn ask_after_greeting(&mut self, outbox: &mut Outbox) {
        if outbox.is_greeting() {
            self.asked = Asked::AfterGreeting;
        } else {
            self.ask(outbox);
        }
    }

    /// The peer has our messages up to number `to`.
    pub fn on_acknowledged(&mut self, outbox: &mut Outbox, to: u32) {
        let first = outbox.first_seq();
        if to.wrapping_sub(first) < outbox.next_seq().wrapping_sub(first) {
            self.answered = None;
        }
        if outbox.review_requests() {
            self.ask(outbox);
        }
        match self.asked {
            Asked::Yes if outbox.open_requests().resyncs == 0 => {
                self.asked = Asked::Heard(outbox.next_seq());
            }
            Asked::Heard(from) if !self.peer_settles && (to.wrapping_sub(from) as i32) >= 0 => {
                self.asked = Asked::Answered;
            }
            _ => {}
        }
    }

    /// The peer says that it has sent all there is.
    pub fn on_settled(&mut self) {
        self.peer_settles = true;
        if matches!(self.asked, Asked::Heard(_)) {
            self.asked = Asked::Answered;
        }
    }

    /// Whether the peer has sent its whole table since we asked.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.asked == Asked::Answered
    }

    /// Whether everything was asked for since this was called the last time.
    pub const fn take_asked(&mut self) -> bool {
        core::mem::replace(&mut self.asked_anew, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::ReplicaCounters;
    use crate::flows::table::FlowTable;
    use crate::peer::v1::Packer;
    use alloc::vec::Vec;
    use wire::sync::v1::{Header, Messages, Options, RawMessage};

    fn outbox() -> Outbox {
        let options = Options { timeout: true, window_scale: false };
        Outbox::new(100, options, Some(1000))
    }

    /// The headers of everything that waits.
    fn sent(outbox: &mut Outbox) -> Vec<Header> {
        let (mut bytes, mut table) = ([0; 1000], FlowTable::new(10, 0));
        let mut packer = Packer::new(&mut bytes);
        let mut expectations = crate::expectations::Local::default();
        let mut counters = ReplicaCounters::default();
        outbox.pack(&mut table, &mut expectations, &mut packer, &mut counters);
        let len = packer.len();
        let header = |raw: RawMessage<'_>| Header {
            flags: raw.header.flags.difference(Flags::ACCOUNTS),
            ..raw.header
        };
        Messages::datagram(&bytes[..len]).map(|raw| header(raw.unwrap())).collect()
    }

    fn greeted() -> (Ftfw, Outbox) {
        let (mut ftfw, mut outbox) = (Ftfw::new(3, false, Instant(0)), outbox());
        ftfw.on_arrival(Instant(0), &mut outbox, (9, Flags::HELLO_BACK), Step::First);
        ftfw.acknowledge(&mut outbox);
        sent(&mut outbox);
        (ftfw, outbox)
    }

    #[test]
    fn every_message_says_hello_until_the_peer_answers() {
        let (mut ftfw, mut outbox) = (Ftfw::new(3, false, Instant(0)), outbox());
        outbox.queue_control(Control::Resync);
        outbox.queue_control(Control::Settled(None));
        assert!(sent(&mut outbox).iter().all(|header| header.flags.contains(Flags::HELLO)));
        ftfw.on_arrival(Instant(0), &mut outbox, (7, Flags::HELLO_BACK), Step::First);
        outbox.queue_control(Control::Settled(None));
        assert!(sent(&mut outbox).iter().all(|header| !header.flags.contains(Flags::HELLO)));
    }

    #[test]
    fn a_hello_is_answered_at_once_and_once() {
        let (mut ftfw, mut outbox) = greeted();
        ftfw.on_arrival(Instant(0), &mut outbox, (50, Flags::HELLO), Step::First);
        let answer = sent(&mut outbox);
        assert!(answer[0].flags.contains(Flags::HELLO_BACK | Flags::ALIVE));
        outbox.queue_control(Control::Settled(None));
        assert!(!sent(&mut outbox)[0].flags.contains(Flags::HELLO_BACK));
    }

    /// Requirement S9.12.
    #[test]
    fn a_peer_that_answers_and_then_acknowledges_nothing_is_greeted_again() {
        let (mut ftfw, mut outbox) = greeted();
        let later = |n: u64| Instant(n * 3_000_000_000);
        outbox.queue_control(Control::Resync);
        assert!(!sent(&mut outbox)[0].flags.contains(Flags::HELLO));
        ftfw.on_acknowledged(&mut outbox, 99);
        ftfw.on_time(later(1), &mut outbox);
        assert!(sent(&mut outbox)[0].flags.contains(Flags::HELLO));
        ftfw.on_arrival(later(1), &mut outbox, (10, Flags::HELLO_BACK), Step::Next);
        ftfw.on_acknowledged(&mut outbox, 100);
        ftfw.on_time(later(2), &mut outbox);
        assert!(!sent(&mut outbox)[0].flags.contains(Flags::HELLO));
    }

    #[test]
    fn a_full_window_is_acknowledged_at_once_and_a_part_of_one_after_a_second() {
        let (mut ftfw, mut outbox) = greeted();
        for seq in 10..14 {
            ftfw.on_arrival(Instant(0), &mut outbox, (seq, Flags::empty()), Step::Next);
        }
        assert_eq!(sent(&mut outbox)[0].range, Some((10, 12)));
        ftfw.on_time(Instant(999_999_999), &mut outbox);
        assert!(outbox.is_empty());
        ftfw.on_time(Instant(1_000_000_000), &mut outbox);
        assert_eq!(sent(&mut outbox)[0].range, Some((13, 13)));
        assert_eq!(ftfw.due(), Some(Instant(3_000_000_000)));
        ftfw.on_acknowledged(&mut outbox, 100);
        assert_eq!(ftfw.due(), None);
    }

    #[test]
    fn what_came_before_a_gap_is_acknowledged_and_the_gap_is_asked_for() {
        let (mut ftfw, mut outbox) = greeted();
        ftfw.on_arrival(Instant(0), &mut outbox, (10, Flags::empty()), Step::Next);
        ftfw.on_arrival(Instant(0), &mut outbox, (13, Flags::empty()), Step::Gap(11, 12));
        assert!(outbox.is_empty() && ftfw.is_missing_some());
        ftfw.on_time(ftfw.due().unwrap(), &mut outbox);
        let answers: Vec<_> = sent(&mut outbox).iter().map(|h| (h.flags, h.range)).collect();
        assert_eq!(answers, [(Flags::ACK, Some((10, 10))), (Flags::NACK, Some((11, 12)))]);
        assert_eq!(outbox.open_requests().nacks, 1);
    }

    #[test]
    fn what_was_only_late_is_not_asked_for() {
        let (mut ftfw, mut outbox) = greeted();
        let mut arrive = |ftfw: &mut Ftfw, seq, step| {
            ftfw.on_arrival(Instant(0), &mut outbox, (seq, Flags::ALIVE), step);
        };
        arrive(&mut ftfw, 18, Step::Gap(10, 17));
        for late in [17, 10, 12, 13, 12] {
            arrive(&mut ftfw, late, Step::Late);
        }
        ftfw.on_time(ftfw.due().unwrap(), &mut outbox);
        ftfw.acknowledge(&mut outbox);
        let (ack, nack) = (Flags::ACK, Flags::NACK);
        let answers: Vec<_> = sent(&mut outbox).iter().map(|h| (h.flags, h.range)).collect();
        let wanted = [(ack, 10, 10), (nack, 11, 11), (ack, 12, 13), (nack, 14, 16), (ack, 17, 18)];
        assert_eq!(answers, wanted.map(|(flags, from, to)| (flags, Some((from, to)))));
    }

    #[test]
    fn a_burst_in_disorder_that_comes_whole_is_acknowledged_and_nothing_asked_for() {
        let (mut ftfw, mut outbox) = greeted();
        ftfw.on_arrival(Instant(0), &mut outbox, (209, Flags::empty()), Step::Gap(10, 208));
        for seq in (10..209).step_by(2).chain((11..209).step_by(2)) {
            ftfw.on_arrival(Instant(1), &mut outbox, (seq, Flags::empty()), Step::Late);
        }
        ftfw.on_time(Instant(1_000_000_000), &mut outbox);
        let answers: Vec<_> = sent(&mut outbox).iter().map(|h| (h.flags, h.range)).collect();
        assert_eq!(answers, [(Flags::ACK, Some((10, 209)))]);
    }

    #[test]
    fn the_table_is_complete_when_the_peer_has_heard_the_request_and_says_that_it_is_done() {
        let (mut ftfw, mut outbox) = greeted();
        ftfw.on_settled();
        ftfw.ask(&mut outbox);
        let request = sent(&mut outbox)[0].seq;
        ftfw.on_settled();
        assert!(!ftfw.is_answered(), "it has not heard the request");
        outbox.on_ack(&mut FlowTable::new(1, 0), (request, request));
        ftfw.on_acknowledged(&mut outbox, request);
        assert!(!ftfw.is_answered(), "it is sending");
        ftfw.on_settled();
        assert!(ftfw.is_answered());
    }

    #[test]
    fn a_peer_that_never_says_so_is_done_when_it_acknowledges_what_came_after_the_request() {
        let (mut ftfw, mut outbox) = greeted();
        ftfw.ask(&mut outbox);
        let request = sent(&mut outbox)[0].seq;
        outbox.on_ack(&mut FlowTable::new(1, 0), (request, request));
        ftfw.on_acknowledged(&mut outbox, request);
        assert!(!ftfw.is_answered());
        outbox.queue_control(Control::Alive);
        let later = sent(&mut outbox)[0].seq;
        ftfw.on_acknowledged(&mut outbox, later);
        assert!(ftfw.is_answered());
    }
}
