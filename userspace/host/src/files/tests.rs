use super::*;
use rustix::fs::mkfifoat;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

/// A directory that goes with the test.
fn place() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

const LOCK: Purpose = Purpose::Lock { owner: None };
const BOTH: [Purpose; 2] = [Purpose::Log, LOCK];

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Both the open and the look say this of the path.
fn refused(path: &Path, purpose: Purpose, words: &str) {
    for outcome in [open_for(path, purpose).map(drop), examine(path, purpose)] {
        let said = outcome.unwrap_err().to_string();
        assert!(said.contains(words), "{}: {said}", path.display());
    }
}

#[test]
fn what_is_created_only_its_owner_reads_and_what_exists_keeps_its_mode() {
    let dir = place();
    for purpose in BOTH {
        let path = dir.path().join(if purpose == LOCK { "lock" } else { "log" });
        open_for(&path, purpose).unwrap();
        assert_eq!(mode(&path), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        open_for(&path, purpose).unwrap();
        assert_eq!(mode(&path), 0o640);
        examine(&path, purpose).unwrap();
    }
}

#[test]
fn links_of_both_kinds_are_refused_and_what_they_lead_to_stays() {
    let dir = place();
    let [precious, soft, dangling, hard] =
        ["precious", "soft", "dangling", "hard"].map(|name| dir.path().join(name));
    std::fs::write(&precious, "1\n").unwrap();
    symlink(&precious, &soft).unwrap();
    symlink(dir.path().join("nowhere"), &dangling).unwrap();
    std::fs::hard_link(&precious, &hard).unwrap();
    for purpose in BOTH {
        refused(&soft, purpose, "symbolic link");
        refused(&dangling, purpose, "symbolic link");
        refused(&hard, purpose, "hard links");
    }
    assert!(!dir.path().join("nowhere").exists());
    assert_eq!(std::fs::read_to_string(precious).unwrap(), "1\n");
}

#[test]
fn nothing_waits_for_a_fifo_and_directories_and_sockets_are_refused() {
    let dir = place();
    let fifo = dir.path().join("fifo");
    mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
    let socket = dir.path().join("socket");
    let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for purpose in BOTH {
        for path in [&fifo, &socket, dir.path()] {
            refused(path, purpose, "something else than a file");
        }
    }
    let _reader = open(&fifo, OFlags::RDWR, Mode::empty()).unwrap();
    refused(&fifo, Purpose::Log, "something else than a file");
}

#[test]
fn a_log_may_be_a_character_device_and_a_lock_may_not() {
    open_for(Path::new("/dev/null"), Purpose::Log).unwrap();
    examine(Path::new("/dev/full"), Purpose::Log).unwrap();
    refused(Path::new("/dev/null"), LOCK, "something else than a file");
}

#[test]
fn a_file_that_is_no_lock_file_is_not_overwritten() {
    let dir = place();
    let path = dir.path().join("passwd");
    std::fs::write(&path, "root:x:0:0:root:/root:/bin/bash\nbin:x:2:2:::\n").unwrap();
    refused(&path, LOCK, "no lock file");
}

#[test]
fn a_directory_that_does_not_exist_is_named_by_looking_too() {
    for purpose in BOTH {
        refused(&PathBuf::from("/nonexistent/file"), purpose, "No such file");
        refused(&PathBuf::from("/dev/null/file"), purpose, "Not a directory");
    }
}

#[test]
fn what_is_read_has_a_limit_and_a_pipe_without_writer_is_an_error() {
    let dir = place();
    let path = dir.path().join("file");
    std::fs::write(&path, vec![b' '; 1 << 20]).unwrap();
    assert_eq!(read(&path, 1 << 20).unwrap().len(), 1 << 20);
    std::fs::write(&path, vec![b' '; (1 << 20) + 1]).unwrap();
    assert!(read(&path, 1 << 20).unwrap_err().to_string().contains("longer than 1 MiB"));
    assert!(read(Path::new("/dev/zero"), 1 << 20).is_err());
    let fifo = dir.path().join("fifo");
    mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
    assert!(read(&fifo, 1 << 20).unwrap_err().to_string().contains("pipe"));
}

#[test]
fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.prom");
    for text in ["one", "another one"] {
        replace(&path, text.as_bytes(), 0o644).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o644);
    // A folder cannot be replaced by a file.
    let inner = folder.path().join("folder/x");
    std::fs::create_dir_all(&inner).unwrap();
    assert!(replace(&folder.path().join("folder"), b"x", 0o644).is_err());
    let names = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(names, 2, "the file and the folder");
}
