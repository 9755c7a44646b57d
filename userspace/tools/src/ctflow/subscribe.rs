//! `ctflow subscribe`: every change of the daemon's tables, as it happens (`docs/spec/feed.md`).
//!
//! ```text
//!   text     frames of records --> lines of `conntrack -E`       control lines --> stderr
//!   json     lines, as they come
//!   binary   frames, as they come
//! ```

use super::feed::{self, Piece, READ_LEN, connect, gone, socket};
use super::ops::asked::shown;
use super::outcome::{Fault, note};
use crate::conntrackd::check::unreported;
use crate::conntrackd::flags::CONFIG_DEFAULT;
use crate::filter::{self, Limits, System, parse};
use crate::print::conntrack::{Style, feed_text};
use crate::stdout;
use clap::{Args, ValueEnum};
use host::sys::stop_signals;
use host::table::wait_for_any;
use serde_json::{Value, json};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use wire::feed::{Frame, Op, Record, frame};

/// Arguments of `subscribe`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Which flows: the filter language of docs/spec/filter.md; nothing: all
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
    /// What to show, with commas between: new update destroy failure
    #[arg(long, value_name = "KINDS", value_delimiter = ',', default_value = "new,update,destroy")]
    events: Vec<Kind>,
    /// Begin with all flows of the table
    #[arg(long)]
    snapshot: bool,
    /// Also tell counters and times of flows, where the kernel keeps them
    #[arg(long)]
    counters: bool,
    /// Of which table: this node's flows, or those of its peers
    #[arg(long, value_name = "TABLE", default_value = "local")]
    table: Table,
    /// What records look like
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "text")]
    output: Output,
    /// End after so many records
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// When this reads too slowly and loses records: say so and go on, take a new snapshot, or end with exit code 1
    #[arg(long, value_name = "WHAT", default_value = "tell")]
    on_gap: OnGap,
    /// Configuration file of the daemon, which says where its feed is
    #[arg(short = 'C', long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The feed's socket, for those who may not read the configuration
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    socket: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    New,
    Update,
    Destroy,
    Failure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Table {
    /// Flows of this node
    Local,
    /// Flows of its peers
    Remote,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Lines for people, as those of `conntrack -E`
    Text,
    /// A JSON object on each line
    Json,
    /// Frames of records
    Binary,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnGap {
    Tell,
    Resync,
    Fail,
}

/// How it ended, if it was not for a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As it was to.
    Done,
    /// Records were lost, and they must not be.
    Gap,
}

/// `ctflow subscribe`
///
/// # Errors
/// Why it could not, or cannot go on.
pub(super) fn subscribe(options: &Options) -> Result<End, Fault> {
    let filter = understood(&options.filter.join(" "))?;
    let path = match &options.socket {
        Some(path) => path.clone(),
        None => socket(options.config.as_deref().unwrap_or(Path::new(CONFIG_DEFAULT)))?,
    };
    let stop = stop_signals()?;
    let mut stream = connect(&path)?;
    stream.write_all(request(options, &filter).as_bytes())?;
    let mut reader = Reader { options, shown: 0, waiting: Vec::new(), failed: false };
    let mut piece = vec![0; READ_LEN];
    loop {
        if wait_for_any(&[stream.as_fd()], &stop, None) {
            return Ok(End::Done);
        }
        let len = match stream.read(&mut piece) {
            Ok(0) => return if reader.failed { Ok(End::Gap) } else { Err(gone(&path)) },
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return Err(gone(&path)),
        };
        reader.waiting.extend_from_slice(&piece[..len]);
        let done = reader.take()?;
        stdout::flush()?;
        if done {
            return Ok(if reader.failed { End::Gap } else { End::Done });
        }
    }
}

/// The filter in normal form.
fn understood(text: &str) -> Result<String, Fault> {
    let parsed = parse(text, &Limits::TYPED, &mut System::default());
    let parsed = parsed.map_err(|error| shown(text, &error))?;
    parsed.check(unreported).map_err(|error| shown(text, &error))?;
    Ok(filter::print(&parsed.expr))
}

fn request(options: &Options, filter: &str) -> String {
    let Options { events, snapshot, counters, table, output, on_gap, .. } = options;
    let name = |kind: &Kind| match kind {
        Kind::New => "new",
        Kind::Update => "update",
        Kind::Destroy => "destroy",
        Kind::Failure => "failure",
    };
    let kinds: Vec<_> = events.iter().map(name).collect();
    let value = json!({
        "v": 1, "op": "subscribe", "filter": filter, "kinds": kinds, "snapshot": snapshot,
        "counters": counters,
        "format": if *output == Output::Json { "json" } else { "binary" },
        "table": if *table == Table::Local { "local" } else { "remote" },
        "on_gap": match on_gap {
            OnGap::Tell => "tell",
            OnGap::Resync => "resync",
            OnGap::Fail => "close",
        },
    });
    format!("{value}\n")
}

