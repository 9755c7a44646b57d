//! The feed of a real daemon: real traffic, real translation, clients that read, and clients that do not.

use crate::ops::said;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::{Brand, Daemon};
use tests::netns::nft;
use tests::solo::{Solo, solo};
use tests::wait::{wait_equal, wait_until};

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn conf(subscribe: &str) -> String {
    solo("") + &format!("Subscribe {{\n Path @.feed\n {subscribe}\n}}\n")
}

/// A daemon that has read the kernel's table.
fn ready<'a>(stage: &'a Solo, subscribe: &str) -> Daemon<'a> {
    let daemon = stage.ours("a", &conf(subscribe));
    wait_until("it has read the table", || daemon.status()["work"]["state"] == "exact");
    daemon
}

/// A client that speaks the protocol itself.
struct Client(BufReader<UnixStream>);

impl Client {
    fn connect(path: PathBuf, request: &Value) -> Self {
        let mut stream = UnixStream::connect(path).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has timeouts");
        stream.write_all(format!("{request}\n").as_bytes()).expect("it is written");
        Self(BufReader::new(stream))
    }

    /// The next line; `Null` at the end.
    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line comes in time");
        if line.is_empty() { Value::Null } else { serde_json::from_str(&line).expect("it is JSON") }
    }

    /// Lines up to the first with this control word, which is the last one.
    fn until(&mut self, control: &str) -> Vec<Value> {
        let mut lines = Vec::new();
        loop {
            let line = self.next();
            assert!(!line.is_null(), "no `{control}` comes: {lines:?}");
            let is_it = line["control"] == control;
            lines.push(line);
            if is_it {
                return lines;
            }
        }
    }

    fn say(&mut self, value: &Value) {
        self.0.get_mut().write_all(format!("{value}\n").as_bytes()).expect("it is written");
    }
}

/// Counts of records by kind, and the flows that they leave.
#[derive(Debug, Default)]
struct Mirror {
    received: BTreeMap<String, u64>,
    lost: BTreeMap<String, u64>,
    flows: BTreeSet<String>,
}

impl Mirror {
    fn take(&mut self, line: &Value) {
        if line["control"] == "gap" {
            for (kind, count) in line["lost"].as_object().expect("it has kinds") {
                *self.lost.entry(kind.clone()).or_default() += count.as_u64().expect("a number");
            }
        }
        if line["control"] == "snapshot" || line["state"] == "cleared" {
            self.flows.clear();
        }
        let Some(event) = line["event"].as_str() else {
            return;
        };
        *self.received.entry(event.to_owned()).or_default() += 1;
        let key = json!([line["orig"], line["zone"]]).to_string();
        if event == "destroy" {
            self.flows.remove(&key);
        } else {
            self.flows.insert(key);
        }
    }

    fn accounted(&self, kind: &str) -> u64 {
        let of = |counts: &BTreeMap<String, u64>| counts.get(kind).copied().unwrap_or(0);
        of(&self.received) + of(&self.lost)
    }
}

/// Runs `ctflow subscribe`: exit code, standard output, standard error.
fn subscribe(stage: &Solo, words: &str) -> (i32, String, String) {
    let mut command = Command::new(Brand::Ours.program().with_file_name("ctflow"));
    command.arg("subscribe").args(words.split_whitespace()).stdin(Stdio::null());
    said(&stage.node.within(|| command.output().expect("the program can be started")))
}

/// `ctflow subscribe` that runs while something happens: its output.
fn meanwhile(stage: &Solo, daemon: &Daemon<'_>, words: &str, what: impl FnOnce()) -> String {
    wait_until("nobody listens", || daemon.status()["feed"]["clients"] == 0);
    let mut command = Command::new(Brand::Ours.program().with_file_name("ctflow"));
    command.arg("subscribe").args(words.split_whitespace()).arg("-C").arg(daemon.path("conf"));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let child = stage.node.within(|| command.spawn().expect("the program can be started"));
    wait_until("it listens", || daemon.status()["feed"]["channels"] == 1);
    what();
    let output = child.wait_with_output().expect("it is our child");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("it is text")
}

