//! Where names of labels are read from.

pub use crate::print::conntrack::LabelMap;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::{Arc, LazyLock};

const FILE: &str = "/etc/xtables/connlabel.conf";
/// Bytes; 128 labels take a few thousand.
const FILE_MAX: u64 = 1 << 20;

/// What the system's file says, or the number of the error. It is read once: files for `-R` ask on every line.
static SYSTEM: LazyLock<Result<Arc<LabelMap>, i32>> = LazyLock::new(|| read(Path::new(FILE)));

/// The system's, if it has any.
#[must_use]
pub fn of_system() -> Option<Arc<LabelMap>> {
    SYSTEM.clone().ok()
}

/// Reads a file, or the system's. A missing one is reported, and there are no names.
#[must_use]
pub fn load(path: Option<&Path>) -> Arc<LabelMap> {
    path.map_or_else(|| SYSTEM.clone(), read).unwrap_or_else(|errno| {
        eprintln!("nfct_labelmap_new: {}", super::failure::plain(errno));
        Arc::default()
    })
}

fn read(path: &Path) -> Result<Arc<LabelMap>, i32> {
    let errno = |error: io::Error| error.raw_os_error().unwrap_or_default();
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut text))
        .map_err(errno)?;
    if text.len() as u64 > FILE_MAX {
        return Err(libc::EFBIG);
    }
    Ok(Arc::new(LabelMap::parse(&String::from_utf8_lossy(&text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_labels_may_be_anything_but_endless() {
        assert_eq!(read(Path::new("/dev/zero")).unwrap_err(), libc::EFBIG);
        assert_eq!(read(Path::new("/nonexistent")).unwrap_err(), libc::ENOENT);
        assert!(read(&std::env::current_exe().unwrap()).is_err_and(|errno| errno == libc::EFBIG));
    }
}
