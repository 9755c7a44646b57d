//! A stranger on the link: it sees the peer's messages, and sends what it likes.

use crate::prng::Rng;
use ctnetlink::{Change, Flow, Writer};
use std::collections::VecDeque;
use wire::sync::v1::{self, Account, Control, Flags, Messages, Options, Stamp};

/// Datagrams it remembers.
const OVERHEARD: usize = 32;

/// The hostile one.
#[derive(Debug)]
pub(crate) struct Hostile {
    rng: Rng,
    overheard: VecDeque<Vec<u8>>,
    /// Whether it knows one trick only, and which.
    trick: Option<u64>,
    /// Whether it pretends to restart now and then.
    greets: bool,
    rare: bool,
}

impl Hostile {
    pub(crate) const fn new(mut rng: Rng) -> Self {
        let trick = if rng.chance(500) { Some(rng.below(8)) } else { None };
        let greets = rng.chance(500);
        let rare = rng.chance(500);
        Self { rng, overheard: VecDeque::new(), trick, greets, rare }
    }

    /// How often it speaks: some are persistent, some are not.
    pub(crate) const fn share(&self, most: u32) -> u32 {
        if self.rare { 1 + most / 20 } else { most }
    }

    /// The peer sends this.
    pub(crate) fn overhear(&mut self, bytes: &[u8]) {
        if self.overheard.len() == OVERHEARD {
            self.overheard.pop_front();
        }
        self.overheard.push_back(bytes.to_vec());
    }

    /// A datagram in the peer's name.
    pub(crate) fn forge(&mut self) -> Vec<u8> {
        match self.rng.below(10) {
            _ if self.trick.is_some() => self.forged(),
            0 => (0..self.rng.below(200)).map(|_| self.rng.next() as u8).collect(),
            1 => self.some_overheard(),
            2..4 => self.mutated(),
            _ => self.forged(),
        }
    }

    fn some_overheard(&mut self) -> Vec<u8> {
        if self.overheard.is_empty() {
            return Vec::new();
        }
        self.rng.pick(self.overheard.make_contiguous()).clone()
    }

    fn mutated(&mut self) -> Vec<u8> {
        let mut bytes = self.some_overheard();
        for _ in 0..=self.rng.below(4) {
            if let Some(at) = (!bytes.is_empty()).then(|| self.rng.below(bytes.len() as u64)) {
                bytes[at as usize] = self.rng.next() as u8;
            }
        }
        bytes
    }

    /// Whole messages, with numbers that are near the peer's, far from them, or anything.
    fn forged(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 1472];
        let mut writer = Writer::new(&mut bytes);
        for _ in 0..=self.rng.below(6) {
            let mut flags = Flags::empty();
            flags.set(Flags::HELLO, self.greets && self.rng.chance(200));
            flags.set(Flags::HELLO_BACK, self.greets && self.rng.chance(200));
            let stamp = Stamp { seq: self.number(), flags };
            let (from, to) = (self.number(), self.number());
            let any = self.rng.below(8);
            let control = match self.trick.unwrap_or(any) {
                0 | 1 => Control::Resync,
                2 | 3 => Control::Ack { from, to },
                4 | 5 => Control::Nack { from, to },
                6 => Control::Settled(self.greets.then_some(Account {
                    exact: true,
                    whole: true,
                    injects: self.rng.chance(500),
                    transfer: Some(from),
                    flows: Some(to),
                })),
                _ => {
                    let flow = Flow::new(self.tuple());
                    let change = *self.rng.pick(&[Change::New, Change::Update, Change::Destroy]);
                    let options = Options { timeout: true, window_scale: true };
                    v1::encode_flow(change, stamp, &flow, options, &mut writer);
                    continue;
                }
            };
            v1::encode_control(control, stamp, &mut writer);
        }
        let len = writer.finish().unwrap_or(0);
        bytes.truncate(len);
        bytes
    }

    fn tuple(&mut self) -> ctnetlink::Tuple {
        let port = 1 + self.rng.below(60_000) as u16;
        ctnetlink::Tuple::v4([198, 51, 100, 1], [198, 51, 100, 2], 6).with_ports(port, 80)
    }

    fn number(&mut self) -> u32 {
        let latest = self.overheard.back().and_then(|bytes| Messages::datagram(bytes).next());
        let latest = latest.and_then(Result::ok).map_or(0, |raw| raw.header.seq);
        let reach = *self.rng.pick(&[4, 100, 5000, u64::from(u32::MAX)]);
        let back = self.rng.below(reach / 2) as u32;
        latest.wrapping_sub(back).wrapping_add(self.rng.below(reach) as u32)
    }
}
