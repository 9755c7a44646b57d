//! The daemon as a process: systemd, SIGHUP, the background, two starters at once.

use rustix::process::Signal;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tests::conf::{Conf, End};
use tests::conntrack::sources;
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::{Brand, Daemon, run_ours};
use tests::solo::{Solo, solo};
use tests::stage::Stage;
use tests::wait::{PATIENCE, wait_equal, wait_for, wait_until};

/// The socket systemd would listen on.
struct Systemd {
    socket: UnixDatagram,
}

impl Systemd {
    fn listen(stage: &Solo) -> Self {
        let socket = UnixDatagram::bind(stage.files.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        Self { socket }
    }

    /// A daemon that reports its readiness, and feeds the watchdog, through the socket.
    fn command(stage: &Solo, watchdog: Duration) -> Command {
        let mut command = Command::new(Brand::Ours.program());
        command.env("NOTIFY_SOCKET", stage.files.path().join("notify"));
        command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        command
    }

    /// The next message that begins with these words.
    fn expect(&self, words: &str) -> String {
        wait_for(words, || {
            let mut text = [0; 4096];
            let len = self.socket.recv(&mut text).expect("the daemon speaks");
            let text = String::from_utf8_lossy(&text[..len]).into_owned();
            text.lines().any(|line| line == words).then_some(text)
        })
    }

    /// How often the watchdog was fed since it was looked at last.
    fn fed(&self) -> usize {
        let mut text = [0; 4096];
        self.socket.set_nonblocking(true).expect("a socket can do that");
        let all =
            std::iter::from_fn(|| self.socket.recv(&mut text).ok().map(|n| text[..n].to_vec()));
        let fed = all.filter(|text| String::from_utf8_lossy(text).contains("WATCHDOG=1")).count();
        self.socket.set_nonblocking(false).expect("a socket can do that");
        fed
    }
}

#[test]
fn systemd_hears_of_readiness_life_reload_and_end() {
    let stage = Solo::new();
    let systemd = Systemd::listen(&stage);
    stage.write("a", &solo(""));
    let command = Systemd::command(&stage, Duration::from_millis(100));
    let mut daemon = Daemon::start_with(command, &stage.node, Brand::Ours, &stage.files, "a");
    let ready = systemd.expect("READY=1");
    assert!(ready.contains(&format!("MAINPID={}", daemon.pid())), "{ready}");
    assert!(ready.contains("STATUS="), "{ready}");
    systemd.expect("WATCHDOG=1");
    systemd.expect("WATCHDOG=1");
    daemon.signal(Signal::HUP);
    assert!(systemd.expect("RELOADING=1").contains("MONOTONIC_USEC="));
    systemd.expect("READY=1");
    daemon.signal(Signal::TERM);
    systemd.expect("STOPPING=1");
    assert_eq!(daemon.wait_for_end().code(), Some(0));
}

#[test]
fn systemd_hears_the_end_of_every_reload_and_whether_it_changed_anything() {
    let stage = Solo::new();
    let systemd = Systemd::listen(&stage);
    stage.write("a", &solo(""));
    let command = Systemd::command(&stage, Duration::from_millis(100));
    let daemon = Daemon::start_with(command, &stage.node, Brand::Ours, &stage.files, "a");
    systemd.expect("READY=1");
    for (conf, status) in [
        (solo("HashLimit many"), "STATUS=serving; the last reload changed nothing, see the log"),
        (solo("Shards 2"), "STATUS=serving"),
        (solo("Shards 2\n Syslog off"), "STATUS=serving"),
    ] {
        stage.write("a", &conf);
        daemon.signal(Signal::HUP);
        systemd.expect("RELOADING=1");
        let ready = systemd.expect("READY=1");
        assert!(ready.lines().any(|line| line == status), "{ready}");
        // The engine that runs now is the one that is asked.
        systemd.expect("WATCHDOG=1");
        systemd.expect("WATCHDOG=1");
        systemd.fed();
    }
    daemon.ask(&["-s"]);
}

#[test]
fn systemd_hears_nothing_where_the_configuration_says_so() {
    let stage = Solo::new();
    let systemd = Systemd::listen(&stage);
    stage.write("a", &solo("Systemd off"));
    let command = Systemd::command(&stage, Duration::from_millis(100));
    let mut daemon = Daemon::start_with(command, &stage.node, Brand::Ours, &stage.files, "a");
    wait_until("it serves", || daemon.log().contains("initialization completed"));
    daemon.signal(Signal::TERM);
    daemon.wait_for_end();
    systemd.socket.set_nonblocking(true).expect("a socket can do that");
    assert!(systemd.socket.recv(&mut [0; 4096]).is_err());
}

/// Holds one thread of a daemon still, as a debugger does.
struct Held(i32);

impl Held {
    fn thread(pid: u32, name: &str) -> Self {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
        let named = tasks.map(|task| task.expect("it runs").path()).find(|task| {
            fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name)
        });
        let path = named.expect("the thread exists");
        let tid = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse().ok());
        let held = Self(tid.expect("tasks are numbers"));
        held.ask(libc::PTRACE_SEIZE);
        held.ask(libc::PTRACE_INTERRUPT);
        held
    }

    fn ask(&self, request: libc::c_uint) {
        #[expect(unsafe_code, reason = "nothing else stops one thread of another process")]
        // SAFETY: these requests take no memory.
        let result = unsafe { libc::ptrace(request, self.0, 0, 0) };
        assert_eq!(result, 0, "ptrace: {}", std::io::Error::last_os_error());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // A process is not over while a tracer holds one of its threads.
        self.ask(libc::PTRACE_DETACH);
    }
}

