//! Flows of this node: kernel events in, messages for the peer out.
//!
//! ```text
//!  event NEW/UPDATE --older than what is known?--> dropped, counted stale
//!        |                    (Stamp::After: cannot tell --> ask the kernel)
//!        v
//!  table entry --QUEUED--> outbox --sent--> SENT
//!        |
//!  event DESTROY --> DEAD --told to the peer--> gone, a tombstone stays
//! ```

use crate::config::{Config, limit};
use crate::counters::{Counters, TableCounters};
use crate::input::{Origin, Stamp};
use crate::kernel::{KernelQueue, Purpose};
use crate::merge;
use crate::output::Request;
use crate::replica::{Outbox, Packer};
use crate::table::{Entry, FlowTable, Full, Marks, Slot};
use crate::tombstone::Tombstones;
use common::{FlowKey, Instant};
use wire::Flow;
use wire::flow::Known;
use wire::netlink::EventKind;
use wire::sync::v1::Change;

/// What the local side works with while it handles one input.
pub struct Desk<'a> {
    /// Settings.
    pub config: &'a Config,
    /// Counts.
    pub counters: &'a mut Counters,
    /// What goes to the peer.
    pub outbox: &'a mut Outbox,
    /// What goes to the kernel.
    pub kernel: &'a mut KernelQueue,
    /// The time.
    pub now: Instant,
}

/// News about a flow compared with what is known of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    Newer,
    Older,
    Unclear,
}

/// The local table and what belongs to it.
#[derive(Debug)]
pub struct Local {
    /// The flows.
    pub table: FlowTable,
    tombstones: Tombstones,
    /// Where a bulk transfer goes on, and how many flows it has sent.
    bulk: Option<(Slot, u64)>,
}

