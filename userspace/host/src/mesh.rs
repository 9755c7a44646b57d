//! The sockets of replication, version 2: one for each shard, all on one port (`replication-v2.md`, R5.11).
//!
//! ```text
//!                        byte 1 of the payload
//!   port 3790, address --+--- 0 ---> socket of shard 0     also handshakes, whose byte 1 is 0
//!                        +--- 1 ---> socket of shard 1
//!                        +- other -> any, whose shard drops it
//! ```
//!
//! The sender says in byte 1 for which shard a datagram is, and the kernel hands it to that shard's socket: no thread
//! reads for another one.

use crate::sys;
use rustix::fd::{AsFd, BorrowedFd};
use socket2::{Domain, Socket, Type};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Bytes of the heads of IP and UDP.
const HEADS_V4: usize = 28;
const HEADS_V6: usize = 48;
/// Where the shard stands in a datagram that a peer seals (`secure`, section 5).
const SHARD_AT: u32 = 1;

/// The sockets of one shard.
#[derive(Debug)]
pub struct Mesh {
    /// One, or one of each family.
    sockets: Vec<Socket>,
}

/// Opens the sockets of all shards on `port` of these addresses; without any, of all. They are in the order of
/// shards, and must be kept together: the kernel renumbers them when one is closed. Port 0 makes the kernel choose
/// one.
///
/// # Errors
/// As `socket(2)`, `bind(2)` and `setsockopt(2)`.
pub fn open(addresses: &[IpAddr], port: u16, shards: usize) -> io::Result<Vec<Mesh>> {
    let mut meshes: Vec<_> = (0..shards).map(|_| Mesh { sockets: Vec::new() }).collect();
    let unspecified = [IpAddr::from(Ipv6Addr::UNSPECIFIED)];
    let everywhere = addresses.is_empty();
    for address in if everywhere { &unspecified } else { addresses } {
        let mut at = SocketAddr::new(*address, port);
        for (shard, mesh) in meshes.iter_mut().enumerate() {
            let mut bound = bind(at, everywhere);
            if everywhere && shard == 0 && bound.as_ref().is_err_and(has_no_ipv6) {
                at = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
                bound = bind(at, false);
            }
            let socket = bound?;
            if shard == 0 {
                sys::steer_by_byte(socket.as_fd(), SHARD_AT)?;
                let name = socket.local_addr()?.as_socket();
                at.set_port(name.map_or(port, |name| name.port()));
            }
            mesh.sockets.push(socket);
        }
    }
    Ok(meshes)
}

fn has_no_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

fn bind(at: SocketAddr, both_families: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    if at.is_ipv6() {
        socket.set_only_v6(!both_families)?;
    }
    set_unfragmented(&socket, at.is_ipv6(), at.is_ipv4() || both_families)?;
    // All sockets of a port belong to one user: no other user's can join (socket(7)).
    socket.set_reuse_port(true)?;
    socket.bind(&at.into())?;
    Ok(socket)
}

/// Has a socket send each datagram in one piece, or not at all.
///
/// `IP_PMTUDISC_PROBE` sets don't-fragment and goes by the interface alone. `IP_PMTUDISC_DO` would go by ICMP
/// messages too, and any host that can send ICMP would decide the size: it can claim that an IPv4 path carries 552
/// bytes (R12.4, RFC 8899, 4.6.1).
fn set_unfragmented(socket: &Socket, v6: bool, v4: bool) -> io::Result<()> {
    let fd = socket.as_fd();
    if v6 {
        let probe = libc::IPV6_PMTUDISC_PROBE;
        sys::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, probe)?;
    }
    if v4 {
        sys::set_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)?;
    }
    Ok(())
}

/// Bytes of the longest datagram to there that the kernel knows to pass: the interface's, or what ICMP said.
///
/// # Errors
/// As `socket(2)`, `connect(2)` and `getsockopt(2)`.
pub fn known_limit(to: SocketAddr) -> io::Result<usize> {
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, None)?;
    // `connect` looks the route up, and sends nothing.
    socket.connect(&to.into())?;
    let (level, name, heads) = match to {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU, HEADS_V4),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU, HEADS_V6),
    };
    let mtu = sys::option(socket.as_fd(), level, name)?;
    Ok(usize::try_from(mtu).unwrap_or(0).saturating_sub(heads))
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// The datagram is on its way.
    Sent,
    /// The datagram is longer than the interface takes.
    TooLong,
    /// The datagram is lost, as on the way.
    Lost,
}

