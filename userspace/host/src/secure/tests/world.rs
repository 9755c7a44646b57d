//! Nodes, a network between them that loses, repeats, delays and damages, and what must always hold.

use super::*;
use limit::SESSIONS_MAX;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

pub(super) const MS: Duration = Duration::from_millis(1);
pub(super) const S: Duration = Duration::from_secs(1);
/// How often a node says something to each peer that is there.
const BEAT: Duration = Duration::from_millis(300);

/// Random numbers of a seed (xorshift64*).
#[derive(Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end.max(1)
    }

    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.next() as u8);
    }
}

pub(super) fn secret(of: u64) -> Secret {
    let mut bytes = [0; 32];
    Dice::new(of + 1000).fill(&mut bytes);
    Secret::new(bytes)
}

pub(super) fn name(of: usize) -> Name {
    Name::parse(&format!("fw-{}", char::from(b'a' + of as u8))).unwrap()
}

pub(super) fn address(of: usize) -> SocketAddr {
    format!("192.0.2.{}:3790", of + 1).parse().unwrap()
}

pub(super) fn peer_config(of: usize) -> PeerConfig {
    PeerConfig {
        name: name(of),
        keys: vec![secret(of as u64).public()],
        addresses: vec![address(of)],
    }
}

/// Node `of` of `count`, each the peer of each.
pub(super) fn members(of: usize, count: usize) -> Members {
    let peers = (0..count).filter(|other| *other != of).map(peer_config).collect();
    Members { keys: vec![secret(of as u64)], preshared: Secret::ZERO, peers }
}

pub(super) fn hello(of: usize, incarnation: u64) -> Hello {
    let (versions, features) = ((2, 2), 0b11);
    Hello { versions, shards: 1, name: name(of), features, incarnation }
}

pub(super) fn secure(hello: Hello, members: Members, seed: u64, now: Instant) -> Secure {
    let mut dice = Dice::new(seed);
    Secure::new(hello, members, 0, Box::new(move |bytes| dice.fill(bytes)), now)
}

pub(super) struct Node {
    pub(super) secure: Secure,
    pub(super) at: SocketAddr,
    pub(super) incarnation: u64,
    pub(super) events: Vec<Event>,
    /// The incarnation of each peer that the engine knows to be there.
    pub(super) up: BTreeMap<PeerId, u64>,
    /// What was opened, by who sealed it: incarnation and number.
    pub(super) opened: HashSet<(PeerId, u64, u64)>,
    pub(super) number: u64,
    pub(super) beats: bool,
    beat_at: Instant,
}

impl Node {
    pub(super) fn peer(&self, of: usize) -> PeerId {
        self.secure.peer_named(&name(of)).unwrap()
    }

    pub(super) fn state(&self, of: usize) -> State {
        self.secure.standing(self.peer(of)).unwrap().state
    }

    pub(super) fn is_up(&self, of: usize) -> bool {
        self.up.contains_key(&self.peer(of))
    }

    /// A datagram that says who sealed it, and as which number.
    pub(super) fn say(&mut self, now: Instant, to: PeerId) -> Option<(SocketAddr, Vec<u8>)> {
        let text = format!("{} {} {}", self.secure.hello.name, self.incarnation, self.number);
        let mut datagram = vec![0; OVERHEAD + text.len()];
        datagram[HEAD_LEN..HEAD_LEN + text.len()].copy_from_slice(text.as_bytes());
        self.number += 1;
        let sealed = self.secure.seal(now, to, 0, self.number - 1, (&mut datagram, text.len()))?;
        assert_eq!(sealed.len, datagram.len());
        Some((sealed.to, datagram))
    }
}

/// What happens to datagrams, in percent and milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) lost: u64,
    pub(super) repeated: u64,
    pub(super) damaged: u64,
    pub(super) delay_ms: u64,
}

