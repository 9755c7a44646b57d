//! The daemon as another user than root: what it keeps, and that all it does goes on to work. `cargo xtask test vm` runs
//! this on older kernels too.

use common::filter::FilterConfig;
use host::privilege::{User, Wish};
use host::source::{Choice, KernelFilter, Settings, Source};
use host::sys::bpf;
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::thread;
use tests::churn;
use tests::conf::{Conf, End, swap};
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::{Brand, Daemon, run_ours};
use tests::netns;
use tests::solo::{Solo, solo};
use tests::stage::Stage;
use tests::wait::{wait_equal, wait_until};

const USER: &str = "nobody";
const UID: u32 = 65_534;
const SOURCES: [&str; 3] = ["netlink", "tap", "hook"];
const READ: &str = "the configuration was read again";
const RUNS_AS: &str = "runs as user nobody with CAP_NET_ADMIN alone";

/// A directory in which the daemon's files lie as in `/run/lock`: each may remove its own.
fn shared(directory: &Path) {
    fs::set_permissions(directory, Permissions::from_mode(0o1777)).expect("it is ours");
}

/// Lines of the status of every thread of a process, each once.
fn threads(pid: u32) -> BTreeSet<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let texts = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok());
    let wanted = ["Uid", "Gid", "Groups", "Cap", "NoNewPrivs", "Seccomp:"];
    let is_wanted = |line: &&str| wanted.iter().any(|name| line.starts_with(name));
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    texts.flat_map(|text| text.lines().filter(is_wanted).map(words).collect::<Vec<_>>()).collect()
}

/// What every thread of such a daemon shows: one line of each kind, so that all threads show the same.
fn least() -> BTreeSet<String> {
    let group = Wish { user: User::Named(USER.into()), group: None };
    let gid = group.resolve().expect("there is one").expect("it is not root").gid;
    let lines = [
        format!("Uid: {UID} {UID} {UID} {UID}"),
        format!("Gid: {gid} {gid} {gid} {gid}"),
        "Groups:".into(),
        "CapInh: 0000000000000000".into(),
        "CapPrm: 0000000000001000".into(),
        "CapEff: 0000000000001000".into(),
        "CapBnd: 0000000000000000".into(),
        "CapAmb: 0000000000000000".into(),
        "NoNewPrivs: 1".into(),
        "Seccomp: 2".into(),
    ];
    lines.into()
}

/// Node B as that user, with node A as its peer.
fn node_b<'a>(stage: &'a Stage, source: &str) -> Daemon<'a> {
    shared(stage.files.path());
    let conf = Conf::new(End::B).general(&format!("EventSource {source}\n User {USER}"));
    let text = swap(&conf.text(stage.files.path(), "b"), "From Userspace", "From Kernelspace");
    let text = swap(&text, "  IPv4_address 127.0.0.0/8\n", "");
    fs::write(stage.files.path().join("b.conf"), text).expect("a configuration is written");
    let ours = Command::new(Brand::Ours.program());
    Daemon::start_with(ours, &stage.b, Brand::Ours, &stage.files, "b")
}

fn everything_goes_on(source: &str) {
    let stage = Stage::new();
    stage.b.nft(
        "table inet t { chain c { type filter hook output priority 0; ct state new accept; }; }",
    );
    let mut b = node_b(&stage, source);
    let a = stage.ours("a", &Conf::new(End::A));
    b.wait_to_say(RUNS_AS);
    assert_eq!(threads(b.pid()), least(), "{source}");
    let taken = b.status()["events"]["source"].clone();

    // A burst of packets, and flows of the peer, which are committed.
    stage.b.within(|| churn::udp_flows(0, 2000));
    wait_equal("the burst is known", || b.internal().len(), || 2000);
    Requests::open(&stage.a).create(&udp_flows(0..50));
    wait_until("flows of the peer are known", || b.external().len() == 50);
    b.ask(&["-c"]);
    b.wait_to_say("Committed 50 new entries");

    // The filter changes in the kernel too.
    let text = b.file("conf");
    let filter = "Filter From Kernelspace {";
    b.reload(&swap(&text, filter, &format!("{filter} Protocol Accept {{ TCP }}")), READ);
    wait_until("they are refused now", || b.internal().is_empty());
    stage.b.within(|| churn::udp_flows(5000, 100));
    let filtered = || b.status()["events"]["filtered"].as_u64().unwrap_or_default();
    wait_until("what is refused is counted", || filtered() > 0);
    b.reload(&text, READ);
    wait_until("they come back", || b.internal().len() >= 2100);
    assert!(!b.log().contains("not all settings could be changed"), "{}", b.log());

    // A new engine, with new links and the event source that is open.
    b.reload(&swap(&text, "HashLimit 262144", "HashLimit 262000"), READ);
    b.wait_to_say("HashLimit changed: the engine is started again");
    assert_eq!(b.status()["events"]["source"], taken, "{source}");
    wait_until("all is known again", || b.internal().len() >= 2100);
    stage.b.within(|| churn::udp_flows(8000, 100));
    wait_until("news is heard", || b.internal().len() >= 2200);
    wait_until("the peer is heard", || b.external().len() == 50);
    assert_eq!(threads(b.pid()), least(), "{source}: after a reload");
    assert_eq!(a.internal().len(), 50);
    the_end(&mut b);
}

