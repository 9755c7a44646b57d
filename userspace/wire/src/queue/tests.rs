//! What 6.12 sent to conntrackd 1.4.7 (`strace` in QEMU), read back; and verdicts on it.

use super::*;
use crate::arbitrary::v1_expectation;
use alloc::vec;
use alloc::vec::Vec;
use ctnetlink::flow::Status;
use ctnetlink::{ExpectView, FlowView, Messages, Tuple};
use proptest::prelude::*;

/// A read request for TFTP, the first packet of its flow, source NAT done.
const TFTP: &str = "11010000000300000000000000000000020000010b0001000000000108000400080005000000000208000600000000031000\
    090000060000c2a4493b13d000009c000b803400018014000180080001000a010002080002000a0200021c00028005000100\
    1100000006000200d083000006000300004500003400028014000180080001000a020002080002000a0100021c0002800500\
    010011000000060002000045000006000300d083000008000c00cd7fd0530800030000002000080007000000001e10000580\
    090001007466747000000000080008000000000008000c00000000022d000a0045000029428440003f11e5390a0100020a02\
    0002d083004500157ecd000166696c65006f6374657400";

/// A server greets over FTP.
const FTP: &str = "6c010000000300000000000000000000020000020b0001000000000408000400080005000000000308000600000000021000\
    090000060000164c2988d28b0000e4000b803400018014000180080001000a010002080002000a0200021c00028005000100\
    0600000006000200cbdc000006000300001500003400028014000180080001000a020002080002000a02004d1c0002800500\
    010006000000060002000015000006000300cbdc000008000c006f08b4b5080003000000219e080007000000012c30000480\
    2c00018005000100030000000500020007000000050003000700000006000400230000000600050033000000280005800800\
    0100667470001c000200000000000000000000000000000000000000000000000000080008000000000008000c0000000003\
    40000a004500003cc45c40003f0663590a0200020a0100020015cbdc6d3f32f0e65b85f6801801fe36f700000101080a4df9\
    e89c43a0ff413232302068690d0a";

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().map(|d| (d as char).to_digit(16).unwrap() as u8).collect();
    digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect()
}

/// The only message of a datagram.
fn only(datagram: &[u8]) -> RawMessage<'_> {
    let mut messages = Messages::new(datagram);
    let raw = messages.next().unwrap().unwrap();
    assert!(messages.next().is_none());
    raw
}

fn written(verdict: &Verdict<'_>) -> Vec<u8> {
    let mut bytes = vec![0; 66_000];
    let mut w = Writer::new(&mut bytes);
    verdict.encode(&mut w, 9);
    let len = w.finish().unwrap();
    bytes.truncate(len);
    bytes
}

#[test]
fn a_new_flow_and_its_packet_are_read() {
    let datagram = bytes_of(TFTP);
    let raw = only(&datagram);
    assert!(PacketView::is_packet(&raw.header));
    let packet = PacketView::parse(&raw).unwrap();
    assert_eq!((packet.family, packet.queue, packet.id), (2, 1, 1));
    assert_eq!((packet.protocol, packet.hook, packet.is_reply()), (0x800, 4, false));
    assert_eq!(&packet.payload[28..], b"\0\x01file\0octet\0");
    assert!(!packet.is_cut());
    let flow = packet.flow.unwrap();
    let tuple = Tuple::v4([10, 1, 0, 2], [10, 2, 0, 2], 17).with_ports(53_379, 69);
    assert_eq!(flow.orig, tuple);
    assert_eq!(flow.status, Status::from_bits_retain(0x2000));
    assert_eq!(flow.helper.unwrap().as_bytes(), b"tftp");
    assert_eq!(PacketView::number(&raw), Some((1, 1)));
}

#[test]
fn a_reply_and_private_data_are_read() {
    let datagram = bytes_of(FTP);
    let packet = PacketView::parse(&only(&datagram)).unwrap();
    assert_eq!((packet.queue, packet.id, packet.is_reply()), (2, 4, true));
    assert_eq!(&packet.payload[52..], b"220 hi\r\n");
    let flow = packet.flow.unwrap();
    assert_eq!(flow.private, [0; 24]);
    assert!(flow.status.contains(Status::SRC_NAT));
}

