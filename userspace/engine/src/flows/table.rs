//! The flow table: a slab of entries and an index by identity.
//!
//! Slots are stable and iterated in order, so a long walk (a dump, a commit, a bulk transfer) is a cursor that
//! survives changes in between: it sees every entry that stays, and nothing twice.

use crate::flows::knowledge::Knowledge;
use crate::flows::merge;
use crate::input::Stamp;
use crate::journal::Journal;
use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::ops::Deref;
use ctnetlink::{Flow, FlowKey, Tuple};
use foldhash::fast::FixedState;
use wire::feed::{Flags, Op, Walked};

mod index;
mod notes;
mod row;

use index::Index;
pub use notes::{Marks, Notes};
pub use row::look::{Facts, address};
use row::{Key, Pairs, Row};

/// One flow of a table and what is remembered of it. The table holds flows packed: [`Entry::flow`] unpacks, all else
/// is there to read.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    row: &'a Row,
    pairs: &'a Pairs,
}

impl Deref for Entry<'_> {
    type Target = Notes;

    fn deref(&self) -> &Notes {
        &self.row.notes
    }
}

impl<'a> Entry<'a> {
    /// The flow.
    #[must_use]
    pub fn flow(&self) -> Flow {
        self.row.flow(self.pairs)
    }

    /// The flow's identity.
    #[must_use]
    pub fn key(&self) -> FlowKey {
        self.row.key(self.pairs)
    }

    /// Whether the flow has ended. Its entry stays until the peers that received the flow receive its end.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.row.notes.marks.contains(Marks::DEAD)
    }

    /// The flow's IP protocol.
    #[must_use]
    pub fn proto(&self) -> u8 {
        self.row.proto(self.pairs)
    }

    /// The flow's zone.
    #[must_use]
    pub const fn zone(&self) -> u16 {
        self.row.zone()
    }

    /// Whether another reply direction of the flow is known than this.
    #[must_use]
    pub fn has_other_reply(&self, reply: &Tuple) -> bool {
        self.row.has_other_reply(reply, self.pairs)
    }

    /// The kernel's id of the flow, if it is known.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.row.id()
    }

    /// Seconds the flow had left when its source spoke.
    #[must_use]
    pub const fn timeout_s(&self) -> u32 {
        self.row.timeout_s()
    }

    /// Original tuple of the flow whose expectation began this one.
    #[must_use]
    pub fn master(&self) -> Option<&'a Tuple> {
        self.row.extra()?.master.as_ref()
    }
}

/// Where an entry lies; valid until it is removed.
pub type Slot = u32;

fn is_dead(slots: &[Option<Row>], slot: Slot) -> bool {
    let row = slots.get(slot as usize).and_then(Option::as_ref);
    row.is_some_and(|row| row.notes.marks.contains(Marks::DEAD))
}

/// Where a search for a flow begins in the table that gave this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe(u64);

/// There was no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// What a flow is that takes the place of one with the same identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Becomes {
    /// Another flow, or another life of it.
    Another,
    /// The same flow in another state.
    Changed,
    /// The same flow in the same state, but for the time it has left.
    Same,
}

/// Flows by identity, at most a fixed number.
#[doc(alias = "cache")]
#[derive(Debug)]
pub struct FlowTable {
    slots: Vec<Option<Row>>,
    pairs: Pairs,
    free: Vec<Slot>,
    index: Index,
    hasher: FixedState,
    max: usize,
    dead: usize,
    /// Flows that live, by IP protocol.
    protos: Box<[u32; 256]>,
    without_events: usize,
    unconfirmed: usize,
    /// The slots of ended flows, in the order they ended. Some have been released since.
    graves: VecDeque<Slot>,
    /// Records every change, while a consumer listens.
    journal: Option<Box<Journal>>,
}

/// Limit of empty graves that stay in the queue.
const GRAVES_EMPTY_MAX: usize = 1024;

