//! Readers of files, below any root, so that tests have trees of their own; and of facts that only system calls return.

use super::facts::{Answer, Configuration, Facts, Known, Part};
use crate::conf::{self, Severity};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

mod kernel;
mod boot;
pub(crate) mod processes;
mod keepalived;
mod service;
mod network;
mod kept;

/// The longest file that is read, bytes: the symbols of a kernel take ten million.
const LEN_MAX: u64 = 64 << 20;

/// The files of a machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Root<'a>(&'a Path);

impl<'a> Root<'a> {
    /// The files below `path`.
    pub(crate) const fn new(path: &'a Path) -> Self {
        Self(path)
    }

    /// Where the file of this absolute name lies.
    fn at(self, name: &str) -> PathBuf {
        self.0.join(name.trim_start_matches('/'))
    }

    /// Its text; bytes that are no UTF-8 are replaced.
    fn text(self, name: &str) -> Known<String> {
        let path = self.at(name);
        let explained = |error| format!("cannot read {name}: {}", said(&error));
        let metadata = fs::metadata(&path).map_err(explained)?;
        if metadata.is_dir() || metadata.len() > LEN_MAX {
            return Err(format!("{name} is no file that can be read"));
        }
        let bytes = fs::read(&path).map_err(explained)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn number(self, name: &str) -> Known<u64> {
        let text = self.text(name)?;
        text.trim().parse().map_err(|_| format!("{name} is no number"))
    }

    /// Whether something has this name.
    fn has(self, name: &str) -> Known<bool> {
        self.at(name)
            .try_exists()
            .map_err(|error| format!("cannot look at {name}: {}", said(&error)))
    }

    /// Names in a folder, sorted; none if there is no such folder.
    fn names(self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(name)).into_iter().flatten().flatten();
        let mut names: Vec<_> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    }

    /// Where a link of this name leads.
    fn target(self, name: &str) -> Known<String> {
        let target = fs::read_link(self.at(name));
        let target = target.map_err(|error| format!("cannot read {name}: {}", said(&error)))?;
        Ok(target.display().to_string())
    }
}

/// An error without its number.
fn said(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// Reads the facts of the wanted parts from files below `root`; not the configuration.
#[must_use]
pub fn files(root: &Path, parts: &BTreeSet<Part>) -> Facts {
    let (mut facts, root) = (Facts::unknown(), Root::new(root));
    let wanted = |part| parts.contains(&part);
    if wanted(Part::Kernel) {
        facts.kernel = kernel::read(root);
    }
    if wanted(Part::Modules) {
        facts.modules = boot::read(root);
    }
    if wanted(Part::Sysctl) {
        facts.sysctl = kernel::sysctls(root);
    }
    if wanted(Part::Listeners) {
        facts.listeners = processes::listeners(root);
    }
    if wanted(Part::Keepalived) {
        facts.keepalived = keepalived::read(root);
    }
    if wanted(Part::Service) {
        facts.service = service::read(root);
    }
    facts
}

/// Takes over a configuration: its text, or why it cannot be read. `root` has the routes of its links' interfaces.
pub fn configuration(facts: &mut Facts, root: &Path, path: &Path, text: Known<String>) {
    let mut found = Configuration { path: path.to_owned(), text, ..Configuration::default() };
    match &found.text {
        Err(why) => found.conf = Err(why.clone()),
        Ok(text) => match conf::parse(text, &path.display().to_string()) {
            Ok((conf, warnings)) => {
                found.warnings = warnings.lines();
                found.conf = Ok(conf);
            }
            Err(all) => {
                let errors = all.iter().filter(|one| one.severity == Severity::Error);
                found.errors = errors.map(ToString::to_string).collect();
                found.conf = Err("the configuration is not right (conf.check)".into());
            }
        },
    }
    facts.links =
        found.conf.as_ref().map_err(Clone::clone).map(|conf| network::links(Root::new(root), conf));
    facts.conf = found;
}

/// Adds the facts that only system calls return. `ask` asks the daemon for its state.
pub fn system(facts: &mut Facts, parts: &BTreeSet<Part>, ask: &dyn Fn(&Facts) -> Known<Answer>) {
    let wanted = |part| parts.contains(&part);
    let samples = kept::Samples::begin(facts, parts, ask);
    if wanted(Part::Programs) {
        facts.programs = kernel::programs();
    }
    if wanted(Part::Tracking) {
        facts.tracking = kept::tracking();
    }
    if wanted(Part::Flowtables) {
        facts.flowtables = kept::flowtables();
    }
    if wanted(Part::Keepalived) {
        facts.keepalived.gate_shut = kept::gate();
    }
    if wanted(Part::Clock) {
        facts.clock_in_step = kernel::clock();
    }
    if wanted(Part::Links) || wanted(Part::Paths) {
        network::look(facts, wanted(Part::Paths));
    }
    samples.end(facts, ask);
}
