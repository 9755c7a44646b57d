//! What a thread waits for, and what it knows afterwards: what a wait found quiet is not asked again.

use crate::source::Source;
use common::Instant;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::time::Timespec;
use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Duration;

/// Event sources and answers of the kernel.
const EVENTS: u64 = 0;
/// The links to the peer.
const LINKS: u64 = 1;
/// Orders of the main thread.
const ORDERS: u64 = 2;
/// The socket that takes events for which there was no room in the rings.
const OVERFLOW: u64 = 3;
/// `epoll_pwait` rounds up to milliseconds. For waits shorter than this, `ppoll` does the waiting, which does not.
const ROUNDED: Duration = Duration::from_millis(10);
/// Descriptors that one wait reports. Only machines with more CPUs have more.
const READY_MAX: usize = 128;

/// What may wait to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    /// The links have something.
    pub(crate) links: bool,
    /// The socket that takes what the rings had no room for was found empty some time after this.
    pub(crate) overflow_empty: Option<Instant>,
}

impl Ready {
    /// Everything needs a look.
    pub(crate) const ALL: Self = Self { links: true, overflow_empty: None };
}

/// How a thread waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Until something comes.
    Sleep,
    /// For a moment, which events do not cut short.
    Coalesce,
}

/// What a thread waits for.
#[derive(Debug)]
pub(crate) struct Waits {
    /// Waits for every descriptor of the thread.
    all: OwnedFd,
    /// What ends the wait for events to coalesce: not those events.
    urgent: OwnedFd,
    /// The main thread's word that it wants something.
    orders: Arc<OwnedFd>,
    has_overflow: bool,
}

impl Waits {
    /// For a thread that reads `source`; `orders` becomes readable when the main thread has an order.
    pub(crate) fn new(source: &Source, orders: Arc<OwnedFd>) -> io::Result<Self> {
        let all = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let urgent = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for fd in source.ring_descriptors() {
            watch(&all, fd, EVENTS)?;
        }
        let overflow = source.overflow_descriptor();
        for poller in [&all, &urgent] {
            watch(poller, &orders, ORDERS)?;
            if let Some(overflow) = overflow {
                watch(poller, overflow, OVERFLOW)?;
            }
        }
        let has_overflow = overflow.is_some();
        Ok(Self { all, urgent, orders, has_overflow })
    }

    /// Ends those waits too when the links have something.
    pub(crate) fn watch_links(&self, fd: impl AsFd) -> io::Result<()> {
        watch(&self.all, &fd, LINKS)?;
        watch(&self.urgent, fd, LINKS)
    }

    /// Ends sleeps when there are more events, or answers of the kernel.
    pub(crate) fn watch_events(&self, fd: impl AsFd) -> io::Result<()> {
        watch(&self.all, fd, EVENTS)
    }

    /// Makes rings for CPUs that have come online in a source, and waits for those too. Returns a line for the log.
    pub(crate) fn follow_cpus(&self, source: &mut Source) -> Option<String> {
        source.look_for_cpus(|ring| {
            // One that is not watched is read all the same, when something else ends the wait.
            let _ = self.watch_events(ring);
        })
    }

    /// Waits; `before` was read before. That the main thread wants something ends it, once.
    pub(crate) fn wait(&self, how: Wait, before: Instant, longest: Duration) -> io::Result<Ready> {
        let poller = match how {
            Wait::Sleep => &self.all,
            Wait::Coalesce => &self.urgent,
        };
        let mut longest = longest;
        if longest < ROUNDED {
            match poll(&mut [PollFd::new(poller, PollFlags::IN)], Some(&timespec(longest))) {
                Ok(0) => return Ok(self.outcome(false, true, before)),
                Ok(_) => longest = Duration::ZERO,
                Err(rustix::io::Errno::INTR) => return Ok(self.interrupted()),
                Err(error) => return Err(error.into()),
            }
        }
        let mut room = [const { MaybeUninit::uninit() }; READY_MAX];
        let ready = match epoll::wait(poller, &mut room, Some(&timespec(longest))) {
            Ok((ready, _)) => ready,
            Err(rustix::io::Errno::INTR) => return Ok(self.interrupted()),
            Err(error) => return Err(error.into()),
        };
        // There may have been no room for some descriptors: those are taken for ready.
        let all_shown = ready.len() < READY_MAX;
        let has = |tag| ready.iter().any(|event| event.data.u64() == tag);
        if has(ORDERS) {
            self.take_word();
        }
        Ok(self.outcome(has(LINKS) || !all_shown, all_shown && !has(OVERFLOW), before))
    }

    /// The result of a wait.
    fn outcome(&self, links: bool, overflow_empty: bool, before: Instant) -> Ready {
        let overflow_empty = (self.has_overflow && overflow_empty).then_some(before);
        Ready { links, overflow_empty }
    }

    fn interrupted(&self) -> Ready {
        self.take_word();
        Ready::ALL
    }

    /// Empties the eventfd; an empty one says "again".
    fn take_word(&self) {
        let _ = rustix::io::read(&self.orders, &mut [0; 8]);
    }
}

fn watch(poller: &OwnedFd, fd: impl AsFd, tag: u64) -> io::Result<()> {
    Ok(epoll::add(poller, fd, EventData::new_u64(tag), EventFlags::IN)?)
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}
