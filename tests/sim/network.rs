//! The link between the nodes: one direction of it, what it does to datagrams, and what it remembers of them.

use crate::model::Ledger;
use crate::prng::Rng;
use common::Instant;
use std::rc::Rc;
use wire::sync::v1::{self, Flags, Message, Messages};

/// How unkind the link is; chances in a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) lose: u32,
    pub(crate) duplicate: u32,
    pub(crate) corrupt: u32,
    /// Datagrams overtake each other by up to this.
    pub(crate) jitter_ns: u64,
}

/// A datagram on its way.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) bytes: Vec<u8>,
    /// Number of its first message.
    pub(crate) seq: u32,
    /// Its messages in the sender's order; none if it was corrupted.
    pub(crate) messages: Rc<Vec<(u64, Message)>>,
    /// Which life of the sender sent it.
    pub(crate) life: u32,
}

/// One direction.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) faults: Faults,
    pub(crate) parted: bool,
    /// What is known of the messages that went in here.
    pub(crate) ledger: Ledger,
    rng: Rng,
    life: u32,
    next_seq: Option<u32>,
    /// When the sender last said HELLO, in this life.
    pub(crate) greeted: Option<Instant>,
    last_arrival: u64,
}

impl Link {
    pub(crate) fn new(faults: Faults, rng: Rng) -> Self {
        Self {
            faults,
            parted: false,
            ledger: Ledger::default(),
            rng,
            life: 0,
            next_seq: None,
            greeted: None,
            last_arrival: 0,
        }
    }

    /// The sender begins anew: its numbers may, too.
    pub(crate) const fn restart(&mut self) {
        self.life += 1;
        self.next_seq = None;
        self.greeted = None;
    }

    pub(crate) const fn life(&self) -> u32 {
        self.life
    }

    /// Takes a datagram; returns its copies and when they arrive. Refuses what no sender may send.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        bytes: &[u8],
    ) -> Result<Vec<(Instant, Packet)>, String> {
        let messages = Rc::new(self.read(now, bytes)?);
        let seq = self.next_seq.unwrap_or_default().wrapping_sub(messages.len() as u32);
        let packet = Packet { bytes: bytes.to_vec(), seq, messages, life: self.life };
        if self.parted || self.rng.chance(self.faults.lose) {
            self.ledger.lost(&packet.messages);
            return Ok(Vec::new());
        }
        let copies = 1 + usize::from(self.rng.chance(self.faults.duplicate));
        Ok((0..copies).map(|_| (self.arrival(now), self.damaged(packet.clone()))).collect())
    }

    /// Decodes as the receiver will, and checks that the numbers have no gap.
    fn read(&mut self, now: Instant, bytes: &[u8]) -> Result<Vec<(u64, Message)>, String> {
        let mut messages = Vec::new();
        for raw in Messages::datagram(bytes) {
            let raw =
                raw.map_err(|fault| format!("a datagram was sent that is malformed: {fault}"))?;
            let message = v1::decode(&raw)
                .map_err(|fault| format!("a message was sent that is malformed: {fault}"))?;
            let seq = raw.header.seq;
            if self.next_seq.is_some_and(|next| next != seq) {
                return Err(format!("message number {seq} was sent, not {:?}", self.next_seq));
            }
            self.next_seq = Some(seq.wrapping_add(1));
            if raw.header.flags.contains(Flags::HELLO) {
                self.greeted = Some(now);
            }
            self.ledger.sent += 1;
            messages.push((self.ledger.sent, message));
        }
        Ok(messages)
    }

    fn arrival(&mut self, now: Instant) -> Instant {
        let travel = now.0 + 20_000;
        if self.faults.jitter_ns > 0 {
            return Instant(travel + self.rng.below(self.faults.jitter_ns));
        }
        self.last_arrival = travel.max(self.last_arrival + 1);
        Instant(self.last_arrival)
    }

    fn damaged(&mut self, mut packet: Packet) -> Packet {
        if !self.rng.chance(self.faults.corrupt) {
            return packet;
        }
        self.ledger.lost(&packet.messages);
        self.ledger.corrupted = true;
        packet.messages = Rc::default();
        let bytes = &mut packet.bytes;
        match self.rng.below(3) {
            0 => bytes.truncate(self.rng.below(bytes.len() as u64) as usize),
            1 => bytes.iter_mut().for_each(|byte| *byte = self.rng.next() as u8),
            _ => {
                for _ in 0..=self.rng.below(4) {
                    let at = self.rng.below(bytes.len() as u64) as usize;
                    bytes[at] = self.rng.next() as u8;
                }
            }
        }
        packet
    }
}
