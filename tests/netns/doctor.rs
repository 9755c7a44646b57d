//! `ctflow doctor` on the running kernel: what it finds there, and that the commands it gives mend it.

use crate::doctor_machine::program;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;
use std::process::{Child, Command, Output, Stdio};
use tests::conf::{Conf, End};
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::{Brand, run_ctflow};
use tests::netns::{Namespace, sysctl};
use tests::solo::{Solo, solo};
use tests::stage::Stage;
use tests::wait::{wait_for, wait_or_explain, wait_until};

/// What doctor says of these checks.
pub(crate) fn ask(namespace: &Namespace, conf: &str, checks: &str) -> (Output, Value) {
    let output = run_ctflow(namespace, &["doctor", "-C", conf, "--only", checks, "-o", "json"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let answer = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    (output, answer)
}

/// The finding of one check.
pub(crate) fn find(namespace: &Namespace, conf: &str, check: &str) -> Value {
    ask(namespace, conf, check).1["checks"][0].clone()
}

/// Its commands: `systemctl` is for a machine that was booted with systemd.
pub(crate) fn commands(finding: &Value) -> Vec<String> {
    let lines = finding["fix"].as_array().expect("commands are a list");
    let lines = lines.iter().filter_map(Value::as_str);
    lines.filter(|line| !line.starts_with("systemctl")).map(str::to_owned).collect()
}

/// Runs the commands of a finding; our programs are those under test.
pub(crate) fn mend(namespace: &Namespace, finding: &Value) {
    let folder = Brand::Ours.program().parent().expect("it lies in one").display().to_string();
    for line in commands(finding) {
        namespace.run("sh", &["-c", &format!("PATH={folder}:$PATH\n{line}")]);
    }
}

/// Whether a check has this status; else the test fails with what was found.
pub(crate) fn expect(namespace: &Namespace, conf: &str, check: &str, status: &str) -> Value {
    let finding = find(namespace, conf, check);
    assert_eq!(finding["status"], status, "{finding}");
    finding
}

/// Waits until a check has this status.
fn wait_to_find(namespace: &Namespace, conf: &str, check: &str, status: &str) -> Value {
    let look = || match find(namespace, conf, check) {
        finding if finding["status"] == status => Ok(finding),
        finding => Err(finding),
    };
    wait_or_explain(look, |last| format!("never {status}: {last}"))
}

/// Finds a fault, runs the commands, and sees that the fault is gone.
pub(crate) fn mends(namespace: &Namespace, conf: &str, check: &str, status: &str) {
    let finding = expect(namespace, conf, check, status);
    mend(namespace, &finding);
    expect(namespace, conf, check, "ok");
}

#[test]
fn settings_of_the_kernel_are_mended_by_the_commands() {
    let stage = Solo::new();
    let conf = stage.write("a", &solo(""));
    let set = |name: &str, value: &str| {
        stage.node.within(|| sysctl(&format!("net/netfilter/{name}"), value));
    };
    set("nf_conntrack_events", "0");
    mends(&stage.node, &conf, "sysctl.events", "error");
    set("nf_conntrack_acct", "0");
    mends(&stage.node, &conf, "sysctl.acct", "info");
    set("nf_conntrack_timestamp", "0");
    mends(&stage.node, &conf, "sysctl.timestamp", "info");
}

#[test]
fn a_node_that_commits_without_a_gate_gets_a_finding() {
    let stage = Stage::new();
    let conf = stage.files.conf("a", &Conf::new(End::A).ftfw());
    mends(&stage.a, &conf.display().to_string(), "sysctl.tcp", "info");
}

#[test]
fn a_namespace_that_tracks_nothing_gets_a_finding_until_a_rule_asks_for_state() {
    let stage = Solo::new();
    let conf = stage.write("a", &solo(""));
    let finding = expect(&stage.node, &conf, "conntrack.active", "warning");
    stage.node.nft("table inet filter { chain forward { type filter hook forward priority 0; }; }");
    mend(&stage.node, &finding);
    stage.node.within(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"a packet", "127.0.0.1:9").unwrap();
    });
    expect(&stage.node, &conf, "conntrack.active", "ok");
}

