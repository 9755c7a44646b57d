//! Outcomes as text that teaches, and as JSON.
//!
//! Text has a line for each family, with the worst sign in it, and below it what is wrong. Everything that comes from
//! the machine (names of processes, messages) is tamed here, in one place.

use super::Outcome;
use super::check::Status;
use crate::print::tame::Tame;
use serde::Serialize;
use std::fmt::Write as _;

/// How many outcomes are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many errors.
    pub errors: usize,
    /// How many warnings.
    pub warnings: usize,
    /// Things to know.
    pub notes: usize,
    /// All well.
    pub ok: usize,
    /// Checks that were skipped.
    pub skipped: usize,
}

impl Totals {
    /// Counts outcomes by severity.
    #[must_use]
    pub fn of<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Self {
        let mut totals = Self::default();
        for outcome in outcomes {
            let count = match outcome.status() {
                None => &mut totals.skipped,
                Some(Status::Ok) => &mut totals.ok,
                Some(Status::Info) => &mut totals.notes,
                Some(Status::Warning) => &mut totals.warnings,
                Some(Status::Error) => &mut totals.errors,
            };
            *count += 1;
        }
        totals
    }

    /// Counts in words, those that are not 0.
    fn words(&self) -> String {
        let count = |number: usize, one: &str, many: &str| match number {
            0 => None,
            1 => Some(format!("1 {one}")),
            number => Some(format!("{number} {many}")),
        };
        let all = [
            count(self.errors, "error", "errors"),
            count(self.warnings, "warning", "warnings"),
            count(self.notes, "note", "notes"),
            count(self.ok, "ok", "ok"),
            count(self.skipped, "skipped", "skipped"),
        ];
        all.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// As text. `verbose` shows what is ok, and why something was skipped, too.
#[must_use]
pub fn text(outcomes: &[Outcome], verbose: bool) -> String {
    let mut out = String::new();
    for family in outcomes.chunk_by(|a, b| a.check.family() == b.check.family()) {
        heading(&mut out, family, verbose);
        for outcome in family {
            detail(&mut out, outcome, verbose);
        }
    }
    if !verbose && outcomes.iter().any(|outcome| outcome.finding.is_err()) {
        out += "\n`ctflow doctor -v` says what was skipped, and why.";
    }
    let totals = Totals::of(outcomes).words();
    // Writing to a string cannot fail.
    let _ = writeln!(out, "\n{totals}");
    out
}

/// The line of a family: the worst sign, and why all of it was skipped, or how many are of each kind.
fn heading(out: &mut String, family: &[Outcome], verbose: bool) {
    let status = family.iter().filter_map(Outcome::status).max();
    let name = family.first().map_or("", |outcome| outcome.check.family());
    let skipped: Vec<_> =
        family.iter().filter_map(|outcome| outcome.finding.as_ref().err()).collect();
    let (sign, words) = match (status, &skipped[..]) {
        (None, [first, rest @ ..]) if !verbose && rest.iter().all(|why| why == first) => {
            ("[-]", format!("not checked: {}", Tame(first)))
        }
        (None, _) => ("[-]", format!("not checked, {}", Totals::of(family).words())),
        (Some(status), _) => (status.sign(), Totals::of(family).words()),
    };
    let _ = writeln!(out, "{sign:<5}{name:<13}{words}");
}

fn detail(out: &mut String, outcome: &Outcome, verbose: bool) {
    let check = outcome.check;
    match &outcome.finding {
        Err(why) if verbose => {
            let _ = writeln!(out, "     [-] {}: not checked, because {}", check.id, Tame(why));
        }
        Err(_) => {}
        Ok(finding) if finding.status == Status::Ok => {
            if verbose {
                let _ = writeln!(out, "     [ok] {}: {}", check.id, Tame(&finding.found));
            }
        }
        Ok(finding) => {
            let _ = writeln!(
                out,
                "     {} {}: {}",
                finding.status.sign(),
                check.id,
                Tame(&finding.found)
            );
            if !finding.wanted.is_empty() {
                let _ = writeln!(out, "         wanted: {}", Tame(&finding.wanted));
            }
            let _ = writeln!(out, "         why: {}", check.why);
            let mut label = "fix:";
            for line in &finding.fix {
                let _ = writeln!(out, "         {label:<4} {}", Tame(line));
                label = "";
            }
        }
    }
}

/// One check in JSON.
#[derive(Debug, Serialize)]
struct Entry<'a> {
    id: &'a str,
    status: &'a str,
    title: &'a str,
    found: &'a str,
    wanted: &'a str,
    why: &'a str,
    fix: &'a [String],
    see: String,
}

/// All of it in JSON.
#[derive(Debug, Serialize)]
struct Document<'a> {
    v: u32,
    errors: usize,
    warnings: usize,
    checks: Vec<Entry<'a>>,
}

/// As one JSON object on one line. Of a check that was skipped, `found` says why.
#[must_use]
pub fn json(outcomes: &[Outcome]) -> String {
    let totals = Totals::of(outcomes);
    let (errors, warnings) = (totals.errors, totals.warnings);
    let document =
        Document { v: 1, errors, warnings, checks: outcomes.iter().map(entry).collect() };
    let text = serde_json::to_string(&document).expect("numbers, texts and lists become JSON");
    text + "\n"
}

fn entry(outcome: &Outcome) -> Entry<'_> {
    let (check, finding) = (outcome.check, &outcome.finding);
    let (status, found, wanted, fix) = match finding {
        Ok(finding) => (
            finding.status.word(),
            finding.found.as_str(),
            finding.wanted.as_str(),
            finding.fix.as_slice(),
        ),
        Err(why) => ("skipped", why.as_str(), "", [].as_slice()),
    };
    let see = super::reference::place(check);
    Entry { id: check.id, status, title: check.title, found, wanted, why: check.why, fix, see }
}
