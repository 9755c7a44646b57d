//! The attributes of a record: what few flows have.
//!
//! ```text
//!   list: length v, then each: number v, length v, value
//! ```
//!
//! | nr | value |
//! |---|---|
//! | 1 | status 4 |
//! | 2 | mark 4 |
//! | 3 | zones of the directions: which 1 (1 original, 2 reply), 2 each |
//! | 4 | original tuple of the master flow: protocol 1, l4 4, src and dst, 4 or 16 each |
//! | 5 | name of the helper, 1 to 15 bytes |
//! | 6 | labels, words of 4, 1 to 32 of them; label 0 is bit 0 of the first |
//! | 7 | sequence adjustment: original position, before, after; the same of the reply; 24 |
//! | 8 | SYNPROXY: initial sequence number, initial timestamp, timestamp offset; 12 |
//! | 9 | reply tuple, as 4: where no translation of the source alone makes it |
//! | 10 | SCTP: state 1, verification tags of both directions, 4 each |
//! | 11 | DCCP: state 1, role 1 |
//! | 12 | domain, reserved |
//!
//! Numbers are in network order, whatever order version 1 gave them.

use super::canonical::{self, Canonical};
use crate::cursor::Reader;
use crate::sync::v2::number;
use alloc::vec::Vec;
use ctnetlink::flow::{Extra, HelperName, ProtoState, SeqAdj, Status, Synproxy};
use ctnetlink::tuple::{FAMILY_IPV4, FAMILY_IPV6};
use ctnetlink::{DecodeError, Tuple, Writer};

pub(super) const STATUS: u64 = 1;
pub(super) const MARK: u64 = 2;
const ZONES: u64 = 3;
const MASTER: u64 = 4;
const HELPER: u64 = 5;
const LABELS: u64 = 6;
const SEQ_ADJ: u64 = 7;
const SYNPROXY: u64 = 8;
pub(super) const REPLY: u64 = 9;
const SCTP: u64 = 10;
const DCCP: u64 = 11;

/// Most words of labels that travel; the kernel has 4.
pub const LABEL_WORDS_MAX: usize = 32;
/// Most bytes of a list that [`put_list`] writes: each attribute once, with two bytes in front and labels with three.
pub const ATTRIBUTES_LEN_MAX: usize =
    6 + 6 + 7 + 39 + 17 + (3 + 4 * LABEL_WORDS_MAX) + 26 + 14 + 39 + 11 + 4;
const _: () = assert!(ATTRIBUTES_LEN_MAX < 1 << 14);

/// The labels of a flow without words of zeros at their end; `None` where none is set.
pub(super) fn labels_of(extra: &Extra) -> Option<&[u32]> {
    let words = extra.labels.as_deref()?;
    let words = &words[..words.len().min(LABEL_WORDS_MAX)];
    let len = words.iter().rposition(|&word| word != 0)? + 1;
    Some(&words[..len])
}

/// The sequence adjustment, unless it adjusts nothing.
pub(super) fn seq_adj_of(extra: &Extra) -> Option<[SeqAdj; 2]> {
    extra.seq_adj.filter(|ends| *ends != [SeqAdj::default(); 2])
}

/// The parameters of SYNPROXY, unless all are zero.
pub(super) fn synproxy_of(extra: &Extra) -> Option<Synproxy> {
    extra.synproxy.filter(|synproxy| *synproxy != Synproxy::default())
}

/// Appends the attributes of a flow, in the order of their numbers: status and reply where asked for.
pub(in crate::sync::v2) fn put_list(
    w: &mut Writer<'_>,
    flow: &Canonical<'_>,
    status: bool,
    reply: bool,
) {
    if status {
        put(w, STATUS, &flow.status.bits().to_be_bytes());
    }
    if flow.mark != 0 {
        put(w, MARK, &flow.mark.to_be_bytes());
    }
    if let Some(extra) = flow.extra {
        put_rare(w, extra);
    }
    if reply {
        put_tuple(w, REPLY, &flow.reply);
    }
    match flow.proto {
        ProtoState::Sctp { state, vtag: [a, b] } if (state, a, b) != (0, 0, 0) => {
            put_head(w, SCTP, 9);
            w.put(&[state]);
            put_words(w, &[a, b]);
        }
        ProtoState::Dccp { state, role } if (state, role) != (0, 0) => put(w, DCCP, &[state, role]),
        _ => {}
    }
}

