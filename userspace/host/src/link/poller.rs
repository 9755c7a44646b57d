//! The descriptors of all links, behind one.
//!
//! An epoll instance can itself be watched: the shard waits for the one descriptor of this one, and connections come
//! and go behind it.

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::time::Timespec;
use std::io;

/// Descriptors looked at in one turn: four links of three descriptors, and the one for interfaces.
const READY_MAX: usize = 16;

/// What a descriptor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Datagrams of a link come in.
    Datagram,
    /// Connections to a link come in.
    Listener,
    /// The stream of a link comes in.
    Inbound,
    /// The stream of a link goes out.
    Outbound,
    /// Something happened to interfaces.
    Interfaces,
}

/// Identifies a registered descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// Number of the link; 0 for [`Role::Interfaces`].
    pub(super) link: usize,
    /// What the link uses the descriptor for.
    pub(super) role: Role,
}

const ROLES: [Role; 5] =
    [Role::Datagram, Role::Listener, Role::Inbound, Role::Outbound, Role::Interfaces];

impl Token {
    const fn pack(self) -> EventData {
        EventData::new_u64((self.link * ROLES.len() + self.role as usize) as u64)
    }

    fn unpack(data: EventData) -> Self {
        let number = data.u64() as usize;
        Self { link: number / ROLES.len(), role: ROLES[number % ROLES.len()] }
    }
}

/// A descriptor something can be done with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    /// The descriptor that is ready.
    pub(super) token: Token,
    /// Whether it takes bytes, or has failed.
    pub(super) writable: bool,
}

/// Watches descriptors. One that is closed is forgotten by the kernel.
#[derive(Debug)]
pub(super) struct Poller(OwnedFd);

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// Watches for input.
    pub(super) fn add(&self, fd: impl AsFd, token: Token) -> io::Result<()> {
        Ok(epoll::add(&self.0, fd, token.pack(), EventFlags::IN)?)
    }

    /// Watches a descriptor for input, and for room to write if that is wanted.
    pub(super) fn want_room(&self, fd: impl AsFd, token: Token, wanted: bool) -> io::Result<()> {
        let room = if wanted { EventFlags::OUT } else { EventFlags::empty() };
        Ok(epoll::modify(&self.0, fd, token.pack(), EventFlags::IN | room)?)
    }

    /// What is ready now. Never waits.
    pub(super) fn ready(&self) -> impl Iterator<Item = Ready> + use<> {
        let mut events =
            [epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; READY_MAX];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let count = epoll::wait(&self.0, &mut events, Some(&now)).unwrap_or(0);
        events.into_iter().take(count).map(|event| {
            // An event lies unaligned in a packed structure.
            let (flags, data) = (event.flags, event.data);
            let writable = flags.intersects(EventFlags::OUT | EventFlags::ERR | EventFlags::HUP);
            Ready { token: Token::unpack(data), writable }
        })
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
