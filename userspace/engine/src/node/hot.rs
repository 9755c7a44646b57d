//! A hot node of version 2: which entries of its kernel it wrote for peers, and which are its own.

use super::{Node, Peers};
use crate::errno::{EEXIST, ENOENT};
use crate::input::Origin;
use crate::kernel::{InFlight, Purpose};
use crate::local::seconds;
use crate::output::Request;
use crate::remote::without_master;
use common::Instant;
use ctnetlink::flow::Known;
use ctnetlink::{Change, Flow, FlowKey};

fn id(flow: &Flow) -> Option<u32> {
    flow.has(Known::ID).then_some(flow.id)
}

impl Node {
    /// The kernel reported something: what it counts as; `None` if it says nothing by itself, and the kernel is asked.
    pub(super) fn on_hot_event(
        &mut self,
        session: &mut impl Peers,
        now: Instant,
        (event, flow, origin): (Change, &Flow, Origin),
    ) -> Option<Origin> {
        // A node that is not hot looks nothing up: every event comes this way.
        if !self.remote.is_hot() {
            return Some(origin);
        }
        let (key, id) = (flow.key(), id(flow));
        let (is_own, own_id) = self.own(&key);
        let Some(made) = self.remote.made_flows() else { return Some(origin) };
        match (event, origin) {
            (Change::New, Origin::Inject) => {
                made.on_created_event(&key, id, seconds(now));
                let touched = made.is_touched(&key, id);
                if is_own && id.is_some() && own_id == id {
                    // Traffic has used it, and that was heard first.
                    self.remote.unmake(&key);
                } else if is_own || touched {
                    // The end of the entry before it is on its way, or lost; or an event reported traffic of it first.
                    self.ask(&key);
                }
                session.on_injected_changed(&key);
            }
            (Change::Destroy, _) if made.matches(&key, id) && !is_own => {
                self.remote.unmake(&key);
                session.on_injected_changed(&key);
                return Some(Origin::Inject);
            }
            // The entry may be the one that was made, of which the event with its id was lost.
            (Change::Destroy, Origin::Foreign) if made.contains(&key) => self.ask(&key),
            // Its owner may say that it lives.
            (Change::Destroy, Origin::Foreign) => session.on_injected_changed(&key),
            (Change::New | Change::Update, Origin::Foreign) if made.contains(&key) => {
                if made.matches(&key, id) {
                    self.remote.unmake(&key);
                } else {
                    made.on_touched(&key, id);
                    if !is_own {
                        self.ask(&key);
                        return None;
                    }
                }
            }
            // What is known of this node's own is the entry that was there before.
            (Change::Update, Origin::Inject)
                if is_own && id.is_some() && made.may_be(&key, id) && own_id != id =>
            {
                return None;
            }
            _ => {}
        }
        Some(origin)
    }

    /// Whether a flow is this node's own, according to the local table, and the id of its entry, if that is known.
    fn own(&self, key: &FlowKey) -> (bool, Option<u32>) {
        let own = self.flows.table.get(key).filter(|entry| !entry.has_ended());
        (own.is_some(), own.and_then(|entry| entry.id()))
    }

    /// The kernel shows a flow, or says that it has none. True if an injection made it: of this node's own it has none.
    pub(super) fn on_hot_shown(
        &mut self,
        session: &mut impl Peers,
        key: &FlowKey,
        flow: Option<&Flow>,
    ) -> bool {
        if !self.remote.is_hot() {
            return false;
        }
        let (_, own_id) = self.own(key);
        let Some(made) = self.remote.made_flows() else { return false };
        let Some(flow) = flow else {
            made.remove(key);
            session.on_injected_changed(key);
            return false;
        };
        // Its mirror: nothing is said of the flow that was asked for.
        if flow.key() != *key || !made.contains(key) {
            return false;
        }
        let meant = (own_id.is_none() || own_id != id(flow)) && made.on_shown(key, id(flow));
        if meant {
            session.on_injected_changed(key);
        }
        meant
    }

    /// A reading shows a flow that an injection made, or one that took its place. True if the local table needs no
    /// change.
    pub(super) fn passes_over_hot(&mut self, key: &FlowKey, flow: &Flow) -> bool {
        let (is_own, own_id) = self.own(key);
        let Some(made) = self.remote.made_flows() else { return false };
        let is_made = made.may_be(key, id(flow)) && (own_id.is_none() || own_id != id(flow));
        let unnamed = made.on_read(key).is_none();
        if is_made == is_own || is_made && unnamed {
            // The entry that was made, or this node's own, may have ended; or the event with its id is lost.
            self.ask(key);
        }
        is_made || !is_own
    }

    /// A reading that began at `began` is over, and has shown everything: the kernel is asked about what was made
    /// before and was not shown.
    pub(super) fn on_hot_read(&mut self, began: Instant) {
        let Some(made) = self.remote.made_flows() else { return };
        for key in made.hidden(seconds(began)) {
            self.ask(&key);
        }
    }

    /// A write of ours failed; returns whether to report that. A peer's message never deletes what is there: traffic
    /// may have begun it, and the event about that is on its way (R10.6).
    pub(super) fn on_hot_failed(
        &mut self,
        session: &mut impl Peers,
        op: InFlight,
        errno: i32,
    ) -> bool {
        let failures = &mut self.counters.inject;
        match (op.purpose, op.request, errno) {
            (Purpose::InjectDestroy, _, ENOENT) => return false,
            (_, Request::Create(flow), ENOENT) if flow.master().is_some() => {
                let request = Request::Create(without_master(flow));
                return !self.kernel.push(Purpose::InjectAgain, request);
            }
            (_, Request::Create(flow), EEXIST) => {
                self.ask(&flow.key());
                return false;
            }
            (_, Request::Update(flow), ENOENT) => {
                let key = flow.key();
                if !self.is_own(&key) {
                    self.remote.unmake(&key);
                }
                session.on_injected_changed(&key);
                return false;
            }
            (Purpose::InjectDestroy, ..) => failures.destroy_failed += 1,
            (_, Request::Update(flow), _) => {
                failures.update_failed += 1;
                self.ask(&flow.key());
                return false;
            }
            _ => failures.create_failed += 1,
        }
        true
    }
}
