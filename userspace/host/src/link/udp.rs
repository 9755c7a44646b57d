//! Unicast UDP between two fixed addresses.
//!
//! Like conntrackd, it takes datagrams from any sender: version 1 of the protocol has no authentication, which is why
//! the link is to be a dedicated one.

use super::{LinkCounters, LinkError, Sent, Settings};
use crate::sys::{self, Batch};
use rustix::fd::{AsFd, BorrowedFd};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};

/// Datagrams taken with one system call.
const BATCH: usize = 16;
/// The longest datagram UDP has.
const DATAGRAM_LEN_MAX: usize = 65_535;
/// Receive buffer unless the configuration says otherwise: about 10 ms of a bulk transfer at full speed.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Header lengths, IP and UDP.
const HEADERS_V4: usize = 20 + 8;
const HEADERS_V6: usize = 40 + 8;

/// Unicast UDP.
#[derive(Debug)]
pub struct UdpLink {
    socket: Socket,
    peer: SockAddr,
    interface: String,
    datagram_max: usize,
    batch: Batch,
    counters: LinkCounters,
}

impl UdpLink {
    /// Binds our end.
    ///
    /// # Errors
    /// When the interface does not exist or the address cannot be bound.
    pub fn open(settings: &Settings) -> Result<Self, LinkError> {
        let mtu = sys::interface_mtu(&settings.interface)
            .map_err(|e| LinkError::Interface(settings.interface.clone(), e))?;
        let local = SocketAddr::new(settings.local, settings.port);
        let fail = |e| LinkError::Socket(local.to_string(), e);
        let socket = open_socket(settings, local).map_err(fail)?;
        let headers = if settings.local.is_ipv6() { HEADERS_V6 } else { HEADERS_V4 };
        Ok(Self {
            socket,
            peer: SocketAddr::new(settings.peer, settings.port).into(),
            interface: settings.interface.clone(),
            datagram_max: mtu.saturating_sub(headers).min(DATAGRAM_LEN_MAX),
            batch: Batch::new(BATCH, DATAGRAM_LEN_MAX),
            counters: LinkCounters::default(),
        })
    }

    pub(super) const fn datagram_max(&self) -> usize {
        self.datagram_max
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Sent {
        match self.socket.send_to(bytes, &self.peer) {
            Ok(_) => {
                self.counters.bytes_sent += bytes.len() as u64;
                self.counters.packets_sent += 1;
            }
            Err(e) if sys::would_block(&e) => return Sent::NoRoom,
            Err(_) => self.counters.errors_sent += 1,
        }
        Sent::Done
    }

    pub(super) fn receive(&mut self, budget: usize, sink: &mut impl FnMut(&[u8])) -> usize {
        let mut taken = 0;
        while taken < budget {
            let Ok(got) = self.batch.receive(self.socket.as_fd()) else {
                self.counters.errors_received += 1;
                break;
            };
            for datagram in (0..got).map(|i| self.batch.datagram(i)) {
                self.counters.bytes_received += datagram.len() as u64;
                self.counters.packets_received += 1;
                sink(datagram);
            }
            taken += got;
            if got < BATCH {
                break;
            }
        }
        taken
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(super) const fn counters(&self) -> LinkCounters {
        self.counters
    }

    pub(super) fn interface(&self) -> &str {
        &self.interface
    }
}

fn open_socket(settings: &Settings, local: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_cloexec(true)?;
    socket.set_reuse_address(true)?;
    let fd = socket.as_fd();
    force_buffer(fd, libc::SO_RCVBUFFORCE, settings.receive_buffer.unwrap_or(RECEIVE_BUFFER));
    if let Some(bytes) = settings.send_buffer {
        force_buffer(fd, libc::SO_SNDBUFFORCE, bytes);
    }
    if !settings.checksum && matches!(settings.local, IpAddr::V4(_)) {
        sys::set_option(fd, libc::SOL_SOCKET, libc::SO_NO_CHECK, 1)?;
    }
    socket.bind(&local.into())?;
    Ok(socket)
}

/// A buffer that cannot be made as large as asked is left as it is; losses would be counted.
fn force_buffer(fd: BorrowedFd<'_>, name: i32, bytes: usize) {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX / 2);
    let _ = sys::set_option(fd, libc::SOL_SOCKET, name, bytes);
}
