//! Bad company: a peer that sends garbage, one that is not there, tables that are full, more events than fit.

use ctnetlink::{Change, Flow, Tuple, Writer};
use std::net::UdpSocket;
use tests::conf::{Conf, End, SUBNET};
use tests::conntrack::{lines, sources};
use tests::ctnetlink::{Requests, udp_flows, with_lifetime};
use tests::daemon::Daemon;
use tests::netns::{Family, address};
use tests::stage::Stage;
use tests::wait::wait_until;
use wire::sync::v1::{Options, Stamp, encode_flow};

const GARBAGE: u64 = 100_000;
const MIB: usize = 1 << 20;

/// A row of numbers that looks random and is the same in each run (xorshift64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// A valid message of flow `n`.
fn message(n: u16) -> Vec<u8> {
    let flow = Flow::new(Tuple::v4([66; 4], [67; 4], 6).with_ports(n, 80));
    let mut bytes = [0; 512];
    let mut writer = Writer::new(&mut bytes);
    let stamp = Stamp { seq: n.into(), ..Stamp::default() };
    let options = Options { timeout: true, window_scale: true };
    encode_flow(Change::New, stamp, &with_lifetime(flow), options, &mut writer);
    let len = writer.finish().expect("a message is short");
    bytes[..len].to_vec()
}

/// Random bytes, or a message with a few bytes changed, or a piece of one.
fn garbage(random: &mut Random, n: u64) -> Vec<u8> {
    let mut bytes = message(n as u16 % 500);
    match n % 4 {
        0 => bytes = (0..random.below(1400)).map(|_| random.next() as u8).collect(),
        1 => bytes.truncate(random.below(bytes.len())),
        _ => {
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                bytes[at] = random.next() as u8;
            }
        }
    }
    bytes
}

/// Sends garbage from B to A, never more at a time than A's socket holds.
fn send_garbage(stage: &Stage, a: &Daemon<'_>) {
    let to = (address(Family::V4, SUBNET, 1), 3780);
    let socket = stage.b.within(|| UdpSocket::bind("0.0.0.0:0").expect("a socket"));
    let mut random = Random(0x1234_5678_9abc_def1);
    for n in 0..GARBAGE {
        socket.send_to(&garbage(&mut random, n), to).expect("the link is up");
        if n % 5000 == 4999 {
            wait_until("A has read it", || packets_received(a) > n);
        }
    }
}

fn packets_received(daemon: &Daemon<'_>) -> u64 {
    let text = daemon.ask(&["-s", "link"]);
    let line = text.lines().find(|line| line.contains("Pckts sent")).expect("such a line");
    let number = line.split_whitespace().nth(3).and_then(|word| word.parse().ok());
    number.expect("the fourth word is a number")
}

#[test]
fn a_hundred_thousand_datagrams_of_garbage_are_counted_and_the_peer_is_still_served() {
    let stage = Stage::new();
    let b = stage.ours("b", &Conf::new(End::B));
    let mut a = stage.ours("a", &Conf::new(End::A));
    let mut requests = Requests::open(&stage.b);
    requests.create(&udp_flows(0..100));
    wait_until("flows arrive", || a.external().len() == 100);
    send_garbage(&stage, &a);
    requests.create(&udp_flows(100..200));
    requests.delete(&udp_flows(0..50));
    let legitimate = |daemon: &Daemon<'_>| {
        daemon
            .external()
            .into_iter()
            .filter(|line| line.contains(" dst=2.2.2.2 "))
            .collect::<Vec<_>>()
    };
    wait_until("the peer is heard", || sources(&legitimate(&a)) == sources(&b.internal()));
    assert_eq!(b.internal().len(), 150);
    assert!(a.stat(&["-s", "network"], "Malformed messages:") > GARBAGE / 4);
    for reason in ["Malformed header:", "Malformed payload:", "Truncated message:"] {
        assert!(a.stat(&["-s", "network"], reason) > 100, "{reason}");
    }
    assert!(a.is_running());
    assert!(a.memory() < 128 * MIB, "{} MiB", a.memory() / MIB);
    assert!(a.log().len() < 64 << 10, "the log is not flooded");
}

#[test]
fn garbage_straight_into_the_kernel_does_no_harm_either() {
    let stage = Stage::new();
    let _b = stage.ours("b", &Conf::new(End::B));
    let mut a = stage.ours("a", &Conf::new(End::A).mode("DisableExternalCache on"));
    send_garbage(&stage, &a);
    Requests::open(&stage.b).create(&udp_flows(0..100));
    wait_until("the peer is heard", || {
        lines(&stage.a).iter().filter(|line| line.contains(" dst=2.2.2.2 ")).count() == 100
    });
    assert!(a.is_running());
    assert!(a.log().len() < 64 << 10, "the log is not flooded");
}