impl Local {
    /// An empty side.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            table: FlowTable::new(config.flows_max, config.hash_seed),
            tombstones: Tombstones::new(limit::TOMBSTONES_MAX, config.hash_seed),
            bulk: None,
        }
    }

    /// Takes a kernel event. `Err` when the flow is new and the table is full.
    pub fn on_event(
        &mut self,
        desk: &mut Desk<'_>,
        event: EventKind,
        flow: Flow,
        origin: Origin,
        stamp: Stamp,
    ) -> Result<(), Full> {
        desk.counters.events += 1;
        if origin == Origin::Inject {
            return Ok(());
        }
        let known = self.table.find(&flow.key());
        // The end of a flow that was let in is let in, whatever state it ended in.
        if !desk.config.filter.passes(&flow) && (known.is_none() || event != EventKind::Destroy) {
            desk.counters.filtered += 1;
            return Ok(());
        }
        if !desk.config.replication.keep_local {
            bypass(desk, event, flow, origin);
            return Ok(());
        }
        match event {
            EventKind::Destroy => self.on_destroy(desk, known, &flow, origin, stamp),
            EventKind::New | EventKind::Update => {
                return self.on_change(desk, known, event, flow, origin, stamp);
            }
        }
        Ok(())
    }

    fn on_change(
        &mut self,
        desk: &mut Desk<'_>,
        known: Option<Slot>,
        event: EventKind,
        flow: Flow,
        origin: Origin,
        stamp: Stamp,
    ) -> Result<(), Full> {
        let key = flow.key();
        let last = known.and_then(|slot| Some(self.table.at(slot)?.stamp));
        let last = last.max(self.tombstones.ended_at(&key));
        match age(stamp, last) {
            Age::Older => {
                desk.counters.local.stale += 1;
                return Ok(());
            }
            Age::Unclear => {
                self.verify(desk, &key, known);
                return Ok(());
            }
            Age::Newer => {}
        }
        let at = stamp_value(stamp, desk.now);
        let slot = match known {
            Some(slot) => self.change(desk, slot, event, flow, at),
            None => self.add(desk, flow, at, Marks::empty())?,
        };
        if origin == Origin::Foreign {
            desk.outbox.queue_entry(&mut self.table, slot);
        }
        Ok(())
    }

    fn change(
        &mut self,
        desk: &mut Desk<'_>,
        slot: Slot,
        event: EventKind,
        mut flow: Flow,
        at: u64,
    ) -> Slot {
        let entry = self.table.at_mut(slot).expect("the slot was just found");
        flow.drop_volatile();
        // A new flow, or one with another id, is not the flow we knew under this identity.
        let other = has_other_id(&entry.flow, &flow);
        let reborn = event == EventKind::New || other || entry.marks.contains(Marks::DEAD);
        if reborn {
            entry.flow = flow;
            entry.since_s = seconds(desk.now);
            entry.marks.remove(Marks::DEAD);
        } else {
            merge::absorb(&mut entry.flow, flow);
        }
        entry.stamp = at;
        entry.updated_s = seconds(desk.now);
        desk.counters.local.updated += 1;
        slot
    }

    fn add(
        &mut self,
        desk: &mut Desk<'_>,
        mut flow: Flow,
        at: u64,
        marks: Marks,
    ) -> Result<Slot, Full> {
        flow.drop_volatile();
        let since_s = seconds(desk.now);
        let entry = Entry { flow, stamp: at, since_s, updated_s: since_s, marks };
        count_insert(self.table.insert(entry), &mut desk.counters.local)
    }

    fn on_destroy(
        &mut self,
        desk: &mut Desk<'_>,
        known: Option<Slot>,
        flow: &Flow,
        origin: Origin,
        stamp: Stamp,
    ) {
        let key = flow.key();
        let Some(slot) = known.filter(|&slot| self.is_alive(slot)) else {
            desk.counters.local.destroy_not_found += 1;
            self.tombstones.bury(key, stamp_value(stamp, desk.now));
            return;
        };
        let entry = self.table.at(slot).expect("the slot was just found");
        let same_life = entry.flow.has(Known::ID) && !has_other_id(&entry.flow, flow);
        match age(stamp, Some(entry.stamp)) {
            _ if same_life => {}
            Age::Newer => {}
            Age::Older => {
                desk.counters.local.stale += 1;
                return;
            }
            Age::Unclear => return self.verify(desk, &key, known),
        }
        let at = stamp_value(stamp, desk.now).max(entry.stamp);
        self.tombstones.bury(key, at);
        if origin == Origin::Commit
            && let Some(entry) = self.table.at_mut(slot)
        {
            entry.marks.remove(Marks::SENT);
        }
        self.bury(desk, slot, Some(flow));
    }

    /// Ends an entry: the peer is told if it may know the flow, then it goes.
    fn bury(&mut self, desk: &mut Desk<'_>, slot: Slot, last_words: Option<&Flow>) {
        let Some(entry) = self.table.at_mut(slot) else { return };
        desk.counters.local.destroyed += 1;
        if let Some(flow) = last_words {
            let mut flow = flow.clone();
            flow.drop_volatile();
            merge::absorb(&mut entry.flow, flow);
        }
        if entry.marks.contains(Marks::SENT) {
            entry.marks.insert(Marks::DEAD);
            desk.outbox.queue_entry(&mut self.table, slot);
        } else {
            // Born and dead before its turn came: the peer is spared both. The outbox passes over its slot.
            self.table.remove(slot);
        }
    }

    fn verify(&mut self, desk: &mut Desk<'_>, key: &FlowKey, known: Option<Slot>) {
        if let Some(entry) = known.and_then(|slot| self.table.at_mut(slot)) {
            if entry.marks.contains(Marks::VERIFYING) {
                return;
            }
            entry.marks.insert(Marks::VERIFYING);
        }
        desk.counters.verified += 1;
        desk.kernel.push(Purpose::Read, Request::Get(*key));
    }

    /// Takes the kernel's answer about one flow: it is as the kernel says.
    pub fn on_verified(
        &mut self,
        desk: &mut Desk<'_>,
        key: &FlowKey,
        flow: Option<Flow>,
    ) -> Result<(), Full> {
        let known = self.table.find(key).filter(|&slot| self.is_alive(slot));
        if let Some(entry) = known.and_then(|slot| self.table.at_mut(slot)) {
            entry.marks.remove(Marks::VERIFYING);
        }
        let at = desk.now.0;
        match (known, flow) {
            (Some(slot), Some(flow)) => {
                self.change(desk, slot, EventKind::Update, flow, at);
                desk.outbox.queue_entry(&mut self.table, slot);
            }
            (Some(slot), None) => {
                self.tombstones.bury(*key, at);
                self.bury(desk, slot, None);
            }
            (None, Some(flow)) => {
                let slot = self.add(desk, flow, at, Marks::empty())?;
                desk.outbox.queue_entry(&mut self.table, slot);
            }
            (None, None) => self.tombstones.bury(*key, at),
        }
        Ok(())
    }

    /// Takes a flow of a dump of the kernel's table that began at `began`. Dumps are not propagated: a bulk transfer
    /// does that. The flow was read at some time after `began`, so every event after that counts as newer.
    pub fn on_dumped(
        &mut self,
        desk: &mut Desk<'_>,
        began: Instant,
        flow: Flow,
    ) -> Result<(), Full> {
        if !desk.config.filter.passes(&flow) {
            desk.counters.filtered += 1;
            return Ok(());
        }
        let at = began.0;
        let slot = match self.table.find(&flow.key()) {
            Some(slot) if self.table.at(slot).is_some_and(|e| e.stamp > at) => slot,
            Some(slot) => self.change(desk, slot, EventKind::Update, flow, at),
            // The peer may know it from an earlier life of this daemon, so its end must be told.
            None => self.add(desk, flow, at, Marks::SENT)?,
        };
        self.table.at_mut(slot).expect("just placed").marks.insert(Marks::SHOWN);
        Ok(())
    }

    /// A dump that began at `began` is over: entries it did not show and that are older than it are gone from the
    /// kernel. Returns how many were removed.
    pub fn on_dump_done(&mut self, desk: &mut Desk<'_>, began: Instant, complete: bool) -> u64 {
        let (mut purged, mut from) = (0, 0);
        while let Some((slot, entry)) = self.table.next(from) {
            from = slot + 1;
            let shown = entry.marks.contains(Marks::SHOWN);
            let gone = !shown && entry.stamp < began.0 && !entry.marks.contains(Marks::DEAD);
            if let Some(entry) = self.table.at_mut(slot) {
                entry.marks.remove(Marks::SHOWN);
            }
            if gone && complete {
                self.bury(desk, slot, None);
                purged += 1;
            }
        }
        purged
    }

    /// Begins to send everything.
    pub const fn start_bulk(&mut self) {
        self.bulk = Some((0, 0));
    }

    /// Whether a bulk transfer is under way.
    #[must_use]
    pub const fn is_in_bulk(&self) -> bool {
        self.bulk.is_some()
    }

    /// Packs more of a bulk transfer. `Some(flows)` when this was its end.
    pub fn pack_bulk(
        &mut self,
        outbox: &mut Outbox,
        packer: &mut Packer<'_>,
        counters: &mut Counters,
    ) -> Option<u64> {
        let (mut from, mut sent) = self.bulk?;
        while let Some((slot, entry)) = self.table.next(from) {
            if !entry.marks.intersects(Marks::DEAD | Marks::QUEUED) {
                let fresh = !entry.marks.contains(Marks::SENT);
                let change = if fresh { Change::New } else { Change::Update };
                if !outbox.pack_entry(&entry.flow, change, packer, &mut counters.replica) {
                    self.bulk = Some((from, sent));
                    return None;
                }
                sent += 1;
                self.table.at_mut(slot).expect("just seen").marks.insert(Marks::SENT);
            }
            from = slot + 1;
        }
        self.bulk = None;
        Some(sent)
    }

    /// Forgets every flow without telling anybody.
    pub fn flush(&mut self, outbox: &mut Outbox) {
        outbox.forget_entries();
        self.table.clear();
        self.tombstones.clear();
        self.bulk = None;
    }

    /// Flows that live.
    #[must_use]
    pub fn is_alive(&self, slot: Slot) -> bool {
        self.table.at(slot).is_some_and(|e| !e.marks.contains(Marks::DEAD))
    }
}

