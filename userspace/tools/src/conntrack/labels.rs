//! Where names of labels are read from.

pub use crate::print::conntrack::LabelMap;

use std::path::Path;
use std::sync::{Arc, LazyLock};

const FILE: &str = "/etc/xtables/connlabel.conf";

/// What the system's file says, or the number of the error. It is read once: files for `-R` ask on every line.
static SYSTEM: LazyLock<Result<Arc<LabelMap>, i32>> = LazyLock::new(|| read(Path::new(FILE)));

/// The system's, if it has any.
#[must_use]
pub fn of_system() -> Option<Arc<LabelMap>> {
    SYSTEM.clone().ok()
}

/// Reads a file, or the system's. Of a missing one it is told, and there are no names.
#[must_use]
pub fn load(path: Option<&Path>) -> Arc<LabelMap> {
    path.map_or_else(|| SYSTEM.clone(), read).unwrap_or_else(|errno| {
        eprintln!("nfct_labelmap_new: {}", super::failure::plain(errno));
        Arc::default()
    })
}

fn read(path: &Path) -> Result<Arc<LabelMap>, i32> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| error.raw_os_error().unwrap_or_default())?;
    Ok(Arc::new(LabelMap::parse(&text)))
}
