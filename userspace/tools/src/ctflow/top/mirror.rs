//! The daemon's table according to its feed, and beside it the kernel's counters of each flow.
//!
//! ```text
//!   records --apply--> FlowTable   have, new, update: put; destroy: remove
//!                        | by slot
//!   dump ----read----> column      counters, rates, seconds left; empty while counters are not read
//!                        |
//!                      walk --> flows and readings, some slots at a time
//!
//!   snapshot: what is held stays, and counts as old; live: what is still old then has ended unheard, and goes
//! ```
//!
//! Of what a table notes about a row, the mirror uses `stamp` for when the flow began, `since_s` for the turn in which
//! it began, and `updated_s` for what confirmed it: the snapshot and the shard.

mod column;

use super::meter::Reading;
use column::Column;
pub use column::Rates;
use ctnetlink::Flow;
use ctnetlink::flow::Known;
use ctnetlink::tuple::ipproto;
use engine::Slot;
use engine::flows::table::{Becomes, Entry, FlowTable, Full, Notes};
use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;
use wire::feed::{Op, Record};

/// A flow that began in a turn, and is not there at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// As it was known last.
    pub flow: Flow,
    /// When it began, nanoseconds since 1970; 0: that is not known.
    pub began_ns: u64,
}

/// Those of a turn that are kept. More are counted alone.
const PASSED_MAX: usize = 65_536;

/// What came and went in a turn, and what there is at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Its number; see [`Mirror::walk`].
    pub number: u32,
    /// Flows that began, also those that have ended since.
    pub began: u64,
    /// Flows that ended.
    pub ended: u64,
    /// Flows, TCP flows and UDP flows.
    pub flows: [u64; 3],
    /// Flows by zone.
    pub zones: BTreeMap<u16, u64>,
    /// Flows that began and are gone again, as far as they are kept.
    pub passed: Vec<Passed>,
}

/// The table.
#[derive(Debug)]
pub struct Mirror {
    table: FlowTable,
    column: Column,
    zones: BTreeMap<u16, u64>,
    /// The snapshot that is taken or was taken last.
    snapshot: u16,
    is_taking: bool,
    turn: u32,
    began: u64,
    ended: u64,
    passed: Vec<Passed>,
}

/// What confirmed a flow, as the mirror notes it.
fn place(snapshot: u16, shard: u16) -> u32 {
    u32::from(snapshot) << 16 | u32::from(shard)
}

fn snapshot_of(notes: &Notes) -> u16 {
    (notes.updated_s >> 16) as u16
}

fn shard_of(notes: &Notes) -> u16 {
    notes.updated_s as u16
}

impl Mirror {
    /// An empty one for at most so many flows.
    #[must_use]
    pub fn new(flows_max: usize) -> Self {
        // Strangers choose tuples: they are not to know where these lie.
        let seed = RandomState::new().hash_one(0);
        Self {
            table: FlowTable::new(flows_max, seed),
            column: Column::default(),
            zones: BTreeMap::new(),
            snapshot: 0,
            is_taking: false,
            turn: 1,
            began: 0,
            ended: 0,
            passed: Vec::new(),
        }
    }

    /// Flows in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most flows that it takes.
    #[must_use]
    pub const fn max(&self) -> usize {
        self.table.max()
    }

    /// Does what a record of a shard says.
    ///
    /// # Errors
    /// [`Full`] when the daemon's table has more flows than the mirror takes.
    pub fn apply(&mut self, shard: u16, record: &Record<'_>) -> Result<(), Full> {
        match record.head.op {
            Op::Have | Op::New | Op::Update => self.put(shard, record)?,
            Op::Destroy => {
                self.ended += 1;
                if let Some(slot) = self.table.find(&record.flow().key()) {
                    self.remove(slot);
                }
            }
            Op::Cleared => self.drop_where(|notes| shard_of(notes) == shard),
            Op::Failure | Op::Gap | Op::Walked => {}
        }
        Ok(())
    }

    fn put(&mut self, shard: u16, record: &Record<'_>) -> Result<(), Full> {
        let (mut flow, head) = (record.flow(), record.head);
        let is_new = head.op == Op::New;
        let (turn, place) = (self.turn, place(self.snapshot, shard));
        self.began += u64::from(is_new);
        let began = if is_new { (head.time_ns, turn) } else { (0, 0) };
        // Another client may have asked for counters: they are those of this record alone.
        flow.drop_volatile();
        let Some(slot) = self.table.find(&flow.key()) else {
            return self.add(flow, (began, place));
        };
        let is_other = self
            .table
            .at(slot)
            .and_then(|entry| entry.id())
            .is_some_and(|id| flow.has(Known::ID) && id != flow.id);
        if is_new || is_other {
            self.note_passed(slot);
        }
        if let Some(notes) = self.table.notes_mut(slot) {
            // No record reported the end of the life before.
            let is_unheard = is_new && snapshot_of(notes) == self.snapshot;
            self.ended += u64::from(is_unheard);
            notes.updated_s = place;
            if is_new || is_other {
                (notes.stamp, notes.since_s) = began;
            }
        }
        if is_new || is_other {
            self.column.forget(slot);
        }
        self.table.set_flow(slot, flow, Becomes::Same);
        Ok(())
    }

    fn add(
        &mut self,
        flow: Flow,
        ((stamp, since_s), updated_s): ((u64, u32), u32),
    ) -> Result<(), Full> {
        if self.table.len() >= self.table.max() && self.is_taking {
            // Flows that have ended unheard make room.
            self.drop_old();
        }
        let zone = flow.zone;
        let notes = Notes { stamp, since_s, updated_s, ..Notes::default() };
        let slot = self.table.insert(flow, notes)?;
        *self.zones.entry(zone).or_default() += 1;
        self.column.forget(slot);
        Ok(())
    }

