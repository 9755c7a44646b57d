//! The flow: the value that every codec, the table and the printers speak.
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
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Status: u32 {
        /// Began through an expectation.
        const EXPECTED = 1 << 0;
        /// Packets were seen in both directions.
        const SEEN_REPLY = 1 << 1;
        /// Not to be evicted early.
        const ASSURED = 1 << 2;
        /// Its first packet has left the host.
        const CONFIRMED = 1 << 3;
        /// Its source is to be translated.
        const SRC_NAT = 1 << 4;
        /// Its destination is to be translated.
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
        /// The kernel's own bookkeeping (was: untracked).
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
    /// Which optional fields of a [`Flow`] carry a value.
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
        /// `zone`, given explicitly; a flow without it is in zone 0.
        const ZONE = 1 << 4;
        /// Synproxy parameters were given. They are all zero unless `Extra::synproxy` says otherwise.
        const SYNPROXY = 1 << 5;
    }
}

/// What a layer-4 tracker remembers of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProtoState {
    /// The protocol has no state, or the sender did not say.
    #[default]
    None,
    /// TCP.
    Tcp(TcpState),
    /// DCCP.
    Dccp {
        /// `enum ct_dccp_states`.
        state: u8,
        /// 0 client, 1 server: who the original direction's source is.
        role: u8,
    },
    /// SCTP.
    Sctp {
        /// `enum sctp_conntrack`.
        state: u8,
        /// Verification tags, original direction then reply, host order.
        vtag: [u32; 2],
    },
}

/// TCP tracker state. Arrays hold the original direction first, then the reply direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpState {
    /// `enum tcp_conntrack`: 1 SYN_SENT, 2 SYN_RECV, 3 ESTABLISHED, 4 FIN_WAIT, 5 CLOSE_WAIT, 6 LAST_ACK,
    /// 7 TIME_WAIT, 8 CLOSE, 9 SYN_SENT2.
    pub state: u8,
    /// Window scale factors, if given.
    pub wscale: Option<[u8; 2]>,
    /// `nf_ct_tcp_flags`: flags and, on writes, the mask of flags to set; if given.
    pub flags: Option<[TcpFlags; 2]>,
}

/// `struct nf_ct_tcp_flags` of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags {
    /// `IP_CT_TCP_FLAG_*` values.
    pub flags: u8,
    /// Which of them are meant.
    pub mask: u8,
}

/// `IP_CT_TCP_FLAG_BE_LIBERAL`: packets outside the window are not invalid.
pub const TCP_FLAG_BE_LIBERAL: u8 = 0x08;

/// TCP state numbers that decisions are made on.
pub mod tcp {
    /// Handshake done.
    pub const ESTABLISHED: u8 = 3;
    /// Past the end of the name table.
    pub const MAX: u8 = 10;
}

/// Packets and bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes, IP headers included.
    pub bytes: u64,
}

/// TCP sequence adjustment of one direction (`struct nf_ct_seqadj`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeqAdj {
    /// Sequence number where the last change took place.
    pub correction_pos: u32,
    /// Offset before it.
    pub offset_before: u32,
    /// Offset after it.
    pub offset_after: u32,
}

/// SYNPROXY parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Synproxy {
    /// Initial sequence number sent to the client.
    pub isn: u32,
    /// Initial timestamp.
    pub its: u32,
    /// Timestamp offset.
    pub tsoff: u32,
}

/// When a flow began and ended: wall clock, nanoseconds since 1970; 0 where not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Timestamps {
    /// First packet.
    pub start_ns: u64,
    /// Destruction.
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

/// The name people and tools use for an IP protocol that conntrack knows; `None` otherwise.
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
