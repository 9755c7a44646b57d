//! Sums over the claims of one owner, by which two nodes know that they hold the same, and find where they do not.
//!
//! ```text
//!   holder                                        owner
//!     |  CUT: another digest than mine    <---------  |
//!     |  SUMS of slices  ------------------------->   |   which slices differ?
//!     |  <-------------------- SUMS of their groups   |   which groups differ?
//!     |  SUMS of their leaves  ------------------->   |   which leaves differ?
//!     |  <------ IDS: every row of these, with print  |
//!     |  drops what is not listed; WANT: what it lacks or has otherwise -->
//!     |  <----------------------- FLOWS, as a repair  |
//! ```
//!
//! Each step is a function of the received message and of the table, so each may be lost, or come twice. What changes
//! meanwhile is found to differ at worst, and is sent once more.

mod locate;
mod scrub;
#[cfg(test)]
mod tests;

pub use locate::{
    Held, Listing, Verdict, differing, judge, listed_leaves, pack_rows, pack_sums, pack_wants,
    unlike,
};
pub use scrub::{Scrub, Scrubbed};

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use wire::sync::v2::digest::{CHILDREN, FlowId, LEAF_BITS_MAX, Level, SLICES};

/// Bits of a slice's number in an id.
const SLICE_BITS: u32 = 6;

/// The sums of one owner's claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// How many bits select the leaf of a slice.
    bits: u8,
    leaves: Vec<u64>,
    slices: [u64; SLICES],
    rows: [u32; SLICES],
}

impl Digest {
    /// An empty digest. `bits`, at most 10, select the leaf of a slice: 8 bytes times 2^(6 + `bits`).
    #[must_use]
    pub fn new(bits: u8) -> Self {
        let bits = bits.min(LEAF_BITS_MAX);
        let leaves = vec![0; SLICES << bits];
        Self { bits, leaves, slices: [0; SLICES], rows: [0; SLICES] }
    }

    /// How many bits suit a table of so many flows: some 16 flows a leaf. Not less than 4, 8 KiB: both ends list all
    /// leaves that their bits do not separate, empty leaves too ([`listed_leaves`]).
    #[must_use]
    pub const fn bits_for(flows_max: usize) -> u8 {
        let mut bits = 4;
        while bits < LEAF_BITS_MAX && (SLICES << bits) * 16 < flows_max {
            bits += 1;
        }
        bits
    }

    /// How many bits select the leaf of a slice.
    #[must_use]
    pub const fn bits(&self) -> u8 {
        self.bits
    }

    #[inline]
    const fn at(&self, id: FlowId) -> usize {
        (id.0 >> (u64::BITS - SLICE_BITS - self.bits as u32)) as usize
    }

    /// A flow is claimed.
    #[inline]
    pub fn add(&mut self, id: FlowId, print: u64) {
        self.shift(id, print);
        let rows = &mut self.rows[id.slice()];
        *rows = rows.wrapping_add(1);
    }

    /// Removes a flow that is not claimed any more.
    #[inline]
    pub fn remove(&mut self, id: FlowId, print: u64) {
        self.shift(id, print.wrapping_neg());
        let rows = &mut self.rows[id.slice()];
        *rows = rows.wrapping_sub(1);
    }

    /// A flow changed.
    #[inline]
    pub fn change(&mut self, id: FlowId, before: u64, now: u64) {
        self.shift(id, now.wrapping_sub(before));
    }

    #[inline]
    fn shift(&mut self, id: FlowId, by: u64) {
        let at = self.at(id);
        self.leaves[at] = self.leaves[at].wrapping_add(by);
        let slice = &mut self.slices[id.slice()];
        *slice = slice.wrapping_add(by);
    }

    /// The sum of these slices, and how many flows they have: the content of a cut.
    #[must_use]
    pub fn sum(&self, slices: Range<usize>) -> (u64, u32) {
        let slices = slices.start.min(SLICES)..slices.end.min(SLICES);
        let sum = self.slices[slices.clone()].iter().fold(0, |a: u64, b| a.wrapping_add(*b));
        (sum, self.rows[slices].iter().fold(0, |a: u32, b| a.wrapping_add(*b)))
    }

    /// How many flows there are.
    #[must_use]
    pub fn rows(&self) -> u32 {
        self.rows.iter().fold(0, |sum: u32, rows| sum.wrapping_add(*rows))
    }

    /// The sums of a node's children as they travel: their low 4 bytes. `bits` is the lesser number of both ends; a
    /// leaf that these bits do not separate is part of the one before it.
    pub fn children(&self, level: Level, node: u16, bits: u8) -> impl Iterator<Item = u32> + '_ {
        let bits = bits.min(self.bits);
        let node = usize::from(node);
        (0..level.children()).map(move |child| self.child(level, node * CHILDREN + child, bits))
    }

    /// The sum of child number `child` of all children of its level.
    fn child(&self, level: Level, child: usize, bits: u8) -> u32 {
        // How many bits behind the slice select the child at this level.
        let depth = match level {
            Level::Slices => return self.slices.get(child).map_or(0, |sum| *sum as u32),
            Level::Groups => 5,
            Level::Leaves => 10,
        };
        let kept = bits.min(depth);
        // The first child that has no bit set beyond those that are kept has the sum, the others have none.
        let mask = (1_usize << (depth - kept)) - 1;
        if child & mask != 0 || child >> depth >= SLICES {
            return 0;
        }
        let first = child << (LEAF_BITS_MAX - depth) >> (LEAF_BITS_MAX - self.bits);
        let count = 1_usize << (self.bits - kept);
        self.leaves[first..first + count].iter().fold(0, |a: u64, b| a.wrapping_add(*b)) as u32
    }

    /// The leaf of an id, as both ends name it if they use so many bits.
    #[must_use]
    pub const fn leaf(id: FlowId, bits: u8) -> u16 {
        id.leaf() & !((1 << (LEAF_BITS_MAX - bits)) - 1)
    }
}
