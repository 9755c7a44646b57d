//! Several engines share the flows: each flow belongs to one of them, by its identity alone.

use core::hash::BuildHasher;
use ctnetlink::Tuple;
use foldhash::fast::FixedState;

/// Keeps this hash apart from that of the tables, which would fill unevenly with what it has sorted.
const APART: u64 = 0x7368_6172_6564_6279;

/// One engine's share of the flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which share, from 0.
    pub index: usize,
    /// How many there are.
    pub count: usize,
    /// Seed of the hash, the same for all, so that no outsider can aim all flows at one of them.
    pub seed: u64,
}

impl Share {
    /// All flows.
    pub const ALL: Self = Self { index: 0, count: 1, seed: 0 };

    /// Whose the flow is that began with `tuple`. Zones do not matter: flows that differ in their zone alone stay
    /// together.
    #[must_use]
    pub fn owner(&self, tuple: &Tuple) -> usize {
        if self.count <= 1 {
            return 0;
        }
        let hash = FixedState::with_seed(self.seed ^ APART).hash_one(tuple);
        // The high bits of a product: no share is favoured, and nothing is divided.
        ((u128::from(hash) * self.count as u128) >> 64) as usize
    }

    /// Whether that flow is this engine's.
    #[must_use]
    pub fn holds(&self, tuple: &Tuple) -> bool {
        self.owner(tuple) == self.index
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn each_flow_has_one_owner_and_the_shares_are_even() {
        let count = 5;
        let mut flows = vec![0_u32; count];
        for port in 0..10_000 {
            let tuple = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 17).with_ports(port, 53);
            let holds = |index: &usize| Share { index: *index, count, seed: 7 }.holds(&tuple);
            let owners: vec::Vec<usize> = (0..count).filter(holds).collect();
            assert_eq!(owners.len(), 1);
            flows[owners[0]] += 1;
        }
        assert!(flows.iter().all(|n| (1800..2200).contains(n)), "{flows:?}");
    }

    #[test]
    fn one_engine_has_all() {
        assert!(Share::ALL.holds(&Tuple::default()));
    }
}
