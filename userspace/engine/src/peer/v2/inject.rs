//! A hot node: flows of peers go into its kernel at once, and stay there for as long as their owners say so.
//!
//! ```text
//!   claim of a peer --meet--> Create, Write, Replace, Advance, Delete --> kernel, with 600 s at most
//!                             every 10 s: half of a flow's time over, and its owner equal --> its time again
//!                             it ended here, and its owner says that it lives -------------> Create
//! ```
//!
//! So a quiet flow does not die on a standby, and a flow without an owner is gone in ten minutes (R13.3).

use super::claim::{self, Action, What};
use super::claims::Known;
use super::session::{Scan, V2};
use crate::config::limit;
use crate::flows::table::Slot;
use crate::kernel::Purpose;
use crate::local::seconds;
use crate::node::Node;
use crate::output::Request;
use crate::remote::{LIFE_MAX_S, writable};
use common::Instant;
use core::time::Duration;
use ctnetlink::flow::{Known as Fields, ProtoState, TcpState};
use ctnetlink::{Flow, FlowKey};

/// How often the times of injected flows are looked at.
const EXTEND_EVERY: Duration = Duration::from_secs(10);

impl V2 {
    /// Writes a peer's flow into the kernel.
    pub(super) fn inject(&mut self, node: &mut Node, now: Instant, action: Action, flow: Flow) {
        let key = flow.key();
        let counters = &mut node.counters.inject;
        if action == Action::Advance {
            // The entry has news of this node's own: nothing of it is overwritten that only ever grows here (R10.6).
            let mine = node.flows.table.get(&key).map(|entry| entry.flow());
            let Some(request) = mine.and_then(|mine| advance(&mine, &flow)) else { return };
            counters.updated += 1;
            let _queued = node.kernel.push(Purpose::InjectUpdate, Request::Update(request));
            return;
        }
        let flow = lasting(writable(&node.config, flow, 0));
        let queued = match action {
            Action::Write => {
                counters.updated += 1;
                node.kernel.push(Purpose::InjectUpdate, Request::Update(flow))
            }
            Action::Replace => {
                let entry = node.flows.table.get(&key).filter(|entry| !entry.has_ended());
                let id = node.remote.made_id(&key).or_else(|| entry.and_then(|entry| entry.id()));
                if id.is_none() {
                    // The entry's event, or the kernel's answer, will show its id.
                    node.remote.made_flows().into_iter().for_each(|made| made.outdate(&key));
                    return node.ask(&key);
                }
                counters.created += 1;
                node.kernel.push(Purpose::Clearing, Request::Delete(key, id))
                    && node.kernel.push(Purpose::InjectAgain, Request::Create(flow))
            }
            _ => {
                counters.created += 1;
                node.kernel.push(Purpose::InjectNew, Request::Create(flow))
            }
        };
        if queued && let Some(made) = node.remote.made_flows() {
            made.on_written(&key, seconds(now));
        }
    }

    /// Keeps the kernel's copies: writes what living owners claim, deletes what they closed, extends the lifetimes of
    /// the rest, and examines flows without an owner when their time is over.
    pub(super) fn keep_injected(&mut self, node: &mut Node, now: Instant) {
        if !self.cluster.hot {
            return;
        }
        for key in core::mem::take(&mut self.unsettled) {
            self.settle_injected(node, now, &key);
        }
        if self.extend.due <= now {
            self.extend = self.extend_on(node, now);
            self.look_at_orphans(node, now);
        }
    }

