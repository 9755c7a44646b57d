//! Nodes, the network between them, traffic through them, faults, and what must hold when all is over.

use super::node::{FLOWS, Live, Node, Out, flow};
use crate::peer::v2::claim::{self, Happened, KernelEntry};
use common::Instant;
use core::time::Duration;
use ctnetlink::Flow;
use std::collections::BTreeMap;
use std::format;
use std::string::String;
use std::vec::Vec;

const TURN: Duration = Duration::from_millis(20);
const HELLO: Duration = Duration::from_secs(1);
const TROUBLE: Duration = Duration::from_secs(20);
/// JOIN_WAIT, PEER_SILENCE, HEAL, and the time after which a kernel is looked at again.
const REST: Duration = Duration::from_secs(40);

/// A close and an expiry that are so far apart do not meet, unless a path was cut.
const APART: Duration = Duration::from_secs(10);

struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Below `n` (splitmix64).
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

struct Flying {
    from: usize,
    to: usize,
    incarnations: [u64; 2],
    datagram: Out,
}

/// What really happens to a connection.
#[derive(Clone, Copy, Default)]
struct Connection {
    alive: bool,
    reply: u16,
    /// The node that closed it last, if that one knew of all claims.
    closed: Option<usize>,
    closed_at: Instant,
    /// When it expired last, anywhere.
    expired_at: Instant,
}

