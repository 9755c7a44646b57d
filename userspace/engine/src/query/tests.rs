use super::arbitrary::{self, HELPERS, PORTS, V4, V6};
use super::*;
use crate::flows::table::{FlowTable, Notes};
use crate::interval::{Addresses, Intervals};
use common::Instant;
use core::net::IpAddr;
use ctnetlink::Flow;
use ctnetlink::Tuple;
use ctnetlink::flow::{Counters, HelperName, Known, ProtoState, Status, TcpState, Timestamps};
use ctnetlink::request::Selection;
use ctnetlink::tuple::ipproto;
use ctnetlink::uapi::filter::flag;
use proptest::prelude::*;
use proptest::sample::select;
use std::boxed::Box;
use std::vec;
use std::vec::Vec;

const NOW_NS: u64 = 1_700_000_000_000_000_000;

/// Three values over the tree as it is written.
fn naive(expr: &Expr, subject: &impl Subject) -> Option<bool> {
    match expr {
        Expr::Everything => Some(true),
        Expr::Not(inner) => naive(inner, subject).map(|value| !value),
        Expr::Term(term) => term.holds(subject),
        Expr::And(parts) => {
            let values: Vec<_> = parts.iter().map(|part| naive(part, subject)).collect();
            let unknown = values.contains(&None);
            let all = if unknown { None } else { Some(true) };
            if values.contains(&Some(false)) { Some(false) } else { all }
        }
        Expr::Or(parts) => {
            let values: Vec<_> = parts.iter().map(|part| naive(part, subject)).collect();
            let none = if values.contains(&None) { None } else { Some(false) };
            if values.contains(&Some(true)) { Some(true) } else { none }
        }
    }
}

fn any_tuple() -> impl Strategy<Value = Tuple> {
    let proto = prop_oneof![
        4 => select(vec![ipproto::TCP, ipproto::UDP, ipproto::SCTP, ipproto::DCCP]),
        1 => any::<u8>()
    ];
    let v4 = (select(&V4[..]), select(&V4[..]));
    let v6 = (select(&V6[..]), select(&V6[..]));
    let ports = (select(&PORTS[..]), select(&PORTS[..]));
    (proto, v4, v6, ports, 0..4_u8).prop_map(|(proto, v4, v6, ports, kind)| {
        let tuple = match kind {
            0 => Tuple::v6(v6.0.to_be_bytes(), v6.1.to_be_bytes(), proto),
            _ => Tuple::v4(v4.0.to_be_bytes(), v4.1.to_be_bytes(), proto),
        };
        tuple.with_ports(ports.0, ports.1)
    })
}

/// A flow without some of the fields that a source may leave out.
fn any_flow() -> impl Strategy<Value = Flow> {
    let numbers = (any::<u16>(), any::<u32>(), 0..4_u32, select(vec![0_u16, 5, 9]), 0..4_u8);
    let zones = select(vec![[None; 2], [Some(5), None], [None, Some(5)]]);
    let rare = (zones, any::<Option<u128>>(), any::<Option<[Option<u64>; 2]>>(), any::<bool>());
    (any_tuple(), any_tuple(), numbers, rare, any::<(bool, u8)>()).prop_map(
        |(orig, reply, (known, status, mark, zone, replied), rare, (has_state, state))| {
            let reply = match replied {
                0 => Tuple::UNKNOWN,
                // Conntrack translates within a family.
                1 if reply.family == orig.family => reply,
                _ => orig.inverted(),
            };
            let known = Known::from_bits_truncate(known);
            let (timeout_s, id) = (u32::from(state), 7);
            let status = Status::from_bits_retain(status);
            let mut flow =
                Flow { reply, zone, known, status, mark, id, timeout_s, ..Flow::new(orig) };
            let state = state % 12;
            flow.proto = match orig.proto {
                ipproto::TCP if has_state => {
                    ProtoState::Tcp(TcpState { state, ..TcpState::default() })
                }
                ipproto::SCTP if has_state => ProtoState::Sctp { state, vtag: [0; 2] },
                ipproto::DCCP if has_state => ProtoState::Dccp { state, role: 0 },
                _ => ProtoState::None,
            };
            let (zones, labels, counters, helper) = rare;
            if zones != [None; 2] {
                flow.zone = zones[0].unwrap_or(0);
                flow.extra_mut().zones = zones;
            }
            if let Some(labels) = labels {
                let words = (0..4).map(|at| (labels >> (32 * at)) as u32).collect();
                flow.extra_mut().labels = Some(words);
            }
            if let Some(counters) = counters {
                flow.extra_mut().counters = counters
                    .map(|bytes| bytes.map(|bytes| Counters { packets: bytes / 100, bytes }));
                let start_ns = counters[0].unwrap_or_default() % (2 * NOW_NS);
                flow.extra_mut().timestamps = Some(Timestamps { start_ns, stop_ns: 0 });
            }
            if helper {
                flow.extra_mut().helper = HelperName::from_bytes(HELPERS[0].as_bytes());
            }
            flow
        },
    )
}

