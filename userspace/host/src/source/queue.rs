//! Events that another thread has read, for the shard whose flows they are about.
//!
//! ```text
//!   reader    full: blocks of events, in order    shard
//!   Feed  --------------------------------------> QueueSource
//!         <--------------------------------------
//!             empty: the same blocks once more
//! ```
//!
//! An event is a record of a [`lane`](crate::lane). When no block is empty, the shard is behind by all of them: the
//! reader has to wait.

use super::{Account, Heard, Stamp};
use crate::lane::{self, lane};
use common::Instant;
use rustix::fd::BorrowedFd;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes in a block. The longest event fits in.
const BLOCK_LEN: usize = 32 << 10;
/// Blocks that wait for a shard: some thousands of events.
const BLOCKS: usize = 64;
/// In front of each event: when it happened, and what kinds of event and stamp these are.
const HEAD_LEN: usize = 12;

/// What the reader publishes of the source, for every shard. Shards read it some times a second, not for each event.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SourceStatus {
    pub(crate) kind: SourceKind,
    pub(crate) account: Account,
    pub(crate) receive_buffer: usize,
}

/// Holds the newest [`SourceStatus`].
#[derive(Debug, Default)]
pub(crate) struct StatusCell(Mutex<SourceStatus>);

impl StatusCell {
    pub(crate) fn write(&self, status: SourceStatus) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    pub(crate) fn read(&self) -> SourceStatus {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reader's end.
#[derive(Debug)]
pub(crate) struct Feed(lane::Writer);

/// The shard's end.
#[derive(Debug)]
pub struct QueueSource {
    lane: lane::Reader,
    status: Arc<StatusCell>,
}

/// What kind of source the reader reads, as [`super::Source`] says it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SourceKind {
    pub(crate) name: &'static str,
    pub(crate) hears_requests: bool,
}

/// A queue for events of a source, whose state is in the status cell.
///
/// # Errors
/// As `eventfd(2)`.
pub(crate) fn queue(status: Arc<StatusCell>) -> io::Result<(Feed, QueueSource)> {
    sized(status, [BLOCKS, BLOCK_LEN])
}

pub(crate) fn sized(
    status: Arc<StatusCell>,
    [blocks, block_len]: [usize; 2],
) -> io::Result<(Feed, QueueSource)> {
    let (writer, lane) = lane(blocks, block_len)?;
    Ok((Feed(writer), QueueSource { lane, status }))
}

impl Feed {
    /// Puts an event behind the others; false when there is no room now. The shard sees it after the next
    /// [`Feed::hand_over`], or earlier.
    pub(crate) fn put(&mut self, heard: Heard<'_>, stamp: Stamp) -> bool {
        let bytes = match heard {
            Heard::Message(bytes) | Heard::Packet(bytes) | Heard::Grown(bytes) => bytes,
        };
        self.0.put([&head(heard, stamp), bytes])
    }

    /// Lets the shard have what was put in, and wakes it if it sleeps. False when it is too far behind to take it now.
    pub(crate) fn hand_over(&mut self) -> bool {
        self.0.hand_over()
    }
}

impl QueueSource {
    /// Hands out up to `budget` waiting events; returns how many.
    pub(super) fn drain(
        &mut self,
        budget: usize,
        sink: &mut impl FnMut(Heard<'_>, Stamp),
    ) -> usize {
        let mut taken = 0;
        while taken < budget
            && let Some((heard, stamp)) = self.lane.take().and_then(event)
        {
            sink(heard, stamp);
            taken += 1;
        }
        taken
    }

    pub(super) fn arm(&self) {
        self.lane.arm();
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.lane.descriptor()
    }

    pub(super) fn account(&self) -> Account {
        self.status.read().account
    }

    pub(super) fn receive_buffer(&self) -> usize {
        self.status.read().receive_buffer
    }

    pub(super) fn name(&self) -> &'static str {
        self.status.read().kind.name
    }

    pub(super) fn hears_requests(&self) -> bool {
        self.status.read().kind.hears_requests
    }
}

fn head(heard: Heard<'_>, stamp: Stamp) -> [u8; HEAD_LEN] {
    let (kind, at) = match stamp {
        Stamp::InOrder => (0, Instant(0)),
        Stamp::At(at) => (1, at),
        Stamp::After(at) => (2, at),
    };
    let kind: u32 = kind << 2
        | match heard {
            Heard::Message(_) => 0,
            Heard::Packet(_) => 1,
            Heard::Grown(_) => 2,
        };
    let mut head = [0; HEAD_LEN];
    head[..8].copy_from_slice(&at.0.to_ne_bytes());
    head[8..].copy_from_slice(&kind.to_ne_bytes());
    head
}

/// The event that a record holds.
fn event(record: &[u8]) -> Option<(Heard<'_>, Stamp)> {
    let (head, bytes) = record.split_first_chunk::<HEAD_LEN>()?;
    let [time @ .., _, _, _, _] = *head;
    let [_, _, _, _, _, _, _, _, kind @ ..] = *head;
    let (time, kind) = (Instant(u64::from_ne_bytes(time)), u32::from_ne_bytes(kind));
    let stamp = match kind >> 2 {
        0 => Stamp::InOrder,
        1 => Stamp::At(time),
        _ => Stamp::After(time),
    };
    let heard = match kind & 3 {
        0 => Heard::Message(bytes),
        1 => Heard::Packet(bytes),
        _ => Heard::Grown(bytes),
    };
    Some((heard, stamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_as_they_were_put_in_and_a_full_queue_says_so() {
        let (mut feed, mut source) = sized(Arc::default(), [2, 64]).unwrap();
        let stamps = [Stamp::InOrder, Stamp::At(Instant(7)), Stamp::After(Instant(u64::MAX))];
        let mut put = 0_u8;
        let event = |n: u8| (vec![n; 5 + usize::from(n)], stamps[usize::from(n) % 3]);
        loop {
            let (bytes, stamp) = event(put);
            let heard =
                if put.is_multiple_of(2) { Heard::Message(&bytes) } else { Heard::Packet(&bytes) };
            if !feed.put(heard, stamp) {
                break;
            }
            put += 1;
        }
        assert!(put >= 4, "three blocks hold more than {put} events");
        assert!(!feed.hand_over(), "there is no block to go on with");
        let mut taken = 0;
        let mut take = |source: &mut QueueSource, budget| {
            source.drain(budget, &mut |heard, stamp| {
                let (bytes, expected) = event(taken);
                let packet = matches!(heard, Heard::Packet(_));
                let (Heard::Message(seen) | Heard::Packet(seen) | Heard::Grown(seen)) = heard;
                assert_eq!((seen, stamp, packet), (&bytes[..], expected, taken % 2 == 1));
                taken += 1;
            })
        };
        assert_eq!(take(&mut source, 1), 1);
        take(&mut source, 100);
        assert!(feed.hand_over());
        take(&mut source, 100);
        assert_eq!(taken, put);
    }
}
