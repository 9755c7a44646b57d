//! The command line of `conntrackd`.
//!
//! Without a command it is the daemon; with one it is a client that sends a single request to the daemon. Single
//! letters mean what they mean to conntrack-tools' daemon; long options and `--check` are ours. Sub-words of commands
//! may be cut short, and of several commands the last one counts.

use clap::builder::styling::Styles;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use wire::control::Request;

/// The configuration file unless `-C` names another.
pub const CONFIG_DEFAULT: &str = "/etc/conntrackd/conntrackd.conf";

/// What the command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    /// The configuration file. Clients read it too: it says where the control socket is.
    pub config: PathBuf,
    /// The action that the flags ask for.
    pub action: Action,
    /// What to warn about.
    pub warnings: Vec<&'static str>,
}

/// An action of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Be the daemon.
    Run {
        /// In the background.
        detach: bool,
    },
    /// Say what is wrong with the configuration.
    Check,
    /// Ask the daemon.
    Client(Request),
    /// Print this text, help or version, to standard output.
    Print(String),
}

/// Why the command line was not understood, for standard error; the exit code is 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError(String);

/// A command of the client.
struct Verb {
    short: char,
    /// Long option, and name inside of clap.
    long: &'static str,
    /// The request without a sub-word.
    alone: Request,
    /// The request of each sub-word. A word that fits several means the first.
    words: &'static [(&'static str, Request)],
    /// How the sub-words are shown in the help.
    shown: &'static str,
    help: &'static str,
}

const VERBS: &[Verb] = &[
    Verb {
        short: 'c',
        long: "commit",
        alone: Request::Commit,
        words: &[("ct", Request::CommitFlows), ("expect", Request::CommitExpectations)],
        shown: "ct|expect",
        help: "Put the flows of the other node into the kernel, as when taking over",
    },
    Verb {
        short: 'i',
        long: "dump-internal",
        alone: Request::DumpLocal,
        words: &[("ct", Request::DumpLocal), ("expect", Request::DumpLocalExpectations)],
        shown: "ct|expect",
        help: "Show the flows of this node",
    },
    Verb {
        short: 'e',
        long: "dump-external",
        alone: Request::DumpRemote,
        words: &[("ct", Request::DumpRemote), ("expect", Request::DumpRemoteExpectations)],
        shown: "ct|expect",
        help: "Show the flows of the other node",
    },
    Verb {
        short: 'f',
        long: "flush",
        alone: Request::FlushTables,
        words: &[("internal", Request::FlushLocal), ("external", Request::FlushRemote)],
        shown: "internal|external",
        help: "Empty the daemon's tables, or one of them",
    },
    Verb {
        short: 'F',
        long: "flush-kernel",
        alone: Request::FlushKernel,
        words: &[("ct", Request::FlushKernelFlows), ("expect", Request::FlushKernelExpectations)],
        shown: "ct|expect",
        help: "Delete the flows of the kernel",
    },
    Verb {
        short: 'R',
        long: "resync",
        alone: Request::Reload,
        words: &[("ct", Request::ReloadFlows), ("expect", Request::ReloadExpectations)],
        shown: "ct|expect",
        help: "Read the flows of the kernel again",
    },
    Verb {
        short: 'B',
        long: "send-bulk",
        alone: Request::SendBulk,
        words: &[],
        shown: "",
        help: "Send all flows of this node to the other node",
    },
    Verb {
        short: 'n',
        long: "request-bulk",
        alone: Request::RequestBulk,
        words: &[],
        shown: "",
        help: "Ask the other node for all its flows (modes FTFW and NOTRACK)",
    },
    Verb {
        short: 't',
        long: "reset-timers",
        alone: Request::PurgeLater,
        words: &[],
        shown: "",
        help: "Delete the flows of the kernel in PurgeTimeout seconds, as when handing over",
    },
    Verb {
        short: 's',
        long: "stats",
        alone: Request::Stats,
        words: &[
            ("network", Request::StatsNetwork),
            ("cache", Request::StatsTables),
            ("runtime", Request::StatsRuntime),
            (MULTICAST, Request::StatsLinks),
            ("link", Request::StatsLinks),
            ("rsqueue", Request::StatsResendQueue),
            ("process", Request::StatsProcesses),
            ("queue", Request::StatsQueues),
            ("ct", Request::Stats),
            ("expect", Request::StatsExpectations),
            ("json", Request::StatsJson),
        ],
        shown: "network|cache|runtime|link|rsqueue|process|queue|ct|expect|json",
        help: "Show statistics",
    },
    Verb {
        short: 'k',
        long: "kill",
        alone: Request::Kill,
        words: &[],
        shown: "",
        help: "Stop the daemon",
    },
];

/// The sub-word of `-s` that is obsolete.
const MULTICAST: &str = "multicast";

const EXAMPLES: &str = "\
Examples:
  conntrackd -d               start the daemon in the background
  conntrackd --check          say what is wrong with the configuration file
  conntrackd -s               show what the daemon has done so far
  conntrackd -i expect        show the expectations of this node
  conntrackd -c               take over the flows of the other node

Sub-words may be cut short: `-s net` is `-s network`. The exit code is 0, or 1 after an error.";

