use super::*;
use crate::control::{Bound, Faults};
use std::sync::Arc;
use wire::control::framed::Verb;

/// Runs a daemon that does `serve` with one client, and a client that asks.
fn meet<F: Future<Output = ()> + Send + 'static>(
    filter: &str,
    serve: impl FnOnce(Client) -> F + Send + 'static,
) -> (io::Result<End>, Vec<u8>) {
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
    let told = filter.clone();
    let (end, data) = meet(&filter, |mut client| async move {
        let received = client.framed_request().await.unwrap();
        assert_eq!(received.filter, told);
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
    assert!(end.unwrap_err().to_string().contains("broke off"));
}

#[test]
fn a_daemon_that_does_not_know_the_protocol_is_told_from_one_that_breaks_off() {
    let (end, _) = meet("tcp", |client| async move { drop(client) });
    let error = end.unwrap_err();
    let gone = matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset);
    assert!(gone || error.to_string().contains("does not speak"), "{error}");
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
