//! The words behind the first two, checked in the original's order: how many, family, protocol, states.

use super::failure::Failure;
use super::words::{Line, Subsystem, Verb};
use crate::conntrack::protocol;
use host::nfnetlink::helper::{self, HelperKey, HelperPolicy};
use host::nfnetlink::timeout::{self, SECONDS_MAX, TimeoutPolicy};
use std::collections::BTreeMap;

/// The request to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing: show the version.
    Version,
    /// Show all timeout policies.
    ListTimeouts,
    /// Show the one of this name.
    GetTimeout(String),
    /// Add one.
    AddTimeout(TimeoutPolicy),
    /// Delete the one of this name, or all.
    DeleteTimeout(Option<String>),
    /// Change defaults.
    SetDefault(TimeoutPolicy),
    /// Show the defaults of a family and a protocol.
    GetDefault(u16, u8),
    /// Show all helpers.
    ListHelpers,
    /// Show one.
    GetHelper(Wanted),
    /// Add one.
    AddHelper(HelperKey, HelperPolicy),
    /// Disable one.
    DisableHelper(HelperKey),
    /// Delete one.
    DeleteHelper(Wanted),
    /// Delete all.
    FlushHelpers,
}

/// Selects helpers: by a name, and by what else was given of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Name of the policy or the helper.
    pub name: String,
    /// Address family.
    pub l3_protocol: Option<u16>,
    /// Transport protocol.
    pub l4_protocol: Option<u8>,
}

/// What a command line asks for.
///
/// # Errors
/// What is wrong with its parameters.
pub fn parse(line: &Line<'_>) -> Result<Action, Failure> {
    let parameters = &line.parameters;
    match line.subsystem {
        Subsystem::Version => Ok(Action::Version),
        Subsystem::Timeout => timeout(line.verb, parameters),
        Subsystem::Helper => helper(line.verb, parameters),
    }
}

fn timeout(verb: Verb, words: &[&str]) -> Result<Action, Failure> {
    match verb {
        Verb::List => nothing(words).map(|()| Action::ListTimeouts),
        Verb::Flush => nothing(words).map(|()| Action::DeleteTimeout(None)),
        Verb::Get => one_name(words).map(Action::GetTimeout),
        Verb::Delete => one_name(words).map(|name| Action::DeleteTimeout(Some(name))),
        Verb::Add => {
            let [name, family, protocol, states @ ..] = words else {
                return Err(missing("add timeout name family protocol state1 timeout1 ..."));
            };
            let name = bounded(name, 1, timeout::NAME_BYTES_MAX)?;
            policy(name, family, protocol, states).map(Action::AddTimeout)
        }
        Verb::DefaultSet => match words {
            [family, protocol, states @ ..] if !states.is_empty() => {
                policy(String::new(), family, protocol, states).map(Action::SetDefault)
            }
            _ => Err(missing("default-set timeout family protocol state1 timeout1...")),
        },
        Verb::DefaultGet => match words {
            [family, protocol] => Ok(Action::GetDefault(l3(family)?, known_protocol(protocol)?)),
            [] | [_] => Err(missing("default-get timeout family protocol")),
            _ => Err(too_many()),
        },
        Verb::Disable => Err(Failure::new("Missing command").and(Failure::plain(
            "nfct <list|add|delete|get|default-set|default-get|flush> timeout [<parameters>, ...]",
        ))),
    }
}

fn helper(verb: Verb, words: &[&str]) -> Result<Action, Failure> {
    match verb {
        Verb::List => nothing(words).map(|()| Action::ListHelpers),
        Verb::Flush => nothing(words).map(|()| Action::FlushHelpers),
        Verb::Get => wanted(words).map(Action::GetHelper),
        Verb::Delete => wanted(words).map(Action::DeleteHelper),
        Verb::Add => known_helper("add helper name family protocol", words)
            .map(|(key, policy)| Action::AddHelper(key, policy)),
        Verb::Disable => known_helper("disable helper name family protocol", words)
            .map(|(key, _)| Action::DisableHelper(key)),
        Verb::DefaultSet | Verb::DefaultGet => Err(Failure::new("Unknown command: helper")
            .and(Failure::new("Missing command"))
            .and(Failure::plain("nfct helper list|add|delete|disable|get|flush [parameters...]"))),
    }
}

