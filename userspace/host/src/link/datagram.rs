//! Links that carry datagrams: unicast UDP between two fixed addresses, and multicast.
//!
//! Like conntrackd, they take datagrams from any sender: version 1 of the protocol has no authentication, which is why
//! the link is to be a dedicated one. A multicast link takes only what was sent to its group through its interface.
//!
//! ```text
//!   UDP         one socket, bound to our address and port, sends and receives
//!   multicast   one sends from a port of its own, does not hear itself, hop limit 1;
//!               one receives, bound to the group and its port, joined on the interface
//! ```

use super::{Ends, LinkError, Settings, Transport, socket};
use crate::sys;
use rustix::fd::{AsFd, BorrowedFd};
use socket2::{InterfaceIndexOrAddress, SockAddr, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr};

/// A link that carries datagrams.
#[derive(Debug)]
pub(super) struct DatagramLink {
    receiver: Socket,
    /// Where it is not the same.
    sender: Option<Socket>,
    to: SockAddr,
}

impl DatagramLink {
    /// Opens the sockets on interface number `index`.
    pub(super) fn open(settings: &Settings, index: u32) -> Result<Self, LinkError> {
        match &settings.transport {
            Transport::Multicast { group, port, local } => {
                let fail = |e| LinkError::Socket(format!("{group} port {port}"), e);
                Self::multicast(settings, index, *group, *port, *local).map_err(fail)
            }
            Transport::Udp(ends) | Transport::Tcp(ends) => Self::udp(settings, index, ends)
                .map_err(|e| LinkError::Socket(format!("{} port {}", ends.local, ends.port), e)),
        }
    }

    fn udp(settings: &Settings, index: u32, ends: &Ends) -> io::Result<Self> {
        let receiver = socket::new(ends.local, Type::DGRAM)?;
        socket::set_receive_buffer(&receiver, settings, Type::DGRAM);
        socket::set_send_buffer(&receiver, settings);
        socket::set_checksum(&receiver, settings, ends.peer)?;
        receiver.bind(&socket::scoped(ends.local, ends.port, index).into())?;
        let to = socket::scoped(ends.peer, ends.port, index).into();
        Ok(Self { receiver, sender: None, to })
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
        Ok(Self { receiver, sender: Some(sender), to })
    }

    /// Sends one datagram without blocking.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.sender.as_ref().unwrap_or(&self.receiver).send_to(bytes, &self.to).map(drop)
    }

    /// Where datagrams come in.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}
