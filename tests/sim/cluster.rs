//! Nodes, links, and one agenda: what happens next is the earliest entry, and nothing else happens.

use crate::hostile::Hostile;
use crate::kernel::{Happened, Kernel};
use crate::model::Ledger;
use crate::network::{Copies, Link, Packet};
use crate::node::{Node, Turn};
use crate::prng::Rng;
use crate::profile::{Profile, of};
use crate::trace::{Trace, brief, name};
use crate::workload::Workload;
use common::Instant;
use ctnetlink::flow::{Known, Status};
use ctnetlink::{Change, Flow};
use engine::drive::Driven as _;
use engine::{Command, CommandId, Input, Stamp};
use std::collections::BTreeMap;
use wire::packet::Seen;
use wire::sync::v1::{self, Flags, Message, Messages};

mod faults;
mod quiet;

/// The truth that is violated, and how.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) truth: &'static str,
    pub(crate) text: String,
}

impl Violation {
    pub(crate) fn new(truth: &'static str, text: impl Into<String>) -> Self {
        Self { truth, text: text.into() }
    }
}

pub(crate) type Outcome<T = ()> = Result<T, Violation>;

/// What can be on the agenda; the number is the node.
#[derive(Debug)]
enum Step {
    Traffic(usize),
    Event {
        node: usize,
        life: u32,
        happened: Box<Happened>,
        stamp: Stamp,
        /// The event was seen in a packet.
        packet: bool,
    },
    Arrival {
        node: usize,
        packet: Packet,
    },
    Execute {
        node: usize,
        life: u32,
    },
    DumpGoesOn {
        node: usize,
        life: u32,
    },
    Timer {
        node: usize,
        life: u32,
    },
    Command(usize, Command),
    /// The host notices that the kernel has lost an event.
    Loss(usize),
    Start(usize),
    /// The host looks how many flows the kernel holds, and whether it sends events.
    Health(usize),
    Heal,
}

const MILLISECOND: u64 = 1_000_000;
/// Makes numbers that follow each other differ in their upper bits (2^64 by the golden ratio).
const SCATTER: u64 = 0x9e37_79b9_7f4a_7c15;
const HEALTH_NS: u64 = 1_000 * MILLISECOND;
/// Long enough for every message of a quiet network to arrive and for every pause of a bulk transfer to end.
const SETTLE_NS: u64 = 4_000 * MILLISECOND;

/// More than ever happens in a run in which nodes do not keep each other busy about nothing.
const STEPS_MAX: u64 = 100_000;

/// The world.
pub(crate) struct Cluster {
    pub(crate) now: Instant,
    pub(crate) profile: Profile,
    pub(crate) nodes: Vec<Node>,
    /// `links[n]` is the one that node `n` sends on.
    pub(crate) links: Vec<Link>,
    pub(crate) trace: Trace,
    agenda: BTreeMap<(Instant, u64), Step>,
    serial: u64,
    steps: u64,
    rng: Rng,
    traffic: Vec<Workload>,
    traffic_left: Vec<u32>,
    last_command: u64,
    /// Datagrams sent by all.
    pub(crate) datagrams: u64,
    /// `hostile[n]` speaks in the name of node `n`.
    hostile: Vec<Hostile>,
}