pub(super) struct World {
    now: Instant,
    random: Random,
    pub(super) nodes: Vec<Node>,
    flying: BTreeMap<(Instant, u64), Flying>,
    sequence: u64,
    connections: [Connection; FLOWS],
    /// Until when nothing passes from one to the other.
    cut: Vec<Vec<Instant>>,
    loss_percent: u64,
    jitter_ms: u64,
    ends_max: usize,
    incarnations: u64,
    hello_at: Instant,
    exempt: u64,
    pub(super) bytes: u64,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let now = Instant(1_000_000_000);
        let count = 2 + random.below(3) as usize;
        let hot = random.below(3);
        let ends_max = if random.one_in(4) { 2 } else { 64 };
        let node = |me: usize, random: &mut Random| {
            let hot = hot == 1 || hot == 2 && random.one_in(2);
            Node::new(now, me, count, me as u64 + 1, hot, ends_max)
        };
        let nodes = (0..count).map(|me| node(me, &mut random)).collect();
        Self {
            now,
            nodes,
            flying: BTreeMap::new(),
            sequence: 0,
            connections: [Connection::default(); FLOWS],
            cut: std::vec![std::vec![now; count]; count],
            loss_percent: [0, 1, 10, 30][random.below(4) as usize],
            jitter_ms: [0, 5, 200][random.below(3) as usize],
            ends_max,
            incarnations: count as u64 + 1,
            hello_at: now,
            exempt: 0,
            bytes: 0,
            random,
        }
    }

    /// Kernel events, claims, closes that were exempt.
    pub(super) fn counts(&self) -> [u64; 3] {
        let sum = |what: fn(&Node) -> u64| self.nodes.iter().map(what).sum();
        [sum(|node| node.events), sum(|node| node.claims), self.exempt]
    }

    /// Traffic and faults.
    pub(super) fn trouble(&mut self) {
        let end = self.now + TROUBLE;
        while self.now < end {
            for _ in 0..self.random.below(3) {
                self.traffic();
            }
            if self.random.one_in(100) {
                self.fault();
            }
            self.turn();
        }
    }

    /// Ends all faults: from here on only time passes.
    pub(super) fn heal(&mut self) {
        self.loss_percent = 0;
        self.jitter_ms = 5;
        let now = self.now;
        self.cut.iter_mut().flatten().for_each(|until| *until = now);
        while self.now < now + REST {
            self.turn();
        }
    }

    fn turn(&mut self) {
        self.now += TURN;
        let now = self.now;
        if now >= self.hello_at {
            self.hello_at = now + HELLO;
            let count = self.nodes.len();
            for (from, to) in (0..count).flat_map(|from| (0..count).map(move |to| (from, to))) {
                if from != to {
                    let incarnations = [self.nodes[from].incarnation, 0];
                    self.send(from, to, incarnations, &(0, Vec::new()));
                }
            }
        }
        while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= now) {
            let Flying { from, to, incarnations, datagram: (number, bytes) } = entry.remove();
            self.nodes[to].hear(now, from, incarnations, number, &bytes);
        }
        for from in 0..self.nodes.len() {
            for (to, incarnations, datagram) in self.nodes[from].turn(now) {
                self.bytes = self.bytes.wrapping_mul(31).wrapping_add(datagram.1.len() as u64);
                self.send(from, to, incarnations, &datagram);
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, incarnations: [u64; 2], datagram: &Out) {
        let copies = 1 + u64::from(self.random.one_in(20) && self.loss_percent > 0);
        for _ in 0..copies {
            if self.now < self.cut[from][to] || self.random.below(100) < self.loss_percent {
                continue;
            }
            let delay = 1 + self.random.below(self.jitter_ms + 1);
            self.sequence += 1;
            let at = (self.now + Duration::from_millis(delay), self.sequence);
            let datagram = datagram.clone();
            self.flying.insert(at, Flying { from, to, incarnations, datagram });
        }
    }

    fn fault(&mut self) {
        let count = self.nodes.len() as u64;
        let (one, other) = (self.random.below(count) as usize, self.random.below(count) as usize);
        let until = self.now + Duration::from_millis(500 + self.random.below(9_000));
        match self.random.below(6) {
            0 => self.cut[one][other] = until,
            1 | 2 => (self.cut[one][other], self.cut[other][one]) = (until, until),
            3 => {
                for at in 0..self.nodes.len() {
                    (self.cut[one][at], self.cut[at][one]) = (until, until);
                }
            }
            what => {
                self.incarnations += 1;
                let (incarnation, reboot) = (self.incarnations, what == 4);
                self.nodes[one].restart(self.now, incarnation, reboot, self.ends_max);
                // A close that it has not sent yet is lost.
                let closed =
                    self.connections.iter_mut().filter(|one_of| one_of.closed == Some(one));
                closed.for_each(|connection| connection.closed = None);
            }
        }
    }

    fn traffic(&mut self) {
        let at = self.random.below(FLOWS as u64) as usize;
        let on = self.random.below(self.nodes.len() as u64) as usize;
        match self.random.below(20) {
            0..6 => self.begin(at, on),
            6..15 => self.packet(at, on),
            15..18 => self.close(at, on),
            _ => self.expire(at, on),
        }
    }

    fn begin(&mut self, at: usize, on: usize) {
        let (now, connection) = (self.now, &mut self.connections[at]);
        let node = &mut self.nodes[on];
        if let Some(live) = &node.kernel[at] {
            if !claim::is_closing(live.flow.tcp().unwrap().state) {
                return self.packet(at, on);
            }
            let gone = live.flow.clone();
            node.kernel[at] = None;
            node.happen(now, at, Happened::Closed, &gone);
        }
        let reply =
            if self.random.one_in(10) { self.random.below(3) as u16 } else { connection.reply };
        *connection = Connection { alive: true, reply, closed: None, ..*connection };
        Self::new_entry(node, now, at, &flow(at, 1, reply), true);
    }

    fn new_entry(node: &mut Node, now: Instant, at: usize, flow: &Flow, begins: bool) {
        node.kernel[at] = Some(Live { flow: flow.clone(), entry: KernelEntry::Own });
        node.happen(now, at, Happened::New { begins }, flow);
    }

    fn packet(&mut self, at: usize, on: usize) {
        let (now, connection) = (self.now, &mut self.connections[at]);
        if !connection.alive {
            return;
        }
        connection.closed = None;
        let node = &mut self.nodes[on];
        let Some(live) = &mut node.kernel[at] else {
            return Self::new_entry(node, now, at, &flow(at, 3, connection.reply), false);
        };
        let state = live.flow.tcp().unwrap().state;
        let reply = live.flow.reply;
        let mark = if self.random.one_in(3) { self.random.below(3) as u32 } else { live.flow.mark };
        let next = if state < 3 { state + 1 } else { state };
        let moved = Flow { mark, reply, ..flow(at, next, 0) };
        if moved != live.flow {
            live.flow = moved.clone();
            node.happen(now, at, Happened::Update, &moved);
        }
    }

    fn close(&mut self, at: usize, on: usize) {
        let now = self.now;
        let Some(live) = &mut self.nodes[on].kernel[at] else { return };
        if !self.connections[at].alive {
            return;
        }
        let closing = Flow { reply: live.flow.reply, mark: live.flow.mark, ..flow(at, 7, 0) };
        live.flow = closing.clone();
        let node = &mut self.nodes[on];
        let known = node.rows[at].as_ref().map(|row| (row.claim.owner, row.claim.version));
        node.happen(now, at, Happened::Update, &closing);
        node.kernel[at] = None;
        node.happen(now, at, Happened::Closed, &closing);
        self.connections[at].alive = false;
        self.connections[at].closed_at = now;
        // Another node claims it, of which this one does not know.
        let claims = |node: &Node| {
            let live = node.rows[at].as_ref().filter(|row| !row.claim.what.is_end());
            live.is_some_and(|row| {
                row.claim.owner == node.me && known != Some((node.me, row.claim.version))
            })
        };
        let others = self.nodes.iter().any(claims);
        self.exempt += u64::from(others);
        self.connections[at].closed = (!others && self.ends_max > FLOWS).then_some(on);
    }

    fn expire(&mut self, at: usize, on: usize) {
        let node = &mut self.nodes[on];
        if let Some(live) = node.kernel[at].take() {
            self.connections[at].expired_at = self.now;
            node.happen(self.now, at, Happened::Expired, &live.flow);
        }
    }

    /// What does not hold.
    pub(super) fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        for holder in &self.nodes {
            for owner in &self.nodes {
                self.i1(holder, owner, &mut found);
            }
            self.i3(holder, &mut found);
        }
        for at in 0..FLOWS {
            let owners: Vec<_> = self.nodes.iter().map(|node| live(node, at)).collect();
            if owners.iter().any(|owner| *owner != owners[0]) {
                found.push(format!("I2: flow {at} belongs to {owners:?}"));
            }
            // Where it expires just then, others object to that before they know of the close, and to the close as
            // well.
            let Connection { closed, closed_at, expired_at, .. } = self.connections[at];
            let apart = Duration::from_nanos(closed_at.0.abs_diff(expired_at.0)) > APART;
            if closed.is_some() && apart && owners.iter().any(Option::is_some) {
                found.push(format!("I4: flow {at} was closed, and lives at {owners:?}"));
            }
        }
        found
    }

    /// A holder's rows of an owner are the owner's claims, and the last comparable cut was equal.
    #[expect(clippy::unused_self, reason = "as the others")]
    fn i1(&self, holder: &Node, owner: &Node, found: &mut Vec<String>) {
        if holder.me == owner.me {
            return;
        }
        for at in 0..FLOWS {
            let of = |node: &Node| {
                let row = node.rows[at]
                    .as_ref()
                    .filter(|row| row.claim.owner == owner.me && !row.claim.what.is_end());
                row.map(|row| Flow { timeout_s: 0, ..row.flow.clone() })
            };
            if of(holder) != of(owner) {
                let [here, there] = [holder, owner].map(|node| {
                    node.rows[at]
                        .as_ref()
                        .map(|row| (row.claim, row.flow.tcp().map(|tcp| tcp.state), row.flow.mark))
                });
                found.push(format!(
                    "I1: flow {at}: {} has {here:?}, {} has {there:?}",
                    holder.me, owner.me
                ));
            }
        }
        let equal = holder.peers[owner.me].as_ref().is_some_and(|peer| peer.up && peer.equal);
        if !equal {
            found.push(format!("I1: {} does not know that it equals {}", holder.me, owner.me));
        }
    }

    /// An owner's kernel has the flow, and a flow that a kernel tracks by its own traffic has an owner.
    #[expect(clippy::unused_self, reason = "as the others")]
    fn i3(&self, node: &Node, found: &mut Vec<String>) {
        for at in 0..FLOWS {
            let owner = live(node, at);
            let entry = node.kernel[at].as_ref();
            if owner == Some(node.me) && entry.is_none() {
                found
                    .push(format!("I3: flow {at} is {}'s, whose kernel does not have it", node.me));
            }
            let tracked = entry.filter(|live| live.entry != KernelEntry::Injected);
            let open =
                tracked.is_some_and(|live| !claim::is_closing(live.flow.tcp().unwrap().state));
            if open && owner.is_none() {
                found.push(format!(
                    "I3: flow {at} is tracked at {} and nobody's: {:?}",
                    node.me,
                    node.rows[at].as_ref().map(|row| row.claim)
                ));
            }
        }
    }
}

/// The owner of a living flow, as a node sees it.
fn live(node: &Node, at: usize) -> Option<usize> {
    let row = node.rows[at].as_ref().filter(|row| !row.claim.what.is_end());
    row.map(|row| row.claim.owner)
}
