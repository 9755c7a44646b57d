//! Many datagrams with one system call.

use super::would_block;
use libc::socklen_t;
use rustix::fd::{AsRawFd, BorrowedFd};
use std::io;
use std::mem::{MaybeUninit, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Most datagrams that one system call receives.
const SLOTS_MAX: usize = 256;
/// Length of a cache line.
const LINE: usize = 64;
/// Slots do not begin a power of two apart, or the beginnings of all of them would share a few lines of the cache: an
/// odd number of lines, near the length of an Ethernet frame.
const SPREAD: usize = 23 * LINE;

/// Receive buffers for [`Batch::receive`], reused from call to call.
#[derive(Debug)]
pub struct Batch {
    buffers: Vec<u8>,
    slot_len: usize,
    /// From one slot to the next.
    stride: usize,
    lens: Vec<usize>,
    /// Where the kernel writes source addresses; empty if the caller does not need them.
    sources: Vec<Source>,
}

/// Room for a source address of either IP family, zero before the kernel writes one: `sockaddr_in` is shorter.
#[derive(Clone, Copy)]
struct Source(libc::sockaddr_in6);

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address().fmt(f)
    }
}

impl Source {
    const LEN: socklen_t = size_of::<Self>() as socklen_t;

    fn address(&self) -> Option<SocketAddr> {
        match i32::from(self.0.sin6_family) {
            libc::AF_INET => {
                // SAFETY: both are plain data, and `sockaddr_in` is the shorter one with no stricter alignment.
                let v4 = unsafe { *(&raw const self.0).cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 => {
                let ip = Ipv6Addr::from(self.0.sin6_addr.s6_addr);
                let (port, scope) = (u16::from_be(self.0.sin6_port), self.0.sin6_scope_id);
                Some(SocketAddrV6::new(ip, port, 0, scope).into())
            }
            _ => None,
        }
    }
}

impl Batch {
    /// Room for `slots` datagrams, 256 at most, of at most `slot_len` bytes.
    #[must_use]
    pub fn new(slots: usize, slot_len: usize) -> Self {
        let slots = slots.min(SLOTS_MAX);
        let stride = slot_len.next_multiple_of(2 * LINE) + SPREAD;
        let buffers = vec![0; slots * stride];
        Self { buffers, slot_len, stride, lens: vec![0; slots], sources: Vec::new() }
    }

    /// A batch for IP sockets whose datagrams' [`Batch::source`] is wanted.
    #[must_use]
    pub fn with_sources(slots: usize, slot_len: usize) -> Self {
        let mut batch = Self::new(slots, slot_len);
        // SAFETY: `sockaddr_in6` is plain data.
        batch.sources = vec![Source(unsafe { zeroed() }); batch.lens.len()];
        batch
    }

    /// Receives as many datagrams as there are, up to the number of slots, without blocking.
    ///
    /// Returns how many came; 0 when none is waiting.
    ///
    /// # Errors
    /// As `recvmmsg(2)`; `ENOBUFS` means that the kernel dropped messages before the ones it still holds.
    pub fn receive(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        self.receive_some(fd, self.lens.len())
    }

    /// As [`Batch::receive`], but no more than `slots` datagrams: where few are expected, preparing all slots would
    /// be a waste.
    ///
    /// # Errors
    /// As there.
    pub fn receive_some(&mut self, fd: BorrowedFd<'_>, slots: usize) -> io::Result<usize> {
        self.take(fd, slots, libc::MSG_DONTWAIT)
    }

    /// As [`Batch::receive_some`], but waits for the first datagram, for ever; 0 when a signal came before one. With
    /// one slot the kernel writes no source address.
    ///
    /// # Errors
    /// As there.
    pub fn wait_and_receive(&mut self, fd: BorrowedFd<'_>, slots: usize) -> io::Result<usize> {
        let got = match slots {
            1 => self.take_one(fd),
            _ => self.take(fd, slots, libc::MSG_WAITFORONE),
        };
        match got {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            other => other,
        }
    }

    /// Waits for one datagram. The call for one has less to read than that for many.
    fn take_one(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        let Some(len) = self.lens.first_mut() else { return Ok(0) };
        let buffer = &mut self.buffers[..self.slot_len];
        (*len, _) = rustix::net::recv(fd, buffer, rustix::net::RecvFlags::empty())?;
        Ok(1)
    }

    fn take(&mut self, fd: BorrowedFd<'_>, slots: usize, flags: i32) -> io::Result<usize> {
        let slots = slots.min(self.lens.len());
        let mut vectors = [const { MaybeUninit::<libc::iovec>::uninit() }; SLOTS_MAX];
        let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; SLOTS_MAX];
        let buffers = self.buffers.chunks_exact_mut(self.stride).take(slots);
        let buffers = buffers.map(|b| &mut b[..self.slot_len]);
        for ((header, vector), buffer) in headers.iter_mut().zip(&mut vectors).zip(buffers) {
            let iov_base = buffer.as_mut_ptr().cast();
            let vector = vector.write(libc::iovec { iov_base, iov_len: buffer.len() });
            // SAFETY: `mmsghdr` is plain data.
            let header = header.write(unsafe { zeroed() });
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
        }
        for (header, source) in headers.iter_mut().zip(&mut self.sources).take(slots) {
            // SAFETY: as many headers were filled in as there are slots, and there are no more sources than slots.
            let header = unsafe { header.assume_init_mut() };
            source.0.sin6_family = libc::AF_UNSPEC as u16;
            header.msg_hdr.msg_name = (&raw mut *source).cast();
            header.msg_hdr.msg_namelen = Source::LEN;
        }
        let (at, none) = (headers.as_mut_ptr().cast(), std::ptr::null_mut());
        let slots = slots as u32;
        // SAFETY: as many headers were filled in as there are slots. Every pointer in them stays valid through the
        // call: neither the arrays nor the vectors of `self` are moved before it returns.
        let got = unsafe { libc::recvmmsg(fd.as_raw_fd(), at, slots, flags, none) };
        if got < 0 {
            let error = io::Error::last_os_error();
            return if would_block(&error) { Ok(0) } else { Err(error) };
        }
        let got = got as usize;
        for (len, header) in self.lens.iter_mut().zip(&headers[..got]) {
            // SAFETY: the kernel fills in no more headers than it was given.
            let header = unsafe { header.assume_init_ref() };
            *len = (header.msg_len as usize).min(self.slot_len);
        }
        Ok(got)
    }

    /// The datagram in slot `index` of the last [`Batch::receive`].
    #[must_use]
    pub fn datagram(&self, index: usize) -> &[u8] {
        let start = index * self.stride;
        &self.buffers[start..start + self.lens[index]]
    }

    /// Where the datagram in slot `index` of the last [`Batch::receive`] came from. `None` if the batch was made
    /// without sources, or the kernel named none.
    #[must_use]
    pub fn source(&self, index: usize) -> Option<SocketAddr> {
        self.sources.get(index)?.address()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsFd;
    use std::net::UdpSocket;

    /// What a batch says about one datagram between two sockets of this address, and what it must say.
    fn heard(batch: &mut Batch, address: &str) -> [Option<SocketAddr>; 2] {
        let [from, to] = [(); 2].map(|()| UdpSocket::bind((address, 0)).unwrap());
        from.send_to(b"x", to.local_addr().unwrap()).unwrap();
        // On loopback, what was sent has arrived.
        assert_eq!(batch.receive(to.as_fd()).unwrap(), 1);
        [batch.source(0), Some(from.local_addr().unwrap())]
    }

    #[test]
    fn datagrams_have_the_source_the_kernel_saw() {
        let mut batch = Batch::with_sources(4, 100);
        for address in ["127.0.0.1", "::1", "127.0.0.1"] {
            let [from, sent] = heard(&mut batch, address);
            assert_eq!(from, sent);
        }
    }

    #[test]
    fn who_asks_for_no_sources_gets_none() {
        let [from, _] = heard(&mut Batch::new(4, 100), "127.0.0.1");
        assert_eq!(from, None);
    }
}