#[test]
fn a_limit_below_the_kernels_is_raised_in_the_file() {
    let stage = Solo::new();
    let small = solo("").replace("HashLimit 262144", "HashLimit 1000");
    mends(&stage.node, &stage.write("a", &small), "conf.hashlimit", "warning");
    // Without a line of its own, it gets one. The kernel's limit may be below the default.
    let without = solo("").replace("HashLimit 262144", "");
    let path = stage.write("b", &without);
    if find(&stage.node, &path, "conf.hashlimit")["status"] == "warning" {
        mends(&stage.node, &path, "conf.hashlimit", "warning");
    }
}

#[test]
fn a_wrong_configuration_is_an_error_with_its_place() {
    let stage = Solo::new();
    let conf = stage.write("a", "General {\n HashSise 8192\n}\n");
    let (output, answer) = ask(&stage.node, &conf, "conf");
    assert_eq!(output.status.code(), Some(1));
    let finding = &answer["checks"][0];
    assert!(
        finding["found"].as_str().unwrap().contains("a.conf:2:2: unknown keyword"),
        "{finding}"
    );
    // What a start would refuse, too: the lock is a folder.
    fs::create_dir(stage.files.path().join("b.lock")).unwrap();
    let finding = expect(&stage.node, &stage.write("b", &solo("")), "conf.check", "error");
    assert!(finding["found"].as_str().unwrap().contains("would not start"), "{finding}");
}

#[test]
fn an_interface_that_is_down_is_switched_on() {
    let stage = Stage::new();
    let conf = stage.files.conf("a", &Conf::new(End::A)).display().to_string();
    // The kernel looks after carriers in its own time.
    wait_to_find(&stage.a, &conf, "link.state", "ok");
    stage.plug(0, false);
    let finding = wait_to_find(&stage.a, &conf, "link.state", "error");
    assert!(finding["found"].as_str().unwrap().contains("no carrier"), "{finding}");
    stage.plug(0, true);
    wait_to_find(&stage.a, &conf, "link.state", "ok");
    stage.a.sh("ip link set va down");
    let finding = expect(&stage.a, &conf, "link.state", "error");
    mend(&stage.a, &finding);
    wait_to_find(&stage.a, &conf, "link.state", "ok");
}

#[test]
fn datagrams_that_do_not_reach_the_peer_whole_are_noticed() {
    let stage = Stage::new();
    let conf = stage.files.conf("a", &Conf::new(End::A)).display().to_string();
    // A carrier takes its time, and a kernel refuses only so many datagrams a second.
    let status = |wanted| wait_to_find(&stage.a, &conf, "link.mtu", wanted);
    status("ok");
    // Jumbo frames on one end alone: the other one swallows them.
    stage.a.sh("ip link set va mtu 9000");
    let finding = status("error");
    assert!(finding["found"].as_str().unwrap().contains("vanish"), "{finding}");
    mend(&stage.a, &finding);
    status("ok");
    // A path that is known to take less.
    stage.a.sh("ip route change 10.99.0.0/24 dev va mtu lock 1300 src 10.99.0.1");
    let finding = status("error");
    assert!(finding["found"].as_str().unwrap().contains("takes 1300"), "{finding}");
    mend(&stage.a, &finding);
    status("ok");
}

#[test]
fn a_peer_behind_a_packet_filter_is_let_in_by_the_commands() {
    let stage = Stage::new();
    stage.a.nft(
        "table inet filter { chain input { type filter hook input priority 0; udp dport 3780 drop; }; }",
    );
    let a = stage.ours("a", &Conf::new(End::A).ftfw());
    let _b = stage.ours("b", &Conf::new(End::B).ftfw());
    let conf = a.path("conf").display().to_string();
    let seen = |check, status| wait_to_find(&stage.a, &conf, check, status);
    seen("peer.heard", "error");
    let finding = seen("peer.oneway", "error");
    mend(&stage.a, &finding);
    seen("peer.oneway", "ok");
    seen("peer.heard", "ok");
    for check in ["daemon.running", "daemon.log", "daemon.exact", "daemon.source", "peer.loss"] {
        seen(check, "ok");
    }
    // There was no request for the peer's flows since the daemon began.
    let finding = seen("daemon.ready", "warning");
    mend(&stage.a, &finding);
    seen("daemon.ready", "ok");
}

