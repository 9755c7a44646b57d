//! What is wrong with a configuration, and where: one value that becomes a log line or an annotated snippet.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Diagnostics that are shown; of the others there is a count.
pub const SHOWN_MAX: usize = 20;
/// The longest text that pieces are shown of, and the longest line, bytes.
const SHOWN_TEXT_LEN: usize = 1 << 20;
const SHOWN_LINE_LEN: usize = 2000;
/// The longest word that is quoted in full, letters.
const SHOWN_WORD_LEN: usize = 60;

/// A stretch of the text, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The stretch from the start of `self` to the end of `last`.
    #[must_use]
    pub fn to(self, last: Self) -> Self {
        Self { start: self.start, end: last.end.max(self.start) }
    }
}

/// Where something stands in a file, for those who find it wrong later. It is no part of what is configured: all places
/// are equal, so that a reload of a file with another comment in it changes nothing.
#[derive(Clone, Debug)]
pub struct Place {
    /// Name of the file.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Place {}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The configuration is used; something in it is not as its author may think.
    Warning,
    /// The configuration is refused.
    Error,
}

/// A named text. Diagnostics are made from it, because only it can turn bytes into lines and columns.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// Name shown in front of the line number.
    pub name: Arc<str>,
    /// The text.
    pub text: &'a str,
    /// Where each line but the first begins.
    lines: Vec<usize>,
}

/// An error or a warning about a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The severity.
    pub severity: Severity,
    /// Name of the file.
    pub file: Arc<str>,
    /// Where in the text.
    pub span: Span,
    /// What is wrong; lower case, no full stop.
    pub message: String,
    /// What was expected at this place; empty when the message says it all.
    pub label: String,
    /// Other places that explain this one.
    pub context: Vec<(Span, String)>,
    /// What to do about it.
    pub help: Option<String>,
    line: usize,
    column: usize,
}

impl<'a> Source<'a> {
    /// The text of the file called `name`.
    #[must_use]
    pub fn new(name: &str, text: &'a str) -> Self {
        let lines = text.match_indices('\n').map(|(at, _)| at + 1).collect();
        Self { name: name.into(), text, lines }
    }

    /// An error at `span`.
    #[must_use]
    pub fn error(&self, span: Span, message: String) -> Diagnostic {
        self.diagnostic(Severity::Error, span, message)
    }

    /// A warning at `span`.
    #[must_use]
    pub fn warning(&self, span: Span, message: String) -> Diagnostic {
        self.diagnostic(Severity::Warning, span, message)
    }

    /// The file and line at which `span` begins.
    #[must_use]
    pub fn place(&self, span: Span) -> Place {
        let Diagnostic { file, line, column, .. } = self.error(span, String::new());
        Place { file, line, column }
    }

    /// The number of the line that holds byte `at`, from 1.
    #[must_use]
    pub fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at) + 1
    }

    /// The word at `span`.
    #[must_use]
    pub fn word(&self, span: Span) -> &'a str {
        self.text.get(span.start..span.end).unwrap_or("")
    }

    fn diagnostic(&self, severity: Severity, span: Span, message: String) -> Diagnostic {
        let line = self.line(span.start);
        let line_start = if line > 1 { self.lines[line - 2] } else { 0 };
        let before = self.text.get(line_start..span.start).unwrap_or("");
        Diagnostic {
            severity,
            file: Arc::clone(&self.name),
            span,
            message,
            label: String::new(),
            context: Vec::new(),
            help: None,
            line,
            column: before.chars().count() + 1,
        }
    }
}

impl Diagnostic {
    /// Says what was expected at the place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Points at another place too.
    #[must_use]
    pub fn context(mut self, span: Span, label: impl Into<String>) -> Self {
        self.context.push((span, label.into()));
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Line, from 1.
    #[must_use]
    pub const fn line(&self) -> usize {
        self.line
    }

    /// Column in characters, from 1.
    #[must_use]
    pub const fn column(&self) -> usize {
        self.column
    }

    /// `file:line:column: message`, for a log that has its own way of saying how bad it is.
    #[must_use]
    pub fn one_line(&self) -> String {
        let mut out = format!("{}:{}:{}: {}", self.file, self.line, self.column, self.message);
        for part in [Some(&self.label), self.help.as_ref()].into_iter().flatten() {
            if !part.is_empty() {
                out.push_str("; ");
                out.push_str(part);
            }
        }
        out
    }

    /// The message with the piece of `source` it is about, over several lines. For a text too large to show (a
    /// megabyte, or a line of two thousand bytes) the message alone.
    #[must_use]
    pub fn render(&self, source: &str, color: bool) -> String {
        if source.len() > SHOWN_TEXT_LEN || self.line_len(source) > SHOWN_LINE_LEN {
            let word = if self.severity == Severity::Error { "error" } else { "warning" };
            return format!("{word}: {}", self.one_line());
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[self.report(source)])
    }

    /// The longest line this is about, bytes.
    fn line_len(&self, source: &str) -> usize {
        let places = self.context.iter().map(|(span, _)| span).chain([&self.span]);
        let len = |span: &Span| {
            let Range { start, end } = clamped(*span, source);
            let before = source[..start].rfind('\n').map_or(start, |newline| start - newline);
            let after = source[end..].find('\n').unwrap_or(source.len() - end);
            before + (end - start) + after
        };
        places.map(len).max().unwrap_or(0)
    }

    fn report<'a>(&'a self, source: &'a str) -> Group<'a> {
        let level = match self.severity {
            Severity::Warning => Level::WARNING,
            Severity::Error => Level::ERROR,
        };
        let primary = AnnotationKind::Primary.span(clamped(self.span, source));
        let context = self.context.iter().map(|(span, label)| {
            AnnotationKind::Context.span(clamped(*span, source)).label(label.as_str())
        });
        let label = (!self.label.is_empty()).then_some(self.label.as_str());
        let snippet = Snippet::source(source)
            .path(&*self.file)
            .annotation(primary.label(label))
            .annotations(context);
        let group = level.primary_title(self.message.as_str()).element(snippet);
        group.elements(self.help.iter().map(|help| Level::HELP.message(help.as_str())))
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.one_line())
    }
}