impl Cluster {
    pub(crate) fn new(profile: &Profile, seed: u64, verbose: bool) -> Self {
        let mut rng = Rng::new(seed);
        let profile = &if profile.mixed { profile.drawn(&mut rng) } else { *profile };
        let interval_ns = *rng.pick(&[50_000, MILLISECOND, 20 * MILLISECOND]);
        let count = profile.identities.unwrap_or(*rng.pick(&[6, 24, 60]));
        let race = *rng.pick(&[0, 50]);
        // Where nodes share identities, the peer's flows are ours as well; more than two nodes would not know whose.
        let shared = profile.nodes == 2 && profile.shared && rng.chance(500);
        let net = |node| if shared { 1 } else { 1 + node as u8 };
        let all = 0..profile.nodes;
        let workload = |node| Workload::new(rng.fork(), net(node), count, race, interval_ns);
        let mut traffic: Vec<_> = all.clone().map(workload).collect();
        let now = Instant(1_000 * MILLISECOND);
        let mut kernels: Vec<_> = all.clone().map(|_| Kernel::default()).collect();
        if profile.kernel_full {
            kernels.iter_mut().for_each(|kernel| kernel.most = Some(count / 3 + 1));
        }
        if profile.prefilled {
            for (kernel, traffic) in kernels.iter_mut().zip(&mut traffic) {
                traffic.fill(kernel, now);
                kernel.take_happened();
                if profile.silent {
                    kernel.silence(&mut rng);
                }
            }
        }
        // Mirrors cost ten times what the engines do: one seed in 64 has them, wherever the others lie.
        let mirrored = verbose || seed.wrapping_mul(SCATTER) >> 58 == 0;
        let node = |(index, kernel)| {
            let node = Node::new(profile, index, kernel, rng.fork(), now);
            if mirrored { node.mirrored() } else { node }
        };
        let nodes: Vec<_> = kernels.into_iter().enumerate().map(node).collect();
        let ends = all.clone().map(|from| (from, profile.nodes));
        let link = |ends| Link::new(profile.topology, ends, profile.network, &mut rng);
        let links = ends.map(link).collect();
        let hostile = all.clone().map(|_| Hostile::new(rng.fork())).collect();
        let mut cluster = Self {
            now,
            profile: *profile,
            nodes,
            links,
            trace: Trace::new(verbose),
            agenda: BTreeMap::new(),
            serial: 0,
            steps: 0,
            rng,
            traffic,
            traffic_left: all.clone().map(|node| of(profile.steps, node)).collect(),
            last_command: 0,
            datagrams: 0,
            hostile,
        };
        cluster.trace.say(now, 0, format_args!("{profile:?}"));
        for node in all {
            cluster.plan(1 + node as u64, Step::Traffic(node));
            cluster.plan(0, Step::Timer { node, life: 0 });
            cluster.plan(HEALTH_NS, Step::Health(node));
        }
        cluster
    }

    /// Runs until traffic is over and nothing is on its way.
    pub(crate) fn settle(&mut self) -> Outcome {
        while self.traffic_left.iter().any(|left| *left > 0) {
            self.step()?;
        }
        self.run_until(Instant(self.now.0 + SETTLE_NS))
    }

    /// The link becomes a good one, for good, and so do the kernels.
    pub(crate) fn heal(&mut self) {
        (self.profile.parts, self.profile.outages) = (false, false);
        (self.profile.hostile, self.profile.restarts) = (0, 0);
        self.nodes.iter_mut().for_each(|node| node.kernel.events_off = false);
        for path in self.links.iter_mut().flat_map(|link| &mut link.paths) {
            path.parted = false;
            path.faults = crate::network::Faults::default();
        }
        // Nodes that are away are a fault too.
        let start = |step: &Step| matches!(step, Step::Start(_));
        let away = |(at, step): (&(Instant, u64), &Step)| start(step).then_some(*at);
        for at in self.agenda.iter().filter_map(away).collect::<Vec<_>>() {
            if let Some(step) = self.agenda.remove(&at) {
                self.plan(MILLISECOND, step);
            }
        }
    }

    /// Flows end until all tables have room for the rest.
    pub(crate) fn make_room(&mut self) -> Outcome {
        let most = self.nodes.iter().map(|node| node.engine.config().flows_max).min().unwrap_or(0);
        let each = most / self.nodes.len();
        for n in 0..self.nodes.len() {
            let kernel = &self.nodes[n].kernel;
            let surplus: Vec<_> =
                kernel.flows().keys().skip(each.saturating_sub(1)).copied().collect();
            surplus.iter().for_each(|key| drop(self.nodes[n].kernel.end(self.now, key)));
            self.collect_events(n);
        }
        self.settle()
    }

    /// What is remembered of the paths to a node.
    fn ledgers_to(&mut self, to: usize) -> impl Iterator<Item = &mut Ledger> {
        let paths = self.links.iter_mut().flat_map(|link| &mut link.paths);
        paths.filter(move |path| path.to == to).map(|path| &mut path.ledger)
    }

    /// The nodes that a node receives from.
    pub(crate) fn heard_by(&self, to: usize) -> Vec<usize> {
        let hears = |from: &usize| self.links[*from].paths.iter().any(|path| path.to == to);
        (0..self.nodes.len()).filter(hears).collect()
    }

    /// What is remembered of one direction between two nodes.
    pub(crate) fn ledger(&self, from: usize, to: usize) -> &Ledger {
        let path = self.links[from].paths.iter().find(|path| path.to == to);
        &path.expect("the one hears the other").ledger
    }

    /// An operator types a command.
    pub(crate) fn command(&mut self, node: usize, command: Command) -> Outcome<CommandId> {
        self.last_command += 1;
        let id = CommandId(self.last_command);
        self.trace.say(self.now, node, format_args!("command {command:?}"));
        self.trace.fold_word(self.last_command);
        self.nodes[node].on_command(id);
        self.note_flush(node, command);
        self.input(node, Input::Command(id, command))?;
        Ok(id)
    }