/// Asks a daemon over HTTP; the answer's body.
pub(crate) fn get(stage: &Solo, path: &str) -> String {
    let mut text = String::new();
    stage.node.within(|| {
        let mut stream = TcpStream::connect("127.0.0.1:10466").expect("it listens");
        write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").expect("it reads");
        stream.read_to_string(&mut text).expect("it answers");
    });
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.contains(" 200 "), "{head}");
    body.to_owned()
}

/// Its sockets are open before it is that user; a scrape, the feed and what the kernel counts need nothing that it lacks.
#[test]
fn metrics_and_the_feed_go_on_with_net_admin_alone() {
    let stage = Solo::new();
    shared(stage.files.path());
    let text = solo(&format!("EventSource tap\n User {USER}"))
        + "Metrics {\n Listen 127.0.0.1:10466\n Census 1\n}\nSubscribe {\n Path @.feed\n}\n";
    let daemon = stage.ours("a", &text);
    assert_eq!(threads(daemon.pid()), least());
    Requests::open(&stage.node).create(&udp_flows(0..20));
    let metric = |name: &str| {
        let body = get(&stage, "/metrics");
        let line = body.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        line.unwrap_or_else(|| panic!("no {name}: {body}"))
    };
    wait_equal(
        "a scrape tells of them",
        || metric("ctflow_table_flows{"),
        || "ctflow_table_flows{side=\"local\"} 20".to_owned(),
    );
    assert_eq!(metric("ctflow_kernel_flows "), "ctflow_kernel_flows 20");
    assert_eq!(get(&stage, "/ready"), "ready\n");
    let words = ["subscribe", "--snapshot", "--count", "20", "-o", "json", "-C"];
    let mut command = Command::new(Brand::Ours.program().with_file_name("ctflow"));
    command.args(words).arg(daemon.path("conf"));
    let output = stage.node.within(|| command.output().expect("it starts"));
    let rows = String::from_utf8_lossy(&output.stdout).matches("\"event\":\"have\"").count();
    assert_eq!((output.status.code(), rows), (Some(0), 20), "{output:?}");
    // The address changes: another socket is bound by the user.
    let other =
        swap(&daemon.file("conf"), "127.0.0.1:10466", "127.0.0.1:10467\n Listen 127.0.0.1:10466");
    daemon.reload(&other, READ);
    wait_equal("it listens again", || get(&stage, "/ready"), || "ready\n".to_owned());
    assert_eq!(threads(daemon.pid()), least(), "after a reload");
}

/// The daemon ends well and leaves only the files that it should.
fn the_end(daemon: &mut Daemon<'_>) {
    let paths = ["lock", "sock", "sock.lock"].map(|ending| daemon.path(ending));
    assert!(paths.iter().all(|path| path.exists()));
    daemon.signal(Signal::TERM);
    assert!(daemon.wait_for_end().success());
    paths.iter().for_each(|path| assert!(!path.exists(), "{} is left", path.display()));
}

#[test]
fn netlink_goes_on_with_net_admin_alone() {
    everything_goes_on(SOURCES[0]);
}

#[test]
fn the_tap_goes_on_with_net_admin_alone() {
    everything_goes_on(SOURCES[1]);
}

