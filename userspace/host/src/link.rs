//! The dedicated link to the peer.

use crate::sys;
use rustix::fd::BorrowedFd;
use std::io;
use std::net::IpAddr;

pub mod udp;

pub use udp::UdpLink;

/// How to open a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Our address.
    pub local: IpAddr,
    /// The peer's address.
    pub peer: IpAddr,
    /// UDP port, the same on both ends.
    pub port: u16,
    /// Interface the link runs over; its MTU bounds a datagram.
    pub interface: String,
    /// Send buffer, bytes.
    pub send_buffer: Option<usize>,
    /// Receive buffer, bytes.
    pub receive_buffer: Option<usize>,
    /// Whether sent datagrams carry a checksum. Only IPv4 can do without.
    pub checksum: bool,
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is gone, for good or ill.
    Done,
    /// The socket has no room: try again. An absent peer looks like this too, for as long as its hardware address
    /// is being asked for.
    NoRoom,
}

/// Traffic of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Datagrams sent.
    pub packets_sent: u64,
    /// Datagrams received.
    pub packets_received: u64,
    /// Datagrams that could not be sent.
    pub errors_sent: u64,
    /// Failed receptions.
    pub errors_received: u64,
}

/// Whether the interface of a link can carry traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkStatus {
    /// It can.
    Running,
    /// It is up, and nothing is at the other end.
    NoCarrier,
    /// It is down, or gone.
    Down,
}

/// Why a link could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No such interface.
    #[error("link interface {0}: {1}")]
    Interface(String, io::Error),
    /// A socket call failed.
    #[error("link socket {0}: {1}")]
    Socket(String, io::Error),
}

/// A link of some kind.
#[derive(Debug)]
pub enum Link {
    /// Unicast UDP.
    Udp(UdpLink),
}

impl Link {
    /// Longest datagram to hand to [`Link::send`], bytes.
    #[must_use]
    pub const fn datagram_max(&self) -> usize {
        match self {
            Self::Udp(l) => l.datagram_max(),
        }
    }

    /// Sends one datagram without blocking. A datagram that fails is counted: the protocol above lives with loss.
    /// One that finds no room is not lost, it is to be sent again later.
    pub fn send(&mut self, bytes: &[u8]) -> Sent {
        match self {
            Self::Udp(l) => l.send(bytes),
        }
    }

    /// Hands out waiting datagrams, at most `budget`; returns how many.
    pub fn receive(&mut self, budget: usize, sink: &mut impl FnMut(&[u8])) -> usize {
        match self {
            Self::Udp(l) => l.receive(budget, sink),
        }
    }

    /// The descriptor that becomes readable when datagrams wait.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Self::Udp(l) => l.descriptor(),
        }
    }

    /// Its traffic.
    #[must_use]
    pub const fn counters(&self) -> LinkCounters {
        match self {
            Self::Udp(l) => l.counters(),
        }
    }

    /// The interface it runs over.
    #[must_use]
    pub fn interface(&self) -> &str {
        match self {
            Self::Udp(l) => l.interface(),
        }
    }

    /// Whether its interface can carry traffic now.
    #[must_use]
    pub fn status(&self) -> LinkStatus {
        let flags = sys::interface_flags(self.interface()).unwrap_or(0);
        if flags & libc::IFF_UP == 0 {
            LinkStatus::Down
        } else if flags & libc::IFF_RUNNING == 0 {
            LinkStatus::NoCarrier
        } else {
            LinkStatus::Running
        }
    }

    /// Its kind, as statistics name it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Udp(_) => "UDP",
        }
    }
}
