//! Links that carry datagrams: unicast UDP between two fixed addresses, and multicast.
//!
//! Version 1 of the protocol has no authentication, so its link should be a dedicated one. A unicast link takes
//! datagrams from its peer's address ([`super::peer`]), a multicast link from any sender, if they were sent to its
//! group through its interface.
//!
//! ```text
//!   UDP         one socket, bound to our address and port, sends and receives
//!   multicast   one sends from a port of its own, does not hear itself, hop limit 1;
//!               one receives, bound to the group and its port, joined on the interface
//! ```

use super::{Ends, LinkError, Settings, Transport, socket};
use crate::sys;
use ctnetlink::Writer;
use rustix::fd::{AsFd, BorrowedFd};
use socket2::{InterfaceIndexOrAddress, MsgHdr, SockAddr, Socket, Type};
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr};

/// A link that carries datagrams.
#[derive(Debug)]
pub(super) struct DatagramLink {
    receiver: Socket,
    /// Where it is not the same.
    sender: Option<Socket>,
    to: SockAddr,
    takes_gso: bool,
}

/// `UDP_SEGMENT` (`include/uapi/linux/udp.h`, kernel 4.18): how long the datagrams are that a buffer is cut into.
const UDP_SEGMENT: i32 = 103;
/// Length of a control message's header, and of the whole one with what makes it a multiple of a word.
const HEAD_LEN: usize = size_of::<usize>() + 2 * size_of::<i32>();
const CONTROL_LEN: usize = HEAD_LEN + size_of::<usize>();

impl DatagramLink {
    /// Opens the sockets on interface number `index`. `shares`: other links of ours have the same port.
    pub(super) fn open(settings: &Settings, index: u32, shares: bool) -> Result<Self, LinkError> {
        match &settings.transport {
            Transport::Multicast { group, port, local } => {
                let fail = |e| LinkError::Socket(format!("{group} port {port}"), e);
                Self::multicast(settings, index, *group, *port, *local).map_err(fail)
            }
            Transport::Udp(ends) | Transport::Tcp(ends) => Self::udp(settings, index, ends, shares)
                .map_err(|e| LinkError::Socket(format!("{} port {}", ends.local, ends.port), e)),
        }
    }

    fn udp(settings: &Settings, index: u32, ends: &Ends, shares: bool) -> io::Result<Self> {
        let receiver = socket::new(ends.local, Type::DGRAM)?;
        socket::set_receive_buffer(&receiver, settings, Type::DGRAM);
        socket::set_send_buffer(&receiver, settings);
        socket::set_checksum(&receiver, settings, ends.peer)?;
        socket::bind(&receiver, ends, index, shares)?;
        let to = socket::scoped(ends.peer, ends.port, index).into();
        Ok(Self { receiver, sender: None, to, takes_gso: true })
    }

