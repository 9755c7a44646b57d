//! Carries out a command.

mod event;
mod expect;
mod list;
mod change;
mod load;

pub use load::{run as load, understand};

use super::command::{Command, Output};
use super::definition::{Table, Verb};
use super::failure::Failure;
use super::{failure, screen, usage};
use crate::print::conntrack::{Format, Style};
use crate::stdout;
use std::io;
use std::process::ExitCode;

/// How a command ended.
pub type Outcome = Result<ExitCode, Failure>;

/// Does what a command line says; `lines`: those of its file of flows.
///
/// # Errors
/// Why it could not.
pub fn run(command: &Command, lines: &[Command]) -> Outcome {
    match (command.verb, command.table) {
        (Verb::Help, _) => {
            usage::print(command.proto);
            Ok(ExitCode::SUCCESS)
        }
        (Verb::Version, _) => {
            stdout::put(format!("{}\n", failure::NAME).as_bytes());
            Ok(ExitCode::SUCCESS)
        }
        (Verb::List, Table::Expect) => expect::list(command),
        (Verb::List, _) => list::list(command),
        (Verb::Get, Table::Expect) => expect::get(command),
        (Verb::Get, _) => list::get(command),
        (Verb::Create | Verb::Add, Table::Expect) => expect::create(command),
        (Verb::Create | Verb::Add, _) => change::create(command),
        (Verb::Update, _) => change::update(command, lines),
        (Verb::Delete, Table::Expect) => expect::delete(command),
        (Verb::Delete, _) => change::delete(command, lines),
        (Verb::Flush, Table::Expect) => expect::flush(),
        (Verb::Flush, _) => change::flush(command),
        (Verb::Event, table) => event::watch(command, table),
        (Verb::Count, table) => list::count(table),
        (Verb::Stats, table) => list::stats(table),
    }
}

/// How a command wants its entries shown.
fn style<'a>(command: &'a Command) -> Style<'a> {
    let Output { xml, extended, timestamp, id, ktimestamp, userspace, save, json, labels: _ } =
        command.output;
    let format = match () {
        () if json => Format::Json,
        () if xml => Format::Xml,
        () if save => Format::Save,
        () => Format::Plain,
    };
    Style {
        format,
        extended,
        id,
        ktimestamp,
        // A list has no time of its own.
        timestamp: timestamp && (command.verb == Verb::Event || command.table == Table::Expect),
        userspace,
        // A command that names labels shows them, but not those of deleted flows.
        labels: command.labelmap.as_deref().filter(|_| command.verb != Verb::Delete),
        deleted: command.verb == Verb::Delete,
        colour: screen::is_colourful(),
    }
}

/// Success, unless nothing was found.
fn code(found: u64) -> ExitCode {
    if found == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What the kernel said, or that it said nothing special.
fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}
