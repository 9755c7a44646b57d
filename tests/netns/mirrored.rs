//! `ctflow top` that follows a daemon's feed: its table beside the daemon's, through losses, restarts and too many flows.

use crate::top::{Nat, Tmux, numbers, objects, program, rates_are_what_was_gained, top};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use tests::conf::{Conf, End};
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::{Brand, Daemon};
use tests::netns::Namespace;
use tests::solo::{Solo, solo};
use tests::stage::Stage;
use tests::wait::{wait_equal, wait_for, wait_until};

fn conf(general: &str, subscribe: &str) -> String {
    solo(general) + &format!("Subscribe {{\n Path @.feed\n Mode 0666\n {subscribe}\n}}\n")
}

/// A daemon that has read the kernel's table.
fn ready<'a>(stage: &'a Solo, conf: &str) -> Daemon<'a> {
    let daemon = stage.ours("a", conf);
    wait_until("it has read the table", || daemon.status()["work"]["state"] == "exact");
    daemon
}

/// Flows of a list, without what changes with every look.
fn flows(list: &[Value]) -> BTreeSet<String> {
    const VOLATILE: [&str; 5] = ["timeout", "in_bps", "out_bps", "age_s", "start_ns"];
    let settled = |flow: &Value| {
        let mut flow = flow.clone();
        let object = flow.as_object_mut().expect("a flow is an object");
        VOLATILE.iter().for_each(|name| drop(object.remove(*name)));
        for way in ["orig", "reply"] {
            if let Some(way) = object.get_mut(way).and_then(Value::as_object_mut) {
                ["packets", "bytes"].iter().for_each(|name| drop(way.remove(*name)));
            }
        }
        flow.to_string()
    };
    list.iter().map(settled).collect()
}

/// Flows of a picture.
fn pictured(picture: &Value) -> BTreeSet<String> {
    flows(picture["flows"].as_array().expect("a picture has flows"))
}

/// Flows of the daemon's table, as `ctflow list` shows them.
fn held(daemon: &Daemon<'_>) -> BTreeSet<String> {
    let output = daemon.ask_into("ctflow", &["list", "-o", "json"], Stdio::piped());
    let text = String::from_utf8(output.stdout).expect("it is text");
    let list: Vec<Value> = serde_json::from_str(&text).expect("it is a list");
    flows(&list)
}

/// `ctflow top` that goes on, and all its pictures.
struct Running {
    child: Child,
    pictures: Arc<Mutex<Vec<Value>>>,
}

