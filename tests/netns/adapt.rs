//! Tap and hook take turns while flows come and go, and no change is missed.

use crate::hook::{Listener, differences};
use common::Instant;
use host::clock;
use host::source::{Choice, Settings};
use rustix::net::sockopt::set_ip_tos;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{array, thread};
use tests::conf::{Conf, End};
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::Daemon;
use tests::netns::{self, Namespace};
use tests::solo::{Solo, solo};
use tests::stage::Stage;
use tests::wait::{wait_equal, wait_until};
use tests::{churn, conntrack};

/// A step of the clock that decides: a look at the traffic.
const LOOK: Duration = Duration::from_secs(1);
/// More looks than it takes to change sides, and for both to have reported for a while.
const LOOKS: u32 = 9;

/// Has the kernel track what a node sends.
const RULES: &str = "table inet t { chain c { type filter hook output priority 0; ct state new,established accept; }; }";

fn adapting() -> Settings {
    let buffer_bytes = Some(64 << 20);
    Settings { choice: Choice::Auto, adapts: true, buffer_bytes, ..Settings::default() }
}

/// Ends a thread's work when it goes out of scope, and so too when a test fails.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Makes flows in the namespace of the calling thread until `ended` is set, so many that no load of the machine makes
/// them few; half of them end.
fn come_and_go(ended: &AtomicBool) {
    let mut base = 0;
    while !ended.load(Ordering::Relaxed) {
        churn::udp_flows(base, 1024);
        let [_, b, c, _] = (0x0001_0000 + base).to_be_bytes();
        netns::run("conntrack", &["-D", "-p", "udp", "-d", &format!("127.{b}.{c}.0/23")]);
        // The others stay until the next time around.
        base = (base + 1024) % 0xe000;
        thread::sleep(Duration::from_millis(2));
    }
}

/// Has flows come and go in a namespace while something is done.
fn while_flows_come_and_go(node: &Namespace, work: impl FnOnce()) {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ending = Ending(&ended);
        scope.spawn(|| {
            node.enter();
            come_and_go(&ended);
        });
        work();
    });
}

/// Lets so many flows begin that the hook takes over.
fn take_the_hook(listener: &mut Listener, now: &mut Instant) {
    for _ in 0..LOOKS {
        churn::udp_flows(60_000, 1_200);
        netns::run("conntrack", &["-D", "-p", "udp", "-d", "127.1.234.0/23"]);
        netns::run("conntrack", &["-D", "-p", "udp", "-d", "127.1.236.0/22"]);
        look(listener, now, LOOK);
    }
    assert_eq!((listener.source.name(), listener.source.hears_requests()), ("hook", false));
}

/// Lets ten minutes pass at once, in which little begins: the tap takes over.
fn take_the_tap(listener: &mut Listener, now: &mut Instant) {
    (0..LOOKS).for_each(|_| look(listener, now, 600 * LOOK));
    assert_eq!((listener.source.name(), listener.source.hears_requests()), ("tap", true));
}

fn look(listener: &mut Listener, now: &mut Instant, later: Duration) {
    listener.turn();
    *now += later;
    assert!(listener.source.adapt(*now).is_none_or(|outcome| outcome.is_ok()));
}

/// Packets of few flows.
fn talk(sockets: &[UdpSocket; 2], packets: u32) {
    let to = sockets[1].local_addr().expect("it is bound");
    for _ in 0..packets {
        sockets[0].send_to(b"again", to).expect("loopback takes a datagram");
        let _ = sockets[1].recv(&mut [0; 8]);
    }
}

fn assert_missed_nothing(listener: &mut Listener, round: u32) {
    let kernel = || Listener::new(&Settings { choice: Choice::Netlink, ..adapting() }).table();
    let left = || differences(&listener.table(), &kernel());
    wait_equal("what is reported is what the kernel has", left, Vec::<String>::new);
    assert_eq!(listener.source.account().lost, 0, "round {round}");
}

#[test]
fn no_change_of_a_flow_is_missed_while_tap_and_hook_take_turns() {
    let node = Namespace::new();
    node.enter();
    node.nft(RULES);
    let mut listener = Listener::new(&adapting());
    let sockets = array::from_fn(|_| UdpSocket::bind("127.0.0.1:0").expect("a socket"));
    // The decision goes by a clock of its own, so that no load changes it.
    let mut now = clock::now();
    for round in 0..3 {
        assert_eq!((listener.source.name(), listener.source.hears_requests()), ("tap", true));
        while_flows_come_and_go(&node, || {
            take_the_hook(&mut listener, &mut now);
            talk(&sockets, 1000);
            take_the_tap(&mut listener, &mut now);
        });
        assert_missed_nothing(&mut listener, round);
    }
}

/// As before a commit: there is no time in which both report.
#[test]
fn no_change_of_a_flow_is_missed_while_the_hook_takes_over_at_once() {
    let node = Namespace::new();
    node.enter();
    node.nft(RULES);
    let mut listener = Listener::new(&adapting());
    let mut now = clock::now();
    for round in 0..3 {
        while_flows_come_and_go(&node, || {
            wait_until("flows come and go", || {
                listener.turn();
                !listener.table().is_empty()
            });
            assert!(listener.source.take_hook(now).expect("this kernel takes the hook"));
            assert_eq!((listener.source.name(), listener.source.hears_requests()), ("hook", false));
            assert!(!listener.source.take_hook(now).expect("it is there"), "it reports already");
            take_the_tap(&mut listener, &mut now);
        });
        assert_missed_nothing(&mut listener, round);
    }
}