/// Whether a kernel with this selection would report the flow.
fn selects(selection: &Selection, flow: &Flow) -> bool {
    let masked = |wanted: Option<(u32, u32)>, has: u32| {
        wanted.is_none_or(|(value, mask)| has & mask == value)
    };
    let own = flow.extra.as_deref().map_or([None; 2], |extra| extra.zones);
    let zone = own[0].or(own[1]).unwrap_or(flow.zone);
    let part = |(wanted, bits): &(Tuple, u32), has: &Tuple| {
        let is = |bit, same| bits & bit == 0 || same;
        is(flag::IP_SRC, wanted.src == has.src)
            && is(flag::IP_DST, wanted.dst == has.dst)
            && is(flag::PROTO_NUM, wanted.proto == has.proto)
            && is(flag::PROTO_SRC_PORT, wanted.l4[..2] == has.l4[..2])
            && is(flag::PROTO_DST_PORT, wanted.l4[2..] == has.l4[2..])
    };
    (selection.family == 0 || selection.family == flow.orig.family)
        && masked(selection.mark, flow.mark)
        && masked(selection.status, flow.status.bits())
        && selection.zone.is_none_or(|wanted| wanted == zone)
        && selection
            .tuples
            .is_none_or(|[orig, reply]| part(&orig, &flow.orig) && part(&reply, &flow.reply))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn a_program_says_what_the_tree_says(expr in arbitrary::expr(), flow in any_flow()) {
        let read = Read { flow: &flow, now_ns: NOW_NS };
        let program = Program::new(&expr).unwrap();
        prop_assert_eq!(program.matches(&read), naive(&expr, &read) == Some(true));
        // And the other way round: what is not known selects nothing either way.
        let negated = Program::new(&Expr::Not(Box::new(expr.clone()))).unwrap();
        prop_assert_eq!(negated.matches(&read), naive(&expr, &read) == Some(false));
    }

    #[test]
    fn a_row_is_what_the_flow_is(term in arbitrary::term(), flow in any_flow()) {
        let volatile = matches!(term, Term::Quantity(_));
        let mut table = FlowTable::new(4, 1);
        let slot = table.insert(flow.clone(), Notes::default()).unwrap();
        let entry = table.at(slot).unwrap();
        let row = Instance { entry, now: Instant(0) };
        if !volatile {
            prop_assert_eq!(term.holds(&row), term.holds(&Read { flow: &flow, now_ns: NOW_NS }));
        }
    }

    /// What the kernel is asked to pick holds everything that is wanted.
    #[test]
    fn a_selection_loses_nothing(terms in proptest::collection::vec(arbitrary::term(), 1..5), flow in any_flow()) {
        let flow = Flow { known: Known::all(), ..flow };
        let mut parts: Vec<_> = terms.into_iter().map(Expr::Term).collect();
        let expr = if parts.len() == 1 { parts.remove(0) } else { Expr::And(parts) };
        let selection = lower(&expr);
        let read = Read { flow: &flow, now_ns: NOW_NS };
        if Program::new(&expr).unwrap().matches(&read) {
            prop_assert!(selects(&selection, &flow), "{:?}", selection);
        }
    }
}

fn natted() -> Flow {
    let orig = Tuple::v4([10, 0, 0, 1], [192, 0, 2, 1], ipproto::TCP).with_ports(4000, 443);
    let reply = Tuple::v4([10, 0, 0, 9], [203, 0, 113, 7], ipproto::TCP).with_ports(8443, 61000);
    let status = Status::SRC_NAT_DONE | Status::DST_NAT_DONE | Status::SEEN_REPLY;
    Flow { reply, status, known: Known::STATUS | Known::ID, ..Flow::new(orig) }
}

fn address(scope: Scope, which: Which, text: &str) -> Term {
    let set = match text.parse().unwrap() {
        IpAddr::V4(one) => {
            let v4 = Intervals::new([(one.to_bits(), one.to_bits())]);
            Addresses { v4, ..Addresses::default() }
        }
        IpAddr::V6(one) => {
            let v6 = Intervals::new([(one.to_bits(), one.to_bits())]);
            Addresses { v6, ..Addresses::default() }
        }
    };
    Term::Address { scope, which, set }
}

#[test]
fn each_side_of_a_translation_has_its_addresses() {
    let flow = natted();
    let read = Read { flow: &flow, now_ns: NOW_NS };
    let holds = |scope, which, text| address(scope, which, text).holds(&read) == Some(true);
    // (direction, end, address that is there, one that is not)
    for (scope, which, there, elsewhere) in [
        (Scope::Orig, Which::Src, "10.0.0.1", "203.0.113.7"),
        (Scope::Orig, Which::Dst, "192.0.2.1", "10.0.0.9"),
        (Scope::Reply, Which::Src, "10.0.0.9", "192.0.2.1"),
        (Scope::Reply, Which::Dst, "203.0.113.7", "10.0.0.1"),
        (Scope::Nat, Which::Src, "203.0.113.7", "10.0.0.1"),
        (Scope::Nat, Which::Dst, "10.0.0.9", "192.0.2.1"),
        (Scope::Nat, Which::Any, "10.0.0.9", "192.0.2.1"),
    ] {
        assert!(holds(scope, which, there), "{scope:?} {which:?} {there}");
        assert!(!holds(scope, which, elsewhere), "{scope:?} {which:?} {elsewhere}");
    }
    for anywhere in ["10.0.0.1", "192.0.2.1", "10.0.0.9", "203.0.113.7"] {
        assert!(holds(Scope::Any, Which::Any, anywhere), "{anywhere}");
    }
    assert!(!holds(Scope::Any, Which::Any, "::1"));
}

