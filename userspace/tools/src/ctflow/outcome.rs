//! How operations end: exit codes, and what is said on stderr.

use crate::stdout;
use std::fmt;
use std::io;
use std::process::ExitCode;

/// How an operation that was carried out ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Done, also with nothing to do.
    Done = 0,
    /// No flow matched, and one had to.
    NoMatch = 1,
    /// A limit refused it.
    Limit = 3,
    /// The kernel refused some of it.
    Kept = 4,
}

/// Why an operation was not carried out, or not to its end.
#[derive(Debug)]
pub struct Fault {
    code: u8,
    /// Nothing if it has been said.
    text: String,
    gone: bool,
}

impl Fault {
    /// Wrong usage, or no answer.
    #[must_use]
    pub fn usage(text: impl fmt::Display) -> Self {
        Self { code: 2, text: text.to_string(), gone: false }
    }

    /// A fault whose text has been printed already.
    #[must_use]
    pub const fn said() -> Self {
        Self { code: 2, text: String::new(), gone: false }
    }

    /// A limit refused it.
    #[must_use]
    pub fn limit(text: impl fmt::Display) -> Self {
        Self { code: Code::Limit as u8, text: text.to_string(), gone: false }
    }

    /// The kernel did not carry it out.
    #[must_use]
    pub fn kernel(text: impl fmt::Display) -> Self {
        Self { code: Code::Kept as u8, text: text.to_string(), gone: false }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        let gone = error.kind() == io::ErrorKind::BrokenPipe;
        let text = match error.raw_os_error() {
            Some(libc::EPERM) => "sorry, you must be root or have CAP_NET_ADMIN to do this".into(),
            _ => error.to_string(),
        };
        Self { code: 2, text, gone }
    }
}

impl From<anyhow::Error> for Fault {
    fn from(error: anyhow::Error) -> Self {
        Self::usage(format_args!("{error:#}"))
    }
}

/// Writes a line to stderr, after the text that stdout has already taken.
pub fn note(text: impl fmt::Display) {
    stdout::settle();
    eprintln!("ctflow: {text}");
}

/// Ends an operation: what is left of its output, and what went wrong.
#[must_use]
pub fn settle(outcome: Result<Code, Fault>) -> ExitCode {
    let code = match outcome {
        Ok(code) => code as u8,
        Err(fault) => {
            if fault.gone {
                host::sys::process::end_by_sigpipe();
            }
            if !fault.text.is_empty() {
                note(&fault.text);
            }
            fault.code
        }
    };
    match stdout::flush() {
        Ok(()) => code.into(),
        Err(error) => {
            note(error);
            2.into()
        }
    }
}
