//! Records out of flows.

use super::attribute::{self, ATTRIBUTES_LEN_MAX};
use super::canonical::{Canonical, timeout_code, window_scales};
use super::{Before, Claim, NAT_DONE, OTHER, address_lens, bit, head, is_v6, nat, same};
use super::{protocol_code, source_half, status_of};
use crate::sync::v2::number;
use ctnetlink::flow::{ProtoState, Status};
use ctnetlink::{FlowKey, Tuple, Writer};

/// The most bytes of a record: a datagram with less room may not take the next one.
pub const RECORD_LEN_MAX: usize =
    2 + 3 * number::LEN_MAX + 1 + 32 + 4 + 18 + 3 + 2 + ATTRIBUTES_LEN_MAX;
// One fits every path with a head and a frame of its own.
const _: () = assert!(RECORD_LEN_MAX < 600);

/// Bytes of an attribute list that is kept for comparison with the next one. Longer lists are encoded in full each
/// time.
const LIST_KEPT: usize = 64;

/// What the writer of a frame of flows remembers of the records in it.
#[derive(Clone, Debug)]
pub struct Packer {
    before: Before,
    list: [u8; LIST_KEPT],
    /// How many bytes of it, 0 where there is none to compare with.
    list_len: usize,
}

/// How a translation travels.
enum Translation {
    None,
    Source {
        address: [u8; 16],
        port: [u8; 2],
        kept: bool,
    },
    /// The reply tuple as an attribute.
    Whole,
}

impl Packer {
    /// For a frame whose head says `version`: the first record should have it.
    #[must_use]
    pub const fn new(version: u64) -> Self {
        let before = Before {
            version,
            src: [None; 2],
            dst: [None; 2],
            l4: [None; 2],
            translated: [None; 2],
        };
        Self { before, list: [0; LIST_KEPT], list_len: 0 }
    }

    /// Appends the state of a flow to `bytes`. Its zone is that of the frame. `None`, and nothing has happened, when it
    /// does not fit; else the length.
    ///
    /// A claim that is an end is encoded by [`Packer::end`].
    #[inline]
    pub fn state(
        &mut self,
        bytes: &mut [u8],
        claim: &Claim,
        flow: &Canonical<'_>,
    ) -> Option<usize> {
        if claim.what.is_end() {
            return self.end(bytes, claim, &flow.key);
        }
        let orig = &flow.key.tuple;
        let mirror = orig.inverted();
        let translation = translation(&mirror, &flow.reply);
        let s = status_bits(flow);
        let exact = status_of(s, &mirror, &flow.reply) == flow.status;
        let whole = matches!(translation, Translation::Whole);
        // Most flows have no list, and its room is then not even cleared.
        let listed;
        let list: &[u8] = if flow.needs_list(whole || !exact) {
            listed = list_of(flow, !exact, whole);
            &listed.0[..listed.1]
        } else {
            &[]
        };

        let mut after = self.before;
        let mut w = Writer::new(bytes);
        let attr = if list.is_empty() { 0 } else { head::ATTR };
        let code = translation_code(&mut after, &translation, is_v6(orig));
        put_identity(&mut w, &mut after, claim, orig, attr, code);
        put_translation(&mut w, &translation, code, is_v6(orig));
        w.put(&[s | if exact { bit::EXACT } else { 0 }]);
        if let ProtoState::Tcp(tcp) = &flow.proto {
            w.put(&[window_scales(tcp)]);
        }
        w.put(&[timeout_code(flow.timeout_s)]);
        let again = !list.is_empty() && list == &self.list[..self.list_len];
        if again {
            w.put(&[0]);
        } else if !list.is_empty() {
            number::put(&mut w, list.len() as u64);
            w.put(list);
        }
        let len = w.finish().ok()?;
        self.before = after;
        if !list.is_empty() && !again {
            self.keep(list);
        }
        Some(len)
    }

    /// Appends the end of a flow to `bytes`. `None`, and nothing has happened, when it does not fit; else the length.
    #[inline]
    pub fn end(&mut self, bytes: &mut [u8], claim: &Claim, key: &FlowKey) -> Option<usize> {
        let mut after = self.before;
        let mut w = Writer::new(bytes);
        let orig = super::canonical::tuple(key.tuple);
        put_identity(&mut w, &mut after, claim, &orig, 0, nat::NONE);
        let len = w.finish().ok()?;
        self.before = after;
        Some(len)
    }

    fn keep(&mut self, list: &[u8]) {
        self.list_len = 0;
        if let Some(room) = self.list.get_mut(..list.len()) {
            room.copy_from_slice(list);
            self.list_len = list.len();
        }
    }
}

