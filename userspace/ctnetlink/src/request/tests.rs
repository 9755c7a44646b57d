//! What is written says what it was given, read back the way the kernel would.

use super::*;
use crate::expectation::ExpectNat;
use crate::flow::{
    Extra, HelperName, Known, Name, ProtoState, SeqAdj, Status, Synproxy, TcpFlags, TcpState,
};
use crate::tuple::{FAMILY_IPV6, ipproto};
use crate::uapi::flag;
use crate::view::NatRange;
use crate::{Change, Detail, Expectation, FlowView, Message, Messages, RequestView, Tuple, decode};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

/// Runs a writer twice, counting and for real, and holds the two against each other.
fn written(write: impl Fn(&mut Writer<'_>)) -> Vec<u8> {
    let mut counted = Writer::counting();
    write(&mut counted);
    let mut out = vec![0xaa; counted.position()];
    let mut writer = Writer::new(&mut out);
    write(&mut writer);
    assert_eq!(writer.finish(), Ok(out.len()));
    out
}

/// The flow as the kernel would make it from a create: the reply translated as the NAT nests say.
fn as_made(view: &FlowView<'_>, payload: &[u8]) -> Flow {
    let mut flow = view.to_flow(Detail::Full);
    let icmp = flow.orig.is_icmp();
    let [src, dst] = RequestView::parse(payload).unwrap().nat;
    let (mut from, mut to) = (flow.reply.src, flow.reply.dst);
    translate(&mut to, &mut flow.reply.l4, src, if icmp { 0 } else { 2 });
    translate(&mut from, &mut flow.reply.l4, dst, 0);
    (flow.reply.src, flow.reply.dst) = (from, to);
    flow
}

fn translate(addr: &mut [u8; 16], l4: &mut [u8; 4], range: Option<NatRange>, at: usize) {
    let Some(range) = range else { return };
    let [first, last] = range.addrs.unwrap();
    assert_eq!(first, last);
    *addr = first;
    if let Some([first, last]) = range.ports {
        assert_eq!(first, last);
        l4[at..at + 2].copy_from_slice(&first.to_be_bytes());
    }
}

fn tuple() -> impl Strategy<Value = Tuple> {
    use ipproto::{DCCP, GRE, ICMP, ICMPV6, SCTP, TCP, UDP, UDPLITE};
    let protos = vec![TCP, UDP, ICMP, ICMPV6, SCTP, DCCP, GRE, UDPLITE, 253];
    let proto = prop::sample::select(protos);
    (any::<bool>(), any::<[u8; 16]>(), any::<[u8; 16]>(), any::<[u8; 4]>(), proto).prop_map(
        |(six, src, dst, l4, proto)| {
            let v4 = |b: [u8; 16]| [b[0], b[1], b[2], b[3]];
            let out =
                if six { Tuple::v6(src, dst, proto) } else { Tuple::v4(v4(src), v4(dst), proto) };
            Tuple { l4: if proto == 253 { [0; 4] } else { l4 }, ..out }
        },
    )
}

/// A tuple and what the replies look like: mirrored, with either or both ends translated, address or port or both.
fn directions() -> impl Strategy<Value = (Tuple, Tuple, Status)> {
    (tuple(), any::<[u8; 2]>(), any::<[Option<u16>; 2]>()).prop_map(|(orig, hosts, ports)| {
        let mut reply = orig.inverted();
        reply.dst[0] ^= hosts[0];
        reply.src[0] ^= hosts[1];
        let (from, to) = reply.ports();
        if orig.has_ports() {
            reply = reply.with_ports(ports[1].unwrap_or(from), ports[0].unwrap_or(to));
        } else if orig.is_icmp() {
            let (id, kind, code) = reply.icmp();
            reply = reply.with_icmp(ports[0].unwrap_or(id), kind, code);
        }
        let mut status = Status::SRC_NAT_DONE | Status::DST_NAT_DONE;
        let mirror = orig.inverted();
        let id_changed = orig.is_icmp() && reply.l4 != mirror.l4;
        status.set(Status::SRC_NAT, reply.dst != mirror.dst || id_changed);
        (orig, reply, status)
    })
}

fn proto_state() -> impl Strategy<Value = ProtoState> {
    let flags = any::<(u8, u8)>().prop_map(|(flags, mask)| TcpFlags { flags, mask });
    let flags = prop::option::of([flags.clone(), flags]);
    let tcp = (0_u8..=9, prop::option::of([0_u8..=14, 0..=14]), flags)
        .prop_map(|(state, wscale, flags)| ProtoState::Tcp(TcpState { state, wscale, flags }));
    prop_oneof![
        Just(ProtoState::None),
        tcp,
        any::<(u8, u8)>().prop_map(|(state, role)| ProtoState::Dccp { state, role }),
        (0_u8..=8, any::<[u32; 2]>()).prop_map(|(state, vtag)| ProtoState::Sctp { state, vtag }),
    ]
}

fn extra() -> impl Strategy<Value = Extra> {
    let adj = any::<[u32; 3]>().prop_map(|[correction_pos, offset_before, offset_after]| SeqAdj {
        correction_pos,
        offset_before,
        offset_after,
    });
    let proxied = any::<[u32; 3]>()
        .prop_filter("not all zero", |numbers| *numbers != [0; 3])
        .prop_map(|[isn, its, tsoff]| Synproxy { isn, its, tsoff });
    let name = "[a-z]{1,15}".prop_map(|name| HelperName::from_bytes(name.as_bytes()).unwrap());
    let labels = prop::collection::vec(any::<u32>(), 4..=4);
    (
        prop::option::of(tuple()),
        prop::option::of(name),
        prop::option::of(labels),
        prop::option::of([adj.clone(), adj]),
        prop::option::of(proxied),
    )
        .prop_map(|(master, helper, labels, seq_adj, synproxy)| Extra {
            master,
            helper,
            labels,
            seq_adj,
            synproxy,
            ..Extra::default()
        })
}

fn flow() -> impl Strategy<Value = Flow> {
    let numbers = any::<(u32, u32, u32, u16)>();
    (directions(), numbers, any::<u16>(), proto_state(), extra()).prop_map(
        |((orig, reply, nat), (status, timeout_s, mark, zone), known, proto, extra)| {
            let known = Known::from_bits_truncate(known) - Known::ID - Known::SYNPROXY;
            Flow {
                orig,
                reply,
                zone,
                known,
                status: (Status::from_bits_retain(status) - Status::SRC_NAT) | nat,
                timeout_s,
                mark,
                proto,
                extra: Some(Arc::new(extra)),
                ..Flow::default()
            }
        },
    )
}

/// What a request for this flow carries, were it read as an event.
fn carried(mut flow: Flow, written: Status) -> Flow {
    let has_zone = flow.zone != 0;
    flow.known.set(Known::ZONE, has_zone);
    let extra = flow.extra.take().filter(|extra| **extra != Extra::default());
    flow.known.set(Known::SYNPROXY, extra.as_ref().is_some_and(|extra| extra.synproxy.is_some()));
    flow.extra = extra;
    flow.status = if flow.has(Known::STATUS) { written } else { Status::empty() };
    flow.timeout_s = if flow.has(Known::TIMEOUT) { flow.timeout_s } else { 0 };
    flow.mark = if flow.has(Known::MARK) { flow.mark } else { 0 };
    flow
}

fn kept_bits(flow: &Flow) -> Status {
    let ours = Status::SEEN_REPLY | Status::ASSURED | Status::FIXED_TIMEOUT | Status::HELPER;
    (flow.status & ours) | Status::CONFIRMED
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_create_says_everything(flow in flow()) {
        let bytes = written(|w| create(w, Ticket::acked(7), &flow, IfExists::Fail));
        let raw = Messages::new(&bytes).next().unwrap().unwrap();
        let flags = flag::REQUEST | flag::ACK | flag::CREATE | flag::EXCL;
        prop_assert_eq!((raw.header.flags, raw.header.seq, raw.header.kind), (flags, 7, 0x100));
        let Ok(Message::Flow { event: Change::New, flow: view }) = decode(&raw) else { panic!() };
        let expected = carried(flow.clone(), kept_bits(&flow));
        prop_assert_eq!(as_made(&view, raw.payload), expected);
    }

    #[test]
    fn an_update_says_what_can_change(flow in flow()) {
        let bytes = written(|w| update(w, Ticket::silent(7), &flow));
        let raw = Messages::new(&bytes).next().unwrap().unwrap();
        prop_assert_eq!(raw.header.flags, flag::REQUEST);
        let Ok(Message::Flow { event: Change::Update, flow: view }) = decode(&raw) else { panic!() };
        let mut status = kept_bits(&flow);
        status.set(Status::EXPECTED, flow.master().is_some());
        let mut expected = Flow { reply: Tuple::default(), ..flow.clone() };
        if flow.status.contains(Status::FIXED_TIMEOUT) {
            expected.known -= Known::TIMEOUT;
        }
        let extra = expected.extra_mut();
        (extra.master, extra.helper) = (None, None);
        prop_assert_eq!(view.to_flow(Detail::Full), carried(expected, status));
    }

    #[test]
    fn an_expectation_says_everything(
        (master, tuple, mask) in (tuple(), tuple(), tuple()),
        (timeout_s, flags, class) in any::<(Option<u32>, Option<u32>, Option<u32>)>(),
        zone in prop::option::of(1_u16..),
        nat in prop::option::of((any::<u32>(), tuple())),
        name in prop::option::of("[a-z]{1,15}"),
    ) {
        let name = name.as_deref().map(str::as_bytes);
        let given = Expectation {
            master, tuple, mask, timeout_s, flags, class, zone, id: None,
            nat: nat.map(|(direction, tuple)| ExpectNat { direction, tuple }),
            helper: name.and_then(HelperName::from_bytes),
            function: name.and_then(Name::from_bytes),
        };
        let bytes = written(|w| create_expectation(w, Ticket::acked(1), &given, IfExists::Change));
        let raw = Messages::new(&bytes).next().unwrap().unwrap();
        let Ok(Message::Expect { expect, .. }) = decode(&raw) else { panic!() };
        prop_assert_eq!(expect.to_expectation(), given);
    }
}

fn plain() -> Flow {
    Flow::new(Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], ipproto::TCP).with_ports(4000, 80))
}

