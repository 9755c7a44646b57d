//! A thousand TCP connections that talk now and then, and notice when they break.

use crate::network::SERVER;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tests::netns::Namespace;
use tests::wait::wait_until;

/// How many.
pub(crate) const COUNT: usize = 1000;
const PORT: u16 = 9000;
/// One round of all connections begins so long after the last one began.
const PACE: Duration = Duration::from_millis(500);
/// A connection that hears nothing for so long is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// What became of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// How each broken one broke.
    pub(crate) broken: Vec<String>,
    /// Connections that ended badly at the server.
    pub(crate) server_errors: u64,
    /// The longest time no connection heard anything.
    pub(crate) silence: Duration,
}

/// The connections while they live.
pub(crate) struct Connections {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    client: JoinHandle<(Vec<String>, Duration)>,
    server: JoinHandle<u64>,
}

impl Connections {
    /// Opens them.
    pub(crate) fn open(client: &Namespace, server: &Namespace) -> Self {
        let listen = || TcpListener::bind((SERVER, PORT)).expect("the port is free");
        let listener = server.within(listen);
        let accepting = thread::spawn(move || serve(&listener));
        let connect = || {
            let stream = TcpStream::connect((SERVER, PORT)).expect("a way to the server");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout is set");
            stream.set_nodelay(true).expect("an option is set");
            stream
        };
        let streams = client.within(|| (0..COUNT).map(|_| connect()).collect::<Vec<_>>());
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&rounds));
        let client = thread::spawn(move || talk(streams, &stopped, &counted));
        Self { stop, rounds, client, server: accepting }
    }

    /// Waits until every connection that lives has said something and been answered, twice.
    pub(crate) fn wait_for_talk(&self) {
        let before = self.rounds.load(Ordering::Relaxed);
        // The first round may have begun before.
        let now = || self.client.is_finished() || self.rounds.load(Ordering::Relaxed) > before + 2;
        wait_until("connections talk", now);
    }

    /// Ends them.
    pub(crate) fn close(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let (broken, silence) = self.client.join().expect("the client does not panic");
        let server_errors = self.server.join().expect("the server does not panic");
        Outcome { broken, server_errors, silence }
    }
}

/// Rounds in which each connection says the number of the round and waits until it comes back.
fn talk(streams: Vec<TcpStream>, stop: &AtomicBool, rounds: &AtomicU64) -> (Vec<String>, Duration) {
    let mut living: Vec<_> = streams.into_iter().enumerate().collect();
    let (mut broken, mut silence, mut heard) = (Vec::new(), Duration::ZERO, Instant::now());
    while !stop.load(Ordering::Relaxed) {
        let (start, round) = (Instant::now(), rounds.load(Ordering::Relaxed));
        let mut check = |number: usize, what: &str, done: std::io::Result<()>| {
            let error = done.err().map(|error| format!("connection {number}, {what}: {error}"));
            let lives = error.is_none();
            broken.extend(error);
            lives
        };
        living.retain_mut(|(number, stream)| {
            check(*number, "write", stream.write_all(&round.to_be_bytes()))
        });
        heard = heard.max(start);
        living.retain_mut(|(number, stream)| {
            let mut answer = [0; 8];
            let read = stream.read_exact(&mut answer);
            silence = silence.max(heard.elapsed());
            heard = Instant::now();
            let read = read.and_then(|()| match u64::from_be_bytes(answer) == round {
                true => Ok(()),
                false => Err(std::io::Error::other("another answer than expected")),
            });
            check(*number, "read", read)
        });
        rounds.fetch_add(1, Ordering::Relaxed);
        thread::sleep(PACE.saturating_sub(start.elapsed()));
    }
    (broken, silence)
}

/// Sends back whatever comes, until all have gone.
fn serve(listener: &TcpListener) -> u64 {
    let mut streams: Vec<_> = (0..COUNT).map_while(|_| listener.accept().ok()).collect();
    let mut errors = 0;
    while !streams.is_empty() {
        let mut polled: Vec<_> =
            streams.iter().map(|(stream, _)| PollFd::new(stream, PollFlags::IN)).collect();
        let patience = Timespec { tv_sec: 1, tv_nsec: 0 };
        poll(&mut polled, Some(&patience)).expect("sockets can be polled");
        let mut ready: Vec<_> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(polled);
        let mut ready = ready.drain(..);
        streams.retain_mut(|(stream, _)| {
            if !ready.next().unwrap_or(false) {
                return true;
            }
            let mut said = [0; 64];
            match stream.read(&mut said).and_then(|n| stream.write_all(&said[..n]).map(|()| n)) {
                Ok(n) => n > 0,
                Err(_) => {
                    errors += 1;
                    false
                }
            }
        });
    }
    errors
}
