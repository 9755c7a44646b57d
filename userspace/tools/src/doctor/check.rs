//! The table of checks. A row holds everything about one, and the documents are made from it.

use super::facts::{Facts, Known, Part};

mod kernel;
mod module;
mod sysctl;
mod table;
mod daemon;
mod conf;
mod link;
mod peer;
mod keepalived;
mod service;

/// How a machine does in one respect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// As it should be.
    Ok,
    /// Something to know; nothing has to be done.
    Info,
    /// Something will go wrong, or costs more than it has to.
    Warning,
    /// Something goes wrong.
    Error,
}

impl Status {
    /// The word in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// The sign in text.
    #[must_use]
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Ok => "[ok]",
            Self::Info => "[i]",
            Self::Warning => "[!]",
            Self::Error => "[x]",
        }
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The severity of the finding.
    pub status: Status,
    /// What was seen: one line, no full stop.
    pub found: String,
    /// The value that it should have; empty where `found` says it.
    pub wanted: String,
    /// Commands to copy, in their order. A line that begins with `#` is for people.
    pub fix: Vec<String>,
}

impl Finding {
    /// All is well.
    pub(super) fn ok(found: impl Into<String>) -> Self {
        Self::new(Status::Ok, found)
    }

    pub(super) fn info(found: impl Into<String>) -> Self {
        Self::new(Status::Info, found)
    }

    pub(super) fn warning(found: impl Into<String>) -> Self {
        Self::new(Status::Warning, found)
    }

    pub(super) fn error(found: impl Into<String>) -> Self {
        Self::new(Status::Error, found)
    }

    fn new(status: Status, found: impl Into<String>) -> Self {
        Self { status, found: found.into(), wanted: String::new(), fix: Vec::new() }
    }

    /// Says what it should be.
    pub(super) fn wanted(mut self, wanted: impl Into<String>) -> Self {
        self.wanted = wanted.into();
        self
    }

    /// Adds a command, or a line for people that begins with `#`.
    pub(super) fn fix(mut self, command: impl Into<String>) -> Self {
        self.fix.push(command.into());
        self
    }

    /// Joins findings of one kind: the result is as bad as the worst of them, and names all that are as bad.
    pub(super) fn of_all(findings: Vec<Self>) -> Option<Self> {
        let worst = findings.iter().map(|finding| finding.status).max()?;
        let mut same = findings.into_iter().filter(|finding| finding.status == worst);
        let mut all = same.next()?;
        for other in same {
            all.found = format!("{}; {}", all.found, other.found);
            all.fix.extend(other.fix);
        }
        Some(all)
    }
}

/// One check.
#[derive(Debug)]
pub struct Check {
    /// Family and name, with a point between them.
    pub id: &'static str,
    /// The subject of the check, in a few words.
    pub title: &'static str,
    /// Where the facts come from.
    pub looks_at: &'static str,
    /// When it is not ok, the worst first.
    pub bad: &'static [(Status, &'static str)],
    /// What happens if nothing is done.
    pub why: &'static str,
    /// What to do, in general; a finding has the commands.
    pub fix: &'static str,
    /// The parts of the facts it looks at.
    pub parts: &'static [Part],
    /// Whether the daemon runs it at its start.
    pub at_start: bool,
    /// Looks. The error says why the check is skipped.
    pub run: fn(&Facts) -> Known<Finding>,
}

impl Check {
    /// The part of the id before the point.
    #[must_use]
    pub fn family(&self) -> &'static str {
        self.id.split('.').next().unwrap_or(self.id)
    }
}

/// All checks, in the order in which they are shown; those of a family stand together.
pub const CHECKS: [&[Check]; 10] = [
    &kernel::CHECKS,
    &module::CHECKS,
    &sysctl::CHECKS,
    &table::CHECKS,
    &daemon::CHECKS,
    &conf::CHECKS,
    &link::CHECKS,
    &peer::CHECKS,
    &keepalived::CHECKS,
    &service::CHECKS,
];

/// All checks, one after the other.
pub fn all() -> impl Iterator<Item = &'static Check> {
    CHECKS.iter().flat_map(|family| family.iter())
}

/// A word of a command line, in quotes if a shell would take it for more.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@=+,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The flag that names the configuration, for a command line of ours.
fn config(facts: &Facts) -> String {
    format!("-C {}", word(&facts.conf.path.display().to_string()))
}

/// The command that sets a sysctl.
fn sysctl_command(name: &str, value: u64) -> String {
    format!("sysctl -w net.netfilter.{name}={value}")
}
