//! `ctflow delete`: counts first, asks, deletes, reports.

use super::asked::Asked;
use super::daemon::{Came, Daemon};
use super::{Deletion, Found, Intent, Output, Where, answered, kernel, note, plain_or_json};
use crate::ctflow::outcome::{Code, Fault};
use crate::stdout;
use clap::Args;
use engine::query::Expr;
use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Instant;

/// Arguments of `delete`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags that may each be given")]
pub struct Options {
    #[command(flatten)]
    which: Where,
    /// The form of the result: text on stderr, or JSON on stdout
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "text")]
    output: Output,
    /// Say what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,
    /// Delete nothing if more than N flows match
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    max: u64,
    /// Do not ask; needed without a terminal to delete more than half of the table
    #[arg(long)]
    yes: bool,
    /// Fail with exit code 1 if no flow matches
    #[arg(long)]
    require_match: bool,
    /// Take an empty filter as every flow
    #[arg(long)]
    all: bool,
}

/// `ctflow delete`
///
/// # Errors
/// Why it could not, or what refused it.
pub fn delete(options: &Options) -> Result<Code, Fault> {
    let json = plain_or_json(options.output)?;
    let asked = Asked::new(&options.which)?;
    if asked.parsed.expr == Expr::Everything && !options.all {
        return Err(Fault::usage(
            "an empty filter selects every flow: --all says that it is meant",
        ));
    }
    let began = Instant::now();
    let verdict = match answered(&asked, None, |daemon| by_daemon(daemon, options))? {
        Some(verdict) => verdict,
        None => by_kernel(&asked, options)?,
    };
    tell(&verdict, options.dry_run, json, began);
    let none = verdict.found.matched == 0 && options.require_match;
    Ok(match verdict.refused {
        0 if none => Code::NoMatch,
        0 => Code::Done,
        _ => Code::Kept,
    })
}

/// Through the daemon, which counts again before it deletes.
fn by_daemon(daemon: &Daemon, options: &Options) -> Result<Came<Deletion>, Fault> {
    if options.dry_run || (is_terminal() && !options.yes) {
        let plan = match daemon.plan()? {
            Came::Answer(plan) => plan,
            Came::Elsewhere(why) => return Ok(Came::Elsewhere(why)),
        };
        within_limits(&plan, options)?;
        if options.dry_run || plan.found.matched == 0 {
            return Ok(Came::Answer(Deletion { found: plan.found, ..Deletion::default() }));
        }
    }
    let confirmed = options.yes || is_terminal();
    match daemon.delete(options.max, confirmed)? {
        Came::Answer(Ok(verdict)) => Ok(Came::Answer(verdict)),
        Came::Answer(Err(found)) => Err(too_many(found, options)),
        Came::Elsewhere(why) => Ok(Came::Elsewhere(why)),
    }
}

fn by_kernel(asked: &Asked, options: &Options) -> Result<Deletion, Fault> {
    let plan = kernel::plan(asked, options.max)?;
    within_limits(&plan, options)?;
    if options.dry_run || plan.found.matched == 0 {
        return Ok(Deletion { found: plan.found, ..Deletion::default() });
    }
    kernel::delete(plan)
}

/// Whether there is a user to ask.
fn is_terminal() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// A limit refuses to delete so many.
fn too_many(found: Found, options: &Options) -> Fault {
    let Found { matched, table } = found;
    if matched > options.max {
        let max = options.max;
        return Fault::limit(format_args!(
            "{matched} flows match, more than --max {max}; nothing deleted"
        ));
    }
    Fault::limit(format_args!(
        "{matched} of {table} flows match, more than half of the table: --yes says that they are meant; \
         nothing deleted"
    ))
}

/// Refuses a delete beyond the limits, and asks the user at a terminal.
fn within_limits(plan: &Intent, options: &Options) -> Result<(), Fault> {
    let Found { matched, table } = plan.found;
    if matched > options.max {
        return Err(too_many(plan.found, options));
    }
    if options.dry_run {
        plan.examples.iter().for_each(note);
        return Ok(());
    }
    if options.yes || matched == 0 {
        return Ok(());
    }
    if is_terminal() {
        return confirm(plan);
    }
    if matched > table / 2 {
        return Err(too_many(plan.found, options));
    }
    Ok(())
}

fn confirm(plan: &Intent) -> Result<(), Fault> {
    let Found { matched, table } = plan.found;
    plan.examples.iter().for_each(note);
    eprint!("ctflow: delete {matched} of {table} flows? [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Fault::limit("nothing deleted"))
}

fn tell(verdict: &Deletion, dry_run: bool, json: bool, began: Instant) {
    let Deletion { found: Found { matched, table }, deleted, ended, refused } = *verdict;
    let ms = began.elapsed().as_millis();
    if json {
        let object = serde_json::json!({
            "matched": matched, "table": table, "deleted": deleted, "ended": ended,
            "refused": refused, "dry_run": dry_run, "ms": ms as u64,
        });
        stdout::put(format!("{object}\n").as_bytes());
    } else if dry_run {
        note(format_args!("would delete {matched} of {table} flows"));
    } else {
        note(format_args!(
            "deleted {deleted} of {table} flows in {ms} ms ({ended} had ended, {refused} refused)"
        ));
    }
}
