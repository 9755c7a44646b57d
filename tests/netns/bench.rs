//! `ctflow bench`: its traffic is what it says it is, and its numbers add up. How long anything takes is not asserted.

use lab::churn::frame::{Life, Shape};
use lab::churn::program::{Range, assemble};
use lab::sys::xdp;
use rustix::fd::{AsFd, AsRawFd};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tests::daemon::{Brand, Files};
use tests::wait::wait_until;

const FLOWS: u64 = 640;

/// The packet socket sends what the templates render. The XDP program must send the same, in an order in which every
/// flow takes its steps one after the other.
#[test]
fn the_program_in_the_kernel_sends_what_the_templates_say() {
    const WINDOW: u64 = 8;
    for life in [Life::Datagram, Life::Opening, Life::Whole, Life::Traffic] {
        for (v6, nat) in [(false, false), (true, true)] {
            let templates = Shape { v6, nat, life }.templates();
            let range = Range { window: WINDOW as u32, base: 0x00fe_fffa, flows: Some(16) };
            let counter = xdp::counter().unwrap();
            let words = assemble(&templates, counter.as_raw_fd(), range);
            let program = xdp::load(&words).unwrap_or_else(|e| panic!("{life:?}: {e}"));
            let mut expected = vec![0; templates[0].bytes.len()];
            let steps = templates.len() as u64;
            for sent in 0..WINDOW * steps * 3 {
                let (window, step) = (sent / WINDOW / steps, sent / WINDOW % steps);
                let flow = (window * WINDOW + sent % WINDOW) % 16;
                templates[step as usize].render(u64::from(range.base) + flow, &mut expected);
                let frame = xdp::run_dry(program.as_fd(), &templates[0].bytes).unwrap();
                assert_eq!(frame, expected, "{life:?}, frame {sent}");
            }
        }
    }
}

#[test]
fn a_small_run_adds_up() {
    let files = Files::new();
    let (json, svg) = (files.path().join("result.json"), files.path().join("result.svg"));
    let program = Brand::Ours.program().with_file_name("ctflow");
    let mut command = Command::new(program);
    // Other tests listen too, hence the force.
    command.args([
        "bench",
        "churn",
        "churn-tcp",
        "churn-v6",
        "churn-nat",
        "--force",
        "--reps",
        "1",
        "--again",
        "0",
    ]);
    command.args(["--original", "/nonexistent", "--flows", &FLOWS.to_string()]);
    command.arg("--json").arg(&json).arg("--svg").arg(&svg);
    let scratch = scratch(&files, &mut command);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = fs::read_to_string(&json).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    let scenarios = report["scenarios"].as_array().unwrap();
    assert_eq!(scenarios.len(), 4);
    for scenario in scenarios {
        // NEW; with TCP five UPDATE and a DESTROY as well.
        let events = if scenario["name"] == "churn-tcp" { 7 } else { 1 } * FLOWS;
        let samples = scenario["samples"].as_array().unwrap();
        let who: BTreeSet<_> = samples.iter().map(|s| s["subject"].as_str().unwrap()).collect();
        assert!(who.contains("nobody") && who.contains("netlink"), "{who:?}: {said}");
        for sample in samples.iter().filter(|sample| sample["subject"] != "nobody") {
            let value = |name: &str| sample["values"][name].as_f64();
            let counted = ["events", "lost", "missing"].map(value);
            let wanted = [Some(events as f64), Some(0.0), Some(0.0)];
            assert_eq!(counted, wanted, "{}: {sample}", scenario["name"]);
        }
        let kept = scenario["figures"].as_array().unwrap().iter();
        assert!(kept.filter(|figure| figure["figure"] == "kept").count() >= 2);
    }
    assert!(fs::read_to_string(&svg).unwrap().ends_with("</svg>\n"));
    assert_eq!(fs::read_dir(scratch).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn beginnings_are_all_heard_and_packets_are_compared_side_by_side() {
    let files = Files::new();
    let json = files.path().join("result.json");
    let mut command = Command::new(Brand::Ours.program().with_file_name("ctflow"));
    command.args(["bench", "packets", "churn-beginnings", "--force", "--reps=1", "--again=0"]);
    command.args(["--subjects", "nobody,netlink,tap", "--flows", &FLOWS.to_string()]);
    let output = command.arg("--json").arg(&json).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    for scenario in report["scenarios"].as_array().unwrap() {
        let samples = scenario["samples"].as_array().unwrap();
        assert_eq!(samples.len(), 3, "{said}");
        for sample in samples {
            let value = |name: &str| sample["values"][name].as_f64();
            assert!(value("kept").is_some_and(|kept| kept > 0.0), "{sample}");
            let paired = scenario["name"] == "packets";
            assert_eq!(value("cost_ns").is_some(), paired, "{sample}");
            let listens = !paired && sample["subject"] != "nobody";
            assert_eq!(value("unheard"), listens.then_some(0.0), "{sample}");
        }
    }
}

/// Where it keeps its files.
fn scratch(files: &Files, command: &mut Command) -> PathBuf {
    let path = files.path().join("scratch");
    fs::create_dir(&path).expect("the folder of a test can be written");
    command.env("TMPDIR", &path);
    path
}

#[test]
fn a_signal_ends_the_daemon_too_and_leaves_nothing() {
    let files = Files::new();
    let program = Brand::Ours.program().with_file_name("ctflow");
    let mut command = Command::new(program);
    command.args(["bench", "churn", "--force", "--subjects", "netlink", "--rate", "1000"]);
    command.args(["--duration", "600"]).stdout(Stdio::null()).stderr(Stdio::null());
    let scratch = scratch(&files, &mut command);
    let mut bench = command.spawn().unwrap();
    let lock = scratch.join(format!("ctflow-bench-{}/alone.lock", bench.id()));
    let mut daemon = String::new();
    wait_until("a daemon runs", || {
        daemon = fs::read_to_string(&lock).unwrap_or_default().trim().to_owned();
        !daemon.is_empty()
    });
    let pid = Pid::from_child(&bench);
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(bench.wait().unwrap().code(), Some(130));
    assert_eq!(fs::read_dir(scratch).unwrap().count(), 0, "nothing is left behind");
    let alive = || fs::read_to_string(format!("/proc/{daemon}/comm")).unwrap_or_default();
    wait_until("the daemon has gone", || alive().trim() != "conntrackd");
}

#[test]
fn nonsense_is_refused_before_anything_is_made() {
    let program = Brand::Ours.program().with_file_name("ctflow");
    for (arguments, complaint) in [
        (["bench", "nonsense"], "there is no scenario nonsense"),
        (["bench", "--subjects=nonsense,tap"], "there is no subject nonsense"),
        (["bench", "--flows=1"], "1 is not in 64..=8000000"),
    ] {
        let output = Command::new(&program).args(arguments).arg("--force").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(complaint), "{arguments:?}: {said}");
    }
}
