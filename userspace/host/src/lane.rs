//! A lane of records from one thread to another.
//!
//! ```text
//!   writer   full: blocks of records, in order    reader
//!   Writer  ------------------------------------> Reader
//!           <------------------------------------
//!             empty: the same blocks once more
//!
//!   block    [ length u32 | record ] [ length u32 | record ] ...       native byte order
//! ```
//!
//! Both ways are bounded lock-free queues, and the blocks go round: a record costs a copy, and a block of them one
//! turn of each queue. When no block is empty, the reader is behind by all of them, and the writer gets an error.

use crate::doorbell::Doorbell;
use crossbeam::queue::ArrayQueue;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes in front of each record.
const HEAD_LEN: usize = 4;

/// What the two ends share.
#[derive(Debug)]
struct Lane {
    full: ArrayQueue<Vec<u8>>,
    empty: ArrayQueue<Vec<u8>>,
    bell: Doorbell,
    wake: OwnedFd,
    /// The writer is gone.
    closed: AtomicBool,
}

/// The writer's end.
#[derive(Debug)]
pub struct Writer {
    lane: Arc<Lane>,
    /// The block that is being filled.
    open: Vec<u8>,
}

/// The reader's end.
#[derive(Debug)]
pub struct Reader {
    lane: Arc<Lane>,
    /// The block that is being read, and how far it has been.
    block: Vec<u8>,
    at: usize,
}

/// A lane of so many blocks, each of so many bytes: no record may be longer, its head included.
///
/// # Errors
/// As `eventfd(2)`.
pub fn lane(blocks: usize, block_len: usize) -> io::Result<(Writer, Reader)> {
    let block = || Vec::with_capacity(block_len);
    // Each queue has room for the block that a writer leaves behind as well.
    let empty = ArrayQueue::new(blocks + 1);
    let filled = (0..blocks).try_for_each(|_| empty.push(block()));
    debug_assert!(filled.is_ok(), "a queue has room for all blocks");
    let lane = Arc::new(Lane {
        full: ArrayQueue::new(blocks + 1),
        empty,
        bell: Doorbell::new(),
        wake: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
        closed: AtomicBool::new(false),
    });
    let writer = Writer { lane: Arc::clone(&lane), open: block() };
    Ok((writer, Reader { lane, block: block(), at: 0 }))
}

impl Writer {
    /// Puts a record behind the others, of which these are the parts; false when there is no room now. The reader sees
    /// it after the next [`Writer::hand_over`], or earlier.
    pub fn put(&mut self, parts: [&[u8]; 2]) -> bool {
        let len = parts[0].len() + parts[1].len();
        let room = self.open.capacity() - self.open.len();
        if room < HEAD_LEN + len && (!self.hand_over() || self.open.capacity() < HEAD_LEN + len) {
            return false;
        }
        self.open.extend_from_slice(&(len as u32).to_ne_bytes());
        parts.iter().for_each(|part| self.open.extend_from_slice(part));
        true
    }

    /// Lets the reader have what was put in, and wakes it if it sleeps. False when it is too far behind to take it now.
    pub fn hand_over(&mut self) -> bool {
        if self.open.is_empty() {
            return true;
        }
        let Some(empty) = self.lane.empty.pop() else { return false };
        let block = std::mem::replace(&mut self.open, empty);
        // There is room: each end holds one of the blocks.
        let pushed = self.lane.full.push(block);
        debug_assert!(pushed.is_ok(), "a queue has room for all blocks");
        self.wake();
        true
    }

    /// Wakes the reader if it sleeps, for what reached it by another way.
    pub fn wake(&self) {
        if self.lane.bell.ring() {
            // A full counter wakes as well as an increased one.
            let _ = rustix::io::write(&self.lane.wake, &1_u64.to_ne_bytes());
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let pushed = self.lane.full.push(std::mem::take(&mut self.open));
        debug_assert!(pushed.is_ok(), "there is room for what the writer leaves behind");
        self.lane.closed.store(true, Ordering::Release);
        self.wake();
    }
}

impl Reader {
    /// The next record; `None` when none waits.
    pub fn take(&mut self) -> Option<&[u8]> {
        while self.at >= self.block.len() {
            let next = self.lane.full.pop()?;
            let mut read = std::mem::replace(&mut self.block, next);
            self.at = 0;
            read.clear();
            // As in `hand_over`.
            let pushed = self.lane.empty.push(read);
            debug_assert!(pushed.is_ok(), "a queue has room for all blocks");
        }
        let (head, rest) = self.block.get(self.at..)?.split_first_chunk::<HEAD_LEN>()?;
        let len = u32::from_ne_bytes(*head) as usize;
        self.at += HEAD_LEN + len;
        rest.get(..len)
    }

    /// Whether the writer is gone. What it left may still wait.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lane.closed.load(Ordering::Acquire)
    }

    /// Asks to be woken by [`Reader::descriptor`]. Look for records once more before you sleep.
    pub fn arm(&self) {
        // Empties the eventfd; an empty one says "again".
        let _ = rustix::io::read(&self.lane.wake, &mut [0; 8]);
        self.lane.bell.arm();
    }

    /// Becomes readable when the writer wakes an armed reader.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.lane.wake.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn woken(reader: &Reader) -> bool {
        rustix::io::read(reader.descriptor(), &mut [0; 8]).is_ok()
    }

    #[test]
    fn records_come_out_as_they_were_put_in_and_a_full_lane_says_so() {
        let (mut writer, mut reader) = lane(2, 64).unwrap();
        let record = |n: u8| vec![n; 5 + usize::from(n)];
        let mut put = 0_u8;
        while writer.put([&[put], &record(put)]) {
            put += 1;
        }
        assert!(put >= 4, "three blocks hold more than {put} records");
        assert!(!writer.hand_over(), "there is no block to go on with");
        let mut taken = 0;
        let mut take = |reader: &mut Reader| {
            while let Some(seen) = reader.take() {
                assert_eq!(seen, [&[taken], &record(taken)[..]].concat());
                taken += 1;
            }
        };
        take(&mut reader);
        assert!(writer.hand_over());
        take(&mut reader);
        assert_eq!(taken, put);
        assert!(!writer.put([&[0; 30], &[0; 31]]), "no block has room for it");
    }

    #[test]
    fn only_an_armed_reader_is_woken_and_the_end_of_the_writer_wakes_it_too() {
        let (mut writer, mut reader) = lane(4, 64).unwrap();
        let put = |writer: &mut Writer| assert!(writer.put([&[1], &[]]) && writer.hand_over());
        put(&mut writer);
        assert!(!woken(&reader));
        reader.arm();
        assert!(!woken(&reader));
        put(&mut writer);
        put(&mut writer);
        assert!(woken(&reader));
        put(&mut writer);
        assert!(!woken(&reader), "once is enough");
        reader.arm();
        assert!(writer.put([&[2], &[]]) && !reader.is_closed());
        drop(writer);
        assert!(woken(&reader) && reader.is_closed());
        let last = std::iter::from_fn(|| reader.take().map(|record| record[0])).last();
        assert_eq!(last, Some(2), "what was put in comes out");
    }
}
