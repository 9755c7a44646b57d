//! Log lines, in the form conntrackd has always written them.
//!
//! ```text
//! [Mon Nov 23 16:53:17 2026] (pid=23583) [notice] Committed 8 new entries
//! ```

use crate::{clock, sys};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Happens in normal operation.
    Info,
    /// A change of role, a command, a milestone.
    Notice,
    /// Something was lost or is not as asked.
    Warning,
    /// Something cannot go on.
    Error,
}

impl Level {
    /// The word in the line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "ERROR",
        }
    }

    const fn priority(self) -> i32 {
        match self {
            Self::Info => libc::LOG_INFO,
            Self::Notice => libc::LOG_NOTICE,
            Self::Warning => libc::LOG_WARNING,
            Self::Error => libc::LOG_ERR,
        }
    }
}

/// Where lines go. A place that fails is passed over: a full disk must not stop replication.
#[derive(Debug, Default)]
pub struct Log {
    file: Option<Mutex<File>>,
    syslog: bool,
    console: bool,
}

impl Log {
    /// A log to the console only.
    #[must_use]
    pub fn to_console() -> Self {
        Self { console: true, ..Self::default() }
    }

    /// Opens what was asked for; `syslog_facility` is a `LOG_*` number.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub fn open(
        file: Option<&Path>,
        syslog_facility: Option<i32>,
        console: bool,
    ) -> io::Result<Self> {
        let open = |path| OpenOptions::new().create(true).append(true).open(path);
        let file = file.map(open).transpose()?.map(Mutex::new);
        if let Some(facility) = syslog_facility {
            sys::open_syslog(facility);
        }
        Ok(Self { file, syslog: syslog_facility.is_some(), console })
    }

    /// Writes a line everywhere.
    pub fn line(&self, level: Level, text: &str) {
        let time = sys::local_time(clock::wall_s());
        let line = format!("[{time}] (pid={}) [{}] {text}\n", std::process::id(), level.word());
        if let Some(file) = &self.file
            && let Ok(mut file) = file.lock()
        {
            let _ = file.write_all(line.as_bytes());
        }
        if self.syslog {
            sys::syslog(level.priority(), text);
        }
        if self.console && level >= Level::Warning {
            let _ = io::stderr().write_all(line.as_bytes());
        } else if self.console {
            let _ = io::stdout().write_all(line.as_bytes());
        }
    }

    /// Writes a line that says what happened in normal operation.
    pub fn info(&self, text: impl AsRef<str>) {
        self.line(Level::Info, text.as_ref());
    }

    /// Writes a line about a milestone.
    pub fn notice(&self, text: impl AsRef<str>) {
        self.line(Level::Notice, text.as_ref());
    }

    /// Writes a line about a loss.
    pub fn warning(&self, text: impl AsRef<str>) {
        self.line(Level::Warning, text.as_ref());
    }

    /// Writes a line about a failure.
    pub fn error(&self, text: impl AsRef<str>) {
        self.line(Level::Error, text.as_ref());
    }
}
