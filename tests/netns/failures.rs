//! What the kernel refuses, drops and evicts, told by a real daemon: by the kernel's counters anywhere, and with addresses
//! where kprobes can be set (`cargo xtask test vm`).

use common::failure::Reason;
use ctnetlink::{Messages, Writer};
use host::kstat;
use host::nfnetlink::Client;
use rustix::time::Timespec;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::Daemon;
use tests::netns::{run, sysctl};
use tests::solo::{Solo, solo};
use tests::wait::wait_until;
use wire::queue::{PacketView, Verdict};

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);
const TRACK: &str =
    "table inet t { chain c { type filter hook output priority 0; ct state new accept; }; }";

/// A daemon that tells failures, on a node that tracks, and what its feed says of them.
fn node<'a>(stage: &'a Solo, failures: &str) -> (Daemon<'a>, BufReader<UnixStream>) {
    stage.node.within(|| run("ip", &["link", "set", "lo", "up"]));
    stage.node.nft(TRACK);
    let blocks = format!("Subscribe {{\n Path @.feed\n}}\nFailures {{\n {failures}\n}}\n");
    let daemon = stage.ours("a", &(solo("") + &blocks));
    let mut feed = UnixStream::connect(daemon.path("feed")).expect("somebody listens");
    feed.set_read_timeout(Some(PATIENCE)).expect("a socket has timeouts");
    let request = "{\"v\":1,\"op\":\"subscribe\",\"kinds\":[\"failure\"]}\n";
    feed.write_all(request.as_bytes()).expect("it is written");
    let mut feed = BufReader::new(feed);
    assert_eq!(line(&mut feed)["control"], "hello");
    // The first look at the counters is behind it.
    assert_eq!(until(&mut feed, |line| line["control"] == "tick").len(), 1);
    assert_eq!(until(&mut feed, |line| line["control"] == "tick").len(), 1);
    (daemon, feed)
}

fn line(feed: &mut BufReader<UnixStream>) -> Value {
    let mut line = String::new();
    feed.read_line(&mut line).expect("a line comes in time");
    serde_json::from_str(&line).expect("it is JSON")
}

/// Lines up to the first for which this holds, which is the last one.
fn until(feed: &mut BufReader<UnixStream>, is_it: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut lines = Vec::new();
    loop {
        let line = line(feed);
        let done = is_it(&line);
        if done || line["event"] == "failure" {
            lines.push(line);
        }
        if done {
            return lines;
        }
    }
}

/// Failures of a reason until they are so many.
fn failures(feed: &mut BufReader<UnixStream>, reason: Reason, wanted: u64) -> Vec<Value> {
    let mut out = Vec::new();
    let mut count = 0;
    while count < wanted {
        let line = line(feed);
        if line["event"] == "failure" && line["reason"] == reason.name() {
            count += line["count"].as_u64().expect("a number");
            out.push(line);
        }
    }
    assert_eq!(count, wanted, "{out:?}");
    out
}

/// A counter of the kernel, of all CPUs.
fn counter(stage: &Solo, name: &str) -> u64 {
    let cpus = stage.node.within(|| kstat::cpus().expect("the kernel answers"));
    let values = cpus.iter().flat_map(|cpu| &cpu.values).filter(|(known, _)| *known == name);
    values.map(|(_, value)| u64::from(*value)).sum()
}

/// What the daemon's statistics say of a reason.
fn counted(daemon: &Daemon<'_>, reason: Reason) -> [u64; 3] {
    let failures = daemon.status()["failures"].clone();
    let of = &failures[reason.index()];
    assert_eq!(of["reason"], reason.name(), "{failures}");
    ["seen", "told", "counted"].map(|name| of[name].as_u64().expect("a number"))
}

/// A TCP connection whose flow the kernel has forgotten and may not pick up goes on.
fn invalid_packets() {
    sysctl("net/netfilter/nf_conntrack_tcp_loose", "0");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let to = listener.local_addr().expect("it is bound");
    let mut one = TcpStream::connect(to).expect("somebody listens");
    let (mut other, _) = listener.accept().expect("it came");
    run("conntrack", &["-D", "-p", "tcp", "--dport", &to.port().to_string()]);
    one.write_all(b"x").expect("it is written");
    other.read_exact(&mut [0]).expect("invalid packets are not dropped here");
}

#[test]
fn without_programs_the_kernels_counters_tell_and_the_sums_are_theirs() {
    let stage = Solo::new();
    let (daemon, mut feed) = node(&stage, "Report off");
    let before = counter(&stage, "invalid");
    stage.node.within(invalid_packets);
    let wanted = counter(&stage, "invalid") - before;
    assert!(wanted > 0, "the kernel calls them invalid");
    let told = failures(&mut feed, Reason::Invalid, wanted);
    assert!(told.iter().all(|line| line["certainty"] == "counter" && line["orig"].is_null()));
    assert_eq!(counted(&daemon, Reason::Invalid), [0, 0, wanted]);
    wait_until("the log tells", || daemon.log().contains("packets belong to no flow"));
    assert!(!daemon.log().contains("the kernel's counters alone"), "it was asked for");
}

#[test]
fn a_daemon_without_the_block_tells_nothing() {
    let stage = Solo::new();
    let daemon = stage.ours("a", &solo(""));
    assert!(daemon.status()["failures"].is_null());
}