    /// A node does not know what an operator made it forget until it reads, or receives, it again.
    fn note_flush(&mut self, node: usize, command: Command) {
        let Command::Flush { local, remote } = command else { return };
        if remote && self.nodes[node].engine.is_committing() {
            return;
        }
        self.nodes[node].flushed |= local;
        if remote {
            self.nodes[node].kernel.abandon();
            self.nodes[node].took_over = true;
            self.ledgers_to(node).for_each(|ledger| ledger.forget(false));
        }
    }

    /// A transfer of all flows removes what no node sent.
    pub(crate) fn forgive(&mut self) {
        self.links.iter_mut().flat_map(Link::ledgers).for_each(|ledger| ledger.forged = false);
    }

    /// Time passes.
    pub(crate) fn wait_ms(&mut self, ms: u64) -> Outcome {
        self.run_until(Instant(self.now.0 + ms * MILLISECOND))
    }

    fn run_until(&mut self, end: Instant) -> Outcome {
        while self.agenda.first_key_value().is_some_and(|(at, _)| at.0 <= end) {
            self.step()?;
        }
        self.now = end;
        Ok(())
    }

    fn plan(&mut self, delay_ns: u64, step: Step) {
        self.plan_at(Instant(self.now.0 + delay_ns), step);
    }

    fn plan_at(&mut self, at: Instant, step: Step) {
        self.serial += 1;
        self.agenda.insert((at.max(self.now), self.serial), step);
    }

    fn step(&mut self) -> Outcome {
        let Some(((at, _), step)) = self.agenda.pop_first() else {
            return Err(Violation::new("(f) progress", "nothing is on the agenda"));
        };
        self.now = at;
        self.steps += 1;
        if self.steps > STEPS_MAX {
            let text = format!("{STEPS_MAX} things happened, {} datagrams sent", self.datagrams);
            return Err(Violation::new("(k) quiet", text));
        }
        match step {
            Step::Traffic(node) => self.on_traffic(node),
            Step::Event { node, life, happened, stamp, packet } if self.is_up(node, life) => {
                self.on_event(node, *happened, (stamp, packet))
            }
            Step::Arrival { node, packet } => self.on_arrival(node, &packet),
            Step::Execute { node, life } if self.is_up(node, life) => self.on_execute(node),
            Step::DumpGoesOn { node, life } if self.is_up(node, life) => self.on_dump(node),
            Step::Timer { node, life } if self.is_up(node, life) => {
                self.nodes[node].timer_at = None;
                self.input(node, Input::Timeout)
            }
            Step::Command(node, command) if self.nodes[node].up => {
                self.command(node, command).map(drop)
            }
            Step::Loss(node) if self.nodes[node].up => {
                self.input(node, Input::EventsLost { count: 1 })
            }
            Step::Start(node) => self.on_start(node),
            Step::Health(node) => self.on_health(node),
            Step::Heal => {
                let paths = self.links.iter_mut().flat_map(|link| &mut link.paths);
                paths.for_each(|path| path.parted = false);
                Ok(())
            }
            // Meant for a process that is gone.
            _ => Ok(()),
        }
    }

    /// The host reports how many flows the kernel holds, and whether it sends events.
    fn on_health(&mut self, node: usize) -> Outcome {
        let kernel = &mut self.nodes[node].kernel;
        kernel.unnoticed &= !kernel.events_off;
        let (flows, events) = (kernel.flows().len() as u64, !kernel.events_off);
        self.plan(HEALTH_NS, Step::Health(node));
        if !self.nodes[node].up {
            return Ok(());
        }
        self.input(node, Input::KernelHealth { flows, events })
    }

    fn is_up(&self, node: usize, life: u32) -> bool {
        self.nodes[node].up && self.links[node].life() == life
    }

