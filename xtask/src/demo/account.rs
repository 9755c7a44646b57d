//! The account that a viewer reads while it happens: a line that refreshes, and lines that stay.

use super::clock::Moment;
use super::daemon::{Counts, Daemon};
use super::network::Node;
use anyhow::Result;
use std::io::{self, IsTerminal as _, Write as _};

const EVERY_MS: f64 = 500.0;

/// Writes the account.
pub(super) struct Account {
    start: Moment,
    zero: Option<Moment>,
    told: Moment,
    is_terminal: bool,
}

/// The nodes that the account asks.
#[derive(Clone, Copy)]
pub(super) struct Watched<'a> {
    /// The router that forwards now.
    pub(super) active: Node,
    /// Its daemon, while there is one that waits for its death.
    pub(super) own: Option<&'a Daemon>,
    /// The node that takes over, and its daemon.
    pub(super) heir: Option<(Node, &'a Daemon)>,
}

impl Account {
    pub(super) fn new() -> Self {
        let is_terminal = io::stdout().is_terminal();
        Self { start: Moment::now(), zero: None, told: Moment(0), is_terminal }
    }

    /// Refreshes the line when its time has come.
    pub(super) fn tick(
        &mut self,
        phase: &str,
        bytes: Option<u64>,
        watched: Watched<'_>,
    ) -> Result<()> {
        let now = Moment::now();
        if now.ms_since(self.told) < EVERY_MS {
            return Ok(());
        }
        self.told = now;
        let count = |daemon: Option<&Daemon>| daemon.map_or(Ok(Counts::default()), Daemon::counts);
        let flows = watched.active.flow_count()?;
        let (heir, events) = (watched.heir, count(watched.own)?.events);
        // Within 80 columns, or a terminal would not refresh it in place.
        let mut line = format!("{:5.1} s  {phase:<13}", now.ms_since(self.start) / 1000.0);
        if let Some(bytes) = bytes {
            line += &format!(" {:4.1} MiB ", mib(bytes));
        }
        line += &format!("  {}: {flows} flows", watched.active.letter());
        if watched.own.is_some() {
            line += &format!(", {events} events");
        }
        if let Some((node, daemon)) = heir {
            line += &format!("  {}: {} replicas", node.letter(), daemon.counts()?.replicated);
        }
        self.write(&line, false);
        Ok(())
    }

    /// A line that stays.
    pub(super) fn say(&self, text: &str) {
        self.write(text, true);
    }

    /// Starts the time line of the failover at a moment.
    pub(super) fn zero(&mut self, at: Moment) {
        self.zero = Some(at);
    }

    /// A line of the time line.
    pub(super) fn stamp(&self, at: Moment, text: &str) {
        let since = at.ms_since(self.zero.unwrap_or(self.start));
        self.say(&format!("  {since:>+9.1} ms  {text}"));
    }

    fn write(&self, text: &str, stays: bool) {
        let mut out = io::stdout().lock();
        let (before, after) = match (self.is_terminal, stays) {
            (true, true) => ("\r\x1b[K", "\n"),
            (true, false) => ("\r\x1b[K", ""),
            (false, _) => ("", "\n"),
        };
        // A reader that closed our output does not want to know.
        let _ = write!(out, "{before}{text}{after}").and_then(|()| out.flush());
    }
}

/// Bytes for people.
pub(super) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
