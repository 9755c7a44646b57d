//! Numbers of the kernel's user interface, each module one C enum.
//!
//! Taken from `include/uapi/linux/netlink.h`, `include/uapi/linux/netfilter/nfnetlink.h` and
//! `include/uapi/linux/netfilter/nfnetlink_conntrack.h` at v6.1, and `CTA_TIMESTAMP_EVENT` as 6.18 sends it. Only what
//! is spoken here is listed; the kernel never renumbers, so newer kernels only add. Where no header is named, it is
//! the last of these.

/// `NLMSG_*` (`linux/netlink.h`): message types below the subsystems'.
pub mod control {
    /// A message without content.
    pub const NOOP: u16 = 1;
    /// A refusal, or an acknowledgement when its errno is 0.
    pub const ERROR: u16 = 2;
    /// End of a dump.
    pub const DONE: u16 = 3;
    /// Data was lost.
    pub const OVERRUN: u16 = 4;
}

/// `NLM_F_*` (`linux/netlink.h`): bits of `nlmsghdr.nlmsg_flags`.
pub mod flag {
    /// A request, not an answer.
    pub const REQUEST: u16 = 0x01;
    /// Part of a dump; [`super::control::DONE`] ends it.
    pub const MULTI: u16 = 0x02;
    /// An answer is wanted even when all is well.
    pub const ACK: u16 = 0x04;
    /// The dump missed or repeated something because the table changed meanwhile.
    pub const DUMP_INTR: u16 = 0x10;
    /// GET: all of it.
    pub const DUMP: u16 = 0x300;
    /// NEW: fail if it exists.
    pub const EXCL: u16 = 0x200;
    /// NEW: make it if it does not exist.
    pub const CREATE: u16 = 0x400;
    /// ERROR: the request is quoted without its payload.
    pub const CAPPED: u16 = 0x100;
    /// ERROR, DONE: attributes of [`super::extack`] follow.
    pub const ACK_TLVS: u16 = 0x200;
}

/// `NLMSGERR_ATTR_*` (`enum nlmsgerr_attrs`, `linux/netlink.h`): the extended acknowledgement.
pub mod extack {
    /// Text for people, NUL-terminated.
    pub const MSG: u16 = 1;
    /// Offset of the offending attribute in the request, native `u32`.
    pub const OFFS: u16 = 2;
}

/// `NLA_F_*` (`linux/netlink.h`) and the mask of the type proper.
pub mod nla {
    /// The value holds attributes.
    pub const NESTED: u16 = 1 << 15;
    /// What is left of a type without the two flag bits (nested, network byte order).
    pub const TYPE_MASK: u16 = 0x3fff;
}

/// `NFNL_SUBSYS_*` (`nfnetlink.h`): upper byte of the message type.
pub mod subsystem {
    /// The table of flows.
    pub const CTNETLINK: u8 = 1;
    /// The table of expectations.
    pub const CTNETLINK_EXP: u8 = 2;
    /// Packets for user space.
    pub const QUEUE: u8 = 3;
}

/// `NFNLGRP_*` (`enum nfnetlink_groups`, `nfnetlink.h`): multicast groups that events are sent to.
/// Group `n` is bit `n - 1` of `sockaddr_nl.nl_groups`.
pub mod group {
    /// New flows.
    pub const CONNTRACK_NEW: u32 = 1;
    /// Changed flows.
    pub const CONNTRACK_UPDATE: u32 = 2;
    /// Ended flows.
    pub const CONNTRACK_DESTROY: u32 = 3;
    /// New expectations.
    pub const CONNTRACK_EXP_NEW: u32 = 4;
    /// Changed expectations.
    pub const CONNTRACK_EXP_UPDATE: u32 = 5;
    /// Ended expectations.
    pub const CONNTRACK_EXP_DESTROY: u32 = 6;
}

