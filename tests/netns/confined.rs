//! The daemon reaches the directories of the files that its configuration names and nothing else (landlock), in each of
//! its threads. `cargo xtask test vm` runs this on older kernels too.

use host::confine::files::{Allowed, Enforced};
use std::fs;
use std::path::Path;
use std::thread;
use tests::daemon::Daemon;
use tests::solo::{Solo, solo};
use tests::wait::wait_until;

const READ: &str = "the configuration was read again";
const REFUSED: &str = "the configuration is not valid: nothing was changed";
const OUT_OF_REACH: &str = "lies in none of the directories that the daemon began with";

/// Whether this kernel has landlock.
fn has_landlock() -> bool {
    let thread = thread::spawn(|| Allowed::default().restrict_self(false));
    thread.join().expect("it ends well").expect("it takes the rules") == Enforced::Yes
}

/// The daemon says that it is confined, or in one line that this kernel cannot.
fn is_confined(daemon: &Daemon<'_>) -> bool {
    let log = daemon.log();
    let confined = log.lines().filter(|line| line.contains("(landlock)")).count();
    let logged = log.lines().filter(|line| line.contains("this kernel has no landlock")).count();
    assert_eq!((confined, logged), if has_landlock() { (1, 0) } else { (0, 1) }, "{log}");
    confined == 1
}

#[test]
fn a_reload_that_names_a_file_elsewhere_says_so_and_the_daemon_goes_on() {
    let (stage, other) = (Solo::new(), tempfile::tempdir().expect("there is room"));
    let text = solo("") + "Metrics {\n Listen @.http\n}\n";
    let daemon = stage.ours("a", &text);
    if !is_confined(&daemon) {
        return;
    }
    let text = daemon.file("conf");
    let at = |name: &str| other.path().join(name).display().to_string();
    let conf = daemon.path("conf").display().to_string();
    // Where the keyword stands that names a path: before it.
    let place = |keyword: &str, path: &str| {
        let at = text.find(path).expect("it is named");
        let at = text[..at].rfind(keyword).expect("by its keyword");
        let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
        format!("{conf}:{}:{}", text[..at].matches('\n').count() + 1, at - line + 1)
    };
    for (old, keyword, name) in [
        (".log", "LogFile", "b.log"),
        (".records", "LogFile", "b.records"),
        (".lock", "LockFile", "b.lock"),
        (".sock", "Path", "b.sock"),
        (".http", "Listen", "b.http"),
    ] {
        let path = daemon.path(&old[1..]).display().to_string();
        let new = text.replace(&format!("{path}\n"), &format!("{}\n", at(name)));
        assert_ne!(new, text, "{old} is named");
        daemon.reload(&new, REFUSED);
        let lines = daemon.log();
        let said =
            lines.lines().rev().find(|line| line.contains(OUT_OF_REACH)).expect("it is logged");
        let logged = format!("{}: `{keyword}`: {}", place(keyword, &path), at(name));
        assert!(said.contains(&logged), "{said}: not {logged}");
        assert!(!other.path().join(name).exists());
    }
    // Beside the old one there is room for others, and for a new file of an old name.
    fs::rename(daemon.path("log"), daemon.path("log.1")).expect("logrotate does so");
    daemon.reload(&text.replace("a.lock", "other.lock").replace("a.http", "other.http"), READ);
    wait_until("a new log", || daemon.path("log").exists());
    for name in ["other.lock", "other.http"] {
        wait_until("it is made", || stage.files.path().join(name).exists());
    }
    wait_until("the old one is removed", || !daemon.path("lock").exists());
    assert_eq!(daemon.status()["events"]["lost"], 0);
}

#[cfg(target_arch = "x86_64")]
mod threads {
    use super::*;
    use nix::sys::ptrace;
    use nix::sys::wait::{WaitPidFlag, waitpid};
    use nix::unistd::Pid;
    use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
    use tests::daemon::run_ours;

    /// Where the process has an instruction that enters the kernel: the vDSO falls back on one. A thread that runs may
    /// stand anywhere, so its own place is none to take the instruction from.
    fn kernel_entry(pid: u32) -> u64 {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("it runs");
        let vdso = maps.lines().find(|line| line.ends_with("[vdso]")).expect("it has one");
        let range = vdso.split(' ').next().and_then(|range| range.split_once('-'));
        let [from, to] = range.map_or([""; 2], |(from, to)| [from, to]);
        let [from, to] = [from, to].map(|at| u64::from_str_radix(at, 16).expect("an address"));
        let mut code = vec![0; (to - from) as usize];
        let memory = fs::File::open(format!("/proc/{pid}/mem")).expect("we are root");
        memory.read_exact_at(&mut code, from).expect("it is mapped");
        let at = code.windows(2).position(|two| two == [0x0f, 0x05]).expect("it falls back");
        from + at as u64
    }

