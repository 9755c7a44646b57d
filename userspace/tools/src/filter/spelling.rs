//! The other spelling: the options by which `conntrack` selects flows, joined by and.

use super::error::{Error, Kind};
use super::parser::Parsed;
use super::value;
use crate::conf::diagnostic::Span;
use crate::conntrack::command::{self, Command};
use crate::conntrack::definition::{OPTIONS, Opt};
use crate::conntrack::protocol::Which as Of;
use crate::conntrack::values::{Addr, Address};
use crate::print::state::{DCCP, SCTP, TCP};
use ctnetlink::Tuple;
use ctnetlink::flow::Status;
use ctnetlink::tuple::{FAMILY_IPV4, FAMILY_IPV6, ipproto};
use engine::interval::{Addresses, Intervals};
use engine::query::{Expr, Scope, Term, Which};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Options that select. Those of protocols come on top.
const SELECTING: [Opt; 17] = [
    Opt::OrigSrc,
    Opt::OrigDst,
    Opt::ReplySrc,
    Opt::ReplyDst,
    Opt::MaskSrc,
    Opt::MaskDst,
    Opt::Proto,
    Opt::Status,
    Opt::Mark,
    Opt::Id,
    Opt::Secmark,
    Opt::Family,
    Opt::SrcNat,
    Opt::DstNat,
    Opt::AnyNat,
    Opt::Zone,
    Opt::Label,
];
const ZONES: [Opt; 2] = [Opt::OrigZone, Opt::ReplyZone];

/// Understands options.
pub(super) fn parse(text: &str) -> Result<Parsed, Error> {
    let span = Span { start: 0, end: text.len() };
    let failed = |why: String| Error::new(Kind::Option(why), span);
    let mut words = vec!["-L"];
    words.extend(text.split_whitespace());
    let command = command::parse(&words).map_err(|failure| failed(failure.to_string()))?;
    if let Some(word) = &command.stray {
        let at = text.split_whitespace().find(|found| found == word);
        let start = at.map_or(0, |found| found.as_ptr() as usize - text.as_ptr() as usize);
        let why = format!("`{word}` is neither an option of conntrack nor the value of one");
        let span = Span { start, end: start + word.len() };
        return Err(Error::new(Kind::Option(why), span));
    }
    for option in &OPTIONS {
        let selects = SELECTING.contains(&option.opt) || ZONES.contains(&option.opt);
        if command.has(option.opt) && !selects {
            let name = option.long.first().unwrap_or(&"");
            return Err(failed(format!("`--{name}` selects no flows")));
        }
    }
    let terms = terms(&command).map_err(failed)?;
    let spans = vec![span; terms.len()];
    let expr = match <[Expr; 1]>::try_from(terms) {
        Ok([one]) => one,
        Err(terms) if terms.is_empty() => Expr::Everything,
        Err(terms) => Expr::And(terms),
    };
    Ok(Parsed { expr, spans })
}

fn terms(command: &Command) -> Result<Vec<Expr>, String> {
    let mut out = Vec::new();
    if command.has(Opt::Family) {
        out.push(Term::Family(command.family));
    }
    if let Some(proto) = command.proto {
        out.push(Term::Proto(Intervals::new([(proto, proto)])));
    }
    for (dst, which) in [(0, Which::Src), (1, Which::Dst)] {
        if let Some(address) = command.orig[dst] {
            let mask = command.mask[dst];
            let set = network(command.family, address, mask)?;
            out.push(Term::Address { scope: Scope::Orig, which, set });
        }
        if let Some(address) = command.reply[dst] {
            let set = network(command.family, address, None)?;
            out.push(Term::Address { scope: Scope::Reply, which, set });
        }
    }
    ports(command, &mut out)?;
    if let Some(state) = command.state {
        out.push(state_of(command, state)?);
    }
    numbers(command, &mut out);
    for (nat, which) in command.nat.iter().zip([Which::Src, Which::Dst, Which::Any]) {
        if let Some(nat) = nat {
            let (addr, port) = (nat.addr.map(ip), nat.port);
            out.push(Term::Translated { which, addr, port });
        }
    }
    let mut out: Vec<_> = out.into_iter().map(Expr::Term).collect();
    if let Some(status) = command.status {
        if status.ignored || status.value | status.unset == 0 {
            return Err("that status selects no flows".into());
        }
        out.extend(bits(status.value).map(|bit| Expr::Term(Term::Status(bit))));
        let unset =
            bits(status.unset).map(|bit| Expr::Not(Box::new(Expr::Term(Term::Status(bit)))));
        out.extend(unset);
    }
    Ok(out)
}