#[test]
fn subscribers_hear_what_translated_traffic_does() {
    let stage = Solo::new();
    stage.node.within(|| {
        tests::netns::run("ip", &["link", "set", "lo", "up"]);
        nft("add table ip nat
             add chain ip nat out { type nat hook output priority -100; }
             add rule ip nat out udp dport 5300 redirect to :5301");
    });
    let daemon = ready(&stage, "");
    let text = meanwhile(&stage, &daemon, "--count 2 dnat and udp dst port 5300", || {
        stage.node.within(|| {
            let server = UdpSocket::bind("127.0.0.1:5301").expect("a socket");
            let client = UdpSocket::bind("127.0.0.1:4000").expect("a socket");
            client.send_to(b"a", "127.0.0.1:5300").expect("it is sent");
            let (_, from) = server.recv_from(&mut [0; 8]).expect("it is translated");
            server.send_to(b"b", from).expect("it is answered");
        });
        // Another flow, which the filter leaves out.
        Requests::open(&stage.node).create(&udp_flows(0..1));
        stage.node.sh("conntrack -D -p udp --orig-port-dst 5300");
    });
    let lines: Vec<_> = text.lines().collect();
    let ends = "src=127.0.0.1 dst=127.0.0.1 sport=4000 dport=5300";
    assert!(lines[0].starts_with("    [NEW] udp      17 ") && lines[0].contains(ends), "{text}");
    assert!(
        lines[0].contains("[UNREPLIED]") && lines[0].contains("sport=5301 dport=4000"),
        "{text}"
    );
    assert!(lines[1].starts_with(" [UPDATE] udp      17 ") && lines[1].contains(ends), "{text}");
    assert_eq!(lines.len(), 2, "{text}");
    // A snapshot and what follows it, as JSON.
    let words = "--count 2 -o json --snapshot --events destroy udp src net 100.0.0.0/8";
    let json = meanwhile(&stage, &daemon, words, || {
        Requests::open(&stage.node).delete(&udp_flows(0..1));
    });
    let values: Vec<Value> =
        json.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
    assert_eq!(values[0]["control"], "hello", "{json}");
    let events: Vec<_> = values.iter().filter(|v| !v["event"].is_null()).collect();
    assert_eq!((&events[0]["event"], &events[1]["event"]), (&"have".into(), &"destroy".into()));
    assert_eq!(events[0]["orig"], events[1]["orig"]);
    assert_eq!(events[0]["orig"]["src"], "100.0.0.0", "{json}");
}

/// One of sixteen reads nothing for a while. Each round brings less than fits into the queue of one that reads.
#[test]
fn a_slow_client_is_told_exactly_what_it_lost_and_the_others_lose_nothing() {
    const FLOWS: u32 = 5_000;
    const ROUNDS: u32 = 4;
    let stage = Solo::new();
    let daemon = ready(&stage, "QueueSize 16777216\n MemoryMax 1073741824");
    let kernel_listeners = || {
        stage
            .node
            .within(|| std::fs::read_to_string("/proc/net/netlink"))
            .map(|t| t.lines().count())
            .ok()
    };
    let before = kernel_listeners();
    let path = || daemon.path("feed");
    let request = json!({"v": 1, "op": "subscribe", "on_gap": "tell"});
    let mut slow = Client::connect(path(), &request);
    assert_eq!(slow.next()["control"], "hello");
    let all = u64::from(FLOWS * ROUNDS);
    let read: Arc<Vec<AtomicU64>> = Arc::new((0..15).map(|_| AtomicU64::new(0)).collect());
    let readers: Vec<_> = (0..15)
        .map(|at| {
            let (path, request, read) = (path(), request.clone(), Arc::clone(&read));
            thread::spawn(move || {
                let mut client = Client::connect(path, &request);
                let mut mirror = Mirror::default();
                while ["new", "update", "destroy"].iter().any(|kind| mirror.accounted(kind) < all) {
                    mirror.take(&client.next());
                    read[at].store(mirror.received.values().sum(), SeqCst);
                }
                mirror
            })
        })
        .collect();
    wait_until("all are there", || daemon.status()["feed"]["clients"] == 16);
    wait_until("all want the same", || daemon.status()["feed"]["channels"] == 1);
    assert_eq!(kernel_listeners(), before, "one subscription to the kernel, however many clients");
    let mut requests = Requests::open(&stage.node);
    for round in 0..ROUNDS {
        let flows = udp_flows(round * FLOWS..(round + 1) * FLOWS);
        requests.create(&flows);
        requests.update(&flows);
        requests.delete(&flows);
        let so_far = u64::from(FLOWS * 3 * (round + 1));
        wait_until("all have read", || read.iter().all(|read| read.load(SeqCst) >= so_far));
    }
    for reader in readers {
        let mirror = reader.join().expect("it read to the end");
        assert!(mirror.lost.is_empty() && mirror.flows.is_empty(), "{mirror:?}");
    }
    let feed = daemon.status()["feed"].clone();
    for kind in ["new", "update", "destroy"] {
        assert_eq!(feed[kind], all, "{feed}");
    }
    assert!(feed["lost_client"].as_u64() > Some(0) && feed["lost_lane"] == 0, "{feed}");
    // The client reads on: its records and the reported losses are all there was.
    let mut mirror = Mirror::default();
    while ["new", "update", "destroy"].iter().any(|kind| mirror.accounted(kind) < all) {
        mirror.take(&slow.next());
    }
    for kind in ["new", "update", "destroy"] {
        assert_eq!(mirror.accounted(kind), all, "{kind}: {mirror:?}");
    }
    assert!(mirror.lost.values().sum::<u64>() > 0);
    requests.create(&udp_flows(0..300));
    wait_equal("it knows them", || daemon.internal().len(), || 300);
    slow.say(&json!({"op": "resync"}));
    slow.until("snapshot").iter().for_each(|line| mirror.take(line));
    slow.until("live").iter().for_each(|line| mirror.take(line));
    assert_eq!(mirror.flows.len(), 300);
}

/// Sixteen that read nothing: what waits for them is bounded, and so is the daemon.
#[test]
fn clients_that_read_nothing_cost_bounded_memory() {
    let stage = Solo::new();
    let daemon = ready(&stage, "QueueSize 65536\n MemoryMax 1048576");
    let resident_kib = || {
        let text = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let mut requests = Requests::open(&stage.node);
    let mut churn = || {
        let flows = udp_flows(0..20_000);
        requests.create(&flows);
        requests.delete(&flows);
    };
    churn();
    wait_until("all is over", || daemon.internal().is_empty());
    let before = resident_kib();
    let mut client = |at: usize| {
        // Each has a filter of its own, so that nothing is shared.
        let filter = format!("udp and not src port {}", 2000 + at);
        Client::connect(daemon.path("feed"), &json!({"op": "subscribe", "filter": filter}))
    };
    let mut clients: Vec<_> = (0..16).map(&mut client).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.next()["control"], "hello"));
    let refused = client(16).next();
    assert_eq!((&refused["control"], &refused["code"]), (&"error".into(), &"full".into()));
    for _ in 0..3 {
        churn();
    }
    wait_until("they lose", || daemon.status()["feed"]["lost_client"].as_u64() > Some(100_000));
    let feed = daemon.status()["feed"].clone();
    // A chunk beyond the limit for each who has read all, and the chunks that are being filled.
    assert!(feed["queue_bytes"].as_u64() < Some((1 << 20) + 32 * 17_000), "{feed}");
    assert_eq!(feed["clients_refused"], 1, "{feed}");
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB more");
    drop(clients);
    wait_until("they are gone", || daemon.status()["feed"]["clients"] == 0);
    wait_until("nothing waits for them", || daemon.status()["feed"]["queue_bytes"] == 0);
}

