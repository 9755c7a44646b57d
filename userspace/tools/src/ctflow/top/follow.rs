//! The thread that follows the daemon's feed, and keeps the mirror as the daemon's table is.
//!
//! ```text
//!   Waiting --live--> Live --gap, cleared, snapshot--> Behind --live--> Live
//!      '------------------------- any --it goes, is silent, has too many flows--> Over
//! ```

use super::mirror::Mirror;
use super::mode::{Cause, Lapse};
use crate::ctflow::feed::{self, Piece, READ_LEN};
use crate::print::status::Status;
use serde::Deserialize as _;
use serde_json::Value;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use wire::feed::Record;

/// The daemon says something once a second. One that says nothing for so long is stopped, or hangs.
const SILENCE: Duration = Duration::from_secs(10);
/// All flows, all changes; after a loss a new snapshot.
const SUBSCRIBE: &[u8] =
    b"{\"v\":1,\"op\":\"subscribe\",\"format\":\"binary\",\"snapshot\":true,\"on_gap\":\"resync\"}\n";
const STATUS: &[u8] = b"{\"op\":\"status\"}\n";

/// How far the mirror is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stand {
    /// The first snapshot is on its way.
    #[default]
    Waiting,
    /// The mirror holds what the daemon's table holds.
    Live,
    /// The mirror was live, and a new snapshot is on its way: why.
    Behind(Cause),
    /// The feed has ended.
    Over(Lapse),
}

/// What is known of the daemon beside its table.
#[derive(Debug, Default)]
pub struct Line {
    /// How far the mirror is.
    pub stand: Stand,
    /// How far the daemon's table can be trusted, as it says.
    pub state: String,
    /// The daemon's status, once it was asked.
    pub status: Option<Status>,
    /// The network namespace it works in: device and inode.
    pub namespace: Option<(u64, u64)>,
}

#[derive(Debug, Default)]
struct Watched {
    line: Mutex<Line>,
    changed: Condvar,
}

impl Watched {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stand(&self, stand: Stand) {
        self.line().stand = stand;
        self.changed.notify_all();
    }
}

/// The socket of a feed, and the namespace that it must be of.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its socket.
    pub socket: PathBuf,
    /// The network namespace in question; `None`: whichever the daemon works in.
    pub namespace: Option<(u64, u64)>,
}

/// A feed that is followed.
#[derive(Debug)]
pub struct Follower {
    /// The table.
    pub mirror: Arc<Mutex<Mirror>>,
    watched: Arc<Watched>,
}

impl Follower {
    /// Follows a feed, for at most so many flows.
    #[must_use]
    pub fn begin(place: Place, flows_max: usize) -> Self {
        let mirror = Arc::new(Mutex::new(Mirror::new(flows_max)));
        let watched = Arc::<Watched>::default();
        let (held, shown) = (Arc::clone(&mirror), Arc::clone(&watched));
        let work = move || {
            let follow = AssertUnwindSafe(|| follow(&place, &held, &shown));
            let panicked = |_| Lapse::new(Cause::Gone, "the thread `feed` panicked");
            shown.stand(Stand::Over(catch_unwind(follow).unwrap_or_else(panicked)));
        };
        if let Err(error) = thread::Builder::new().name("feed".into()).spawn(work) {
            watched
                .stand(Stand::Over(Lapse::new(Cause::NoFeed, format!("thread `feed`: {error}"))));
        }
        Self { mirror, watched }
    }

    /// What is known of the daemon now.
    pub fn line(&self) -> MutexGuard<'_, Line> {
        self.watched.line()
    }

    /// Waits a moment for the first snapshot. How far it is then; flows so far.
    #[must_use]
    pub fn wait(&self, moment: Duration) -> (Stand, u64) {
        let is_waiting = |line: &mut Line| line.stand == Stand::Waiting;
        let waited = self.watched.changed.wait_timeout_while(self.line(), moment, is_waiting);
        let stand = waited.unwrap_or_else(PoisonError::into_inner).0.stand.clone();
        (stand, locked(&self.mirror).len() as u64)
    }
}

/// The table, also after a panic: no thread leaves it half changed.
pub fn locked(mirror: &Mutex<Mirror>) -> MutexGuard<'_, Mirror> {
    mirror.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a mirror of so many flows ends.
fn too_many(flows_max: usize) -> Lapse {
    Lapse::new(
        Cause::TooMany,
        format!("the daemon's table has more than {flows_max} flows (--max-flows)"),
    )
}

/// Follows the feed until it ends. Returns why it ended.
fn follow(place: &Place, mirror: &Mutex<Mirror>, watched: &Watched) -> Lapse {
    let opened = feed::connect(&place.socket);
    let mut reader = match opened {
        Ok(stream) => Reader { place, mirror, watched, stream },
        Err(fault) => return Lapse::new(Cause::NoFeed, fault.to_string()),
    };
    let (mut waiting, mut piece) = (Vec::new(), vec![0; READ_LEN]);
    let gone = |why: &dyn ToString| Lapse::new(Cause::Gone, why.to_string());
    if let Err(error) = reader.stream.set_read_timeout(Some(SILENCE)) {
        return gone(&error);
    }
    // A daemon that has closed the connection may have said why before.
    let _ = reader.stream.write_all(&[SUBSCRIBE, STATUS].concat());
    loop {
        let len = match reader.stream.read(&mut piece) {
            Ok(0) => return gone(&feed::gone(&place.socket)),
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return silent(&place.socket),
            Err(error) => return gone(&error),
        };
        waiting.extend_from_slice(&piece[..len]);
        if let Err(lapse) = reader.take(&mut waiting) {
            return lapse;
        }
    }
}

