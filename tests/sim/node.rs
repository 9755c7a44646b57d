//! One node: an engine, its kernel, and the host that carries messages between them.

use crate::cluster::{Outcome, Violation};
use crate::kernel::{ENOENT, Happened, Kernel};
use crate::mirror::Mirrors;
use crate::prng::Rng;
use crate::profile::{Profile, ignore_v4_destination};
use crate::source::Source;
use crate::speaker::Speaker;
use crate::trace::{Trace, brief};
use common::Instant;
use ctnetlink::{Change, Flow, FlowKey};
use engine::config::limit;
use engine::drive::{Driven as _, Io, drive};
use engine::{CommandId, Config, Event, Input, KernelOp, Origin, Request, Side};
use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::Duration;

/// Requests the host hands to the kernel at once.
const BATCH_OPS: usize = 64;

/// A dump of the kernel's table under way.
#[derive(Debug)]
struct Dump {
    /// Flows the kernel has put into its answer, still unread.
    ready: Vec<Flow>,
    /// The last flow that was looked at.
    cursor: Option<FlowKey>,
}

/// A node.
pub(crate) struct Node {
    pub(crate) engine: Speaker,
    pub(crate) kernel: Kernel,
    pub(crate) source: Source,
    /// Whether the process runs.
    pub(crate) up: bool,
    pub(crate) timer_at: Option<Instant>,
    pub(crate) execute_planned: bool,
    /// The engine's events, in this life.
    pub(crate) events: Vec<Event>,
    /// Flows a commit made local; the peer did not receive them.
    pub(crate) committed: BTreeSet<FlowKey>,
    /// An operator made it forget its own flows, and they have not been read since.
    pub(crate) flushed: bool,
    /// An operator made it forget the peers' flows: what it wrote for them is its own from then on.
    pub(crate) took_over: bool,
    /// Flows that traffic changed without an event to the node.
    unseen: BTreeSet<FlowKey>,
    pub(crate) index: usize,
    /// How much its clock is ahead of the simulation's.
    clock: Duration,
    rng: Rng,
    dump: Option<Dump>,
    open_commands: BTreeSet<CommandId>,
    losing: u32,
    datagram: Vec<u8>,
    filtered: bool,
    mirrors: Option<Mirrors>,
}

/// What one turn of the engine came to.
pub(crate) struct Turn {
    pub(crate) datagrams: Vec<Vec<u8>>,
    pub(crate) wants_kernel: bool,
    /// A time to wake it up that is not planned yet.
    pub(crate) timer: Option<Instant>,
}

impl Node {
    pub(crate) fn new(
        profile: &Profile,
        index: usize,
        kernel: Kernel,
        mut rng: Rng,
        now: Instant,
    ) -> Self {
        let plain = profile.keep_remote == [true; 2] && profile.original.is_none();
        let filtered = plain && rng.chance(150);
        let mut config = configure(profile, index, filtered, &mut rng);
        config.earlier_life = false;
        let source = Source::new(profile.source(index, &mut rng), rng.fork(), now);
        let datagram = vec![0; *rng.pick(&[1472, 1472, 548])];
        let clock = profile.clock(&mut rng);
        Self {
            engine: Speaker::new(profile.original == Some(index), config, now, clock),
            clock,
            kernel,
            source,
            up: true,
            timer_at: None,
            execute_planned: false,
            events: Vec::new(),
            committed: BTreeSet::new(),
            flushed: false,
            took_over: false,
            unseen: BTreeSet::new(),
            index,
            rng,
            dump: None,
            open_commands: BTreeSet::new(),
            losing: 0,
            datagram,
            filtered,
            mirrors: None,
        }
    }

    /// Lets mirrors listen to the engine, and to those of all its later lives, from its first moment on.
    pub(crate) fn mirrored(mut self) -> Self {
        self.mirrors = Some(Mirrors::of(&mut self.engine, self.index));
        self
    }

    /// Another life of the process.
    pub(crate) fn start(&mut self, profile: &Profile, now: Instant, first_seq: u32) {
        let mut config = configure(profile, self.index, self.filtered, &mut self.rng);
        config.first_seq = first_seq;
        self.source = Source::new(profile.source(self.index, &mut self.rng), self.rng.fork(), now);
        self.engine = Speaker::new(profile.original == Some(self.index), config, now, self.clock);
        if let Some(mirrors) = &mut self.mirrors {
            *mirrors = Mirrors::of(&mut self.engine, self.index);
        }
        self.up = true;
        self.timer_at = None;
        self.execute_planned = false;
        self.events.clear();
        self.committed.clear();
        self.flushed = false;
        self.losing = 0;
        self.dump = None;
        self.open_commands.clear();
    }

