//! What is known of a flow, as values.
//!
//! What every flow has lies in one fixed struct of 128 bytes for IPv4 and IPv6 alike; what few flows have (helper,
//! labels, sequence adjustment, counters, ...) lies in an `Extra` that copies of a flow share.

#[cfg(feature = "alloc")]
mod owned;

#[cfg(feature = "alloc")]
pub use owned::{Extra, Flow, NatEnd};

use crate::tuple::ipproto;
use bitflags::bitflags;
use core::fmt;

bitflags! {
    /// Connection status bits, `enum ip_conntrack_status` of the kernel's
    /// `include/uapi/linux/netfilter/nf_conntrack_common.h` (v6.12).
    #[doc(alias = "ip_conntrack_status")]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Status: u32 {
        /// Began through an expectation.
        const EXPECTED = 1 << 0;
        /// Packets were seen in both directions.
        const SEEN_REPLY = 1 << 1;
        /// The kernel does not evict it when the table is full (`IPS_ASSURED`).
        const ASSURED = 1 << 2;
        /// Its first packet has passed the host; it is in the table.
        const CONFIRMED = 1 << 3;
        /// The kernel translates its source.
        const SRC_NAT = 1 << 4;
        /// The kernel translates its destination.
        const DST_NAT = 1 << 5;
        /// Its TCP sequence numbers are adjusted.
        const SEQ_ADJUST = 1 << 6;
        /// Source translation is set up.
        const SRC_NAT_DONE = 1 << 7;
        /// Destination translation is set up.
        const DST_NAT_DONE = 1 << 8;
        /// About to be destroyed.
        const DYING = 1 << 9;
        /// The timeout does not move with traffic.
        const FIXED_TIMEOUT = 1 << 10;
        /// A template, not a real flow.
        const TEMPLATE = 1 << 11;
        /// The kernel resolved a clash of translations (`IPS_NAT_CLASH`; `IPS_UNTRACKED` of old kernels).
        const NAT_CLASH = 1 << 12;
        /// A helper is attached.
        const HELPER = 1 << 13;
        /// Forwarded by a flow table.
        const OFFLOAD = 1 << 14;
        /// Forwarded by hardware.
        const HW_OFFLOAD = 1 << 15;
        /// Bits of newer kernels are kept.
        const _ = !0;
    }
}

bitflags! {
    /// The optional fields of a [`Flow`] that carry a value.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Known: u16 {
        /// `status`.
        const STATUS = 1 << 0;
        /// `timeout_s`.
        const TIMEOUT = 1 << 1;
        /// `mark` (0 is a value too).
        const MARK = 1 << 2;
        /// `id`.
        const ID = 1 << 3;
        /// `zone`, given as `CTA_ZONE`; a flow without it is in zone 0 or in a zone of one direction.
        const ZONE = 1 << 4;
        /// SYNPROXY parameters, all zero unless `Extra::synproxy` holds others.
        const SYNPROXY = 1 << 5;
    }
}

/// State of the layer-4 tracker (`CTA_PROTOINFO`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProtoState {
    /// No state: the protocol has none, or the message did not carry it.
    #[default]
    None,
    /// `CTA_PROTOINFO_TCP`.
    Tcp(TcpState),
    /// `CTA_PROTOINFO_DCCP`.
    Dccp {
        /// `enum ct_dccp_states` of kernels that track DCCP.
        state: u8,
        /// `enum ct_dccp_roles`: 0 if the source of the original direction is the client, 1 if it is the server.
        role: u8,
    },
    /// `CTA_PROTOINFO_SCTP`.
    Sctp {
        /// `enum sctp_conntrack` (`linux/netfilter/nf_conntrack_sctp.h`).
        state: u8,
        /// Verification tags, original direction then reply, host order.
        vtag: [u32; 2],
    },
}