#[test]
fn the_watchdog_is_not_fed_while_the_engine_hangs() {
    let stage = Solo::new();
    let systemd = Systemd::listen(&stage);
    stage.write("a", &solo(""));
    let command = Systemd::command(&stage, Duration::from_millis(100));
    let daemon = Daemon::start_with(command, &stage.node, Brand::Ours, &stage.files, "a");
    systemd.expect("WATCHDOG=1");
    let _held = Held::thread(daemon.pid(), "shard-0");
    // The main thread lives: it wakes at each of its ticks, each of which would feed the watchdog.
    wait_until("the watchdog is fed no more", || {
        systemd.fed();
        let wakes = wakes(daemon.pid());
        wait_until("the main thread has woken many times", || {
            self::wakes(daemon.pid()) > wakes + 20
        });
        systemd.fed() == 0
    });
}

/// How often the main thread of a process has gone to sleep.
fn wakes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/task/{pid}/status")).expect("it runs");
    let mut lines = status.lines();
    let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.and_then(|count| count.trim().parse().ok()).expect("proc_pid_status(5)")
}

#[test]
fn in_the_background_the_process_that_was_started_tells_systemd_who_serves() {
    let stage = Solo::new();
    let systemd = Systemd::listen(&stage);
    let conf = stage.write("a", &solo(""));
    let mut command = Systemd::command(&stage, Duration::from_secs(60));
    command.args(["-d", "-C", &conf]);
    let output = stage.node.within(|| command.output().expect("it starts"));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    // The daemon has said that it is ready: it answers at once, and knows the kernel's table.
    assert!(run_ours(&stage.node, &["-C", &conf, "-s"]).status.success());
    let pid = fs::read_to_string(stage.files.path().join("a.lock")).expect("a lock file");
    assert!(systemd.expect("READY=1").contains(&format!("MAINPID={}\n", pid.trim())));
    let link = fs::read_link(format!("/proc/{}/cwd", pid.trim())).expect("it runs");
    assert_eq!(link.to_str(), Some("/"));
    assert!(run_ours(&stage.node, &["-C", &conf, "-k"]).status.success());
    systemd.expect("STOPPING=1");
}

#[test]
fn a_background_start_that_fails_after_the_fork_is_a_failure_of_the_caller() {
    let stage = Solo::new();
    let conf = stage.write("a", &solo(""));
    let mut command = Command::new("sh");
    // Too few descriptors for the work after the fork, or before it: both errors appear here.
    command.args(["-c", "ulimit -n 12; exec \"$@\"", "sh"]);
    command.arg(Brand::Ours.program()).args(["-d", "-C", &conf]);
    let output = stage.node.within(|| command.output().expect("it starts"));
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("conntrackd: "), "{said}");
}

#[test]
fn a_lock_file_that_is_no_file_is_refused_and_stays() {
    let stage = Solo::new();
    let place = stage.files.path().join("a.lock");
    let _socket = UnixDatagram::bind(&place).expect("a socket");
    let conf = stage.write("a", &solo(""));
    let output = run_ours(&stage.node, &["-C", &conf]);
    assert_eq!(output.status.code(), Some(1));
    assert!(place.exists());
    fs::remove_file(&place).expect("it is there");
    rustix::fs::mkfifoat(rustix::fs::CWD, &place, rustix::fs::Mode::RUSR).expect("a pipe");
    let _reader = fs::OpenOptions::new().read(true).write(true).open(&place).expect("a pipe");
    let output = run_ours(&stage.node, &["-C", &conf]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("something else than a file"), "{said}");
    assert!(place.exists());
}

