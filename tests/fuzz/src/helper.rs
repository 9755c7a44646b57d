//! The helpers, whatever the two ends of a flow say to each other.

use ctnetlink::Tuple;
use ctnetlink::flow::Status;
use ctnetlink::tuple::ipproto;
use engine::helper::{ANNOUNCED_MAX, Announcement, Context, Direction, Kind, Outcome, Packet};
use wire::transport::{Edit, Segment};

const CLIENT: [u8; 16] = [10, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const SERVER: [u8; 16] = [10, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const CLIENT_OUTSIDE: [u8; 16] = [10, 2, 0, 77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const SERVER_OUTSIDE: [u8; 16] = [10, 1, 0, 99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Where multicast goes; the second is of IPv6, as the others are when the input says so.
const GROUPS: [[u8; 16]; 8] = [
    [224, 0, 0, 251, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [239, 255, 255, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [239, 255, 255, 250, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2],
    [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfb],
    [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x16],
    [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0c],
    SERVER,
];

/// A conversation: which helper, what flow, the length of private data and these, then packets: direction, length in
/// two bytes, little endian, payload.
///
/// Bits of the second byte: 1 IPv6, 2 the client is translated, 4 the server is, 8 TCP where the helper takes both,
/// 16 a group is asked (which: the three highest).
///
/// No expectation goes anywhere but to the ends of the flow; what is rewritten is a right packet, and who reads it
/// where it arrives reads the port that was put in. The whole input is read as a packet, too.
///
/// # Panics
/// When one of these does not hold.
pub fn helper(data: &[u8]) {
    packet_is_read(data);
    let Some((&[kind, flags, private_len], mut rest)) = data.split_first_chunk() else { return };
    let kind = Kind::ALL[usize::from(kind) % Kind::ALL.len()];
    let mut flow = Flow::new(kind, flags);
    let len = usize::from(private_len & 31).min(rest.len());
    flow.private.extend_from_slice(&rest[..len]);
    rest = &rest[len..];
    while let Some((&[direction, low, high], bytes)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_le_bytes([low, high])).min(bytes.len());
        let direction = if direction & 1 == 0 { Direction::Original } else { Direction::Reply };
        flow.says(direction, &bytes[..len]);
        rest = &bytes[len..];
    }
}

/// Whole packets are read as the same packet when they are written again.
fn packet_is_read(data: &[u8]) {
    match Segment::decode(data) {
        Ok(segment) => {
            let mut out = Vec::new();
            segment.rewrite(&[], &mut out).expect("nothing is changed");
            let again = Segment::decode(&out).expect("what is written can be read");
            assert_eq!((again.tuple, again.seq), (segment.tuple, segment.seq));
            assert_eq!(again.payload(), segment.payload());
        }
        Err(error) => assert!(error.at as usize <= data.len(), "{error}"),
    }
}

struct Flow {
    kind: Kind,
    original: Tuple,
    reply: Tuple,
    status: Status,
    private: Vec<u8>,
    seq: u32,
}

impl Flow {
    fn new(kind: Kind, flags: u8) -> Self {
        let is = |bit: u8| flags & bit != 0;
        let takes_both = kind.takes(ipproto::TCP) && kind.takes(ipproto::UDP);
        let is_tcp = if takes_both { is(8) } else { kind.takes(ipproto::TCP) };
        let proto = if is_tcp { ipproto::TCP } else { ipproto::UDP };
        let mut status = Status::HELPER;
        status.set(Status::SRC_NAT, is(2));
        status.set(Status::DST_NAT, is(4));
        let client_outside = if is(2) { (CLIENT_OUTSIDE, 41_000) } else { (CLIENT, 40_000) };
        let server = if is(16) { GROUPS[usize::from(flags >> 5)] } else { SERVER };
        let server_outside = if is(4) { SERVER_OUTSIDE } else { server };
        let tuple = |(src, src_port), (dst, dst_port)| {
            let tuple = if is(1) {
                Tuple::v6(src, dst, proto)
            } else {
                let four = |a: [u8; 16]| [a[0], a[1], a[2], a[3]];
                Tuple::v4(four(src), four(dst), proto)
            };
            tuple.with_ports(src_port, dst_port)
        };
        let original = tuple((CLIENT, 40_000), (server_outside, 7));
        let reply = tuple((server, 7), client_outside);
        Self { kind, original, reply, status, private: Vec::new(), seq: 1 }
    }

    fn says(&mut self, direction: Direction, payload: &[u8]) {
        let before = self.private.clone();
        let outcome = read(self.kind, self, direction, payload);
        self.seq = self.seq.wrapping_add(payload.len() as u32);
        assert!(outcome.private_changed || before == self.private);
        assert_eq!(before.len(), self.private.len());
        assert!(outcome.announced.len() <= ANNOUNCED_MAX);
        let mut edits = Vec::new();
        let mut found = Vec::new();
        for (index, announced) in outcome.announced.iter().enumerate() {
            for port in announced.ports() {
                let expectation = announced.expectation(port);
                assert_eq!(expectation.master, self.original);
                assert!([self.original.dst, self.reply.dst].contains(&expectation.tuple.dst));
                assert_eq!(expectation.tuple.ports().1, port);
                assert!(port != 0 && announced.is_made(port, &expectation));
            }
            assert!((1..=128).contains(&announced.ports().count()));
            if announced.searches() {
                let port = announced.ports().nth(index).or_else(|| announced.ports().last());
                let port = port.expect("there is a port");
                found.push(port);
                edits.extend(announced.edits(port));
            }
        }
        if !found.is_empty() {
            let arrived = rewritten(self.tuple(direction), payload, &edits);
            self.arrives(direction, before, &arrived, &found);
        }
    }

    const fn tuple(&self, direction: Direction) -> Tuple {
        match direction {
            Direction::Original => self.original,
            Direction::Reply => self.reply,
        }
    }

    /// The speaker as the other end knows it, without any translation, announces these ports.
    fn arrives(&self, direction: Direction, private: Vec<u8>, payload: &[u8], found: &[u16]) {
        let seen = self.tuple(direction.opposite()).inverted();
        let original = if direction == Direction::Original { seen } else { seen.inverted() };
        let reply = original.inverted();
        let seq = self.seq.wrapping_sub(1);
        let mut outside =
            Self { original, reply, status: Status::HELPER, private, seq, kind: self.kind };
        // Sequence numbers are known to be those of line ends in the translated flow alone.
        if self.kind == Kind::Ftp {
            outside.private.fill(0);
        }
        let outcome = read(self.kind, &mut outside, direction, payload);
        let announced: Vec<_> = outcome.announced.iter().flat_map(Announcement::ports).collect();
        let all = outcome.announced.len() == ANNOUNCED_MAX;
        assert!(
            all || found.iter().all(|port| announced.contains(port)),
            "{found:?} but {announced:?}"
        );
    }
}

fn read(kind: Kind, flow: &mut Flow, direction: Direction, payload: &[u8]) -> Outcome {
    let mut context = Context {
        original: flow.original,
        reply: flow.reply,
        zone: 0,
        status: flow.status,
        policy: kind.policy(),
        private: &mut flow.private,
    };
    kind.packet(&mut context, &Packet { direction, seq: flow.seq, payload })
}

/// The payload after its packet was rewritten.
fn rewritten(tuple: Tuple, payload: &[u8], edits: &[Edit]) -> Vec<u8> {
    let packet = packet(tuple, payload);
    let segment = Segment::decode(&packet).expect("it is whole");
    assert_eq!((segment.tuple, segment.payload()), (tuple, payload));
    let mut out = Vec::new();
    segment.rewrite(edits, &mut out).expect("edits lie inside and apart");
    let segment = Segment::decode(&out).expect("what is written can be read");
    assert_eq!(segment.tuple, tuple);
    segment.payload().to_vec()
}

/// A packet without checksums, which `rewrite` writes.
fn packet(tuple: Tuple, payload: &[u8]) -> Vec<u8> {
    let is_tcp = tuple.proto == ipproto::TCP;
    let transport_len = payload.len() + if is_tcp { 20 } else { 8 };
    let mut out = Vec::new();
    if tuple.family == ctnetlink::tuple::FAMILY_IPV4 {
        let [high, low] = ((transport_len + 20) as u16).to_be_bytes();
        out.extend([0x45, 0, high, low, 0, 0, 0, 0, 64, tuple.proto, 0, 0]);
        out.extend_from_slice(&tuple.src[..4]);
        out.extend_from_slice(&tuple.dst[..4]);
    } else {
        let [high, low] = (transport_len as u16).to_be_bytes();
        out.extend([0x60, 0, 0, 0, high, low, tuple.proto, 64]);
        out.extend_from_slice(&tuple.src);
        out.extend_from_slice(&tuple.dst);
    }
    out.extend_from_slice(&tuple.l4);
    if is_tcp {
        out.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
    } else {
        let [high, low] = (transport_len as u16).to_be_bytes();
        out.extend([high, low, 0, 1]);
    }
    out.extend_from_slice(payload);
    out
}