#[test]
fn clients_stay_through_a_reload_and_are_told_of_another_engine_and_of_the_end() {
    let stage = Solo::new();
    let mut daemon = ready(&stage, "");
    let mut requests = Requests::open(&stage.node);
    requests.create(&udp_flows(0..10));
    let request = json!({"op": "subscribe", "snapshot": true});
    let mut client = Client::connect(daemon.path("feed"), &request);
    let hello = client.next();
    let mut mirror = Mirror::default();
    client.until("live").iter().for_each(|line| mirror.take(line));
    wait_equal("the table", || daemon.internal().len(), || 10);
    assert_eq!((mirror.flows.len(), &hello["state"]), (10, &"exact".into()));
    let reload = |conf: String| {
        stage.write("a", &conf);
        stage.node.sh(&format!("kill -HUP {}", daemon.pid()));
    };
    // What changes live does not concern it.
    reload(conf("").replace("HashLimit", "EventIterationLimit 77\n HashLimit"));
    daemon.wait_to_say("the configuration was read again");
    requests.create(&udp_flows(10..11));
    while mirror.flows.len() < 11 {
        mirror.take(&client.next());
    }
    // Another engine, whose table is sent from the start.
    reload(conf("").replace("HashLimit 262144", "HashLimit 262143"));
    let lines = client.until("live");
    assert!(lines.iter().any(|line| line["state"] == "cleared"), "{lines:?}");
    lines.iter().for_each(|line| mirror.take(line));
    requests.create(&udp_flows(11..12));
    while mirror.flows.len() < 12 {
        mirror.take(&client.next());
    }
    // The daemon goes, and another one comes.
    stage.node.sh(&format!("kill {}", daemon.pid()));
    client.until("bye");
    assert!(client.next().is_null());
    daemon.restart_with(&conf(""));
    wait_until("it has read the table", || daemon.status()["work"]["state"] == "exact");
    let mut client = Client::connect(daemon.path("feed"), &request);
    assert_ne!(client.next()["epoch"], hello["epoch"]);
    let mut mirror = Mirror::default();
    client.until("live").iter().for_each(|line| mirror.take(line));
    assert_eq!(mirror.flows.len(), 12);
}

