//! The shards as one: what the main thread wants goes to those it concerns, and what they answer becomes one answer.
//!
//! With one shard there is nothing to join: it reads the source itself, and orders go straight to it. Several are fed
//! by a reader ([`crate::reader`]), and every thread of theirs is bound to a CPU, one after the other over those the
//! process may use.

use crate::clock;
use crate::log::Log;
use crate::place;
use crate::reader::{self, SourceReader};
use crate::shard::{self, Comparison, Order, Parts, Shard, Snapshot};
use crate::source::{Source, SourceError};
use crate::tuning::Change;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// What a fleet is made of.
#[derive(Debug)]
pub struct FleetParts {
    /// At least one shard.
    pub shards: Vec<Parts>,
    /// The thread that feeds the shards, if they are several.
    pub reader: Option<SourceReader>,
    /// The threads that process the shards' output. Each ends by itself when the shards have.
    pub consumers: Vec<Consumer>,
}

impl FleetParts {
    /// Makes room for CPUs that come online when this process may make no eBPF maps any more.
    ///
    /// # Errors
    /// As [`Source::reserve`].
    pub fn reserve(&mut self) -> Result<(), SourceError> {
        if let Some(reader) = &mut self.reader {
            reader.reserve()?;
        }
        self.shards.iter_mut().try_for_each(|shard| shard.source.reserve())
    }
}

/// A thread beside the shards.
pub struct Consumer {
    /// What the thread is called.
    pub name: &'static str,
    /// The work of the thread, until all shards are gone.
    pub run: Box<dyn FnOnce() + Send>,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The main thread's end.
#[derive(Clone, Debug)]
pub struct Handle {
    shards: Arc<[shard::Handle]>,
    reader: Option<reader::Handle>,
}

/// Threads that run.
#[derive(Debug)]
pub struct Threads {
    handle: Handle,
    joins: Vec<JoinHandle<Option<Source>>>,
    ended: mpsc::Receiver<Option<io::Result<()>>>,
}

/// What the threads leave behind.
#[derive(Debug)]
pub struct Stopped {
    /// Whether none of its threads panicked.
    pub is_sound: bool,
    /// The kernel's event source: who may not open another one can go on with it.
    pub source: Option<Source>,
}

/// Starts the threads.
///
/// # Errors
/// When a thread cannot be made, or what it waits with.
pub fn start(parts: FleetParts, log: &Arc<Log>) -> io::Result<Threads> {
    let FleetParts { shards: parts, reader, consumers } = parts;
    let mut shards = Vec::new();
    let mut handles = Vec::new();
    for parts in parts {
        let (shard, handle) = Shard::new(parts)?;
        shards.push(shard);
        handles.push(handle);
    }
    let handle =
        Handle { shards: handles.into(), reader: reader.as_ref().map(SourceReader::handle) };
    // Each thread ends once.
    let (sender, ended) = mpsc::channel(shards.len() + 1 + consumers.len());
    let mut threads = Threads { handle, joins: Vec::new(), ended };
    let cpus = if reader.is_some() { place::cpus() } else { Vec::new() };
    let mut cpus = cpus.iter().copied().cycle();
    let mut spawn =
        |name: String, cpu, body: Box<dyn FnOnce() -> io::Result<Option<Source>> + Send>| {
            let (sender, log) = (sender.clone(), Arc::clone(log));
            let body = move || {
                if let Some(cpu) = cpu {
                    pin(cpu, &log);
                }
                // Without a receiver, the daemon is ending anyway.
                let tell = |outcome| drop(sender.try_send(outcome));
                match catch_unwind(AssertUnwindSafe(body)) {
                    Ok(Ok(source)) => {
                        tell(Some(Ok(())));
                        source
                    }
                    Ok(Err(error)) => {
                        tell(Some(Err(error)));
                        None
                    }
                    // The thread that joins this one sees the panic as well.
                    Err(panic) => {
                        tell(None);
                        resume_unwind(panic)
                    }
                }
            };
            thread::Builder::new().name(name).spawn(body).map(|thread| threads.joins.push(thread))
        };
    if let Some(reader) = reader {
        spawn("reader".into(), cpus.next(), Box::new(move || reader.run().map(Some)))?;
    }
    for (index, shard) in shards.into_iter().enumerate() {
        spawn(format!("shard-{index}"), cpus.next(), Box::new(move || shard.run().map(Some)))?;
    }
    for Consumer { name, run } in consumers {
        let body = move || {
            run();
            Ok(None)
        };
        spawn(name.into(), None, Box::new(body))?;
    }
    Ok(threads)
}

impl Threads {
    /// The handle that takes orders for the threads.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Until one of its threads ends, for whatever reason. `None`: it panicked.
    pub async fn ended(&mut self) -> Option<io::Result<()>> {
        self.ended.recv().await.flatten()
    }

