//! One node: engines that speak version 2, its kernel, and the host that stands between them.

use super::links::Session;
use super::words::Word;
use crate::cluster::{Outcome, Violation};
use crate::kernel::{ENOENT, Kernel};
use crate::prng::Rng;
use crate::source::{Source, SourceKind};
use crate::trace::{Trace, brief};
use common::Instant;
use ctnetlink::{Change, Flow, FlowKey};
use engine::config::{Cluster, Config, Owner};
use engine::message_id::PeerId;
use engine::output::Sealed;
use engine::peer::v2::path::{SEAL_LEN, SIZE_MAX};
use engine::peer::v2::session::PeerStanding;
use engine::share::{Share, ShareBy};
use engine::{Engine, Event, Input, Origin, Request, Stamp};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;
use wire::sync::v2::DigestKey;

pub(super) const KEY: DigestKey = DigestKey([9; 16]);
/// The most bytes sealed at once, where no path search runs.
const TEXT_LEN: usize = 1_180;
/// Requests the host hands to the kernel at once.
const BATCH_OPS: usize = 64;
/// More than a turn ever has to send.
const TURN_DATAGRAMS_MAX: usize = 5_000;

/// How the nodes of a world are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) nodes: usize,
    pub(super) flows_max: usize,
    pub(super) source: SourceKind,
    pub(super) clocks_differ: bool,
    /// The nodes that write flows of peers into their kernels at once: of so many one, from this node on.
    pub(super) hot: Option<(usize, usize)>,
    /// Paths carry datagrams of different lengths.
    pub(super) paths_differ: bool,
    /// Each process has up to so many shards.
    pub(super) shards_max: u64,
}

impl Settings {
    /// How many shards the process with this incarnation has. It is drawn with the run, and so each life of a node may
    /// have another number.
    pub(super) const fn shards(&self, incarnation: u64) -> u8 {
        1 + ((incarnation >> 8) % self.shards_max) as u8
    }
}

/// A dump of the kernel's table under way.
#[derive(Debug)]
struct Dump {
    ready: Vec<Flow>,
    cursor: Option<FlowKey>,
}

/// One engine of a node, and what its thread remembers.
pub(super) struct Shard {
    pub(super) engine: Engine,
    pub(super) timer_at: Option<Instant>,
    execute_planned: bool,
    dump: Option<Dump>,
    /// By peer and its shard: the last number that was sealed for it, and for which run of the peer.
    numbers: BTreeMap<(usize, u8), (u64, u64)>,
    /// By peer: which run of it is there, as the words of the first shard say. It seals for no other run, and takes
    /// nothing from one (`host::secure::Branch`).
    runs: BTreeMap<usize, u64>,
    /// When the last word of the first shard arrives here.
    pub(super) word_at: Instant,
}

impl Shard {
    fn new(engine: Engine) -> Self {
        let (numbers, runs) = (BTreeMap::new(), BTreeMap::new());
        Self {
            engine,
            timer_at: None,
            execute_planned: false,
            dump: None,
            numbers,
            runs,
            word_at: Instant(0),
        }
    }
}

/// A node.
pub(super) struct Member {
    pub(super) index: usize,
    /// None: the process does not run.
    pub(super) shards: Vec<Shard>,
    pub(super) kernel: Kernel,
    pub(super) source: Source,
    /// The life of the process.
    pub(super) life: u32,
    pub(super) incarnation: u64,
    /// By node.
    pub(super) sessions: Vec<Session>,
    /// How often it was woken up by its timer.
    pub(super) wakes: u64,
    /// Whether it writes flows of peers into its kernel at once.
    pub(super) is_hot: bool,
    clock: Duration,
    rng: Rng,
    /// The flows of its kernel that the engine has received, by the kernel's ids.
    known: BTreeSet<(FlowKey, u32)>,
    /// Bytes of text that are sealed at most.
    seals: usize,
}

/// What one shard sends to a shard of a peer.
pub(super) struct Datagram {
    pub(super) to: usize,
    /// The sending and the receiving shard.
    pub(super) stream: (u8, u8),
    pub(super) number: u64,
    pub(super) bytes: Vec<u8>,
}

/// What one turn of an engine came to.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) datagrams: Vec<Datagram>,
    pub(super) wants_kernel: bool,
    /// A commit is over.
    pub(super) committed: bool,
    pub(super) timer: Option<Instant>,
}

