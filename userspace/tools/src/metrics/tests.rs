//! The table against the status, against its own rules, and as a document.

use super::*;
use crate::conf::PerCpu;
use crate::print::status::{
    Bucket, Cell, Census, Class, Events, Failure, Feed, Helper, Hook, Inside, Lifetime, Link,
    Lived, Passed, Peer, Queue, Queues, Reload, Replication, Status, Table, Turnover, Work, Zone,
};
use export::exposition::{Kind, Value};
use host::kstat::{COUNTERS, CpuCounters, KernelStats, SETTINGS};
use host::usage::Usage;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::path::Path;

/// Numbers of the status without a metric, each with the reason.
const LEFT_OUT: [(&str, &str); 15] = [
    ("failures[0].reported", "what is left of `seen` is the metric of what was suppressed"),
    ("schema", "the version of another format"),
    ("pid", "changes with each start, as no metric should"),
    ("replication.malformed", "the sum of the reasons"),
    ("events.latency_p50_us", "a quantile cannot be added up; the histogram can"),
    ("events.latency_p99_us", "likewise"),
    ("events.latency_max_us", "likewise"),
    ("events.latency_count", "the histogram has it, as a sum over its buckets"),
    ("events.latency[0].le_us", "a bound of the histogram"),
    ("events.latency[0].count", "the histogram's buckets add up"),
    ("turnover.lifetimes[0].count", "the histogram has it, as a sum over its buckets"),
    ("turnover.lifetimes[0].buckets[0].le_s", "a bound of the histogram"),
    ("turnover.lifetimes[0].buckets[0].count", "the histogram's buckets add up"),
    ("helpers[0].queue", "a label"),
    ("events.tap_seen", "the sum of the outcomes"),
];

/// A status in which everything that may be missing is there.
fn full() -> Status {
    Status {
        not_ready: vec!["a commit is running".into()],
        local: Some(Table::default()),
        remote: Some(Table::default()),
        bypass: Some(Passed::default()),
        inject: Some(Passed::default()),
        links: vec![Link { status: "RUNNING".into(), ..Link::default() }],
        peers: vec![Peer {
            session: "up".into(),
            session_s: Some(1),
            heard_ms: Some(1),
            equal_ms: Some(1),
            round_trip_us: Some(1),
            lag_p50_us: Some(1),
            lag_p99_us: Some(1),
            lag_max_us: Some(1),
            heard_lag_p50_us: Some(1),
            heard_lag_p99_us: Some(1),
            heard_lag_max_us: Some(1),
            ..Peer::default()
        }],
        helpers: vec![Helper::default()],
        events: Events {
            hook: Some(Hook::default()),
            latency: vec![Bucket::default()],
            ring_bytes: Some(1),
            ring_waiting_bytes: Some(1),
            ring_fullest_permille: Some(1),
            ..Events::default()
        },
        replication: Replication {
            peer_heard_s: Some(1),
            lag_ms: Some(1),
            ..Replication::default()
        },
        work: Work {
            loaded_percent: Some(100),
            degraded_s: Some(1),
            committed: Some(1),
            to_commit: Some(2),
            last_commit_us: Some(3),
            state: "exact".into(),
            ..Work::default()
        },
        queues: Queues {
            resend: Some(Queue::default()),
            inside: vec![Inside::default()],
            ..Queues::default()
        },
        reload: Some(Reload::default()),
        census: Some(Census {
            flows: vec![Cell::default()],
            classes: vec![Class::default()],
            ..Census::default()
        }),
        turnover: Some(Turnover {
            zones: vec![Zone::default()],
            lifetimes: vec![Lifetime { buckets: vec![Lived::default()], ..Lifetime::default() }],
        }),
        feed: Some(Feed::default()),
        failures: Some(vec![Failure::default()]),
        ..Status::default()
    }
}

