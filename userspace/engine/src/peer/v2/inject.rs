//! A hot node: flows of peers go into its kernel at once, and stay there for as long as their owners say so.
//!
//! ```text
//!   claim of a peer --meet--> Create, Write, Replace, Advance, Delete --> kernel, with 600 s at most
//!                             every 10 s: half of a flow's time over, and its owner equal --> its time again
//!                             it ended here, and its owner says that it lives -------------> Create
//! ```
//!
//! So a quiet flow does not die on a standby, and what nobody owns is gone in ten minutes (R13.3).

use super::claim::Action;
use super::claims::Known;
use super::session::{Scan, V2};
use crate::config::limit;
use crate::flows::table::{Marks, Slot};
use crate::kernel::Purpose;
use crate::local::seconds;
use crate::node::Node;
use crate::output::Request;
use crate::remote::writable;
use common::Instant;
use core::time::Duration;
use ctnetlink::Flow;
use ctnetlink::flow::{Known as Fields, ProtoState, TcpState};

/// The longest time that an injected flow is given, seconds.
const LIFE_MAX_S: u32 = 600;
/// How often the times of injected flows are looked at.
const EXTEND_EVERY: Duration = Duration::from_secs(10);

impl V2 {
    /// Writes a peer's flow into the kernel.
    pub(super) fn inject(&mut self, node: &mut Node, now: Instant, action: Action, flow: Flow) {
        let key = flow.key();
        let counters = &mut node.counters.inject;
        if action == Action::Advance {
            // The entry has news of this node's own: nothing of it is overwritten that only ever grows here (R10.6).
            counters.updated += 1;
            let _queued = node.kernel.push(Purpose::InjectUpdate, Request::Update(advance(&flow)));
            return;
        }
        let flow = lasting(writable(&node.config, flow, 0));
        let queued = match action {
            Action::Write => {
                counters.updated += 1;
                node.kernel.push(Purpose::InjectUpdate, Request::Update(flow))
            }
            Action::Replace => {
                counters.created += 1;
                let entry = node.flows.table.get(&key);
                let id = entry.and_then(|entry| entry.id());
                node.kernel.push(Purpose::Clearing, Request::Delete(key, id))
                    && node.kernel.push(Purpose::InjectAgain, Request::Create(flow))
            }
            _ => {
                counters.created += 1;
                node.kernel.push(Purpose::InjectNew, Request::Create(flow))
            }
        };
        if queued && let Some(slot) = node.remote.find(&key) {
            self.note_written(now, slot);
        }
    }

    fn note_written(&mut self, now: Instant, slot: Slot) {
        let at = slot as usize;
        if self.written_s.len() <= at {
            self.written_s.resize(at + 1, 0);
        }
        self.written_s[at] = seconds(now);
    }

    /// Writes flows again that ended here though their owners say that they live, and gives others their time again.
    pub(super) fn keep_injected(&mut self, node: &mut Node, now: Instant) {
        if !self.cluster.hot {
            return;
        }
        while let Some(key) = self.ended.pop() {
            node.remote.unmake(&key);
            if let Known::Held(slot, _) = self.claims.known(node, &key)
                && let Some(entry) = node.remote.table().at(slot)
            {
                let flow = entry.flow();
                self.inject(node, now, Action::Create, flow);
            }
        }
        if self.extend.due <= now {
            self.extend = self.extend_on(node, now);
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
            let made = entry.marks.contains(Marks::MADE);
            if !made || !self.is_owner_equal(now, slot) {
                continue;
            }
            let flow = lasting(writable(&node.config, entry.flow(), 0));
            let written_s = self.written_s.get(slot as usize).copied().unwrap_or_default();
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
            self.note_written(now, slot);
        }
        Scan { from: 0, due: now + EXTEND_EVERY }
    }

    fn is_owner_equal(&self, now: Instant, slot: Slot) -> bool {
        let owner = self.claims.holder(slot);
        self.peers.iter().any(|peer| Some(peer.owner) == owner && peer.is_equal(now))
    }
}

/// A flow that is gone after ten minutes if nobody gives it time again.
fn lasting(mut flow: Flow) -> Flow {
    flow.timeout_s = flow.timeout_s.min(LIFE_MAX_S);
    flow
}

/// What of a peer's flow is written to an entry that has news of this node's own.
fn advance(flow: &Flow) -> Flow {
    let proto = match flow.tcp() {
        Some(tcp) => ProtoState::Tcp(TcpState { state: tcp.state, ..TcpState::default() }),
        None => ProtoState::default(),
    };
    Flow {
        reply: flow.reply,
        zone: flow.zone,
        status: flow.status,
        known: Fields::STATUS,
        proto,
        ..Flow::new(flow.orig)
    }
}
