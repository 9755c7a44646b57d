//! Nodes of version 2 with several shards: to their peers, and to every client, each is one node (R8.1).

use crate::nodes::{
    diff, flows, is_equal, loss_and_a_pulled_cable_cost_delay_alone, node_0_steps_back_for_node_2,
    peer, wait_until_equal,
};
use host::listing;
use tests::conntrack;
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::{Daemon, run_ctflow};
use tests::mesh::Mesh;
use tests::netns::Family;
use tests::wait::{wait_equal, wait_until};

/// Nodes with so many shards each.
fn start<'m>(mesh: &'m Mesh, shards: &[usize], lines: &str) -> Vec<Daemon<'m>> {
    let start = |(node, count)| mesh.start_with(node, lines, &general(count));
    shards.iter().copied().enumerate().map(start).collect()
}

fn general(shards: usize) -> String {
    format!("EventSource tap\n Shards {shards}")
}

/// Has each node track flows of its own: a number for each.
fn fill(mesh: &Mesh, counts: &[u32]) {
    for (node, count) in counts.iter().enumerate() {
        let first = node as u32 * 10_000;
        Requests::open(&mesh.nodes[node]).create(&udp_flows(first..first + count));
    }
}

#[test]
fn r8_1_nodes_hold_what_the_others_have_whatever_their_numbers_of_shards() {
    for (shards, family) in
        [(&[2, 2][..], Family::V4), (&[2, 1], Family::V6), (&[3, 2, 1], Family::V4)]
    {
        let mesh = Mesh::new(shards.len(), family).with_preshared();
        let daemons = start(&mesh, shards, "");
        fill(&mesh, &[2_000, 1_500, 1_000][..shards.len()]);
        wait_until_equal(&daemons, &[2_000, 1_500, 1_000][..shards.len()]);
        Requests::open(&mesh.nodes[0]).delete(&udp_flows(0..500));
        wait_until_equal(&daemons, &[1_500, 1_500, 1_000][..shards.len()]);
        // An answer covers all shards.
        let others = if shards.len() == 3 { 2_500 } else { 1_500 };
        assert_eq!((daemons[0].external().len(), daemons[0].internal().len()), (others, 1_500));
        let conf = daemons[0].path("conf").display().to_string();
        let said = run_ctflow(&mesh.nodes[0], &["peers", "-C", &conf]);
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let equal = text.matches(" equal ").count();
        assert!(said.status.success() && equal == shards.len() - 1, "{text}");
        let ready = || run_ctflow(&mesh.nodes[0], &["ready", "-C", &conf]).status.success();
        wait_until("it is ready", ready);
        let (code, found) = diff(&mesh, 1, &daemons[1], "fw-a");
        assert_eq!((code, &found["flows"]["here"]), (0, &1_500.into()), "{found}");
        let status = daemons[0].status();
        assert_eq!(status["events"]["shards"], shards[0], "{shards:?}");
        assert_eq!(peer(&daemons[0], "fw-b")["malformed"], 0, "{shards:?}");
    }
}

#[test]
fn loss_and_a_cable_that_is_pulled_cost_delay_alone_with_shards() {
    let mesh = Mesh::new(2, Family::V4);
    let daemons = start(&mesh, &[2, 3], "");
    loss_and_a_pulled_cable_cost_delay_alone(&mesh, &daemons);
}

#[test]
fn a_restart_with_another_number_of_shards_tells_the_differences_alone() {
    let mesh = Mesh::new(2, Family::V4);
    let b = mesh.start(1, &general(2));
    let mut requests = Requests::open(&mesh.nodes[0]);
    requests.create(&udp_flows(0..2_000));
    let mut a = mesh.start(0, &general(2));
    let holds = || (flows(&b, "fw-a"), is_equal(&b, "fw-a"));
    wait_equal("B holds all", holds, || (2_000, true));
    let taken = || peer(&b, "fw-a")["taken"].as_u64().expect("a number");
    let before = taken();
    a.kill_hard();
    requests.delete(&udp_flows(0..10));
    requests.create(&udp_flows(9_000..9_005));
    drop(a);
    let a = mesh.start(0, &general(3));
    wait_equal("B holds all", holds, || (1_995, true));
    assert!(taken() - before < 200, "{}: {before}", peer(&b, "fw-a"));
    assert_eq!(a.status()["events"]["shards"], 3);
}

