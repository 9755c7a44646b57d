//! The sizes that paths between nodes of version 2 carry: found by probes, where no ICMP message reports them
//! (R12.4).

use crate::nodes::{peer, wait_until_equal};
use ctnetlink::Flow;
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::Daemon;
use tests::mesh::{Mesh, name};
use tests::netns::Family;
use tests::wait::wait_equal;

/// An interface's MTU, that of the path behind it where it is less, and how long datagrams are then.
type Case = (Family, usize, Option<usize>, u64);

const CASES: [Case; 7] = [
    (Family::V4, 1_280, None, 1_252),
    (Family::V4, 1_500, Some(1_280), 1_232),
    (Family::V4, 9_000, None, 8_972),
    (Family::V4, 9_000, Some(1_500), 1_472),
    (Family::V6, 1_280, None, 1_232),
    (Family::V6, 9_000, None, 8_952),
    (Family::V6, 9_000, Some(1_500), 1_452),
];

fn wait_until_found(daemons: &[Daemon<'_>], wanted: u64) {
    for (at, daemon) in daemons.iter().enumerate() {
        let what = format!("node {at} knows what the path carries");
        wait_equal(&what, || peer(daemon, &name(1 - at))["path_bytes"].as_u64(), || Some(wanted));
    }
}

#[test]
fn r12_4_datagrams_are_as_long_as_the_path_carries_whoever_says_it() {
    for (family, mtu, behind, wanted) in CASES {
        println!("{family:?}, MTU {mtu}, behind it {behind:?}");
        let mesh = Mesh::new(2, family);
        mesh.set_mtu(mtu);
        for node in 0..2 {
            behind.into_iter().for_each(|behind| mesh.narrow(node, behind));
        }
        let daemons: Vec<_> = (0..2).map(|node| mesh.start(node, "")).collect();
        Requests::open(&mesh.nodes[0]).create(&udp_flows(0..2_000));
        wait_until_found(&daemons, wanted);
        wait_until_equal(&daemons, &[2_000, 0]);
        let mut requests = Requests::open(&mesh.nodes[1]);
        requests.create(&udp_flows(5_000..7_000));
        wait_until_equal(&daemons, &[2_000, 2_000]);
        wait_until_found(&daemons, wanted);
    }
}

/// Makes these flows, again and again, until node 0 knows that the path carries `wanted` bytes. Events that come one by
/// one leave in short datagrams, which show nothing of the path.
fn wait_until_followed(
    requests: &mut Requests,
    daemons: &[Daemon<'_>],
    flows: &[Flow],
    wanted: u64,
) {
    requests.create(flows);
    let found = || {
        let found = peer(&daemons[0], &name(1))["path_bytes"].as_u64();
        if found != Some(wanted) {
            requests.delete(flows);
            requests.create(flows);
        }
        found
    };
    wait_equal("node 0 knows what the path carries now", found, || Some(wanted));
}

#[test]
fn r12_4_a_path_that_shrinks_under_way_costs_delay_alone() {
    for (family, wanted) in [(Family::V4, [8_972, 1_472]), (Family::V6, [8_952, 1_452])] {
        let mesh = Mesh::new(2, family);
        mesh.set_mtu(9_000);
        let daemons: Vec<_> = (0..2).map(|node| mesh.start(node, "")).collect();
        let mut requests = Requests::open(&mesh.nodes[0]);
        requests.create(&udp_flows(0..1_000));
        wait_until_equal(&daemons, &[1_000, 0]);
        wait_until_found(&daemons, wanted[0]);
        mesh.narrow(1, 1_500);
        wait_until_followed(&mut requests, &daemons, &udp_flows(2_000..12_000), wanted[1]);
        wait_until_equal(&daemons, &[11_000, 0]);
        assert_eq!(peer(&daemons[0], &name(1))["session"], "up", "no session fell");
        // The interface shrinks, too, and says so.
        mesh.set_mtu(1_400);
        let flows = udp_flows(20_000..24_000);
        wait_until_followed(&mut requests, &daemons, &flows, wanted[1] - 100);
        wait_until_equal(&daemons, &[15_000, 0]);
    }
}