/// `IPCTNL_MSG_CT_*` (`enum cntl_msg_types`, `nfnetlink_conntrack.h`): lower byte of the message type, flows.
pub mod ct {
    /// Create or change; also every event and dump reply that is not a destruction.
    pub const NEW: u8 = 0;
    /// Read one or dump.
    pub const GET: u8 = 1;
    /// Delete one or flush; also the event.
    pub const DELETE: u8 = 2;
    /// Like `GET`, and zeroes the counters.
    pub const GET_CTRZERO: u8 = 3;
    /// Statistics of each CPU.
    pub const GET_STATS_CPU: u8 = 4;
    /// Statistics of the table.
    pub const GET_STATS: u8 = 5;
    /// Flows that are gone but still referenced.
    pub const GET_DYING: u8 = 6;
    /// Flows whose first packet has not left yet.
    pub const GET_UNCONFIRMED: u8 = 7;
}

/// `IPCTNL_MSG_EXP_*` (`enum ctnl_exp_msg_types`, `nfnetlink_conntrack.h`): lower byte of the message type,
/// expectations.
pub mod exp {
    /// Create; also the event.
    pub const NEW: u8 = 0;
    /// Read one or dump.
    pub const GET: u8 = 1;
    /// Delete or flush; also the event.
    pub const DELETE: u8 = 2;
    /// Statistics of each CPU.
    pub const GET_STATS_CPU: u8 = 3;
}

/// `CTA_*` (`enum ctattr_type`): attributes of a flow. Numbers in them are in network byte order unless said otherwise.
pub mod cta {
    /// Nest of [`super::tuple`].
    pub const TUPLE_ORIG: u16 = 1;
    /// Nest of [`super::tuple`].
    pub const TUPLE_REPLY: u16 = 2;
    /// `u32`, `IPS_*`.
    pub const STATUS: u16 = 3;
    /// Nest of [`super::protoinfo`].
    pub const PROTOINFO: u16 = 4;
    /// Nest of [`super::help`].
    pub const HELP: u16 = 5;
    /// Nest of [`super::nat`]; requests only.
    pub const NAT_SRC: u16 = 6;
    /// `u32`, seconds.
    pub const TIMEOUT: u16 = 7;
    /// `u32`.
    pub const MARK: u16 = 8;
    /// Nest of [`super::counters`].
    pub const COUNTERS_ORIG: u16 = 9;
    /// Nest of [`super::counters`].
    pub const COUNTERS_REPLY: u16 = 10;
    /// `u32`, references held; dumps only.
    pub const USE: u16 = 11;
    /// `u32`.
    pub const ID: u16 = 12;
    /// Nest of [`super::nat`]; requests only.
    pub const NAT_DST: u16 = 13;
    /// Nest of [`super::tuple`].
    pub const TUPLE_MASTER: u16 = 14;
    /// Nest of [`super::seqadj`].
    pub const SEQ_ADJ_ORIG: u16 = 15;
    /// Nest of [`super::seqadj`].
    pub const SEQ_ADJ_REPLY: u16 = 16;
    /// `u32`; obsolete.
    pub const SECMARK: u16 = 17;
    /// `u16`.
    pub const ZONE: u16 = 18;
    /// Nest of [`super::secctx`].
    pub const SECCTX: u16 = 19;
    /// Nest of [`super::timestamp`].
    pub const TIMESTAMP: u16 = 20;
    /// `u32`; requests only.
    pub const MARK_MASK: u16 = 21;
    /// 128 bits as an array of native `unsigned long`, bit 0 the lowest of the first.
    pub const LABELS: u16 = 22;
    /// Like `LABELS`; requests only.
    pub const LABELS_MASK: u16 = 23;
    /// Nest of [`super::synproxy`].
    pub const SYNPROXY: u16 = 24;
    /// Nest of [`super::filter`]; requests only.
    pub const FILTER: u16 = 25;
    /// `u32`; requests only.
    pub const STATUS_MASK: u16 = 26;
    /// `u64`, nanoseconds since 1970 when the event happened; only in events, when timestamps are switched on.
    pub const TIMESTAMP_EVENT: u16 = 27;
}

/// `CTA_TUPLE_*` (`enum ctattr_tuple`).
pub mod tuple {
    /// Nest of [`super::ip`].
    pub const IP: u16 = 1;
    /// Nest of [`super::proto`].
    pub const PROTO: u16 = 2;
    /// `u16`: the zone of this direction only.
    pub const ZONE: u16 = 3;
}

