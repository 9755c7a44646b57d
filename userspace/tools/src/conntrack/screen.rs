//! Where output goes: entries to stdout in large pieces, summaries and warnings to stderr.

use super::failure::{Failure, NAME};
use crate::print::conntrack::{self, Event, Format, Root, Style};
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// So much is gathered before it is written.
const PIECE: usize = 64 << 10;

/// Entries on their way to stdout.
#[derive(Debug)]
pub struct Screen<'a> {
    style: Style<'a>,
    root: Root,
    out: Vec<u8>,
    begun: bool,
    /// Events come one by one, and each is to be seen at once.
    stream: bool,
    /// Entries shown.
    pub shown: u64,
}

impl<'a> Screen<'a> {
    /// For a list, or for a stream of events.
    #[must_use]
    pub fn new(style: Style<'a>, root: Root, stream: bool) -> Self {
        Self { style, root, out: Vec::with_capacity(PIECE + 4096), begun: false, stream, shown: 0 }
    }

    /// Shows the entry of a message. It is counted if it could be shown.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub fn entry(&mut self, message: &[u8], event: Option<Event>, portid: u32) -> io::Result<()> {
        let line = self.render(message, event, portid);
        self.push(&line)
    }

    /// The same without a copy, for lists.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub fn listed(&mut self, message: &[u8]) -> io::Result<()> {
        self.begin();
        let now_ns = self.now_ns();
        let shown = self.print(message, None, 0, now_ns);
        self.shown += u64::from(shown);
        self.write_if(PIECE)
    }

    /// What an entry looks like, to be shown later.
    pub fn render(&mut self, message: &[u8], event: Option<Event>, portid: u32) -> Vec<u8> {
        let kept = std::mem::take(&mut self.out);
        let now_ns = self.now_ns();
        self.print(message, event, portid, now_ns);
        std::mem::replace(&mut self.out, kept)
    }

    /// Shows what was rendered.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub fn push(&mut self, line: &[u8]) -> io::Result<()> {
        self.begin();
        self.out.extend_from_slice(line);
        self.shown += u64::from(!line.is_empty());
        self.write_if(PIECE)
    }

    fn print(&mut self, message: &[u8], event: Option<Event>, portid: u32, now_ns: u64) -> bool {
        let print = match self.root {
            Root::Conntrack => conntrack::flow,
            Root::Expect => conntrack::expectation,
        };
        print(&mut self.out, &self.style, message, event, portid, now_ns)
    }

    /// Nanoseconds since 1970, where something shows them.
    fn now_ns(&self) -> u64 {
        if !self.style.timestamp && !self.style.ktimestamp {
            return 0;
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    fn begin(&mut self) {
        if !std::mem::replace(&mut self.begun, true) && !(self.stream && self.style.format == Format::Json) {
            conntrack::list_begin(&mut self.out, &self.style, self.root);
        }
    }

    fn write_if(&mut self, least: usize) -> io::Result<()> {
        if self.out.len() >= least {
            io::stdout().lock().write_all(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }

    /// Writes what was gathered.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub fn flush(&mut self) -> io::Result<()> {
        self.write_if(1)?;
        io::stdout().lock().flush()
    }

    /// Ends the list.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub fn end(&mut self) -> io::Result<()> {
        let json = self.style.format == Format::Json;
        // An empty XML list has never been printed, an empty JSON one must be for it to be JSON.
        if (self.begun && !(self.stream && json)) || (json && !self.stream) {
            conntrack::list_end(&mut self.out, &self.style, self.root, self.begun);
        }
        self.flush()
    }
}

/// Says how many, and of what.
pub fn summary(count: u64, what: &str) {
    eprintln!("{NAME}: {count} {what}.");
}

/// A reader that has gone is no failure of the kernel's.
#[must_use]
pub fn is_broken_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// What went wrong while writing or asking.
pub fn failure(error: io::Error) -> Failure {
    Failure::from(error)
}
