use super::*;
use common::event;
use common::filter::mode;
use common::hook::{BODY_LEN, PacketRecord};
use ctnetlink::flow::{ProtoState, Status, TcpState};
use ctnetlink::request::{self, IfExists, Ticket};
use ctnetlink::tuple::FAMILY_IPV4;
use ctnetlink::{Change, Tuple, Writer};
use proptest::prelude::*;
use std::vec::Vec;

fn flow(src: [u8; 4], proto: u8) -> Flow {
    let orig = Tuple::v4(src, [9, 9, 9, 9], proto);
    Flow { reply: orig.inverted(), ..Flow::new(orig) }
}

fn prefix(addr: [u8; 4], bits: u8) -> Prefix {
    let mut wide = [0; 16];
    wide[..4].copy_from_slice(&addr);
    Prefix { addr: wide, family: FAMILY_IPV4, bits }
}

fn ignore(prefixes: &[Prefix]) -> Filter {
    let config = FilterConfig { ipv4_mode: mode::IGNORE, ..FilterConfig::PASS };
    Filter::new(config, prefixes, [&[], &[], &[]])
}

#[test]
fn prefixes_match_to_the_bit() {
    let f = ignore(&[prefix([10, 1, 2, 128], 25)]);
    assert!(!f.passes(&flow([10, 1, 2, 129], 6)));
    assert!(f.passes(&flow([10, 1, 2, 127], 6)));
    assert!(!ignore(&[prefix([1; 4], 0)]).passes(&flow([8, 8, 8, 8], 6)));
}

#[test]
fn prefixes_may_overlap_and_touch() {
    let f = ignore(&[
        prefix([10, 1, 0, 0], 16),
        prefix([10, 0, 0, 0], 16),
        prefix([10, 1, 2, 3], 32),
        prefix([10, 3, 0, 0], 16),
    ]);
    for (second, passes) in [(0, false), (1, false), (2, true), (3, false), (4, true)] {
        assert_eq!(f.passes(&flow([10, second, 255, 255], 6)), passes, "{second}");
    }
}

#[test]
fn the_reply_source_counts_too() {
    assert!(!ignore(&[prefix([9, 9, 9, 9], 32)]).passes(&flow([1, 1, 1, 1], 6)));
}

#[test]
fn protocols_are_accepted_or_ignored() {
    let mut config = FilterConfig { protocol_mode: mode::ACCEPT, ..FilterConfig::PASS };
    config.name_protocol(6);
    let f = Filter::new(config, &[], [&[], &[], &[]]);
    assert!(f.passes(&flow([1; 4], 6)));
    assert!(!f.passes(&flow([1; 4], 17)));
}

#[test]
fn the_master_of_an_expectation_is_judged_by_the_known_fields() {
    let mut config = FilterConfig { mark_mode: mode::ACCEPT, ..FilterConfig::PASS };
    assert!(config.name_mark(common::filter::MarkTest { value: 1, mask: 1 }));
    let f = Filter::new(config, &[], [&[], &[], &[]]);
    assert!(f.passes(&flow([1; 4], 6)));
    let seen = Flow { known: Known::STATUS, ..flow([1; 4], 6) };
    assert!(!f.passes(&seen), "a mark of 0 is not sent");
    assert!(f.matches(&seen));
}

/// A message as the kernel writes events, as far as filters read it: our requests have the attributes, not the order.
fn event_of(flow: &Flow) -> Vec<u8> {
    let mut buffer = [0; 2048];
    let mut writer = Writer::new(&mut buffer);
    request::create(&mut writer, Ticket { seq: 1, ack: false }, flow, IfExists::Fail);
    let len = writer.finish().expect("it fits");
    buffer[..len].to_vec()
}

/// Where a packet's record has the family, and behind it the protocol.
const FAMILY_AT: usize = 103;

fn read(message: &[u8]) -> Option<(Change, Subject)> {
    let mut subject = Subject::NOTHING;
    Some((event::read(message, true, &mut subject)?, subject))
}

