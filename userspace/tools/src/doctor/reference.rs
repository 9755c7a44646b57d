//! The table of checks as a document, and one row of it as text: written from the rows, so that they cannot disagree.

use super::check::{Check, all};
use std::fmt::Write as _;

/// The document, from the top of the repository.
const PAGE: &str = "docs/spec/doctor.md";

const PREAMBLE: &str = "\
# What `ctflow doctor` looks at

Generated from the table of checks (`userspace/tools/src/doctor/check/`); change it there and run
`UPDATE=1 cargo test -p ctflow-tools doctor`.

`ctflow doctor` changes nothing. It reads `/proc`, `/sys` and `/etc`, asks the kernel by netlink, loads two eBPF
programs and lets them go, asks the daemon for its state, and sends a few datagrams to the peer's port 9. What it finds
wrong it explains, with commands to copy. It runs without root too: what it may not see is skipped, never ok.

The daemon runs the checks marked *start* when it starts, and logs a line for each warning and error, with the name of
the check.

## Exit codes

| code | meaning |
|---|---|
| 0 | no error; with `--strict`, no warning either |
| 1 | an error, or with `--strict` a warning |
| 2 | it could not look: wrong usage, no `/proc` |

## JSON

`ctflow doctor -o json` prints one object on one line:

    {\"v\":1, \"errors\":N, \"warnings\":N, \"checks\":[
        {\"id\", \"status\", \"title\", \"found\", \"wanted\", \"why\", \"fix\":[...], \"see\"}, ...]}

`status` is `ok`, `info`, `warning`, `error` or `skipped`; of what was skipped, `found` says why. `fix` holds commands
in their order; a line that begins with `#` is for people, and harmless to a shell.

## Checks
";

/// The text of `docs/spec/doctor.md`.
#[must_use]
pub fn markdown() -> String {
    let mut out = PREAMBLE.to_owned();
    for check in all() {
        // Writing to a string cannot fail.
        let _ = write!(out, "\n### {}\n\n{}", check.id, capital(check.title));
        out += if check.at_start { "; *start*.\n\n" } else { ".\n\n" };
        let _ = writeln!(out, "- looks at: {}", check.looks_at);
        for (status, when) in check.bad {
            let _ = writeln!(out, "- **{}**: {when}", status.word());
        }
        let _ = writeln!(out, "- why: {}\n- fix: {}", check.why, check.fix);
    }
    out
}

/// The section of the document about a check.
#[must_use]
pub(super) fn place(check: &Check) -> String {
    format!("{PAGE}#{}", check.id.replace('.', ""))
}

/// `--list`: a line for each check.
#[must_use]
pub fn list() -> String {
    all().fold(String::new(), |mut out, check| {
        let _ = writeln!(out, "{:<18} {}", check.id, check.title);
        out
    })
}

/// `--explain`: a row.
#[must_use]
pub fn explain(check: &Check) -> String {
    let mut out = format!("{}: {}\n\n", check.id, check.title);
    let _ = writeln!(out, "looks at  {}", check.looks_at);
    for (status, when) in check.bad {
        let _ = writeln!(out, "{:<9} {when}", status.word());
    }
    let _ = writeln!(out, "why       {}\nfix       {}", check.why, check.fix);
    if check.at_start {
        out += "\nThe daemon looks at this at its start, too, and logs a warning.\n";
    }
    out
}

/// What `--help` and the manual page say of the checks.
#[must_use]
pub fn help() -> String {
    format!(
        "Checks:\n{}\nExit codes: 0 no error, 1 an error (with --strict also a warning), 2 it could not look.",
        list()
    )
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().collect::<String>());
    first.unwrap_or_default() + letters.as_str()
}
