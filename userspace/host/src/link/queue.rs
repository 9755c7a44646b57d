//! What could not be sent because no connection stood: first in, first out, the oldest goes when there are too many.

use std::collections::VecDeque;

/// Buffers that wait for a connection (`ErrorQueueLength`).
#[derive(Debug)]
pub(super) struct ErrorQueue {
    buffers: VecDeque<Vec<u8>>,
    max: usize,
    dropped: u64,
}

/// How full the error queue is, for `-s queue`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueReport {
    /// Buffers in it.
    pub current: usize,
    /// Buffers it can hold.
    pub max: usize,
    /// Buffers that were dropped because it was full.
    pub dropped: u64,
}

impl ErrorQueue {
    pub(super) const fn new(max: usize) -> Self {
        Self { buffers: VecDeque::new(), max, dropped: 0 }
    }

    /// Appends a buffer; the oldest goes if that is one too many.
    pub(super) fn push(&mut self, buffer: Vec<u8>) {
        self.buffers.push_back(buffer);
        self.trim();
    }

    /// Puts back a buffer that is older than all others.
    pub(super) fn put_back(&mut self, buffer: Vec<u8>) {
        self.buffers.push_front(buffer);
        self.trim();
    }

    fn trim(&mut self) {
        while self.buffers.len() > self.max {
            self.buffers.pop_front();
            self.dropped += 1;
        }
    }

    /// Takes the oldest buffer.
    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        self.buffers.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buffers.is_empty()
    }

    pub(super) fn report(&self) -> QueueReport {
        QueueReport { current: self.buffers.len(), max: self.max, dropped: self.dropped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let mut queue = ErrorQueue::new(2);
        for n in 1..=3 {
            queue.push(vec![n]);
        }
        assert_eq!(queue.report(), QueueReport { current: 2, max: 2, dropped: 1 });
        assert_eq!([queue.pop(), queue.pop(), queue.pop()], [Some(vec![2]), Some(vec![3]), None]);
        assert!(queue.is_empty());
    }

    #[test]
    fn what_is_put_back_comes_first_and_is_the_oldest() {
        let mut queue = ErrorQueue::new(2);
        queue.push(vec![2]);
        queue.put_back(vec![1]);
        assert_eq!(queue.pop(), Some(vec![1]));
        queue.push(vec![3]);
        queue.put_back(vec![1]);
        assert_eq!(queue.report(), QueueReport { current: 2, max: 2, dropped: 1 });
        assert_eq!(queue.pop(), Some(vec![2]));
    }

    #[test]
    fn a_queue_without_room_drops_everything() {
        let mut queue = ErrorQueue::new(0);
        queue.push(vec![1]);
        assert_eq!(queue.report(), QueueReport { current: 0, max: 0, dropped: 1 });
    }
}
