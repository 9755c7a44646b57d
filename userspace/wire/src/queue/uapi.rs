//! `NFQA_*`: attributes of a packet for user space, and of the verdict on it
//! (`include/uapi/linux/netfilter/nfnetlink_queue.h`).

/// Number of the packet, EtherType, hook: 7 bytes.
pub const PACKET_HDR: u16 = 1;
/// `u32` verdict, `u32` number of the packet.
pub const VERDICT_HDR: u16 = 2;
/// The packet from its IP header on.
pub const PAYLOAD: u16 = 10;
/// Nest of [`ctnetlink::uapi::cta`].
pub const CT: u16 = 11;
/// `u32`, `enum ip_conntrack_info`.
pub const CT_INFO: u16 = 12;
/// `u32`, bytes of the whole packet.
pub const CAP_LEN: u16 = 13;
/// Nest of [`ctnetlink::uapi::expect`].
pub const EXP: u16 = 15;

/// `NFQNL_MSG_*`: lower byte of the message type.
pub mod message {
    /// From the kernel.
    pub const PACKET: u8 = 0;
    /// To the kernel.
    pub const VERDICT: u8 = 1;
}

/// `NF_DROP`.
pub const DROP: u32 = 0;
/// `NF_ACCEPT`.
pub const ACCEPT: u32 = 1;
/// `IP_CT_IS_REPLY`: the first [`CT_INFO`] of the reply direction.
pub const INFO_REPLY: u32 = 3;
/// The first number that is no direction and state.
pub const INFO_COUNT: u32 = 6;