impl Member {
    pub(super) fn new(index: usize, settings: &Settings, mut rng: Rng, now: Instant) -> Self {
        let mut member = Self {
            index,
            shards: Vec::new(),
            kernel: Kernel::default(),
            source: Source::new(settings.source, rng.fork(), now),
            life: 0,
            incarnation: 0,
            sessions: Vec::new(),
            wakes: 0,
            is_hot: settings.hot.is_some_and(|(first, of)| index % of == first % of),
            clock: Duration::ZERO,
            rng,
            known: BTreeSet::new(),
            seals: if settings.paths_differ { SIZE_MAX - SEAL_LEN } else { TEXT_LEN },
        };
        member.start(settings, now);
        member
    }

    /// A process begins.
    pub(super) fn start(&mut self, settings: &Settings, now: Instant) {
        const YEAR_NS: u64 = 31_536_000_000_000_000;
        let rng = &mut self.rng;
        self.incarnation = rng.next();
        let ahead = if settings.clocks_differ { rng.below(20 * YEAR_NS) } else { 0 };
        self.clock = Duration::from_nanos(ahead);
        let others = (0..settings.nodes).filter(|node| *node != self.index);
        let cluster = Cluster {
            me: Owner(self.index as u8),
            peers: others.map(|node| Owner(node as u8)).collect(),
            rates: vec![None; settings.nodes - 1],
            incarnation: self.incarnation,
            digest_key: KEY,
            hot: self.is_hot,
            remote_max: settings.flows_max,
            // Drawn with the run, so that seeds of earlier days are what they were otherwise.
            settle: Duration::from_millis([0, 0, 30, 300][(self.incarnation % 4) as usize]),
        };
        let count = usize::from(settings.shards(self.incarnation));
        let config = Config {
            flows_max: settings.flows_max.div_ceil(count),
            cluster: Some(Arc::new(cluster)),
            repair_after: Some(Duration::from_micros(*rng.pick(&[0, 500, 30_000]))),
            commit_timeout_s: rng.chance(300).then_some(180),
            hash_seed: rng.next(),
            ..Config::default()
        };
        self.source = Source::new(settings.source, rng.fork(), now);
        let share = |index| match count {
            1 => Share::ALL,
            count => Share { index, count, by: ShareBy::Slices(KEY) },
        };
        let engine = |index| {
            Shard::new(Engine::new(
                Config { share: share(index), ..config.clone() },
                now + self.clock,
            ))
        };
        self.shards = (0..count).map(engine).collect();
        self.sessions = (0..settings.nodes).map(|_| Session::default()).collect();
        // From here on it is unknown which of its flows were written for peers.
        self.kernel.adopt();
        self.known.clear();
        self.life += 1;
    }

    /// The process ends.
    pub(super) fn stop(&mut self) {
        self.shards.clear();
    }

    pub(super) const fn is_up(&self) -> bool {
        !self.shards.is_empty()
    }

    /// What its clock shows.
    pub(super) fn clock(&self, now: Instant) -> Instant {
        now + self.clock
    }

    /// The shard that the flow belongs to.
    pub(super) fn shard_of(&self, key: &FlowKey) -> usize {
        self.shards.first().map_or(0, |shard| shard.engine.config().share.owner(key))
    }

    pub(super) fn handle(&mut self, now: Instant, shard: usize, mut input: Input<'_>) {
        self.note(&input);
        if let Input::Kernel { stamp: Stamp::At(at) | Stamp::After(at), .. } = &mut input {
            *at += self.clock;
        }
        let now = self.clock(now);
        if let Some(shard) = self.shards.get_mut(shard) {
            shard.engine.handle(now, input);
        }
    }

