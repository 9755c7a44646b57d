//! The operations through the daemon: its table, the framed protocol of its control socket.

use super::asked::Asked;
use super::{Deletion, Found, Intent, Output, note};
use crate::conntrackd::flags::CONFIG_DEFAULT;
use crate::ctflow::outcome::Fault;
use crate::{conf, filter, stdout};
use anyhow::{Context, bail};
use host::control::framed::{self, Failure, Piece, namespace};
use std::io;
use std::path::{Path, PathBuf};
#[cfg(feature = "top")]
use wire::control::Request;
use wire::control::framed::{Ask, Format, Status, Tally, Verb};

/// Where a daemon may be.
#[derive(Debug)]
pub struct Daemon {
    socket: PathBuf,
    filter: String,
    /// The namespace in question, unless the command named the configuration: then the daemon of that file, wherever
    /// it is.
    namespace: Option<(u64, u64)>,
    /// Whether the flows of the peers are meant.
    remote: bool,
}

/// What came of a request.
pub(in crate::ctflow) enum Came<T> {
    /// The answer.
    Answer(T),
    /// The daemon cannot answer, and nothing was done: why.
    Elsewhere(String),
}

impl Daemon {
    /// Where the configuration says; why there is none.
    pub(in crate::ctflow) fn find(asked: &Asked) -> Result<Came<Self>, Fault> {
        let path = asked.config.as_deref().unwrap_or(Path::new(CONFIG_DEFAULT));
        let socket = match socket(path) {
            Ok(socket) => socket,
            Err(error) if asked.config.is_some() => return Err(error.into()),
            Err(error) => return Ok(Came::Elsewhere(format!("no daemon: {error:#}"))),
        };
        let named = asked.config.is_some() && !asked.netns;
        let namespace = if named { None } else { namespace() };
        let filter = filter::print(&asked.parsed.expr);
        Ok(Came::Answer(Self { socket, filter, namespace, remote: asked.remote }))
    }

    /// Asks; what came of it, if it was carried out or a limit refused it.
    fn ask(
        &self,
        ask: Ask<'_>,
        mut data: impl FnMut(&[u8]),
    ) -> Result<Came<(Status, Tally)>, Fault> {
        self.exchange(ask, |piece| {
            match piece {
                Piece::Data(bytes) => data(bytes),
                Piece::Note(text) => note(String::from_utf8_lossy(text)),
            }
            Ok(())
        })
    }

