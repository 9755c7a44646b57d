//! Flows that have ended, for a consumer (statistics mode), on a thread of its own.
//!
//! ```text
//!   shard: DESTROY --is it one that counts?--> Ends --lane: time, known, the kernel's message--> EndsReader
//!          ended unseen ----------------------------> a queue of flows -------------------------'
//! ```
//!
//! The shard copies the kernel's message; decoding it, with counters and times, and making something of it is the
//! reader's. A shard never waits for the reader: what finds no room is counted.

use crate::bounded::{self, Receiver, Sender};
use crate::clock;
use crate::lane::{self, lane};
use ctnetlink::Flow;
use engine::{Engine, QueueUsage, Side};
use rustix::fd::BorrowedFd;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes in a block of the lane, and blocks: some ten thousands of ends.
const BLOCK_LEN: usize = 64 << 10;
const BLOCKS: usize = 128;
/// Flows that ended unseen and wait.
const UNSEEN_MAX: usize = 8192;
/// In front of each message: when it was heard, and whether the table held the flow.
const HEAD_LEN: usize = 9;

/// What both ends share beside the lane.
#[derive(Debug)]
struct Shared {
    lost: AtomicU64,
}

/// The shard's end.
#[derive(Debug)]
pub struct Ends {
    lane: lane::Writer,
    unseen: Sender<(u64, Box<Flow>)>,
    shared: Arc<Shared>,
}

/// The reader's end.
#[derive(Debug)]
pub struct EndsReader {
    lane: lane::Reader,
    unseen: Receiver<(u64, Box<Flow>)>,
    shared: Arc<Shared>,
}

/// An end.
#[derive(Debug)]
pub enum End<'a> {
    /// The kernel reported it, in this message of ctnetlink, header included.
    Reported {
        /// Whether the table held the flow.
        known: bool,
        /// The message.
        message: &'a [u8],
    },
    /// No event: a reading found the flow gone.
    Unseen(Box<Flow>),
}

/// Both ends of a lane.
///
/// # Errors
/// As `eventfd(2)`.
pub fn ends() -> io::Result<(Ends, EndsReader)> {
    let (writer, reader) = lane(BLOCKS, BLOCK_LEN)?;
    let (sender, unseen) = bounded::channel(UNSEEN_MAX);
    let shared = Arc::new(Shared { lost: AtomicU64::new(0) });
    let ends = Ends { lane: writer, unseen: sender, shared: Arc::clone(&shared) };
    Ok((ends, EndsReader { lane: reader, unseen, shared }))
}

impl Ends {
    /// The kernel reports an end that the engine has not received yet. A flow that the table does not hold began before
    /// its events were received; its end counts if the filter lets it pass.
    pub fn on_destroy(&mut self, engine: &Engine, flow: &Flow, message: &[u8]) {
        let table = engine.table(Side::Local);
        let entry = table.find(&flow.key()).and_then(|slot| table.at(slot));
        let known = entry.is_some_and(|entry| !entry.has_ended());
        let filter = &engine.config().filter;
        // The age of a flow that the table does not hold is unknown, so the filter cannot judge it.
        if !known && (filter.asks_for_age() || !filter.passes(flow)) {
            return;
        }
        let mut head = [0; HEAD_LEN];
        head[..8].copy_from_slice(&clock::wall_ns().to_ne_bytes());
        head[8] = u8::from(known);
        if !self.lane.put([&head, message]) {
            self.lose();
        }
    }

    /// A flow ended without a report.
    pub fn on_vanished(&self, flow: Box<Flow>) {
        if self.unseen.send((clock::wall_ns(), flow)).is_err() {
            self.lose();
        }
        self.lane.wake();
    }

    /// Lets the reader have what there is. What it has no room for now goes with the next.
    pub fn hand_over(&mut self) {
        let _ = self.lane.hand_over();
    }

    /// How many flows that ended unseen wait.
    #[must_use]
    pub fn unseen(&self) -> QueueUsage {
        self.unseen.usage()
    }

    fn lose(&self) {
        self.shared.lost.fetch_add(1, Ordering::Relaxed);
    }
}

impl EndsReader {
    /// Hands out the waiting ends, each with the time it arrived, nanoseconds since 1970.
    pub fn drain(&mut self, sink: &mut impl FnMut(u64, End<'_>)) {
        while let Some(record) = self.lane.take() {
            let Some((head, message)) = record.split_first_chunk::<HEAD_LEN>() else { continue };
            let [time @ .., known] = *head;
            let (at, known) = (u64::from_ne_bytes(time), known != 0);
            sink(at, End::Reported { known, message });
        }
        while let Ok((at, flow)) = self.unseen.try_recv() {
            sink(at, End::Unseen(flow));
        }
    }

    /// Ends that found no room, since this was asked the last time.
    pub fn take_lost(&self) -> u64 {
        self.shared.lost.swap(0, Ordering::Relaxed)
    }

    /// Whether the shard is gone. What it left may still wait.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lane.is_closed()
    }

    /// Asks to be woken by [`EndsReader::descriptor`]. Look once more before you sleep.
    pub fn arm(&self) {
        self.lane.arm();
    }

    /// Becomes readable when an armed reader has to wake up.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.lane.descriptor()
    }
}
