//! Helpers in user space.

use super::{Metric, Sample, counter, gauge, many, with};
use crate::print::status::Helper;
use export::exposition::{Series, Value};

const HELPER: &[&str] = &["helper", "family", "protocol", "queue"];

pub(super) static METRICS: &[Metric] = &[
    gauge(
        "ctflow_helper_broken",
        HELPER,
        "1 if a helper was taken out of service: it panicked.",
        |s| each(s, |helper| helper.broken),
    ),
    counter("ctflow_helper_packets", HELPER, "Packets that came to a helper.", |s| {
        each(s, |helper| helper.packets)
    }),
    counter("ctflow_helper_packets_accepted", HELPER, "Of these: let pass.", |s| {
        each(s, |helper| helper.accepted)
    }),
    counter(
        "ctflow_helper_packets_mangled",
        HELPER,
        "Of these: with another address or port in their text.",
        |s| each(s, |helper| helper.mangled),
    ),
    counter(
        "ctflow_helper_packets_not_understood",
        HELPER,
        "Packets that were cut, fragments, or malformed; they passed untouched.",
        |s| each(s, |helper| helper.not_understood),
    ),
    counter(
        "ctflow_helper_packets_dropped",
        HELPER,
        "Packets that the kernel dropped because they found no room in the queue: raise QueueLen.",
        |s| each(s, |helper| helper.queue_dropped),
    ),
    counter(
        "ctflow_helper_verdicts_refused",
        HELPER,
        "Verdicts that the kernel refused; the packet passed untouched.",
        |s| each(s, |helper| helper.verdicts_refused),
    ),
    counter("ctflow_helper_expectations", HELPER, "Flows announced to the kernel.", |s| {
        each(s, |helper| helper.expectations)
    }),
    counter(
        "ctflow_helper_expectations_refused",
        HELPER,
        "Flows that the kernel refused to expect.",
        |s| each(s, |helper| helper.expectations_refused),
    ),
    counter(
        "ctflow_helper_ports_exhausted",
        HELPER,
        "Flows not announced because no port was free for them.",
        |s| each(s, |helper| helper.refused_ports),
    ),
];

fn each<V: Into<Value>>(sample: &Sample, get: impl Fn(&Helper) -> V) -> Vec<Series> {
    many(sample, |status| {
        let series = status.helpers.iter().map(|helper| {
            let queue = helper.queue.to_string();
            with([&helper.name, &helper.family, &helper.protocol, &queue], get(helper))
        });
        series.collect()
    })
}
