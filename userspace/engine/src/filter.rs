//! Which flows count. The same settings, compiled into eBPF maps, also run in the kernel; this side always runs, so
//! the two sources agree and dumps are filtered too.

use alloc::vec::Vec;
use common::Tuple;
use common::tap::{FilterConfig, mode, passes};
use common::tuple::FAMILY_IPV6;
use wire::Flow;

/// An address prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Network order; IPv4 in the first four bytes.
    pub addr: [u8; 16],
    /// `FAMILY_IPV4` or `FAMILY_IPV6`.
    pub family: u8,
    /// Length in bits.
    pub bits: u8,
}

/// Which flows count. The default lets all pass.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Protocol set and the modes of the address sets.
    pub config: FilterConfig,
    /// The prefixes of both address sets.
    pub prefixes: Vec<Prefix>,
    /// A `common::tap::mode` for TCP states.
    pub tcp_state_mode: u32,
    /// TCP states named, one bit each.
    pub tcp_states: u16,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            config: FilterConfig::PASS,
            prefixes: Vec::new(),
            tcp_state_mode: mode::OFF,
            tcp_states: 0,
        }
    }
}

impl Filter {
    /// Whether a flow counts: every configured set must let it pass. A TCP flow whose state is not told passes the
    /// state set.
    #[must_use]
    pub fn passes(&self, flow: &Flow) -> bool {
        self.config.passes_protocol(flow.orig.proto)
            && self.passes_addresses(&flow.orig, &flow.reply)
            && self.passes_state(flow)
    }

    fn passes_addresses(&self, orig: &Tuple, reply: &Tuple) -> bool {
        let v6 = orig.family == FAMILY_IPV6;
        let set = if v6 { self.config.ipv6_mode } else { self.config.ipv4_mode };
        if set == mode::OFF {
            return true;
        }
        let named = |addr: &[u8; 16]| self.prefixes.iter().any(|p| p.holds(orig.family, addr));
        passes(set, named(&orig.src) || (reply.is_known() && named(&reply.src)))
    }

    fn passes_state(&self, flow: &Flow) -> bool {
        let Some(tcp) = flow.tcp() else { return true };
        passes(self.tcp_state_mode, self.tcp_states >> tcp.state.min(15) & 1 == 1)
    }
}

impl Prefix {
    /// Whether an address of `family` lies in the prefix.
    #[must_use]
    pub fn holds(&self, family: u8, addr: &[u8; 16]) -> bool {
        let whole = usize::from(self.bits / 8).min(16);
        let rest = self.bits % 8;
        let tail = || rest == 0 || (self.addr[whole] ^ addr[whole]) >> (8 - rest) == 0;
        family == self.family && self.addr[..whole] == addr[..whole] && (whole == 16 || tail())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::tuple::FAMILY_IPV4;

    fn flow(src: [u8; 4], proto: u8) -> Flow {
        let orig = Tuple::v4(src, [9, 9, 9, 9], proto);
        Flow { reply: orig.inverted(), ..Flow::new(orig) }
    }

    fn ignore(addr: [u8; 4], bits: u8) -> Filter {
        let mut wide = [0; 16];
        wide[..4].copy_from_slice(&addr);
        let mut f = Filter {
            prefixes: alloc::vec![Prefix { addr: wide, family: FAMILY_IPV4, bits }],
            ..Filter::default()
        };
        f.config.ipv4_mode = mode::IGNORE;
        f
    }

    #[test]
    fn prefixes_match_to_the_bit() {
        let f = ignore([10, 1, 2, 128], 25);
        assert!(!f.passes(&flow([10, 1, 2, 129], 6)));
        assert!(f.passes(&flow([10, 1, 2, 127], 6)));
        assert!(!ignore([0; 4], 0).passes(&flow([8, 8, 8, 8], 6)));
    }

    #[test]
    fn the_reply_source_counts_too() {
        assert!(!ignore([9, 9, 9, 9], 32).passes(&flow([1, 1, 1, 1], 6)));
    }

    #[test]
    fn protocols_are_accepted_or_ignored() {
        let mut f = Filter::default();
        f.config.protocol_mode = mode::ACCEPT;
        f.config.name_protocol(6);
        assert!(f.passes(&flow([1; 4], 6)));
        assert!(!f.passes(&flow([1; 4], 17)));
    }
}
