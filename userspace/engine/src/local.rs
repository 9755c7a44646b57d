//! Flows of this node: kernel events in, messages for the peer out.
//!
//! ```text
//!  event NEW/UPDATE --older than what is known?--> dropped, counted stale
//!        |             (order unclear, or it carries what the newer one left out --> ask the kernel)
//!        v
//!  table entry --QUEUED--> outbox --sent--> SENT
//!        |
//!  event DESTROY --> DEAD --sent to the peer--> gone, a tombstone stays
//! ```

use crate::changed::{Elsewhere, Listener};
use crate::config::{Config, limit};
use crate::counters::{Counters, TableCounters};
use crate::flows::knowledge::{Age, Ask, By, Facts, Knowledge, Step, What};
use crate::flows::news::{self, age};
use crate::flows::table::{Becomes, Entry, FlowTable, Full, Marks, Notes, Slot};
use crate::flows::tombstone::{Span, Tombstones};
use crate::input::{Origin, Stamp};
use crate::kernel::KernelQueue;
use crate::turnover::Turnover;
use alloc::vec::Vec;
use common::Instant;
use core::ops::RangeInclusive;
use ctnetlink::{Change, Flow, FlowKey};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

mod bypass;
mod packet;
mod reading;

pub use reading::{Ended, Reading, Sweep};

/// From FIN_WAIT to CLOSE: a TCP connection is being closed, or is closed (`enum tcp_conntrack`).
const CLOSING: RangeInclusive<u8> = 4..=8;

/// What the local side works with while it handles one input.
pub struct InputContext<'a, L> {
    /// The settings.
    pub config: &'a Config,
    /// The counters.
    pub counters: &'a mut Counters,
    /// The listener.
    pub listener: &'a mut L,
    /// What goes to the kernel.
    pub kernel: &'a mut KernelQueue,
    /// The time.
    pub now: Instant,
}

/// A piece of news about a flow.
struct News {
    event: Change,
    flow: Flow,
    origin: Origin,
    stamp: Stamp,
    by: By,
}

/// News beside what is known, for [`Knowledge::on_news`].
struct Look<'a> {
    flows: &'a Flows,
    /// The living flow of that identity.
    known: Option<(Slot, Entry<'a>)>,
    age: Age,
    news: &'a Flow,
    event: Change,
    stamp: Stamp,
    now: Instant,
}

impl Facts for Look<'_> {
    fn age(&self) -> Age {
        self.age
    }

    fn is_another(&self) -> bool {
        self.known.is_some_and(|(_, entry)| news::is_another(entry, self.news))
    }

    fn says_more(&self) -> bool {
        self.known.is_some_and(|(_, entry)| news::says_more(entry, self.news))
    }

    fn is_laid_over(&self) -> bool {
        self.known.is_some_and(|(_, entry)| entry.marks.contains(Marks::ARRIVAL_TIME))
    }

    fn may_be_over(&self) -> bool {
        self.flows.may_be_over(&self.news.key(), self.event, self.stamp, self.now)
    }

    fn may_be_about_to_begin(&self) -> bool {
        self.known.is_some_and(|(slot, _)| self.flows.may_be_about_to_begin(slot, self.stamp))
    }
}

/// The local table and what belongs to it.
#[doc(alias = "internal cache")]
#[derive(Debug)]
pub struct Flows {
    /// The flows.
    pub table: FlowTable,
    pub(crate) tombstones: Tombstones,
    /// Flows not in the table that were spoken of lately, and when.
    last_seen: Tombstones,
    /// What an end said of a flow, while the kernel is asked whether it was the end of this flow or of an earlier one.
    /// Peers of version 2 alone want to know: they object to a flow that expired while they have it.
    last_words: HashMap<FlowKey, Flow, FixedState>,
    /// When the kernel's table had been read for the first time.
    filled: Option<Instant>,
    /// When the last reading began that does not show all that began before it.
    reread: Option<Instant>,
    /// Events and packets that were heard.
    pub heard: u64,
    /// What came and went, by zone, and how long it lived.
    pub turnover: Turnover,
    /// Flows that ended unseen, if the configuration asks for them.
    pub vanished: Vec<Flow>,
}

