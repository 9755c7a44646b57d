//! Flows by zone, protocol and state, counted now and then.

use super::{Metric, Sample, gauge, maybe, with};
use crate::print::status::Census;
use export::exposition::{Series, Value};

pub(super) static METRICS: &[Metric] = &[
    gauge(
        "ctflow_census_age_seconds",
        &[],
        "How old the counts of this group are. Without this metric nothing is counted (Census 0), or not yet.",
        |s| one(s, |census| census.age_s),
    ),
    gauge(
        "ctflow_flows",
        &["zone", "proto", "state"],
        "Flows of the local table: of TCP by its state, of others by whether they were answered. The largest zones \
         have series of their own, up to ZonesMax; what would be 0 has none.",
        |s| {
            many(s, |census| {
                let cells = census.flows.iter();
                cells.map(|cell| with([&cell.zone, &cell.proto, &cell.state], cell.flows)).collect()
            })
        },
    ),
    gauge(
        "ctflow_class_flows",
        &["class"],
        "Flows of the local table that fit a `Class` of the configuration.",
        |s| many(s, |census| census.classes.iter().map(|c| with([&*c.class], c.flows)).collect()),
    ),
    gauge("ctflow_flows_translated", &["kind"], "Flows with NAT.", |s| {
        many(s, |census| {
            vec![
                with(["source"], census.translated_source),
                with(["destination"], census.translated_destination),
                with(["both"], census.translated_both),
            ]
        })
    }),
    gauge(
        "ctflow_flows_offloaded",
        &["kind"],
        "Flows that a flowtable forwards past the firewall: software, or hardware.",
        |s| {
            many(s, |census| {
                vec![
                    with(["software"], census.offloaded_software),
                    with(["hardware"], census.offloaded_hardware),
                ]
            })
        },
    ),
    gauge(
        "ctflow_flows_without_events",
        &[],
        "Flows of which events may never tell, because they are older than the first listener. The kernel is asked \
         about them now and then.",
        |s| one(s, |census| census.without_events),
    ),
    gauge(
        "ctflow_flows_unconfirmed",
        &[],
        "Flows that the hook saw begin and that may never have come to be. The kernel is asked about them.",
        |s| one(s, |census| census.unconfirmed),
    ),
];

fn one<V: Into<Value>>(sample: &Sample, get: impl FnOnce(&Census) -> V) -> Vec<Series> {
    maybe(census(sample).map(get))
}

fn many(sample: &Sample, get: impl FnOnce(&Census) -> Vec<Series>) -> Vec<Series> {
    census(sample).map(get).unwrap_or_default()
}

fn census(sample: &Sample) -> Option<&Census> {
    sample.status.as_ref()?.census.as_ref()
}
