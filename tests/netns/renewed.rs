//! SIGHUP with other keys, addresses, rates and peers of version 2 (`docs/spec/replication-v2.md`, R3.1, R4.3).

use host::keyfile;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use tests::conf::swap;
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::Daemon;
use tests::mesh::{Mesh, PORT, name};
use tests::netns::Family;
use tests::wait::{wait_equal, wait_until};

const READ: &str = "the configuration was read again";
const ANEW: &str = "the engine is started again";
const GONE: &str = "is not there any more";

fn peer(daemon: &Daemon<'_>, at: usize) -> serde_json::Value {
    daemon.status()["peers"][at].clone()
}

/// What a node holds of a peer, and whether it knows that this is all.
fn held(daemon: &Daemon<'_>, at: usize) -> (u64, bool) {
    let peer = peer(daemon, at);
    (peer["flows"].as_u64().expect("a number"), peer["equal"] == true)
}

#[test]
fn r4_3_a_key_is_changed_and_no_session_falls() {
    let mesh = Mesh::new(2, Family::V4).with_preshared();
    let [a, b] = [0, 1].map(|node| mesh.start(node, ""));
    let mut requests = Requests::open(&mesh.nodes[0]);
    requests.create(&udp_flows(0..100));
    wait_equal("B holds all", || held(&b, 0), || (100, true));
    let (conf_a, conf_b) = (a.file("conf"), b.file("conf"));
    let new = a.path("new.key");
    let (old_key, new_key) =
        (mesh.members.key(0), keyfile::generate(&new).expect("a key is written"));
    let old_file = format!("KeyFile {}", a.path("key").display());
    let (one, two) = (format!("PublicKey {old_key}"), format!("PublicKey {new_key}"));

    // B accepts both keys, and sends no more than so much.
    let both = swap(&conf_b, &one, &format!("{one}\n{two}\nRate 800000"));
    b.reload(&both, READ);
    b.wait_to_say("PublicKey, Rate changed: the engine goes on");
    // A uses the new one, and accepts the old one.
    let rekeys = peer(&b, 0)["rekeys"].as_u64();
    a.reload(&swap(&conf_a, &old_file, &format!("KeyFile {}\n{old_file}", new.display())), READ);
    wait_until("a session is made of the new key", || peer(&b, 0)["rekeys"].as_u64() > rekeys);
    // The old one goes.
    a.reload(&swap(&conf_a, &old_file, &format!("KeyFile {}", new.display())), READ);
    b.reload(&swap(&conf_b, &one, &two), READ);
    requests.create(&udp_flows(200..250));
    wait_equal("B holds the new ones", || held(&b, 0), || (150, true));
    for daemon in [&a, &b] {
        let log = daemon.log();
        assert!(!log.contains(GONE) && !log.contains(ANEW), "{log}");
        assert_eq!(log.matches("is there, at").count(), 1, "{log}");
    }
    // A key that is taken out ends its session at once.
    let stranger = keyfile::draw().public();
    b.reload(&swap(&conf_b, &one, &format!("PublicKey {stranger}")), READ);
    b.wait_to_say("it, or its key, was taken out of the configuration");
}

#[test]
fn r3_1_a_peer_moves_and_the_session_with_a_third_one_knows_nothing_of_it() {
    let mesh = Mesh::new(3, Family::V4);
    let daemons: Vec<_> = (0..3).map(|node| mesh.start(node, "")).collect();
    wait_until("all are there", || {
        daemons.iter().all(|daemon| held(daemon, 0).1 && held(daemon, 1).1)
    });
    // C moves to another address of the same cable, and leaves the old one.
    let (old, new) = (mesh.address(0, 2), "10.99.222.2");
    mesh.nodes[0].sh("ip addr add 10.99.222.1/24 dev m02");
    mesh.nodes[2].sh("ip addr add 10.99.222.2/24 dev m20");
    mesh.nodes[2].sh(&format!("ip addr del {old}/24 dev m20"));
    // Until now both could have found each other through either.
    wait_until("A loses C", || peer(&daemons[0], 1)["session"] != "up");
    let text = swap(&daemons[0].file("conf"), &format!("Address {old}"), &format!("Address {new}"));
    daemons[0].reload(&text, READ);
    daemons[0].wait_to_say("Address changed: the engine goes on");
    wait_equal(
        "it is there",
        || peer(&daemons[0], 1)["address"].clone(),
        || format!("{new}:{PORT}").into(),
    );
    wait_until("and equal", || held(&daemons[0], 1).1);
    let log = daemons[0].log();
    assert!(!log.contains(ANEW) && !log.contains(&format!("peer {} {GONE}", name(1))), "{log}");
}

#[test]
fn r3_1_a_peer_is_added_and_taken_out() {
    let mesh = Mesh::new(3, Family::V4);
    let without = |node: usize, other: usize| {
        let text = mesh.conf(node, "", "");
        let at = text.find(&format!("  Peer {} {{", name(other))).expect("it is a peer");
        let end = at + text[at..].find("  }\n").expect("it ends") + 4;
        format!("{}{}", &text[..at], &text[end..])
    };
    let [a, b] = [0, 1].map(|node| mesh.start_as(node, &without(node, 2)));
    Requests::open(&mesh.nodes[0]).create(&udp_flows(0..100));
    wait_equal("B holds all", || held(&b, 0), || (100, true));
    let c = mesh.start(2, "");
    for (daemon, node) in [(&a, 0), (&b, 1)] {
        daemon.reload(&mesh.conf(node, "", ""), READ);
        daemon.wait_to_say("Peer changed: the engine is started again");
    }
    wait_equal("C holds all", || held(&c, 0), || (100, true));
    wait_equal("B still holds all", || held(&b, 0), || (100, true));
    b.reload(&without(1, 2), READ);
    c.wait_to_say(&format!("peer {} {GONE}", name(1)));
    wait_equal("B still holds all", || held(&b, 0), || (100, true));
}

/// The key file is root's, and the daemon is not.
#[test]
fn a_reload_after_user_keeps_keys_that_it_may_not_read_and_says_so() {
    let mesh = Mesh::new(2, Family::V4).with_preshared();
    fs::set_permissions(mesh.files.path(), Permissions::from_mode(0o1777)).expect("it is ours");
    let a = mesh.start(0, "User nobody");
    let b = mesh.start(1, "");
    a.wait_to_say("runs as user nobody with CAP_NET_ADMIN alone");
    wait_until("they are equal", || held(&a, 0).1 && held(&b, 0).1);
    let text = a.file("conf");
    a.reload(&swap(&text, "  Address", "  Rate 900000\n  Address"), READ);
    a.wait_to_say("Rate changed: the engine goes on");
    a.wait_to_say("may not read this file again: the key that it held before stays in force");
    // An engine that is started again has them too.
    a.reload(&swap(&text, "HashLimit 262144", "HashLimit 100000"), READ);
    a.wait_to_say(ANEW);
    wait_until("they are equal again", || held(&a, 0).1 && held(&b, 0).1);
    // Another file was never read.
    let new = a.path("new.key");
    let _ = keyfile::generate(&new).expect("a key is written");
    let text = swap(
        &text,
        &format!("KeyFile {}", a.path("key").display()),
        &format!("KeyFile {}", new.display()),
    );
    a.reload(&text, "the configuration is not valid: nothing was changed");
    a.wait_to_say("new.key: permission denied: a daemon that has given up root (`User`)");
    assert!(held(&a, 0).1 || peer(&a, 0)["session"] == "up");
}
