//! What sockets of every kind of link have in common.

use super::{Ends, Settings};
use crate::sys;
use rustix::fd::{AsFd, BorrowedFd};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// Receive buffer of datagram links unless the configuration says otherwise: about 10 ms of a bulk transfer at full
/// speed. Streams have the kernel's.
const DATAGRAM_RECEIVE_BUFFER: usize = 4 << 20;

/// A non-blocking socket for this address's family.
pub(super) fn new(address: IpAddr, kind: Type) -> io::Result<Socket> {
    let protocol = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
    let socket =
        Socket::new(Domain::for_address(SocketAddr::new(address, 0)), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    socket.set_cloexec(true)?;
    if address.is_ipv6() {
        // An IPv4 link may listen on the same port.
        socket.set_only_v6(true)?;
    } else if kind == Type::DGRAM {
        // Fragments on the way are better than a lost datagram and a lesson about the path.
        let (level, name) = (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER);
        sys::set_option(socket.as_fd(), level, name, libc::IP_PMTUDISC_DONT)?;
    }
    Ok(socket)
}

/// `address` and `port`. Where an address means nothing without an interface, it gets the one numbered `index`.
pub(super) fn scoped(address: IpAddr, port: u16, index: u32) -> SocketAddr {
    match address {
        IpAddr::V6(v6) if needs_scope(address) => SocketAddrV6::new(v6, port, 0, index).into(),
        other => SocketAddr::new(other, port),
    }
}

/// Binds a socket to our end. `shares`: other links of ours are bound to the same port.
pub(super) fn bind(socket: &Socket, ends: &Ends, index: u32, shares: bool) -> io::Result<()> {
    if shares {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&scoped(ends.local, ends.port, index).into())
}

/// Whether our end can be bound to without sharing it. Sockets that share a port do not notice another program that
/// shares it too, and the kernel would give that program a part of what arrives.
pub(super) fn probe(ends: &Ends, kind: Type, index: u32) -> io::Result<()> {
    let socket = new(ends.local, kind)?;
    // Remains of former connections must not keep the address busy.
    socket.set_reuse_address(kind == Type::STREAM)?;
    bind(&socket, ends, index, false)
}

/// Whether the address has a scope that ends at the link (RFC 4291, sections 2.5.6 and 2.7).
pub(super) fn needs_scope(address: IpAddr) -> bool {
    match address {
        IpAddr::V6(v6) => {
            let [high, low, ..] = v6.octets();
            v6.is_unicast_link_local() || high == 0xff && matches!(low & 0x0f, 1 | 2)
        }
        IpAddr::V4(_) => false,
    }
}

/// Whether sent datagrams go without a checksum. Only IPv4 can do without.
pub(super) fn set_checksum(socket: &Socket, settings: &Settings, to: IpAddr) -> io::Result<()> {
    if settings.checksum || to.is_ipv6() {
        return Ok(());
    }
    sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, 1)
}

/// The send buffer that is configured.
pub(super) fn set_send_buffer(socket: &Socket, settings: &Settings) {
    if let Some(bytes) = settings.send_buffer {
        force_buffer(socket.as_fd(), libc::SO_SNDBUFFORCE, bytes);
    }
}

/// The receive buffer that is configured, or that of datagram links.
pub(super) fn set_receive_buffer(socket: &Socket, settings: &Settings, kind: Type) {
    let usual = (kind == Type::DGRAM).then_some(DATAGRAM_RECEIVE_BUFFER);
    if let Some(bytes) = settings.receive_buffer.or(usual) {
        force_buffer(socket.as_fd(), libc::SO_RCVBUFFORCE, bytes);
    }
}

/// A buffer that cannot be made as large as asked is left as it is; losses would be counted.
fn force_buffer(fd: BorrowedFd<'_>, name: i32, bytes: usize) {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX / 2);
    let _ = sys::set_option(fd, libc::SOL_SOCKET, name, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_link_get_its_interface() {
        let scope = |text: &str| match scoped(text.parse().unwrap(), 3780, 7) {
            SocketAddr::V6(v6) => v6.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        let found =
            ["fe80::1", "ff02::50", "ff12::50", "ff05::50", "fd99::1", "10.0.0.1"].map(scope);
        assert_eq!(found, [7, 7, 7, 0, 0, 0]);
    }
}
