//! Counting what test runners say, while people read it.

use anyhow::{Context as _, Result};
use std::fmt;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::ops::AddAssign;
use std::process::{Command, Stdio};

/// How many checks passed, failed and were left out. Prints as the line that closes a test run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Tally {
    pub(crate) const PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    pub(crate) const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };
    pub(crate) const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };

    /// What one line of a runner adds: `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
    pub(crate) fn of_line(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |what: &str| {
            let mut fields = counts.split(';').map(str::trim);
            fields.find_map(|field| field.strip_suffix(what)?.trim().parse().ok())
        };
        Some(Self {
            passed: count("passed")?,
            failed: count("failed")?,
            skipped: count("ignored")?,
        })
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Runs a test command, shows its lines as they come and counts them.
///
/// A runner that fails without naming a failed test (it did not compile, it crashed) counts as one failure.
pub(crate) fn run(command: &mut Command) -> Result<Tally> {
    run_seeing(command, |_| {})
}

/// As [`run`]; `see` gets every line.
pub(crate) fn run_seeing(command: &mut Command, mut see: impl FnMut(&str)) -> Result<Tally> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start the tests")?;
    let lines = BufReader::new(child.stdout.take().context("stdout is piped")?);
    let mut tally = Tally::default();
    for line in lines.split(b'\n') {
        let line = line.context("cannot read what the tests say")?;
        let mut out = io::stdout().lock();
        out.write_all(&line).and_then(|()| out.write_all(b"\n")).context("cannot print")?;
        let line = String::from_utf8_lossy(&line);
        see(&line);
        if let Some(counted) = Tally::of_line(&line) {
            tally += counted;
        }
    }
    if !child.wait()?.success() && tally.failed == 0 {
        tally += Tally::FAILED;
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn a_runner_line_is_counted_and_others_are_not() {
        let line =
            "test result: FAILED. 12 passed; 3 failed; 4 ignored; 0 measured; 9 filtered out";
        let expected = Tally { passed: 12, failed: 3, skipped: 4 };
        assert_eq!(Tally::of_line(line), Some(expected));
        assert_eq!(Tally::of_line("test a::b ... ok"), None);
        assert_eq!(expected.to_string(), "12 passed, 3 failed, 4 skipped");
    }
}