    /// Whether the event that comes now is one of a run that the kernel had no room for.
    pub(crate) fn loses_event(&mut self) -> bool {
        // What the first dump shows is not sent, so a loss before it is over would need a bulk transfer.
        let filled = self.events.iter().any(|e| matches!(e, Event::KernelResynced { .. }));
        if self.losing == 0 && filled && self.rng.chance(20) {
            self.losing = 1 + self.rng.below(6) as u32;
        }
        let loses = self.losing > 0;
        self.losing = self.losing.saturating_sub(1);
        loses
    }

    pub(crate) fn on_command(&mut self, id: CommandId) {
        self.open_commands.insert(id);
    }

    /// Traffic changes a flow, and the node gets no event.
    pub(crate) fn on_unseen(&mut self, happened: &Happened) {
        if happened.origin == Origin::Foreign {
            self.unseen.insert(happened.flow.key());
        }
    }

    /// Whether traffic of this node's may use a flow of a peer's unseen (`limits.rs`, "unseen traffic").
    pub(crate) fn may_use_unseen(&self, key: &FlowKey) -> bool {
        !self.keeps(Side::Remote) && self.unseen.contains(key)
    }

    /// Traffic changes a flow, and the node will get an event.
    pub(crate) fn on_seen(&mut self, happened: &Happened) {
        if happened.origin == Origin::Foreign {
            self.unseen.remove(&happened.flow.key());
        }
    }

    /// Takes note of what the kernel reports, on its way to the engine.
    pub(crate) fn on_happened(&mut self, happened: &Happened) {
        if (happened.event, happened.origin) == (Change::New, Origin::Commit) {
            self.committed.insert(happened.flow.key());
        }
    }

    /// Whether it keeps a table of its own flows, or of its peers'.
    pub(crate) fn keeps(&self, side: Side) -> bool {
        let replication = self.engine.config().replication;
        match side {
            Side::Local => replication.keep_local,
            Side::Remote => replication.keep_remote,
        }
    }

    /// Commands without an answer yet.
    pub(crate) const fn open_commands(&self) -> &BTreeSet<CommandId> {
        &self.open_commands
    }

    /// Pulls until the engine has no more.
    pub(crate) fn turn(&mut self, now: Instant, trace: &mut Trace) -> Outcome<Turn> {
        let Self { engine, datagram, execute_planned, .. } = self;
        let mut pulls = Pulls {
            datagram,
            datagrams: Vec::new(),
            execute_planned,
            wants_kernel: false,
            events: Vec::new(),
        };
        drive(engine, now, &mut pulls)?;
        let Pulls { datagrams, wants_kernel, events, .. } = pulls;
        for event in events {
            self.on_engine_event(now, event, trace)?;
        }
        self.check_bounds()?;
        if let Some(mirrors) = &mut self.mirrors {
            mirrors.check(&mut self.engine)?;
        }
        let timeout = self.engine.poll_timeout();
        if timeout <= now {
            let text = format!(
                "nothing is left to do at {}, and it wants to be woken at {}",
                now.0, timeout.0
            );
            return Err(Violation::new("(f) progress", text));
        }
        let timer = Some(timeout).filter(|at| self.timer_at.is_none_or(|planned| at < &planned));
        self.timer_at = timer.or(self.timer_at);
        Ok(Turn { datagrams, wants_kernel, timer })
    }

    fn on_engine_event(&mut self, now: Instant, event: Event, trace: &mut Trace) -> Outcome {
        trace.say(now, self.index, format_args!("says {event:?}"));
        if let Event::CommandDone(id) | Event::CommandRefused(id, _) = &event
            && !self.open_commands.remove(id)
        {
            return Err(Violation::new("(f) commands", format!("{event:?} answers nothing")));
        }
        self.flushed &= !matches!(event, Event::KernelResynced { .. });
        if matches!(event, Event::BulkDone { .. }) {
            let told: BTreeSet<_> = self.engine.flows(Side::Local).iter().map(Flow::key).collect();
            self.committed.retain(|key| !told.contains(key));
        }
        self.events.push(event);
        Ok(())
    }

    fn check_bounds(&self) -> Outcome {
        let most = self.engine.config().flows_max;
        let Some(engine) = self.engine.ours() else { return Ok(()) };
        for side in [Side::Local, Side::Remote] {
            let len = engine.table(side).len();
            if len > most {
                let text = format!("{side:?} holds {len} of {most}");
                return Err(Violation::new("(f) limits", text));
            }
        }
        if let Some(kept) = engine.outbox().and_then(engine::peer::v1::Outbox::resend)
            && kept.len() > kept.max() + limit::RESEND_CONTROLS_MAX
        {
            let text = format!("{} messages kept of {}", kept.len(), kept.max());
            return Err(Violation::new("(f) limits", text));
        }
        if engine.outbox_len() != 0 {
            return Err(Violation::new("(f) progress", "something to send was not sent"));
        }
        Ok(())
    }