    /// Carries out a request, with notes going to the caller too. An error of `each` ends it.
    fn exchange(
        &self,
        ask: Ask<'_>,
        each: impl FnMut(Piece<'_>) -> io::Result<()>,
    ) -> Result<Came<(Status, Tally)>, Fault> {
        let ask = Ask { namespace: self.namespace, remote: self.remote, ..ask };
        let asked = framed::ask(&self.socket, &self.filter, &ask, each);
        let path = self.socket.display();
        let end = match asked {
            Ok(end) => end,
            Err(Failure::Unreachable(error)) => {
                return Ok(Came::Elsewhere(format!("no daemon answers at {path} ({error})")));
            }
            Err(Failure::Foreign) => {
                let why = "does not speak this protocol (an older one, or another program's)";
                return Ok(Came::Elsewhere(format!("the daemon at {path} {why}")));
            }
            Err(Failure::Answer(error)) => {
                return Err(Fault::usage(format_args!("the daemon at {path}: {error}")));
            }
        };
        let text = || String::from_utf8_lossy(&end.body).into_owned();
        match end.status {
            Status::Done | Status::Limit => {
                let tally = Tally::decode(&end.body)
                    .map_err(|error| Fault::usage(format_args!("the daemon's answer: {error}")))?;
                Ok(Came::Answer((end.status, tally)))
            }
            Status::Namespace | Status::NoTable => Ok(Came::Elsewhere(text())),
            _ => Err(Fault::usage(format_args!("the daemon refused: {}", text()))),
        }
    }

    /// Shows flows.
    pub(super) fn list(&self, output: Output, limit: Option<u64>) -> Result<Came<()>, Fault> {
        let format = match output {
            Output::Json => Format::Json,
            Output::Xml => Format::Xml,
            Output::Text | Output::Save => Format::Text,
        };
        let came = self.ask(Ask { limit, format, ..Ask::new(Verb::List) }, stdout::put)?;
        Ok(came.map(drop))
    }

    /// Hands out each flow as a line of JSON until `each` says `false`; what the daemon says of its table.
    pub(in crate::ctflow) fn objects(
        &self,
        mut each: impl FnMut(&[u8]) -> bool,
    ) -> Result<Came<Vec<String>>, Fault> {
        let (mut notes, mut rest, mut stopped) = (Vec::new(), Vec::new(), false);
        let ask = Ask { format: Format::Json, ..Ask::new(Verb::List) };
        let came = self.exchange(ask, |piece| {
            match piece {
                Piece::Note(text) => notes.push(String::from_utf8_lossy(text).into_owned()),
                Piece::Data(bytes) => {
                    rest.extend_from_slice(bytes);
                    let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                    stopped = !rest[..whole].split(|byte| *byte == b'\n').all(&mut each);
                    rest.drain(..whole);
                }
            }
            if stopped { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
        });
        match came {
            Err(_) if stopped => Ok(Came::Answer(notes)),
            came => Ok(came?.map(|_| notes)),
        }
    }

    /// What the daemon says of itself, if it answers and works here.
    #[cfg(feature = "top")]
    pub(in crate::ctflow) fn status(&self) -> Option<crate::print::status::Status> {
        // A list of nothing: only a daemon of this namespace gives it.
        let here = self.exchange(Ask { limit: Some(0), ..Ask::new(Verb::List) }, |_| Ok(()));
        let Ok(Came::Answer(_)) = here else { return None };
        let mut answer = Vec::new();
        host::control::ask(&self.socket, Request::StatsJson, &mut answer).ok()?;
        serde_json::from_slice(&answer).ok()
    }

    /// What the daemon says of how far its table can be trusted; nothing if it does not answer.
    #[cfg(feature = "top")]
    pub(in crate::ctflow) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let _ = self.exchange(Ask { limit: Some(0), ..Ask::new(Verb::List) }, |piece| {
            if let Piece::Note(text) = piece {
                notes.push(String::from_utf8_lossy(text).into_owned());
            }
            Ok(())
        });
        notes
    }

    /// Counts flows; groups as text, or as JSON.
    pub(super) fn count(
        &self,
        keys: Option<&str>,
        top: Option<usize>,
        json: bool,
    ) -> Result<Came<(Found, String)>, Fault> {
        let format = if json { Format::Json } else { Format::Text };
        let top = top.map(|top| top as u64);
        let mut groups = Vec::new();
        let ask = Ask { keys, top, format, ..Ask::new(Verb::Count) };
        let came = self.ask(ask, |bytes| groups.extend_from_slice(bytes))?;
        let groups = String::from_utf8_lossy(&groups).into_owned();
        Ok(came.map(|(_, tally)| (found(&tally), groups)))
    }

    /// What a delete would delete.
    pub(super) fn plan(&self) -> Result<Came<Intent>, Fault> {
        let mut lines = Vec::new();
        let ask = Ask { dry_run: true, ..Ask::new(Verb::Delete) };
        let came = self.ask(ask, |bytes| lines.extend_from_slice(bytes))?;
        let lines = String::from_utf8_lossy(&lines);
        let examples = lines.lines().map(str::to_owned).collect();
        Ok(came.map(|(_, tally)| Intent { found: found(&tally), examples, victims: Vec::new() }))
    }

    /// Deletes at most `max` flows. An error of a limit: how many there are.
    pub(super) fn delete(
        &self,
        max: u64,
        confirmed: bool,
    ) -> Result<Came<Result<Deletion, Found>>, Fault> {
        let ask = Ask { max: Some(max), confirmed, ..Ask::new(Verb::Delete) };
        let came = self.ask(ask, |_| {})?;
        Ok(came.map(|(status, tally)| {
            let Tally { deleted, ended, refused, .. } = tally;
            match status {
                Status::Limit => Err(found(&tally)),
                _ => Ok(Deletion { found: found(&tally), deleted, ended, refused }),
            }
        }))
    }
}

impl<T> Came<T> {
    fn map<U>(self, answer: impl FnOnce(T) -> U) -> Came<U> {
        match self {
            Self::Answer(value) => Came::Answer(answer(value)),
            Self::Elsewhere(why) => Came::Elsewhere(why),
        }
    }
}

const fn found(tally: &Tally) -> Found {
    Found { matched: tally.matched, table: tally.table }
}

/// The control socket that a configuration names.
fn socket(path: &Path) -> anyhow::Result<PathBuf> {
    let text = conf::text(path)?;
    let Ok((conf, _)) = conf::parse(&text, &path.display().to_string()) else {
        bail!("{}: not a valid configuration (conntrackd --check says why)", path.display());
    };
    conf.general.unix_path.context("the configuration names no control socket")
}
