//! One direction of a flow as a nest: an address nest, a protocol nest, and sometimes a zone.

use crate::attribute::{Attribute, header, put, put_be16, put_nest};
use crate::tuple::{FAMILY_IPV4, FAMILY_IPV6, ipproto};
use crate::uapi::{ip, nla, proto, tuple};
use crate::{DecodeError, Tuple, Writer};

impl Tuple {
    /// Reads a tuple nest, such as `CTA_TUPLE_ORIG`: the tuple, and the zone that holds for its direction only.
    ///
    /// # Errors
    /// When an attribute is cut short or has the wrong length, or addresses or the protocol number are missing.
    pub fn of_nest(nest: &Attribute<'_>) -> Result<(Self, Option<u16>), DecodeError> {
        decode(nest)
    }
}

/// Reads a tuple nest: the tuple, and the zone that holds for this direction only.
///
/// The kernel writes addresses and protocol number into every tuple it sends
/// (`ctnetlink_dump_tuples`, kernel v6.12 `net/netfilter/nf_conntrack_netlink.c`), so one without them is an error;
/// layer-4 identities depend on the tracker and may be missing.
pub(crate) fn decode(nest: &Attribute<'_>) -> Result<(Tuple, Option<u16>), DecodeError> {
    let mut out = Tuple::default();
    let zone = decode_into(&mut out, nest)?;
    Ok((out, zone))
}

/// Decodes a direction into a tuple that is unknown so far.
pub(crate) fn decode_into(
    out: &mut Tuple,
    nest: &Attribute<'_>,
) -> Result<Option<u16>, DecodeError> {
    *out = Tuple::default();
    let mut zone = None;
    let mut has_proto = false;
    for attribute in nest.nest() {
        let attribute = attribute?;
        match attribute.kind {
            tuple::IP => addresses(out, &attribute)?,
            tuple::PROTO => has_proto |= layer4(out, &attribute)?,
            tuple::ZONE => zone = Some(attribute.be16()?),
            _ => {}
        }
    }
    match (out.is_known(), has_proto) {
        (true, true) => Ok(zone),
        (false, _) => Err(nest.error("tuple without addresses")),
        (true, false) => Err(nest.error("tuple without protocol number")),
    }
}

#[inline]
fn addresses(out: &mut Tuple, nest: &Attribute<'_>) -> Result<(), DecodeError> {
    if addresses_as_usual(out, nest.value) { Ok(()) } else { addresses_in_any_order(out, nest) }
}

/// Reads the one layout that the kernel writes per family. Tuples are most of an event, and walking them attribute by
/// attribute was most of the time it took; `false` when the layout is another one.
#[inline]
fn addresses_as_usual(out: &mut Tuple, value: &[u8]) -> bool {
    if out.is_known() {
        return false;
    }
    if let Ok(v4) = <&[u8; 16]>::try_from(value)
        && v4[..4] == header(4, ip::V4_SRC)
        && v4[8..12] == header(4, ip::V4_DST)
    {
        out.src[..4].copy_from_slice(&v4[4..8]);
        out.dst[..4].copy_from_slice(&v4[12..]);
        out.family = FAMILY_IPV4;
        return true;
    }
    if let Ok(v6) = <&[u8; 40]>::try_from(value)
        && v6[..4] == header(16, ip::V6_SRC)
        && v6[20..24] == header(16, ip::V6_DST)
    {
        out.src.copy_from_slice(&v6[4..20]);
        out.dst.copy_from_slice(&v6[24..]);
        out.family = FAMILY_IPV6;
        return true;
    }
    false
}

fn addresses_in_any_order(out: &mut Tuple, nest: &Attribute<'_>) -> Result<(), DecodeError> {
    for attribute in nest.nest() {
        let attribute = attribute?;
        let family = match attribute.kind {
            ip::V4_SRC => {
                out.src[..4].copy_from_slice(&v4(&attribute)?);
                FAMILY_IPV4
            }
            ip::V4_DST => {
                out.dst[..4].copy_from_slice(&v4(&attribute)?);
                FAMILY_IPV4
            }
            ip::V6_SRC => {
                out.src = v6(&attribute)?;
                FAMILY_IPV6
            }
            ip::V6_DST => {
                out.dst = v6(&attribute)?;
                FAMILY_IPV6
            }
            _ => continue,
        };
        if out.is_known() && out.family != family {
            return Err(attribute.error("tuple with addresses of two families"));
        }
        out.family = family;
    }
    Ok(())
}

/// Reads the protocol nest; whether it had the protocol number.
#[inline]
fn layer4(out: &mut Tuple, nest: &Attribute<'_>) -> Result<bool, DecodeError> {
    if layer4_as_usual(out, nest.value) { Ok(true) } else { layer4_in_any_order(out, nest) }
}

