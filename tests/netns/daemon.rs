//! How the daemon begins and ends, and what keeps it from beginning.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::process::{Command, Output};
use tests::conf::{Conf, End};
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::{Brand, Daemon, run_ours};
use tests::stage::Stage;
use tests::wait::wait_until;

const A: Conf = Conf::new(End::A);

/// Starts ours, which must end with code 1 and say this on standard error.
fn refused(stage: &Stage, name: &str, text: &str, says: &[&str]) {
    let path = stage.files.path().join(format!("{name}.conf"));
    fs::write(&path, text).expect("a configuration is written");
    let output = run_ours(&stage.a, &["-C", path.to_str().expect("paths are text")]);
    check_refusal(&output, says);
}

fn check_refusal(output: &Output, says: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in says {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_lock_file_and_a_socket_left_behind_do_not_keep_it_from_starting() {
    let stage = Stage::new();
    let mut first = stage.ours("a", &A);
    first.kill_hard();
    assert!(first.path("lock").exists() && first.path("sock").exists());
    drop(first);
    let second = stage.ours("a", &A);
    assert_eq!(second.file("lock").trim(), second.pid().to_string());
}

#[test]
fn a_second_instance_is_refused_while_the_first_lives() {
    let stage = Stage::new();
    let first = stage.ours("a", &A);
    refused(&stage, "a", &A.text(stage.files.path(), "a"), &["another instance is running"]);
    assert_eq!(first.file("lock").trim(), first.pid().to_string());
    first.ask(&["-s"]);
}

#[test]
fn a_second_instance_with_another_socket_is_refused_by_the_lock() {
    let stage = Stage::new();
    let first = stage.ours("a", &A);
    let text = A.text(stage.files.path(), "a").replace("a.sock", "other.sock");
    refused(&stage, "other", &text, &["lock file", "is held: another instance is running"]);
    assert_eq!(first.file("lock").trim(), first.pid().to_string());
    assert!(!stage.files.path().join("other.sock").exists());
}

#[test]
fn it_does_not_start_beside_a_living_original_with_the_same_files() {
    let stage = Stage::new();
    let first = stage.start(Brand::Original, "a", &A);
    let text = A.port(3999).text(stage.files.path(), "a");
    refused(&stage, "a", &text, &["another instance is running"]);
    assert!(first.path("lock").exists());
    first.ask(&["-s"]);
}

#[test]
fn it_takes_over_what_a_killed_original_left_behind() {
    let stage = Stage::new();
    let mut first = stage.start(Brand::Original, "a", &A);
    first.kill_hard();
    drop(first);
    stage.ours("a", &A).ask(&["-s"]);
}

#[test]
fn signals_to_end_are_followed_and_leave_nothing_behind() {
    let stage = Stage::new();
    for signal in [Signal::TERM, Signal::INT] {
        let mut daemon = stage.ours("a", &A);
        daemon.signal(signal);
        assert_eq!(daemon.wait_for_end().code(), Some(0));
        assert!(!daemon.path("lock").exists() && !daemon.path("sock").exists());
        daemon.wait_to_say("---- shutdown received ----");
    }
}

/// Kills a daemon in the background when the test fails.
struct Background(Pid);

impl Drop for Background {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = kill_process(self.0, Signal::KILL);
        }
    }
}

