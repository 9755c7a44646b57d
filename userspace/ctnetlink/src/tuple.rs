//! One direction of a flow, and the identity of a flow, as fixed-size values that compare byte by byte.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `AF_INET` (`linux/socket.h`).
pub const FAMILY_IPV4: u8 = 2;
/// `AF_INET6` (`linux/socket.h`).
pub const FAMILY_IPV6: u8 = 10;

/// IP protocol numbers (`linux/in.h`, `linux/in6.h`) for which conntrack has a tracker.
pub mod ipproto {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// DCCP.
    pub const DCCP: u8 = 33;
    /// GRE.
    pub const GRE: u8 = 47;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// UDP-Lite.
    pub const UDPLITE: u8 = 136;
}

/// One direction of a flow: source and destination, and the identity in its layer-4 protocol.
///
/// Addresses and layer-4 bytes are in network order, so that equality and hashing mean the same on both sides of
/// the kernel. An IPv4 address fills the first four bytes; the rest is zero.
///
/// ```text
///  0               16              32    36       37     38
/// +---------------+---------------+-----+--------+------+
/// | src           | dst           | l4  | family | prot |   38 bytes
/// +---------------+---------------+-----+--------+------+
///   l4: TCP, UDP, UDP-Lite, SCTP, DCCP   source port (2), destination port (2)
///       ICMP, ICMPv6                     id (2), type (1), code (1)
///       GRE                              source key (2), destination key (2)
///       anything else                    zero
/// ```
#[doc(alias = "nf_conntrack_tuple")]
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct Tuple {
    /// Source address, network order.
    pub src: [u8; 16],
    /// Destination address, network order.
    pub dst: [u8; 16],
    /// Layer-4 identity, network order (see the picture).
    pub l4: [u8; 4],
    /// `FAMILY_IPV4` or `FAMILY_IPV6`; 0 means that the tuple is not known.
    pub family: u8,
    /// IP protocol number.
    pub proto: u8,
}

const _: () = assert!(size_of::<Tuple>() == 38);

impl Tuple {
    /// A tuple of which nothing is known: family 0.
    pub const UNKNOWN: Self = Self { src: [0; 16], dst: [0; 16], l4: [0; 4], family: 0, proto: 0 };

    /// An IPv4 tuple without layer-4 identity.
    #[must_use]
    pub const fn v4(src: [u8; 4], dst: [u8; 4], proto: u8) -> Self {
        Self { src: widen(src), dst: widen(dst), l4: [0; 4], family: FAMILY_IPV4, proto }
    }

    /// An IPv6 tuple without layer-4 identity.
    #[must_use]
    pub const fn v6(src: [u8; 16], dst: [u8; 16], proto: u8) -> Self {
        Self { src, dst, l4: [0; 4], family: FAMILY_IPV6, proto }
    }

    /// The same tuple with these ports (or GRE keys), in host order.
    #[must_use]
    pub const fn with_ports(mut self, src: u16, dst: u16) -> Self {
        let (s, d) = (src.to_be_bytes(), dst.to_be_bytes());
        self.l4 = [s[0], s[1], d[0], d[1]];
        self
    }

    /// The same tuple with this ICMP identity; `id` in host order.
    #[must_use]
    pub const fn with_icmp(mut self, id: u16, kind: u8, code: u8) -> Self {
        let id = id.to_be_bytes();
        self.l4 = [id[0], id[1], kind, code];
        self
    }

    /// Source and destination port (or GRE keys), in host order.
    #[must_use]
    pub const fn ports(&self) -> (u16, u16) {
        (u16::from_be_bytes([self.l4[0], self.l4[1]]), u16::from_be_bytes([self.l4[2], self.l4[3]]))
    }

    /// ICMP id (host order), type and code.
    #[must_use]
    pub const fn icmp(&self) -> (u16, u8, u8) {
        (u16::from_be_bytes([self.l4[0], self.l4[1]]), self.l4[2], self.l4[3])
    }

    /// Whether the tuple is known: its family is not 0.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.family != 0
    }

    /// Whether the layer-4 protocol has ports: TCP, UDP, UDP-Lite, SCTP, DCCP.
    #[must_use]
    pub const fn has_ports(&self) -> bool {
        matches!(
            self.proto,
            ipproto::TCP | ipproto::UDP | ipproto::UDPLITE | ipproto::SCTP | ipproto::DCCP
        )
    }

    /// Whether the layer-4 protocol is ICMP or ICMPv6.
    #[must_use]
    pub const fn is_icmp(&self) -> bool {
        matches!(self.proto, ipproto::ICMP | ipproto::ICMPV6)
    }

    /// Source address.
    #[must_use]
    pub fn src_ip(&self) -> IpAddr {
        self.ip(&self.src)
    }

    /// Destination address.
    #[must_use]
    pub fn dst_ip(&self) -> IpAddr {
        self.ip(&self.dst)
    }

    /// The tuple of the reply direction where no address is translated.
    ///
    /// Ports swap; ICMP queries turn into their replies and the other way round, as
    /// `nf_conntrack_invert_icmp_tuple` does (kernel v6.12, `net/netfilter/nf_conntrack_proto_icmp.c`).
    #[must_use]
    pub const fn inverted(&self) -> Self {
        let l4 = self.l4;
        let l4 = if self.is_icmp() {
            [l4[0], l4[1], inverted_icmp_type(self.proto, l4[2]), l4[3]]
        } else {
            [l4[2], l4[3], l4[0], l4[1]]
        };
        Self { src: self.dst, dst: self.src, l4, family: self.family, proto: self.proto }
    }

    const fn ip(&self, bytes: &[u8; 16]) -> IpAddr {
        if self.family == FAMILY_IPV6 {
            IpAddr::V6(Ipv6Addr::from_octets(*bytes))
        } else {
            IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))
        }
    }
}

