//! What keeps a second daemon from starting: a lock on the lock file, and one on the path of the
//! control socket.
//!
//! ```text
//!   LockFile /run/lock/conntrackd.lock           locked, holds the process id
//!   UNIX { Path /run/conntrackd.ctl }            the socket
//!                   /run/conntrackd.ctl.lock     locked: the holder may replace a dead socket
//! ```
//!
//! Both locks are the kernel's (`flock(2)`), not the files' existence: what a killed daemon leaves
//! behind is taken over. Both files are removed at the end.

use crate::control;
use crate::files::{self, Purpose};
use crate::privilege;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

/// Why a daemon may not run.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds the lock on the lock file.
    #[error("lock file {0} is held: another instance is running")]
    Held(PathBuf),
    /// Another process holds the lock on the control socket's path.
    #[error("control socket {0} is in use: another instance is running")]
    SocketHeld(PathBuf),
    /// A process listens on the control socket.
    #[error("a daemon answers on {0}: another instance is running")]
    Answering(PathBuf),
    /// The file cannot be opened.
    #[error("lock file {0}: {1}")]
    Io(PathBuf, io::Error),
}

/// The locks of a daemon, held while this lives.
#[derive(Debug)]
pub struct Locks {
    file: LockFile,
    /// `None` without a control socket, or where the lock file already lies at that path.
    socket: Option<LockFile>,
    control: Option<PathBuf>,
    /// The user besides root and this one whose lock files are taken over.
    owner: Option<u32>,
}

impl Locks {
    /// Takes the lock file at `path` and the lock on the control socket's path, if there is one.
    ///
    /// conntrack-tools' conntrackd uses the existence of the file as its lock, so a running one is detected by its
    /// control socket. A file that belongs to `owner`, root or this process's user is taken over.
    ///
    /// # Errors
    /// When another instance runs, or a file cannot be opened.
    pub fn take(
        path: &Path,
        control: Option<&Path>,
        owner: Option<u32>,
    ) -> Result<Self, LockError> {
        // Before anything is touched: its lock file is not ours to take.
        if let Some(control) = control.filter(|control| control::is_served(control)) {
            return Err(LockError::Answering(control.to_owned()));
        }
        let mut file = LockFile::take(path, owner)?;
        let socket = control.map(|control| lock_socket(control, path, owner)).transpose();
        if matches!(socket, Err(LockError::Answering(_))) {
            // The other daemon began to serve in between.
            file.owner = 0;
        }
        let socket = socket?.flatten();
        Ok(Self { file, socket, control: control.map(Path::to_owned), owner })
    }

    /// Takes other ones in place of those whose paths change. After an error all is as it was.
    ///
    /// # Errors
    /// As [`Locks::take`].
    pub fn change(&mut self, path: &Path, control: Option<&Path>) -> Result<(), LockError> {
        let moves = self.file.path != path;
        let file = if moves { Some(LockFile::take(path, self.owner)?) } else { None };
        if control != self.control.as_deref() {
            self.socket = match control {
                Some(control) => lock_socket(control, path, self.owner)?,
                None => None,
            };
            self.control = control.map(Path::to_owned);
        }
        if let Some(file) = file {
            self.file = file;
        }
        Ok(())
    }

    /// Writes the process id into the files; again after a fork.
    ///
    /// # Errors
    /// As `write(2)`.
    pub fn sign(&mut self) -> io::Result<()> {
        self.file.sign()?;
        self.socket.iter_mut().try_for_each(LockFile::sign)
    }

    /// Gives the files to user `uid` where that is what lets the user remove them: in directories with the sticky bit.
    ///
    /// # Errors
    /// As `fchown(2)`.
    pub fn give_to(&self, uid: u32) -> io::Result<()> {
        [Some(&self.file), self.socket.as_ref()]
            .into_iter()
            .flatten()
            .filter(|lock| lock.path.parent().is_some_and(privilege::is_sticky))
            .try_for_each(|lock| fchown(&lock.file, Some(uid), None))
    }
}

/// The file whose lock is that on the control socket's path.
#[must_use]
pub fn beside(control: &Path) -> PathBuf {
    let mut beside = control.as_os_str().to_owned();
    beside.push(".lock");
    beside.into()
}

