//! Expectations from one kernel to the other.

use std::slice::from_ref;
use tests::conf::{Conf, End, swap};
use tests::conntrack::count;
use tests::ctnetlink::Requests;
use tests::daemon::Daemon;
use tests::expect::{announce, data, data_of, irc, irc_from, lines};
use tests::mesh::Mesh;
use tests::netns::Family;
use tests::stage::Stage;
use tests::wait::{wait_equal, wait_until};

fn conf(end: End) -> Conf {
    Conf::new(end).option("ExpectationSync on")
}

/// Node A with a control connection that has announced two data connections, and B, which has received them.
fn announced<'a>(stage: &'a Stage, a: &Conf, b: &Conf) -> (Daemon<'a>, Daemon<'a>, Requests) {
    let b = stage.ours("b", b);
    let a = stage.ours("a", a);
    let mut requests = Requests::open(&stage.a);
    requests.create(from_ref(&irc()));
    requests.expect(&[data(5000)]);
    announce(&stage.a, 5001);
    let shown = wait_equal("A has both", || a.internal_expectations(), || lines(&stage.a));
    assert_eq!(shown.len(), 2);
    (a, b, requests)
}

/// Defect 3 of the original: `-c` can forget the expectations.
#[test]
fn they_are_committed_after_their_flows() {
    let stage = Stage::new();
    let (a, b, mut requests) = announced(&stage, &conf(End::A), &conf(End::B));
    wait_equal("B has both", || b.external_expectations(), || lines(&stage.a));
    requests.unexpect(&[data(5000)]);
    wait_equal("B has one", || b.external_expectations(), || lines(&stage.a));
    assert_eq!(lines(&stage.b), [""; 0], "nothing is written before the commit");
    for _ in 0..2 {
        b.ask(&["-c"]);
        assert_eq!((count(&stage.b), lines(&stage.b)), (1, lines(&stage.a)));
    }
    let said = |words: &str| b.log().matches(words).count();
    for words in ["Committed 1 new entries", "Committed 1 new expectations"] {
        wait_equal("each commit is told", || said(words), || 2);
    }
    assert_eq!(said("can't be committed"), 0, "{}", b.log());
    wait_equal("it is local", || b.internal_expectations(), || lines(&stage.b));
    // Of two states that B could send, A receives only the later one.
    Requests::open(&stage.b).expect(&[data(6000)]);
    wait_until("B's own arrives", || !a.external_expectations().is_empty());
    assert_eq!(a.external_expectations().len(), 1);
}

#[test]
fn what_has_no_master_is_counted_and_told() {
    let stage = Stage::new();
    let (_a, b, _requests) = announced(&stage, &conf(End::A), &conf(End::B));
    wait_equal("B has both", || b.external_expectations(), || lines(&stage.a));
    b.ask(&["-c", "expect"]);
    for words in
        ["committing expectation cache", "2 expectations can't be committed", "No such file"]
    {
        b.wait_to_say(words);
    }
    b.ask(&["-c", "ct"]);
    b.ask(&["-c", "expect"]);
    assert_eq!(lines(&stage.b), lines(&stage.a));
    b.wait_to_say("Committed 2 new expectations");
}

#[test]
fn every_command_about_them_does_what_it_is_for() {
    let stage = Stage::new();
    let (a, b, mut requests) = announced(&stage, &conf(End::A), &conf(End::B));
    wait_equal("B has both", || b.external_expectations(), || lines(&stage.a));
    let xml = b.ask(&["-e", "expect", "-x"]);
    assert_eq!(xml.matches("<helper-name>irc</helper-name>").count(), 2, "{xml}");
    for label in ["current active connections:", "connections created:"] {
        assert_eq!(a.stat(&["-s", "expect"], label), 2);
    }
    for (flush, read) in [(vec!["-f", "internal"], vec!["-R", "expect"]), (vec!["-f"], vec!["-R"])]
    {
        a.ask(&flush);
        assert_eq!(a.internal_expectations(), [""; 0]);
        a.ask(&read);
        assert_eq!(a.internal_expectations(), lines(&stage.a), "{read:?}");
    }
    b.ask(&["-f", "external"]);
    assert_eq!(b.external_expectations(), [""; 0]);
    for (asked, verb) in [(&a, "-B"), (&b, "-n")] {
        b.ask(&["-f"]);
        asked.ask(&[verb]);
        wait_equal("they come in bulk", || b.external_expectations(), || lines(&stage.a));
    }
    // The peer does not receive a purge: it may be about to carry them on.
    a.ask(&["-F", "expect"]);
    assert_eq!(lines(&stage.a), [""; 0]);
    wait_until("A's table is empty too", || a.internal_expectations().is_empty());
    requests.expect(&[data(6000)]);
    wait_until("the next one arrives", || b.external_expectations().len() > 2);
    assert_eq!(b.external_expectations().len(), 3);
}