impl Flows {
    /// An empty side.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            table: FlowTable::new(config.flows_max, config.hash_seed)
                .with_room_for(config.flows_expected),
            tombstones: Tombstones::new(limit::TOMBSTONES_MAX, config.hash_seed),
            last_seen: Tombstones::new(limit::TOMBSTONES_MAX, config.hash_seed),
            last_words: HashMap::with_hasher(FixedState::with_seed(config.hash_seed)),
            filled: None,
            reread: None,
            heard: 0,
            turnover: Turnover::default(),
            vanished: Vec::new(),
        }
    }

    /// Takes a kernel event. `Err` when the flow is new and the table is full.
    pub fn on_event(
        &mut self,
        cx: &mut InputContext<'_, impl Listener>,
        event: Change,
        flow: Flow,
        origin: Origin,
        stamp: Stamp,
    ) -> Result<(), Full> {
        cx.counters.events += 1;
        self.heard += 1;
        self.table.hear(&flow, stamp, matches!(origin, Origin::Inject | Origin::Commit));
        // What an injection began is the peer's; what it changed or ended may have been ours.
        let peers = origin == Origin::Inject;
        if peers && (event == Change::New || !cx.config.replication.keep_local) {
            return Ok(());
        }
        let found = self.table.find(&flow.key());
        // The end of a flow that passed the filter passes too, whatever state it ended in. Without a table, nothing
        // records which flows passed.
        let (filter, keep) = (&cx.config.filter, cx.config.replication.keep_local);
        let may_be_in = || if keep { found.is_some() } else { filter.matches(&flow) };
        let lets_in = filter.passes(&flow) || (event == Change::Destroy && may_be_in());
        if !lets_in {
            cx.counters.filtered += 1;
            return Ok(());
        }
        if !cx.config.replication.keep_local {
            self.bypass(cx, event, flow, origin, stamp);
            return Ok(());
        }
        let known = found.filter(|&slot| self.is_alive(slot));
        match event {
            Change::Destroy => self.on_destroy(cx, known, flow, origin, stamp),
            Change::Update if peers && known.is_none() => {
                self.last_seen.bury(flow.key(), news::span_of(stamp, cx.now));
            }
            Change::New | Change::Update => {
                let news = News { event, flow, origin, stamp, by: By::Event };
                return self.on_change(cx, found, news);
            }
        }
        Ok(())
    }

    /// A flow is said to exist: the kernel is queried about it.
    pub fn on_noticed(&mut self, cx: &mut InputContext<'_, impl Listener>, key: &FlowKey) {
        self.verify(cx, key);
    }

    /// Takes news of a flow, which may have been found in the table, dead or alive.
    fn on_change(
        &mut self,
        cx: &mut InputContext<'_, impl Listener>,
        found: Option<Slot>,
        news: News,
    ) -> Result<(), Full> {
        let News { event, origin, stamp, by, .. } = news;
        let key = news.flow.key();
        self.make_room(cx, &key, news::span_of(stamp, cx.now))?;
        let knowledge = self.knowledge(found);
        let known = found.filter(|_| knowledge.is_alive());
        let what = match event {
            Change::New => What::Began(by),
            Change::Update => What::Changed(by),
            Change::Destroy => What::Ended,
        };
        let look = self.look(known, &news, cx.now);
        // Set where the kernel is queried: after the answer that the flow is gone, its end may be sent.
        let says_closing = || {
            let closes = news.flow.tcp().is_some_and(|tcp| CLOSING.contains(&tcp.state));
            closes && known.is_some() && !look.is_another()
        };
        let taken = match knowledge.on_news(what, &look) {
            Step::Take(taken) => taken,
            Step::SendLate => {
                cx.counters.local.stale += 1;
                known.into_iter().for_each(|slot| self.send_late(cx, slot, event));
                return Ok(());
            }
            Step::Ignore | Step::End | Step::Bury => {
                cx.counters.local.stale += 1;
                return Ok(());
            }
            Step::Ask { anew } => {
                let says_closing = says_closing();
                if let Some(notes) = known.and_then(|slot| self.table.notes_mut(slot)) {
                    notes.marks.remove(Marks::READ_BACK);
                }
                // Send NEW even if the entry matches the initial dump, which the peer never received.
                let anew = known.filter(|_| anew && origin == Origin::Foreign);
                anew.into_iter().for_each(|slot| cx.listener.start_over(slot));
                self.ask_about(cx, &news.flow, says_closing);
                return Ok(());
            }
        };
        if let Some(slot) = known.filter(|_| taken.ask == Ask::Instead) {
            let says_closing = says_closing();
            self.table.set_knowledge(slot, taken.next);
            if self.ask_about(cx, &news.flow, says_closing) {
                // The reading may have shown its present state already, and no peer received that.
                cx.listener.start_over(slot);
                return Ok(());
            }
        }
        let slot = self.put_or_owe(cx, found, news)?;
        self.table.set_knowledge(slot, taken.next);
        if let Some(notes) = self.table.notes_mut(slot) {
            let laid_over = known.is_some() && what == What::Changed(By::Event);
            notes.marks.set(Marks::ARRIVAL_TIME, laid_over || !matches!(stamp, Stamp::At(_)));
        }
        let asked = matches!(taken.ask, Ask::First | Ask::Beside) && self.verify(cx, &key);
        if origin == Origin::Foreign && !(asked && taken.ask == Ask::First) {
            cx.listener.on_changed(slot);
        }
        Ok(())
    }

    /// Asks the kernel about a flow whose news cannot be taken now; false if the request finds no room.
    ///
    /// Keeps the news if it `says_closing`: the flow may be gone before the answer.
    fn ask_about(
        &mut self,
        cx: &mut InputContext<'_, impl Listener>,
        flow: &Flow,
        says_closing: bool,
    ) -> bool {
        let asked = self.verify(cx, &flow.key());
        if asked && says_closing {
            self.keep_last_words(cx, flow.clone());
        }
        asked
    }

    /// What is known of the flow that was found in a slot, or was not found.
    fn knowledge(&self, found: Option<Slot>) -> Knowledge {
        found.map_or(Knowledge::Absent, |slot| self.table.knowledge(slot))
    }

    #[inline]
    fn look<'a>(&'a self, known: Option<Slot>, news: &'a News, now: Instant) -> Look<'a> {
        let News { event, stamp, .. } = *news;
        let age = age(stamp, self.last_word(&news.flow.key(), known));
        let known = known.and_then(|slot| Some((slot, self.table.at(slot)?)));
        Look { flows: self, known, age, news: &news.flow, event, stamp, now }
    }

    /// Whether the flow of an event may have ended already. The flow is not in the table, and nothing newer is known
    /// of it.
    fn may_be_over(&self, key: &FlowKey, event: Change, stamp: Stamp, now: Instant) -> bool {
        // A packet that was on its way when the flow ended is reported after the end.
        let ended = || event == Change::Update && self.tombstones.last_about(key).is_some();
        // An injection may have changed it since, which left no other trace.
        let overtaken = || age(stamp, self.last_seen.last_about(key)) != Age::Newer;
        // What began before a reading may have ended since, and its end be among what was lost.
        let before = |reread: Instant| news::span_of(stamp, now).from < reread.0;
        self.reread.is_some_and(before) || ended() || overtaken()
    }

    /// Makes room in the table for a flow. Without room only the fact of the news is kept, so that
    /// older news does not pass for the latest when there is room again.
    fn make_room(
        &mut self,
        cx: &mut InputContext<'_, impl Listener>,
        key: &FlowKey,
        when: Span,
    ) -> Result<(), Full> {
        let full = self.table.len() >= self.table.max() && self.table.find(key).is_none();
        if full && !cx.listener.reclaim(&mut self.table, &mut cx.counters.replica) {
            self.tombstones.bury(*key, when);
            cx.counters.local.create_no_space += 1;
            return Err(Full);
        }
        Ok(())
    }

    /// When the last word about a flow was spoken, as far as that is known.
    fn last_word(&self, key: &FlowKey, known: Option<Slot>) -> Option<Span> {
        let entry = known.and_then(|slot| self.table.at(slot)).map(|e| Span::at(e.stamp));
        let forgotten = || {
            let to = self.tombstones.forgotten();
            (to > 0).then_some(Span { from: 0, to })
        };
        match (entry, self.tombstones.last_about(key)) {
            (Some(entry), Some(end)) => Some(entry.later(end)),
            (entry, end) => entry.or(end).or_else(forgotten),
        }
    }

    /// As [`Flows::put`]. Where a peer's word changed a flow of this node's, other peers are owed what it is now.
    fn put_or_owe(
        &mut self,
        cx: &mut InputContext<'_, impl Listener>,
        found: Option<Slot>,
        news: News,
    ) -> Result<Slot, Full> {
        if news.origin != Origin::Inject {
            return self.put(cx, found, news);
        }
        let own = found.filter(|&slot| self.is_alive(slot));
        let before = own.and_then(|slot| self.table.at(slot)).map(|entry| entry.flow());
        let slot = self.put(cx, found, news)?;
        let is = |flow: &Flow| self.table.at(slot).is_some_and(|e| news::is_same(&e.flow(), flow));
        if before.is_some_and(|flow| !is(&flow)) {
            cx.listener.on_overwritten(slot);
        }
        Ok(slot)
    }

    /// Lays news over an entry, or makes one.
    fn put(
        &mut self,
        cx: &mut InputContext<'_, impl Listener>,
        found: Option<Slot>,
        news: News,
    ) -> Result<Slot, Full> {
        let News { event, mut flow, origin, stamp, .. } = news;
        let at = news::span_of(stamp, cx.now).to;
        flow.drop_volatile();
        let Some(slot) = found else {
            // The peer sent a flow that a commit makes this node's own, and the flow it knew from us before may be
            // another one.
            let elsewhere = match origin {
                Origin::Commit => Elsewhere::Other,
                Origin::Foreign | Origin::Inject | Origin::Purge => Elsewhere::Unknown,
            };
            let slot = self.add(cx, flow, at, elsewhere)?;
            self.note_beginning(slot, event, origin);
            return Ok(slot);
        };
        let (dead, zone) = (self.revive(cx, slot), flow.zone);
        let is_another = |entry: Entry<'_>| news::is_another(entry, &flow);
        // The event is about another flow than the known one.
        let anew = event == Change::New || dead || self.table.at(slot).is_some_and(is_another);
        if anew {
            self.table.set_flow(slot, flow, Becomes::Another);
        } else {
            self.table.absorb(slot, flow);
        }
        let notes = self.table.notes_mut(slot).expect("the slot was just found");
        if anew {
            notes.since_s = seconds(cx.now);
            cx.listener.start_over(slot);
        }
        notes.stamp = at;
        notes.updated_s = seconds(cx.now);
        notes.marks.remove(Marks::READ_BACK);
        if anew {
            self.note_beginning(slot, event, origin);
        }
        cx.counters.local.updated += 1;
        self.turnover.updated(zone);
        Ok(slot)
    }

    /// Notes whether the flow of a slot was heard to begin: what a commit made began on another node.
    fn note_beginning(&mut self, slot: Slot, event: Change, origin: Origin) {
        if let Some(notes) = self.table.notes_mut(slot) {
            notes.marks.set(Marks::BEGAN, event == Change::New && origin == Origin::Foreign);
        }
    }

    /// Lets an entry live that may have ended; whether it had.
    #[inline]
    fn revive(&mut self, cx: &mut InputContext<'_, impl Listener>, slot: Slot) -> bool {
        let dead = !self.is_alive(slot);
        if dead {
            self.table.set_dead(slot, false);
            cx.listener.on_revived(slot, cx.now);
        }
        dead
    }

    fn add(
        &mut self,
        cx: &mut InputContext<'_, impl Listener>,
        mut flow: Flow,
        at: u64,
        elsewhere: Elsewhere,
    ) -> Result<Slot, Full> {
        flow.drop_volatile();
        let (since_s, zone) = (seconds(cx.now), flow.zone);
        let notes = Notes { stamp: at, since_s, updated_s: since_s, ..Notes::default() };
        let slot = count_insert(self.table.insert(flow, notes), &mut cx.counters.local)?;
        self.turnover.created(zone);
        cx.listener.on_added(slot, elsewhere, cx.now);
        Ok(slot)
    }

    fn on_destroy(
        &mut self,
        cx: &mut InputContext<'_, impl Listener>,
        known: Option<Slot>,
        flow: Flow,
        origin: Origin,
        stamp: Stamp,
    ) {
        let (key, when) = (flow.key(), news::span_of(stamp, cx.now));
        let Some((slot, entry)) = known.and_then(|slot| Some((slot, self.table.at(slot)?))) else {
            cx.counters.local.destroy_not_found += 1;
            self.tombstones.bury(key, when);
            // The peer may know it from an earlier life of this daemon.
            // So may one that happened before the first reading was over, and comes in after it.
            let late = |filled| cx.now.since(filled) < limit::LATE_NEWS;
            let is_sent = !matches!(origin, Origin::Inject | Origin::Purge);
            if self.filled.is_none_or(late) && is_sent {
                cx.listener.on_passed(Change::Destroy, flow, &mut cx.counters.replica);
            }
            return;
        };
        let (age, spoken) = (age(stamp, Some(Span::at(entry.stamp))), Span::at(entry.stamp));
        let known = Some((slot, entry));
        let event = Change::Destroy;
        let look = Look { flows: self, known, age, news: &flow, event, stamp, now: cx.now };
        let is_another = look.is_another();
        match self.table.knowledge(slot).on_news(What::Ended, &look) {
            Step::End => {}
            Step::Ask { anew } => {
                known.filter(|_| anew).into_iter().for_each(|_| cx.listener.start_over(slot));
                if self.verify(cx, &key) && !is_another {
                    self.keep_last_words(cx, flow);
                }
                return;
            }
            _ => {
                cx.counters.local.stale += 1;
                return;
            }
        }
        if entry.marks.contains(Marks::BEGAN) {
            let life_s = seconds(cx.now).saturating_sub(entry.since_s);
            self.turnover.lived(entry.proto(), life_s);
        }
        self.tombstones.bury(key, when.later(spoken));
        match origin {
            // A peer's message about its own flow ended this node's. Peers that received this one learn from the next
            // transfer that it is gone: if each such message caused another, two nodes would answer each other for
            // ever.
            Origin::Inject => cx.listener.owe_end(slot),
            // A peer may be about to carry it on.
            Origin::Purge => cx.listener.silence(slot),
            Origin::Foreign | Origin::Commit => {}
        }
        self.bury(cx, slot, Some(flow));
    }

    fn keep_last_words(&mut self, cx: &InputContext<'_, impl Listener>, flow: Flow) {
        if cx.config.cluster.is_some() {
            self.last_words.insert(flow.key(), flow);
        }
    }

    /// Ends an entry: the peer receives the end if it may know the flow, then the entry goes.
    fn bury(
        &mut self,
        cx: &mut InputContext<'_, impl Listener>,
        slot: Slot,
        last_words: Option<Flow>,
    ) {
        let Some(entry) = self.table.at(slot) else { return };
        cx.counters.local.destroyed += 1;
        self.turnover.ended(entry.facts().zone);
        if cx.config.report_vanished && last_words.is_none() {
            self.vanished.extend(Some(entry.flow()).filter(|flow| cx.config.filter.passes(flow)));
        }
        // A flow that began and ended before any peer received it does not stay: neither is sent.
        let stays = cx.listener.holds(slot);
        self.table.finish(slot, last_words, stays);
        if stays {
            if let Some(notes) = self.table.notes_mut(slot) {
                notes.marks.remove(Marks::VERIFYING);
            }
            cx.listener.on_changed(slot);
        } else {
            cx.listener.on_removed(slot);
        }
    }

    /// Whether the kernel's table has been read since the start.
    #[must_use]
    pub const fn is_filled(&self) -> bool {
        self.filled.is_some()
    }

    /// Forgets every flow and sends nothing. News from before `now` is discarded from then on. A bulk transfer under
    /// way finds nothing more to send.
    pub fn flush(&mut self, listener: &mut impl Listener, now: Instant) {
        listener.forget_entries();
        self.table.clear();
        self.last_words.clear();
        self.tombstones.clear(now.0);
    }

    /// Whether a flow of this identity lives whose end events may never report.
    #[must_use]
    pub fn has_no_events(&self, key: &FlowKey) -> bool {
        let entry = self.table.get(key);
        entry.is_some_and(|e| {
            e.marks.intersection(Marks::NO_EVENTS | Marks::DEAD) == Marks::NO_EVENTS
        })
    }

    /// Flows that live.
    #[must_use]
    pub fn is_alive(&self, slot: Slot) -> bool {
        self.table.at(slot).is_some_and(|e| !e.marks.contains(Marks::DEAD))
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
