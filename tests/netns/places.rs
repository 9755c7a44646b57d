//! The files of a daemon: which users may read them, what may lie at their paths, and two daemons at one place.

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tests::daemon::{Brand, Daemon, run_ours};
use tests::solo::{Solo, solo};
use tests::wait::{wait_for, wait_until};

/// Every file the daemon makes, by its ending.
const FILES: [&str; 5] = ["log", "records", "lock", "sock", "sock.lock"];

#[test]
fn whatever_the_umask_is_its_owner_alone_can_use_what_the_daemon_makes() {
    for umask in ["000", "022", "0777"] {
        let stage = Solo::new();
        stage.write("a", &solo(""));
        let mut command = Command::new("sh");
        command.args(["-c", &format!("umask {umask}; exec \"$@\""), "sh"]);
        command.arg(Brand::Ours.program());
        let daemon = Daemon::start_with(command, &stage.node, Brand::Ours, &stage.files, "a");
        for ending in FILES {
            let found = fs::symlink_metadata(daemon.path(ending)).expect(ending);
            let mode = found.permissions().mode() & 0o777;
            // The kernel makes the socket, less the umask; root needs no more.
            let wanted = if ending == "sock" && umask == "0777" { 0 } else { 0o600 };
            assert_eq!(mode, wanted, "{ending} with umask {umask}");
        }
    }
}

/// The start and the check end at once with code 1 and say this.
fn refused(stage: &Solo, conf: &str, words: &[&str]) {
    for args in [&["-C", conf][..], &["--check", "-C", conf], &["-d", "-C", conf]] {
        let output = run_ours(&stage.node, args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{args:?}: {word:?} is not in: {said}");
        }
    }
}

#[test]
fn links_and_pipes_where_a_file_is_to_be_are_refused_by_start_and_check_and_left_alone() {
    for ending in FILES.into_iter().filter(|ending| *ending != "sock") {
        let stage = Solo::new();
        let conf = stage.write("a", &solo(""));
        let place = stage.files.path().join(format!("a.{ending}"));
        let precious = stage.files.path().join("precious");
        fs::write(&precious, "12\n").expect("a file");
        symlink(&precious, &place).expect("a link");
        refused(&stage, &conf, &[&place.display().to_string(), "symbolic link"]);
        assert_eq!(fs::read_to_string(&precious).expect("it stays"), "12\n");
        assert!(fs::symlink_metadata(&place).expect("it stays").is_symlink());
        fs::remove_file(&place).expect("it is there");
        mkfifoat(CWD, &place, Mode::RUSR | Mode::WUSR).expect("a pipe");
        refused(&stage, &conf, &[&place.display().to_string(), "something else than a file"]);
    }
}

#[test]
fn directories_that_do_not_exist_are_named_by_start_and_check() {
    let stage = Solo::new();
    for line in ["LogFile @.log", "LockFile @.lock", "Path @.sock", "LogFile @.records"] {
        let keyword = line.split(' ').next().expect("a keyword");
        let conf = stage.write("a", &solo("").replace(line, &format!("{keyword} /nonexistent/x")));
        refused(&stage, &conf, &["/nonexistent/x", "No such file or directory"]);
    }
    // What the first three starts had made is gone.
    assert!(!stage.files.path().join("a.lock").exists());
}

#[test]
fn settings_that_cannot_be_are_refused_by_start_and_check() {
    let stage = Solo::new();
    let check = |general: &str, words: &[&str]| {
        let conf = stage.write("a", &solo(general));
        refused(&stage, &conf, words);
    };
    check("HashSize 4294967295", &["out of range", "67108864"]);
    let networks: String =
        (0..16_385).map(|n| format!("IPv4_address 10.0.{}.{}\n", n / 256, n % 256)).collect();
    let filter = format!("Filter From Kernelspace {{ Address Ignore {{ {networks} }} }}");
    check(&format!("EventSource tap\n {filter}"), &["EventSource tap", "16384"]);
    let link = "Interface lo Port 1 IPv4_address 127.0.0.1\n IPv4_Destination_Address 127.0.0.2";
    let sync =
        format!("Sync {{ Mode NOTRACK {{ DisableInternalCache on\n }} UDP {{ {link}\n }} }}");
    let text = solo("PollSecs 3").replace("Stats { LogFile @.records\n }", &sync);
    let conf = stage.write("a", &text);
    refused(&stage, &conf, &["PollSecs"]);
}

