//! The thread, and a daemon whose words are those of the test.

use super::*;
use ctnetlink::{Flow, Tuple};
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

const LONG: Duration = Duration::from_secs(60);

fn row(port: u16) -> Row {
    let orig = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 6).with_ports(port, 80);
    Row::new(Flow { zone: 5, ..Flow::new(orig) }, Default::default())
}

/// The thread at work, and the daemon's socket.
fn begin() -> (UnixListener, Arc<Wish>, Receiver<Answer>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("feed");
    let listener = UnixListener::bind(&socket).unwrap();
    let (wish, (sender, answers)) = (Arc::<Wish>::default(), sync_channel(64));
    let shared = Arc::clone(&wish);
    thread::spawn(move || ask(&socket, &shared, |answers| sender.send(answers).is_ok()));
    (listener, wish, answers, dir)
}

fn heard(stream: &UnixStream) -> Value {
    let mut line = String::new();
    let stream = stream.try_clone().unwrap();
    BufReader::with_capacity(1, stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_default()
}

#[test]
fn the_flow_in_detail_is_asked_about_until_another_one_is() {
    let (listener, wish, answers, _dir) = begin();
    wish.want(Some(&row(7)));
    let (mut stream, _) = listener.accept().unwrap();
    let asked = heard(&stream);
    assert_eq!((&asked["op"], &asked["flow"]["zone"]), (&"get".into(), &5.into()));
    assert_eq!(asked["flow"]["orig"]["sport"], 7);
    let id = crate::print::parsed::flow(asked["flow"].to_string().as_bytes()).unwrap();
    assert_eq!(id.key(), row(7).flow.key(), "the daemon understands which flow it is");
    let say = br#"{"control":"tick"}
{"control":"flow","flow":{},"replication":[{"peer":null,"state":"acked"}]}
"#;
    stream.write_all(say).unwrap();
    let first = answers.recv_timeout(LONG).unwrap();
    assert_eq!(first.of(&row(7)), ["replication: acknowledged"]);
    wish.want(Some(&row(8)));
    // The same flow may have been asked about once more before.
    let mut asked = heard(&stream);
    while asked["flow"]["orig"]["sport"] == 7 {
        stream.write_all(b"{\"control\":\"flow\",\"flow\":null}\n").unwrap();
        asked = heard(&stream);
    }
    assert_eq!(asked["flow"]["orig"]["sport"], 8);
    stream
        .write_all(b"{\"control\":\"error\",\"code\":\"busy\",\"text\":\"no\\u001b[\"}\n")
        .unwrap();
    let last = answers.iter().find(|answers| answers.key == row(8).flow.key()).unwrap();
    assert_eq!(last.lines, ["replication: not known, no["]);
}

#[test]
fn a_daemon_that_goes_is_looked_for_again() {
    let (listener, wish, answers, _dir) = begin();
    wish.want(Some(&row(7)));
    drop(listener.accept().unwrap());
    let said = answers.recv_timeout(LONG).unwrap();
    assert!(said.lines[0].starts_with("replication: not known, the daemon"), "{said:?}");
    let (mut stream, _) = listener.accept().unwrap();
    assert_eq!(heard(&stream)["op"], "get");
    stream.write_all(b"{\"control\":\"flow\",\"flow\":null}\n").unwrap();
    let said = answers.iter().find(|answers| !answers.lines[0].contains("not known"));
    assert_eq!(said.unwrap().lines, ["replication: the daemon does not know the flow"]);
}

#[test]
fn nobody_is_asked_while_no_flow_is_in_detail_and_junk_is_an_error() {
    let (listener, wish, answers, _dir) = begin();
    wish.want(Some(&row(7)));
    let (mut stream, _) = listener.accept().unwrap();
    heard(&stream);
    wish.want(None);
    stream.write_all(b"HTTP/1.1 400 Bad Request\r\n").unwrap();
    assert!(answers.recv_timeout(LONG).unwrap().lines[0].contains("no feed of this version"));
    assert_eq!(*wish.asked(), None);
    wish.want(Some(&row(9)));
    let (stream, _) = listener.accept().unwrap();
    assert_eq!(heard(&stream)["flow"]["orig"]["sport"], 9);
}
