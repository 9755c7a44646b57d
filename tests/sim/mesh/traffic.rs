//! What traffic does to the kernels: connections that begin, go on, close and expire, each of them through one node or
//! through several.

use super::world::{Step, World};
use crate::kernel::Parts;
use common::Instant;
use ctnetlink::flow::{Known, ProtoState, Status, TcpState};
use ctnetlink::tuple::ipproto;
use ctnetlink::{Flow, FlowKey, Tuple};

/// TCP states of `enum tcp_conntrack`.
pub(super) const SYN_SENT: u8 = 1;
const ESTABLISHED: u8 = 3;
const FIN_WAIT: u8 = 4;
const TIME_WAIT: u8 = 7;

/// What really happens to a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Connection {
    pub(super) alive: bool,
    /// Its translation: 0 none, others a port.
    pub(super) translation: u16,
    /// Where it was closed, if everybody knew that this node owned it, and nothing has happened to it since that brings
    /// it back.
    pub(super) closed: Option<usize>,
}

/// The identity with this number.
pub(super) fn key(which: usize) -> FlowKey {
    let proto = if which % 5 == 4 { ipproto::UDP } else { ipproto::TCP };
    let tuple = Tuple::v4([10, 0, 0, 1], [192, 0, 2, 1], proto);
    FlowKey::new(tuple.with_ports(1_000 + which as u16, 80), 0)
}

fn state(flow: &Flow) -> u8 {
    flow.tcp().map_or(0, |tcp| tcp.state)
}

/// Whether a kernel is about to let a flow go.
pub(super) fn is_closing(flow: &Flow) -> bool {
    (FIN_WAIT..=8).contains(&state(flow))
}

/// A flow as it is when a node sees its first packet.
pub(super) fn flow(which: usize, at: u8, translation: u16) -> Flow {
    let key = key(which);
    let mut flow = Flow::new(key.tuple);
    flow.known = Known::STATUS | Known::TIMEOUT | Known::MARK;
    flow.timeout_s = 600;
    flow.status = Status::CONFIRMED;
    flow.reply = key.tuple.inverted();
    if translation > 0 {
        flow.reply = flow.reply.with_ports(80, 20_000 + 4 * which as u16 + translation);
        flow.status |= Status::SRC_NAT | Status::SRC_NAT_DONE;
    }
    if key.tuple.proto == ipproto::TCP {
        flow.proto = ProtoState::Tcp(TcpState { state: at, ..TcpState::default() });
    }
    flow.status.set(Status::SEEN_REPLY, at > SYN_SENT);
    flow.status.set(Status::ASSURED, at >= ESTABLISHED);
    flow
}

impl World {
    /// One packet, or a silence.
    pub(super) fn on_traffic(&mut self) {
        let which = self.rng.below(self.connections.len() as u64) as usize;
        let strays = self.rng.chance(self.strays);
        let home = which % self.members.len();
        let on = if strays { self.rng.below(self.members.len() as u64) as usize } else { home };
        match self.rng.below(20) {
            0..6 => self.begin(which, on),
            6..15 => self.packet(which, on),
            15..18 => self.close(which, on),
            _ => self.expire(which, on),
        }
    }

    fn begin(&mut self, which: usize, on: usize) {
        if let Some(there) = self.members[on].kernel.flows().get(&key(which)) {
            if !is_closing(there) {
                return self.packet(which, on);
            }
            self.members[on].kernel.end(self.now, &key(which));
        }
        let connection = &mut self.connections[which];
        if self.rng.chance(100) {
            connection.translation = self.rng.below(3) as u16;
        }
        connection.alive = true;
        connection.closed = None;
        let begins = flow(which, SYN_SENT, connection.translation);
        self.enter(on, begins);
    }

    fn enter(&mut self, on: usize, flow: Flow) {
        let same_id = self.rng.chance(200);
        self.members[on].kernel.begin(self.now, flow, same_id);
    }

    fn packet(&mut self, which: usize, on: usize) {
        let connection = &mut self.connections[which];
        if !connection.alive {
            return;
        }
        connection.closed = None;
        let translation = connection.translation;
        let Some(there) = self.members[on].kernel.flows().get(&key(which)) else {
            return self.enter(on, flow(which, ESTABLISHED, translation));
        };
        let state = state(there);
        let marks = self.rng.chance(300);
        let mark = self.rng.below(3) as u32;
        if state >= ESTABLISHED && !marks {
            return;
        }
        let parts = Parts { proto: state < ESTABLISHED, mark: marks, labels: false };
        self.members[on].kernel.change(self.now, &key(which), parts, |flow| {
            if marks {
                flow.mark = mark;
            }
            if state < ESTABLISHED {
                advance(flow);
            }
        });
    }

    fn close(&mut self, which: usize, on: usize) {
        let key = key(which);
        let Some(there) = self.members[on].kernel.flows().get(&key) else { return };
        if there.tcp().is_none() || !self.connections[which].alive {
            return;
        }
        let id = there.id;
        self.connections[which].alive = false;
        self.connections[which].closed = self.is_undisputed(&key, on).then_some(on);
        let parts = Parts { proto: true, ..Parts::default() };
        self.members[on].kernel.change(self.now, &key, parts, |flow| {
            if let ProtoState::Tcp(tcp) = &mut flow.proto {
                tcp.state = TIME_WAIT;
            }
        });
        let most = if self.rng.chance(500) { 5_000_000_000 } else { 1 };
        let pause = 1 + self.rng.below(most);
        self.plan(pause, Step::End { node: on, key, id });
    }

    /// Whether every node knows that this one owns a flow, receives from it, and has no entry of its own: who has one may
    /// have objected to an expiry of which the others do not know yet, and goes on with it.
    fn is_undisputed(&self, key: &FlowKey, on: usize) -> bool {
        let calm = !self.is_any_path_cut();
        let knows = |node: &super::member::Member| {
            let owner = node.sees(key).map(|(owner, _)| usize::from(owner.0));
            let kernel = &node.kernel;
            let has_own = kernel.flows().contains_key(key) && !kernel.is_injected(key);
            owner == Some(on) && (node.index == on || !has_own)
        };
        calm && self.members.iter().all(knows)
    }

    fn expire(&mut self, which: usize, on: usize) {
        let key = key(which);
        if let Some(gone) = self.members[on].kernel.end(self.now, &key)
            && !is_closing(&gone)
        {
            // Others object to an expiry, and may not know of the close yet, to which they object as well then.
            self.connections[which].closed = None;
        }
    }

    /// The time of a closed connection is over.
    pub(super) fn on_end(&mut self, node: usize, key: &FlowKey, id: u32) {
        let kernel = &mut self.members[node].kernel;
        if kernel.flows().get(key).is_some_and(|flow| flow.id == id && is_closing(flow)) {
            kernel.end(self.now, key);
        }
    }
}

fn advance(flow: &mut Flow) {
    flow.status |= Status::SEEN_REPLY;
    if let ProtoState::Tcp(tcp) = &mut flow.proto {
        tcp.state += 1;
        if tcp.state >= ESTABLISHED {
            flow.status |= Status::ASSURED;
        }
    }
}

/// The instant that is so far away.
pub(super) fn after(now: Instant, ns: u64) -> Instant {
    Instant(now.0 + ns)
}
