//! Flows of the peers straight into the kernel.
//!
//! ```text
//!   message --> which flows are the peers' (their directions alone) --> create, update, delete --> kernel
//! ```
//!
//! A flow of the kernel carries no sign of who wrote it. So this table remembers which ones are the peers': a reading
//! of the kernel's table must not take them for this node's own, and flows that a transfer did not name can be found.

use super::Remote;
use super::made::MadeFlows;
use crate::config::{Config, limit};
use crate::counters::{Counters, TableCounters};
use crate::errno::{EEXIST, ENOENT};
use crate::flows::table::{Entry, Full, Marks, Slot};
use crate::flows::tombstone::Span;
use crate::kernel::{InFlight, KernelQueue, Purpose};
use crate::local::seconds;
use crate::message_id::MessageId;
use crate::output::Request;
use crate::remote::{without_master, writable};
use common::Instant;
use ctnetlink::Change;
use ctnetlink::flow::Known;
use ctnetlink::{Flow, FlowKey};

/// What a word is written into the kernel with.
pub struct Pen<'a> {
    /// The settings.
    pub config: &'a Config,
    /// The counters.
    pub counters: &'a mut Counters,
    /// What goes to the kernel.
    pub kernel: &'a mut KernelQueue,
    /// The time.
    pub now: Instant,
}

impl Remote {
    /// Whether flows of peers are kept here, and written into the kernel at once, too.
    #[must_use]
    pub const fn is_hot(&self) -> bool {
        self.hot.is_some()
    }

    /// Entries of the kernel that injections made, where flows of peers are kept here, too.
    pub const fn made_flows(&mut self) -> Option<&mut MadeFlows> {
        self.hot.as_mut()
    }

    /// The id of the entry that an injection made, if it is known.
    #[must_use]
    pub fn made_id(&self, key: &FlowKey) -> Option<u32> {
        self.hot.as_ref().and_then(|made| made.id(key))
    }

    /// An injection made this flow in the kernel.
    pub fn note_made(&mut self, key: &FlowKey, now: Instant) {
        if let Some(made) = &mut self.hot {
            return made.on_created(key, seconds(now));
        }
        if let Some(notes) = self.known.find(key).and_then(|slot| self.known.notes_mut(slot)) {
            notes.marks.insert(Marks::MADE);
        }
    }

    /// Whether a flow of the kernel is a peer's alone: an injection made it.
    #[must_use]
    pub fn made(&self, key: &FlowKey) -> bool {
        if let Some(made) = &self.hot {
            return made.contains(key);
        }
        self.injects && self.known.get(key).is_some_and(|entry| entry.marks.contains(Marks::MADE))
    }

    /// A flow of the kernel is not, or not only, what an injection made.
    pub fn unmake(&mut self, key: &FlowKey) {
        self.hot.iter_mut().for_each(|made| _ = made.remove(key));
        if let Some(notes) = self.known.find(key).and_then(|slot| self.known.notes_mut(slot)) {
            notes.marks.remove(Marks::MADE);
        }
    }

    /// The kernel has none of the flow that an injection made. Returns who spoke of the flow last, and when.
    pub fn on_vanished(&mut self, key: &FlowKey) -> Option<MessageId> {
        let slot = self.known.find(key)?;
        self.known.notes_mut(slot)?.marks.remove(Marks::MADE);
        self.set_unlike(key, true)
    }

    /// Traffic of this node's uses a flow. If it is a peer's, it is no longer as the peer says.
    pub fn note_shared(&mut self, key: &FlowKey) {
        if self.injects
            && self.set_unlike(key, true).is_some()
            && let Some(notes) = self.known.find(key).and_then(|slot| self.known.notes_mut(slot))
        {
            notes.marks.remove(Marks::MADE);
        }
    }

    /// Flows that this kernel may not hold as the peers have them.
    #[must_use]
    pub const fn unlike(&self) -> usize {
        self.unlike
    }

    /// Flows that were written into the kernel since the last flush though there was no room to remember whose they
    /// are: if a peer ends one without a message, it looks like this node's own.
    #[must_use]
    pub const fn unremembered(&self) -> u64 {
        self.unremembered
    }

    /// The kernel may not hold a flow as the peer has it, or does. Returns who spoke of the flow last, and when.
    pub fn set_unlike(&mut self, key: &FlowKey, unlike: bool) -> Option<MessageId> {
        let notes = self.known.find(key).and_then(|slot| self.known.notes_mut(slot))?;
        let was = notes.marks.contains(Marks::UNLIKE);
        notes.marks.set(Marks::UNLIKE, unlike);
        self.unlike = self.unlike + usize::from(unlike) - usize::from(was);
        MessageId::from_stamp(notes.stamp)
    }

