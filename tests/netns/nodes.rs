//! Daemons that speak version 2 of the replication protocol (`docs/spec/replication-v2.md`) with each other.

use std::net::UdpSocket;
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::{Daemon, run_ctflow};
use tests::mesh::{Mesh, PORT, name};
use tests::netns::Family;
use tests::wait::{wait_equal, wait_until};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// What a peer of a daemon shows in its status.
pub(crate) fn peer(daemon: &Daemon<'_>, name: &str) -> serde_json::Value {
    let status = daemon.status();
    let peers = status["peers"].as_array().expect("a list of peers").clone();
    peers.into_iter().find(|peer| peer["name"] == name).expect("it is a peer")
}

pub(crate) fn is_equal(daemon: &Daemon<'_>, name: &str) -> bool {
    peer(daemon, name)["equal"] == true
}

pub(crate) fn flows(daemon: &Daemon<'_>, name: &str) -> u64 {
    peer(daemon, name)["flows"].as_u64().expect("a number")
}

/// Waits until each daemon holds so many flows of each other one and knows that it is all.
pub(crate) fn wait_until_equal(daemons: &[Daemon<'_>], counts: &[u64]) {
    for (at, daemon) in daemons.iter().enumerate() {
        for (other, count) in counts.iter().enumerate().filter(|(other, _)| *other != at) {
            let what = format!("node {at} holds what node {other} has");
            wait_equal(
                &what,
                || (flows(daemon, &name(other)), is_equal(daemon, &name(other))),
                || (*count, true),
            );
        }
    }
}

#[test]
fn r1_4_three_nodes_hold_what_the_others_have_and_know_it() {
    for family in FAMILIES {
        let mesh = Mesh::new(3, family).with_preshared();
        let daemons: Vec<_> = (0..3).map(|node| mesh.start(node, "")).collect();
        for node in 0..3_u32 {
            let mut requests = Requests::open(&mesh.nodes[node as usize]);
            requests.create(&udp_flows(node * 1_000..node * 1_000 + 100 + node));
        }
        wait_until_equal(&daemons, &[100, 101, 102]);
        let mut requests = Requests::open(&mesh.nodes[0]);
        requests.delete(&udp_flows(0..50));
        wait_until_equal(&daemons, &[50, 101, 102]);
        assert_eq!(daemons[1].external().len(), 152);
        let conf = daemons[0].path("conf").display().to_string();
        let said = run_ctflow(&mesh.nodes[0], &["peers", "-C", &conf]);
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.status.success() && text.matches(" equal ").count() == 2, "{text}");
        // R15.2: both ends know how long that took, and nothing waits.
        let [a, b] = [peer(&daemons[0], "fw-b"), peer(&daemons[1], "fw-a")];
        let lag = |of: &serde_json::Value, what: &str| of[what].as_u64().expect("there was news");
        assert!(lag(&a, "lag_p50_us") > 0 && lag(&a, "lag_p50_us") <= lag(&a, "lag_max_us"), "{a}");
        assert!(lag(&b, "heard_lag_p99_us") <= lag(&b, "heard_lag_max_us"), "{b}");
        wait_equal("nothing waits", || peer(&daemons[0], "fw-b")["behind_ms"].clone(), || 0.into());
        let said = run_ctflow(&mesh.nodes[0], &["ready", "-C", &conf, "--peer", "fw-c"]);
        assert_eq!((said.status.code(), &said.stdout[..]), (Some(0), &b"equal\n"[..]));
    }
}

#[test]
fn r13_1_a_commit_takes_over_what_a_silent_node_carried() {
    let mesh = Mesh::new(3, Family::V4);
    let mut daemons: Vec<_> = (0..3).map(|node| mesh.start(node, "")).collect();
    for node in 0..2_u32 {
        let mut requests = Requests::open(&mesh.nodes[node as usize]);
        requests.create(&udp_flows(node * 1_000..node * 1_000 + 200));
    }
    wait_until_equal(&daemons, &[200, 200, 0]);
    daemons[0].kill_hard();
    wait_until("its silence is noticed", || peer(&daemons[2], "fw-a")["session"] != "up");
    daemons[2].ask(&["-c"]);
    wait_equal("node 2 carries them", || daemons[2].internal().len(), || 200);
    wait_equal("node 1 has received all", || flows(&daemons[1], "fw-c"), || 200);
    assert_eq!(flows(&daemons[2], "fw-b"), 200, "what node 1 carries stays its own");
}