impl Running {
    fn start(node: &Namespace, words: &str, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(program());
        command.args(["top", "-o", "json", "-d", "0.2", "-n", "1000", "--count", "1000000"]);
        command.args(words.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::piped());
        change(&mut command);
        let mut child = node.within(|| command.spawn().expect("the program can be started"));
        let out = BufReader::new(child.stdout.take().expect("it has a pipe"));
        let pictures = Arc::<Mutex<Vec<Value>>>::default();
        let taken = Arc::clone(&pictures);
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let picture = serde_json::from_str(&line).expect("an object a line");
                taken.lock().expect("nobody panics").push(picture);
            }
        });
        Self { child, pictures }
    }

    fn last(&self) -> Value {
        self.pictures.lock().expect("nobody panics").last().cloned().unwrap_or_default()
    }

    /// Waits for a picture that is like this.
    fn wait_for(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        wait_for(&format!("a picture that {what}"), || Some(self.last()).filter(|last| is_so(last)))
    }

    /// Waits until it follows the daemon, and shows what the daemon's table holds.
    fn wait_to_show(&self, daemon: &Daemon<'_>) {
        self.wait_for("follows", is_mirror);
        wait_equal("the mirror", || pictured(&self.last()), || held(daemon));
        wait_equal("the mirror", || pictured(&self.last()).len(), || daemon.internal().len());
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    /// How many flows began in all its pictures, and how many ended.
    fn churn(&self) -> [u64; 2] {
        let pictures = self.pictures.lock().expect("nobody panics");
        let of = |picture: &Value, name: &str| {
            let per_second = picture["totals"][name].as_f64();
            per_second.zip(picture["interval_s"].as_f64()).map_or(0.0, |(n, s)| (n * s).round())
        };
        let sum = |name| pictures.iter().map(|picture| of(picture, name)).sum::<f64>() as u64;
        [sum("new_per_s"), sum("ended_per_s")]
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_mirror(picture: &Value) -> bool {
    picture["mode"] == "mirror" && picture["lapse"].is_null()
}

fn walks(picture: &Value, why: &str) -> bool {
    picture["mode"] == "walk" && picture["lapse"].as_str().is_some_and(|text| text.contains(why))
}

fn config(daemon: &Daemon<'_>) -> String {
    format!("-C {}", daemon.path("conf").display())
}

#[test]
fn the_mirror_is_the_daemons_table_and_another_daemons_after_it() {
    ["", "Shards 2"].into_iter().for_each(follows_one_daemon_and_the_next);
}

fn follows_one_daemon_and_the_next(general: &str) {
    let stage = Solo::new();
    let mut requests = Requests::open(&stage.node);
    requests.create(&udp_flows(0..200));
    let mut daemon = ready(&stage, &conf(general, ""));
    let running = Running::start(&stage.node, &config(&daemon), |_| {});
    running.wait_to_show(&daemon);
    let picture = running.wait_for("is exact", |picture| picture["exact"] == true);
    assert_eq!((&picture["source"], &picture["totals"]["flows"]), (&"daemon".into(), &200.into()));
    // What begins, changes and ends is seen.
    requests.create(&udp_flows(200..300));
    requests.delete(&udp_flows(0..50));
    let mut marked = udp_flows(60..61);
    (marked[0].mark, marked[0].known) = (7, ctnetlink::flow::Known::MARK);
    requests.update(&marked);
    wait_equal("the daemon knows", || daemon.internal().len(), || 250);
    running.wait_to_show(&daemon);
    wait_until("all that began and ended is counted", || running.churn() == [100, 50]);
    let marks = objects(&stage.node, &format!("--once mark 7 {}", config(&daemon))).remove(0);
    assert_eq!((&marks["mode"], &marks["listed"]), (&"mirror".into(), &1.into()));
    // The daemon goes: the kernel is walked over.
    daemon.kill_hard();
    let picture = running.wait_for("says so", |picture| walks(picture, "closed the feed"));
    assert_eq!((&picture["source"], &picture["daemon"]), (&"kernel".into(), &"none".into()));
    assert_eq!(picture["totals"]["flows"], 250);
    requests.create(&udp_flows(300..310));
    // Another one comes.
    daemon.restart_with(&conf(general, ""));
    wait_until("it has read the table", || daemon.status()["work"]["state"] == "exact");
    running.wait_to_show(&daemon);
    assert_eq!(running.last()["totals"]["flows"], 260);
    requests.delete(&udp_flows(100..150));
    wait_equal("the daemon knows", || daemon.internal().len(), || 210);
    running.wait_to_show(&daemon);
}

#[test]
fn a_table_with_too_many_flows_is_walked_over_until_it_has_fewer() {
    let stage = Solo::new();
    let mut requests = Requests::open(&stage.node);
    requests.create(&udp_flows(0..300));
    let daemon = ready(&stage, &conf("", ""));
    let more = format!("--max-flows 200 {}", config(&daemon));
    let once = objects(&stage.node, &format!("--once {more}")).remove(0);
    assert!(walks(&once, "more than 200 flows (--max-flows)"), "{once}");
    assert_eq!((&once["left_out"], &once["totals"]["flows"]), (&100.into(), &300.into()));
    let running = Running::start(&stage.node, &more, |_| {});
    running.wait_for("walks", |picture| walks(picture, "more than 200 flows"));
    requests.delete(&udp_flows(0..150));
    running.wait_to_show(&daemon);
    // The mirror had room at the beginning, and has none later.
    requests.create(&udp_flows(0..100));
    let picture = running.wait_for("walks", |picture| walks(picture, "more than 200 flows"));
    assert_eq!(picture["mode"], "walk");
    running.wait_for("has them all", |picture| picture["totals"]["flows"] == 250);
}

#[test]
fn one_that_was_stopped_takes_a_new_snapshot_and_counts_what_it_lost() {
    const FLOWS: u32 = 30_000;
    let stage = Solo::new();
    let mut requests = Requests::open(&stage.node);
    requests.create(&udp_flows(0..300));
    let daemon = ready(&stage, &conf("", "QueueSize 65536"));
    let running = Running::start(&stage.node, &config(&daemon), |_| {});
    running.wait_to_show(&daemon);
    running.signal(rustix::process::Signal::STOP);
    requests.create(&udp_flows(300..300 + FLOWS));
    requests.delete(&udp_flows(200..300 + FLOWS));
    wait_equal("the daemon knows", || daemon.internal().len(), || 200);
    wait_until("it loses", || daemon.status()["feed"]["lost_client"].as_u64() > Some(0));
    running.signal(rustix::process::Signal::CONT);
    let all = [u64::from(FLOWS), u64::from(FLOWS) + 100];
    wait_equal("all that began and ended is counted", || running.churn(), || all);
    running.wait_to_show(&daemon);
    assert_eq!(running.last()["exact"], true);
}

#[test]
fn the_kernels_counters_are_read_beside_the_mirror() {
    let nat = Nat::new();
    let daemon = ready(&nat.router, &conf("", ""));
    let over = AtomicBool::new(false);
    let pictures = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Relaxed) {
                nat.talk(2);
            }
        });
        wait_until("the daemon knows", || daemon.internal().len() == 1);
        let pictures = objects(&nat.router.node, &format!("--count 3 {}", config(&daemon)));
        over.store(true, Relaxed);
        pictures
    });
    for pair in pictures.windows(2) {
        assert!(is_mirror(&pair[1]), "{pair:#?}");
        rates_are_what_was_gained(pair, "rated_s");
    }
    // The counters have stopped: the numbers are those of `conntrack -L`.
    let words = format!("--once bytes > 0 and age >= 0s {}", config(&daemon));
    let picture = objects(&nat.router.node, &words).remove(0);
    let flow = &picture["flows"][0];
    for (word, name) in [("bytes=", "bytes"), ("packets=", "packets")] {
        assert_eq!(numbers(flow, name), nat.listed(word), "{picture}");
    }
    assert!(flow["age_s"].is_u64() && flow["timeout"].is_u64(), "{flow}");
    let outside = tests::netns::address(tests::netns::Family::V4, 2, 1).to_string();
    assert_eq!(flow["nat"]["src"]["addr"], outside.as_str());
    // Without the kernel nothing is known of them.
    let words = format!("--once --source daemon {}", config(&daemon));
    let picture = objects(&nat.router.node, &words).remove(0);
    assert!(is_mirror(&picture) && picture["totals"]["in_bps"].is_null(), "{picture}");
    assert!(picture["flows"][0]["timeout"].is_null(), "{picture}");
}

