//! The thread that runs one engine.
//!
//! ```text
//!   main thread (control socket, signals)          shard thread
//!        |                                             |
//!        |-- Order --crossbeam channel--> +   +--------v-----------------------------+
//!        |-- eventfd -------------------> |   | source, link, kernel answers, orders |
//!        |                                +-->|    -> engine.handle                  |
//!        |<- Reply --oneshot--------------+   | engine.poll_* -> link, kernel, log   |
//!        |<- Snapshot, whenever wanted ------ | publish: at most four times a second |
//!                                             +--------------------------------------+
//! ```
//!
//! A turn takes a bounded piece of each input, so that no input starves another. While events stream in, the next turn
//! waits a moment without being woken by each of them (`coalesce`); else the thread sleeps until woken.

use crate::affinity::{self, Affinity};
use crate::bounded::Receiver;
use crate::change;
use crate::clock;
use crate::coalesce::Coalescer;
use crate::ended::Ends;
use crate::expectations::ExpectEvents;
use crate::gso::GsoBatch;
use crate::health::{Health, HealthProbe};
use crate::hear::{Ears, Hearing};
use crate::kernel::KernelWriter;
use crate::link::Group;
use crate::log::Log;
use crate::nodes::Nodes;
use crate::observe::Observer;
use crate::orders::{self, Bell, Orders};
use crate::overrun::Overruns;
use crate::prefetch::Hints;
use crate::purge::{PurgeSubject, Purger};
use crate::source::Source;
use crate::tuning::{Change, Tuning};
use crate::waits::{Ready, Waits};
use common::Instant;
use crossbeam::channel::TryRecvError;
use engine::drive::Turn;
use engine::message_id::PeerId;
use engine::{Command, CommandId, Config, Engine, Input, Origin, Side, Stamp};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

mod expect;
mod feed;
mod latency;
mod replies;
mod purges;
mod queries;
mod reconfigure;
mod publish;
mod tally;
mod report;
mod join;
mod state;
mod rest;
mod turn;

pub use engine::peer::v2::compare::Comparison;
pub use feed::Wish;
pub use latency::{LATENCY_BOUNDS_US, Latency};
use publish::Publisher;
use purges::Purges;
use queries::Queries;
pub use queries::{Found, Query, QueryAnswer, Trust, Want};
use replies::{Replies, Reply};
pub use report::{EntryAge, ExpectPage, ExpectPlace, Page, Place, Resend, Snapshot, TableState};
pub use tally::Tally;

/// Datagrams taken from each link in one turn.
const DATAGRAMS_PER_TURN: usize = 256;
/// Batches of kernel requests in one turn.
const BATCHES_PER_TURN: usize = 8;
/// Datagrams sent in one turn before other inputs get theirs.
const TRANSMITS_PER_TURN: usize = 256;
/// Orders carried out in one turn.
const ORDERS_PER_TURN: usize = 16;
/// The longest sleep: bounds what a wake-up lost to a record that was half written when the thread went to sleep costs.
const SLEEP_MAX: Duration = Duration::from_millis(100);
/// Length of a datagram that is packed and dropped.
const DISCARD_LEN: usize = 8192;
/// While events wait, the kernel's table is read on no more often than this, a piece at a time.
const READ_PAUSE: Duration = Duration::from_millis(10);
/// How often the thread looks for losses. A loss that the socket reports is handled at once.
const HOUSEKEEPING: Duration = Duration::from_millis(200);

/// What a shard is made of.
#[derive(Debug)]
pub struct Parts {
    /// The engine's settings.
    pub config: Config,
    /// Where events come from.
    pub source: Source,
    /// Where events about expectations come from, if those are replicated.
    pub expectations: Option<ExpectEvents>,
    /// The links to the peer; without any, what the engine would send is thrown away.
    pub links: Option<Group>,
    /// The peers of version 2.
    pub nodes: Option<Nodes>,
    /// Writes to the kernel.
    pub writer: KernelWriter,
    /// Empties the kernel's tables.
    pub purger: Purger,
    /// Writes the log.
    pub log: Arc<Log>,
    /// What can change while it runs.
    pub tuning: Tuning,
    /// How often the kernel's table is read, instead of listening to events.
    pub poll: Option<Duration>,
    /// Whether the kernel keeps events that the source has no room for.
    pub reliable: bool,
    /// Receives ended flows.
    pub ends: Option<Ends>,
}

/// How a command ended.
pub type CommandOutcome = Result<(), &'static str>;

