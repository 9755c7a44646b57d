//! The model on a path that is a model too: virtual time, the same seed, the same bytes.

use super::*;
use crate::peer::v2::claim::What;
use crate::peer::v2::ledger::{Item, Ledger, PositionId};
use crate::peer::v2::path::Path;
use crate::peer::v2::sent::{Lost, Models, Sent};
use crate::peer::v2::stream::Arrived;
use core::ops::RangeInclusive;
use std::collections::VecDeque;
use std::vec;
use std::vec::Vec;

/// What a datagram has around its records, and records in it: TCP over IPv4 on a path of 1,500.
const PATH: u64 = 1_500;
const RECORDS: usize = (1_500 - 20 - 8 - 16 - 16 - 8 - 13) / 18;
/// How often both ends take a turn.
const TURN: Duration = Duration::from_micros(500);

struct Random(u64);

impl Random {
    /// Below `n` (xorshift).
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// A link: a queue in front of a wire of some rate, with a delay and losses behind it.
struct Link {
    rate: u64,
    delay: Duration,
    queue: u64,
    loss_per_mille: u64,
    free_at: Instant,
    dropped: u64,
}

impl Link {
    /// When a datagram that goes in now comes out.
    fn send(&mut self, now: Instant, len: u64, random: &mut Random) -> Option<Instant> {
        let starts = self.free_at.max(now);
        let waiting = bytes_in(self.rate, starts.since(now));
        if waiting + len > self.queue {
            self.dropped += 1;
            return None;
        }
        self.free_at = starts + Duration::from_nanos(len * 1_000_000_000 / self.rate);
        (random.below(1_000) >= self.loss_per_mille).then(|| self.free_at + self.delay)
    }
}

struct Acknowledgement {
    at: Instant,
    ranges: Vec<RangeInclusive<u64>>,
    delay: Duration,
}

/// One bulk of a ledger from one node to another.
struct Transfer {
    now: Instant,
    random: Random,
    link: Link,
    back: Duration,
    ledger: Ledger,
    position: PositionId,
    sent: Sent,
    lost: Lost,
    rate: Rate,
    data: VecDeque<(Instant, u64, Vec<Item>)>,
    acks: VecDeque<Acknowledgement>,
    arrived: Arrived,
    got: Vec<bool>,
    missing: usize,
    sent_bytes: u64,
}

impl Transfer {
    fn new(flows: u32, link: Link, cap: Option<u64>) -> Self {
        let mut ledger = Ledger::new(8);
        let position = ledger.open();
        for slot in 0..flows {
            ledger.change(slot, 0, 0, What::State);
        }
        let now = Instant(1_000_000_000);
        Self {
            now,
            random: Random(0x1234_5678_9abc_def1),
            back: link.delay,
            link,
            ledger,
            position,
            sent: Sent::default(),
            lost: Lost::default(),
            rate: Rate::new(now, PATH as usize, cap),
            data: VecDeque::new(),
            acks: VecDeque::new(),
            arrived: Arrived::default(),
            got: vec![false; flows as usize],
            missing: flows as usize,
            sent_bytes: 0,
        }
    }

    /// Fills one datagram: what was lost first.
    fn pack(&mut self) -> Vec<Item> {
        let mut items = Vec::new();
        while items.len() < RECORDS {
            let (item, entry) = if let Some(lost) = self.lost.peek(&self.ledger) {
                self.lost.advance();
                lost
            } else if let Some(next) = self.ledger.peek(self.position) {
                self.ledger.advance(self.position);
                next
            } else {
                break;
            };
            self.sent.carry(item, entry.version);
            items.push(item);
        }
        items
    }

    fn transmit(&mut self) {
        loop {
            let waits =
                self.ledger.peek(self.position).is_some() || self.lost.peek(&self.ledger).is_some();
            let allowed = self.rate.allowance(self.now, self.sent.bytes(), u64::MAX);
            if !waits || allowed < PATH || !self.sent.has_room(RECORDS) {
                return;
            }
            let items = self.pack();
            let more = self.ledger.peek(self.position).is_some() || !self.lost.is_empty();
            let snapshot = self.rate.on_sent(self.now, PATH, self.sent.bytes(), more);
            let number = self.sent.send(self.now, PATH as usize, true, snapshot);
            self.sent_bytes += PATH;
            if let Some(at) = self.link.send(self.now, PATH, &mut self.random) {
                self.data.push_back((at, number, items));
            }
        }
    }

    fn receive(&mut self) {
        while let Some((at, number, items)) = self.data.pop_front_if(|(at, ..)| *at <= self.now) {
            self.arrived.on_datagram(at, number, true, false);
            for item in items {
                let Item::Flow(slot) = item else { panic!("an end") };
                self.missing -=
                    usize::from(!core::mem::replace(&mut self.got[slot as usize], true));
            }
        }
        if self.arrived.is_due(self.now) {
            let ranges = self.arrived.ranges().collect();
            let delay = self.arrived.delay(self.now);
            self.arrived.on_acknowledged();
            if self.random.below(1_000) >= self.link.loss_per_mille {
                self.acks.push_back(Acknowledgement { at: self.now + self.back, ranges, delay });
            }
        }
    }

