//! Attributes that the kernel accepts in requests and never sends. [`crate::FlowView`] skips them, so that events are
//! read without them.

use super::flow::{find, label_bytes};
use crate::DecodeError;
use crate::attribute::Attribute;
use crate::frame::split_family;
use crate::uapi::{cta, filter, nat};

/// The attributes of a flow message that only requests carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestView<'a> {
    /// `CTA_NAT_SRC` and `CTA_NAT_DST`.
    pub nat: [Option<NatRange>; 2],
    /// `CTA_MARK_MASK`.
    pub mark_mask: Option<u32>,
    /// `CTA_STATUS_MASK`.
    pub status_mask: Option<u32>,
    /// `CTA_LABELS_MASK`, laid out as the labels.
    pub labels_mask: Option<&'a [u8]>,
    /// `CTA_FILTER`: bits of [`crate::uapi::filter::flag`], original direction first.
    pub filter: Option<[u32; 2]>,
}

/// What source or destination of a flow may be translated to (`enum ctattr_nat`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NatRange {
    /// First and last address, network order, IPv4 in the first four bytes; the last is as the first if not given.
    pub addrs: Option<[[u8; 16]; 2]>,
    /// First and last port, host order; the last is as the first if not given.
    pub ports: Option<[u16; 2]>,
}

impl<'a> RequestView<'a> {
    /// Reads the payload of a flow message: family header and attributes. Other attributes are skipped.
    ///
    /// # Errors
    /// When the family header or an attribute is cut short, or an attribute has the wrong length. Offsets count from
    /// the start of `payload`.
    pub fn parse(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut view = Self::default();
        for attribute in split_family(payload)?.1 {
            let a = attribute?;
            match a.kind {
                cta::NAT_SRC => view.nat[0] = Some(nat_range(&a)?),
                cta::NAT_DST => view.nat[1] = Some(nat_range(&a)?),
                cta::MARK_MASK => view.mark_mask = Some(a.be32()?),
                cta::STATUS_MASK => view.status_mask = Some(a.be32()?),
                cta::LABELS_MASK => view.labels_mask = Some(label_bytes(&a)?),
                cta::FILTER => view.filter = Some(tuple_filter(&a)?),
                _ => {}
            }
        }
        Ok(view)
    }
}

fn tuple_filter(nest: &Attribute<'_>) -> Result<[u32; 2], DecodeError> {
    let mut out = [0; 2];
    for attribute in nest.nest() {
        let attribute = attribute?;
        match attribute.kind {
            filter::ORIG_FLAGS => {
                out[0] = u32::from_ne_bytes(attribute.array("filter is not 4 bytes long")?);
            }
            filter::REPLY_FLAGS => {
                out[1] = u32::from_ne_bytes(attribute.array("filter is not 4 bytes long")?);
            }
            _ => {}
        }
    }
    Ok(out)
}

fn nat_range(nest: &Attribute<'_>) -> Result<NatRange, DecodeError> {
    let (mut addrs, mut ports) = ([None; 2], [None; 2]);
    for attribute in nest.nest() {
        let a = attribute?;
        match a.kind {
            nat::V4_MINIP => addrs[0] = Some(wide(a.array("IPv4 address is not 4 bytes long")?)),
            nat::V4_MAXIP => addrs[1] = Some(wide(a.array("IPv4 address is not 4 bytes long")?)),
            nat::V6_MINIP => addrs[0] = Some(a.array("IPv6 address is not 16 bytes long")?),
            nat::V6_MAXIP => addrs[1] = Some(a.array("IPv6 address is not 16 bytes long")?),
            nat::PROTO => {
                ports[0] = find(&a, nat::PORT_MIN)?.map(|port| port.be16()).transpose()?;
                ports[1] = find(&a, nat::PORT_MAX)?.map(|port| port.be16()).transpose()?;
            }
            _ => {}
        }
    }
    Ok(NatRange {
        addrs: addrs[0].map(|first| [first, addrs[1].unwrap_or(first)]),
        ports: ports[0].map(|first| [first, ports[1].unwrap_or(first)]),
    })
}

const fn wide(v4: [u8; 4]) -> [u8; 16] {
    let mut out = [0; 16];
    (out[0], out[1], out[2], out[3]) = (v4[0], v4[1], v4[2], v4[3]);
    out
}
