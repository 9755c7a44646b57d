//! What could not be sent because no connection stood: first in, first out, the oldest goes when there are too many.

use engine::{Bounded, QueueUsage};

/// Buffers that wait for a connection (`ErrorQueueLength`).
#[derive(Debug)]
pub(super) struct ErrorQueue(Bounded<Vec<u8>>);

impl ErrorQueue {
    pub(super) const fn new(max: usize) -> Self {
        Self(Bounded::new(max))
    }

    /// Appends a buffer; the oldest goes if that is one too many.
    pub(super) fn push(&mut self, buffer: Vec<u8>) {
        self.0.displace(buffer);
    }

    /// Puts back a buffer that is older than all others: without room, it is the one that goes.
    pub(super) fn put_back(&mut self, buffer: Vec<u8>) {
        let _ = self.0.put_back(buffer);
    }

    /// Takes the oldest buffer.
    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        self.0.pop()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn usage(&self) -> QueueUsage {
        self.0.usage()
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
        assert_eq!(queue.usage(), QueueUsage { len: 2, max: 2, no_space: 1 });
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
        assert_eq!(queue.usage(), QueueUsage { len: 2, max: 2, no_space: 1 });
        assert_eq!(queue.pop(), Some(vec![2]));
    }

    #[test]
    fn a_queue_without_room_drops_everything() {
        let mut queue = ErrorQueue::new(0);
        queue.push(vec![1]);
        assert_eq!(queue.usage(), QueueUsage { len: 0, max: 0, no_space: 1 });
    }
}
