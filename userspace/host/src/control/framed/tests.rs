use super::*;
use crate::control::{Bound, Faults};
use std::sync::Arc;
use wire::control::framed::Verb;

/// Runs a daemon that does `serve` with one client, and a client that asks.
fn meet<F: Future<Output = ()> + Send + 'static>(
    filter: &str,
    serve: impl FnOnce(Client) -> F + Send + 'static,
) -> (Result<End, Failure>, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sock");
    let bound = Bound::bind(&path).unwrap();
    let daemon = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = bound.serve(Arc::new(Faults::default())).unwrap();
            let mut client = server.accept().await.unwrap();
            assert_eq!(client.request().await, Some(Request::Framed));
            serve(client).await;
        });
    });
    let mut data = Vec::new();
    let end = ask(&path, filter, &Ask::new(Verb::List), |piece| {
        if let Piece::Data(bytes) = piece {
            data.extend_from_slice(bytes);
        }
        Ok(())
    });
    daemon.join().unwrap();
    (end, data)
}

#[test]
fn a_long_filter_goes_there_and_a_long_answer_comes_back() {
    let filter = "tcp or ".repeat(100_000) + "udp";
    let sent = filter.clone();
    let (end, data) = meet(&filter, |mut client| async move {
        let received = client.framed_request().await.unwrap();
        assert_eq!(received.filter, sent);
        assert_eq!(Ask::decode(&received.ask), Ok(Ask::new(Verb::List)));
        client.send_note("by the way").await.unwrap();
        client.send_data(&vec![b'x'; 3 * BODY_MAX + 7]).await.unwrap();
        client.end(Status::Done, b"all").await.unwrap();
    });
    assert_eq!(end.unwrap(), End { status: Status::Done, body: b"all".to_vec() });
    assert_eq!(data.len(), 3 * BODY_MAX + 7);
}

#[test]
fn an_answer_that_breaks_off_is_no_answer() {
    let (end, data) = meet("tcp", |mut client| async move {
        client.framed_request().await.unwrap();
        client.send_data(b"tcp 6 a\n").await.unwrap();
    });
    assert_eq!(data, b"tcp 6 a\n");
    assert!(
        matches!(&end, Err(Failure::Answer(why)) if why.to_string().contains("broke off")),
        "{end:?}"
    );
}

#[test]
fn a_daemon_that_does_not_know_the_protocol_is_distinguished_from_one_that_breaks_off() {
    let (end, _) = meet("tcp", |client| async move { drop(client) });
    assert!(matches!(end, Err(Failure::Foreign)), "{end:?}");
}

#[test]
fn a_refusal_in_the_middle_is_seen() {
    let (end, data) = meet("tcp", |mut client| async move {
        client.framed_request().await.unwrap();
        client.send_data(b"tcp 6 a\ntcp 6 b").await.unwrap();
        client.end(Status::Failed, b"the engine has ended").await.unwrap();
    });
    assert_eq!(data, b"tcp 6 a\ntcp 6 b");
    assert_eq!(end.unwrap().status, Status::Failed);
}

#[test]
fn bytes_that_are_no_frames_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sock");
    let bound = Bound::bind(&path).unwrap();
    let daemon = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = bound.serve(Arc::new(Faults::default())).unwrap();
            let mut client = server.accept().await.unwrap();
            assert_eq!(client.request().await, Some(Request::Framed));
            client.framed_request().await.unwrap_err()
        })
    });
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(&Request::Framed.encode()).unwrap();
    stream.write_all(&[0xff; 64]).unwrap();
    assert_eq!(daemon.join().unwrap().0, Status::Malformed);
}

/// What came next would stand inside of the piece that it did not take.
#[tokio::test(start_paused = true)]
async fn a_client_that_did_not_take_a_piece_whole_gets_nothing_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sock");
    let server = Bound::bind(&path).unwrap().serve(Arc::new(Faults::default())).unwrap();
    let mut stream = UnixStream::connect(&path).unwrap();
    let mut client = server.accept().await.unwrap();
    // It reads nothing, until the daemon's patience is at its end (the clock is the test's).
    let line = "x".repeat(1 << 20) + "\n";
    assert!(client.reply(&line).await.is_err());
    let mut taken = vec![0; 1 << 20];
    let len = stream.read(&mut taken).unwrap();
    assert!(len > 0 && taken[..len].iter().all(|byte| *byte == b'x'));
    assert!(client.reply("error: too late\n").await.is_err());
    assert!(client.end(Status::Failed, b"too late").await.is_err());
    drop(client);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(rest.iter().all(|byte| *byte == b'x'), "nothing stands behind a piece of a line");
}