/// A copy of the program that every user may run.
fn for_everybody(daemon: &Daemon<'_>) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let feed = daemon.path("feed");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(feed.parent().expect("it has one"), mode).expect("it is ours");
    let copy = feed.with_file_name("ctflow");
    std::fs::copy(program(), &copy).expect("it is copied");
    copy
}

#[test]
fn who_may_read_the_feed_alone_sees_flows_and_keeps_them_when_the_daemon_goes() {
    let stage = Solo::new();
    stage.node.within(|| {
        std::fs::write("/proc/sys/net/netfilter/nf_conntrack_acct", "1").expect("it is written");
    });
    Requests::open(&stage.node).create(&udp_flows(0..40));
    let mut daemon = ready(&stage, &conf("", ""));
    let copy = for_everybody(&daemon);
    let words = format!("--socket {}", daemon.path("feed").display());
    let running = Running::start(&stage.node, &words, |command| {
        let mut other = Command::new(&copy);
        other.args(command.get_args()).stdin(Stdio::null()).stdout(Stdio::piped());
        *command = other;
        command.uid(65534).gid(65534);
    });
    running.wait_to_show(&daemon);
    let picture =
        running.wait_for("knows the daemon", |picture| picture["daemon"] == "exact, ready");
    assert!(picture["totals"]["in_bps"].is_null(), "it may not ask the kernel: {picture}");
    daemon.kill_hard();
    let picture = running.wait_for("says so", |picture| !picture["lapse"].is_null());
    assert_eq!((&picture["mode"], &picture["exact"]), (&"mirror".into(), &false.into()));
    assert_eq!(pictured(&picture).len(), 40);
    daemon.restart_with(&conf("", ""));
    running.wait_to_show(&daemon);
}

#[test]
fn the_first_line_says_what_has_happened_and_q_is_obeyed() {
    let stage = Solo::new();
    Requests::open(&stage.node).create(&udp_flows(0..40));
    let mut daemon = ready(&stage, &conf("", ""));
    let tmux = Tmux::start(&stage.node, &top(&format!("-d 0.5 {}", config(&daemon))));
    let screen = tmux.wait_to_show("mirror  LIVE");
    assert!(screen.contains("40 of 40 flows"), "{screen}");
    daemon.kill_hard();
    tmux.wait_to_show("walk kernel: daemon gone");
    daemon.restart_with(&conf("", ""));
    tmux.wait_to_show("mirror  LIVE");
    // The daemon hangs, which shows after a while; keys are obeyed meanwhile.
    daemon.freeze();
    tmux.keys(&["g"]);
    tmux.wait_to_show("groups by src");
    tmux.wait_to_show("walk kernel: daemon silent");
    daemon.signal(rustix::process::Signal::CONT);
    tmux.wait_to_show("mirror  LIVE");
    daemon.freeze();
    tmux.keys(&["q"]);
    tmux.wait_until_left("0");
    daemon.signal(rustix::process::Signal::CONT);
}

