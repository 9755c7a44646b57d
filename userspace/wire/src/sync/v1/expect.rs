//! Expectations as attributes (`docs/spec/sync.md`, section 5).

use super::attribute::{self, Attribute, Attributes};
use super::{Kind, Options, Stamp, header};
use ctnetlink::expectation::ExpectNat;
use ctnetlink::tuple::{FAMILY_IPV4, FAMILY_IPV6, ipproto};
use ctnetlink::{Change, DecodeError, Expectation, Tuple, Writer};

/// Attribute numbers. Numbers are in network order throughout.
pub(in crate::sync) mod number {
    /// First of the four attributes of the master tuple: IPv4 addresses, IPv6 addresses, protocol, ports.
    pub(in crate::sync) const MASTER: u16 = 0;
    /// First of the same four of the expected tuple.
    pub(in crate::sync) const EXPECTED: u16 = 4;
    /// First of the same four of the mask.
    pub(in crate::sync) const MASK: u16 = 8;
    /// Seconds, 4 bytes.
    pub(in crate::sync) const TIMEOUT: u16 = 12;
    /// 4 bytes.
    pub(in crate::sync) const FLAGS: u16 = 13;
    /// 4 bytes.
    pub(in crate::sync) const CLASS: u16 = 14;
    /// Source and destination address, 4 bytes each.
    pub(in crate::sync) const NAT_IPV4: u16 = 15;
    /// Source and destination port, 2 bytes each.
    pub(in crate::sync) const NAT_PORT: u16 = 16;
    /// 1 byte.
    pub(in crate::sync) const NAT_L4PROTO: u16 = 17;
    /// 4 bytes.
    pub(in crate::sync) const NAT_DIR: u16 = 18;
    /// String.
    pub(in crate::sync) const HELPER_NAME: u16 = 19;
    /// String.
    pub(in crate::sync) const FN: u16 = 20;

    // What the four attributes of a tuple are, counted from its first.
    pub(in crate::sync) const IPV4: u16 = 0;
    pub(in crate::sync) const IPV6: u16 = 1;
    pub(in crate::sync) const L4PROTO: u16 = 2;
    pub(in crate::sync) const PORT: u16 = 3;
}

/// Longest helper name we send, for the sake of conntrackd 1.4.7.
const HELPER_NAME_LEN_MAX: usize = attribute::name_len_max(16);
/// Longest function name we send, for the same reason.
const FUNCTION_LEN_MAX: usize = attribute::name_len_max(32);

/// Upper bound of an encoded expectation, as `FLOW_LEN_MAX`.
pub(super) const EXPECT_LEN_MAX: usize = header::HEADER_LEN + 21 * (4 + 32);
const _: () = assert!(EXPECT_LEN_MAX <= u16::MAX as usize);

/// Appends a message about an expectation, with the attributes in the order conntrackd 1.4.7 puts them.
///
/// Names that conntrackd 1.4.7 refuses are left out: helper names longer than 11 bytes, function names longer than
/// 27. Translation travels for IPv4 only, zone and id not at all. Master and expected tuple must be known.
pub fn encode_expectation(
    change: Change,
    stamp: Stamp,
    expect: &Expectation,
    options: Options,
    w: &mut Writer<'_>,
) {
    let start = header::begin(w, Kind::Expect(change), stamp);
    // conntrackd decides by the master's protocol whether any of the tuples has ports.
    let ports =
        matches!(expect.master.proto, ipproto::TCP | ipproto::UDP | ipproto::SCTP | ipproto::DCCP);
    put_tuple(w, number::MASTER, &expect.master, ports);
    put_tuple(w, number::EXPECTED, &expect.tuple, ports);
    put_tuple(w, number::MASK, &expect.mask, ports);
    for (number, value) in [
        (number::TIMEOUT, expect.timeout_s.filter(|_| options.timeout)),
        (number::FLAGS, expect.flags),
        (number::CLASS, expect.class),
    ] {
        if let Some(value) = value {
            attribute::put(w, number, &value.to_be_bytes());
        }
    }
    if let Some(nat) = expect.nat.filter(|nat| nat.tuple.family == FAMILY_IPV4) {
        put_nat(w, &nat, ports);
    }
    if let Some(helper) = &expect.helper {
        attribute::put_name(w, number::HELPER_NAME, helper, HELPER_NAME_LEN_MAX);
    }
    if let Some(function) = &expect.function {
        attribute::put_name(w, number::FN, function, FUNCTION_LEN_MAX);
    }
    header::finish(w, start);
}

