//! A stranger that reaches the port of version 2 and sees the traffic, but has no secret key (`replication-v2.md`,
//! R5.1 to R5.9, R19.2).
//!
//! ```text
//!   A (flows come and go) <--- sealed ---> B        the forger, from any source:
//!         ^                                ^        handshakes with the right mac1, repetitions, damaged datagrams,
//!         '--------------------------------'------- unsealed data
//! ```
//!
//! Nothing of it reaches an engine: B holds what A has and both know it, while it goes on.

use crate::raw::{Spoof, Tap};
use crate::{State, processor_s, seconds};
use host::secure::{PublicKey, authenticate};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tests::ctnetlink::{Requests, udp, udp_flows};
use tests::daemon::Daemon;
use tests::mesh::{Mesh, PORT, name};
use tests::netns::Family;
use tests::wait::wait_equal;

const INITIATION_LEN: usize = 200;
const INITIATION: u8 = 0x21;
const DATA: u8 = 0x24;
const HEAD_LEN: usize = 16;
/// As much as a path of Ethernet carries.
const FULL_LEN: usize = 1400;
/// Handshakes that are made before; each is sent from many sources.
const INITIATIONS: usize = 1024;
/// Datagrams a second and node while flows come and go. A debug build that shares two processors takes them beside its
/// peer's; what a socket has no room for says nothing about what is refused.
const PER_SECOND: u32 = 2_000;
/// Flows at A.
const FLOWS: u32 = 500;

/// The kind of datagram that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A handshake with the right mac1, from a forged source.
    Handshake,
    /// What the peer sealed, once more, in its name.
    Repeat,
    /// A recorded datagram with some bytes changed.
    Damaged,
    /// The index of a session, and a number that is yet to come: with the key, it would be valid.
    Forged,
    /// An unused index.
    Unknown,
}

impl Kind {
    const ALL: [Self; 5] =
        [Self::Handshake, Self::Repeat, Self::Damaged, Self::Forged, Self::Unknown];
}

/// An attacker of one node.
struct Forger {
    way: Spoof,
    /// Where its peer is.
    peer: Ipv4Addr,
    samples: Vec<Vec<u8>>,
    handshakes: Vec<Vec<u8>>,
    state: u64,
}

impl Forger {
    /// Against a node, from where its peer is.
    fn new(mesh: &Mesh, node: usize, samples: Vec<Vec<u8>>) -> Self {
        let peer = 1 - node;
        let address = |of, by| match mesh.address(of, by) {
            IpAddr::V4(ip) => ip,
            IpAddr::V6(_) => unreachable!("the mesh is one of IPv4"),
        };
        let way = Spoof::open(&mesh.nodes[peer], address(peer, node));
        let mut forger = Self {
            way,
            peer: address(node, peer),
            samples,
            handshakes: Vec::new(),
            state: 0x2545_f491_4f6c_dd1d,
        };
        let key = mesh.members.key(node);
        forger.handshakes = (0..INITIATIONS).map(|_| forger.handshake(&key)).collect();
        forger
    }

    /// Marsaglia's xorshift.
    const fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    fn noise(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.random() as u8).collect()
    }

    fn handshake(&mut self, receiver: &PublicKey) -> Vec<u8> {
        let mut bytes = self.noise(INITIATION_LEN);
        bytes[..4].copy_from_slice(&[INITIATION, 0, 0, 0]);
        authenticate(&mut bytes, receiver);
        bytes
    }

    fn sample(&mut self) -> Vec<u8> {
        let at = self.random() as usize % self.samples.len();
        self.samples[at].clone()
    }

    fn send(&mut self, kind: Kind) -> bool {
        let mut source = SocketAddrV4::new(self.peer, PORT);
        let bytes = match kind {
            Kind::Handshake => {
                let [.., a, b] = self.random().to_be_bytes();
                source = SocketAddrV4::new(
                    Ipv4Addr::from([198, 18, a, b]),
                    1024 + self.random() as u16 % 60_000,
                );
                let at = self.random() as usize % self.handshakes.len();
                self.handshakes[at].clone()
            }
            Kind::Repeat => self.sample(),
            Kind::Damaged => {
                let mut bytes = self.sample();
                for _ in 0..=self.random() % 4 {
                    let at = self.random() as usize % bytes.len();
                    bytes[at] ^= 1 << (self.random() % 8);
                }
                bytes
            }
            Kind::Forged => self.data(true),
            Kind::Unknown => self.data(false),
        };
        self.way.send(source, &bytes)
    }

    fn data(&mut self, knows_index: bool) -> Vec<u8> {
        let mut bytes = self.noise(FULL_LEN);
        let mut head = self.sample();
        head.truncate(HEAD_LEN);
        if !knows_index {
            head[4..8].copy_from_slice(&(self.random() as u32 | 1 << 31).to_be_bytes());
        }
        // 52 bits are the number, of which the upper ones are 0 for a long time to come.
        let ahead = self.random() as u32 >> 8;
        head[12..16].copy_from_slice(&ahead.to_be_bytes());
        bytes[..HEAD_LEN].copy_from_slice(&head);
        bytes
    }

    /// Sends pieces of these kinds for so long, at this pace or as fast as it can.
    fn work(
        mut self,
        kinds: Vec<Kind>,
        work: Duration,
        per_second: Option<u32>,
    ) -> JoinHandle<(Self, u64)> {
        thread::spawn(move || {
            let (begin, mut sent) = (Instant::now(), 0);
            while begin.elapsed() < work {
                let due = |pace| (begin.elapsed().as_secs_f64() * f64::from(pace)) as u64;
                if per_second.is_some_and(|pace| sent >= due(pace)) {
                    thread::sleep(Duration::from_millis(1));
                    continue;
                }
                let kind = kinds[self.random() as usize % kinds.len()];
                // What the cable has no room for is no reason to stop.
                sent += u64::from(self.send(kind) || per_second.is_some());
            }
            (self, sent)
        })
    }
}