#[test]
fn a_daemon_of_another_namespace_is_not_followed_unless_it_was_named() {
    let stage = Solo::new();
    Requests::open(&stage.node).create(&udp_flows(0..40));
    let daemon = ready(&stage, &conf("", ""));
    let other = Namespace::new();
    let named = objects(&other, &format!("--once {}", config(&daemon))).remove(0);
    assert_eq!((&named["mode"], &named["totals"]["flows"]), (&"mirror".into(), &40.into()));
    let name = format!("ctflow-top-{}", std::process::id());
    stage.node.sh(&format!("ip netns add {name}"));
    let mut command = Command::new(program());
    let words = format!("--once -o json -d 0.1 --netns {name} {}", config(&daemon));
    command.arg("top").args(words.split_whitespace()).stdin(Stdio::null());
    let output = stage.node.within(|| command.output().expect("the program can be started"));
    stage.node.sh(&format!("ip netns del {name}"));
    let (code, out, err) = crate::ops::said(&output);
    assert_eq!(code, 0, "{err}");
    let picture: Value = serde_json::from_str(&out).expect("an object");
    assert!(walks(&picture, "works elsewhere"), "{picture}");
    assert_eq!(picture["totals"]["flows"], 0);
}

#[test]
fn the_flow_in_detail_says_how_far_the_peer_has_heard_of_it() {
    let stage = Stage::new();
    let folder = stage.files.path();
    let feed = format!("Subscribe {{\n Path {}/a.feed\n}}\n", folder.display());
    let text = Conf::new(End::A).ftfw().text(folder, "a") + &feed;
    std::fs::write(folder.join("a.conf"), text).expect("a configuration is written");
    let command = Command::new(Brand::Ours.program());
    let a = Daemon::start_with(command, &stage.a, Brand::Ours, &stage.files, "a");
    let b = stage.ours("b", &Conf::new(End::B).ftfw());
    Requests::open(&stage.a).create(&udp_flows(0..1));
    wait_equal("the peer knows", || b.external().len(), || 1);
    let tmux = Tmux::start(&stage.a, &top(&format!("-d 0.5 {}", config(&a))));
    tmux.wait_to_show("mirror  LIVE");
    tmux.keys(&["Enter"]);
    tmux.wait_to_show("replication: acknowledged");
    // The peer hears no more: what changes is sent, and is not acknowledged.
    b.freeze();
    let mut marked = udp_flows(0..1);
    (marked[0].mark, marked[0].known) = (7, ctnetlink::flow::Known::MARK);
    Requests::open(&stage.a).update(&marked);
    tmux.wait_to_show("replication: sent, not acknowledged");
    b.signal(rustix::process::Signal::CONT);
    tmux.wait_to_show("replication: acknowledged");
    // It ends while it is looked at.
    Requests::open(&stage.a).delete(&udp_flows(0..1));
    tmux.wait_to_show("0 of 0 flows");
    tmux.keys(&["q"]);
    tmux.wait_until_left("0");
}

#[test]
fn flows_that_came_and_went_between_two_pictures_are_new_in_their_groups() {
    let stage = Solo::new();
    let mut requests = Requests::open(&stage.node);
    requests.create(&udp_flows(0..10));
    let daemon = ready(&stage, &conf("", ""));
    let words = format!("-g proto {}", config(&daemon));
    let running = Running::start(&stage.node, &words, |_| {});
    running.wait_to_show(&daemon);
    // All of it waits for one turn, or few.
    running.signal(rustix::process::Signal::STOP);
    for _ in 0..20 {
        requests.create(&udp_flows(100..200));
        requests.delete(&udp_flows(100..200));
    }
    wait_equal("the daemon knows", || daemon.internal().len(), || 10);
    running.signal(rustix::process::Signal::CONT);
    wait_until("all that began and ended is counted", || running.churn() == [2000, 2000]);
    let pictures = running.pictures.lock().expect("nobody panics");
    let sum = |of: &dyn Fn(&Value) -> f64| pictures.iter().map(of).sum::<f64>().round() as u64;
    let of_group = |picture: &Value| {
        let per_second = picture["groups"][0]["new_per_s"].as_f64();
        per_second.zip(picture["interval_s"].as_f64()).map_or(0.0, |(n, s)| n * s)
    };
    let unnamed = |picture: &Value| picture["grouped"]["new_unnamed"].as_f64().unwrap_or(0.0);
    // Some may go in the moment between the end of a turn and its picture: they are counted as such.
    assert_eq!(sum(&of_group) + sum(&unnamed), 2000);
    assert!(sum(&of_group) >= 1000, "most came and went within a turn: {}", sum(&of_group));
}
