//! Packets as the kernel would show them, and what is decided about them.

use super::*;
use ctnetlink::flow::Status;
use ctnetlink::request::{self, Ticket};
use ctnetlink::tuple::ipproto;
use ctnetlink::{Flow, FlowKey, Tuple, Writer};

/// A kernel that holds these expectations.
#[derive(Debug, Default)]
struct Model(Vec<Expectation>);

impl Announce for Model {
    fn create(&mut self, expectation: &Expectation, if_exists: IfExists) -> io::Result<()> {
        let is_there = self.0.iter().any(|held| held.tuple == expectation.tuple);
        if is_there && if_exists == IfExists::Fail {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        self.0.push(expectation.clone());
        Ok(())
    }

    fn existing(&mut self, key: &FlowKey) -> io::Result<Expectation> {
        let held = self.0.iter().find(|held| held.tuple == key.tuple).cloned();
        held.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
    }
}

const CLIENT: [u8; 4] = [10, 1, 0, 2];
const SERVER: [u8; 4] = [10, 2, 0, 2];
const QUEUE: u16 = 7;

fn handler(kind: Kind) -> PacketHandler<Model> {
    let counts = Arc::default();
    let served = Served { kind, queue: QUEUE, policy: kind.policy(), counts };
    PacketHandler::new(vec![served], Model::default())
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut out = (value.len() as u16 + 4).to_ne_bytes().to_vec();
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// The attributes of a flow.
fn told(flow: &Flow) -> Vec<u8> {
    let mut bytes = [0; 1024];
    let mut writer = Writer::new(&mut bytes);
    request::create(&mut writer, Ticket::silent(0), flow, IfExists::Fail);
    let len = writer.finish().unwrap();
    bytes[20..len].to_vec()
}

fn udp(payload: &[u8]) -> Vec<u8> {
    let len = 28 + payload.len() as u8;
    let mut packet = vec![0x45, 0, 0, len, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend([CLIENT, SERVER].concat());
    packet.extend([0xc3, 0x50, 0, 69, 0, len - 20, 0, 0]);
    packet.extend(payload);
    packet
}

/// Packet number 5 of a queue, in a datagram.
fn shown(queue: u16, packet: &[u8], more: &[u8]) -> Vec<u8> {
    let tuple = Tuple::v4(CLIENT, SERVER, ipproto::UDP).with_ports(50_000, 69);
    let flow = Flow { reply: tuple.inverted(), ..Flow::new(tuple) };
    shown_of(queue, &told(&flow), packet, more)
}

/// Packet number 5 of a queue, of a flow with these attributes.
fn shown_of(queue: u16, told: &[u8], packet: &[u8], more: &[u8]) -> Vec<u8> {
    let mut body = vec![2, 0];
    body.extend(queue.to_be_bytes());
    body.extend(attribute(1, &[0, 0, 0, 5, 8, 0, 4]));
    body.extend(attribute(11 | 0x8000, told));
    body.extend(attribute(12, &2_u32.to_be_bytes()));
    body.extend(attribute(10, packet));
    body.extend(more);
    let mut out = (body.len() as u32 + 16).to_ne_bytes().to_vec();
    out.extend(0x300_u16.to_ne_bytes());
    out.extend([0; 10]);
    out.extend(body);
    out
}

/// The verdict that changes nothing, on packet 5.
fn plain(queue: u16) -> Vec<u8> {
    let mut bytes = [0; 64];
    let mut writer = Writer::new(&mut bytes);
    Verdict { queue, id: 5, ..Verdict::default() }.encode(&mut writer, 0);
    let len = writer.finish().unwrap();
    bytes[..len].to_vec()
}

fn decided(handler: &mut PacketHandler<Model>, datagram: &[u8]) -> Vec<u8> {
    let mut verdicts = Verdicts::new();
    handler.datagram(datagram, &mut verdicts);
    verdicts.bytes().to_vec()
}

fn counted(handler: &PacketHandler<Model>) -> String {
    let counts = &handler.served[0].counts;
    let Shared { packets, accepted, expectations, not_understood, .. } = &**counts;
    format!("{packets:?} {accepted:?} {expectations:?} {not_understood:?}").replace("Counter", "")
}

const REQUEST: &[u8] = b"\0\x01file\0octet\0";

#[test]
fn what_a_packet_announces_goes_with_its_verdict() {
    let mut handler = handler(Kind::Tftp);
    let verdict = decided(&mut handler, &shown(QUEUE, &udp(REQUEST), &[]));
    let tuple = Tuple::v4(SERVER, CLIENT, ipproto::UDP).with_ports(0, 50_000);
    let expect = Expectation::default().with(|expect| expect.tuple = tuple);
    let mut bytes = [0; 256];
    let mut writer = Writer::new(&mut bytes);
    request::create_expectation(&mut writer, Ticket::silent(0), &expect, IfExists::Fail);
    // Address and port, as any request writes them.
    let len = writer.finish().unwrap();
    let inner = &bytes[20..len];
    assert!(verdict.windows(inner.len()).any(|window| window == inner), "{verdict:?}");
    assert_eq!(counted(&handler), "(1) (1) (1) (0)");
    assert!(handler.announcer.0.is_empty(), "nothing is announced before the flow is confirmed");
}

#[test]
fn what_is_not_understood_passes_and_is_counted() {
    let fragment = {
        let mut packet = udp(REQUEST);
        packet[6] = 0x20;
        packet
    };
    let longer = attribute(13, &5000_u32.to_be_bytes());
    let cases: [(&str, Vec<u8>); 4] = [
        ("a fragment", shown(QUEUE, &fragment, &[])),
        ("a cut packet", shown(QUEUE, &udp(REQUEST), &longer)),
        ("no packet", shown(QUEUE, &[], &[])),
        (
            "a flow that cannot be read",
            shown(QUEUE, &udp(REQUEST), &attribute(11 | 0x8000, &[9; 9])),
        ),
    ];
    for (name, datagram) in cases {
        let mut handler = handler(Kind::Tftp);
        assert_eq!(decided(&mut handler, &datagram), plain(QUEUE), "{name}");
        assert_eq!(counted(&handler), "(1) (1) (0) (1)", "{name}");
    }
}

#[test]
fn what_a_packet_says_beside_what_is_not_understood_is_carried_out() {
    let mut handler = handler(Kind::Tftp);
    handler.read =
        |_, _, _| Outcome { not_understood: true, timeout_s: Some(9), ..Outcome::default() };
    assert_ne!(decided(&mut handler, &shown(QUEUE, &udp(REQUEST), &[])), plain(QUEUE));
    assert_eq!(counted(&handler), "(1) (1) (0) (1)");
}

#[test]
fn a_packet_of_another_queue_passes() {
    let mut handler = handler(Kind::Tftp);
    assert_eq!(decided(&mut handler, &shown(9, &udp(REQUEST), &[])), plain(9));
    assert_eq!(counted(&handler), "(0) (0) (0) (0)");
}

#[test]
fn a_helper_that_panics_is_taken_out_of_service_and_its_packets_pass() {
    let mut handler = handler(Kind::Tftp);
    handler.read = |_, _, _| panic!("on purpose");
    let datagram = shown(QUEUE, &udp(REQUEST), &[]);
    assert_eq!(decided(&mut handler, &datagram), plain(QUEUE));
    assert_eq!(handler.broken, [Kind::Tftp]);
    assert_eq!(counted(&handler), "(1) (1) (0) (1)");
    assert_eq!(decided(&mut handler, &datagram), plain(QUEUE));
    assert_eq!(handler.broken, [Kind::Tftp], "it was not asked again");
    assert_eq!(counted(&handler), "(2) (2) (0) (1)");
}

#[test]
fn a_refused_verdict_is_followed_by_one_that_changes_nothing() {
    let mut handler = handler(Kind::Tftp);
    let refused = |errno: i32, verdict: &[u8]| {
        let mut out = (verdict.len() as u32 + 20).to_ne_bytes().to_vec();
        out.extend([2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        out.extend(errno.to_ne_bytes());
        out.extend(verdict);
        out
    };
    let verdict = decided(&mut handler, &shown(QUEUE, &udp(REQUEST), &[]));
    assert_eq!(decided(&mut handler, &refused(-libc::EINVAL, &verdict)), plain(QUEUE));
    assert!(decided(&mut handler, &refused(-libc::EINVAL, &plain(QUEUE))).is_empty(), "no loop");
    assert!(decided(&mut handler, &refused(-libc::ENOENT, &verdict)).is_empty(), "it is gone");
}

/// How the server knows the client.
const OUTER: [u8; 4] = [10, 2, 0, 77];

/// A line that the client says over FTP behind source translation.
fn says(line: &str) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 40 + line.len() as u8, 0, 0, 0, 0, 64, 6, 0, 0];
    packet.extend([OUTER, SERVER].concat());
    packet.extend([0xc3, 0x50, 0, 21, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
    packet.extend(line.as_bytes());
    let mut out = Vec::new();
    for (kind, tuple) in [
        (1, Tuple::v4(CLIENT, SERVER, ipproto::TCP).with_ports(50_000, 21)),
        (2, Tuple::v4(SERVER, OUTER, ipproto::TCP).with_ports(21, 50_000)),
    ] {
        let flow = Flow::new(tuple);
        let mut one = told(&flow);
        // The tuple alone: the first attribute.
        let len = usize::from(u16::from_ne_bytes([one[0], one[1]]));
        one.truncate(len);
        one[2] = kind;
        out.extend(one);
    }
    let status = Status::SRC_NAT | Status::CONFIRMED | Status::SEEN_REPLY;
    out.extend(attribute(3, &status.bits().to_be_bytes()));
    let help = [attribute(1, b"ftp\0"), attribute(2, &[0; 24])].concat();
    out.extend(attribute(5 | 0x8000, &help));
    shown_of(QUEUE, &out, &packet, &[])
}

fn contains(bytes: &[u8], piece: &str) -> bool {
    bytes.windows(piece.len()).any(|window| window == piece.as_bytes())
}

#[test]
fn a_taken_port_is_passed_over_and_a_packet_sent_again_gets_its_own() {
    let mut handler = handler(Kind::Ftp);
    let taken = |port| {
        Expectation::default().with(|expect| {
            expect.tuple = Tuple::v4(SERVER, OUTER, ipproto::TCP).with_ports(0, port);
        })
    };
    handler.announcer.0 = vec![taken(5001), taken(5002)];
    let line = says("PORT 10,1,0,2,19,137\r\n");
    for _ in 0..2 {
        let verdict = decided(&mut handler, &line);
        assert!(contains(&verdict, "PORT 10,2,0,77,19,139\r\n"), "{verdict:?}");
        assert_eq!(handler.announcer.0.len(), 3);
    }
    let made = &handler.announcer.0[2];
    assert_eq!((made.tuple.ports().1, made.nat.expect("it is translated").direction), (5003, 1));
    let counts = &handler.served[0].counts;
    assert_eq!(format!("{:?} {:?}", counts.mangled, counts.expectations), "Counter(2) Counter(1)");
}

#[test]
fn a_packet_for_which_no_port_is_free_passes_as_it_is() {
    let mut handler = handler(Kind::Ftp);
    let tuple = Tuple::v4(SERVER, OUTER, ipproto::TCP);
    let taken =
        |port| Expectation::default().with(|expect| expect.tuple = tuple.with_ports(0, port));
    handler.announcer.0 = (5001..5129).map(taken).collect();
    let verdict = decided(&mut handler, &says("PORT 10,1,0,2,19,137\r\n"));
    assert!(!contains(&verdict, "PORT"), "it was not changed");
    let counts = &handler.served[0].counts;
    assert_eq!(format!("{:?} {:?}", counts.refused_ports, counts.mangled), "Counter(1) Counter(0)");
    handler.announcer.0.remove(127);
    let verdict = decided(&mut handler, &says("PORT 10,1,0,2,19,137\r\n"));
    assert!(contains(&verdict, "PORT 10,2,0,77,20,8\r\n"), "the last of 128 is tried: {verdict:?}");
}
