//! The thread that asks the daemon about the flow in detail, again and again, over a connection of its own.
//!
//! ```text
//!   play --wish: which flow--> ask thread --get--> feed
//!    ^---- answer ----------------'  <----flow-------'
//! ```
//!
//! `play` waits for none of it: a daemon that hangs keeps no key waiting.

use super::answer::Answer;
use super::row::Row;
use crate::ctflow::feed::{self, Piece};
use crate::print::conntrack::table_object;
use ctnetlink::FlowKey;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long an answer may take. The daemon's own limit is a second.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often the same flow is asked about.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest answer that is read.
const ANSWER_MAX: usize = 64 << 10;

/// A flow that is shown in detail.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    key: FlowKey,
    /// As the daemon is asked about it.
    line: String,
}

/// Which flow is asked about, if any: what `play` and the thread share.
#[derive(Debug, Default)]
pub struct Wish {
    asked: Mutex<Option<Asked>>,
    changed: Condvar,
}

impl Wish {
    fn asked(&self) -> MutexGuard<'_, Option<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This flow is in detail from here on; `None`: none is.
    pub fn want(&self, row: Option<&Row>) {
        let key = row.map(|row| row.flow.key());
        let mut asked = self.asked();
        if asked.as_ref().map(|asked| asked.key) != key {
            *asked = row.map(|row| Asked { key: row.flow.key(), line: line(row) });
            self.changed.notify_all();
        }
    }

    /// Waits until a flow is in detail, or for a while, if it is that one.
    fn next(&self, last: Option<&Asked>) -> Asked {
        let is_old = |asked: &mut Option<Asked>| asked.is_none() || asked.as_ref() == last;
        let waited = self.changed.wait_timeout_while(self.asked(), AGAIN, is_old);
        let (mut asked, _) = waited.unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*asked {
                Some(asked) => return asked.clone(),
                None => asked = self.changed.wait(asked).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// What the daemon is asked: which flow it is, and no more.
fn line(row: &Row) -> String {
    let object: Value = serde_json::from_str(&table_object(&row.flow, 0)).unwrap_or_default();
    let which = ["protonum", "orig", "zone"].map(|name| (name.to_owned(), object[name].clone()));
    let which: serde_json::Map<_, _> =
        which.into_iter().filter(|(_, one)| !one.is_null()).collect();
    format!("{}\n", json!({"op": "get", "flow": which}))
}

/// Asks for as long as `report` takes the answers.
pub fn ask(socket: &Path, wish: &Wish, mut report: impl FnMut(Answer) -> bool) {
    let (mut stream, mut last) = (None, None);
    loop {
        let asked = wish.next(last.as_ref());
        let found = match answer(socket, &mut stream, &asked.line) {
            Ok(answer) => Answer::new(asked.key, &answer),
            Err(why) => {
                stream = None;
                Answer::unknown(asked.key, &why)
            }
        };
        last = Some(asked);
        if !report(found) {
            return;
        }
    }
}

/// Asks once.
fn answer(socket: &Path, held: &mut Option<UnixStream>, line: &str) -> Result<Value, String> {
    let stream = match held {
        Some(stream) => stream,
        None => held.insert(connect(socket)?),
    };
    let silent = |_| "the daemon does not answer".to_owned();
    stream.write_all(line.as_bytes()).map_err(silent)?;
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match feed::piece(&bytes).map_err(|fault| fault.to_string())? {
            Some((Piece::Control(value), len)) => {
                bytes.drain(..len);
                match value["control"].as_str() {
                    Some("flow") => return Ok(value),
                    Some("error") => {
                        let text = value["text"].as_str().unwrap_or_default();
                        return Err(text.chars().filter(|c| !c.is_control()).collect());
                    }
                    _ => {}
                }
            }
            Some((Piece::Records(..), len)) => drop(bytes.drain(..len)),
            None if bytes.len() > ANSWER_MAX => return Err("the answer is too long".into()),
            None => match stream.read(&mut piece).map_err(silent)? {
                0 => return Err("the daemon has closed the feed".into()),
                len => bytes.extend_from_slice(&piece[..len]),
            },
        }
    }
}

fn connect(socket: &Path) -> Result<UnixStream, String> {
    let first = |text: String| text.lines().next().unwrap_or_default().to_owned();
    let stream = feed::connect(socket).map_err(|fault| first(fault.to_string()))?;
    for set in [UnixStream::set_read_timeout, UnixStream::set_write_timeout] {
        set(&stream, Some(PATIENCE)).map_err(|error| error.to_string())?;
    }
    Ok(stream)
}

#[cfg(test)]
mod tests;
