//! The daemon's tables of flows.

use super::{Metric, Sample, counter, gauge, histogram, many, told, with};
use crate::print::status::{Lifetime, Passed, Table, Zone};
use export::exposition::{Series, Value};

/// Words of [`host::shard::TableState`].
const STATES: [&str; 4] = ["loading", "exact", "degraded", "repairing"];

pub(super) static METRICS: &[Metric] = &[
    gauge(
        "ctflow_table_flows",
        &["side"],
        "Flows in the daemon's tables: local, this node's; remote, the peer's.",
        |s| sides(s, |table| table.flows),
    ),
    gauge("ctflow_table_flows_max", &["side"], "Most flows a table takes (HashLimit).", |s| {
        sides(s, |table| table.flows_max)
    }),
    gauge(
        "ctflow_table_state",
        &["state"],
        "1 for the state that the local table is in. Only `exact` is known to be what the kernel holds; a failover in \
         another state hands over a wrong table.",
        |s| {
            many(s, |status| {
                STATES.into_iter().map(|state| with([state], status.work.state == state)).collect()
            })
        },
    ),
    gauge(
        "ctflow_table_degraded_seconds",
        &[],
        "How long the local table has not been exact.",
        |s| told(s, |status| status.work.degraded_s.unwrap_or(0)),
    ),
    gauge("ctflow_table_missing_events", &[], "Events whose loss has not been made good.", |s| {
        told(s, |status| status.work.missing_events)
    }),
    gauge(
        "ctflow_table_loaded_ratio",
        &[],
        "How much of the kernel's table has been read for the first time, 0 to 1.",
        |s| {
            let loaded = s.status.as_ref().and_then(|status| status.work.loaded_percent);
            super::maybe(loaded.map(|percent| percent as f64 / 100.0))
        },
    ),
    counter("ctflow_table_readings", &[], "Times the kernel's table was read.", |s| {
        told(s, |status| status.events.table_readings)
    }),
    counter(
        "ctflow_flows_created",
        &["side"],
        "Flows added to a table. Its rate is new flows.",
        |s| sides(s, |table| table.created),
    ),
    counter("ctflow_flows_updated", &["side"], "Changes of flows in a table.", |s| {
        sides(s, |table| table.updated)
    }),
    counter("ctflow_flows_ended", &["side"], "Flows removed from a table.", |s| {
        sides(s, |table| table.destroyed)
    }),
    counter(
        "ctflow_zone_flows_created",
        &["zone"],
        "Flows added to the local table, by zone. The zones that were met first have series of their own, up to \
         ZonesMax and 256; which ones never changes while the engine runs.",
        |s| zones(s, |zone| zone.created),
    ),
    counter(
        "ctflow_zone_flows_updated",
        &["zone"],
        "Changes of flows in the local table, likewise.",
        |s| zones(s, |zone| zone.updated),
    ),
    counter(
        "ctflow_zone_flows_ended",
        &["zone"],
        "Flows removed from the local table, likewise.",
        |s| zones(s, |zone| zone.ended),
    ),
    histogram(
        "ctflow_flow_lifetime_seconds",
        &["proto"],
        "How long flows lived, in whole seconds: of those that were heard to begin and to end.",
        |s| {
            many(s, |status| {
                let lives = status.turnover.iter().flat_map(|turnover| &turnover.lifetimes);
                lives.map(|life| with([&*life.proto], lifetimes(life))).collect()
            })
        },
    ),
    counter(
        "ctflow_table_refused",
        &["side"],
        "Flows that found no room in a table: HashLimit is less than the kernel's nf_conntrack_max.",
        |s| sides(s, |table| table.create_no_space),
    ),
    counter("ctflow_table_stale", &["side"], "News that came too late to be true.", |s| {
        sides(s, |table| table.stale)
    }),
    counter(
        "ctflow_table_unknown",
        &["side", "op"],
        "Changes and ends of flows that are not in a table.",
        |s| {
            each_side(s, |side, table| {
                vec![
                    with([side, "update"], table.update_failed),
                    with([side, "end"], table.destroy_not_found),
                ]
            })
        },
    ),
    counter(
        "ctflow_bypassed_flows",
        &["op", "result"],
        "Events that went straight to the peer, because no local table is kept (DisableInternalCache).",
        |s| passed(s, |status| status.bypass.as_ref()),
    ),
    counter(
        "ctflow_injected_flows",
        &["op", "result"],
        "Flows of the peer that went straight into the kernel, because no remote table is kept (DisableExternalCache).",
        |s| passed(s, |status| status.inject.as_ref()),
    ),
    counter(
        "ctflow_ended_traffic_bytes",
        &[],
        "Bytes of flows that have ended, where the kernel counts them (nf_conntrack_acct).",
        |s| told(s, |status| status.traffic.bytes),
    ),
    counter(
        "ctflow_ended_traffic_packets",
        &[],
        "Packets of flows that have ended, likewise.",
        |s| told(s, |status| status.traffic.packets),
    ),
];

/// A number of each table that is kept.
fn sides(sample: &Sample, get: impl Fn(&Table) -> u64) -> Vec<Series> {
    each_side(sample, |side, table| vec![with([side], get(table))])
}

fn zones(sample: &Sample, get: impl Fn(&Zone) -> u64) -> Vec<Series> {
    many(sample, |status| {
        let zones = status.turnover.iter().flat_map(|turnover| &turnover.zones);
        zones.map(|zone| with([&*zone.zone], get(zone))).collect()
    })
}

fn lifetimes(life: &Lifetime) -> Value {
    let mut buckets: Vec<_> = life.buckets.iter().map(|b| (b.le_s as f64, b.count)).collect();
    let counted: u64 = life.buckets.iter().map(|bucket| bucket.count).sum();
    buckets.push((f64::INFINITY, life.count.saturating_sub(counted)));
    Value::Histogram { sum: life.sum_s as f64, buckets }
}

fn each_side(sample: &Sample, get: impl Fn(&str, &Table) -> Vec<Series>) -> Vec<Series> {
    many(sample, |status| {
        // A node without a peer keeps an empty remote table, which metrics leave out.
        let remote = status.remote.as_ref().filter(|_| !status.links.is_empty());
        let sides = [("local", status.local.as_ref()), ("remote", remote)];
        let kept = sides.into_iter().filter_map(|(side, table)| Some((side, table?)));
        kept.flat_map(|(side, table)| get(side, table)).collect()
    })
}

fn passed(
    sample: &Sample,
    get: impl Fn(&crate::print::status::Status) -> Option<&Passed>,
) -> Vec<Series> {
    let passed = sample.status.as_ref().and_then(get);
    let all = passed.map(|p| {
        [
            with(["create", "done"], p.created),
            with(["create", "failed"], p.create_failed),
            with(["update", "done"], p.updated),
            with(["update", "failed"], p.update_failed),
            with(["delete", "done"], p.destroyed),
            with(["delete", "failed"], p.destroy_failed),
        ]
    });
    all.into_iter().flatten().collect()
}
