//! The daemon as a whole.

use super::{Metric, Sample, counter, gauge, many, maybe, of_status, one, with};
use crate::print::status::{NotReady, Queue, fell_back};
use export::exposition::Series;
use std::collections::BTreeSet;

/// Threads that live as long as the engine. CPU time of threads that come and go would fall when they go.
const THREADS: [&str; 7] = ["main", "reader", "shard-", "records", "log", "helpers", "feed"];

pub(super) static METRICS: &[Metric] = &[
    gauge("ctflow_up", &[], "1 if the daemon's engine answers.", |s| one(s.status.is_some())),
    gauge(
        "ctflow_ready",
        &[],
        "1 if the tables of this node are complete and exact, so that it can take over. `ctflow ready` says why not.",
        |s| of_status(s, |status| status.ready),
    ),
    gauge("ctflow_not_ready", &["reason"], "1 while this keeps the node from being ready.", |s| {
        many(s, |status| not_ready(&status.not_ready))
    }),
    gauge(
        "ctflow_build_info",
        &["version", "source", "wanted", "object"],
        "Always 1. What runs: its version, the event source, the one that was asked for, whether the build carries \
         eBPF programs.",
        |s| {
            many(s, |status| {
                let events = &status.events;
                let object = if events.has_programs { "yes" } else { "no" };
                vec![with([&status.version, &events.source, &events.wanted, object], true)]
            })
        },
    ),
    gauge(
        "ctflow_source_fallback",
        &[],
        "1 if events come through another source than the one that was asked for (`auto` asks for the tap, and may \
         take the hook). `ctflow doctor --only kernel` says why.",
        |s| of_status(s, |status| fell_back(&status.events.source, &status.events.wanted)),
    ),
    gauge("ctflow_queue_length", &["queue"], "Elements in a queue inside the daemon.", |s| {
        inside(s, |queue| queue.len)
    }),
    gauge("ctflow_queue_length_max", &["queue"], "Most elements such a queue takes.", |s| {
        inside(s, |queue| queue.len_max)
    }),
    counter(
        "ctflow_queue_no_space",
        &["queue"],
        "Elements that such a queue had no room for. What is remembered of ended flows (tombstones and such) gives way \
         to later ones all the time; anything else is a loss.",
        |s| inside(s, |queue| queue.no_space),
    ),
    gauge("ctflow_start_time_seconds", &[], "When the daemon began, seconds since 1970.", |s| {
        maybe(started(s))
    }),
    gauge("ctflow_uptime_seconds", &[], "How long the engine has run.", |s| {
        of_status(s, |status| status.uptime_s)
    }),
    gauge(
        "ctflow_config_reload_success",
        &[],
        "1 if the configuration that was read last is in force; 0 if the daemon refused it, which its log explains.",
        |s| of_status(s, |status| status.reload.as_ref().is_none_or(|reload| reload.succeeded)),
    ),
    gauge(
        "ctflow_config_reload_time_seconds",
        &[],
        "When the configuration was read last, seconds since 1970.",
        |s| {
            let reload = s.status.as_ref().and_then(|status| status.reload.as_ref());
            maybe(reload.map(|reload| reload.at_s as f64).or_else(|| started(s)))
        },
    ),
    counter("process_cpu_seconds", &[], "CPU time of the daemon, user and system.", |s| {
        maybe(s.usage.as_ref().and_then(|usage| usage.cpu_s))
    }),
    gauge("process_resident_memory_bytes", &[], "Memory of the daemon that is in use.", |s| {
        maybe(s.usage.as_ref().and_then(|usage| usage.resident_bytes))
    }),
    gauge("process_open_fds", &[], "Open descriptors of the daemon.", |s| {
        maybe(s.usage.as_ref().and_then(|usage| usage.open_fds))
    }),
    counter(
        "ctflow_thread_cpu_seconds",
        &["thread"],
        "CPU time of the daemon's lasting threads. A shard near 1 per second cannot keep up much longer.",
        |s| {
            let threads = s.usage.iter().flat_map(|usage| &usage.threads);
            let lasting = threads.filter(|(name, _)| THREADS.iter().any(|known| is(name, known)));
            lasting.map(|(name, seconds)| with([name], *seconds)).collect()
        },
    ),
    counter(
        "ctflow_control_requests_failed",
        &["result"],
        "Requests on the control socket that nothing came of: none was named in time, one that does not exist, or too \
         many waited.",
        |s| {
            many(s, |status| {
                let c = &status.control;
                vec![
                    with(["unread"], c.requests_unread),
                    with(["unknown"], c.requests_unknown),
                    with(["refused"], c.requests_refused),
                ]
            })
        },
    ),
    counter(
        "ctflow_http_requests",
        &["result"],
        "Requests for metrics and readiness: answered; from addresses that may not ask; one connection too many; \
         without an answer, because the request did not come in time or the client did not read.",
        |s| {
            many(s, |status| {
                let h = &status.http;
                vec![
                    with(["answered"], h.answered),
                    with(["forbidden"], h.forbidden),
                    with(["busy"], h.busy),
                    with(["failed"], h.failed),
                ]
            })
        },
    ),
    counter(
        "ctflow_log_lines_lost",
        &[],
        "Lines of the logs, those about ended flows included, that the disk did not take.",
        |s| of_status(s, |status| status.log_lines_lost),
    ),
];

fn inside(sample: &Sample, get: impl Fn(&Queue) -> u64) -> Vec<Series> {
    many(sample, |status| {
        let queues = status.queues.inside.iter();
        queues.map(|inside| with([&inside.name], get(&inside.queue))).collect()
    })
}

fn started(sample: &Sample) -> Option<f64> {
    sample.usage.as_ref()?.start_s
}

/// Whether a thread is called so: a name that ends in a dash is followed by a number.
fn is(name: &str, known: &str) -> bool {
    match known.strip_suffix('-') {
        Some(_) => name.strip_prefix(known).is_some_and(|rest| rest.parse::<u16>().is_ok()),
        None => name == known,
    }
}

/// Every reason there is, with 1 for those that hold.
fn not_ready(texts: &[String]) -> Vec<Series> {
    let holds: BTreeSet<_> =
        texts.iter().filter_map(|text| NotReady::of_text(text)).map(NotReady::word).collect();
    let words: BTreeSet<_> = NotReady::ALL.into_iter().map(NotReady::word).collect();
    words.into_iter().map(|word| with([word], holds.contains(word))).collect()
}
