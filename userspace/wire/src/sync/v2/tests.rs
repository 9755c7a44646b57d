//! Tests of the version-2 codec: sizes and damage here, bytes of each frame and properties below.

use super::*;
use alloc::vec::Vec;
use ctnetlink::flow::{Known, ProtoState, Status, TcpState};
use ctnetlink::tuple::ipproto;
use ctnetlink::{Flow, Tuple};
use std::vec;

mod vector;
mod property;

const KEY: DigestKey = DigestKey(*b"sixteen secrets!");

/// What `put` packs into a datagram of 1,400 bytes.
fn packed(put: impl FnOnce(&mut Datagram<'_>)) -> Vec<u8> {
    let mut bytes = vec![0xaa; 1_400];
    let mut datagram = Datagram::new(&mut bytes, &Head::default()).unwrap();
    put(&mut datagram);
    let len = datagram.len();
    bytes.truncate(len);
    bytes
}

fn tcp(orig: Tuple, state: u8) -> Flow {
    Flow {
        reply: orig.inverted(),
        status: Status::CONFIRMED | Status::SEEN_REPLY | Status::ASSURED,
        timeout_s: 432_000,
        known: Known::STATUS | Known::TIMEOUT | Known::MARK | Known::ID,
        proto: ProtoState::Tcp(TcpState { state, wscale: Some([7, 9]), flags: None }),
        ..Flow::new(orig)
    }
}

fn v4(host: u8) -> Flow {
    let orig = Tuple::v4([10, host, 0, 1], [192, host, 2, 1], ipproto::TCP);
    tcp(orig.with_ports(40_000 + u16::from(host), 443 + u16::from(host)), 3)
}

fn v6(net: u8, host: u8) -> Flow {
    let mut src = [0x20; 16];
    (src[7], src[15]) = (net, host);
    let orig = Tuple::v6(src, [0x30 + host; 16], ipproto::TCP);
    tcp(orig.with_ports(40_000 + u16::from(host), 443 + u16::from(host)), 3)
}

fn udp(mut flow: Flow) -> Flow {
    flow.orig.proto = ipproto::UDP;
    flow.reply.proto = ipproto::UDP;
    flow.proto = ProtoState::None;
    flow
}

/// Behind one address; `port`: translated too.
fn translated(mut flow: Flow, host: u8, port: Option<u16>) -> Flow {
    let len = if flow.orig.family == ctnetlink::tuple::FAMILY_IPV6 { 16 } else { 4 };
    flow.reply.dst[..len].fill(host);
    if let Some(port) = port {
        flow.reply = flow.reply.with_ports(flow.reply.ports().0, port);
    }
    flow.status |= Status::SRC_NAT | Status::SRC_NAT_DONE | Status::DST_NAT_DONE;
    flow
}

fn claim(version: u64, what: What) -> Claim {
    Claim { version, what, ..Claim::default() }
}

/// How many bytes more each of these records takes than those before it, all in one frame.
fn sizes(records: &[(Flow, What)]) -> Vec<usize> {
    let mut bytes = vec![0; 1_400];
    let mut datagram = Datagram::new(&mut bytes, &Head::default()).unwrap();
    let mut before = datagram.len() + 13;
    let size = |(at, (flow, what)): (usize, &(Flow, What))| {
        let flow = Canonical::of(flow).unwrap();
        assert!(datagram.flow(FlowsFlags::empty(), &claim(7 + at as u64, *what), &flow));
        let size = datagram.len() - before;
        before = datagram.len();
        size
    };
    records.iter().enumerate().map(size).collect()
}

/// The first column of the table in section 6.1 of the specification.
#[test]
fn records_have_the_sizes_that_were_promised() {
    let state = |flow| (flow, What::State);
    let new = |flow| (flow, What::New);
    // TCP over IPv4, alone and behind another one.
    assert_eq!(sizes(&[new(v4(1)), new(v4(2))]), [18, 18]);
    // Source translation: 6 the first time, then nothing, or 2 with another port.
    let behind = [
        state(translated(v4(1), 200, None)),
        state(translated(v4(2), 200, None)),
        state(translated(v4(3), 200, Some(9))),
    ];
    assert_eq!(sizes(&behind), [18 + 6, 18, 18 + 2]);
    // TCP over IPv6; clients of one /64 and servers that differ.
    assert_eq!(sizes(&[state(v6(1, 1)), state(v6(2, 2)), state(v6(2, 3))]), [42, 42, 34]);
    // UDP over IPv4, and an end.
    assert_eq!(sizes(&[new(udp(v4(1)))]), [17]);
    assert_eq!(sizes(&[(v4(1), What::Expired), (udp(v4(2)), What::Closed)]), [15, 15]);
    // Three states of one open, each among records of others.
    let opening = |state| tcp(v4(1).orig, state);
    let apart = [1, 2, 3].map(|s| sizes(&[new(v4(5)), new(opening(s))])[1]);
    assert_eq!(apart.iter().sum::<usize>(), 54);
}

#[test]
fn a_frame_of_flows_takes_13_bytes_and_a_new_one_begins_with_another_zone() {
    let flow = v4(1);
    let one = packed(|d| {
        assert!(d.flow(FlowsFlags::empty(), &claim(1, What::New), &Canonical::of(&flow).unwrap()));
    });
    assert_eq!(one.len(), frame::HEAD_LEN + 13 + 18);
    let elsewhere = Flow { zone: 3, ..v4(1) };
    let two = packed(|d| {
        for flow in [&flow, &elsewhere, &elsewhere] {
            assert!(d.flow(
                FlowsFlags::empty(),
                &claim(1, What::New),
                &Canonical::of(flow).unwrap()
            ));
        }
    });
    // The third refers to the second in everything but its step and its state.
    assert_eq!(two.len(), one.len() + 13 + 18 + 6);
    let zones: Vec<_> = records(&two).into_iter().map(|r| r.unwrap().key.zone).collect();
    assert_eq!(zones, [0, 3, 3]);
}

/// All records of a datagram's frames of flows.
fn records(datagram: &[u8]) -> Vec<Result<FlowRecord<'_>, ctnetlink::DecodeError>> {
    let frames = Frames::of(datagram).unwrap().1.filter_map(Result::ok);
    let records = frames.filter_map(|frame| match frame {
        Frame::Flows { records, .. } | Frame::Beaten(records) => Some(records),
        _ => None,
    });
    records.flatten().collect()
}

