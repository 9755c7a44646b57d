//! What holds for every helper, and the flows that their vectors use.

use super::{ANNOUNCED_MAX, Announcement, Context, Direction, Kind, Outcome, Packet};
use ctnetlink::Tuple;
use ctnetlink::flow::Status;
use ctnetlink::tuple::ipproto;
use std::vec::Vec;
use wire::transport::Edit;

/// Which addresses are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nat {
    /// No one.
    None,
    /// The client: the server sees 10.2.0.77 and a port 1000 higher.
    Source,
    /// The server: the client talks to 10.1.0.99.
    Destination,
    /// Source and destination.
    Both,
}

impl Nat {
    pub(super) const ALL: [Self; 4] = [Self::None, Self::Source, Self::Destination, Self::Both];

    pub(super) const fn source(self) -> bool {
        matches!(self, Self::Source | Self::Both)
    }

    pub(super) const fn destination(self) -> bool {
        matches!(self, Self::Destination | Self::Both)
    }
}

pub(super) const CLIENT: [u8; 4] = [10, 1, 0, 2];
pub(super) const SERVER: [u8; 4] = [10, 2, 0, 2];
pub(super) const CLIENT_OUTSIDE: [u8; 4] = [10, 2, 0, 77];
pub(super) const SERVER_OUTSIDE: [u8; 4] = [10, 1, 0, 99];
pub(super) const CLIENT_PORT: u16 = 40_000;
pub(super) const CLIENT_PORT_OUTSIDE: u16 = 41_000;

/// A flow of the client to the server, or to the group or port that a test puts in the server's place.
pub(super) fn flow(protocol: u8, port: u16, nat: Nat) -> (Tuple, Tuple, Status) {
    let mut status = Status::HELPER;
    let (mut server, mut client, mut client_port) = (SERVER, CLIENT, CLIENT_PORT);
    if nat.destination() {
        server = SERVER_OUTSIDE;
        status |= Status::DST_NAT;
    }
    if nat.source() {
        (client, client_port) = (CLIENT_OUTSIDE, CLIENT_PORT_OUTSIDE);
        status |= Status::SRC_NAT;
    }
    let original = Tuple::v4(CLIENT, server, protocol).with_ports(CLIENT_PORT, port);
    let reply = Tuple::v4(SERVER, client, protocol).with_ports(port, client_port);
    (original, reply, status)
}

/// One packet and what its helper is given.
#[derive(Clone, Debug)]
pub(super) struct Vector {
    pub kind: Kind,
    pub original: Tuple,
    pub reply: Tuple,
    pub status: Status,
    pub private: Vec<u8>,
    pub direction: Direction,
    pub seq: u32,
    pub payload: Vec<u8>,
}

impl Vector {
    /// A packet of [`flow`] with private data of zeros.
    pub(super) fn new(kind: Kind, protocol: u8, port: u16, nat: Nat) -> Self {
        let (original, reply, status) = flow(protocol, port, nat);
        let private = Vec::from_iter(core::iter::repeat_n(0, kind.private_len()));
        let direction = Direction::Original;
        Self { kind, original, reply, status, private, direction, seq: 1, payload: Vec::new() }
    }

    pub(super) fn says(mut self, direction: Direction, payload: &[u8]) -> Self {
        self.direction = direction;
        self.payload = payload.to_vec();
        self
    }

    /// What the helper makes of it; private data is kept for what follows.
    pub(super) fn run(&mut self) -> Outcome {
        let mut context = Context {
            original: self.original,
            reply: self.reply,
            zone: 0,
            status: self.status,
            policy: self.kind.policy(),
            private: &mut self.private,
        };
        let packet = Packet { direction: self.direction, seq: self.seq, payload: &self.payload };
        self.kind.packet(&mut context, &packet)
    }
}

impl Vector {
    /// The payload with these edits. (`wire::transport` does it with whole packets.)
    pub(super) fn rewritten(&self, edits: &[Edit]) -> Vec<u8> {
        let mut out = self.payload.clone();
        let mut edits: Vec<_> = edits.iter().collect();
        edits.sort_by_key(|edit| core::cmp::Reverse(edit.range.start));
        for edit in edits {
            out.splice(edit.range.clone(), edit.bytes.iter().copied());
        }
        out
    }
}

/// A packet from the client's port to a group, which no rule translates.
pub(super) fn asking(kind: Kind, protocol: u8, group: ([u8; 4], u16), payload: &[u8]) -> Vector {
    let original = Tuple::v4(CLIENT, group.0, protocol).with_ports(CLIENT_PORT, group.1);
    let vector = Vector::new(kind, protocol, group.1, Nat::None);
    Vector { original, reply: original.inverted(), ..vector }.says(Direction::Original, payload)
}

