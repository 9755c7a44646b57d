//! What keeps this machine from doing connection tracking and failover well, and what to do about it.
//!
//! ```text
//!  /proc /sys /etc, netlink, eBPF, the daemon --gather--> Facts --check--> Finding of each row --report--> text, JSON
//!                                                                  |
//!                                                           one table of checks --> docs/spec/doctor.md, --explain
//! ```
//!
//! Readers gather, and decide nothing; a check is a pure function of [`Facts`], and decides alone. What a reader could
//! not see is an `Err` that says why, and every check that needs it is then skipped for that reason. Nothing on the
//! machine is changed: fixes are commands for people to copy.

pub mod facts;
pub mod check;
pub mod gather;
pub mod reference;
pub mod report;

use crate::conf::Conf;
use check::{Check, Status, all};
use facts::{Facts, Part};
use host::log::Log;
use std::collections::BTreeSet;
use std::path::Path;

/// A check and what came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The row of the table.
    pub check: &'static Check,
    /// What was found, or why nothing could be.
    pub finding: facts::Known<check::Finding>,
}

impl Outcome {
    /// `None` if the check was skipped.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.finding.as_ref().ok().map(|finding| finding.status)
    }
}

/// Runs checks over what was gathered.
pub fn examine(facts: &Facts, checks: impl IntoIterator<Item = &'static Check>) -> Vec<Outcome> {
    let run = |check: &'static Check| Outcome { check, finding: (check.run)(facts) };
    checks.into_iter().map(run).collect()
}

/// The parts of the facts that these checks look at.
pub fn parts<'a>(checks: impl IntoIterator<Item = &'a Check>) -> BTreeSet<Part> {
    checks.into_iter().flat_map(|check| check.parts).copied().collect()
}

/// The parts that a daemon looks at when it starts: a few short files. What else the checks of the start would look at
/// leads to no warning.
fn cheap_parts() -> BTreeSet<Part> {
    [Part::Modules, Part::Sysctl].into()
}

/// Runs the checks of a daemon's start, and logs what they warn of: a line for each, once. `conf` is the configuration
/// it starts with, from the file `path`.
pub fn at_start(conf: &Conf, path: &Path, log: &Log) {
    let mut facts = gather::files(Path::new("/"), &cheap_parts());
    facts.conf.path = path.to_owned();
    facts.conf.conf = Ok(conf.clone());
    warnings(&facts).iter().for_each(|line| log.warning(line));
}

/// A line for each warning and error of the checks of a start.
fn warnings(facts: &Facts) -> Vec<String> {
    let checks = all().filter(|check| check.at_start);
    let line = |outcome: Outcome| {
        let finding = outcome.finding.ok().filter(|found| found.status >= Status::Warning)?;
        Some(format!("{}; see `ctflow doctor --only {}`", finding.found, outcome.check.id))
    };
    examine(facts, checks).into_iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests;