fn numbers(command: &Command, out: &mut Vec<Term>) {
    out.extend(command.mark.map(|pair| Term::Mark(vec![pair])));
    out.extend(command.id.map(Term::Id));
    out.extend(command.secmark.map(|mark| Term::Secmark(Intervals::new([(mark, mark)]))));
    for (zone, scope) in command.zones.iter().zip([Scope::Any, Scope::Orig, Scope::Reply]) {
        out.extend(zone.map(|zone| Term::Zone { scope, set: Intervals::new([(zone, zone)]) }));
    }
    out.extend(command.labels.wanted.iter().map(|bit| Term::Label(vec![*bit])));
}

fn bits(all: u32) -> impl Iterator<Item = Status> {
    (0..u32::BITS)
        .map(|bit| 1 << bit)
        .filter(move |bit| all & bit != 0)
        .map(Status::from_bits_retain)
}

fn ip(address: Address) -> IpAddr {
    let [a, b, c, d, ..] = address.bytes;
    match address.family {
        FAMILY_IPV6 => Ipv6Addr::from_octets(address.bytes).into(),
        _ => Ipv4Addr::new(a, b, c, d).into(),
    }
}

/// An address with the bits of it that count, which must be its first ones.
fn network(family: u8, address: Addr, mask: Option<Addr>) -> Result<Addresses, String> {
    let number = |bytes: Addr| u128::from_be_bytes(bytes);
    let width = if family == FAMILY_IPV4 { 32 } else { 128 };
    // An IPv4 address is in the first four bytes.
    let all = u128::MAX << (128 - width);
    let mask = mask.map_or(all, number) & all;
    if mask.count_ones() != mask.leading_ones() {
        return Err("a mask with holes can be said in no other language than conntrack's".into());
    }
    let first = number(address) & mask;
    let (first, last) = (first >> (128 - width), (first | (all & !mask)) >> (128 - width));
    Ok(if width == 32 {
        Addresses { v4: Intervals::new([(first as u32, last as u32)]), ..Addresses::default() }
    } else {
        Addresses { v6: Intervals::new([(first, last)]), ..Addresses::default() }
    })
}

fn ports(command: &Command, out: &mut Vec<Term>) -> Result<(), String> {
    if command.icmp != (None, None, None) {
        return Err("the filter language has no words for types, codes and ids of ICMP".into());
    }
    let proto = command.proto.unwrap_or_default();
    for (of, dst, port) in command.ports.iter() {
        if !(Tuple { proto, ..Tuple::UNKNOWN }).has_ports() {
            return Err("the filter language has no words for keys of GRE".into());
        }
        let scope = if of == Of::Reply { Scope::Reply } else { Scope::Orig };
        let which = if dst { Which::Dst } else { Which::Src };
        out.push(Term::Port { scope, which, set: Intervals::new([(port, port)]) });
    }
    Ok(())
}

fn state_of(command: &Command, state: u8) -> Result<Term, String> {
    let table: &[&str] = match command.proto {
        Some(ipproto::TCP) => &TCP,
        Some(ipproto::SCTP) => &SCTP,
        Some(ipproto::DCCP) => &DCCP,
        _ => &[],
    };
    let name = table.get(usize::from(state)).filter(|_| state > 0);
    let states = name.and_then(|name| value::state(name).ok());
    states.map(Term::State).ok_or_else(|| "no flow has that state".into())
}