#[test]
fn a_daemon_that_starts_reads_those_that_exist() {
    let stage = Stage::new();
    let mut requests = Requests::open(&stage.a);
    requests.create(from_ref(&irc()));
    requests.expect(&[data(5000)]);
    let b = stage.ours("b", &conf(End::B));
    let a = stage.ours("a", &conf(End::A));
    wait_equal("A has it", || a.internal_expectations(), || lines(&stage.a));
    b.ask(&["-n"]);
    wait_equal("B has it", || b.external_expectations(), || lines(&stage.a));
    requests.delete(&[irc()]);
    wait_until("it ends with its master", || b.external_expectations().is_empty());
}

#[test]
fn a_node_that_replicates_none_takes_them_and_commits_none() {
    let stage = Stage::new();
    let (_a, b, _requests) = announced(&stage, &conf(End::A), &Conf::new(End::B));
    wait_equal("B has both", || b.external_expectations(), || lines(&stage.a));
    b.ask(&["-c"]);
    assert_eq!((count(&stage.b), lines(&stage.b)), (1, vec![]));
    assert_eq!(b.ask(&["-s", "expect"]), "");
    for verb in ["-c", "-R"] {
        let output = b.try_ask(&[verb, "expect"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(said.contains("ExpectationSync") && output.stdout.is_empty(), "{said}");
    }
}

#[test]
fn helpers_that_are_not_named_are_left_out() {
    let stage = Stage::new();
    let named = |names| Conf::new(End::A).option(names);
    let (_a, b, _requests) =
        announced(&stage, &named("ExpectationSync {\n SIP\n IR\n }"), &Conf::new(End::B));
    wait_equal("B has both", || b.external_expectations(), || lines(&stage.a));
    let other = Stage::new();
    let b = other.ours("b", &conf(End::B));
    let a = other.ours("a", &named("ExpectationSync {\n sip\n }"));
    let mut requests = Requests::open(&other.a);
    requests.create(from_ref(&irc()));
    requests.expect(&[data(5000)]);
    a.ask(&["-R"]);
    assert_eq!((a.internal_expectations(), a.internal().len()), (vec![], 1));
    wait_until("the flow arrives", || b.external().len() == 1);
    assert_eq!(b.external_expectations(), [""; 0]);
}

#[test]
fn without_tables_they_go_from_kernel_to_kernel() {
    let stage = Stage::new();
    let b = conf(End::B).mode("DisableExternalCache on");
    let (a, b, mut requests) = announced(&stage, &conf(End::A).mode("DisableInternalCache on"), &b);
    wait_equal("B's kernel follows", || lines(&stage.b), || lines(&stage.a));
    requests.unexpect(&[data(5000)]);
    wait_equal("B's kernel follows", || lines(&stage.b), || lines(&stage.a));
    assert_eq!(b.external_expectations(), [""; 0]);
    assert!(b.ask(&["-s", "expect"]).contains("external inject:"));
    // What B has written is A's, and is not sent back.
    assert_eq!((b.internal_expectations(), a.external_expectations()), (vec![], vec![]));
    requests.delete(&[irc()]);
    wait_until("B's kernel is empty", || lines(&stage.b).is_empty() && count(&stage.b) == 0);
}

/// A node of version 2, with lines for `Replication`.
fn node<'a>(mesh: &'a Mesh, at: usize, lines: &str) -> Daemon<'a> {
    node_with(mesh, at, lines, "")
}

/// The same, with lines for `General`.
fn node_with<'a>(mesh: &'a Mesh, at: usize, lines: &str, general: &str) -> Daemon<'a> {
    let end = " }\n}\nGeneral";
    let with = " }\n Options {\n  ExpectationSync on\n }\n}\nGeneral";
    mesh.start_as(at, &swap(&mesh.conf(at, lines, general), end, with))
}

/// Whether node 1 holds what node 0 has, and knows that.
fn is_equal(b: &Daemon<'_>) -> bool {
    b.status()["peers"][0]["equal"] == true
}