fn nothing(words: &[&str]) -> Result<(), Failure> {
    if words.is_empty() { Ok(()) } else { Err(too_many()) }
}

fn one_name(words: &[&str]) -> Result<String, Failure> {
    match words {
        [] => Err(Failure::new("missing timeout policy name")),
        // The original makes policies without a name; they can be got rid of.
        [name] => bounded(name, 0, timeout::NAME_BYTES_MAX),
        _ => Err(too_many()),
    }
}

fn wanted(words: &[&str]) -> Result<Wanted, Failure> {
    let (name, family, protocol) = match words {
        [] => return Err(Failure::new("missing helper policy name")),
        [name] => (name, None, None),
        [name, family] => (name, Some(family), None),
        [name, family, protocol] => (name, Some(family), Some(protocol)),
        _ => return Err(too_many()),
    };
    let name = bounded(name, 0, helper::NAME_BYTES_MAX)?;
    let l3_protocol = family.map(|word| l3(word)).transpose()?;
    let l4_protocol = protocol.map(|word| tcp_or_udp(word)).transpose()?;
    Ok(Wanted { name, l3_protocol, l4_protocol })
}

fn known_helper(syntax: &str, words: &[&str]) -> Result<(HelperKey, HelperPolicy), Failure> {
    let [name, family, protocol] = words else {
        return Err(if words.len() < 3 { missing(syntax) } else { too_many() });
    };
    let (l3_protocol, l4_protocol) = (l3(family)?, tcp_or_udp(protocol)?);
    let key = HelperKey { name: (*name).to_owned(), l3_protocol, l4_protocol };
    let policy = key.known_policy().ok_or_else(|| Failure::new("that helper is not supported"))?;
    Ok((key, policy))
}

fn policy(
    name: String,
    family: &str,
    protocol: &str,
    states: &[&str],
) -> Result<TimeoutPolicy, Failure> {
    let (l3_protocol, l4_protocol) = (l3(family)?, known_protocol(protocol)?);
    let mut seconds = BTreeMap::new();
    for pair in states.chunks(2) {
        let [state, value] = pair else {
            return Err(Failure::new("missing value for this timeout"));
        };
        let known = timeout::states(l4_protocol);
        let at =
            known.iter().position(|name| name.eq_ignore_ascii_case(state)).ok_or_else(|| {
                Failure::new(format_args!("Wrong state name: `{state}' for protocol `{protocol}'"))
            })?;
        seconds.insert(at as u16 + 1, parse_seconds(value)?);
    }
    Ok(TimeoutPolicy { name, l3_protocol, l4_protocol, seconds, uses: None })
}

/// Decimal digits alone: the original takes what is no number for 0.
fn parse_seconds(word: &str) -> Result<u32, Failure> {
    let digits = word.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = word.parse().ok().filter(|seconds| digits && *seconds <= SECONDS_MAX);
    seconds.ok_or_else(|| Failure::new(format_args!("bad timeout `{word}'")))
}

/// A name that the kernel can hold. The original cuts a longer one.
fn bounded(name: &str, min: usize, max: usize) -> Result<String, Failure> {
    if (min..=max).contains(&name.len()) {
        return Ok(name.to_owned());
    }
    Err(Failure::new(format_args!("bad name `{name}': 1 to {max} bytes")))
}

fn l3(word: &str) -> Result<u16, Failure> {
    match word {
        "inet" => Ok(libc::AF_INET as u16),
        "inet6" => Ok(libc::AF_INET6 as u16),
        _ => Err(Failure::new("unknown layer 3 protocol")),
    }
}

fn known_protocol(word: &str) -> Result<u8, Failure> {
    match word {
        "icmpv6" => Ok(58),
        "generic" => Ok(255),
        _ => protocol::from_system(word).ok_or_else(|| Failure::new("unknown layer 4 protocol")),
    }
}

fn tcp_or_udp(word: &str) -> Result<u8, Failure> {
    match word {
        "tcp" => Ok(6),
        "udp" => Ok(17),
        _ => Err(Failure::new("unsupported layer 4 protocol")),
    }
}

fn missing(syntax: &str) -> Failure {
    Failure::new("missing parameters").and(Failure::plain(format_args!("syntax: nfct {syntax}")))
}

fn too_many() -> Failure {
    Failure::new("too many arguments")
}

#[cfg(test)]
mod tests;