/// Understands a command line, program name first.
///
/// # Errors
/// With the text to print.
pub fn parse<I, T>(argv: I) -> Result<Args, UsageError>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let matches = match command().try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(error) => return shown(&error),
    };
    let config = matches.get_one("config").cloned();
    let mut args = Args {
        config: config.unwrap_or_else(|| PathBuf::from(CONFIG_DEFAULT)),
        action: Action::Run { detach: matches.get_flag("daemon") },
        warnings: Vec::new(),
    };
    if let Some((verb, at)) = last_verb(&matches) {
        let word = verb.word(&matches);
        args.warnings.extend(word.and_then(|(name, _)| deprecation(name)));
        let request = word.map_or(verb.alone, |(_, request)| *request);
        args.action = Action::Client(with_format(request, &matches, at)?);
    } else if matches.get_flag("xml") {
        return Err(UsageError::new(XML_ALONE));
    } else if matches.get_flag("check") {
        args.action = Action::Check;
    }
    Ok(args)
}

/// The definition behind [`parse`], which help, manual page and completions are made from.
#[must_use]
pub fn command() -> Command {
    let verbs = VERBS.iter().map(Verb::arg);
    let xml = switch("xml", Some('x'), "After -i or -e: show it as XML").help_heading(CLIENT);
    Command::new("conntrackd")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Connection tracking daemon: replicates flows to another node, or logs flows that ended")
        .override_usage("conntrackd [-d] [-C FILE]\n       conntrackd [-C FILE] COMMAND")
        .after_help(EXAMPLES)
        .styles(Styles::plain())
        .disable_version_flag(true)
        .disable_help_flag(true)
        .args_override_self(true)
        .args(general())
        .args(verbs)
        .arg(xml)
}

const CLIENT: &str = "Commands to a running daemon";
const XML_ALONE: &str = "-x must follow -i or -e";

fn general() -> [Arg; 5] {
    let clients = || VERBS.iter().map(|verb| verb.long);
    let config = Arg::new("config").short('C').long("config").value_name("FILE");
    [
        switch("daemon", Some('d'), "Run in the background").conflicts_with_all(clients()),
        config
            .value_parser(value_parser!(PathBuf))
            .help(format!("Configuration file [default: {CONFIG_DEFAULT}]")),
        switch("check", None, "Say what is wrong with the configuration file, and do nothing else")
            .conflicts_with_all(clients())
            .conflicts_with("daemon"),
        Arg::new("help")
            .short('h')
            .long("help")
            .action(ArgAction::HelpShort)
            .help("Show this text"),
        Arg::new("version")
            .short('v')
            .long("version")
            .action(ArgAction::Version)
            .help("Show the version"),
    ]
}

fn switch(name: &'static str, short: Option<char>, help: &'static str) -> Arg {
    Arg::new(name).short(short).long(name).action(ArgAction::SetTrue).help(help)
}

impl Verb {
    fn arg(&'static self) -> Arg {
        let arg = Arg::new(self.long).short(self.short).long(self.long).help(self.help);
        let arg = arg.help_heading(CLIENT);
        if self.words.is_empty() {
            return arg.action(ArgAction::SetTrue);
        }
        arg.num_args(0..=1)
            // Without it clap does not report where the option stood.
            .default_missing_value("")
            .value_parser(move |word: &str| self.checked(word))
            .value_name(self.shown)
    }

    /// The sub-word, if it is one.
    fn checked(&self, word: &str) -> Result<String, String> {
        if word.is_empty() || self.find(word).is_some() {
            return Ok(word.to_owned());
        }
        let names: Vec<_> = self.words.iter().map(|(name, _)| *name).collect();
        Err(format!("unknown parameter; expected one of: {}", names.join(", ")))
    }

    fn find(&self, word: &str) -> Option<&'static (&'static str, Request)> {
        self.words.iter().find(|(name, _)| !word.is_empty() && name.starts_with(word))
    }

    fn word(&self, matches: &ArgMatches) -> Option<&'static (&'static str, Request)> {
        if self.words.is_empty() {
            return None;
        }
        self.find(matches.get_one::<String>(self.long)?)
    }

    /// Where it stands on the command line.
    fn position(&self, matches: &ArgMatches) -> Option<usize> {
        position(matches, self.long)
    }
}

fn position(matches: &ArgMatches, name: &str) -> Option<usize> {
    let given = matches.value_source(name) == Some(clap::parser::ValueSource::CommandLine);
    matches.indices_of(name).filter(|_| given)?.max()
}

fn last_verb(matches: &ArgMatches) -> Option<(&'static Verb, usize)> {
    let given = VERBS.iter().filter_map(|verb| Some((verb, verb.position(matches)?)));
    given.max_by_key(|(_, at)| *at)
}

fn with_format(request: Request, matches: &ArgMatches, at: usize) -> Result<Request, UsageError> {
    let Some(xml_at) = position(matches, "xml") else { return Ok(request) };
    let request = match request {
        Request::DumpLocal => Request::DumpLocalXml,
        Request::DumpRemote => Request::DumpRemoteXml,
        Request::DumpLocalExpectations => Request::DumpLocalExpectationsXml,
        Request::DumpRemoteExpectations => Request::DumpRemoteExpectationsXml,
        _ => return Err(UsageError::new(XML_ALONE)),
    };
    if xml_at > at { Ok(request) } else { Err(UsageError::new(XML_ALONE)) }
}

fn deprecation(word: &str) -> Option<&'static str> {
    (word == MULTICAST).then_some("use `link' instead of `multicast' as parameter.")
}

/// Help and version are no errors of the user, though of clap.
fn shown(error: &clap::Error) -> Result<Args, UsageError> {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(Args {
            config: PathBuf::from(CONFIG_DEFAULT),
            action: Action::Print(text),
            warnings: Vec::new(),
        }),
        _ => Err(UsageError(text.trim_end().to_owned())),
    }
}

impl UsageError {
    fn new(what: &str) -> Self {
        Self(format!("error: {what}\n\nFor more information, try '--help'."))
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

#[cfg(test)]
mod tests;