fn tuples() -> impl Strategy<Value = Tuple> {
    let proto = prop_oneof![Just(6), Just(17), Just(1), Just(58), Just(132), Just(47), any::<u8>()];
    (any::<bool>(), any::<[u8; 16]>(), any::<[u8; 16]>(), any::<[u8; 4]>(), proto).prop_map(
        |(v6, src, dst, l4, proto)| {
            let v4 = |a: [u8; 16]| [a[0], a[1], a[2], a[3]];
            let tuple = match v6 {
                true => Tuple::v6(src, dst, proto),
                false => Tuple::v4(v4(src), v4(dst), proto),
            };
            let carried = tuple.has_ports() || tuple.is_icmp() || proto == 47;
            Tuple { l4: if carried { l4 } else { [0; 4] }, ..tuple }
        },
    )
}

fn flows() -> impl Strategy<Value = Flow> {
    let zone = (any::<u16>(), any::<bool>());
    (tuples(), zone, any::<u32>(), 0..10_u8).prop_map(|(orig, (zone, of_orig), mark, state)| {
        let mut flow = Flow { reply: orig.inverted(), zone, mark, ..Flow::new(orig) };
        flow.status = Status::CONFIRMED;
        flow.known = Known::STATUS | Known::ZONE | Known::MARK | Known::TIMEOUT;
        if of_orig {
            flow.known.remove(Known::ZONE);
            flow.extra_mut().zones = [Some(zone), None];
        }
        if orig.proto == 6 {
            flow.proto = ProtoState::Tcp(TcpState { state, ..TcpState::default() });
        }
        flow
    })
}

proptest! {
    #[test]
    fn what_the_program_reads_in_place_is_what_user_space_decodes(flow in flows()) {
        let (kind, seen) = read(&event_of(&flow)).expect("it is an event");
        prop_assert_eq!(kind, Change::New);
        let mut wanted = subject(&flow);
        prop_assert_eq!(seen.known, wanted.known);
        wanted.known = seen.known;
        prop_assert_eq!(seen, wanted);
    }

    #[test]
    fn a_packet_shows_the_program_and_user_space_the_same_fields(record: [u8; BODY_LEN], v6: bool, tcp: bool) {
        let mut record = record;
        record[FAMILY_AT] = if v6 { FAMILY_IPV6 } else { FAMILY_IPV4 };
        record[FAMILY_AT + 1] = if tcp { 6 } else { record[FAMILY_AT + 1] };
        let seen = PacketRecord::read(&record).expect("it is long enough").subject();
        let flow = wire::packet::decode(&record, 100).expect("its family is known").flow;
        prop_assert_eq!(seen, subject(&flow));
    }

    #[test]
    fn reading_in_place_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..300), flow in flows(), cut in 0..400_usize, at in 0..400_usize, with: u8) {
        let _ = read(&bytes);
        let mut event = event_of(&flow);
        let len = event.len();
        event[at % len] = with;
        event.truncate(cut.min(len));
        let _ = read(&event);
    }

    #[test]
    fn intervals_hold_what_any_of_their_parts_holds(parts in proptest::collection::vec((0..60_u16, 0..9_u16), 0..12)) {
        let parts: Vec<_> = parts.into_iter().map(|(first, more)| (first, first + more)).collect();
        let all = Intervals::new(parts.iter().copied());
        for n in 0..80 {
            let one = parts.iter().any(|(first, last)| (*first..=*last).contains(&n));
            prop_assert_eq!(all.hold(n), one, "{} in {:?}", n, &all);
        }
    }
}

#[test]
fn a_missing_zone_and_mark_are_zero_only_where_the_message_ends() {
    let flow = Flow { known: Known::STATUS, ..flow([1; 4], 17) };
    let mut event = event_of(&flow);
    let (_, whole) = read(&event).unwrap();
    assert_eq!(whole.known, known::REPLY | known::ZONE | known::MARK);
    event.truncate(event.len() - 8);
    let (_, cut) = read(&event).unwrap();
    assert_eq!(cut.known, known::REPLY);
}
