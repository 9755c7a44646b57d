//! What the kernel refuses, drops and evicts, reported by a real daemon: by the kernel's counters anywhere, and with
//! addresses where kprobes can be set (`cargo xtask test vm`).

use common::failure::Reason;
use ctnetlink::Flow;
use ctnetlink::flow::{Known, Status};
use host::kstat;
use serde_json::Value;
use socket2::SockRef;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::time::Duration;
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::Daemon;
use tests::netns::{run, sysctl};
use tests::solo::{Solo, solo};
use tests::wait::{wait_equal, wait_until};

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
    ["seen", "reported", "counted"].map(|name| of[name].as_u64().expect("a number"))
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
    // The end of the connection makes some more, a while later.
    let wanted = || counter(&stage, "invalid") - before;
    assert!(wanted() > 0, "the kernel calls them invalid");
    let mut told = 0;
    while told < wanted() {
        let line = line(&mut feed);
        if line["event"] == "failure" && line["reason"] == Reason::Invalid.name() {
            assert!(line["certainty"] == "counter" && line["orig"].is_null(), "{line}");
            told += line["count"].as_u64().expect("a number");
        }
    }
    assert!(told <= wanted(), "{told} are told");
    let sums = || counted(&daemon, Reason::Invalid);
    wait_equal("the sums are the kernel's", sums, || [0, 0, wanted()]);
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

/// Flows that the kernel does not evict.
fn assured(numbers: Range<u32>) -> Vec<Flow> {
    let mut flows = udp_flows(numbers);
    for flow in &mut flows {
        flow.status |= Status::SEEN_REPLY | Status::ASSURED | Status::CONFIRMED;
        flow.known |= Known::STATUS;
    }
    flows
}

/// Packets to so many ports, each of which begins a flow, or would.
fn packets_to(ports: Range<u16>) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    for port in ports {
        // A refused sender gets an error.
        let _ = socket.send_to(b"x", SocketAddr::from(([127, 0, 0, 1], port)));
    }
}

