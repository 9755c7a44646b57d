//! `ctflow top`: which flows there are and what they carry, now (`docs/spec/top-json.md`).
//!
//! ```text
//!  feed --records--> follow --> mirror -----.
//!  kernel, daemon --flows--> walk (meter) --> source --> sample --> arrange (filter, first rows, groups) --> picture
//!                                                                                                               |
//!                                                        screen <-- view <-- app <-- keys     once: JSON, text <-'
//! ```
//!
//! Walks run on a thread of their own, the feed is followed on another, arranging and keys have theirs: the screen
//! waits for none of them.

pub mod meter;
pub mod heavy;
pub mod mirror;
pub mod mode;
pub mod row;
pub mod sample;
pub mod answer;
pub mod asking;
pub mod first;
pub mod arrange;
pub mod walk;
pub mod follow;
pub mod source;
pub mod once;
pub mod keys;
pub mod command;
pub mod app;
pub mod view;
pub mod screen;

use super::ops::asked::Asked;
use super::ops::{Output, Where};
use super::outcome::{Code, Fault, note};
use crate::conntrackd::flags::CONFIG_DEFAULT;
use crate::filter::{self, Limits, System};
use crate::grouping::{self, Key};
use crate::stdout;
use app::App;
use arrange::{Arranger, By, Picture, Settings};
use clap::Args;
use engine::query::{Expr, Gap, Program, Term, gap};
use sample::FLOWS_MAX;
use source::{Feed, Source};
use std::env;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use walk::{Signs, Walk, Walker, Wanted, rest};

/// Arguments of `top`.
#[derive(Debug, Args)]
pub struct Options {
    /// Which flows: the filter language of docs/spec/filter.md, or selection options of conntrack; nothing: all
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
    /// Group flows: zone proto state src dst dport nat natsrc natdst; src and dst with /N (IPv6: /64 if N is up to 32)
    #[arg(short = 'g', long, value_name = "KEY")]
    group: Option<String>,
    /// Sort flows: in, out, age, left, from, to, state
    #[arg(short = 's', long, value_name = "COLUMN", default_value = "in")]
    sort: String,
    /// Seconds between two pictures; on the screen, walks take at most a twentieth of the time
    #[arg(short = 'd', long, value_name = "SECONDS", default_value = "2")]
    every: f64,
    /// Print at most so many flows, and so many groups
    #[arg(short = 'n', long, value_name = "LINES", default_value_t = 50)]
    lines: usize,
    /// Print one picture, of two looks at the table, and leave; so it is without a terminal
    #[arg(long)]
    once: bool,
    /// Print so many pictures
    #[arg(long, value_name = "N", conflicts_with = "once")]
    count: Option<u32>,
    /// Of what is printed: text, or JSON (docs/spec/top-json.md)
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "text")]
    output: Output,
    /// Where flows come from
    #[arg(long, value_name = "SOURCE", default_value = "auto")]
    source: Wanted,
    /// Hold at most so many flows; a table with more is walked over, and of a walk no more are kept and metered
    #[arg(long, value_name = "N", default_value_t = FLOWS_MAX)]
    max_flows: usize,
    /// No colour and no bold text, as with NO_COLOR or TERM=dumb
    #[arg(long)]
    plain: bool,
    /// Configuration file of the daemon, which says where its feed and its control socket are
    #[arg(short = 'C', long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The feed's socket, for those who may not read the configuration
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    socket: Option<PathBuf>,
    /// Work in this network namespace (/run/netns/NAME)
    #[arg(long, value_name = "NAME")]
    netns: Option<String>,
    /// Take a file of values without values as a set that holds nothing
    #[arg(long)]
    allow_empty: bool,
}

/// The shortest time between two walks.
const EVERY_MIN_S: f64 = 0.1;
/// Columns of what is printed into a file or a pipe.
const PRINTED_WIDTH: usize = 132;
/// The longest.
const EVERY_MAX_S: f64 = 86_400.0;

/// `ctflow top`
///
/// # Errors
/// Wrong usage; no daemon answers.
pub fn top(options: &Options) -> Result<Code, Fault> {
    let is_json = match options.output {
        Output::Text => false,
        Output::Json => true,
        Output::Save | Output::Xml => {
            return Err(Fault::usage("-o: only text and json are possible here"));
        }
    };
    if !(EVERY_MIN_S..=EVERY_MAX_S).contains(&options.every) {
        return Err(Fault::usage(format_args!("-d: {EVERY_MIN_S} to {EVERY_MAX_S} seconds")));
    }
    let filter = Asked::new(&options.which(options.filter.clone(), options.netns.clone()))?;
    let settings = options.settings(&filter)?;
    // The namespace has been entered; `netns` still says whose daemon is meant.
    let mut all = Asked::new(&options.which(Vec::new(), None))?;
    all.netns = options.netns.is_some();
    let walker = Walker::new(all, options.source, options.max_flows)?;
    let feed = options.feed();
    let socket = feed.socket();
    let source = Source::new(walker, (options.source, feed), options.max_flows);
    let every = Duration::from_secs_f64(options.every);
    let is_printed = is_json || options.once || options.count.is_some() || !has_terminal();
    if is_printed {
        return print(source.always_metered(), &settings, &filter.text, options);
    }
    let app = App { settings, filter: filter.text, every, ..App::default() };
    screen::run((source, socket), app, &understood, options.plain || is_without_colour())
}

