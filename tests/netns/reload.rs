//! SIGHUP with settings that need a new engine, and other signals.

use rustix::process::Signal;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tests::conf::{Conf, End};
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::{Brand, Daemon, run_ours};
use tests::solo::{Solo, solo};
use tests::stage::Stage;
use tests::wait::{wait_equal, wait_until};

const READ: &str = "the configuration was read again";

#[test]
fn a_limit_a_source_and_shards_change_and_flows_are_known_again() {
    let stage = Solo::new();
    let daemon = stage.ours("a", &solo(""));
    Requests::open(&stage.node).create(&udp_flows(0..20));
    wait_until("the flows are known", || daemon.internal().len() == 20);
    let text = daemon.file("conf");
    daemon.reload(&text.replace("HashLimit 262144", "HashLimit 5"), READ);
    daemon.wait_to_say("HashLimit changed: the engine is started again");
    wait_equal("the limit is the new one", || daemon.internal().len(), || 5);
    daemon.reload(&text.replace(" HashLimit", " EventSource netlink\n Shards 2\n HashLimit"), READ);
    wait_equal("all are known", || daemon.internal().len(), || 20);
    assert!(daemon.ask(&["-s", "runtime"]).contains("event source: netlink"));
    Requests::open(&stage.node).delete(&udp_flows(0..20));
    wait_until("their ends are lines", || daemon.file("records").lines().count() == 20);
}

#[test]
fn a_room_that_only_the_next_engine_makes_is_named() {
    let stage = Solo::new();
    let daemon = stage.ours("a", &solo(""));
    let text = daemon.file("conf").replace("HashSize 16384", "HashSize 8192");
    daemon.reload(&text, "HashSize is room made at the start");
    wait_until("it was read", || daemon.log().contains(READ));
    assert!(daemon.log().contains("the change takes effect with the next one"));
    assert!(!daemon.log().contains("the engine is started again"));
}

#[test]
fn a_scheduler_that_is_taken_out_of_the_file_leaves_the_shard_as_any_other_thread() {
    let stage = Solo::new();
    let real_time = "Scheduler { Type FIFO\n Priority 7 }";
    let daemon = stage.ours("a", &solo(real_time));
    let policy = || daemon.scheduling("shard-0").expect("there is a shard");
    let refused = || daemon.log().contains("[warning] cannot schedule the engine as Fifo(7)");
    wait_until("it is so, or a warning", || policy() == "1/7" || refused());
    daemon.reload(&daemon.file("conf").replace(real_time, ""), READ);
    wait_until("it is ordinary", || policy() == "0/0");
    let log = daemon.log();
    assert!(log.contains("Scheduler changed: the engine goes on"), "{log}");
}

#[test]
fn another_link_is_in_use_and_both_nodes_know_each_other_again() {
    for protocol in ["FTFW", "NOTRACK"] {
        let stage = Stage::with_cables(2);
        let conf = |end| Conf { protocol, ..Conf::new(end) };
        let b = stage.ours("b", &conf(End::B));
        let a = stage.ours("a", &conf(End::A));
        Requests::open(&stage.a).create(&udp_flows(0..20));
        wait_until("B knows", || b.external().len() == 20);
        let other = |text: String| {
            let text = text
                .replace("Interface va", "Interface va1")
                .replace("Interface vb", "Interface vb1");
            text.replace("10.99.0.", "10.99.21.")
        };
        for daemon in [&a, &b] {
            let text = other(daemon.file("conf"));
            daemon.reload(&text, READ);
            assert!(
                daemon.log().contains("the dedicated link changed: the engine is started again")
            );
        }
        wait_until("B knows again", || b.external().len() == 20);
        Requests::open(&stage.a).create(&udp_flows(100..120));
        wait_until("B hears", || b.external().len() == 40);
        assert!(b.ask(&["-s", "link"]).contains("vb1"), "{protocol}");
    }
}

const REFUSED: &str = "the configuration is not valid: nothing was changed";

