//! Members, paths between each two of them, and one agenda: what happens next is the earliest entry.

use super::Kind;
use super::crowd::Paths;
use super::links::{LinkEvent, Packet, Unkind};
use super::member::{Datagram, Member, Settings, Turn, peer_of};
use super::traffic::{Connection, after, key};
use super::truths::Watch;
use super::words::{At, Word};
use crate::cluster::{Outcome, Violation};
use crate::kernel::Happened;
use crate::prng::Rng;
use crate::source::SourceKind;
use crate::trace::{Trace, brief, name};
use common::Instant;
use ctnetlink::FlowKey;
use engine::{Command, CommandId, Input, Stamp};
use std::collections::BTreeMap;

pub(super) const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;
/// How long there is traffic, and faults.
const TROUBLE: u64 = 15 * SECOND;
/// How often sessions, and the kernel's count, are looked at.
const TICK: u64 = 200 * MILLISECOND;
/// How often what nodes say is compared with what is.
const SAMPLE: u64 = 500 * MILLISECOND;
/// More than ever happens in a run.
const STEPS_MAX: u64 = 400_000;
/// Flows of a table that is not tight: many more than there are.
const FLOWS_MAX: usize = 2_048;

/// What can be on the agenda.
#[derive(Debug)]
pub(super) enum Step {
    Traffic,
    Fault,
    Path,
    Tick(usize),
    Sample,
    Event { node: usize, life: u32, happened: Box<Happened>, stamp: Stamp },
    Arrival { from: usize, to: usize, packet: Packet },
    Word { at: At, life: u32, word: Word },
    Execute { at: At, life: u32 },
    DumpGoesOn { at: At, life: u32 },
    Timer { at: At, life: u32 },
    Command(usize, Command),
    Loss(usize),
    Start(usize),
    End { node: usize, key: FlowKey, id: u32 },
}

/// The world.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) rng: Rng,
    pub(super) members: Vec<Member>,
    pub(super) connections: Vec<Connection>,
    pub(super) keys: Vec<FlowKey>,
    pub(super) trace: Trace,
    pub(super) watch: Watch,
    /// The share of packets, in thousandths, that go through another node than the connection's own.
    pub(super) strays: u32,
    /// Tables are smaller than the number of flows.
    pub(super) tight: bool,
    settings: Settings,
    unkind: Unkind,
    /// What paths carry, where they differ.
    pub(super) paths: Option<Paths>,
    /// Events in a thousand that are lost.
    overruns: u32,
    faults_ns: u64,
    traffic_ns: u64,
    /// Until when nothing passes from one to the other.
    cut: Vec<Vec<Instant>>,
    agenda: BTreeMap<(Instant, u64), Step>,
    serial: u64,
    steps: u64,
    trouble_until: Instant,
    commands: u64,
}