/// The lock on the control socket's path, and whether no process listens there. `taken` is the lock file's path.
fn lock_socket(
    control: &Path,
    taken: &Path,
    owner: Option<u32>,
) -> Result<Option<LockFile>, LockError> {
    let beside = beside(control);
    let lock = if beside == taken {
        None
    } else {
        let lock = LockFile::take(&beside, owner).map_err(|error| match error {
            LockError::Held(_) => LockError::SocketHeld(control.to_owned()),
            other => other,
        });
        Some(lock?)
    };
    if control::is_served(control) {
        return Err(LockError::Answering(control.to_owned()));
    }
    Ok(lock)
}

/// A locked file, removed when this goes.
#[derive(Debug)]
struct LockFile {
    path: PathBuf,
    file: File,
    owner: u32,
}

impl LockFile {
    fn take(path: &Path, owner: Option<u32>) -> Result<Self, LockError> {
        let io = |e| LockError::Io(path.to_owned(), e);
        let file = loop {
            let file = files::open_for(path, Purpose::Lock { owner }).map_err(io)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(LockError::Held(path.to_owned())),
                Err(e) => return Err(io(e.into())),
            }
            // The former holder may have removed it between the two calls: then this is a lock on a file without
            // name, which excludes no other process.
            if is_at(&file, path).map_err(io)? {
                break file;
            }
        };
        let mut lock = Self { path: path.to_owned(), file, owner: 0 };
        lock.sign().map_err(io)?;
        Ok(lock)
    }

    fn sign(&mut self) -> io::Result<()> {
        self.owner = std::process::id();
        self.file.set_len(0)?;
        self.file.rewind()?;
        writeln!(self.file, "{}", self.owner)
    }
}

/// Whether the file is the one with this name.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (own.dev(), own.ino())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // The parent of a daemon holds a copy of this and must leave the file to its child. A file that another
        // process put at this path is left alone.
        if self.owner == std::process::id() && is_at(&self.file, &self.path).unwrap_or(false) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Bound;

    #[test]
    fn of_two_with_one_socket_and_two_lock_files_the_second_is_refused_before_the_first_listens() {
        let dir = tempfile::tempdir().unwrap();
        let [first, second, control] = ["1", "2", "ctl"].map(|name| dir.path().join(name));
        let locks = Locks::take(&first, Some(&control), None).unwrap();
        let refused = Locks::take(&second, Some(&control), None).unwrap_err();
        assert!(matches!(refused, LockError::SocketHeld(_)), "{refused}");
        assert!(!second.exists(), "the refused one leaves nothing behind");
        drop(locks);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        Locks::take(&second, Some(&control), None).unwrap();
    }

    #[test]
    fn a_listening_socket_refuses_even_where_its_lock_was_removed_and_a_dead_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let [lock, control] = ["lock", "ctl"].map(|name| dir.path().join(name));
        let bound = Bound::bind(&control).unwrap();
        let refused = Locks::take(&lock, Some(&control), None).unwrap_err();
        assert!(matches!(refused, LockError::Answering(_)), "{refused}");
        // As after kill -9: the path stays.
        drop(bound);
        assert!(control.exists());
        Locks::take(&lock, Some(&control), None).unwrap();
    }

    #[test]
    fn a_lock_file_that_lies_beside_the_socket_is_both() {
        let dir = tempfile::tempdir().unwrap();
        let control = dir.path().join("ctl");
        let lock = dir.path().join("ctl.lock");
        let _locks = Locks::take(&lock, Some(&control), None).unwrap();
        let refused = Locks::take(&dir.path().join("other"), Some(&control), None).unwrap_err();
        assert!(matches!(refused, LockError::SocketHeld(_)), "{refused}");
    }

    #[test]
    fn paths_change_while_it_is_held_and_stay_after_a_refusal() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b, x, y] = ["a", "b", "x", "y"].map(|name| dir.path().join(name));
        let mut locks = Locks::take(&a, Some(&x), None).unwrap();
        let other = Locks::take(&b, None, None).unwrap();
        assert!(locks.change(&b, Some(&y)).is_err());
        assert!(
            Locks::take(&a, None, None).is_err()
                && Locks::take(&dir.path().join("c"), Some(&x), None).is_err()
        );
        drop(other);
        locks.change(&b, Some(&y)).unwrap();
        assert!(!a.exists());
        Locks::take(&a, Some(&x), None).unwrap();
    }
}
