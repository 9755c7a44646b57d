//! Sealing and opening data takes no memory, nor does refusing.

use super::{ALONE, counting};
use common::Instant;
use host::secure::{HEAD_LEN, Hello, Members, Name, OVERHEAD, PeerConfig, PeerId, Secret, Secure};
use std::net::SocketAddr;
use std::sync::PoisonError;

const NOW: Instant = Instant(1_000_000_000);

fn at(of: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, of + 1], 3790))
}

fn node(of: u8) -> Secure {
    let name =
        |of: u8| Name::parse(["fw-a", "fw-b"][usize::from(of)]).expect("a node of this test works");
    let secret = |of: u8| Secret::new([of + 1; 32]);
    let other = 1 - of;
    let (keys, addresses) = (vec![secret(other).public()], vec![at(other)]);
    let peer = PeerConfig { name: name(other), keys, addresses };
    let members = Members { keys: vec![secret(of)], preshared: Secret::ZERO, peers: vec![peer] };
    let hello = Hello {
        versions: (2, 2),
        shards: 1,
        name: name(of),
        features: 0,
        incarnation: u64::from(of),
    };
    let mut drawn = of;
    let random = move |bytes: &mut [u8]| {
        bytes.fill_with(|| {
            drawn = drawn.wrapping_mul(29).wrapping_add(31);
            drawn
        });
    };
    Secure::new(hello, members, 0, Box::new(random), NOW)
}

fn seal(node: &mut Secure, number: u64, datagram: &mut [u8]) {
    let peer: PeerId = node.peers().next().expect("a node of this test works");
    let len = datagram.len() - OVERHEAD;
    datagram[HEAD_LEN..HEAD_LEN + len].fill(7);
    assert!(node.seal(NOW, peer, 0, number, (datagram, len)).is_some());
}

#[test]
fn datagrams_are_sealed_opened_and_refused_without_memory() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let [mut a, mut b] = [node(0), node(1)];
    let mut out = [0; 1500];
    while b.poll_transmit(&mut out).is_some() {}
    let (_, len) = a.poll_transmit(&mut out).unwrap();
    let mut initiation = out[..len].to_vec();
    b.handle_datagram(NOW, at(0), &mut out[..len]);
    let (_, len) = b.poll_transmit(&mut out).unwrap();
    a.handle_datagram(NOW, at(1), &mut out[..len]);
    seal(&mut a, 0, &mut out[..100]);
    b.handle_datagram(NOW, at(0), &mut out[..100]).expect("the first data");
    while b.poll_event().is_some() {}
    counting::leave_out_this_thread(false);
    counting::watch();
    let mut opened = 0;
    for number in 1..1000 {
        seal(&mut a, number, &mut out[..1400]);
        opened += usize::from(b.handle_datagram(NOW, at(0), &mut out[..1400]).is_some());
        for first in 0..=255 {
            out[0] = first;
            assert_eq!(b.handle_datagram(NOW, at(0), &mut out[..1400]), None);
        }
        initiation[30] ^= 1;
        assert_eq!(b.handle_datagram(NOW, at(0), &mut initiation), None);
    }
    let places = counting::places();
    assert_eq!(opened, 999);
    assert!(places.is_empty(), "{}: {}", places.len(), places[0]);
}