/// Something the main thread wants.
#[derive(Debug)]
pub enum Order {
    /// Carry out a command; the answer comes when it is done.
    Command(Command, oneshot::Sender<CommandOutcome>),
    /// Compare what is held of a peer of version 2 with what it has, for people.
    Compare(PeerId, oneshot::Sender<Comparison>),
    /// Delete the kernel's entries that the filter does not ignore; the answer comes when it is done.
    Purge(Vec<PurgeSubject>, oneshot::Sender<CommandOutcome>),
    /// Copy out the resend queue, oldest first; `None` where there is none. Only a client that wants to see the
    /// messages asks for that: there may be a hundred thousand.
    Resend(oneshot::Sender<Option<Vec<Resend>>>),
    /// Copy out flows of a table.
    Page {
        /// The table to read.
        side: Side,
        /// The place to begin at.
        from: Place,
        /// Flows at most.
        max: usize,
        /// Where the answer goes.
        reply: oneshot::Sender<Page>,
    },
    /// Copy out expectations of a table.
    Expectations {
        /// The table to read.
        side: Side,
        /// Where to begin.
        from: ExpectPlace,
        /// Where the answer goes.
        reply: oneshot::Sender<ExpectPage>,
    },
    /// Run a filter over the local table, a slice in each turn.
    Query(Query),
    /// Something the feed wants of a table.
    Feed {
        /// Number of the shard.
        shard: usize,
        /// The table to read.
        side: Side,
        /// The command.
        wish: Wish,
    },
    /// The addresses of a peer of version 2 have changed.
    Addresses {
        /// The peer, in the order of the configuration.
        peer: usize,
        /// Preferred first.
        addresses: Vec<SocketAddr>,
    },
    /// Change settings; says what could not be changed.
    Reconfigure(Box<Change>, oneshot::Sender<Result<(), String>>),
    /// Ends the thread.
    Stop,
}

/// The main thread's end.
#[derive(Clone, Debug)]
pub struct Handle {
    orders: Orders<Order>,
    state: publish::Reader<Snapshot>,
}

impl Handle {
    /// The state of things as the shard published it last, with the ages that they have now; `None` once the shard has
    /// ended. Takes none of the shard's time.
    #[must_use]
    pub fn published(&self) -> Option<Snapshot> {
        let newest = self.state.newest();
        let mut snapshot = (!self.state.has_ended()).then(|| newest.value.clone())?;
        snapshot.grow_older(clock::now().since(newest.at));
        Some(snapshot)
    }

    /// Whether the kernel's table has been read once since the start; `None` once the shard has ended.
    #[must_use]
    pub fn is_filled(&self) -> Option<bool> {
        (!self.state.has_ended()).then(|| self.state.newest().value.filled)
    }

    /// When the shard began its last turn. It sleeps for a tenth of a second at most.
    #[must_use]
    pub fn last_turn(&self) -> Instant {
        self.state.beat()
    }

    /// Turns that the shard has begun.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.state.turns()
    }

    /// Sends an order. If the shard is gone, or too many orders wait, the order's reply channel closes.
    pub fn order(&self, order: Order) {
        match order {
            Order::Stop => self.orders.stop(),
            order => {
                self.orders.send(order);
            }
        }
    }
}

/// One engine and everything it acts through.
#[derive(Debug)]
pub struct Shard {
    engine: Engine,
    source: Source,
    expectations: Option<ExpectEvents>,
    links: Option<Group>,
    nodes: Option<Nodes>,
    writer: KernelWriter,
    purges: Purges,
    queries: Queries,
    walks: feed::Walks,
    log: Arc<Log>,
    observer: Observer,
    orders: Receiver<Order>,
    bell: Bell,
    waits: Waits,
    replies: Replies,
    publisher: Publisher<Snapshot>,
    next_command: u64,
    tuning: Tuning,
    poll: Option<Duration>,
    reliable: bool,
    ends: Option<Ends>,
    /// Polling: when the kernel's table is read next.
    resync_at: Option<Instant>,
    overruns: Overruns,
    health: HealthProbe,
    latency: latency::Waits,
    tally: Tally,
    housekeeping_at: Instant,
    /// When the kernel's table is read on although events wait.
    read_at: Instant,
    coalescer: Coalescer,
    hearing: Hearing,
    hints: Hints,
    affinity: Affinity,
    /// How long the first event of this turn had waited.
    waited: Duration,
    began: Instant,
    /// What the engine wants sent and found no room.
    gso: GsoBatch,
    /// How soon sending is tried again.
    link_retry: Duration,
}

