//! Events that another thread has read, for the shard whose flows they are about.
//!
//! ```text
//!   reader    full: blocks of events, in order    shard
//!   Feed  --------------------------------------> QueueSource
//!         <--------------------------------------
//!             empty: the same blocks once more
//! ```
//!
//! Both ways are bounded lock-free queues, and the blocks go round: an event costs a copy, and a block of them one
//! turn of each queue. When no block is empty, the shard is behind by all of them: the reader has to wait.

use super::{Account, Heard, Stamp};
use crate::doorbell::Doorbell;
use common::{FlowKey, Instant, Tuple};
use crossbeam::queue::ArrayQueue;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes in a block. The longest event fits in.
const BLOCK_LEN: usize = 32 << 10;
/// Blocks that wait for a shard: some thousands of events.
const BLOCKS: usize = 64;
/// In front of each item: when it happened, its length, and what kinds of item and stamp these are.
const HEAD_LEN: usize = 16;
/// What an item is: a message, a packet's record, or the key of a flow that has become old enough.
const MESSAGE: u16 = 0;
const PACKET: u16 = 1;
const GROWN: u16 = 2;
/// Bytes of a key.
const KEY_LEN: usize = 40;

/// What the reader knows and every shard may ask for. Read some times a second, not for each event.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    pub(crate) account: Account,
    pub(crate) receive_buffer: usize,
}

/// Where the reader leaves it.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<Told>);

impl Board {
    pub(crate) fn write(&self, told: Told) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = told;
    }

    pub(crate) fn read(&self) -> Told {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the two ends share.
#[derive(Debug)]
struct Lane {
    full: ArrayQueue<Vec<u8>>,
    empty: ArrayQueue<Vec<u8>>,
    bell: Doorbell,
    wake: OwnedFd,
}

/// The reader's end.
#[derive(Debug)]
pub(crate) struct Feed {
    lane: Arc<Lane>,
    /// The block that is being filled.
    open: Vec<u8>,
}

/// The shard's end.
#[derive(Debug)]
pub struct QueueSource {
    lane: Arc<Lane>,
    /// The block that is being read, and how far it has been.
    block: Vec<u8>,
    at: usize,
    /// Flows that have become old enough.
    grown: Vec<FlowKey>,
    board: Arc<Board>,
    nature: Nature,
}

/// What the shard is to know of the source that the reader reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nature {
    pub(crate) name: &'static str,
    pub(crate) hears_requests: bool,
}

/// A queue for events of a source of this nature.
///
/// # Errors
/// As `eventfd(2)`.
pub(crate) fn queue(nature: Nature, board: Arc<Board>) -> io::Result<(Feed, QueueSource)> {
    sized(nature, board, [BLOCKS, BLOCK_LEN])
}

pub(crate) fn sized(
    nature: Nature,
    board: Arc<Board>,
    [blocks, block_len]: [usize; 2],
) -> io::Result<(Feed, QueueSource)> {
    let block = || Vec::with_capacity(block_len);
    let empty = ArrayQueue::new(blocks);
    while empty.push(block()).is_ok() {}
    let lane = Arc::new(Lane {
        full: ArrayQueue::new(blocks),
        empty,
        bell: Doorbell::new(),
        wake: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
    });
    let feed = Feed { lane: Arc::clone(&lane), open: block() };
    Ok((feed, QueueSource { lane, block: block(), at: 0, grown: Vec::new(), board, nature }))
}

impl Feed {
    /// Puts an event behind the others; false when there is no room now. The shard sees it after the next
    /// [`Feed::hand_over`], or earlier.
    pub(crate) fn put(&mut self, heard: Heard<'_>, stamp: Stamp) -> bool {
        let (kind, bytes) = match heard {
            Heard::Message(bytes) => (MESSAGE, bytes),
            Heard::Packet(bytes) => (PACKET, bytes),
        };
        self.append(kind, bytes, stamp)
    }

    /// Tells of a flow that was too young, and has become old enough; false as for [`Feed::put`].
    pub(crate) fn put_grown(&mut self, key: &FlowKey) -> bool {
        self.append(GROWN, &key_bytes(key), Stamp::InOrder)
    }

    fn append(&mut self, kind: u16, bytes: &[u8], stamp: Stamp) -> bool {
        let room = self.open.capacity() - self.open.len();
        if room < HEAD_LEN + bytes.len() && !self.hand_over() {
            return false;
        }
        self.open.extend_from_slice(&head(kind, bytes.len(), stamp));
        self.open.extend_from_slice(bytes);
        true
    }

    /// Lets the shard have what was put in, and wakes it if it sleeps. False when it is too far behind to take it now.
    pub(crate) fn hand_over(&mut self) -> bool {
        if self.open.is_empty() {
            return true;
        }
        let Some(empty) = self.lane.empty.pop() else { return false };
        let block = std::mem::replace(&mut self.open, empty);
        // There is room: each end holds one of the blocks.
        let pushed = self.lane.full.push(block);
        debug_assert!(pushed.is_ok(), "a queue has room for all blocks");
        if self.lane.bell.ring() {
            // A full counter wakes as well as an increased one.
            let _ = rustix::io::write(&self.lane.wake, &1_u64.to_ne_bytes());
        }
        true
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
        while taken < budget {
            if let Some((kind, bytes, stamp)) = item(&self.block, self.at) {
                match kind {
                    MESSAGE => sink(Heard::Message(bytes), stamp),
                    PACKET => sink(Heard::Packet(bytes), stamp),
                    _ => self.grown.extend(key_of(bytes)),
                }
                self.at += HEAD_LEN + bytes.len();
                taken += 1;
            } else {
                let Some(next) = self.lane.full.pop() else { break };
                let mut read = std::mem::replace(&mut self.block, next);
                self.at = 0;
                read.clear();
                // As in `hand_over`.
                let pushed = self.lane.empty.push(read);
                debug_assert!(pushed.is_ok(), "a queue has room for all blocks");
            }
        }
        taken
    }