    /// Pulls until the engines have no more.
    pub(super) fn turn(&mut self, now: Instant, from: usize, trace: &mut Trace) -> Outcome<Turn> {
        let clock = self.clock(now);
        let Some(shard) = self.shards.get_mut(from) else { return Ok(Turn::default()) };
        let engine = &mut shard.engine;
        if clock >= engine.poll_timeout() {
            engine.handle(clock, Input::Timeout);
        }
        let mut turn = Turn::default();
        let mut bytes = vec![0; self.seals];
        while let Some(sealed) = engine.poll_sealed(clock, &mut bytes) {
            let Sealed { peer, to, number, len, .. } = sealed;
            if turn.datagrams.len() >= TURN_DATAGRAMS_MAX {
                return Err(Violation::new("I7 limits", "a turn never ends"));
            }
            let (stream, bytes) = ((from as u8, to), bytes[..len].to_vec());
            let to = peer.index() + usize::from(peer.index() >= self.index);
            turn.datagrams.push(Datagram { to, stream, number, bytes });
        }
        turn.wants_kernel = engine.peek_kernel().is_some() && !shard.execute_planned;
        shard.execute_planned |= turn.wants_kernel;
        while let Some(event) = engine.poll_event() {
            if matches!(event, Event::CommitDone { .. }) {
                turn.committed = true;
                trace.say(now, self.index, format_args!("{event:?}"));
            }
        }
        let due = engine.poll_timeout();
        if due <= clock {
            let text =
                format!("nothing is left to do, and it wants to be woken {due:?}: {clock:?}");
            return Err(Violation::new("I9 progress", text));
        }
        let at = Instant(due.0.saturating_sub(self.clock.as_nanos() as u64));
        turn.timer = Some(at).filter(|at| shard.timer_at.is_none_or(|planned| *at < planned));
        shard.timer_at = turn.timer.or(shard.timer_at);
        let knows = |datagram: &Datagram| {
            let run = self.sessions[datagram.to].incarnation();
            from == 0 || run.is_some_and(|run| self.knows_run(from, datagram.to, run))
        };
        turn.datagrams.retain(knows);
        self.check_numbers(from, &turn.datagrams)?;
        Ok(turn)
    }

    /// Whether the engine of a shard knows this run of a peer. That of the first one does before it seals and takes.
    pub(super) fn knows_run(&self, shard: usize, peer: usize, run: u64) -> bool {
        shard == 0 || self.shards.get(shard).is_some_and(|s| s.runs.get(&peer) == Some(&run))
    }

    /// A word reaches a shard but the first.
    pub(super) fn hear(&mut self, shard: usize, word: Word) {
        let index = |peer: PeerId| peer.index() + usize::from(peer.index() >= self.index);
        match word {
            Word::Up(peer, run, _) => self.shards[shard].runs.insert(index(peer), run),
            Word::Down(peer) => self.shards[shard].runs.remove(&index(peer)),
        };
    }

    /// Nothing is sealed twice under one nonce (I6).
    fn check_numbers(&mut self, from: usize, datagrams: &[Datagram]) -> Outcome {
        for Datagram { to, stream, number, .. } in datagrams {
            let Some(run) = self.sessions[*to].incarnation() else { continue };
            let last = self.shards[from].numbers.insert((*to, stream.1), (run, *number));
            if let Some(last) = last.filter(|last| last.0 == run && last.1 >= *number) {
                let text = format!("{number} after {last:?}, for the run {run}");
                return Err(Violation::new("I6 one nonce, one datagram", text));
            }
        }
        Ok(())
    }

    /// Hands one batch to the kernel and its answers to the engine. True when a dump began. Which flows were deleted
    /// that the engine does not know (I5).
    pub(super) fn execute(&mut self, now: Instant, at: usize, trace: &mut Trace) -> Outcome<bool> {
        if let Some(shard) = self.shards.get_mut(at) {
            shard.execute_planned = false;
        }
        for _ in 0..BATCH_OPS {
            let Some(shard) = self.shards.get_mut(at) else { return Ok(false) };
            let Some(op) = shard.engine.poll_kernel() else { return Ok(false) };
            let (token, commit, request) = (op.token, op.commit, op.request.clone());
            let settled = Input::KernelSettled { token };
            match &request {
                Request::Dump => {
                    self.handle(now, at, settled);
                    self.shards[at].dump = Some(Dump { ready: Vec::new(), cursor: None });
                    self.read_ahead(at);
                    return Ok(true);
                }
                Request::DumpExpectations => {
                    self.handle(now, at, Input::ExpectationDumpDone { complete: true });
                }
                Request::Get(key) => {
                    let flow = self.kernel.read(key);
                    let gone = flow.is_none();
                    self.handle(now, at, Input::Verified { key: *key, flow });
                    if gone {
                        self.handle(now, at, Input::KernelFailed { token, errno: ENOENT });
                    }
                }
                _ => {
                    // A commit deletes what is in its way, its own attempt before included.
                    if !commit {
                        self.check_delete(&request)?;
                    }
                    let origin = if commit { Origin::Commit } else { Origin::Inject };
                    let outcome = self.kernel.write(now, &request, origin);
                    let text = format_args!("writes {request:?} for {origin:?}: {outcome:?}");
                    trace.say(now, self.index, text);
                    if let Err(errno) = outcome {
                        self.handle(now, at, Input::KernelFailed { token, errno });
                    }
                }
            }
            self.handle(now, at, settled);
        }
        Ok(false)
    }

