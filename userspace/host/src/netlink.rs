//! Netlink sockets: the netfilter family, and the news about interfaces.

use crate::sys;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::time::Timespec;
use std::io;

/// Socket options (`include/uapi/linux/netlink.h`).
mod option {
    pub(super) const ADD_MEMBERSHIP: i32 = 1;
    pub(super) const DROP_MEMBERSHIP: i32 = 2;
    pub(super) const EXT_ACK: i32 = 11;
    pub(super) const CAP_ACK: i32 = 10;
    pub(super) const BROADCAST_ERROR: i32 = 4;
    pub(super) const NO_ENOBUFS: i32 = 5;
}

/// A bound netlink socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    /// Port id: events caused by requests on this socket carry it.
    portid: u32,
}

impl Socket {
    /// Opens a socket, lets `before_bind` prepare it (attach a filter, size the buffer) and joins `groups`.
    ///
    /// # Errors
    /// As `socket(2)` and `bind(2)`, or what `before_bind` says.
    pub fn open<E: From<io::Error>>(
        groups: u32,
        before_bind: impl FnOnce(BorrowedFd<'_>) -> Result<(), E>,
    ) -> Result<Self, E> {
        let fd = sys::netlink_socket(libc::NETLINK_NETFILTER)?;
        before_bind(fd.as_fd())?;
        let portid = sys::netlink_bind(fd.as_fd(), groups)?;
        Ok(Self { fd, portid })
    }

    /// Opens a socket for requests: no groups, short acknowledgements with extended error text.
    ///
    /// # Errors
    /// As `socket(2)` and `bind(2)`.
    pub fn for_requests() -> io::Result<Self> {
        Self::open(0, |fd| {
            // Old kernels lack these; they only make errors shorter and clearer.
            let _ = sys::set_option(fd, libc::SOL_NETLINK, option::CAP_ACK, 1);
            let _ = sys::set_option(fd, libc::SOL_NETLINK, option::EXT_ACK, 1);
            Ok(())
        })
    }

    /// Opens a socket that receives every change of an interface in this network namespace.
    ///
    /// # Errors
    /// As `socket(2)` and `bind(2)`.
    pub fn for_interfaces() -> io::Result<Self> {
        let fd = sys::netlink_socket(libc::NETLINK_ROUTE)?;
        let portid = sys::netlink_bind(fd.as_fd(), libc::RTMGRP_LINK as u32)?;
        Ok(Self { fd, portid })
    }

    /// Reads and forgets what waits; whether there was something, or had been something the socket had no room for.
    #[must_use]
    pub fn discard(&self) -> bool {
        let mut any = false;
        loop {
            // One byte is enough: the rest of a datagram goes with its first byte.
            match rustix::net::recv(&self.fd, &mut [0_u8; 1], RecvFlags::DONTWAIT) {
                Ok(_) | Err(Errno::NOBUFS) => any = true,
                Err(_) => return any,
            }
        }
    }

    /// The port id the kernel gave it.
    #[must_use]
    pub const fn portid(&self) -> u32 {
        self.portid
    }

    /// Sends one buffer of requests.
    ///
    /// # Errors
    /// As `send(2)`.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.fd, bytes, rustix::net::SendFlags::empty())?;
        Ok(())
    }

    /// Takes one datagram, and waits for it until `patience` is over, or for ever. Returns its length, at most that of
    /// `buffer`.
    ///
    /// # Errors
    /// As `recv(2)`; `TimedOut` when none came in time.
    pub fn receive(&self, buffer: &mut [u8], patience: Option<&Timespec>) -> io::Result<usize> {
        loop {
            match rustix::net::recv(&self.fd, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((got, _)) => return Ok(got),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], patience) == Ok(0) {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Joins, or leaves, multicast groups: bits as [`Socket::open`] takes them.
    ///
    /// # Errors
    /// As `setsockopt(2)`; perhaps some of them were joined or left.
    pub fn set_groups(&self, groups: u32, member: bool) -> io::Result<()> {
        let name = if member { option::ADD_MEMBERSHIP } else { option::DROP_MEMBERSHIP };
        let numbers = (0..u32::BITS).filter(|bit| groups >> bit & 1 == 1).map(|bit| bit as i32 + 1);
        for number in numbers {
            sys::set_option(self.fd.as_fd(), libc::SOL_NETLINK, name, number)?;
        }
        Ok(())
    }

    /// Messages the kernel dropped because this socket was full.
    #[must_use]
    pub fn drops(&self) -> u64 {
        sys::socket_drops(self.fd.as_fd()).map_or(0, u64::from)
    }

    /// Size of the receive buffer, as the kernel accounts it.
    #[must_use]
    pub fn receive_buffer(&self) -> usize {
        let size = sys::option(self.fd.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF);
        size.map_or(0, |n| usize::try_from(n).unwrap_or(0))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Keeps the kernel from reporting that this socket has no room (`NETLINK_NO_ENOBUFS`); netlink(7).
///
/// # Errors
/// As `setsockopt(2)`.
pub fn set_without_overruns(fd: BorrowedFd<'_>) -> io::Result<()> {
    sys::set_option(fd, libc::SOL_NETLINK, option::NO_ENOBUFS, 1)
}

/// Sets the receive buffer, past the system's limit where we may.
///
/// # Errors
/// As `setsockopt(2)`.
pub fn set_receive_buffer(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    // The kernel doubles the value; conntrackd's setting has always meant the value before doubling.
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX / 2);
    sys::set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)
        .or_else(|_| sys::set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes))
}

/// Makes a send to this socket's groups fail when the socket has no room for the message. Conntrack then keeps the
/// event and sends it again later (`NETLINK_BROADCAST_ERROR`), so that the reader needs no report of a loss
/// (`NETLINK_NO_ENOBUFS`); netlink(7).
///
/// # Errors
/// As `setsockopt(2)`.
pub fn set_reliable(fd: BorrowedFd<'_>) -> io::Result<()> {
    sys::set_option(fd, libc::SOL_NETLINK, option::BROADCAST_ERROR, 1)?;
    sys::set_option(fd, libc::SOL_NETLINK, option::NO_ENOBUFS, 1)
}
