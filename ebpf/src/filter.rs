//! The pre-filter: protocol and addresses, read straight from the event message.
//!
//! A message that does not look as `common::tap::layout` says passes: user space filters again and decides.

use crate::maps::{FILTER, FILTER_IPV4, FILTER_IPV6};
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::programs::SkBuffContext;
use common::tap::{FilterConfig, layout, mode, passes as set_passes};
use common::tuple::{FAMILY_IPV4, FAMILY_IPV6};

const NEST: u16 = 0x8000;
const CTA_TUPLE_ORIG: u16 = 1 | NEST;
const CTA_TUPLE_REPLY: u16 = 2 | NEST;
const CTA_TUPLE_IP: u16 = 1 | NEST;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V6_SRC: u16 = 3;
/// `NFNL_SUBSYS_CTNETLINK`; expectations (2) are never filtered here.
const SUBSYS_CTNETLINK: u8 = 1;

/// Whether the event passes. Costs one map lookup when nothing is configured.
#[inline(always)]
pub fn passes(ctx: &SkBuffContext) -> bool {
    let Some(config) = FILTER.get(0) else { return true };
    if config.protocol_mode | config.ipv4_mode | config.ipv6_mode == mode::OFF {
        return true;
    }
    judge(ctx, config).unwrap_or(true)
}

#[inline(always)]
fn judge(ctx: &SkBuffContext, config: &FilterConfig) -> Option<bool> {
    // nlmsg_type carries the subsystem in its upper byte; netlink headers are native-endian.
    if byte(ctx, layout::MESSAGE_TYPE + 1)? != SUBSYS_CTNETLINK {
        return None;
    }
    let family = byte(ctx, layout::FAMILY)?;
    let (orig_len, orig) = attribute(ctx, layout::TUPLE)?;
    if orig != CTA_TUPLE_ORIG {
        return None;
    }
    let proto_at = if family == FAMILY_IPV6 { layout::PROTO_V6 } else { layout::PROTO_V4 };
    let proto = byte(ctx, layout::TUPLE + proto_at)?;
    if !config.passes_protocol(proto) {
        return Some(false);
    }
    let reply_at = layout::TUPLE + ((orig_len as usize + 3) & !3 & 0xff);
    let (_, reply) = attribute(ctx, reply_at)?;
    if reply != CTA_TUPLE_REPLY {
        return None;
    }
    match family {
        FAMILY_IPV4 => ipv4_passes(ctx, config, reply_at),
        FAMILY_IPV6 => ipv6_passes(ctx, config, reply_at),
        _ => None,
    }
}

#[inline(always)]
fn ipv4_passes(ctx: &SkBuffContext, config: &FilterConfig, reply_at: usize) -> Option<bool> {
    if config.ipv4_mode == mode::OFF {
        return Some(true);
    }
    let orig: [u8; 4] = source(ctx, layout::TUPLE, CTA_IP_V4_SRC)?;
    let reply: [u8; 4] = source(ctx, reply_at, CTA_IP_V4_SRC)?;
    let named = |addr| FILTER_IPV4.get(&Key::new(32, addr)).is_some();
    Some(set_passes(config.ipv4_mode, named(orig) || named(reply)))
}

#[inline(always)]
fn ipv6_passes(ctx: &SkBuffContext, config: &FilterConfig, reply_at: usize) -> Option<bool> {
    if config.ipv6_mode == mode::OFF {
        return Some(true);
    }
    let orig: [u8; 16] = source(ctx, layout::TUPLE, CTA_IP_V6_SRC)?;
    let reply: [u8; 16] = source(ctx, reply_at, CTA_IP_V6_SRC)?;
    let named = |addr| FILTER_IPV6.get(&Key::new(128, addr)).is_some();
    Some(set_passes(config.ipv6_mode, named(orig) || named(reply)))
}

/// The source address of the tuple at `tuple_at`.
#[inline(always)]
fn source<const N: usize>(ctx: &SkBuffContext, tuple_at: usize, kind: u16) -> Option<[u8; N]>
where
    [u8; N]: Copy,
{
    let (_, ip) = attribute(ctx, tuple_at + 4)?;
    let (_, src) = attribute(ctx, tuple_at + 8)?;
    if ip != CTA_TUPLE_IP || src != kind {
        return None;
    }
    ctx.load(tuple_at + layout::SOURCE).ok()
}

/// Length and kind of the attribute at `at`.
#[inline(always)]
fn attribute(ctx: &SkBuffContext, at: usize) -> Option<(u16, u16)> {
    let raw: [u8; 4] = ctx.load(at).ok()?;
    Some((u16::from_ne_bytes([raw[0], raw[1]]), u16::from_ne_bytes([raw[2], raw[3]])))
}

#[inline(always)]
fn byte(ctx: &SkBuffContext, at: usize) -> Option<u8> {
    ctx.load(at).ok()
}