/// `CTA_IP_*` (`enum ctattr_ip`), all addresses in network order.
pub mod ip {
    /// 4 bytes.
    pub const V4_SRC: u16 = 1;
    /// 4 bytes.
    pub const V4_DST: u16 = 2;
    /// 16 bytes.
    pub const V6_SRC: u16 = 3;
    /// 16 bytes.
    pub const V6_DST: u16 = 4;
}

/// `CTA_PROTO_*` (`enum ctattr_l4proto`); numbers in network byte order.
pub mod proto {
    /// `u8`, IP protocol number.
    pub const NUM: u16 = 1;
    /// `u16`; GRE carries its key here (`nf_ct_port_tuple_to_nlattr` serves it too).
    pub const SRC_PORT: u16 = 2;
    /// `u16`.
    pub const DST_PORT: u16 = 3;
    /// `u16`.
    pub const ICMP_ID: u16 = 4;
    /// `u8`.
    pub const ICMP_TYPE: u16 = 5;
    /// `u8`.
    pub const ICMP_CODE: u16 = 6;
    /// `u16`.
    pub const ICMPV6_ID: u16 = 7;
    /// `u8`.
    pub const ICMPV6_TYPE: u16 = 8;
    /// `u8`.
    pub const ICMPV6_CODE: u16 = 9;
}

/// `CTA_PROTOINFO_*` (`enum ctattr_protoinfo`) and the nests below it (`enum ctattr_protoinfo_tcp`, `_dccp`, `_sctp`);
/// numbers in network byte order.
pub mod protoinfo {
    /// Nest of `TCP_*`.
    pub const TCP: u16 = 1;
    /// Nest of `DCCP_*`.
    pub const DCCP: u16 = 2;
    /// Nest of `SCTP_*`.
    pub const SCTP: u16 = 3;

    /// `u8`.
    pub const TCP_STATE: u16 = 1;
    /// `u8`.
    pub const TCP_WSCALE_ORIGINAL: u16 = 2;
    /// `u8`.
    pub const TCP_WSCALE_REPLY: u16 = 3;
    /// `struct nf_ct_tcp_flags`.
    pub const TCP_FLAGS_ORIGINAL: u16 = 4;
    /// `struct nf_ct_tcp_flags`.
    pub const TCP_FLAGS_REPLY: u16 = 5;
    /// Highest `enum tcp_conntrack` the kernel lets be written (`TCP_CONNTRACK_SYN_SENT2`).
    pub const TCP_STATE_MAX: u8 = 9;
    /// Highest window scale factor the kernel lets be written (`TCP_MAX_WSCALE`).
    pub const TCP_WSCALE_MAX: u8 = 14;
    /// Highest `enum sctp_conntrack` the kernel lets be written (`SCTP_CONNTRACK_HEARTBEAT_SENT`).
    pub const SCTP_STATE_MAX: u8 = 8;

    /// `u8`.
    pub const DCCP_STATE: u16 = 1;
    /// `u8`.
    pub const DCCP_ROLE: u16 = 2;
    /// `u64`.
    pub const DCCP_HANDSHAKE_SEQ: u16 = 3;

    /// `u8`.
    pub const SCTP_STATE: u16 = 1;
    /// `u32`.
    pub const SCTP_VTAG_ORIGINAL: u16 = 2;
    /// `u32`.
    pub const SCTP_VTAG_REPLY: u16 = 3;
}

/// `CTA_HELP_*` (`enum ctattr_help`).
pub mod help {
    /// NUL-terminated name of the helper.
    pub const NAME: u16 = 1;
    /// The helper's own bytes.
    pub const INFO: u16 = 2;
}

/// `CTA_NAT_*` (`enum ctattr_nat`) and `CTA_PROTONAT_*` (`enum ctattr_protonat`); everything in network byte order.
pub mod nat {
    /// 4 bytes.
    pub const V4_MINIP: u16 = 1;
    /// 4 bytes.
    pub const V4_MAXIP: u16 = 2;
    /// Nest of `PORT_*`.
    pub const PROTO: u16 = 3;
    /// 16 bytes.
    pub const V6_MINIP: u16 = 4;
    /// 16 bytes.
    pub const V6_MAXIP: u16 = 5;