fn put_rare(w: &mut Writer<'_>, extra: &Extra) {
    if extra.zones != [None; 2] {
        let [orig, reply] = extra.zones;
        let which = u8::from(orig.is_some()) | u8::from(reply.is_some()) << 1;
        let zones = extra.zones.iter().flatten();
        put_head(w, ZONES, 1 + 2 * zones.clone().count());
        w.put(&[which]);
        zones.for_each(|zone| w.put(&zone.to_be_bytes()));
    }
    if let Some(master) = extra.master.filter(Tuple::is_known) {
        put_tuple(w, MASTER, &canonical::tuple(master));
    }
    if let Some(helper) = &extra.helper {
        put(w, HELPER, helper.as_bytes());
    }
    if let Some(labels) = labels_of(extra) {
        put_head(w, LABELS, 4 * labels.len());
        put_words(w, labels);
    }
    if let Some(ends) = seq_adj_of(extra) {
        put_head(w, SEQ_ADJ, 24);
        for end in ends {
            put_words(w, &[end.correction_pos, end.offset_before, end.offset_after]);
        }
    }
    if let Some(synproxy) = synproxy_of(extra) {
        put_head(w, SYNPROXY, 12);
        put_words(w, &[synproxy.isn, synproxy.its, synproxy.tsoff]);
    }
}

fn put_head(w: &mut Writer<'_>, number: u64, len: usize) {
    number::put(w, number);
    number::put(w, len as u64);
}

fn put(w: &mut Writer<'_>, number: u64, value: &[u8]) {
    put_head(w, number, value.len());
    w.put(value);
}

fn put_words(w: &mut Writer<'_>, words: &[u32]) {
    for word in words {
        w.put(&word.to_be_bytes());
    }
}

fn put_tuple(w: &mut Writer<'_>, number: u64, tuple: &Tuple) {
    let len = if tuple.family == FAMILY_IPV6 { 16 } else { 4 };
    put_head(w, number, 5 + 2 * len);
    w.put(&[tuple.proto]);
    w.put(&tuple.l4);
    w.put(&tuple.src[..len]);
    w.put(&tuple.dst[..len]);
}

/// One attribute.
#[derive(Clone, Copy, Debug)]
struct Attribute<'a> {
    number: u64,
    value: &'a [u8],
}

/// Walks a list. It ends with an error where a length is beyond the list.
struct List<'a>(Reader<'a>);

impl<'a> List<'a> {
    fn next(&mut self) -> Result<Option<Attribute<'a>>, DecodeError> {
        if self.0.remaining() == 0 {
            return Ok(None);
        }
        let number = number::take(&mut self.0)?;
        let len = number::take_len(&mut self.0)?;
        let value = self.0.take(len, "attribute longer than the list")?;
        Ok(Some(Attribute { number, value }))
    }
}

impl Attribute<'_> {
    fn array<const N: usize>(&self) -> Result<[u8; N], &'static str> {
        self.value.try_into().map_err(|_| "attribute of wrong size")
    }

    fn u32(&self) -> Result<u32, &'static str> {
        self.array().map(u32::from_be_bytes)
    }

    fn words<const N: usize>(&self) -> Result<[u32; N], &'static str> {
        let (words, rest) = self.value.as_chunks::<4>();
        let words: &[[u8; 4]; N] = words.try_into().map_err(|_| "attribute of wrong size")?;
        if rest.is_empty() {
            Ok(words.map(u32::from_be_bytes))
        } else {
            Err("attribute of wrong size")
        }
    }

    fn tuple(&self) -> Result<Tuple, &'static str> {
        let (&[proto, a, b, c, d], addresses) =
            self.value.split_first_chunk::<5>().ok_or("attribute of wrong size")?;
        let len = addresses.len() / 2;
        let family = match addresses.len() {
            8 => FAMILY_IPV4,
            32 => FAMILY_IPV6,
            _ => return Err("attribute of wrong size"),
        };
        let mut tuple = Tuple { l4: [a, b, c, d], family, proto, ..Tuple::UNKNOWN };
        tuple.src[..len].copy_from_slice(&addresses[..len]);
        tuple.dst[..len].copy_from_slice(&addresses[len..]);
        Ok(tuple)
    }

    fn helper(&self) -> Result<HelperName, &'static str> {
        let name = HelperName::from_bytes(self.value);
        name.filter(|name| name.as_bytes().len() == self.value.len()).ok_or("no name of a helper")
    }

    fn zones(&self) -> Result<[Option<u16>; 2], &'static str> {
        let mut r = Reader::new(self.value);
        let [which] = r.array("attribute of wrong size").map_err(|e| e.what)?;
        let mut zones = [None; 2];
        for (zone, bit) in zones.iter_mut().zip([1, 2]) {
            if which & bit != 0 {
                let bytes = r.array("attribute of wrong size").map_err(|e| e.what)?;
                *zone = Some(u16::from_be_bytes(bytes));
            }
        }
        if r.remaining() == 0 && which <= 3 { Ok(zones) } else { Err("attribute of wrong size") }
    }

    fn labels(&self) -> Result<Labels<'_>, &'static str> {
        let (words, rest) = self.value.as_chunks::<4>();
        if !rest.is_empty() || words.is_empty() || words.len() > LABEL_WORDS_MAX {
            return Err("attribute of wrong size");
        }
        let len = words.iter().rposition(|word| *word != [0; 4]).map_or(0, |at| at + 1);
        Ok(Labels(&words[..len]))
    }
}