impl World {
    pub(super) fn new(seed: u64, kind: Kind, verbose: bool) -> Self {
        let Kind { hot, paths_differ, shards_max } = kind;
        let mut rng = Rng::new(seed);
        let now = Instant(SECOND);
        let nodes = 2 + rng.below(4).min(rng.below(5)) as usize;
        let identities = *rng.pick(&[10, 10, 40]);
        let tight = rng.chance(80);
        let window_ns = *rng.pick(&[10_000, 3 * MILLISECOND]);
        let tap = SourceKind::Tap { window_ns, spill: *rng.pick(&[0, 200]) };
        let settings = Settings {
            nodes,
            flows_max: if tight { 3 + identities / 3 } else { FLOWS_MAX },
            source: *rng.pick(&[SourceKind::Socket, tap]),
            clocks_differ: rng.chance(300),
            hot: hot.then(|| *rng.pick(&[(0, 1), (0, 2), (1, 2)])),
            paths_differ,
            shards_max,
        };
        let members: Vec<_> =
            (0..nodes).map(|index| Member::new(index, &settings, rng.fork(), now)).collect();
        let mut world = Self {
            now,
            members,
            connections: vec![Connection::default(); identities],
            keys: (0..identities).map(key).collect(),
            trace: Trace::new(verbose),
            watch: Watch::new(nodes),
            strays: *rng.pick(&[0, 100, 1_000]),
            tight,
            settings,
            unkind: Unkind::drawn(&mut rng),
            paths: paths_differ.then(|| Paths::drawn(seed, nodes)),
            overruns: *rng.pick(&[0, 0, 20]),
            faults_ns: *rng.pick(&[500, 2_000, 10_000]) * MILLISECOND,
            traffic_ns: *rng.pick(&[5, 20, 100]) * MILLISECOND,
            cut: vec![vec![now; nodes]; nodes],
            agenda: BTreeMap::new(),
            serial: 0,
            steps: 0,
            trouble_until: after(now, TROUBLE),
            commands: 0,
            rng,
        };
        if world.rng.chance(100) {
            world.members[0].kernel.most = Some(identities * 2 / 3 + 1);
        }
        let text = format_args!("{:?} {:?} strays {}", settings, world.unkind, world.strays);
        world.trace.say(now, 0, text);
        (0..nodes).for_each(|node| {
            for shard in 0..world.members[node].shards.len() {
                world.plan(0, Step::Timer { at: (node, shard), life: 1 });
            }
            world.plan(1 + node as u64, Step::Tick(node));
        });
        world.plan(1, Step::Traffic);
        world.plan(SECOND, Step::Fault);
        if paths_differ {
            world.plan(SECOND, Step::Path);
        }
        world.plan(SAMPLE, Step::Sample);
        world
    }

    /// Traffic and faults.
    pub(super) fn trouble(&mut self) -> Outcome {
        self.run_until(self.trouble_until)
    }

    /// The last fault is over: all paths are good ones, all processes run, kernels have room.
    pub(super) fn heal(&mut self) -> Outcome {
        self.trace.say(self.now, 0, format_args!("heals"));
        self.unkind =
            Unkind { jitter_ns: MILLISECOND, travel_ns: MILLISECOND, ..Unkind::default() };
        self.overruns = 0;
        let now = self.now;
        self.cut.iter_mut().flatten().for_each(|until| *until = now);
        for node in 0..self.members.len() {
            self.members[node].kernel.most = None;
            if !self.members[node].is_up() {
                self.on_start(node)?;
            }
        }
        Ok(())
    }

    pub(super) fn wait(&mut self, seconds: u64) -> Outcome {
        self.run_until(after(self.now, seconds * SECOND))
    }