impl fmt::Debug for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_known() {
            return f.write_str("Tuple(unknown)");
        }
        write!(f, "Tuple({} {} -> {}", self.proto, self.src_ip(), self.dst_ip())?;
        if self.is_icmp() {
            let (id, kind, code) = self.icmp();
            write!(f, " type {kind} code {code} id {id})")
        } else {
            let (src, dst) = self.ports();
            write!(f, " {src} -> {dst})")
        }
    }
}

/// The identity of a flow: its original direction and its zone.
///
/// Two zones may hold flows with the same tuple, so a table that is keyed by the tuple alone loses flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct FlowKey {
    /// The original direction.
    pub tuple: Tuple,
    /// Conntrack zone, host order; 0 is the default zone.
    pub zone: u16,
}

const _: () = assert!(size_of::<FlowKey>() == 40);

impl FlowKey {
    /// The identity of the flow that began with `tuple` in `zone`.
    #[must_use]
    pub const fn new(tuple: Tuple, zone: u16) -> Self {
        Self { tuple, zone }
    }

    /// The 40 bytes of the key in a BPF map: the fields in order, the zone in native byte order.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 40] {
        let mut out = [0; 40];
        out[..16].copy_from_slice(&self.tuple.src);
        out[16..32].copy_from_slice(&self.tuple.dst);
        out[32..36].copy_from_slice(&self.tuple.l4);
        [out[36], out[37]] = [self.tuple.family, self.tuple.proto];
        out[38..].copy_from_slice(&self.zone.to_ne_bytes());
        out
    }

    /// The key that [`FlowKey::to_bytes`] gave.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 40]) -> Self {
        let part = |at: usize| {
            let mut out = [0; 16];
            out.copy_from_slice(&bytes[at..at + 16]);
            out
        };
        let l4 = [bytes[32], bytes[33], bytes[34], bytes[35]];
        let tuple = Tuple { src: part(0), dst: part(16), l4, family: bytes[36], proto: bytes[37] };
        Self { tuple, zone: u16::from_ne_bytes([bytes[38], bytes[39]]) }
    }
}

const fn widen(v4: [u8; 4]) -> [u8; 16] {
    let mut out = [0; 16];
    let mut i = 0;
    while i < 4 {
        out[i] = v4[i];
        i += 1;
    }
    out
}

/// ICMP types whose replies conntrack pairs with their queries; every other type maps to itself.
const fn inverted_icmp_type(proto: u8, kind: u8) -> u8 {
    match (proto, kind) {
        (ipproto::ICMP, 8) => 0,       // echo request
        (ipproto::ICMP, 0) => 8,       // echo reply
        (ipproto::ICMP, 13) => 14,     // timestamp
        (ipproto::ICMP, 14) => 13,     // timestamp reply
        (ipproto::ICMP, 15) => 16,     // information request
        (ipproto::ICMP, 16) => 15,     // information reply
        (ipproto::ICMP, 17) => 18,     // address mask
        (ipproto::ICMP, 18) => 17,     // address mask reply
        (ipproto::ICMPV6, 128) => 129, // echo request
        (ipproto::ICMPV6, 129) => 128, // echo reply
        (ipproto::ICMPV6, 139) => 140, // node information query
        (ipproto::ICMPV6, 140) => 139, // node information reply
        (_, kind) => kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverting_twice_gives_the_tuple_back() {
        let tcp = Tuple::v4([1, 1, 1, 1], [2, 2, 2, 2], ipproto::TCP).with_ports(10, 20);
        assert_eq!(tcp.inverted().ports(), (20, 10));
        assert_eq!(tcp.inverted().inverted(), tcp);

        let ping = Tuple::v6([1; 16], [2; 16], ipproto::ICMPV6).with_icmp(77, 128, 0);
        assert_eq!(ping.inverted().icmp(), (77, 129, 0));
        assert_eq!(ping.inverted().inverted(), ping);
    }

    #[test]
    fn a_key_comes_out_of_its_bytes() {
        let tuple = Tuple::v6([1; 16], [2; 16], ipproto::TCP).with_ports(3, 4);
        let key = FlowKey::new(tuple, 0x0506);
        assert_eq!(FlowKey::from_bytes(&key.to_bytes()), key);
    }

    #[test]
    fn an_unpaired_icmp_type_inverts_to_itself() {
        let t = Tuple::v4([1; 4], [2; 4], ipproto::ICMP).with_icmp(0, 3, 1);
        assert_eq!(t.inverted().icmp(), (0, 3, 1));
    }
}
