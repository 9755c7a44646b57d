//! What a shard remembers of its own claims and ends: one list, in the order of their versions.
//!
//! ```text
//!   horizon                                                            last
//!      |    +-----+   +-----+   +-----+   +-----+   +-----+   +-----+   |
//!      .  . | end |-->| row |-->| row |-->| end |-->| row |-->| row |---'   a change moves a flow to the tail
//!           +-----+   +-----+   +-----+   +-----+   +-----+   +-----+
//!                        ^ position of a bulk          ^ position of a peer's news: what is next for it
//! ```
//!
//! A peer is a position: news that waits for it costs nothing, and states merge by themselves. Living flows have a
//! cell of 28 bytes by the slot of the flow table, expectations one by a place that their table gives. Ends have
//! places of their own, with the identity, because their slots are used again; the oldest gives way when there are
//! too many, and its version is the *horizon*: a peer that stopped before it cannot receive the difference alone.

#[cfg(test)]
mod tests;

use super::claim::What;
use crate::flows::table::Slot;
use alloc::vec::Vec;
use ctnetlink::FlowKey;
use wire::sync::v2::number;

/// Bits of `version` that are the version; the two above say what is claimed.
const VERSION: u64 = number::MAX;
/// Marks the place of an end among references.
const END: u32 = 1 << 31;
/// Marks the place of an expectation.
const EXPECT: u32 = 1 << 30;
/// No cell.
const NONE: u32 = u32::MAX;

/// Something in the list: a flow by its slot, an end or an expectation by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    /// A living flow.
    Flow(Slot),
    /// A flow that is over.
    End(u32),
    /// An expectation, or the end of one.
    Expect(u32),
}

/// What the ledger knows of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place among all changes.
    pub version: u64,
    /// How often the owner changed.
    pub epoch: u32,
    /// The version of another's claim that it superseded, or 0.
    pub base: u64,
    /// State or end.
    pub what: What,
}

/// A claim in the list. Version 0: there is none.
///
/// Packed by four, or it would take 32 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
struct Cell {
    version: u64,
    base: u64,
    epoch: u32,
    before: u32,
    after: u32,
}

const _: () = assert!(size_of::<Cell>() == 28);

impl Cell {
    const EMPTY: Self = Self { version: 0, base: 0, epoch: 0, before: NONE, after: NONE };

    fn new(entry: &Entry) -> Self {
        let version = entry.version & VERSION | (entry.what as u64) << 62;
        Self { version, base: entry.base, epoch: entry.epoch, ..Self::EMPTY }
    }

    const fn version(&self) -> u64 {
        self.version & VERSION
    }

    const fn entry(&self) -> Entry {
        let what = match self.version >> 62 {
            0 => What::State,
            1 => What::New,
            2 => What::Closed,
            _ => What::Expired,
        };
        Entry { version: self.version(), epoch: self.epoch, base: self.base, what }
    }
}

/// A flow that is over.
#[derive(Clone, Debug)]
struct End {
    cell: Cell,
    key: FlowKey,
    /// The ends before and after it; `NONE` at either side. In a place that is free, `after` is the next free one.
    before: u32,
    after: u32,
}

/// A place in the list, which follows it when it changes. It stands in front of `next`.
#[derive(Clone, Copy, Debug)]
struct Position {
    used: bool,
    next: u32,
}

/// Names a position of a [`Ledger`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PositionId(u32);

/// An end that gave way ([`Ledger::end`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Its version: the horizon from here on. A peer that has not acknowledged it must be compared with (R9).
    pub version: u64,
    /// Identity of the flow that ended.
    pub key: FlowKey,
}

/// Claims and ends of one shard.
#[derive(Debug)]
pub struct Ledger {
    cells: Vec<Cell>,
    expects: Vec<Cell>,
    ends: Vec<End>,
    free_end: u32,
    ends_len: usize,
    ends_max: usize,
    oldest_end: u32,
    youngest_end: u32,
    flows_len: usize,
    head: u32,
    tail: u32,
    last: u64,
    horizon: u64,
    positions: Vec<Position>,
}

impl Ledger {
    /// An empty one, which keeps at most `ends_max` ends, at least one.
    #[must_use]
    pub const fn new(ends_max: usize) -> Self {
        Self {
            cells: Vec::new(),
            expects: Vec::new(),
            ends: Vec::new(),
            free_end: NONE,
            ends_len: 0,
            ends_max: if ends_max == 0 { 1 } else { ends_max },
            oldest_end: NONE,
            youngest_end: NONE,
            flows_len: 0,
            head: NONE,
            tail: NONE,
            last: 0,
            horizon: 0,
            positions: Vec::new(),
        }
    }

    /// The version of the last change; 0 before the first.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// The version of the last end that gave way: who has everything up to it, or later, lacks no end.
    #[must_use]
    pub const fn horizon(&self) -> u64 {
        self.horizon
    }

    /// How many flows are claimed, and how many ends are remembered.
    #[must_use]
    pub const fn lens(&self) -> (usize, usize) {
        (self.flows_len, self.ends_len)
    }