/// Packets of any host are expected at the port that the asker used, repeatedly; from `port` if it is not 0.
pub(super) fn assert_is_for_the_asker(vector: &Vector, announced: &Announcement, port: u16) {
    let asker = vector.original.ports().0;
    assert_eq!(announced.ports().collect::<Vec<_>>(), [asker]);
    let expectation = announced.expectation(asker);
    let anybody = Tuple { src: [0; 16], ..vector.reply };
    assert_eq!(expectation.tuple, anybody.with_ports(port, asker));
    assert_eq!(expectation.mask.src, [0; 16]);
    assert_eq!(expectation.mask.ports(), (if port == 0 { 0 } else { 0xffff }, 0xffff));
    assert_eq!(expectation.flags, Some(1), "permanent");
    assert_eq!((expectation.nat, expectation.function), (None, None));
    assert_eq!((announced.searches(), announced.edits(asker)), (false, Vec::new()));
}

/// Nothing is expected towards a third party: only the two ends, as each knows the other.
pub(super) fn stays_between_the_ends(vector: &Vector, outcome: &Outcome) {
    assert!(outcome.announced.len() <= ANNOUNCED_MAX, "{vector:?}");
    for announced in &outcome.announced {
        for port in announced.ports() {
            let expectation = announced.expectation(port);
            let ends = [vector.original.dst, vector.reply.dst];
            assert!(ends.contains(&expectation.tuple.dst), "{expectation:?} of {vector:?}");
            assert_ne!(port, 0, "{vector:?}");
            for edit in announced.edits(port) {
                assert!(vector.payload.get(edit.range.clone()).is_some(), "{edit:?} {vector:?}");
            }
        }
    }
}

/// The vectors of every helper.
fn vectors() -> Vec<Vector> {
    [
        super::amanda::tests::vectors(),
        super::dhcpv6::tests::vectors(),
        super::ftp::tests::vectors(),
        super::mdns::tests::vectors(),
        super::rpc::tests::vectors(),
        super::sane::tests::vectors(),
        super::slp::tests::vectors(),
        super::ssdp::tests::vectors(),
        super::tftp::tests::vectors(),
        super::tns::tests::vectors(),
    ]
    .concat()
}

#[test]
fn every_vector_announces_something() {
    for mut vector in vectors() {
        let outcome = vector.run();
        stays_between_the_ends(&vector, &outcome);
        assert!(!outcome.announced.is_empty(), "{vector:?}");
    }
}

#[test]
fn vectors_cut_anywhere_are_survived() {
    for vector in vectors() {
        for len in 0..vector.payload.len() {
            let mut cut = vector.clone();
            cut.payload.truncate(len);
            let outcome = cut.run();
            stays_between_the_ends(&cut, &outcome);
        }
    }
}

#[test]
fn vectors_with_any_byte_changed_are_survived() {
    for vector in vectors() {
        for at in 0..vector.payload.len() {
            for flip in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
                let mut flipped = vector.clone();
                flipped.payload[at] ^= flip;
                let outcome = flipped.run();
                stays_between_the_ends(&flipped, &outcome);
            }
        }
    }
}

#[test]
fn private_data_of_any_length_and_content_is_survived() {
    for vector in vectors() {
        for (len, byte) in (0..40).flat_map(|len| [0, 1, 0xff].map(|byte| (len, byte))) {
            let mut foreign = vector.clone();
            foreign.private = Vec::from_iter(core::iter::repeat_n(byte, len));
            let outcome = foreign.run();
            stays_between_the_ends(&foreign, &outcome);
        }
    }
}

#[test]
fn helpers_are_found_by_name_and_protocol() {
    let (tcp, udp) = (ipproto::TCP, ipproto::UDP);
    assert_eq!(Kind::by_name("ftp", tcp), Some(Kind::Ftp));
    assert_eq!(Kind::by_name("ftp", udp), None);
    assert_eq!(Kind::by_name("foo", udp), None);
    assert_eq!(Kind::by_name("", udp), None);
    for name in ["rpc", "ssdp"] {
        assert!(Kind::by_name(name, tcp).is_some() && Kind::by_name(name, udp).is_some());
        assert_eq!(Kind::by_name(name, ipproto::SCTP), None);
    }
}

/// `nfct add helper` of conntrack-tools 1.4.7 passes these numbers to the kernel: most expectations, their life, bytes.
#[test]
fn policies_are_those_of_conntrack_tools() {
    let numbers = |kind: Kind| {
        let policy = kind.policy();
        (kind.name(), policy.expect_max, policy.expect_timeout_s, kind.private_len())
    };
    let wanted = [
        ("amanda", 3, 180, 0),
        ("dhcpv6", 1, 300, 0),
        ("ftp", 1, 300, 24),
        ("mdns", 8, 30, 0),
        ("rpc", 1, 300, 16),
        ("sane", 1, 300, 4),
        ("slp", 8, 16, 0),
        ("ssdp", 8, 300, 0),
        ("tftp", 1, 300, 0),
        ("tns", 1, 300, 1),
    ];
    assert_eq!(Kind::ALL.map(numbers), wanted);
}
