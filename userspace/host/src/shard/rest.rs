//! How a shard waits, and what it knows afterwards: what a wait found quiet is not asked again.

use super::{Parts, SLEEP_MAX, Shard};
use crate::pace;
use common::Instant;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::time::Timespec;
use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

/// Event sources and answers of the kernel.
const EVENTS: u64 = 0;
/// The links to the peer.
const LINKS: u64 = 1;
/// Orders of the main thread.
const ORDERS: u64 = 2;
/// The socket that takes events for which there was no room in the rings.
const OVERFLOW: u64 = 3;
/// More descriptors than a shard waits for.
const READY_MAX: usize = 128;

/// What may wait to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    /// The links have something.
    pub(super) links: bool,
    /// The socket that takes what the rings had no room for was found empty some time after this.
    pub(super) overflow_empty: Option<Instant>,
}

impl Ready {
    /// Everything is to be looked at.
    pub(super) const ALL: Self = Self { links: true, overflow_empty: None };
}

/// What a shard waits for.
#[derive(Debug)]
pub(super) struct Waits {
    /// Everything.
    all: OwnedFd,
    /// What ends a nap: not the events that are to gather.
    urgent: OwnedFd,
    has_overflow: bool,
}

impl Waits {
    pub(super) fn new(parts: &Parts, wake: &OwnedFd) -> io::Result<Self> {
        let all = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let urgent = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for fd in parts.source.ring_descriptors() {
            watch(&all, fd, EVENTS)?;
        }
        let overflow = parts.source.overflow_descriptor();
        for poller in [&all, &urgent] {
            watch(poller, wake, ORDERS)?;
            if let Some(links) = &parts.links {
                watch(poller, links.descriptor(), LINKS)?;
            }
            if let Some(overflow) = overflow {
                watch(poller, overflow, OVERFLOW)?;
            }
        }
        if let Some(expectations) = &parts.expectations {
            watch(&all, expectations.descriptor(), EVENTS)?;
        }
        watch(&all, parts.writer.dump_descriptor(), EVENTS)?;
        Ok(Self { all, urgent, has_overflow: overflow.is_some() })
    }

    /// Waits; `before` was read before. The second value: the main thread has something.
    fn wait(
        &self,
        poller: &OwnedFd,
        before: Instant,
        longest: Duration,
    ) -> io::Result<(Ready, bool)> {
        let mut room = [const { MaybeUninit::uninit() }; READY_MAX];
        let ready = match epoll::wait(poller, &mut room, Some(&timespec(longest))) {
            Ok((ready, _)) => ready,
            Err(rustix::io::Errno::INTR) => return Ok((Ready::ALL, true)),
            Err(error) => return Err(error.into()),
        };
        let has = |tag| ready.iter().any(|event| event.data.u64() == tag);
        let quiet = self.has_overflow && !has(OVERFLOW);
        Ok((Ready { links: has(LINKS), overflow_empty: quiet.then_some(before) }, has(ORDERS)))
    }
}

impl Shard {
    /// Waits a moment for more events to gather, unless the peer or the main thread speaks, or a ring is full.
    pub(super) fn nap(&self, now: Instant) -> io::Result<Ready> {
        let (ready, orders) = self.waits.wait(&self.waits.urgent, now, pace::NAP)?;
        Ok(self.waken(ready, orders))
    }

    /// Waits until woken: by an event, the peer, the main thread, or the engine's next timeout.
    pub(super) fn sleep(&mut self, now: Instant) -> io::Result<Ready> {
        self.source.arm();
        // What came before the source was armed wakes nobody. Sockets do, whenever it came.
        let quiet = Ready { links: false, overflow_empty: Some(now) };
        if self.take_events(now, quiet)? > 0 {
            return Ok(Ready::ALL);
        }
        let retry = if self.unsent.is_empty() { SLEEP_MAX } else { self.link_retry };
        let longest = self.engine.poll_timeout().since(now).min(retry.min(SLEEP_MAX));
        let (ready, orders) = self.waits.wait(&self.waits.all, now, longest)?;
        Ok(self.waken(ready, orders))
    }

    fn waken(&self, ready: Ready, orders: bool) -> Ready {
        if orders {
            // Empties the eventfd; an empty one says "again".
            let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        }
        ready
    }
}

fn watch(poller: &OwnedFd, fd: impl AsFd, tag: u64) -> io::Result<()> {
    Ok(epoll::add(poller, fd, EventData::new_u64(tag), EventFlags::IN)?)
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}
