//! What the main thread wants of another thread: a queue with a limit, and an eventfd that wakes that thread.
//!
//! Clients of the control socket cause orders, and nothing limits their number. An order that finds no room is
//! dropped and counted; a caller that waits for its answer sees that none will come.

use crate::bounded::{self, Receiver, Sender};
use engine::QueueUsage;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Most orders that wait for a thread.
const WAITING_MAX: usize = 1024;

/// The main thread's end.
#[derive(Debug)]
pub(crate) struct Orders<T> {
    queue: Sender<T>,
    bell: Bell,
}

impl<T> Clone for Orders<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), bell: self.bell.clone() }
    }
}

/// What both ends share beside the queue.
#[derive(Clone, Debug)]
pub(crate) struct Bell {
    /// Readable when there is an order.
    pub(crate) wake: Arc<OwnedFd>,
    stop: Arc<AtomicBool>,
}

/// A queue for orders.
///
/// # Errors
/// As `eventfd(2)`.
pub(crate) fn orders<T>() -> io::Result<(Orders<T>, Receiver<T>, Bell)> {
    let (queue, receiver) = bounded::channel(WAITING_MAX);
    let bell = Bell {
        wake: Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?),
        stop: Arc::default(),
    };
    Ok((Orders { queue, bell: bell.clone() }, receiver, bell))
}

impl<T> Orders<T> {
    /// Sends an order. Where there is no room, and where the thread is gone, the order is dropped, and with it the way
    /// its answer would have taken; then it is false.
    pub(crate) fn send(&self, order: T) -> bool {
        let is_sent = self.queue.send(order).is_ok();
        if is_sent {
            self.bell.ring();
        }
        is_sent
    }

    /// How full the queue is.
    pub(crate) fn usage(&self) -> QueueUsage {
        self.queue.usage()
    }

    /// Has the thread end, however many orders wait.
    pub(crate) fn stop(&self) {
        self.bell.stop.store(true, Ordering::Relaxed);
        self.bell.ring();
    }
}

impl Bell {
    fn ring(&self) {
        // A full counter wakes as well as an increased one.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// Whether the thread must end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[test]
    fn orders_beyond_the_limit_are_dropped_and_counted_and_a_stop_is_not() {
        let (orders, receiver, bell) = orders::<oneshot::Sender<()>>().unwrap();
        let mut answers: Vec<_> = (0..WAITING_MAX + 3)
            .map(|_| {
                let (reply, answer) = oneshot::channel();
                orders.send(reply);
                answer
            })
            .collect();
        assert_eq!((receiver.len(), orders.usage().no_space), (WAITING_MAX, 3));
        let is_closed = |answer: &mut oneshot::Receiver<()>| {
            answer.try_recv() == Err(oneshot::error::TryRecvError::Closed)
        };
        let closed = answers.iter_mut().map(is_closed).filter(|closed| *closed).count();
        assert_eq!(closed, 3, "who waits for the answer sees that none comes");
        assert!(!bell.is_stopped());
        orders.stop();
        assert!(bell.is_stopped());
        assert!(rustix::io::read(&bell.wake, &mut [0; 8]).is_ok(), "the thread is woken");
    }
}