    fn on_traffic(&mut self, node: usize) -> Outcome {
        if self.traffic_left[node] == 0 {
            return Ok(());
        }
        self.traffic_left[node] -= 1;
        if self.traffic_left[node].is_multiple_of(4) {
            crate::claims::hold(self)?;
        }
        let pause = self.traffic[node].step(&mut self.nodes[node].kernel, self.now);
        self.plan(pause, Step::Traffic(node));
        self.collect_events(node);
        if self.rng.chance(self.profile.commands) {
            let command = self.some_command(node);
            let pause = self.rng.below(MILLISECOND);
            self.plan(pause, Step::Command(node, command));
        }
        if self.profile.hostile > 0
            && self.rng.chance(self.hostile[node].share(self.profile.hostile))
        {
            self.forge(node);
        }
        if self.profile.parts && self.rng.chance(10) {
            for path in self.links.iter_mut().flat_map(|link| &mut link.paths) {
                path.parted = self.rng.chance(700);
            }
            let pause = self.rng.below(200 * MILLISECOND);
            self.plan(pause, Step::Heal);
        }
        if self.profile.outages && self.rng.chance(10) {
            let paths = self.links.iter_mut().flat_map(|link| &mut link.paths);
            paths.for_each(|path| path.parted = true);
            let pause = self.rng.below(3_000 * MILLISECOND);
            self.plan(pause, Step::Heal);
        }
        if self.rng.chance(self.profile.switches) {
            let kernel = &mut self.nodes[node].kernel;
            kernel.events_off = !kernel.events_off;
            self.trace.say(self.now, node, format_args!("events off: {}", kernel.events_off));
        }
        if self.profile.moves > 0 && self.rng.chance(self.profile.moves) {
            self.trace.say(self.now, node, format_args!("another address"));
            self.links[node].change_address(self.now);
        }
        if self.profile.adapts > 0 && self.nodes[node].up && self.rng.chance(self.profile.adapts) {
            self.change_source(node)?;
        }
        if self.nodes[node].up && self.rng.chance(self.profile.restarts) {
            self.stop(node);
            let others = (0..self.nodes.len()).filter(|n| self.nodes[*n].up && *n != node);
            for other in others.collect::<Vec<_>>() {
                if self.profile.disasters && self.rng.chance(300) {
                    self.stop(other);
                }
            }
        }
        Ok(())
    }

    /// Sends what the kernel reported on its way to the engine.
    fn collect_events(&mut self, node: usize) {
        for happened in self.nodes[node].kernel.take_happened() {
            let ways = self.nodes[node].source.hears(&happened);
            if ways.is_empty() {
                self.nodes[node].on_unseen(&happened);
                self.nodes[node].on_happened(&happened);
                continue;
            }
            let (event, flow) = (happened.event, &happened.flow);
            self.trace.say(
                happened.at,
                node,
                format_args!("kernel {event:?} {:?} {}", happened.origin, brief(flow)),
            );
            self.nodes[node].on_happened(&happened);
            if !self.nodes[node].up {
                continue;
            }
            if self.profile.overruns && self.nodes[node].loses_event() {
                self.trace.say(happened.at, node, format_args!("  lost"));
                self.nodes[node].on_unseen(&happened);
                self.plan(MILLISECOND, Step::Loss(node));
                continue;
            }
            self.nodes[node].on_seen(&happened);
            let life = self.links[node].life();
            for packet in ways {
                let (at, stamp) = self.nodes[node].source.route(&happened, packet);
                let happened = Box::new(happened.clone());
                self.plan_at(at, Step::Event { node, life, happened, stamp, packet });
            }
        }
    }

    fn on_event(
        &mut self,
        node: usize,
        happened: Happened,
        (stamp, packet): (Stamp, bool),
    ) -> Outcome {
        let Happened { event, flow, origin, whole, .. } = happened;
        self.trace.fold_key(&flow.key());
        self.trace.say(
            self.now,
            node,
            format_args!("event {event:?} {origin:?} {stamp:?} {}", brief(&flow)),
        );
        if let (Stamp::At(at), Some(whole), true) = (stamp, whole, packet) {
            let seen = seen(&whole, event == Change::Update);
            return self.input(node, Input::Packet { seen, at });
        }
        self.input(node, Input::Kernel { event, flow, origin, stamp })
    }

    fn on_arrival(&mut self, node: usize, packet: &Packet) -> Outcome {
        let link = &mut self.links[packet.from];
        let gone = !self.nodes[node].up || packet.life != link.life();
        let Some(path) = link.path_to(node) else { return Ok(()) };
        if gone {
            return Ok(());
        }
        // As long as it is greeted, the original takes what comes in whatever order it comes.
        let greets = packet.bytes.get(1).is_some_and(|f| f & Flags::HELLO.bits() != 0);
        if self.profile.original == Some(node) && greets {
            path.ledger.note_disorder(&packet.messages);
        }
        // The receiver does not take what it has passed over: it waits for the second copy that it asked for.
        let refused = self.nodes[node].engine.refused(packet.seq, greets, packet.messages.len());
        let (_, taken) = packet.messages.split_at(refused);
        path.ledger.arrived(packet.seq.wrapping_add(refused as u32), taken);
        self.trace.fold(&packet.bytes);
        self.trace.say(
            self.now,
            node,
            format_args!("arrival from {}: {:?}", name(packet.from), packet.messages),
        );
        self.input(node, Input::Datagram { from: packet.sender, bytes: &packet.bytes })
    }

