//! What the status, and so the metrics, say of flows that come and go, of the rings, and of a peer that is behind.

use serde_json::Value;
use tests::churn;
use tests::conf::{Conf, End};
use tests::ctnetlink::{Requests, udp_flows};
use tests::solo::{Solo, solo};
use tests::stage::Stage;
use tests::wait::{wait_equal, wait_until};

/// The one element of a list with this name.
fn named<'a>(list: &'a Value, field: &str, name: &str) -> &'a Value {
    let found = list.as_array().and_then(|list| list.iter().find(|item| item[field] == name));
    found.unwrap_or(&Value::Null)
}

#[test]
fn zones_and_lifetimes_are_counted_as_flows_come_and_go() {
    let stage = Solo::new();
    let mut requests = Requests::open(&stage.node);
    let mut flows = udp_flows(0..30);
    flows.iter_mut().skip(20).for_each(|flow| {
        flow.zone = 7;
        flow.known |= ctnetlink::flow::Known::ZONE;
    });
    // The first five are read, not heard to begin: how long they lived is not known.
    requests.create(&flows[..5]);
    let daemon = stage.ours("a", &solo("EventSource tap"));
    wait_until("it has read the table", || daemon.status()["work"]["state"] == "exact");
    requests.create(&flows[5..]);
    wait_equal("they are known", || daemon.internal().len(), || 30);
    requests.delete(&flows);
    wait_equal("they have ended", || daemon.internal().len(), || 0);
    let turnover = daemon.status()["turnover"].clone();
    let zone = |name| {
        let zone = named(&turnover["zones"], "zone", name);
        [&zone["created"], &zone["ended"]].map(|count| count.as_u64().expect("it is counted"))
    };
    assert_eq!((zone("0"), zone("7")), ([20, 20], [10, 10]), "{turnover}");
    let udp = named(&turnover["lifetimes"], "proto", "udp");
    let counted: u64 =
        udp["buckets"].as_array().expect("a list").iter().filter_map(|b| b["count"].as_u64()).sum();
    assert_eq!((&udp["count"], counted), (&25.into(), 25), "{turnover}");
    assert_eq!(named(&turnover["lifetimes"], "proto", "tcp")["count"], 0);
}

#[test]
fn the_rings_say_how_full_they_were() {
    let stage = Solo::new();
    let daemon = stage.ours("a", &solo("EventSource tap"));
    let events = || daemon.status()["events"].clone();
    let room = events()["ring_bytes"].as_u64().expect("it has rings");
    assert!(room >= 64 << 10, "{room}");
    stage.node.within(|| {
        tests::netns::nft("table inet t { chain c { type filter hook output priority 0; ct state new accept; }; }");
        churn::udp_flows(0, 2000);
    });
    wait_equal("all are known", || daemon.internal().len(), || 2000);
    let full = events()["ring_fullest_permille"].as_u64().expect("it has rings");
    assert!((1..=1000).contains(&full), "{full} thousandths");
    wait_equal("all was read", || events()["ring_waiting_bytes"].clone(), || 0.into());
    let netlink = stage.ours("b", &solo("EventSource netlink"));
    assert!(netlink.status()["events"]["ring_bytes"].is_null(), "it has none");
}

#[test]
fn a_peer_that_acknowledges_nothing_is_behind_by_the_age_of_the_oldest_message() {
    let stage = Stage::new();
    let (a, b) =
        (stage.ours("a", &Conf::new(End::A).ftfw()), stage.ours("b", &Conf::new(End::B).ftfw()));
    let lag = || a.status()["replication"]["lag_ms"].as_u64().expect("it is acknowledged");
    Requests::open(&stage.a).create(&udp_flows(0..20));
    wait_until("the peer knows them", || {
        let knows = b.external().len() == 20;
        if !knows {
            b.ask(&["-n"]);
        }
        knows
    });
    wait_equal("nothing waits", lag, || 0);
    stage.b.nft(
        "table inet t { chain c { type filter hook input priority 0; udp dport 3780 drop; }; }",
    );
    Requests::open(&stage.a).create(&udp_flows(20..40));
    wait_until("it is behind", || lag() > 1500);
    stage.b.run("nft", &["flush", "ruleset"]);
    wait_equal("it has caught up", || b.external().len(), || 40);
    wait_equal("nothing waits again", lag, || 0);
}
