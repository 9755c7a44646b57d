//! The program `conntrack`: shows and changes the kernel's connection tracking table.
//!
//! ```text
//!  argv --getopt--> options --command--> Command --act--> kernel --print--> stdout
//!                                           |                         summary, errors --> stderr
//!                              filter: what of a dump is meant
//! ```

pub mod failure;
pub mod definition;
pub mod getopt;
pub mod values;
pub mod protocol;
pub mod ports;
pub mod labels;
pub mod command;
pub mod words;
pub mod filter;
pub mod several;
pub mod wanted;
pub mod usage;
pub mod programs;
pub mod progress;
pub mod screen;
pub mod act;

use crate::stdout;
use failure::Failure;
use std::ffi::OsString;
use std::process::ExitCode;

/// Does what the command line says.
pub fn run(argv: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut words = Vec::new();
    for word in argv.into_iter().skip(1) {
        match word.into_string() {
            Ok(word) => words.push(word),
            Err(word) => {
                let word = word.to_string_lossy().into_owned();
                return Failure::usage(format_args!("`{word}' is no text")).print();
            }
        }
    }
    host::sys::process::obey_sigpipe();
    let code = carry_out(&words).unwrap_or_else(|failure| failure.print());
    stdout::flush().map_or_else(|error| Failure::other(error).print(), |()| code)
}

fn carry_out(words: &[String]) -> act::Outcome {
    // What follows the file has always been passed over.
    if let [first, path, ..] = words
        && matches!(first.as_str(), "-R" | "--load-file")
    {
        return act::load(path);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let command = command::parse(&words)?;
    if let Some(name) = &command.netns {
        host::sys::enter_network_namespace(name)
            .map_err(|error| Failure::other(format_args!("network namespace {name}: {error}")))?;
    }
    let lines = match &command.from_file {
        Some(path) => several::read(path, &words)?,
        None => Vec::new(),
    };
    act::run(&command, &lines)
}
