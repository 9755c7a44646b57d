//! What the kernel counts about its own connection tracking: each CPU's counters, the size of the table, its settings.
//!
//! Counters and sizes come by ctnetlink (`IPCTNL_MSG_CT_GET_STATS_CPU`, `IPCTNL_MSG_CT_GET_STATS`), because some
//! distributions build no `/proc/net/stat/nf_conntrack`. Settings are files under `/proc/sys/net/netfilter`; they show
//! the network namespace of the thread that reads them, and so does the netlink socket that the thread opens.

use crate::table::Table;
use ctnetlink::frame::FAMILY_HEADER_LEN;
use ctnetlink::uapi::{ct, subsystem};
use ctnetlink::{Attributes, Messages, request};
use std::fs;
use std::io;

/// Names of the counters of a CPU, as `conntrack -S` prints them: `CTA_STATS_*` (kernel v6.12,
/// `include/uapi/linux/netfilter/nfnetlink_conntrack.h`) in the order of their numbers, the first being 1, and room for
/// four more.
pub const COUNTERS: [&str; 19] = [
    "searched",
    "found",
    "new",
    "invalid",
    "ignore",
    "delete",
    "delete_list",
    "insert",
    "insert_failed",
    "drop",
    "early_drop",
    "error",
    "search_restart",
    "clash_resolve",
    "chaintoolong",
    "unknown1",
    "unknown2",
    "unknown3",
    "unknown4",
];

/// Settings that are read, by the names of their files below `nf_conntrack_`.
pub const SETTINGS: [&str; 8] = [
    "acct",
    "events",
    "timestamp",
    "tcp_loose",
    "tcp_be_liberal",
    "log_invalid",
    "udp_timeout",
    "tcp_timeout_established",
];

/// `CTA_STATS_GLOBAL_*` (kernel v6.12, same file).
mod global {
    pub(super) const ENTRIES: u16 = 1;
    pub(super) const MAX_ENTRIES: u16 = 2;
}

/// The counters of one CPU. The kernel's are 32 bits wide and wrap around.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuCounters {
    /// Number of the CPU.
    pub cpu: u16,
    /// Names from [`COUNTERS`], and values. A kernel reports only the counters it keeps.
    pub values: Vec<(&'static str, u32)>,
}

/// What the kernel says; a field is empty where this kernel does not say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelStats {
    /// Each possible CPU's counters, in the order of the CPUs.
    pub cpus: Vec<CpuCounters>,
    /// Flows in the table.
    pub flows: Option<u64>,
    /// Most flows it takes (`nf_conntrack_max`).
    pub flows_max: Option<u64>,
    /// Buckets of its hash table.
    pub buckets: Option<u64>,
    /// Most expectations it takes.
    pub expectations_max: Option<u64>,
    /// Values of [`SETTINGS`] that could be read.
    pub settings: Vec<(&'static str, u64)>,
}

/// Asks the kernel, in the calling thread's network namespace. Takes about 50 microseconds on two CPUs.
///
/// # Errors
/// As `socket(2)`, or what the kernel says instead of an answer: `EPERM` without `CAP_NET_ADMIN`.
pub fn read() -> io::Result<KernelStats> {
    let mut table = Table::open()?;
    let cpus = cpus_of(&mut table)?;
    let mut sizes = (None, None);
    table.ask(request::stats, |message| {
        sizes = table_sizes(message);
        Ok(())
    })?;
    let read = |name: &str| setting(&format!("nf_conntrack_{name}"));
    Ok(KernelStats {
        cpus,
        flows: sizes.0.or_else(|| read("count")),
        flows_max: sizes.1.or_else(|| read("max")),
        buckets: read("buckets"),
        expectations_max: read("expect_max"),
        settings: SETTINGS.iter().filter_map(|name| Some((*name, read(name)?))).collect(),
    })
}

/// Asks the kernel for the counters alone.
///
/// # Errors
/// As [`read`].
pub fn cpus() -> io::Result<Vec<CpuCounters>> {
    cpus_of(&mut Table::open()?)
}