/// The flow attribute of a packet.
fn flow_of<'a>(raw: &RawMessage<'a>) -> Attribute<'a> {
    let (_, attributes) = split_family(raw.payload).unwrap();
    attributes.map(Result::unwrap).find(|a| a.kind == queue::CT).unwrap()
}

/// A helper reads the same of a flow as every other reader.
fn assert_is_read_as_elsewhere(nest: &Attribute<'_>) {
    let (flow, view) = (WatchedFlow::of_nest(nest).unwrap(), FlowView::of_nest(2, nest).unwrap());
    assert_eq!((flow.orig, flow.reply, flow.zone), (view.orig, view.reply, view.key().zone));
    assert_eq!((Some(flow.status), flow.helper), (view.status, view.helper));
    assert_eq!(flow.private, view.helper_info.unwrap_or_default());
}

#[test]
fn the_flow_of_a_packet_is_read_as_elsewhere_in_any_zone() {
    for datagram in [TFTP, FTP].map(bytes_of) {
        let raw = only(&datagram);
        let nest = flow_of(&raw);
        assert_is_read_as_elsewhere(&nest);

        let mut bytes = nest.value.to_vec();
        bytes.extend(b"\x06\0\x12\0\x01\x02\0\0");
        let zoned = Attribute { value: &bytes, ..nest };
        assert_is_read_as_elsewhere(&zoned);
        assert_eq!(WatchedFlow::of_nest(&zoned).unwrap().zone, 0x102);

        // The zone of the original direction alone, in its tuple, which comes first.
        let tuple = nest.nest().next().unwrap().unwrap();
        let mut bytes = vec![0; 1024];
        let mut w = Writer::new(&mut bytes);
        put_nest(&mut w, tuple.kind, |w| {
            w.put(tuple.value);
            w.put(b"\x06\0\x03\0\x03\x04\0\0");
        });
        w.put(&nest.value[4 + tuple.value.len()..]);
        let len = w.finish().unwrap();
        let zoned = Attribute { value: &bytes[..len], ..nest };
        assert_is_read_as_elsewhere(&zoned);
        assert_eq!(WatchedFlow::of_nest(&zoned).unwrap().zone, 0x304);
    }
}

#[test]
fn a_flow_without_its_tuple_is_refused_and_what_is_not_asked_for_is_stepped_over() {
    let datagram = bytes_of(TFTP);
    let raw = only(&datagram);
    let nest = flow_of(&raw);
    let tuple = nest.nest().next().unwrap().unwrap();
    let rest = Attribute { value: &nest.value[4 + tuple.value.len()..], ..nest };
    assert_eq!(WatchedFlow::of_nest(&rest).unwrap_err().what, "flow without original tuple");

    // A mark of 3 bytes.
    let mut bytes = nest.value.to_vec();
    bytes.extend(b"\x07\0\x08\0\x01\x02\x03\0");
    let odd = Attribute { value: &bytes, ..nest };
    assert!(FlowView::of_nest(2, &odd).is_err());
    assert_eq!(WatchedFlow::of_nest(&odd), WatchedFlow::of_nest(&nest));
}

#[test]
fn a_cut_packet_says_so() {
    let packet = PacketView { payload: &[0; 20], whole_len: Some(21), ..PacketView::default() };
    assert!(packet.is_cut());
    assert!(!PacketView { whole_len: Some(20), ..packet }.is_cut());
}

#[test]
fn a_verdict_without_changes_is_its_header() {
    let verdict = Verdict { queue: 258, id: 7, ..Verdict::default() };
    let expected = b"\x20\0\0\0\x01\x03\x01\0\x09\0\0\0\0\0\0\0\0\0\x01\x02\
        \x0c\0\x02\0\0\0\0\x01\0\0\0\x07";
    assert_eq!(written(&verdict), expected);
    let dropped = written(&Verdict { drop: true, ..verdict });
    assert_eq!(dropped[24..28], [0; 4]);
}

