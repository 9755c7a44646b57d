//! A real Prometheus scrapes two real daemons that replicate flows which come and go; its alerts go to a real
//! Alertmanager. Faults are made one after the other: each must fire its alerts, no other critical one, and all must
//! resolve when it is mended.
//!
//! ```text
//!   [ a: conntrackd ] va ---- sync ---- vb [ b: conntrackd ]
//!          ua \                            / ub
//!              [ watch: prometheus, alertmanager ]
//! ```
//!
//! Rules are those of `contrib/prometheus`, with shorter times. What the kernel's own table does cannot be made here:
//! `nf_conntrack_max` is the machine's, not the namespace's; `ctflow.test.yml` covers those rules.

mod nodes;
mod watch;

use nodes::{Nodes, conf, metrics_conf};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tests::conf::{Conf, End};
use tests::ctnetlink::{Requests, udp_flows};
use tests::netns::feed;
use tests::wait::wait_until;
use watch::Watch;

/// A file of the repository.
fn repository(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

#[test]
fn each_fault_fires_its_alert_and_no_other_critical_one_and_resolves() {
    let nodes = Nodes::new();
    let watch = Watch::start(nodes.watch, nodes.files, &nodes.targets());
    watch.wait_for_calm();
    panels_have_series(&watch);

    let plain = conf(End::A);
    let a_alone = |conf: &Conf| nodes.restart_a(conf, None);
    watch.fault(
        &["CtflowConfigRefused"],
        &[],
        || {
            nodes.rewrite_a("General { Bogus }");
            nodes.signal_a(Signal::HUP);
        },
        || {
            nodes.rewrite_a(&nodes.text(&plain));
            nodes.signal_a(Signal::HUP);
        },
    );
    // The other node receives nothing meanwhile, and sends.
    watch.fault(
        &["CtflowDown"],
        &["CtflowPeerSilent", "CtflowSyncOneWay"],
        || nodes.kill_b(),
        || nodes.start_b(),
    );
    watch.fault(
        &["CtflowNoLink", "CtflowLinkDown", "CtflowPeerSilent"],
        &["CtflowSyncOneWay"],
        || drop(nodes.stage.a.sh("ip link set va down")),
        || drop(nodes.stage.a.sh("ip link set va up")),
    );
    let drop_all =
        "table inet fault { chain c { type filter hook input priority 0; udp dport 3780 drop; }; }";
    watch.fault(
        &["CtflowSyncOneWay"],
        &["CtflowPeerSilent"],
        || nodes.stage.a.nft(drop_all),
        || drop(nodes.stage.a.sh("nft delete table inet fault")),
    );
    let drop_some = "table inet fault { chain c { type filter hook input priority 0; \
                     udp dport 3780 numgen random mod 10 == 0 drop; }; }";
    watch.fault(
        &["CtflowSyncLossy"],
        &[],
        || nodes.stage.b.nft(drop_some),
        || drop(nodes.stage.b.sh("nft delete table inet fault")),
    );
    let small = Conf { hash_limit: 100, ..plain.clone() };
    watch.fault(
        &["CtflowTableRefusing"],
        // A table that lacks flows is not exact.
        &["CtflowTableInexact"],
        || a_alone(&small),
        || a_alone(&plain),
    );
    let fragile = plain
        .clone()
        .general("EventSource netlink")
        .general("NetlinkBufferSize 65536")
        .general("NetlinkBufferSizeMaxGrowth 65536")
        .general("NetlinkOverrunResync off");
    let flood = udp_flows(2_000_000..2_100_000);
    watch.fault(
        &["CtflowEventsLost", "CtflowTableInexact"],
        // What is said to the other node is more than a moment's worth.
        &["CtflowSyncBehind"],
        || {
            a_alone(&fragile);
            Requests::open(&nodes.stage.a).create(&flood);
        },
        || {
            Requests::open(&nodes.stage.a).delete(&flood);
            a_alone(&plain);
        },
    );
    watch.fault(
        &["CtflowSourceFellBack"],
        &[],
        || nodes.restart_a(&plain.clone().general("EventSource hook"), Some("-perfmon,-sys_admin")),
        || a_alone(&plain),
    );
}

/// What the dashboard asks is understood, and answered where the daemons have such series.
fn panels_have_series(watch: &Watch<'_>) {
    let text = fs::read_to_string(repository("contrib/grafana/ctflow.json")).expect("it is there");
    let dashboard: Value = serde_json::from_str(&text).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("it has panels");
    let known: BTreeSet<String> = watch.names();
    let mut asked = 0;
    for expression in panels.iter().filter_map(|panel| panel["targets"][0]["expr"].as_str()) {
        let replaced = expression
            .replace("$job", ".*")
            .replace("$instance", ".*")
            .replace("$__rate_interval", "6s");
        let has_series = || !watch.query(&replaced).is_empty();
        has_series();
        let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let mut words = replaced.split(|c| !is_part(c));
        let name = words.find(|word| word.starts_with("ctflow_") || word.starts_with("process_"));
        let name = name.expect("each panel is about a metric");
        // Zero is no quantile of nothing: a histogram without samples has none.
        if known.contains(name) && !expression.contains("histogram_quantile") {
            // A rate has none before there are two scrapes.
            wait_until(&format!("{replaced} has series"), has_series);
            asked += 1;
        }
    }
    assert!(asked > 50, "{asked} panels have series");
}

#[test]
fn the_rules_are_right_and_each_fires_when_it_should() {
    let folder = repository("contrib/prometheus");
    for words in [["check", "rules", "ctflow.rules.yml"], ["test", "rules", "ctflow.test.yml"]] {
        let output = Command::new("promtool").args(words).current_dir(&folder).output();
        succeeded(&output.expect("promtool is installed"));
    }
    let check = Command::new("amtool")
        .args(["check-config", "alertmanager.yml"])
        .current_dir(&folder)
        .output();
    succeeded(&check.expect("amtool is installed"));
}

fn succeeded(output: &Output) {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
}

#[test]
fn promtool_has_nothing_to_say_about_what_is_served_and_printed() {
    let nodes = Nodes::new();
    let served = nodes.watch.within(|| watch::get(&nodes.targets()[0], "/metrics", ""));
    let served = served.expect("it is served");
    feed("promtool", &["check", "metrics"], &served);
    // The table is counted by and by.
    let metrics = || nodes.watch.within(|| watch::get(&nodes.targets()[0], "/metrics", ""));
    wait_until("flows are counted", || {
        let zone = "ctflow_flows{zone=\"0\",proto=\"udp\",state=\"unreplied\"} 2";
        metrics()
            .is_ok_and(|text| text.contains(zone) && text.contains("ctflow_census_age_seconds"))
    });
    // What has no daemon has the kernel's.
    for more in [&["metrics"][..], &["metrics", "--no-daemon"]] {
        let output = nodes.a_says("ctflow", more);
        succeeded(&output);
        let text = String::from_utf8_lossy(&output.stdout);
        feed("promtool", &["check", "metrics"], &text);
        let up = if more.len() == 1 { "\nctflow_up 1\n" } else { "\nctflow_up 0\n" };
        assert!(text.contains(up) && text.contains("\nctflow_kernel_flows "), "{text}");
    }
    let open = nodes.watch.within(|| {
        watch::get(&nodes.targets()[0], "/metrics", "Accept: application/openmetrics-text\r\n")
    });
    assert!(open.expect("it is served").ends_with("# EOF\n"));
}

#[test]
fn a_file_for_the_textfile_collector_is_written_whole_and_for_everybody() {
    use std::os::unix::fs::PermissionsExt as _;
    let nodes = Nodes::new();
    let path = nodes.files.path().join("ctflow.prom");
    let name = path.to_str().expect("paths are text");
    succeeded(&nodes.a_says("ctflow", &["metrics", "--output", name]));
    let text = fs::read_to_string(&path).expect("it is written");
    assert!(text.contains("\nctflow_up 1\n"), "{text}");
    assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o644);
    // No daemon answers at the socket: exit code 0 all the same, and the reason on standard error.
    nodes.kill_b();
    let output = nodes.b_says("ctflow", &["metrics", "--format", "openmetrics"]);
    succeeded(&output);
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(out.contains("\nctflow_up 0\n") && out.ends_with("# EOF\n"), "{out}");
    assert!(err.contains("is it running?"), "{err}");
}