#[test]
fn the_hook_goes_on_with_net_admin_alone() {
    everything_goes_on(SOURCES[2]);
}

#[test]
fn another_source_needs_a_restart_and_the_open_one_goes_on() {
    let stage = Solo::new();
    shared(stage.files.path());
    let daemon = stage.ours("a", &solo(&format!("EventSource tap\n User {USER}")));
    let text = daemon.file("conf");
    let changes = ["NetlinkBufferSize 1048576", "Filter From Kernelspace { MinimumAge 700 }"];
    for (n, line) in changes.into_iter().enumerate() {
        let other = swap(&text, "EventSource tap", &format!("EventSource tap\n {line}"));
        daemon.reload(&other, "the old configuration stays in force");
        let refused = daemon.log().matches("this needs a restart").count();
        assert_eq!(refused, n + 1, "{line}: {}", daemon.log());
        assert_eq!(daemon.status()["events"]["source"], "tap");
    }
    Requests::open(&stage.node).create(&udp_flows(0..20));
    wait_until("it hears", || daemon.internal().len() == 20);
    // One that needs no program is opened as ever.
    daemon.reload(&swap(&text, "EventSource tap", "EventSource netlink"), READ);
    wait_until("they are known", || daemon.internal().len() == 20);
    assert_eq!(daemon.status()["events"]["source"], "netlink");
}

/// The credentials are those of a thread: this one has none any more, those of the other tests stay root's.
#[test]
fn maps_and_links_that_are_open_go_on_to_work_and_nothing_new_is_loaded() {
    netns::enter_new();
    for choice in [Choice::Netlink, Choice::Tap, Choice::Hook] {
        let settings = Settings { choice, ..Settings::default() };
        let (mut source, _) = Source::open(&settings).expect("it opens");
        source.reserve().expect("there is memory");
        let body = move || {
            let user = Wish { user: User::Named(USER.into()), group: None };
            user.resolve().expect("it exists").expect("not root").become_it().expect("we are root");
            churn::udp_flows(0, 100);
            source.set_filter(&KernelFilter::default()).expect("maps can be written");
            let mut heard = 0;
            wait_until("events are heard", || {
                source.drain(4096, &mut |_, _| heard += 1).expect("it drains");
                heard >= 100
            });
            assert!(source.account().delivered >= 100);
            let config = FilterConfig { age_ns: 1, ..FilterConfig::PASS };
            source.open_filter().expect("maps can be written");
            source.set_filter(&KernelFilter { config, ..KernelFilter::default() }).expect("again");
            let (refused, _) = bpf::load_netfilter(&[], c"x", c"GPL").expect_err("nothing to load");
            assert_eq!(refused.raw_os_error(), Some(libc::EPERM), "{refused}");
            assert!(Source::try_programs(false).is_err());
        };
        thread::spawn(body).join().expect("the thread ends well");
    }
    let (as_root, _) = bpf::load_netfilter(&[], c"x", c"GPL").expect_err("nothing to load");
    assert_ne!(as_root.raw_os_error(), Some(libc::EPERM), "the others are root still");
}

#[test]
fn a_log_is_opened_again_by_the_user_and_root_s_old_one_is_handed_over() {
    let stage = Solo::new();
    shared(stage.files.path());
    fs::write(stage.files.path().join("a.log"), "earlier\n").expect("a file of root's");
    let daemon = stage.ours("a", &solo(&format!("User {USER}")));
    let owner = |path: &Path| fs::metadata(path).expect("it exists").uid();
    assert_eq!(owner(&daemon.path("log")), UID);
    fs::rename(daemon.path("log"), daemon.path("log.1")).expect("logrotate does so");
    daemon.signal(Signal::HUP);
    wait_until("a new one is there", || daemon.log().contains(READ));
    assert_eq!(owner(&daemon.path("log")), UID);
    assert!(fs::read_to_string(daemon.path("log.1")).expect("it is there").starts_with("earlier"));
}

