//! `contrib/check.sh` as a part of the tests: what administrators copy, as far as one machine without network runs it.

use crate::build::Built;
use crate::repo;
use crate::shell;
use crate::tally::Tally;
use anyhow::{Context as _, Result};
use std::process::Command;
use std::time::Instant;

/// Runs it, with the programs that were built.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn run(built: &Built) -> Result<Tally> {
    let start = Instant::now();
    let mut check = Command::new(repo::root().join("contrib/check.sh"));
    let output = check.arg(&built.programs).output().context("cannot start contrib/check.sh")?;
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}{}", String::from_utf8_lossy(&output.stderr));
    let tally = counted(&said, output.status.success());
    println!("test contrib: {tally} in {}", shell::took(start));
    Ok(tally)
}

/// Counts the results in the output's lines. A run that fails without a line counts as a failure.
fn counted(said: &str, success: bool) -> Tally {
    let mut tally = Tally::default();
    for line in said.lines() {
        tally += match line.split_once(": ") {
            Some(("ok", _)) => Tally::PASSED,
            Some(("left out", _)) => Tally::SKIPPED,
            Some(("FAILED", _)) => Tally::FAILED,
            _ => Tally::default(),
        };
    }
    if !success && tally.failed == 0 {
        tally += Tally::FAILED;
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::counted;
    use crate::tally::Tally;

    #[test]
    fn each_check_counts_as_one_test_and_a_silent_end_as_a_failure() {
        let said =
            "ok: VyOS: the rendered file\nleft out: shellcheck is not installed\nwarning: x\n";
        let wanted = |failed| Tally { passed: 1, failed, skipped: 1 };
        assert_eq!(counted(said, true), wanted(0));
        assert_eq!(counted(said, false), wanted(1));
        assert_eq!(counted(&format!("{said}FAILED: OpenWrt"), false), wanted(1));
    }
}
