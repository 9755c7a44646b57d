//! What both ends compare: ids and prints of flows, and the frames that find where two tables differ.
//!
//! ```text
//!   id     | slice 6 | group 5 | leaf 5 |            48 more bits             |   SipHash-1-3, 64 bits
//!            \________________________/   \_________________________________/
//!              the leaf's number, 16              sent in IDS and WANT, 6 bytes
//!
//!   SUMS   level 1 (0 slices, 1 groups, 2 leaves); each: node 2, the low 4 bytes of each child's sum
//!   IDS    upto 8; each leaf: leaf 2, rows 2 (bit 15: not from the leaf's start, bit 14: not to its end); each: id 6,
//! print 4
//!   WANT   upto 8; each leaf: leaf 2, rows 2 (bit 15: to be shown to people, and not as a repair); each: id 6
//! ```
//!
//! A leaf that does not fit one datagram is sent in parts. Each part covers the range from behind its first row,
//! which is the last row of the part before (bit 15 missing: from the start of the leaf, the first row included), up
//! to its last row (bit 14 missing: to the end of the leaf). Rows are in the order of their ids.

use super::flow::{ATTRIBUTES_LEN_MAX, Canonical, put_list};
use crate::cursor::Reader;
use core::hash::Hasher as _;
use ctnetlink::flow::{ProtoState, TcpState};
use ctnetlink::tuple::FAMILY_IPV6;
use ctnetlink::{DecodeError, FlowKey, Writer};
use siphasher::sip::SipHasher13;

/// How many slices all flows have.
pub const SLICES: usize = 64;
/// Groups of a slice, and leaves of a group.
pub const CHILDREN: usize = 32;
/// Leaves of all slices.
pub const LEAVES: usize = SLICES * CHILDREN * CHILDREN;
/// How many bits select the leaf of a slice.
pub const LEAF_BITS_MAX: u8 = 10;

/// The key of ids and prints: 16 secret bytes that all nodes have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DigestKey(pub [u8; 16]);

/// The key is a secret: an attacker who knows it can choose tuples that crowd one leaf.
impl core::fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("DigestKey(..)")
    }
}

/// The id of a flow: the same at every node that has the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(pub u64);

/// The first of the highest bits of an id, which say the slice.
const SLICE_AT: u32 = 58;
const SLICE_MASK: u64 = !0 << SLICE_AT;

impl FlowId {
    /// The 64th of all flows that it belongs to.
    #[must_use]
    pub const fn slice(self) -> usize {
        (self.0 >> SLICE_AT) as usize
    }

    /// The same but for the slice, which is the other one's.
    #[must_use]
    pub const fn in_slice_of(self, other: Self) -> Self {
        Self(self.0 & !SLICE_MASK | other.0 & SLICE_MASK)
    }

    /// Number of its group, of 2,048.
    #[must_use]
    pub const fn group(self) -> u16 {
        (self.0 >> 53) as u16
    }

    /// Number of its leaf, of 65,536.
    #[must_use]
    pub const fn leaf(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// The part of the id that distinguishes it from others of its leaf.
    #[must_use]
    pub const fn low(self) -> u64 {
        self.0 & ((1 << 48) - 1)
    }

    /// The shard, of `shards`, that it belongs to.
    #[must_use]
    pub const fn shard(self, shards: usize) -> usize {
        self.slice() * shards / SLICES
    }

    /// The id with these parts.
    #[must_use]
    pub const fn of(leaf: u16, low: u64) -> Self {
        Self((leaf as u64) << 48 | low & ((1 << 48) - 1))
    }
}

/// The slice of a leaf.
#[must_use]
pub const fn leaf_slice(leaf: u16) -> usize {
    (leaf >> LEAF_BITS_MAX) as usize
}

impl DigestKey {
    pub(super) fn hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_key(&self.0)
    }

