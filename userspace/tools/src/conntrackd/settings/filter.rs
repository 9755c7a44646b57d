//! `Filter`: as the engine and as the kernel want it.

use crate::conf::{Conf, Filter, FilterSet, FilterSide, Policy};
use common::filter::{FilterConfig, mode};
use ctnetlink::tuple::{FAMILY_IPV4, FAMILY_IPV6};
use engine::filter::{Filter as FlowFilter, Prefix};
use host::source::KernelFilter;

/// The filter of the engine. It always holds, wherever else events are sorted out.
pub(super) fn in_user_space(conf: &Conf) -> FlowFilter {
    let spelled = conf.general.filter.as_ref().map(spell).unwrap_or_default();
    let mut prefixes = Vec::with_capacity(spelled.ipv4.len() + spelled.ipv6.len());
    for &(addr, bits) in &spelled.ipv4 {
        let mut wide = [0; 16];
        wide[..4].copy_from_slice(&addr);
        prefixes.push(Prefix { addr: wide, family: FAMILY_IPV4, bits });
    }
    let wide = spelled.ipv6.iter().map(|&(addr, bits)| Prefix { addr, family: FAMILY_IPV6, bits });
    prefixes.extend(wide);
    let numbers = [&spelled.source_ports, &spelled.destination_ports, &spelled.zones];
    FlowFilter::new(spelled.config, &prefixes, numbers.map(|set| &set[..]))
}

/// The filter of the event source. Age is its business alone: only where events are heard is it known.
pub(super) fn in_kernel(conf: &Conf) -> KernelFilter {
    let Some(filter) = conf.general.filter.as_ref() else { return KernelFilter::default() };
    let spelled = spell(filter);
    if filter.side == FilterSide::Kernelspace {
        return spelled;
    }
    let config = FilterConfig { age_ns: spelled.config.age_ns, ..FilterConfig::PASS };
    KernelFilter { config: config.switched(), ..KernelFilter::default() }
}

fn spell(filter: &Filter) -> KernelFilter {
    let mut out = KernelFilter::default();
    let config = &mut out.config;
    if let Some(set) = &filter.protocols {
        config.protocol_mode = policy_mode(set);
        set.members.iter().for_each(|&proto| config.name_protocol(proto));
    }
    if let Some(set) = &filter.ipv4 {
        config.ipv4_mode = policy_mode(set);
        out.ipv4 = set.members.iter().map(|p| (p.addr.octets(), p.len)).collect();
    }
    if let Some(set) = &filter.ipv6 {
        config.ipv6_mode = policy_mode(set);
        out.ipv6 = set.members.iter().map(|p| (p.addr.octets(), p.len)).collect();
    }
    let numbers = [
        (&filter.source_ports, &mut config.source_port_mode, &mut out.source_ports),
        (&filter.destination_ports, &mut config.destination_port_mode, &mut out.destination_ports),
        (&filter.zones, &mut config.zone_mode, &mut out.zones),
    ];
    for (set, mode, list) in numbers {
        if let Some(set) = set {
            *mode = policy_mode(set);
            list.clone_from(&set.members);
        }
    }
    if let Some(set) = &filter.tcp_states {
        config.tcp_state_mode = policy_mode(set);
        config.tcp_states = set.members.iter().fold(0, |bits, &n| bits | 1 << n.min(31));
    }
    if let Some(set) = &filter.marks {
        config.mark_mode = policy_mode(set);
        // The parser has seen to it that there is room.
        for &test in &set.members {
            config.name_mark(test);
        }
    }
    config.sample = filter.sample;
    config.age_ns = u64::from(filter.min_age_ms) * 1_000_000;
    out.config = config.switched();
    out
}

const fn policy_mode<T>(set: &FilterSet<T>) -> u32 {
    match set.policy {
        Policy::Accept => mode::ACCEPT,
        Policy::Ignore => mode::IGNORE,
    }
}
