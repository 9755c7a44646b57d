//! Where flows lie, by the hash of their identity.
//!
//! ```text
//!   hash --high bits--> home bucket, one line of the cache:
//!
//!    0            12        16                                   64 bytes
//!   +------------+---------+----+----+----+--   --+----+----+----+
//!   | 12 tags    | passed  | slot              ...               |
//!   +------------+---------+----+----+----+--   --+----+----+----+
//!     low bits     how many found it full and went on to the next
//! ```
//!
//! A table of a million flows is in no cache: what counts is how many lines of memory an event waits for. Here it is
//! one for the index, whether the flow is found, missed, added or removed. A general hash table keeps tags and values
//! apart, and waits for two.

use super::Slot;
use alloc::vec::Vec;

/// Slots in a bucket.
const SLOTS: usize = 12;
/// Slots of a bucket that are filled on average before there are more buckets.
const FILLED: usize = 9;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Bucket {
    /// Tags of the slots, 0 where there is none; behind them the count of [`Bucket::passed`].
    head: [u8; SLOTS + 4],
    slots: [Slot; SLOTS],
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    const EMPTY: Self = Self { head: [0; SLOTS + 4], slots: [0; SLOTS] };

    /// The places with this tag, a bit for each.
    #[inline]
    fn with_tag(&self, tag: u8) -> Places {
        // The compiler makes one comparison of all of it.
        let all = self.head.iter().enumerate();
        let bits = all.fold(0, |bits, (at, &found)| bits | u16::from(found == tag) << at);
        Places(bits & ((1 << SLOTS) - 1))
    }

    /// How many entries, whose home this bucket is or that came by, lie further on.
    #[inline]
    const fn passed(&self) -> u32 {
        let [.., a, b, c, d] = self.head;
        u32::from_ne_bytes([a, b, c, d])
    }

    fn set_passed(&mut self, count: u32) {
        self.head[SLOTS..].copy_from_slice(&count.to_ne_bytes());
    }
}

/// Places in a bucket.
struct Places(u16);

impl Iterator for Places {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let at = self.0.trailing_zeros() as usize;
        self.0 &= self.0.wrapping_sub(1);
        (at < SLOTS).then_some(at)
    }
}

/// Slots by hash.
#[derive(Debug)]
pub(super) struct Index {
    buckets: Vec<Bucket>,
    len: usize,
}

impl Index {
    pub(super) const fn new() -> Self {
        Self { buckets: Vec::new(), len: 0 }
    }

