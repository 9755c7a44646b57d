//! The thread, and a daemon whose words are those of the test.

use super::*;
use ctnetlink::{Flow, Tuple};
use serde_json::json;
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixListener;
use std::time::Instant;
use wire::feed::{Frame, Head, Op, encode, frame};

/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The daemon's end, and the program's.
struct Pair {
    stream: UnixStream,
    follower: Follower,
    _dir: tempfile::TempDir,
}

impl Pair {
    /// Both ends are connected, and the program has said what it wants.
    fn new(flows_max: usize, namespace: Option<(u64, u64)>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("feed");
        let listener = UnixListener::bind(&socket).unwrap();
        let follower = Follower::begin(Place { socket, namespace }, flows_max);
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut pair = Self { stream, follower, _dir: dir };
        let wanted = pair.asked();
        assert_eq!((&wanted["op"], &wanted["snapshot"]), (&"subscribe".into(), &true.into()));
        assert_eq!((&wanted["format"], &wanted["on_gap"]), (&"binary".into(), &"resync".into()));
        pair
    }

    /// What the program says next. It says one line at a time.
    fn asked(&mut self) -> Value {
        let mut line = String::new();
        let stream = self.stream.try_clone().unwrap();
        BufReader::with_capacity(1, stream).read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn say(&mut self, value: &Value) {
        let text = value.to_string();
        self.stream.write_all(&frame(Frame::Control, 0, text.len() as u32)).unwrap();
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    fn records(&mut self, op: Op, ports: &[u16]) {
        let mut bytes = Vec::new();
        for port in ports {
            let orig = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 6).with_ports(*port, 80);
            let head = Head { op, ..Head::default() };
            bytes.extend_from_slice(&encode(&head, &Flow::new(orig), 0));
        }
        self.stream.write_all(&frame(Frame::Records, 0, bytes.len() as u32)).unwrap();
        self.stream.write_all(&bytes).unwrap();
    }

    fn snapshot(&mut self, ports: &[u16]) {
        self.say(&json!({"control": "snapshot", "flows": ports.len()}));
        self.records(Op::Have, ports);
        self.say(&json!({"control": "live", "seq": [1]}));
    }

    fn wait(&self, what: &str, is_so: impl Fn(&Line) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so(&self.follower.line()) {
            assert!(Instant::now() < end, "{what}: {:?}", self.follower.line().stand);
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn wait_to_stand(&self, stand: &Stand) {
        self.wait("it stands so", |line| line.stand == *stand);
    }

    /// Waits until it is over: why.
    fn over(&self) -> Lapse {
        self.wait("it is over", |line| matches!(line.stand, Stand::Over(_)));
        match &self.follower.line().stand {
            Stand::Over(lapse) => lapse.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn len(&self) -> usize {
        locked(&self.follower.mirror).len()
    }
}

#[test]
fn it_goes_live_falls_behind_and_comes_back() {
    let mut pair = Pair::new(10, None);
    pair.say(&json!({"control": "hello", "state": "loading", "netns": [4, 5]}));
    pair.wait("it was greeted", |line| line.namespace == Some((4, 5)) && line.state == "loading");
    assert_eq!(pair.follower.wait(Duration::ZERO), (Stand::Waiting, 0));
    pair.snapshot(&[1, 2, 3]);
    pair.wait_to_stand(&Stand::Live);
    assert_eq!(pair.follower.wait(Duration::ZERO), (Stand::Live, 3));
    pair.say(&json!({"control": "state", "state": "exact"}));
    pair.wait("the state is heard", |line| line.state == "exact");
    // Changes are lost: what is held stays until the snapshot has come.
    pair.say(&json!({"control": "gap", "scope": "client", "lost": {"new": 7, "destroy": 6, "update": 9}}));
    pair.say(&json!({"control": "snapshot", "flows": 2}));
    pair.records(Op::Have, &[1]);
    pair.wait_to_stand(&Stand::Behind(Cause::Gap));
    assert_eq!(pair.len(), 3);
    pair.records(Op::New, &[4]);
    pair.say(&json!({"control": "live"}));
    pair.wait_to_stand(&Stand::Live);
    assert_eq!(pair.len(), 2);
    let turn = locked(&pair.follower.mirror).turn();
    assert_eq!((turn.began, turn.ended), (8, 6), "also those that were lost");
    // Another engine.
    pair.say(&json!({"control": "state", "state": "cleared"}));
    pair.wait_to_stand(&Stand::Behind(Cause::Anew));
    assert_eq!(pair.len(), 0);
    pair.snapshot(&[9]);
    pair.wait_to_stand(&Stand::Live);
    pair.say(&json!({"control": "bye", "why": "the daemon ends"}));
    let lapse = pair.over();
    assert_eq!((lapse.cause, lapse.why.contains("the daemon ends")), (Cause::Gone, true));
}

#[test]
fn the_daemon_is_asked_for_its_status_with_every_tick() {
    let mut pair = Pair::new(10, None);
    assert_eq!(pair.asked(), json!({"op": "status"}), "and at the beginning");
    pair.say(&json!({"control": "tick", "seq": [1]}));
    assert_eq!(pair.asked(), json!({"op": "status"}));
    let status = Status { ready: true, ..Status::default() };
    pair.say(&json!({"control": "status", "status": status}));
    pair.wait("it is known", |line| line.status.as_ref().is_some_and(|status| status.ready));
    pair.say(&json!({"control": "error", "code": "busy", "text": "the engine does not answer"}));
    pair.snapshot(&[]);
    pair.wait_to_stand(&Stand::Live);
}

#[test]
fn a_table_with_too_many_flows_is_given_up_before_or_after_they_come() {
    let mut pair = Pair::new(3, None);
    pair.say(&json!({"control": "snapshot", "flows": 4}));
    assert_eq!(pair.over().cause, Cause::TooMany);
    assert_eq!(pair.len(), 0);
    let mut pair = Pair::new(3, None);
    pair.snapshot(&[1, 2, 3]);
    pair.wait_to_stand(&Stand::Live);
    pair.records(Op::New, &[4]);
    let lapse = pair.over();
    assert_eq!((lapse.cause, lapse.why.contains("--max-flows")), (Cause::TooMany, true));
}

#[test]
fn who_cannot_be_followed_is_named() {
    let mut pair = Pair::new(3, None);
    let error = json!({"control": "error", "code": "full", "text": "16 clients are connected"});
    pair.stream.write_all(format!("{error}\n").as_bytes()).unwrap();
    let lapse = pair.over();
    assert_eq!((lapse.cause, lapse.why.contains("16 clients")), (Cause::Refused, true));
    for netns in [json!([4, 6]), Value::Null] {
        let mut pair = Pair::new(3, Some((4, 5)));
        pair.say(&json!({"control": "hello", "netns": netns}));
        assert_eq!(pair.over().cause, Cause::Elsewhere, "{netns}");
    }
    let mut pair = Pair::new(3, Some((4, 5)));
    pair.say(&json!({"control": "hello", "netns": [4, 5]}));
    pair.snapshot(&[]);
    pair.wait_to_stand(&Stand::Live);
    for junk in [&b"HTTP/1.1 400 Bad Request\r\n"[..], &frame(Frame::Records, 0, 1), &[0xff; 300]] {
        let mut pair = Pair::new(3, None);
        // At once: what is understood as junk is hung up on.
        pair.stream.write_all(&[junk, b"x"].concat()).unwrap();
        assert_eq!(pair.over().cause, Cause::NoFeed, "{junk:?}");
    }
    let pair = Pair::new(3, None);
    pair.stream.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(pair.over().cause, Cause::Gone);
    let place = Place { socket: "/nonexistent/feed".into(), namespace: None };
    let (stand, _) = Follower::begin(place, 3).wait(PATIENCE);
    let Stand::Over(lapse) = stand else { panic!("{stand:?}") };
    assert_eq!((lapse.cause, lapse.why.contains("is conntrackd running")), (Cause::NoFeed, true));
}