/// What the hook reported before the tap took over may be old when the hook takes over again.
#[test]
fn a_flow_that_is_again_as_the_hook_once_reported_it_is_reported_again() {
    let node = Namespace::new();
    node.enter();
    node.nft(RULES);
    node.nft(
        "table inet m { chain c { type filter hook output priority 1; ip dscp 1 ct mark set 1; ip dscp 2 ct mark set 2; }; }",
    );
    let mut listener = Listener::new(&adapting());
    let sockets: [_; 2] = array::from_fn(|_| UdpSocket::bind("127.0.0.1:0").expect("a socket"));
    let mark = |listener: &mut Listener, dscp: u8| {
        set_ip_tos(&sockets[0], dscp << 2).expect("packets may be marked");
        talk(&sockets, 1);
        let port = sockets[0].local_addr().expect("it is bound").port();
        let flow = listener.table().into_values().find(|flow| flow.orig.ports().0 == port);
        assert_eq!(flow.expect("it is reported").mark, u32::from(dscp));
    };
    let mut now = clock::now();
    take_the_hook(&mut listener, &mut now);
    mark(&mut listener, 1);
    take_the_tap(&mut listener, &mut now);
    mark(&mut listener, 2);
    take_the_hook(&mut listener, &mut now);
    mark(&mut listener, 1);
}

/// Sees that a daemon and its kernel hold the same flows, marks included.
fn wait_alike(daemon: &Daemon<'_>, node: &Namespace) {
    let marks = |lines: &[String]| {
        let mark = |line: &String| {
            line.split(' ').find(|word| word.starts_with("mark=")).map(str::to_owned)
        };
        let mut all: Vec<_> = lines
            .iter()
            .map(|line| (conntrack::sources(std::slice::from_ref(line)), mark(line)))
            .collect();
        all.sort();
        all
    };
    let kernel = || marks(&conntrack::lines(node));
    wait_equal("the tables are equal", || marks(&daemon.internal()), kernel);
}

fn a_daemon_takes_turns(general: &str) {
    let stage = Solo::new();
    stage.node.nft(RULES);
    let daemon = stage.ours("a", &solo(&format!("EventSource auto\n {general}")));
    daemon.wait_to_say("conntrack events come through: tap");
    while_flows_come_and_go(&stage.node, || {
        daemon.wait_to_say("conntrack events come through: hook (");
        wait_until("the status names the hook", || daemon.status()["events"]["source"] == "hook");
        // By then no socket receives new flows by netlink.
        thread::sleep(2 * LOOK);
        stage.node.sh("conntrack -I -p udp -s 10.0.0.1 -d 10.0.0.2 --sport 1 --dport 2 -t 600");
    });
    daemon.wait_to_say("conntrack events come through: tap (");
    wait_alike(&daemon, &stage.node);
}

#[test]
fn a_daemon_takes_the_hook_while_flows_are_short_and_finds_what_was_written_meanwhile() {
    a_daemon_takes_turns("");
}

#[test]
fn shards_without_rights_change_sides_too() {
    a_daemon_takes_turns("Shards 2\n User nobody");
}

#[test]
fn the_hook_takes_over_before_a_commit_of_many_flows_and_nothing_is_missed() {
    const FLOWS: u32 = 25_000;
    let stage = Stage::new();
    let b = stage.ours("b", &Conf::new(End::B));
    let mut a = stage.ours("a", &Conf::new(End::A));
    b.wait_to_say("conntrack events come through: tap");
    Requests::open(&stage.a).create(&udp_flows(0..FLOWS));
    let held = || b.stat(&["-s", "cache"], "cache:external\tactive objects:");
    wait_until("B has all", || {
        let all = held() == u64::from(FLOWS);
        if !all {
            b.ask(&["-n"]);
        }
        all
    });
    a.kill_hard();
    b.ask(&["-c"]);
    b.wait_to_say(&format!("come through: hook (a commit of {FLOWS} flows)"));
    assert_eq!(conntrack::count(&stage.b), FLOWS as usize);
    // No netlink event reports that, and no packet shows it.
    stage.b.sh("conntrack -I -p udp -s 10.0.0.1 -d 10.0.0.2 --sport 1 --dport 2 -t 600 -m 7");
    b.wait_to_say("conntrack events come through: tap (");
    wait_alike(&b, &stage.b);
}

#[test]
fn a_commit_of_few_flows_leaves_the_source_as_it_is() {
    let stage = Stage::new();
    let b = stage.ours("b", &Conf::new(End::B));
    let a = stage.ours("a", &Conf::new(End::A));
    Requests::open(&stage.a).create(&udp_flows(0..20));
    wait_until("B has all", || b.external().len() == 20);
    b.ask(&["-c"]);
    b.wait_to_say("Committed 20 new entries");
    assert!(!b.log().contains("come through: hook"), "{}", b.log());
    drop(a);
}
