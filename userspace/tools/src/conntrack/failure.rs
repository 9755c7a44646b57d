//! Why a command line came to nothing: the text, the exit code, and how both are printed.

use crate::print::tame::Tame;
use crate::stdout;
use host::sys::error_name;
use std::fmt;
use std::process::ExitCode;

/// What this program calls itself in messages. Scripts match the original's line, so it is that one's version whose
/// behaviour this is.
pub const NAME: &str = "conntrack v1.4.9 (conntrack-tools)";

/// A failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whether the command line is at fault (exit code 2), or something else (1).
    usage: bool,
    text: String,
}

impl Failure {
    /// The command line is at fault.
    #[must_use]
    pub fn usage(text: impl fmt::Display) -> Self {
        Self { usage: true, text: text.to_string() }
    }

    /// Something else is.
    #[must_use]
    pub fn other(text: impl fmt::Display) -> Self {
        Self { usage: false, text: text.to_string() }
    }

    /// The kernel refused. `texts`: what certain numbers mean for this request.
    #[must_use]
    pub fn kernel(errno: i32, texts: &[(i32, &str)]) -> Self {
        let special = texts.iter().find(|(number, _)| *number == errno).map(|(_, text)| *text);
        Self::other(format_args!(
            "Operation failed: {}",
            special.map_or_else(|| describe(errno), str::to_owned)
        ))
    }

    /// Says it on stderr.
    pub fn print(&self) -> ExitCode {
        stdout::settle();
        // Lines of files are quoted in it.
        eprintln!("{NAME}: {}", Tame(&self.text));
        if !self.usage {
            return ExitCode::FAILURE;
        }
        eprintln!("Try `conntrack -h' or 'conntrack --help' for more information.");
        ExitCode::from(2)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        error.raw_os_error().map_or_else(|| Self::other(&error), |errno| Self::kernel(errno, &[]))
    }
}

/// What a number means for every request.
fn describe(errno: i32) -> String {
    match errno {
        libc::EPERM => "sorry, you must be root or get CAP_NET_ADMIN capability to do this".into(),
        libc::EINVAL => "invalid parameters".into(),
        libc::ENOMEM => "not enough memory".into(),
        libc::ETIME => "conntrack has expired".into(),
        errno => plain(errno),
    }
}

/// The system's text for a number.
#[must_use]
pub fn plain(errno: i32) -> String {
    error_name(&std::io::Error::from_raw_os_error(errno))
}