#[test]
fn a_record_that_does_not_fit_changes_nothing() {
    let flow = v4(1);
    let flow = Canonical::of(&flow).unwrap();
    let mut bytes = [0; 8 + 13 + 18 + 5];
    let mut datagram = Datagram::new(&mut bytes, &Head::default()).unwrap();
    assert!(datagram.flow(FlowsFlags::empty(), &claim(1, What::New), &flow));
    // The same flow again takes 6 bytes.
    assert!(!datagram.flow(FlowsFlags::empty(), &claim(2, What::New), &flow));
    assert!(!datagram.cut(&Cut::default()) && datagram.probe() && !datagram.probe());
    let len = datagram.len();
    let (one, _) = bytes.split_at(len);
    assert_eq!(records(one).len(), 1);
    assert!(records(one)[0].is_ok());
}

#[test]
fn a_record_that_contradicts_itself_spoils_no_other() {
    let flows = [v4(1), v4(2), v4(3)];
    let good = packed(|d| {
        for (at, flow) in flows.iter().enumerate() {
            let flow = Canonical::of(flow).unwrap();
            assert!(d.flow(FlowsFlags::empty(), &claim(at as u64 + 1, What::New), &flow));
        }
    });
    let second = frame::HEAD_LEN + 13 + 18;
    // A translation to nowhere, an address like none, no status; then a code that means nothing, which shortens the
    // record.
    for (at, bits) in [(second + 1, 1), (second + 15, 1)] {
        let mut bad = good.clone();
        bad[at] ^= bits;
        let got = records(&bad);
        assert_eq!(got.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true], "{at}");
        assert_eq!(got[2].unwrap().to_flow(), Canonical::of(&flows[2]).unwrap().to_flow());
    }
    // What refers to a record without an address is refused too, rather than laid upon another flow.
    let mut bytes = [0; 100];
    let mut packer = flow::Packer::new(1);
    let first =
        packer.state(&mut bytes, &claim(1, What::New), &Canonical::of(&flows[0]).unwrap()).unwrap();
    let same = Flow { orig: Tuple { dst: v4(2).orig.dst, ..flows[0].orig }, ..flows[0].clone() };
    let second = packer
        .state(&mut bytes[first..], &claim(2, What::New), &Canonical::of(&same).unwrap())
        .unwrap();
    // The first record's source, with a code that means nothing.
    let mut cut = vec![bytes[0], bytes[1] | 0xc0, bytes[2]];
    cut.extend_from_slice(&bytes[7..first + second]);
    let got: Vec<_> = Records::new(&cut, 0, 1).map(|record| record.is_ok()).collect();
    assert_eq!(got, [false, false]);
}

