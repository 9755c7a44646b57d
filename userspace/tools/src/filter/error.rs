//! What is wrong with a filter, and where.

use crate::conf::diagnostic::{Source, Span, quoted};
use std::fmt;
use std::path::PathBuf;

/// A fault in a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Brackets with nothing in them.
    Empty,
    /// Something else was expected.
    Unexpected {
        /// What stands there; nothing at the end.
        word: String,
        /// What could stand there.
        expected: &'static str,
    },
    /// A word that is not known.
    UnknownWord {
        /// The word.
        word: String,
        /// The known one that is most like it.
        nearest: Option<String>,
    },
    /// The word is no address.
    BadAddress(String),
    /// A prefix that is too long, or has bits set behind its length.
    BadPrefix {
        /// The word that was written.
        word: String,
        /// What was perhaps meant.
        nearest: Option<String>,
    },
    /// Neither a port nor the name of a service.
    BadPort {
        /// The word that was written.
        word: String,
        /// The service whose name is most like it.
        nearest: Option<String>,
    },
    /// The word is no number.
    BadNumber(String),
    /// A number that is too large, or a range that ends before it begins.
    OutOfRange {
        /// The word that was written.
        word: String,
        /// The possible values.
        limits: String,
    },
    /// A number with a unit that does not fit.
    BadUnit {
        /// The word that was written.
        word: String,
        /// The units that fit.
        units: &'static str,
    },
    /// `and` and `or` side by side.
    MixedAndOr,
    /// A bracket without its other half.
    Unbalanced,
    /// Too many levels.
    TooDeep,
    /// Too long: which limit.
    TooLong(&'static str),
    /// A range from one address family into the other.
    FamilyMixed(String),
    /// A file of values cannot be read, or a line of it not understood.
    SetUnreadable {
        /// Path of the file.
        path: PathBuf,
        /// Number of the line, from 1; 0 if it is the whole file.
        line: usize,
        /// The reason.
        why: String,
    },
    /// A file without values.
    SetEmpty(PathBuf),
    /// A test that can never be known.
    NotKnown(&'static str),
    /// What the options of `conntrack` are refused for.
    Option(String),
}

impl Kind {
    /// The word that programs know it by.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Unexpected { .. } => "unexpected",
            Self::UnknownWord { .. } => "unknown-word",
            Self::BadAddress(_) => "bad-address",
            Self::BadPrefix { .. } => "bad-prefix",
            Self::BadPort { .. } => "bad-port",
            Self::BadNumber(_) => "bad-number",
            Self::OutOfRange { .. } => "out-of-range",
            Self::BadUnit { .. } => "bad-unit",
            Self::MixedAndOr => "mixed-and-or",
            Self::Unbalanced => "unbalanced",
            Self::TooDeep => "too-deep",
            Self::TooLong(_) => "too-long",
            Self::FamilyMixed(_) => "family-mixed",
            Self::SetUnreadable { .. } => "set-unreadable",
            Self::SetEmpty(_) => "set-empty",
            Self::NotKnown(_) => "not-known",
            Self::Option(_) => "bad-option",
        }
    }

    /// What to do about it.
    fn help(&self) -> Option<String> {
        let meant = |nearest: &Option<String>| {
            nearest.as_ref().map(|nearest| format!("did you mean `{nearest}`?"))
        };
        match self {
            Self::UnknownWord { nearest, .. }
            | Self::BadPrefix { nearest, .. }
            | Self::BadPort { nearest, .. } => meant(nearest),
            Self::MixedAndOr => {
                Some("write parentheses: tcpdump and other languages disagree here".into())
            }
            Self::SetEmpty(_) => Some("--allow-empty takes it as a set that holds nothing".into()),
            Self::BadAddress(_) => Some("names of hosts are not looked up".into()),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("nothing between the brackets"),
            Self::Unexpected { word, expected } if word.is_empty() => {
                write!(f, "the filter ends where {expected} should be")
            }
            Self::Unexpected { word, expected } => {
                write!(f, "expected {expected}, not `{}`", quoted(word))
            }
            Self::UnknownWord { word, .. } => write!(f, "unknown word `{}`", quoted(word)),
            Self::BadAddress(word) => write!(f, "`{}` is not an address", quoted(word)),
            Self::BadPrefix { word, .. } => write!(f, "`{}` is not a prefix", quoted(word)),
            Self::BadPort { word, .. } => {
                write!(f, "`{}` is neither a port nor the name of a service", quoted(word))
            }
            Self::BadNumber(word) => write!(f, "`{}` is not a number", quoted(word)),
            Self::OutOfRange { word, limits } => {
                write!(f, "`{}` is out of range: {limits}", quoted(word))
            }
            Self::BadUnit { word, units } => {
                write!(f, "`{}` has no unit that fits: {units}", quoted(word))
            }
            Self::MixedAndOr => f.write_str("`and` and `or` without parentheses"),
            Self::Unbalanced => f.write_str("a bracket without its other half"),
            Self::TooDeep => f.write_str("more than 64 levels of brackets and `not`"),
            Self::TooLong(limit) => write!(f, "the filter is too long: more than {limit}"),
            Self::FamilyMixed(word) => {
                write!(f, "`{}` begins in one address family and ends in another", quoted(word))
            }
            Self::SetUnreadable { path, line: 0, why } => write!(f, "{}: {why}", path.display()),
            Self::SetUnreadable { path, line, why } => {
                write!(f, "{}:{line}: {why}", path.display())
            }
            Self::SetEmpty(path) => write!(f, "{} holds no values", path.display()),
            Self::NotKnown(why) => write!(f, "this can never be known: {why}"),
            Self::Option(why) => f.write_str(why),
        }
    }
}

