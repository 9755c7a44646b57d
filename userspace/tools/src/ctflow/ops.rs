//! `ctflow list`, `count` and `delete`: operations on the table (`docs/spec/filter.md`, "Operations").
//!
//! ```text
//!  words --filter--> Asked --+--> daemon: its table, deletes by exact tuple and id
//!                            '--> kernel: one dump, the same deletes       (--kernel, no daemon, or it cannot know)
//! ```

pub mod asked;
pub(in crate::ctflow) mod kernel;
pub mod daemon;
mod counters;
pub mod delete;

use super::outcome::{Code, Fault, note};
use crate::grouping::{self, Groups};
use crate::print::conntrack::{Format, Style};
use crate::stdout;
use asked::Asked;
use clap::{Args, ValueEnum};
use daemon::{Came, Daemon};
use host::removal::Victim;
use std::path::PathBuf;

use asked::explain;
pub use delete::{Options as DeleteOptions, delete};

/// The filter, and the source that is asked.
#[derive(Debug, Args)]
pub struct Where {
    /// Which flows: the filter language of docs/spec/filter.md, or selection options of conntrack; nothing: all
    #[arg(value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Configuration file of the daemon, which says where its control socket is
    #[arg(short = 'C', long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Ask the kernel itself, not the daemon
    #[arg(long)]
    pub kernel: bool,
    /// Work in this network namespace (/run/netns/NAME)
    #[arg(long, value_name = "NAME")]
    pub netns: Option<String>,
    /// Take a file of values without values as a set that holds nothing
    #[arg(long)]
    pub allow_empty: bool,
}

/// What flows look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Lines for people, as those of `conntrack -L`
    #[default]
    Text,
    /// JSON (docs/spec/conntrack-json.md)
    Json,
    /// Command lines that make the flows, for `conntrack -R`
    Save,
    /// XML, as that of `conntrack -L -o xml`
    Xml,
}

impl Output {
    /// As flows are printed.
    #[must_use]
    pub fn style(self) -> Style<'static> {
        let format = match self {
            Self::Text => Format::Plain,
            Self::Json => Format::Json,
            Self::Save => Format::Save,
            Self::Xml => Format::Xml,
        };
        Style { format, ..Style::default() }
    }
}

/// The owner of the flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Side {
    /// Those of this node
    #[default]
    Local,
    /// Those that its peers sent and that a failover would bring here; the daemon alone knows them
    Remote,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct ListOptions {
    #[command(flatten)]
    which: Where,
    /// What flows look like
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "text")]
    output: Output,
    /// Whose flows
    #[arg(long, value_name = "TABLE", default_value = "local", conflicts_with = "kernel")]
    table: Side,
    /// Also show what the kernel counts and how long flows have left: the daemon's table says which flows, and each is
    /// read from the kernel
    #[arg(long, conflicts_with = "kernel")]
    counters: bool,
    /// Show at most so many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// Arguments of `count`.
#[derive(Debug, Args)]
pub struct CountOptions {
    #[command(flatten)]
    which: Where,
    /// Text or JSON
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "text")]
    output: Output,
    /// Whose flows
    #[arg(long, value_name = "TABLE", default_value = "local", conflicts_with = "kernel")]
    table: Side,
    /// Count by these, with commas between them: zone proto state src dst dport nat natsrc natdst; src and dst with /N
    #[arg(long, value_name = "KEY")]
    by: Option<String>,
    /// Show the largest N groups
    #[arg(long, value_name = "N", requires = "by")]
    top: Option<usize>,
}

/// `ctflow list`
///
/// # Errors
/// Why it could not.
pub fn list(options: &ListOptions) -> Result<Code, Fault> {
    let asked = Asked::of(&options.which, options.table == Side::Remote)?;
    if options.counters {
        return counters::list(&asked, options);
    }
    let saved = "only the kernel knows the timeouts that saved flows have";
    let why = (options.output == Output::Save).then_some(saved);
    let from_table = answered(&asked, why, |daemon| daemon.list(options.output, options.limit))?;
    if from_table.is_none() {
        kernel::list(&asked, options.output.style(), options.limit)?;
    }
    Ok(Code::Done)
}

/// `ctflow count`
///
/// # Errors
/// Why it could not.
pub fn count(options: &CountOptions) -> Result<Code, Fault> {
    let json = plain_or_json(options.output)?;
    let keys = options.by.as_deref().map(grouping::keys).transpose().map_err(Fault::usage)?;
    let asked = Asked::of(&options.which, options.table == Side::Remote)?;
    let by = options.by.as_deref();
    let answer = answered(&asked, None, |daemon| daemon.count(by, options.top, json))?;
    let (found, groups) = match answer {
        Some(answer) => answer,
        None => counted(&asked, keys, options.top, json)?,
    };
    let text = match (json, by) {
        (false, None) => format!("{}\n", found.matched),
        (false, Some(_)) => groups,
        (true, None) => format!("{}\n", found.json()),
        (true, Some(_)) => {
            let mut object = found.json();
            object["groups"] = serde_json::from_str(&groups).map_err(Fault::usage)?;
            format!("{object}\n")
        }
    };
    stdout::put(text.as_bytes());
    Ok(Code::Done)
}