/// Like [`addresses_as_usual`], for protocols with ports.
#[inline]
fn layer4_as_usual(out: &mut Tuple, value: &[u8]) -> bool {
    let Ok(ports) = <&[u8; 24]>::try_from(value) else { return false };
    let usual = ports[..4] == header(1, proto::NUM)
        && ports[8..12] == header(2, proto::SRC_PORT)
        && ports[16..20] == header(2, proto::DST_PORT);
    if usual {
        out.proto = ports[4];
        out.l4 = [ports[12], ports[13], ports[20], ports[21]];
    }
    usual
}

fn layer4_in_any_order(out: &mut Tuple, nest: &Attribute<'_>) -> Result<bool, DecodeError> {
    let mut has_number = false;
    for attribute in nest.nest() {
        let attribute = attribute?;
        match attribute.kind {
            proto::NUM => {
                out.proto = attribute.u8()?;
                has_number = true;
            }
            proto::SRC_PORT | proto::ICMP_ID | proto::ICMPV6_ID => {
                out.l4[..2].copy_from_slice(&half(&attribute)?);
            }
            proto::DST_PORT => out.l4[2..].copy_from_slice(&half(&attribute)?),
            proto::ICMP_TYPE | proto::ICMPV6_TYPE => out.l4[2] = attribute.u8()?,
            proto::ICMP_CODE | proto::ICMPV6_CODE => out.l4[3] = attribute.u8()?,
            _ => {}
        }
    }
    Ok(has_number)
}

fn v4(attribute: &Attribute<'_>) -> Result<[u8; 4], DecodeError> {
    attribute.array("IPv4 address is not 4 bytes long")
}

fn v6(attribute: &Attribute<'_>) -> Result<[u8; 16], DecodeError> {
    attribute.array("IPv6 address is not 16 bytes long")
}

fn half(attribute: &Attribute<'_>) -> Result<[u8; 2], DecodeError> {
    attribute.array("port is not 2 bytes long")
}

/// Writes a tuple as the nest `kind`.
pub(crate) fn encode(w: &mut Writer<'_>, kind: u16, tuple: &Tuple, zone: Option<u16>) {
    put_nest(w, kind, |w| {
        encode_addresses(w, tuple);
        if tuple.has_ports() {
            encode_ports(w, tuple);
        } else {
            put_nest(w, tuple::PROTO, |w| encode_layer4(w, tuple));
        }
        if let Some(zone) = zone {
            put_be16(w, tuple::ZONE, zone);
        }
    });
}

/// What lies in one place in nearly every tuple is written in one piece: tuples are most of a request.
fn encode_addresses(w: &mut Writer<'_>, tuple: &Tuple) {
    if tuple.family == FAMILY_IPV6 {
        w.put([header(40, tuple::IP | nla::NESTED), header(16, ip::V6_SRC)].as_flattened());
        w.put(&tuple.src);
        w.put(&header(16, ip::V6_DST));
        w.put(&tuple.dst);
        return;
    }
    let short = |[a, b, c, d, ..]: [u8; 16]| [a, b, c, d];
    let nest = header(16, tuple::IP | nla::NESTED);
    let (src, dst) = (header(4, ip::V4_SRC), header(4, ip::V4_DST));
    w.put([nest, src, short(tuple.src), dst, short(tuple.dst)].as_flattened());
}

/// The protocol nest of a tuple with ports.
fn encode_ports(w: &mut Writer<'_>, tuple: &Tuple) {
    let [a, b, c, d] = tuple.l4;
    let nest = header(24, tuple::PROTO | nla::NESTED);
    let (num, src) = (header(1, proto::NUM), header(2, proto::SRC_PORT));
    let dst = header(2, proto::DST_PORT);
    w.put([nest, num, [tuple.proto, 0, 0, 0], src, [a, b, 0, 0], dst, [c, d, 0, 0]].as_flattened());
}

fn encode_layer4(w: &mut Writer<'_>, tuple: &Tuple) {
    put(w, proto::NUM, &[tuple.proto]);
    let l4 = &tuple.l4;
    match tuple.proto {
        ipproto::ICMP => {
            put(w, proto::ICMP_ID, &l4[..2]);
            put(w, proto::ICMP_TYPE, &l4[2..3]);
            put(w, proto::ICMP_CODE, &l4[3..]);
        }
        ipproto::ICMPV6 => {
            put(w, proto::ICMPV6_ID, &l4[..2]);
            put(w, proto::ICMPV6_TYPE, &l4[2..3]);
            put(w, proto::ICMPV6_CODE, &l4[3..]);
        }
        ipproto::GRE => {
            put(w, proto::SRC_PORT, &l4[..2]);
            put(w, proto::DST_PORT, &l4[2..]);
        }
        _ => {}
    }
}