fn view(flow: &Flow, check: impl FnOnce(&FlowView<'_>, &RequestView<'_>)) {
    let bytes = written(|w| create(w, Ticket::silent(1), flow, IfExists::Fail));
    let raw = Messages::new(&bytes).next().unwrap().unwrap();
    let Ok(Message::Flow { flow: view, .. }) = decode(&raw) else { panic!() };
    check(&view, &RequestView::parse(raw.payload).unwrap());
}

#[test]
fn what_the_kernel_refuses_is_left_out() {
    let tcp = TcpState { state: 10, wscale: Some([15, 0]), flags: None };
    view(&Flow { proto: ProtoState::Tcp(tcp), ..plain() }, |view, _| {
        assert_eq!(view.proto, ProtoState::Tcp(TcpState::default()));
    });
    let sctp = ProtoState::Sctp { state: 9, vtag: [1; 2] };
    view(&Flow { proto: sctp, ..plain() }, |view, _| assert_eq!(view.proto, ProtoState::None));
    let mut labelled = plain();
    labelled.extra_mut().labels = Some(vec![1, 2, 3, 4, 5]);
    view(&labelled, |view, _| assert_eq!(view.labels.unwrap().len(), 16));
}

#[test]
fn a_flow_without_reply_is_answered_by_its_mirror() {
    view(&plain(), |view, _| assert_eq!(view.reply, plain().orig.inverted()));
}