#[test]
fn a_daemon_that_is_silent_is_an_error_until_it_is_started() {
    let stage = Solo::new();
    let conf = stage.write("a", &solo(""));
    let (output, answer) = ask(&stage.node, &conf, "daemon");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(answer["checks"][0]["status"], "error", "{answer}");
    assert_eq!(answer["checks"][1]["status"], "skipped", "{answer}");
    let _daemon = stage.ours("a", &solo(""));
    expect(&stage.node, &conf, "daemon.running", "ok");
}

#[test]
fn a_daemon_whose_log_finds_no_room_on_the_disk_is_noticed() {
    let stage = Solo::new();
    let conf = solo("").replace("@.records", "/dev/full");
    let daemon = stage.ours("a", &conf);
    let path = daemon.path("conf").display().to_string();
    expect(&stage.node, &path, "daemon.log", "ok");
    let mut requests = Requests::open(&stage.node);
    requests.create(&udp_flows(0..20));
    requests.delete(&udp_flows(0..20));
    let seen = || find(&stage.node, &path, "daemon.log")["status"] == "warning";
    wait_until("lines are lost", seen);
}

#[test]
fn a_table_that_was_flushed_is_made_exact_again_by_the_command() {
    let stage = Solo::new();
    let daemon = stage.ours("a", &solo("NetlinkOverrunResync off"));
    Requests::open(&stage.node).create(&udp_flows(0..20));
    wait_until("it hears of them", || daemon.internal().len() == 20);
    let _ = daemon.ask(&["-f", "internal"]);
    let degraded = || !daemon.status()["work"]["degraded_s"].is_null();
    wait_until("it is inexact", degraded);
    // daemon.exact is an error after a minute of this, and has the same command.
    let conf = daemon.path("conf").display().to_string();
    let finding = expect(&stage.node, &conf, "daemon.ready", "warning");
    assert_eq!(commands(&finding)[0], format!("conntrackd -C {conf} -R"));
    mend(&stage.node, &finding);
    wait_until("it is exact", || !degraded());
}

/// A program that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn somebody_else_who_hears_of_flows_is_named_and_ended() {
    let stage = Solo::new();
    let daemon = stage.ours("a", &solo(""));
    let conf = daemon.path("conf").display().to_string();
    let mut command = Command::new(program("conntrack"));
    command.arg("-E").stdout(Stdio::null()).stderr(Stdio::null());
    let mut other = Running(stage.node.within(|| command.spawn().expect("conntrack starts")));
    let pid = other.0.id();
    let name = format!("(pid {pid})");
    let names = |finding: &Value| finding["found"].as_str().unwrap().contains(&name);
    let look = || Some(find(&stage.node, &conf, "listeners.others")).filter(&names);
    let finding = wait_for("it is named", look);
    assert_eq!(finding["status"], "warning", "{finding}");
    let ours = format!("(pid {})", daemon.pid());
    assert!(!finding["found"].as_str().unwrap().contains(&ours), "{finding}");
    // Other tests of this machine listen, too: their commands are not run.
    let kill = format!("kill {pid}");
    assert!(commands(&finding).contains(&kill), "{finding}");
    stage.node.run("sh", &["-c", &kill]);
    other.0.wait().expect("it ends");
    assert!(!names(&find(&stage.node, &conf, "listeners.others")));
}