    /// The claim of a flow.
    #[must_use]
    #[inline]
    pub fn flow(&self, slot: Slot) -> Option<Entry> {
        let cell = self.cells.get(slot as usize).filter(|cell| cell.version() != 0);
        cell.map(Cell::entry)
    }

    /// An end, and which flow's it is.
    #[must_use]
    pub fn ended(&self, place: u32) -> Option<(Entry, FlowKey)> {
        let end = self.ends.get(place as usize).filter(|end| end.cell.version() != 0)?;
        Some((end.cell.entry(), end.key))
    }

    /// What is claimed at a place of the list.
    #[must_use]
    pub fn entry(&self, item: Item) -> Option<Entry> {
        match item {
            Item::Flow(slot) => self.flow(slot),
            Item::End(place) => self.ended(place).map(|(entry, _)| entry),
            Item::Expect(place) => self.expect(place),
        }
    }

    /// The flow of a slot changed, or is claimed from here on: it goes to the tail, and gets the next version, which is
    /// returned. `what` is a state.
    pub fn change(&mut self, slot: Slot, epoch: u32, base: u64, what: What) -> u64 {
        let at = slot as usize;
        if at >= self.cells.len() {
            self.cells.resize(at + 1, Cell::EMPTY);
        }
        if self.cells[at].version() == 0 {
            self.flows_len += 1;
        } else {
            self.unlink(slot);
        }
        let what = if what.is_end() { What::State } else { what };
        let version = self.next_version();
        self.cells[at] = Cell::new(&Entry { version, epoch, base, what });
        self.link(slot);
        version
    }

    /// Drops the claim of a slot that is no end: another node's claim was taken. Nothing is sent about it.
    pub fn drop_flow(&mut self, slot: Slot) {
        if self.flow(slot).is_some() {
            self.unlink(slot);
            self.cells[slot as usize] = Cell::EMPTY;
            self.flows_len -= 1;
        }
    }

    /// A flow is over. If it was claimed, `slot` is where, and its cell is free again. The end goes to the tail; its
    /// place and version are returned, and the end that gave way for it, if one did.
    pub fn end(
        &mut self,
        slot: Option<Slot>,
        key: FlowKey,
        epoch: u32,
        base: u64,
        what: What,
    ) -> (u32, u64, Option<Gone>) {
        if let Some(slot) = slot {
            self.drop_flow(slot);
        }
        let gone = if self.ends_len >= self.ends_max { self.forget_oldest() } else { None };
        let what = if what.is_end() { what } else { What::Closed };
        let version = self.next_version();
        let cell = Cell::new(&Entry { version, epoch, base, what });
        let end = End { cell, key, before: self.youngest_end, after: NONE };
        let place = self.place(end);
        match self.youngest_end {
            NONE => self.oldest_end = place,
            before => self.ends[before as usize].after = place,
        }
        self.youngest_end = place;
        self.ends_len += 1;
        self.link(place | END);
        (place, version, gone)
    }

    /// An end is not to be remembered any longer: the identity is claimed again, here or by another.
    pub fn drop_end(&mut self, place: u32) {
        if self.ended(place).is_none() {
            return;
        }
        self.unlink(place | END);
        let End { before, after, .. } = self.ends[place as usize];
        match before {
            NONE => self.oldest_end = after,
            before => self.ends[before as usize].after = after,
        }
        match after {
            NONE => self.youngest_end = before,
            after => self.ends[after as usize].before = before,
        }
        let end = &mut self.ends[place as usize];
        end.cell = Cell::EMPTY;
        end.after = self.free_end;
        self.free_end = place;
        self.ends_len -= 1;
    }

    /// Forgets the oldest end, which moves the horizon.
    pub fn forget_oldest(&mut self) -> Option<Gone> {
        let place = self.oldest_end;
        let (entry, key) = self.ended(place)?;
        self.horizon = self.horizon.max(entry.version);
        self.drop_end(place);
        Some(Gone { version: entry.version, key })
    }

    fn expect(&self, place: u32) -> Option<Entry> {
        let cell = self.expects.get(place as usize).filter(|cell| cell.version() != 0);
        cell.map(Cell::entry)
    }

    /// The expectation at a place is claimed, changed or over: it goes to the tail, and gets the next version, which is
    /// returned.
    pub fn change_expect(&mut self, place: u32, what: What) -> u64 {
        let at = place as usize;
        if at >= self.expects.len() {
            self.expects.resize(at + 1, Cell::EMPTY);
        }
        if self.expects[at].version() != 0 {
            self.unlink(place | EXPECT);
        }
        let version = self.next_version();
        self.expects[at] = Cell::new(&Entry { version, epoch: 0, base: 0, what });
        self.link(place | EXPECT);
        version
    }

    /// Drops the claim of the expectation at a place; nothing is sent about it. An end that is forgotten
    /// moves the horizon.
    pub fn drop_expect(&mut self, place: u32) {
        let Some(entry) = self.expect(place) else { return };
        if entry.what.is_end() {
            self.horizon = self.horizon.max(entry.version);
        }
        self.unlink(place | EXPECT);
        self.expects[place as usize] = Cell::EMPTY;
    }

