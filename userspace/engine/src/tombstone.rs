//! Ended flows, remembered for a while so that news about them which comes late does not revive them.

use alloc::collections::VecDeque;
use common::FlowKey;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// The last ended flows, each with when it ended.
#[derive(Debug)]
pub struct Tombstones {
    ended: HashMap<FlowKey, u64, FixedState>,
    order: VecDeque<(FlowKey, u64)>,
    max: usize,
}

impl Tombstones {
    /// Room for `max` flows; the oldest gives way.
    #[must_use]
    pub fn new(max: usize, seed: u64) -> Self {
        let ended = HashMap::with_hasher(FixedState::with_seed(seed));
        Self { ended, order: VecDeque::new(), max }
    }

    /// Remembers that the flow ended at `stamp`.
    pub fn bury(&mut self, key: FlowKey, stamp: u64) {
        if self.order.len() >= self.max
            && let Some((oldest, at)) = self.order.pop_front()
            && self.ended.get(&oldest) == Some(&at)
        {
            self.ended.remove(&oldest);
        }
        self.ended.insert(key, stamp);
        self.order.push_back((key, stamp));
    }

    /// When the flow ended, if it is remembered.
    #[must_use]
    pub fn ended_at(&self, key: &FlowKey) -> Option<u64> {
        self.ended.get(key).copied()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.ended.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::Tuple;

    fn key(n: u16) -> FlowKey {
        FlowKey::new(Tuple::v4([1; 4], [2; 4], 6).with_ports(n, 80), 0)
    }

    #[test]
    fn the_oldest_gives_way_but_not_a_younger_burial_of_the_same_flow() {
        let mut t = Tombstones::new(2, 0);
        t.bury(key(1), 10);
        t.bury(key(1), 20);
        t.bury(key(2), 30);
        assert_eq!(t.ended_at(&key(1)), Some(20));
        t.bury(key(3), 40);
        assert_eq!(t.ended_at(&key(1)), None);
        assert_eq!(t.ended_at(&key(2)), Some(30));
    }
}
