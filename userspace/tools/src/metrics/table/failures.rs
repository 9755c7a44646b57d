//! What the kernel refuses, drops and evicts.

use super::{Metric, counter, many, with};

pub(super) static METRICS: &[Metric] = &[
    counter(
        "ctflow_failures",
        &["reason", "certainty"],
        "What the kernel refused, dropped or evicted, with the `Failures` block: seen by a program (exact), or from \
         the kernel's counters alone (counter). `ctflow subscribe --events failure` tells which packets.",
        |s| {
            many(s, |status| {
                let failures = status.failures.iter().flatten();
                let both = failures.flat_map(|f| [("exact", f.seen, f), ("counter", f.counted, f)]);
                both.map(|(certainty, count, f)| with([&*f.reason, certainty], count)).collect()
            })
        },
    ),
    counter(
        "ctflow_failures_suppressed",
        &["reason"],
        "Of those that a program saw: counted, and not reported with their addresses, because there were more than \
         EventsPerSecond.",
        |s| {
            many(s, |status| {
                let failures = status.failures.iter().flatten();
                failures.map(|f| with([&*f.reason], f.seen.saturating_sub(f.reported))).collect()
            })
        },
    ),
];