pub(in crate::sync) fn put_tuple(w: &mut Writer<'_>, first: u16, tuple: &Tuple, ports: bool) {
    if !tuple.is_known() {
        return;
    }
    attribute::put_addresses(w, first + number::IPV4, first + number::IPV6, tuple);
    attribute::put(w, first + number::L4PROTO, &[tuple.proto]);
    if ports {
        attribute::put(w, first + number::PORT, &tuple.l4);
    }
}

fn put_nat(w: &mut Writer<'_>, nat: &ExpectNat, ports: bool) {
    attribute::put_addresses(w, number::NAT_IPV4, number::NAT_IPV4, &nat.tuple);
    attribute::put(w, number::NAT_L4PROTO, &[nat.tuple.proto]);
    if ports {
        attribute::put(w, number::NAT_PORT, &nat.tuple.l4);
    }
    attribute::put(w, number::NAT_DIR, &nat.direction.to_be_bytes());
}

/// The expectation that the attributes in `body` describe.
pub(super) fn decode(body: &[u8]) -> Result<Expectation, DecodeError> {
    decode_with(body, |_, _, _| Ok(false))
}

/// Decodes an expectation; an attribute that `more` takes, which is asked first, is not looked at any further.
pub(in crate::sync) fn decode_with(
    body: &[u8],
    more: impl Fn(&mut Expectation, &mut ExpectNat, &Attribute<'_>) -> Result<bool, DecodeError>,
) -> Result<Expectation, DecodeError> {
    let mut expect = Expectation::default();
    let mut nat = ExpectNat { direction: 0, tuple: Tuple::default() };
    let mut has_proto = [false; 2];
    let mut attributes = Attributes::new(body);
    while let Some(attribute) = attributes.next()? {
        if more(&mut expect, &mut nat, &attribute)? {
            continue;
        }
        take(&mut expect, &mut nat, &attribute)?;
        has_proto[0] |= attribute.number == number::MASTER + number::L4PROTO;
        has_proto[1] |= attribute.number == number::EXPECTED + number::L4PROTO;
    }
    if !expect.master.is_known() || !expect.tuple.is_known() {
        return Err(DecodeError::new(0, "no addresses"));
    }
    if has_proto != [true; 2] {
        return Err(DecodeError::new(0, "no layer-4 protocol"));
    }
    if nat.tuple.is_known() {
        expect.nat = Some(nat);
    }
    Ok(expect)
}

/// Takes one attribute. Unknown attributes are skipped: a later version may add some.
fn take(
    expect: &mut Expectation,
    nat: &mut ExpectNat,
    a: &Attribute<'_>,
) -> Result<(), DecodeError> {
    match a.number {
        number::MASTER..number::EXPECTED => take_tuple(&mut expect.master, number::MASTER, a)?,
        number::EXPECTED..number::MASK => take_tuple(&mut expect.tuple, number::EXPECTED, a)?,
        number::MASK..number::TIMEOUT => take_tuple(&mut expect.mask, number::MASK, a)?,
        number::TIMEOUT => expect.timeout_s = Some(a.u32()?),
        number::FLAGS => expect.flags = Some(a.u32()?),
        number::CLASS => expect.class = Some(a.u32()?),
        number::NAT_IPV4 => attribute::addresses::<8>(a, FAMILY_IPV4, &mut nat.tuple)?,
        number::NAT_PORT => nat.tuple.l4 = a.array()?,
        number::NAT_L4PROTO => nat.tuple.proto = a.u8()?,
        number::NAT_DIR => nat.direction = a.u32()?,
        number::HELPER_NAME => expect.helper = a.name()?,
        number::FN => expect.function = a.name()?,
        _ => {}
    }
    Ok(())
}

fn take_tuple(tuple: &mut Tuple, first: u16, a: &Attribute<'_>) -> Result<(), DecodeError> {
    match a.number - first {
        number::IPV4 => attribute::addresses::<8>(a, FAMILY_IPV4, tuple)?,
        number::IPV6 => attribute::addresses::<32>(a, FAMILY_IPV6, tuple)?,
        number::L4PROTO => tuple.proto = a.u8()?,
        _ => tuple.l4 = a.array()?,
    }
    Ok(())
}
