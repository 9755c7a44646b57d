//! FTFW over links that lose, repeat and delay packets, in both directions: when the traffic stops, either node has
//! the other's flows, without a request for a bulk transfer.
//!
//! The nodes greet each other before anything is lost. The original does not notice that messages before the first
//! one it receives are missing, and does not answer a NACK for messages that have left its resend queue (131072
//! messages).

use crate::cell::heard;
use crate::tables::wait_for_agreement;
use ctnetlink::flow::Known;
use tests::conf::{Conf, End, Transport};
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::{Brand, Daemon};
use tests::netns::Namespace;
use tests::stage::Stage;
use tests::wait::wait_until;

crate::in_each_direction!(
    udp_that_loses_1_percent,
    udp_that_loses_10_percent,
    udp_that_repeats_10_percent,
    udp_that_delays_10_percent,
    multicast_that_loses_1_percent,
    multicast_that_loses_10_percent,
);

fn udp_that_loses_1_percent(from: Brand, to: Brand) {
    converges(from, to, Transport::Udp, Trouble::Loss { percent: 1 });
}

fn udp_that_loses_10_percent(from: Brand, to: Brand) {
    converges(from, to, Transport::Udp, Trouble::Loss { percent: 10 });
}

fn udp_that_repeats_10_percent(from: Brand, to: Brand) {
    converges(from, to, Transport::Udp, Trouble::Copies);
}

/// Less than the half second that ours lets a message be overtaken: a later one counts as from a peer that restarted.
fn udp_that_delays_10_percent(from: Brand, to: Brand) {
    converges(from, to, Transport::Udp, Trouble::Delay);
}

fn multicast_that_loses_1_percent(from: Brand, to: Brand) {
    converges(from, to, Transport::Multicast, Trouble::Loss { percent: 1 });
}

fn multicast_that_loses_10_percent(from: Brand, to: Brand) {
    converges(from, to, Transport::Multicast, Trouble::Loss { percent: 10 });
}

/// What the link does to packets, whichever way they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// So many do not arrive.
    Loss { percent: u32 },
    /// A tenth arrives twice.
    Copies,
    /// A tenth waits in a slow queue, and others overtake it.
    Delay,
}

/// Flows per round.
const FLOWS: u32 = 500;
/// Rounds of the traffic that matters.
const ROUNDS: u32 = 6;
/// Where the numbers of B's flows begin, and those of the flows of small steps.
const B_FLOWS: u32 = 1_000_000;
const STEP_FLOWS: u32 = 900_000;
/// Packets of each node that must have been in trouble.
const TROUBLED_MIN: u64 = 3;
/// Small steps after the rounds, each of which makes either node send a packet, until enough have been in trouble. Of so
/// many packets fewer than that are in trouble once in 10^30 tests, with 1 in 100.
const STEPS_MAX: u32 = 10_000;