    /// Hands out flows that have become old enough.
    pub(super) fn ripe(&mut self, sink: &mut impl FnMut(FlowKey)) {
        self.grown.drain(..).for_each(sink);
    }

    pub(super) fn arm(&self) {
        // Empties the eventfd; an empty one says "again".
        let _ = rustix::io::read(&self.lane.wake, &mut [0; 8]);
        self.lane.bell.arm();
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.lane.wake.as_fd()
    }

    pub(super) fn account(&self) -> Account {
        self.board.read().account
    }

    pub(super) fn receive_buffer(&self) -> usize {
        self.board.read().receive_buffer
    }

    pub(super) const fn name(&self) -> &'static str {
        self.nature.name
    }

    pub(super) const fn hears_requests(&self) -> bool {
        self.nature.hears_requests
    }
}

fn head(kind: u16, len: usize, stamp: Stamp) -> [u8; HEAD_LEN] {
    let (stamped, at) = match stamp {
        Stamp::InOrder => (0, Instant(0)),
        Stamp::At(at) => (1, at),
        Stamp::After(at) => (2, at),
    };
    let mut head = [0; HEAD_LEN];
    head[..8].copy_from_slice(&at.0.to_ne_bytes());
    head[8..12].copy_from_slice(&(len as u32).to_ne_bytes());
    head[12..14].copy_from_slice(&kind.to_ne_bytes());
    head[14..].copy_from_slice(&u16::to_ne_bytes(stamped));
    head
}

/// The item at an offset of a block: what it is, its bytes, when it happened.
fn item(block: &[u8], at: usize) -> Option<(u16, &[u8], Stamp)> {
    let (head, rest) = block.get(at..)?.split_first_chunk::<HEAD_LEN>()?;
    let (time, head) = head.split_first_chunk()?;
    let (len, head) = head.split_first_chunk()?;
    let (kind, stamped) = head.split_first_chunk()?;
    let time = Instant(u64::from_ne_bytes(*time));
    let bytes = rest.get(..u32::from_ne_bytes(*len) as usize)?;
    let stamp = match u16::from_ne_bytes(*stamped.first_chunk()?) {
        0 => Stamp::InOrder,
        1 => Stamp::At(time),
        _ => Stamp::After(time),
    };
    Some((u16::from_ne_bytes(*kind), bytes, stamp))
}

fn key_bytes(key: &FlowKey) -> [u8; KEY_LEN] {
    let Tuple { src, dst, l4, family, proto } = key.tuple;
    let mut out = [0; KEY_LEN];
    out[..16].copy_from_slice(&src);
    out[16..32].copy_from_slice(&dst);
    out[32..36].copy_from_slice(&l4);
    out[36..38].copy_from_slice(&[family, proto]);
    out[38..].copy_from_slice(&key.zone.to_ne_bytes());
    out
}

fn key_of(bytes: &[u8]) -> Option<FlowKey> {
    let (src, rest) = bytes.split_first_chunk()?;
    let (dst, rest) = rest.split_first_chunk()?;
    let (l4, rest) = rest.split_first_chunk()?;
    let (&[family, proto], rest) = rest.split_first_chunk()?;
    let tuple = Tuple { src: *src, dst: *dst, l4: *l4, family, proto };
    Some(FlowKey::new(tuple, u16::from_ne_bytes(*rest.first_chunk()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NATURE: Nature = Nature { name: "test", hears_requests: true };

    #[test]
    fn events_come_out_as_they_were_put_in_and_a_full_queue_says_so() {
        let (mut feed, mut source) = sized(NATURE, Arc::default(), [2, 64]).unwrap();
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
                let (Heard::Message(seen) | Heard::Packet(seen)) = heard;
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

    #[test]
    fn only_an_armed_shard_is_woken() {
        let (mut feed, source) = queue(NATURE, Arc::default()).unwrap();
        let woken =
            |source: &QueueSource| rustix::io::read(source.descriptor(), &mut [0; 8]).is_ok();
        let mut put =
            || assert!(feed.put(Heard::Message(&[1]), Stamp::InOrder) && feed.hand_over());
        put();
        assert!(!woken(&source));
        source.arm();
        assert!(!woken(&source));
        put();
        put();
        assert!(woken(&source));
        put();
        assert!(!woken(&source), "once is enough");
    }

    #[test]
    fn flows_that_grew_old_enough_are_told_apart_from_events() {
        let (mut feed, mut source) = queue(NATURE, Arc::default()).unwrap();
        let tuple = Tuple::v6([1; 16], [2; 16], 58).with_icmp(77, 128, 3);
        let key = FlowKey::new(tuple, 0x1234);
        assert!(feed.put_grown(&key) && feed.hand_over());
        assert_eq!(source.drain(9, &mut |heard, _| panic!("{heard:?}")), 1);
        let mut grown = Vec::new();
        source.ripe(&mut |key| grown.push(key));
        source.ripe(&mut |key| grown.push(key));
        assert_eq!(grown, [key]);
    }
}