    /// The id of a flow. The bytes that are hashed: family 1 (4 or 6), protocol 1, zone 2, layer-4 bytes 4, source, and
    /// destination. A domain, when there are some, follows.
    #[must_use]
    #[inline]
    pub fn id(&self, key: &FlowKey) -> FlowId {
        let FlowKey { tuple, zone } = key;
        let v6 = tuple.family == FAMILY_IPV6;
        let [z0, z1] = zone.to_be_bytes();
        let [a, b, c, d] = tuple.l4;
        let mut hasher = self.hasher();
        if v6 {
            let mut bytes = [0; 40];
            bytes[..8].copy_from_slice(&[6, tuple.proto, z0, z1, a, b, c, d]);
            bytes[8..24].copy_from_slice(&tuple.src);
            bytes[24..].copy_from_slice(&tuple.dst);
            hasher.write(&bytes);
        } else {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&[4, tuple.proto, z0, z1, a, b, c, d]);
            bytes[8..12].copy_from_slice(&tuple.src[..4]);
            bytes[12..].copy_from_slice(&tuple.dst[..4]);
            hasher.write(&bytes);
        }
        FlowId(hasher.finish())
    }

    /// The print of a flow: equal at two nodes if all is equal that travels, but for the time left. The bytes that are
    /// hashed: id 8, status 4, TCP state 1, window scales 1 (0xff: none), zeros 2; then all attributes of the flow but
    /// the status, the reply tuple among them wherever it is not the mirrored original one. Never 0 in its low 4 bytes.
    #[must_use]
    #[inline]
    pub fn print(&self, id: FlowId, flow: &Canonical<'_>) -> u64 {
        let tcp = match flow.proto {
            ProtoState::Tcp(tcp) => tcp,
            _ => TcpState::default(),
        };
        let mut head = [0; 16];
        head[..8].copy_from_slice(&id.0.to_be_bytes());
        head[8..12].copy_from_slice(&flow.status.bits().to_be_bytes());
        head[12..14].copy_from_slice(&[tcp.state, flow.window_scales()]);
        let mut hasher = self.hasher();
        hasher.write(&head);
        let translated = flow.reply != flow.key.tuple.inverted();
        if flow.needs_list(translated) {
            let mut list = [0; ATTRIBUTES_LEN_MAX];
            let mut w = Writer::new(&mut list);
            put_list(&mut w, flow, false, translated);
            let len = w.finish().unwrap_or(0);
            hasher.write(&list[..len]);
        }
        let print = hasher.finish();
        if print as u32 == 0 { print | 1 } else { print }
    }
}

/// What the sums of a frame are sums of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// All slices: one node, 0, with 64 children.
    Slices = 0,
    /// Groups of a slice: 32.
    Groups = 1,
    /// Leaves of a group: 32.
    Leaves = 2,
}

impl Level {
    /// How many children a node has.
    #[must_use]
    pub const fn children(self) -> usize {
        match self {
            Self::Slices => SLICES,
            Self::Groups | Self::Leaves => CHILDREN,
        }
    }

    /// How many nodes there are.
    #[must_use]
    pub const fn nodes(self) -> usize {
        match self {
            Self::Slices => 1,
            Self::Groups => SLICES,
            Self::Leaves => SLICES * CHILDREN,
        }
    }

    /// Bytes of one node in a frame.
    #[must_use]
    pub const fn node_len(self) -> usize {
        2 + 4 * self.children()
    }
}

/// Frame 6: sums of parts of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sums<'a> {
    /// The level of the parts.
    pub level: Level,
    nodes: &'a [u8],
}

impl<'a> Sums<'a> {
    pub(super) fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(body);
        let level = match r.array("truncated sums")? {
            [0] => Level::Slices,
            [1] => Level::Groups,
            [2] => Level::Leaves,
            _ => return Err(DecodeError::new(0, "sums of what nobody knows")),
        };
        let nodes = r.take(r.remaining(), "truncated sums")?;
        if nodes.len().is_multiple_of(level.node_len()) {
            Ok(Self { level, nodes })
        } else {
            Err(DecodeError::new(1, "sums that end within a node"))
        }
    }

    /// Each node with its children's sums. A node that does not exist is left out.
    pub fn nodes(self) -> impl Iterator<Item = (u16, impl Iterator<Item = u32> + Clone + 'a)> {
        let nodes = self.nodes.chunks_exact(self.level.node_len());
        let nodes = nodes.filter_map(|bytes| {
            let (node, sums) = bytes.split_first_chunk::<2>()?;
            let (sums, _) = sums.as_chunks::<4>();
            let sums = sums.iter().map(|sum| u32::from_be_bytes(*sum));
            Some((u16::from_be_bytes(*node), sums))
        });
        nodes.filter(move |(node, _)| usize::from(*node) < self.level.nodes())
    }
}

/// The body of frame 6 up to its first node.
pub fn put_level(w: &mut Writer<'_>, level: Level) {
    w.put(&[level as u8]);
}

