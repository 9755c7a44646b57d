//! Generators of filters, as a parser could make them: for property tests here and in the floors above.
//!
//! Values come from small pools, so that filters and flows often meet.

use super::{Expr, Measure, Op, PeerIs, Quantity, Scope, States, Term, Which};
use crate::interval::{Addresses, Intervals};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use ctnetlink::flow::{HelperName, Status};
use ctnetlink::tuple::{FAMILY_IPV4, FAMILY_IPV6};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any};
use proptest::prop_oneof;
use proptest::sample::select;

/// Addresses of the pool: IPv4 ones.
pub const V4: [u32; 4] = [0x0a00_0001, 0x0a00_0002, 0x0a00_00ff, 0xc000_0201];
/// IPv6 ones.
pub const V6: [u128; 2] = [1, 0x2001_0db8 << 96 | 5];
/// Ports of the pool.
pub const PORTS: [u16; 4] = [0, 53, 443, 65535];
/// Helpers of the pool.
pub const HELPERS: [&str; 2] = ["ftp", "sip-5060"];

fn scope() -> impl Strategy<Value = Scope> {
    select(&[Scope::Any, Scope::Orig, Scope::Reply, Scope::Nat][..])
}

/// Without what no parser makes: one end of both directions.
fn place() -> impl Strategy<Value = (Scope, Which)> {
    let which = select(&[Which::Any, Which::Src, Which::Dst][..]);
    (scope(), which).prop_map(|(scope, which)| match (scope, which) {
        (Scope::Any, Which::Src | Which::Dst) => (Scope::Orig, which),
        place => place,
    })
}