    /// Hands one batch to the kernel and its answers to the engine. True when a dump began.
    pub(crate) fn execute(&mut self, now: Instant, trace: &mut Trace) -> bool {
        let Some(first) = self.engine.peek_kernel() else { return false };
        let (token, commit) = (first.token, first.commit);
        if *first.request == Request::Dump {
            let _ = self.engine.poll_kernel();
            self.engine.handle(now, Input::KernelSettled { token });
            self.dump = Some(Dump { ready: Vec::new(), cursor: None });
            self.read_ahead();
            return true;
        }
        let belongs = |op: KernelOp<'_>| op.commit == commit && *op.request != Request::Dump;
        let mut ops = Vec::new();
        while ops.len() < BATCH_OPS && self.engine.peek_kernel().is_some_and(belongs) {
            ops.extend(self.engine.poll_kernel().map(|op| (op.token, op.request.clone())));
        }
        let last = ops[ops.len() - 1].0;
        let answers = ops.iter().map(|(token, request)| {
            let op = KernelOp { token: *token, commit, request };
            self.answer(now, op, trace)
        });
        let answers: Vec<_> = answers.collect();
        answers.into_iter().flatten().for_each(|input| self.engine.handle(now, input));
        self.engine.handle(now, Input::KernelSettled { token: last });
        false
    }

    /// What the kernel makes of one request.
    fn answer(&mut self, now: Instant, op: KernelOp<'_>, trace: &mut Trace) -> Vec<Input<'static>> {
        let KernelOp { token, commit, request } = op;
        let origin = if commit { Origin::Commit } else { Origin::Inject };
        trace.fold_word(u64::from(token));
        if let Request::Get(key) = request {
            let flow = self.kernel.read(key);
            let found = flow.as_ref().map_or_else(|| "nothing".to_owned(), brief);
            trace.say(now, self.index, format_args!("reads {key:?}: {found}"));
            let failed = flow.is_none().then_some(Input::KernelFailed { token, errno: ENOENT });
            return [Input::Verified { key: *key, flow }].into_iter().chain(failed).collect();
        }
        let outcome = self.kernel.write(now, request, origin);
        trace.say(now, self.index, format_args!("writes {request:?} for {origin:?}: {outcome:?}"));
        // With or without an event.
        if let (true, Request::Create(flow), Ok(())) = (commit, request, &outcome) {
            self.committed.insert(flow.key());
        }
        let failed = outcome.err().map(|errno| Input::KernelFailed { token, errno });
        failed.into_iter().collect()
    }

    /// Reads a piece of the dump. `Some` when it is over: whether it was complete.
    pub(crate) fn show_dump(&mut self, now: Instant, trace: &mut Trace) -> Option<bool> {
        let dump = self.dump.as_mut()?;
        let ready = std::mem::take(&mut dump.ready);
        let torn = self.rng.chance(5);
        if ready.is_empty() || torn {
            self.dump = None;
            trace.say(now, self.index, format_args!("dump over, complete: {}", !torn));
            self.engine.handle(now, Input::DumpDone { complete: !torn });
            return Some(!torn);
        }
        for flow in ready {
            trace.say(now, self.index, format_args!("dump shows {}", brief(&flow)));
            self.engine.handle(now, Input::Dumped(flow));
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

    /// How long the next piece of a dump takes.
    pub(crate) const fn dump_pause(&mut self) -> u64 {
        1 + self.rng.below(2_000_000)
    }
}

fn configure(profile: &Profile, index: usize, filtered: bool, rng: &mut Rng) -> Config {
    let mut config = profile.config(index, rng);
    if filtered {
        ignore_v4_destination(&mut config);
    }
    config
}

/// What a turn pulls out of an engine. The kernel answers later.
struct Pulls<'a> {
    datagram: &'a mut [u8],
    datagrams: Vec<Vec<u8>>,
    execute_planned: &'a mut bool,
    wants_kernel: bool,
    events: Vec<Event>,
}

impl Io<Speaker> for Pulls<'_> {
    type Error = Violation;

    fn kernel(&mut self, engine: &mut Speaker, _: Instant) -> Outcome<usize> {
        self.wants_kernel = engine.peek_kernel().is_some() && !*self.execute_planned;
        *self.execute_planned |= self.wants_kernel;
        Ok(0)
    }

    fn transmit(&mut self, engine: &mut Speaker, now: Instant) -> Outcome<usize> {
        while let Some(len) = engine.poll_transmit(now, self.datagram) {
            if len == 0 || len > self.datagram.len() {
                let text = format!("a datagram of {len} bytes in room for {}", self.datagram.len());
                return Err(Violation::new("(f) datagrams", text));
            }
            self.datagrams.push(self.datagram[..len].to_vec());
        }
        Ok(self.datagrams.len())
    }

    fn tell(&mut self, engine: &mut Speaker, _: Instant) -> Outcome {
        self.events.extend(std::iter::from_fn(|| engine.poll_event()));
        Ok(())
    }
}