/// Counts the kernel's flows; groups as text, or as JSON.
fn counted(
    asked: &Asked,
    keys: Option<Vec<grouping::Key>>,
    top: Option<usize>,
    json: bool,
) -> Result<(Found, String), Fault> {
    let mut groups = keys.map(Groups::by);
    let found = kernel::count(asked, groups.as_mut())?;
    let text = groups.map_or(String::new(), |groups| match json {
        true => groups.json(top).to_string(),
        false => groups.text(top),
    });
    Ok((found, text))
}

/// The answer of the daemon's table; `None` if the kernel has to answer, which is reported.
fn answered<T>(
    asked: &Asked,
    why_kernel: Option<&str>,
    ask: impl FnOnce(&Daemon) -> Result<Came<T>, Fault>,
) -> Result<Option<T>, Fault> {
    if let Some(why) = why_kernel.filter(|_| asked.remote) {
        return Err(Fault::usage(format_args!("--table remote: {why}")));
    }
    if let Some(why) = why_kernel.or_else(|| asked.needs_kernel()) {
        note(format_args!("asking the kernel itself: {why}"));
        return Ok(None);
    }
    let came = match Daemon::find(asked)? {
        Came::Answer(daemon) => ask(&daemon)?,
        Came::Elsewhere(why) => Came::Elsewhere(why),
    };
    Ok(match came {
        Came::Answer(answer) => Some(answer),
        Came::Elsewhere(why) if asked.remote => return Err(Fault::usage(why)),
        Came::Elsewhere(why) => {
            note(format_args!("asking the kernel itself: {why}"));
            None
        }
    })
}

/// Whether a format is JSON; only text is possible beside it.
fn plain_or_json(output: Output) -> Result<bool, Fault> {
    match output {
        Output::Text => Ok(false),
        Output::Json => Ok(true),
        Output::Save | Output::Xml => Err(Fault::usage("-o: only text and json are possible here")),
    }
}

/// How many flows a filter selects of how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Flows that the filter selects.
    pub matched: u64,
    /// Flows in the table.
    pub table: u64,
}

/// What a delete is about to do.
#[derive(Debug, Default)]
pub struct Intent {
    /// How many flows it selects.
    pub found: Found,
    /// Some of them, as lines.
    pub examples: Vec<String>,
    /// The flows, if this program deletes them itself.
    pub victims: Vec<Victim>,
}

/// What a delete did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deletion {
    /// How many flows matched.
    pub found: Found,
    /// Flows that are deleted.
    pub deleted: u64,
    /// Flows that had ended by themselves.
    pub ended: u64,
    /// Flows that the kernel kept.
    pub refused: u64,
}

impl Found {
    fn json(self) -> serde_json::Value {
        serde_json::json!({ "count": self.matched, "table": self.table })
    }
}

/// Arguments of `filter`.
#[derive(Debug, Args)]
pub struct FilterOptions {
    #[command(flatten)]
    which: Where,
    /// Also say what runs in the kernel, what may be unknown, what conntrack's options would be, and how many flows
    /// match now
    #[arg(long)]
    explain: bool,
    /// Text or JSON
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// `ctflow filter`
///
/// # Errors
/// What is wrong with the filter.
pub fn filter(options: &FilterOptions) -> Result<Code, Fault> {
    let json = plain_or_json(options.output)?;
    let asked = Asked::new(&options.which)?;
    let mut lines = explain(&asked);
    if !options.explain {
        lines.truncate(1);
    } else {
        // A user that may not read the table may still ask what a filter means.
        let from_table = answered(&asked, None, |daemon| daemon.count(None, None, false));
        let found = from_table.and_then(|answer| match answer {
            Some((found, _)) => Ok(found),
            None => kernel::count(&asked, None),
        });
        let matches = match found {
            Ok(found) => format!("{} of {} flows", found.matched, found.table),
            Err(fault) => format!("not known: {fault}"),
        };
        lines.push(("matches", matches));
    }
    let text = if json {
        let pairs = lines.iter().map(|(name, text)| (name.replace(' ', "_"), text.clone()));
        format!("{}\n", pairs.collect::<serde_json::Value>())
    } else if options.explain {
        lines.iter().map(|(name, text)| format!("{name:<15} {text}\n")).collect()
    } else {
        lines.iter().map(|(_, text)| format!("{text}\n")).collect()
    };
    stdout::put(text.as_bytes());
    Ok(Code::Done)
}
