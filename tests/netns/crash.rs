//! `kill -9` at bad moments: the peer lives on, and the node that starts again gets to where it would be.
//!
//! NOTRACK repeats nothing by itself, so a node that misses flows asks again (`-n`), as an operator would.

use std::thread;
use tests::conf::{Conf, End};
use tests::conntrack::{count, lines, sources};
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::{Brand, Daemon};
use tests::stage::Stage;
use tests::wait::wait_until;

const FLOWS: u32 = 20_000;

fn conf(end: End) -> Conf {
    Conf::new(end).mode("StartupResync on")
}

/// Until B shows of A's flows what A shows.
fn await_equality(a: &Daemon<'_>, b: &Daemon<'_>) {
    wait_until("B shows what A shows", || {
        let (here, there) = (sources(&a.internal()), sources(&b.external()));
        let equal = here.len() == FLOWS as usize && here == there;
        if !equal {
            b.ask(&["-n"]);
        }
        equal
    });
}

/// Flows appear on A, many at a time, while `meanwhile` runs; it begins when B has some.
fn during_a_flood(stage: &Stage, meanwhile: impl FnOnce()) {
    let mut requests = Requests::open(&stage.a);
    requests.create(&udp_flows(0..100));
    thread::scope(|scope| {
        scope.spawn(|| udp_flows(100..FLOWS).chunks(200).for_each(|some| requests.create(some)));
        meanwhile();
    });
}

fn receiver_is_killed_during_a_flood(sender: Brand, receiver: Brand) {
    let stage = Stage::new();
    let mut first = stage.start(receiver, "first", &conf(End::B));
    let mut a = stage.start(sender, "a", &conf(End::A));
    let mut second = None;
    during_a_flood(&stage, || {
        wait_until("the flood has begun", || !first.external().is_empty());
        first.kill_hard();
        second = Some(stage.start(receiver, "second", &conf(End::B)));
    });
    assert!(a.is_running());
    await_equality(&a, &second.expect("it was started"));
}

#[test]
fn our_receiver_killed_during_a_flood_of_ours() {
    receiver_is_killed_during_a_flood(Brand::Ours, Brand::Ours);
}

#[test]
fn our_receiver_killed_during_a_flood_of_the_original() {
    receiver_is_killed_during_a_flood(Brand::Original, Brand::Ours);
}

#[test]
fn the_original_killed_while_it_receives_a_flood_of_ours() {
    receiver_is_killed_during_a_flood(Brand::Ours, Brand::Original);
}

#[test]
fn our_sender_killed_during_a_flood() {
    let stage = Stage::new();
    let mut b = stage.ours("b", &conf(End::B));
    let mut first = stage.ours("a", &conf(End::A));
    let mut second = None;
    during_a_flood(&stage, || {
        wait_until("the flood has begun", || !b.external().is_empty());
        first.kill_hard();
        second = Some(stage.ours("a", &conf(End::A)));
    });
    assert!(b.is_running());
    await_equality(&second.expect("it was started"), &b);
}

#[test]
fn our_receiver_killed_during_a_bulk_transfer() {
    let stage = Stage::new();
    Requests::open(&stage.a).create(&udp_flows(0..FLOWS));
    let a = stage.ours("a", &conf(End::A));
    wait_until("A has read its kernel", || a.internal().len() == FLOWS as usize);
    let mut first = stage.ours("first", &Conf::new(End::B));
    thread::scope(|scope| {
        scope.spawn(|| a.ask(&["-B"]));
        wait_until("the transfer has begun", || !first.external().is_empty());
        first.kill_hard();
    });
    let second = stage.ours("second", &conf(End::B));
    await_equality(&a, &second);
}

#[test]
fn our_sender_killed_during_a_bulk_transfer() {
    let stage = Stage::new();
    Requests::open(&stage.a).create(&udp_flows(0..FLOWS));
    let mut first = stage.ours("first", &conf(End::A));
    let b = stage.ours("b", &Conf::new(End::B));
    wait_until("A has read its kernel", || first.internal().len() == FLOWS as usize);
    b.ask(&["-n"]);
    wait_until("the transfer has begun", || !b.external().is_empty());
    first.kill_hard();
    let second = stage.ours("second", &conf(End::A));
    await_equality(&second, &b);
}

#[test]
fn our_receiver_killed_during_a_commit() {
    let stage = Stage::new();
    Requests::open(&stage.a).create(&udp_flows(0..FLOWS));
    let a = stage.ours("a", &conf(End::A));
    let mut first = stage.ours("first", &conf(End::B));
    await_equality(&a, &first);
    let mut commit = std::process::Command::new(Brand::Ours.program())
        .arg("-C")
        .arg(first.path("conf"))
        .arg("-c")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the client can be started");
    wait_until("the commit has begun", || count(&stage.b) > 0);
    first.kill_hard();
    commit.wait().expect("the client ends with the daemon");
    let second = stage.ours("second", &conf(End::B));
    await_equality(&a, &second);
    second.ask(&["-c"]);
    assert_eq!(lines(&stage.b), lines(&stage.a));
}
