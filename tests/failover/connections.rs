//! A thousand TCP connections that talk now and then, and notice when they break.

use crate::network::SERVER;
use std::io::{Error, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tests::netns::Namespace;
use tests::wait::wait_until;

/// How many connections.
pub(crate) const COUNT: usize = 1000;
const PORT: u16 = 9000;
/// One round of all connections begins so long after the last one began.
const PACE: Duration = Duration::from_millis(200);
/// A connection that receives nothing for so long is broken; less than tests wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// How each broken one broke.
    pub(crate) broken: Vec<String>,
    /// The longest time all of them waited for an answer.
    pub(crate) silence: Duration,
}

/// The connections while they live.
pub(crate) struct Connections {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    living: Arc<AtomicUsize>,
    talk: JoinHandle<Outcome>,
}

impl Connections {
    /// Opens them. A socket keeps belonging to the namespace it was made in, so one thread can hold both ends.
    pub(crate) fn open(client: &Namespace, server: &Namespace) -> Self {
        let listen = || TcpListener::bind((SERVER, PORT)).expect("the port is free");
        let listener = server.within(listen);
        let pair = |number| {
            let near = TcpStream::connect((SERVER, PORT)).expect("a way to the server");
            let (far, _) = listener.accept().expect("the server takes a connection");
            for end in [&near, &far] {
                end.set_read_timeout(Some(PATIENCE)).expect("a timeout is set");
                end.set_nodelay(true).expect("an option is set");
            }
            // Half of them begin to talk at the server: its words are the ones that meet a router without a flow.
            let ends = if number % 2 == 0 { [near, far] } else { [far, near] };
            Connection { number, ends }
        };
        let all: Vec<_> = client.within(|| (0..COUNT).map(pair).collect());
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let living = Arc::new(AtomicUsize::new(COUNT));
        let (stopped, counted, left) =
            (Arc::clone(&stop), Arc::clone(&rounds), Arc::clone(&living));
        let talk = thread::spawn(move || talk(all, &stopped, &counted, &left));
        Self { stop, rounds, living, talk }
    }

    /// Waits until every connection that lives has said something and been answered, twice.
    pub(crate) fn wait_for_talk(&self) {
        let before = self.rounds.load(Ordering::Relaxed);
        // The first of the rounds may have begun before.
        let now = || self.talk.is_finished() || self.rounds.load(Ordering::Relaxed) > before + 2;
        wait_until("connections talk", now);
    }

    /// How many have not broken.
    pub(crate) fn living(&self) -> usize {
        self.living.load(Ordering::Relaxed)
    }

    /// Ends them.
    pub(crate) fn close(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        self.talk.join().expect("talking does not panic")
    }
}

/// Both ends; the first one begins to talk.
struct Connection {
    number: usize,
    ends: [TcpStream; 2],
}

impl Connection {
    fn say(&mut self, from: usize, word: u64) -> Result<(), Error> {
        self.ends[from].write_all(&word.to_be_bytes())
    }

    fn hear(&mut self, at: usize, word: u64) -> Result<(), Error> {
        let mut heard = [0; 8];
        self.ends[at].read_exact(&mut heard)?;
        let same = u64::from_be_bytes(heard) == word;
        if same { Ok(()) } else { Err(Error::other("other bytes than were sent")) }
    }
}

/// Rounds in which each connection says the number of the round, and the other end says it back.
fn talk(
    mut all: Vec<Connection>,
    stop: &AtomicBool,
    rounds: &AtomicU64,
    living: &AtomicUsize,
) -> Outcome {
    let mut outcome = Outcome::default();
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        let mut last = start;
        let round = rounds.load(Ordering::Relaxed);
        for from in [0, 1] {
            all.retain_mut(|one| outcome.note(one.number, one.say(from, round)));
            all.retain_mut(|one| {
                let heard = one.hear(1 - from, round);
                outcome.silence = outcome.silence.max(last.elapsed());
                last = Instant::now();
                outcome.note(one.number, heard)
            });
        }
        living.store(all.len(), Ordering::Relaxed);
        rounds.fetch_add(1, Ordering::Relaxed);
        thread::sleep(PACE.saturating_sub(start.elapsed()));
    }
    outcome
}

impl Outcome {
    /// Whether a connection lives on.
    fn note(&mut self, number: usize, done: Result<(), Error>) -> bool {
        let error = done.err().map(|error| format!("connection {number}: {error}"));
        let lives = error.is_none();
        self.broken.extend(error);
        lives
    }
}
