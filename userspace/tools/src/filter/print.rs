//! The normal form of a filter, which parses to the same tree.

use super::lexer::is_plain;
use super::value::{PROTOCOLS, STATUS, TIMES};
use crate::print::state::{DCCP, SCTP, TCP};
use ctnetlink::flow::Status;
use ctnetlink::tuple::FAMILY_IPV6;
use engine::interval::{Addresses, Intervals};
use engine::query::{Expr, Op, PeerIs, Quantity, Scope, States, Term, Unit, Which};
use std::fmt::{self, Display, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The normal form.
#[must_use]
pub fn print(expr: &Expr) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = tree(&mut out, expr, false);
    out
}

/// `inner`: not by itself, so that several parts take brackets.
fn tree(out: &mut String, expr: &Expr, inner: bool) -> fmt::Result {
    let (parts, word) = match expr {
        Expr::Everything => return Ok(()),
        Expr::Not(negated) => {
            out.write_str("not ")?;
            return tree(out, negated, true);
        }
        Expr::Term(one) => return term(out, one),
        Expr::And(parts) => (parts, " and "),
        Expr::Or(parts) => (parts, " or "),
    };
    if inner {
        out.push('(');
    }
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            out.write_str(word)?;
        }
        tree(out, part, true)?;
    }
    if inner {
        out.push(')');
    }
    Ok(())
}

fn term(out: &mut String, term: &Term) -> fmt::Result {
    match term {
        Term::Address { scope, which, set } => {
            let place = place(*scope, *which);
            out.write_str(if place.is_empty() { "host" } else { place.trim_end() })?;
            out.push(' ');
            list(out, addresses(set))
        }
        Term::Port { scope, which, set } => {
            write!(out, "{}port ", place(*scope, *which))?;
            numbers(out, set)
        }
        Term::Family(family) => out.write_str(if *family == FAMILY_IPV6 { "ip6" } else { "ip" }),
        Term::Proto(set) => {
            let known = |number| PROTOCOLS.iter().find(|(_, known)| *known == number);
            match set.single().and_then(known) {
                Some((name, _)) => out.write_str(name),
                None => {
                    out.write_str("proto ")?;
                    numbers(out, set)
                }
            }
        }
        Term::State(set) => {
            out.write_str("state ")?;
            list(out, states(*set))
        }
        Term::Status(bits) => status(out, *bits),
        Term::Translated { which, addr, port } => translated(out, *which, addr.as_ref(), *port),
        Term::Zone { scope, set } => {
            out.write_str(match scope {
                Scope::Any | Scope::Nat => "zone ",
                Scope::Orig => "orig zone ",
                Scope::Reply => "reply zone ",
            })?;
            numbers(out, set)
        }
        Term::Mark(pairs) => {
            out.write_str("mark ")?;
            list(out, pairs.iter().map(|pair| Mark(*pair)))
        }
        Term::Secmark(set) => {
            out.write_str("secmark ")?;
            numbers(out, set)
        }
        Term::Id(id) => write!(out, "id {id}"),
        Term::Helper(helper) => write!(out, "helper {}", Quoted(helper.as_str())),
        Term::Label(bits) => {
            out.write_str("label ")?;
            list(out, bits.iter())
        }
        Term::Class(name) => write!(out, "class {}", Quoted(name)),
        Term::Iif(name) => write!(out, "iif {}", Quoted(name)),
        Term::Oif(name) => write!(out, "oif {}", Quoted(name)),
        Term::Peer(name, is) => {
            let word = PeerIs::ALL.iter().find(|(_, known)| known == is).map_or("", |(w, _)| *w);
            write!(out, "peer {} {word}", Quoted(name))
        }
        Term::Quantity(quantity) => measured(out, *quantity),
    }
}

/// A direction and an end, with a blank behind.
const fn place(scope: Scope, which: Which) -> &'static str {
    match (scope, which) {
        (Scope::Any, Which::Any) => "",
        // No filter text has this form: one end of both directions.
        (Scope::Any | Scope::Orig, Which::Src) => "src ",
        (Scope::Any | Scope::Orig, Which::Dst) => "dst ",
        (Scope::Orig, Which::Any) => "orig ",
        (Scope::Reply, Which::Any) => "reply ",
        (Scope::Reply, Which::Src) => "reply src ",
        (Scope::Reply, Which::Dst) => "reply dst ",
        (Scope::Nat, Which::Any) => "nat ",
        (Scope::Nat, Which::Src) => "nat src ",
        (Scope::Nat, Which::Dst) => "nat dst ",
    }
}

/// Items with commas between them; none of them is `{}`.
fn list(out: &mut String, items: impl IntoIterator<Item = impl Display>) -> fmt::Result {
    let mut any = false;
    for item in items {
        if any {
            out.push(',');
        }
        write!(out, "{item}")?;
        any = true;
    }
    if any { Ok(()) } else { out.write_str("{}") }
}