/// State of the TCP tracker (`enum ctattr_protoinfo_tcp`). Arrays hold the original direction first, then the reply
/// direction.
#[doc(alias = "tcp_conntrack")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpState {
    /// `enum tcp_conntrack` (`linux/netfilter/nf_conntrack_tcp.h`): 1 SYN_SENT, 2 SYN_RECV, 3 ESTABLISHED, 4
    /// FIN_WAIT, 5 CLOSE_WAIT, 6 LAST_ACK, 7 TIME_WAIT, 8 CLOSE, 9 SYN_SENT2.
    pub state: u8,
    /// Window scale factors (powers of two, 0 to 14), if given.
    pub wscale: Option<[u8; 2]>,
    /// `struct nf_ct_tcp_flags`, if given: the flags and, in requests, the mask of flags to set.
    pub flags: Option<[TcpFlags; 2]>,
}

/// `struct nf_ct_tcp_flags` of one direction (`linux/netfilter/nf_conntrack_tcp.h`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags {
    /// `IP_CT_TCP_FLAG_*` values.
    pub flags: u8,
    /// The flags that a request sets; 0 in what the kernel sends.
    pub mask: u8,
}

/// `IP_CT_TCP_FLAG_BE_LIBERAL`: the tracker accepts packets outside the window.
pub const TCP_FLAG_BE_LIBERAL: u8 = 0x08;

/// Numbers of `enum tcp_conntrack` (`linux/netfilter/nf_conntrack_tcp.h`).
pub mod tcp {
    /// `TCP_CONNTRACK_ESTABLISHED`: the handshake is complete.
    pub const ESTABLISHED: u8 = 3;
    /// The first number that is no state.
    pub const MAX: u8 = 10;
}

/// Packets and bytes of one direction (`CTA_COUNTERS_ORIG`, `CTA_COUNTERS_REPLY`). The kernel counts only where
/// `net.netfilter.nf_conntrack_acct` is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counters {
    /// How many packets.
    pub packets: u64,
    /// Bytes, IP headers included.
    pub bytes: u64,
}

/// TCP sequence adjustment of one direction (`enum ctattr_seqadj`), host byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeqAdj {
    /// Sequence number where the last change took place.
    pub correction_pos: u32,
    /// Offset before it.
    pub offset_before: u32,
    /// Offset after it.
    pub offset_after: u32,
}

/// SYNPROXY parameters (`enum ctattr_synproxy`), host byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Synproxy {
    /// Initial sequence number sent to the client.
    pub isn: u32,
    /// Initial timestamp.
    pub its: u32,
    /// Timestamp offset.
    pub tsoff: u32,
}

/// When a flow began and ended (`CTA_TIMESTAMP`): wall clock, nanoseconds since 1970; 0 where not known. The kernel
/// records it only where `net.netfilter.nf_conntrack_timestamp` is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Timestamps {
    /// First packet.
    pub start_ns: u64,
    /// When the flow was destroyed.
    pub stop_ns: u64,
}

/// A name of at most `N` bytes, without terminator: helper and expectation function names.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name<const N: usize> {
    bytes: [u8; N],
    len: u8,
}

/// A helper name. The kernel's limit is 16 bytes with terminator (`NF_CT_HELPER_NAME_LEN`).
pub type HelperName = Name<15>;

impl<const N: usize> Name<N> {
    /// The name in `bytes` up to the first NUL; `None` if it is empty or longer than `N`.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
        let text = bytes.get(..end).filter(|text| !text.is_empty() && text.len() <= N)?;
        let mut out = [0; N];
        out[..end].copy_from_slice(text);
        Some(Self { bytes: out, len: end as u8 })
    }

    /// The bytes of the name, without terminator.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The name as text; bytes that are not UTF-8 end it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = self.as_bytes();
        core::str::from_utf8(bytes)
            .or_else(|e| core::str::from_utf8(&bytes[..e.valid_up_to()]))
            .unwrap_or("")
    }
}

impl<const N: usize> fmt::Debug for Name<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// The name of an IP protocol that conntrack knows, as `/etc/protocols` spells it; `None` for others.
#[must_use]
pub const fn proto_name(proto: u8) -> Option<&'static str> {
    Some(match proto {
        ipproto::ICMP => "icmp",
        ipproto::TCP => "tcp",
        ipproto::UDP => "udp",
        ipproto::DCCP => "dccp",
        ipproto::GRE => "gre",
        ipproto::ICMPV6 => "icmpv6",
        ipproto::SCTP => "sctp",
        ipproto::UDPLITE => "udplite",
        _ => return None,
    })
}