/// The options that say the same as a filter, if any do.
#[must_use]
pub fn as_options(expr: &Expr) -> Option<String> {
    let parts = match expr {
        Expr::Everything => return Some(String::new()),
        Expr::And(parts) => parts.as_slice(),
        one => std::slice::from_ref(one),
    };
    // `-p` must stand before the options of its protocol.
    let is_proto = |part: &&Expr| matches!(part, Expr::Term(Term::Proto(_)));
    let proto = parts.iter().filter(is_proto).count();
    let ordered = parts.iter().filter(is_proto).chain(parts.iter().filter(|part| !is_proto(part)));
    let mut out = String::new();
    let mut status = Vec::new();
    for part in ordered {
        match part {
            Expr::Term(Term::Status(bit)) => status.push(status_word(*bit, false)?),
            Expr::Not(inner) => match &**inner {
                Expr::Term(Term::Status(bit)) => status.push(status_word(*bit, true)?),
                _ => return None,
            },
            Expr::Term(term) => option(&mut out, term, proto == 1)?,
            _ => return None,
        }
    }
    if !status.is_empty() {
        write!(out, " -u {}", status.join(",")).ok()?;
    }
    // Each option counts once, the last one.
    let mut names: Vec<_> = out.split(' ').filter(|word| word.starts_with('-')).collect();
    names.sort_unstable();
    let once = names.windows(2).all(|pair| pair[0] != pair[1]);
    once.then(|| out.trim_start().to_owned())
}

fn status_word(bit: Status, unset: bool) -> Option<&'static str> {
    Some(match (bit, unset) {
        (Status::SEEN_REPLY, false) => "SEEN_REPLY",
        (Status::SEEN_REPLY, true) => "UNREPLIED",
        (Status::ASSURED, false) => "ASSURED",
        (Status::ASSURED, true) => "!ASSURED",
        (Status::EXPECTED, false) => "EXPECTED",
        (Status::FIXED_TIMEOUT, false) => "FIXED_TIMEOUT",
        (Status::OFFLOAD, false) => "OFFLOAD",
        (Status::HW_OFFLOAD, false) => "HW_OFFLOAD",
        _ => return None,
    })
}

fn option(out: &mut String, term: &Term, has_proto: bool) -> Option<()> {
    match term {
        Term::Family(family) => {
            let name = if *family == FAMILY_IPV6 { "ipv6" } else { "ipv4" };
            write!(out, " -f {name}").ok()
        }
        Term::Proto(set) => {
            let number = set.single()?;
            let named = value::PROTOCOLS.iter().find(|(_, known)| *known == number);
            let name = named.map_or_else(|| number.to_string(), |(name, _)| (*name).into());
            let name = if name == "icmp6" { "icmpv6".into() } else { name };
            write!(out, " -p {name}").ok()
        }
        Term::Address { scope, which, set } => {
            let letter = match (scope, which) {
                (Scope::Orig, Which::Src) => "-s",
                (Scope::Orig, Which::Dst) => "-d",
                (Scope::Reply, Which::Src) => "-r",
                (Scope::Reply, Which::Dst) => "-q",
                _ => return None,
            };
            let prefix = super::print(&Expr::Term(term.clone()));
            let prefix = prefix.rsplit(' ').next()?;
            let one = set.len() == 1 && !prefix.contains('-');
            let plain = set.single().is_some() || *scope == Scope::Orig;
            (one && plain).then(|| write!(out, " {letter} {prefix}").ok())?
        }
        Term::Port { scope, which, set } if has_proto => {
            let name = match (scope, which) {
                (Scope::Orig, Which::Src) => "--orig-port-src",
                (Scope::Orig, Which::Dst) => "--orig-port-dst",
                (Scope::Reply, Which::Src) => "--reply-port-src",
                (Scope::Reply, Which::Dst) => "--reply-port-dst",
                _ => return None,
            };
            write!(out, " {name} {}", set.single()?).ok()
        }
        Term::Mark(pairs) => match pairs[..] {
            [(value, u32::MAX)] => write!(out, " -m {value:#x}").ok(),
            [(value, mask)] => write!(out, " -m {value:#x}/{mask:#x}").ok(),
            _ => None,
        },
        Term::Zone { scope, set } => {
            let name = match scope {
                Scope::Any => "-w",
                Scope::Orig => "--orig-zone",
                Scope::Reply => "--reply-zone",
                Scope::Nat => return None,
            };
            write!(out, " {name} {}", set.single()?).ok()
        }
        Term::Id(id) => write!(out, " --id {id}").ok(),
        Term::Translated { which, .. } => {
            let letter = match which {
                Which::Src => "-n",
                Which::Dst => "-g",
                Which::Any => "-j",
            };
            let text = super::print(&Expr::Term(term.clone()));
            let to = text.split_once(' ').map_or("", |(_, to)| to);
            write!(out, " {letter} {to}").ok()?;
            out.truncate(out.trim_end().len());
            Some(())
        }
        _ => None,
    }
}
