//! The scenarios that are measured.

use crate::Figure;
use ctnetlink::flow::{Known, ProtoState, Status, TcpState};
use ctnetlink::{Flow, Tuple};
use std::fs;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tests::conf::{Conf, End, swap};
use tests::ctnetlink::{Requests, with_lifetime};
use tests::daemon::Daemon;
use tests::mesh::{Mesh, name};
use tests::netns::{Family, Namespace};
use tests::stage::Stage;
use tests::wan::{Shape, Wan};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks.
const STEP: Duration = Duration::from_millis(20);
/// Opens a second, and for how long.
const RATE: u32 = 5_000;
const SECONDS: u32 = 8;
/// Opens that come together.
const TOGETHER: u32 = 8;

/// How long it takes until `done`.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "this did not come true: {what}");
        sleep(STEP);
    }
    began.elapsed()
}

/// CPU time of all threads of a daemon, in seconds.
pub(crate) fn cpu_s(daemon: &Daemon<'_>) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).expect("it runs");
    let ns = tasks.flatten().filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    ns.sum::<u64>() as f64 / 1e9
}

/// Bytes that a node sent on its interfaces.
fn sent_bytes(node: &Namespace) -> u64 {
    let text = node.sh("ip -s -j link show");
    let links: serde_json::Value = serde_json::from_str(&text).expect("ip writes JSON");
    let links = links.as_array().expect("a list");
    let cables = links.iter().filter(|link| link["ifname"] != "lo");
    cables.filter_map(|link| link["stats64"]["tx"]["bytes"].as_u64()).sum()
}

pub(crate) fn peer(daemon: &Daemon<'_>, name: &str) -> serde_json::Value {
    let status = daemon.status();
    let peers = status["peers"].as_array().expect("a list of peers");
    peers.iter().find(|peer| peer["name"] == name).expect("it is a peer").clone()
}

/// Whether a daemon has so many flows of a peer and knows that it is all.
pub(crate) fn is_equal(daemon: &Daemon<'_>, name: &str, flows: u32) -> bool {
    let peer = peer(daemon, name);
    peer["flows"] == flows && peer["equal"] == true
}

/// UDP flows of clients all over the place: what the record before has says little of the next one.
pub(crate) fn scattered(flows: u32) -> Vec<Flow> {
    let flow = |n: u32| {
        // An odd factor gives each number another one.
        let mixed = n.wrapping_mul(0x009e_3779) & 0x00ff_ffff;
        let [_, a, b, c] = mixed.to_be_bytes();
        let (port, to) = (1_024 + (mixed.wrapping_mul(40_503) >> 8) as u16 % 60_000, n as u8);
        let tuple = Tuple::v4([100, a, b, c], [192, 0, to % 7, to], 17);
        with_lifetime(Flow::new(tuple.with_ports(port, 53)))
    };
    (0..flows).map(flow).collect()
}

pub(crate) fn sized(conf: &str) -> String {
    swap(conf, "HashLimit 262144", "HashLimit 1200000").replace("HashSize 16384", "HashSize 262144")
}

pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// One million flows over a slow path, and what two nodes cost that are equal.
pub(crate) fn wan() -> Vec<Figure> {
    const FLOWS: u32 = 1_000_000;
    let mesh = Mesh::new(2, Family::V4);
    let wan = Wan::lay(&mesh, Shape::wan(10));
    Requests::open(&mesh.nodes[0]).create(&scattered(FLOWS));
    let a = mesh.start_as(0, &sized(&Wan::conf(&mesh, 0)));
    let loaded = || a.status()["local"]["flows"].as_u64() >= Some(u64::from(FLOWS));
    // A node alone waits for its peers before it claims.
    until("A has read its kernel", loaded);
    sleep(Duration::from_secs(12));
    let b = mesh.start_as(1, &sized(&Wan::conf(&mesh, 1)));
    until("there is a session", || peer(&b, &name(0))["session"] == "up");
    let before = wan.counts[0].bytes.load(Ordering::Relaxed);
    let took = until("B has all", || peer(&b, &name(0))["flows"] == FLOWS);
    let bytes = wan.counts[0].bytes.load(Ordering::Relaxed) - before;
    let equal = took + until("B knows it", || is_equal(&b, &name(0), FLOWS));
    let [lost, full] =
        [&wan.counts[0].lost, &wan.counts[0].full].map(|n| n.load(Ordering::Relaxed));
    let again = peer(&a, &name(1))["records_sent_again"].as_u64().unwrap_or(0);
    let path = peer(&a, &name(1))["path_bytes"].as_u64().unwrap_or(0);
    let mut figures = vec![
        ("1 M flows, 20 Mbit/s, 50 ms, 1 % lost: B has all".into(), "10 s", seconds(took)),
        ("and knows it".into(), "", seconds(equal)),
        (
            format!("bytes of cable per flow (datagrams of {path} bytes)"),
            "",
            format!("{:.1}", bytes as f64 / f64::from(FLOWS)),
        ),
        (
            "lost at random; for want of room in the queue; flows told again".into(),
            "",
            format!("{lost}; {full}; {again}"),
        ),
    ];
    sleep(Duration::from_secs(5));
    let bytes = || wan.counts.iter().map(|n| n.bytes.load(Ordering::Relaxed)).sum::<u64>();
    let (bytes_before, cpu_before) = (bytes(), [cpu_s(&a), cpu_s(&b)]);
    const IDLE_S: u64 = 20;
    sleep(Duration::from_secs(IDLE_S));
    let a_minute = (bytes() - bytes_before) * 60 / IDLE_S / 2;
    let cpu = [cpu_s(&a) - cpu_before[0], cpu_s(&b) - cpu_before[1]];
    let percent = cpu.map(|s| format!("{:.2} %", s * 100.0 / IDLE_S as f64));
    figures.push((
        "1 M flows, equal and idle: bytes a minute, one direction".into(),
        "10,000",
        a_minute.to_string(),
    ));
    figures.push(("CPU of A; of B".into(), "0.2 %", percent.join("; ")));
    figures
}

/// Half a million flows between neighbours: version 2, and version 1.
pub(crate) fn bulk() -> Vec<Figure> {
    const FLOWS: u32 = 500_000;
    let mut figures = Vec::new();
    let mut note = |version: &str, goal, took: Duration, cpu: f64, memory: [f64; 2], bytes: u64| {
        let each = |total: f64| total / f64::from(FLOWS);
        figures.push((
            format!("500 k flows, {version}: from B's start until it has all"),
            goal,
            seconds(took),
        ));
        figures.push((
            format!("{version}: CPU of both per flow, bytes of cable per flow"),
            "",
            format!("{:.2} us; {:.1}", each(cpu * 1e6), each(bytes as f64)),
        ));
        figures.push((
            format!("{version}: memory per own flow; per held flow (all of the process)"),
            if version == "version 2" { "28 bytes more; none more" } else { "" },
            format!("{:.0}; {:.0} bytes", each(memory[0]), each(memory[1])),
        ));
    };
    let measure = |a: &Daemon<'_>,
                   b: &Daemon<'_>,
                   node: &Namespace,
                   began: Instant,
                   has: &dyn Fn() -> bool| {
        let before = (cpu_s(a), sent_bytes(node));
        until("B has all", has);
        let took = began.elapsed();
        let cpu = cpu_s(a) - before.0 + cpu_s(b);
        (took, cpu, [a.memory() as f64, b.memory() as f64], sent_bytes(node) - before.1)
    };
    {
        let stage = Stage::new();
        Requests::open(&stage.a).create(&scattered(FLOWS));
        let conf = |end| Conf { hash_limit: 1_200_000, ..Conf::new(end) }.protocol("FTFW");
        let a = stage.ours("a", &conf(End::A));
        until("A has read its kernel", || a.status()["local"]["flows"] == FLOWS);
        sleep(Duration::from_secs(2));
        let began = Instant::now();
        let b = stage.ours("b", &conf(End::B));
        let has = || b.status()["remote"]["flows"].as_u64() >= Some(u64::from(FLOWS));
        if !b.log().contains("asked") {
            b.ask(&["-n"]);
        }
        let (took, cpu, memory, bytes) = measure(&a, &b, &stage.a, began, &has);
        note("version 1", "", took, cpu, memory, bytes);
    }
    let mesh = Mesh::new(2, Family::V4);
    Requests::open(&mesh.nodes[0]).create(&scattered(FLOWS));
    let a = mesh.start_as(0, &sized(&mesh.conf(0, "", "")));
    until("A has read its kernel", || a.status()["local"]["flows"] == FLOWS);
    sleep(Duration::from_secs(12));
    let began = Instant::now();
    let b = mesh.start_as(1, &sized(&mesh.conf(1, "", "")));
    until("it begins", || peer(&b, &name(0))["flows"].as_u64() > Some(0));
    let begins = began.elapsed();
    let has = || peer(&b, &name(0))["flows"] == FLOWS;
    let (took, cpu, memory, bytes) = measure(&a, &b, &mesh.nodes[0], began, &has);
    note("version 2", "version 1's", took, cpu, memory, bytes);
    let again = peer(&a, &name(1))["records_sent_again"].as_u64().unwrap_or(0);
    figures.push((
        "version 2: from B's start to the first flow; flows told again".into(),
        "",
        format!("{}; {again}", seconds(begins)),
    ));
    figures
}