impl Shard {
    /// Puts a shard together.
    ///
    /// # Errors
    /// As `epoll_create(2)` and `eventfd(2)`.
    pub fn new(parts: Parts) -> io::Result<(Self, Handle)> {
        let (sender, orders, bell) = orders::orders()?;
        let waits = rest::waits(&parts, Arc::clone(&bell.wake))?;
        let Parts { config, source, expectations, links, nodes, writer, purger, log, .. } = parts;
        let Parts { tuning, poll, reliable, ends, .. } = parts;
        let began = clock::now();
        let engine = Engine::new(config, began);
        let overruns = Overruns::of(&source);
        let (publisher, state) = Publisher::new(began, <[Snapshot; 2]>::default());
        let mut shard = Self {
            engine,
            gso: GsoBatch::new(),
            link_retry: SLEEP_MAX,
            source,
            expectations,
            links,
            nodes,
            writer,
            purges: Purges::new(purger),
            queries: Queries::default(),
            walks: feed::Walks::default(),
            log,
            observer: Observer::default(),
            orders,
            bell,
            waits,
            replies: Replies::default(),
            publisher,
            next_command: 0,
            tuning,
            poll,
            reliable,
            ends,
            resync_at: poll.map(|every| began + every),
            overruns,
            health: HealthProbe::new(began),
            latency: latency::Waits::new(),
            tally: Tally::default(),
            housekeeping_at: began,
            read_at: began,
            coalescer: Coalescer::new(began),
            hearing: Hearing::new(clock::jiffies_per_second()),
            hints: Hints::default(),
            affinity: Affinity::new(),
            waited: Duration::ZERO,
            began,
        };
        shard.publish(began);
        Ok((shard, Handle { orders: sender, state }))
    }

    /// Runs until an order stops it, and hands back the event source, or until that fails.
    ///
    /// # Errors
    /// When the event source or the poller fails for good.
    pub fn run(mut self) -> io::Result<Source> {
        self.tuning.schedule("engine", &self.log);
        let mut ready = Ready::ALL;
        loop {
            let now = clock::now();
            self.publisher.turn(now);
            let events = self.take_events(now, ready)?;
            let datagrams = self.take_datagrams(now, ready);
            let behind = events >= self.tuning.events_per_turn;
            let Some(orders) = self.take_orders(now) else {
                if let Some(nodes) = &mut self.nodes {
                    nodes.leave(&mut self.engine, now);
                }
                return Ok(self.source);
            };
            let queries = self.queries.step(&self.engine, now, &mut self.replies);
            let walked = self.walks.step(&mut self.engine);
            self.keep_house(now);
            let timer = now >= self.timeout();
            let Turn { kernel, sent } = self.drive(now, behind);
            self.engine.hand_over();
            let more = kernel + orders + queries + walked > 0
                || behind
                || datagrams >= DATAGRAMS_PER_TURN
                || sent >= TRANSMITS_PER_TURN
                || self.engine.wants_kernel();
            self.publish_and_reply(now, more || timer || events + datagrams + sent > 0);
            // What a reader hands over has coalesced already.
            let coalesces = !self.tuning.coalesce.is_zero() && !self.source.has_reader();
            let streams = self.coalescer.on_turn(now, events) && coalesces;
            if events > 0 || more {
                let (cpu, waited) = (self.source.heard_on(), self.waited);
                let busy = streams || more;
                self.affinity.on_turn(now, affinity::Turn { cpu, waited, busy });
            }
            ready = match (more, streams) {
                (true, _) => Ready::ALL,
                (false, true) => self.coalesce(now)?,
                (false, false) => self.sleep(now)?,
            };
        }
    }

    /// Takes events about flows and about expectations. Those about expectations are read first and handed in last:
    /// the events of their master flows come before them.
    fn take_events(&mut self, now: Instant, ready: Ready) -> io::Result<usize> {
        if let Some(since) = ready.overflow_empty {
            self.source.note_overflow_empty(since);
        }
        let news = self.read_expect_news()?;
        let flows = self.take_flow_events(now)?;
        Ok(flows + self.take_expect_news(now, news))
    }

    fn take_flow_events(&mut self, now: Instant) -> io::Result<usize> {
        let Self { source, engine, writer, purges, ends, hearing, .. } = self;
        let (latency, waited) = (&mut self.latency, &mut self.waited);
        let mut first = true;
        let origin = |portid| {
            if purges.caused(portid) { Origin::Purge } else { writer.origin(portid) }
        };
        let mut ears = Ears { origin, ends: ends.as_mut() };
        let taken = source.drain(self.tuning.events_per_turn, &mut |heard, stamp| {
            if let (true, Stamp::At(at)) = (std::mem::take(&mut first), stamp) {
                *waited = clock::now().since(at);
                latency.record(*waited);
            }
            hearing.take(engine, now, (heard, stamp), &mut ears);
        });
        hearing.finish(engine, now, &mut ears);
        taken
    }

    fn take_datagrams(&mut self, now: Instant, ready: Ready) -> usize {
        // Connections have timers of their own.
        if !ready.links && now < self.housekeeping_at {
            return 0;
        }
        let Self { links, nodes, engine, hints, .. } = self;
        if let Some(nodes) = nodes {
            return nodes.receive(engine, now, DATAGRAMS_PER_TURN);
        }
        let Some(links) = links else { return 0 };
        links.turn(now, DATAGRAMS_PER_TURN, &mut |from, bytes, elsewhere| {
            hints.take(engine, bytes);
            engine.handle(now, Input::Datagram { from, bytes });
            elsewhere && engine.understood()
        })
    }

