//! IP packets with TCP or UDP inside: where the payload lies, and the same packet with another one.
//!
//! ```text
//!   | IPv4 + options, or IPv6 + extension headers | TCP + options, or UDP | payload | padding |
//!   0                                             transport_at            payload_at
//! ```
//!
//! Sources: RFC 791, 8200, 9293, 768, 4302 (length of the authentication header). Only whole packets are taken: a
//! fragment, a cut packet or one that is routed by way of another host (RFC 8200, 4.4) is an error.

use alloc::vec::Vec;
use core::ops::Range;
use ctnetlink::tuple::{FAMILY_IPV4, FAMILY_IPV6, ipproto};
use ctnetlink::{DecodeError, Tuple};

#[cfg(test)]
mod tests;

/// Headers of IPv6 that may stand before the transport header.
mod next_header {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION: u8 = 60;
}

const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const TCP_LEN: usize = 20;
const UDP_LEN: usize = 8;

/// A range of a transport payload, and what takes its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Bytes of the payload, counted from its first.
    pub range: Range<usize>,
    /// What will stand there; may have another length.
    pub bytes: Vec<u8>,
}

/// A whole IP packet with TCP or UDP inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// From the IP header to the end of the payload; padding is left out.
    bytes: &'a [u8],
    /// Addresses, ports and protocol as they stand in the packet.
    pub tuple: Tuple,
    /// TCP sequence number of the payload's first byte (SYN aside); 0 for UDP.
    pub seq: u32,
    transport_at: usize,
    payload_at: usize,
}

impl<'a> Segment<'a> {
    /// Reads the headers of a packet that begins with its IP header.
    ///
    /// # Errors
    /// When it is cut, malformed, a fragment, routed by way of another host, or neither TCP nor UDP.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let ip = match bytes.first().map(|first| first >> 4) {
            Some(4) => ipv4(bytes)?,
            Some(6) => ipv6(bytes)?,
            Some(_) => return Err(DecodeError::new(0, "neither IPv4 nor IPv6")),
            None => return Err(DecodeError::new(0, "no packet")),
        };
        match ip.tuple.proto {
            ipproto::TCP => tcp(&ip),
            ipproto::UDP => udp(&ip),
            _ => Err(DecodeError::new(ip.transport_at, "neither TCP nor UDP")),
        }
    }

    /// What follows the transport header.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(self.payload_at..).unwrap_or_default()
    }

    /// The packet with these edits of its payload: lengths of IP and UDP and the checksums are right in it, but for a
    /// UDP checksum of 0, which says that there is none. Edits may come in any order. `out` is overwritten.
    ///
    /// TCP sequence numbers stay: the kernel adjusts those that follow.
    ///
    /// # Errors
    /// When edits overlap or lie outside the payload, or the packet would be longer than IP can say.
    pub fn rewrite(&self, edits: &[Edit], out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let mut order: Vec<&Edit> = edits.iter().collect();
        order.sort_by_key(|edit| edit.range.start);
        out.clear();
        out.extend_from_slice(self.bytes.get(..self.payload_at).unwrap_or_default());
        let payload = self.payload();
        let mut at = 0;
        for edit in order {
            let outside = || DecodeError::new(edit.range.start, "edits overlap or lie outside");
            out.extend_from_slice(payload.get(at..edit.range.start).ok_or_else(outside)?);
            payload.get(edit.range.clone()).ok_or_else(outside)?;
            out.extend_from_slice(&edit.bytes);
            at = edit.range.end;
        }
        out.extend_from_slice(payload.get(at..).unwrap_or_default());
        self.write_lengths(out)?;
        self.write_checksums(out);
        Ok(())
    }

    fn write_lengths(&self, out: &mut [u8]) -> Result<(), DecodeError> {
        let too_long = || DecodeError::new(0, "the packet would be too long");
        let (at, counted_from) =
            if self.tuple.family == FAMILY_IPV6 { (4, IPV6_LEN) } else { (2, 0) };
        let length = u16::try_from(out.len() - counted_from).map_err(|_| too_long())?;
        out[at..at + 2].copy_from_slice(&length.to_be_bytes());
        if self.tuple.proto == ipproto::UDP {
            let length = (out.len() - self.transport_at) as u16;
            out[self.transport_at + 4..][..2].copy_from_slice(&length.to_be_bytes());
        }
        Ok(())
    }

    fn write_checksums(&self, out: &mut [u8]) {
        if self.tuple.family == FAMILY_IPV4 {
            let options_end = usize::from(out[0] & 0x0f) * 4;
            out[10..12].fill(0);
            let sum = Sum::default().add(&out[..options_end]).finish();
            out[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        let is_udp = self.tuple.proto == ipproto::UDP;
        let at = self.transport_at + if is_udp { 6 } else { 16 };
        if is_udp && out[at..at + 2] == [0, 0] {
            return;
        }
        out[at..at + 2].fill(0);
        let length = (out.len() - self.transport_at) as u32;
        let sum = Sum::default()
            .add(&self.tuple.src)
            .add(&self.tuple.dst)
            .add(&u32::from(self.tuple.proto).to_be_bytes())
            .add(&length.to_be_bytes())
            .add(&out[self.transport_at..])
            .finish();
        let sum = if is_udp && sum == 0 { u16::MAX } else { sum };
        out[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

/// The internet checksum (RFC 1071). Every piece but the last must have an even length.
#[derive(Clone, Copy, Debug, Default)]
struct Sum(u64);

impl Sum {
    fn add(mut self, bytes: &[u8]) -> Self {
        let (pairs, rest) = bytes.as_chunks::<2>();
        self.0 += pairs.iter().map(|&pair| u64::from(u16::from_be_bytes(pair))).sum::<u64>();
        self.0 += rest.first().map_or(0, |&last| u64::from(last) << 8);
        self
    }

    fn finish(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }
}

/// What the IP header says: the packet without padding, and where the transport header begins.
struct Ip<'a> {
    bytes: &'a [u8],
    tuple: Tuple,
    transport_at: usize,
}

fn ipv4(bytes: &[u8]) -> Result<Ip<'_>, DecodeError> {
    let header: &[u8; IPV4_LEN] =
        bytes.first_chunk().ok_or_else(|| DecodeError::new(0, "IPv4 header cut"))?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header_len < IPV4_LEN || total < header_len {
        return Err(DecodeError::new(2, "bad IPv4 length"));
    }
    let bytes = bytes.get(..total).ok_or_else(|| DecodeError::new(bytes.len(), "packet cut"))?;
    // More fragments, or not the first: everything but "don't fragment" and the reserved bit.
    if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
        return Err(DecodeError::new(6, "a fragment"));
    }
    let src = [header[12], header[13], header[14], header[15]];
    let dst = [header[16], header[17], header[18], header[19]];
    Ok(Ip { bytes, tuple: Tuple::v4(src, dst, header[9]), transport_at: header_len })
}

fn ipv6(bytes: &[u8]) -> Result<Ip<'_>, DecodeError> {
    let header: &[u8; IPV6_LEN] =
        bytes.first_chunk().ok_or_else(|| DecodeError::new(0, "IPv6 header cut"))?;
    let total = IPV6_LEN + usize::from(u16::from_be_bytes([header[4], header[5]]));
    let bytes = bytes.get(..total).ok_or_else(|| DecodeError::new(bytes.len(), "packet cut"))?;
    let (mut src, mut dst) = ([0; 16], [0; 16]);
    src.copy_from_slice(&header[8..24]);
    dst.copy_from_slice(&header[24..40]);
    let (proto, transport_at) = skip_extensions(bytes, header[6])?;
    Ok(Ip { bytes, tuple: Tuple::v6(src, dst, proto), transport_at })
}

