//! Decides which flows count: the settings of a filter, and the one decision that the kernel and user space must make
//! alike.
//!
//! A [`Subject`] holds the known fields of a flow, from an event message (`event`), a packet's `nf_conn`, or a flow of
//! a table. A test of a field that it lacks passes, and the caller that knows more decides.
//!
//! ```text
//!  meant   protocol, addresses, ports, zone, sample    a flow keeps these for life: all its events pass, or none
//!  fit     TCP state, mark                              they change: asked for news, never for the end
//!  grown   age                                          asked where events are heard, by who remembers beginnings
//! ```

use ctnetlink::Change;
use ctnetlink::tuple::{FAMILY_IPV4, FAMILY_IPV6, FlowKey, Tuple, ipproto};

/// What a filter set does with what it names.
pub mod mode {
    /// The set does not exist: everything passes.
    pub const OFF: u32 = 0;
    /// Only what the set names passes.
    pub const ACCEPT: u32 = 1;
    /// What the set names does not pass.
    pub const IGNORE: u32 = 2;
}

/// Most values of marks that a filter can name.
pub const MARKS_MAX: usize = 16;

/// Marks that are alike in some bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct MarkTest {
    /// What the bits are.
    pub value: u32,
    /// The bits to compare.
    pub mask: u32,
}

/// The settings of a filter, except for what its sets hold ([`Sets`]). All zero lets everything pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FilterConfig {
    /// 0: everything passes, whatever the rest says. The program looks at nothing else then.
    pub enabled: u32,
    /// A [`mode`] for `protocols`.
    pub protocol_mode: u32,
    /// A [`mode`] for the IPv4 prefixes.
    pub ipv4_mode: u32,
    /// A [`mode`] for the IPv6 prefixes.
    pub ipv6_mode: u32,
    /// A [`mode`] for the source ports.
    pub source_port_mode: u32,
    /// A [`mode`] for the destination ports.
    pub destination_port_mode: u32,
    /// A [`mode`] for the zones.
    pub zone_mode: u32,
    /// A [`mode`] for `tcp_states`.
    pub tcp_state_mode: u32,
    /// A [`mode`] for `marks`.
    pub mark_mode: u32,
    /// How many of `marks` there are.
    pub marks_len: u32,
    /// TCP states, as the kernel numbers them, one bit each.
    pub tcp_states: u32,
    /// One flow in so many passes; 0 and 1 let all pass.
    pub sample: u32,
    /// Minimum age of a flow before its events are reported, nanoseconds.
    pub age_ns: u64,
    /// One bit per IP protocol number: bit `n % 64` of word `n / 64`.
    pub protocols: [u64; 4],
    /// The marks that the filter tests.
    pub marks: [MarkTest; MARKS_MAX],
}

const _: () = assert!(size_of::<FilterConfig>() == 216);

/// A set of numbers up to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Numbers {
    /// Source ports of the original direction.
    SourcePorts = 0,
    /// Destination ports of the original direction.
    DestinationPorts = 1,
    /// The sets of zones.
    Zones = 2,
}

impl Numbers {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::SourcePorts, Self::DestinationPorts, Self::Zones];
    /// Words of 64 bits that one takes where it is a bitmap.
    pub const WORDS: u32 = 1 << 10;

    /// Where the bit for `number` lies when all of them are bitmaps one behind the other: word and bit.
    #[must_use]
    #[inline(always)]
    pub const fn place(self, number: u16) -> (u32, u32) {
        (self as u32 * Self::WORDS + (number as u32 >> 6), number as u32 & 63)
    }
}

/// What the sets of a filter hold: maps in the kernel, tables in user space.
pub trait Sets {
    /// Whether an IPv4 prefix holds the address.
    fn hold_ipv4(&self, addr: [u8; 4]) -> bool;
    /// Whether an IPv6 prefix holds the address.
    fn hold_ipv6(&self, addr: [u8; 16]) -> bool;
    /// Whether a set of numbers holds this one.
    fn hold_number(&self, set: Numbers, number: u16) -> bool;
}

/// The fields of a flow that a message carried beyond its original tuple. One bit each.
pub mod known {
    /// `reply_src`.
    pub const REPLY: u32 = 1;
    /// `key.zone`.
    pub const ZONE: u32 = 2;
    /// `mark`.
    pub const MARK: u32 = 4;
    /// `tcp_state`.
    pub const TCP_STATE: u32 = 8;
}

