//! Where names of labels are read from.

pub use crate::print::conntrack::LabelMap;

use std::path::Path;

const FILE: &str = "/etc/xtables/connlabel.conf";

/// The system's, if it has any.
#[must_use]
pub fn of_system() -> Option<LabelMap> {
    Some(LabelMap::parse(&std::fs::read_to_string(FILE).ok()?))
}

/// Reads a file, or the system's. Of a missing one it is told, and there are no names.
#[must_use]
pub fn load(path: Option<&Path>) -> LabelMap {
    match std::fs::read_to_string(path.unwrap_or_else(|| Path::new(FILE))) {
        Ok(text) => LabelMap::parse(&text),
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or_default();
            eprintln!("nfct_labelmap_new: {}", super::failure::plain(errno));
            LabelMap::parse("")
        }
    }
}
