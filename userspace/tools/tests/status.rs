//! `docs/spec/status.md` lists the fields of the status: all of them, none that does not exist, with their types.

use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use tools::print::status::{
    Bucket, Cell, Census, Class, Events, Failure, Feed, Helper, Hook, Inside, Lifetime, Link,
    Lived, Passed, Peer, Queue, Queues, Refused, Reload, Replication, Status, Table, Turnover,
    Work, Zone,
};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/spec/status.md");

/// Each object's fields with their types, under its heading.
type Page = BTreeMap<String, BTreeMap<String, String>>;

fn page() -> Page {
    let text = fs::read_to_string(PAGE).expect("the page is there");
    let (mut page, mut heading) = (Page::new(), String::new());
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            title.clone_into(&mut heading);
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, name, kind, _, _] = cells.as_slice() else { continue };
        if let Some(name) = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')) {
            let before =
                page.entry(heading.clone()).or_default().insert(name.into(), (*kind).to_owned());
            assert!(before.is_none(), "{heading}: `{name}` is there twice");
        }
    }
    page
}

/// A status in which nothing is `null` and no list is empty.
fn full() -> Value {
    let status = Status {
        not_ready: vec!["a reason".into()],
        local: Some(Table::default()),
        remote: Some(Table::default()),
        bypass: Some(Passed::default()),
        inject: Some(Passed::default()),
        links: vec![Link::default()],
        peers: vec![Peer {
            address: Some("192.0.2.2:3790".into()),
            session_s: Some(1),
            heard_ms: Some(2),
            equal_ms: Some(3),
            round_trip_us: Some(4),
            lag_p50_us: Some(5),
            lag_p99_us: Some(6),
            lag_max_us: Some(7),
            heard_lag_p50_us: Some(8),
            heard_lag_p99_us: Some(9),
            heard_lag_max_us: Some(10),
            ..Peer::default()
        }],
        refused: Some(Refused::default()),
        helpers: vec![Helper::default()],
        feed: Some(Feed::default()),
        events: Events {
            hook: Some(Hook::default()),
            latency: vec![Bucket::default()],
            ring_bytes: Some(1),
            ring_waiting_bytes: Some(1),
            ring_fullest_permille: Some(1),
            ..Events::default()
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
        failures: Some(vec![Failure::default()]),
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
            ..Work::default()
        },
        queues: Queues {
            resend: Some(Queue::default()),
            inside: vec![Inside::default()],
            ..Queues::default()
        },
        ..Status::default()
    };
    serde_json::from_str(&status.to_json()).expect("it is JSON")
}

/// The type of a value as the page names it; an object's is the first word of `kind`, its heading.
fn type_of(value: &Value, kind: &str) -> String {
    match value {
        Value::Number(_) => "number".into(),
        Value::String(_) => "text".into(),
        Value::Bool(_) => "boolean".into(),
        Value::Object(_) => kind.into(),
        Value::Array(list) => {
            format!("list of {}", type_of(&list[0], kind.trim_start_matches("list of ")))
        }
        Value::Null => "null".into(),
    }
}

/// Compares an object with what is under `heading`, and the objects in it with what is under theirs.
fn compare(page: &Page, heading: &str, object: &Map<String, Value>, seen: &mut BTreeSet<String>) {
    let fields = page.get(heading).unwrap_or_else(|| panic!("no heading {heading}"));
    seen.insert(heading.into());
    let documented: BTreeSet<_> = fields.keys().collect();
    let serialised: BTreeSet<_> = object.keys().collect();
    assert_eq!(documented, serialised, "documented and serialised fields of {heading}");
    for (name, value) in object {
        let kind = fields[name].trim_end_matches(" or null");
        assert_eq!(type_of(value, kind), kind, "{heading}.{name}");
        let inner = if let Value::Array(list) = value { &list[0] } else { value };
        if let Value::Object(inner) = inner {
            compare(page, kind.trim_start_matches("list of "), inner, seen);
        }
    }
}

#[test]
fn the_page_lists_the_fields_that_are_serialised_and_no_others() {
    let (page, mut seen) = (page(), BTreeSet::new());
    let Value::Object(status) = full() else { panic!("a status is an object") };
    compare(&page, "Status", &status, &mut seen);
    let documented: BTreeSet<_> = page.into_keys().collect();
    assert_eq!(documented, seen, "documented objects and serialised ones");
}

#[test]
fn what_may_be_null_says_so() {
    let page = page();
    let status = serde_json::to_value(Status::default()).expect("it is JSON");
    for (heading, object) in [
        ("Status", &status),
        ("Replication", &status["replication"]),
        ("Queues", &status["queues"]),
        ("Work", &status["work"]),
    ] {
        for (name, kind) in &page[heading] {
            let may = kind.ends_with(" or null");
            assert_eq!(object[name].is_null(), may, "{heading}.{name}");
        }
    }
}
