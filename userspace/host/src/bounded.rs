//! The queue between threads of this product whose sender does not wait: it has a limit, and counts what found no room.
//! Within a thread, [`engine::Bounded`] is that queue.
//!
//! `cargo xtask tidy` refuses every other one. A sender that waits for room loses nothing: it may use any channel that
//! has a limit, and its way of sending without waiting is refused.

use crossbeam::channel::{self, SendTimeoutError, TrySendError};
use engine::QueueUsage;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The sender's end; there may be several.
#[derive(Debug)]
pub(crate) struct Sender<T> {
    queue: channel::Sender<T>,
    no_space: Arc<AtomicU64>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), no_space: Arc::clone(&self.no_space) }
    }
}

/// The receiver's end, which takes elements as crossbeam's does.
#[derive(Debug)]
pub(crate) struct Receiver<T> {
    queue: channel::Receiver<T>,
    no_space: Arc<AtomicU64>,
}

/// A queue for at most `max` elements.
pub(crate) fn channel<T>(max: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = channel::bounded(max);
    let no_space = Arc::<AtomicU64>::default();
    let receiver = Receiver { queue: receiver, no_space: Arc::clone(&no_space) };
    (Sender { queue: sender, no_space }, receiver)
}

impl<T> Deref for Receiver<T> {
    type Target = channel::Receiver<T>;

    fn deref(&self) -> &channel::Receiver<T> {
        &self.queue
    }
}

impl<T> Receiver<T> {
    /// Length and limit of the queue, and how much it refused.
    pub(crate) fn usage(&self) -> QueueUsage {
        usage((self.queue.len(), self.queue.capacity()), &self.no_space)
    }
}

fn usage((len, max): (usize, Option<usize>), no_space: &AtomicU64) -> QueueUsage {
    let max = max.unwrap_or(usize::MAX);
    QueueUsage { len, max, no_space: no_space.load(Ordering::Relaxed) }
}

impl<T> Sender<T> {
    /// Sends without waiting.
    ///
    /// # Errors
    /// When the queue is full, which is counted, or the receiver is gone: the element.
    pub(crate) fn send(&self, item: T) -> Result<(), T> {
        self.queue.try_send(item).map_err(|error| {
            if error.is_full() {
                self.count();
            }
            let (TrySendError::Full(item) | TrySendError::Disconnected(item)) = error;
            item
        })
    }

    /// Waits for room, but no longer than `patience`.
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub(crate) fn send_within(&self, patience: Duration, item: T) -> Result<(), T> {
        self.queue.send_timeout(item, patience).map_err(|error| {
            if error.is_timeout() {
                self.count();
            }
            let (SendTimeoutError::Timeout(item) | SendTimeoutError::Disconnected(item)) = error;
            item
        })
    }

    /// Length and limit of the queue, and how much it refused.
    pub(crate) fn usage(&self) -> QueueUsage {
        usage((self.queue.len(), self.queue.capacity()), &self.no_space)
    }

    fn count(&self) {
        self.no_space.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_comes_back_and_is_counted_and_who_is_gone_is_not_a_full_queue() {
        let (sender, receiver) = channel(2);
        let sent: Vec<_> = (1..=3).map(|n| sender.clone().send(n)).collect();
        assert_eq!(sent, [Ok(()), Ok(()), Err(3)]);
        assert_eq!(sender.send_within(Duration::from_millis(1), 4), Err(4));
        assert_eq!(sender.usage(), QueueUsage { len: 2, max: 2, no_space: 2 });
        assert_eq!(receiver.usage(), sender.usage());
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 2]);
        drop(receiver);
        assert_eq!(sender.send(5), Err(5));
        assert_eq!(sender.usage().no_space, 2);
    }
}