/// The words of labels in a record, without zeros at their end.
struct Labels<'a>(&'a [[u8; 4]]);

impl Labels<'_> {
    fn owned(&self) -> Option<Vec<u32>> {
        let words = self.0.iter().map(|word| u32::from_be_bytes(*word));
        (!self.0.is_empty()).then(|| words.collect())
    }
}

/// What a list says that is kept beside it; the rest stays in the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) status: Option<Status>,
    pub(super) mark: u32,
    pub(super) reply: Option<Tuple>,
    pub(super) proto: ProtoState,
    /// Whether [`rare`] finds anything.
    pub(super) rare: bool,
}

/// Reads and checks a list, whether its values are kept or not, so that [`rare`] cannot fail. The error says what is
/// wrong with a value, or with the list.
pub(super) fn read(list: &[u8]) -> Result<Kept, &'static str> {
    let mut kept = Kept::default();
    let mut list = List(Reader::new(list));
    while let Some(a) = list.next().map_err(|e| e.what)? {
        match a.number {
            STATUS => kept.status = Some(canonical::shared(Status::from_bits_retain(a.u32()?))),
            MARK => kept.mark = a.u32()?,
            REPLY => kept.reply = Some(a.tuple()?),
            SCTP => {
                let [state, vtag @ ..] = a.array::<9>()?;
                let (tags, _) = vtag.as_chunks::<4>();
                let vtag = [u32::from_be_bytes(tags[0]), u32::from_be_bytes(tags[1])];
                kept.proto = ProtoState::Sctp { state, vtag };
            }
            DCCP => {
                let [state, role] = a.array()?;
                kept.proto = ProtoState::Dccp { state, role };
            }
            number => kept.rare |= check_rare(number, &a)?,
        }
    }
    Ok(kept)
}

/// Whether an attribute is one of the rare ones, and right.
fn check_rare(number: u64, a: &Attribute<'_>) -> Result<bool, &'static str> {
    match number {
        ZONES => a.zones().map(|_| ())?,
        MASTER => a.tuple().map(|_| ())?,
        HELPER => a.helper().map(|_| ())?,
        LABELS => a.labels().map(|_| ())?,
        SEQ_ADJ => a.words::<6>().map(|_| ())?,
        SYNPROXY => a.words::<3>().map(|_| ())?,
        // An unknown attribute that does not change what the others mean.
        _ => return Ok(false),
    }
    Ok(true)
}

/// The rare fields that a list holds, which [`read`] found right.
pub(super) fn rare(list: &[u8]) -> Extra {
    Extra::default().with(|extra| {
        let mut list = List(Reader::new(list));
        while let Ok(Some(a)) = list.next() {
            match a.number {
                ZONES => extra.zones = a.zones().unwrap_or_default(),
                MASTER => extra.master = a.tuple().ok(),
                HELPER => extra.helper = a.helper().ok(),
                LABELS => extra.labels = a.labels().ok().and_then(|labels| labels.owned()),
                SEQ_ADJ => extra.seq_adj = a.words().ok().map(seq_adj),
                SYNPROXY => extra.synproxy = a.words().ok().map(synproxy),
                _ => {}
            }
        }
        extra.seq_adj = seq_adj_of(extra);
        extra.synproxy = synproxy_of(extra);
    })
}

fn seq_adj([p0, b0, a0, p1, b1, a1]: [u32; 6]) -> [SeqAdj; 2] {
    [(p0, b0, a0), (p1, b1, a1)].map(|(correction_pos, offset_before, offset_after)| SeqAdj {
        correction_pos,
        offset_before,
        offset_after,
    })
}

fn synproxy([isn, its, tsoff]: [u32; 3]) -> Synproxy {
    Synproxy { isn, its, tsoff }
}
