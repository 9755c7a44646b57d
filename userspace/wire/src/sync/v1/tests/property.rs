//! What holds for any input.

use super::super::{attribute, flow};
use super::*;
use crate::arbitrary;
use ctnetlink::tuple::ipproto;
use proptest::prelude::*;

/// The one message in `bytes`.
fn only(bytes: &[u8]) -> (Header, Message) {
    let mut messages = Messages::datagram(bytes);
    let raw = messages.next().unwrap().unwrap();
    assert_eq!((messages.next(), messages.consumed()), (None, bytes.len()));
    assert_eq!(usize::from(raw.header.len), bytes.len());
    (raw.header, decode(&raw).unwrap())
}

/// Walks and decodes `bytes` whatever they are: no panic, and messages follow one another without overlap.
fn survive(bytes: &[u8]) {
    for mut messages in [Messages::datagram(bytes), Messages::stream(bytes)] {
        let mut end = 0;
        while let Some(message) = messages.next() {
            let Ok(raw) = message else { continue };
            assert!(raw.at >= end && messages.consumed() == raw.at + usize::from(raw.header.len));
            end = messages.consumed();
            assert!(end <= bytes.len() && raw.body.len() == end - raw.at - HEADER_LEN);
            let _ = (hint(&raw), decode(&raw));
        }
        assert!(messages.next().is_none() && messages.consumed() <= bytes.len());
    }
}

proptest! {
    #[test]
    fn a_flow_comes_back(
        flow in arbitrary::v1_flow(), change in arbitrary::change(), stamp in arbitrary::stamp(),
    ) {
        let bytes = encoded(|w| encode_flow(change, stamp, &flow, ALL, w));
        prop_assert!(bytes.len() <= flow::FLOW_LEN_MAX && bytes.len() % 4 == 0);
        let (header, message) = only(&bytes);
        prop_assert_eq!((header.seq, header.flags), (stamp.seq, stamp.flags));
        if flow.orig.has_ports() && flow.zone == 0 && flow.orig.proto != ipproto::UDPLITE {
            let raw = Messages::datagram(&bytes).next().unwrap().unwrap();
            prop_assert_eq!(hint(&raw), Some(flow.key()));
        }
        prop_assert_eq!(message, Message::Flow { change, flow });
    }

    #[test]
    fn an_expectation_comes_back(
        expect in arbitrary::v1_expectation(), change in arbitrary::change(), stamp in arbitrary::stamp(),
    ) {
        let bytes = encoded(|w| encode_expectation(change, stamp, &expect, ALL, w));
        let (header, message) = only(&bytes);
        prop_assert_eq!((header.seq, header.flags), (stamp.seq, stamp.flags));
        prop_assert_eq!(message, Message::Expect { change, expect });
    }

    #[test]
    fn a_control_message_comes_back(
        control in arbitrary::control(), stamp in arbitrary::stamp(),
    ) {
        let bytes = encoded(|w| encode_control(control, stamp, w));
        let (header, message) = only(&bytes);
        prop_assert_eq!(header.seq, stamp.seq);
        prop_assert!(header.flags.contains(stamp.flags));
        prop_assert_eq!(message, Message::Control(control));
    }

    #[test]
    fn any_flow_fits_and_can_be_read(
        flow in arbitrary::v1_flow(), name in arbitrary::helper_name(15),
        labels in prop::collection::vec(any::<u32>(), 0..400), options in arbitrary::options(),
    ) {
        let mut flow = flow;
        flow.extra_mut().helper = Some(name);
        flow.extra_mut().labels = Some(labels);
        let bytes = encoded(|w| encode_flow(Change::New, Stamp::default(), &flow, options, w));
        prop_assert!(bytes.len() <= flow::FLOW_LEN_MAX);
        let (_, message) = only(&bytes);
        let Message::Flow { flow: back, .. } = message else { panic!("not a flow") };
        prop_assert_eq!(back.key(), flow.key());
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        survive(&bytes);
    }

    #[test]
    fn any_attributes_are_survived(
        number in prop_oneof![Just(0_u8), Just(1), Just(3), Just(5), Just(10)],
        flags in any::<u8>(),
        attributes in prop::collection::vec((0_u16..36, prop::collection::vec(any::<u8>(), 0..40)), 0..12),
    ) {
        let bytes = encoded(|w| {
            w.put(&[0x10 | number, flags, 0, 0, 0, 0, 0, 0]);
            for (number, value) in &attributes {
                attribute::put(w, *number, value);
            }
            let len = w.position() as u16;
            w.patch(2, &len.to_be_bytes());
        });
        survive(&bytes);
    }

    #[test]
    fn a_damaged_message_is_survived(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let vectors = vector::all();
        let mut bytes = vectors[which.index(vectors.len())].clone();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        survive(&bytes);
        survive(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn attributes_may_come_in_any_order(
        flow in arbitrary::v1_flow(), seed in any::<prop::sample::Index>(),
    ) {
        let bytes = encoded(|w| encode_flow(Change::New, Stamp::default(), &flow, ALL, w));
        let mut at = HEADER_LEN;
        let mut attributes = Vec::new();
        while at < bytes.len() {
            let len = usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]])).next_multiple_of(4);
            attributes.push(&bytes[at..at + len]);
            at += len;
        }
        attributes.reverse();
        let turn = seed.index(attributes.len());
        attributes.rotate_left(turn);
        let turned = [&bytes[..HEADER_LEN], &attributes.concat()].concat();
        prop_assert_eq!(only(&turned).1, Message::Flow { change: Change::New, flow });
    }
}
