//! Where no local table is kept: events go straight to the peer, unless they are out of order.

use super::{Flows, InputContext};
use crate::changed::Listener;
use crate::flows::knowledge::Age;
use crate::flows::news::{self, age};
use crate::flows::tombstone::Span;
use crate::input::{Origin, Stamp};
use crate::kernel::Purpose;
use crate::output::Request;
use common::Instant;
use ctnetlink::{Change, Flow, FlowKey};

impl Flows {
    /// Passes an event on. For an event out of order, the kernel is queried for the flow's present state.
    pub(super) fn bypass(
        &mut self,
        cx: &mut InputContext<'_, impl Listener>,
        event: Change,
        flow: Flow,
        origin: Origin,
        stamp: Stamp,
    ) {
        let key = flow.key();
        let end = self.tombstones.last_about(&key);
        let last = self.last_seen.last_about(&key);
        // A packet that was on its way when the flow ended is reported after the end.
        let ended = end.is_some() && end == last;
        let in_order = age(stamp, last) == Age::Newer && !(ended && event == Change::Update);
        let when = news::span_of(stamp, cx.now);
        if !in_order {
            self.ask(cx, &key);
            return;
        }
        self.last_seen.bury(key, when);
        let counters = &mut cx.counters.bypass;
        match event {
            Change::New => counters.created += 1,
            Change::Update => counters.updated += 1,
            Change::Destroy => {
                self.note_end(&key);
                counters.destroyed += 1;
            }
        }
        if origin == Origin::Foreign {
            cx.listener.on_passed(event, flow, &mut cx.counters.replica);
        }
    }

    /// Asks the kernel how a flow is, which is then passed on.
    pub(super) fn ask(&self, cx: &mut InputContext<'_, impl Listener>, key: &FlowKey) {
        let asked = cx.kernel.push(Purpose::Read, Request::Get(*key));
        cx.counters.verified += u64::from(asked);
    }

    /// Passes on what a reading that began at `began` shows of a flow, unless there was news of it since: then its
    /// end may have been sent already, and the kernel is queried. `doubtful`: it was a peer's.
    pub fn pass_dumped(
        &mut self,
        cx: &mut InputContext<'_, impl Listener>,
        flow: Flow,
        (began, doubtful): (Instant, bool),
    ) {
        let key = flow.key();
        let since = self.last_seen.last_about(&key).is_some_and(|last| last.to >= began.0);
        if since || doubtful || self.last_seen.forgotten() >= began.0 {
            self.ask(cx, &key);
            return;
        }
        cx.listener.on_passed(Change::New, flow, &mut cx.counters.replica);
    }

    /// Passes on what the kernel says of a flow: all of it, as of a new one, because a peer lays an update over what it
    /// knew, and that may have been another flow.
    pub(super) fn pass_answer(
        &mut self,
        cx: &mut InputContext<'_, impl Listener>,
        key: &FlowKey,
        flow: Option<Flow>,
    ) {
        self.last_seen.bury(*key, Span::at(cx.now.0));
        let (change, flow) = if let Some(flow) = flow {
            (Change::New, flow)
        } else {
            self.note_end(key);
            (Change::Destroy, Flow { zone: key.zone, ..Flow::new(key.tuple) })
        };
        cx.listener.on_passed(change, flow, &mut cx.counters.replica);
    }

    /// The last word about the flow was its end.
    fn note_end(&mut self, key: &FlowKey) {
        if let Some(last) = self.last_seen.last_about(key) {
            self.tombstones.bury(*key, last);
        }
    }
}