impl FlowTable {
    /// An empty table for at most `max` flows.
    #[must_use]
    pub fn new(max: usize, seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed);
        let max = max.min(Slot::MAX as usize);
        Self {
            slots: Vec::new(),
            pairs: Pairs::default(),
            free: Vec::new(),
            index: Index::new(),
            hasher,
            max,
            dead: 0,
            protos: Box::new([0; 256]),
            without_events: 0,
            unconfirmed: 0,
            graves: VecDeque::new(),
            journal: None,
        }
    }

    /// Has every change written down from here on, or none. Returns the number of the last record.
    pub fn listen(&mut self, journal: Option<Journal>) -> u64 {
        let last = self.journal.as_ref().map_or(0, |journal| journal.seq());
        self.journal = journal.map(Box::new);
        last
    }

    /// The journal that records changes, while a consumer listens.
    pub fn journal(&mut self) -> Option<&mut Journal> {
        self.journal.as_deref_mut()
    }

    /// Whether a consumer wants counters and times of flows.
    #[must_use]
    pub fn wants_counters(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.wants_counters())
    }

    /// What is handled next is news of the kernel; see [`Journal`].
    #[inline]
    pub(crate) fn hear(&mut self, flow: &Flow, stamp: Stamp, by_peer: bool) {
        if let Some(journal) = &mut self.journal {
            journal.hear(flow, stamp, by_peer);
        }
    }

    /// Writes down what became of the flow in a slot.
    #[inline]
    fn note(&mut self, slot: Slot, op: Op) {
        if self.journal.is_some() {
            self.write(slot, op);
        }
    }

    #[cold]
    fn write(&mut self, slot: Slot, op: Op) {
        let Some(row) = self.slots.get(slot as usize).and_then(Option::as_ref) else { return };
        if let Some(journal) = &mut self.journal {
            journal.write(op, &row.flow(&self.pairs), Flags::empty());
        }
    }

    /// Writes rows into the journal as they are, from a slot on: at most so many rows, from at most so many slots.
    /// Returns where to go on, which stays behind when there is no room for more.
    #[must_use]
    pub fn walk(&mut self, id: u32, from: Slot, (rows, slots): (u32, Slot)) -> Walked {
        let alive = self.alive() as u64;
        let end = self.slots().min(from.saturating_add(slots));
        let mut walked = Walked { id, from, next: Some(from), alive, rows: 0 };
        let Some(journal) = &mut self.journal else { return walked };
        let mut slot = from;
        while slot < end && walked.rows < rows {
            let row = self.slots[slot as usize].as_ref();
            if let Some(row) = row.filter(|row| !row.notes.marks.contains(Marks::DEAD)) {
                if !journal.row(&row.flow(&self.pairs), row.notes.stamp) {
                    break;
                }
                walked.rows += 1;
            }
            slot += 1;
        }
        walked.next = (slot < self.slots.len() as Slot).then_some(slot);
        walked
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

    /// Flows of an IP protocol that live.
    #[must_use]
    pub fn alive_of(&self, proto: u8) -> usize {
        self.protos[usize::from(proto)] as usize
    }

    /// Notes that the flow in a slot has ended, or lives again.
    ///
    /// That it ended is written down. One that lives again is written down by [`FlowTable::set_flow`], which follows.
    pub fn set_dead(&mut self, slot: Slot, dead: bool) {
        if dead && !is_dead(&self.slots, slot) {
            self.note(slot, Op::Destroy);
        }
        self.mark_dead(slot, dead);
    }

    fn mark_dead(&mut self, slot: Slot, dead: bool) {
        let Some(notes) = self.notes_mut(slot) else { return };
        let was = notes.marks.contains(Marks::DEAD);
        notes.marks.set(Marks::DEAD, dead);
        self.dead = self.dead + usize::from(dead) - usize::from(was);
        if let Some(proto) = self.at(slot).map(|entry| entry.proto()) {
            let alive = &mut self.protos[usize::from(proto)];
            *alive = *alive + u32::from(was) - u32::from(dead);
        }
        if dead && !was {
            self.graves.push_back(slot);
            if self.graves.len() > 2 * self.dead + GRAVES_EMPTY_MAX {
                // A slot that was filled again since may have two graves.
                let (slots, mut seen) = (&self.slots, BTreeSet::new());
                self.graves.retain(|&slot| is_dead(slots, slot) && seen.insert(slot));
            }
        }
    }

    /// What is known of the flow in a slot, if it lives.
    #[must_use]
    pub fn knowledge(&self, slot: Slot) -> Knowledge {
        let Some(entry) = self.at(slot) else { return Knowledge::Absent };
        match entry.marks {
            marks if marks.contains(Marks::DEAD) => Knowledge::Ended,
            marks if marks.contains(Marks::NO_EVENTS) => Knowledge::Read,
            marks if marks.contains(Marks::UNCONFIRMED) => Knowledge::Seen,
            _ => Knowledge::Sure,
        }
    }

    /// Notes what is known of the living flow in a slot.
    pub fn set_knowledge(&mut self, slot: Slot, knowledge: Knowledge) {
        let Some(notes) = self.notes_mut(slot) else { return };
        let (no_events, unconfirmed) = (knowledge == Knowledge::Read, knowledge == Knowledge::Seen);
        let was = notes.marks;
        notes.marks.set(Marks::NO_EVENTS, no_events);
        notes.marks.set(Marks::UNCONFIRMED, unconfirmed);
        self.without_events = self.without_events + usize::from(no_events)
            - usize::from(was.contains(Marks::NO_EVENTS));
        self.unconfirmed = self.unconfirmed + usize::from(unconfirmed)
            - usize::from(was.contains(Marks::UNCONFIRMED));
    }

    /// How many flows may change and end without an event.
    #[must_use]
    pub const fn without_events(&self) -> usize {
        self.without_events
    }

    /// How many flows the kernel may never have inserted into its table.
    #[must_use]
    pub const fn unconfirmed(&self) -> usize {
        self.unconfirmed
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
        self.index = Index::with_capacity(flows.min(self.max));
        self
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Most flows it takes.
    #[must_use]
    pub const fn max(&self) -> usize {
        self.max
    }

    /// The slot of a flow.
    #[must_use]
    pub fn find(&self, key: &FlowKey) -> Option<Slot> {
        let key = Key::of(key);
        let is = |slot| self.at(slot).is_some_and(|entry| entry.row.is(&key, &self.pairs));
        self.index.find(key.hash(&self.hasher), is)
    }

    /// Where in memory a flow would be found, for [`FlowTable::index_line`] and [`FlowTable::row_line`].
    #[must_use]
    #[inline]
    pub fn probe(&self, key: &FlowKey) -> Probe {
        Probe(Key::of(key).hash(&self.hasher))
    }

    /// The cache line where a search for a flow begins. A caller about to look up several flows can prefetch the
    /// lines of all of them at once.
    #[must_use]
    #[inline]
    pub fn index_line(&self, probe: Probe) -> Option<&impl Sized> {
        self.index.first(probe.0)
    }

    /// The cache line of the row that the search most likely reads next; its index line must be in the cache.
    #[must_use]
    #[inline]
    pub fn row_line(&self, probe: Probe) -> Option<&impl Sized> {
        self.slots.get(self.index.guess(probe.0)? as usize)
    }

    /// The entry of a flow.
    #[must_use]
    pub fn get(&self, key: &FlowKey) -> Option<Entry<'_>> {
        self.at(self.find(key)?)
    }

    /// The entry in a slot.
    #[must_use]
    pub fn at(&self, slot: Slot) -> Option<Entry<'_>> {
        let row = self.slots.get(slot as usize)?.as_ref()?;
        Some(Entry { row, pairs: &self.pairs })
    }

    /// What is remembered of the flow in a slot.
    pub fn notes_mut(&mut self, slot: Slot) -> Option<&mut Notes> {
        let row = self.slots.get_mut(slot as usize)?.as_mut()?;
        Some(&mut row.notes)
    }

    /// Puts a flow in the place of one with the same identity; what is remembered stays.
    pub fn set_flow(&mut self, slot: Slot, flow: Flow, becomes: Becomes) {
        let Some(row) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        debug_assert_eq!(row.key(&self.pairs), flow.key(), "an entry keeps its identity");
        row.set_flow(flow, &mut self.pairs);
        match becomes {
            Becomes::Another => self.note(slot, Op::New),
            Becomes::Changed => self.note(slot, Op::Update),
            Becomes::Same => {}
        }
    }

    /// Lays news over the flow in a slot, as [`merge::absorb`](crate::flows::merge::absorb) does.
    pub fn absorb(&mut self, slot: Slot, news: Flow) {
        let Some(row) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        row.absorb(news, &mut self.pairs);
        self.note(slot, Op::Update);
    }

    /// Ends the flow in a slot; `last_words` are its final counters and times, where the kernel sent them. The entry
    /// stays, or goes.
    pub fn finish(&mut self, slot: Slot, last_words: Option<Flow>, stays: bool) {
        if self.journal.is_some() {
            self.write_end(slot, last_words.as_ref());
        }
        if !stays {
            self.take(slot);
            return;
        }
        if let Some(mut last_words) = last_words {
            last_words.drop_volatile();
            let row = self.slots.get_mut(slot as usize).and_then(Option::as_mut);
            if let Some(row) = row {
                row.absorb(last_words, &mut self.pairs);
            }
        }
        self.mark_dead(slot, true);
    }

    #[cold]
    fn write_end(&mut self, slot: Slot, last_words: Option<&Flow>) {
        let Some(row) = self.slots.get(slot as usize).and_then(Option::as_ref) else { return };
        let Some(journal) = &mut self.journal else { return };
        let mut flow = row.flow(&self.pairs);
        if let Some(last_words) = last_words {
            let mut news = last_words.clone();
            news.drop_volatile();
            merge::absorb(&mut flow, news);
        }
        let flags = if last_words.is_some() { Flags::empty() } else { Flags::UNREPORTED };
        journal.write(Op::Destroy, &flow, flags);
    }

    /// Adds a flow whose identity is not in the table yet.
    ///
    /// # Errors
    /// [`Full`] when the limit is reached.
    pub fn insert(&mut self, flow: Flow, notes: Notes) -> Result<Slot, Full> {
        if self.len() >= self.max {
            return Err(Full);
        }
        let key = flow.key();
        debug_assert!(self.find(&key).is_none(), "an identity is in the table once");
        self.protos[usize::from(key.tuple.proto)] += 1;
        let row = Some(Row::new(flow, notes, &mut self.pairs));
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = row;
            slot
        } else {
            self.slots.push(row);
            (self.slots.len() - 1) as Slot
        };
        let Self { slots, pairs, hasher, .. } = self;
        self.index.insert(Key::of(&key).hash(hasher), slot, |slot| {
            let row = slots[slot as usize].as_ref().expect("indexed slots are filled");
            row.hash(pairs, hasher)
        });
        self.note(slot, Op::New);
        Ok(slot)
    }

    /// Takes the entry out of a slot; what was remembered of it.
    pub fn remove(&mut self, slot: Slot) -> Option<Notes> {
        if !is_dead(&self.slots, slot) {
            self.note(slot, Op::Destroy);
        }
        self.take(slot)
    }

    fn take(&mut self, slot: Slot) -> Option<Notes> {
        let row = self.slots.get_mut(slot as usize)?.take()?;
        self.index.remove(row.hash(&self.pairs, &self.hasher), slot);
        self.free.push(slot);
        let proto = row.proto(&self.pairs);
        let notes = row.release(&mut self.pairs);
        self.protos[usize::from(proto)] -= u32::from(!notes.marks.contains(Marks::DEAD));
        self.dead -= usize::from(notes.marks.contains(Marks::DEAD));
        self.without_events -= usize::from(notes.marks.contains(Marks::NO_EVENTS));
        self.unconfirmed -= usize::from(notes.marks.contains(Marks::UNCONFIRMED));
        Some(notes)
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.pairs.clear();
        self.free.clear();
        self.index.clear();
        (self.dead, *self.protos) = (0, [0; 256]);
        (self.without_events, self.unconfirmed) = (0, 0);
        self.graves.clear();
        self.journal.iter_mut().for_each(|journal| journal.clear());
    }

    /// One past the last slot that may be filled.
    #[must_use]
    pub fn slots(&self) -> Slot {
        self.slots.len() as Slot
    }

    /// The first filled slot at or after `from`, and its entry.
    #[must_use]
    pub fn next(&self, from: Slot) -> Option<(Slot, Entry<'_>)> {
        let rest = self.slots.get(from as usize..)?;
        let skip = rest.iter().position(Option::is_some)?;
        let slot = from + skip as Slot;
        Some((slot, self.at(slot)?))
    }

    /// All entries, in slot order.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, Entry<'_>)> {
        let numbered = self.slots.iter().enumerate();
        numbered.filter_map(|(slot, row)| {
            Some((slot as Slot, Entry { row: row.as_ref()?, pairs: &self.pairs }))
        })
    }
}

#[cfg(test)]
mod tests;