/// An error and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The kind of mistake.
    pub kind: Kind,
    /// Where, in bytes of the text.
    pub span: Span,
}

impl Error {
    /// An error at a place.
    #[must_use]
    pub const fn new(kind: Kind, span: Span) -> Self {
        Self { kind, span }
    }

    /// Column in characters, from 1. `text` is what was parsed.
    #[must_use]
    pub fn column(&self, text: &str) -> usize {
        chars(text, 0, self.span.start) + 1
    }

    /// Length in characters.
    #[must_use]
    pub fn len(&self, text: &str) -> usize {
        chars(text, self.span.start, self.span.end)
    }

    /// The message with the piece of the text that it is about.
    #[must_use]
    pub fn render(&self, text: &str, color: bool) -> String {
        let diagnostic = Source::new("filter", text).error(self.span, self.kind.to_string());
        let diagnostic = match self.kind.help() {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        };
        diagnostic.render(text, color)
    }

    /// The message on one line, as sent over a socket.
    #[must_use]
    pub fn to_json(&self, text: &str) -> String {
        let (column, len) = (self.column(text), self.len(text));
        let error = serde_json::json!({
            "kind": self.kind.name(), "column": column, "len": len, "text": self.kind.to_string(),
        });
        serde_json::json!({ "error": error }).to_string()
    }
}

fn chars(text: &str, start: usize, end: usize) -> usize {
    let floor = |at: usize| text.floor_char_boundary(at.min(text.len()));
    text.get(floor(start)..floor(end)).map_or(0, |part| part.chars().count())
}

/// The candidate that is most like a word, if one is like it at all: few letters differ.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // A longer word is no mistyped one of ours.
    if word.chars().count() > 20 {
        return None;
    }
    let word = word.to_lowercase();
    let most = if word.chars().count() < 4 { 1 } else { 2 };
    let near = candidates.into_iter().map(|other| (distance(&word, other), other));
    near.min_by_key(|(far, _)| *far).filter(|(far, _)| *far <= most).map(|(_, other)| other.into())
}

/// Letters that must be put in, taken out or changed to make one word of another.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}
