//! The flow: the value that every codec, the table and the printers speak.
//!
//! What every flow has lies in one fixed struct of 128 bytes for IPv4 and IPv6 alike; what few flows have (helper,
//! labels, sequence adjustment, counters, ...) lies in an [`Extra`] that copies of a flow share.

use alloc::sync::Arc;
use alloc::vec::Vec;
use bitflags::bitflags;
use common::{FlowKey, Tuple, tuple::ipproto};
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

/// What few flows have. Arrays hold the original direction first, then the reply direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// Original tuple of the flow whose expectation began this one.
    pub master: Option<Tuple>,
    /// Attached helper.
    pub helper: Option<HelperName>,
    /// Connection labels, 32 bits a word, bit 0 of word 0 first.
    pub labels: Option<Vec<u32>>,
    /// Sequence adjustment.
    pub seq_adj: Option<[SeqAdj; 2]>,
    /// Synproxy parameters that are not all zero.
    pub synproxy: Option<Synproxy>,
    /// Zones that differ between the directions.
    pub zones: [Option<u16>; 2],
    /// Traffic counters.
    pub counters: [Option<Counters>; 2],
    /// When it began and ended.
    pub timestamps: Option<Timestamps>,
    /// When the event happened (`CTA_TIMESTAMP_EVENT`): wall clock, nanoseconds since 1970.
    pub event_ns: Option<u64>,
    /// Reference count, in dumps.
    pub use_count: Option<u32>,
    /// Deprecated security mark.
    pub secmark: Option<u32>,
    /// Security context.
    pub secctx: Option<Vec<u8>>,
}

impl Extra {
    /// Whether it says anything that belongs to one reading of a flow.
    fn is_volatile(&self) -> bool {
        self.counters != [None; 2]
            || self.timestamps.is_some()
            || self.event_ns.is_some()
            || self.use_count.is_some()
    }
}

/// One tracked connection, as much of it as its source told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The direction of the first packet.
    pub orig: Tuple,
    /// The direction of the answers, with translation applied. Unknown (`!is_known()`) where not told.
    pub reply: Tuple,
    /// Zone, host order; part of the identity.
    pub zone: u16,
    /// Which of the following carry a value.
    pub known: Known,
    /// Status bits.
    pub status: Status,
    /// Seconds until it expires, counted from when the source spoke.
    pub timeout_s: u32,
    /// Packet mark of the connection.
    pub mark: u32,
    /// The kernel's id: stable for the life of the flow, not across kernels.
    pub id: u32,
    /// Layer-4 state.
    pub proto: ProtoState,
    /// What few flows have. Copies of a flow share it until one of them changes it ([`Flow::extra_mut`]).
    pub extra: Option<Arc<Extra>>,
}

const _: () = assert!(size_of::<Flow>() <= 128);

/// One translated end of a flow: the address, and the port where it was translated too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatEnd {
    /// Translated address, network order; IPv4 in the first four bytes. `None`: only the port is translated.
    pub addr: Option<[u8; 16]>,
    /// Translated port, host order.
    pub port: Option<u16>,
}

impl Default for Flow {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

impl Flow {
    /// A flow of which nothing is known.
    pub const UNKNOWN: Self = Self {
        orig: Tuple::UNKNOWN,
        reply: Tuple::UNKNOWN,
        zone: 0,
        known: Known::empty(),
        status: Status::empty(),
        timeout_s: 0,
        mark: 0,
        id: 0,
        proto: ProtoState::None,
        extra: None,
    };

    /// A flow of which only the original direction is known.
    #[must_use]
    pub fn new(orig: Tuple) -> Self {
        Self { orig, ..Self::default() }
    }

    /// Its identity.
    #[must_use]
    pub const fn key(&self) -> FlowKey {
        FlowKey::new(self.orig, self.zone)
    }

    /// The extras, made on first use.
    pub fn extra_mut(&mut self) -> &mut Extra {
        Arc::make_mut(self.extra.get_or_insert_default())
    }

    /// Lets go of extras that say nothing.
    pub fn drop_empty_extra(&mut self) {
        self.extra = self.extra.take().filter(|extra| **extra != Extra::default());
    }

    /// Whether the source gave this field.
    #[must_use]
    pub const fn has(&self, field: Known) -> bool {
        self.known.contains(field)
    }

    /// Original tuple of the master flow, for an expected flow.
    #[must_use]
    pub fn master(&self) -> Option<&Tuple> {
        self.extra.as_deref()?.master.as_ref()
    }