    fn multicast(
        settings: &Settings,
        index: u32,
        group: IpAddr,
        port: u16,
        local: Option<Ipv4Addr>,
    ) -> io::Result<Self> {
        let to = SockAddr::from(socket::scoped(group, port, index));
        let receiver = socket::new(group, Type::DGRAM)?;
        socket::set_receive_buffer(&receiver, settings, Type::DGRAM);
        // Several programs of a host may hear a group.
        receiver.set_reuse_address(true)?;
        // Old kernels want a capability for this; the group and its membership say nearly the same.
        let _ = receiver.bind_device(Some(settings.interface.as_bytes()));
        receiver.bind(&to)?;
        let sender = socket::new(group, Type::DGRAM)?;
        socket::set_send_buffer(&sender, settings);
        socket::set_checksum(&sender, settings, group)?;
        match group {
            IpAddr::V4(group) => {
                // Only what this socket joined: the interface is part of that.
                receiver.set_multicast_all_v4(false)?;
                receiver.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index))?;
                let source = local.unwrap_or(Ipv4Addr::UNSPECIFIED);
                sys::interface::set_multicast_interface(sender.as_fd(), index, source)?;
                sender.set_multicast_loop_v4(false)?;
                sender.set_multicast_ttl_v4(1)?;
            }
            IpAddr::V6(group) => {
                // Kernel 4.20 and newer.
                let _ = receiver.set_multicast_all_v6(false);
                receiver.join_multicast_v6(&group, index)?;
                sender.set_multicast_if_v6(index)?;
                sender.set_multicast_loop_v6(false)?;
                sender.set_multicast_hops_v6(1)?;
            }
        }
        Ok(Self { receiver, sender: Some(sender), to, takes_gso: true })
    }

    /// Sends datagrams of `piece` bytes, but for the last, without blocking: all of them at once, or where that cannot
    /// be had the first; how many bytes that was.
    pub(super) fn send(&mut self, bytes: &[u8], piece: usize) -> io::Result<usize> {
        if bytes.len() > piece && self.takes_gso {
            match self.send_gso(bytes, piece) {
                Err(error) if !sys::would_block(&error) => {}
                sent => return sent,
            }
        }
        self.socket().send_to(&bytes[..piece.min(bytes.len())], &self.to)
    }

    /// Whether it sends more than one datagram at once.
    pub(super) const fn takes_gso(&self) -> bool {
        self.takes_gso
    }

    /// Where the kernel cannot do that (an old one, no checksums, a tunnel that encrypts), it is not asked again.
    fn send_gso(&mut self, bytes: &[u8], piece: usize) -> io::Result<usize> {
        const CANNOT: [i32; 4] = [libc::EINVAL, libc::EIO, libc::EOPNOTSUPP, libc::EMSGSIZE];
        let piece = u16::try_from(piece).map_err(io::Error::other)?;
        let (buffers, control) = ([IoSlice::new(bytes)], segment(piece));
        let message = MsgHdr::new().with_addr(&self.to).with_buffers(&buffers);
        let sent = self.socket().sendmsg(&message.with_control(&control), 0);
        let errno = sent.as_ref().err().and_then(io::Error::raw_os_error);
        self.takes_gso = !errno.is_some_and(|errno| CANNOT.contains(&errno));
        sent
    }

    fn socket(&self) -> &Socket {
        self.sender.as_ref().unwrap_or(&self.receiver)
    }

    /// Where datagrams come in.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

/// The control message (`struct cmsghdr`, cmsg(3)) that has a buffer cut into datagrams of this length.
fn segment(piece: u16) -> [u8; CONTROL_LEN] {
    let mut control = [0; CONTROL_LEN];
    let mut writer = Writer::new(&mut control);
    writer.put(&(HEAD_LEN + size_of::<u16>()).to_ne_bytes());
    writer.put(&libc::SOL_UDP.to_ne_bytes());
    writer.put(&UDP_SEGMENT.to_ne_bytes());
    writer.put(&piece.to_ne_bytes());
    control
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, UdpSocket};
    use std::time::Duration;

    fn link(to: u16) -> (DatagramLink, UdpSocket) {
        let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, to)).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let receiver = socket::new(Ipv4Addr::LOCALHOST.into(), Type::DGRAM).unwrap();
        let to = SockAddr::from(peer.local_addr().unwrap());
        (DatagramLink { receiver, sender: None, to, takes_gso: true }, peer)
    }

    #[test]
    fn a_gso_batch_arrives_as_the_datagrams_it_was_made_of() {
        let (mut link, peer) = link(0);
        let bytes: Vec<u8> = (0..4000).map(|n| (n / 1200) as u8).collect();
        assert_eq!(link.send(&bytes, 1200).unwrap(), 4000);
        let mut buffer = [0; 9000];
        for (number, len) in [(0, 1200), (1, 1200), (2, 1200), (3, 400)] {
            assert_eq!(peer.recv(&mut buffer).unwrap(), len);
            assert!(buffer[..len].iter().all(|&b| b == number));
        }
        assert!(link.takes_gso());
    }

    #[test]
    fn a_socket_without_checksums_is_not_asked_again() {
        let (mut link, peer) = link(0);
        sys::set_option(link.receiver.as_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).unwrap();
        assert!(link.send_gso(&[0; 3000], 1000).is_err());
        assert!(!link.takes_gso());
        assert_eq!(link.send(&[0; 3000], 1000).unwrap(), 1000);
        assert_eq!(peer.recv(&mut [0; 9000]).unwrap(), 1000);
    }
}
