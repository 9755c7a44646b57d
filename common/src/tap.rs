//! Records the tap writes into its rings, and the filter settings it reads.
//!
//! ```text
//!  0        8       12     14     16
//! +--------+-------+------+------+---------------------------+-----+
//! | ktime  | len   | cpu  | kind | len bytes of this kind    | pad |
//! +--------+-------+------+------+---------------------------+-----+
//! ```
//!
//! All fields are in native byte order: writer and reader are one machine.

/// Bytes in front of the message.
pub const HEADER_LEN: usize = 16;
/// Record sizes, header included. A ring reservation must be a compile-time constant for the verifier, so a
/// message takes the smallest class it fits in and spills to the socket when it fits in none.
pub const RECORD_SMALL: usize = 256;
/// See [`RECORD_SMALL`].
pub const RECORD_MEDIUM: usize = 512;
/// See [`RECORD_SMALL`].
pub const RECORD_LARGE: usize = 1024;

/// What follows is a netlink message of the kernel.
pub const KIND_MESSAGE: u16 = 0;
/// What follows is a [`crate::hook::PacketRecord`].
pub const KIND_PACKET: u16 = 1;

/// In front of each message in a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RecordHeader {
    /// `bpf_ktime_get_ns` when the event passed the program: `CLOCK_MONOTONIC`, nanoseconds.
    pub ktime_ns: u64,
    /// Length of the message in bytes.
    pub len: u32,
    /// CPU the event happened on.
    pub cpu: u16,
    /// `KIND_MESSAGE` or `KIND_PACKET`.
    pub kind: u16,
}

const _: () = assert!(size_of::<RecordHeader>() == HEADER_LEN);

impl RecordHeader {
    /// Splits a ring record into its header and its message.
    ///
    /// `None` when the record is shorter than it claims, which a correct program never writes.
    #[must_use]
    pub fn split(record: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = record.split_first_chunk::<HEADER_LEN>()?;
        let u64_at = |at: usize| -> [u8; 8] {
            let mut out = [0; 8];
            out.copy_from_slice(&head[at..at + 8]);
            out
        };
        let header = Self {
            ktime_ns: u64::from_ne_bytes(u64_at(0)),
            len: u32::from_ne_bytes([head[8], head[9], head[10], head[11]]),
            cpu: u16::from_ne_bytes([head[12], head[13]]),
            kind: u16::from_ne_bytes([head[14], head[15]]),
        };
        Some((header, rest.get(..header.len as usize)?))
    }
}

/// What a filter set does with what it names.
pub mod mode {
    /// The set does not exist: everything passes.
    pub const OFF: u32 = 0;
    /// Only what the set names passes.
    pub const ACCEPT: u32 = 1;
    /// What the set names does not pass.
    pub const IGNORE: u32 = 2;
}

/// The filter as the program reads it. All zero lets everything pass.
///
/// The address sets are tested against the original source and the reply source, as conntrackd's filter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FilterConfig {
    /// A [`mode`] for `protocols`.
    pub protocol_mode: u32,
    /// A [`mode`] for the prefixes of `FILTER_IPV4`.
    pub ipv4_mode: u32,
    /// A [`mode`] for the prefixes of `FILTER_IPV6`.
    pub ipv6_mode: u32,
    /// Zero.
    pub reserved: u32,
    /// One bit per IP protocol number: bit `n % 64` of word `n / 64`.
    pub protocols: [u64; 4],
}

const _: () = assert!(size_of::<FilterConfig>() == 48);

impl FilterConfig {
    /// Lets everything pass.
    pub const PASS: Self =
        Self { protocol_mode: 0, ipv4_mode: 0, ipv6_mode: 0, reserved: 0, protocols: [0; 4] };

    /// Names protocol `proto` in the protocol set.
    pub fn name_protocol(&mut self, proto: u8) {
        self.protocols[usize::from(proto / 64)] |= 1 << (proto % 64);
    }

    /// Whether the protocol set lets `proto` pass.
    #[must_use]
    #[inline(always)]
    pub fn passes_protocol(&self, proto: u8) -> bool {
        let named = (self.protocols[usize::from(proto >> 6) & 3] >> (proto & 63)) & 1 == 1;
        passes(self.protocol_mode, named)
    }
}

/// Whether something passes a set with this [`mode`].
#[must_use]
#[inline(always)]
pub const fn passes(mode: u32, named: bool) -> bool {
    match mode {
        mode::ACCEPT => named,
        mode::IGNORE => !named,
        _ => true,
    }
}

/// Where fields lie in a conntrack event, from the start of the netlink message.
///
/// `ctnetlink_conntrack_event` (kernel v6.12, `net/netfilter/nf_conntrack_netlink.c`) always writes the original
/// tuple first, with its address nest in front of its protocol nest; the program still checks each attribute
/// header and lets a message pass unfiltered when it looks different.
///
/// ```text
/// 0        16       20            24          28              32    ...
/// +--------+--------+-------------+-----------+---------------+-----+
/// | nlmsg  | nfgen  | TUPLE_ORIG  | TUPLE_IP  | V4_SRC/V6_SRC | addr|
/// +--------+--------+-------------+-----------+---------------+-----+
/// ```
pub mod layout {
    /// `nlmsghdr.nlmsg_type`.
    pub const MESSAGE_TYPE: usize = 4;
    /// `nfgenmsg.nfgen_family`.
    pub const FAMILY: usize = 16;
    /// First attribute: the original tuple.
    pub const TUPLE: usize = 20;
    /// Offset of the source address from the tuple's attribute header.
    pub const SOURCE: usize = 12;
    /// Offset of the protocol number from the tuple's attribute header, IPv4.
    pub const PROTO_V4: usize = 32;
    /// Offset of the protocol number from the tuple's attribute header, IPv6.
    pub const PROTO_V6: usize = 56;
}
