use super::*;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread;

fn is_refused<T>(outcome: std::io::Result<T>) -> bool {
    outcome.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

/// In a thread of its own: nothing gives back what landlock takes. `None` where this kernel has no landlock.
fn confined<T: Send + 'static>(
    allowed: Allowed,
    may_run: bool,
    body: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let thread = thread::spawn(move || {
        let enforced = allowed.restrict_self(may_run).expect("the kernel takes the rules");
        (enforced == Enforced::Yes).then(body)
    });
    thread.join().expect("the thread ends well")
}

#[test]
fn each_use_gives_its_rights_in_its_directory_and_nothing_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["read", "log", "keep", "other"] {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join("there"), "before").unwrap();
    }
    let mut allowed = Allowed::default();
    allowed.add(&at("read/a.conf"), Use::Read);
    allowed.add(&at("log/a.log"), Use::Log);
    allowed.add(&at("keep/a.lock"), Use::Keep);
    let base = folder.path().to_owned();
    let body = move || {
        let at = |name: &str| base.join(name);
        assert_eq!(fs::read_to_string(at("read/there")).unwrap(), "before");
        assert!(is_refused(File::create(at("read/new"))));
        let append = |name: &str| OpenOptions::new().append(true).create(true).open(at(name));
        append("log/new").unwrap();
        assert!(is_refused(fs::remove_file(at("log/new"))));
        assert!(is_refused(UnixListener::bind(at("log/sock"))));
        fs::write(at("keep/new"), "written").unwrap();
        UnixListener::bind(at("keep/sock")).unwrap();
        fs::remove_file(at("keep/sock")).unwrap();
        assert!(is_refused(File::open(at("other/there"))));
        assert!(is_refused(append("other/new")));
        // Whatever the user may do.
        assert!(is_refused(File::open("/etc/shadow")));
        File::open("/etc/passwd").expect("the C library reads it");
        fs::read_to_string("/proc/sys/kernel/ostype").expect("settings of the kernel are read");
        assert!(is_refused(OpenOptions::new().write(true).open("/proc/sys/kernel/hostname")));
        assert!(is_refused(Command::new("/bin/true").status()));
        let inherited = thread::spawn(|| is_refused(File::open("/etc/shadow")));
        assert!(inherited.join().unwrap(), "a thread that it starts is confined too");
    };
    confined(allowed, false, body);
    File::open("/etc/shadow").expect("other threads are as they were");
}

#[test]
fn a_daemon_that_keeps_its_rights_runs_the_systems_programs() {
    confined(Allowed::default(), true, || {
        assert!(Command::new("/bin/true").status().expect("it may run").success());
    });
}

#[test]
fn what_is_allowed_is_known_without_trying() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("conf/below")).unwrap();
    fs::create_dir(at("elsewhere")).unwrap();
    fs::write(at("elsewhere/real"), "").unwrap();
    symlink(at("elsewhere/real"), at("conf/link")).unwrap();
    symlink(at("conf"), at("name-of-conf")).unwrap();
    let mut allowed = Allowed::default();
    allowed.add(&at("conf/a.log"), Use::Log);
    allowed.add(Path::new("/dev/null"), Use::Log);
    for (path, wanted, answer) in [
        (at("conf/other.log"), Use::Log, true),
        (at("conf/below/b.log"), Use::Log, true),
        (at("name-of-conf/b.log"), Use::Log, true),
        (at("conf/a.key"), Use::Read, true),
        (at("conf/a.lock"), Use::Keep, false),
        (at("conf/link"), Use::Read, false),
        (at("elsewhere/real"), Use::Read, false),
        (at("elsewhere/new"), Use::Log, false),
        ("/dev/null".into(), Use::Log, true),
        ("/dev/full".into(), Use::Log, false),
        ("/usr/share/zoneinfo/UTC".into(), Use::Read, true),
        ("/etc/shadow".into(), Use::Read, false),
    ] {
        assert_eq!(allowed.allows(&path, wanted), answer, "{} {wanted:?}", path.display());
    }
    allowed.add(&at("conf/link"), Use::Read);
    assert!(allowed.allows(&at("elsewhere/real"), Use::Read), "the link leads there");
}
