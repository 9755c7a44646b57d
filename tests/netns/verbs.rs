//! Purges of the kernel's tables, and what machines ask.

use ctnetlink::flow::HelperName;
use ctnetlink::{Expectation, Flow, Tuple};
use std::os::unix::net::UnixStream;
use std::process::Output;
use std::thread;
use tests::conf::{Conf, End};
use tests::conntrack::{count, insert_catalogue, lines};
use tests::ctnetlink::{Requests, udp_flows, with_lifetime};
use tests::daemon::{Daemon, run_ctflow};
use tests::stage::Stage;
use tests::wait::{wait_equal, wait_until};

const FLOWS: u32 = 20;

fn pair<'a>(stage: &'a Stage, a: &Conf) -> (Daemon<'a>, Daemon<'a>) {
    let b = stage.ours("b", &Conf::new(End::B));
    (stage.ours("a", a), b)
}

/// A flow that the configuration's filter ignores.
fn ignored() -> Flow {
    with_lifetime(Flow::new(Tuple::v4([127, 0, 0, 1], [127, 0, 0, 2], 17).with_ports(5, 6)))
}

#[test]
fn a_purge_deletes_what_counts_and_the_peer_is_not_told() {
    let stage = Stage::new();
    let (a, b) = pair(&stage, &Conf::new(End::A));
    insert_catalogue(&stage.a);
    Requests::open(&stage.a).create(&[ignored()]);
    let flows = lines(&stage.a).len() - 1;
    wait_until("A and B have all", || a.internal().len() == flows && b.external().len() == flows);
    for verb in [["-F", "ct"], ["-F", "expect"]] {
        a.ask(&verb);
        assert_eq!(count(&stage.a), 1, "the ignored flow stays");
    }
    wait_until("A's table is empty too", || a.internal().is_empty());
    // Of two states that A could send, B receives only the later one.
    Requests::open(&stage.a).create(&udp_flows(0..1));
    wait_until("the next flow arrives", || b.external().len() > flows);
    assert_eq!(b.external().len(), flows + 1, "ends of the purge are not told");
    assert_eq!(b.stat(&["-s", "network"], "Packets lost:"), 0);
    a.wait_to_say("flushing kernel conntrack table");
    assert_eq!(a.stat(&["-s", "runtime"], "flush kernel table:"), 2);
}

#[test]
fn a_purge_where_no_local_table_is_kept_is_not_told_either() {
    let stage = Stage::new();
    let (a, b) = pair(&stage, &Conf::new(End::A).mode("DisableInternalCache on"));
    Requests::open(&stage.a).create(&udp_flows(0..FLOWS));
    wait_until("B has all", || b.external().len() == FLOWS as usize);
    assert_eq!(a.ask(&["-i"]).lines().count(), FLOWS as usize, "the kernel's table is shown");
    a.ask(&["-F"]);
    assert_eq!(count(&stage.a), 0);
    Requests::open(&stage.a).create(&udp_flows(FLOWS..FLOWS + 1));
    wait_until("the next flow arrives", || b.external().len() > FLOWS as usize);
    assert_eq!(b.external().len(), FLOWS as usize + 1);
}

#[test]
fn a_purge_of_a_big_table_lets_living_flows_through() {
    let stage = Stage::new();
    let (a, b) = pair(&stage, &Conf::new(End::A));
    let mut requests = Requests::open(&stage.a);
    requests.create(&udp_flows(0..60_000));
    wait_until("A has all", || a.internal().len() == 60_000);
    b.ask(&["-f", "external"]);
    thread::scope(|scope| {
        let purge = scope.spawn(|| a.ask(&["-F"]));
        // New flows come while the purge runs; it may take them too.
        for n in 60_000..60_200 {
            requests.create(&udp_flows(n..n + 1));
        }
        purge.join().expect("the purge ends");
    });
    requests.create(&udp_flows(70_000..70_001));
    wait_until("what came last arrives", || {
        b.external().iter().any(|line| line.contains("src=100.1.17.112 "))
    });
    assert_eq!(a.stat(&["-s", "runtime"], "lost:"), 0, "no event was lost");
    assert!(count(&stage.a) <= 201);
}

/// Defect 11 of the original: `-F` forgets the expectations.
#[test]
fn expectations_are_deleted_one_by_one() {
    let stage = Stage::new();
    let a = stage.ours("a", &Conf::new(End::A));
    let mut requests = Requests::open(&stage.a);
    let shown = || stage.a.sh("conntrack -L expect").lines().count();
    let mut master = with_lifetime(Flow::new(Tuple::v4([1; 4], [2; 4], 6).with_ports(4000, 21)));
    master.extra_mut().helper = HelperName::from_bytes(b"ftp");
    requests.create(std::slice::from_ref(&master));
    requests.expect(&[expectation(&master, 5000)]);
    assert_eq!(shown(), 1);
    a.ask(&["-F", "expect"]);
    assert_eq!((shown(), count(&stage.a)), (0, 1), "the flow stays");
    requests.expect(&[expectation(&master, 5002)]);
    a.ask(&["-F"]);
    assert_eq!((shown(), count(&stage.a)), (0, 0));
}