    /// Has all threads end, and waits for them.
    #[must_use]
    pub fn stop(self) -> Stopped {
        self.handle.order(Order::Stop);
        let mut stopped = Stopped { is_sound: true, source: None };
        for thread in self.joins {
            match thread.join() {
                Ok(Some(source)) if !source.has_reader() => stopped.source = Some(source),
                Ok(_) => {}
                Err(_) => stopped.is_sound = false,
            }
        }
        stopped
    }
}

impl Handle {
    /// Sends an order. If a shard that it concerns is gone, the order's reply channel closes.
    ///
    /// With several shards, this must be called inside a tokio runtime.
    pub fn order(&self, order: Order) {
        let Some(reader) = &self.reader else { return self.shards[0].order(order) };
        match order {
            Order::Command(command, reply) => {
                let answers = self.ask(|reply| Order::Command(command, reply));
                tokio::spawn(answer(reply, answers, |outcomes| outcomes.into_iter().collect()));
            }
            Order::Reconfigure(change, reply) => {
                tokio::spawn(self.clone().reconfigure(reader.clone(), change, reply));
            }
            Order::Page { from, .. } | Order::Query(shard::Query { from, .. }) => {
                self.order_of(from.shard, order);
            }
            Order::Expectations { from, .. } => self.order_of(from.shard, order),
            Order::Feed { shard, .. } => self.order_of(shard, order),
            Order::Purge(subjects, reply) => {
                let answers = self.ask(|reply| Order::Purge(subjects.clone(), reply));
                tokio::spawn(answer(reply, answers, |outcomes| outcomes.into_iter().collect()));
            }
            Order::Compare(peer, reply) => {
                let answers = self.ask(|reply| Order::Compare(peer, reply));
                tokio::spawn(answer(reply, answers, joined));
            }
            // The first shard makes the handshakes.
            Order::Resend(_) | Order::Addresses { .. } => self.order_of(0, order),
            Order::Stop => {
                reader.stop();
                self.shards.iter().for_each(|shard| shard.order(Order::Stop));
            }
        }
    }

    /// Sends an order to one shard; without such a shard, the order's reply channel closes.
    fn order_of(&self, shard: usize, order: Order) {
        if let Some(shard) = self.shards.get(shard) {
            shard.order(order);
        }
    }

    /// The state that the shards and their reader published last, with present ages; `None` once a shard has ended.
    /// Costs their threads no time: at most 250 ms old under load, current while they sleep.
    #[must_use]
    pub fn published(&self) -> Option<Snapshot> {
        let mut all = self.shards.iter().map(shard::Handle::published);
        let mut joined = all.next()??;
        for one in all {
            joined.join(&one?);
        }
        if let Some(reader) = &self.reader {
            let status = reader.status();
            (joined.account, joined.source) = (status.account, status.kind.name);
            joined.receive_buffer = status.receive_buffer;
            joined.queues.push(("reader_orders", reader.usage()));
        }
        Some(joined)
    }

    /// Whether all shards have read the kernel's table once since the start; `None` once one has ended.
    #[must_use]
    pub fn is_filled(&self) -> Option<bool> {
        self.shards.iter().try_fold(true, |all, shard| Some(shard.is_filled()? && all))
    }

    /// Whether each shard has begun a turn within so much time: one that has nothing to do takes ten in a second.
    #[must_use]
    pub fn is_turning(&self, within: Duration) -> bool {
        let now = clock::now();
        self.shards.iter().all(|shard| now.since(shard.last_turn()) <= within)
    }

    /// Turns that the shards have begun.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.shards.iter().map(shard::Handle::turns).sum()
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    fn ask<T>(&self, order: impl Fn(oneshot::Sender<T>) -> Order) -> Vec<oneshot::Receiver<T>> {
        let ask = |shard: &shard::Handle| {
            let (reply, answer) = oneshot::channel();
            shard.order(order(reply));
            answer
        };
        self.shards.iter().map(ask).collect()
    }

    /// While the filter changes, the kernel lets everything pass, until the last shard decides by the new one.
    async fn reconfigure(
        self,
        reader: reader::Handle,
        change: Box<Change>,
        reply: oneshot::Sender<Result<(), String>>,
    ) {
        reader.order(reader::Order::Tune(change.tuning));
        let in_kernel = change.filter.as_ref().map(|(_, in_kernel)| in_kernel.clone());
        let mut outcomes = Vec::new();
        if in_kernel.is_some() {
            let (reply, opened) = oneshot::channel();
            reader.order(reader::Order::OpenFilter(reply));
            let Ok(opened) = opened.await else { return };
            outcomes.push(opened);
        }
        for answer in self.ask(|reply| Order::Reconfigure(change.clone(), reply)) {
            let Ok(outcome) = answer.await else { return };
            outcomes.push(outcome);
        }
        if let Some(filter) = in_kernel {
            let (reply, set) = oneshot::channel();
            reader.order(reader::Order::SetFilter(Box::new(filter), reply));
            let Ok(set) = set.await else { return };
            outcomes.push(set);
        }
        // A receiver that has gone needs no reply.
        let _ = reply.send(outcomes.into_iter().collect());
    }
}

/// What all shards found of the flows of a peer.
fn joined(found: Vec<Comparison>) -> Comparison {
    let mut all = found.into_iter();
    let mut first = all.next().unwrap_or(Err("there are no shards"))?;
    for one in all {
        first.join(*one?);
    }
    Ok(first)
}

/// Answers when all have answered; not at all when one of them never will.
async fn answer<T, U>(
    reply: oneshot::Sender<U>,
    answers: Vec<oneshot::Receiver<T>>,
    join: impl FnOnce(Vec<T>) -> U,
) {
    let mut all = Vec::new();
    for answer in answers {
        let Ok(answer) = answer.await else { return };
        all.push(answer);
    }
    // A receiver that has gone needs no reply.
    let _ = reply.send(join(all));
}

/// Binds the calling thread to a CPU.
fn pin(cpu: usize, log: &Log) {
    if let Err(error) = place::bind(&[cpu]) {
        log.warning(format!("cannot bind a thread to CPU {cpu}: {error}"));
    }
}