#[test]
fn a_zone_of_one_direction_stays_with_it() {
    let mut flow = Flow { zone: 8, ..plain() };
    flow.extra_mut().zones = [Some(8), None];
    view(&flow, |view, _| {
        assert_eq!((view.zone, view.zones), (None, [Some(8), None]));
        assert_eq!(view.key(), flow.key());
    });
}

#[test]
fn a_translated_end_is_pinned_to_its_port() {
    let mut flow = plain();
    flow.reply = flow.orig.inverted();
    flow.reply.dst[3] = 9;
    flow.status = Status::SRC_NAT | Status::SRC_NAT_DONE;
    view(&flow, |_, request| {
        let range = request.nat[0].unwrap();
        assert_eq!((range.addrs.unwrap()[0][3], range.ports), (9, Some([4000; 2])));
        assert_eq!(request.nat[1], None);
    });
}

/// Defect 19 of the original (`docs/defects.md`): the kernel refuses to change a translation, of either family.
#[test]
fn an_update_says_nothing_of_translations() {
    for (client, router) in [([1; 16], [9; 16]), ([2; 16], [8; 16])] {
        let orig = Tuple::v6(client, [3; 16], 6).with_ports(4000, 80);
        let mut flow = Flow { status: Status::SRC_NAT | Status::SRC_NAT_DONE, ..Flow::new(orig) };
        flow.reply = Tuple::v6([3; 16], router, 6).with_ports(80, 5000);
        let bytes = written(|w| update(w, Ticket::acked(3), &flow));
        let raw = Messages::new(&bytes).next().unwrap().unwrap();
        assert_eq!(RequestView::parse(raw.payload).unwrap().nat, [None, None]);
    }
}