/// Two nodes whose path loses every tenth datagram, and is gone for a while, hold the same afterwards.
pub(crate) fn loss_and_a_pulled_cable_cost_delay_alone(mesh: &Mesh, daemons: &[Daemon<'_>]) {
    mesh.lose(0, 10);
    mesh.lose(1, 10);
    let mut requests = Requests::open(&mesh.nodes[0]);
    requests.create(&udp_flows(0..3_000));
    wait_until_equal(daemons, &[3_000, 0]);
    mesh.plug(0, 1, false);
    requests.delete(&udp_flows(0..1_000));
    requests.create(&udp_flows(5_000..5_100));
    wait_until("the silence is noticed", || peer(&daemons[1], "fw-a")["session"] != "up");
    mesh.plug(0, 1, true);
    wait_until_equal(daemons, &[2_100, 0]);
}

#[test]
fn r1_1_loss_and_a_cable_that_is_pulled_cost_delay_alone() {
    let mesh = Mesh::new(2, Family::V4);
    let daemons: Vec<_> = (0..2).map(|node| mesh.start(node, "")).collect();
    loss_and_a_pulled_cable_cost_delay_alone(&mesh, &daemons);
}

#[test]
fn r9_2_a_restart_over_the_same_kernel_sends_the_differences_alone() {
    let mesh = Mesh::new(2, Family::V4);
    let b = mesh.start(1, "");
    let mut requests = Requests::open(&mesh.nodes[0]);
    requests.create(&udp_flows(0..2_000));
    let mut a = mesh.start(0, "");
    wait_equal("B holds all", || (flows(&b, "fw-a"), is_equal(&b, "fw-a")), || (2_000, true));
    let taken = |b: &Daemon<'_>| peer(b, "fw-a")["taken"].as_u64().expect("a number");
    let before = taken(&b);
    a.kill_hard();
    requests.delete(&udp_flows(0..10));
    requests.create(&udp_flows(9_000..9_005));
    drop(a);
    let _a = mesh.start(0, "");
    wait_equal("B holds all", || (flows(&b, "fw-a"), is_equal(&b, "fw-a")), || (1_995, true));
    assert!(taken(&b) - before < 200, "{}: {before}", peer(&b, "fw-a"));
}

#[test]
fn r1_2_what_no_member_sealed_changes_nothing() {
    let mesh = Mesh::new(2, Family::V4);
    let daemons: Vec<_> = (0..2).map(|node| mesh.start(node, "")).collect();
    Requests::open(&mesh.nodes[0]).create(&udp_flows(0..100));
    wait_until_equal(&daemons, &[100, 0]);
    let socket = mesh.nodes[0].within(|| UdpSocket::bind(("0.0.0.0", 0)).expect("there is a port"));
    let to = (mesh.address(0, 1), PORT);
    for first in [0x10, 0x21, 0x22, 0x23, 0x24] {
        for len in [1, 8, 24, 64, 156, 200, 1_400] {
            let mut bytes = vec![0_u8; len];
            bytes[0] = first;
            let _ = socket.send_to(&bytes, to);
        }
    }
    Requests::open(&mesh.nodes[0]).create(&udp_flows(200..300));
    wait_until_equal(&daemons, &[200, 0]);
    assert_eq!(peer(&daemons[1], "fw-a")["malformed"], 0);
}

#[test]
fn r13_6_who_steps_back_and_empties_its_kernel_leaves_its_flows_to_who_commits() {
    let mesh = Mesh::new(3, Family::V4);
    let daemons: Vec<_> = (0..3).map(|node| mesh.start(node, "")).collect();
    for node in 0..2_u32 {
        let mut requests = Requests::open(&mesh.nodes[node as usize]);
        requests.create(&udp_flows(node * 1_000..node * 1_000 + 100));
    }
    wait_until_equal(&daemons, &[100, 100, 0]);
    node_0_steps_back_for_node_2(&daemons, 100, 100);
}

/// Node 2 commits, node 0 steps back and empties its kernel: node 2 carries the flows of node 0, node 1 its own.
pub(crate) fn node_0_steps_back_for_node_2(daemons: &[Daemon<'_>], left: usize, others: usize) {
    // What the primary-backup script asks for, in the order that loses a race: the commit comes first.
    daemons[2].ask(&["-c"]);
    daemons[0].ask(&["-t"]);
    daemons[0].ask(&["-F"]);
    wait_equal("node 2 carries them", || daemons[2].internal().len(), || left);
    wait_equal("node 0 has received all", || flows(&daemons[0], "fw-c"), || left as u64);
    assert_eq!((daemons[0].internal().len(), daemons[1].internal().len()), (0, others));
    wait_until_equal(daemons, &[0, others as u64, left as u64]);
}

#[test]
fn a_live_peer_is_taken_over_by_its_name() {
    let mesh = Mesh::new(3, Family::V4);
    let daemons: Vec<_> = (0..3).map(|node| mesh.start(node, "")).collect();
    for node in 0..2_u32 {
        let mut requests = Requests::open(&mesh.nodes[node as usize]);
        requests.create(&udp_flows(node * 1_000..node * 1_000 + 50));
    }
    wait_until_equal(&daemons, &[50, 50, 0]);
    let conf = daemons[2].path("conf").display().to_string();
    let take = |name: &str| run_ctflow(&mesh.nodes[2], &["takeover", "-C", &conf, "--peer", name]);
    assert!(take("fw-b").status.success());
    wait_until_equal(&daemons, &[50, 0, 50]);
    let wrong = take("fw-x");
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert_eq!(wrong.status.code(), Some(2), "{said}");
    assert!(said.contains("there is no peer `fw-x` (there is: fw-a, fw-b)"), "{said}");
}

#[test]
fn a_node_that_has_no_room_for_all_says_full_and_gets_the_rest_when_there_is() {
    let mesh = Mesh::new(2, Family::V4);
    let daemons =
        [mesh.start(0, ""), mesh.start_with(1, "  RemoteLimit 100", "EventSource netlink")];
    let mut requests = Requests::open(&mesh.nodes[0]);
    requests.create(&udp_flows(0..150));
    let shown = || {
        let peer = peer(&daemons[1], "fw-a");
        (peer["full"] == true, peer["flows"].as_u64(), peer["equal"] == true)
    };
    wait_equal("fifty find no room", shown, || (true, Some(100), false));
    let conf = daemons[1].path("conf").display().to_string();
    let said = run_ctflow(&mesh.nodes[1], &["peers", "-C", &conf]);
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.code() == Some(1) && text.contains(" full "), "{text}");
    assert!(!run_ctflow(&mesh.nodes[1], &["ready", "-C", &conf]).status.success());
    requests.delete(&udp_flows(0..50));
    wait_equal("there is room", shown, || (false, Some(100), true));
    wait_equal(
        "ready again",
        || run_ctflow(&mesh.nodes[1], &["ready", "-C", &conf]).status.success(),
        || true,
    );
}

#[test]
fn r13_3_hot_nodes_have_each_others_flows_in_their_kernels() {
    // The hook sees packets, and these flows have none.
    for source in ["netlink", "tap"] {
        let mesh = Mesh::new(2, Family::V4);
        let start = |node| mesh.start_with(node, "  Inject on", &format!("EventSource {source}"));
        let daemons: Vec<_> = (0..2).map(start).collect();
        let mut requests = Requests::open(&mesh.nodes[0]);
        requests.create(&udp_flows(0..200));
        let there = || mesh.nodes[1].sh("conntrack -L -p udp").matches(" src=100.").count();
        wait_equal("node 1 has them", there, || 200);
        wait_until_equal(&daemons, &[200, 0]);
        assert_eq!(daemons[1].internal().len(), 0, "{source}: they are not its own");
        let mut mine = Requests::open(&mesh.nodes[1]);
        mine.create(&udp_flows(1_000..1_100));
        wait_until_equal(&daemons, &[200, 100]);
        drop(daemons);
    }
}

/// What `ctflow diff` says at a node of a peer: its exit code, and its JSON.
pub(crate) fn diff(
    mesh: &Mesh,
    at: usize,
    daemon: &Daemon<'_>,
    peer: &str,
) -> (i32, serde_json::Value) {
    let conf = daemon.path("conf").display().to_string();
    let said = run_ctflow(&mesh.nodes[at], &["diff", "-C", &conf, "--peer", peer, "-o", "json"]);
    let code = said.status.code().expect("it ends by itself");
    (code, serde_json::from_slice(&said.stdout).unwrap_or_default())
}

#[test]
fn r11_7_what_differs_is_shown_and_then_mended() {
    let mesh = Mesh::new(2, Family::V4).with_preshared();
    let a = mesh.start(0, "");
    // A flow that finds no room at B stays a difference, however often it is sent.
    let small = mesh.conf(1, "", "").replace("HashLimit 262144", "HashLimit 1000");
    let b = mesh.start_as(1, &small);
    let mut requests = Requests::open(&mesh.nodes[0]);
    requests.create(&udp_flows(0..900));
    wait_equal("B holds all", || (flows(&b, "fw-a"), is_equal(&b, "fw-a")), || (900, true));
    let (code, found) = diff(&mesh, 1, &b, "fw-a");
    assert_eq!((code, &found["equal"], &found["flows"]["here"]), (0, &true.into(), &900.into()));

    requests.create(&udp_flows(2_000..2_300));
    wait_equal("B is full", || flows(&b, "fw-a"), || 1_000);
    let (code, found) = diff(&mesh, 1, &b, "fw-a");
    assert_eq!((code, &found["counts"]["missing_here"]), (1, &200.into()), "{found}");
    assert_eq!(
        (&found["counts"]["missing_there"], &found["counts"]["different"]),
        (&0.into(), &0.into())
    );
    let shown = found["differing"].as_array().expect("a list");
    let whole = |d: &serde_json::Value| {
        d["kind"] == "missing_here" && d["there"]["proto"] == "udp" && d["here"].is_null()
    };
    assert!(shown.len() == 200 && shown.iter().all(whole), "{found}");
    // The other way round nothing differs.
    assert_eq!(diff(&mesh, 0, &a, "fw-b").0, 0);

    requests.delete(&udp_flows(0..400));
    wait_equal("B holds all", || (flows(&b, "fw-a"), is_equal(&b, "fw-a")), || (800, true));
    let (code, found) = diff(&mesh, 1, &b, "fw-a");
    assert_eq!((code, &found["flows"]["there"]), (0, &800.into()));
    // Without a peer to compare with there is no difference.
    assert_eq!(diff(&mesh, 1, &b, "fw-x").0, 2);
    mesh.plug(0, 1, false);
    wait_until("the silence is noticed", || peer(&b, "fw-a")["session"] != "up");
    assert_eq!(diff(&mesh, 1, &b, "fw-a").0, 2);
    mesh.plug(0, 1, true);
}