    /// Has a thread of another process call `openat(2)` at `entry`; its answer. The thread goes on where it was.
    fn open_in(thread: i32, entry: u64, path: &str) -> i64 {
        let thread = Pid::from_raw(thread);
        let wait = || waitpid(thread, Some(WaitPidFlag::__WALL)).expect("it stops");
        ptrace::seize(thread, ptrace::Options::empty()).expect("we are root");
        ptrace::interrupt(thread).expect("it is ours");
        wait();
        let before = ptrace::getregs(thread).expect("it stands still");
        // Below what the thread has on its stack, and may have below that (128 bytes, x86-64's ABI).
        let at = (before.rsp - 4096) & !15;
        let bytes = path.bytes().chain([0; 8]).collect::<Vec<_>>();
        for (word, bytes) in bytes.chunks_exact(8).enumerate() {
            let value = i64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
            let address = (at + word as u64 * 8) as ptrace::AddressType;
            ptrace::write(thread, address, value).expect("it is its stack");
        }
        let mut call = before;
        call.rip = entry;
        (call.rax, call.orig_rax) = (libc::SYS_openat as u64, u64::MAX);
        (call.rdi, call.rsi) = (libc::AT_FDCWD as i64 as u64, at);
        (call.rdx, call.r10) = (libc::O_RDONLY as u64, 0);
        ptrace::setregs(thread, call).expect("it stands still");
        ptrace::step(thread, None).expect("it stands still");
        wait();
        let answer = ptrace::getregs(thread).expect("it stands still").rax as i64;
        ptrace::setregs(thread, before).expect("it stands still");
        ptrace::detach(thread, None).expect("it goes on");
        answer
    }

    /// What each thread of the process answers, with its name.
    fn open_in_each(pid: u32, path: &Path) -> Vec<(String, i64)> {
        let (path, entry) = (path.to_str().expect("text"), kernel_entry(pid));
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
        let tasks = tasks.map(|task| task.expect("it is there"));
        tasks
            .map(|task| {
                let name = fs::read_to_string(task.path().join("comm")).expect("it has a name");
                let thread = task.file_name().to_str().and_then(|n| n.parse().ok());
                (name.trim().to_owned(), open_in(thread.expect("a number"), entry, path))
            })
            .collect()
    }

    fn each_is_confined(general: &str) {
        let (stage, other) = (Solo::new(), tempfile::tempdir().expect("there is room"));
        fs::set_permissions(stage.files.path(), fs::Permissions::from_mode(0o1777)).expect("ours");
        let (open_to_all, elsewhere) = (fs::Permissions::from_mode(0o755), other.path());
        fs::set_permissions(elsewhere, open_to_all).expect("it is ours");
        fs::write(elsewhere.join("file"), "for all").expect("it is ours");
        let feed = "Subscribe {\n Path @.feed\n Group root\n}\n";
        stage.write("a", &(solo(general) + feed));
        let conf = stage.files.path().join("a.conf");
        fs::set_permissions(&conf, fs::Permissions::from_mode(0o644)).expect("it is ours");
        let words = conf.to_str().expect("text");
        assert!(run_ours(&stage.node, &["-d", "-C", words]).status.success());
        let pid = fs::read_to_string(stage.files.path().join("a.lock")).expect("it is signed");
        let pid: u32 = pid.trim().parse().expect("a process id");
        let log = fs::read_to_string(stage.files.path().join("a.log")).expect("there is one");
        if has_landlock() {
            assert!(log.contains("(landlock)"), "{log}");
            let can = open_in_each(pid, &conf);
            // The main thread, the shard, the log's, the feed's.
            assert!(can.len() >= 4, "{can:?}");
            assert!(can.iter().all(|(_, answer)| *answer >= 0), "the configuration: {can:?}");
            let others = [Path::new("/etc/shadow").to_owned(), elsewhere.join("file")];
            // A guest has no users.
            for path in others.iter().filter(|path| path.exists()) {
                let cannot = open_in_each(pid, path);
                let refused = -i64::from(libc::EACCES);
                assert!(
                    cannot.iter().all(|(_, answer)| *answer == refused),
                    "{}: {cannot:?}",
                    path.display()
                );
            }
        }
        assert!(run_ours(&stage.node, &["-C", words, "-s"]).status.success(), "it goes on");
        assert!(run_ours(&stage.node, &["-C", words, "-k"]).status.success());
        wait_until("it is gone", || !Path::new(&format!("/proc/{pid}")).exists());
        assert!(!stage.files.path().join("a.lock").exists(), "what it made, it removes");
        assert!(!stage.files.path().join("a.sock").exists());
    }

    #[test]
    fn no_thread_of_a_daemon_in_the_background_opens_what_is_not_named() {
        each_is_confined("User root");
    }

    #[test]
    fn no_thread_of_a_daemon_that_is_nobody_opens_what_is_not_named() {
        each_is_confined("EventSource tap\n User nobody\n Shards 2");
    }
}
