//! Daemons with filters in the kernel: what the tables hold is what the kernel holds and the filter lets in, whatever
//! was changed meanwhile.

use common::filter::in_sample;
use ctnetlink::Flow;
use ctnetlink::flow::{Known, ProtoState, TcpState};
use rustix::process::Signal;
use std::collections::BTreeSet;
use tests::conf::{Conf, End};
use tests::conntrack::sources;
use tests::ctnetlink::{Requests, udp, udp_flows, with_lifetime};
use tests::daemon::Daemon;
use tests::solo::{Solo, solo};
use tests::stage::Stage;
use tests::wait::{wait_equal, wait_until};

const READ: &str = "the configuration was read again";

fn conf(source: &str, filter: &str) -> String {
    solo(&format!(
        "EventSource {source}\n NetlinkBufferSize 134217728\n NetlinkBufferSizeMaxGrowth 268435456\n Filter From Kernelspace {{ {filter} }}"
    ))
}

/// Has another filter read; until it holds.
fn reload(stage: &Solo, daemon: &Daemon<'_>, conf: &str) {
    let before = daemon.log().matches(READ).count();
    stage.write("a", conf);
    daemon.signal(Signal::HUP);
    wait_until(READ, || daemon.log().matches(READ).count() > before);
}

/// The `n`-th of flows that differ in everything a filter asks for.
fn varied(n: u32) -> Flow {
    let mut flow = udp(n);
    flow.orig = flow.orig.with_ports(1000 + (n % 100) as u16, [53, 80, 443][n as usize % 3]);
    flow.zone = [0, 7][n as usize / 3 % 2];
    flow.mark = n / 6 % 4;
    flow.known |= Known::MARK;
    with_lifetime(flow)
}

