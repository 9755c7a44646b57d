//! One node: an engine that speaks version 2, its kernel, and the host that stands between them.

use super::links::Session;
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
    /// Which nodes write flows of peers into their kernels at once: of so many one, from this node on.
    pub(super) hot: Option<(usize, usize)>,
    /// Paths carry datagrams of different lengths.
    pub(super) paths_differ: bool,
}

/// A dump of the kernel's table under way.
#[derive(Debug)]
struct Dump {
    ready: Vec<Flow>,
    cursor: Option<FlowKey>,
}

/// A node.
pub(super) struct Member {
    pub(super) index: usize,
    /// `None`: the process does not run.
    pub(super) engine: Option<Engine>,
    pub(super) kernel: Kernel,
    pub(super) source: Source,
    /// Which life of the process.
    pub(super) life: u32,
    pub(super) incarnation: u64,
    /// By node.
    pub(super) sessions: Vec<Session>,
    pub(super) timer_at: Option<Instant>,
    pub(super) execute_planned: bool,
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
    dump: Option<Dump>,
    /// The last number that was sealed for each peer, and for which run of it.
    numbers: Vec<(u64, Option<u64>)>,
}

/// What one turn of the engine came to.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) datagrams: Vec<(usize, u64, Vec<u8>)>,
    pub(super) wants_kernel: bool,
    /// A commit is over.
    pub(super) committed: bool,
    pub(super) timer: Option<Instant>,
}