#[test]
fn what_cannot_be_subscribed_to_is_explained() {
    let stage = Solo::new();
    let without = stage.write("none", &solo(""));
    let (code, _, err) = subscribe(&stage, &format!("-C {without}"));
    assert!(code == 2 && err.contains("add `Subscribe { }` and reload it"), "{err}");
    let path = stage.write("a", &conf(""));
    let (code, _, err) = subscribe(&stage, &format!("-C {path}"));
    assert!(code == 2 && err.contains("is conntrackd running"), "{err}");
    let (code, _, err) = subscribe(&stage, &format!("-C {path} tcp dst prot 80"));
    assert!(code == 2 && err.contains("prot"), "{err}");
    let (code, _, err) = subscribe(&stage, &format!("-C {path} bytes > 5"));
    assert!(code == 2 && err.contains("changes do not tell it"), "{err}");
    let daemon = ready(&stage, "Mode 0600");
    let feed = daemon.path("feed");
    assert_eq!(std::fs::metadata(&feed).unwrap().permissions().mode() & 0o777, 0o600);
    // Every user may pass through the directory, but no other user may connect.
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(feed.parent().unwrap(), mode).unwrap();
    // Other users may not run programs in root's home; this copy they may run.
    let program = feed.with_file_name("ctflow");
    std::fs::copy(Brand::Ours.program().with_file_name("ctflow"), &program).unwrap();
    let mut command = Command::new(&program);
    command.args(["subscribe", "--socket"]).arg(&feed).stdin(Stdio::null()).uid(65534).gid(65534);
    let (code, _, err) = said(&stage.node.within(|| command.output().expect("it can be started")));
    assert!(code == 2 && err.contains("you are not in the group"), "{err}");
    // Questions, and what is not understood.
    let mut client = Client::connect(feed.clone(), &json!({"op": "ready"}));
    assert_eq!(client.next()["ready"], "ready");
    client.say(&json!({"op": "status"}));
    assert_eq!(client.next()["status"]["feed"]["clients"], 1);
    let mut client =
        Client::connect(feed.clone(), &json!({"op": "subscribe", "filter": "tcp prot"}));
    assert_eq!(client.next()["code"], "filter");
    assert!(client.next().is_null());
    let mut client = Client::connect(feed, &json!("x".repeat(5000)));
    assert_eq!(client.next()["code"], "request");
    assert_eq!(daemon.status()["feed"]["requests_misunderstood"], 1);
    let wrong = stage.write("wrong", &conf("Group nosuchgroup"));
    let mut command = Command::new(Brand::Ours.program());
    command.args(["--check", "-C", &wrong]);
    let (code, out, err) =
        said(&stage.node.within(|| command.output().expect("it can be started")));
    assert!(
        code != 0 && format!("{out}{err}").contains("there is no group `nosuchgroup`"),
        "{out}{err}"
    );
    let wrong = stage.write("wrong", &conf("Mode 0999"));
    let mut command = Command::new(Brand::Ours.program());
    command.args(["--check", "-C", &wrong]);
    let (code, out, err) =
        said(&stage.node.within(|| command.output().expect("it can be started")));
    assert!(code != 0 && format!("{out}{err}").contains("expected octal digits"), "{out}{err}");
}

#[test]
fn one_flow_is_asked_for_at_any_time_by_who_has_subscribed_and_who_has_not() {
    let stage = Solo::new();
    let daemon = ready(&stage, "");
    Requests::open(&stage.node).create(&udp_flows(0..20));
    wait_equal("they are known", || daemon.internal().len(), || 20);
    let mut client = Client::connect(
        daemon.path("feed"),
        &json!({"v": 1, "op": "subscribe", "snapshot": true, "format": "json"}),
    );
    let rows = client.until("live");
    let row = rows.iter().find(|row| row["orig"]["src"] == "100.0.0.7").expect("it is there");
    client.say(&json!({"op": "get", "flow": row}));
    let answer = client.until("flow").pop().expect("an answer");
    assert_eq!((&answer["flow"]["orig"], &answer["flow"]["reply"]), (&row["orig"], &row["reply"]));
    assert!(answer["known_s"].is_u64(), "{answer}");
    // The flow has ended; and the record of its end is sent, too.
    Requests::open(&stage.node).delete(&udp_flows(7..8));
    wait_equal("it has ended", || daemon.internal().len(), || 19);
    let get = json!({"op": "get", "flow": {"protonum": 17, "orig": row["orig"]}});
    let mut other = Client::connect(daemon.path("feed"), &get);
    assert_eq!(other.next(), json!({"v": 1, "control": "flow", "flow": null, "known_s": null}));
    other.say(&json!({"op": "get", "flow": {"protonum": 17}}));
    assert_eq!(other.next()["code"], "request");
    other.say(&json!({"op": "get", "table": "remote", "flow": row}));
    assert!(other.next()["flow"].is_null(), "this node has no peer");
}