#[test]
fn a_commit_takes_over_what_all_shards_hold_of_a_silent_node() {
    let mesh = Mesh::new(3, Family::V4);
    let mut daemons = start(&mesh, &[2, 1, 3], "");
    fill(&mesh, &[400, 300]);
    wait_until_equal(&daemons, &[400, 300, 0]);
    daemons[0].kill_hard();
    wait_until("its silence is noticed", || peer(&daemons[2], "fw-a")["session"] != "up");
    daemons[2].ask(&["-c"]);
    wait_equal("node 2 carries them", || daemons[2].internal().len(), || 400);
    assert_eq!(conntrack::count(&mesh.nodes[2]), 400, "they are in its kernel");
    wait_equal("node 1 is told", || flows(&daemons[1], "fw-c"), || 400);
    assert_eq!(flows(&daemons[2], "fw-b"), 300, "what node 1 carries stays its own");
}

/// Half of the flows were expected by the other half, mostly by one of another shard: none is written without its master.
#[test]
fn a_commit_writes_flows_behind_masters_that_another_shard_writes() {
    const PAIRS: u16 = 300;
    let mesh = Mesh::new(2, Family::V4);
    let mut daemons = start(&mesh, &[2, 3], "");
    let masters = udp_flows(0..PAIRS.into());
    let mut expected = udp_flows(PAIRS.into()..2 * u32::from(PAIRS));
    for (flow, master) in expected.iter_mut().zip(&masters) {
        flow.extra_mut().master = Some(master.orig);
    }
    let mut requests = Requests::open(&mesh.nodes[0]);
    requests.create(&masters);
    requests.create(&expected);
    wait_until_equal(&daemons, &[2 * u64::from(PAIRS), 0]);
    daemons[0].kill_hard();
    wait_until("its silence is noticed", || peer(&daemons[1], "fw-a")["session"] != "up");
    daemons[1].ask(&["-c"]);
    let mut with_master = 0;
    let all = mesh.nodes[1].within(|| {
        let mut all = 0;
        let counted = listing::kernel_flows(|flows| {
            all += flows.len();
            with_master += flows.iter().filter(|flow| flow.master().is_some()).count();
            true
        });
        counted.map(|()| all)
    });
    let all = all.expect("the kernel shows its table");
    assert_eq!((all, with_master), (2 * usize::from(PAIRS), PAIRS.into()));
}

#[test]
fn who_steps_back_and_empties_its_kernel_leaves_the_flows_of_all_shards_to_who_commits() {
    let mesh = Mesh::new(3, Family::V4);
    let daemons = start(&mesh, &[3, 2, 2], "");
    fill(&mesh, &[500, 100]);
    wait_until_equal(&daemons, &[500, 100, 0]);
    node_0_steps_back_for_node_2(&daemons, 500, 100);
    // A live peer's flows, by its name.
    let conf = daemons[2].path("conf").display().to_string();
    let took = run_ctflow(&mesh.nodes[2], &["takeover", "-C", &conf, "--peer", "fw-b"]);
    assert!(took.status.success());
    wait_until_equal(&daemons, &[0, 0, 600]);
}

#[test]
fn hot_nodes_with_shards_have_each_others_flows_in_their_kernels() {
    let mesh = Mesh::new(2, Family::V4);
    let daemons = start(&mesh, &[2, 3], "  Inject on");
    let mut requests = Requests::open(&mesh.nodes[0]);
    requests.create(&udp_flows(0..200));
    let there = || mesh.nodes[1].sh("conntrack -L -p udp").matches(" src=100.").count();
    wait_equal("node 1 has them", there, || 200);
    wait_until_equal(&daemons, &[200, 0]);
    assert_eq!(daemons[1].internal().len(), 0, "they are not its own");
    // A shard asks its kernel about its own flows alone: what others wrote is no news of this node's.
    Requests::open(&mesh.nodes[1]).create(&udp_flows(10_000..10_100));
    wait_until_equal(&daemons, &[200, 100]);
}