/// Datagrams that a node refused.
fn refused(daemon: &Daemon<'_>) -> u64 {
    let status = daemon.status();
    let kinds = status["refused"].as_object().expect("it has a port of version 2").clone();
    let counts = kinds.iter().filter(|(kind, _)| *kind != "unsent");
    counts.map(|(_, count)| count.as_u64().expect("a number")).sum()
}

/// What a node holds of the other one: flows, and whether it knows that these are all.
fn held(daemon: &Daemon<'_>) -> (u64, bool) {
    let status = daemon.status();
    let peer = &status["peers"][0];
    (peer["flows"].as_u64().expect("a number"), peer["equal"] == true)
}

/// Replaces all flows of A but a few.
fn churn(requests: &mut Requests, turn: u32) {
    let numbers = |turn: u32| (50..FLOWS).map(move |n| udp(turn * 1_000 + n)).collect::<Vec<_>>();
    requests.delete(&numbers(turn - 1));
    requests.create(&numbers(turn));
}

#[test]
fn r19_2_who_has_no_key_does_no_harm_to_version_2() {
    let mesh = Mesh::new(2, Family::V4);
    let mut taps = [0, 1].map(|node| Tap::open(&mesh.nodes[node]));
    let [mut a, mut b] = [0, 1].map(|node| mesh.start(node, ""));
    let mut requests = Requests::open(&mesh.nodes[0]);
    requests.create(&udp_flows(0..FLOWS));
    wait_equal("B holds all", || held(&b), || (FLOWS.into(), true));
    let mut forgers = [0, 1].map(|node| Forger::new(&mesh, node, taps[node].record(DATA, 5)));
    drop(taps);
    let before = [&a, &b].map(State::of);
    let (begin, work) = (Instant::now(), Duration::from_secs(seconds()));

    let pace = Some(PER_SECOND);
    let works = forgers.map(|forger| forger.work(Kind::ALL.to_vec(), work, pace));
    let mut turn = 0;
    while begin.elapsed() < work {
        turn += 1;
        churn(&mut requests, turn);
        // What B says of itself may be from before the churn came in.
        let both = || (held(&b), b.external().len());
        wait_equal("B holds all meanwhile", both, || ((FLOWS.into(), true), FLOWS as usize));
        assert_eq!(held(&a).0, 0, "nobody made A hold anything");
    }
    forgers = works.map(|work| work.join().expect("the forger ends by itself").0);
    println!("B held all of A {turn} times in {work:?}");

    for kind in Kind::ALL {
        let (cpu, count) = (processor_s(a.pid()), refused(&a));
        let [first, second] = forgers;
        let (first, sent) = first.work(vec![kind], work / 5, None).join().expect("it ends");
        forgers = [first, second];
        let (cpu, count) = (processor_s(a.pid()) - cpu, refused(&a) - count);
        let each = cpu * 1e6 / count.max(1) as f64;
        println!("{kind:?}: {sent} sent, {count} refused, {each:.2} us of processor for each");
        assert!(count > 0, "{kind:?}: nothing was refused: {}", a.status()["refused"]);
    }
    wait_equal("B still holds all", || held(&b), || (FLOWS.into(), true));
    let says = |daemon: &Daemon<'_>, node| daemon.status()["peers"][0]["name"] == name(node);
    assert!(says(&a, 1) && says(&b, 0) && b.external().len() == FLOWS as usize);
    for (daemon, before) in [(&mut a, &before[0]), (&mut b, &before[1])] {
        assert!(daemon.is_running(), "{}", daemon.log());
        before.check(daemon, begin.elapsed());
    }
}
