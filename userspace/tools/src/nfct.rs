//! The program `nfct`: manages timeout policies and helpers of the kernel's connection tracking.
//!
//! ```text
//!  argv --words--> verb, subsystem, parameters --parameters--> Action --act--> kernel --print--> stdout
//!                                                                 |                errors --> stderr
//! ```

pub mod failure;
pub mod words;
pub mod parameters;
pub mod print;
pub mod act;
pub mod usage;

use crate::stdout;
use failure::Failure;
use std::ffi::OsString;
use std::process::ExitCode;

/// Does what the command line says.
pub fn run(argv: impl IntoIterator<Item = OsString>) -> ExitCode {
    host::sys::process::obey_sigpipe();
    let done = argv
        .into_iter()
        .skip(1)
        .map(|word| {
            word.into_string()
                .map_err(|word| Failure::new(format_args!("`{}' is no text", word.display())))
        })
        .collect::<Result<Vec<_>, _>>()
        .and_then(|words| carry_out(&words));
    let code = done.map_or_else(|failure| failure.print(), |()| ExitCode::SUCCESS);
    stdout::flush().map_or_else(|error| Failure::new(error).print(), |()| code)
}

fn carry_out(words: &[String]) -> Result<(), Failure> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let line = words::split(&words)?;
    let action = parameters::parse(&line)?;
    if let Some(name) = line.netns {
        host::sys::enter_network_namespace(name)
            .map_err(|error| Failure::new(format_args!("network namespace {name}: {error}")))?;
    }
    act::run(&action, line.json)
}