fn spawn(stage: &Solo, conf: &str) -> Child {
    let mut command = Command::new(Brand::Ours.program());
    command.args(["-C", conf]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    stage.node.within(|| command.spawn().expect("it can be started"))
}

#[test]
fn of_two_starters_exactly_one_wins() {
    let stage = Solo::new();
    let conf = stage.write("a", &solo("EventSource netlink"));
    for round in 0..50 {
        let mut pair = [spawn(&stage, &conf), spawn(&stage, &conf)];
        let loser = wait_for("one gives up", || {
            pair.iter_mut().position(|c| c.try_wait().expect("our child").is_some())
        });
        let winner = &mut pair[1 - loser];
        let pid = winner.id().to_string();
        let lock = || fs::read_to_string(stage.files.path().join("a.lock")).unwrap_or_default();
        wait_equal("the winner holds the lock", || lock().trim().to_owned(), || pid.clone());
        wait_until("it serves", || run_ours(&stage.node, &["-C", &conf, "-s"]).status.success());
        assert!(winner.try_wait().expect("our child").is_none(), "round {round}: none is left");
        // Every other time the next two meet a lock that is just being given up.
        if round % 2 == 0 {
            winner.kill().expect("it runs");
        } else {
            let pid = rustix::process::Pid::from_child(winner);
            rustix::process::kill_process(pid, Signal::TERM).expect("it runs");
        }
        winner.wait().expect("it ends");
        pair[loser].wait().expect("it has ended");
    }
}

#[test]
fn upstream_defect_18_a_crash_does_not_keep_the_next_daemon_from_starting() {
    let stage = Solo::new();
    let mut first = stage.ours("a", &solo(""));
    first.kill_hard();
    assert!(first.path("lock").exists());
    drop(first);
    stage.ours("a", &solo("")).ask(&["-s"]);
}

#[test]
fn upstream_defect_4_no_client_gets_the_number_of_a_closed_standard_input() {
    let stage = Solo::new();
    stage.write("a", &solo(""));
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" <&-", "sh"]).arg(Brand::Ours.program());
    let daemon = Daemon::start_with(command, &stage.node, Brand::Ours, &stage.files, "a");
    let stdin = fs::read_link(format!("/proc/{}/fd/0", daemon.pid())).expect("0 is open");
    assert_eq!(stdin.to_str(), Some("/dev/null"));
}

#[test]
fn upstream_defect_34_real_time_scheduling_is_for_those_who_ask() {
    let stage = Solo::new();
    let daemon = stage.ours("a", &solo(""));
    let policy = |daemon: &Daemon<'_>| daemon.scheduling("shard-0").expect("there is a shard");
    assert_eq!(policy(&daemon), "0/0");
    drop(daemon);
    let daemon = stage.ours("a", &solo("Scheduler { Type FIFO\n Priority 7 }"));
    let refused = || daemon.log().contains("[warning] cannot schedule the engine as Fifo(7)");
    wait_until("it is so, or a warning", || policy(&daemon) == "1/7" || refused());
    daemon.ask(&["-s"]);
}

#[test]
fn something_else_than_a_socket_is_not_removed() {
    let stage = Solo::new();
    let conf = stage.write("a", &solo(""));
    let place = stage.files.path().join("a.sock");
    fs::write(&place, "precious").expect("a file");
    let output = run_ours(&stage.node, &["-C", &conf]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("something else than a socket"), "{said}");
    assert_eq!(fs::read_to_string(place).expect("it is still there"), "precious");
}

#[test]
fn a_log_that_was_moved_away_is_opened_again() {
    let stage = Solo::new();
    let daemon = stage.ours("a", &solo(""));
    let (log, old) = (daemon.path("log"), daemon.path("log.1"));
    wait_until("it serves", || daemon.log().contains("initialization completed"));
    fs::rename(&log, &old).expect("the log is there");
    daemon.signal(Signal::HUP);
    wait_until("there is a new one", || daemon.log().contains("the configuration was read again"));
    assert!(
        fs::read_to_string(old).expect("the old one stays").contains("initialization completed")
    );
    assert!(!daemon.log().contains("initialization completed"));
}

/// Writes another configuration and has it read; until the log says these words.
fn reload(stage: &Solo, daemon: &Daemon<'_>, conf: &str, words: &str) {
    let before = daemon.log().matches(words).count();
    stage.write("a", conf);
    daemon.signal(Signal::HUP);
    wait_until(words, || daemon.log().matches(words).count() > before);
}