#[test]
fn a_delete_names_tuple_zone_and_id() {
    let key = FlowKey::new(plain().orig, 5);
    let bytes = written(|w| delete(w, Ticket::acked(3), &key, Some(0x0102_0304)));
    let raw = Messages::new(&bytes).next().unwrap().unwrap();
    assert_eq!(raw.header.flags, flag::REQUEST | flag::ACK);
    let Ok(Message::Flow { event: Change::Destroy, flow }) = decode(&raw) else { panic!() };
    assert_eq!((flow.key(), flow.id), (key, Some(0x0102_0304)));
}

#[test]
fn a_silent_request_can_be_made_one_that_is_acknowledged() {
    let mut bytes = written(|w| delete(w, Ticket::silent(3), &plain().key(), None));
    acknowledge(&mut bytes);
    assert_eq!(bytes, written(|w| delete(w, Ticket::acked(3), &plain().key(), None)));
    acknowledge(&mut bytes[..5]);
}

#[test]
fn a_dump_carries_its_selection() {
    let selection = Selection {
        family: FAMILY_IPV6,
        mark: Some((1, 2)),
        status: Some((3, 4)),
        zone: Some(0),
        tuples: None,
    };
    let bytes = written(|w| dump(w, 9, Source::TableZeroingCounters, &selection));
    let raw = Messages::new(&bytes).next().unwrap().unwrap();
    assert_eq!(
        (raw.header.message(), raw.header.flags),
        (ct::GET_CTRZERO, flag::REQUEST | flag::DUMP)
    );
    let (family, attributes) = crate::frame::split_family(raw.payload).unwrap();
    assert_eq!(family, FAMILY_IPV6);
    let kinds: Vec<_> = attributes.map(|attribute| attribute.unwrap().kind).collect();
    assert_eq!(kinds, [cta::MARK, cta::MARK_MASK, cta::STATUS, cta::STATUS_MASK, cta::ZONE]);
}

#[test]
fn labels_outside_the_mask_are_not_written() {
    let key = plain().key();
    let bytes = written(|w| set_labels(w, Ticket::acked(3), &key, &[7, 1, 0, 0], &[5, 0, 0, 2]));
    let raw = Messages::new(&bytes).next().unwrap().unwrap();
    let words = |bytes| crate::view::label_words(bytes).collect::<Vec<_>>();
    let view = FlowView::parse(raw.payload).unwrap();
    assert_eq!((view.key(), words(view.labels.unwrap())), (key, vec![5, 0, 0, 0]));
    let mask = RequestView::parse(raw.payload).unwrap().labels_mask.unwrap();
    assert_eq!(words(mask), [5, 0, 0, 2]);
}

#[test]
fn requests_on_one_writer_make_a_batch() {
    let batch = written(|w| {
        create(w, Ticket::silent(1), &plain(), IfExists::Fail);
        delete(w, Ticket::silent(2), &plain().key(), None);
        get(w, Ticket::silent(3), &plain().key());
        flush(w, Ticket::silent(4), &Selection::default());
        stats(w, Ticket::silent(5));
        stats_per_cpu(w, 6);
        dump_expectations(w, 7, ANY_FAMILY);
        delete_expectation(w, Ticket::silent(8), &plain().key(), None);
        flush_expectations(w, Ticket::silent(9));
    });
    let sequence = Messages::new(&batch).map(|raw| raw.unwrap().header.seq);
    assert!(sequence.eq(1..=9));
}