/// Settings of the whole machine as they were: tests that come later find them so, however this one ends.
struct Saved(Vec<(&'static str, String)>);

impl Saved {
    fn new() -> Self {
        let names = ["net/netfilter/nf_conntrack_buckets", "net/netfilter/nf_conntrack_max"];
        let read =
            |name| std::fs::read_to_string(format!("/proc/sys/{name}")).expect("it is there");
        Self(names.map(|name| (name, read(name).trim().to_owned())).into())
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        self.0.iter().for_each(|(name, value)| sysctl(name, value));
    }
}

/// The largest table that the kernel keeps; only the first namespace may change it.
fn room(flows: &str) {
    sysctl("net/netfilter/nf_conntrack_max", flows);
}

#[test]
fn a_full_table_tells_who_was_refused_and_who_was_evicted() {
    if !is_guest() {
        return;
    }
    let _saved = Saved::new();
    let stage = Solo::new();
    let (daemon, mut feed) = node(&stage, "EventsPerSecond 10000");
    assert!(!daemon.log().contains("cannot look at"), "{}", daemon.log());
    let counters = || ["drop", "early_drop"].map(|name| counter(&stage, name));
    let before = counters();
    // No flow can be evicted.
    let mut requests = Requests::open(&stage.node);
    requests.create(&assured(0..400));
    room("400");
    stage.node.within(|| packets_to(20_000..20_050));
    room("65536");
    let refused = counters()[0] - before[0];
    assert_eq!(refused, 50);
    // They can be evicted.
    requests.delete(&assured(0..400));
    requests.create(&udp_flows(1000..1800));
    sysctl("net/netfilter/nf_conntrack_buckets", "1024");
    room("800");
    stage.node.within(|| packets_to(21_000..21_300));
    room("65536");
    let after = counters();
    let evicted = after[1] - before[1];
    println!("Linux: {} refused, {evicted} evicted", after[0] - before[0]);
    assert!(evicted > 0, "chains are long enough to find somebody");
    let all = |reason| {
        let [seen, _, unseen] = counted(&daemon, reason);
        seen + unseen
    };
    wait_until("all are counted", || {
        all(Reason::TableFull) == after[0] - before[0] && all(Reason::Evicted) == evicted
    });
    let [full, gone] = [Reason::TableFull, Reason::Evicted].map(|r| counted(&daemon, r)[1]);
    // The balance is drawn at any time: a record that comes later than a counter was reported by that counter,
    // without addresses.
    assert!(full > 0 && gone > 0, "{full} and {gone} are told with their addresses");
    let mut told = [0, 0];
    while told != [full, gone] {
        let line = line(&mut feed);
        if line["event"] != "failure" || line["certainty"] != "exact" {
            continue;
        }
        let port = line["orig"]["dport"].as_u64().expect("they are UDP");
        let is_sent = (20_000..20_050).contains(&port) || (21_000..21_300).contains(&port);
        if line["reason"] == "table_full" {
            assert!(is_sent, "{line}");
            told[0] += 1;
        } else {
            assert_eq!((&line["reason"], line["count"].as_u64()), (&"evicted".into(), Some(1)));
            told[1] += 1;
        }
    }
}

/// Two flows in zones of the original direction, whose answers would be the same: the second one cannot be. The port
/// that they come from.
fn two_flows_with_one_answer(stage: &Solo) -> u16 {
    stage.node.nft(
        "table inet z { chain c { type filter hook output priority -300; \
         meta mark 1 ct original zone set 1; meta mark 2 ct original zone set 2; }; }",
    );
    stage.node.within(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        for mark in [1, 2] {
            SockRef::from(&socket).set_mark(mark).expect("we are root");
            // The second one is refused, with an error.
            let _ = socket.send_to(b"x", "127.0.0.1:5353");
        }
        socket.local_addr().expect("it is bound").port()
    })
}

/// What became of the second one: which counter says so differs from kernel to kernel.
fn clash(stage: &Solo) -> (Reason, u16) {
    let counters = || ["insert_failed", "clash_resolve", "drop"].map(|name| counter(stage, name));
    let before = counters();
    let port = two_flows_with_one_answer(stage);
    let after = counters();
    let grown: [u64; 3] = std::array::from_fn(|at| after[at] - before[at]);
    match grown {
        [1, 0, 1] => (Reason::InsertFailed, port),
        [0, 1, 0] => (Reason::ClashResolved, port),
        _ => panic!("the kernel counts it otherwise: {grown:?}"),
    }
}

#[test]
fn a_packet_that_clashes_is_counted_once_although_the_kernel_counts_it_twice() {
    let stage = Solo::new();
    let (daemon, mut feed) = node(&stage, "Report off");
    let (reason, _) = clash(&stage);
    assert_eq!(failures(&mut feed, reason, 1).len(), 1);
    assert_eq!(counted(&daemon, reason), [0, 0, 1]);
    assert_eq!(counted(&daemon, Reason::TableFull), [0, 0, 0]);
}

#[test]
fn a_packet_that_clashes_tells_both_flows() {
    if !is_guest() {
        return;
    }
    let stage = Solo::new();
    let (daemon, mut feed) = node(&stage, "");
    let (reason, port) = clash(&stage);
    let told = failures(&mut feed, reason, 1);
    let (orig, by) = (&told[0]["orig"], &told[0]["by"]["orig"]);
    assert_eq!((&told[0]["certainty"], orig), (&"exact".into(), by), "{told:?}");
    assert_eq!((orig["sport"].as_u64(), orig["dport"].as_u64()), (Some(port.into()), Some(5353)));
    assert_eq!(told[0]["zone"], 2);
    wait_until("it is counted", || counted(&daemon, reason) == [1, 1, 0]);
}
