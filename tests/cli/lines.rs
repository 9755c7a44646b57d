//! All command lines, one after the other.

use crate::ledger::{self, Deviation};
use crate::record::Record;
use crate::script::{self, Line};
use crate::twins::{Pair, Twins};
use std::collections::BTreeSet;
use std::fs;

#[test]
fn command_lines_do_what_debians_conntrack_does() {
    let twins = Twins::new();
    let only = std::env::var("CTFLOW_CLI").unwrap_or_default();
    let lines: Vec<Line> =
        scripts("lines").into_iter().filter(|l| l.text.contains(&only)).collect();
    let mut account = Account::new(CONNTRACK, ledger::read("commands"));
    let mut dirty = false;
    for line in &lines {
        let reset = line.reset || dirty || !only.is_empty();
        if reset {
            twins.prepare(&line.table);
        }
        let pair = twins.run(line);
        dirty = pair.differs().contains(&"table");
        account.take(line, &pair);
    }
    account.check(only.is_empty());
}

/// A program, and the file of its differences, if they are recorded.
pub(crate) type Subject = (&'static str, Option<&'static str>);

const CONNTRACK: Subject =
    ("conntrack", Some(concat!(env!("CARGO_MANIFEST_DIR"), "/cli/differences.txt")));

/// The result of a comparison.
#[derive(Debug)]
pub(crate) struct Account {
    subject: Subject,
    known: Vec<Deviation>,
    /// Command lines without a difference.
    equal: usize,
    /// Differences that are not listed as they are.
    unlisted: Vec<String>,
    /// How many differences are listed.
    met_lines: usize,
    /// Patterns that a difference fits.
    met: BTreeSet<String>,
    /// How listed ones differ.
    record: Record,
}

impl Account {
    pub(crate) fn new(subject: Subject, known: Vec<Deviation>) -> Self {
        let (unlisted, met, record) = (Vec::new(), BTreeSet::new(), Record::default());
        Self { subject, known, equal: 0, met_lines: 0, unlisted, met, record }
    }

    pub(crate) fn take(&mut self, line: &Line, pair: &Pair) {
        let differs = pair.differs();
        let mut kinds = self.known.iter().flat_map(|entry| &entry.kinds);
        let kind = kinds.find(|kind| kind.fits(&line.text, &line.table));
        match kind.filter(|kind| kind.expects(&differs)) {
            _ if differs.is_empty() && kind.is_none() => self.equal += 1,
            Some(kind) => {
                self.met.insert(kind.text.clone());
                self.met_lines += 1;
                let how: String =
                    kind.aspects().iter().map(|aspect| pair.recorded(aspect)).collect();
                let program = self.subject.0;
                self.record.add(&format!("{} {program} {}", line.file(), line.text), &how);
            }
            None => self.unlisted.push(format!(
                "{}: {} {}\n  differs in {differs:?}, listed: {:?}\n{}",
                line.place,
                self.subject.0,
                line.text,
                kind.map(|kind| &kind.text),
                pair.shown(&differs)
            )),
        }
    }

    /// `whole`: all command lines were run.
    pub(crate) fn check(&self, whole: bool) {
        println!(
            "cli: {}: {} command lines, {} equal, {} deliberate differences ({} patterns of {} entries)",
            self.subject.0,
            self.equal + self.met_lines + self.unlisted.len(),
            self.equal,
            self.met_lines,
            self.known.iter().map(|entry| entry.kinds.len()).sum::<usize>(),
            self.known.len(),
        );
        let kinds = self.known.iter().flat_map(|entry| &entry.kinds).map(|kind| &kind.text);
        let idle: Vec<_> = kinds.filter(|text| whole && !self.met.contains(*text)).collect();
        assert!(
            self.unlisted.is_empty() && idle.is_empty(),
            "{} command lines do not do what docs/deviations.toml says:\n{}\nlisted, and met by no line: {idle:#?}",
            self.unlisted.len(),
            self.unlisted.join("\n")
        );
        let Some(path) = self.subject.1 else { return };
        if whole && self.record.write_if_asked(path) {
            return;
        }
        let unlike = self.record.unlike(&Record::read(path), whole);
        assert!(unlike.is_empty(), "differences are not as recorded (UPDATE=1 records):\n{unlike}");
    }
}

/// The files of `lines/` or `nfct/lines/`, in the order of their names.
pub(crate) fn scripts(folder: &str) -> Vec<Line> {
    let folder = format!("{}/cli/{folder}", env!("CARGO_MANIFEST_DIR"));
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let text = fs::read_to_string(path).expect("a text");
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        script::read(&name, &text)
    };
    paths.iter().flat_map(read).collect()
}
