//! The flow table: a slab of entries and an index by identity.
//!
//! Slots are stable and iterated in order, so a long walk (a dump, a commit, a bulk transfer) is a cursor that
//! survives changes in between: it sees every entry that stays, and nothing twice.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use bitflags::bitflags;
use common::FlowKey;
use core::hash::BuildHasher;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use wire::Flow;

bitflags! {
    /// What the owner of a table remembers of an entry.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Marks: u16 {
        /// Waits in the outbox.
        const QUEUED = 1 << 0;
        /// The peer may know it.
        const SENT = 1 << 1;
        /// Ended; kept only until the peer has been told.
        const DEAD = 1 << 2;
        /// The kernel has been asked about it.
        const VERIFYING = 1 << 3;
        /// Shown by the dump that is running.
        const SHOWN = 1 << 4;
        /// What the peer may know under this identity was another flow: it is to start over.
        const AFRESH = 1 << 5;
        /// Sent, and the peer has not acknowledged it.
        const WAITING = 1 << 6;
        /// The message that told it as new is not acknowledged, though a later one may be: if it is lost, it must be
        /// told as new again, or the peer lays it over what it knows of an earlier life.
        const NEW_WAITING = 1 << 7;
        /// The peer has not acknowledged it since a bulk transfer told all of it, a mark of 0 too.
        const WHOLE = 1 << 8;
        /// Local: known from reading the kernel's table alone, so perhaps no event will ever tell of it. Set and taken
        /// away with [`FlowTable::set_silent`].
        const SILENT = 1 << 9;
        /// Local: known from its first packet alone, which was seen before the kernel had the flow in its table, so
        /// perhaps it never got there. Set and taken away with [`FlowTable::set_unsure`].
        const UNSURE = 1 << 11;
        /// Local: its stamp is the time its last news was heard, which may be long after it happened.
        const HEARD = 1 << 10;
    }
}

/// One flow and what is remembered of it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The flow.
    pub flow: Flow,
    /// Order of the last change: kernel time in nanoseconds for local flows, the message's place in the peer's
    /// sequence for remote ones.
    pub stamp: u64,
    /// Second it was added, on the engine's clock.
    pub since_s: u32,
    /// Second it was last changed.
    pub updated_s: u32,
    /// What it waits under: FTFW, the number of the message to be acknowledged; ALARM, the name of its timer.
    pub ticket: u32,
    /// Under [`Marks::NEW_WAITING`], the number of the message that told it as new.
    pub began: u32,
    /// Notes of the owner.
    pub marks: Marks,
}

impl Entry {
    /// An entry for a flow of which nothing is known yet.
    #[must_use]
    pub const fn new(flow: Flow) -> Self {
        let marks = Marks::empty();
        Self { flow, stamp: 0, since_s: 0, updated_s: 0, ticket: 0, began: 0, marks }
    }

    /// Whether it waits for the acknowledgement of message `seq`.
    #[must_use]
    pub const fn waits_under(&self, seq: u32) -> bool {
        self.marks.contains(Marks::WAITING) && self.ticket == seq
    }

    /// Whether message `seq` told it as new, which the peer has not acknowledged.
    #[must_use]
    pub const fn began_under(&self, seq: u32) -> bool {
        self.marks.contains(Marks::NEW_WAITING) && self.began == seq
    }
}

/// Where an entry lies; valid until it is removed.
pub type Slot = u32;

fn is_dead(slots: &[Option<Entry>], slot: Slot) -> bool {
    let entry = slots.get(slot as usize).and_then(Option::as_ref);
    entry.is_some_and(|entry| entry.marks.contains(Marks::DEAD))
}

/// There was no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Flows by identity, at most a fixed number.
#[derive(Debug)]
pub struct FlowTable {
    slots: Vec<Option<Entry>>,
    free: Vec<Slot>,
    index: HashTable<Slot>,
    hasher: FixedState,
    max: usize,
    dead: usize,
    silent: usize,
    unsure: usize,
    /// Where ended flows lie, in the order they ended. Some are gone by now.
    graves: VecDeque<Slot>,
}

/// So many graves may be empty before anybody looks for them.
const GRAVES_EMPTY_MAX: usize = 1024;

