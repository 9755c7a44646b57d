//! `differences.txt` and `nfct/differences.txt`: how each command line differs that is meant to. A deviation allows
//! exactly this difference and no other. `UPDATE=1` rewrites the file; read what has changed in it.

use std::collections::BTreeMap;
use std::env;
use std::fs;

/// Every record begins with a line behind this.
const MARK: &str = "## ";

/// Differences by the command lines they are of, as `FILE: LINE`.
#[derive(Debug, Default)]
pub(crate) struct Record(BTreeMap<String, String>);

impl Record {
    /// Reads the record of a file.
    pub(crate) fn read(path: &str) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        let records = text.split(MARK).skip(1).filter_map(|record| record.split_once('\n'));
        Self(records.map(|(line, how)| (line.to_owned(), how.to_owned())).collect())
    }

    /// Adds one.
    pub(crate) fn add(&mut self, line: &str, how: &str) {
        self.0.insert(line.to_owned(), how.to_owned());
    }

    /// What is not as `known` has it. `whole`: all command lines were run.
    pub(crate) fn unlike(&self, known: &Self, whole: bool) -> String {
        let changed = self.0.iter().filter(|(line, how)| known.0.get(*line) != Some(how));
        let gone = known.0.iter().filter(|(line, _)| whole && !self.0.contains_key(*line));
        let gone = gone.map(|(line, _)| format!("{line}\nis recorded and does not differ\n"));
        let changed = changed.map(|(line, how)| {
            let was = known.0.get(line).map_or("nothing\n", String::as_str);
            format!("{line}\nrecorded:\n{was}now:\n{how}")
        });
        changed.chain(gone).collect()
    }

    /// Writes the file, if that is asked for.
    pub(crate) fn write_if_asked(&self, path: &str) -> bool {
        let asked = env::var_os("UPDATE").is_some();
        if asked {
            let records = self.0.iter().map(|(line, how)| format!("{MARK}{line}\n{how}"));
            fs::write(path, records.collect::<String>()).expect("the record can be written");
        }
        asked
    }
}

#[test]
fn what_is_new_changed_or_gone_is_told() {
    let record = |pairs: &[(&str, &str)]| {
        let mut record = Record::default();
        pairs.iter().for_each(|(line, how)| record.add(line, how));
        record
    };
    let known = record(&[("a: -L", "+ 1\n"), ("a: -D", "+ 2\n")]);
    assert_eq!(record(&[("a: -D", "+ 2\n"), ("a: -L", "+ 1\n")]).unlike(&known, true), "");
    let now = record(&[("a: -L", "+ 3\n")]);
    assert_eq!(now.unlike(&known, false), "a: -L\nrecorded:\n+ 1\nnow:\n+ 3\n");
    assert!(now.unlike(&known, true).ends_with("a: -D\nis recorded and does not differ\n"));
}