    /// The kernel may hold another flow in the place of a peer's. Returns who spoke of the flow last, and when.
    pub fn note_other(&mut self, key: &FlowKey) -> Option<MessageId> {
        let notes = self.known.find(key).and_then(|slot| self.known.notes_mut(slot))?;
        notes.marks.insert(Marks::ANEW);
        self.set_unlike(key, true)
    }

    /// Whether a flow is one that a transfer did not name, and that stays until the kernel has removed it.
    #[must_use]
    pub fn is_left(&self, key: &FlowKey) -> bool {
        self.injects && self.known.get(key).is_some_and(|entry| entry.marks.contains(Marks::LEFT))
    }

    /// A reading of the kernel's table shows a flow.
    pub fn note_shown(&mut self, key: &FlowKey) {
        if let Some(notes) = self.known.find(key).and_then(|slot| self.known.notes_mut(slot)) {
            notes.marks.insert(Marks::IN_DUMP);
        }
    }

    /// Goes through the flows in the slots from `from` on, after a reading. `ask` is asked about each flow that an
    /// injection made, or that a transfer did not name, and that the reading did not show: it may have ended without an
    /// event; false if there is no room for the question. Returns where to go on, or `None` at the end.
    pub fn sweep_hidden(
        &mut self,
        mut from: Slot,
        mut ask: impl FnMut(&FlowKey) -> bool,
    ) -> Option<Slot> {
        let end = from.saturating_add(limit::SWEEP_STEP_SLOTS);
        while let Some((slot, entry)) = self.known.next(from) {
            let there = entry.marks.intersects(Marks::MADE | Marks::LEFT);
            let hidden = there && !entry.marks.contains(Marks::IN_DUMP);
            let key = entry.key();
            if slot >= end || (hidden && !ask(&key)) {
                return Some(slot);
            }
            if let Some(notes) = self.known.notes_mut(slot) {
                notes.marks.remove(Marks::IN_DUMP);
            }
            from = slot + 1;
        }
        None
    }

    /// The kernel does not have a flow. One that a transfer did not name is settled by that.
    pub fn on_gone(&mut self, key: &FlowKey) {
        if let Some(slot) = self.known.find(key).filter(|_| self.is_left(key)) {
            self.remove(slot);
        }
    }

    /// Writes a peer's message about a flow straight into the kernel, unless a later one about it came first. `ours`:
    /// traffic of this node uses the flow, too, and the kernel will not be quite as the peer says. `tells_all`: a field
    /// that the message does not carry is absent.
    ///
    /// # Errors
    /// [`Full`] when the word could not be written, or the flow not be remembered.
    pub fn inject(
        &mut self,
        pen: &mut Pen<'_>,
        (change, mut flow): (Change, Flow),
        message: MessageId,
        (tells_all, ours): (bool, bool),
    ) -> Result<(), Full> {
        let key = flow.key();
        if self.is_overtaken(&key, message) || self.is_outdated(change, message) {
            pen.counters.remote.stale += 1;
            return Ok(());
        }
        if tells_all {
            flow.known.insert(Known::MARK);
        }
        let known = self.known.get(&key);
        // After a flush the kernel may hold an earlier flow of that identity, which an update would change.
        let forgotten = change == Change::Update && tells_all && known.is_none();
        let change = if forgotten { Change::New } else { change };
        // A reply direction never changes: this is another flow, of which the beginning was not heard.
        let is_other =
            |e: Entry<'_>| e.has_other_reply(&flow.reply) || e.marks.contains(Marks::ANEW);
        let other = flow.reply.is_known() && known.is_some_and(is_other);
        let ends = Flow { zone: flow.zone, reply: flow.reply, ..Flow::new(flow.orig) };
        let written = if other && change == Change::Update && !ours {
            pen.counters.inject.updated += 1;
            write_anew(pen.kernel, writable(pen.config, flow, 0))
        } else {
            write(pen, change, flow)
        };
        if !written {
            // What is known stays, so that a transfer can show that it has ended.
            self.set_unlike(&key, true);
            return Err(Full);
        }
        // These are no flows of a table.
        let counters = &mut TableCounters::default();
        let outcome = self.on_message(counters, (change, ends), message, (pen.now, true));
        if outcome.is_err() {
            self.tombstones.replace(key, Span::at(message.stamp()));
            self.unremembered += 1;
        }
        self.set_unlike(&key, ours);
        if let Some(notes) = self.known.find(&key).and_then(|slot| self.known.notes_mut(slot)) {
            notes.marks.remove(Marks::LEFT);
            notes.marks.set(Marks::ANEW, ours);
        }
        outcome
    }
}