/// A filter, and the flows it lets in.
type Choice = (&'static str, fn(&Flow) -> bool);

const CHOICES: [Choice; 6] = [
    ("", |_| true),
    ("DestinationPort Accept { 53 80-90 }", |f| f.orig.ports().1 < 100),
    ("SourcePort Ignore { 1000-1049 }", |f| f.orig.ports().0 > 1049),
    ("Zone Accept { 5-9 }", |f| f.zone == 7),
    ("Mark Accept { 1 2/2 }", |f| f.mark != 0),
    ("Sample 1/4", |f| in_sample(&f.key(), 4)),
];

fn expected(alive: &[Flow], passes: fn(&Flow) -> bool) -> BTreeSet<String> {
    alive.iter().filter(|f| passes(f)).map(|f| format!("src={}", f.orig.src_ip())).collect()
}

/// Flows come, change and go while the filter changes all the time.
fn filters_change_under_churn(source: &str) {
    let stage = Solo::new();
    let daemon = stage.ours("a", &conf(source, CHOICES[0].0));
    let mut requests = Requests::open(&stage.node);
    let mut alive: Vec<Flow> = Vec::new();
    let mut next = 0;
    for round in 0..18 {
        stage.write("a", &conf(source, CHOICES[round % CHOICES.len()].0));
        daemon.signal(Signal::HUP);
        let fresh: Vec<_> = (next..next + 400).map(varied).collect();
        next += 400;
        requests.create(&fresh);
        requests.delete(&fresh[..200]);
        alive.extend_from_slice(&fresh[200..]);
        let gone: Vec<_> = alive.drain(..100).collect();
        for flow in &mut alive {
            flow.mark = (flow.mark + 1) % 4;
        }
        requests.update(&alive);
        requests.delete(&gone);
    }
    for (filter, passes) in CHOICES {
        reload(&stage, &daemon, &conf(source, filter));
        let known = || sources(&daemon.internal());
        wait_equal(filter, known, || expected(&alive, passes));
        // With the filter in place, events alone keep it so. Marks change to one that passes.
        let mut fresh: Vec<_> = (next..next + 400).map(varied).collect();
        next += 400;
        requests.create(&fresh);
        fresh[200..].iter_mut().for_each(|flow| flow.mark |= 2);
        requests.update(&fresh[200..]);
        let gone: Vec<_> = fresh.drain(100..300).chain(alive.drain(..100)).collect();
        requests.delete(&gone);
        alive.extend(fresh);
        wait_equal(filter, known, || expected(&alive, passes));
    }
    assert_eq!(daemon.stat(&["-s", "runtime"], "lost:"), 0);
}

#[test]
fn a_filter_that_changes_under_churn_leaves_the_filtered_table_through_the_tap() {
    filters_change_under_churn("tap");
}

#[test]
fn a_filter_that_changes_under_churn_leaves_the_filtered_table_through_netlink() {
    filters_change_under_churn("netlink");
}

fn short_flows_are_not_reported(source: &str) {
    let stage = Stage::new();
    let b = stage.ours("b", &Conf::new(End::B));
    let general = format!("NetlinkOverrunResync off\n EventSource {source}");
    let a = Conf::new(End::A).general(&general).filter("MinimumAge 700");
    let a = stage.ours("a", &a);
    let mut requests = Requests::open(&stage.a);
    for round in 0..20 {
        let flows = round * 100..(round + 1) * 100;
        requests.create(&udp_flows(flows.clone()));
        // Four of five are short.
        requests.delete(&udp_flows(flows.start..flows.end - 20));
    }
    wait_equal("A hears of those that last", || a.internal().len(), || 400);
    wait_until("B does, too", || b.external().len() == 400);
    let text = a.ask(&["-s", "cache"]);
    let wanted = ["creation", "OK/failed:", "400/", "0"];
    let only = text.lines().any(|line| line.split_whitespace().eq(wanted));
    assert!(only, "nothing else was ever known: {text}");
    requests.delete(&udp_flows(80..90));
    wait_equal("ends are heard of", || a.internal().len(), || 390);
    wait_until("B hears of them", || b.external().len() == 390);
}

#[test]
fn short_flows_are_not_reported_by_the_tap() {
    short_flows_are_not_reported("tap");
}

#[test]
fn short_flows_are_not_reported_by_netlink() {
    short_flows_are_not_reported("netlink");
}

#[test]
fn short_flows_are_not_reported_where_shards_share_the_flows() {
    let stage = Solo::new();
    let daemon = stage.ours("a", &conf("tap\n Shards 2", "MinimumAge 700"));
    let mut requests = Requests::open(&stage.node);
    requests.create(&udp_flows(0..100));
    requests.delete(&udp_flows(0..60));
    wait_equal("those that last are known", || daemon.internal().len(), || 40);
    requests.delete(&udp_flows(60..70));
    wait_equal("ends are heard of", || daemon.internal().len(), || 30);
    // Another thread writes them.
    let recorded = || daemon.file("records").lines().count();
    wait_equal("ten are recorded, and nothing of the others", recorded, || 10);
}

/// A flow whose state or mark leaves the filter is no zombie.
#[test]
fn what_was_let_in_ends_whatever_it_has_become() {
    let stage = Solo::new();
    let filter = "State Accept { ESTABLISHED for TCP } Mark Accept { 5 }";
    let daemon = stage.ours("a", &conf("tap", filter));
    let flow = |state, mark| {
        let mut flow =
            with_lifetime(Flow::new(ctnetlink::Tuple::v4([1; 4], [2; 4], 6).with_ports(1, 2)));
        flow.proto = ProtoState::Tcp(TcpState { state, ..TcpState::default() });
        (flow.mark, flow.known) = (mark, flow.known | Known::MARK);
        flow
    };
    let mut requests = Requests::open(&stage.node);
    requests.create(&[flow(1, 0)]);
    requests.update(&[flow(3, 0)]);
    requests.create(&udp_flows(0..1));
    requests.update(&[flow(3, 5)]);
    wait_equal("it comes in", || daemon.internal().len(), || 1);
    requests.update(&[flow(4, 6)]);
    requests.delete(&[flow(4, 6)]);
    wait_equal("it is gone", || daemon.internal().len(), || 0);
}