    /// `u16`.
    pub const PORT_MIN: u16 = 1;
    /// `u16`.
    pub const PORT_MAX: u16 = 2;
}

/// `CTA_COUNTERS_*` (`enum ctattr_counters`): packets, and bytes with their IP headers, in network byte order.
pub mod counters {
    /// `u64`.
    pub const PACKETS: u16 = 1;
    /// `u64`.
    pub const BYTES: u16 = 2;
    /// `u32`; no longer sent.
    pub const PACKETS32: u16 = 3;
    /// `u32`; no longer sent.
    pub const BYTES32: u16 = 4;
}

/// `CTA_SEQADJ_*` (`enum ctattr_seqadj`), all `u32` in network byte order.
pub mod seqadj {
    /// Where the last change took place.
    pub const CORRECTION_POS: u16 = 1;
    /// Offset before it.
    pub const OFFSET_BEFORE: u16 = 2;
    /// Offset after it.
    pub const OFFSET_AFTER: u16 = 3;
}

/// `CTA_SECCTX_*` (`enum ctattr_secctx`).
pub mod secctx {
    /// NUL-terminated name of the security context.
    pub const NAME: u16 = 1;
}

/// `CTA_TIMESTAMP_*` (`enum ctattr_tstamp`), both `u64` nanoseconds since 1970 in network byte order.
pub mod timestamp {
    /// First packet.
    pub const START: u16 = 1;
    /// When the flow was destroyed.
    pub const STOP: u16 = 2;
}

/// `CTA_SYNPROXY_*` (`enum ctattr_synproxy`), all `u32` in network byte order.
pub mod synproxy {
    /// Initial sequence number.
    pub const ISN: u16 = 1;
    /// Initial timestamp.
    pub const ITS: u16 = 2;
    /// Timestamp offset.
    pub const TSOFF: u16 = 3;
}

/// `CTA_FILTER_*` (`enum ctattr_filter`), both `u32` bit sets of the parts of a tuple to compare, in native byte
/// order.
pub mod filter {
    /// Original direction.
    pub const ORIG_FLAGS: u16 = 1;
    /// Reply direction.
    pub const REPLY_FLAGS: u16 = 2;

    /// Bits of both (`CTA_FILTER_F_*`, `net/netfilter/nf_internals.h`).
    pub mod flag {
        /// Source address.
        pub const IP_SRC: u32 = 1 << 0;
        /// Destination address.
        pub const IP_DST: u32 = 1 << 1;
        /// IP protocol.
        pub const PROTO_NUM: u32 = 1 << 3;
        /// Source port.
        pub const PROTO_SRC_PORT: u32 = 1 << 4;
        /// Destination port.
        pub const PROTO_DST_PORT: u32 = 1 << 5;
    }
}

/// `CTA_EXPECT_*` (`enum ctattr_expect`) and `CTA_EXPECT_NAT_*` (`enum ctattr_expect_nat`): attributes of an
/// expectation. Numbers in network byte order.
pub mod expect {
    /// Nest of [`super::tuple`].
    pub const MASTER: u16 = 1;
    /// Nest of [`super::tuple`].
    pub const TUPLE: u16 = 2;
    /// Nest of [`super::tuple`].
    pub const MASK: u16 = 3;
    /// `u32`, seconds.
    pub const TIMEOUT: u16 = 4;
    /// `u32`.
    pub const ID: u16 = 5;
    /// NUL-terminated name of the helper.
    pub const HELP_NAME: u16 = 6;
    /// `u16`.
    pub const ZONE: u16 = 7;
    /// `u32`, `NF_CT_EXPECT_*`.
    pub const FLAGS: u16 = 8;
    /// `u32`.
    pub const CLASS: u16 = 9;
    /// Nest of `NAT_*`.
    pub const NAT: u16 = 10;
    /// NUL-terminated name of the function that the kernel runs on the expected flow.
    pub const FN: u16 = 11;

    /// `u32`.
    pub const NAT_DIR: u16 = 1;
    /// Nest of [`super::tuple`].
    pub const NAT_TUPLE: u16 = 2;
}