/// The list of a flow, and its length.
#[inline(never)]
fn list_of(flow: &Canonical<'_>, status: bool, reply: bool) -> ([u8; ATTRIBUTES_LEN_MAX], usize) {
    let mut list = [0; ATTRIBUTES_LEN_MAX];
    let mut w = Writer::new(&mut list);
    attribute::put_list(&mut w, flow, status, reply);
    let len = w.finish().unwrap_or(0);
    (list, len)
}

/// S without its last bit.
fn status_bits(flow: &Canonical<'_>) -> u8 {
    let bits = [
        (Status::SEEN_REPLY, bit::SEEN_REPLY),
        (Status::ASSURED, bit::ASSURED),
        (NAT_DONE, bit::NAT_DONE),
    ];
    let set = bits.into_iter().filter(|(status, _)| flow.status.contains(*status));
    let state = if let ProtoState::Tcp(tcp) = &flow.proto { tcp.state << 4 } else { 0 };
    set.fold(state, |s, (_, bit)| s | bit)
}

fn translation(mirror: &Tuple, reply: &Tuple) -> Translation {
    if reply == mirror {
        return Translation::None;
    }
    let half = source_half(mirror);
    let port = [reply.l4[half], reply.l4[half + 1]];
    if super::translate_source(*mirror, reply.dst, Some(port)) != *reply {
        return Translation::Whole;
    }
    let kept = port == [mirror.l4[half], mirror.l4[half + 1]];
    Translation::Source { address: reply.dst, port, kept }
}

/// Appends everything up to the layer-4 bytes.
#[inline]
fn put_identity(
    w: &mut Writer<'_>,
    after: &mut Before,
    claim: &Claim,
    orig: &Tuple,
    attr: u8,
    translation: u8,
) {
    let v6 = is_v6(orig);
    let family = usize::from(v6);
    let code = protocol_code(orig.proto, v6);
    let epoch = claim.epoch != 0 || claim.base != 0;
    let (src, src_from) = address_code(after.src[family].as_ref(), &orig.src, v6);
    let (dst, dst_from) = address_code(after.dst[family].as_ref(), &orig.dst, v6);
    let [sport, dport] = [[orig.l4[0], orig.l4[1]], [orig.l4[2], orig.l4[3]]];
    let same = [after.l4[0] == Some(sport), after.l4[1] == Some(dport)];
    let h0 = (claim.what as u8) << 6
        | if v6 { head::IPV6 } else { 0 }
        | code << 2
        | if epoch { head::EPOCH } else { 0 }
        | attr;
    let h1 = src << 6 | dst << 4 | u8::from(same[0]) << 3 | u8::from(same[1]) << 2 | translation;
    w.put(&[h0, h1]);
    number::put(w, claim.version.wrapping_sub(after.version) & number::MAX);
    if epoch {
        number::put(w, u64::from(claim.epoch));
        number::put(w, claim.base);
    }
    if code == OTHER {
        w.put(&[orig.proto]);
    }
    let len = address_lens(v6).0;
    w.put(&orig.src[src_from..len]);
    w.put(&orig.dst[dst_from..len]);
    for (same, half) in same.into_iter().zip([sport, dport]) {
        if !same {
            w.put(&half);
        }
    }
    after.version = claim.version & number::MAX;
    after.src[family] = Some(orig.src);
    after.dst[family] = Some(orig.dst);
    after.l4 = [Some(sport), Some(dport)];
}

/// The code of an address, and from which byte on the address is encoded.
#[inline]
fn address_code(before: Option<&[u8; 16]>, now: &[u8; 16], v6: bool) -> (u8, usize) {
    let (len, net) = address_lens(v6);
    match before {
        Some(before) if before == now => (same::ADDRESS, len),
        Some(before) if before[..net] == now[..net] => (same::NET, net),
        _ => (same::WHOLE, 0),
    }
}

/// The code of a translation, whose address the next record may refer to.
fn translation_code(after: &mut Before, translation: &Translation, v6: bool) -> u8 {
    let Translation::Source { address, kept, .. } = translation else { return nat::NONE };
    let before = after.translated[usize::from(v6)].replace(*address);
    match (before == Some(*address), kept) {
        (true, true) => nat::SAME_ADDRESS,
        (true, false) => nat::PORT,
        (false, _) => nat::ADDRESS_AND_PORT,
    }
}

#[inline]
fn put_translation(w: &mut Writer<'_>, translation: &Translation, code: u8, v6: bool) {
    let Translation::Source { address, port, .. } = translation else { return };
    if code == nat::ADDRESS_AND_PORT {
        w.put(&address[..address_lens(v6).0]);
    }
    if code != nat::SAME_ADDRESS {
        w.put(port);
    }
}
