//! What the kernel refuses, drops and evicts, reported by a real daemon: by the kernel's counters anywhere, and with
//! addresses where kprobes can be set (`cargo xtask test vm`).

use common::failure::Reason;
use ctnetlink::flow::{Known, Status};
use ctnetlink::{Flow, Messages, Writer};
use host::kstat;
use host::nfnetlink::Client;
use serde_json::Value;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::collections::BTreeSet;
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
use wire::queue::{PacketView, Verdict};

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);
const TRACK: &str =
    "table inet t { chain c { type filter hook output priority 0; ct state new accept; }; }";

/// A daemon that reports failures, on a node that tracks, and a reader of its feed.
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
    // These flows can be evicted.
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

/// The counters of packets that race.
const RACING: [&str; 3] = ["insert_failed", "clash_resolve", "drop"];
/// So many packets of one flow wait at once.
const RACERS: u64 = 10;
/// A queue of the namespace's own, so no other process has it.
const QUEUE: u16 = 7;

/// The request that has [`QUEUE`] show the first bytes of packets (`NFQNL_MSG_CONFIG` with `NFQA_CFG_PARAMS`,
/// `include/uapi/linux/netfilter/nfnetlink_queue.h`).
fn show_packets() -> [u8; 32] {
    let mut request = [0; 32];
    request[..4].copy_from_slice(&32_u32.to_ne_bytes());
    request[4..6].copy_from_slice(&0x0302_u16.to_ne_bytes());
    // A request with an acknowledgement.
    request[6] = 5;
    request[18..20].copy_from_slice(&QUEUE.to_be_bytes());
    request[20..22].copy_from_slice(&9_u16.to_ne_bytes());
    request[22..24].copy_from_slice(&2_u16.to_ne_bytes());
    request[24..28].copy_from_slice(&64_u32.to_be_bytes());
    // `NFQNL_COPY_PACKET`.
    request[28] = 2;
    request
}

/// Packets of one flow that all begin it: they wait behind the place where a flow is made and before the one where it
/// gets into the table, until all are there. How [`RACING`] grew.
fn race(stage: &Solo, rule: &str, send: impl Fn() + Sync) -> [u64; 3] {
    let queue = |what: &str| {
        let rule = format!("-t mangle {what} POSTROUTING {rule} -j NFQUEUE --queue-num {QUEUE}");
        let words: Vec<_> = rule.split_whitespace().collect();
        stage.node.within(|| run("iptables", &words));
    };
    queue("-A");
    let counters = || RACING.map(|name| counter(stage, name));
    let before = counters();
    stage.node.within(|| {
        let mut client = Client::open().expect("a socket");
        let taken = client.take_queue(QUEUE, 1024);
        let (socket, mut datagrams) = client.into_parts();
        if let Err(error) = taken {
            // This kernel shows no flows with packets; the test does not need them here.
            assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP), "{error}");
            socket.send(&show_packets()).expect("it is asked");
            socket.receive(&mut [0; 64], None).expect("it answers");
        }
        (0..RACERS).for_each(|_| send());
        let mut buffer = vec![0; 1 << 16];
        while datagrams.len() < RACERS as usize {
            let len = socket.receive(&mut buffer, None).expect("they wait");
            datagrams.push(buffer[..len].to_vec());
        }
        for datagram in &datagrams {
            let raw = Messages::new(datagram).next().expect("a message").expect("whole");
            let (queue, id) = PacketView::number(&raw).expect("a packet");
            let mut verdict = [0; 64];
            let mut writer = Writer::new(&mut verdict);
            Verdict { queue, id, ..Verdict::default() }.encode(&mut writer, 0);
            let len = writer.finish().expect("there is room");
            socket.send(&verdict[..len]).expect("it passes");
        }
    });
    queue("-D");
    let after = counters();
    std::array::from_fn(|at| after[at] - before[at])
}

/// Datagrams race for one flow, echo requests for another; for each reason the daemon reports as many as the kernel
/// counts.
fn racing_packets_are_told() {
    let stage = Solo::new();
    let (daemon, _feed) = node(&stage, "Report off");
    let socket = stage.node.within(|| UdpSocket::bind("127.0.0.1:0").expect("a port is free"));
    let datagram = || drop(socket.send_to(b"x", "127.0.0.1:5354"));
    let resolved = race(&stage, "-p udp --dport 5354", datagram);
    assert_eq!(resolved, [0, RACERS - 1, 0], "all get through, on the first one's flow");
    let raw = stage.node.within(|| {
        Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).expect("we are root")
    });
    // An echo request with its checksum, number 0x1234.
    let echo = [8, 0, 0xe5, 0xca, 0x12, 0x34, 0, 1];
    let to = SocketAddr::from(([127, 0, 0, 1], 0)).into();
    let failed = race(&stage, "-p icmp --icmp-type echo-request", || {
        raw.send_to(&echo, &to).expect("it is sent");
    });
    assert_eq!(failed, [RACERS - 1, 0, RACERS - 1], "what may not clash is dropped");
    let all = |reason| {
        let [seen, _, unseen] = counted(&daemon, reason);
        seen + unseen
    };
    let sums = || [Reason::ClashResolved, Reason::InsertFailed, Reason::TableFull].map(all);
    wait_equal("the sums are the kernel's", sums, || [RACERS - 1, RACERS - 1, 0]);
}

/// Skipped in a guest: its `iptables` knows no queues.
#[test]
fn packets_that_race_for_a_flow_are_told_as_the_kernel_counts_them() {
    if std::env::var_os("CTFLOW_SLOW").is_none() {
        racing_packets_are_told();
    }
}

/// Segments that begin and end a connection at once.
fn nonsense(ports: Range<u16>) {
    let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP)).expect("we are root");
    for port in ports {
        let mut segment = [0_u8; 20];
        segment[..2].copy_from_slice(&4321_u16.to_be_bytes());
        segment[2..4].copy_from_slice(&port.to_be_bytes());
        // A header of 20 bytes, SYN and FIN.
        (segment[12], segment[13]) = (0x50, 0x03);
        let to = SocketAddr::from(([127, 0, 0, 1], port)).into();
        raw.send_to(&segment, &to).expect("it is sent");
    }
}

#[test]
fn invalid_packets_are_seen_where_the_kernel_shows_them_and_counted_where_not() {
    if !is_guest() {
        return;
    }
    let stage = Solo::new();
    let (daemon, mut feed) = node(&stage, "EventsPerSecond 10000");
    let before = counter(&stage, "invalid");
    stage.node.within(|| nonsense(22_000..22_020));
    stage.node.within(invalid_packets);
    let wanted = || counter(&stage, "invalid") - before;
    assert!(wanted() > 20, "the kernel calls them invalid");
    let sums = || {
        let [seen, _, unseen] = counted(&daemon, Reason::Invalid);
        seen + unseen
    };
    wait_equal("the sums are the kernel's", sums, wanted);
    let [seen, told, unseen] = counted(&daemon, Reason::Invalid);
    println!("Linux: {} invalid: {seen} seen, {unseen} by the counter alone", wanted());
    assert!(seen >= 20 && told >= 20, "{seen} and {told}");
    let mut ports = BTreeSet::new();
    while ports.len() < 20 {
        let line = line(&mut feed);
        if line["reason"] != Reason::Invalid.name() || line["certainty"] != "exact" {
            continue;
        }
        let port = line["orig"]["dport"].as_u64().expect("they are TCP");
        if (22_000..22_020).contains(&port) {
            assert_eq!(line["orig"]["sport"], 4321, "{line}");
            ports.insert(port);
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
