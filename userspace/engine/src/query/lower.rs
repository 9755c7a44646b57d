//! The part of a filter that the kernel can test while it dumps its table.
//!
//! Only necessary parts of the filter go there, so whatever a kernel passes over, or does not know, costs time and
//! nothing else: the whole program runs again over what comes.

use super::{Expr, Scope, Term, Which};
use core::net::IpAddr;
use ctnetlink::Tuple;
use ctnetlink::flow::Status;
use ctnetlink::request::{ANY_FAMILY, Selection};
use ctnetlink::tuple::{FAMILY_IPV4, ipproto};
use ctnetlink::uapi::filter::flag;

/// The selection that every flow of the filter is in.
#[must_use]
pub fn lower(expr: &Expr) -> Selection {
    let mut out = Selection::default();
    let mut tuples = [(Tuple::UNKNOWN, 0); 2];
    let parts = match expr {
        Expr::And(parts) => parts.as_slice(),
        one => core::slice::from_ref(one),
    };
    for part in parts {
        match part {
            Expr::Term(term) => necessary(term, &mut out, &mut tuples),
            // The only negation that a selection can say: that a bit is not set.
            Expr::Not(inner) => {
                if let Expr::Term(Term::Status(bits)) = &**inner {
                    status(&mut out, Status::empty(), *bits);
                }
            }
            _ => {}
        }
    }
    finish(out, tuples)
}

fn necessary(term: &Term, out: &mut Selection, tuples: &mut [(Tuple, u32); 2]) {
    match term {
        Term::Family(family) if out.family == ANY_FAMILY => out.family = *family,
        Term::Mark(pairs) => match pairs[..] {
            [(value, mask)] if out.mark.is_none() => out.mark = Some((value, mask)),
            _ => {}
        },
        Term::Status(bits) if bits.bits().count_ones() == 1 => status(out, *bits, *bits),
        // A dump for zone 0 is a dump for every zone.
        Term::Zone { scope: Scope::Any, set } => match set.single() {
            Some(zone) if zone != 0 && out.zone.is_none() => out.zone = Some(zone),
            _ => {}
        },
        Term::Proto(set) => {
            if let Some(proto) = set.single().filter(|_| tuples[0].1 & flag::PROTO_NUM == 0) {
                tuples[0].0.proto = proto;
                tuples[0].1 |= flag::PROTO_NUM;
            }
        }
        Term::Address { scope: scope @ (Scope::Orig | Scope::Reply), which, set } => {
            let (tuple, bits) = &mut tuples[usize::from(*scope == Scope::Reply)];
            // The kernel picks all IPv6 addresses but the one asked for: the comparison in
            // `ctnetlink_filter_match_tuple` is turned around (seen on 6.18).
            let Some(IpAddr::V4(address)) = set.single() else { return };
            let (place, bit) = match which {
                Which::Src => (&mut tuple.src, flag::IP_SRC),
                Which::Dst => (&mut tuple.dst, flag::IP_DST),
                Which::Any => return,
            };
            if *bits & bit == 0 {
                place[..4].copy_from_slice(&address.octets());
                *bits |= bit;
            }
        }
        Term::Port { scope: scope @ (Scope::Orig | Scope::Reply), which, set } => {
            let (tuple, bits) = &mut tuples[usize::from(*scope == Scope::Reply)];
            let Some(port) = set.single() else { return };
            let (at, bit) = match which {
                Which::Src => (0, flag::PROTO_SRC_PORT),
                Which::Dst => (2, flag::PROTO_DST_PORT),
                Which::Any => return,
            };
            if *bits & bit == 0 {
                tuple.l4[at..at + 2].copy_from_slice(&port.to_be_bytes());
                *bits |= bit;
            }
        }
        _ => {}
    }
}

/// Bits of `mask` that are as in `value`.
fn status(out: &mut Selection, value: Status, mask: Status) {
    let (values, masks) = out.status.unwrap_or_default();
    // What contradicts is left to the program.
    let mask = mask.bits() & !masks;
    out.status = Some((values | value.bits() & mask, masks | mask));
}

/// Takes out what the kernel would refuse, or would not compare.
fn finish(mut out: Selection, mut tuples: [(Tuple, u32); 2]) -> Selection {
    const ADDRESSES: u32 = flag::IP_SRC | flag::IP_DST;
    const PORTS: u32 = flag::PROTO_SRC_PORT | flag::PROTO_DST_PORT;
    if tuples.iter().any(|(_, bits)| bits & ADDRESSES != 0) {
        if out.family == ANY_FAMILY {
            out.family = FAMILY_IPV4;
        } else if out.family != FAMILY_IPV4 {
            tuples.iter_mut().for_each(|(_, bits)| *bits &= !ADDRESSES);
        }
    }
    let proto = tuples[0].0.proto;
    let named = tuples[0].1 & flag::PROTO_NUM != 0;
    // Kernels whose DCCP tracker is gone do not compare its ports.
    let compares = named && Tuple { proto, ..Tuple::UNKNOWN }.has_ports() && proto != ipproto::DCCP;
    for (tuple, bits) in &mut tuples {
        tuple.family = out.family;
        if !compares {
            *bits &= !PORTS;
        }
        if *bits & PORTS != 0 {
            tuple.proto = proto;
            *bits |= flag::PROTO_NUM;
        }
    }
    let used = tuples.iter().any(|(_, bits)| *bits != 0);
    // The kernel compares tuples only in a request that names the family; a protocol alone is not worth two dumps.
    out.tuples = (used && out.family != ANY_FAMILY).then_some(tuples);
    out
}