#[test]
fn r13_7_nodes_of_version_2_tell_them_though_datagrams_are_lost_and_a_commit_takes_them_over() {
    let mesh = Mesh::new(2, Family::V4);
    let [mut a, b] = [0, 1].map(|at| node(&mesh, at, ""));
    mesh.lose(0, 10);
    mesh.lose(1, 10);
    let mut requests = Requests::open(&mesh.nodes[0]);
    requests.create(from_ref(&irc()));
    requests.expect(&[data(5000)]);
    announce(&mesh.nodes[0], 5001);
    let in_a = || lines(&mesh.nodes[0]);
    wait_equal("A has both", || a.internal_expectations(), in_a);
    wait_equal("B has both", || b.external_expectations(), in_a);
    assert_eq!(in_a().len(), 2);
    requests.unexpect(&[data(5000)]);
    wait_equal("B has one", || b.external_expectations(), in_a);
    wait_until("B knows that this is all", || is_equal(&b));
    assert_eq!(b.status()["peers"][0]["expectations"], 1);
    assert_eq!(lines(&mesh.nodes[1]), [""; 0], "nothing is written before the commit");
    a.kill_hard();
    wait_until("its silence is noticed", || b.status()["peers"][0]["session"] != "up");
    b.ask(&["-c"]);
    assert_eq!((count(&mesh.nodes[1]), lines(&mesh.nodes[1])), (1, in_a()));
    wait_equal("it is B's own", || b.internal_expectations(), in_a);
    wait_until("and nobody else's", || b.external_expectations().is_empty());
    // A comes back without a flow, and receives both.
    requests.delete(&[irc()]);
    drop(a);
    let a = node(&mesh, 0, "");
    wait_equal("A has it of B", || a.external_expectations(), || lines(&mesh.nodes[1]));
    let mut requests = Requests::open(&mesh.nodes[1]);
    requests.delete(&[irc()]);
    wait_until("it ends with its master", || a.external_expectations().is_empty());
}

#[test]
fn r13_7_hot_nodes_of_version_2_have_them_in_their_kernels() {
    let mesh = Mesh::new(2, Family::V4);
    let [a, b] = [0, 1].map(|at| node(&mesh, at, "  Inject on"));
    let mut requests = Requests::open(&mesh.nodes[0]);
    requests.create(from_ref(&irc()));
    requests.expect(&[data(5000), data(5001)]);
    let in_a = || lines(&mesh.nodes[0]);
    wait_equal("B's kernel has both", || lines(&mesh.nodes[1]), in_a);
    assert_eq!(in_a().len(), 2);
    requests.unexpect(&[data(5000)]);
    wait_equal("B's kernel has one", || lines(&mesh.nodes[1]), in_a);
    wait_equal("and so is told", || b.external_expectations(), in_a);
    assert_eq!((b.internal_expectations(), a.external_expectations()), (vec![], vec![]));
    wait_until("both are equal", || is_equal(&a) && is_equal(&b));
}

/// Ten control connections are masters in all shards of either node.
#[test]
fn r13_7_nodes_with_shards_have_each_where_its_master_is() {
    let mesh = Mesh::new(2, Family::V4);
    let [mut a, b] = [(0, 3), (1, 2)].map(|(at, shards)| {
        node_with(&mesh, at, "", &format!("EventSource tap\n Shards {shards}"))
    });
    let controls: Vec<_> = (0..10).map(|n| irc_from(4000 + n)).collect();
    let data: Vec<_> = controls.iter().zip(5000..).map(|(irc, port)| data_of(irc, port)).collect();
    let mut requests = Requests::open(&mesh.nodes[0]);
    requests.create(&controls);
    requests.expect(&data);
    let in_a = || lines(&mesh.nodes[0]);
    wait_equal("A has all", || a.internal_expectations(), in_a);
    wait_equal("B has all", || b.external_expectations(), in_a);
    assert_eq!(in_a().len(), 10);
    requests.unexpect(&data[..3]);
    wait_equal("B has seven", || b.external_expectations(), in_a);
    wait_until("B knows that this is all", || is_equal(&b));
    assert_eq!(b.status()["peers"][0]["expectations"], 7);
    assert_eq!(b.stat(&["-s", "expect"], "current active connections:"), 0);
    a.ask(&["-R"]);
    assert_eq!(a.internal_expectations(), in_a(), "no shard takes what is not its own");
    a.kill_hard();
    wait_until("its silence is noticed", || b.status()["peers"][0]["session"] != "up");
    b.ask(&["-c"]);
    assert_eq!((count(&mesh.nodes[1]), lines(&mesh.nodes[1])), (10, in_a()));
    wait_equal("they are B's own", || b.internal_expectations(), in_a);
    b.ask(&["-F", "expect"]);
    assert_eq!(lines(&mesh.nodes[1]), [""; 0]);
    wait_until("no shard has one", || b.internal_expectations().is_empty());
}
