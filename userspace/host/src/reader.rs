//! The thread that reads the event source where several shards share the flows.
//!
//! ```text
//!   rings, socket --> reader --+--> queue --> shard-0
//!                     sorts    +--> queue --> shard-1   each with its own engine and
//!                     by flow  +--> queue --> ...       its own sockets to the kernel
//! ```
//!
//! It waits as a shard does that reads the source itself ([`crate::shard`]); shards wait for their queues. When a
//! queue is full it waits for that shard, and what happens meanwhile waits in the kernel: first in the rings, then in
//! the socket, and what has no room there is counted as lost.

use crate::bounded::Receiver;
use crate::change;
use crate::clock;
use crate::coalesce::Coalescer;
use crate::log::Log;
use crate::orders::{self, Bell, Orders};
use crate::overrun::Overruns;
use crate::router::Router;
use crate::source::queue::{self, SourceKind, SourceStatus, StatusCell};
use crate::source::{Account, Heard, KernelFilter, Source, SourceError, Stamp};
use crate::tuning::Tuning;
use crate::waits::{Ready, Wait, Waits};
use common::Instant;
use crossbeam::channel::TryRecvError;
use engine::{QueueUsage, ShareBy};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::sync::oneshot;

/// The longest sleep, as in a shard.
const SLEEP_MAX: Duration = Duration::from_millis(100);
/// How often the thread looks for losses. A loss that the socket reports is handled at once.
const HOUSEKEEPING: Duration = Duration::from_millis(200);
/// How long it waits for a shard before it looks whether the shard has caught up.
const FULL: Duration = Duration::from_micros(200);

/// Something the main thread wants.
#[derive(Debug)]
pub(crate) enum Order {
    /// Let everything pass in the kernel.
    OpenFilter(oneshot::Sender<Result<(), String>>),
    /// Filter in the kernel.
    SetFilter(Box<KernelFilter>, oneshot::Sender<Result<(), String>>),
    /// Change settings.
    Tune(Tuning),
}

/// The main thread's end.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    orders: Orders<Order>,
    status: Arc<StatusCell>,
}

impl Handle {
    /// Sends an order. If the reader is gone, or too many orders wait, the order's reply channel closes.
    pub(crate) fn order(&self, order: Order) {
        self.orders.send(order);
    }

    /// What the reader published last: some times a second, also while it sleeps.
    pub(crate) fn status(&self) -> SourceStatus {
        self.status.read()
    }

    /// How full the queue of its orders is.
    pub(crate) fn usage(&self) -> QueueUsage {
        self.orders.usage()
    }

    /// Has it end, whatever it waits for.
    pub(crate) fn stop(&self) {
        self.orders.stop();
    }
}

/// Gives a shard that is behind a moment, and counts that; false when it is not worth the wait any more.
fn wait_for_shard(bell: &Bell, waited: &mut u64) -> bool {
    *waited += 1;
    thread::sleep(FULL);
    !bell.is_stopped()
}

/// Reads a source for several shards.
#[derive(Debug)]
pub struct SourceReader {
    source: Source,
    router: Router,
    status: Arc<StatusCell>,
    tuning: Tuning,
    log: Arc<Log>,
    /// Whether the kernel keeps events that the source has no room for.
    reliable: bool,
    orders: Receiver<Order>,
    handle: Handle,
    bell: Bell,
    overruns: Overruns,
    coalescer: Coalescer,
    housekeeping_at: Instant,
    /// Times it waited for a shard.
    waited: u64,
}

impl SourceReader {
    /// A reader of `source`, and the sources of `shards` shards; `by` as in their engines' [`engine::Share`].
    ///
    /// # Errors
    /// As `eventfd(2)`.
    pub fn new(
        source: Source,
        (shards, by): (usize, ShareBy),
        tuning: Tuning,
        reliable: bool,
        log: Arc<Log>,
    ) -> io::Result<(Self, Vec<Source>)> {
        let status = Arc::new(StatusCell::default());
        let (mut feeds, mut sources) = (Vec::new(), Vec::new());
        for _ in 0..shards {
            let (feed, source) = queue::queue(Arc::clone(&status))?;
            feeds.push(feed);
            sources.push(Source::Queue(source));
        }
        let (sender, orders, bell) = orders::orders()?;
        let now = clock::now();
        let overruns = Overruns::of(&source);
        let reader = Self {
            source,
            router: Router::new(feeds, by),
            handle: Handle { orders: sender, status: Arc::clone(&status) },
            status,
            tuning,
            log,
            reliable,
            orders,
            bell,
            overruns,
            coalescer: Coalescer::new(now),
            housekeeping_at: now,
            waited: 0,
        };
        reader.tell();
        Ok((reader, sources))
    }

