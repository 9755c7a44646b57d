//! The plain subscription: works on every kernel, costs a socket buffer per event.

use super::age::Nursery;
use super::{Account, KernelFilter, Settings, SourceError};
use crate::clock;
use crate::netlink::{Socket, set_receive_buffer, set_reliable};
use crate::sys::Batch;
use common::Instant;
use ctnetlink::FlowKey;
use rustix::fd::{AsFd, BorrowedFd};
use std::io;

/// Messages taken with one system call.
const BATCH: usize = 64;
/// Larger than any event: ctnetlink builds them in one page.
const MESSAGE_LEN_MAX: usize = 8192;

/// Conntrack events from the ctnetlink multicast groups.
#[derive(Debug)]
pub struct NetlinkSource {
    socket: Socket,
    batch: Batch,
    delivered: u64,
    /// The socket has said that it had no room.
    overran: bool,
    nursery: Nursery,
}

impl NetlinkSource {
    /// Subscribes.
    ///
    /// # Errors
    /// When the socket cannot be made or the groups not be joined.
    pub fn open(settings: &Settings) -> Result<Self, SourceError> {
        let mut source = Self::open_with(settings, |_| Ok(()))?;
        source.set_filter(&settings.filter);
        Ok(source)
    }

    /// Subscribes; `before_bind` sees the socket before the first event can be queued on it.
    pub(super) fn open_with(
        settings: &Settings,
        before_bind: impl FnOnce(BorrowedFd<'_>) -> Result<(), SourceError>,
    ) -> Result<Self, SourceError> {
        let socket = Socket::open(settings.groups, |fd| {
            if let Some(bytes) = settings.buffer_bytes {
                set_receive_buffer(fd, bytes)?;
            }
            if settings.reliable {
                set_reliable(fd)?;
            }
            before_bind(fd)
        })?;
        Ok(Self {
            socket,
            batch: Batch::new(BATCH, MESSAGE_LEN_MAX),
            delivered: 0,
            overran: false,
            nursery: Nursery::default(),
        })
    }

    /// Hands out up to about `budget` waiting messages; returns how many.
    pub(super) fn drain(
        &mut self,
        budget: usize,
        sink: &mut impl FnMut(&[u8]),
    ) -> io::Result<usize> {
        let mut taken = 0;
        while taken < budget {
            let got = match self.batch.receive(self.socket.as_fd()) {
                Ok(got) => got,
                // The kernel has dropped messages (`account` counts them); what it kept is still there.
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.overran = true;
                    continue;
                }
                Err(e) => return Err(e),
            };
            let Self { batch, nursery, .. } = self;
            let now = clock::now();
            let messages = (0..got).map(|i| batch.datagram(i));
            messages.filter(|bytes| nursery.passes(bytes, now)).for_each(&mut *sink);
            taken += got;
            if got < BATCH {
                break;
            }
        }
        self.delivered += taken as u64;
        Ok(taken)
    }

    /// Joins, or leaves, groups of events.
    pub(super) fn set_groups(&self, groups: u32, member: bool) -> io::Result<()> {
        self.socket.set_groups(groups, member)
    }

    /// Whether the socket has said, since this was last asked, that it had no room.
    pub(super) const fn take_overrun(&mut self) -> bool {
        std::mem::replace(&mut self.overran, false)
    }

    /// Holds back events of flows that are too young. What else a filter refuses is left to the reader.
    pub(super) fn set_filter(&mut self, filter: &KernelFilter) {
        self.nursery.set(filter.config.age_ns);
    }

    /// Hands out the flows that have become old enough.
    pub(super) fn ripe(&mut self, now: Instant, sink: &mut impl FnMut(FlowKey)) {
        self.nursery.ripe(now, sink);
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(super) fn account(&self) -> Account {
        let (delivered, lost) = (self.delivered, self.socket.drops());
        Account { delivered, from_socket: delivered, lost, ..Account::default() }
    }

    /// Doubles the receive buffer, up to `max` bytes. What the kernel does not grant shows in `receive_buffer`.
    pub(super) fn grow(&mut self, max: usize) {
        // The kernel reports twice what is set, so setting what it reports doubles.
        let wanted = self.receive_buffer().min(max);
        if wanted > self.receive_buffer() / 2 {
            let _ = set_receive_buffer(self.socket.as_fd(), wanted);
        }
    }

    pub(super) fn receive_buffer(&self) -> usize {
        self.socket.receive_buffer()
    }
}
