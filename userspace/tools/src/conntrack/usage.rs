//! The text of `-h`.

use super::definition::{OPTIONS, Opt, Value, Verb};
use super::protocol::{self, Names};
use std::fmt::Write as _;

/// Prints the summary, and the options of a protocol if one is given.
pub fn print(proto: Option<u8>) {
    let mut text = summary();
    if let Some(number) = proto {
        text.push_str(&protocol_help(number));
    }
    crate::stdout::put(text.as_bytes());
}

/// Commands and options, in groups.
#[must_use]
pub fn summary() -> String {
    let mut text = String::from(
        "Command line interface for the connection tracking system. Version 1.4.9\n\
         Usage: conntrack [commands] [options]\n\nCommands:\n",
    );
    for verb in Verb::ALL {
        let (letter, long) = verb.names();
        line(&mut text, &format!("-{letter}, --{long}"), verb.about());
    }
    line(&mut text, "-R, --load-file FILE", "Carry out the commands of a file; must come first");
    text.push_str("\nTables: conntrack, expect, dying, unconfirmed\n");
    for (title, options) in GROUPS {
        let _ = write!(text, "\n{title}:\n");
        for opt in *options {
            let option = &OPTIONS[*opt as usize];
            let mut names = option.letter.map(|letter| format!("-{letter}, ")).unwrap_or_default();
            let long: Vec<_> = option.long.iter().map(|long| format!("--{long}")).collect();
            names.push_str(&long.join(", "));
            match option.value {
                Value::None => {}
                Value::Required => names = format!("{names} {}", option.meta),
                Value::Optional => names = format!("{names} [{}]", option.meta),
            }
            line(&mut text, &names, option.about);
        }
    }
    text.push_str(
        "\nOptions of a protocol: conntrack -h -p PROTO\n\
         Exit codes: 0 done, 1 failed or nothing found, 2 wrong use\n",
    );
    text
}

const GROUPS: &[(&str, &[Opt])] = &[
    (
        "Which flows, and what they are to be",
        &[
            Opt::OrigSrc,
            Opt::OrigDst,
            Opt::ReplySrc,
            Opt::ReplyDst,
            Opt::MaskSrc,
            Opt::MaskDst,
            Opt::Proto,
            Opt::Family,
            Opt::Timeout,
            Opt::Status,
            Opt::Mark,
            Opt::Secmark,
            Opt::Id,
            Opt::Zone,
            Opt::OrigZone,
            Opt::ReplyZone,
            Opt::SrcNat,
            Opt::DstNat,
            Opt::AnyNat,
            Opt::Label,
            Opt::LabelAdd,
            Opt::LabelDel,
            Opt::Labelmap,
            Opt::Helper,
            Opt::FromFile,
        ],
    ),
    ("Expectations", &[Opt::TupleSrc, Opt::TupleDst]),
    (
        "Output and events",
        &[Opt::Output, Opt::EventMask, Opt::BufferSize, Opt::Zero, Opt::DryRun, Opt::Netns],
    ),
];

/// Options of a protocol.
#[must_use]
pub fn protocol_help(number: u8) -> String {
    let Some(protocol) = protocol::with_options(number) else {
        return "\nProto `unknown' help:\n  no options (unsupported)\n".into();
    };
    let mut text = format!("\nProto `{}' help:\n", protocol.name);
    for (_, names, about) in protocol.options as &[Names] {
        let long: Vec<_> = names.iter().map(|long| format!("--{long}")).collect();
        line(&mut text, &long.join(", "), about);
    }
    text
}

fn line(text: &mut String, names: &str, about: &str) {
    let _ = writeln!(text, "  {names:<38} {about}");
}

/// The command line as clap sees it: for the manual page and for completions, not for parsing (see
/// [`super::getopt`]).
#[must_use]
pub fn command() -> clap::Command {
    let mut command = clap::Command::new("conntrack")
        .version("1.4.9")
        .about("Show and change the kernel's connection tracking table")
        .disable_help_flag(true)
        .disable_version_flag(true)
        .after_help(AFTERWARD);
    for verb in Verb::ALL {
        let (letter, long) = verb.names();
        let table = !matches!(verb, Verb::Version | Verb::Help);
        let arg = clap::Arg::new(long).short(letter).long(long).help(verb.about());
        let arg = if table { arg.num_args(0..=1).value_name("TABLE") } else { arg.num_args(0) };
        command = command.arg(arg.help_heading("Commands"));
    }
    let load = clap::Arg::new("load-file").short('R').long("load-file").value_name("FILE");
    let load = load.help("Carry out the commands of a file; must come first");
    command = command.arg(load.help_heading("Commands"));
    for option in &OPTIONS {
        let mut arg = clap::Arg::new(option.long[0]).long(option.long[0]).help(option.about);
        arg = option.letter.map_or_else(|| arg.clone(), |letter| arg.clone().short(letter));
        arg = arg.visible_aliases(option.long[1..].iter().copied());
        arg = match option.value {
            Value::None => arg.num_args(0),
            Value::Required => arg.num_args(1).value_name(option.meta),
            Value::Optional => arg.num_args(0..=1).value_name(option.meta),
        };
        command = command.arg(arg.help_heading("Options"));
    }
    let mut known = std::collections::BTreeSet::new();
    for (names, about) in protocol::PROTOCOLS.iter().flat_map(|p| p.options).map(|o| (o.1, o.2)) {
        if known.insert(names[0]) {
            let arg = clap::Arg::new(names[0]).long(names[0]).help(about).num_args(1);
            let arg = arg.visible_aliases(names[1..].iter().copied()).value_name("VALUE");
            command = command.arg(arg.help_heading("Options of a protocol, after -p"));
        }
    }
    command
}

const AFTERWARD: &str = "\
Tables are conntrack (unless another is named), expect, dying and unconfirmed; any beginning of a name will do. Long \
options may be cut where that is clear.\n\n\
What is shown goes to stdout, how many there were and what went wrong to stderr. Exit codes: 0 done, 1 failed or \
nothing found, 2 wrong use.\n\n\
-o takes a list of xml, json, extended, id, timestamp, ktimestamp, labels, userspace; or save alone, whose lines -R \
loads again. -u takes a list of ASSURED, SEEN_REPLY, UNREPLIED, EXPECTED, FIXED_TIMEOUT, OFFLOAD, HW_OFFLOAD and \
UNSET, with ! in front for those that are not to be set.";
