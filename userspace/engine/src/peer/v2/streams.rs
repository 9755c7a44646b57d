//! The associations between shards of this node and shards of a peer (R8.1).
//!
//! ```text
//!   slices      0         16        32        48        63
//!   3 shards    |----- 0 -----|----- 1 -----|---- 2 ----|     this node
//!   2 shards    |-------- 0 --------|-------- 1 --------|     a peer
//!   streams          0 - 0    |1 - 0| 1 - 1 |   2 - 1
//! ```
//!
//! A shard has an association with each shard of a peer that has slices in common with it, and sends there what is in
//! these slices. How many shards a peer has is known when it comes; a peer that was never met is taken to have one.

use super::association::Association;
use super::claims::Claims;
use crate::config::Owner;
use crate::message_id::PeerId;
use crate::share;
use alloc::vec::Vec;
use common::Instant;
use core::ops::Range;
use wire::sync::v2::digest::SLICES;

/// What this shard has in common with each shard of a peer that has so many; those with nothing are left out.
pub(super) fn shared(mine: Range<usize>, shards: u8) -> impl Iterator<Item = (u8, Range<usize>)> {
    let shards = shards.clamp(1, SLICES as u8);
    let common = move |to: u8| {
        let theirs = share::slices(usize::from(to), usize::from(shards));
        (to, mine.start.max(theirs.start)..mine.end.min(theirs.end))
    };
    (0..shards).map(common).filter(|(_, slices)| !slices.is_empty())
}

/// The associations of a shard with a peer that has so many shards.
pub(super) fn associations(
    claims: &mut Claims,
    now: Instant,
    (peer, owner): (PeerId, Owner),
    (mine, shards): (Range<usize>, u8),
) -> Vec<Association> {
    let with = |(to, slices): (u8, Range<usize>)| {
        let is_whole = slices == mine;
        let position = claims.ledger.open();
        let association = Association::new(now, (peer, owner), (to, slices), position);
        Association { is_whole, ..association }
    };
    shared(mine.clone(), shards).map(with).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r8_1_each_slice_is_told_in_one_stream_whatever_numbers_of_shards_both_have() {
        for (ours, theirs) in (1..=64_u8).flat_map(|a| (1..=64_u8).map(move |b| (a, b))) {
            let mut covered = [0; SLICES];
            let mut streams = 0;
            for from in 0..ours {
                let mine = share::slices(from.into(), ours.into());
                for (to, slices) in shared(mine, theirs) {
                    streams += 1;
                    // The peer finds the same.
                    let its = share::slices(to.into(), theirs.into());
                    assert!(shared(its, ours).any(|found| found == (from, slices.clone())));
                    slices.for_each(|slice| covered[slice] += 1);
                }
            }
            assert_eq!(covered, [1; SLICES], "{ours} and {theirs}");
            assert!(
                streams < u32::from(ours) + u32::from(theirs),
                "{streams}: {ours} and {theirs}"
            );
        }
        assert_eq!(shared(share::slices(1, 3), 2).collect::<Vec<_>>(), [(0, 22..32), (1, 32..43)]);
    }
}
