//! Files that the configuration names.

use crate::conf::diagnostic::Place;
use host::confine::files::Use;
use std::fmt;
use std::path::PathBuf;

/// A file, or what else lies at a path: a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// The keyword that names it.
    pub keyword: &'static str,
    /// The file's path.
    pub path: PathBuf,
    /// What the daemon does with it.
    pub used: Use,
    /// Where it is named; `None` where the keyword is not given.
    pub place: Option<Place>,
}

impl fmt::Display for NamedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "`{}`: {}", self.keyword, self.path.display())
    }
}