impl Mesh {
    /// What to wait on.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().map(AsFd::as_fd)
    }

    /// The port that it listens on.
    ///
    /// # Errors
    /// As `getsockname(2)`.
    pub fn port(&self) -> io::Result<u16> {
        let name = self.sockets.first().map(Socket::local_addr).transpose()?;
        Ok(name.and_then(|name| name.as_socket()).map_or(0, |name| name.port()))
    }

    /// Takes a datagram of one of the sockets, if there is one: where it came from, and its length. One that is longer
    /// than the buffer is cut, and then none that a peer sealed.
    ///
    /// # Errors
    /// As `recvfrom(2)`, but for what an earlier datagram of ours met on its way.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(SocketAddr, usize)>> {
        for socket in &self.sockets {
            let received =
                rustix::net::recvfrom(socket, &mut *buffer, rustix::net::RecvFlags::empty());
            match received {
                Ok((len, _, from)) => {
                    let from = from.and_then(|from| SocketAddr::try_from(from).ok());
                    let Some(from) = from else { continue };
                    return Ok(Some((plain(from), len)));
                }
                Err(error) => match io::Error::from(error) {
                    error if is_of_the_path(&error) => {}
                    error => return Err(error),
                },
            }
        }
        Ok(None)
    }

    /// Sends a datagram. A datagram that cannot be sent now, or not to this address, counts as lost on the way.
    ///
    /// # Errors
    /// As `sendto(2)`, but not the errors that the path to this peer causes.
    pub fn send(&self, to: SocketAddr, datagram: &[u8]) -> io::Result<Departure> {
        let mut outcome = Ok(Departure::Lost);
        for socket in &self.sockets {
            let is_v6 = socket.domain()? == Domain::IPV6;
            let to = match (is_v6, to) {
                (true, SocketAddr::V4(to)) => {
                    SocketAddrV6::new(to.ip().to_ipv6_mapped(), to.port(), 0, 0).into()
                }
                (false, SocketAddr::V6(_)) => continue,
                _ => to,
            };
            match socket.send_to(datagram, &to.into()) {
                Ok(_) => return Ok(Departure::Sent),
                Err(failed) if failed.raw_os_error() == Some(libc::EMSGSIZE) => {
                    return Ok(Departure::TooLong);
                }
                Err(failed) if is_of_the_path(&failed) => {}
                Err(failed) => outcome = Err(failed),
            }
        }
        outcome
    }
}

/// An IPv4 address as such, also where a socket of both families shows it inside of an IPv6 one.
fn plain(from: SocketAddr) -> SocketAddr {
    SocketAddr::new(from.ip().to_canonical(), from.port())
}

/// Nothing is wrong with the socket: there is no room or nothing to read, or the way to a peer is broken.
fn is_of_the_path(error: &io::Error) -> bool {
    use ErrorKind::{
        ConnectionRefused, HostUnreachable, Interrupted, NetworkUnreachable, WouldBlock,
    };
    let lost = [ConnectionRefused, HostUnreachable, Interrupted, NetworkUnreachable, WouldBlock];
    // EPERM is what a packet filter answers that drops; EMSGSIZE what a path that has shrunk does.
    let codes = [libc::EPERM, libc::EMSGSIZE, libc::ENOBUFS, libc::ENETDOWN, libc::EADDRNOTAVAIL];
    lost.contains(&error.kind()) || error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::time::{Duration, Instant};

    /// Which shards' sockets get a datagram with this byte 1, and how long it is there.
    fn arrives(meshes: &[Mesh], bytes: &[u8]) -> Option<(usize, SocketAddr, usize)> {
        let (mut buffer, begun) = ([0; 2000], Instant::now());
        while begun.elapsed() < Duration::from_secs(30) {
            for (shard, mesh) in meshes.iter().enumerate() {
                if let Some((from, len)) = mesh.receive(&mut buffer).unwrap() {
                    assert_eq!(&buffer[..len], bytes);
                    return Some((shard, from, len));
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        None
    }

    #[test]
    fn r5_11_byte_1_says_which_shards_socket_gets_a_datagram() {
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        let meshes = open(&[loopback], 0, 4).unwrap();
        let to = SocketAddr::new(loopback, meshes[0].port().unwrap());
        // Many senders: without steering the kernel would spread them by their ports.
        for (n, shard) in (0..40).map(|n| (n, n % 4)) {
            let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let bytes = [0x24, shard as u8, 0, n as u8];
            sender.send_to(&bytes, to).unwrap();
            let got = arrives(&meshes, &bytes).unwrap();
            assert_eq!(got, (shard, sender.local_addr().unwrap(), 4), "datagram {n}");
        }
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        for strange in [&[0x24_u8, 4, 9][..], &[0x24, 255], &[0x24], &[]] {
            sender.send_to(strange, to).unwrap();
            assert!(arrives(&meshes, strange).is_some(), "any socket gets {strange:?}");
        }
    }

    #[test]
    fn a_socket_of_both_families_speaks_to_both() {
        let meshes = open(&[], 0, 2).unwrap();
        let port = meshes[0].port().unwrap();
        let mut ends = vec![UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()];
        // A machine may have no IPv6.
        ends.extend(UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)));
        for end in ends {
            let at = end.local_addr().unwrap();
            end.send_to(&[0x24, 1], (at.ip(), port)).unwrap();
            assert_eq!(arrives(&meshes, &[0x24, 1]), Some((1, at, 2)));
            assert_eq!(meshes[1].send(at, &[7; 100]).unwrap(), Departure::Sent);
            end.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let (len, from) = end.recv_from(&mut [0; 200]).unwrap();
            assert_eq!((len, from), (100, SocketAddr::new(at.ip(), port)));
        }
    }

    #[test]
    fn what_nobody_hears_is_lost_and_no_error() {
        let meshes = open(&[Ipv4Addr::LOCALHOST.into()], 0, 1).unwrap();
        let nobody = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        for _ in 0..3 {
            // ICMP answers the first one, and the socket reports that with the next call.
            meshes[0].send(nobody, &[1, 2, 3]).unwrap();
            assert_eq!(meshes[0].receive(&mut [0; 10]).unwrap(), None);
        }
        let other_family = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 9);
        assert_eq!(meshes[0].send(other_family, &[1]).unwrap(), Departure::Lost);
    }
}