/// Passes an event on where no local table is kept.
fn bypass(desk: &mut Desk<'_>, event: EventKind, flow: Flow, origin: Origin) {
    let (counter, change) = match event {
        EventKind::New => (&mut desk.counters.bypass.created, Change::New),
        EventKind::Update => (&mut desk.counters.bypass.updated, Change::Update),
        EventKind::Destroy => (&mut desk.counters.bypass.destroyed, Change::Destroy),
    };
    *counter += 1;
    if origin == Origin::Foreign {
        desk.outbox.queue_message(change, flow, &mut desk.counters.replica);
    }
}

/// Counts the outcome of an insertion.
pub fn count_insert(
    outcome: Result<Slot, Full>,
    counters: &mut TableCounters,
) -> Result<Slot, Full> {
    match outcome {
        Ok(_) => counters.created += 1,
        Err(Full) => counters.create_no_space += 1,
    }
    outcome
}

/// Seconds on the engine's clock, as entries keep them.
#[must_use]
pub const fn seconds(now: Instant) -> u32 {
    now.as_secs() as u32
}

fn has_other_id(known: &Flow, news: &Flow) -> bool {
    known.has(Known::ID) && news.has(Known::ID) && known.id != news.id
}

fn age(stamp: Stamp, last: Option<u64>) -> Age {
    match (stamp, last) {
        (_, None) | (Stamp::InOrder, _) => Age::Newer,
        (Stamp::At(at), Some(last)) if at.0 >= last => Age::Newer,
        (Stamp::At(_), _) => Age::Older,
        (Stamp::After(at), Some(last)) if at.0 >= last => Age::Newer,
        (Stamp::After(_), _) => Age::Unclear,
    }
}

const fn stamp_value(stamp: Stamp, now: Instant) -> u64 {
    match stamp {
        Stamp::InOrder => now.0,
        Stamp::At(at) | Stamp::After(at) => at.0,
    }
}
