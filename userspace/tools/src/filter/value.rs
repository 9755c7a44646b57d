//! Values of tests: addresses, ports, numbers, names of states.

use super::error::{Kind, nearest};
use super::world::World;
use crate::print::state::{DCCP, SCTP, TCP};
use ctnetlink::flow::Status;
use engine::query::{States, Unit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// First and last address of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// A range of IPv4 addresses.
    V4(u32, u32),
    /// A range of IPv6 addresses.
    V6(u128, u128),
}

/// `ADDR`, `ADDR/LEN` or `ADDR-ADDR`.
///
/// # Errors
/// What is wrong with it.
pub fn addresses(word: &str) -> Result<Range, Kind> {
    if let Some((address, len)) = word.split_once('/') {
        return prefix(word, address, len);
    }
    if let Some((first, last)) = word.split_once('-') {
        let reversed = || Kind::OutOfRange {
            word: word.into(),
            limits: "the range ends before it begins".into(),
        };
        return match (address(first, word)?, address(last, word)?) {
            (IpAddr::V4(a), IpAddr::V4(b)) if a <= b => Ok(Range::V4(a.to_bits(), b.to_bits())),
            (IpAddr::V6(a), IpAddr::V6(b)) if a <= b => Ok(Range::V6(a.to_bits(), b.to_bits())),
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => Err(reversed()),
            _ => Err(Kind::FamilyMixed(word.into())),
        };
    }
    Ok(match address(word, word)? {
        IpAddr::V4(one) => Range::V4(one.to_bits(), one.to_bits()),
        IpAddr::V6(one) => Range::V6(one.to_bits(), one.to_bits()),
    })
}

fn address(text: &str, word: &str) -> Result<IpAddr, Kind> {
    text.parse().map_err(|_| Kind::BadAddress(word.into()))
}

fn prefix(word: &str, base: &str, len: &str) -> Result<Range, Kind> {
    let base = address(base, word)?;
    let most = if base.is_ipv4() { 32 } else { 128 };
    let bad = |nearest| Kind::BadPrefix { word: word.into(), nearest };
    let len = digits(len).filter(|len| *len <= most).ok_or_else(|| bad(None))? as u32;
    let (range, first): (_, IpAddr) = match base {
        IpAddr::V4(base) => {
            let rest = u32::MAX.checked_shr(len).unwrap_or(0);
            let first = base.to_bits() & !rest;
            (Range::V4(first, first | rest), Ipv4Addr::from_bits(first).into())
        }
        IpAddr::V6(base) => {
            let rest = u128::MAX.checked_shr(len).unwrap_or(0);
            let first = base.to_bits() & !rest;
            (Range::V6(first, first | rest), Ipv6Addr::from_bits(first).into())
        }
    };
    // As tcpdump: in 10.0.0.1/8 either the address or the network is meant, so it is refused.
    if first == base { Ok(range) } else { Err(bad(Some(format!("{first}/{len}")))) }
}

/// A number without sign.
fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// A decimal number, or a hexadecimal one behind `0x`.
fn integer(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) if hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            u64::from_str_radix(hex, 16).ok()
        }
        Some(_) => None,
        None => digits(text),
    }
}

/// A number of at most `max`.
///
/// # Errors
/// What is wrong with it.
pub fn number(word: &str, max: u64) -> Result<u64, Kind> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match integer(word) {
        Some(number) if number <= max => Ok(number),
        None if !is_number(word) => Err(Kind::BadNumber(word.into())),
        _ => Err(Kind::OutOfRange { word: word.into(), limits: format!("0 to {max}") }),
    }
}

/// The same error, about the whole word of which a number is a part.
fn about(kind: Kind, whole: &str) -> Kind {
    match kind {
        Kind::BadNumber(_) => Kind::BadNumber(whole.into()),
        kind => kind,
    }
}

/// `N` or `N-N`: first and last.
///
/// # Errors
/// What is wrong with it.
pub fn numbers(word: &str, max: u64) -> Result<(u64, u64), Kind> {
    let Some((first, last)) = word.split_once('-') else {
        let one = number(word, max)?;
        return Ok((one, one));
    };
    let part = |text| number(text, max).map_err(|kind| about(kind, word));
    let (first, last) = (part(first)?, part(last)?);
    if first > last {
        let limits = "the range ends before it begins".into();
        return Err(Kind::OutOfRange { word: word.into(), limits });
    }
    Ok((first, last))
}

/// Ports: `N`, `N-N` or a service, which may have several.
///
/// # Errors
/// What is wrong with it.
pub fn ports(word: &str, world: &mut impl World) -> Result<Vec<(u16, u16)>, Kind> {
    if word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        let (first, last) = numbers(word, u16::MAX.into())?;
        return Ok(vec![(first as u16, last as u16)]);
    }
    let ports = world.service(word);
    if ports.is_empty() {
        let nearest = world.nearest_service(word);
        return Err(Kind::BadPort { word: word.into(), nearest });
    }
    Ok(ports.into_iter().map(|port| (port, port)).collect())
}

/// Protocols that have a word of their own, and their numbers. The first word of a number is the one printed.
pub const PROTOCOLS: [(&str, u8); 9] = [
    ("tcp", 6),
    ("udp", 17),
    ("udplite", 136),
    ("icmp", 1),
    ("icmp6", 58),
    ("icmpv6", 58),
    ("sctp", 132),
    ("dccp", 33),
    ("gre", 47),
];

/// Protocols that have a name only behind `proto`.
const MORE_PROTOCOLS: [(&str, u8); 5] =
    [("igmp", 2), ("ipip", 4), ("esp", 50), ("ah", 51), ("ipv6-icmp", 58)];

