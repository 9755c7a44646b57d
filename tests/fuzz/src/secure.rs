//! The sealed transport: any datagrams, at any time, between two nodes that have a session.

use common::Instant;
use host::secure::limit::PEER_SILENCE;
use host::secure::{
    Event, HEAD_LEN, Hello, Members, Name, OVERHEAD, PeerConfig, PeerId, Secret, Secure,
    authenticate,
};
use std::net::SocketAddr;
use std::time::Duration;

const TEXT: &[u8] = b"what a member says";
/// Datagrams that are kept to be repeated.
const HEARD_MAX: usize = 32;

struct Node {
    secure: Secure,
    at: SocketAddr,
    number: u64,
}

struct World {
    now: Instant,
    nodes: [Node; 2],
    /// The receiver, and the bytes.
    heard: Vec<(usize, Vec<u8>)>,
}

/// The bytes are steps: a datagram as it stands, one of the nodes' own with a change, with or without a right mac1, or
/// time that passes. Whatever comes, what is opened was sealed by the peer, once, and afterwards the two find each other.
///
/// # Panics
/// When that does not hold.
pub fn secure(data: &[u8]) {
    let mut world = World::new();
    let mut rest = data;
    for _ in 0..64 {
        let Some((&[step, len], tail)) = rest.split_first_chunk() else { break };
        let (bytes, tail) = tail.split_at(usize::from(len).min(tail.len()));
        rest = tail;
        world.step(step, bytes);
    }
    // Silence is noticed, and then initiations are at most five seconds apart. A flood before leaves a second of cookies.
    for _ in 0..20 {
        world.now += PEER_SILENCE / 4;
        world.turn();
    }
    let is_up = |node: &Node| {
        let peer = node.secure.peers().next().and_then(|peer| node.secure.standing(peer));
        peer.is_some_and(|peer| peer.state.is_up())
    };
    assert!(world.nodes.iter().all(is_up), "two members find each other");
}

fn node(of: u8) -> Node {
    let name = |of: u8| Name::parse(if of == 0 { "fw-a" } else { "fw-b" }).expect("it is a name");
    let secret = |of: u8| Secret::new([of + 1; 32]);
    let at = |of: u8| SocketAddr::from(([192, 0, 2, of + 1], 3790));
    let other = 1 - of;
    let peer = PeerConfig {
        name: name(other),
        keys: vec![secret(other).public()],
        addresses: vec![at(other)],
    };
    let members = Members { keys: vec![secret(of)], preshared: Secret::ZERO, peers: vec![peer] };
    let (versions, incarnation) = ((2, 2), u64::from(of));
    let hello = Hello { versions, shards: 1, name: name(of), features: 0, incarnation };
    let mut drawn = u64::from(of);
    let random = move |bytes: &mut [u8]| {
        bytes.fill_with(|| {
            drawn = drawn
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (drawn >> 56) as u8
        });
    };
    let secure = Secure::new(hello, members, 0, Box::new(random), Instant(1));
    Node { secure, at: at(of), number: 1 }
}

impl World {
    fn new() -> Self {
        let mut world = Self { now: Instant(1), nodes: [node(0), node(1)], heard: Vec::new() };
        for _ in 0..4 {
            world.now += Duration::from_millis(300);
            world.turn();
        }
        world
    }

    fn step(&mut self, step: u8, bytes: &[u8]) {
        let to = usize::from(step & 1);
        let mut datagram = bytes.to_vec();
        match step >> 1 & 3 {
            0 => {}
            1 => {
                let ms = bytes.iter().map(|&byte| u64::from(byte)).sum();
                self.now += Duration::from_millis(ms);
                return self.turn();
            }
            _ => {
                let Some((&which, changes)) = bytes.split_first() else { return };
                let Some((_, own)) = self.heard.get(usize::from(which) % HEARD_MAX) else { return };
                datagram.clone_from(own);
                for change in changes.chunks_exact(2) {
                    let at = usize::from(change[0]) % datagram.len();
                    datagram[at] ^= change[1];
                }
            }
        }
        if step >> 3 & 1 == 1 && [156, 200].contains(&datagram.len()) {
            authenticate(&mut datagram, &Secret::new([to as u8 + 1; 32]).public());
        }
        self.deliver(to, &mut datagram);
    }

    /// Both nodes do what is due, say something, and what they send arrives.
    fn turn(&mut self) {
        for of in 0..2 {
            self.nodes[of].secure.handle_timeout(self.now);
        }
        for _ in 0..4 {
            (0..2).for_each(|of| self.exchange(of));
        }
        for of in 0..2 {
            let node = &mut self.nodes[of];
            let mut datagram = [0; TEXT.len() + OVERHEAD];
            datagram[HEAD_LEN..HEAD_LEN + TEXT.len()].copy_from_slice(TEXT);
            let Some(peer) = node.secure.peers().next() else { continue };
            let text = (&mut datagram[..], TEXT.len());
            if node.secure.seal(self.now, peer, 0, node.number, text).is_some() {
                node.number += 1;
                self.keep(1 - of, &datagram);
                self.deliver(1 - of, &mut datagram);
            }
        }
    }

    fn exchange(&mut self, of: usize) {
        let mut buffer = [0; 256];
        while let Some((to, len)) = self.nodes[of].secure.poll_transmit(&mut buffer) {
            if to == self.nodes[1 - of].at {
                self.keep(1 - of, &buffer[..len]);
                self.deliver(1 - of, &mut buffer[..len].to_vec());
            }
        }
        while let Some(event) = self.nodes[of].secure.poll_event() {
            if let Event::PeerUp { incarnation, .. } = event {
                assert_eq!(incarnation, 1 - of as u64);
            }
        }
    }

    fn keep(&mut self, to: usize, bytes: &[u8]) {
        if self.heard.len() == HEARD_MAX {
            self.heard.remove(0);
        }
        self.heard.push((to, bytes.to_vec()));
    }

    fn deliver(&mut self, to: usize, bytes: &mut [u8]) {
        let from = self.nodes[1 - to].at;
        let sealed_by: Option<PeerId> = self.nodes[to].secure.peers().next();
        if let Some(opened) = self.nodes[to].secure.handle_datagram(self.now, from, bytes) {
            assert_eq!(Some(opened.peer), sealed_by);
            assert!(opened.number < self.nodes[1 - to].number);
            assert_eq!(&bytes[HEAD_LEN..HEAD_LEN + opened.len], TEXT);
        }
    }
}