/// The kernel looks at sequence numbers and expectations only where there is a flow attribute.
#[test]
fn a_changed_packet_and_an_expectation_bring_a_flow_attribute() {
    let verdict = Verdict { payload: Some(&[0x45, 1, 2]), ..Verdict::default() };
    assert_eq!(written(&verdict)[32..], *b"\x07\0\x0a\0\x45\x01\x02\0\x04\0\x0b\x80");
    let tuple = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 17).with_ports(0, 5);
    let mask = Tuple::v4([255; 4], [255; 4], 17).with_ports(0, 65_535);
    let expectation = Expectation::default().with(|expect| {
        expect.tuple = tuple;
        expect.mask = mask;
        expect.master = tuple;
    });
    let verdict = Verdict { expectation: Some(&expectation), ..Verdict::default() };
    assert_eq!(written(&verdict)[32..36], *b"\x04\0\x0b\x80");
}

#[test]
fn private_data_and_timeout_go_into_the_flow_attribute() {
    let name = HelperName::from_bytes(b"rpc").unwrap();
    let verdict = Verdict {
        timeout_s: Some(300),
        private: Some((name, &[1, 2, 3, 4])),
        ..Verdict::default()
    };
    let expected = b"\x20\0\x0b\x80\x08\0\x07\0\0\0\x01\x2c\
        \x14\0\x05\x80\x08\0\x01\0rpc\0\x08\0\x02\0\x01\x02\x03\x04";
    assert_eq!(written(&verdict)[32..], *expected);
}

#[test]
fn a_refusal_names_the_packet_and_says_whether_more_was_asked() {
    let refusal = |verdict: &Verdict<'_>, errno: i32| {
        let quoted = written(verdict);
        let len = (36 + quoted.len() - 16) as u32;
        let mut bytes = len.to_ne_bytes().to_vec();
        bytes.extend([2, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(errno.to_ne_bytes());
        bytes.extend(quoted);
        VerdictRefusal::parse(&only(&bytes))
    };
    let verdict = Verdict { queue: 3, id: 70_000, ..Verdict::default() };
    let expected = VerdictRefusal { errno: 2, queue: 3, id: 70_000, is_plain: true };
    assert_eq!(refusal(&verdict, -2), Some(expected));
    let more = refusal(&Verdict { timeout_s: Some(5), ..verdict }, -22);
    assert_eq!(more, Some(VerdictRefusal { errno: 22, is_plain: false, ..expected }));
    assert_eq!(refusal(&verdict, 0), None, "an acknowledgement");
}

proptest! {
    #[test]
    fn an_expectation_in_a_verdict_is_read_as_it_was_written(given in v1_expectation()) {
        let verdict = Verdict { expectation: Some(&given), ..Verdict::default() };
        let bytes = written(&verdict);
        let raw = only(&bytes);
        let (_, mut attributes) = split_family(raw.payload).unwrap();
        let nest = attributes.find_map(|a| a.ok().filter(|a| a.kind == queue::EXP)).unwrap();
        let payload = [&[2, 0, 0, 0], nest.value].concat();
        let read = ExpectView::parse(&payload).unwrap().to_expectation();
        prop_assert_eq!((read.tuple, read.mask, read.nat), (given.tuple, given.mask, given.nat));
    }

    #[test]
    fn any_bytes_are_a_packet_or_an_error(
        which in any::<bool>(), changes in prop::collection::vec((any::<u16>(), any::<u8>()), 0..6),
        cut in any::<u16>(),
    ) {
        let mut datagram = bytes_of(if which { TFTP } else { FTP });
        for (at, value) in changes {
            let at = usize::from(at) % datagram.len();
            datagram[at] = value;
        }
        datagram.truncate(datagram.len().saturating_sub(usize::from(cut) % 64));
        for raw in Messages::new(&datagram).map_while(Result::ok) {
            let _ = (PacketView::number(&raw), VerdictRefusal::parse(&raw));
            match PacketView::parse(&raw) {
                Ok(packet) => prop_assert!(packet.payload.len() <= datagram.len()),
                Err(error) => prop_assert!(error.at as usize <= datagram.len()),
            }
        }
    }
}
