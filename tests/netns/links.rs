//! Links under ours: cables pulled, interfaces that come and go, peers that misbehave.

use ctnetlink::Writer;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use tests::conf::{Conf, End, SUBNET, Transport};
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::{Daemon, run_ours};
use tests::netns::{Family, Namespace, address};
use tests::stage::Stage;
use tests::wait::wait_until;
use wire::sync::v1::{Control, Stamp, encode_control};

const KINDS: [(Transport, Family); 6] = [
    (Transport::Multicast, Family::V4),
    (Transport::Multicast, Family::V6),
    (Transport::Udp, Family::V4),
    (Transport::Udp, Family::V6),
    (Transport::Tcp, Family::V4),
    (Transport::Tcp, Family::V6),
];

fn conf(end: End, (transport, family): (Transport, Family)) -> Conf {
    Conf::new(end).transport(transport).link(family)
}

const TCP: (Transport, Family) = (Transport::Tcp, Family::V4);

fn is_active(daemon: &Daemon<'_>, name: &str) -> bool {
    daemon.ask(&["-s", "link"]).contains(&format!("device={name} status=RUNNING role=ACTIVE"))
}

fn wait_connected(daemon: &Daemon<'_>) {
    wait_until("the connections stand", || {
        daemon.ask(&["-s"]).contains("server=connected client=connected")
    });
}

/// Waits until each has heard the other: an interface takes its time to come up, and a datagram is sent once.
fn meet(a: &Daemon<'_>, b: &Daemon<'_>) {
    wait_until("they hear each other", || received(a) > 0 && received(b) > 0);
}

/// Makes these flows on A and waits until B has `total`.
fn tell(stage: &Stage, b: &Daemon<'_>, ports: std::ops::Range<u32>, total: usize) {
    Requests::open(&stage.a).create(&udp_flows(ports));
    wait_until("flows arrive", || b.external().len() == total);
}

/// What is made while the cable is out waits, and goes as soon as there is a carrier. A connection sends it again
/// until the other end takes it; a datagram that comes before the other end listens is lost, and in this mode the
/// loss goes unnoticed.
#[test]
fn a_cable_that_is_pulled_and_plugged_in_again_carries_on_over_any_kind_of_link() {
    for kind in KINDS {
        let stage = Stage::new();
        let b = stage.ours("b", &conf(End::B, kind));
        let a = stage.ours("a", &conf(End::A, kind));
        meet(&a, &b);
        tell(&stage, &b, 0..50, 50);
        stage.plug(0, false);
        wait_until("A sees it", || a.ask(&["-s", "link"]).contains("status=NO-CARRIER"));
        Requests::open(&stage.a).create(&udp_flows(50..100));
        wait_until("A knows its flows", || a.internal().len() == 100);
        let before = [received(&a), received(&b)];
        stage.plug(0, true);
        wait_until("they hear each other again", || {
            received(&a) > before[0] && received(&b) > before[1]
        });
        Requests::open(&stage.a).create(&udp_flows(100..150));
        wait_until("what is made now arrives", || known(&b, 100..150) == 50);
        // An IPv6 stack listens again some time after its interface is up; the other end does not wait for that.
        if kind.0 == Transport::Tcp || kind.1 == Family::V4 {
            wait_until("what waited arrives", || known(&b, 50..100) == 50);
        }
    }
}

/// Defect 13 of the original (`docs/defects.md`) would show with TCP: each link connects again by itself.
#[test]
fn of_two_links_the_other_one_takes_over_and_back_over_any_kind() {
    for kind in KINDS {
        let stage = Stage::with_cables(2);
        let b = stage.ours("b", &conf(End::B, kind).links(2));
        let a = stage.ours("a", &conf(End::A, kind).links(2));
        meet(&a, &b);
        tell(&stage, &b, 0..50, 50);
        wait_until("both begin with the first", || is_active(&a, "va") && is_active(&b, "vb"));
        stage.plug(0, false);
        wait_until("both have changed", || is_active(&a, "va1") && is_active(&b, "vb1"));
        a.wait_to_say("device `va1' becomes dedicated link");
        tell(&stage, &b, 50..100, 100);
        stage.plug(0, true);
        tell(&stage, &b, 100..150, 150);
        assert!(is_active(&a, "va1"), "a link that is back is not preferred");
        stage.plug(1, false);
        wait_until("both are back", || is_active(&a, "va") && is_active(&b, "vb"));
        tell(&stage, &b, 150..200, 200);
    }
}