    fn run_until(&mut self, end: Instant) -> Outcome {
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _), step) = entry.remove_entry();
            self.now = at;
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return Err(Violation::new("I7 limits", "the run never ends"));
            }
            self.step(step)?;
        }
        self.now = end;
        Ok(())
    }

    pub(super) fn plan(&mut self, delay_ns: u64, step: Step) {
        self.plan_at(after(self.now, delay_ns), step);
    }

    pub(super) fn plan_at(&mut self, at: Instant, step: Step) {
        self.serial += 1;
        self.agenda.insert((at.max(self.now), self.serial), step);
    }

    fn is_trouble(&self) -> bool {
        self.now < self.trouble_until
    }

    pub(super) fn is_any_path_cut(&self) -> bool {
        self.cut.iter().flatten().any(|until| *until > self.now)
    }

    fn step(&mut self, step: Step) -> Outcome {
        let lives = |members: &[Member], node: usize, life| {
            members[node].is_up() && members[node].life == life
        };
        match step {
            Step::Traffic if self.is_trouble() => {
                let pause = 1 + self.rng.below(2 * self.traffic_ns);
                self.plan(pause, Step::Traffic);
                self.on_traffic();
                (0..self.members.len()).for_each(|node| self.collect_events(node));
                Ok(())
            }
            Step::Fault if self.is_trouble() => {
                let pause = 1 + self.rng.below(2 * self.faults_ns);
                self.plan(pause, Step::Fault);
                self.fault()
            }
            Step::Path if self.is_trouble() => {
                let pause = self.on_path();
                self.plan(pause, Step::Path);
                (0..self.members.len()).for_each(|node| self.collect_events(node));
                Ok(())
            }
            Step::Tick(node) => self.on_tick(node),
            Step::Sample => {
                self.plan(SAMPLE, Step::Sample);
                self.sample()
            }
            Step::Event { node, life, happened, stamp } if lives(&self.members, node, life) => {
                let Happened { event, flow, origin, .. } = *happened;
                self.trace.fold_key(&flow.key());
                let shard = self.members[node].shard_of(&flow.key());
                self.input((node, shard), Input::Kernel { event, flow, origin, stamp })
            }
            Step::Word { at, life, word } if lives(&self.members, at.0, life) => {
                self.members[at.0].hear(at.1, word);
                self.input(at, word.input())
            }
            Step::Arrival { from, to, packet } => self.on_arrival(from, to, &packet),
            Step::Execute { at, life } if lives(&self.members, at.0, life) => self.on_execute(at),
            Step::DumpGoesOn { at, life } if lives(&self.members, at.0, life) => {
                if self.members[at.0].show_dump(self.now, at.1).is_none() {
                    let pause = 1 + self.rng.below(2 * MILLISECOND);
                    self.plan(pause, Step::DumpGoesOn { at, life });
                }
                self.turn(at)
            }
            // One that was planned before an earlier one does nothing.
            Step::Timer { at: (node, shard), life }
                if lives(&self.members, node, life)
                    && self.members[node].shards[shard]
                        .timer_at
                        .is_none_or(|at| at <= self.now) =>
            {
                self.members[node].shards[shard].timer_at = None;
                self.members[node].wakes += 1;
                self.turn((node, shard))
            }
            Step::Command(node, command) if self.members[node].is_up() => {
                self.command(node, command)
            }
            Step::Loss(node) if self.members[node].is_up() => {
                self.inputs(node, || Input::EventsLost { count: 1 })
            }
            Step::Start(node) if !self.members[node].is_up() => self.on_start(node),
            Step::End { node, key, id } => {
                self.on_end(node, &key, id);
                self.collect_events(node);
                Ok(())
            }
            // Meant for a process that is gone, or for a time that is over.
            _ => Ok(()),
        }
    }

    fn on_execute(&mut self, at: At) -> Outcome {
        let life = self.members[at.0].life;
        if self.members[at.0].execute(self.now, at.1, &mut self.trace)? {
            let pause = 1 + self.rng.below(2 * MILLISECOND);
            self.plan(pause, Step::DumpGoesOn { at, life });
        }
        self.collect_events(at.0);
        self.turn(at)
    }

    /// Sends what the kernel reported on its way to the engine.
    fn collect_events(&mut self, node: usize) {
        for happened in self.members[node].kernel.take_happened() {
            let (event, flow) = (happened.event, &happened.flow);
            let text = format_args!("kernel {event:?} {:?} {}", happened.origin, brief(flow));
            self.trace.say(happened.at, node, text);
            self.watch.on_event(&flow.key());
            if !self.members[node].is_up() {
                continue;
            }
            if self.rng.chance(self.overruns) {
                self.trace.say(happened.at, node, format_args!("  lost"));
                self.members[node].kernel.lose(&happened);
                self.plan(MILLISECOND, Step::Loss(node));
                continue;
            }
            let (at, stamp) = self.members[node].source.route(&happened, false);
            let life = self.members[node].life;
            self.plan_at(at, Step::Event { node, life, happened: Box::new(happened), stamp });
        }
    }

    pub(super) fn input(&mut self, at: At, input: Input<'_>) -> Outcome {
        self.members[at.0].handle(self.now, at.1, input);
        self.turn(at)
    }

    /// An input for each shard of a node.
    fn inputs(&mut self, node: usize, input: impl Fn() -> Input<'static>) -> Outcome {
        (0..self.members[node].shards.len())
            .try_for_each(|shard| self.input((node, shard), input()))
    }

    /// Pulls everything an engine wants.
    fn turn(&mut self, at: At) -> Outcome {
        let node = at.0;
        let Turn { datagrams, wants_kernel, committed, timer } =
            self.members[node].turn(self.now, at.1, &mut self.trace)?;
        self.follow_differences(node);
        if committed {
            // The commit waits for peers to answer, and may take over what a node has closed since that does not hear
            // this one.
            self.note_disturbance();
        }
        for Datagram { to, stream, number, bytes } in datagrams {
            self.trace.fold(&bytes);
            self.trace.say(self.now, node, format_args!("stream {stream:?}"));
            self.watch.on_sent(self.now, (node, to), &bytes, &self.trace)?;
            if let Some(key) = self.members[node].sessions[to].key() {
                self.send(node, to, &Packet::Data { key, stream, number, bytes });
            }
        }
        let life = self.members[node].life;
        if wants_kernel {
            let pause = self.rng.below(100_000);
            self.plan(pause, Step::Execute { at, life });
        }
        if let Some(due) = timer {
            self.plan_at(due, Step::Timer { at, life });
        }
        Ok(())
    }

    fn send(&mut self, from: usize, to: usize, packet: &Packet) {
        let passes = self.paths.as_mut().is_none_or(|paths| paths.carry((from, to), packet));
        if self.now < self.cut[from][to] || !passes {
            return;
        }
        for delay in self.unkind.copies(&mut self.rng) {
            self.plan(delay, Step::Arrival { from, to, packet: packet.clone() });
        }
    }

    fn on_arrival(&mut self, from: usize, to: usize, packet: &Packet) -> Outcome {
        if !self.members[to].is_up() {
            return Ok(());
        }
        let now = self.now;
        let session = &mut self.members[to].sessions[from];
        let told = match packet {
            Packet::Ask { serial, incarnation } => {
                session.on_ask(now, to < from, (*serial, *incarnation))
            }
            Packet::Answer { serial, incarnation } => {
                session.on_answer(now, (*serial, *incarnation))
            }
            Packet::Data { key, stream, number, .. } => {
                session.on_data(now, *key, (*stream, *number))
            }
        };
        self.follow(from, to, told, packet)
    }

    /// A node's session with a peer says something.
    fn follow(
        &mut self,
        peer: usize,
        node: usize,
        told: Vec<LinkEvent>,
        packet: &Packet,
    ) -> Outcome {
        let id = peer_of(node, peer);
        for told in told {
            let incarnation = self.members[node].incarnation;
            match (told, packet) {
                (LinkEvent::Send(serial, true), _) => {
                    self.send(node, peer, &Packet::Ask { serial, incarnation });
                }
                (LinkEvent::Send(serial, false), _) => {
                    self.send(node, peer, &Packet::Answer { serial, incarnation });
                }
                (LinkEvent::Up(incarnation), _) => {
                    self.trace.say(self.now, node, format_args!("up: {}", name(peer)));
                    let shards = self.settings.shards(incarnation);
                    self.say(node, Word::Up(id, incarnation, shards))?;
                }
                (LinkEvent::Down, _) => {
                    self.trace.say(self.now, node, format_args!("down: {}", name(peer)));
                    self.say(node, Word::Down(id))?;
                }
                (
                    LinkEvent::Opened(run),
                    Packet::Data { stream: (from, to), number, bytes, .. },
                ) => {
                    let to = usize::from(*to);
                    if self.members[node].knows_run(to, peer, run) {
                        let number = *number;
                        let opened = Input::Opened { peer: id, from: *from, number, bytes };
                        self.input((node, to), opened)?;
                    }
                }
                (LinkEvent::Opened(_), _) => {}
            }
        }
        Ok(())
    }

    /// The host looks at its sessions, and how many flows the kernel holds.
    fn on_tick(&mut self, node: usize) -> Outcome {
        self.plan(TICK, Step::Tick(node));
        if !self.members[node].is_up() {
            return Ok(());
        }
        for peer in (0..self.members.len()).filter(|peer| *peer != node) {
            self.serial += 1;
            let told = self.members[node].sessions[peer].on_time(self.now, self.serial);
            let nothing = Packet::Ask { serial: 0, incarnation: 0 };
            self.follow(peer, node, told, &nothing)?;
        }
        let flows = self.members[node].kernel.flows().len() as u64;
        self.inputs(node, || Input::KernelHealth { flows, events: true })
    }

    fn fault(&mut self) -> Outcome {
        let count = self.members.len() as u64;
        let (one, other) = (self.rng.below(count) as usize, self.rng.below(count) as usize);
        let until = after(self.now, (500 + self.rng.below(9_000)) * MILLISECOND);
        let kind = self.rng.below(10);
        let text = format_args!("fault {kind}: {} {} to {until:?}", name(one), name(other));
        self.trace.say(self.now, one, text);
        match kind {
            0 => self.cut[one][other] = until,
            1 => (self.cut[one][other], self.cut[other][one]) = (until, until),
            2 => {
                for at in 0..self.members.len() {
                    (self.cut[one][at], self.cut[at][one]) = (until, until);
                }
            }
            3 | 4 => self.stop(one, kind == 3),
            5 => self.command(one, Command::CommitAll)?,
            6 if one != other => self.command(one, Command::TakeOver(peer_of(one, other)))?,
            _ => self.some_command(one)?,
        }
        Ok(())
    }

    fn some_command(&mut self, node: usize) -> Outcome {
        let command = match self.rng.below(4) {
            0 => Command::Bulk,
            1 => Command::RequestResync,
            2 => Command::ResyncKernelAll,
            _ => {
                let (local, remote) = (self.rng.chance(500), self.rng.chance(500));
                if local {
                    // Else the table stays empty where the kernel is not, which is what was asked for.
                    self.plan(5 * MILLISECOND, Step::Command(node, Command::ResyncKernelAll));
                }
                Command::Flush { local, remote }
            }
        };
        self.command(node, command)
    }

    fn command(&mut self, node: usize, command: Command) -> Outcome {
        self.trace.say(self.now, node, format_args!("command {command:?}"));
        self.commands += 1;
        self.note_disturbance();
        let id = CommandId(self.commands);
        self.inputs(node, || Input::Command(id, command))
    }

    /// What was closed may live again for other reasons than a mistake: who knew it is gone.
    fn note_disturbance(&mut self) {
        self.connections.iter_mut().for_each(|connection| connection.closed = None);
        self.watch.on_disturbance();
    }

    /// The process ends; later another one begins, over the same kernel or after a reboot.
    fn stop(&mut self, node: usize, reboots: bool) {
        if !self.members[node].is_up() {
            return;
        }
        self.trace.say(self.now, node, format_args!("stops, reboots: {reboots}"));
        self.note_disturbance();
        self.members[node].stop();
        if reboots {
            self.members[node].kernel.reboot();
        }
        let most = *self.rng.pick(&[100, 9_000]);
        let pause = self.rng.below(most * MILLISECOND);
        self.plan(pause, Step::Start(node));
    }

    fn on_start(&mut self, node: usize) -> Outcome {
        self.trace.say(self.now, node, format_args!("starts"));
        let (now, settings) = (self.now, self.settings);
        self.members[node].start(&settings, now);
        (0..self.members[node].shards.len()).try_for_each(|shard| self.turn((node, shard)))
    }
}
