//! The links between the nodes: what a node sends on, the path from there to each node that receives from it, what a
//! path does to datagrams, and what is remembered of them.
//!
//! ```text
//!   multicast          A --+--> B        each datagram reaches all others, each on a path of its own
//!                          '--> C
//!   fan-out      B <-- A --> C           A has a link to each of the others, who do not hear one another
//! ```

use crate::model::Ledger;
use crate::prng::Rng;
use common::Instant;
use engine::Sender;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;
use wire::sync::v1::{self, Flags, Message, Messages};

/// After that, a node that sends ALIVE every second is missed at the address that it had.
const MISSED: Duration = Duration::from_millis(1_500);

/// How unkind the link is; chances in a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) lose: u32,
    pub(crate) duplicate: u32,
    pub(crate) corrupt: u32,
    /// Datagrams overtake each other by up to this.
    pub(crate) jitter_ns: u64,
}

/// The nodes that receive from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    /// Every node receives from every other.
    Multicast,
    /// The first node has a link to each of the others.
    FanOut,
}

impl Topology {
    /// The nodes that a node sends to, of so many.
    fn reached(self, from: usize, nodes: usize) -> Vec<usize> {
        match self {
            Self::FanOut if from > 0 => vec![0],
            _ => (0..nodes).filter(|to| *to != from).collect(),
        }
    }

    /// How a node sees another one.
    const fn sender(self, from: usize, to: usize) -> Sender {
        let link = match self {
            Self::FanOut if to == 0 => from as u8 - 1,
            _ => 0,
        };
        Sender { link, addr: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1 + from as u8)) }
    }
}

/// A datagram on its way.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    /// Number of the node that sent it.
    pub(crate) from: usize,
    /// The sender as its receiver sees it.
    pub(crate) sender: Sender,
    pub(crate) bytes: Vec<u8>,
    /// Number of its first message.
    pub(crate) seq: u32,
    /// Its messages in the sender's order; none if it was corrupted.
    pub(crate) messages: Rc<Vec<(u64, Message)>>,
    /// The life of the sender in which it sent the packet.
    pub(crate) life: u32,
}

/// What arrives of a datagram, and when.
pub(crate) type Copies = Vec<(Instant, Packet)>;

/// What a node sends on.
#[derive(Debug)]
pub(crate) struct Link {
    /// One to each node that receives from it.
    pub(crate) paths: Vec<Path>,
    from: usize,
    life: u32,
    next_seq: Option<u32>,
    /// When the sender last said HELLO, in this life.
    pub(crate) greeted: Option<Instant>,
    /// Messages sent, in all lives.
    sent: u64,
    /// How often the sender's address has changed, and when it did last.
    moves: u8,
    moved: Instant,
}

/// One direction between two nodes.
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) to: usize,
    pub(crate) faults: Faults,
    pub(crate) parted: bool,
    /// What is known of the messages that went in here.
    pub(crate) ledger: Ledger,
    sender: Sender,
    rng: Rng,
    last_arrival: u64,
}

impl Link {
    /// The link of node `from`, of so many.
    pub(crate) fn new(
        topology: Topology,
        (from, nodes): (usize, usize),
        faults: Faults,
        rng: &mut Rng,
    ) -> Self {
        let path = |to| Path {
            to,
            faults,
            parted: false,
            ledger: Ledger::default(),
            sender: topology.sender(from, to),
            rng: rng.fork(),
            last_arrival: 0,
        };
        let paths = topology.reached(from, nodes).into_iter().map(path).collect();
        Self {
            paths,
            from,
            life: 0,
            next_seq: None,
            greeted: None,
            sent: 0,
            moves: 0,
            moved: Instant(0),
        }
    }

    /// The sender restarts: its numbers may, too.
    pub(crate) const fn restart(&mut self) {
        self.life += 1;
        self.next_seq = None;
        self.greeted = None;
    }

    /// The sender's address changes.
    pub(crate) fn change_address(&mut self, now: Instant) {
        (self.moves, self.moved) = (self.moves.saturating_add(1), now);
        for path in &mut self.paths {
            let addr = Ipv4Addr::new(10, 0, self.moves, 1 + self.from as u8);
            path.sender.addr = IpAddr::V4(addr);
        }
    }

    /// Whether the sender has had another address before.
    pub(crate) const fn has_moved(&self) -> bool {
        self.moves > 0
    }

    /// Whether the sender has spoken from its old address so lately that no node can miss that yet.
    pub(crate) fn has_just_moved(&self, now: Instant) -> bool {
        self.has_moved() && now.since(self.moved) < MISSED
    }

    /// Whether the sender has spoken in this life.
    pub(crate) const fn has_spoken(&self) -> bool {
        self.next_seq.is_some()
    }

    pub(crate) const fn life(&self) -> u32 {
        self.life
    }

    /// The path to a node, if it receives from this one.
    pub(crate) fn path_to(&mut self, to: usize) -> Option<&mut Path> {
        self.paths.iter_mut().find(|path| path.to == to)
    }

    /// What is remembered of each path.
    pub(crate) fn ledgers(&mut self) -> impl Iterator<Item = &mut Ledger> {
        self.paths.iter_mut().map(|path| &mut path.ledger)
    }

    /// A datagram without a message of any known kind.
    pub(crate) fn forged(&self, bytes: Vec<u8>, path: &Path) -> Packet {
        let (from, sender, life) = (self.from, path.sender, self.life);
        Packet { from, sender, bytes, seq: 0, messages: Rc::default(), life }
    }

    /// Takes a datagram; returns, for each path, its copies and when they arrive. Refuses what no sender may send.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        bytes: &[u8],
    ) -> Result<Vec<(usize, Copies)>, String> {
        let messages = Rc::new(self.read(now, bytes)?);
        let seq = self.next_seq.unwrap_or_default().wrapping_sub(messages.len() as u32);
        let (from, life) = (self.from, self.life);
        let copies = self.paths.iter_mut().map(|path| {
            let (sender, bytes, messages) = (path.sender, bytes.to_vec(), Rc::clone(&messages));
            let packet = Packet { from, sender, bytes, seq, messages, life };
            (path.to, path.send(now, &packet))
        });
        Ok(copies.collect())
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
            self.sent += 1;
            messages.push((self.sent, message));
        }
        Ok(messages)
    }
}

impl Path {
    fn send(&mut self, now: Instant, packet: &Packet) -> Copies {
        self.ledger.on_sent(&packet.messages);
        if self.parted || self.rng.chance(self.faults.lose) {
            return Vec::new();
        }
        let copies = 1 + usize::from(self.rng.chance(self.faults.duplicate));
        (0..copies).map(|_| (self.arrival(now), self.damaged(packet.clone()))).collect()
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
        self.ledger.on_garbage();
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
