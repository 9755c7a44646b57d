//! How far long work has come, on a terminal: a line that is written over and over, and gone at the end.

use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

/// Work that ends before this is not worth a word.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often the line is written.
const EVERY: Duration = Duration::from_millis(100);
/// Steps between two looks at the clock.
const STEPS: u64 = 1024;
/// To the beginning of the line, and everything behind it gone.
const CLEAR: &str = "\r\x1b[K";

/// Work under way.
#[derive(Debug)]
pub struct Progress<W: Write = io::Stderr> {
    /// Where it is shown, if anywhere.
    out: Option<W>,
    what: &'static str,
    steps: u64,
    next_at: Instant,
    shown: bool,
}

impl Progress {
    /// Work of so many `what`. It is shown on stderr, if that is a terminal and what the work prints does not go to one
    /// as well; `prints`: whether it prints at all.
    #[must_use]
    pub fn new(what: &'static str, prints: bool) -> Self {
        let seen = io::stderr().is_terminal() && !(prints && io::stdout().is_terminal());
        Self::to(seen.then(io::stderr), what, Instant::now())
    }
}

impl<W: Write> Progress<W> {
    const fn to(out: Option<W>, what: &'static str, next_at: Instant) -> Self {
        Self { out, what, steps: 0, next_at, shown: false }
    }

    /// One more is done.
    #[inline]
    pub fn step(&mut self) {
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS) && self.out.is_some() {
            self.show(Instant::now());
        }
    }

    #[cold]
    fn show(&mut self, now: Instant) {
        let wait = if self.shown { EVERY } else { PATIENCE };
        let Some(out) = self.out.as_mut().filter(|_| now >= self.next_at + wait) else { return };
        self.next_at = now;
        self.shown = true;
        // A terminal that is gone needs no progress.
        let _ = write!(out, "{CLEAR}{} {}", self.steps, self.what);
    }

    /// Takes the line away.
    pub fn end(&mut self) {
        if let Some(out) = self.out.as_mut().filter(|_| self.shown) {
            let _ = write!(out, "{CLEAR}");
        }
        self.shown = false;
    }
}

impl<W: Write> Drop for Progress<W> {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_work_shows_progress_and_leaves_nothing_behind() {
        let (mut out, begun) = (Vec::new(), Instant::now());
        let mut progress = Progress::to(Some(&mut out), "flows", begun);
        progress.steps = 5;
        let at = |ms| begun + Duration::from_millis(ms);
        progress.show(at(499));
        progress.show(at(500));
        progress.steps = 6;
        progress.show(at(599));
        progress.show(at(600));
        drop(progress);
        assert_eq!(String::from_utf8_lossy(&out), "\r\x1b[K5 flows\r\x1b[K6 flows\r\x1b[K");
    }

    #[test]
    fn short_work_shows_no_progress() {
        let mut out = Vec::new();
        let mut progress = Progress::to(Some(&mut out), "flows", Instant::now());
        (0..STEPS).for_each(|_| progress.step());
        drop(progress);
        assert!(out.is_empty());
    }
}
