//! The kernel's own table, whether or not the daemon runs.

use super::{Metric, Sample, counter, gauge, maybe, with};
use export::exposition::Series;
use host::kstat::KernelStats;

/// The label of a sum over all CPUs.
const ALL_CPUS: &str = "all";

pub(super) static METRICS: &[Metric] = &[
    gauge("ctflow_kernel_flows", &[], "Flows in the kernel's table.", |s| {
        of_kernel(s, |kernel| kernel.flows)
    }),
    gauge(
        "ctflow_kernel_flows_max",
        &[],
        "Most flows the kernel's table takes (nf_conntrack_max). When it is full, the kernel drops packets that would \
         begin a flow.",
        |s| of_kernel(s, |kernel| kernel.flows_max),
    ),
    gauge(
        "ctflow_kernel_buckets",
        &[],
        "Buckets of the kernel's table. With many more flows than buckets, packets cost more.",
        |s| of_kernel(s, |kernel| kernel.buckets),
    ),
    gauge("ctflow_kernel_expectations_max", &[], "Most expectations the kernel takes.", |s| {
        of_kernel(s, |kernel| kernel.expectations_max)
    }),
    counter(
        "ctflow_kernel_found",
        &["cpu"],
        "Look-ups that found a flow where that is not the rule: a packet's NAT mapping was taken, or an expectation \
         met a flow. `found` of conntrack -S. As all counters of the kernel it has 32 bits and wraps around.",
        |s| per_cpu(s, "found"),
    ),
    counter(
        "ctflow_kernel_invalid",
        &["cpu"],
        "Packets that fit no flow and may begin none: out of a TCP window, bad checksums, ICMP errors about nothing. \
         Asymmetric routing makes many. Rulesets that drop `ct state invalid` drop these.",
        |s| per_cpu(s, "invalid"),
    ),
    counter("ctflow_kernel_insert", &["cpu"], "Flows inserted, where the kernel counts it.", |s| {
        per_cpu(s, "insert")
    }),
    counter(
        "ctflow_kernel_insert_failed",
        &["cpu"],
        "Flows that could not be inserted, so their packet was dropped: another packet began the same flow, as two DNS \
         queries over one socket do, or two flows got the same address by NAT.",
        |s| per_cpu(s, "insert_failed"),
    ),
    counter(
        "ctflow_kernel_drop",
        &["cpu"],
        "Packets dropped because the table was full and nothing could be evicted: raise nf_conntrack_max.",
        |s| per_cpu(s, "drop"),
    ),
    counter(
        "ctflow_kernel_early_drop",
        &["cpu"],
        "Flows evicted before their time because the table was full: raise nf_conntrack_max.",
        |s| per_cpu(s, "early_drop"),
    ),
    counter(
        "ctflow_kernel_error",
        &["cpu"],
        "Packets dropped because tracking them failed.",
        |s| per_cpu(s, "error"),
    ),
    counter(
        "ctflow_kernel_search_restart",
        &["cpu"],
        "Look-ups begun again because the table was resized meanwhile.",
        |s| per_cpu(s, "search_restart"),
    ),
    counter(
        "ctflow_kernel_clash_resolve",
        &["cpu"],
        "Clashes of two packets that begin the same flow which cost neither of them.",
        |s| per_cpu(s, "clash_resolve"),
    ),
    counter(
        "ctflow_kernel_chain_toolong",
        &["cpu"],
        "Flows not inserted because their bucket was too long: too few buckets, or an attacker makes flows that \
         share one.",
        |s| per_cpu(s, "chaintoolong"),
    ),
    gauge(
        "ctflow_kernel_sysctl",
        &["name"],
        "Settings below net.netfilter.nf_conntrack_, as far as they are numbers that matter to a flow's life.",
        |s| {
            let settings = s.kernel.iter().flat_map(|kernel| &kernel.settings);
            settings.map(|(name, value)| with([name], *value)).collect()
        },
    ),
];

fn of_kernel(sample: &Sample, get: impl FnOnce(&KernelStats) -> Option<u64>) -> Vec<Series> {
    maybe(sample.kernel.as_ref().and_then(get))
}

/// A counter of each CPU, or their sum; nothing if this kernel does not keep it.
fn per_cpu(sample: &Sample, name: &str) -> Vec<Series> {
    let cpus = sample.kernel.iter().flat_map(|kernel| &kernel.cpus);
    let values: Vec<(u16, u64)> = cpus
        .filter_map(|cpu| {
            let (_, value) = cpu.values.iter().find(|(known, _)| *known == name)?;
            Some((cpu.cpu, u64::from(*value)))
        })
        .collect();
    if values.is_empty() {
        return Vec::new();
    }
    if sample.limits.divides(values.len()) {
        return values.iter().map(|(cpu, value)| with([&cpu.to_string()], *value)).collect();
    }
    vec![with([ALL_CPUS], values.iter().map(|(_, value)| value).sum::<u64>())]
}
