//! What holds where a keyword is not given: taken from the model ([`crate::conf::model`]), so that the documented
//! default is the one that holds.

use super::Value;
use crate::conf::model::{Facility, LogFile};

/// What holds where a keyword is not given.
#[derive(Clone, Copy, Debug)]
pub enum Standard {
    /// There is nothing to say: the keyword is required, opens a block, or adds to what others say.
    Unsaid,
    /// The model's value.
    Value(fn() -> Value),
    /// The model's value; where it has none, because something else decides, the rule in words.
    Rule(fn() -> Option<Value>, &'static str),
}

impl Standard {
    /// The model's value, if it has one.
    #[must_use]
    pub fn value(self) -> Option<Value> {
        match self {
            Self::Unsaid => None,
            Self::Value(value) => Some(value()),
            Self::Rule(value, _) => value(),
        }
    }

    /// For people: the value as it is written in the file, or the rule.
    #[must_use]
    pub fn text(self) -> Option<String> {
        let rule = if let Self::Rule(_, rule) = self { Some(rule.to_owned()) } else { None };
        self.value().map(|value| value.to_string()).or(rule)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<LogFile> for Value {
    fn from(file: LogFile) -> Self {
        match file {
            LogFile::Off => Self::Bool(false),
            LogFile::To(path) => Self::Path(path),
        }
    }
}

impl From<Option<Facility>> for Value {
    fn from(facility: Option<Facility>) -> Self {
        match facility {
            None => Self::Bool(false),
            Some(Facility::Daemon) => Self::Name("daemon".to_owned()),
            Some(Facility::Local(n)) => Self::Name(format!("local{n}")),
        }
    }
}