/// What a filter wants to know of a flow. Aligned, so that the BPF compiler copies it in few steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Subject {
    /// Its original direction and its zone.
    pub key: FlowKey,
    /// Source address of the reply direction.
    pub reply_src: [u8; 16],
    /// Its mark.
    pub mark: u32,
    /// Its state, as the kernel numbers those of TCP.
    pub tcp_state: u32,
    /// Bits of [`known`]: which fields are known.
    pub known: u32,
}

impl Subject {
    /// A subject with no known field: all zero.
    pub const NOTHING: Self = Self {
        key: FlowKey::new(Tuple { src: [0; 16], dst: [0; 16], l4: [0; 4], family: 0, proto: 0 }, 0),
        reply_src: [0; 16],
        mark: 0,
        tcp_state: 0,
        known: 0,
    };
}

impl FilterConfig {
    /// Lets everything pass.
    pub const PASS: Self = Self {
        enabled: 0,
        protocol_mode: 0,
        ipv4_mode: 0,
        ipv6_mode: 0,
        source_port_mode: 0,
        destination_port_mode: 0,
        zone_mode: 0,
        tcp_state_mode: 0,
        mark_mode: 0,
        marks_len: 0,
        tcp_states: 0,
        sample: 0,
        age_ns: 0,
        protocols: [0; 4],
        marks: [MarkTest { value: 0, mask: 0 }; MARKS_MAX],
    };

    /// Names protocol `proto` in the protocol set.
    pub const fn name_protocol(&mut self, proto: u8) {
        self.protocols[(proto / 64) as usize] |= 1 << (proto % 64);
    }

    /// Names marks; false when there is no room for more.
    pub const fn name_mark(&mut self, test: MarkTest) -> bool {
        let at = self.marks_len as usize;
        if at >= MARKS_MAX {
            return false;
        }
        self.marks[at] = test;
        self.marks_len += 1;
        true
    }

    /// The same settings, switched on if they can refuse anything.
    #[must_use]
    pub const fn switched(mut self) -> Self {
        let modes = self.protocol_mode | self.ipv4_mode | self.ipv6_mode | self.source_port_mode;
        let modes = modes | self.destination_port_mode | self.zone_mode | self.tcp_state_mode;
        let any = (modes | self.mark_mode) != mode::OFF || self.sample > 1 || self.age_ns > 0;
        self.enabled = any as u32;
        self
    }

    /// Whether the filter tests more than the tuples.
    #[must_use]
    #[inline(always)]
    pub const fn looks_far(&self) -> bool {
        let modes = self.zone_mode | self.tcp_state_mode | self.mark_mode;
        modes != mode::OFF || self.sample > 1 || self.age_ns > 0
    }

    /// Whether an event about a flow like this passes; `change` is the kind of event.
    #[must_use]
    #[inline(always)]
    pub fn passes(&self, subject: &Subject, sets: &impl Sets, change: Change) -> bool {
        self.matches(subject, sets) && (matches!(change, Change::Destroy) || self.fit(subject))
    }

    /// Whether the flow is one of those that count, by what it keeps for life.
    #[must_use]
    #[inline(always)]
    pub fn matches(&self, subject: &Subject, sets: &impl Sets) -> bool {
        self.passes_protocol(subject.key.tuple.proto)
            && self.passes_addresses(subject, sets)
            && self.passes_ports(subject, sets)
            && self.passes_zone(subject, sets)
            && self.passes_sample(subject)
    }

    /// Whether what changes of a flow is as wanted.
    #[must_use]
    #[inline(always)]
    pub fn fit(&self, subject: &Subject) -> bool {
        self.passes_state(subject) && self.passes_mark(subject)
    }

    /// Whether the protocol set lets `proto` pass.
    #[must_use]
    #[inline(always)]
    pub fn passes_protocol(&self, proto: u8) -> bool {
        let named = (self.protocols[usize::from(proto >> 6) & 3] >> (proto & 63)) & 1 == 1;
        passes(self.protocol_mode, named)
    }

