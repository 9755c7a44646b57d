//! Helpers in user space: they parse packets of a control flow and announce the flows that it negotiates.
//!
//! The peers of such a protocol send addresses and ports of further flows in the payload. For each of them a helper
//! returns an [`Announcement`]: the expectation that makes the kernel accept the flow as related and, under NAT, the
//! edits of the packet's text.
//!
//! ```text
//!   kernel --NFQUEUE--> host --Context, Packet--> Kind::packet --Outcome--> host --verdict, EXP_NEW--> kernel
//! ```
//!
//! # What the caller does
//!
//! 1. Find the transport payload (`wire::transport::Segment`) and fill in [`Context`] and [`Packet`]. One [`Kind`] may
//!    see flows of several protocols (SSDP): take the protocol from the context's tuples, not from the queue.
//! 2. Call [`Kind::packet`]. If [`Outcome::private_changed`], return `Context::private` with the verdict; the same for
//!    [`Outcome::timeout_s`].
//! 3. For each announcement with [`Announcement::searches`], try [`Announcement::ports`] in order: send an exclusive
//!    `IPCTNL_MSG_EXP_NEW` of [`Announcement::expectation`]. On `EBUSY` or `EEXIST` the port is taken. Read the
//!    expectation with `IPCTNL_MSG_EXP_GET`: if [`Announcement::is_made`], a retransmission made it and the port is
//!    right; else try the next. If no port is free, accept the packet unchanged and count it.
//! 4. Send one of the other announcements with the verdict (the kernel replaces an equal one) and the rest by
//!    `EXP_NEW`, which fails with `ENOENT` while the flow is unconfirmed. In a flow's first packet this affects only
//!    the answer of a translated SSDP device, which is accepted unchanged.
//! 5. Apply the [`Announcement::edits`] for the chosen ports together, with `wire::transport::Segment::rewrite`.
//!
//! # What no packet can do
//!
//! An expectation's destination never comes from the payload: it is the outer address of one end of the flow, from the
//! kernel's tuples. A helper ignores text with any other address. Another program may have written the private data:
//! helpers treat it as a hint and tolerate any content.

use alloc::vec::Vec;
use ctnetlink::tuple::ipproto;

mod context;
mod text;
mod form;
mod announcement;
mod amanda;
mod dhcpv6;
mod ftp;
mod mdns;
mod rpc;
mod sane;
mod slp;
mod ssdp;
mod tftp;
mod tns;

#[cfg(test)]
mod tests;

pub use announcement::Announcement;
pub use context::{Context, Direction, Packet, Policy};

/// Most announcements of one packet.
pub const ANNOUNCED_MAX: usize = 8;

/// What a helper read in a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The packet says something of the kind that the helper watches for, but (somewhere) in a form it cannot follow:
    /// malformed, or in the name of a third party. The caller counts the packet and lets it pass; the rest of this
    /// outcome holds all the same. Packets that do not concern the helper do not count.
    pub not_understood: bool,
    /// The helper changed `Context::private`, which must go back to the kernel.
    pub private_changed: bool,
    /// The flow's new lifetime in seconds, if the helper sets one.
    pub timeout_s: Option<u32>,
    /// Flows that the packet announces; at most [`ANNOUNCED_MAX`].
    pub announced: Vec<Announcement>,
}

impl Outcome {
    /// The helper looked for something here and cannot make sense of it.
    fn not_understood() -> Self {
        Self { not_understood: true, ..Self::default() }
    }

    /// The packet announces one flow.
    fn announces(announcement: Announcement) -> Self {
        Self { announced: Vec::from([announcement]), ..Self::default() }
    }

    /// Takes in what a place in the packet announces, or that it cannot be followed. Beyond [`ANNOUNCED_MAX`] it is
    /// not.
    fn take(&mut self, announcement: Option<Announcement>) {
        match announcement {
            Some(announcement) if self.announced.len() < ANNOUNCED_MAX => {
                self.announced.push(announcement);
            }
            _ => self.not_understood = true,
        }
    }
}