/// Time, sequence, from, to, bytes of a datagram on its way.
pub(super) type Flight = (Instant, u64, SocketAddr, SocketAddr, Vec<u8>);

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) nodes: Vec<Node>,
    pub(super) faults: Faults,
    pub(super) dice: Dice,
    /// Everything that was sent; also what had no receiver.
    pub(super) heard: Vec<Flight>,
    /// Pairs of addresses between which nothing passes.
    pub(super) cut: Vec<(SocketAddr, SocketAddr)>,
    flights: Vec<Flight>,
    sequence: u64,
}

impl World {
    pub(super) fn new(count: usize, seed: u64) -> Self {
        let now = Instant(1_000_000_000_000);
        let mut world = Self {
            now,
            nodes: Vec::new(),
            faults: Faults::default(),
            dice: Dice::new(seed),
            heard: Vec::new(),
            cut: Vec::new(),
            flights: Vec::new(),
            sequence: 0,
        };
        for of in 0..count {
            let incarnation = world.dice.next();
            let secure = secure(hello(of, incarnation), members(of, count), world.dice.next(), now);
            world.join(secure, address(of), incarnation);
        }
        world
    }

    pub(super) fn join(&mut self, secure: Secure, at: SocketAddr, incarnation: u64) {
        self.nodes.push(Node {
            secure,
            at,
            incarnation,
            events: Vec::new(),
            up: BTreeMap::new(),
            opened: HashSet::new(),
            number: 1,
            beats: true,
            beat_at: self.now,
        });
    }

    /// The node restarts: another incarnation, nothing remembered.
    pub(super) fn restart(&mut self, of: usize) {
        let (count, incarnation, seed) = (self.nodes.len(), self.dice.next(), self.dice.next());
        let node = &mut self.nodes[of];
        node.secure = secure(hello(of, incarnation), members(of, count), seed, self.now);
        (node.incarnation, node.number) = (incarnation, 1);
        node.up.clear();
        node.opened.clear();
    }