    /// No delete hits a flow that began later than the one that is meant (I5).
    fn check_delete(&self, request: &Request) -> Outcome {
        let Request::Delete(key, id) = request else { return Ok(()) };
        let Some(there) = self.kernel.read(key) else { return Ok(()) };
        let told = self.known.contains(&(*key, there.id));
        if told || id.is_some_and(|id| id != there.id) {
            return Ok(());
        }
        let text = format!("{} is deleted, of which nothing was told", brief(&there));
        Err(Violation::new("I5 deletes hit what is meant", text))
    }

    /// Records what the engine receives from its kernel.
    fn note(&mut self, input: &Input<'_>) {
        let flow = match input {
            Input::Kernel { event: Change::New | Change::Update, flow, .. } => flow,
            Input::Dumped(flow) | Input::Verified { flow: Some(flow), .. } => flow,
            _ => return,
        };
        self.known.insert((flow.key(), flow.id));
    }

    /// Reads a piece of the dump. `Some` when it is over: whether it was complete.
    pub(super) fn show_dump(&mut self, now: Instant, at: usize) -> Option<bool> {
        let dump = self.shards.get_mut(at)?.dump.as_mut()?;
        let ready = std::mem::take(&mut dump.ready);
        let torn = self.rng.chance(5);
        if ready.is_empty() || torn {
            self.shards[at].dump = None;
            self.handle(now, at, Input::DumpDone { complete: !torn });
            return Some(!torn);
        }
        for flow in ready {
            self.handle(now, at, Input::Dumped(flow));
        }
        self.read_ahead(at);
        None
    }

    /// The kernel fills the next answer while the last one is read.
    fn read_ahead(&mut self, at: usize) {
        let Some(dump) = self.shards.get_mut(at).and_then(|shard| shard.dump.as_mut()) else {
            return;
        };
        let from = dump.cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let most = 1 + self.rng.below(12) as usize;
        let rest = self.kernel.flows().range((from, Bound::Unbounded));
        dump.ready = rest.take(most).map(|(_, flow)| flow.clone()).collect();
        dump.cursor = dump.ready.last().map(Flow::key).or(dump.cursor);
    }

    /// The owner of each of these flows, as this node sees it, and the print of the flow as its owner sent it.
    pub(super) fn view(&self, keys: &[FlowKey]) -> BTreeMap<FlowKey, (Owner, u64)> {
        keys.iter().filter_map(|key| Some((*key, self.sees(key)?))).collect()
    }

    /// The owner of one flow, as this node sees it, and its print.
    pub(super) fn sees(&self, key: &FlowKey) -> Option<(Owner, u64)> {
        let (owner, flow) = self.shards.get(self.shard_of(key))?.engine.claimed(key)?;
        let canonical = wire::sync::v2::Canonical::of(&flow)?;
        Some((owner, KEY.print(KEY.id(&canonical.key), &canonical)))
    }

    /// How it stands towards each peer, by how its shards do.
    pub(super) fn peer_standings(&self, now: Instant) -> Vec<PeerStanding> {
        let of = |shard: &Shard| shard.engine.peer_standings(self.clock(now)).collect::<Vec<_>>();
        let joined = |all: Vec<PeerStanding>, other: Vec<PeerStanding>| {
            all.into_iter().zip(other).map(|(one, other)| one.join(other)).collect()
        };
        self.shards.iter().map(of).reduce(joined).unwrap_or_default()
    }
}

/// The number by which node `at` knows node `other`.
pub(super) fn peer_of(at: usize, other: usize) -> PeerId {
    PeerId::at(other - usize::from(other > at))
}