fn expectation(master: &Flow, port: u16) -> Expectation {
    Expectation::default().with(|expect| {
        expect.master = master.orig;
        expect.tuple = master.orig.inverted().with_ports(0, port);
        expect.mask = Tuple::v4([255; 4], [255; 4], 6).with_ports(0, 0xffff);
        expect.timeout_s = Some(300);
        expect.flags = Some(0);
        expect.class = Some(0);
        expect.helper = HelperName::from_bytes(b"ftp");
    })
}

#[test]
fn a_scheduled_purge_comes_once_and_can_be_cancelled() {
    let stage = Stage::new();
    let (a, b) = pair(&stage, &Conf::new(End::A).mode("PurgeTimeout 1"));
    Requests::open(&stage.a).create(&udp_flows(0..FLOWS));
    wait_until("B has all", || b.external().len() == FLOWS as usize);
    a.ask(&["-t"]);
    a.ask(&["-t"]);
    wait_until("the kernel is empty", || count(&stage.a) == 0);
    wait_until("the table is empty", || a.internal().is_empty());
    assert_eq!(b.external().len(), FLOWS as usize, "the peer keeps what it may carry on");
    let said = |words: &str| a.log().matches(words).count();
    a.wait_to_say("flushing kernel conntrack table (scheduled)");
    assert_eq!(said("flushing conntrack table in 1 secs"), 1, "{}", a.log());
    assert_eq!(said("flushing kernel conntrack table (scheduled)"), 1, "{}", a.log());

    Requests::open(&stage.a).create(&udp_flows(0..FLOWS));
    for (n, stop) in [["-c"].as_slice(), &["-f"], &["-f", "internal"]].iter().enumerate() {
        a.ask(&["-t"]);
        a.ask(stop);
        wait_equal("each is told", || said("flushing conntrack table in 1 secs"), || n + 2);
    }
    // One that is not cancelled comes after those that were would have come.
    a.ask(&["-t"]);
    a.ask(&["-f", "external"]);
    wait_until("this one comes", || said("(scheduled)") > 1);
    assert_eq!(said("(scheduled)"), 2, "{}", a.log());
}

#[test]
fn machines_get_json_and_a_verdict() {
    let stage = Stage::new();
    let a = stage.ours("a", &Conf::new(End::A));
    Requests::open(&stage.a).create(&udp_flows(0..FLOWS));
    wait_until("A has all", || a.internal().len() == FLOWS as usize);
    wait_until("A knows that nobody else is there", || a.status()["ready"] == true);
    let json = a.status();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["local"]["flows"], FLOWS);
    assert_eq!((json["ready"].as_bool(), json["events"]["lost"].as_u64()), (Some(true), Some(0)));
    let path = a.path("conf");
    let conf = path.to_str().expect("paths are text");
    let text = |output: Output| String::from_utf8(output.stdout).expect("answers are text");
    let ready = run_ctflow(&stage.a, &["ready", "-C", conf]);
    assert_eq!((ready.status.code(), text(ready)), (Some(0), "ready\n".into()));
    let status = text(run_ctflow(&stage.a, &["status", "-C", conf]));
    assert!(status.starts_with("ready         yes\n"), "{status}");
    let raw = text(run_ctflow(&stage.a, &["status", "--json", "-C", conf]));
    assert!(raw.starts_with("{\"schema\":1,"), "{raw}");
}

#[test]
fn a_full_table_is_not_ready_and_no_daemon_cannot_be_told() {
    let stage = Stage::new();
    let mut conf = Conf::new(End::A);
    conf.hash_limit = FLOWS;
    let mut a = stage.ours("a", &conf);
    Requests::open(&stage.a).create(&udp_flows(0..FLOWS));
    wait_until("A is full", || a.internal().len() == FLOWS as usize);
    let path = a.path("conf");
    let conf = path.to_str().expect("paths are text");
    let output = run_ctflow(&stage.a, &["ready", "-C", conf]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("not ready: the internal cache is full"), "{said}");
    a.ask(&["-k"]);
    a.wait_for_end();
    assert_eq!(run_ctflow(&stage.a, &["ready", "-C", conf]).status.code(), Some(2));
    assert_eq!(run_ctflow(&stage.a, &["status", "-C", conf]).status.code(), Some(2));
}

#[test]
fn a_hundred_clients_at_once_are_all_answered() {
    let stage = Stage::new();
    let a = stage.ours("a", &Conf::new(End::A));
    Requests::open(&stage.a).create(&udp_flows(0..5000));
    wait_until("A has all", || a.internal().len() == 5000);
    let ask = || {
        let mut client = UnixStream::connect(a.path("sock")).expect("the daemon listens");
        std::io::Write::write_all(&mut client, &16_i32.to_ne_bytes()).expect("it reads");
        std::io::read_to_string(client).expect("the daemon answers").lines().count()
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..100).map(|_| scope.spawn(ask)).collect();
        for client in clients {
            assert_eq!(client.join().expect("a client ends"), 5000);
        }
    });
}
