//! What the kernel answers when it is asked: one flow, or all of them.

use super::{Flows, InputContext, seconds};
use crate::changed::{Elsewhere, Listener};
use crate::config::limit;
use crate::flows::knowledge::{Knowledge, Step};
use crate::flows::news;
use crate::flows::table::{Becomes, Entry, Full, Marks, Slot};
use crate::flows::tombstone::Span;
use crate::input::Stamp;
use crate::journal::Journal;
use crate::kernel::Purpose;
use crate::output::Request;
use common::Instant;
use ctnetlink::{Flow, FlowKey};

/// How to take a flow of a dump of the kernel's table.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// When the dump began. The flow was read at some time after that, so every event after it counts as newer.
    pub began: Instant,
    /// The peer receives what is new here; without it, a bulk transfer has to send it.
    pub tell: bool,
    /// Events about this flow may have come in that left no trace, because it was the peer's.
    pub doubtful: bool,
    /// No event is known to be lost: what came in since the dump began is right.
    pub lossless: bool,
    /// For a while the kernel sent no events (`nf_conntrack_events=0`): it never will for flows that began then.
    pub events_off: bool,
}

/// A reading that is over.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// When the reading began.
    pub began: Instant,
    /// Whether it showed everything.
    pub complete: bool,
    /// As for [`Reading`].
    pub lossless: bool,
}

/// The comparison that ends a reading, piece by piece: events go on in between.
#[derive(Debug)]
pub struct Sweep {
    reading: Ended,
    /// Whether events may have been lost before the reading began.
    again: bool,
    from: Slot,
    /// Flows that were removed.
    pub purged: u64,
}

impl Sweep {
    /// When the reading began.
    #[must_use]
    pub const fn began(&self) -> Instant {
        self.reading.began
    }

    /// Whether the reading showed everything.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.reading.complete
    }
}

impl Flows {
    /// Asks the kernel about a flow, unless an answer is on its way. False when there is no room for the question.
    pub(super) fn verify(
        &mut self,
        cx: &mut InputContext<'_, impl Listener>,
        key: &FlowKey,
    ) -> bool {
        let known = self.table.find(key).and_then(|slot| self.table.notes_mut(slot));
        if known.as_ref().is_some_and(|notes| notes.marks.contains(Marks::VERIFYING)) {
            return true;
        }
        let asked = cx.kernel.push(Purpose::Read, Request::Get(*key));
        if asked {
            cx.counters.verified += 1;
            if let Some(notes) = known {
                notes.marks.insert(Marks::VERIFYING);
            }
        }
        asked
    }

    /// A peer's message about the flow was written into the kernel. If the flow is ours too, the kernel is queried
    /// for the result. The peer does not receive it: two nodes that sent each other such results would never stop.
    pub fn on_injected(&mut self, cx: &mut InputContext<'_, impl Listener>, word: &Flow) {
        // The kernel finds a flow by either direction, so it may have changed the mirror of what was meant.
        let mirror = FlowKey::new(word.orig.inverted(), word.zone);
        for key in [word.key(), mirror] {
            let slot = self.table.find(&key).filter(|&slot| self.is_alive(slot));
            let notes = slot.and_then(|slot| self.table.notes_mut(slot));
            let Some(notes) = notes else {
                // News of its packets may be on the way, and be older than this.
                self.last_seen.bury(key, Span::at(cx.now.0));
                continue;
            };
            // An answer that is on its way is about what happened here.
            if !notes.marks.contains(Marks::VERIFYING) {
                notes.marks.insert(Marks::READ_BACK);
            }
            self.verify(cx, &key);
        }
    }

    /// The kernel did not answer; the next doubt may ask again.
    pub fn on_unanswered(&mut self, key: &FlowKey) {
        self.last_words.remove(key);
        self.on_unverified(key);
    }

    /// No answer about a flow is on its way.
    pub fn on_unverified(&mut self, key: &FlowKey) {
        if let Some(notes) = self.table.find(key).and_then(|slot| self.table.notes_mut(slot)) {
            notes.marks.remove(Marks::VERIFYING);
        }
    }

    /// Takes the kernel's answer about one flow: it is as the kernel says.
    ///
    /// # Errors
    /// [`Full`] when the flow is new and the table is full.
    pub fn on_verified(
        &mut self,
        cx: &mut InputContext<'_, impl Listener>,
        key: &FlowKey,
        flow: Option<Flow>,
    ) -> Result<(), Full> {
        // The kernel finds a flow by either direction, so the answer may be about the mirror of what was asked for.
        let flow = flow.filter(|flow| flow.key() == *key && cx.config.filter.passes(flow));
        if !cx.config.replication.keep_local {
            self.pass_answer(cx, key, flow);
            return Ok(());
        }
        let Some(flow) = flow else {
            self.on_missing(cx, key);
            return Ok(());
        };
        self.last_words.remove(key);
        self.make_room(cx, key, Span::at(cx.now.0))?;
        let (slot, changed) = self.replace(cx, flow, cx.now.0, Elsewhere::Unknown)?;
        let read_back = self.table.at(slot).is_some_and(|e| e.marks.contains(Marks::READ_BACK));
        if (changed && !read_back) || cx.listener.is_untold(slot) {
            cx.listener.on_changed(slot);
        } else if changed {
            cx.listener.on_overwritten(slot);
        }
        Ok(())
    }