#[test]
fn a_reload_moves_the_address_and_refuses_strangers() {
    let nodes = Nodes::new();
    let [target, _] = nodes.targets();
    let get = |path: &'static str| nodes.watch.within(|| watch::get(&target, path, ""));
    wait_until("it is served", || get("/-/healthy").is_ok_and(|text| text == "healthy\n"));
    wait_until("it is ready", || get("/ready").is_ok_and(|text| text == "ready\n"));
    let text = nodes.text(&conf(End::A));
    let (host, _) = target.split_once(':').expect("host and port");
    let other = metrics_conf(&format!("{host}:10467"), "192.0.2.0/24");
    let here = text.find("Metrics {").expect("it has such a block");
    nodes.rewrite_a(&(text[..here].to_owned() + &other));
    nodes.signal_a(Signal::HUP);
    let moved = format!("{host}:10467");
    let code = || nodes.watch.within(|| watch::status(&moved, "/metrics"));
    wait_until("strangers are refused there", || code() == Some(403));
    assert!(get("/metrics").is_err(), "nobody listens here any more");
    assert!(nodes.a_log().contains("Metrics changed: the engine goes on"), "{}", nodes.a_log());
    let status = nodes.a_says("conntrackd", &["-s", "json"]);
    let status: Value = serde_json::from_slice(&status.stdout).expect("it is JSON");
    assert!(status["http"]["forbidden"].as_u64() > Some(0), "{status}");
    assert_eq!(status["reload"]["succeeded"], true, "{status}");
}

#[test]
fn an_address_in_use_keeps_no_daemon_from_starting_and_doctor_says_so() {
    let nodes = Nodes::new();
    let [target, _] = nodes.targets();
    let doctor = || nodes.a_says("ctflow", &["doctor", "--only", "daemon.metrics", "-v"]);
    let says = |words: &str| String::from_utf8_lossy(&doctor().stdout).contains(words);
    wait_until("it is served", || says("metrics are served wherever"));
    nodes.stop_a();
    let taken = nodes.stage.a.within(|| std::net::TcpListener::bind(&target).expect("it is free"));
    nodes.restart_a(&conf(End::A), None);
    wait_until("it is warned of", || nodes.a_log().contains("metrics are not served at"));
    drop(taken);
    assert!(says("metrics are not served at") || says("metrics are served wherever"));
    wait_until("it is tried again", || says("metrics are served wherever"));
}

/// Starts a program whose output goes into a file.
fn logged(command: &mut Command, log: &Path) -> std::process::Child {
    let file = || fs::File::create(log).expect("a file for output");
    command
        .stdin(Stdio::null())
        .stdout(file())
        .stderr(fs::File::options().append(true).open(log).expect("it is there"));
    command.spawn().expect("it is installed: cargo xtask setup")
}
