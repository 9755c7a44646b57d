//! The steps by which a difference is found (R11.5). None of them keeps anything.

use super::Digest;
use core::cmp::Ordering;
use core::ops::Range;
use wire::sync::v2::Datagram;
use wire::sync::v2::digest::{
    CHILDREN, FlowId, IdRow, LEAF_BITS_MAX, LEAF_HEAD_LEN, Level, SLICES, Sums, part_rows,
    put_level, put_node, put_part, put_wants, want_rows,
};

/// Bytes of a frame up to what its nodes or leaves take: head of the frame, and level or `upto`.
const SUMS_HEAD_LEN: usize = 3 + 1;
const LEAVES_HEAD_LEN: usize = 3 + 8;

/// The children, of those whose sums came, whose sum is another one here: slices, groups of all slices, or leaves of
/// all groups, as the level says. Those outside the stream's slices are left out.
pub fn differing(
    digest: &Digest,
    sums: Sums<'_>,
    bits: u8,
    slices: Range<usize>,
) -> impl Iterator<Item = u16> {
    let level = sums.level;
    let per_slice = match level {
        Level::Slices => 1,
        Level::Groups => CHILDREN,
        Level::Leaves => CHILDREN * CHILDREN,
    };
    let children = sums.nodes().flat_map(move |(node, theirs)| {
        let first = usize::from(node) * CHILDREN;
        let ours = digest.children(level, node, bits);
        let pairs = ours.zip(theirs).enumerate();
        pairs.filter(|(_, (ours, theirs))| ours != theirs).map(move |(child, _)| first + child)
    });
    let inside = children.filter(move |child| slices.contains(&(child / per_slice)));
    inside.filter_map(|child| u16::try_from(child).ok())
}

/// Packs the sums of the children of these nodes into one frame: how many nodes fitted. None fitted: no frame was
/// begun.
pub fn pack_sums(
    datagram: &mut Datagram<'_>,
    digest: &Digest,
    level: Level,
    nodes: &[u16],
    bits: u8,
) -> usize {
    let room = datagram.room().saturating_sub(SUMS_HEAD_LEN) / level.node_len();
    let count = nodes.len().min(room);
    if count == 0 {
        return 0;
    }
    datagram.sums(|w| {
        put_level(w, level);
        for node in &nodes[..count] {
            put_node(w, *node, digest.children(level, *node, bits));
        }
    });
    count
}

/// The leaves by which rows are listed, of one leaf of ends that compare with `bits`.
#[must_use]
pub fn listed_leaves(leaf: u16, bits: u8) -> Range<usize> {
    let first = usize::from(leaf);
    let count = 1 << (LEAF_BITS_MAX - bits.min(LEAF_BITS_MAX));
    first..(first + count).min(SLICES * CHILDREN * CHILDREN)
}

/// Where the packing of rows is: which leaf of a list, and which of its rows comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    leaf: usize,
    row: usize,
}

impl Listing {
    /// Whether all of `leaves` leaves were packed.
    #[must_use]
    pub const fn is_over(&self, leaves: usize) -> bool {
        self.leaf >= leaves
    }
}

/// Packs rows of leaves into one frame, and moves `at` behind them. Each leaf's rows are in the order of their ids,
/// and those that are over have print 0. A leaf that does not fit is sent in parts, each of which is complete between
/// its ends.
pub fn pack_rows(
    datagram: &mut Datagram<'_>,
    upto: u64,
    leaves: &[(u16, &[IdRow])],
    at: &mut Listing,
) {
    let room = datagram.room().saturating_sub(LEAVES_HEAD_LEN);
    let begun = *at;
    if at.is_over(leaves.len()) || part_rows(room) < 2 {
        return;
    }
    let mut left = room;
    datagram.ids(upto, |w| {
        while let Some((leaf, rows)) = leaves.get(at.leaf) {
            // The row before is repeated: it marks the lower end of the part.
            let from = at.row.saturating_sub(1);
            let fits = part_rows(left);
            if left < LEAF_HEAD_LEN || rows.len() > from && fits < 2 && fits < rows.len() - from {
                break;
            }
            let to = rows.len().min(from + fits);
            put_part(w, *leaf, [at.row == 0, to == rows.len()], rows[from..to].iter());
            left -= LEAF_HEAD_LEN + 10 * (to - from);
            *at = if to == rows.len() {
                Listing { leaf: at.leaf + 1, row: 0 }
            } else {
                Listing { leaf: at.leaf, row: to }
            };
        }
    });
    debug_assert_ne!(begun, *at, "each frame gets on");
}

/// What a holder has of a flow in a leaf that the owner lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Id of the flow.
    pub id: FlowId,
    /// The low 4 bytes of its print; 0: what is held is an end.
    pub print: u32,
    /// The owner's version of it.
    pub version: u64,
}

/// What a holder does about a flow of a leaf that the owner lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The row goes: the owner neither claims the flow nor remembers its end.
    Drop(FlowId),
    /// The owner is asked for it. An end that it remembers is asked for too, when the flow is held as living: the list
    /// says neither its epoch nor whether it was closed, and both decide what becomes of the flow here (R10.4, R10.7).
    Want(FlowId),
}

/// Compares what the owner lists of a leaf, or of a part of one, with what is held there, both in the order of ids:
/// each pair that is not the same. What is held of a later version than `upto` is not in question.
pub fn unlike(
    listed: impl IntoIterator<Item = IdRow>,
    held: impl IntoIterator<Item = Held>,
    upto: u64,
    mut each: impl FnMut(Option<IdRow>, Option<Held>),
) {
    let (mut listed, mut held) = (listed.into_iter().peekable(), held.into_iter().peekable());
    loop {
        let order = match (listed.peek(), held.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(listed), Some(held)) => listed.id.cmp(&held.id),
        };
        let there = if order.is_le() { listed.next() } else { None };
        let here = if order.is_ge() { held.next() } else { None };
        let prints = [there.map_or(0, |there| there.print), here.map_or(0, |here| here.print)];
        let in_question = here.is_none_or(|here| here.version <= upto);
        if in_question && prints[0] != prints[1] {
            each(there, here);
        }
    }
}

/// What a holder does about each pair that is not the same.
pub fn judge(
    listed: impl IntoIterator<Item = IdRow>,
    held: impl IntoIterator<Item = Held>,
    upto: u64,
    mut verdict: impl FnMut(Verdict),
) {
    unlike(listed, held, upto, |there, here| match (there, here) {
        (Some(there), _) => verdict(Verdict::Want(there.id)),
        (None, Some(here)) => verdict(Verdict::Drop(here.id)),
        (None, None) => {}
    });
}

/// Packs what is wanted into one frame, in the order of ids, to be shown to people or to mend: how many ids fitted.
pub fn pack_wants(
    datagram: &mut Datagram<'_>,
    (upto, people): (u64, bool),
    ids: &[FlowId],
) -> usize {
    let room = datagram.room().saturating_sub(LEAVES_HEAD_LEN);
    if ids.is_empty() || want_rows(room) == 0 {
        return 0;
    }
    let (mut at, mut left) = (0, room);
    datagram.wants(upto, |w| {
        while let Some(first) = ids.get(at) {
            let same = ids[at..].iter().take_while(|id| id.leaf() == first.leaf()).count();
            let count = same.min(want_rows(left));
            if count == 0 {
                break;
            }
            put_wants(w, (first.leaf(), people), ids[at..at + count].iter());
            left -= LEAF_HEAD_LEN + 6 * count;
            at += count;
        }
    });
    at
}