    /// The address sets are tested against the original source and the reply source, as conntrackd's filter is.
    #[inline(always)]
    fn passes_addresses(&self, subject: &Subject, sets: &impl Sets) -> bool {
        let (orig, reply) = (&subject.key.tuple.src, &subject.reply_src);
        let replied = subject.known & known::REPLY != 0;
        match subject.key.tuple.family {
            FAMILY_IPV4 if self.ipv4_mode != mode::OFF => {
                let named = |a: &[u8; 16]| sets.hold_ipv4([a[0], a[1], a[2], a[3]]);
                passes(self.ipv4_mode, named(orig) || (replied && named(reply)))
            }
            FAMILY_IPV6 if self.ipv6_mode != mode::OFF => {
                let named = |a: &[u8; 16]| sets.hold_ipv6(*a);
                passes(self.ipv6_mode, named(orig) || (replied && named(reply)))
            }
            _ => true,
        }
    }

    /// Ports of the original direction; a flow of a protocol without ports passes.
    #[inline(always)]
    fn passes_ports(&self, subject: &Subject, sets: &impl Sets) -> bool {
        if self.source_port_mode | self.destination_port_mode == mode::OFF
            || !subject.key.tuple.has_ports()
        {
            return true;
        }
        let (src, dst) = subject.key.tuple.ports();
        let holds = |of, set, port| of == mode::OFF || passes(of, sets.hold_number(set, port));
        holds(self.source_port_mode, Numbers::SourcePorts, src)
            && holds(self.destination_port_mode, Numbers::DestinationPorts, dst)
    }

    #[inline(always)]
    fn passes_zone(&self, subject: &Subject, sets: &impl Sets) -> bool {
        self.zone_mode == mode::OFF
            || subject.known & known::ZONE == 0
            || passes(self.zone_mode, sets.hold_number(Numbers::Zones, subject.key.zone))
    }

    #[inline(always)]
    fn passes_sample(&self, subject: &Subject) -> bool {
        self.sample <= 1 || subject.known & known::ZONE == 0 || in_sample(&subject.key, self.sample)
    }

    /// TCP states; a flow of another protocol passes, and so does one whose state is unknown.
    #[inline(always)]
    fn passes_state(&self, subject: &Subject) -> bool {
        self.tcp_state_mode == mode::OFF
            || subject.key.tuple.proto != ipproto::TCP
            || subject.known & known::TCP_STATE == 0
            || passes(self.tcp_state_mode, self.tcp_states >> (subject.tcp_state & 31) & 1 == 1)
    }

    #[inline(always)]
    fn passes_mark(&self, subject: &Subject) -> bool {
        if self.mark_mode == mode::OFF || subject.known & known::MARK == 0 {
            return true;
        }
        let mut named = false;
        let mut at = 0;
        while at < MARKS_MAX {
            let test = &self.marks[at];
            let counts = (at as u32) < self.marks_len;
            named |= counts && subject.mark & test.mask == test.value & test.mask;
            at += 1;
        }
        passes(self.mark_mode, named)
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

/// Whether a flow belongs to a sample of one in `share`. It depends on the identity alone, so a flow is in it for life,
/// on every machine. One in 16 is a part of one in 8.
#[must_use]
#[inline(always)]
pub const fn in_sample(key: &FlowKey, share: u32) -> bool {
    // The upper half of the product is a number below `share`, and each is as likely.
    ((hash(key) >> 32) * share as u64) >> 32 == 0
}

/// 64 bits that differ for flows that differ little: each word is mixed in by a multiplication with an odd number.
#[inline(always)]
const fn hash(key: &FlowKey) -> u64 {
    let tuple = &key.tuple;
    let tail = [tuple.family, tuple.proto, (key.zone >> 8) as u8, key.zone as u8];
    let [a, b, c, d] = tuple.l4;
    let mut h = mix(0x243f_6a88_85a3_08d3, word(&tuple.src, 0));
    h = mix(h, word(&tuple.src, 8));
    h = mix(h, word(&tuple.dst, 0));
    h = mix(h, word(&tuple.dst, 8));
    mix(h, u64::from_le_bytes([a, b, c, d, tail[0], tail[1], tail[2], tail[3]]))
}

#[inline(always)]
const fn mix(h: u64, word: u64) -> u64 {
    let h = (h ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (h ^ (h >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

#[inline(always)]
const fn word(bytes: &[u8; 16], at: usize) -> u64 {
    let b = bytes;
    u64::from_le_bytes([
        b[at],
        b[at + 1],
        b[at + 2],
        b[at + 3],
        b[at + 4],
        b[at + 5],
        b[at + 6],
        b[at + 7],
    ])
}

#[cfg(test)]
mod tests;
