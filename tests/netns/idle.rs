//! A daemon that has nothing to do leaves the CPUs alone, whatever it waits for.

use std::thread::sleep;
use std::time::Duration;
use tests::conf::{Conf, End, Transport};
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::Daemon;
use tests::mesh::Mesh;
use tests::netns::Family;
use tests::stage::Stage;
use tests::wait::wait_until;

/// Seconds of CPU time that a daemon has used.
fn cpu_s(daemon: &Daemon<'_>) -> f64 {
    host::usage::of(daemon.pid()).cpu_s.expect("it runs")
}

/// Waits for a second in which a daemon used less than a twentieth of a CPU. CPU time does not pass more quickly where
/// others are busy; a daemon that turns round and round has no such second.
fn wait_until_at_rest(daemon: &Daemon<'_>, when: &str) {
    wait_until(&format!("the daemon is at rest {when}"), || {
        let before = cpu_s(daemon);
        sleep(Duration::from_secs(1));
        // The kernel counts in hundredths.
        cpu_s(daemon) - before < 0.055
    });
}

#[test]
fn a_daemon_is_at_rest_with_every_source_with_and_without_its_peer() {
    for (source, ftfw, transport) in [
        ("auto", false, Transport::Multicast),
        ("tap", true, Transport::Udp),
        ("hook", true, Transport::Tcp),
        ("netlink", false, Transport::Tcp),
    ] {
        let stage = Stage::new();
        let conf = |end| {
            let conf = Conf::new(end).transport(transport);
            let conf = if ftfw { conf.ftfw() } else { conf };
            conf.general(&format!("EventSource {source}"))
        };
        let mut b = stage.ours("b", &conf(End::B));
        let a = stage.ours("a", &conf(End::A));
        // The hook sees packets, and these flows are made without any.
        let knows = |flows| source == "hook" || a.internal().len() == flows;
        Requests::open(&stage.a).create(&udp_flows(0..50));
        wait_until("A knows its flows", || knows(50));
        wait_until_at_rest(&a, "beside its peer");
        b.kill_hard();
        Requests::open(&stage.a).create(&udp_flows(50..100));
        wait_until_at_rest(&a, "without its peer");
        stage.plug(0, false);
        wait_until("A sees it", || a.ask(&["-s", "link"]).contains("status=NO-CARRIER"));
        Requests::open(&stage.a).create(&udp_flows(100..150));
        wait_until("A knows its flows", || knows(150));
        wait_until_at_rest(&a, "with its cable out");
    }
}

#[test]
fn a_node_of_version_2_is_at_rest_with_and_without_its_peer() {
    let mesh = Mesh::new(2, Family::V4);
    let mut b = mesh.start(1, "");
    let a = mesh.start(0, "");
    Requests::open(&mesh.nodes[0]).create(&udp_flows(0..50));
    wait_until("B knows the flows", || b.external().len() == 50);
    wait_until_at_rest(&a, "beside its peer");
    wait_until_at_rest(&b, "beside its peer");
    b.kill_hard();
    Requests::open(&mesh.nodes[0]).create(&udp_flows(50..100));
    wait_until_at_rest(&a, "without its peer");
    mesh.plug(1, 0, false);
    Requests::open(&mesh.nodes[0]).create(&udp_flows(100..150));
    wait_until_at_rest(&a, "with its cable out");
}
