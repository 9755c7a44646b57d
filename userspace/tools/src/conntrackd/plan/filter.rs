//! `Filter`: as the engine and as the kernel want it.

use crate::conf::{Filter, FilterSet, FilterSide, Policy};
use common::filter::{FilterConfig, mode};
use ctnetlink::tuple::{FAMILY_IPV4, FAMILY_IPV6};
use engine::filter::{Filter as FlowFilter, Prefix};
use host::source::KernelFilter;

/// `Filter`, spelled out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filtering {
    /// The side that filters events; `None` without a filter.
    pub side: Option<FilterSide>,
    /// The filter of flows that pass.
    passes: KernelFilter,
}

impl From<Option<&Filter>> for Filtering {
    fn from(conf: Option<&Filter>) -> Self {
        Self { side: conf.map(|filter| filter.side), passes: conf.map(spell).unwrap_or_default() }
    }
}

impl Filtering {
    /// The filter of the engine. It always holds, wherever else events are sorted out.
    #[must_use]
    pub fn in_user_space(&self) -> FlowFilter {
        let KernelFilter { config, ipv4, ipv6, source_ports, destination_ports, zones } =
            &self.passes;
        let mut prefixes = Vec::with_capacity(ipv4.len() + ipv6.len());
        for &(addr, bits) in ipv4 {
            let mut wide = [0; 16];
            wide[..4].copy_from_slice(&addr);
            prefixes.push(Prefix { addr: wide, family: FAMILY_IPV4, bits });
        }
        let wide = ipv6.iter().map(|&(addr, bits)| Prefix { addr, family: FAMILY_IPV6, bits });
        prefixes.extend(wide);
        let numbers = [source_ports, destination_ports, zones];
        FlowFilter::new(*config, &prefixes, numbers.map(|set| &set[..]))
    }

    /// The filter of the event source. Age is its business alone: only where events are heard is it known.
    #[must_use]
    pub fn in_kernel(&self) -> KernelFilter {
        match self.side {
            None => KernelFilter::default(),
            Some(FilterSide::Kernelspace) => self.passes.clone(),
            Some(FilterSide::Userspace) => {
                let age_ns = self.passes.config.age_ns;
                let config = FilterConfig { age_ns, ..FilterConfig::PASS };
                KernelFilter { config: config.switched(), ..KernelFilter::default() }
            }
        }
    }

    /// The side that filters events, in conntrackd's words.
    #[must_use]
    pub const fn side_name(&self) -> Option<&'static str> {
        match self.side {
            None => None,
            Some(FilterSide::Userspace) => Some("user-space"),
            Some(FilterSide::Kernelspace) => Some("kernel-space"),
        }
    }
}

fn spell(filter: &Filter) -> KernelFilter {
    let Filter {
        side: _,
        protocols,
        ipv4,
        ipv6,
        tcp_states,
        source_ports,
        destination_ports,
        zones,
        marks,
        min_age_ms,
        sample,
    } = filter;
    let mut out = KernelFilter::default();
    let config = &mut out.config;
    if let Some(set) = protocols {
        config.protocol_mode = policy_mode(set);
        set.members.iter().for_each(|&proto| config.name_protocol(proto));
    }
    if let Some(set) = ipv4 {
        config.ipv4_mode = policy_mode(set);
        out.ipv4 = set.members.iter().map(|p| (p.addr.octets(), p.len)).collect();
    }
    if let Some(set) = ipv6 {
        config.ipv6_mode = policy_mode(set);
        out.ipv6 = set.members.iter().map(|p| (p.addr.octets(), p.len)).collect();
    }
    let numbers = [
        (source_ports, &mut config.source_port_mode, &mut out.source_ports),
        (destination_ports, &mut config.destination_port_mode, &mut out.destination_ports),
        (zones, &mut config.zone_mode, &mut out.zones),
    ];
    for (set, mode, list) in numbers {
        if let Some(set) = set {
            *mode = policy_mode(set);
            list.clone_from(&set.members);
        }
    }
    if let Some(set) = tcp_states {
        config.tcp_state_mode = policy_mode(set);
        config.tcp_states = set.members.iter().fold(0, |bits, &n| bits | 1 << n.min(31));
    }
    if let Some(set) = marks {
        config.mark_mode = policy_mode(set);
        // The parser has seen to it that there is room.
        for &test in &set.members {
            config.name_mark(test);
        }
    }
    config.sample = *sample;
    config.age_ns = u64::from(*min_age_ms) * 1_000_000;
    out.config = config.switched();
    out
}

const fn policy_mode<T>(set: &FilterSet<T>) -> u32 {
    match set.policy {
        Policy::Accept => mode::ACCEPT,
        Policy::Ignore => mode::IGNORE,
    }
}