#[test]
fn a_valid_configuration_of_a_running_daemon_passes_the_check() {
    let stage = Solo::new();
    let daemon = stage.ours("a", &solo(""));
    let conf = daemon.path("conf");
    let output = run_ours(&stage.node, &["--check", "-C", conf.to_str().expect("text")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn spawn(stage: &Solo, conf: &str) -> Child {
    let mut command = Command::new(Brand::Ours.program());
    command.args(["-C", conf]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    stage.node.within(|| command.spawn().expect("it can be started"))
}

#[test]
fn of_two_starters_with_one_socket_and_two_lock_files_exactly_one_wins() {
    let stage = Solo::new();
    let first = stage.write("a", &solo("EventSource netlink"));
    let text = solo("EventSource netlink").replace("@.lock", "@.second");
    let second = format!("{}/b.conf", stage.files.path().display());
    let stem = format!("{}/a", stage.files.path().display());
    fs::write(&second, text.replace('@', &stem)).expect("a configuration");
    for round in 0..20 {
        let mut pair = [spawn(&stage, &first), spawn(&stage, &second)];
        let loser = wait_for("one gives up", || {
            pair.iter_mut().position(|c| c.try_wait().expect("our child").is_some())
        });
        wait_until("it serves", || run_ours(&stage.node, &["-C", &first, "-s"]).status.success());
        let winner = &mut pair[1 - loser];
        assert!(winner.try_wait().expect("our child").is_none(), "round {round}: none is left");
        // Every other time the next two meet what a killed daemon leaves behind.
        let signal = if round % 2 == 0 { Signal::KILL } else { Signal::TERM };
        let pid = rustix::process::Pid::from_child(winner);
        rustix::process::kill_process(pid, signal).expect("it runs");
        winner.wait().expect("it ends");
        pair[loser].wait().expect("it has ended");
        let left = fs::exists(Path::new(&format!("{stem}.sock.lock"))).expect("a look");
        assert_eq!(left, round % 2 == 0, "the lock goes with a daemon that is not killed");
    }
}

#[test]
fn without_a_control_socket_it_runs_and_a_reload_brings_and_takes_one() {
    let stage = Solo::new();
    let without = solo("").replace("UNIX { Path @.sock\n }", "");
    let conf = stage.write("a", &without);
    let check = run_ours(&stage.node, &["--check", "-C", &conf]);
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    let mut child = spawn(&stage, &conf);
    let path = |ending: &str| stage.files.path().join(format!("a.{ending}"));
    let log = || fs::read_to_string(path("log")).unwrap_or_default();
    wait_until("it serves", || log().contains("initialization completed"));
    let asked = run_ours(&stage.node, &["-C", &conf, "-s"]);
    assert_eq!(asked.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&asked.stderr).contains("names no control socket"));
    let pid = rustix::process::Pid::from_child(&child);
    let hup = || rustix::process::kill_process(pid, Signal::HUP).expect("it runs");
    stage.write("a", &solo(""));
    hup();
    let asks = || run_ours(&stage.node, &["-C", &conf, "-s"]).status.success();
    wait_until("it answers", asks);
    stage.write("a", &without);
    hup();
    wait_until("the socket is gone", || !path("sock").exists() && !path("sock.lock").exists());
    assert!(child.try_wait().expect("our child").is_none());
    rustix::process::kill_process(pid, Signal::TERM).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}
