//! The peers of replication, version 2.

use super::{Metric, Sample, counter, gauge, many, with};
use crate::print::status::Peer;
use export::exposition::{Series, Value};

const PEER: &[&str] = &["peer"];
const DIRECTED: &[&str] = &["peer", "direction"];
const FIGURE: &[&str] = &["peer", "figure"];
const CLAIMS: &[&str] = &["peer", "outcome"];

pub(super) static METRICS: &[Metric] = &[
    gauge("ctflow_node_up", PEER, "1 if there is a session with the peer.", |s| {
        each(s, |peer| matches!(peer.session.as_str(), "up" | "renewing"))
    }),
    gauge(
        "ctflow_node_equal",
        PEER,
        "1 if a comparison of the last three seconds found that all the peer claims is here, and nothing else.",
        |s| each(s, |peer| peer.equal),
    ),
    gauge(
        "ctflow_node_complete",
        PEER,
        "1 if all that the peer claims was here once, in this run of it.",
        |s| each(s, |peer| peer.complete),
    ),
    gauge("ctflow_node_standby", PEER, "1 if the peer claims by traffic only.", |s| {
        each(s, |peer| peer.standby)
    }),
    gauge("ctflow_node_silence_seconds", PEER, "How long ago the peer was heard.", |s| {
        some(s, |peer| Some(peer.heard_ms? as f64 / 1e3))
    }),
    gauge(
        "ctflow_node_unequal_seconds",
        PEER,
        "How long ago a comparison found both equal: alert on more than ten.",
        |s| some(s, |peer| Some(peer.equal_ms? as f64 / 1e3)),
    ),
    gauge("ctflow_node_session_seconds", PEER, "How long the present session lasts.", |s| {
        some(s, |peer| Some(peer.session_s? as f64))
    }),
    gauge("ctflow_node_flows", PEER, "Flows of the peer that are here.", |s| {
        each(s, |peer| peer.flows)
    }),
    gauge("ctflow_node_expectations", PEER, "Expectations of the peer that are here.", |s| {
        each(s, |peer| peer.expectations)
    }),
    gauge(
        "ctflow_node_behind",
        PEER,
        "Changes that the peer has not acknowledged, at most.",
        |s| each(s, |peer| peer.behind),
    ),
    gauge("ctflow_node_behind_seconds", PEER, "For how long the oldest of these waits.", |s| {
        each(s, |peer| peer.behind_ms as f64 / 1e3)
    }),
    gauge(
        "ctflow_node_lag_seconds",
        FIGURE,
        "How long news took from this kernel's event to the peer's acknowledgement, in the last minute.",
        |s| figures(s, |peer| [peer.lag_p50_us, peer.lag_p99_us, peer.lag_max_us]),
    ),
    gauge(
        "ctflow_node_heard_lag_seconds",
        FIGURE,
        "How long news took from the peer's kernel to this node, in the last minute.",
        |s| figures(s, |p| [p.heard_lag_p50_us, p.heard_lag_p99_us, p.heard_lag_max_us]),
    ),
    gauge("ctflow_node_in_flight_bytes", PEER, "Bytes on the way to the peer.", |s| {
        each(s, |peer| peer.in_flight_bytes)
    }),
    gauge("ctflow_node_round_trip_seconds", PEER, "Round trip to the peer.", |s| {
        some(s, |peer| Some(peer.round_trip_us? as f64 / 1e6))
    }),
    gauge(
        "ctflow_node_rate_bytes",
        PEER,
        "Bytes a second that the path to the peer carries, as far as is known.",
        |s| each(s, |peer| peer.rate_bytes_s),
    ),
    gauge(
        "ctflow_node_path_bytes",
        PEER,
        "Bytes of the longest datagram that the path to the peer carries, as far as is known.",
        |s| each(s, |peer| peer.path_bytes),
    ),
    counter("ctflow_node_rekeys", PEER, "Keys that took the place of another.", |s| {
        each(s, |peer| peer.rekeys)
    }),
    counter("ctflow_node_datagrams", DIRECTED, "Sealed datagrams.", |s| {
        named(s, ["sent", "received"], |peer| [peer.sent, peer.received])
    }),
    counter("ctflow_node_records_sent", PEER, "Records sent to the peer.", |s| {
        each(s, |peer| peer.records_sent)
    }),
    counter(
        "ctflow_node_records_sent_again",
        PEER,
        "Records sent to the peer again, because they were lost: the path is bad, or the peer too slow.",
        |s| each(s, |peer| peer.records_sent_again),
    ),
    counter("ctflow_node_claims", CLAIMS, "Claims of the peer, by what became of them.", |s| {
        named(s, ["taken", "again", "beaten", "no_space"], |peer| {
            [peer.taken, peer.again, peer.beaten, peer.no_space]
        })
    }),
    counter(
        "ctflow_node_nat_conflicts",
        PEER,
        "Flows that both nodes translate, and differently.",
        |s| each(s, |peer| peer.nat_conflicts),
    ),
    counter(
        "ctflow_node_malformed",
        PEER,
        "Frames and records of the peer that make no sense: another version with a fault.",
        |s| each(s, |peer| peer.malformed),
    ),
    counter("ctflow_node_unequal", PEER, "Comparisons that found a difference.", |s| {
        each(s, |peer| peer.unequal)
    }),
    counter(
        "ctflow_node_unlisted",
        PEER,
        "Flows and expectations that went because the peer did not list them.",
        |s| each(s, |peer| peer.unlisted),
    ),
    counter(
        "ctflow_node_repaired",
        PEER,
        "Flows and expectations sent to the peer to mend a difference.",
        |s| each(s, |peer| peer.repaired),
    ),
];

fn each<V: Into<Value>>(sample: &Sample, get: impl Fn(&Peer) -> V) -> Vec<Series> {
    many(sample, |status| {
        status.peers.iter().map(|peer| with([peer.name.as_str()], get(peer))).collect()
    })
}

/// Series of a number that may be unknown.
fn some(sample: &Sample, get: impl Fn(&Peer) -> Option<f64>) -> Vec<Series> {
    many(sample, |status| {
        let peers = status.peers.iter();
        peers.filter_map(|peer| Some(with([peer.name.as_str()], get(peer)?))).collect()
    })
}

fn named<const N: usize>(
    sample: &Sample,
    names: [&'static str; N],
    get: impl Fn(&Peer) -> [u64; N],
) -> Vec<Series> {
    many(sample, |status| {
        let series = status.peers.iter().flat_map(|peer| {
            let each = names.into_iter().zip(get(peer));
            each.map(|(name, count)| with([peer.name.as_str(), name], count)).collect::<Vec<_>>()
        });
        series.collect()
    })
}

/// Median, 99th percentile and greatest of some times, where there are any.
fn figures(sample: &Sample, get: impl Fn(&Peer) -> [Option<u64>; 3]) -> Vec<Series> {
    many(sample, |status| {
        let series = status.peers.iter().flat_map(|peer| {
            let each = ["p50", "p99", "max"].into_iter().zip(get(peer));
            let series = each
                .filter_map(|(name, us)| Some(with([peer.name.as_str(), name], us? as f64 / 1e6)));
            series.collect::<Vec<_>>()
        });
        series.collect()
    })
}