/// Connections of the node to the other one's port on this cable that stand.
fn connections(node: &Namespace, cable: usize) -> usize {
    let peer = format!("10.99.{}.2:3780", tests::conf::subnet(cable));
    let text = node.sh("ss -Htn state established");
    text.lines().filter(|line| line.trim_end().ends_with(&peer)).count()
}

#[test]
fn a_tcp_link_that_stands_by_is_connected_and_one_that_failed_is_hung_up() {
    let stage = Stage::with_cables(2);
    let _b = stage.ours("b", &conf(End::B, TCP).links(2));
    let a = stage.ours("a", &conf(End::A, TCP).links(2));
    wait_until("both are connected", || (0..2).all(|cable| connections(&stage.a, cable) == 1));
    // The log names one of several changes in a short time.
    wait_until("it is told", || a.log().contains("link device `va"));
    assert!(is_active(&a, "va"));
    stage.plug(0, false);
    wait_until("A has changed", || is_active(&a, "va1"));
    wait_until("the first is hung up", || connections(&stage.a, 0) == 0);
    assert_eq!(connections(&stage.a, 1), 1);
}

#[test]
fn what_waits_for_one_tcp_link_goes_over_the_other() {
    let stage = Stage::with_cables(2);
    let a = stage.ours("a", &conf(End::A, TCP).links(2));
    Requests::open(&stage.a).create(&udp_flows(0..50));
    wait_until("it waits", || {
        let text = a.ask(&["-s", "json"]);
        let (_, errors) = text.split_once("\"errors\":{\"len\":").expect("such a field");
        !errors.starts_with('0')
    });
    stage.plug(0, false);
    wait_until("A has changed", || is_active(&a, "va1"));
    let b = stage.ours("b", &conf(End::B, TCP).links(2));
    wait_until("flows arrive", || b.external().len() == 50);
}

#[test]
fn whoever_hears_the_peer_through_another_link_follows_it() {
    let kind = (Transport::Udp, Family::V4);
    let stage = Stage::with_cables(3);
    let _b = stage.ours("b", &conf(End::B, kind).links(3));
    let a = stage.ours("a", &conf(End::A, kind).links(3));
    wait_until("both are there", || is_active(&a, "va"));
    let socket = stage.b.within(|| UdpSocket::bind("0.0.0.0:0").expect("a socket"));
    let to = (address(Family::V4, tests::conf::subnet(2), 1), 3780);
    socket.send_to(b"no sync message", to).expect("the cable is in");
    wait_until("it is counted", || {
        a.stat(&["-s", "network"], "Truncated message:") > 0
            || a.stat(&["-s", "network"], "Malformed messages:") > 0
    });
    assert!(!a.log().contains("becomes"), "garbage is no peer: {}", a.log());
    socket.send_to(&alive(1), to).expect("the cable is in");
    wait_until("A has followed", || a.log().contains("device `va2' becomes dedicated link"));
}

fn alive(seq: u32) -> Vec<u8> {
    let mut bytes = [0; 8];
    let mut writer = Writer::new(&mut bytes);
    encode_control(Control::Alive, Stamp { seq, ..Stamp::default() }, &mut writer);
    writer.finish().expect("it is 8 bytes long");
    bytes.to_vec()
}

/// How many of these flows it knows as the other node's.
fn known(daemon: &Daemon<'_>, numbers: std::ops::Range<u32>) -> usize {
    let text = daemon.ask(&["-e"]);
    numbers.filter(|n| text.contains(&format!(" src=100.0.0.{n} "))).count()
}