fn set<T: Copy + Ord + core::fmt::Debug>(
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = Intervals<T>> {
    let pair = (option::of(Just(())), value);
    vec(pair, 0..5).prop_map(|values| {
        // Two neighbours make an interval, others stand alone.
        let mut out: Vec<(T, T)> = Vec::new();
        for (joins, value) in values {
            match out.last_mut().filter(|_| joins.is_some()) {
                Some(last) => *last = (last.0.min(value), last.1.max(value)),
                None => out.push((value, value)),
            }
        }
        Intervals::new(out)
    })
}

fn addresses() -> impl Strategy<Value = Addresses> {
    let v4 = prop_oneof![3 => select(&V4[..]), 1 => any::<u32>()];
    let v6 = prop_oneof![3 => select(&V6[..]), 1 => any::<u128>()];
    let prefixes = vec((select(&V4[..]), 0..=32_u32), 0..2).prop_map(|prefixes| {
        Intervals::new(prefixes.into_iter().map(|(base, len)| {
            let rest = u32::MAX.checked_shr(len).unwrap_or(0);
            (base & !rest, base | rest)
        }))
    });
    (prop_oneof![set(v4), prefixes], set(v6)).prop_map(|(v4, v6)| Addresses { v4, v6 })
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![3 => select(&PORTS[..]), 1 => any::<u16>()]
}

fn translated() -> impl Strategy<Value = Term> {
    let v4 = select(&V4[..]).prop_map(|v4| IpAddr::from(Ipv4Addr::from_bits(v4)));
    let v6 = select(&V6[..]).prop_map(|v6| IpAddr::from(Ipv6Addr::from_bits(v6)));
    let end = option::of((prop_oneof![v4, v6], option::of(port())));
    let which = select(&[Which::Any, Which::Src, Which::Dst][..]);
    (which, end).prop_map(|(which, end)| Term::Translated {
        which,
        addr: end.map(|(addr, _)| addr),
        port: end.and_then(|(_, port)| port),
    })
}

fn quantity() -> impl Strategy<Value = Term> {
    let measure = select(&Measure::ALL[..]);
    let scope = select(&[Scope::Any, Scope::Orig, Scope::Reply][..]);
    let value = prop_oneof![any::<u64>(), 0..5000_u64, (0..9_u64).prop_map(|n| n * 86_400_000)];
    (measure, scope, select(&Op::ALL[..]), value).prop_map(
        |((_, measure), scope, (_, op), value)| {
            Term::Quantity(Quantity { measure, scope, op, value })
        },
    )
}

/// States that have a name in common, as a parser takes them.
fn states() -> impl Strategy<Value = States> {
    let established = States { tcp: 1 << 3, sctp: 1 << 4, dccp: 0 };
    let one = select(alloc::vec![
        established,
        States { tcp: 1 << 1, ..States::default() },
        States { sctp: 1 << 2, ..States::default() },
        States { dccp: 1 << 4, ..States::default() },
    ]);
    vec(one, 1..3).prop_map(|all| all.into_iter().fold(States::default(), States::union))
}

/// Any text as a name, but for what would not be a line.
fn name() -> impl Strategy<Value = alloc::string::String> {
    proptest::string::string_regex("[ -~äß\n]{0,12}").expect("a constant")
}

/// Any term.
pub fn term() -> impl Strategy<Value = Term> {
    let helper = prop_oneof![
        select(&HELPERS[..]).prop_map(|name| HelperName::from_bytes(name.as_bytes())),
        proptest::string::string_regex("[!-~]{1,15}")
            .expect("a constant")
            .prop_map(|name| HelperName::from_bytes(name.as_bytes())),
    ];
    let bits = vec(0..16_u32, 1..4).prop_map(|bits| {
        Status::from_bits_retain(bits.into_iter().fold(0, |all, bit| all | 1 << bit))
    });
    let pair = (any::<u32>(), prop_oneof![Just(u32::MAX), any::<u32>(), Just(3)]);
    let pair = pair.prop_map(|(value, mask)| (value & mask & 3, mask));
    let zones = prop_oneof![Just(0_u16), Just(5), any::<u16>()];
    let whose = select(&[Scope::Any, Scope::Orig, Scope::Reply][..]);
    let labels = vec(0..128_u8, 1..4).prop_map(|mut bits| {
        bits.sort_unstable();
        bits.dedup();
        Term::Label(bits)
    });
    let first = prop_oneof![
        (place(), addresses()).prop_map(|((scope, which), set)| Term::Address {
            scope,
            which,
            set
        }),
        (place(), set(port())).prop_map(|((scope, which), set)| Term::Port { scope, which, set }),
        select(&[FAMILY_IPV4, FAMILY_IPV6][..]).prop_map(Term::Family),
        set(prop_oneof![Just(6_u8), Just(17), any::<u8>()]).prop_map(Term::Proto),
        states().prop_map(Term::State),
        bits.prop_map(Term::Status),
        translated(),
        (whose, set(zones)).prop_map(|(scope, set)| Term::Zone { scope, set }),
    ];
    let second = prop_oneof![
        vec(pair, 1..3).prop_map(Term::Mark),
        set(any::<u32>()).prop_map(Term::Secmark),
        prop_oneof![Just(7_u32), any::<u32>()].prop_map(Term::Id),
        helper.prop_map(|name| Term::Helper(name.expect("short names are names"))),
        labels,
        name().prop_map(Term::Class),
        name().prop_map(Term::Iif),
        name().prop_map(Term::Oif),
        (name(), select(&PeerIs::ALL[..])).prop_map(|(name, (_, is))| Term::Peer(name, is)),
        quantity(),
    ];
    prop_oneof![2 => first, 1 => second]
}

/// Any filter, in the form that parsers give it.
pub fn expr() -> impl Strategy<Value = Expr> {
    let leaf = term().prop_map(Expr::Term);
    let tree = leaf.prop_recursive(5, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| Expr::Not(Box::new(inner))),
            vec(inner.clone(), 2..4).prop_map(and),
            vec(inner, 2..4).prop_map(or),
        ]
    });
    prop_oneof![1 => Just(Expr::Everything), 40 => tree]
}

/// `and` without an `and` inside.
fn and(parts: Vec<Expr>) -> Expr {
    Expr::And(parts.into_iter().fold(Vec::new(), |mut out, part| {
        match part {
            Expr::And(inner) => out.extend(inner),
            part => out.push(part),
        }
        out
    }))
}

/// `or` without an `or` inside.
fn or(parts: Vec<Expr>) -> Expr {
    Expr::Or(parts.into_iter().fold(Vec::new(), |mut out, part| {
        match part {
            Expr::Or(inner) => out.extend(inner),
            part => out.push(part),
        }
        out
    }))
}