/// The flow with this number, as it is when so much of it was seen.
fn open(number: u32, state: u8) -> Flow {
    let [_, a, b, c] = number.to_be_bytes();
    let mut flow =
        with_lifetime(Flow::new(Tuple::v4([100, a, b, c], [2; 4], 6).with_ports(40_000, 443)));
    flow.proto = ProtoState::Tcp(TcpState { state, ..TcpState::default() });
    flow.known |= Known::TIMEOUT;
    flow.status.set(Status::SEEN_REPLY, state >= 2);
    flow.status.set(Status::ASSURED, state >= 3);
    flow
}

/// Opens at node 0, at an ordinary rate: CPU seconds of each daemon, and bytes that node 0 sent.
fn opens(mesh: &Mesh, daemons: &[Daemon<'_>]) -> (Vec<f64>, u64) {
    let flows = RATE * SECONDS;
    let mut requests = Requests::open(&mesh.nodes[0]);
    let before: Vec<f64> = daemons.iter().map(cpu_s).collect();
    let (bytes, began) = (sent_bytes(&mesh.nodes[0]), Instant::now());
    for first in (0..flows).step_by(TOGETHER as usize) {
        let due = Duration::from_secs_f64(f64::from(first) / f64::from(RATE));
        sleep(due.saturating_sub(began.elapsed()));
        let numbers = first..first + TOGETHER;
        requests.create(&numbers.clone().map(|n| open(n, 1)).collect::<Vec<_>>());
        requests.update(&numbers.clone().map(|n| open(n, 2)).collect::<Vec<_>>());
        requests.update(&numbers.map(|n| open(n, 3)).collect::<Vec<_>>());
    }
    for (at, daemon) in daemons.iter().enumerate().skip(1) {
        until(&format!("node {at} has all"), || is_equal(daemon, &name(0), flows));
    }
    let cpu = daemons.iter().zip(before).map(|(daemon, before)| cpu_s(daemon) - before);
    (cpu.collect(), sent_bytes(&mesh.nodes[0]) - bytes)
}

/// So many nodes, each with all of what the others have: nothing.
fn start(mesh: &Mesh) -> Vec<Daemon<'_>> {
    let daemons: Vec<_> = (0..mesh.nodes.len())
        .map(|node| mesh.start_with(node, "", "EventSource netlink"))
        .collect();
    for (at, daemon) in daemons.iter().enumerate() {
        let others = (0..daemons.len()).filter(|other| *other != at);
        for other in others {
            until("they meet", || is_equal(daemon, &name(other), 0));
        }
    }
    daemons
}

/// What an open costs, sealed.
pub(crate) fn paced() -> Vec<Figure> {
    let mut figures = Vec::new();
    for (family, goal) in [(Family::V4, "32"), (Family::V6, "")] {
        let mesh = Mesh::new(2, family);
        let daemons = start(&mesh);
        let (cpu, bytes) = opens(&mesh, &daemons);
        let each = |total: f64| total / f64::from(RATE * SECONDS);
        figures.push((
            format!("CPU per TCP open over {family:?}, sealed: A + B"),
            "7.5 us (hook or tap)",
            format!(
                "{:.2} us ({:.2} + {:.2})",
                each((cpu[0] + cpu[1]) * 1e6),
                each(cpu[0] * 1e6),
                each(cpu[1] * 1e6)
            ),
        ));
        figures.push((
            format!("bytes of cable per open of an IPv4 flow, over {family:?}"),
            goal,
            format!("{:.1}", each(bytes as f64)),
        ));
    }
    figures
}

/// What a further peer costs.
pub(crate) fn mesh() -> Vec<Figure> {
    let cost = |nodes: usize| {
        let mesh = Mesh::new(nodes, Family::V4);
        let daemons = start(&mesh);
        opens(&mesh, &daemons).0[0]
    };
    let (two, five) = (cost(2), cost(5));
    let each = (five - two) * 1e6 / 3.0 / f64::from(RATE * SECONDS);
    vec![(
        "CPU at A per open and further peer (5 nodes beside 2)".into(),
        "1 us",
        format!("{each:.2} us"),
    )]
}