#[test]
fn an_interface_that_is_made_anew_and_a_smaller_mtu_are_respected() {
    for kind in [(Transport::Multicast, Family::V4), (Transport::Multicast, Family::V6)] {
        let stage = Stage::new();
        let b = stage.ours("b", &conf(End::B, kind));
        let a = stage.ours("a", &conf(End::A, kind));
        meet(&a, &b);
        tell(&stage, &b, 0..50, 50);
        stage.a.sh("ip link del va");
        wait_until("it is gone", || a.ask(&["-s", "link"]).contains("status=DOWN"));
        stage.a.cable("va", &stage.b, "vb", SUBNET);
        let before = [received(&a), received(&b)];
        wait_until("they hear each other again", || {
            received(&a) > before[0] && received(&b) > before[1]
        });
        tell(&stage, &b, 50..100, 100);
        for (node, name) in [(&stage.a, "va"), (&stage.b, "vb")] {
            node.sh(&format!("ip link set {name} mtu 1300"));
        }
        wait_until("it is seen", || a.log().contains("MTU 1500 -> 1300"));
        tell(&stage, &b, 100..1000, 1000);
        assert_eq!(a.stat(&["-s", "network"], "Malformed messages:"), 0);
    }
}

/// Defect 14 of the original (`docs/defects.md`).
#[test]
fn what_fits_into_no_datagram_is_counted_and_the_rest_goes_on() {
    let kind = (Transport::Udp, Family::V4);
    let stage = Stage::new();
    for (node, name) in [(&stage.a, "va"), (&stage.b, "vb")] {
        node.sh(&format!("ip link set {name} mtu 68"));
    }
    let b = stage.ours("b", &conf(End::B, kind));
    let a = stage.ours("a", &conf(End::A, kind));
    Requests::open(&stage.a).create(&udp_flows(0..10));
    wait_until("they are counted", || {
        let text = a.ask(&["-s", "network"]);
        let (_, sent) = text.split_once("send:").expect("what was sent");
        sent.split_whitespace().nth(2) == Some("10")
    });
    let heard = || b.ask(&["-s", "link"]);
    wait_until("short messages arrive", || !heard().contains("                   0 Pckts recv"));
    assert!(b.external().is_empty());
}

#[test]
fn a_tcp_peer_that_restarts_is_connected_to_again_and_gets_what_waited() {
    let stage = Stage::new();
    let a = stage.ours("a", &conf(End::A, TCP));
    let mut b = stage.ours("b", &conf(End::B, TCP));
    wait_connected(&a);
    tell(&stage, &b, 0..50, 50);
    b.kill_hard();
    drop(b);
    wait_until("A sees it", || a.ask(&["-s"]).contains("server=disconnected client=disconnected"));
    Requests::open(&stage.a).create(&udp_flows(50..60));
    wait_until("A knows its flows", || a.internal().len() == 60);
    let b = stage.ours("b", &conf(End::B, TCP));
    wait_connected(&a);
    wait_until("what waited arrives", || b.external().len() == 10);
    b.ask(&["-n"]);
    wait_until("the bulk arrives", || b.external().len() == 60);
}

/// Defect 12 of the original (`docs/defects.md`).
#[test]
fn a_link_that_dies_in_the_middle_of_much_traffic_leaves_no_half_message() {
    let stage = Stage::new();
    let small =
        |end| conf(end, TCP).link_line("SndSocketBuffer 4096").link_line("RcvSocketBuffer 4096");
    let a = stage.ours("a", &small(End::A));
    let mut b = stage.ours("b", &small(End::B));
    wait_connected(&a);
    for round in 0..5_u32 {
        Requests::open(&stage.a).create(&udp_flows(round * 2000..round * 2000 + 2000));
        wait_until("something arrives", || !b.external().is_empty());
        b.kill_hard();
        drop(b);
        b = stage.ours("b", &small(End::B));
        wait_connected(&a);
    }
    b.ask(&["-n"]);
    wait_until("all arrive", || b.external().len() == 10_000);
    assert_eq!(b.stat(&["-s", "network"], "Malformed messages:"), 0);
}