#[test]
fn a_link_that_cannot_be_opened_is_refused_before_the_engine_stops_and_noted_by_the_check() {
    let stage = Stage::new();
    let b = stage.ours("b", &Conf::new(End::B));
    let a = stage.ours("a", &Conf::new(End::A));
    let text = a.file("conf");
    for (from, to) in [("Interface va", "Interface nope0"), ("10.99.0.1\n", "10.99.0.77\n")] {
        let other = text.replace(from, to);
        assert_ne!(other, text);
        a.reload(&other, REFUSED);
        let word = to.rsplit(' ').next().expect("a word").trim();
        a.wait_to_say(word);
        let checked =
            run_ours(&stage.a, &["--check", "-C", a.path("conf").to_str().expect("text")]);
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success() && said.contains(word), "{said}");
    }
    assert!(!a.log().contains("the engine is started again"));
    Requests::open(&stage.a).create(&udp_flows(0..10));
    wait_until("it replicates", || b.external().len() == 10);
    a.reload(&text, READ);
}

#[test]
fn settings_the_engine_does_not_start_with_leave_the_old_ones_in_force() {
    let stage = Solo::new();
    stage.write("a", &solo(""));
    let mut command = Command::new("setpriv");
    let dropped = "-bpf,-sys_admin";
    command.args(["--inh-caps", dropped, "--bounding-set", dropped, "--"]);
    command.arg(Brand::Ours.program());
    let daemon = Daemon::start_with(command, &stage.node, Brand::Ours, &stage.files, "a");
    let text = daemon.file("conf").replace(" HashLimit", " EventSource tap\n HashLimit");
    daemon.reload(&text, "the old configuration stays in force");
    daemon.wait_to_say("CAP_BPF");
    Requests::open(&stage.node).create(&udp_flows(0..10));
    wait_until("it hears", || daemon.internal().len() == 10);
    assert!(!daemon.log().contains(READ));
}

#[test]
fn statistics_become_replication_and_back() {
    let stage = Stage::new();
    let b = stage.ours("b", &Conf::new(End::B));
    let a = stage.ours("a", &Conf::new(End::A));
    let sync = a.file("conf");
    let begin = sync.find("General").expect("there is one");
    let records = a.path("records");
    let stats = format!("Stats {{ LogFile {}\n }}\n{}", records.display(), &sync[begin..]);
    a.reload(&stats, READ);
    assert!(a.ask(&["-s"]).starts_with("cache stats:"), "{}", a.ask(&["-s"]));
    Requests::open(&stage.a).create(&udp_flows(0..10));
    wait_until("the flows are known", || a.internal().len() == 10);
    Requests::open(&stage.a).delete(&udp_flows(0..5));
    wait_until("ends are lines", || a.file("records").lines().count() == 5);
    a.reload(&sync, READ);
    wait_until("B knows", || b.external().len() == 5);
}

#[test]
fn clients_wait_while_the_engine_is_started_again_and_none_is_sent_away() {
    let stage = Solo::new();
    let daemon = stage.ours("a", &solo("EventSource netlink"));
    let (text, over) = (daemon.file("conf"), AtomicBool::new(false));
    thread::scope(|scope| {
        let clients = scope.spawn(|| {
            let mut asked = 0;
            while !over.load(Ordering::Relaxed) {
                assert!(daemon.ask(&["-s"]).starts_with("cache stats:"));
                asked += 1;
            }
            asked
        });
        for round in 0..5 {
            let limit = format!("HashLimit {}", 1000 + round);
            daemon.reload(&text.replace("HashLimit 262144", &limit), READ);
        }
        over.store(true, Ordering::Relaxed);
        assert!(clients.join().expect("every client is answered") > 0);
    });
}

#[test]
fn much_garbage_is_refused_in_few_lines_and_the_daemon_answers_meanwhile() {
    let stage = Solo::new();
    let daemon = stage.ours("a", &solo(""));
    let before = daemon.log().lines().count();
    let garbage = "Nov 28 15:59:02 host kernel: something happened\n".repeat(1 << 15);
    fs::write(daemon.path("garbage"), &garbage).expect("a file");
    // The client reads the configuration too, from a copy that is right.
    let right = stage.files.path().join("right.conf");
    fs::copy(daemon.path("conf"), &right).expect("a copy");
    fs::rename(daemon.path("garbage"), daemon.path("conf")).expect("it is there");
    daemon.signal(Signal::HUP);
    let asked = run_ours(&stage.node, &["-C", right.to_str().expect("text"), "-s"]);
    assert!(asked.status.success());
    wait_until("it is logged", || daemon.log().contains("the configuration is not valid"));
    let lines = daemon.log().lines().count() - before;
    assert!(lines < 30, "{lines}");
    assert!(
        daemon.log().contains("32748 more errors and warnings are not shown"),
        "{}",
        daemon.log()
    );
    fs::write(daemon.path("conf"), vec![b' '; (16 << 20) + 1]).expect("a file");
    daemon.signal(Signal::HUP);
    wait_until("the limit is named", || daemon.log().contains("it is longer than 16 MiB"));
}

