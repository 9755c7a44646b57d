//! The dedicated links to the peer.
//!
//! ```text
//!   link 0  active   v0 RUNNING      <--- everything is sent here
//!   link 1  backup   v1 RUNNING
//!   ...              (four at most, all of one kind)      all of them are listened to
//! ```
//!
//! The active link changes when its interface stops working and another one works, and when the peer is heard through
//! another link: it has a reason to speak there.
//!
//! Unicast links may have the same local address and port. Their sockets then share it (`SO_REUSEPORT`), the kernel
//! gives what arrives to any of them, and the sender's address says which link it belongs to ([`peer`]).

use std::io;
use std::net::{IpAddr, Ipv4Addr};

mod stream;
mod queue;
mod choice;
mod poller;
mod socket;
mod peer;
mod datagram;
mod tcp;
mod member;
mod group;
mod examine;
mod path;

pub use choice::Status;
pub use examine::examine;
pub use group::{DatagramSink, Group, GroupReport, GroupSettings, Sent};
pub use member::LinkReport;
pub use path::{Path, try_path};

/// The ends of a link to one peer, of one address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Our address; unspecified to listen on all.
    pub local: IpAddr,
    /// The peer's address.
    pub peer: IpAddr,
    /// Port, the same on both ends.
    pub port: u16,
}

impl Ends {
    /// Whether a socket for these can only be bound beside one for the others if both agree to share.
    fn overlaps(&self, other: &Self) -> bool {
        let same_family = self.local.is_ipv6() == other.local.is_ipv6();
        let all = self.local.is_unspecified() || other.local.is_unspecified();
        same_family && self.port == other.port && (all || self.local == other.local)
    }
}

/// The transport protocol of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams to a group.
    Multicast {
        /// The group.
        group: IpAddr,
        /// Its port.
        port: u16,
        /// Our IPv4 address; the interface's own if `None`.
        local: Option<Ipv4Addr>,
    },
    /// Datagrams to one peer.
    Udp(Ends),
    /// A stream to one peer, and one from it.
    Tcp(Ends),
}

impl Transport {
    /// Its name in statistics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Multicast { .. } => "multicast",
            Self::Udp(_) => "UDP",
            Self::Tcp(_) => "TCP",
        }
    }

    /// Whether links of these kinds listen on one port of one address.
    fn shares_port(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Udp(a), Self::Udp(b)) | (Self::Tcp(a), Self::Tcp(b)) => a.overlaps(b),
            // Sockets of multicast links always agree to share, and differ by interface.
            _ => false,
        }
    }

    /// Bytes of the headers in front of what is sent, IP and UDP or TCP without options.
    const fn headers(&self) -> usize {
        let (Self::Multicast { group: far, .. }
        | Self::Udp(Ends { peer: far, .. })
        | Self::Tcp(Ends { peer: far, .. })) = self;
        let ip = if far.is_ipv6() { 40 } else { 20 };
        ip + if matches!(self, Self::Tcp(_)) { 20 } else { 8 }
    }
}

/// How to open a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The transport protocol.
    pub transport: Transport,
    /// Interface the link runs over; its MTU bounds what is sent at once.
    pub interface: String,
    /// Send buffer, bytes.
    pub send_buffer: Option<usize>,
    /// Receive buffer, bytes.
    pub receive_buffer: Option<usize>,
    /// Whether sent datagrams carry a checksum. Only UDP over IPv4 can do without.
    pub checksum: bool,
}

/// Traffic of a link. What counts as one packet: a datagram, or one write or read of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets received.
    pub packets_received: u64,
    /// Packets that could not be sent.
    pub errors_sent: u64,
    /// Failed receptions.
    pub errors_received: u64,
    /// Datagrams and connections refused because their source address is no link's peer.
    pub refused: u64,
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
    /// What all links need failed.
    #[error("watching the link interfaces: {0}")]
    Watch(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(local: &str, port: u16) -> Ends {
        let local: IpAddr = local.parse().unwrap();
        Ends { local, peer: local, port }
    }

    #[test]
    fn links_share_a_port_where_their_addresses_overlap() {
        let udp = |local, port| Transport::Udp(ends(local, port));
        let first = udp("10.0.0.1", 3780);
        assert!(first.shares_port(&udp("10.0.0.1", 3780)));
        assert!(first.shares_port(&udp("0.0.0.0", 3780)));
        assert!(udp("0.0.0.0", 3780).shares_port(&first));
        assert!(udp("::", 3780).shares_port(&udp("fd99::1", 3780)));
        assert!(!first.shares_port(&udp("10.0.0.2", 3780)));
        assert!(!first.shares_port(&udp("0.0.0.0", 3781)));
        assert!(!first.shares_port(&udp("::", 3780)));
        assert!(!first.shares_port(&Transport::Tcp(ends("10.0.0.1", 3780))));
        let tcp = |local| Transport::Tcp(ends(local, 3780));
        assert!(tcp("10.0.0.1").shares_port(&tcp("0.0.0.0")));
    }
}
