//! A large commit, during which nobody hears what begins and changes: what others did meanwhile is known afterwards.

use std::thread;
use tests::conf::{Conf, End};
use tests::conntrack::{self, lines, sources};
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::Daemon;
use tests::stage::Stage;
use tests::wait::wait_until;

/// Flows of the peer.
const FLOWS: u32 = 40_000;
/// Flows that others make while they are committed.
const OTHERS: u32 = 500;

fn active(daemon: &Daemon<'_>, cache: &str) -> u64 {
    daemon.stat(&["-s", "cache"], &format!("cache:{cache}\tactive objects:"))
}

fn heard(daemon: &Daemon<'_>) -> u64 {
    daemon.status()["events"]["received"].as_u64().expect("a number")
}

/// Others begin flows, and end half of them, while the commit runs.
fn interfere(stage: &Stage) {
    let mut others = Requests::open(&stage.b);
    for some in udp_flows(FLOWS..FLOWS + OTHERS).chunks(10) {
        others.create(some);
        others.delete(&some[..5]);
    }
}

fn nothing_is_lost(source: &str) {
    let stage = Stage::new();
    let b = stage.ours("b", &Conf::new(End::B).general(&format!("EventSource {source}")));
    let a = stage.ours("a", &Conf::new(End::A));
    Requests::open(&stage.a).create(&udp_flows(0..FLOWS));
    wait_until("A has all", || active(&a, "internal") == u64::from(FLOWS));
    wait_until("B has all", || {
        let all = active(&b, "external") == u64::from(FLOWS);
        if !all {
            b.ask(&["-n"]);
        }
        all
    });
    let before = heard(&b);
    thread::scope(|scope| {
        let commit = scope.spawn(|| b.ask(&["-c"]));
        wait_until("it has begun", || conntrack::count(&stage.b) > 0);
        interfere(&stage);
        commit.join().expect("the commit succeeds");
    });
    let all = u64::from(FLOWS + OTHERS / 2);
    assert_eq!(conntrack::count(&stage.b) as u64, all);
    wait_until("B knows all of it", || {
        b.status()["work"]["state"] == "exact" && active(&b, "internal") == all
    });
    assert_eq!(sources(&b.internal()), sources(&lines(&stage.b)));
    let events = heard(&b) - before;
    assert!(events < u64::from(FLOWS) / 2, "{events} events of a commit of {FLOWS} flows");
    // And it hears everything again.
    Requests::open(&stage.b).create(&udp_flows(FLOWS + OTHERS..FLOWS + 2 * OTHERS));
    let more = events + u64::from(OTHERS);
    wait_until("it hears what begins", || heard(&b) - before >= more);
    assert_eq!(active(&b, "internal"), all + u64::from(OTHERS));
}

#[test]
fn through_the_tap() {
    nothing_is_lost("tap");
}

#[test]
fn through_netlink() {
    nothing_is_lost("netlink");
}
