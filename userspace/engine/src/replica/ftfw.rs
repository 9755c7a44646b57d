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
//!    |-- ACK ..17, NACK 18..18 -------------->|   18 comes again, with a new number
//!    |<---------------- ALIVE ----------------|   after a second without a word: a gap before it shows what is lost
//! ```

use super::tracker::Step;
use crate::config::limit;
use crate::replica::Outbox;
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
    /// Whether the last message said HELLO.
    peer_greets: bool,
    /// Whether the peer tells when it has sent everything; conntrackd does not.
    peer_settles: bool,
    asked: Asked,
}

/// How far the request for the peer's whole table has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Nobody asked.
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
            peer_greets: false,
            peer_settles: false,
            asked: if ask { Asked::AfterGreeting } else { Asked::No },
        }
    }

    /// Whether a message with these flags is the first one of a new life of the peer, unless it is a late one.
    #[must_use]
    pub const fn is_anew(&self, flags: Flags) -> bool {
        flags.contains(Flags::HELLO) && !self.peer_greets
    }

    /// Takes note of a message that came in, unless it comes late.
    pub fn on_arrival(
        &mut self,
        now: Instant,
        outbox: &mut Outbox,
        (seq, flags): (u32, Flags),
        step: Step,
    ) {
        if matches!(step, Step::Late | Step::Again) {
            return;
        }
        let hello = flags.contains(Flags::HELLO);
        self.peer_greets = hello;
        if step == Step::First {
            self.unacked = None;
            self.peer_settles = false;
        }
        if hello {
            outbox.greet_back();
            if outbox.is_empty() {
                outbox.queue_control(Control::Alive);
            }
        }
        if flags.contains(Flags::HELLO_BACK) {
            outbox.stop_greeting();
            if self.asked == Asked::AfterGreeting {
                self.ask(outbox);
            }
        }
        if let Step::Gap(from, to) = step {
            self.acknowledge(outbox);
            outbox.queue_control(Control::Nack { from, to });
        }
        // Were acknowledgements acknowledged as soon as flows are, two peers with small windows would do nothing else.
        let control = flags.intersects(Flags::ACK | Flags::NACK | Flags::RESYNC | Flags::ALIVE);
        self.note(now, outbox, seq, !control);
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
        if self.left == 0 {
            self.acknowledge(outbox);
        }
    }

    /// Acknowledges what is not acknowledged yet.
    pub fn acknowledge(&mut self, outbox: &mut Outbox) {
        if let Some((from, to)) = self.unacked.take() {
            outbox.queue_control(Control::Ack { from, to });
        }
    }

    /// Acknowledges what has waited long enough.
    pub fn on_time(&mut self, now: Instant, outbox: &mut Outbox) {
        if self.due().is_some_and(|due| now >= due) {
            self.acknowledge(outbox);
        }
    }

    /// When something is to be acknowledged at the latest.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.unacked.map(|_| self.due)
    }

    /// Asks for everything, unless that is being done.
    pub fn ask(&mut self, outbox: &mut Outbox) {
        self.asked = Asked::Yes;
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
    pub fn is_complete(&self) -> bool {
        self.asked == Asked::Answered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::ReplicaCounters;
    use crate::replica::Packer;
    use crate::table::FlowTable;
    use alloc::vec::Vec;
    use wire::sync::v1::{Header, Messages, Options};

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
        Messages::datagram(&bytes[..len]).map(|raw| raw.unwrap().header).collect()
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
        outbox.queue_control(Control::Settled);
        assert!(sent(&mut outbox).iter().all(|header| header.flags.contains(Flags::HELLO)));
        ftfw.on_arrival(Instant(0), &mut outbox, (7, Flags::HELLO_BACK), Step::First);
        outbox.queue_control(Control::Settled);
        assert!(sent(&mut outbox).iter().all(|header| !header.flags.contains(Flags::HELLO)));
    }

    #[test]
    fn a_hello_is_answered_at_once_and_once() {
        let (mut ftfw, mut outbox) = greeted();
        ftfw.on_arrival(Instant(0), &mut outbox, (50, Flags::HELLO), Step::First);
        let answer = sent(&mut outbox);
        assert!(answer[0].flags.contains(Flags::HELLO_BACK | Flags::ALIVE));
        outbox.queue_control(Control::Settled);
        assert!(!sent(&mut outbox)[0].flags.contains(Flags::HELLO_BACK));
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
        assert_eq!(ftfw.due(), None);
    }

    #[test]
    fn what_came_before_a_gap_is_acknowledged_and_the_gap_is_asked_for() {
        let (mut ftfw, mut outbox) = greeted();
        ftfw.on_arrival(Instant(0), &mut outbox, (10, Flags::empty()), Step::Next);
        ftfw.on_arrival(Instant(0), &mut outbox, (13, Flags::empty()), Step::Gap(11, 12));
        let answers: Vec<_> = sent(&mut outbox).iter().map(|h| (h.flags, h.range)).collect();
        assert_eq!(answers, [(Flags::ACK, Some((10, 10))), (Flags::NACK, Some((11, 12)))]);
        assert_eq!(outbox.open_requests().nacks, 1);
    }

    #[test]
    fn the_table_is_complete_when_the_peer_has_heard_the_request_and_says_that_it_is_done() {
        let (mut ftfw, mut outbox) = greeted();
        ftfw.on_settled();
        ftfw.ask(&mut outbox);
        let request = sent(&mut outbox)[0].seq;
        ftfw.on_settled();
        assert!(!ftfw.is_complete(), "it has not heard the request");
        outbox.on_ack(&mut FlowTable::new(1, 0), (request, request));
        ftfw.on_acknowledged(&mut outbox, request);
        assert!(!ftfw.is_complete(), "it is sending");
        ftfw.on_settled();
        assert!(ftfw.is_complete());
    }

    #[test]
    fn a_peer_that_never_says_so_is_done_when_it_acknowledges_what_came_after_the_request() {
        let (mut ftfw, mut outbox) = greeted();
        ftfw.ask(&mut outbox);
        let request = sent(&mut outbox)[0].seq;
        outbox.on_ack(&mut FlowTable::new(1, 0), (request, request));
        ftfw.on_acknowledged(&mut outbox, request);
        assert!(!ftfw.is_complete());
        outbox.queue_control(Control::Alive);
        let later = sent(&mut outbox)[0].seq;
        ftfw.on_acknowledged(&mut outbox, later);
        assert!(ftfw.is_complete());
    }
}