fn converges(from: Brand, to: Brand, transport: Transport, trouble: Trouble) {
    let stage = Stage::new();
    // Without checksums every datagram is a packet of its own on its way through the host.
    let checksum = trouble != Trouble::Delay;
    let conf = |end| Conf { checksum, ..Conf::new(end).ftfw().transport(transport) };
    let b = stage.start(to, "b", &conf(End::B));
    let a = stage.start(from, "a", &conf(End::A));
    wait_until("A and B hear each other", || heard(&a) > 1 && heard(&b) > 1);
    let nodes = [&stage.a, &stage.b];
    trouble.begin(&stage.a, End::A);
    trouble.begin(&stage.b, End::B);
    let mut requests = nodes.map(Requests::open);
    for round in 0..ROUNDS {
        // B has a tenth of A's traffic, with other addresses.
        churn(&mut requests[0], round * FLOWS..(round + 1) * FLOWS);
        let base = B_FLOWS + round * FLOWS / 10;
        churn(&mut requests[1], base..base + FLOWS / 10);
    }
    let enough = || {
        nodes.iter().all(|node| troubled(node) >= TROUBLED_MIN)
            && (trouble != Trouble::Delay || [&a, &b].iter().all(|daemon| overtaken(daemon) > 0))
    };
    for step in 0.. {
        if enough() {
            break;
        }
        assert!(step < STEPS_MAX, "too few packets are in trouble");
        let before = nodes.map(packets);
        // The same few flows over and over: a change that a busy daemon merges into one packet does not count.
        churn(&mut requests[0], STEP_FLOWS..STEP_FLOWS + 20);
        churn(&mut requests[1], B_FLOWS + STEP_FLOWS..B_FLOWS + STEP_FLOWS + 20);
        wait_until("both send a packet", || {
            nodes.map(packets).iter().zip(before).all(|(now, before)| *now > before)
        });
        for (requests, base) in requests.iter_mut().zip([0, B_FLOWS]) {
            requests.delete(&udp_flows(base + STEP_FLOWS..base + STEP_FLOWS + 10));
        }
    }
    wait_for_agreement("both know the same", &a, &b);
    for daemon in [&a, &b].into_iter().filter(|daemon| daemon.brand() == Brand::Ours) {
        check_account(daemon, trouble);
    }
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

impl Trouble {
    /// From now on.
    fn begin(self, node: &Namespace, end: End) {
        let device = end.interface();
        // Datagrams that were sent together are cut before they reach the cable, or they would be lost together.
        node.sh(&format!("ip link set {device} gso_max_segs 1"));
        if self == Self::Delay {
            node.sh(&format!("tc qdisc add dev {device} root handle 1: htb default 1"));
            node.sh(&format!("tc class add dev {device} parent 1: classid 1:1 htb rate 10gbit"));
            // A full packet takes half a millisecond, and longer if there are some before it. B sends less, and its next
            // packet may be as far away as the naps of ours: there it takes more than two.
            let rate = if end == End::A { "20mbit" } else { "5mbit" };
            let slow = format!("htb rate {rate} burst 1b cburst 1b");
            node.sh(&format!("tc class add dev {device} parent 1: classid 1:2 {slow}"));
        }
        let egress = format!("egress device {device}");
        let (family, hook, percent, fate) = match self {
            Self::Loss { percent } => ("inet", "prerouting", percent, "drop".to_owned()),
            Self::Copies => ("netdev", &*egress, 10, format!("dup to {device}")),
            Self::Delay => ("inet", "output", 10, "meta priority set 0x10002".to_owned()),
        };
        node.nft(&format!(
            "table {family} link {{ chain packets {{
                type filter hook {hook} priority -400;
                udp dport 3780 counter;
                udp dport 3780 numgen random mod 100 < {percent} counter {fate};
            }}; }}"
        ));
    }
}

/// Packets that passed, troubled or not.
fn packets(node: &Namespace) -> u64 {
    counted(node, 0)
}

/// Packets that followed the rule.
fn troubled(node: &Namespace) -> u64 {
    counted(node, 1)
}

/// Packets of the `n`-th counter.
fn counted(node: &Namespace, n: usize) -> u64 {
    let text = node.sh("nft list ruleset");
    let packets = text.split("counter packets ").nth(n + 1).and_then(|rest| rest.split(' ').next());
    packets.and_then(|number| number.parse().ok()).expect("a rule with a counter")
}

/// Messages that arrived after a later one, or twice.
fn overtaken(daemon: &Daemon<'_>) -> u64 {
    daemon.stat(&["-s", "network"], "Packets before:")
}

/// What arrived was well-formed, what was wrong with it was noticed, and nothing waits to be sent again for ever.
fn check_account(daemon: &Daemon<'_>, trouble: Trouble) {
    let network = |label| daemon.stat(&["-s", "network"], label);
    assert_eq!(network("Malformed messages:"), 0);
    match trouble {
        Trouble::Loss { .. } => assert!(network("Packets lost:") > 0),
        Trouble::Copies | Trouble::Delay => assert!(overtaken(daemon) > 0),
    }
    wait_until("all that was said of flows is acknowledged", || {
        let text = daemon.ask(&["-s", "rsqueue"]);
        let (title, lines) = text.split_once('\n').expect("a title");
        assert_eq!(title, format!("resent queue (len={})", lines.lines().count()));
        !lines.contains("object")
    });
}