#[test]
fn what_the_user_may_not_remove_is_named_left_and_taken_over() {
    let stage = Solo::new();
    fs::set_permissions(stage.files.path(), Permissions::from_mode(0o755)).expect("it is ours");
    for _ in 0..2 {
        let mut daemon = stage.ours("a", &solo(&format!("User {USER}")));
        let paths = ["lock", "sock", "sock.lock"].map(|ending| daemon.path(ending));
        for path in &paths {
            daemon.wait_to_say(&format!("may not remove {}", path.display()));
        }
        assert!(!daemon.log().contains("may not open"), "{}", daemon.log());
        daemon.signal(Signal::TERM);
        assert!(daemon.wait_for_end().success());
        assert!(paths.iter().all(|path| path.exists()), "they stay");
        fs::remove_file(daemon.path("log")).expect("it is there");
    }
    // After a kill, in a directory where the user's own files are those that it may remove, too.
    shared(stage.files.path());
    let mut daemon = stage.ours("a", &solo(&format!("User {USER}")));
    daemon.kill_hard();
    let mut daemon = stage.ours("a", &solo(&format!("User {USER}")));
    the_end(&mut daemon);
}

#[test]
fn a_daemon_in_the_background_in_real_time_and_with_shards_has_given_up_its_rights_too() {
    let stage = Solo::new();
    shared(stage.files.path());
    let lines = format!(
        "User {USER}\n Group {USER_GROUP}\n Shards 2\n Scheduler {{ Type FIFO Priority 7 }}"
    );
    stage.write("a", &solo(&lines));
    let conf = stage.files.path().join("a.conf");
    let conf = conf.to_str().expect("text");
    let started = run_ours(&stage.node, &["-d", "-C", conf]);
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    let pid = fs::read_to_string(stage.files.path().join("a.lock")).expect("it is signed");
    let pid: u32 = pid.trim().parse().expect("a process id");
    assert_eq!(threads(pid), least());
    let asked = run_ours(&stage.node, &["-C", conf, "-s", "runtime"]);
    assert!(asked.status.success());
    let log = fs::read_to_string(stage.files.path().join("a.log")).expect("there is one");
    // In some environments even root may not schedule in real time.
    let chrt = Command::new("chrt").args(["-f", "7", "true"]).status();
    let is_refused = chrt.is_ok_and(|status| !status.success());
    let told = log.contains("cannot schedule");
    assert!(is_refused || !told, "the threads inherit it: {log}");
    assert!(run_ours(&stage.node, &["-C", conf, "-k"]).status.success());
    wait_until("it is gone", || !Path::new(&format!("/proc/{pid}")).exists());
}

/// The group of that user.
const USER_GROUP: &str = "nogroup";

#[test]
fn auto_becomes_the_packages_user_where_there_is_one() {
    let stage = Solo::new();
    shared(stage.files.path());
    let passwd = fs::read_to_string("/etc/passwd").expect("there is one");
    let with = stage.files.path().join("passwd");
    let line = format!("ctflow:x:{UID}:{UID}::/:/bin/false\n");
    assert!(!passwd.contains("\nctflow:"), "this machine has that user: the test cannot tell");
    fs::write(&with, passwd + &line).expect("it is written");
    let without = stage.ours("a", &solo(""));
    assert!(threads(without.pid()).contains("Uid: 0 0 0 0"));
    assert!(!without.log().contains("runs as user"), "{}", without.log());
    drop(without);
    let mut command = Command::new("unshare");
    let script = format!("mount --bind {} /etc/passwd && exec \"$0\" \"$@\"", with.display());
    command.args(["--mount", "sh", "-c", &script]).arg(Brand::Ours.program());
    stage.write("b", &solo(""));
    let daemon = Daemon::start_with(command, &stage.node, Brand::Ours, &stage.files, "b");
    daemon.wait_to_say("runs as user ctflow with CAP_NET_ADMIN alone");
    assert!(threads(daemon.pid()).contains("CapEff: 0000000000001000"));
}

#[test]
fn a_user_or_a_group_that_does_not_exist_is_refused_by_the_check_and_by_the_start() {
    let stage = Solo::new();
    for (line, said) in [
        ("User nosuch", "User nosuch: there is no such user"),
        ("Group nosuch\n User nobody", "Group nosuch: there is no such group"),
    ] {
        let conf = stage.write("a", &solo(line));
        for args in [&["--check", "-C", &conf][..], &["-C", &conf]] {
            let output = run_ours(&stage.node, args);
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && told.contains(said), "{args:?}: {told}");
        }
    }
}