    /// As [`Source::reserve`].
    pub(crate) fn reserve(&mut self) -> Result<(), SourceError> {
        self.source.reserve()
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs until an order stops it, and hands back the event source, or until that fails.
    ///
    /// # Errors
    /// When the event source or the poller fails for good.
    pub(crate) fn run(mut self) -> io::Result<Source> {
        self.tuning.schedule("reader", &self.log);
        let waits = Waits::new(&self.source, Arc::clone(&self.bell.wake))?;
        let mut ready = Ready::ALL;
        loop {
            let now = clock::now();
            if let Some(since) = ready.overflow_empty {
                self.source.note_overflow_empty(since);
            }
            let (events, taken) = self.read()?;
            if !self.take_orders() {
                return Ok(self.source);
            }
            self.keep_house(now, &waits);
            let streams = self.coalescer.on_turn(now, events) && !self.tuning.coalesce.is_zero();
            ready = if streams || !taken {
                waits.wait(Wait::Coalesce, now, self.coalesce(taken))?
            } else if events >= self.tuning.events_per_turn {
                Ready::ALL
            } else {
                self.source.arm();
                // Records from before the source was armed ring no bell.
                self.source.note_overflow_empty(now);
                match self.read()? {
                    (0, true) => waits.wait(Wait::Sleep, now, SLEEP_MAX)?,
                    _ => Ready::ALL,
                }
            };
        }
    }

    /// How long events coalesce. A shard that is behind is given a moment, whatever events may wait.
    fn coalesce(&self, taken: bool) -> Duration {
        if taken { self.tuning.coalesce } else { self.tuning.coalesce.max(FULL) }
    }

    /// Passes on events; how many, and whether the shards have all that was passed on.
    fn read(&mut self) -> io::Result<(usize, bool)> {
        let Self { source, router, waited, bell, .. } = self;
        let events = source.drain(self.tuning.events_per_turn, &mut |heard, stamp| {
            router.route(heard, stamp, &mut || wait_for_shard(bell, waited));
        })?;
        Ok((events, router.hand_over()))
    }

    /// Carries out waiting orders; false when the thread must end.
    fn take_orders(&mut self) -> bool {
        while !self.bell.is_stopped() {
            match self.orders.try_recv() {
                Ok(order) => self.carry_out(order),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        false
    }

    fn carry_out(&mut self, order: Order) {
        let explained = |e: SourceError| format!("the filter in the kernel: {e}");
        // A receiver that has gone needs no reply.
        match order {
            Order::OpenFilter(reply) => {
                drop(reply.send(self.source.open_filter().map_err(explained)));
            }
            Order::SetFilter(filter, reply) => {
                drop(reply.send(self.source.set_filter(&filter).map_err(explained)));
            }
            Order::Tune(tuning) => {
                let rescheduled = tuning.reschedules(&self.tuning);
                self.tuning = tuning;
                if rescheduled {
                    self.tuning.schedule("reader", &self.log);
                }
            }
        }
    }

    /// Looks for lost events: the socket gets more room; the shards find the loss in the status cell and repair it.
    fn keep_house(&mut self, now: Instant, waits: &Waits) {
        if !self.source.take_overrun() && now < self.housekeeping_at {
            return;
        }
        self.housekeeping_at = now + HOUSEKEEPING;
        self.pass_on_grown(now);
        let Self { overruns, source, tuning, log, reliable, .. } = self;
        if let Some(note) = waits.follow_cpus(source) {
            log.warning(note);
        }
        overruns.look(source, tuning.buffer_max, log);
        overruns.tell(now, source, *reliable, log);
        change::adapt(source, now, log);
        self.tell();
    }

    /// Lets the shards know of flows that have grown old enough since they began.
    fn pass_on_grown(&mut self, now: Instant) {
        let Self { source, router, waited, bell, log, .. } = self;
        let outcome = source.ripe(now, &mut |key| {
            let key = key.to_bytes();
            router.route(Heard::Grown(&key), Stamp::InOrder, &mut || wait_for_shard(bell, waited));
        });
        if let Err(error) = outcome {
            log.warning(format!("flows that grew old enough cannot be read: {error}"));
        }
        router.hand_over();
    }

    fn tell(&self) {
        let Self { source, .. } = self;
        let kind = SourceKind { name: source.name(), hears_requests: source.hears_requests() };
        let account = Account { waits: self.waited, ..source.account() };
        self.status.write(SourceStatus { kind, account, receive_buffer: source.receive_buffer() });
    }
}
