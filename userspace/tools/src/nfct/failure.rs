//! Why a command line came to nothing, and how that is printed.

use crate::print::tame::Tame;
use crate::stdout;
use host::sys::error_name;
use std::fmt;
use std::io;
use std::process::ExitCode;

/// What this program calls itself in messages: scripts match the original's line.
pub const NAME: &str = "nfct v1.4.9";

/// The exit code when there is no netlink.
const NO_NETLINK: u8 = 255;

/// A failure: lines for stderr and an exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    lines: Vec<String>,
    code: u8,
}

impl Failure {
    /// A line behind the program's name.
    #[must_use]
    pub fn new(text: impl fmt::Display) -> Self {
        Self { lines: vec![format!("{NAME}: {text}")], code: 1 }
    }

    /// A line as it is.
    #[must_use]
    pub fn plain(text: impl fmt::Display) -> Self {
        Self { lines: vec![text.to_string()], code: 1 }
    }

    /// The failure with the lines of another one behind it.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.lines.extend(other.lines);
        self
    }

    /// The kernel refused.
    #[must_use]
    pub fn kernel(error: &io::Error) -> Self {
        Self::new(format_args!("netlink error: {}", error_name(error)))
    }

    /// There is no socket to ask the kernel by.
    #[must_use]
    pub fn no_netlink(error: &io::Error) -> Self {
        let failure = Self::new(format_args!("cannot open netlink: {}", error_name(error)));
        Self { code: NO_NETLINK, ..failure }
    }

    /// Says it on stderr.
    pub fn print(&self) -> ExitCode {
        stdout::settle();
        for line in &self.lines {
            // Words of the command line are quoted in it.
            eprintln!("{}", Tame(line));
        }
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_no_netlink_the_code_is_another_one() {
        let refused = io::Error::from_raw_os_error(libc::EMFILE);
        let failure = Failure::no_netlink(&refused);
        let text = "nfct v1.4.9: cannot open netlink: Too many open files";
        assert_eq!((failure.to_string().as_str(), failure.code), (text, 255));
        assert_eq!(Failure::kernel(&refused).code, 1);
    }
}