#[test]
fn it_goes_into_the_background_and_is_ended_by_its_client() {
    let stage = Stage::new();
    let path = stage.files.conf("a", &A);
    let conf = path.to_str().expect("paths are text");
    let output = run_ours(&stage.a, &["-d", "-C", conf]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let file = |ending: &str| stage.files.path().join(format!("a.{ending}"));
    let ask = |verb: &str| run_ours(&stage.a, &["-C", conf, verb]).status.success();
    wait_until("it answers", || ask("-s"));
    let pid = fs::read_to_string(file("lock")).expect("there is a lock file");
    let pid = pid.trim().parse().ok().and_then(Pid::from_raw).expect("it holds a process id");
    let _guard = Background(pid);
    let log = fs::read_to_string(file("log")).expect("there is a log");
    assert!(log.contains("-- starting in daemon mode --"), "{log}");
    assert!(log.contains(&format!("(pid={})", pid.as_raw_nonzero())), "{log}");
    assert!(ask("-k"));
    wait_until("it has ended", || rustix::process::test_kill_process(pid).is_err());
    assert!(!file("lock").exists() && !file("sock").exists());
}

#[test]
fn what_fails_at_the_start_in_the_background_is_reported_to_the_caller() {
    let stage = Stage::new();
    let _first = stage.ours("a", &A);
    let path = stage.files.path().join("a.conf");
    let output = run_ours(&stage.a, &["-d", "-C", path.to_str().expect("paths are text")]);
    check_refusal(&output, &["another instance is running"]);
}

#[test]
fn a_configuration_that_is_missing_or_wrong_is_reported_with_the_place() {
    let stage = Stage::new();
    let output = run_ours(&stage.a, &["-C", "/nonexistent/conntrackd.conf"]);
    check_refusal(&output, &["/nonexistent/conntrackd.conf", "No such file"]);
    refused(&stage, "bad", "General {\n  HashSize many\n}\n", &["bad.conf:2:12"]);
    refused(&stage, "open", "General {\n", &["open.conf:"]);
}

#[test]
fn a_link_that_cannot_be_opened_is_reported() {
    let stage = Stage::new();
    let plain = A.text(stage.files.path(), "a");
    refused(&stage, "a", &plain.replace("Interface va", "Interface nope0"), &["nope0"]);
    refused(&stage, "a", &plain.replace("10.99.0.1\n", "10.99.0.77\n"), &["10.99.0.77"]);
    assert!(!stage.files.path().join("a.lock").exists(), "the lock went with it");
}

#[test]
fn a_log_file_that_cannot_be_opened_is_reported() {
    let stage = Stage::new();
    let conf = Conf { log_file: Some("/nonexistent/log".into()), ..A };
    refused(&stage, "a", &conf.text(stage.files.path(), "a"), &["/nonexistent/log"]);
}

#[test]
fn a_log_on_a_full_disk_does_not_stop_replication() {
    let stage = Stage::new();
    let b = stage.ours("b", &Conf::new(End::B));
    let a = stage.ours("a", &Conf { log_file: Some("/dev/full".into()), ..A });
    a.ask(&["-B"]);
    Requests::open(&stage.a).create(&udp_flows(0..10));
    wait_until("flows arrive", || b.external().len() == 10);
}

/// A command that runs the daemon without some capabilities.
fn without(capabilities: &str) -> Command {
    let mut command = Command::new("setpriv");
    let dropped: Vec<_> = capabilities.split(' ').map(|name| format!("-{name}")).collect();
    let dropped = dropped.join(",");
    command.args(["--inh-caps", &dropped, "--bounding-set", &dropped, "--"]);
    command.arg(Brand::Ours.program());
    command
}

#[test]
fn without_the_right_to_load_programs_it_hears_events_through_netlink_and_says_so() {
    let stage = Stage::new();
    let b = stage.ours("b", &Conf::new(End::B));
    let command = without("bpf sys_admin");
    let (brand, files) = (Brand::Ours, &stage.files);
    let a = Daemon::start_through(command, &stage.a, brand, files, "a", &A);
    a.wait_to_say("[warning] conntrack events come through: netlink");
    a.wait_to_say("CAP_BPF");
    Requests::open(&stage.a).create(&udp_flows(0..10));
    wait_until("flows arrive", || b.external().len() == 10);
    assert!(a.ask(&["-s", "runtime"]).contains("event source: netlink"));
}

#[test]
fn without_the_right_to_load_programs_the_tap_alone_is_refused() {
    let stage = Stage::new();
    let path = stage.files.conf("a", &A.general("EventSource tap"));
    let mut command = without("bpf sys_admin");
    command.arg("-C").arg(path);
    let output = stage.a.within(|| command.output().expect("setpriv is installed"));
    check_refusal(&output, &["CAP_BPF"]);
}

#[test]
fn without_the_right_to_administer_the_network_it_says_so() {
    let stage = Stage::new();
    let path = stage.files.conf("a", &A);
    let mut command = without("net_admin");
    command.arg("-C").arg(path);
    let output = stage.a.within(|| command.output().expect("setpriv is installed"));
    check_refusal(&output, &["CAP_NET_ADMIN"]);
}

/// Debian's kernels have helpers in user space; where this one has, `tests/helpers` is about them.
#[test]
fn helpers_that_this_kernel_cannot_have_are_refused_by_the_options_name() {
    let stage = Stage::new();
    if stage.a.within(host::helpers::probe).is_ok() {
        println!("this kernel has nfnetlink_cthelper");
        return;
    }
    let helper = "Helper { Setup on Type ftp inet tcp { QueueNum 1 } }";
    let text = format!("{}{helper}", A.text(stage.files.path(), "a"));
    refused(&stage, "a", &text, &["CONFIG_NF_CT_NETLINK_HELPER"]);
    let path = stage.files.path().join("a.conf");
    let output = run_ours(&stage.a, &["--check", "-C", path.to_str().expect("paths are text")]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "another machine's kernel may have them: {said}");
    assert!(said.contains("note:") && said.contains("CONFIG_NF_CT_NETLINK_HELPER"), "{said}");
}