fn kernel(cpus: u16) -> KernelStats {
    let of_cpu =
        |cpu| CpuCounters { cpu, values: COUNTERS.into_iter().map(|name| (name, 7)).collect() };
    KernelStats {
        cpus: (0..cpus).map(of_cpu).collect(),
        flows: Some(1),
        flows_max: Some(2),
        buckets: Some(3),
        expectations_max: Some(4),
        settings: SETTINGS.into_iter().map(|name| (name, 1)).collect(),
    }
}

fn usage() -> Usage {
    let threads = ["main", "reader", "shard-0", "shard-17", "log", "tokio-rt-worker", "shard-x"];
    Usage {
        cpu_s: Some(1.5),
        resident_bytes: Some(4096),
        open_fds: Some(9),
        start_s: Some(1e9),
        threads: threads.map(|name| (name.to_owned(), 0.5)).into(),
    }
}

fn sample() -> Sample {
    Sample {
        status: Some(full()),
        kernel: Some(kernel(2)),
        usage: Some(usage()),
        ..Sample::default()
    }
}

/// Gives each number of a JSON value a value of its own; their paths with it.
fn number_all(json: &mut Json, path: &str, numbers: &mut Vec<(String, u64)>) {
    match json {
        Json::Number(_) => {
            let at = numbers.len() as u64;
            let own = 1_000_003 * (at + 1) + at * at;
            *json = own.into();
            numbers.push((path.to_owned(), own));
        }
        Json::Array(list) => {
            for (at, item) in list.iter_mut().enumerate() {
                number_all(item, &format!("{path}[{at}]"), numbers);
            }
        }
        Json::Object(object) => {
            for (name, value) in object {
                let dot = if path.is_empty() { "" } else { "." };
                number_all(value, &format!("{path}{dot}{name}"), numbers);
            }
        }
        Json::Null | Json::Bool(_) | Json::String(_) => {}
    }
}

#[test]
fn each_number_of_the_status_has_a_metric_or_a_reason() {
    let mut json = serde_json::to_value(full()).unwrap();
    let mut numbers = Vec::new();
    number_all(&mut json, "", &mut numbers);
    let status: Status = serde_json::from_value(json).unwrap();
    let families = families(Sample { status: Some(status), ..Sample::default() });
    let values =
        families.iter().flat_map(|family| &family.series).flat_map(|series| match &series.value {
            Value::Whole(n) => vec![*n as f64],
            Value::Real(n) => vec![*n],
            Value::Histogram { sum, .. } => vec![*sum],
        });
    let values: Vec<f64> = values.collect();
    let is_shown = |number: u64| {
        let scaled = [1.0, 1e3, 1e6, 100.0].map(|unit| number as f64 / unit);
        scaled.iter().any(|wanted| values.contains(wanted))
    };
    let wrong = numbers.iter().filter(|(path, number)| {
        let left_out = LEFT_OUT.iter().any(|(known, _)| known == path);
        is_shown(*number) == left_out
    });
    let wrong: Vec<_> = wrong.map(|(path, _)| path.as_str()).collect();
    assert!(wrong.is_empty(), "neither shown nor in LEFT_OUT, or both: {wrong:?}");
    for (path, _) in LEFT_OUT {
        assert!(numbers.iter().any(|(known, _)| known == path), "{path} is no number any more");
    }
}