    /// The host carries out one batch of what the engine asks of the kernel.
    fn on_execute(&mut self, node: usize) -> Outcome {
        self.nodes[node].execute_planned = false;
        if self.nodes[node].execute(self.now, &mut self.trace) {
            let pause = self.nodes[node].dump_pause();
            let life = self.links[node].life();
            self.plan(pause, Step::DumpGoesOn { node, life });
        }
        self.collect_events(node);
        self.turn(node)
    }

    fn on_dump(&mut self, node: usize) -> Outcome {
        if self.profile.disasters && self.rng.chance(self.profile.restarts) {
            // In the middle of a reading.
            self.stop(node);
            return Ok(());
        }
        let over = self.nodes[node].show_dump(self.now, &mut self.trace);
        let pause = self.nodes[node].dump_pause();
        let life = self.links[node].life();
        match over {
            None => self.plan(pause, Step::DumpGoesOn { node, life }),
            // Ours reads again by itself.
            Some(false) if self.profile.original == Some(node) => {
                self.plan(pause, Step::Command(node, Command::ResyncKernel));
            }
            Some(_) => {}
        }
        self.turn(node)
    }

    /// The original does not keep what it sends while its peer greets it; a loss of that is never repaired.
    fn note_unkept(&mut self, node: usize, bytes: &[u8]) {
        if self.profile.original != Some(node) {
            return;
        }
        let greeted = self.links[1 - node].greeted;
        let shortly = |at: Instant| at.0 + 5 * MILLISECOND > self.now.0;
        if greeted.is_some_and(|at| !shortly(at)) {
            return;
        }
        let messages = Messages::datagram(bytes).flatten().filter_map(|raw| v1::decode(&raw).ok());
        let flows = messages.filter_map(|message| match message {
            Message::Flow { flow, .. } => Some(flow.key()),
            _ => None,
        });
        let flows: Vec<_> = flows.collect();
        self.links[node].ledgers().for_each(|ledger| ledger.unkept.extend(&flows));
    }

    fn input(&mut self, node: usize, input: Input<'_>) -> Outcome {
        self.nodes[node].engine.handle(self.now, input);
        self.turn(node)
    }

    /// Pulls everything the engine wants.
    fn turn(&mut self, node: usize) -> Outcome {
        let Turn { datagrams, wants_kernel, timer } =
            self.nodes[node].turn(self.now, &mut self.trace)?;
        for bytes in datagrams {
            self.trace.fold(&bytes);
            self.hostile[node].overhear(&bytes);
            self.datagrams += 1;
            let sent = self.links[node].send(self.now, &bytes);
            let sent = sent.map_err(|text| Violation::new("(f) datagrams", text))?;
            for (to, copies) in sent {
                self.on_sent((node, to), &bytes, copies);
            }
        }
        let life = self.links[node].life();
        if wants_kernel {
            let pause = self.rng.below(100_000);
            self.plan(pause, Step::Execute { node, life });
        }
        if let Some(at) = timer {
            self.plan_at(at, Step::Timer { node, life });
        }
        Ok(())
    }

    /// A datagram was sent from one node to another one; so many copies of it arrive.
    fn on_sent(&mut self, (node, to): (usize, usize), bytes: &[u8], copies: Copies) {
        self.trace.say(
            self.now,
            node,
            format_args!("sends {} bytes to {}, {} copies", bytes.len(), name(to), copies.len()),
        );
        if copies.is_empty() {
            self.note_unkept(node, bytes);
            let messages = Messages::datagram(bytes).flatten();
            let lost: Vec<_> = messages.map(|raw| (raw.header.seq, v1::decode(&raw))).collect();
            self.trace.say(self.now, node, format_args!("lost {lost:?}"));
        }
        for (at, packet) in copies {
            self.plan_at(at, Step::Arrival { node: to, packet });
        }
    }
}

/// What a packet shows of a flow: all but what lies apart from it.
fn seen(flow: &Flow, confirmed: bool) -> Seen {
    let whole = flow.extra.is_none() && !flow.status.contains(Status::EXPECTED);
    let known = Known::STATUS | Known::TIMEOUT | Known::MARK | (flow.known & Known::ZONE);
    Seen { flow: Flow { id: 0, known, extra: None, ..flow.clone() }, confirmed, whole }
}
