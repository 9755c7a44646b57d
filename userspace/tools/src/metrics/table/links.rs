//! The links to the peer, numbered in the order of the configuration.

use super::{Metric, Sample, counter, gauge, many, with};
use crate::print::status::Link;
use export::exposition::{Series, Value};

const LINK: &[&str] = &["link", "interface", "kind"];
const DIRECTED: &[&str] = &["link", "interface", "kind", "direction"];

pub(super) static METRICS: &[Metric] = &[
    gauge("ctflow_link_up", LINK, "1 if the link's interface is up and has a carrier.", |s| {
        each(s, |link| link.status == "RUNNING")
    }),
    gauge("ctflow_link_active", LINK, "1 for the link that is sent on.", |s| {
        each(s, |link| link.active)
    }),
    gauge("ctflow_link_mtu_bytes", LINK, "Largest packet that the interface takes.", |s| {
        each(s, |link| link.mtu_bytes)
    }),
    counter("ctflow_link_bytes", DIRECTED, "Bytes of messages.", |s| {
        both(s, |link| [link.sent_bytes, link.received_bytes])
    }),
    counter("ctflow_link_packets", DIRECTED, "Datagrams.", |s| {
        both(s, |link| [link.sent_packets, link.received_packets])
    }),
    counter("ctflow_link_errors", DIRECTED, "Datagrams not sent, and failed receptions.", |s| {
        both(s, |link| [link.send_errors, link.receive_errors])
    }),
    counter(
        "ctflow_link_refused",
        LINK,
        "Datagrams and connections from addresses that are no link's destination: a stranger on the link, or a wrong \
         address in the configuration.",
        |s| each(s, |link| link.refused),
    ),
];

fn each<V: Into<Value>>(sample: &Sample, get: impl Fn(&Link) -> V) -> Vec<Series> {
    many(sample, |status| {
        let links = status.links.iter().enumerate();
        let series =
            links.map(|(at, link)| with([&at.to_string(), &link.interface, &link.kind], get(link)));
        series.collect()
    })
}

fn both(sample: &Sample, get: impl Fn(&Link) -> [u64; 2]) -> Vec<Series> {
    many(sample, |status| {
        let links = status.links.iter().enumerate();
        let series = links.flat_map(|(at, link)| {
            let directed = ["sent", "received"].into_iter().zip(get(link));
            directed.map(move |(direction, count)| {
                with([&at.to_string(), &link.interface, &link.kind, direction], count)
            })
        });
        series.collect()
    })
}