/// Whether this machine goes with the test and has kprobes.
fn is_guest() -> bool {
    let guest = std::env::var_os("CTFLOW_SLOW").is_some();
    if !guest {
        println!(
            "skipped: needs kprobes and changes settings of the whole machine (cargo xtask test vm)"
        );
    }
    guest
}

#[test]
fn a_full_table_tells_who_was_refused_and_who_was_evicted() {
    if !is_guest() {
        return;
    }
    let stage = Solo::new();
    let (daemon, mut feed) = node(&stage, "EventsPerSecond 10000");
    assert!(!daemon.log().contains("cannot look at"), "{}", daemon.log());
    Requests::open(&stage.node).create(&udp_flows(0..800));
    let before = ["drop", "early_drop"].map(|name| counter(&stage, name));
    sysctl("net/netfilter/nf_conntrack_buckets", "1024");
    sysctl("net/netfilter/nf_conntrack_max", "800");
    let sent: BTreeSet<u16> = stage.node.within(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        // Who is refused is told so.
        let sends = |port| socket.send_to(b"x", SocketAddr::from(([127, 0, 0, 1], port)));
        (20_000..20_300).inspect(|port| drop(sends(*port))).collect()
    });
    sysctl("net/netfilter/nf_conntrack_max", "65536");
    let after = ["drop", "early_drop"].map(|name| counter(&stage, name));
    let [refused, evicted] = [after[0] - before[0], after[1] - before[1]];
    println!("Linux: {refused} refused, {evicted} evicted");
    assert!(evicted > 0, "chains are long enough to find somebody");
    wait_until("all are counted", || {
        let [full, gone] = [Reason::TableFull, Reason::Evicted].map(|r| counted(&daemon, r));
        full[0] + full[2] == refused && gone[0] + gone[2] == evicted
    });
    let [_, told, _] = counted(&daemon, Reason::Evicted);
    assert_eq!(told, evicted, "each victim is told");
    let mut told = [0, 0];
    let all = u64::min(refused, counted(&daemon, Reason::TableFull)[1]) + evicted;
    while told[0] + told[1] < all {
        let line = line(&mut feed);
        if line["event"] != "failure" || line["certainty"] != "exact" {
            continue;
        }
        let port = line["orig"]["dport"].as_u64().expect("they are UDP") as u16;
        if line["reason"] == "table_full" {
            assert!(sent.contains(&port), "{line}");
            told[0] += 1;
        } else {
            assert_eq!((&line["reason"], line["count"].as_u64()), (&"evicted".into(), Some(1)));
            told[1] += 1;
        }
    }
    assert!(refused == 0 || told[0] > 0, "packets are told too");
}

#[test]
fn packets_that_clash_tell_both_flows() {
    if !is_guest() {
        return;
    }
    let stage = Solo::new();
    let (daemon, mut feed) = node(&stage, "");
    stage.node.nft("table inet q { chain c { type filter hook output priority 10; udp dport 5353 queue num 7; }; }");
    let before = ["clash_resolve", "insert_failed"].map(|name| counter(&stage, name));
    let port = stage.node.within(held_and_let_go);
    let after = ["clash_resolve", "insert_failed"].map(|name| counter(&stage, name));
    let [resolved, failed] = [after[0] - before[0], after[1] - before[1]];
    println!("Linux: {resolved} resolved, {failed} failed");
    assert_eq!(resolved + failed, 1, "the second one clashes");
    let reason = if resolved == 1 { Reason::ClashResolved } else { Reason::InsertFailed };
    let told = failures(&mut feed, reason, 1);
    let (orig, by) = (&told[0]["orig"], &told[0]["by"]["orig"]);
    assert_eq!((&told[0]["certainty"], orig), (&"exact".into(), by), "{told:?}");
    assert_eq!((orig["sport"].as_u64(), orig["dport"].as_u64()), (Some(port.into()), Some(5353)));
    assert_eq!(counted(&daemon, reason), [1, 1, 0]);
}

/// Two packets of one flow that begin it at once; the port they come from.
fn held_and_let_go() -> u16 {
    let mut client = Client::open().expect("a socket");
    client.take_queue(7, 100).expect("the queue is free");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    for _ in 0..2 {
        socket.send_to(b"x", "127.0.0.1:5353").expect("it is held, not refused");
    }
    let (netlink, early) = client.into_parts();
    let mut packets: Vec<u32> = early.iter().filter_map(|bytes| number(bytes)).collect();
    let mut buffer = vec![0; 70_000];
    while packets.len() < 2 {
        let patience = Timespec { tv_sec: 60, tv_nsec: 0 };
        let got = netlink.receive(&mut buffer, Some(&patience)).expect("they come");
        packets.extend(number(&buffer[..got]));
    }
    for id in packets {
        let mut verdict = [0; 64];
        let mut writer = Writer::new(&mut verdict);
        Verdict { queue: 7, id, ..Verdict::default() }.encode(&mut writer, 0);
        let len = writer.finish().expect("there is room");
        netlink.send(&verdict[..len]).expect("it is taken");
    }
    socket.local_addr().expect("it is bound").port()
}

/// The number of the packet in a datagram of a queue.
fn number(datagram: &[u8]) -> Option<u32> {
    let raw = Messages::new(datagram).next()?.ok()?;
    PacketView::number(&raw).map(|(_, id)| id)
}