/// The transport protocol and where it begins, behind the extension headers.
fn skip_extensions(bytes: &[u8], first: u8) -> Result<(u8, usize), DecodeError> {
    let (mut kind, mut at) = (first, IPV6_LEN);
    loop {
        let is_extension = matches!(
            kind,
            next_header::HOP_BY_HOP
                | next_header::ROUTING
                | next_header::FRAGMENT
                | next_header::AUTHENTICATION
                | next_header::DESTINATION
        );
        if !is_extension {
            return Ok((kind, at));
        }
        let rest = bytes.get(at..).unwrap_or_default();
        let cut = || DecodeError::new(at, "extension header cut");
        let head: &[u8; 8] = rest.first_chunk().ok_or_else(cut)?;
        let len = match kind {
            next_header::FRAGMENT if u16::from_be_bytes([head[2], head[3]]) & 0xfff9 != 0 => {
                return Err(DecodeError::new(at, "a fragment"));
            }
            next_header::ROUTING if head[3] != 0 => {
                return Err(DecodeError::new(at, "routed by way of another host"));
            }
            next_header::FRAGMENT => 8,
            next_header::AUTHENTICATION => (usize::from(head[1]) + 2) * 4,
            _ => (usize::from(head[1]) + 1) * 8,
        };
        kind = head[0];
        at += len;
        if at > bytes.len() {
            return Err(DecodeError::new(bytes.len(), "extension header cut"));
        }
    }
}

impl<'a> Ip<'a> {
    /// The fixed part of the transport header; `cut` says that there is less.
    fn transport_header<const N: usize>(
        &self,
        cut: &'static str,
    ) -> Result<&'a [u8; N], DecodeError> {
        let rest = self.bytes.get(self.transport_at..).unwrap_or_default();
        rest.first_chunk().ok_or_else(|| DecodeError::new(self.transport_at, cut))
    }
}

fn tcp<'a>(ip: &Ip<'a>) -> Result<Segment<'a>, DecodeError> {
    let at = ip.transport_at;
    let header = ip.transport_header::<TCP_LEN>("TCP header cut")?;
    let payload_at = at + usize::from(header[12] >> 4) * 4;
    if payload_at < at + TCP_LEN || payload_at > ip.bytes.len() {
        return Err(DecodeError::new(at + 12, "bad TCP header length"));
    }
    let seq = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    let tuple = with_ports(ip.tuple, [header[0], header[1], header[2], header[3]]);
    Ok(Segment { bytes: ip.bytes, tuple, seq, transport_at: at, payload_at })
}

fn udp<'a>(ip: &Ip<'a>) -> Result<Segment<'a>, DecodeError> {
    let at = ip.transport_at;
    let header = ip.transport_header::<UDP_LEN>("UDP header cut")?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let bytes = ip.bytes.get(..at + length).filter(|_| length >= UDP_LEN);
    let bytes = bytes.ok_or_else(|| DecodeError::new(at + 4, "bad UDP length"))?;
    let tuple = with_ports(ip.tuple, [header[0], header[1], header[2], header[3]]);
    Ok(Segment { bytes, tuple, seq: 0, transport_at: at, payload_at: at + UDP_LEN })
}

const fn with_ports(tuple: Tuple, l4: [u8; 4]) -> Tuple {
    Tuple { l4, ..tuple }
}