/// A helper of `conntrackd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Amanda backups: three TCP connections to ports that the server names.
    Amanda,
    /// DHCPv6: the answer to a multicast comes from a server's own address.
    Dhcpv6,
    /// FTP: data connections (RFC 959, RFC 2428).
    Ftp,
    /// Multicast DNS: the answer to a multicast comes from a host's own address (RFC 6762).
    Mdns,
    /// Sun RPC: the portmapper announces the port of a service (RFC 1833).
    Rpc,
    /// SANE: the scanner's data connection.
    Sane,
    /// Service location protocol: as multicast DNS (RFC 2608).
    Slp,
    /// SSDP and UPnP eventing (UPnP device architecture 1.1).
    Ssdp,
    /// TFTP: the server answers from another port (RFC 1350).
    Tftp,
    /// Oracle's TNS: a listener redirects the client.
    Tns,
}

impl Kind {
    /// Every helper, in alphabetical order.
    pub const ALL: [Self; 10] = [
        Self::Amanda,
        Self::Dhcpv6,
        Self::Ftp,
        Self::Mdns,
        Self::Rpc,
        Self::Sane,
        Self::Slp,
        Self::Ssdp,
        Self::Tftp,
        Self::Tns,
    ];

    /// The helper of this name, if it has one for the transport protocol. Either address family is taken for each, as
    /// conntrack-tools does.
    #[must_use]
    pub fn by_name(name: &str, protocol: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name && kind.takes(protocol))
    }

    /// The name, as configurations and the kernel have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Amanda => "amanda",
            Self::Dhcpv6 => "dhcpv6",
            Self::Ftp => "ftp",
            Self::Mdns => "mdns",
            Self::Rpc => "rpc",
            Self::Sane => "sane",
            Self::Slp => "slp",
            Self::Ssdp => "ssdp",
            Self::Tftp => "tftp",
            Self::Tns => "tns",
        }
    }

    /// Whether there is a helper of this name for the transport protocol.
    #[must_use]
    pub const fn takes(self, protocol: u8) -> bool {
        match self {
            Self::Rpc | Self::Ssdp => matches!(protocol, ipproto::TCP | ipproto::UDP),
            Self::Ftp | Self::Sane | Self::Tns => protocol == ipproto::TCP,
            Self::Amanda | Self::Dhcpv6 | Self::Mdns | Self::Slp | Self::Tftp => {
                protocol == ipproto::UDP
            }
        }
    }

    /// What conntrack-tools allows the helper where the configuration does not say.
    #[must_use]
    pub const fn policy(self) -> Policy {
        let (expect_max, expect_timeout_s) = match self {
            Self::Amanda => (3, 180),
            Self::Mdns => (8, 30),
            Self::Slp => (8, 16),
            Self::Ssdp => (8, 300),
            Self::Dhcpv6 | Self::Ftp | Self::Rpc | Self::Sane | Self::Tftp | Self::Tns => (1, 300),
        };
        Policy { expect_max, expect_timeout_s }
    }

    /// Bytes that the kernel keeps with each flow for the helper (`NFCTH_PRIV_DATA_LEN`).
    #[must_use]
    pub const fn private_len(self) -> usize {
        match self {
            Self::Ftp => 24,
            Self::Rpc => 16,
            Self::Sane => 4,
            Self::Tns => 1,
            Self::Amanda | Self::Dhcpv6 | Self::Mdns | Self::Slp | Self::Ssdp | Self::Tftp => 0,
        }
    }

    /// Reads a packet of a flow that this helper watches. Total: any payload, any private data, any tuples.
    #[must_use]
    pub fn packet(self, context: &mut Context<'_>, packet: &Packet<'_>) -> Outcome {
        match self {
            Self::Amanda => amanda::packet(context, packet),
            Self::Dhcpv6 => dhcpv6::packet(context, packet),
            Self::Ftp => ftp::packet(context, packet),
            Self::Mdns => mdns::packet(context, packet),
            Self::Rpc => rpc::packet(context, packet),
            Self::Sane => sane::packet(context, packet),
            Self::Slp => slp::packet(context, packet),
            Self::Ssdp => ssdp::packet(context, packet),
            Self::Tftp => tftp::packet(context, packet),
            Self::Tns => tns::packet(context, packet),
        }
    }
}
