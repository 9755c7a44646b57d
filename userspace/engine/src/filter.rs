//! Decides which flows count. The same decision, over maps of the same contents, also runs in the kernel
//! (`common::filter`); this side always runs, so the sources agree and dumps are filtered too.

use crate::interval::Intervals;
use common::filter::{FilterConfig, Numbers, Sets, Subject, known};
use ctnetlink::Change;
use ctnetlink::Flow;
use ctnetlink::flow::Known;
use ctnetlink::tuple::FAMILY_IPV6;

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

/// Selects the flows that count. The default lets all pass.
#[derive(Clone, Debug)]
pub struct Filter {
    config: FilterConfig,
    ipv4: Intervals<u32>,
    ipv6: Intervals<u128>,
    /// In the order of [`Numbers::ALL`].
    numbers: [Intervals<u16>; 3],
}

impl Default for Filter {
    fn default() -> Self {
        Self::new(FilterConfig::PASS, &[], [&[], &[], &[]])
    }
}

impl Filter {
    /// A filter with these settings, the prefixes of both families, and intervals of the numbers of each set, in the
    /// order of [`Numbers::ALL`]: first and last of each.
    #[must_use]
    pub fn new(config: FilterConfig, prefixes: &[Prefix], numbers: [&[(u16, u16)]; 3]) -> Self {
        let of = |v6| prefixes.iter().filter(move |p| (p.family == FAMILY_IPV6) == v6);
        Self {
            config,
            ipv4: Intervals::new(of(false).map(|p| {
                let first = u32::from_be_bytes([p.addr[0], p.addr[1], p.addr[2], p.addr[3]]);
                let rest = u32::MAX.checked_shr(p.bits.into()).unwrap_or(0);
                (first & !rest, first | rest)
            })),
            ipv6: Intervals::new(of(true).map(|p| {
                let first = u128::from_be_bytes(p.addr);
                let rest = u128::MAX.checked_shr(p.bits.into()).unwrap_or(0);
                (first & !rest, first | rest)
            })),
            numbers: numbers.map(|set| Intervals::new(set.iter().copied())),
        }
    }

    /// Whether a flow passes as a message would describe it now: every configured set must let it pass. An unknown
    /// field passes.
    #[must_use]
    pub fn passes(&self, flow: &Flow) -> bool {
        self.config.passes(&subject(flow), self, Change::Update)
    }

    /// Whether a flow can be one of those that were let in, whatever became of its state since.
    #[must_use]
    pub fn matches(&self, flow: &Flow) -> bool {
        self.config.passes(&subject(flow), self, Change::Destroy)
    }

    /// Whether every flow counts.
    #[must_use]
    pub fn passes_all(&self) -> bool {
        self.config == FilterConfig { enabled: self.config.enabled, ..FilterConfig::PASS }
    }

    /// Whether flows count only from some age on. The event source checks the age, because an event carries none.
    #[must_use]
    pub const fn asks_for_age(&self) -> bool {
        self.config.age_ns > 0
    }
}

impl Sets for Filter {
    fn hold_ipv4(&self, addr: [u8; 4]) -> bool {
        self.ipv4.hold(u32::from_be_bytes(addr))
    }

    fn hold_ipv6(&self, addr: [u8; 16]) -> bool {
        self.ipv6.hold(u128::from_be_bytes(addr))
    }

    fn hold_number(&self, set: Numbers, number: u16) -> bool {
        self.numbers[set as usize].hold(number)
    }
}

/// The fields of a flow that a filter tests. Where the kernel sends the status without a mark, the mark is 0.
#[must_use]
pub fn subject(flow: &Flow) -> Subject {
    let mut known = known::ZONE;
    let mut note = |is: bool, bit| known |= if is { bit } else { 0 };
    note(flow.reply.is_known(), known::REPLY);
    note(flow.known.intersects(Known::MARK | Known::STATUS), known::MARK);
    note(flow.tcp().is_some(), known::TCP_STATE);
    Subject {
        key: flow.key(),
        reply_src: flow.reply.src,
        mark: flow.mark,
        tcp_state: flow.tcp().map_or(0, |tcp| tcp.state.into()),
        known,
    }
}

#[cfg(test)]
mod tests;
