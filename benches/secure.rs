//! The sealed transport of replication: sealing, opening, and what a datagram costs that is refused.

use common::Instant;
use criterion::{BatchSize, Criterion};
use host::secure::{
    HEAD_LEN, Hello, Members, Name, OVERHEAD, PeerConfig, PeerId, Refusal, Secret, Secure,
    authenticate,
};
use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;

/// Lengths of datagrams: news of some flows, and a full one.
const LENS: [usize; 2] = [250, 1400];
const START: Instant = Instant(1_000_000_000);

pub(crate) fn benchmarks(c: &mut Criterion) {
    data(c);
    refused(c);
    handshakes(c);
}

fn data(c: &mut Criterion) {
    let mut group = c.benchmark_group("secure, data");
    for len in LENS {
        let [mut a, mut b] = pair();
        let (to, mut number) = (peer(&a), 0);
        let mut datagram = vec![7; len + OVERHEAD];
        let mut seal = move || {
            number += 1;
            let sealed = a.seal(START, to, 0, number, (&mut datagram, len));
            assert!(sealed.is_some());
            datagram.clone()
        };
        group.bench_function(format!("seal {len} bytes"), |bench| bench.iter(&mut seal));
        group.bench_function(format!("open {len} bytes"), |bench| {
            let open = |mut datagram: Vec<u8>| {
                b.handle_datagram(START, at(0), &mut datagram)
                    .expect("a node of this benchmark works")
            };
            bench.iter_batched(&mut seal, open, BatchSize::LargeInput);
        });
    }
    group.finish();
}

fn refused(c: &mut Criterion) {
    let mut group = c.benchmark_group("secure, refused");
    let [mut a, mut b] = pair();
    let to = peer(&a);
    let mut datagram = vec![7; 1400 + OVERHEAD];
    a.seal(START, to, 0, 1, (&mut datagram, 1400)).expect("a node of this benchmark works");
    let mut forged = datagram.clone();
    *forged.last_mut().expect("a node of this benchmark works") ^= 1;
    let mut unknown = datagram.clone();
    unknown[5] ^= 1;
    let mut initiation = initiation();
    initiation[100] ^= 1;
    assert!(b.handle_datagram(START, at(0), &mut datagram.clone()).is_some());
    let cases = [
        ("unknown index, 1,400 bytes", unknown, Refusal::UnknownIndex),
        ("right index, forged, 1,400 bytes", forged, Refusal::Forged),
        ("a repetition, 1,400 bytes", datagram, Refusal::Replayed),
        ("initiation, wrong mac1", initiation, Refusal::BadMac),
    ];
    for (name, bytes, kind) in cases {
        let mut number = 1_u64;
        group.bench_function(name, |bench| {
            let before = b.refused(kind);
            let mut datagram = bytes.clone();
            bench.iter(|| {
                number += 1;
                // What is forged has a number that was not opened; what it becomes does not matter.
                if kind == Refusal::Forged {
                    datagram[12..16].copy_from_slice(&(number as u32 | 1 << 20).to_be_bytes());
                }
                b.handle_datagram(START, at(0), black_box(&mut datagram))
            });
            assert!(b.refused(kind) > before);
        });
    }
    let receiver = secret(1).public();
    let mut node = node(1, &[]);
    let mut beyond = self::initiation();
    let mut out = [0; 256];
    let mut number = 0_u64;
    group.bench_function("initiation, right mac1, beyond HANDSHAKES_PER_S: a cookie", |bench| {
        bench.iter(|| {
            number += 1;
            beyond[8..16].copy_from_slice(&number.to_be_bytes());
            authenticate(&mut beyond, &receiver);
            let _ = node.handle_datagram(START, at(0), black_box(&mut beyond));
            node.poll_transmit(&mut out)
        });
    });
    assert!(node.refused(Refusal::Cookie) > 1000);
    group.bench_function("(of which the sender's mac1)", |bench| {
        bench.iter(|| authenticate(black_box(&mut beyond), &receiver));
    });
    group.finish();
}

fn handshakes(c: &mut Criterion) {
    let mut group = c.benchmark_group("secure, handshake");
    let receiver = secret(1).public();
    group.bench_function(
        "initiation, right mac1, within HANDSHAKES_PER_S: read and refused",
        |bench| {
            let (mut node, mut now, mut number) = (node(1, &[]), START, 0_u64);
            let mut message = initiation();
            bench.iter(|| {
                number += 1;
                now += Duration::from_millis(20);
                message[8..16].copy_from_slice(&number.to_be_bytes());
                authenticate(&mut message, &receiver);
                node.handle_datagram(now, at(0), black_box(&mut message))
            });
            assert_eq!(node.refused(Refusal::Cookie), 0);
        },
    );
    group.bench_function("both ends, with their first data", |bench| bench.iter(pair));
    group.finish();
}

fn at(of: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, of + 1], 3790))
}

fn secret(of: u8) -> Secret {
    Secret::new([of + 1; 32])
}

fn name(of: u8) -> Name {
    Name::parse(["fw-a", "fw-b"][usize::from(of)]).expect("a node of this benchmark works")
}

fn node(of: u8, peers: &[u8]) -> Secure {
    let peer = |of: &u8| {
        let (name, addresses) = (name(*of), vec![at(*of)]);
        PeerConfig { name, keys: vec![secret(*of).public()], addresses }
    };
    let peers = peers.iter().map(peer).collect();
    let members = Members { keys: vec![secret(of)], preshared: Secret::ZERO, peers };
    let hello = Hello {
        versions: (2, 2),
        shards: 1,
        name: name(of),
        features: 0,
        incarnation: u64::from(of),
    };
    let mut drawn = u64::from(of);
    let random = move |bytes: &mut [u8]| {
        bytes.fill_with(|| {
            drawn = drawn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (drawn >> 56) as u8
        });
    };
    Secure::new(hello, members, 0, Box::new(random), START)
}

fn peer(node: &Secure) -> PeerId {
    node.peers().next().expect("a node of this benchmark works")
}

fn initiation() -> Vec<u8> {
    let mut out = [0; 256];
    let (_, len) = node(0, &[1]).poll_transmit(&mut out).expect("a node of this benchmark works");
    out[..len].to_vec()
}

/// Two nodes with a session that both use.
fn pair() -> [Secure; 2] {
    let [mut a, mut b] = [node(0, &[1]), node(1, &[0])];
    let mut out = [0; 256];
    while b.poll_transmit(&mut out).is_some() {}
    let (_, len) = a.poll_transmit(&mut out).expect("a node of this benchmark works");
    b.handle_datagram(START, at(0), &mut out[..len]);
    let (_, len) = b.poll_transmit(&mut out).expect("a node of this benchmark works");
    a.handle_datagram(START, at(1), &mut out[..len]);
    let (mut first, to) = ([0; OVERHEAD + 1], peer(&a));
    a.seal(START, to, 0, 0, (&mut first, 1)).expect("a node of this benchmark works");
    assert_eq!(
        b.handle_datagram(START, at(0), &mut first).expect("a node of this benchmark works").len,
        first.len() - OVERHEAD
    );
    const { assert!(HEAD_LEN < OVERHEAD) };
    [a, b]
}
