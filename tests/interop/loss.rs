//! FTFW over links that lose packets, in both directions: when the traffic stops, either node knows what the other has,
//! and nobody had to ask for it.
//!
//! The nodes greet each other before anything is lost. The original does not notice that messages before the first one
//! it hears are missing, and has nothing to say to a NACK for what its resend queue (131072 messages) holds no more.

use crate::cell::heard;
use crate::tables::wait_for_agreement;
use tests::conf::{Conf, End, Transport};
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::{Brand, Daemon};
use tests::netns::Namespace;
use tests::stage::Stage;
use tests::wait::wait_until;
use wire::flow::Known;

crate::in_each_direction!(
    udp_that_loses_1_percent,
    udp_that_loses_10_percent,
    multicast_that_loses_1_percent,
    multicast_that_loses_10_percent,
);

fn udp_that_loses_1_percent(from: Brand, to: Brand) {
    converges(from, to, Transport::Udp, 1);
}

fn udp_that_loses_10_percent(from: Brand, to: Brand) {
    converges(from, to, Transport::Udp, 10);
}

fn multicast_that_loses_1_percent(from: Brand, to: Brand) {
    converges(from, to, Transport::Multicast, 1);
}

fn multicast_that_loses_10_percent(from: Brand, to: Brand) {
    converges(from, to, Transport::Multicast, 10);
}

/// Flows per round.
const FLOWS: u32 = 500;
/// Rounds at least.
const ROUNDS_MIN: u32 = 6;
/// Rounds at most, on a link that loses nothing.
const ROUNDS_MAX: u32 = 100;
/// Packets that each node must have lost.
const LOST_MIN: u64 = 3;

fn converges(from: Brand, to: Brand, transport: Transport, percent: u32) {
    let stage = Stage::new();
    let conf = |end| Conf::new(end).ftfw().transport(transport);
    let b = stage.start(to, "b", &conf(End::B));
    let a = stage.start(from, "a", &conf(End::A));
    wait_until("A and B hear each other", || heard(&a) > 1 && heard(&b) > 1);
    let nodes = [&stage.a, &stage.b];
    nodes.iter().for_each(|node| lose(node, percent));
    let mut requests = nodes.map(Requests::open);
    let mut round = 0;
    while round < ROUNDS_MIN || nodes.iter().any(|node| lost(node) < LOST_MIN) {
        assert!(round < ROUNDS_MAX, "the link loses too little");
        // B has a tenth of A's traffic, with other addresses.
        churn(&mut requests[0], round * FLOWS..(round + 1) * FLOWS);
        let base = 1_000_000 + round * FLOWS / 10;
        churn(&mut requests[1], base..base + FLOWS / 10);
        round += 1;
    }
    wait_for_agreement("both know the same", &a, &b);
    [&a, &b].into_iter().filter(|daemon| daemon.brand() == Brand::Ours).for_each(check_account);
}

/// Flows appear; most of them change; half of them end.
fn churn(requests: &mut Requests, numbers: std::ops::Range<u32>) {
    let mut flows = udp_flows(numbers);
    requests.create(&flows);
    for (n, flow) in flows.iter_mut().enumerate() {
        flow.mark = n as u32;
        flow.known = Known::MARK;
    }
    requests.update(&flows);
    let (_, ended) = flows.split_at(flows.len() / 2);
    requests.delete(ended);
}

/// From now on, so many packets of the link do not arrive here.
fn lose(node: &Namespace, percent: u32) {
    node.nft(&format!(
        "table inet link {{ chain arriving {{
            type filter hook prerouting priority -400;
            udp dport 3780 numgen random mod 100 < {percent} counter drop;
        }}; }}"
    ));
}

/// Packets that did not arrive.
fn lost(node: &Namespace) -> u64 {
    let text = node.sh("nft list chain inet link arriving");
    let mut words = text.split_whitespace().skip_while(|word| *word != "packets").skip(1);
    words.next().and_then(|word| word.parse().ok()).expect("a rule with a counter")
}

/// What arrived was well-formed, and it noticed the gaps.
fn check_account(daemon: &Daemon<'_>) {
    let network = |label| daemon.stat(&["-s", "network"], label);
    assert_eq!(network("Malformed messages:"), 0);
    assert!(network("Packets lost:") > 0);
}
