//! The kernel and its settings.

use super::super::facts::{Kernel, Known, Programs};
use super::{Root, said};
use host::source::{Source, SourceError};
use std::collections::{BTreeMap, BTreeSet};

/// Settings that checks look at, in `/proc/sys/net/netfilter`.
const SETTINGS: [&str; 8] = [
    "nf_conntrack_max",
    "nf_conntrack_count",
    "nf_conntrack_buckets",
    "nf_conntrack_events",
    "nf_conntrack_acct",
    "nf_conntrack_timestamp",
    "nf_conntrack_tcp_loose",
    "nf_conntrack_tcp_timeout_established",
];
/// Functions that failure events probe. A compiler may have given their names an ending.
const FUNCTIONS: [&str; 8] = [
    "early_drop",
    "nf_ct_resolve_clash",
    "__nf_conntrack_alloc",
    "init_conntrack",
    "__nf_conntrack_confirm",
    "nf_ct_delete",
    "nf_ct_l4proto_log_invalid",
    "nf_l4proto_log_invalid",
];
const ENDINGS: [&str; 2] = [".constprop.0", ".isra.0"];

pub(super) fn read(root: Root<'_>) -> Kernel {
    Kernel {
        release: root.text("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
        types: root.has("/sys/kernel/btf/vmlinux"),
        types_of_conntrack: root.has("/sys/kernel/btf/nf_conntrack"),
        lockdown: root.text("/sys/kernel/security/lockdown").and_then(|text| lockdown(&text)),
        kprobes: root.has("/sys/bus/event_source/devices/kprobe/type"),
        missing_functions: root.text("/proc/kallsyms").map(|text| missing(&text)),
    }
}

/// The mode in brackets: `none [integrity] confidentiality`.
fn lockdown(text: &str) -> Known<String> {
    let inside = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    let unknown = || "/sys/kernel/security/lockdown is not understood".to_owned();
    inside.map(|(mode, _)| mode.to_owned()).ok_or_else(unknown)
}

/// The functions that are not among the kernel's symbols: `ADDRESS TYPE NAME [MODULE]`.
fn missing(symbols: &str) -> Vec<String> {
    let names: BTreeSet<_> =
        symbols.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    let has = |name: &str| {
        names.contains(name)
            || ENDINGS.iter().any(|end| names.contains(format!("{name}{end}").as_str()))
    };
    FUNCTIONS.iter().filter(|name| !has(name)).map(ToString::to_string).collect()
}

/// All settings that can be read.
pub(super) fn sysctls(root: Root<'_>) -> BTreeMap<String, Known<u64>> {
    let read = |name: &&str| {
        let value = root.number(&format!("/proc/sys/net/netfilter/{name}"));
        ((*name).to_owned(), value)
    };
    SETTINGS.iter().map(read).collect()
}

/// Loads our programs, and lets them go.
pub(super) fn programs() -> Programs {
    Programs {
        tap: outcome(Source::try_programs(false)),
        hook: outcome(Source::try_programs(true)),
    }
}

/// A right that this process lacks says nothing of the kernel.
fn outcome(tried: Result<(), SourceError>) -> Known<Option<String>> {
    match tried {
        Ok(()) => Ok(None),
        Err(why @ (SourceError::NoCapability | SourceError::NoHookCapability)) => {
            Err(why.to_string())
        }
        Err(why) => Ok(Some(why.on_one_line())),
    }
}

pub(super) fn clock() -> Known<bool> {
    host::sys::clock::is_synchronised().map_err(|error| format!("adjtimex: {}", said(&error)))
}
