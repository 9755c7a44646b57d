//! The feed (`Subscribe`).

use super::{Metric, Sample, counter, gauge, maybe, with};
use crate::print::status::Feed;
use export::exposition::{Series, Value};

pub(super) static METRICS: &[Metric] = &[
    gauge("ctflow_subscribe_clients", &[], "Clients that are connected to the feed.", |s| {
        one(s, |feed| feed.clients)
    }),
    gauge(
        "ctflow_subscribe_channels",
        &[],
        "Sets of clients that want the same, and share what is encoded for them.",
        |s| one(s, |feed| feed.channels),
    ),
    gauge("ctflow_subscribe_queue_bytes", &[], "Bytes that wait for clients of the feed.", |s| {
        one(s, |feed| feed.queue_bytes)
    }),
    counter(
        "ctflow_subscribe_records",
        &["kind"],
        "Records for the feed while a client listens, those included that found no room.",
        |s| {
            many(s, |f| {
                vec![
                    with(["have"], f.have),
                    with(["new"], f.new),
                    with(["update"], f.update),
                    with(["destroy"], f.destroy),
                    with(["failure"], f.failure),
                ]
            })
        },
    ),
    counter(
        "ctflow_subscribe_lost_records",
        &["where"],
        "Records that found no room: in the lane of a shard, for everybody; in the queue of a client that reads too \
         slowly, for each such client.",
        |s| many(s, |f| vec![with(["lane"], f.lost_lane), with(["client"], f.lost_client)]),
    ),
    counter("ctflow_subscribe_snapshots", &[], "Snapshots that were begun.", |s| {
        one(s, |feed| feed.snapshots)
    }),
    counter(
        "ctflow_subscribe_refused",
        &["why"],
        "Clients that were turned away: one too many; with a request that was not understood, or did not come.",
        |s| {
            many(s, |f| {
                vec![with(["full"], f.clients_refused), with(["request"], f.requests_misunderstood)]
            })
        },
    ),
];

fn one<V: Into<Value>>(sample: &Sample, get: impl FnOnce(&Feed) -> V) -> Vec<Series> {
    maybe(feed(sample).map(get))
}

fn many(sample: &Sample, get: impl FnOnce(&Feed) -> Vec<Series>) -> Vec<Series> {
    feed(sample).map(get).unwrap_or_default()
}

fn feed(sample: &Sample) -> Option<&Feed> {
    sample.status.as_ref()?.feed.as_ref()
}