/// What is done with what comes.
struct Reader<'a> {
    options: &'a Options,
    shown: u64,
    /// Read and not used yet.
    waiting: Vec<u8>,
    /// Records were lost, and that is the end.
    failed: bool,
}

impl Reader<'_> {
    /// Shows what is there whole; whether that was all.
    fn take(&mut self) -> Result<bool, Fault> {
        let mut waiting = std::mem::take(&mut self.waiting);
        let mut used = 0;
        let mut done = false;
        while !done {
            let (len, over) = match self.options.output {
                Output::Json => self.line(&waiting[used..])?,
                Output::Text | Output::Binary => self.frame(&waiting[used..])?,
            };
            if len == 0 {
                break;
            }
            used += len;
            done = over;
        }
        waiting.drain(..used);
        self.waiting = waiting;
        Ok(done)
    }

    /// Shows a line; how long it is, and whether it is the last one.
    fn line(&mut self, bytes: &[u8]) -> Result<(usize, bool), Fault> {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Ok((0, false)) };
        let line = &bytes[..=end];
        let is_control =
            line.starts_with(b"{\"control\":") || !line.starts_with(b"{\"v\":1,\"event\":");
        let value =
            if is_control { serde_json::from_slice(line).unwrap_or_default() } else { Value::Null };
        if is_control && self.control(&value)? {
            return Ok((end + 1, true));
        }
        stdout::put(line);
        self.shown += u64::from(!is_control);
        Ok((end + 1, self.is_done()))
    }

    /// Shows a frame; how long it is, and whether it is the last one.
    fn frame(&mut self, bytes: &[u8]) -> Result<(usize, bool), Fault> {
        let Some((piece, len)) = feed::piece(bytes)? else { return Ok((0, false)) };
        let is_over = match piece {
            Piece::Control(value) => {
                let is_over = self.control(&value)?;
                if self.options.output == Output::Binary && !is_over {
                    stdout::put(&bytes[..len]);
                }
                is_over
            }
            Piece::Records(shard, body) => self.records(shard, body)?,
        };
        Ok((len, is_over || self.is_done()))
    }

    fn records(&mut self, shard: u16, mut rest: &[u8]) -> Result<bool, Fault> {
        let (all, mut out) = (rest, stdout::take());
        while !rest.is_empty() && !self.is_done() {
            let (record, more) = Record::decode(rest)
                .map_err(|error| Fault::usage(format_args!("the feed: {error}")))?;
            rest = more;
            self.shown += u64::from(record.head.op != Op::Cleared);
            if self.options.output == Output::Text {
                feed_text(&mut out, &Style::default(), &record);
            }
        }
        if self.options.output == Output::Binary {
            let body = &all[..all.len() - rest.len()];
            out.extend_from_slice(&frame(Frame::Records, shard, body.len() as u32));
            out.extend_from_slice(body);
        }
        stdout::give(out);
        Ok(self.is_done())
    }

    fn is_done(&self) -> bool {
        self.options.count.is_some_and(|count| self.shown >= count)
    }

    /// Heeds what the daemon says beside records; whether that is the end.
    fn control(&mut self, value: &Value) -> Result<bool, Fault> {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        match value["control"].as_str() {
            Some("error") => Err(Fault::usage(format_args!(
                "the daemon refused ({}): {}",
                text("code"),
                text("text")
            ))),
            Some("gap") => {
                note(format_args!(
                    "records were lost: {} (scope {}: {})",
                    value["lost"],
                    text("scope"),
                    text("why")
                ));
                self.failed |= self.options.on_gap == OnGap::Fail;
                Ok(false)
            }
            Some("bye") if self.failed => Ok(true),
            Some("bye") => {
                Err(Fault::usage(format_args!("the daemon says goodbye: {}", text("why"))))
            }
            Some("state") => {
                if self.options.output == Output::Text {
                    note(format_args!("the table is {}", text("state")));
                }
                Ok(false)
            }
            _ => Ok(false),
        }
    }
}

/// The exit code.
impl From<End> for u8 {
    fn from(end: End) -> Self {
        match end {
            End::Done => 0,
            End::Gap => 1,
        }
    }
}
