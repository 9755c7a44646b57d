//! What is wrong with a configuration, and where: one value that becomes a log line or an annotated snippet.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use std::fmt;
use std::sync::Arc;

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

/// How bad it is.
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
}

/// One thing to tell about a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
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
        Self { name: name.into(), text }
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

    /// The number of the line that holds byte `at`, from 1.
    #[must_use]
    pub fn line(&self, at: usize) -> usize {
        self.before(at).matches('\n').count() + 1
    }

    /// The word at `span`.
    #[must_use]
    pub fn word(&self, span: Span) -> &'a str {
        self.text.get(span.start..span.end).unwrap_or("")
    }

    fn before(&self, at: usize) -> &'a str {
        self.text.get(..at).unwrap_or(self.text)
    }

    fn diagnostic(&self, severity: Severity, span: Span, message: String) -> Diagnostic {
        let before = self.before(span.start);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Diagnostic {
            severity,
            file: Arc::clone(&self.name),
            span,
            message,
            label: String::new(),
            context: Vec::new(),
            help: None,
            line: self.line(span.start),
            column: before[line_start..].chars().count() + 1,
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

    /// The message with the piece of `source` it is about, over several lines.
    #[must_use]
    pub fn render(&self, source: &str, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[self.report(source)])
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
fn clamped(span: Span, source: &str) -> std::ops::Range<usize> {
    let floor = |at: usize| source.floor_char_boundary(at.min(source.len()));
    floor(span.start)..floor(span.end.max(span.start))
}
