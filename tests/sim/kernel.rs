//! A model of the kernel's connection tracking: what it takes, what it refuses, what it reports.
//!
//! The rules are those of kernel v6.12, `net/netfilter/nf_conntrack_netlink.c`: both directions of a flow are unique
//! in a zone, a lookup finds a flow by either, status bits only grow, an expected flow needs its master, and an event
//! of traffic carries what changed, while an event of a request carries everything.

use crate::prng::Rng;
use common::Instant;
use ctnetlink::flow::{Known, ProtoState, Status, TcpState};
use ctnetlink::{Change, Flow, FlowKey};
use engine::{Origin, Request};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const ENOENT: i32 = 2;
pub(crate) const ENOMEM: i32 = 12;
pub(crate) const EBUSY: i32 = 16;
pub(crate) const EEXIST: i32 = 17;

/// Status bits that a writer decides; `ctnetlink::request` sends no others.
const WRITABLE: Status =
    Status::SEEN_REPLY.union(Status::ASSURED).union(Status::FIXED_TIMEOUT).union(Status::HELPER);

/// Something the kernel reports.
#[derive(Clone, Debug)]
pub(crate) struct Happened {
    pub(crate) at: Instant,
    pub(crate) event: Change,
    pub(crate) flow: Flow,
    pub(crate) origin: Origin,
    /// The flow as it is then; `None` when it has ended.
    pub(crate) whole: Option<Flow>,
    /// The change causes no event: only a source that looks at packets sees it.
    pub(crate) silent: bool,
    /// Traffic changes a flow that an injection wrote, of which no change was heard before.
    pub(crate) touches_injected: bool,
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    flows: BTreeMap<FlowKey, Flow>,
    /// Both directions of every flow, and whose they are.
    tuples: BTreeMap<FlowKey, FlowKey>,
    /// Flows that an injection wrote and that no traffic has touched since.
    injected: BTreeSet<FlowKey>,
    /// Flows that an injection wrote and that traffic has touched, where the news of that was lost: the node cannot
    /// know.
    unheard: BTreeSet<FlowKey>,
    /// Unheard flows that the node has forgotten, because an operator flushed the peers' flows.
    abandoned: BTreeSet<FlowKey>,
    /// Flows that began before the first listener: they cause no event.
    silent: BTreeSet<FlowKey>,
    /// The table holds at most so many flows (`nf_conntrack_max`).
    pub(crate) most: Option<usize>,
    refused: bool,
    /// `nf_conntrack_events` is 0: the kernel will never report anything of flows that begin now.
    pub(crate) events_off: bool,
    /// Flows began while the kernel sent no events, and the host has not noticed that yet. If it never does, because
    /// that lasted less than a second, counts that happen to be equal hide them until the next audit.
    pub(crate) unnoticed: bool,
    ids: BTreeMap<FlowKey, u32>,
    last_id: u32,
    clock: Instant,
    /// When something changed, with an event or without.
    touched: Instant,
    happened: Vec<Happened>,
}

/// The part of a flow that one event carries.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parts {
    pub(crate) proto: bool,
    pub(crate) mark: bool,
    pub(crate) labels: bool,
}

impl Kernel {
    pub(crate) const fn flows(&self) -> &BTreeMap<FlowKey, Flow> {
        &self.flows
    }

    /// When it changed last.
    pub(crate) const fn touched(&self) -> Instant {
        self.touched
    }

    pub(crate) fn is_injected(&self, key: &FlowKey) -> bool {
        self.injected.contains(key)
    }

    /// Whether traffic touched a flow that was written for a peer, and the news of that was lost.
    pub(crate) fn is_unheard(&self, key: &FlowKey) -> bool {
        self.unheard.contains(key)
    }

    /// The event never reaches the node.
    pub(crate) fn lose(&mut self, happened: &Happened) {
        if happened.touches_injected {
            self.unheard.insert(happened.flow.key());
        }
    }

    /// Whether a flow is one that the node wrote for a peer, and has not forgotten since.
    pub(crate) fn is_kept_for_peer(&self, key: &FlowKey) -> bool {
        self.injected.contains(key) && !self.abandoned.contains(key)
    }

    /// An operator makes the node forget the peers' flows: from then on their owner is unknown.
    pub(crate) fn abandon(&mut self) {
        self.abandoned = self.injected.clone();
    }

    /// What was written for peers is the node's own from here on.
    pub(crate) fn adopt(&mut self) {
        self.injected.clear();
        self.unheard.clear();
        self.abandoned.clear();
    }

