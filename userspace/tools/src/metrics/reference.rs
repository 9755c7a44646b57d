//! The table of metrics as a document, written from its rows.

use super::table::groups;
use std::fmt::Write as _;

const PREAMBLE: &str = "\
# Metrics

Generated from the table of metrics (`userspace/tools/src/metrics/table/`); change it there and run
`UPDATE=1 cargo test -p ctflow-tools metrics`.

The daemon serves them over HTTP where the configuration has a block `Metrics { Listen ... }` (`docs/spec/conf.md`);
`ctflow metrics` prints them for textfile collectors. Both have the same names, because both are made from this table
and from one snapshot of the daemon's state, one reading of the kernel's counters and one look at `/proc`.

## Over HTTP

| request | answer |
|---|---|
| `GET /metrics` | All metrics: OpenMetrics 1.0 if `Accept` prefers it, else Prometheus' text format 0.0.4. |
| `GET /ready` | 200 `ready`, or 503 and a line `not ready: REASON` for each reason: the words of `ctflow ready`. |
| `GET /-/healthy` | 200 while the engine's threads turn, which they do ten times a second, else 503. |

Anything else is answered with 404, other methods with 405, addresses that `Allow` does not name with 403. There are at
most 8 connections at once; one more is closed. A request's head has 5 seconds to come in, a connection lasts 15 seconds
and ends with its answer. Scrapes within one second share one snapshot. Nothing is compressed, and there is no TLS: put
a proxy before it where the network is not trusted. The main thread answers from what the shards published, which is at
most 250 ms old while they are busy (with `Shards`, counts of the event source 300 ms) and true while they sleep: a
scrape takes nothing of their time and wakes none of them. If a shard hangs for a second, `ctflow_up` is 0,
`ctflow_scrape_incomplete` is 1 and the daemon's part is missing.

## What bounds their number

Labels never hold addresses, ports or names that a stranger on the network chooses. Links are at most 4, helpers as many
as the configuration has. Of the zones, the largest have series of their own (`ZonesMax`); those of the first 1,024 that
a count meets are separate at all. Counters of CPUs are separate up to 32 CPUs, else added up under
`cpu=\"all\"` (`PerCpu`). Beyond `SeriesMax` time series, whole metrics are left out from the end of this page on,
except the last group, which says how many.

## Counting

Flows by zone and state are not counted event by event, but by a walk over the table every `Census` seconds: 8,192 slots
or half a millisecond between two batches of events. `ctflow_census_age_seconds` says how old the counts are. Every
other number is of the moment of the scrape.

## What is not here

The kernel does not tell how many expectations there are. Filters become metrics as a `Class` of the configuration
(`ctflow_class_flows`); `ctflow count FILTER` answers other questions on demand.

Counters begin at 0 with the engine: a reload that restarts it looks to Prometheus like a restart. Counters of the
kernel are 32 bits wide and wrap around, which looks the same.
";

/// The text of `docs/spec/metrics.md`.
#[must_use]
pub fn markdown() -> String {
    let mut out = PREAMBLE.to_owned();
    for (title, metrics) in groups() {
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "\n## {title}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n"
        );
        for metric in metrics {
            let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let (name, kind) = (metric.series_name(), metric.kind.word());
            let _ =
                writeln!(out, "| `{name}` | {kind} | {} | {} |", labels.join(", "), metric.help);
        }
    }
    out
}