    pub(super) fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let dice = &mut self.dice;
        self.sequence += 1;
        self.heard.push((self.now, self.sequence, from, to, bytes.to_vec()));
        if self.cut.contains(&(from, to)) {
            return;
        }
        let copies = 1 + u64::from(dice.percent(self.faults.repeated));
        for copy in 0..copies {
            if dice.percent(self.faults.lost) {
                continue;
            }
            let mut bytes = bytes.to_vec();
            if dice.percent(self.faults.damaged) {
                let at = dice.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << dice.below(8);
            }
            let delay = MS + MS * dice.below(self.faults.delay_ms + 1) as u32 * (1 + copy as u32);
            self.sequence += 1;
            self.flights.push((self.now + delay, self.sequence, from, to, bytes));
        }
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, for_: Duration) {
        let end = self.now + for_;
        loop {
            let flights = self.flights.iter().map(|flight| flight.0);
            let timeouts = self.nodes.iter().filter_map(|node| node.secure.poll_timeout());
            let beats = self.nodes.iter().filter(|node| node.beats).map(|node| node.beat_at);
            let next = flights.chain(timeouts).chain(beats).min().unwrap_or(end);
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            self.arrive();
            for of in 0..self.nodes.len() {
                self.nodes[of].secure.handle_timeout(self.now);
                self.settle(of);
                self.beat(of);
            }
        }
        self.now = end;
    }

    fn arrive(&mut self) {
        let now = self.now;
        let (mut due, later) = self.flights.drain(..).partition::<Vec<_>, _>(|f| f.0 <= now);
        self.flights = later;
        due.sort_unstable_by_key(|flight| (flight.0, flight.1));
        for (_, _, from, to, mut bytes) in due {
            if let Some(of) = self.nodes.iter().position(|node| node.at == to) {
                self.deliver(of, from, &mut bytes);
            }
        }
    }

    /// Hands a datagram to a node; what it opens was sealed by the peer that it says, and came once.
    pub(super) fn deliver(&mut self, of: usize, from: SocketAddr, bytes: &mut [u8]) {
        let node = &mut self.nodes[of];
        let opened = node.secure.handle_datagram(self.now, from, bytes);
        self.settle(of);
        let Some(opened) = opened else { return };
        let node = &mut self.nodes[of];
        let text = std::str::from_utf8(&bytes[HEAD_LEN..HEAD_LEN + opened.len]).unwrap();
        let words: Vec<&str> = text.split(' ').collect();
        let sealer = node.secure.standing(opened.peer).unwrap().name;
        let incarnation: u64 = words[1].parse().unwrap();
        assert_eq!(words[0], sealer.as_str());
        assert_eq!(words[2], opened.number.to_string());
        assert_eq!(node.up.get(&opened.peer), Some(&incarnation).filter(|_| !node.up.is_empty()));
        let first = node.opened.insert((opened.peer, incarnation, opened.number));
        assert!(first, "{text} came twice");
    }

    /// Takes the datagrams and events that a node has.
    pub(super) fn settle(&mut self, of: usize) {
        let mut buffer = [0; 256];
        while let Some((to, len)) = self.nodes[of].secure.poll_transmit(&mut buffer) {
            let from = self.nodes[of].at;
            self.send(from, to, &buffer[..len]);
        }
        let node = &mut self.nodes[of];
        while let Some(event) = node.secure.poll_event() {
            match event {
                Event::PeerUp { peer, incarnation, .. } => {
                    let before = node.up.insert(peer, incarnation);
                    assert_ne!(before, Some(incarnation), "told once");
                }
                Event::PeerDown { peer, .. } => {
                    assert!(node.up.remove(&peer).is_some(), "told up before");
                }
                _ => {}
            }
            node.events.push(event);
        }
        for peer in node.secure.peers.iter().flatten() {
            assert_eq!(node.up.contains_key(&peer.id), peer.state.is_up(), "{:?}", peer.state);
            assert!(peer.sessions().count() <= SESSIONS_MAX);
        }
    }

    fn beat(&mut self, of: usize) {
        let node = &mut self.nodes[of];
        if !node.beats || node.beat_at > self.now {
            return;
        }
        node.beat_at = self.now + BEAT;
        for peer in node.up.keys().copied().collect::<Vec<_>>() {
            if let Some((to, datagram)) = self.nodes[of].say(self.now, peer) {
                let from = self.nodes[of].at;
                self.send(from, to, &datagram);
            }
        }
    }

    /// Everybody has a session with everybody.
    pub(super) fn all_up(&self) -> bool {
        let pairs = self.pairs();
        pairs.iter().all(|&(a, b)| {
            let (peer, other) = (self.nodes[a].peer(b), &self.nodes[b]);
            self.nodes[a].up.get(&peer) == Some(&other.incarnation)
        })
    }

    pub(super) fn pairs(&self) -> Vec<(usize, usize)> {
        let count = self.nodes.len();
        (0..count).flat_map(|a| (0..count).map(move |b| (a, b))).filter(|(a, b)| a != b).collect()
    }

    /// The node that initiated the present session of `a` with `b`, by name, as `a` sees it.
    pub(super) fn initiator(&self, a: usize, b: usize) -> Name {
        let peer = self.nodes[a].peer(b);
        let session = self.nodes[a].secure.peers[peer.place()].as_ref().unwrap().present.unwrap();
        if session.initiated { name(a) } else { name(b) }
    }

    /// What node `from` sent to node `to` with this first byte.
    pub(super) fn sent(&self, from: usize, to: usize, first: u8) -> Vec<(Instant, Vec<u8>)> {
        let pair = (address(from), address(to));
        let heard = self.heard.iter().filter(|f| (f.2, f.3) == pair && f.4[0] == first);
        heard.map(|flight| (flight.0, flight.4.clone())).collect()
    }
}