/// Connects to A's link from B's node.
fn connect(stage: &Stage) -> TcpStream {
    let to = SocketAddr::new(address(Family::V4, SUBNET, 1), 3780);
    stage.b.within(|| TcpStream::connect(to).expect("A listens"))
}

#[test]
fn strange_tcp_peers_are_survived() {
    let stage = Stage::new();
    let a = stage.ours("a", &conf(End::A, TCP));
    let malformed = || a.stat(&["-s", "network"], "Malformed messages:");
    // Garbage: a length that cannot be.
    let mut garbage = connect(&stage);
    garbage.write_all(&[0x10, 0, 0, 3, 0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9]).expect("A reads");
    wait_until("it is counted", || malformed() == 1);
    wait_until("it is closed", || a.ask(&["-s"]).contains("server=disconnected"));
    // One that says nothing, and a second one that says everything byte by byte.
    let silent = connect(&stage);
    wait_until("it is taken", || a.ask(&["-s"]).contains("server=connected"));
    let mut slow = connect(&stage);
    slow.set_nodelay(true).expect("a socket has this");
    for (seq, total) in [(1, 8), (2, 16)] {
        for byte in alive(seq) {
            slow.write_all(&[byte]).expect("A reads");
        }
        wait_until("it is read", || received(&a) >= 16 + total);
    }
    assert_eq!(malformed(), 1);
    drop(silent);
    // Noise, again and again.
    for round in 0..50_u8 {
        let mut noise = connect(&stage);
        let bytes: Vec<_> =
            (0..5000_u32).map(|n| ((n * 7919 + u32::from(round) * 31) >> 3) as u8).collect();
        let _ = noise.write_all(&bytes);
    }
    let b = stage.ours("b", &conf(End::B, TCP));
    wait_connected(&a);
    tell(&stage, &b, 0..50, 50);
}

/// Bytes received on A's link.
fn received(daemon: &Daemon<'_>) -> u64 {
    let text = daemon.ask(&["-s", "link"]);
    let line = text.lines().find(|line| line.contains("Bytes sent")).expect("such a line");
    line.split_whitespace().nth(3).and_then(|word| word.parse().ok()).expect("a number")
}

/// Starts ours on A, which must end with code 1 and say these words.
fn refused(stage: &Stage, conf: &Conf, change: [&str; 2], words: &[&str]) {
    let path = stage.files.path().join("refused.conf");
    let text = conf.text(stage.files.path(), "refused").replace(change[0], change[1]);
    fs::write(&path, text).expect("a configuration is written");
    let output = run_ours(&stage.a, &["-C", path.to_str().expect("paths are text")]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
}

#[test]
fn what_cannot_be_opened_is_named_at_the_start() {
    let stage = Stage::new();
    let at = SocketAddr::new(address(Family::V4, SUBNET, 1), 3780);
    let _tcp = stage.a.within(|| TcpListener::bind(at).expect("the port is free"));
    let _udp = stage.a.within(|| UdpSocket::bind(at).expect("the port is free"));
    for transport in [Transport::Tcp, Transport::Udp] {
        let conf = conf(End::A, (transport, Family::V4));
        refused(&stage, &conf, ["", ""], &["10.99.0.1 port 3780", "in use"]);
        refused(&stage, &conf, ["10.99.0.1\n", "10.99.0.9\n"], &["10.99.0.9 port 3780", "assign"]);
    }
    for kind in KINDS {
        refused(
            &stage,
            &conf(End::A, kind),
            ["Interface va", "Interface nix"],
            &["nix", "No such device"],
        );
    }
    let five = conf(End::A, TCP).links(4);
    let extra = " TCP {\n  IPv4_address 10.99.0.1\n  IPv4_Destination_Address 10.99.0.2\n  Port 1\n  Interface va\n }\n}\nGeneral {";
    refused(&stage, &five, ["}\nGeneral {", extra], &["more than 4 dedicated links"]);
}