#[test]
fn the_original_beside_ours_is_named_and_ended() {
    let stage = Stage::new();
    let mut original = stage.start(Brand::Original, "o", &Conf::new(End::A));
    let conf = stage.files.conf("a", &Conf::new(End::A)).display().to_string();
    let finding = find(&stage.a, &conf, "service.package");
    // Only where the program is Debian's package.
    if finding["status"] == "ok" {
        return;
    }
    let kill = format!("kill {}", original.pid());
    assert_eq!(finding["status"], "error", "{finding}");
    // Where systemd starts the original at boot, its unit may have ended it by then.
    let ends = commands(&finding).into_iter().find(|command| command.ends_with(&kill));
    stage.a.run("sh", &["-c", &ends.unwrap_or_else(|| panic!("{finding}"))]);
    original.wait_for_end();
    let finding = find(&stage.a, &conf, "service.package");
    assert!(!finding["found"].as_str().unwrap().contains("runs here"), "{finding}");
}

/// Without rights it skips what it may not see, says so, and does not call it ok.
#[test]
fn without_rights_it_skips_and_never_says_ok() {
    let stage = Solo::new();
    let daemon = stage.ours("a", &solo(""));
    let conf = daemon.path("conf");
    // The user of doctor may read the file, but not connect to the daemon.
    let folder = stage.files.path();
    for path in [folder, &conf] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(path, mode).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"]);
    command.args(["--inh-caps=-all", "--"]).arg(program("ctflow"));
    command.args(["doctor", "-o", "json", "-C"]).arg(&conf);
    let output = stage.node.within(|| command.output().expect("setpriv is installed"));
    let answer: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let status = |id: &str| {
        let checks = answer["checks"].as_array().unwrap();
        checks.iter().find(|check| check["id"] == id).unwrap().clone()
    };
    let blind =
        ["kernel.tap", "kernel.hook", "table.drops", "listeners.others", "conntrack.active"];
    for id in blind.into_iter().chain(["daemon.running", "daemon.exact", "conf.check"]) {
        assert_eq!(status(id)["status"], "skipped", "{}", status(id));
    }
    let found = status("table.drops")["found"].as_str().unwrap().to_owned();
    assert!(found.contains("CAP_NET_ADMIN"), "{found}");
    assert_ne!(status("sysctl.max")["status"], "skipped");
}

/// The daemon says at its start what doctor would say, once, and starts all the same.
#[test]
fn a_daemon_logs_at_its_start_what_it_would_find() {
    let stage = Solo::new();
    stage.node.within(|| sysctl("net/netfilter/nf_conntrack_events", "0"));
    let small = solo("").replace("HashLimit 262144", "HashLimit 1000");
    let daemon = stage.ours("a", &small);
    daemon.wait_to_say("see `ctflow doctor --only conf.hashlimit`");
    daemon.wait_to_say("see `ctflow doctor --only sysctl.events`");
    let log = daemon.log();
    assert_eq!(log.matches("--only conf.hashlimit").count(), 1, "{log}");
    // `ctflow doctor` finds what the log names.
    expect(&stage.node, &daemon.path("conf").display().to_string(), "conf.hashlimit", "warning");
}

/// Doctor changes nothing: not a setting, not a rule.
#[test]
fn it_changes_nothing() {
    let stage = Stage::new();
    let a = stage.ours("a", &Conf::new(End::A).ftfw());
    stage.a.nft("table inet filter { chain input { type filter hook input priority 0; }; }");
    let state = || {
        let lines = [
            "sysctl -a --pattern ^net.(netfilter|ipv4.conf|ipv6.conf)",
            "nft list ruleset",
            "ip route",
        ];
        let all = lines.map(|line| stage.a.sh(line)).concat();
        let counted = |line: &&str| !line.contains("nf_conntrack_count");
        all.lines().filter(counted).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let before = state();
    let output = run_ctflow(&stage.a, &["doctor", "-C", &a.path("conf").display().to_string()]);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let after = state();
    let changed: Vec<_> = before.symmetric_difference(&after).collect();
    assert!(changed.is_empty(), "{changed:#?}");
}