/// One node of frame 6. `sums` must be as many as its level has children.
pub fn put_node(w: &mut Writer<'_>, node: u16, sums: impl IntoIterator<Item = u32>) {
    w.put(&node.to_be_bytes());
    for sum in sums {
        w.put(&sum.to_be_bytes());
    }
}

/// A row of a leaf in frame 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdRow {
    /// Id of the flow.
    pub id: FlowId,
    /// The low 4 bytes of its print; 0: it is over.
    pub print: u32,
}

/// Bytes of a row in frame 7.
const ID_ROW_LEN: usize = 10;
/// Bytes in front of a leaf's rows.
pub const LEAF_HEAD_LEN: usize = 4;
/// Most rows that one part of a leaf can have.
pub const PART_ROWS_MAX: usize = (1 << 14) - 1;
const NOT_FROM_START: u16 = 1 << 15;
const NOT_TO_END: u16 = 1 << 14;
/// The bit of a leaf in frame 8 that asks for people only.
const SHOWN: u16 = 1 << 15;

/// Frame 7: the rows of some leaves, in the order of their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids<'a> {
    /// The sender's last version: what the holder knows of a later one is not in question.
    pub upto: u64,
    leaves: &'a [u8],
}

/// A leaf, or a part of one, in frame 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Number of the leaf.
    pub leaf: u16,
    /// The least and the greatest id that it says everything about.
    pub range: (FlowId, FlowId),
    rows: &'a [[u8; ID_ROW_LEN]],
}

impl<'a> Part<'a> {
    /// Its rows, in the order in which they were encoded.
    pub fn rows(self) -> impl ExactSizeIterator<Item = IdRow> + Clone + 'a {
        self.rows.iter().map(move |row| id_row(self.leaf, row))
    }
}

fn id_row(leaf: u16, [a, b, c, d, e, f, p0, p1, p2, p3]: &[u8; ID_ROW_LEN]) -> IdRow {
    let low = u64::from_be_bytes([0, 0, *a, *b, *c, *d, *e, *f]);
    IdRow { id: FlowId::of(leaf, low), print: u32::from_be_bytes([*p0, *p1, *p2, *p3]) }
}

impl<'a> Ids<'a> {
    pub(super) fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let (upto, leaves) = split_upto(body)?;
        Ok(Self { upto, leaves })
    }

    /// The leaves, or parts of leaves. An error ends the walk.
    pub fn parts(self) -> impl Iterator<Item = Result<Part<'a>, DecodeError>> {
        walk(self.leaves, ID_ROW_LEN, |leaf, count, bytes| {
            let (rows, _) = bytes.as_chunks::<ID_ROW_LEN>();
            let (first, last) = (rows.first(), rows.last());
            if !rows.is_sorted_by(|a, b| a[..6] < b[..6]) {
                return Err("rows that are not in order");
            }
            let behind = |row| FlowId(id_row(leaf, row).id.0.saturating_add(1));
            let from = match first {
                Some(row) if count & NOT_FROM_START != 0 => behind(row),
                _ => FlowId::of(leaf, 0),
            };
            let to = match last {
                Some(row) if count & NOT_TO_END != 0 => id_row(leaf, row).id,
                _ => FlowId::of(leaf, u64::MAX),
            };
            if from > to || rows.is_empty() && count != 0 {
                return Err("a part of a leaf that is about nothing");
            }
            let rows = if count & NOT_FROM_START != 0 { &rows[1..] } else { rows };
            Ok(Part { leaf, range: (from, to), rows })
        })
    }
}

/// Appends a leaf, or a part of one, to the body of frame 7. `whole`: whether it begins at the start of the leaf, and
/// ends at its end; if it does not begin there, the first of `rows` is the last one of the part before. At most
/// [`PART_ROWS_MAX`] rows; what is beyond is left out.
pub fn put_part<'r>(
    w: &mut Writer<'_>,
    leaf: u16,
    whole: [bool; 2],
    rows: impl ExactSizeIterator<Item = &'r IdRow>,
) {
    let count = rows.len().min(PART_ROWS_MAX) as u16;
    let [start, end] = whole;
    let from = if start { 0 } else { NOT_FROM_START };
    let to = if end { 0 } else { NOT_TO_END };
    w.put(&leaf.to_be_bytes());
    w.put(&(count | from | to).to_be_bytes());
    for row in rows.take(usize::from(count)) {
        w.put(&row.id.low().to_be_bytes()[2..]);
        w.put(&row.print.to_be_bytes());
    }
}