    /// Some of the flows there are will cause no event: they carry no event extension.
    pub(crate) fn silence(&mut self, rng: &mut Rng) {
        let share = *rng.pick(&[100, 500, 1000]);
        self.silent = self.flows.keys().filter(|_| rng.chance(share)).copied().collect();
    }

    /// What happened since the last call.
    pub(crate) fn take_happened(&mut self) -> Vec<Happened> {
        std::mem::take(&mut self.happened)
    }

    /// Traffic begins a flow; false when its tuples are taken. `same_id`: the kernel's allocator hands out the memory
    /// of the flow's last life again, and with it the id.
    pub(crate) fn begin(&mut self, now: Instant, mut flow: Flow, same_id: bool) -> bool {
        if !self.is_free(&flow) || self.is_full() {
            return false;
        }
        flow.id = self.id_for(&flow.key(), same_id);
        flow.known |= Known::ID | Known::STATUS;
        let mut parts = flow.clone();
        if parts.mark == 0 {
            parts.known.remove(Known::MARK);
        }
        flow.known |= Known::MARK;
        self.place(flow);
        self.report(now, Change::New, parts, Origin::Foreign);
        true
    }

    /// Traffic changes a flow.
    pub(crate) fn change(
        &mut self,
        now: Instant,
        key: &FlowKey,
        parts: Parts,
        edit: impl FnOnce(&mut Flow),
    ) {
        let Some(flow) = self.flows.get_mut(key) else { return };
        edit(flow);
        let event = part(flow, parts);
        let touches_injected = self.injected.remove(key) | self.unheard.remove(key);
        self.report(now, Change::Update, event, Origin::Foreign);
        if let Some(happened) = self.happened.last_mut().filter(|_| touches_injected) {
            happened.touches_injected = true;
        }
    }

    /// A packet that was on its way while the flow ended reports it once more, after the end.
    pub(crate) fn race(&mut self, now: Instant, gone: &Flow) {
        self.report(now, Change::Update, part(gone, Parts::default()), Origin::Foreign);
    }

    /// Traffic, or its absence, ends a flow.
    pub(crate) fn end(&mut self, now: Instant, key: &FlowKey) -> Option<Flow> {
        self.remove(now, key, Origin::Foreign)
    }

    /// The machine was switched off and on.
    pub(crate) fn reboot(&mut self) {
        let (clock, touched) = (self.clock, self.touched);
        let (most, last_id) = (self.most, self.last_id + 1000);
        *self = Self { last_id, clock, touched, most, ..Self::default() };
    }

    /// Carries out a request that writes.
    pub(crate) fn write(
        &mut self,
        now: Instant,
        request: &Request,
        origin: Origin,
    ) -> Result<(), i32> {
        match request {
            Request::Create(flow) => self.create(now, flow, origin),
            Request::Update(flow) => self.update(now, flow, origin),
            Request::Delete(key, id) => {
                let owner = self.tuples.get(key).copied().ok_or(ENOENT)?;
                let there = self.flows.get(&owner).map(|flow| flow.id);
                if id.is_some() && *id != there {
                    return Err(ENOENT);
                }
                self.remove(now, &owner, origin);
                Ok(())
            }
            Request::Get(_)
            | Request::Dump
            | Request::CreateExpectation(_)
            | Request::DeleteExpectation(_)
            | Request::DumpExpectations => Ok(()),
        }
    }

    /// Answers a read. Like the kernel it finds the flow by either direction.
    pub(crate) fn read(&self, key: &FlowKey) -> Option<Flow> {
        self.flows.get(self.tuples.get(key)?).cloned()
    }

    fn create(&mut self, now: Instant, flow: &Flow, origin: Origin) -> Result<(), i32> {
        if !self.is_free(flow) {
            return Err(EEXIST);
        }
        if let Some(master) = flow.master()
            && !self.tuples.contains_key(&FlowKey::new(*master, flow.zone))
        {
            return Err(ENOENT);
        }
        if self.is_full() {
            self.refused = true;
            return Err(ENOMEM);
        }
        let mut made = flow.clone();
        made.status = written(flow) | translation(flow);
        made.status.set(Status::EXPECTED, flow.master().is_some());
        made.id = self.id_for(&flow.key(), false);
        made.known |= Known::ID | Known::STATUS | Known::MARK;
        if origin == Origin::Inject {
            self.injected.insert(made.key());
            self.abandoned.remove(&made.key());
        }
        self.place(made.clone());
        self.report(now, Change::New, made, origin);
        Ok(())
    }