#[test]
fn without_a_peer_it_runs_and_says_nothing_over_and_over() {
    let stage = Stage::new();
    let a = stage.ours("a", &Conf::new(End::A).mode("StartupResync on"));
    let mut requests = Requests::open(&stage.a);
    requests.create(&udp_flows(0..1000));
    wait_until("flows are shown", || a.internal().len() == 1000);
    a.ask(&["-B"]);
    a.ask(&["-n"]);
    // Without a cable nothing can be sent at all.
    stage.a.sh("ip link set va down");
    requests.create(&udp_flows(1000..2000));
    wait_until("flows are shown", || a.internal().len() == 2000);
    a.ask(&["-B"]);
    let log = a.log();
    assert!(log.lines().count() < 20, "{log}");
    assert!(a.ask(&["-s", "link"]).contains("Error send"));
}

#[test]
fn a_peer_that_comes_back_on_a_new_cable_is_served_again() {
    let stage = Stage::new();
    let b = stage.ours("b", &Conf::new(End::B));
    let a = stage.ours("a", &Conf::new(End::A));
    stage.a.sh("ip link set va down");
    Requests::open(&stage.a).create(&udp_flows(0..100));
    wait_until("flows are shown", || a.internal().len() == 100);
    stage.a.sh("ip link set va up");
    wait_until("B catches up", || {
        b.ask(&["-n"]);
        b.external().len() == 100
    });
}

/// Defect 17 of the original: a full table is only counted.
#[test]
fn full_tables_are_logged_once_counted_and_get_room_again() {
    let stage = Stage::new();
    let small = |end| Conf { hash_limit: 100, ..Conf::new(end) };
    let b = stage.ours("b", &small(End::B));
    let a = stage.ours("a", &small(End::A));
    let mut requests = Requests::open(&stage.a);
    requests.create(&udp_flows(0..300));
    let refused = |daemon: &Daemon<'_>| daemon.stat(&["-s", "cache"], "no space left in cache:");
    wait_until("flows are refused", || refused(&a) == 200);
    assert_eq!(a.internal().len(), 100);
    a.wait_to_say("internal cache is full");
    assert_eq!(a.log().matches("internal cache is full").count(), 1, "{}", a.log());
    requests.delete(&udp_flows(0..300));
    wait_until("it is empty", || a.internal().is_empty() && b.external().is_empty());
    requests.create(&udp_flows(300..350));
    wait_until("there is room", || a.internal().len() == 50 && b.external().len() == 50);
}

#[test]
fn a_full_table_of_the_receiver_is_logged_once_too() {
    let stage = Stage::new();
    let b = stage.ours("b", &Conf { hash_limit: 100, ..Conf::new(End::B) });
    let _a = stage.ours("a", &Conf::new(End::A));
    let mut requests = Requests::open(&stage.a);
    requests.create(&udp_flows(0..300));
    wait_until("it is full", || b.external().len() == 100);
    wait_until("flows are refused", || b.log().matches("external cache is full").count() == 1);
    requests.delete(&udp_flows(0..300));
    wait_until("it is empty", || b.external().is_empty());
    requests.create(&udp_flows(300..350));
    wait_until("there is room", || b.external().len() == 50);
}

#[test]
fn events_lost_in_a_flood_are_counted_and_made_good_by_reading_the_kernel_again() {
    let stage = Stage::new();
    let conf = Conf::new(End::A)
        .general("EventSource netlink")
        // The last one counts.
        .general("NetlinkBufferSize 65536");
    let a = stage.ours("a", &conf);
    let mut requests = Requests::open(&stage.a);
    let flows = udp_flows(0..200_000);
    requests.create(&flows);
    requests.delete(&flows[..50_000]);
    wait_until("losses are counted", || a.stat(&["-s", "runtime"], "lost:") > 0);
    assert!(a.stat(&["-s", "runtime"], "netlink overrun:") > 0);
    wait_until("it is made good", || a.log().contains("the internal cache is exact again"));
    assert_eq!(a.stat(&["-s"], "current active connections:"), 150_000);
    assert_eq!(sources(&a.internal()), sources(&lines(&stage.a)));
    assert!(a.stat(&["-s", "runtime"], "resync with kernel table:") > 0);
    a.wait_to_say("kernel events lost");
    let status = a.ask(&["-s", "json"]);
    assert!(status.contains(r#""state":"exact""#), "{status}");
    assert!(status.contains(r#""missing_events":0"#), "{status}");
}