    /// The kernel may not hold a flow as its owner has it.
    fn settle_injected(&mut self, node: &mut Node, now: Instant, key: &FlowKey) {
        if node.is_own(key) {
            return;
        }
        let made = node.remote.made(key);
        let id = node.remote.made_id(key);
        match self.claims.known(node, key) {
            Known::Held(slot, _) => {
                let Some(flow) = node.remote.table().at(slot).map(|entry| entry.flow()) else {
                    return;
                };
                let made_flows = node.remote.made_flows();
                let outdated = made_flows.is_some_and(|made| made.is_outdated(key));
                if !made {
                    self.inject(node, now, Action::Create, flow);
                } else if id.is_some() && outdated {
                    self.inject(node, now, Action::Replace, flow);
                }
            }
            Known::OwnEnd(_, claim) | Known::HeldEnd(claim)
                if claim.what == What::Closed && id.is_some() =>
            {
                let _queued = node.kernel.push(Purpose::InjectDestroy, Request::Delete(*key, id));
            }
            _ => {}
        }
    }

    /// Flows without a claim whose time is over: those that are still there are held by traffic (R10.4).
    fn look_at_orphans(&self, node: &mut Node, now: Instant) {
        while let Some(made) = node.remote.made_flows()
            && let Some(key) = made.orphan_due(seconds(now))
        {
            if made.contains(&key) && !matches!(self.claims.known(node, &key), Known::Held(..)) {
                node.remote.unmake(&key);
                node.ask(&key);
            }
        }
    }

    fn extend_on(&mut self, node: &mut Node, now: Instant) -> Scan {
        let mut from = self.extend.from;
        let end = from.saturating_add(limit::WATCH_STEP_SLOTS);
        while let Some((slot, entry)) = node.remote.table().next(from) {
            if slot >= end {
                return Scan { from: slot, due: now + limit::WATCH_STEP };
            }
            from = slot + 1;
            let (key, flow) = (entry.key(), entry.flow());
            if !self.is_owner_equal(now, slot) {
                continue;
            }
            let Some(written_s) = node.remote.made_flows().and_then(|made| made.written_s(&key))
            else {
                if !node.is_own(&key) && !node.kernel.is_pending(&key) {
                    self.inject(node, now, Action::Create, flow);
                }
                continue;
            };
            let flow = lasting(writable(&node.config, flow, 0));
            if seconds(now).saturating_sub(written_s) * 2 < flow.timeout_s {
                continue;
            }
            let time = Flow {
                reply: flow.reply,
                zone: flow.zone,
                timeout_s: flow.timeout_s,
                known: Fields::TIMEOUT,
                ..Flow::new(flow.orig)
            };
            if !node.kernel.push(Purpose::InjectUpdate, Request::Update(time)) {
                return Scan { from: slot, due: now + limit::WATCH_STEP };
            }
            node.remote
                .made_flows()
                .into_iter()
                .for_each(|made| made.on_written(&key, seconds(now)));
        }
        Scan { from: 0, due: now + EXTEND_EVERY }
    }

    fn is_owner_equal(&self, now: Instant, slot: Slot) -> bool {
        let held = self.claims.holder(slot).zip(self.claims.held_slice(slot));
        let stream = held.and_then(|(owner, slice)| self.telling(owner, slice));
        stream.is_some_and(|peer| peer.is_equal(now))
    }
}

/// A flow that is gone after ten minutes unless its lifetime is extended.
fn lasting(mut flow: Flow) -> Flow {
    flow.timeout_s = flow.timeout_s.min(LIFE_MAX_S);
    flow
}

/// The part of a peer's flow to write into an entry that has news of this node's own: bits that it lacks and that
/// flows only ever gain, and a later state of TCP. `None` if it lacks nothing.
fn advance(mine: &Flow, theirs: &Flow) -> Option<Flow> {
    let mut joined = mine.clone();
    claim::join(&mut joined, theirs);
    let same_state = joined.tcp().map(|tcp| tcp.state) == mine.tcp().map(|tcp| tcp.state);
    if joined.status == mine.status && same_state {
        return None;
    }
    let proto = match joined.tcp() {
        Some(tcp) if !same_state => {
            ProtoState::Tcp(TcpState { state: tcp.state, ..TcpState::default() })
        }
        _ => ProtoState::default(),
    };
    Some(Flow {
        reply: mine.reply,
        zone: mine.zone,
        status: joined.status,
        known: Fields::STATUS,
        proto,
        ..Flow::new(mine.orig)
    })
}