    /// Synproxy parameters, all zero included.
    #[must_use]
    pub fn synproxy(&self) -> Option<Synproxy> {
        let given = self.has(Known::SYNPROXY);
        given.then(|| self.extra.as_deref().and_then(|e| e.synproxy).unwrap_or_default())
    }

    /// How the source is translated: the status says it is, and the reply goes to somebody else.
    #[must_use]
    pub fn source_nat(&self) -> Option<NatEnd> {
        let set = self.status.contains(Status::SRC_NAT_DONE) && self.reply.is_known();
        let mirror = self.orig.inverted();
        set.then(|| NatEnd {
            addr: (self.reply.dst != mirror.dst).then_some(self.reply.dst),
            port: translated(self, self.reply.ports().1, mirror.ports().1),
        })
        .filter(NatEnd::is_some)
    }

    /// How the destination is translated: the status says it is, and the reply comes from somebody else.
    #[must_use]
    pub fn destination_nat(&self) -> Option<NatEnd> {
        let set = self.status.contains(Status::DST_NAT_DONE) && self.reply.is_known();
        let mirror = self.orig.inverted();
        set.then(|| NatEnd {
            addr: (self.reply.src != mirror.src).then_some(self.reply.src),
            port: translated(self, self.reply.ports().0, mirror.ports().0),
        })
        .filter(NatEnd::is_some)
    }

    /// Drops what belongs to one reading of a flow rather than to the flow: counters, timestamps, reference count.
    /// A table keeps flows in this form.
    pub fn drop_volatile(&mut self) {
        if self.extra.as_deref().is_some_and(Extra::is_volatile) {
            let extra = self.extra_mut();
            extra.counters = [None; 2];
            extra.timestamps = None;
            extra.event_ns = None;
            extra.use_count = None;
        }
        self.drop_empty_extra();
    }

    /// Whether a state that only TCP has may be acted on.
    #[must_use]
    pub const fn tcp(&self) -> Option<&TcpState> {
        match &self.proto {
            ProtoState::Tcp(tcp) => Some(tcp),
            _ => None,
        }
    }
}

impl NatEnd {
    /// Whether it translates anything.
    #[must_use]
    pub const fn is_some(&self) -> bool {
        self.addr.is_some() || self.port.is_some()
    }
}

fn translated(flow: &Flow, now: u16, mirror: u16) -> Option<u16> {
    (flow.orig.has_ports() && now != mirror).then_some(now)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn natted() -> Flow {
        let orig = Tuple::v4([1, 1, 1, 1], [2, 2, 2, 2], ipproto::TCP).with_ports(1001, 80);
        let reply = Tuple::v4([8, 8, 8, 8], [9, 9, 9, 9], ipproto::TCP).with_ports(8080, 4000);
        let status = Status::SRC_NAT_DONE | Status::DST_NAT_DONE;
        Flow { reply, status, known: Known::STATUS, ..Flow::new(orig) }
    }

    #[test]
    fn translation_is_read_from_the_reply_direction() {
        let flow = natted();
        let source = flow.source_nat().unwrap();
        assert_eq!((&source.addr.unwrap()[..4], source.port), (&[9, 9, 9, 9][..], Some(4000)));
        let destination = flow.destination_nat().unwrap();
        assert_eq!(destination.port, Some(8080));
    }

    #[test]
    fn a_flow_without_the_status_bit_is_not_translated() {
        let flow = Flow { status: Status::empty(), ..natted() };
        assert_eq!(flow.source_nat(), None);
        assert_eq!(flow.destination_nat(), None);
    }

    #[test]
    fn volatile_fields_go_and_the_extras_with_them_unless_they_say_more() {
        let counted = |mut flow: Flow| {
            flow.extra_mut().counters = [Some(Counters { packets: 1, bytes: 60 }); 2];
            flow
        };
        let mut flow = counted(natted());
        flow.drop_volatile();
        assert_eq!(flow, natted());

        let mut named = natted();
        named.extra_mut().helper = HelperName::from_bytes(b"ftp");
        let mut flow = counted(named.clone());
        flow.drop_volatile();
        assert_eq!(flow, named);
    }

    #[test]
    fn copies_of_a_flow_share_the_extras_until_one_changes_them() {
        let mut flow = natted();
        flow.extra_mut().secmark = Some(1);
        let mut copy = flow.clone();
        copy.drop_volatile();
        let shared =
            |copy: &Flow| Arc::ptr_eq(flow.extra.as_ref().unwrap(), copy.extra.as_ref().unwrap());
        assert!(shared(&copy), "nothing was to be dropped");
        copy.extra_mut().secmark = Some(2);
        assert!(!shared(&copy));
        assert_eq!(flow.extra.as_ref().unwrap().secmark, Some(1));
    }
}