#[test]
fn unknown_frames_and_attributes_are_skipped() {
    let flow = v4(1);
    let canonical = Canonical::of(&flow).unwrap();
    let mut bytes =
        packed(|d| assert!(d.flow(FlowsFlags::empty(), &claim(1, What::New), &canonical)));
    // A list with attribute 60, of three bytes, behind the record.
    bytes[frame::HEAD_LEN + 13] |= 1;
    bytes.extend([5, 60, 3, 1, 2, 3]);
    bytes[frame::HEAD_LEN + 2] += 6;
    // A frame 99 of two bytes, a cut, padding.
    bytes.extend([99, 0, 2, 7, 7]);
    bytes.extend([13, 0, 1, 1, 0, 9, 9]);
    let frames: Vec<_> = Frames::of(&bytes).unwrap().1.map(Result::unwrap).collect();
    let [Frame::Flows { records, .. }, Frame::Unknown(99), Frame::Bye(Bye::Removed)] = &frames[..]
    else {
        panic!("{frames:?}")
    };
    let record = records.clone().next().unwrap().unwrap();
    assert_eq!(record.to_flow(), canonical.to_flow());
}

#[test]
fn a_length_beyond_what_is_left_ends_the_datagram() {
    let mut bytes = packed(|d| assert!(d.probe() && d.bye(Bye::Stopping)));
    bytes[frame::HEAD_LEN + 4] = 1;
    let frames: Vec<_> = Frames::of(&bytes).unwrap().1.map(|frame| frame.is_ok()).collect();
    assert_eq!(frames, [true, false]);
}

#[test]
fn ids_select_slices_groups_and_leaves() {
    let id = FlowId((0b10_1010 << 58) | (0b1_0011 << 53) | (0b0_0111 << 48) | 0x1234_5678_9abc);
    assert_eq!((id.slice(), id.group() & 31, id.leaf() & 31), (0b10_1010, 0b1_0011, 0b0_0111));
    assert_eq!(FlowId::of(id.leaf(), id.low()), id);
    assert_eq!([1, 2, 4, 64].map(|shards| id.shard(shards)), [0, 1, 2, 42]);
}

#[test]
fn a_print_says_what_travels_and_nothing_else() {
    let flow = v4(1);
    let print = |flow: &Flow| {
        let canonical = Canonical::of(flow).unwrap();
        KEY.print(KEY.id(&canonical.key), &canonical)
    };
    let same = |change: &dyn Fn(&mut Flow)| {
        let mut other = flow.clone();
        change(&mut other);
        print(&other) == print(&flow)
    };
    assert!(same(&|flow| flow.timeout_s = 5));
    assert!(same(&|flow| flow.known.remove(Known::TIMEOUT)));
    assert!(same(&|flow| flow.id = 5));
    assert!(same(&|flow| flow.status |= Status::OFFLOAD));
    assert!(same(&|flow| flow.reply = Tuple::UNKNOWN));
    assert!(same(&|flow| flow.extra_mut().use_count = Some(3)));
    assert!(!same(&|flow| flow.mark = 5));
    assert!(!same(&|flow| flow.zone = 5));
    assert!(!same(&|flow| flow.status |= Status::FIXED_TIMEOUT));
    assert!(!same(&|flow| flow.proto = ProtoState::None));
    assert!(!same(&|flow| flow.reply.dst[0] = 5));
    assert!(!same(&|flow| flow.extra_mut().labels = Some(vec![0, 1])));
    assert!(!same(&|flow| flow.extra_mut().zones[1] = Some(0)));
    let mut other = KEY;
    other.0[0] ^= 1;
    assert_ne!(KEY.id(&flow.key()), other.id(&flow.key()));
}