    /// The flow in a slot is to go. If it began in this turn, it is kept beside the table until the turn ends.
    fn note_passed(&mut self, slot: Slot) {
        let entry = self.table.at(slot).filter(|entry| entry.since_s == self.turn);
        if let Some(entry) = entry.filter(|_| self.passed.len() < PASSED_MAX) {
            self.passed.push(Passed { flow: entry.flow(), began_ns: entry.stamp });
        }
    }

    fn remove(&mut self, slot: Slot) {
        let Some(zone) = self.table.at(slot).map(|entry| entry.zone()) else { return };
        self.note_passed(slot);
        self.table.remove(slot);
        if let Some(flows) = self.zones.get_mut(&zone) {
            *flows -= 1;
            if *flows == 0 {
                self.zones.remove(&zone);
            }
        }
    }

    fn drop_where(&mut self, is_over: impl Fn(&Notes) -> bool) {
        let over = |(slot, entry): (Slot, Entry<'_>)| is_over(&entry).then_some(slot);
        let slots: Vec<_> = self.table.iter().filter_map(over).collect();
        slots.into_iter().for_each(|slot| self.remove(slot));
    }

    fn drop_old(&mut self) {
        let snapshot = self.snapshot;
        self.drop_where(|notes| snapshot_of(notes) != snapshot);
    }

    /// A snapshot begins.
    pub fn begin_snapshot(&mut self) {
        self.snapshot = self.snapshot.wrapping_add(1);
        self.is_taking = true;
    }

    /// All rows of the snapshot have come.
    pub fn end_snapshot(&mut self) {
        self.is_taking = false;
        self.drop_old();
    }

    /// The daemon's table is empty, or another one.
    pub fn clear(&mut self) {
        self.table.clear();
        self.zones.clear();
        self.column.clear();
    }

    /// Records were lost: so many flows began, and so many ended.
    pub const fn lose(&mut self, began: u64, ended: u64) {
        self.began += began;
        self.ended += ended;
    }

    /// Ends a turn, and begins the next one.
    pub fn turn(&mut self) -> Turn {
        let of = |proto| self.table.alive_of(proto) as u64;
        let flows = [self.len() as u64, of(ipproto::TCP), of(ipproto::UDP)];
        let (number, zones) = (self.turn, self.zones.clone());
        let [began, ended] = [&mut self.began, &mut self.ended].map(std::mem::take);
        let passed = std::mem::take(&mut self.passed);
        self.turn += 1;
        Turn { number, began, ended, flows, zones, passed }
    }

    /// A reading of the kernel's counters begins; `at` on a clock that does not jump, `time_ns` the wall clock.
    pub fn begin_reading(&mut self, at: Duration, time_ns: u64) {
        self.column.begin(at, time_ns, self.table.slots());
    }

    /// Takes a flow that the kernel shows; one that the mirror does not hold is passed over.
    pub fn read(&mut self, flow: &Flow) {
        let Some(slot) = self.table.find(&flow.key()) else { return };
        let id = self.table.at(slot).and_then(|entry| entry.id());
        let Some(notes) = self.table.notes_mut(slot).filter(|_| id.is_none_or(|id| id == flow.id))
        else {
            return;
        };
        let times = flow.extra.as_deref().and_then(|extra| extra.timestamps);
        if let Some(times) = times.filter(|times| times.start_ns != 0) {
            notes.stamp = times.start_ns;
        }
        let began_ns = notes.stamp;
        self.column.read(slot, flow, began_ns);
    }

    /// The reading is over: what it found.
    pub const fn end_reading(&mut self) -> Rates {
        self.column.end()
    }

    /// Counters are not read any more.
    pub fn forget_readings(&mut self) {
        self.column = Column::default();
    }

    /// Hands out the flows in so many slots, each with what is known of it, and since when it lives; where to go on.
    /// New is what began in the turn with this number.
    pub fn walk(
        &self,
        (from, slots): (Slot, Slot),
        turn: u32,
        mut each: impl FnMut(Flow, Reading, Option<u64>),
    ) -> Option<Slot> {
        let end = from.saturating_add(slots);
        for slot in from..end.min(self.table.slots()) {
            let Some(entry) = self.table.at(slot) else { continue };
            let (flow, mut reading) = self.entry(slot, &entry);
            reading.is_new = entry.since_s == turn;
            let began_ns = entry.stamp;
            each(flow, reading, (began_ns != 0).then_some(began_ns));
        }
        (end < self.table.slots()).then_some(end)
    }

    fn entry(&self, slot: Slot, entry: &Entry<'_>) -> (Flow, Reading) {
        let mut flow = entry.flow();
        // The time left at the daemon's last event about it says nothing of now.
        flow.timeout_s = 0;
        flow.known.remove(Known::TIMEOUT);
        let Some(metered) = self.column.at(slot) else { return (flow, Reading::default()) };
        (flow.timeout_s, flow.known) = (metered.left_s, flow.known | Known::TIMEOUT);
        if let Some(counters) = metered.counters() {
            flow.extra_mut().counters = counters.map(Some);
        }
        let [orig_bps, reply_bps] = metered.rates();
        (flow, Reading { orig_bps, reply_bps, is_new: false })
    }
}

#[cfg(test)]
mod tests;
