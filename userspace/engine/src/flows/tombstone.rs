//! Ended flows, remembered for a while so that news about them which comes late does not revive them.

use crate::bounded::{Bounded, QueueUsage};
use ctnetlink::FlowKey;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// Something happened at one of these times, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The earliest time it can have happened.
    pub from: u64,
    /// The latest time it can have happened.
    pub to: u64,
}

impl Span {
    /// Exactly then.
    #[must_use]
    pub const fn at(time: u64) -> Self {
        Self { from: time, to: time }
    }

    /// When the later of the two happened.
    #[must_use]
    pub fn later(self, other: Self) -> Self {
        Self { from: self.from.max(other.from), to: self.to.max(other.to) }
    }
}

/// The last ended flows, each with when it ended.
#[derive(Debug)]
pub struct Tombstones {
    ended: HashMap<FlowKey, Span, FixedState>,
    order: Bounded<(FlowKey, u64)>,
    forgotten: u64,
}

impl Tombstones {
    /// Room for `max` flows; the oldest gives way.
    #[must_use]
    pub fn new(max: usize, seed: u64) -> Self {
        let ended = HashMap::with_hasher(FixedState::with_seed(seed));
        Self { ended, order: Bounded::new(max), forgotten: 0 }
    }

    /// Remembers that the flow ended then. An end that is known already and was later stays known.
    pub fn bury(&mut self, key: FlowKey, when: Span) {
        let span = self.ended.get(&key).map_or(when, |known| known.later(when));
        if let Some((oldest, to)) = self.order.displace((key, span.to))
            && self.ended.get(&oldest).is_some_and(|span| span.to == to)
        {
            self.ended.remove(&oldest);
            self.forgotten = self.forgotten.max(to);
        }
        self.ended.insert(key, span);
    }

    /// Remembers what is known to be the last word, whatever was remembered before.
    pub fn replace(&mut self, key: FlowKey, when: Span) {
        self.ended.remove(&key);
        self.bury(key, when);
    }

    /// When the flow ended, or was spoken of where that is what is remembered; if it is remembered.
    #[must_use]
    pub fn last_about(&self, key: &FlowKey) -> Option<Span> {
        self.ended.get(key).copied()
    }

    /// How many ends are remembered, and how many were forgotten for others.
    #[must_use]
    pub fn usage(&self) -> QueueUsage {
        self.order.usage()
    }

    /// Until when flows may have ended that are not remembered.
    #[must_use]
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Forgets everything, which happened until `now`.
    pub fn clear(&mut self, now: u64) {
        self.ended.clear();
        self.order.clear();
        self.forgotten = self.forgotten.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctnetlink::Tuple;

    fn key(n: u16) -> FlowKey {
        FlowKey::new(Tuple::v4([1; 4], [2; 4], 6).with_ports(n, 80), 0)
    }

    #[test]
    fn the_oldest_gives_way_but_not_a_younger_burial_of_the_same_flow() {
        let mut t = Tombstones::new(2, 0);
        t.bury(key(1), Span::at(10));
        t.bury(key(1), Span::at(20));
        t.bury(key(2), Span::at(30));
        assert_eq!(t.last_about(&key(1)), Some(Span::at(20)));
        t.bury(key(3), Span::at(40));
        assert_eq!(t.last_about(&key(1)), None);
        assert_eq!(t.last_about(&key(2)), Some(Span::at(30)));
        assert_eq!(t.forgotten(), 20);
    }

    #[test]
    fn an_earlier_end_that_is_heard_of_later_changes_nothing() {
        let mut t = Tombstones::new(4, 0);
        t.bury(key(1), Span::at(20));
        t.bury(key(1), Span::at(10));
        assert_eq!(t.last_about(&key(1)), Some(Span::at(20)));
        t.bury(key(1), Span { from: 15, to: 40 });
        assert_eq!(t.last_about(&key(1)), Some(Span { from: 20, to: 40 }));
    }
}