impl Member {
    pub(super) fn new(index: usize, settings: &Settings, mut rng: Rng, now: Instant) -> Self {
        let mut member = Self {
            index,
            engine: None,
            kernel: Kernel::default(),
            source: Source::new(settings.source, rng.fork(), now),
            life: 0,
            incarnation: 0,
            sessions: Vec::new(),
            timer_at: None,
            execute_planned: false,
            wakes: 0,
            is_hot: settings.hot.is_some_and(|(first, of)| index % of == first % of),
            clock: Duration::ZERO,
            rng,
            known: BTreeSet::new(),
            seals: if settings.paths_differ { SIZE_MAX - SEAL_LEN } else { TEXT_LEN },
            dump: None,
            numbers: Vec::new(),
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
        let config = Config {
            flows_max: settings.flows_max,
            cluster: Some(Arc::new(cluster)),
            repair_after: Some(Duration::from_micros(*rng.pick(&[0, 500, 30_000]))),
            commit_timeout_s: rng.chance(300).then_some(180),
            hash_seed: rng.next(),
            ..Config::default()
        };
        self.source = Source::new(settings.source, rng.fork(), now);
        self.engine = Some(Engine::new(config, now + self.clock));
        self.sessions = (0..settings.nodes).map(|_| Session::default()).collect();
        self.numbers = vec![(0, None); settings.nodes];
        (self.timer_at, self.execute_planned, self.dump) = (None, false, None);
        // Which of its flows were written for peers is unknown from here on.
        self.kernel.adopt();
        self.known.clear();
        self.life += 1;
    }

    /// The process ends.
    pub(super) fn stop(&mut self) {
        self.engine = None;
    }

    pub(super) const fn is_up(&self) -> bool {
        self.engine.is_some()
    }

    /// What its clock shows.
    pub(super) fn clock(&self, now: Instant) -> Instant {
        now + self.clock
    }

    pub(super) fn handle(&mut self, now: Instant, mut input: Input<'_>) {
        self.note(&input);
        if let Input::Kernel { stamp: Stamp::At(at) | Stamp::After(at), .. } = &mut input {
            *at += self.clock;
        }
        let now = self.clock(now);
        if let Some(engine) = &mut self.engine {
            engine.handle(now, input);
        }
    }

    /// Pulls until there is no more.
    pub(super) fn turn(&mut self, now: Instant, trace: &mut Trace) -> Outcome<Turn> {
        let clock = self.clock(now);
        let Some(engine) = &mut self.engine else { return Ok(Turn::default()) };
        if clock >= engine.poll_timeout() {
            engine.handle(clock, Input::Timeout);
        }
        let mut turn = Turn::default();
        let mut bytes = vec![0; self.seals];
        while let Some(Sealed { peer, number, len, .. }) = engine.poll_sealed(clock, &mut bytes) {
            let to = peer.index() + usize::from(peer.index() >= self.index);
            if turn.datagrams.len() >= TURN_DATAGRAMS_MAX {
                return Err(Violation::new("I7 limits", "a turn never ends"));
            }
            turn.datagrams.push((to, number, bytes[..len].to_vec()));
        }
        turn.wants_kernel = engine.peek_kernel().is_some() && !self.execute_planned;
        self.execute_planned |= turn.wants_kernel;
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
        self.check_numbers(&turn.datagrams)?;
        let at = Instant(due.0.saturating_sub(self.clock.as_nanos() as u64));
        turn.timer = Some(at).filter(|at| self.timer_at.is_none_or(|planned| *at < planned));
        self.timer_at = turn.timer.or(self.timer_at);
        Ok(turn)
    }

    /// Nothing is sealed twice under one nonce (I6).
    fn check_numbers(&mut self, datagrams: &[(usize, u64, Vec<u8>)]) -> Outcome {
        for (to, number, _) in datagrams {
            let Some(key) = self.sessions[*to].incarnation() else { continue };
            let (run, last) = &mut self.numbers[*to];
            let before = last.filter(|_| *run == key);
            if before.is_some_and(|before| before >= *number) {
                let text = format!("{number} after {before:?}, for the run {key}");
                return Err(Violation::new("I6 one nonce, one datagram", text));
            }
            (*run, *last) = (key, Some(*number));
        }
        Ok(())
    }

    /// Hands one batch to the kernel and its answers to the engine. True when a dump began. Which flows were deleted
    /// that the engine does not know (I5).
    pub(super) fn execute(&mut self, now: Instant, trace: &mut Trace) -> Outcome<bool> {
        self.execute_planned = false;
        for _ in 0..BATCH_OPS {
            let Some(engine) = &mut self.engine else { return Ok(false) };
            let Some(op) = engine.poll_kernel() else { return Ok(false) };
            let (token, commit, request) = (op.token, op.commit, op.request.clone());
            let settled = Input::KernelSettled { token };
            match &request {
                Request::Dump => {
                    self.handle(now, settled);
                    self.dump = Some(Dump { ready: Vec::new(), cursor: None });
                    self.read_ahead();
                    return Ok(true);
                }
                Request::DumpExpectations => {
                    self.handle(now, Input::ExpectationDumpDone { complete: true });
                }
                Request::Get(key) => {
                    let flow = self.kernel.read(key);
                    let gone = flow.is_none();
                    self.handle(now, Input::Verified { key: *key, flow });
                    if gone {
                        self.handle(now, Input::KernelFailed { token, errno: ENOENT });
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
                        self.handle(now, Input::KernelFailed { token, errno });
                    }
                }
            }
            self.handle(now, settled);
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
    pub(super) fn show_dump(&mut self, now: Instant) -> Option<bool> {
        let dump = self.dump.as_mut()?;
        let ready = std::mem::take(&mut dump.ready);
        let torn = self.rng.chance(5);
        if ready.is_empty() || torn {
            self.dump = None;
            self.handle(now, Input::DumpDone { complete: !torn });
            return Some(!torn);
        }
        for flow in ready {
            self.handle(now, Input::Dumped(flow));
        }
        self.read_ahead();
        None
    }

    /// The kernel fills the next answer while the last one is read.
    fn read_ahead(&mut self) {
        let Some(dump) = &mut self.dump else { return };
        let from = dump.cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let most = 1 + self.rng.below(12) as usize;
        let rest = self.kernel.flows().range((from, Bound::Unbounded));
        dump.ready = rest.take(most).map(|(_, flow)| flow.clone()).collect();
        dump.cursor = dump.ready.last().map(Flow::key).or(dump.cursor);
    }

    /// Whose each of these flows is, as this node sees it, and the print of what its owner tells.
    pub(super) fn view(&self, keys: &[FlowKey]) -> BTreeMap<FlowKey, (Owner, u64)> {
        keys.iter().filter_map(|key| Some((*key, self.sees(key)?))).collect()
    }

    /// The same of one flow.
    pub(super) fn sees(&self, key: &FlowKey) -> Option<(Owner, u64)> {
        let (owner, flow) = self.engine.as_ref()?.claimed(key)?;
        let canonical = wire::sync::v2::Canonical::of(&flow)?;
        Some((owner, KEY.print(KEY.id(&canonical.key), &canonical)))
    }
}

/// Which peer of node `at` node `other` is.
pub(super) fn peer_of(at: usize, other: usize) -> PeerId {
    PeerId::at(other - usize::from(other > at))
}
