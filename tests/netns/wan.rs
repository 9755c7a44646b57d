//! Nodes of version 2 over a path that is slow, far and loses (R1.1, R12.1, R19.1): equal in the end, at whatever time.
//! How fast that is, `cargo xtask bench nodes` measures.

use crate::nodes::{flows, peer, wait_until_equal};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::Daemon;
use tests::mesh::{Mesh, name};
use tests::netns::Family;
use tests::wait::{wait_equal, wait_until};
use tests::wan::{Shape, Wan};

/// Most that is in flight to a peer (`engine::peer::v2::sent::BYTES_MAX`), and a datagram.
const IN_FLIGHT_MAX: u64 = (4 << 20) + 9_000;

/// No session fell, and nothing found its queue full.
fn assert_calm(daemons: &[Daemon<'_>]) {
    for daemon in daemons {
        let log = daemon.log();
        assert!(!log.contains("is not there any more"), "{log}");
        let status = daemon.status();
        let queues = status["queues"]["inside"].as_array().expect("a list of queues");
        let ours = |queue: &&serde_json::Value| {
            let name = queue["name"].as_str();
            matches!(name, Some("replies" | "told_again" | "kernel_requests"))
        };
        assert_eq!(queues.iter().filter(ours).count(), 3, "{queues:?}");
        let full = queues.iter().filter(ours).find(|queue| queue["queue"]["no_space"] != 0);
        assert!(full.is_none(), "{full:?}");
    }
}

#[test]
fn r19_1_a_slow_path_that_loses_costs_delay_alone() {
    for loses in [10, 100] {
        let mesh = Mesh::new(2, Family::V4);
        let wan = Wan::lay(&mesh, Shape::wan(loses));
        let daemons = [0, 1].map(|node| mesh.start_as(node, &Wan::conf(&mesh, node)));
        let mut requests = [0, 1].map(|node| Requests::open(&mesh.nodes[node]));
        let began = Instant::now();
        requests[0].create(&udp_flows(0..10_000));
        requests[1].create(&udp_flows(20_000..21_000));
        wait_until_equal(&daemons, &[10_000, 1_000]);
        let created = began.elapsed();
        // Changes and ends in pieces, while others are under way.
        for at in 0..20 {
            requests[0].delete(&udp_flows(at * 500..at * 500 + 250));
            requests[1].create(&udp_flows(30_000 + at * 50..30_050 + at * 50));
            let in_flight = peer(&daemons[0], &name(1))["in_flight_bytes"].as_u64();
            assert!(in_flight.is_some_and(|bytes| bytes <= IN_FLIGHT_MAX), "{in_flight:?}");
        }
        wait_until_equal(&daemons, &[5_000, 2_000]);
        assert_calm(&daemons);
        let [to, back] = &wan.counts;
        println!("{loses} of 1,000 lost: 11,000 flows after {created:?}; {to:?}, back {back:?}");
        assert!(to.lost.load(Ordering::Relaxed) > 0, "the path loses");
    }
}

#[test]
fn r8_2_news_does_not_wait_for_a_bulk() {
    let mesh = Mesh::new(2, Family::V4);
    // So slow that the bulk takes two minutes.
    let shape = Shape { rate: 200_000, queue: 20_000, ..Shape::wan(0) };
    let _wan = Wan::lay(&mesh, shape);
    let mut daemons = [0, 1].map(|node| mesh.start_as(node, &Wan::conf(&mesh, node)));
    wait_until_equal(&daemons, &[0, 0]);
    // What is there when node 1 comes back is bulk, what comes later is news.
    daemons[1].kill_hard();
    let mut requests = Requests::open(&mesh.nodes[0]);
    requests.create(&udp_flows(0..120_000));
    daemons[1] = mesh.start_as(1, &Wan::conf(&mesh, 1));
    let there = || flows(&daemons[1], &name(0));
    wait_until("the bulk is under way", || there() > 500);
    requests.create(&udp_flows(1_000_000..1_000_001));
    let news = "src=100.15.66.64 ";
    wait_until("news is there", || daemons[1].external().iter().any(|flow| flow.contains(news)));
    let so_far = there();
    assert!(so_far < 100_000, "the bulk goes on: {so_far}");
    // And the bulk goes on beside news.
    let went_on = || {
        requests.update(&udp_flows(1_000_000..1_000_001));
        there() > so_far
    };
    wait_until("the bulk goes on", went_on);
    assert_eq!(peer(&daemons[0], &name(1))["session"], "up");
}

/// What is sent to a peer with `Rate` keeps to it, and news comes through all the same.
#[test]
fn r12_1_a_rate_that_is_configured_is_kept() {
    let mesh = Mesh::new(2, Family::V4);
    let wan = Wan::lay(&mesh, Shape::wan(10));
    let capped = Wan::conf(&mesh, 0).replace("   Port 4790", "   Port 4790\n   Rate 800");
    Requests::open(&mesh.nodes[0]).create(&udp_flows(0..10_000));
    let daemons = [mesh.start_as(0, &capped), mesh.start_as(1, &Wan::conf(&mesh, 1))];
    wait_until("it begins", || wan.counts[0].carried.load(Ordering::Relaxed) > 5);
    let (before, began) = (wan.counts[0].bytes.load(Ordering::Relaxed), Instant::now());
    wait_equal("node 1 holds all", || flows(&daemons[1], &name(0)), || 10_000);
    let bytes = wan.counts[0].bytes.load(Ordering::Relaxed) - before;
    // 100,000 bytes a second of text; heads, acknowledgements and cuts are beside that, and a burst before it.
    let most = |took: Duration| 130_000.0 * took.as_secs_f64() + 60_000.0;
    let took = began.elapsed();
    assert!((bytes as f64) < most(took), "{bytes} bytes in {took:?}");
}
