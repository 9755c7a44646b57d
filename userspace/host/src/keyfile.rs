//! Key files (`replication-v2.md`, R4.1): 44 characters of base64 and a line end, mode 0600, never overwritten.

use crate::secure::{KeyError, PublicKey, Random, Secret};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustix::fs::{Mode, OFlags, fchmod, open};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Longest key file that is read: a key, and white space around it.
const LEN_MAX: usize = 256;
/// Mode bits that give other users access.
const OTHERS: u32 = 0o077;
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Why a key file was not made or not read.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is one already.
    #[error("{}: there is a file already, and a key is never overwritten", .0.display())]
    Exists(PathBuf),
    /// There is none.
    #[error("{}: no such file (make one: ctflow key generate {})", .0.display(), .0.display())]
    Missing(PathBuf),
    /// There is something else.
    #[error("{path}: {1}", path = .0.display())]
    Kind(PathBuf, &'static str),
    /// Others than its owner have rights.
    #[error("{path} has mode {1:04o}, expected 0600", path = .0.display())]
    Mode(PathBuf, u32),
    /// The file holds no key.
    #[error("{path}: {1}", path = .0.display())]
    Key(PathBuf, KeyError),
    /// The file holds more than a key.
    #[error("{}: a key has 44 characters, this has more than {LEN_MAX}", .0.display())]
    Long(PathBuf),
    /// The system refuses.
    #[error("{path}: {1}", path = .0.display())]
    Io(PathBuf, io::Error),
}

/// The system's random bytes, for [`crate::secure::Secure`].
#[must_use]
pub fn random() -> Random {
    let system = SystemRandom::new();
    // getrandom(2) fails on no kernel that we run on: it is asked for few bytes, and /dev/urandom stands in.
    Box::new(move |bytes| system.fill(bytes).expect("the system has random bytes"))
}

/// A new secret key.
#[must_use]
pub fn draw() -> Secret {
    let mut bytes = Zeroizing::new([0; 32]);
    random()(&mut *bytes);
    Secret::new(*bytes)
}

/// Writes a secret into a new file that only its owner can read, whatever the umask is.
///
/// # Errors
/// When something is at this path, be it a link to nothing; or as `open(2)`, `write(2)`. No half file is left.
pub fn create(path: &Path, secret: &Secret) -> Result<(), KeyFileError> {
    let io = |error: io::Error| KeyFileError::Io(path.to_owned(), error);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = open(path, flags, PRIVATE).map_err(|error| match error {
        Errno::EXIST => KeyFileError::Exists(path.to_owned()),
        error => io(error.into()),
    })?;
    // The umask may have taken away more than others' rights.
    let written = fchmod(&fd, PRIVATE).map_err(io::Error::from).and_then(|()| {
        let mut file = File::from(fd);
        file.write_all(secret.to_text().as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()
    });
    written.map_err(|error| {
        let _ = std::fs::remove_file(path);
        io(error)
    })
}

/// Reads a secret key. It follows no link and waits for no other process.
///
/// # Errors
/// When there is no file, one that others have rights to, or no key in it.
pub fn read(path: &Path) -> Result<Secret, KeyFileError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let kind = |why| KeyFileError::Kind(path.to_owned(), why);
    let fd = open(path, flags, Mode::empty()).map_err(|error| match error {
        Errno::NOENT => KeyFileError::Missing(path.to_owned()),
        Errno::LOOP => kind("there is a symbolic link, which is not followed"),
        error => KeyFileError::Io(path.to_owned(), error.into()),
    })?;
    let file = File::from(fd);
    let found = file.metadata().map_err(|error| KeyFileError::Io(path.to_owned(), error))?;
    if !found.is_file() {
        return Err(kind("there is something else than a file"));
    }
    if found.mode() & OTHERS != 0 {
        return Err(KeyFileError::Mode(path.to_owned(), found.mode() & 0o7777));
    }
    parse(path, file)
}

/// Reads a secret key from a stream; `name` is what errors call it.
///
/// # Errors
/// When it is no key.
pub fn parse(name: &Path, from: impl io::Read) -> Result<Secret, KeyFileError> {
    let io = |error| KeyFileError::Io(name.to_owned(), error);
    // With room for all that is read, so that no copy is left behind when it grows.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LEN_MAX + 32));
    from.take(LEN_MAX as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() > LEN_MAX {
        return Err(KeyFileError::Long(name.to_owned()));
    }
    let not_text = |_| io(io::Error::new(ErrorKind::InvalidData, "this is not text"));
    let text = std::str::from_utf8(&bytes).map_err(not_text)?;
    Secret::parse(text).map_err(|error| KeyFileError::Key(name.to_owned(), error))
}

/// Makes a key pair: the secret one into a new file; returns the public one.
///
/// # Errors
/// As [`create`].
pub fn generate(path: &Path) -> Result<PublicKey, KeyFileError> {
    let secret = draw();
    create(path, &secret)?;
    Ok(secret.public())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn said<T: std::fmt::Debug>(
        outcome: Result<T, KeyFileError>,
        folder: &tempfile::TempDir,
    ) -> String {
        let said = outcome.unwrap_err().to_string();
        said.replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn r4_1_a_key_file_is_private_and_holds_a_line() {
        let folder = folder();
        let path = folder.path().join("a.key");
        let public = generate(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!((text.len(), text.ends_with("=\n")), (45, true));
        assert_eq!(read(&path).unwrap().public(), public);
    }

    #[test]
    fn r4_1_nothing_is_overwritten_and_no_link_is_followed() {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a.key"), "mine").unwrap();
        symlink(at("elsewhere"), at("link")).unwrap();
        for name in ["a.key", "link"] {
            let wanted = format!("{name}: there is a file already, and a key is never overwritten");
            assert_eq!(said(generate(&at(name)), &folder), wanted);
        }
        assert_eq!(std::fs::read(at("a.key")).unwrap(), b"mine");
        assert!(!at("elsewhere").exists());
        generate(&at("elsewhere")).unwrap();
        let wanted = "link: there is a symbolic link, which is not followed";
        assert_eq!(said(read(&at("link")), &folder), wanted);
        let wanted = "no/such.key: No such file or directory (os error 2)";
        assert_eq!(said(generate(&at("no/such.key")), &folder), wanted);
    }

    #[test]
    fn r3_2_a_file_that_is_no_key_file_is_refused_with_the_reason() {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        let wanted = "no.key: no such file (make one: ctflow key generate no.key)";
        assert_eq!(said(read(&at("no.key")), &folder), wanted);
        let key = draw().to_text();
        let long = "x".repeat(300);
        for (text, mode, wanted) in [
            (key.as_str(), 0o644, "k has mode 0644, expected 0600"),
            (&key, 0o640, "k has mode 0640, expected 0600"),
            (&key[..43], 0o600, "k: a key has 44 characters, this has 43"),
            ("", 0o600, "k: a key has 44 characters, this has 0"),
            (&"!".repeat(44), 0o600, "k: this is not the base64 of a key"),
            (&long, 0o600, "k: a key has 44 characters, this has more than 256"),
        ] {
            std::fs::write(at("k"), text).unwrap();
            std::fs::set_permissions(at("k"), PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(said(read(&at("k")), &folder), wanted);
        }
        std::fs::write(at("k"), format!("\n {}\r\n", key.as_str())).unwrap();
        std::fs::set_permissions(at("k"), PermissionsExt::from_mode(0o400)).unwrap();
        assert!(read(&at("k")).is_ok(), "white space around it is no part of it");
        let wanted = "there is something else than a file";
        assert!(said(read(folder.path()), &folder).ends_with(wanted));
    }
}