/// Rendering with another text than the one parsed is the caller's mistake, but not worth a panic.
fn clamped(span: Span, source: &str) -> Range<usize> {
    let floor = |at: usize| source.floor_char_boundary(at.min(source.len()));
    floor(span.start)..floor(span.end.max(span.start))
}

/// A word as messages quote it: on one line, and not longer than a line.
#[must_use]
pub fn quoted(word: &str) -> Cow<'_, str> {
    if word.len() <= SHOWN_WORD_LEN && !word.contains(char::is_control) {
        return word.into();
    }
    let plain = |letter: char| if letter.is_control() { '?' } else { letter };
    let mut out: String = word.chars().take(SHOWN_WORD_LEN).map(plain).collect();
    if word.chars().nth(SHOWN_WORD_LEN).is_some() {
        out.push_str("...");
    }
    out.into()
}

/// Gathers what is wrong. What will not be shown is counted, and not made: garbage costs little,
/// however much it is.
#[derive(Debug, Default)]
pub struct Findings {
    kept: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
}

/// A point in time of some [`Findings`].
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    kept: usize,
    errors: usize,
    warnings: usize,
}

impl Findings {
    /// Takes the error that `make` makes.
    pub fn error(&mut self, make: impl FnOnce() -> Diagnostic) {
        if self.errors < SHOWN_MAX {
            self.kept.push(make());
        }
        self.errors += 1;
    }

    /// Takes the warning that `make` makes.
    pub fn warning(&mut self, make: impl FnOnce() -> Diagnostic) {
        if self.warnings < SHOWN_MAX {
            self.kept.push(make());
        }
        self.warnings += 1;
    }

    /// Whether there is an error among them.
    #[must_use]
    pub const fn has_error(&self) -> bool {
        self.errors > 0
    }

    /// Where they are now, for [`Findings::rewind`].
    #[must_use]
    pub const fn mark(&self) -> Mark {
        Mark { kept: self.kept.len(), errors: self.errors, warnings: self.warnings }
    }

    /// Forgets what was taken since.
    pub fn rewind(&mut self, to: Mark) {
        self.kept.truncate(to.kept);
        (self.errors, self.warnings) = (to.errors, to.warnings);
    }

    /// The findings to show, in the order of the text. Errors go before warnings where there is
    /// not room for all.
    #[must_use]
    pub fn finish(mut self) -> Found {
        let all = self.errors + self.warnings;
        if self.kept.len() > SHOWN_MAX {
            self.kept.sort_by_key(|d| d.severity != Severity::Error);
            self.kept.truncate(SHOWN_MAX);
        }
        self.kept.sort_by_key(|d| d.span.start);
        Found { rest: all - self.kept.len(), shown: self.kept }
    }
}

/// What was found wrong with a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// At most [`SHOWN_MAX`], in the order of the text.
    pub shown: Vec<Diagnostic>,
    /// How many more there are.
    pub rest: usize,
}

impl Found {
    /// A line for each, for a log.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.shown.iter().map(Diagnostic::one_line).chain(self.rest()).collect()
    }

    /// Each with the piece of `source` it is about.
    #[must_use]
    pub fn rendered(&self, source: &str, color: bool) -> Vec<String> {
        self.shown.iter().map(|d| d.render(source, color)).chain(self.rest()).collect()
    }

    fn rest(&self) -> Option<String> {
        (self.rest > 0).then(|| format!("{} more errors and warnings are not shown", self.rest))
    }
}

impl Deref for Found {
    type Target = [Diagnostic];

    fn deref(&self) -> &[Diagnostic] {
        &self.shown
    }
}