const READ: &str = "the configuration was read again";

#[test]
fn a_broken_file_changes_nothing_and_is_told() {
    let stage = Solo::new();
    let conf = solo("Filter From Kernelspace { Address Ignore { IPv4_address 100.0.0.0/28 } }");
    let daemon = stage.ours("a", &conf);
    let broken = conf.replace("HashLimit 262144", "HashLimit many").replace("/28", "/8");
    reload(&stage, &daemon, &broken, "the configuration is not valid: nothing was changed");
    assert!(daemon.log().contains("[ERROR]") && daemon.log().contains("a.conf:5:"));
    stage.write("a", &conf);
    Requests::open(&stage.node).create(&udp_flows(0..20));
    wait_until("the old filter works", || daemon.internal().len() == 4);
}

/// Flows outside of the filters that come and go stay known exactly while the filter changes all the time.
fn filters_change_under_churn(source: &str) {
    let stage = Solo::new();
    let filter = |prefix: &str| {
        solo(&format!(
            "EventSource {source}\n NetlinkBufferSize 8388608\n Filter From Kernelspace \
             {{ Address Ignore {{ IPv4_address 9.9.9.9\n IPv4_address {prefix} }} }}"
        ))
    };
    let daemon = stage.ours("a", &filter("100.255.0.0/16"));
    let mut requests = Requests::open(&stage.node);
    // In either filter's sets, or none.
    let refused_by_both = 0xfe_0000..0xfe_0010;
    for round in 0..10_u32 {
        let flows = round * 500..(round + 1) * 500;
        let conf = filter(["100.254.0.0/15", "100.254.0.0/16"][round as usize % 2]);
        stage.write("a", &conf);
        daemon.signal(Signal::HUP);
        requests.create(&udp_flows(flows.clone()));
        requests.delete(&udp_flows(flows.start..flows.start + 250));
    }
    wait_until("the last change is done", || daemon.log().matches(READ).count() > 0);
    let known = || daemon.internal().len();
    wait_equal("what lives is known", known, || 2500);
    // A lost event would be a missing line, since nothing else reports flows this short.
    let records = || daemon.file("records").lines().count();
    wait_equal("each end was heard", records, || 2500);
    reload(&stage, &daemon, &filter("100.254.0.0/15"), READ);
    requests.create(&udp_flows(refused_by_both));
    requests.create(&udp_flows(9000..9001));
    wait_equal("the filter works", known, || 2501);
    assert_eq!(daemon.stat(&["-s", "runtime"], "lost:"), 0);
}

#[test]
fn filters_change_under_churn_without_a_lost_event_through_the_tap() {
    filters_change_under_churn("tap");
}

#[test]
fn filters_change_under_churn_without_a_lost_event_through_netlink() {
    filters_change_under_churn("netlink");
}

#[test]
fn what_a_new_filter_refuses_leaves_the_tables_and_what_it_lets_in_comes() {
    let stage = Stage::new();
    let b = stage.ours("b", &Conf::new(End::B));
    let a = stage.ours("a", &Conf::new(End::A).general("NetlinkOverrunResync off"));
    Requests::open(&stage.a).create(&udp_flows(0..32));
    wait_until("B has all", || b.external().len() == 32);
    let text = a.file("conf").replace("10.99.0.0/24", "10.99.0.0/24\n IPv4_address 100.0.0.0/28");
    fs::write(a.path("conf"), text).expect("a configuration is written");
    a.signal(Signal::HUP);
    let wanted: BTreeSet<_> = (16..32).map(|n| format!("src=100.0.0.{n}")).collect();
    wait_equal("A forgets", || sources(&a.internal()), || wanted.clone());
    wait_equal("B forgets", || sources(&b.external()), || wanted.clone());
    let text = a.file("conf").replace("IPv4_address 100.0.0.0/28", "");
    fs::write(a.path("conf"), text).expect("a configuration is written");
    a.signal(Signal::HUP);
    wait_until("A learns", || a.internal().len() == 32);
    wait_until("B learns", || b.external().len() == 32);
}

#[test]
fn command_lines_that_cannot_be_are_refused_with_code_1() {
    let stage = Solo::new();
    for line in ["-Z", "-C", "-C /nonexistent/file", "-d -s", "-s nonsense"] {
        let output = run_ours(&stage.node, &line.split(' ').collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(1), "{line}");
        assert!(!output.stderr.is_empty(), "{line}");
    }
    let output = run_ours(&stage.node, &["-v"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("conntrackd "));
    assert_eq!(run_ours(&stage.node, &["-h"]).status.code(), Some(0));
}