/// Whether there is a user at a screen that can be drawn on.
fn has_terminal() -> bool {
    let is_dumb = term().is_none_or(|term| term == "dumb");
    io::stdin().is_terminal() && io::stdout().is_terminal() && !is_dumb
}

fn term() -> Option<String> {
    env::var("TERM").ok().filter(|term| !term.is_empty())
}

fn is_without_colour() -> bool {
    let is_asked = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    is_asked || term().is_some_and(|term| term.starts_with("vt"))
}

/// What is understood of a filter that was typed on the screen.
fn understood(text: &str) -> Result<Option<Arc<Program>>, String> {
    let wrong = |error: filter::Error| error.render(text, false);
    let parsed = filter::parse(text, &Limits::TYPED, &mut System::default()).map_err(wrong)?;
    let never = |term: &Term| match gap(term) {
        Some(Gap::Never(why)) => Some(why),
        _ => None,
    };
    parsed.check(never).map_err(wrong)?;
    program(&parsed.expr).map_err(|fault| fault.to_string())
}

impl Options {
    fn which(&self, filter: Vec<String>, netns: Option<String>) -> Where {
        Where {
            filter,
            config: self.config.clone(),
            kernel: self.source == Wanted::Kernel,
            netns,
            allow_empty: self.allow_empty,
        }
    }

    fn feed(&self) -> Feed {
        let config = self.config.clone().unwrap_or_else(|| CONFIG_DEFAULT.into());
        let is_named = self.config.is_some() || self.socket.is_some();
        let is_anywhere = is_named && self.netns.is_none();
        Feed { socket: self.socket.clone(), config, is_anywhere }
    }

    fn settings(&self, filter: &Asked) -> Result<Settings, Fault> {
        let by = By::ALL.into_iter().find(|by| by.name() == self.sort);
        let words = || By::ALL.map(By::name).join(", ");
        let by = by.ok_or_else(|| Fault::usage(format_args!("-s: expected one of {}", words())))?;
        let group = self.group.as_deref().map(group_key).transpose().map_err(Fault::usage)?;
        let program = program(&filter.parsed.expr)?;
        Ok(Settings { program, by, group, ..Settings::default() })
    }
}

/// A filter, compiled; `None` if it is every flow's.
fn program(expr: &Expr) -> Result<Option<Arc<Program>>, Fault> {
    if *expr == Expr::Everything {
        return Ok(None);
    }
    let program = Program::new(expr).map_err(|_| Fault::usage("the filter is too large"))?;
    Ok(Some(Arc::new(program)))
}

/// The key that flows are grouped by, as a word.
///
/// # Errors
/// What is wrong with it.
pub fn group_key(word: &str) -> Result<Key, String> {
    let keys = grouping::keys(word)?;
    match keys[..] {
        [key] => Ok(key),
        _ => Err(format!("`{word}`: one key")),
    }
}

/// Prints pictures, each of two samples.
fn print(
    mut source: Source,
    settings: &Settings,
    filter: &str,
    options: &Options,
) -> Result<Code, Fault> {
    let (every, lines) = (Duration::from_secs_f64(options.every), options.lines);
    let (pictures, is_json) = (options.count.unwrap_or(1), options.output == Output::Json);
    let signs = Signs::default();
    let mut arranger = Arranger::default();
    let mut walk = || source.walk(&signs)?.ok_or_else(|| Fault::usage("stopped"));
    let first = walk()?;
    first.notes.iter().chain(first.lapse.as_ref().map(|lapse| &lapse.why)).for_each(note);
    for _ in 0..pictures {
        rest(every, &signs);
        let sample = walk()?;
        let picture = arranger.arrange(&sample, settings);
        let text = match is_json {
            true => format!("{}\n", once::json(&picture, lines)),
            false => text(picture, settings, filter, every, lines),
        };
        stdout::put(text.as_bytes());
        stdout::flush()?;
    }
    Ok(Code::Done)
}

/// A picture as text, as wide as the terminal, if there is one.
fn text(
    mut picture: Picture,
    settings: &Settings,
    filter: &str,
    every: Duration,
    lines: usize,
) -> String {
    picture.rows.truncate(lines);
    let shown = picture.groups.as_ref().map_or(0, |groups| groups.rows.len().min(lines));
    let columns = crossterm::terminal::size().ok().filter(|_| stdout::is_terminal());
    let width = columns.map_or(PRINTED_WIDTH, |(columns, _)| columns.into()).max(view::LEAST.0);
    // A cursor that is nowhere: nothing is chosen.
    let mut app = App {
        settings: settings.clone(),
        filter: filter.to_owned(),
        every,
        picture: Some(picture),
        ..App::default()
    };
    let now = view::Now { clock: screen::clock(), ..view::Now::default() };
    let lines = view::printed(&mut app, &now, width, shown);
    lines.into_iter().map(|line| line.text + "\n").collect()
}