    fn hear(&mut self) {
        while let Some(ack) = self.acks.pop_front_if(|ack| ack.at <= self.now) {
            let Acknowledgement { ranges, delay, .. } = ack;
            let lost = |carried| self.lost.push(carried);
            let models = Models { rate: &mut self.rate, path: &mut Path::new(self.now) };
            self.sent.on_ack(self.now, models, ranges.into_iter(), delay, lost);
        }
        if self.sent.timeout(self.rate.trip()).is_some_and(|at| at <= self.now) {
            let models = Models { rate: &mut self.rate, path: &mut Path::new(self.now) };
            self.sent.on_timeout(self.now, models, |carried| self.lost.push(carried));
        }
    }

    fn turn(&mut self) {
        self.now += TURN;
        self.hear();
        self.transmit();
        self.receive();
    }

    /// Seconds until everything is acknowledged.
    fn run(&mut self) -> f64 {
        let begun = self.now;
        loop {
            self.turn();
            assert!(
                self.now.since(begun) < Duration::from_secs(120),
                "{} are missing",
                self.missing
            );
            let over =
                self.ledger.peek(self.position).is_none() && self.lost.peek(&self.ledger).is_none();
            if over && self.sent.is_idle() && self.missing == 0 {
                return self.now.since(begun).as_secs_f64();
            }
        }
    }
}

const fn link(mbit_s: u64, trip_ms: u64, queue: u64, loss_per_mille: u64) -> Link {
    let delay = Duration::from_micros(trip_ms * 500);
    let rate = mbit_s * 1_000_000 / 8;
    Link { rate, delay, queue, loss_per_mille, free_at: Instant(0), dropped: 0 }
}

/// R12.2: 1 M flows over 20 Mbit/s, 50 ms and 1 % loss in at most 10 s, whatever the queue in front of the link.
#[test]
fn a_million_flows_take_ten_seconds_over_a_slow_path_that_loses() {
    for (trip_ms, queue) in [(50, 25_000), (50, 100_000), (50, 400_000), (100, 100_000)] {
        let mut transfer = Transfer::new(1_000_000, link(20, trip_ms, queue, 10), None);
        let took = transfer.run();
        std::println!(
            "{trip_ms} ms, {queue} bytes: {took:.2} s, {} MB, {} dropped",
            transfer.sent_bytes / 1_000_000,
            transfer.link.dropped
        );
        assert!(took <= 10.0, "{trip_ms} ms, {queue} bytes: {took} s");
    }
}

/// R12.1: loss at random does not slow it down, up to a tenth.
#[test]
fn loss_at_random_does_not_slow_it_down() {
    let took =
        [0, 10, 50].map(|loss| Transfer::new(200_000, link(20, 50, 100_000, loss), None).run());
    std::println!("{took:.2?}");
    assert!(took[1] < took[0] * 1.15 && took[2] < took[0] * 1.4, "{took:?}");
}

/// R12.1: `Rate` caps it.
#[test]
fn a_cap_holds() {
    let mut transfer = Transfer::new(100_000, link(100, 20, 400_000, 0), Some(1_000_000));
    let took = transfer.run();
    let rate = transfer.sent_bytes as f64 / took;
    assert!((900_000.0..1_030_000.0).contains(&rate), "{rate}");
}

/// R12.1: a sender with nothing to send never lowers it.
#[test]
fn a_pause_changes_nothing() {
    let mut transfer = Transfer::new(300_000, link(20, 50, 100_000, 0), None);
    transfer.run();
    let before = transfer.rate.rate();
    assert!((2_200_000..2_600_000).contains(&before), "20 Mbit/s are 2.5 MB/s: {before}");
    // A beat of news now and then, for a minute.
    for n in 0..60 {
        transfer.ledger.change(n, 0, 0, What::State);
        for _ in 0..2_000 {
            transfer.turn();
        }
    }
    assert_eq!(transfer.rate.rate(), before);
}

/// R12.1: above a tenth of a round, the rate falls by a fifth a round.
#[test]
fn a_path_that_became_slower_is_noticed() {
    let mut transfer = Transfer::new(400_000, link(20, 50, 100_000, 0), None);
    for _ in 0..2_000 {
        transfer.turn();
    }
    transfer.link.rate /= 4;
    for _ in 0..6_000 {
        transfer.turn();
    }
    let rate = transfer.rate.rate();
    assert!((500_000..900_000).contains(&rate), "5 Mbit/s are 625 kB/s: {rate}");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = || {
        let mut transfer = Transfer::new(50_000, link(20, 50, 25_000, 20), None);
        (transfer.run().to_bits(), transfer.sent_bytes, transfer.link.dropped)
    };
    assert_eq!(run(), run());
}
