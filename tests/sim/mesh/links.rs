//! What lies between nodes: paths that lose, repeat, delay and are cut, and sessions as `host::secure` makes them.
//!
//! ```text
//!   asking --Ask--> answered    Answer --> up    first data under the new key --> up    5 s of silence --> down, asks
//! ```
//!
//! No byte is sealed here: a key is a number, and who does not have it cannot open what is sent under it.

use crate::prng::Rng;
use common::Instant;
use std::collections::BTreeSet;
use std::time::Duration;

/// After so long without a datagram a peer counts as gone (`host::secure::limit::PEER_SILENCE`).
const SILENCE: Duration = Duration::from_secs(5);
/// Between two initiations, at first and at most.
const ASK_MIN: Duration = Duration::from_millis(500);
const ASK_MAX: Duration = Duration::from_secs(5);

/// A packet on its way.
#[derive(Clone, Debug)]
pub(super) enum Packet {
    /// An initiation: its number, and which run of the sender.
    Ask { serial: u64, incarnation: u64 },
    /// The response to it; its number is the key.
    Answer { serial: u64, incarnation: u64 },
    /// What was sealed under a key, in the stream from a shard to a shard.
    Data { key: u64, stream: (u8, u8), number: u64, bytes: Vec<u8> },
}

/// How unkind paths are; chances in a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unkind {
    pub(super) lose: u32,
    pub(super) repeat: u32,
    pub(super) jitter_ns: u64,
    pub(super) travel_ns: u64,
}

impl Unkind {
    pub(super) fn drawn(rng: &mut Rng) -> Self {
        Self {
            lose: *rng.pick(&[0, 0, 10, 100, 300]),
            repeat: *rng.pick(&[0, 50]),
            jitter_ns: *rng.pick(&[1, 5_000_000, 200_000_000]),
            travel_ns: *rng.pick(&[100_000, 10_000_000]),
        }
    }

    /// When each copy of a datagram arrives, after how long.
    pub(super) fn copies(self, rng: &mut Rng) -> Vec<u64> {
        if rng.chance(self.lose) {
            return Vec::new();
        }
        let copies = 1 + usize::from(rng.chance(self.repeat));
        (0..copies).map(|_| self.travel_ns + rng.below(self.jitter_ns)).collect()
    }
}

/// A key, and which run of the peer it was agreed with.
#[derive(Clone, Copy, Debug)]
struct Key {
    id: u64,
    incarnation: u64,
}

/// What becomes of a datagram, or of time.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LinkEvent {
    /// The peer is there.
    Up(u64),
    /// The peer is gone.
    Down,
    /// A datagram to send to it.
    Send(u64, bool),
    /// A datagram of this run of the peer was opened, for the first time.
    Opened(u64),
}

/// A node's sessions with one peer.
#[derive(Debug, Default)]
pub(super) struct Session {
    present: Option<Key>,
    last: Option<Key>,
    next: Option<Key>,
    /// The incarnation that the engine knows.
    reported: Option<u64>,
    heard_at: Instant,
    /// The last initiation that was sent, when the first and when the next one.
    asked: Option<u64>,
    asked_since: Instant,
    ask_at: Instant,
    ask_wait: Duration,
    /// Until when a confirmation of a response is awaited.
    answered_until: Instant,
    /// Numbers that were opened, by stream, of this incarnation.
    opened: BTreeSet<((u8, u8), u64)>,
}

impl Session {
    /// The key under which data goes out.
    pub(super) fn key(&self) -> Option<u64> {
        self.present.map(|key| key.id)
    }

    /// The run of the peer that the session is with.
    pub(super) fn incarnation(&self) -> Option<u64> {
        self.present.map(|key| key.incarnation)
    }

    pub(super) const fn is_up(&self) -> bool {
        self.reported.is_some()
    }

    /// Time goes by; `serial` is a number that was never used.
    pub(super) fn on_time(&mut self, now: Instant, serial: u64) -> Vec<LinkEvent> {
        let mut events = Vec::new();
        if self.is_up() && now.since(self.heard_at) >= SILENCE {
            (self.reported, self.asked, self.ask_at) = (None, None, now);
            events.push(LinkEvent::Down);
        }
        if !self.is_up() && now >= self.ask_at && now >= self.answered_until {
            if self.asked.is_none() {
                (self.asked_since, self.ask_wait) = (now, ASK_MIN);
            }
            self.asked = Some(serial);
            self.ask_at = now + self.ask_wait;
            self.ask_wait = (self.ask_wait * 2).min(ASK_MAX);
            events.push(LinkEvent::Send(serial, true));
        }
        events
    }

    /// An initiation came. `first`: this node's name is the lower one.
    pub(super) fn on_ask(
        &mut self,
        now: Instant,
        first: bool,
        (serial, incarnation): (u64, u64),
    ) -> Vec<LinkEvent> {
        if first && self.asked.is_some() && now.since(self.asked_since) < ASK_MAX {
            return Vec::new();
        }
        self.asked = None;
        self.next = Some(Key { id: serial, incarnation });
        self.answered_until = now + ASK_MAX;
        vec![LinkEvent::Send(serial, false)]
    }

    pub(super) fn on_answer(
        &mut self,
        now: Instant,
        (serial, incarnation): (u64, u64),
    ) -> Vec<LinkEvent> {
        if self.asked != Some(serial) {
            return Vec::new();
        }
        self.promote(now, Key { id: serial, incarnation })
    }

    fn promote(&mut self, now: Instant, key: Key) -> Vec<LinkEvent> {
        let before = self.present.replace(key);
        self.last = before.filter(|before| before.incarnation == key.incarnation);
        if self.last.is_none() {
            self.opened.clear();
        }
        (self.heard_at, self.asked, self.answered_until) = (now, None, Instant(0));
        self.report_up(key.incarnation)
    }

    fn report_up(&mut self, incarnation: u64) -> Vec<LinkEvent> {
        let before = self.reported.replace(incarnation);
        (before != Some(incarnation)).then_some(LinkEvent::Up(incarnation)).into_iter().collect()
    }

    /// Data came.
    pub(super) fn on_data(
        &mut self,
        now: Instant,
        key: u64,
        place: ((u8, u8), u64),
    ) -> Vec<LinkEvent> {
        let mut events = Vec::new();
        if let Some(next) = self.next.filter(|next| next.id == key) {
            self.next = None;
            events = self.promote(now, next);
        }
        let known = [self.present, self.last].into_iter().flatten().find(|known| known.id == key);
        let Some(known) = known else { return Vec::new() };
        self.heard_at = now;
        if !self.opened.insert(place) {
            return events;
        }
        if !self.is_up() {
            events.extend(self.report_up(known.incarnation));
            self.asked = None;
        }
        events.push(LinkEvent::Opened(known.incarnation));
        events
    }
}