impl FlowTable {
    /// An empty table for at most `max` flows.
    #[must_use]
    pub fn new(max: usize, seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed);
        let max = max.min(Slot::MAX as usize);
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher,
            max,
            dead: 0,
            silent: 0,
            unsure: 0,
            graves: VecDeque::new(),
        }
    }

    /// Flows in it, dead ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Flows in it that live.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.len() - self.dead
    }

    /// Message `seq` about the entry in a slot was lost: what it told is to be told again.
    pub fn on_lost(&mut self, slot: Slot, seq: u32) {
        let Some(entry) = self.at_mut(slot) else { return };
        if entry.waits_under(seq) {
            entry.marks.remove(Marks::WAITING);
        }
        if entry.began_under(seq) {
            entry.marks.remove(Marks::NEW_WAITING);
            entry.marks.insert(Marks::AFRESH);
        }
    }

    /// The peer has message `seq` about the entry in a slot. If that was its end, the entry goes.
    pub fn on_heard(&mut self, slot: Slot, seq: u32) {
        let Some(entry) = self.at_mut(slot) else { return };
        if entry.began_under(seq) {
            entry.marks.remove(Marks::NEW_WAITING);
        }
        if entry.waits_under(seq) {
            entry.marks.remove(Marks::WAITING | Marks::WHOLE);
            if entry.marks.contains(Marks::DEAD) {
                self.remove(slot);
            }
        }
    }

    /// Notes that the flow in a slot has ended, or lives again.
    pub fn set_dead(&mut self, slot: Slot, dead: bool) {
        let Some(entry) = self.at_mut(slot) else { return };
        let was = entry.marks.contains(Marks::DEAD);
        entry.marks.set(Marks::DEAD, dead);
        self.dead = self.dead + usize::from(dead) - usize::from(was);
        if dead && !was {
            self.graves.push_back(slot);
            if self.graves.len() > 2 * self.dead + GRAVES_EMPTY_MAX {
                // A slot that was filled again since may have two graves.
                let (slots, mut seen) = (&self.slots, BTreeSet::new());
                self.graves.retain(|&slot| is_dead(slots, slot) && seen.insert(slot));
            }
        }
    }

    /// Notes whether events tell of the flow in a slot.
    pub fn set_silent(&mut self, slot: Slot, silent: bool) {
        let Some(entry) = self.at_mut(slot) else { return };
        let was = entry.marks.contains(Marks::SILENT);
        entry.marks.set(Marks::SILENT, silent);
        self.silent = self.silent + usize::from(silent) - usize::from(was);
    }

    /// Flows of which events may never tell.
    #[must_use]
    pub const fn silent(&self) -> usize {
        self.silent
    }

    /// Notes whether the flow in a slot may never have come to be.
    pub fn set_unsure(&mut self, slot: Slot, unsure: bool) {
        let Some(entry) = self.at_mut(slot) else { return };
        let was = entry.marks.contains(Marks::UNSURE);
        entry.marks.set(Marks::UNSURE, unsure);
        self.unsure = self.unsure + usize::from(unsure) - usize::from(was);
    }

    /// Flows that may never have come to be.
    #[must_use]
    pub const fn unsure(&self) -> usize {
        self.unsure
    }

    /// The ended flow that has been lying here for longest. It is not found again.
    pub fn take_grave(&mut self) -> Option<Slot> {
        while let Some(slot) = self.graves.pop_front() {
            if is_dead(&self.slots, slot) {
                return Some(slot);
            }
        }
        None
    }

    /// The same table with room in its index for `flows`.
    #[must_use]
    pub fn with_room_for(mut self, flows: usize) -> Self {
        self.index = HashTable::with_capacity(flows.min(self.max));
        self
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Most flows it takes.
    #[must_use]
    pub const fn max(&self) -> usize {
        self.max
    }

    /// The slot of a flow.
    #[must_use]
    pub fn find(&self, key: &FlowKey) -> Option<Slot> {
        self.index.find(self.hash(key), |&slot| self.is_at(slot, key)).copied()
    }

    /// The entry of a flow.
    #[must_use]
    pub fn get(&self, key: &FlowKey) -> Option<&Entry> {
        self.at(self.find(key)?)
    }

    /// The entry in a slot.
    #[must_use]
    pub fn at(&self, slot: Slot) -> Option<&Entry> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// The entry in a slot. Its identity must not be changed.
    pub fn at_mut(&mut self, slot: Slot) -> Option<&mut Entry> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// Adds an entry whose identity is not in the table yet.
    ///
    /// # Errors
    /// [`Full`] when the limit is reached.
    pub fn insert(&mut self, entry: Entry) -> Result<Slot, Full> {
        if self.len() >= self.max {
            return Err(Full);
        }
        let key = entry.flow.key();
        debug_assert!(self.find(&key).is_none(), "an identity is in the table once");
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(entry);
                slot
            }
            None => {
                self.slots.push(Some(entry));
                (self.slots.len() - 1) as Slot
            }
        };
        let (hasher, slots) = (&self.hasher, &self.slots);
        self.index.insert_unique(hasher.hash_one(key), slot, |&slot| {
            let entry = slots[slot as usize].as_ref().expect("indexed slots are filled");
            hasher.hash_one(entry.flow.key())
        });
        Ok(slot)
    }

    /// Takes the entry out of a slot.
    pub fn remove(&mut self, slot: Slot) -> Option<Entry> {
        let entry = self.slots.get_mut(slot as usize)?.take()?;
        let hash = self.hash(&entry.flow.key());
        if let Ok(found) = self.index.find_entry(hash, |&s| s == slot) {
            found.remove();
        }
        self.free.push(slot);
        self.dead -= usize::from(entry.marks.contains(Marks::DEAD));
        self.silent -= usize::from(entry.marks.contains(Marks::SILENT));
        self.unsure -= usize::from(entry.marks.contains(Marks::UNSURE));
        Some(entry)
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.free.clear();
        self.index.clear();
        (self.dead, self.silent, self.unsure) = (0, 0, 0);
        self.graves.clear();
    }

    /// The first filled slot at or after `from`, and its entry.
    #[must_use]
    pub fn next(&self, from: Slot) -> Option<(Slot, &Entry)> {
        let rest = self.slots.get(from as usize..)?;
        let skip = rest.iter().position(Option::is_some)?;
        Some((from + skip as Slot, rest[skip].as_ref()?))
    }

    /// All entries, in slot order.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &Entry)> {
        let numbered = self.slots.iter().enumerate();
        numbered.filter_map(|(slot, entry)| Some((slot as Slot, entry.as_ref()?)))
    }

    fn hash(&self, key: &FlowKey) -> u64 {
        self.hasher.hash_one(key)
    }

    fn is_at(&self, slot: Slot, key: &FlowKey) -> bool {
        self.at(slot).is_some_and(|e| e.flow.zone == key.zone && e.flow.orig == key.tuple)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use common::Tuple;

    fn entry(n: u16, zone: u16) -> Entry {
        let tuple = Tuple::v4([1; 4], [2; 4], 6).with_ports(n, 80);
        let flow = Flow { zone, ..Flow::new(tuple) };
        Entry::new(flow)
    }

    #[test]
    fn an_entry_is_no_larger_than_planned() {
        assert!(size_of::<Entry>() <= 152, "{}", size_of::<Entry>());
    }

    /// Defect 28 of the original: its remote table takes these for one.
    #[test]
    fn the_same_tuple_in_two_zones_is_two_flows() {
        let mut t = FlowTable::new(10, 1);
        t.insert(entry(1, 0)).unwrap();
        t.insert(entry(1, 7)).unwrap();
        assert_eq!(t.len(), 2);
        let slot = t.find(&entry(1, 7).flow.key()).unwrap();
        t.remove(slot).unwrap();
        assert!(t.get(&entry(1, 0).flow.key()).is_some());
        assert!(t.get(&entry(1, 7).flow.key()).is_none());
    }

    #[test]
    fn ended_flows_are_taken_in_the_order_they_ended_and_once() {
        let mut t = FlowTable::new(10, 1);
        let slots = [1, 2, 3].map(|n| t.insert(entry(n, 0)).unwrap());
        t.set_dead(slots[2], true);
        for turn in 0..10 * GRAVES_EMPTY_MAX {
            t.set_dead(slots[0], turn % 2 == 0);
        }
        t.set_dead(slots[0], true);
        t.set_dead(slots[1], true);
        t.remove(slots[1]);
        assert!(t.graves.len() <= 2 * 3 + GRAVES_EMPTY_MAX + 1, "{}", t.graves.len());
        assert_eq!(t.take_grave(), Some(slots[2]));
        t.remove(slots[2]);
        assert_eq!(t.take_grave(), Some(slots[0]));
        t.remove(slots[0]);
        assert_eq!(t.take_grave(), None);
    }

    #[test]
    fn a_full_table_refuses_and_takes_again_after_a_removal() {
        let mut t = FlowTable::new(2, 1);
        t.insert(entry(1, 0)).unwrap();
        let slot = t.insert(entry(2, 0)).unwrap();
        assert_eq!(t.insert(entry(3, 0)), Err(Full));
        t.remove(slot);
        t.insert(entry(3, 0)).unwrap();
    }

    #[test]
    fn it_behaves_like_a_map_under_a_long_random_life() {
        let mut t = FlowTable::new(300, 42);
        let mut model: BTreeMap<FlowKey, u64> = BTreeMap::new();
        let mut seed = 1_u64;
        for step in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let n = (seed >> 33) as u16 % 500;
            let key = entry(n, 0).flow.key();
            if seed >> 62 == 0 {
                let gone = t.find(&key).and_then(|s| t.remove(s));
                assert_eq!(gone.map(|e| e.stamp), model.remove(&key));
            } else if let Some(slot) = t.find(&key) {
                t.at_mut(slot).unwrap().stamp = step;
                model.insert(key, step);
            } else if t.insert(Entry { stamp: step, ..entry(n, 0) }).is_ok() {
                model.insert(key, step);
            } else {
                assert_eq!(model.len(), 300);
            }
        }
        let seen: BTreeMap<_, _> = t.iter().map(|(_, e)| (e.flow.key(), e.stamp)).collect();
        assert_eq!(seen, model);
    }
}
