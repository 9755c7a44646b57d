use super::*;
use alloc::vec;
use proptest::prelude::*;

fn flow() -> Flow {
    let orig = Tuple::v4([10, 0, 3, 17], [198, 51, 100, 7], 6).with_ports(51_324, 443);
    let reply = Tuple::v4([198, 51, 100, 7], [203, 0, 113, 5], 6).with_ports(443, 51_324);
    Flow {
        orig,
        reply,
        zone: 5,
        known: Known::STATUS | Known::TIMEOUT | Known::ID,
        status: Status::ASSURED | Status::SEEN_REPLY,
        timeout_s: 432_000,
        id: 0x0102_0304,
        proto: ProtoState::Tcp(TcpState { state: 3, wscale: None, flags: None }),
        ..Flow::UNKNOWN
    }
}

/// The vector of `docs/spec/feed.md`.
#[test]
fn a_record_has_the_layout_of_the_specification() {
    let head = Head { seq: 81_278, time_ns: 0x11, op: Op::New, flags: Flags::EXACT, reason: 0 };
    let bytes = encode(&head, &flow(), 0);
    let mut wanted = vec![0; RECORD_LEN];
    wanted[..3].copy_from_slice(&[0x7e, 0x3d, 0x01]);
    wanted[8] = 0x11;
    wanted[16..20].copy_from_slice(&[10, 0, 3, 17]);
    wanted[32..36].copy_from_slice(&[198, 51, 100, 7]);
    wanted[48..52].copy_from_slice(&[198, 51, 100, 7]);
    wanted[64..68].copy_from_slice(&[203, 0, 113, 5]);
    wanted[80..84].copy_from_slice(&[0xc8, 0x7c, 0x01, 0xbb]);
    wanted[84..88].copy_from_slice(&[0x01, 0xbb, 0xc8, 0x7c]);
    wanted[88] = 0x06;
    wanted[96..99].copy_from_slice(&[0x80, 0x97, 0x06]);
    wanted[100..104].copy_from_slice(&[4, 3, 2, 1]);
    wanted[104] = 5;
    wanted[106..110].copy_from_slice(&[2, 6, 1, 3]);
    wanted[110..112].copy_from_slice(&[0x0b, 0x80]);
    wanted[112] = 1;
    wanted[117..119].copy_from_slice(&[2, 6]);
    assert_eq!(bytes.as_slice(), wanted);
}

#[test]
fn tails_come_out_as_they_went_in_and_unknown_values_are_passed_over() {
    let mut flow = flow();
    let extra = flow.extra_mut();
    extra.helper = HelperName::from_bytes(b"ftp");
    extra.labels = Some(vec![1, 0x8000_0000]);
    extra.seq_adj = Some([SeqAdj { correction_pos: 1, offset_before: 2, offset_after: 3 }; 2]);
    let counted = Counters { packets: 9, bytes: 999 };
    extra.counters = [Some(counted), Some(Counters::default())];
    extra.timestamps = Some(Timestamps { start_ns: 5, stop_ns: 6 });
    let mut tail = vec![200, 2, 0, 0];
    encode_tail(
        &mut tail,
        flow.extra.as_deref(),
        Moment::of(flow.extra.as_deref().unwrap()).as_ref(),
    );
    let mut bytes = encode(&Head::default(), &flow, tail.len() as u16).to_vec();
    bytes.extend_from_slice(&tail);
    bytes.push(0xff);
    let (record, rest) = Record::decode(&bytes).unwrap();
    assert_eq!((record.flow(), rest), (flow, &[0xff][..]));
    assert_eq!(Record::decode(&bytes[..130]).err(), Some(Error::Short));
    bytes[108] = 9;
    assert_eq!(Record::decode(&bytes).err(), Some(Error::Op(9)));
}

#[test]
fn what_the_lane_says_beside_records_comes_out_as_it_went_in() {
    let mut lost = Lost::default();
    lost.add(Op::New, 5);
    lost.add(Op::Cleared, 6);
    lost.add(Op::Gap, 7);
    assert_eq!(Lost::decode(&lost.encode()), lost);
    assert_eq!((lost.from, lost.to, lost.kinds), (5, 7, [0, 1, 0, 0, 0, 1]));
    let walked = Walked { id: 3, from: 512, next: None, alive: 70_000, rows: 12 };
    assert_eq!(Walked::decode(&walked.encode()), walked);
    assert_eq!(unframe(frame(Frame::Control, 3, 77)), Some((Frame::Control, 3, 77)));
    assert_eq!(unframe([0, 0, 0, 0, 3, 0, 0, 0]), None);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_give_a_record_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok((record, rest)) = Record::decode(&bytes) {
            let _ = record.flow();
            prop_assert_eq!(RECORD_LEN + record.tail.len() + rest.len(), bytes.len());
        }
    }

    #[test]
    fn what_a_record_holds_of_a_flow_comes_out_again(flow in crate::arbitrary::v1_flow()) {
        let mut tail = Vec::new();
        let moment = flow.extra.as_deref().and_then(Moment::of);
        encode_tail(&mut tail, flow.extra.as_deref(), moment.as_ref());
        let mut bytes = encode(&Head::default(), &flow, tail.len() as u16).to_vec();
        bytes.extend_from_slice(&tail);
        let again = Record::decode(&bytes).unwrap().0.flow();
        prop_assert_eq!((again.key(), again.reply, again.known), (flow.key(), flow.reply, flow.known));
        prop_assert_eq!((again.status, again.mark, again.id), (flow.status, flow.mark, flow.id));
        let labels = |flow: &Flow| flow.extra.as_deref().and_then(|extra| extra.labels.clone());
        prop_assert_eq!(labels(&again), labels(&flow));
    }
}