    /// Carries out some of the waiting orders; `None` when the shard must end.
    fn take_orders(&mut self, now: Instant) -> Option<usize> {
        let mut taken = 0;
        while taken < ORDERS_PER_TURN && !self.bell.is_stopped() {
            match self.orders.try_recv() {
                Ok(order) => self.carry_out(now, order),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => break,
            }
            taken += 1;
        }
        (!self.bell.is_stopped()).then_some(taken)
    }

    fn carry_out(&mut self, now: Instant, order: Order) {
        // A receiver that has gone needs no reply.
        match order {
            Order::Command(command, reply) => self.command(now, command, Some(Reply::Done(reply))),
            Order::Compare(peer, reply) => {
                self.command(now, Command::Compare(peer), Some(Reply::Found(reply)));
            }
            Order::Purge(subjects, reply) => self.purges.order(subjects, reply),
            Order::Resend(reply) => {
                drop(reply.send(self.engine.outbox().and_then(report::waiting)));
            }
            Order::Page { side, from, max, reply } => {
                let page = report::page(&self.engine, side, from, max, now);
                let goes_on = page.next.is_some_and(|next| next.shard == from.shard);
                self.answer(goes_on, reply, page);
            }
            Order::Expectations { side, from, reply } => {
                let page = self.expect_page(side, from, now);
                let goes_on = page.next.is_some_and(|next| next.shard == from.shard);
                self.answer(goes_on, reply, page);
            }
            Order::Query(query) => self.queries.order(query),
            Order::Feed { side, wish, .. } => self.feed(side, wish),
            Order::Addresses { peer, addresses } => {
                if let Some(nodes) = &mut self.nodes {
                    nodes.set_addresses(now, peer, &addresses);
                }
            }
            Order::Reconfigure(change, reply) => {
                let outcome = self.reconfigure(now, *change);
                self.replies.give(reply, outcome);
            }
            Order::Stop => {}
        }
    }

    /// Answers, once what was done until now has been published; at once if the answer `goes_on`, because the caller
    /// then asks for the rest.
    fn answer<T: Send + 'static>(&mut self, goes_on: bool, reply: oneshot::Sender<T>, answer: T) {
        if goes_on {
            let _ = reply.send(answer);
        } else {
            self.replies.give(reply, answer);
        }
    }

    fn command(&mut self, now: Instant, command: Command, reply: Option<Reply>) {
        let id = CommandId(self.next_command);
        self.next_command += 1;
        if let Some(reply) = reply {
            self.replies.expect(id, reply);
        }
        if matches!(command, Command::Commit | Command::CommitAll | Command::TakeOver(_)) {
            let flows =
                [Side::Remote, Side::Local].map(|side| self.engine.table(side).alive() as u64);
            change::before_commit(&mut self.source, now, flows.into(), &self.log);
            self.pass_source_on(now);
        }
        self.engine.handle(now, Input::Command(id, command));
    }

    /// Passes a change of the event source to the engine.
    fn pass_source_on(&mut self, now: Instant) {
        let hears_requests = self.source.hears_requests();
        if hears_requests != self.engine.config().hears_requests {
            self.engine.handle(now, Input::SourceChanged { hears_requests });
        }
    }

    /// Looks for lost events, and has the kernel's table read again when there were some.
    fn keep_house(&mut self, now: Instant) {
        if !self.source.take_overrun() && now < self.housekeeping_at {
            return;
        }
        self.housekeeping_at = now + HOUSEKEEPING;
        self.take_grown(now);
        let Self { overruns, source, tuning, log, reliable, waits, .. } = self;
        if let Some(note) = waits.follow_cpus(source) {
            log.warning(note);
        }
        let lost = overruns.look(source, tuning.buffer_max, log);
        if lost > 0 && !*reliable {
            self.engine.handle(now, Input::EventsLost { count: lost });
        }
        overruns.log_losses(now, source, *reliable, log);
        if self.engine.commit_progress().is_some() {
            source.hold();
        }
        change::adapt(source, now, log);
        self.pass_source_on(now);
        if let Some(Health { flows, events }) = self.health.look(now) {
            self.engine.handle(now, Input::KernelHealth { flows, events });
        }
        self.observer.follow(&self.log, self.engine.commit_progress(), now);
        if self.resync_at.is_some_and(|at| now >= at) {
            self.resync_at = self.poll.map(|every| now + every);
            self.read_kernel(now);
        }
        self.look_for_drift(now);
    }

    /// Starts a reading of the kernel's table that no client waits for.
    fn read_kernel(&mut self, now: Instant) {
        self.command(now, Command::ResyncKernel, None);
    }
}
