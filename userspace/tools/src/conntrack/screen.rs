//! Where output goes: entries to stdout ([`crate::stdout`]), summaries and warnings to stderr.

use super::failure::NAME;
use crate::print::Origin;
use crate::print::conntrack::{self, Format, Root, Style};
use crate::stdout;
use ctnetlink::Change;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

/// What entries are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A list of entries that exist.
    List,
    /// Entries that were changed or deleted.
    Changed,
    /// Events: each must be visible at once.
    Stream,
}

/// Entries on their way to stdout.
#[derive(Debug)]
pub struct Screen<'a> {
    style: Style<'a>,
    root: Root,
    frame: Frame,
    out: Vec<u8>,
    begun: bool,
    opened_ns: u64,
    /// Entries shown.
    pub shown: u64,
}

impl<'a> Screen<'a> {
    /// Nothing is shown yet.
    #[must_use]
    pub fn new(style: Style<'a>, root: Root, frame: Frame) -> Self {
        let mut out = stdout::take();
        out.reserve(stdout::PIECE + 4096);
        Self { style, root, frame, out, begun: false, opened_ns: 0, shown: 0 }
    }

    /// Shows the entry of a message. It is counted if it could be shown.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub fn listed(&mut self, message: &[u8]) -> io::Result<()> {
        self.add(message, None, Origin::default())
    }

    /// Shows what happened to one, and who did it.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub fn event(&mut self, message: &[u8], event: Change, by: Origin<'_>) -> io::Result<()> {
        self.add(message, Some(event), by)
    }

    fn add(&mut self, message: &[u8], event: Option<Change>, by: Origin<'_>) -> io::Result<()> {
        self.begin();
        let now_ns = self.now_ns();
        let shown = self.print(message, event, by, now_ns);
        self.shown += u64::from(shown);
        self.write_if_much();
        Ok(())
    }

    /// What an entry looks like, to be shown later.
    pub fn render(&mut self, message: &[u8]) -> Vec<u8> {
        let kept = std::mem::take(&mut self.out);
        let now_ns = self.now_ns();
        self.print(message, None, Origin::default(), now_ns);
        std::mem::replace(&mut self.out, kept)
    }

    /// Shows what was rendered.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub fn push(&mut self, line: &[u8]) -> io::Result<()> {
        self.begin();
        // Rendered apart, a JSON object cannot know that it is the first one.
        let first = self.out.last() == Some(&b'[') && line.first() == Some(&b',');
        self.out.extend_from_slice(&line[usize::from(first)..]);
        self.shown += u64::from(!line.is_empty());
        self.write_if_much();
        Ok(())
    }

    fn print(
        &mut self,
        message: &[u8],
        event: Option<Change>,
        by: Origin<'_>,
        now_ns: u64,
    ) -> bool {
        let print = match self.root {
            Root::Conntrack => conntrack::flow,
            Root::Expect => conntrack::expectation,
        };
        print(&mut self.out, &self.style, message, event, by, now_ns)
    }

    /// Nanoseconds since 1970.
    fn now_ns(&mut self) -> u64 {
        // A list is of one moment, and has millions of entries.
        if self.frame == Frame::List && self.opened_ns != 0 {
            return self.opened_ns;
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.opened_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        self.opened_ns
    }

    fn begin(&mut self) {
        if !std::mem::replace(&mut self.begun, true) && self.is_framed() {
            conntrack::list_begin(&mut self.out, &self.style, self.root);
        }
    }

    /// Whether something stands before the first entry and after the last one.
    fn is_framed(&self) -> bool {
        match self.style.format {
            Format::Json => self.frame != Frame::Stream,
            // What was changed has always been shown as elements without a document around them.
            _ => self.frame != Frame::Changed,
        }
    }

    fn write_if_much(&mut self) {
        if self.out.len() >= stdout::PIECE || stdout::is_terminal() {
            stdout::write_blocks(&mut self.out);
        }
    }

    /// Writes everything so far.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub fn flush(&mut self) -> io::Result<()> {
        stdout::write_all(&mut self.out)
    }

    /// Ends the list. What makes no whole block is written when the program ends, behind the summary.
    pub fn end(&mut self) {
        // An empty XML list has never been printed, an empty JSON one must be for it to be JSON.
        let empty = !self.begun && self.style.format != Format::Json;
        if self.is_framed() && !empty {
            conntrack::list_end(&mut self.out, &self.style, self.root, self.begun);
        }
        stdout::write_blocks(&mut self.out);
    }

    /// Ends a list that is a document: it is written whole before the summary.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub fn end_document(&mut self) -> io::Result<()> {
        self.end();
        let is_document = matches!(self.style.format, Format::Xml | Format::Json);
        if is_document { self.flush() } else { Ok(()) }
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        stdout::give(std::mem::take(&mut self.out));
    }
}

/// Whether stdout is a terminal that shows colours, and the environment does not forbid them (no-color.org).
#[must_use]
pub fn is_colourful() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    stdout::is_terminal()
        && !is_set("NO_COLOR")
        && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Says how many, and of what.
pub fn summary(count: u64, what: &str) {
    say(&format!("{count} {what}."));
}

/// Writes a line to stderr, after the text that stdout has already taken.
pub fn say(what: &str) {
    stdout::settle();
    eprintln!("{NAME}: {what}");
}
