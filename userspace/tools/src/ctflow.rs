//! The program `ctflow`: the state of this node, for people, scripts and health checks.

mod bench;
mod doctor;
mod metrics;
mod status;
mod words;
pub mod outcome;
mod peers;
mod key;
pub mod ops;
pub mod feed;
mod subscribe;
#[cfg(feature = "top")]
pub mod top;

use crate::conf;
use crate::conntrackd::flags::CONFIG_DEFAULT;
use crate::conntrackd::serve::REFUSAL;
use crate::print::status::Status;
use crate::stdout;
use anyhow::{Context, Result, bail};
use clap::{Args, CommandFactory, Parser, Subcommand};
use outcome::settle;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use wire::control::Request;

/// The exit code when there is no answer.
const CANNOT_TELL: u8 = 2;

/// Shows the state of a flow-replicating node; measures what it costs
#[derive(Debug, Parser)]
#[command(name = "ctflow", version, after_help = EXIT_CODES)]
pub struct Flags {
    #[command(subcommand)]
    verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes: 0 success, 1 not ready or an error found, 2 no answer (no daemon, unreadable configuration, wrong usage).";

const FILTERS: &str = "\
Filters (docs/spec/filter.md): tests joined by and, or, not and parentheses; side by side is and.
  ctflow list tcp dst port 443 and src 10.0.0.0/8
  ctflow count --by src/24 --top 10 unreplied
  ctflow delete zone 5 and not assured
Exit codes: 0 done, also without a match; 1 --require-match and none; 2 wrong usage or filter, no answer; 3 refused by
a limit; 4 the kernel refused some.";

#[cfg(feature = "top")]
const TOP: &str = "\
IN is what comes back to who began a flow (reply direction), OUT what it sends (original direction), in bits a second:
what the kernel's counters gained between two readings (sysctl net.netfilter.nf_conntrack_acct=1).
Line 1 says how the table is known. mirror: every change of the daemon's table is followed, where its configuration has
a `Subscribe` block, up to --max-flows; walk: the table is walked over, now and then. What keeps it from the mirror, or
the mirror behind, stands there too.
  ctflow top dst port 443 and zone 0
  ctflow top -g src/24
  ctflow top --once -o json -n 10 -s out udp
Exit codes: 0 done; 2 wrong usage or filter, no table to read.";

const KEYS: &str = "\
Keys are 44 characters of base64. A key file holds a secret one; what others write into `PublicKey' is its public key.
  ctflow key generate /etc/ctflow/fw-a.key
  ctflow key public /etc/ctflow/fw-a.key
Exit codes: 0 done; 2 not done, with the reason: a file is never overwritten, and one that others can read is refused.";

const SUBSCRIBE: &str = "\
The daemon serves a feed if its configuration has a `Subscribe` block (docs/spec/conf.md); the protocol is in
docs/spec/feed.md.
  ctflow subscribe tcp dst port 443
  ctflow subscribe --snapshot -o json | jq -c 'select(.event==\"destroy\")'
  ctflow subscribe --events destroy --counters not icmp
Exit codes: 0 enough was shown, or a signal ended it; 1 records were lost and --on-gap fail; 2 no feed, wrong usage, or
the daemon has ended.";

/// A command of the program.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the state of the node
    Status {
        #[command(flatten)]
        daemon: Daemon,
        /// As one JSON object (docs/spec/status.md) instead of text
        #[arg(long)]
        json: bool,
        /// On one line, for health checks
        #[arg(long, conflicts_with = "json")]
        brief: bool,
    },
    /// Say whether the tables of this node are complete and exact: exit code 0 if so, 1 if not, with the reasons
    Ready {
        #[command(flatten)]
        daemon: Daemon,
        /// Of this peer of replication, version 2, alone: whether all it claims is here, and nothing else
        #[arg(long, value_name = "NAME")]
        peer: Option<String>,
    },
    /// Show the peers of replication, version 2: whether they are there, and whether their flows are here
    #[command(after_help = peers::MORE)]
    Peers(peers::Options),
    /// Take over the flows of a peer of replication, version 2, though it carries them: they go into the kernel
    Takeover {
        #[command(flatten)]
        daemon: Daemon,
        /// What the peer calls itself
        #[arg(long, value_name = "NAME")]
        peer: String,
    },
    /// Show which flows of a peer of replication, version 2, are not the same here and there
    #[command(after_help = peers::DIFF)]
    Diff(peers::DiffOptions),
    /// Find what keeps this machine from tracking connections and taking over well, and say what to do about it
    Doctor(doctor::Options),
    /// Show what the node counts, for Prometheus' textfile collector
    #[command(after_help = metrics::MORE)]
    Metrics(metrics::Options),
    /// Show flows
    #[command(after_help = FILTERS)]
    List(ops::ListOptions),
    /// Count flows
    #[command(after_help = FILTERS)]
    Count(ops::CountOptions),
    /// Delete flows from the kernel's table, each by its exact tuple and the kernel's id
    #[command(after_help = FILTERS)]
    Delete(ops::DeleteOptions),
    /// Show every change of the daemon's table as it happens
    #[command(after_help = SUBSCRIBE)]
    Subscribe(subscribe::Options),
    /// Watch flows, their rates and groups of them; or print them once
    #[cfg(feature = "top")]
    #[command(after_help = TOP)]
    Top(top::Options),
    /// Show how a filter is understood
    #[command(after_help = FILTERS)]
    Filter(ops::FilterOptions),
    /// Make and show the keys that nodes know each other by
    #[command(after_help = KEYS)]
    Key(key::Options),
    /// Measure what hearing of new flows costs, ours beside the original
    #[command(after_help = bench::MORE)]
    Bench(bench::Options),
}