/// Feeds a mirror of at most `flows_max` flows with what a daemon could send, without a daemon, for fuzzing. Returns
/// how far the mirror is then, and how many flows it holds.
///
/// # Errors
/// If no pair of sockets can be made.
pub fn heard(pieces: &[&[u8]], flows_max: usize) -> std::io::Result<(Stand, usize)> {
    let (mirror, watched) = (Mutex::new(Mirror::new(flows_max)), Watched::default());
    let place = Place { socket: PathBuf::from("feed"), namespace: None };
    let (stream, _daemon) = UnixStream::pair()?;
    stream.set_nonblocking(true)?;
    let mut reader = Reader { place: &place, mirror: &mirror, watched: &watched, stream };
    let mut waiting = Vec::new();
    for piece in pieces {
        waiting.extend_from_slice(piece);
        if let Err(lapse) = reader.take(&mut waiting) {
            watched.stand(Stand::Over(lapse));
            break;
        }
    }
    let stand = watched.line().stand.clone();
    Ok((stand, locked(&mirror).len()))
}

fn silent(socket: &Path) -> Lapse {
    let seconds = SILENCE.as_secs();
    Lapse::new(
        Cause::Silent,
        format!("the feed at {} said nothing for {seconds} s", socket.display()),
    )
}

/// What is done with what comes.
struct Reader<'a> {
    place: &'a Place,
    mirror: &'a Mutex<Mirror>,
    watched: &'a Watched,
    stream: UnixStream,
}

impl Reader<'_> {
    /// Takes what is there whole out of what was read.
    fn take(&mut self, waiting: &mut Vec<u8>) -> Result<(), Lapse> {
        let mut used = 0;
        while let Some((piece, len)) = feed::piece(&waiting[used..])
            .map_err(|fault| Lapse::new(Cause::NoFeed, fault.to_string()))?
        {
            match piece {
                Piece::Records(shard, body) => self.records(shard, body)?,
                Piece::Control(value) => self.heed(&value)?,
            }
            used += len;
        }
        waiting.drain(..used);
        Ok(())
    }

    fn records(&self, shard: u16, mut rest: &[u8]) -> Result<(), Lapse> {
        let mut mirror = locked(self.mirror);
        while !rest.is_empty() {
            let (record, more) = Record::decode(rest)
                .map_err(|error| Lapse::new(Cause::NoFeed, format!("the feed: {error}")))?;
            mirror.apply(shard, &record).map_err(|_| too_many(mirror.max()))?;
            rest = more;
        }
        Ok(())
    }

    /// Heeds a control line.
    fn heed(&mut self, value: &Value) -> Result<(), Lapse> {
        let text = |name: &str| value[name].as_str().unwrap_or_default();
        match text("control") {
            "hello" => self.greeted(value)?,
            // The reply answers nothing that was asked beside the stream.
            "error" if text("code") == "busy" => {}
            "error" => {
                let why = format!("the daemon refused ({}): {}", text("code"), text("text"));
                return Err(Lapse::new(Cause::Refused, why));
            }
            "bye" => {
                return Err(Lapse::new(Cause::Gone, format!("it said goodbye: {}", text("why"))));
            }
            "snapshot" => {
                let mut mirror = locked(self.mirror);
                if value["flows"].as_u64() > Some(mirror.max() as u64) {
                    return Err(too_many(mirror.max()));
                }
                mirror.begin_snapshot();
                drop(mirror);
                self.fall_behind(Cause::Anew);
            }
            "live" => {
                locked(self.mirror).end_snapshot();
                self.watched.stand(Stand::Live);
            }
            "gap" => {
                let lost = |kind: &str| value["lost"][kind].as_u64().unwrap_or(0);
                locked(self.mirror).lose(lost("new"), lost("destroy"));
                self.fall_behind(Cause::Gap);
            }
            "state" if text("state") == "cleared" => {
                locked(self.mirror).clear();
                self.fall_behind(Cause::Anew);
            }
            "state" => text("state").clone_into(&mut self.watched.line().state),
            "tick" => {
                let asked = self.stream.write_all(STATUS);
                asked.map_err(|error| Lapse::new(Cause::Gone, error.to_string()))?;
            }
            "status" => self.watched.line().status = Status::deserialize(&value["status"]).ok(),
            _ => {}
        }
        Ok(())
    }

    /// A loss stays the reason until the snapshot that follows it is there.
    fn fall_behind(&self, why: Cause) {
        let mut line = self.watched.line();
        if line.stand == Stand::Live {
            line.stand = Stand::Behind(why);
        }
    }

    fn greeted(&self, hello: &Value) -> Result<(), Lapse> {
        let number = |at: usize| hello["netns"][at].as_u64();
        let namespace = number(0).zip(number(1));
        if self.place.namespace.is_some() && self.place.namespace != namespace {
            let why = format!("the daemon at {} works elsewhere", self.place.socket.display());
            return Err(Lapse::new(Cause::Elsewhere, why));
        }
        let mut line = self.watched.line();
        line.namespace = namespace;
        hello["state"].as_str().unwrap_or_default().clone_into(&mut line.state);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
