//! Where events come from, and what becomes of them.

use super::{Metric, counter, gauge, histogram, many, of_status, with};
use crate::print::status::{Events, Hook};
use export::exposition::{Series, Value};

/// Microseconds in a second.
const MICROSECONDS: f64 = 1e6;

pub(super) static METRICS: &[Metric] = &[
    counter("ctflow_events_received", &[], "Events of the kernel that were handled.", |s| {
        of_status(s, |status| status.events.received)
    }),
    counter("ctflow_events_filtered", &[], "Events that the configured filter refused.", |s| {
        of_status(s, |status| status.events.filtered)
    }),
    counter("ctflow_events_malformed", &[], "Events that were not understood.", |s| {
        of_status(s, |status| status.events.malformed)
    }),
    counter(
        "ctflow_events_lost",
        &[],
        "Events the kernel dropped because the socket was full. The kernel's table is read to make that good; if it \
         returns, raise NetlinkBufferSizeMaxGrowth or take EventSource tap.",
        |s| of_status(s, |status| status.events.lost),
    ),
    counter("ctflow_events_overruns", &[], "Times that events were found to be lost.", |s| {
        of_status(s, |status| status.events.overruns)
    }),
    counter(
        "ctflow_events_verified",
        &[],
        "Flows the kernel was asked about because news of them had no exact time.",
        |s| of_status(s, |status| status.events.verified),
    ),
    histogram(
        "ctflow_event_latency_seconds",
        &[],
        "From an event in the kernel to its handling: of the first event of each turn, so it errs to the slow side. \
         The netlink source does not know when an event happened.",
        |s| {
            many(s, |status| {
                if status.events.latency_count > 0 { latency(&status.events) } else { Vec::new() }
            })
        },
    ),
    counter(
        "ctflow_tap_events",
        &["outcome"],
        "Events that the tap saw: into a ring, refused by the filter in the kernel, left to the socket because there \
         was no room. The last ones may get lost.",
        |s| {
            many(s, |status| {
                let e = &status.events;
                let outcomes = [
                    ("ring", e.tap_ring),
                    ("filtered", e.tap_filtered),
                    ("spilled", e.tap_spilled),
                ];
                // Without a tap there is no outcome to report.
                let outcomes = outcomes.into_iter().filter(|_| e.tap_seen > 0);
                outcomes.map(|(outcome, events)| with([outcome], events)).collect()
            })
        },
    ),
    counter(
        "ctflow_hook_packets",
        &["outcome"],
        "Packets that the hook looked at: without news, of no flow, with news that went into a ring, refused by the \
         filter.",
        |s| {
            hook(s, |h| {
                vec![
                    with(["settled"], h.settled),
                    with(["untracked"], h.untracked),
                    with(["recorded"], h.recorded),
                    with(["filtered"], h.filtered),
                ]
            })
        },
    ),
    counter(
        "ctflow_hook_flows_lost",
        &[],
        "News of the hook that found no room. If the flow goes on, its next packet tells it.",
        |s| hook(s, |h| super::one(h.lost)),
    ),
    gauge(
        "ctflow_ring_bytes",
        &[],
        "Room of the rings that the eBPF programs put news into, one for each CPU.",
        |s| rings(s, |events| events.ring_bytes.map(|bytes| bytes as f64)),
    ),
    gauge("ctflow_ring_waiting_bytes", &[], "Of that: news that waits to be read.", |s| {
        rings(s, |events| events.ring_waiting_bytes.map(|bytes| bytes as f64))
    }),
    gauge(
        "ctflow_ring_high_water_ratio",
        &[],
        "How full the fullest ring was ever found, 0 to 1, since the source was opened. At 1 events were left to the \
         socket, or lost to the hook.",
        |s| rings(s, |events| events.ring_fullest_permille.map(|share| share as f64 / 1000.0)),
    ),
    gauge("ctflow_receive_buffer_bytes", &[], "Receive buffer of the event socket.", |s| {
        of_status(s, |status| status.events.receive_buffer_bytes)
    }),
    gauge("ctflow_shards", &[], "Threads that share the flows.", |s| {
        of_status(s, |status| status.events.shards)
    }),
    counter(
        "ctflow_reader_waits",
        &[],
        "Times the reader of several shards waited for one that was behind.",
        |s| of_status(s, |status| status.events.reader_waits),
    ),
];

fn rings(sample: &super::Sample, get: impl Fn(&Events) -> Option<f64>) -> Vec<Series> {
    super::maybe(sample.status.as_ref().and_then(|status| get(&status.events)))
}

fn hook(sample: &super::Sample, get: impl Fn(&Hook) -> Vec<Series>) -> Vec<Series> {
    many(sample, |status| status.events.hook.as_ref().map(get).unwrap_or_default())
}

fn latency(events: &Events) -> Vec<Series> {
    let bounded = events.latency.iter().map(|b| (b.le_us as f64 / MICROSECONDS, b.count));
    let mut buckets: Vec<_> = bounded.collect();
    let counted: u64 = buckets.iter().map(|(_, count)| count).sum();
    buckets.push((f64::INFINITY, events.latency_count.saturating_sub(counted)));
    let sum = events.latency_sum_us as f64 / MICROSECONDS;
    vec![with([], Value::Histogram { sum, buckets })]
}