#[test]
fn what_is_not_told_is_unknown_and_so_is_its_negation() {
    let told = natted();
    let silent = Flow { known: Known::empty(), reply: Tuple::UNKNOWN, ..natted() };
    let read = Read { flow: &silent, now_ns: NOW_NS };
    let whole = Read { flow: &told, now_ns: NOW_NS };
    let bytes = Quantity { measure: Measure::Bytes, scope: Scope::Any, op: Op::Lt, value: 9 };
    for term in [
        address(Scope::Reply, Which::Src, "10.0.0.9"),
        address(Scope::Any, Which::Any, "10.0.0.9"),
        Term::Translated { which: Which::Src, addr: None, port: None },
        Term::Status(Status::SEEN_REPLY),
        Term::Mark(vec![(0, u32::MAX)]),
        Term::Id(0),
        Term::Helper(HelperName::from_bytes(b"ftp").unwrap()),
        Term::Label(vec![1]),
        Term::State(States { tcp: 1 << 3, ..States::default() }),
        Term::Quantity(bytes),
    ] {
        assert_eq!(term.holds(&read), None, "{term:?}");
        let negated = Program::new(&Expr::Not(Box::new(Expr::Term(term.clone())))).unwrap();
        assert!(!negated.matches(&read), "{term:?}");
        let knows = !matches!(term, Term::State(_) | Term::Quantity(_));
        assert_eq!(term.holds(&whole).is_some(), knows, "{term:?}");
    }
    // What is known of one end is enough if it is the one that is looked for.
    assert_eq!(address(Scope::Any, Which::Any, "10.0.0.1").holds(&read), Some(true));
}

#[test]
fn a_flow_that_was_only_read_is_of_unknown_age_but_not_younger_than_known() {
    let flow = natted();
    let mut table = FlowTable::new(4, 1);
    let slot = table.insert(flow, Notes { since_s: 100, ..Notes::default() }).unwrap();
    let now = Instant(110 * 1_000_000_000);
    let row = Instance { entry: table.at(slot).unwrap(), now };
    let age = |op, seconds: u64| {
        let value = seconds * 1000;
        Term::Quantity(Quantity { measure: Measure::Age, scope: Scope::Any, op, value }).holds(&row)
    };
    assert_eq!([age(Op::Gt, 9), age(Op::Ge, 10)], [Some(true); 2]);
    assert_eq!([age(Op::Lt, 10), age(Op::Le, 9), age(Op::Eq, 9)], [Some(false); 3]);
    assert_eq!(age(Op::Ne, 9), Some(true));
    assert_eq!([age(Op::Gt, 10), age(Op::Lt, 11), age(Op::Eq, 10), age(Op::Ne, 10)], [None; 4]);
}

#[test]
fn trees_that_are_too_large_are_refused() {
    let mut deep = Expr::Term(Term::Id(1));
    for _ in 0..200 {
        deep = Expr::Not(Box::new(deep));
    }
    assert_eq!(Program::new(&deep).unwrap_err(), TooLarge);
    let wide = |terms| Expr::Or(vec![Expr::Term(Term::Id(1)); terms]);
    assert!(Program::new(&wide(TERMS_MAX)).is_ok());
    assert_eq!(Program::new(&wide(TERMS_MAX + 1)).unwrap_err(), TooLarge);
}

#[test]
fn what_can_go_to_the_kernel_does() {
    let zone = Term::Zone { scope: Scope::Any, set: Intervals::new([(5, 5)]) };
    let tcp = Term::Proto(Intervals::new([(6, 6)]));
    let port =
        Term::Port { scope: Scope::Orig, which: Which::Dst, set: Intervals::new([(443, 443)]) };
    let parts = [
        zone,
        tcp,
        port,
        Term::Mark(vec![(1, 3)]),
        Term::Status(Status::ASSURED),
        address(Scope::Orig, Which::Src, "10.0.0.1"),
    ];
    let mut all: Vec<_> = parts.into_iter().map(Expr::Term).collect();
    all.push(Expr::Not(Box::new(Expr::Term(Term::Status(Status::SEEN_REPLY)))));
    let selection = lower(&Expr::And(all.clone()));
    assert_eq!((selection.family, selection.zone, selection.mark), (2, Some(5), Some((1, 3))));
    assert_eq!(selection.status, Some((4, 6)));
    let [(tuple, bits), reply] = selection.tuples.unwrap();
    assert_eq!((tuple.ports(), bits & flag::PROTO_DST_PORT), ((0, 443), flag::PROTO_DST_PORT));
    assert_eq!(reply.1, 0);
    // None of several alternatives is necessary.
    assert_eq!(lower(&Expr::Or(all)), Selection::default());
}