/// As an editor leaves it for a moment.
#[test]
fn an_empty_file_takes_nothing_away() {
    let stage = Solo::new();
    let daemon = stage.ours("a", &solo(""));
    let text = daemon.file("conf");
    daemon.reload("# soon\n", "the configuration is empty");
    daemon.reload(&text, READ);
    daemon.ask(&["-s"]);
}

#[test]
fn signals_that_mean_nothing_end_nothing_and_are_logged() {
    let stage = Solo::new();
    let mut daemon = stage.ours("a", &solo(""));
    for (signal, name) in [(Signal::USR1, "SIGUSR1"), (Signal::USR2, "SIGUSR2"), (Signal::PIPE, "")]
    {
        daemon.signal(signal);
        wait_until(name, || daemon.log().contains(name));
    }
    daemon.ask(&["-s"]);
    assert!(daemon.is_running());
}

/// Sets a limit of a running daemon.
fn limit(daemon: &Daemon<'_>, what: &str) {
    let pid = daemon.pid().to_string();
    let status = Command::new("prlimit").args(["--pid", &pid, what]).status();
    assert!(status.expect("util-linux is there").success());
}

#[test]
fn a_daemon_without_descriptors_says_so_in_moderation_and_recovers() {
    let stage = Solo::new();
    let daemon = stage.ours("a", &solo(""));
    let open = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("it runs").count();
    limit(&daemon, &format!("--nofile={}:4096", open - 1));
    let socket = daemon.path("sock");
    let _client = std::os::unix::net::UnixStream::connect(socket).expect("it listens");
    let logged = || daemon.log().matches("Too many open files").count();
    wait_until("it is logged", || logged() >= 5);
    // Ten at once, one a tenth of a second: unmoderated, there would be twenty.
    thread::sleep(Duration::from_secs(2));
    assert!(logged() <= 12, "{}", logged());
    limit(&daemon, "--nofile=4096:4096");
    daemon.ask(&["-s"]);
}

/// Sends SIGHUP to a process of this number.
fn hang_up(pid: &str) {
    let status = Command::new("kill").args(["-HUP", pid]).status();
    assert!(status.expect("there is kill").success());
}

#[test]
fn the_last_words_of_a_daemon_in_the_background_are_in_its_log() {
    let stage = Solo::new();
    let conf = stage.write("a", &solo("EventSource netlink"));
    let output = run_ours(&stage.node, &["-d", "-C", &conf]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = |ending: &str| stage.files.path().join(format!("a.{ending}"));
    let pid = fs::read_to_string(path("lock")).expect("a lock file").trim().to_owned();
    // A log that was moved away: last words go to the new one.
    fs::rename(path("log"), path("log.1")).expect("there is a log");
    hang_up(&pid);
    let log = || fs::read_to_string(path("log")).unwrap_or_default();
    wait_until("it is reopened", || log().contains(READ));
    // Room for threads and buffers, but not for a table of 238 MB.
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).expect("it has one");
    let kib: u64 = size.trim().trim_end_matches(" kB").parse().expect("a number");
    let room = format!("--as={}", (kib << 10) + (160 << 20));
    let limited = Command::new("prlimit").args(["--pid", &pid, &room]).status();
    assert!(limited.expect("util-linux is there").success());
    let text = solo("EventSource netlink").replace("HashSize 16384", "HashSize 16777216");
    stage.write("a", &text.replace("HashLimit 262144", "HashLimit 40000000"));
    hang_up(&pid);
    wait_until("its last words are there", || log().contains("memory allocation of"));
}