fn numbers<T: Copy + Ord + Display>(out: &mut String, set: &Intervals<T>) -> fmt::Result {
    list(out, set.as_slice().iter().map(|(first, last)| Span(*first, *last)))
}

struct Span<T>(T, T);

impl<T: Ord + Display> Display for Span<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(first, last) = self;
        if first == last { first.fmt(f) } else { write!(f, "{first}-{last}") }
    }
}

fn addresses(set: &Addresses) -> impl Iterator<Item = String> {
    let v4 = set.v4.as_slice().iter().map(|(first, last)| {
        let len = prefix_len((*first).into(), (*last).into(), 32);
        interval(&Ipv4Addr::from_bits(*first), &Ipv4Addr::from_bits(*last), len)
    });
    let v6 = set.v6.as_slice().iter().map(|(first, last)| {
        let len = prefix_len(*first, *last, 128);
        interval(&Ipv6Addr::from_bits(*first), &Ipv6Addr::from_bits(*last), len)
    });
    v4.chain(v6)
}

fn interval<A: Display + PartialEq>(first: &A, last: &A, len: Option<u32>) -> String {
    match len {
        _ if first == last => first.to_string(),
        Some(len) => format!("{first}/{len}"),
        None => format!("{first}-{last}"),
    }
}

/// The length of the prefix that is this interval, if one is.
fn prefix_len(first: u128, last: u128, width: u32) -> Option<u32> {
    let rest = first ^ last;
    let is_prefix = rest & rest.wrapping_add(1) == 0 && first & rest == 0;
    is_prefix.then(|| width - (u128::BITS - rest.leading_zeros()))
}

/// Names of states. One name stands for all protocols that have it, and no set says less.
fn states(set: States) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for (table, bits) in [(&TCP, set.tcp), (&SCTP, set.sctp), (&DCCP, set.dccp)] {
        let named = table.iter().enumerate().filter(|(at, _)| *at > 0 && bits >> at & 1 == 1);
        for name in named.map(|(_, name)| name.to_lowercase()) {
            if !out.contains(&name) {
                out.push(name);
            }
        }
    }
    out
}

fn status(out: &mut String, bits: Status) -> fmt::Result {
    const WORDS: [(&str, Status); 5] = [
        ("assured", Status::ASSURED),
        ("replied", Status::SEEN_REPLY),
        ("offload", Status::OFFLOAD),
        ("hwoffload", Status::HW_OFFLOAD),
        ("expected", Status::EXPECTED),
    ];
    if let Some((word, _)) = WORDS.iter().find(|(_, bit)| *bit == bits) {
        return out.write_str(word);
    }
    out.write_str("status ")?;
    list(out, STATUS.iter().filter(|(_, bit)| bits.contains(*bit)).map(|(name, _)| name))
}

fn translated(
    out: &mut String,
    which: Which,
    addr: Option<&std::net::IpAddr>,
    port: Option<u16>,
) -> fmt::Result {
    out.write_str(match which {
        Which::Src => "snat",
        Which::Dst => "dnat",
        Which::Any => "anynat",
    })?;
    match (addr, port) {
        (None, _) => Ok(()),
        (Some(addr), None) => write!(out, " {addr}"),
        (Some(addr), Some(port)) if addr.is_ipv6() => write!(out, " [{addr}]:{port}"),
        (Some(addr), Some(port)) => write!(out, " {addr}:{port}"),
    }
}

struct Mark((u32, u32));

impl Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            (value, u32::MAX) => write!(f, "{value:#x}"),
            (value, mask) => write!(f, "{value:#x}/{mask:#x}"),
        }
    }
}

/// A name, between quotes if it would not be one word.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_word = ["and", "or", "not"].iter().any(|word| self.0.eq_ignore_ascii_case(word));
        if !self.0.is_empty()
            && !is_word
            && !self.0.starts_with('@')
            && self.0.chars().all(is_plain)
        {
            return f.write_str(self.0);
        }
        f.write_char('"')?;
        for letter in self.0.chars() {
            if matches!(letter, '"' | '\\') {
                f.write_char('\\')?;
            }
            f.write_char(letter)?;
        }
        f.write_char('"')
    }
}

fn measured(out: &mut String, quantity: Quantity) -> fmt::Result {
    let Quantity { measure, scope, op, value } = quantity;
    out.write_str(match scope {
        Scope::Any | Scope::Nat => "",
        Scope::Orig => "orig ",
        Scope::Reply => "reply ",
    })?;
    let sign = Op::ALL.iter().find(|(_, known)| *known == op).map_or("", |(sign, _)| *sign);
    let word = engine::query::Measure::ALL.iter().find(|(_, known)| *known == measure);
    write!(out, "{} {sign} ", word.map_or("", |(word, _)| *word))?;
    match measure.unit() {
        Unit::Number => write!(out, "{value}"),
        Unit::Time => {
            let exact = TIMES.iter().find(|(_, unit)| value != 0 && value.is_multiple_of(*unit));
            let (name, unit) = exact.unwrap_or(&("ms", 1));
            write!(out, "{}{name}", value / unit)
        }
    }
}
