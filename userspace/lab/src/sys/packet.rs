//! Raw frames out of an interface and into one (packet(7)).

use host::sys::check;
use libc::{c_int, c_void, socklen_t};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::io;
use std::mem::zeroed;
use std::time::Duration;

/// Every protocol, for a socket that receives (`ETH_P_ALL`).
pub const ETH_P_ALL: u16 = 3;

/// A packet socket on one interface.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
}

impl PacketSocket {
    /// Opens one on interface `index`; with protocol 0 it only sends, past the queueing discipline.
    ///
    /// # Errors
    /// As `socket(2)` and `bind(2)`.
    pub fn open(index: u32, protocol: u16) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: the descriptor is checked, and nothing else owns it; `sockaddr_ll` is plain data of the length
        // given.
        let fd = unsafe {
            let fd = check(libc::socket(libc::AF_PACKET, kind, c_int::from(protocol.to_be())))?;
            let fd = OwnedFd::from_raw_fd(fd);
            let mut address: libc::sockaddr_ll = zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = protocol.to_be();
            address.sll_ifindex = index as c_int;
            let at = (&raw const address).cast::<libc::sockaddr>();
            let len = size_of::<libc::sockaddr_ll>() as socklen_t;
            check(libc::bind(fd.as_raw_fd(), at, len))?;
            fd
        };
        if protocol == 0 {
            host::sys::set_option(fd.as_fd(), libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1)?;
            host::sys::set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, 8 << 20)?;
        }
        Ok(Self { fd })
    }

    /// Reads a frame that has arrived, without waiting; `None` if there is none.
    ///
    /// # Errors
    /// As `recv(2)`.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match rustix::net::recv(&self.fd, buffer, rustix::net::RecvFlags::DONTWAIT) {
            Ok((len, _)) => Ok(Some(len)),
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// When the frame that was read last passed the interface, on the wall clock, since 1970. The first call only asks
    /// the kernel to note that from now on, and fails with `ENOENT`.
    ///
    /// # Errors
    /// As `ioctl(2)` with `SIOCGSTAMPNS` (socket(7)).
    pub fn last_stamp(&self) -> io::Result<Duration> {
        /// `SIOCGSTAMPNS_OLD`: seconds and nanoseconds as `long` (`include/uapi/asm-generic/sockios.h`, v6.12).
        const SIOCGSTAMPNS: u64 = 0x8907;
        // SAFETY: `timespec` is plain data, and the kernel writes one.
        let stamp = unsafe {
            let mut stamp: libc::timespec = zeroed();
            let fd = self.fd.as_raw_fd();
            check(libc::ioctl(fd, SIOCGSTAMPNS as _, &raw mut stamp))?;
            stamp
        };
        Ok(Duration::new(stamp.tv_sec as u64, stamp.tv_nsec as u32))
    }

    /// Sends frames of `len` bytes each, which lie one after the other in `frames`; returns how many went.
    ///
    /// # Errors
    /// As `sendmmsg(2)`.
    pub fn send(&self, frames: &[u8], len: usize) -> io::Result<usize> {
        // SAFETY: `mmsghdr` and `iovec` are plain data; the kernel only reads the frames; every pointer stays valid
        // through the call, because the arrays are neither moved nor resized before it returns.
        unsafe {
            let mut vectors: Vec<libc::iovec> = frames
                .chunks_exact(len)
                .map(|f| libc::iovec {
                    iov_base: f.as_ptr().cast_mut().cast::<c_void>(),
                    iov_len: len,
                })
                .collect();
            let mut headers: Vec<libc::mmsghdr> = vec![zeroed(); vectors.len()];
            for (header, vector) in headers.iter_mut().zip(&mut vectors) {
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
            }
            let count = headers.len() as u32;
            let sent = libc::sendmmsg(self.fd.as_raw_fd(), headers.as_mut_ptr(), count, 0);
            check(sent).map(|sent| sent as usize)
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