/// A protocol by name or number: first and last.
///
/// # Errors
/// What is wrong with it.
pub fn protocol(word: &str) -> Result<(u8, u8), Kind> {
    let all = || PROTOCOLS.iter().chain(&MORE_PROTOCOLS);
    if let Some((_, number)) = all().find(|(name, _)| name.eq_ignore_ascii_case(word)) {
        return Ok((*number, *number));
    }
    if word.starts_with(|first: char| first.is_ascii_digit()) {
        let (first, last) = numbers(word, u8::MAX.into())?;
        return Ok((first as u8, last as u8));
    }
    let nearest = nearest(word, all().map(|(name, _)| *name));
    Err(Kind::UnknownWord { word: word.into(), nearest })
}

/// A value and the bits of it that count: `V` or `V/M`.
///
/// # Errors
/// What is wrong with it.
pub fn mark(word: &str) -> Result<(u32, u32), Kind> {
    let number = |text| number(text, u32::MAX.into()).map_err(|kind| about(kind, word));
    let part = |text| number(text).map(|number| number as u32);
    match word.split_once('/') {
        Some((value, mask)) => Ok((part(value)?, part(mask)?)),
        None => Ok((part(word)?, u32::MAX)),
    }
}

/// `A` or `A:P`, `[A]:P` for IPv6.
///
/// # Errors
/// What is wrong with it.
pub fn translation(word: &str) -> Result<(IpAddr, Option<u16>), Kind> {
    let bad = || Kind::BadAddress(word.into());
    let (text, port) = if let Some(rest) = word.strip_prefix('[') {
        let (text, port) = rest.split_once("]:").ok_or_else(bad)?;
        (text, Some(port))
    } else if word.matches(':').count() == 1 {
        word.split_once(':').map_or((word, None), |(text, port)| (text, Some(port)))
    } else {
        (word, None)
    };
    let port = port.map(|port| {
        let wrong = || Kind::BadPort { word: port.into(), nearest: None };
        digits(port).and_then(|port| u16::try_from(port).ok()).ok_or_else(wrong)
    });
    Ok((address(text, word)?, port.transpose()?))
}

/// A name of a state, of every protocol that has a state of that name.
///
/// # Errors
/// When no protocol has.
pub fn state(word: &str) -> Result<States, Kind> {
    let bits = |table: &[&str]| {
        let named = table.iter().enumerate().skip(1);
        named.filter(|(_, name)| name.eq_ignore_ascii_case(word)).map(|(at, _)| 1 << at).sum()
    };
    let mut states = States { tcp: bits(&TCP), sctp: bits(&SCTP), dccp: bits(&DCCP) };
    // The number that was `LISTEN` once is `SYN_SENT2` now.
    if word.eq_ignore_ascii_case("listen") {
        states.tcp = 1 << 9;
    }
    if !states.is_empty() {
        return Ok(states);
    }
    let all = [&TCP, &SCTP, &DCCP].into_iter().flat_map(|table| &table[1..]);
    let lower: Vec<_> = all.map(|name| name.to_lowercase()).collect();
    let nearest = nearest(word, lower.iter().map(String::as_str));
    Err(Kind::UnknownWord { word: word.into(), nearest })
}

/// Status bits and their words.
pub const STATUS: [(&str, Status); 16] = [
    ("expected", Status::EXPECTED),
    ("seen_reply", Status::SEEN_REPLY),
    ("assured", Status::ASSURED),
    ("confirmed", Status::CONFIRMED),
    ("src_nat", Status::SRC_NAT),
    ("dst_nat", Status::DST_NAT),
    ("seq_adjust", Status::SEQ_ADJUST),
    ("src_nat_done", Status::SRC_NAT_DONE),
    ("dst_nat_done", Status::DST_NAT_DONE),
    ("dying", Status::DYING),
    ("fixed_timeout", Status::FIXED_TIMEOUT),
    ("template", Status::TEMPLATE),
    ("nat_clash", Status::NAT_CLASH),
    ("helper", Status::HELPER),
    ("offload", Status::OFFLOAD),
    ("hw_offload", Status::HW_OFFLOAD),
];

/// A status bit.
///
/// # Errors
/// When the word is none.
pub fn status(word: &str) -> Result<Status, Kind> {
    let found = STATUS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
    let unknown = || Kind::UnknownWord {
        word: word.into(),
        nearest: nearest(word, STATUS.iter().map(|(name, _)| *name)),
    };
    found.map(|(_, bit)| *bit).ok_or_else(unknown)
}

/// Units of plain numbers.
const SIZES: [(&str, u64); 9] = [
    ("", 1),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
];

/// Units of times, in milliseconds, largest first.
pub const TIMES: [(&str, u64); 6] = [
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// A number with a unit: plain, or milliseconds.
///
/// # Errors
/// What is wrong with it.
pub fn quantity(word: &str, unit: Unit) -> Result<u64, Kind> {
    let end = word.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(word.len());
    let (number, suffix) = word.split_at(end);
    if number.is_empty() {
        return Err(Kind::BadNumber(word.into()));
    }
    let (units, help): (&[_], _) = match unit {
        Unit::Number => (&SIZES, "k M G T (1000), Ki Mi Gi Ti (1024)"),
        Unit::Time => (&TIMES, "ms s m h d w"),
    };
    let same = |name: &str| name == suffix || (name == "k" && suffix == "K");
    let Some((_, factor)) = units.iter().find(|(name, _)| same(name)) else {
        return Err(Kind::BadUnit { word: word.into(), units: help });
    };
    let value = digits(number).and_then(|number| number.checked_mul(*factor));
    let limits = || format!("0 to {}", u64::MAX / factor);
    value.ok_or_else(|| Kind::OutOfRange { word: word.into(), limits: limits() })
}