#[test]
fn names_are_as_prometheus_wants_them_and_each_is_there_once() {
    let mut names = BTreeSet::new();
    for metric in table::all() {
        let name = metric.name;
        assert!(names.insert(name), "{name} is there twice");
        let is_plain = |text: &str| {
            text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        assert!(is_plain(name) && metric.labels.iter().all(|label| is_plain(label)), "{name}");
        assert!(name.starts_with("ctflow_") || name.starts_with("process_"), "{name}");
        // Their series would look like another metric's, or make the textfile collector refuse the file.
        let ends = ["_total", "_bucket", "_sum", "_count", "_created"];
        let is_strange = ends.iter().any(|end| name.ends_with(end));
        assert!(
            !is_strange || metric.kind == Kind::Counter && name.ends_with("_created"),
            "{name}"
        );
        assert!(metric.help.ends_with('.') && !metric.help.contains('\n'), "{name}");
        assert!(!metric.help.contains('|'), "{name}: the document's columns");
    }
}

#[test]
fn each_metric_has_values_where_everything_is_there() {
    let seen: BTreeSet<_> = families(sample()).iter().map(|family| family.name).collect();
    let mut status = full();
    status.events.latency_count = 1;
    status.events.tap_seen = 1;
    let more = families(Sample { status: Some(status), ..sample() });
    let seen: BTreeSet<_> = seen.into_iter().chain(more.iter().map(|f| f.name)).collect();
    for metric in table::all() {
        assert!(seen.contains(metric.name), "{} never has a value", metric.name);
    }
    for family in more {
        for series in family.series {
            assert_eq!(series.labels.len(), family.labels.len(), "{}", family.name);
        }
    }
}

#[test]
fn without_a_daemon_the_kernels_figures_are_shown_all_the_same() {
    let text = text(Sample { kernel: Some(kernel(1)), ..Sample::default() }, Form::Text);
    assert!(text.contains("\nctflow_up 0\n"), "{text}");
    assert!(text.contains("\nctflow_kernel_drop_total{cpu=\"0\"} 7\n"), "{text}");
    assert!(!text.contains("ctflow_ready") && !text.contains("ctflow_table"), "{text}");
}

#[test]
fn a_node_without_a_peer_shows_none() {
    let status = Status { links: Vec::new(), peers: Vec::new(), ..full() };
    let text = text(Sample { status: Some(status), ..Sample::default() }, Form::Text);
    assert!(!text.contains("ctflow_peer") && !text.contains("side=\"remote\""), "{text}");
}

#[test]
fn a_peer_that_was_never_heard_is_silent_since_the_start() {
    let mut status = full();
    (status.uptime_s, status.replication.peer_heard_s) = (77, None);
    let metrics_of = |status: &Status| {
        text(Sample { status: Some(status.clone()), ..Sample::default() }, Form::Text)
    };
    assert!(metrics_of(&status).contains("\nctflow_peer_silence_seconds 77\n"));
    status.replication.peer_heard_s = Some(3);
    assert!(metrics_of(&status).contains("\nctflow_peer_silence_seconds 3\n"));
}

#[test]
fn exactly_the_reasons_that_hold_are_one() {
    let families = families(sample());
    let reasons = families.iter().find(|family| family.name == "ctflow_not_ready").unwrap();
    let holds = reasons.series.iter().filter(|series| series.value == Value::Whole(1));
    let holds: Vec<_> = holds.map(|series| series.labels[0].as_str()).collect();
    assert_eq!((holds, reasons.series.len()), (vec!["committing"], 9));
}

#[test]
fn threads_that_come_and_go_have_no_series() {
    let text = text(sample(), Form::Text);
    assert!(text.contains("ctflow_thread_cpu_seconds_total{thread=\"shard-17\"} 0.5"), "{text}");
    assert!(!text.contains("tokio") && !text.contains("shard-x"), "{text}");
}

#[test]
fn many_cpus_become_one_series_unless_each_is_wanted() {
    let found = |cpus, per_cpu| {
        let limits = Limits { per_cpu, ..Limits::default() };
        let families = families(Sample { kernel: Some(kernel(cpus)), limits, ..Sample::default() });
        let family = families.into_iter().find(|family| family.name == "ctflow_kernel_found");
        family.unwrap().series
    };
    assert_eq!(found(32, PerCpu::Auto).len(), 32);
    let sum = found(33, PerCpu::Auto);
    assert_eq!(
        (sum[0].labels.as_slice(), &sum[0].value),
        (["all".to_owned()].as_slice(), &Value::Whole(231))
    );
    assert_eq!((found(256, PerCpu::On).len(), found(2, PerCpu::Off).len()), (256, 1));
}

#[test]
fn no_more_series_than_the_limit_and_what_is_left_out_is_said() {
    let of = |series_max| {
        let limits = Limits { per_cpu: PerCpu::On, series_max, ..Limits::default() };
        families(Sample { kernel: Some(kernel(4096)), limits, ..sample() })
    };
    let count = |families: &[Family]| families.iter().map(Family::series_len).sum::<usize>();
    let (all, some) = (of(usize::MAX), of(5000));
    assert!(count(&all) > 40_000 && count(&some) <= 5000 + table::ABOUT.len());
    let left_out = some.iter().find(|family| family.name == "ctflow_metrics_series_left_out");
    let said = &left_out.unwrap().series[0].value;
    assert_eq!(said, &Value::Whole((count(&all) - count(&some)) as u64));
    assert!(some.iter().any(|family| family.name == "ctflow_ready"), "what matters most stays");
}

/// The text of a file of the repository; with UPDATE, `wanted` is written to it first.
fn file(name: &str, wanted: Option<&str>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    if let (Some(wanted), Some(_)) = (wanted, std::env::var_os("UPDATE")) {
        std::fs::write(&path, wanted).unwrap();
    }
    std::fs::read_to_string(&path).unwrap_or_default()
}

#[test]
fn document_and_dashboard_are_fresh() {
    for (name, wanted) in [
        ("docs/spec/metrics.md", reference::markdown()),
        ("contrib/grafana/ctflow.json", dashboard::json_text()),
    ] {
        let found = file(name, Some(&wanted));
        assert!(found == wanted, "{name} is stale: UPDATE=1 cargo test -p ctflow-tools metrics");
    }
}

/// Words that look like names of series.
fn series_names(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(|c| !is_part(c));
    words.filter(|word| word.starts_with("ctflow_") || word.starts_with("process_")).collect()
}

#[test]
fn rules_tests_and_runbook_name_series_that_exist() {
    let known: BTreeSet<_> = table::all().map(table::Metric::series_name).collect();
    for name in [
        "contrib/prometheus/ctflow.rules.yml",
        "contrib/prometheus/ctflow.test.yml",
        "contrib/prometheus/ctflow-textfile.service",
        "docs/runbook.md",
    ] {
        let text = file(name, None);
        assert!(!text.is_empty(), "{name}");
        for series in series_names(&text) {
            assert!(known.contains(series), "{name}: there is no {series}");
        }
    }
}

#[test]
fn each_alert_has_its_heading_in_the_runbook_its_tests_and_a_severity() {
    let rules = file("contrib/prometheus/ctflow.rules.yml", None);
    let (runbook, tests) =
        (file("docs/runbook.md", None), file("contrib/prometheus/ctflow.test.yml", None));
    let alerts = rules.split("- alert: ").skip(1);
    let mut names = BTreeSet::new();
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        names.insert(name);
        let place = format!("runbook: docs/runbook.md#{}", name.to_lowercase());
        assert!(alert.contains(&place), "{name}");
        assert!(alert.contains("severity: "), "{name}");
        assert!(tests.matches(&format!("alertname=\"{name}\"")).count() >= 2, "{name}");
    }
    let headings: BTreeSet<_> =
        runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(headings, names);
    assert!(names.len() > 20);
}

#[test]
fn a_source_that_can_more_than_the_one_asked_for_is_no_fallback() {
    use crate::print::status::fell_back;
    let fallbacks = [("tap", "hook"), ("netlink", "tap"), ("netlink", "hook")];
    for source in ["netlink", "tap", "hook"] {
        for wanted in ["tap", "hook"] {
            assert_eq!(fell_back(source, wanted), fallbacks.contains(&(source, wanted)));
        }
    }
}