    /// The place of the oldest end with its version: what would give way next.
    #[must_use]
    pub fn oldest_end(&self) -> Option<(u32, u64)> {
        self.ended(self.oldest_end).map(|(entry, _)| (self.oldest_end, entry.version))
    }

    /// A new position, at the tail: all that changes from here on is in front of it.
    pub fn open(&mut self) -> PositionId {
        let fresh = Position { used: true, next: NONE };
        if let Some(at) = self.positions.iter().position(|position| !position.used) {
            self.positions[at] = fresh;
            return PositionId(at as u32);
        }
        self.positions.push(fresh);
        PositionId((self.positions.len() - 1) as u32)
    }

    /// Gives a position up.
    pub fn close(&mut self, id: PositionId) {
        self.positions[id.0 as usize].used = false;
    }

    /// Moves a position to the tail.
    pub fn to_tail(&mut self, id: PositionId) {
        self.positions[id.0 as usize].next = NONE;
    }

    /// Moves a position to the head: everything is in front of it.
    pub fn to_head(&mut self, id: PositionId) {
        self.positions[id.0 as usize].next = self.head;
    }

    /// Moves a position behind everything up to `version`; false, and it stays, if that is before the horizon, or
    /// later than the last change. It takes as many steps as there are changes since.
    pub fn to_version(&mut self, id: PositionId, version: u64) -> bool {
        if version < self.horizon || version > self.last {
            return false;
        }
        let (mut next, mut at) = (NONE, self.tail);
        while at != NONE && self.cell(at).version() > version {
            next = at;
            at = self.cell(at).before;
        }
        self.positions[id.0 as usize].next = next;
        true
    }

    /// What is next for a position, and stays so until [`Ledger::advance`].
    #[must_use]
    #[inline]
    pub fn peek(&self, id: PositionId) -> Option<(Item, Entry)> {
        let next = self.positions[id.0 as usize].next;
        (next != NONE).then(|| (item(next), self.cell(next).entry()))
    }

    /// Moves a position behind what was next for it.
    #[inline]
    pub fn advance(&mut self, id: PositionId) {
        let next = self.positions[id.0 as usize].next;
        if next != NONE {
            self.positions[id.0 as usize].next = self.cell(next).after;
        }
    }

    /// The version that a position has behind it: everything up to it was handed out, or has changed since.
    #[must_use]
    pub fn version_of(&self, id: PositionId) -> u64 {
        self.peek(id).map_or(self.last, |(_, entry)| entry.version - 1)
    }

    /// The list from its head on.
    pub fn iter(&self) -> impl Iterator<Item = (Item, Entry)> {
        let mut at = self.head;
        core::iter::from_fn(move || {
            let now = at;
            (now != NONE).then(|| {
                let cell = self.cell(now);
                at = cell.after;
                (item(now), cell.entry())
            })
        })
    }

    const fn next_version(&mut self) -> u64 {
        // Beyond this, versions could not be encoded any more; at a million changes a second that is 146,000 years.
        self.last = if self.last < VERSION { self.last + 1 } else { VERSION };
        self.last
    }

    fn place(&mut self, end: End) -> u32 {
        let place = self.free_end;
        if place == NONE {
            self.ends.push(end);
            return (self.ends.len() - 1) as u32;
        }
        self.free_end = self.ends[place as usize].after;
        self.ends[place as usize] = end;
        place
    }

    #[inline]
    fn cell(&self, at: u32) -> &Cell {
        match item(at) {
            Item::Flow(slot) => &self.cells[slot as usize],
            Item::End(place) => &self.ends[place as usize].cell,
            Item::Expect(place) => &self.expects[place as usize],
        }
    }

    #[inline]
    fn cell_mut(&mut self, at: u32) -> &mut Cell {
        match item(at) {
            Item::Flow(slot) => &mut self.cells[slot as usize],
            Item::End(place) => &mut self.ends[place as usize].cell,
            Item::Expect(place) => &mut self.expects[place as usize],
        }
    }

    /// Appends a cell to the list. Positions at the tail have it in front of them.
    fn link(&mut self, at: u32) {
        let before = self.tail;
        let cell = self.cell_mut(at);
        (cell.before, cell.after) = (before, NONE);
        match before {
            NONE => self.head = at,
            before => self.cell_mut(before).after = at,
        }
        self.tail = at;
        for position in &mut self.positions {
            if position.next == NONE {
                position.next = at;
            }
        }
    }

    /// Takes a cell out of the list. Positions in front of it stand in front of the next one from here on.
    fn unlink(&mut self, at: u32) {
        let Cell { before, after, .. } = *self.cell(at);
        match before {
            NONE => self.head = after,
            before => self.cell_mut(before).after = after,
        }
        match after {
            NONE => self.tail = before,
            after => self.cell_mut(after).before = before,
        }
        for position in &mut self.positions {
            if position.next == at {
                position.next = after;
            }
        }
    }
}

const fn item(at: u32) -> Item {
    match at & (END | EXPECT) {
        0 => Item::Flow(at),
        EXPECT => Item::Expect(at ^ EXPECT),
        _ => Item::End(at & !END),
    }
}