    /// The kernel says that it has no such flow.
    fn on_missing(&mut self, cx: &mut InputContext<'_, impl Listener>, key: &FlowKey) {
        let found = self.table.find(key);
        let known = self.knowledge(found);
        let step = known.on_missing(self.is_about_to_begin(cx.now, key));
        if matches!(step, Step::Ask { .. }) {
            self.verify(cx, key);
            return;
        }
        let last_words = self.last_words.remove(key);
        if let Some(slot) = found.filter(|_| step == Step::End && last_words.is_none())
            && self.may_have_closed(cx, slot)
        {
            return self.await_last_words(cx.now, slot);
        }
        self.tombstones.bury(*key, Span::at(cx.now.0));
        if let Some(slot) = found.filter(|_| step == Step::End) {
            // A flow that the kernel never inserted has not ended unseen either.
            let all_there_was = (known == Knowledge::Seen).then(|| self.table.at(slot)).flatten();
            let all_there_was = all_there_was.map(|entry| entry.flow());
            self.bury(cx, slot, last_words.or(all_there_was));
        }
    }

    /// Whether a TCP connection that is gone may have been closed though no event reported it. It matters to peers
    /// of version 2: they object to a flow that expired while they have it.
    fn may_have_closed(&self, cx: &InputContext<'_, impl Listener>, slot: Slot) -> bool {
        let open = |entry: Entry<'_>| {
            entry.flow().tcp().is_some_and(|tcp| !super::CLOSING.contains(&tcp.state))
        };
        cx.config.cluster.is_some()
            && self.table.knowledge(slot) != Knowledge::Seen
            && self.table.at(slot).is_some_and(open)
    }

    /// Whether a flow that is gone was closed is in its last events, which are on their way, unless they are lost: the
    /// kernel is queried again in [`limit::UNCONFIRMED_AFTER_S`] seconds from now, however long it was silent before.
    fn await_last_words(&mut self, now: Instant, slot: Slot) {
        self.table.set_knowledge(slot, Knowledge::Seen);
        if let Some(notes) = self.table.notes_mut(slot) {
            notes.updated_s = seconds(now);
        }
    }

    /// Takes a flow of a dump of the kernel's table.
    ///
    /// # Errors
    /// [`Full`] when the flow is new and the table is full.
    pub fn on_dumped(
        &mut self,
        cx: &mut InputContext<'_, impl Listener>,
        flow: Flow,
        Reading { began, tell, doubtful, lossless, events_off }: Reading,
    ) -> Result<(), Full> {
        if !cx.config.filter.passes(&flow) {
            cx.counters.filtered += 1;
            return Ok(());
        }
        let key = flow.key();
        let known = self.table.find(&key).filter(|&slot| self.is_alive(slot));
        let ended = self.tombstones.last_about(&key).is_some_and(|end| end.to >= began.0);
        // News of a peer's flow leaves no other trace, and an operator may have had the peers' flows forgotten since.
        let spoken = self.last_seen.last_about(&key).is_some_and(|last| last.to >= began.0);
        if known.is_none() && (ended || spoken || doubtful) {
            // Its end came in before the dump showed it. It may have begun again, and that news may be lost.
            self.verify(cx, &key);
            return Ok(());
        }
        self.make_room(cx, &key, Span::at(began.0))?;
        let newer = known.filter(|&slot| self.table.at(slot).is_some_and(|e| e.stamp > began.0));
        let (slot, changed) = match newer {
            Some(slot) => {
                // The entry that was read may be older, and even another flow. Or what came between is lost, or news
                // that carries only what has changed was merged into an outdated state.
                let differs = |entry: Entry<'_>| !news::is_same(&entry.flow(), &flow);
                if !lossless && self.table.at(slot).is_some_and(differs) {
                    self.verify(cx, &key);
                }
                (slot, false)
            }
            // The peer may know it from an earlier life of this daemon, so its end must be sent.
            None if tell => self.replace(cx, flow, began.0, Elsewhere::Other)?,
            None => {
                self.table.journal().into_iter().for_each(Journal::read);
                self.replace(cx, flow, began.0, Elsewhere::Known)?
            }
        };
        if let Some(notes) = self.table.notes_mut(slot) {
            notes.marks.insert(Marks::IN_DUMP);
        }
        if events_off {
            // Its packets may have been seen all the same, and it may have the id of the flow that was there before.
            self.table.set_knowledge(slot, Knowledge::Read);
        }
        // What events reported before was sent on.
        if changed && (tell || known.is_some()) {
            cx.listener.on_changed(slot);
        }
        if known.is_none() && self.tombstones.forgotten() >= began.0 {
            self.verify(cx, &key);
        }
        Ok(())
    }

    /// The kernel's table is read, though events may have been lost, or though the reading passes over flows that only
    /// a peer speaks of. So what it does not show proves nothing of flows that began before, and of which news comes
    /// late.
    pub const fn on_reading_began(&mut self, now: Instant) {
        self.reread = Some(now);
    }

    /// A reading is over. [`Local::sweep`] looks for flows that it did not show.
    pub fn begin_sweep(&mut self, now: Instant, reading: Ended) -> Sweep {
        // Other dumps than the first are asked for because events were lost.
        let again = self.filled.is_some() && !reading.lossless;
        if reading.complete {
            self.filled.get_or_insert(now);
        }
        Sweep { reading, again, from: 0, purged: 0 }
    }

    /// Goes on looking for entries that a reading did not show and that are older than it: they are gone from the
    /// kernel. True when it has looked at all.
    pub fn sweep(&mut self, cx: &mut InputContext<'_, impl Listener>, sweep: &mut Sweep) -> bool {
        let Ended { began, complete, .. } = sweep.reading;
        let end = sweep.from.saturating_add(limit::SWEEP_STEP_SLOTS);
        while let Some((slot, entry)) = self.table.next(sweep.from) {
            if slot >= end {
                // What is empty up to there is passed over, however much that is.
                sweep.from = slot;
                return false;
            }
            sweep.from = slot + 1;
            let hidden = !entry.marks.intersects(Marks::IN_DUMP | Marks::DEAD);
            let (key, gone) = (entry.key(), entry.stamp < began.0);
            let late = sweep.again && entry.marks.contains(Marks::ARRIVAL_TIME);
            if let Some(notes) = self.table.notes_mut(slot) {
                notes.marks.remove(Marks::IN_DUMP);
            }
            // Its packet may still be on its way to the kernel's table.
            let about = gone && self.may_be_about_to_begin(slot, Stamp::At(began));
            if hidden && complete && about {
                self.verify(cx, &key);
            } else if hidden && complete && gone && self.may_have_closed(cx, slot) {
                self.await_last_words(cx.now, slot);
            } else if hidden && complete && gone {
                self.tombstones.bury(key, Span::at(began.0));
                self.bury(cx, slot, None);
                sweep.purged += 1;
            } else if hidden && complete && late {
                // The flow began since, unless that only came in since, or only an update came in and was merged into
                // an earlier life: ends are among what was lost.
                if !self.verify(cx, &key) {
                    sweep.from = slot;
                    return false;
                }
            }
        }
        true
    }

    /// Asks the kernel about some of the silent flows in the slots from `from` on. Returns where to go on, or
    /// `None` when all were asked for.
    pub fn verify_without_events(
        &mut self,
        cx: &mut InputContext<'_, impl Listener>,
        from: Slot,
    ) -> Option<Slot> {
        let (mut slot, mut asked) = (from, 0);
        let end = from.saturating_add(limit::WATCH_STEP_SLOTS);
        while let Some((at, entry)) = self.table.next(slot) {
            if at >= end || asked >= limit::WATCH_STEP_FLOWS {
                return Some(at);
            }
            if entry.marks.intersection(Marks::NO_EVENTS | Marks::DEAD) == Marks::NO_EVENTS {
                let key = entry.key();
                self.verify(cx, &key);
                asked += 1;
            }
            slot = at + 1;
        }
        None
    }

    /// Puts a flow as the kernel showed it in the place of what was known. Returns whether a peer would see a change.
    fn replace(
        &mut self,
        cx: &mut InputContext<'_, impl Listener>,
        mut flow: Flow,
        at: u64,
        elsewhere: Elsewhere,
    ) -> Result<(Slot, bool), Full> {
        flow.drop_volatile();
        let zone = flow.zone;
        let Some(slot) = self.table.find(&flow.key()) else {
            let slot = self.add(cx, flow, at, elsewhere)?;
            self.table.set_knowledge(slot, Knowledge::Absent.on_shown(false));
            return Ok((slot, true));
        };
        let knowledge = self.table.knowledge(slot);
        let dead = self.revive(cx, slot);
        let entry = self.table.at(slot).expect("the slot was just found");
        let other = dead || news::is_another(entry, &flow);
        let known = entry.flow();
        let changed = other || !news::is_same(&known, &flow);
        // A mirror of the table holds these fields too, though no peer receives them.
        let same = !changed && (known.id, known.known) == (flow.id, flow.known);
        let afresh = other || !news::covers(&flow, &known);
        let becomes = match (other, same) {
            (true, _) => Becomes::Another,
            (false, true) => Becomes::Same,
            (false, false) => Becomes::Changed,
        };
        self.table.set_flow(slot, flow, becomes);
        let notes = self.table.notes_mut(slot).expect("the slot was just found");
        if afresh {
            cx.listener.start_over(slot);
        }
        if other {
            notes.since_s = seconds(cx.now);
            notes.marks.remove(Marks::BEGAN);
        }
        notes.marks.remove(Marks::ARRIVAL_TIME);
        notes.stamp = at;
        notes.updated_s = seconds(cx.now);
        self.table.set_knowledge(slot, knowledge.on_shown(other));
        cx.counters.local.updated += 1;
        self.turnover.updated(zone);
        Ok((slot, changed))
    }
}