/// How many rows of a part fit into this many bytes.
#[must_use]
pub const fn part_rows(room: usize) -> usize {
    let rows = room.saturating_sub(LEAF_HEAD_LEN) / ID_ROW_LEN;
    if rows < PART_ROWS_MAX { rows } else { PART_ROWS_MAX }
}

/// Frame 8: what a holder lacks, or has otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants<'a> {
    /// The version of the frame that it answers.
    pub upto: u64,
    leaves: &'a [u8],
}

/// Bytes of a row in frame 8.
const WANT_LEN: usize = 6;

impl<'a> Wants<'a> {
    pub(super) fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let (upto, leaves) = split_upto(body)?;
        Ok(Self { upto, leaves })
    }

    /// Whether the rows are for people, and mend nothing: the first leaf says so for all.
    #[must_use]
    pub fn is_for_people(self) -> bool {
        let count = self.leaves.get(2..4).and_then(|count| count.try_into().ok());
        count.is_some_and(|count| u16::from_be_bytes(count) & SHOWN != 0)
    }

    /// The ids, leaf by leaf. An error ends the walk.
    pub fn leaves(
        self,
    ) -> impl Iterator<Item = Result<(u16, impl ExactSizeIterator<Item = FlowId> + 'a), DecodeError>>
    {
        walk(self.leaves, WANT_LEN, |leaf, _, bytes| {
            let (rows, _) = bytes.as_chunks::<WANT_LEN>();
            let ids = rows.iter().map(move |[a, b, c, d, e, f]| {
                FlowId::of(leaf, u64::from_be_bytes([0, 0, *a, *b, *c, *d, *e, *f]))
            });
            Ok((leaf, ids))
        })
    }
}

/// Appends what is wanted of one leaf to the body of frame 8; `people`: to be shown to people. At most
/// [`PART_ROWS_MAX`] ids.
pub fn put_wants<'r>(
    w: &mut Writer<'_>,
    (leaf, people): (u16, bool),
    ids: impl ExactSizeIterator<Item = &'r FlowId>,
) {
    let count = ids.len().min(PART_ROWS_MAX) as u16;
    w.put(&leaf.to_be_bytes());
    w.put(&(count | if people { SHOWN } else { 0 }).to_be_bytes());
    for id in ids.take(usize::from(count)) {
        w.put(&id.low().to_be_bytes()[2..]);
    }
}

/// How many ids of a leaf fit into this many bytes of frame 8.
#[must_use]
pub const fn want_rows(room: usize) -> usize {
    let rows = room.saturating_sub(LEAF_HEAD_LEN) / WANT_LEN;
    if rows < PART_ROWS_MAX { rows } else { PART_ROWS_MAX }
}

fn split_upto(body: &[u8]) -> Result<(u64, &[u8]), DecodeError> {
    let parts = body.split_first_chunk::<8>();
    let (upto, leaves) = parts.ok_or_else(|| DecodeError::new(0, "truncated list of leaves"))?;
    Ok((u64::from_be_bytes(*upto), leaves))
}

/// Walks leaves of which each has a head of 4 bytes and rows of `row_len`.
fn walk<'a, T>(
    bytes: &'a [u8],
    row_len: usize,
    leaf: impl Fn(u16, u16, &'a [u8]) -> Result<T, &'static str>,
) -> impl Iterator<Item = Result<T, DecodeError>> {
    let mut r = Reader::new(bytes);
    let mut next = move || {
        let at = r.position();
        let [n0, n1, c0, c1] = r.array("truncated leaf")?;
        let count = u16::from_be_bytes([c0, c1]);
        let rows = usize::from(count & !(NOT_FROM_START | NOT_TO_END));
        let rows = r.take(rows * row_len, "truncated leaf")?;
        let part = leaf(u16::from_be_bytes([n0, n1]), count, rows);
        let part = part.map_err(|what| DecodeError::new(8 + at, what))?;
        Ok((part, r.remaining() == 0))
    };
    let mut over = bytes.is_empty();
    core::iter::from_fn(move || {
        if over {
            return None;
        }
        let part = next();
        over = !matches!(part, Ok((_, false)));
        Some(part.map(|(part, _)| part).map_err(|e: DecodeError| e.shifted(0)))
    })
}
