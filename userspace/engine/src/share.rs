//! Several engines share the flows: each flow belongs to one of them, by its identity alone.

use core::hash::BuildHasher;
use core::ops::Range;
use ctnetlink::FlowKey;
use foldhash::fast::FixedState;
use wire::sync::v2::DigestKey;
use wire::sync::v2::digest::SLICES;

/// Keeps this hash apart from that of the tables, which would fill unevenly with what it has sorted.
const APART: u64 = 0x7368_6172_6564_6279;

/// One engine's share of the flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Number of the share, from 0.
    pub index: usize,
    /// How many shares there are.
    pub count: usize,
    /// How flows are divided among the shares, the same for all.
    pub by: ShareBy,
}

/// How flows are divided among the shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareBy {
    /// A hash with this seed, so that no outsider can aim all flows at one engine. Zones do not matter: flows that
    /// differ in their zone alone stay together.
    Seed(u64),
    /// Slices of version 2 of the protocol (R8.1): the shards of all nodes cut the flows at the same places, so that
    /// most pairs of shards have nothing to say to each other.
    Slices(DigestKey),
}

impl Share {
    /// All flows.
    pub const ALL: Self = Self { index: 0, count: 1, by: ShareBy::Seed(0) };

    /// The share that holds the flow with this identity.
    #[must_use]
    pub fn owner(&self, key: &FlowKey) -> usize {
        if self.count <= 1 {
            return 0;
        }
        match &self.by {
            ShareBy::Seed(seed) => {
                let hash = FixedState::with_seed(seed ^ APART).hash_one(key.tuple);
                // The high bits of a product: no share is favoured, and nothing is divided.
                ((u128::from(hash) * self.count as u128) >> 64) as usize
            }
            ShareBy::Slices(digest_key) => digest_key.id(key).shard(self.count),
        }
    }

    /// Whether that flow is this engine's.
    #[must_use]
    pub fn holds(&self, key: &FlowKey) -> bool {
        self.owner(key) == self.index
    }

    /// The slices of this engine.
    #[must_use]
    pub const fn slices(&self) -> Range<usize> {
        slices(self.index, self.count)
    }
}

/// The slices of shard `index` of `count` (R8.1): slice times shards / 64 is the shard.
#[must_use]
pub const fn slices(index: usize, count: usize) -> Range<usize> {
    (index * SLICES).div_ceil(count)..((index + 1) * SLICES).div_ceil(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctnetlink::Tuple;
    use std::vec;
    use wire::sync::v2::digest::FlowId;

    fn shared_out(count: usize, by: ShareBy) -> vec::Vec<u32> {
        let mut flows = vec![0_u32; count];
        for port in 0..10_000 {
            let tuple = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 17).with_ports(port, 53);
            let key = FlowKey::new(tuple, 0);
            let holds = |index: &usize| Share { index: *index, count, by }.holds(&key);
            let owners: vec::Vec<usize> = (0..count).filter(holds).collect();
            assert_eq!(owners.len(), 1);
            flows[owners[0]] += 1;
        }
        flows
    }

    #[test]
    fn each_flow_has_one_owner_and_the_shares_are_even() {
        let flows = shared_out(5, ShareBy::Seed(7));
        assert!(flows.iter().all(|n| (1800..2200).contains(n)), "{flows:?}");
        // Shares of 12 or 13 slices.
        let flows = shared_out(5, ShareBy::Slices(DigestKey([7; 16])));
        assert!(flows.iter().all(|n| (1700..2300).contains(n)), "{flows:?}");
    }

    #[test]
    fn r8_1_a_flows_shard_is_the_one_whose_slices_its_own_is_among() {
        for count in 1..=SLICES {
            let shard_of = |slice: usize| FlowId::of((slice << 10) as u16, 0).shard(count);
            for index in 0..count {
                let mine: vec::Vec<usize> = (0..SLICES).filter(|s| shard_of(*s) == index).collect();
                assert_eq!(
                    mine,
                    slices(index, count).collect::<vec::Vec<_>>(),
                    "{index} of {count}"
                );
            }
        }
    }

    #[test]
    fn one_engine_has_all() {
        assert!(Share::ALL.holds(&FlowKey::default()));
    }
}