fn cpus_of(table: &mut Table) -> io::Result<Vec<CpuCounters>> {
    let mut cpus = Vec::new();
    table.dump(request::stats_per_cpu, |message| {
        cpus.extend(cpu_counters(message));
        Ok(())
    })?;
    Ok(cpus)
}

/// The counters in one answer to `IPCTNL_MSG_CT_GET_STATS_CPU`, header included; `None` if it is no such answer.
#[must_use]
pub fn cpu_counters(message: &[u8]) -> Option<CpuCounters> {
    let raw = Messages::new(message).next()?.ok()?;
    let is_answer =
        raw.header.subsystem() == subsystem::CTNETLINK && raw.header.message() == ct::GET_STATS_CPU;
    let (&[_, _, high, low], rest) = raw.payload.split_first_chunk::<FAMILY_HEADER_LEN>()?;
    let attributes = Attributes::new(rest, FAMILY_HEADER_LEN).flatten();
    let named = attributes.filter_map(|attribute| {
        let name = COUNTERS.get(usize::from(attribute.kind).wrapping_sub(1))?;
        Some((*name, attribute.be32().ok()?))
    });
    // The answer's resource id is the number of the CPU.
    let cpu = u16::from_be_bytes([high, low]);
    is_answer.then(|| CpuCounters { cpu, values: named.collect() })
}

/// Flows, and the most there may be, in the answer to `IPCTNL_MSG_CT_GET_STATS`, header included.
#[must_use]
pub fn table_sizes(message: &[u8]) -> (Option<u64>, Option<u64>) {
    let raw = Messages::new(message).next().and_then(Result::ok);
    let rest = raw.as_ref().and_then(|raw| raw.payload.get(FAMILY_HEADER_LEN..));
    let attributes = || Attributes::new(rest.unwrap_or_default(), FAMILY_HEADER_LEN).flatten();
    let number = |kind: u16| {
        let found = attributes().find(|attribute| attribute.kind == kind)?;
        Some(u64::from(found.be32().ok()?))
    };
    (number(global::ENTRIES), number(global::MAX_ENTRIES))
}

fn setting(name: &str) -> Option<u64> {
    fs::read_to_string(format!("/proc/sys/net/netfilter/{name}")).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A netlink message of ctnetlink with attributes of 32 bits.
    fn message(number: u8, id: u16, attributes: &[(u16, u32)]) -> Vec<u8> {
        let mut body = vec![0, 0];
        body.extend(id.to_be_bytes());
        for (kind, value) in attributes {
            body.extend(8_u16.to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(value.to_be_bytes());
        }
        let mut bytes = (16 + body.len() as u32).to_ne_bytes().to_vec();
        bytes.extend([number, subsystem::CTNETLINK]);
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn the_counters_of_a_cpu_have_their_names_and_its_number() {
        let answer = message(ct::GET_STATS_CPU, 3, &[(2, 7), (10, 9), (15, u32::MAX), (99, 1)]);
        let counters = cpu_counters(&answer).expect("it is an answer");
        let values = [("found", 7), ("drop", 9), ("chaintoolong", u32::MAX)];
        assert_eq!((counters.cpu, counters.values), (3, values.to_vec()));
    }

    #[test]
    fn anything_else_has_no_counters() {
        assert_eq!(cpu_counters(&message(ct::GET_STATS, 3, &[(2, 7)])), None);
        assert_eq!(cpu_counters(&[]), None);
        let answer = message(ct::GET_STATS_CPU, 0, &[(2, 7)]);
        for len in 0..answer.len() {
            let counters = cpu_counters(&answer[..len]);
            assert!(counters.is_none_or(|counters| counters.values.is_empty()), "{len}");
        }
    }

    #[test]
    fn a_kernel_that_does_not_tell_the_limit_leaves_it_open() {
        assert_eq!(table_sizes(&message(ct::GET_STATS, 0, &[(1, 5), (2, 9)])), (Some(5), Some(9)));
        assert_eq!(table_sizes(&message(ct::GET_STATS, 0, &[(1, 5)])), (Some(5), None));
        assert_eq!(table_sizes(&[1, 2, 3]), (None, None));
    }
}