    /// An empty one that need not grow before it has so many entries.
    pub(super) fn with_capacity(entries: usize) -> Self {
        let buckets = entries.div_ceil(FILLED);
        Self { buckets: alloc::vec![Bucket::EMPTY; buckets], len: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The entry under `hash` that `is` says it is.
    #[inline]
    pub(super) fn find(&self, hash: u64, is: impl Fn(Slot) -> bool) -> Option<Slot> {
        self.walk(hash, is).map(|(_, _, slot)| slot)
    }

    /// Where looking for a hash begins.
    #[inline]
    pub(super) fn first(&self, hash: u64) -> Option<&impl Sized> {
        self.buckets.get(self.home(hash))
    }

    /// What is likely to be found there, if anything.
    #[inline]
    pub(super) fn guess(&self, hash: u64) -> Option<Slot> {
        let bucket = self.buckets.get(self.home(hash))?;
        bucket.with_tag(tag(hash)).next().map(|place| bucket.slots[place])
    }

    /// Adds an entry that is not there yet; `hash_of` says under which hash an older one is.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, slot: Slot, hash_of: impl Fn(Slot) -> u64) {
        if self.len >= self.buckets.len() * FILLED {
            self.grow(hash_of);
        }
        self.put(hash, slot);
        self.len += 1;
    }

    /// Takes out the entry of a slot.
    pub(super) fn remove(&mut self, hash: u64, slot: Slot) {
        let Some((steps, place, _)) = self.walk(hash, |found| found == slot) else { return };
        let mut at = self.home(hash);
        for _ in 0..steps {
            let passed = self.buckets[at].passed();
            self.buckets[at].set_passed(passed - 1);
            at = self.after(at);
        }
        self.buckets[at].head[place] = 0;
        self.len -= 1;
    }

    pub(super) fn clear(&mut self) {
        self.buckets.fill(Bucket::EMPTY);
        self.len = 0;
    }

    /// How many buckets from home it lies, where in that one, and in which slot.
    #[inline]
    fn walk(&self, hash: u64, is: impl Fn(Slot) -> bool) -> Option<(usize, usize, Slot)> {
        let mut at = self.home(hash);
        for steps in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            for place in bucket.with_tag(tag(hash)) {
                let slot = bucket.slots[place];
                if is(slot) {
                    return Some((steps, place, slot));
                }
            }
            if bucket.passed() == 0 {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    /// There must be room.
    #[inline]
    fn put(&mut self, hash: u64, slot: Slot) {
        let mut at = self.home(hash);
        loop {
            let bucket = &mut self.buckets[at];
            if let Some(place) = bucket.with_tag(0).next() {
                (bucket.head[place], bucket.slots[place]) = (tag(hash), slot);
                return;
            }
            bucket.set_passed(bucket.passed() + 1);
            at = self.after(at);
        }
    }

    #[cold]
    fn grow(&mut self, hash_of: impl Fn(Slot) -> u64) {
        let more = alloc::vec![Bucket::EMPTY; (self.buckets.len() * 2).max(1)];
        for bucket in core::mem::replace(&mut self.buckets, more) {
            for (_, slot) in bucket.head.iter().zip(bucket.slots).filter(|(tag, _)| **tag != 0) {
                self.put(hash_of(slot), slot);
            }
        }
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.buckets.len() as u128) >> 64) as usize
    }

    #[inline]
    const fn after(&self, at: usize) -> usize {
        if at + 1 == self.buckets.len() { 0 } else { at + 1 }
    }
}

/// The tag that distinguishes most entries of a bucket; never 0.
#[inline]
const fn tag(hash: u64) -> u8 {
    let low = hash as u8;
    if low == 0 { 1 } else { low }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    /// Hashes that collide: few homes, few tags.
    fn hash(slot: Slot, spread: u32) -> u64 {
        let mixed = u64::from(slot).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (home, tag) = (mixed >> 40, mixed & 3);
        (home % u64::from(spread)) << 60 | tag
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 300, ..ProptestConfig::default() })]

        #[test]
        fn it_is_a_map_however_hashes_collide(
            steps in proptest::collection::vec((0..200_u32, any::<bool>()), 1..800),
            spread in 1..16_u32,
            capacity in 0..300_usize,
        ) {
            let mut index = Index::with_capacity(capacity);
            let mut model = BTreeMap::new();
            for (slot, adds) in steps {
                let under = hash(slot, spread);
                if adds && !model.contains_key(&slot) {
                    index.insert(under, slot, |slot| hash(slot, spread));
                    model.insert(slot, under);
                } else if !adds {
                    index.remove(under, slot);
                    model.remove(&slot);
                }
                prop_assert_eq!(index.len(), model.len());
            }
            for slot in 0..200 {
                let found = index.find(hash(slot, spread), |found| found == slot);
                prop_assert_eq!(found.is_some(), model.contains_key(&slot), "{}", slot);
            }
            for (slot, under) in model {
                index.remove(under, slot);
            }
            // Nothing is left behind that would make later walks longer.
            prop_assert!(index.buckets.iter().all(|b| b.head == Bucket::EMPTY.head));
        }
    }

    #[test]
    fn an_empty_one_finds_nothing_and_a_cleared_one_is_empty() {
        let mut index = Index::new();
        assert_eq!(index.find(7, |_| true), None);
        index.remove(7, 7);
        (0..100).for_each(|slot| index.insert(u64::from(slot) << 57, slot, |s| u64::from(s) << 57));
        assert_eq!(index.find(3 << 57, |slot| slot == 3), Some(3));
        index.clear();
        assert_eq!((index.len(), index.find(3 << 57, |_| true)), (0, None));
    }
}