    fn update(&mut self, now: Instant, news: &Flow, origin: Origin) -> Result<(), i32> {
        let owner = self.tuples.get(&news.key()).copied().ok_or(ENOENT)?;
        let flow = self.flows.get_mut(&owner).ok_or(ENOENT)?;
        if news.has(Known::STATUS) {
            let status = written(news);
            let grown = Status::SEEN_REPLY | Status::ASSURED;
            let was = flow.status;
            let expected = was.contains(Status::EXPECTED);
            if expected != news.master().is_some() || !(was & grown).difference(status).is_empty() {
                return Err(EBUSY);
            }
            flow.status |= status & grown;
        }
        if news.has(Known::MARK) {
            flow.mark = news.mark;
        }
        if news.proto != ProtoState::None {
            flow.proto = news.proto;
        }
        if let Some(labels) = news.extra.as_deref().and_then(|e| e.labels.clone()) {
            flow.extra_mut().labels = Some(labels);
        }
        let parts = flow.clone();
        if origin == Origin::Commit {
            // The flow is the node's own from here on.
            self.injected.remove(&owner);
            self.unheard.remove(&owner);
        }
        self.abandoned.remove(&owner);
        self.report(now, Change::Update, parts, origin);
        Ok(())
    }

    fn is_free(&self, flow: &Flow) -> bool {
        ends(flow).iter().all(|end| !self.tuples.contains_key(end))
    }

    /// Whether it ever had no room for a flow that a request asked it to create.
    pub(crate) const fn has_refused(&self) -> bool {
        self.refused
    }

    pub(crate) fn is_full(&self) -> bool {
        self.most.is_some_and(|most| self.flows.len() >= most)
    }

    fn place(&mut self, flow: Flow) {
        let key = flow.key();
        for end in ends(&flow) {
            self.tuples.insert(end, key);
        }
        if self.events_off {
            self.unnoticed = true;
            self.silent.insert(key);
        } else {
            self.silent.remove(&key);
        }
        self.flows.insert(key, flow);
    }

    fn remove(&mut self, now: Instant, key: &FlowKey, origin: Origin) -> Option<Flow> {
        let flow = self.flows.remove(key)?;
        for end in ends(&flow) {
            self.tuples.remove(&end);
        }
        self.injected.remove(key);
        self.unheard.remove(key);
        let mut parts = part(&flow, Parts { proto: true, ..Parts::default() });
        parts.known.remove(Known::TIMEOUT);
        parts.status |= Status::DYING;
        self.report(now, Change::Destroy, parts, origin);
        Some(flow)
    }

    fn id_for(&mut self, key: &FlowKey, same: bool) -> u32 {
        if let Some(id) = self.ids.get(key).filter(|_| same) {
            return *id;
        }
        self.last_id += 1;
        self.ids.insert(*key, self.last_id);
        self.last_id
    }

    /// No two things happen at the same nanosecond.
    fn report(&mut self, now: Instant, event: Change, flow: Flow, origin: Origin) {
        self.touched = now;
        let silent = self.silent.contains(&flow.key());
        if silent && (event == Change::Destroy || origin != Origin::Foreign) {
            return;
        }
        let at = now.max(Instant(self.clock.0 + 1));
        self.clock = at;
        let whole = self.flows.get(&flow.key()).cloned();
        let touches_injected = false;
        self.happened.push(Happened { at, event, flow, origin, whole, silent, touches_injected });
    }
}

/// Both directions as they are looked up.
fn ends(flow: &Flow) -> [FlowKey; 2] {
    [flow.key(), FlowKey::new(flow.reply, flow.zone)]
}

/// The fields of a flow in an event of traffic: identity, status and lifetime always, a mark that is not zero always.
fn part(flow: &Flow, parts: Parts) -> Flow {
    let mut out = Flow { extra: None, ..flow.clone() };
    if flow.mark == 0 && !parts.mark {
        out.known.remove(Known::MARK);
    }
    out.proto = match flow.proto {
        _ if !parts.proto => ProtoState::None,
        ProtoState::Tcp(tcp) => ProtoState::Tcp(TcpState { flags: None, ..tcp }),
        other => other,
    };
    if parts.labels
        && let Some(labels) = flow.extra.as_deref().and_then(|e| e.labels.clone())
    {
        out.extra_mut().labels = Some(labels);
    }
    out
}

fn written(flow: &Flow) -> Status {
    flow.status.intersection(WRITABLE) | Status::CONFIRMED
}

/// The bits the kernel sets while it sets up translation.
fn translation(flow: &Flow) -> Status {
    let mut status = Status::empty();
    if flow.source_nat().is_some() {
        status |= Status::SRC_NAT | Status::SRC_NAT_DONE;
    }
    if flow.destination_nat().is_some() {
        status |= Status::DST_NAT | Status::DST_NAT_DONE;
    }
    status
}
