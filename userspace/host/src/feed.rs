//! What the feed needs of a machine: lanes from the shards, and a socket that members of a group may connect to.
//!
//! ```text
//!   engine.journal --Recorder--> lane of 64 blocks, 32 KiB each --> thread of the feed --> clients
//! ```

use crate::control;
use crate::lane::{Reader, Writer, lane};
use crate::privilege::{PrivilegeError, group_named};
use engine::Sink;
use rustix::fs::{Gid, Mode, chmod, chown};
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Blocks of a lane, and bytes in each: 2 MiB.
const BLOCKS: usize = 64;
const BLOCK_LEN: usize = 32 << 10;

/// Puts the records of a journal into a lane.
#[derive(Debug)]
pub struct Recorder(Writer);

/// Both ends of a lane for the changes of one table of one shard.
///
/// # Errors
/// As `eventfd(2)`.
pub fn recorder() -> io::Result<(Recorder, Reader)> {
    let (writer, reader): (Writer, Reader) = lane(BLOCKS, BLOCK_LEN)?;
    Ok((Recorder(writer), reader))
}

impl Sink for Recorder {
    fn put(&mut self, parts: [&[u8]; 2]) -> bool {
        self.0.put(parts)
    }

    fn hand_over(&mut self) {
        // What finds no block now goes with the next.
        let _ = self.0.hand_over();
    }
}

/// A socket that listens. Its path is removed when it goes.
#[derive(Debug)]
pub struct Socket {
    listener: Option<UnixListener>,
    path: PathBuf,
}

impl Socket {
    /// Listens at `path`: its mode, and the group that it belongs to, if it is another one than the process's.
    ///
    /// # Errors
    /// When a process serves that path, when the path is no socket, or when it cannot be bound.
    pub fn bind(path: &Path, mode: u32, group: Option<u32>) -> io::Result<Self> {
        if control::is_served(path) {
            return Err(io::Error::new(ErrorKind::AddrInUse, "another process serves it"));
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.exists()) {
            // `/run` is empty after a boot, so the daemon has to make its own directory there.
            DirBuilder::new().mode(0o755).create(parent)?;
        }
        let listener = UnixListener::from(control::listen_anew(path)?);
        let socket = Self { listener: Some(listener), path: path.to_owned() };
        // Only the owner may connect before mode and group are set.
        if let Some(group) = group {
            chown(path, None, Some(Gid::from_raw(group)))?;
        }
        chmod(path, Mode::from_raw_mode(mode))?;
        Ok(socket)
    }

    /// The listener, once.
    pub const fn take(&mut self) -> Option<UnixListener> {
        self.listener.take()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The number of a group of this machine, by name or number; `None` if there is none.
///
/// # Errors
/// When the group database cannot be read.
pub fn group(name: &str) -> Result<Option<u32>, PrivilegeError> {
    name.parse().map_or_else(|_| group_named(name), |number| Ok(Some(number)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    #[test]
    fn groups_are_found_by_name_and_number() {
        assert_eq!(group("root").unwrap(), Some(0));
        assert_eq!(group("roo").unwrap(), None);
        assert_eq!(group("nobody:odd").unwrap(), None);
        assert_eq!(group("12").unwrap(), Some(12));
    }

    #[test]
    fn a_socket_has_its_mode_and_nobody_takes_the_path_of_one_that_is_served() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made/feed.sock");
        let socket = Socket::bind(&path, 0o660, None).unwrap();
        let meta = fs::metadata(&path).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o660);
        assert!(meta.uid() == rustix::process::getuid().as_raw());
        assert_eq!(Socket::bind(&path, 0o660, None).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(socket);
        assert!(!path.exists());
        fs::write(&path, "").unwrap();
        assert_eq!(Socket::bind(&path, 0o660, None).unwrap_err().kind(), ErrorKind::AlreadyExists);
    }
}