/// Selects the daemon.
#[derive(Clone, Debug, Args)]
struct Daemon {
    /// Configuration file of the daemon, which says where its control socket is
    #[arg(short = 'C', long, value_name = "FILE", default_value = CONFIG_DEFAULT)]
    config: PathBuf,
}

/// The definition of the command line, which the manual page is made from.
#[must_use]
pub fn command() -> clap::Command {
    Flags::command()
}

/// Does what the command line says.
pub fn run(argv: impl IntoIterator<Item = OsString>) -> ExitCode {
    host::sys::process::obey_sigpipe();
    let flags = match Flags::try_parse_from(words::parted(&Flags::command(), argv)) {
        Ok(flags) => flags,
        Err(error) => {
            if error.use_stderr() {
                let _ = error.print();
                return CANNOT_TELL.into();
            }
            // Help and version are no failure.
            let help = error.render();
            let help =
                if stdout::is_terminal() { help.ansi().to_string() } else { help.to_string() };
            return outcome(print(&help).map(|()| ExitCode::SUCCESS));
        }
    };
    outcome(match &flags.verb {
        Verb::Status { daemon, json, brief } => show(daemon, *json, *brief),
        Verb::List(options) => Ok(settle(ops::list(options))),
        Verb::Count(options) => Ok(settle(ops::count(options))),
        Verb::Delete(options) => Ok(settle(ops::delete(options))),
        Verb::Subscribe(options) => Ok(subscribed(options)),
        #[cfg(feature = "top")]
        Verb::Top(options) => Ok(settle(top::top(options))),
        Verb::Filter(options) => Ok(settle(ops::filter(options))),
        Verb::Ready { daemon, peer: None } => ready(daemon),
        Verb::Ready { daemon, peer: Some(name) } => peers::ready(daemon, name),
        Verb::Peers(options) => peers::run(options),
        Verb::Takeover { daemon, peer } => peers::take_over(daemon, peer),
        Verb::Diff(options) => peers::diff(options),
        Verb::Doctor(options) => doctor::run(options),
        Verb::Metrics(options) => metrics::run(options),
        Verb::Key(options) => key::run(options),
        Verb::Bench(options) => bench::run(options),
    })
}

fn subscribed(options: &subscribe::Options) -> ExitCode {
    match subscribe::subscribe(options) {
        Ok(end) => match settle(Ok(outcome::Code::Done)) {
            ExitCode::SUCCESS => u8::from(end).into(),
            code => code,
        },
        Err(fault) => settle(Err(fault)),
    }
}

fn outcome(outcome: Result<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        let cause = error.downcast_ref::<io::Error>();
        if cause.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            host::sys::process::end_by_sigpipe();
        }
        eprintln!("ctflow: {error:#}");
        CANNOT_TELL.into()
    })
}

fn show(daemon: &Daemon, json: bool, brief: bool) -> Result<ExitCode> {
    let (answer, status) = daemon.status()?;
    print(&match (json, brief) {
        (true, _) => answer,
        (false, true) => status::brief(&status),
        (false, false) => status::text(&status),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn ready(daemon: &Daemon) -> Result<ExitCode> {
    let answer = daemon.ask(Request::Ready)?;
    print(&answer)?;
    match answer.as_str() {
        "" => bail!("the daemon does not know the question (it is another program's)"),
        "ready\n" => Ok(ExitCode::SUCCESS),
        _ => Ok(ExitCode::FAILURE),
    }
}

impl Daemon {
    /// Its status, as it said it and taken apart.
    fn status(&self) -> Result<(String, Status)> {
        let answer = self.ask(Request::StatsJson)?;
        let status = serde_json::from_str(&answer)
            .context("the daemon's answer is not understood (is it ours, and of this version?)")?;
        Ok((answer, status))
    }

    /// Where its control socket is.
    fn socket(&self) -> Result<PathBuf> {
        let path = &self.config;
        let text = conf::text(path)?;
        let Ok((conf, _)) = conf::parse(&text, &path.display().to_string()) else {
            bail!("{}: not a valid configuration (conntrackd --check says why)", path.display());
        };
        conf.general.unix_path.context("the configuration names no control socket")
    }

    fn ask(&self, request: Request) -> Result<String> {
        let socket = self.socket()?;
        let mut answer = Vec::new();
        host::control::ask(&socket, request, &mut answer).with_context(|| {
            format!("cannot talk to the daemon at {} (is it running?)", socket.display())
        })?;
        let answer = String::from_utf8(answer).context("the daemon's answer is not text")?;
        match answer.strip_prefix(REFUSAL) {
            Some(why) => bail!("{}", why.trim()),
            None => Ok(answer),
        }
    }
}

fn print(text: &str) -> Result<()> {
    stdout::put(text.as_bytes());
    Ok(stdout::flush()?)
}