/// Queues the request that a word amounts to; false if there is no room for it.
fn write(pen: &mut Pen<'_>, change: Change, flow: Flow) -> bool {
    let inject = &mut pen.counters.inject;
    let (purpose, request, counter) = match change {
        Change::New => {
            let request = Request::Create(writable(pen.config, flow, 0));
            (Purpose::InjectNew, request, &mut inject.created)
        }
        Change::Update => {
            let request = Request::Update(writable(pen.config, flow, 0));
            (Purpose::InjectUpdate, request, &mut inject.updated)
        }
        Change::Destroy => {
            (Purpose::InjectDestroy, Request::Delete(flow.key(), None), &mut inject.destroyed)
        }
    };
    *counter += 1;
    pen.kernel.push(purpose, request)
}

/// What became of an injection that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectFailure {
    /// The failure means nothing, or there is a second attempt.
    Fine,
    /// The peer's message was merged into a flow of this node's, which is not the peer's.
    LaidOver,
    /// The kernel does not have the state that the peer sent. The caller reports it.
    Refused,
}

/// What an injection's failure means: try another way, or count it. `last_word` says that nothing newer about the flow
/// is on its way; `ours`, that traffic of this node's uses the flow.
pub fn on_inject_failed(
    kernel: &mut KernelQueue,
    counters: &mut Counters,
    op: InFlight,
    errno: i32,
    (last_word, ours): (bool, bool),
) -> InjectFailure {
    let failures = &mut counters.inject;
    match (op.purpose, op.request, errno) {
        (Purpose::InjectDestroy, _, ENOENT) => return InjectFailure::Fine,
        (
            Purpose::InjectNew
            | Purpose::InjectUpdate
            | Purpose::InjectReplace
            | Purpose::InjectAgain,
            Request::Create(flow) | Request::Update(flow),
            _,
        ) if !last_word => {
            kernel.pass_on(op.token, flow);
            return InjectFailure::Fine;
        }
        (Purpose::InjectUpdate | Purpose::InjectReplace, Request::Update(flow), ENOENT) => {
            return again(kernel.push(Purpose::InjectAgain, Request::Create(flow)));
        }
        (_, Request::Create(flow), ENOENT) if flow.master().is_some() => {
            let request = Request::Create(without_master(flow));
            return again(kernel.push(Purpose::InjectAgain, request));
        }
        // This node's own flow must not be deleted for the peer's word.
        (Purpose::InjectNew, Request::Create(flow), EEXIST) if ours => {
            let queued = kernel.push(Purpose::InjectUpdate, Request::Update(flow));
            return if queued { InjectFailure::LaidOver } else { InjectFailure::Refused };
        }
        (Purpose::InjectUpdate | Purpose::InjectReplace, Request::Update(_), _) if ours => {
            return InjectFailure::LaidOver;
        }
        (Purpose::InjectNew, Request::Create(flow), EEXIST)
        | (Purpose::InjectUpdate | Purpose::InjectReplace, Request::Update(flow), _) => {
            return again(write_anew(kernel, flow));
        }
        (Purpose::InjectDestroy, ..) => failures.destroy_failed += 1,
        (Purpose::InjectUpdate, ..) => failures.update_failed += 1,
        _ => failures.create_failed += 1,
    }
    InjectFailure::Refused
}

const fn again(queued: bool) -> InjectFailure {
    if queued { InjectFailure::Fine } else { InjectFailure::Refused }
}

/// An update succeeded, but the flow it changed was another one. `last_word` and `ours` as for [`on_inject_failed`].
pub fn on_replace(
    kernel: &mut KernelQueue,
    op: InFlight,
    (last_word, ours): (bool, bool),
) -> InjectFailure {
    match op.request {
        // This node's own flow must not be deleted for the peer's word.
        Request::Update(_) if last_word && ours => InjectFailure::LaidOver,
        Request::Update(flow) if last_word => again(write_anew(kernel, flow)),
        Request::Update(flow) => {
            kernel.pass_on(op.token, flow);
            InjectFailure::Fine
        }
        _ => InjectFailure::Fine,
    }
}

fn write_anew(kernel: &mut KernelQueue, flow: Flow) -> bool {
    kernel.push(Purpose::Clearing, Request::Delete(flow.key(), None))
        && kernel.push(Purpose::InjectAgain, Request::Create(flow))
}
