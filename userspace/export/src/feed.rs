//! The feed: every change of the flow tables, to any number of readers (`docs/spec/feed.md`).
//!
//! ```text
//!   shards --lanes--> Hub --Channel: filter, encode once--> chunks --> Queue --> client
//!                      ^                                        '----> Queue --> client
//!                      '-- requests <---------------------------------------------'
//! ```
//!
//! One thread with a runtime of its own does all of it. A shard writes records into a lane and never waits. Clients
//! that want the same share a channel: a record is filtered and encoded once for all of them. A client that reads too
//! slowly loses whole chunks, receives an exact account of them, and can take a new snapshot; other clients are
//! unaffected.

mod lanes;
mod queue;
mod request;
mod lines;
mod channel;
mod client;
mod subscriber;
mod hub;

use crate::failures;
use ctnetlink::{Flow, FlowKey};
use engine::message_id::PeerId;
use engine::query::Program;
use host::feed::Socket;
use host::fleet::Handle;
use host::log::Log;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::{self, JoinHandle};
use tokio::sync::{RwLock, mpsc};
use wire::feed::{KINDS, Record};

use request::parse as parse_request;

/// Whether a line of a client is understood, for who throws any bytes at it.
///
/// # Errors
/// The code and the text of the error that the client gets.
pub fn understood(line: &[u8]) -> Result<(), (&'static str, String)> {
    parse_request(line).map(drop)
}

/// The limits of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Most clients at once.
    pub clients_max: usize,
    /// Most bytes that wait for one client.
    pub queue_bytes: usize,
    /// Most bytes that wait for all clients together.
    pub memory_max: usize,
    /// The version of the daemon, as the greeting says it.
    pub version: &'static str,
    /// The network namespace of the flows, device and inode, as the greeting says it.
    pub namespace: Option<(u64, u64)>,
}

impl Settings {
    /// Most bytes that wait for each of so many clients.
    const fn share(&self, clients: usize) -> usize {
        let share = self.memory_max / if clients == 0 { 1 } else { clients };
        if share < self.queue_bytes { share } else { self.queue_bytes }
    }
}

/// A question that the feed's socket answers beside subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// How the daemon is: the object of `docs/spec/status.md`.
    Status,
    /// Whether it is ready, as `ctflow ready`.
    Ready,
}

/// An answer that is on its way.
pub type AnswerFuture<'a> = Pin<Box<dyn Future<Output = String> + Send + 'a>>;

/// What the feed has to know of the language of filters and of how flows are printed.
pub trait Product: Send + Sync + 'static {
    /// Compiles a filter in normal form.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    fn compile(&self, filter: &str) -> Result<Program, String>;

    /// Appends a record about a flow, or a failure, as a line of JSON.
    fn line(&self, out: &mut Vec<u8>, record: &Record<'_>, flow: &Flow, shard: u16);

    /// Answers a question.
    fn answer(&self, question: Question) -> AnswerFuture<'_>;

    /// The identity of a flow that a client sent as JSON; `None` if that is no flow.
    fn identity(&self, flow: &str) -> Option<FlowKey>;

    /// A flow of a table as a JSON object.
    fn object(&self, flow: &Flow) -> String;

    /// The name of a peer of version 2.
    fn peer(&self, peer: PeerId) -> Option<String>;
}

/// What was counted since the start.
#[derive(Debug, Default)]
pub struct Stats {
    /// Clients that are connected.
    pub clients: AtomicU64,
    /// Channels: sets of clients that want the same.
    pub channels: AtomicU64,
    /// Bytes that wait for clients.
    pub queue_bytes: AtomicU64,
    /// Records of the shards, by kind, those included that found no room in a lane.
    pub produced: [AtomicU64; KINDS],
    /// Records that found no room in a lane.
    pub lost_lane: AtomicU64,
    /// Records that found no room in the queue of a client, for each client.
    pub lost_client: AtomicU64,
    /// Snapshots that were begun.
    pub snapshots: AtomicU64,
    /// Clients that were one too many.
    pub refused: AtomicU64,
    /// Clients whose request was not understood, or did not come.
    pub misunderstood: AtomicU64,
}

/// What a feed is made of.
pub struct Parts {
    /// The socket to which clients connect.
    pub socket: Socket,
    /// Limits of the feed.
    pub settings: Settings,
    /// The running engine. A restart takes the write lock while it starts another one.
    pub engine: Arc<RwLock<Handle>>,
    /// The log of the daemon.
    pub log: Arc<Log>,
    /// What the feed has to know of the rest.
    pub product: Arc<dyn Product>,
    /// Counters of the feed.
    pub stats: Arc<Stats>,
    /// Failures, if the daemon looks for any.
    pub failures: Option<failures::Receiver>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The thread of the feed.
#[derive(Debug)]
pub struct Feed {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Feed {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the thread, its runtime or its socket cannot be made.
    pub fn start(parts: Parts) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = mpsc::channel(1);
        let body = move || {
            let tasks = tokio::task::LocalSet::new();
            let log = Arc::clone(&parts.log);
            if let Err(error) = tasks.block_on(&runtime, hub::run(parts, stopped)) {
                log.error(format!("the feed ended: {error}"));
            }
        };
        let thread = thread::Builder::new().name("feed".into()).spawn(body)?;
        Ok(Self { stop, thread })
    }

    /// Says goodbye to the clients and ends. False when the thread panicked.
    #[must_use]
    pub fn stop(self) -> bool {
        // If there is a word to end already, that will do.
        let _ = self.stop.try_send(());
        self.thread.join().is_ok()
    }
}
