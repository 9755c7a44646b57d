//! One of the twins: a namespace, a program, and what it did.

use crate::script::{Line, words};
use ctnetlink::Flow;
use host::listing::kernel_flows;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;
use tests::ctnetlink::Requests;
use tests::expect;
use tests::netns::{Namespace, enter_empty, feed, nft, run, sysctl};
use tests::wait::{wait_for, wait_until};

/// What a command line did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    /// Exit code; -1 for a signal.
    pub(crate) exit: i32,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
    /// The flows afterwards, one a line, in a form of our own that leaves nothing out.
    pub(crate) table: String,
}

impl Done {
    /// `exit`, `stdout`, `stderr` or `table`, as lines.
    pub(crate) fn aspect(&self, name: &str) -> String {
        match name {
            "exit" => format!("{}\n", self.exit),
            "stdout" => self.stdout.clone(),
            "stderr" => self.stderr.clone(),
            _ => format!("{}\n", self.table),
        }
    }
}

/// A namespace and the program that is tried in it.
#[derive(Debug)]
pub(crate) struct Side {
    program: PathBuf,
    namespace: Namespace,
    folder: TempDir,
}

impl Side {
    /// A side with an empty table. Flows are counted and stamped there, and have room for labels.
    pub(crate) fn new(program: PathBuf) -> Self {
        let namespace = std::thread::spawn(|| {
            enter_empty();
            sysctl("net/netfilter/nf_conntrack_acct", "1");
            sysctl("net/netfilter/nf_conntrack_timestamp", "1");
            nft(
                "table inet t { chain c { type filter hook output priority 0; ct label set 1; }; }",
            );
            Namespace::current()
        });
        let namespace = namespace.join().expect("a namespace can be made");
        Self { program, namespace, folder: tempfile::tempdir().expect("a folder") }
    }

    /// Makes the table that of `tables/NAME.txt`, or, for `expect`, flows with expectations.
    pub(crate) fn prepare(&self, table: &str) {
        self.namespace.within(|| {
            run("conntrack", &["-F"]);
            run("conntrack", &["-F", "expect"]);
            let path = format!("{}/cli/tables/{table}.txt", env!("CARGO_MANIFEST_DIR"));
            let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
            // Version 1.4.7 dies of labels in a file.
            let (alone, together): (Vec<&str>, Vec<&str>) =
                text.lines().partition(|line| line.contains("--label"));
            feed("conntrack", &["-R", "-"], &(together.join("\n") + "\n"));
            for line in alone {
                run("conntrack", &line.split(' ').collect::<Vec<_>>());
            }
        });
        if table == "expect" {
            let mut requests = Requests::open(&self.namespace);
            requests.create(&[expect::irc()]);
            requests.expect(&[expect::data(5000), expect::data(5001), expect::data(5002)]);
        }
    }

    /// Runs a command line.
    pub(crate) fn run(&self, line: &Line) -> Done {
        let given = line.given().unwrap_or_default();
        let file = self.path("given");
        fs::write(&file, &given).expect("a file can be written");
        let name = file.to_str().expect("temporary files have plain names");
        let args: Vec<_> = line.words().iter().map(|word| word.replace("%file", name)).collect();
        let mut done = self.namespace.within(|| {
            let mut child = self.start(&args, &file);
            if line.listens() {
                self.listen(&mut child, &given);
            }
            self.end(&mut child)
        });
        done.stdout = done.stdout.replace(name, "%file");
        done.stderr = done.stderr.replace(name, "%file");
        done.table = self.table();
        done
    }

    /// Runs the program with these words as arguments, for tests that look at the output themselves.
    pub(crate) fn output(&self, args: &str, stdin: &str) -> Done {
        let file = self.path("given");
        fs::write(&file, stdin).expect("a file can be written");
        self.namespace.within(|| {
            let mut child = self.start(&words(args), &file);
            self.end(&mut child)
        })
    }

    /// What a command line writes to both streams, which are one.
    pub(crate) fn merged(&self, args: &str, stdin: &str) -> String {
        fs::write(self.path("given"), stdin).expect("a file can be written");
        let both = File::create(self.path("both")).expect("a file can be made");
        let clone = both.try_clone().expect("a descriptor can be copied");
        self.within(|| {
            let mut command = self.command(&words(args), &self.path("given"));
            command.stdout(both).stderr(clone).status().expect("the program starts")
        });
        fs::read_to_string(self.path("both")).expect("a text")
    }

    /// Runs a command line whose standard output goes into `out`.
    pub(crate) fn writing_to(&self, args: &str, out: Stdio) -> Output {
        let given = self.path("given");
        fs::write(&given, "").expect("a file can be written");
        let mut command = self.command(&words(args), &given);
        command.stdout(out).stderr(Stdio::piped());
        self.within(|| command.output().expect("the program starts"))
    }

    /// Starts the program, and waits until it listens to events.
    pub(crate) fn listening(&self, args: &[String]) -> Child {
        let out = File::create(self.path("stdout")).expect("a file can be made");
        self.listening_into(args, out.into())
    }

    /// Starts a listener with another standard output.
    pub(crate) fn listening_into(&self, args: &[String], out: Stdio) -> Child {
        let given = self.path("given");
        fs::write(&given, "").expect("a file can be written");
        let err = File::create(self.path("stderr")).expect("a file can be made");
        let mut command = self.command(args, &given);
        command.stdout(out).stderr(err);
        self.namespace.within(|| {
            let mut child = command.spawn().expect("the program starts");
            wait_until("the program listens", || {
                let ended = child.try_wait().expect("it is our child");
                assert_eq!(ended, None, "it has ended");
                !listeners().is_empty() && sleeps(child.id())
            });
            child
        })
    }

    /// Waits until a listener has nothing left to show.
    pub(crate) fn heard(&self, pid: u32) {
        let mut quiet = 0;
        self.namespace.within(|| {
            wait_until("all events were heard", || {
                let idle = listeners().iter().all(|waiting| *waiting == 0) && sleeps(pid);
                quiet = if idle { quiet + 1 } else { 0 };
                quiet > 2
            });
        });
    }

    /// Ends a listener, as people do.
    pub(crate) fn interrupt(&self, child: &mut Child) -> Done {
        kill_process(Pid::from_child(child), Signal::INT).expect("it is our child");
        self.end(child)
    }

    /// The namespace that it works in.
    pub(crate) const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Where the program is.
    pub(crate) fn program(&self) -> String {
        self.program.display().to_string()
    }

    /// Does something in its namespace.
    pub(crate) fn within<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.namespace.within(work)
    }

    /// What `ss` says of the netlink sockets there.
    pub(crate) fn ss(&self) -> String {
        let output = self.namespace.within(|| {
            Command::new("ss").args(["-f", "netlink", "-m", "-n"]).output().expect("ss starts")
        });
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What a terminal shows of a command line; `setting` is a variable of the environment.
    pub(crate) fn on_terminal(&self, args: &str, setting: &str) -> String {
        let line = format!("{} {args}", self.program.display());
        let output = self.namespace.within(|| {
            let mut command = Command::new("env");
            command.args(["-u", "NO_COLOR", "TERM=xterm", setting, "script", "-qec", &line]);
            command.arg("/dev/null").stdin(Stdio::null());
            command.output().expect("script of util-linux starts")
        });
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The kernel's flows and expectations, lifetimes masked as seconds are.
    pub(crate) fn table(&self) -> String {
        let mut flows = Vec::new();
        self.namespace.within(|| {
            kernel_flows(|piece| {
                flows.extend(piece);
                true
            })
            .expect("the kernel shows its flows");
        });
        let mut lines: Vec<String> = flows.into_iter().map(shown).collect();
        lines.sort();
        lines.extend(expect::lines(&self.namespace));
        lines.join("\n")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[String], stdin: &Path) -> Command {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new(&self.program);
        command.arg0("conntrack").args(args).env("LC_ALL", "C").env("TZ", "UTC");
        command.stdin(File::open(stdin).expect("the file was written"));
        command
    }

    fn start(&self, args: &[String], stdin: &Path) -> Child {
        let create = |name| Stdio::from(File::create(self.path(name)).expect("a file can be made"));
        let mut command = self.command(args, stdin);
        let command = command.stdout(create("stdout")).stderr(create("stderr"));
        command.spawn().unwrap_or_else(|e| panic!("{}: {e}", self.program.display()))
    }

    fn end(&self, child: &mut Child) -> Done {
        let status = wait_for("the program ends", || child.try_wait().expect("it is our child"));
        let read = |name| {
            let bytes = fs::read(self.path(name)).expect("the file was made");
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (stdout, stderr) = (read("stdout"), read("stderr"));
        Done { exit: status.code().unwrap_or(-1), stdout, stderr, table: String::new() }
    }

    /// Runs `given` once the program listens, and interrupts the program when it has received the events.
    fn listen(&self, child: &mut Child, given: &str) {
        let mut ended = || child.try_wait().expect("it is our child").is_some();
        wait_until("the program listens", || ended() || !listeners().is_empty());
        if ended() {
            return;
        }
        for line in given.lines() {
            // Whether it does anything is not the question here.
            let _ = Command::new("conntrack").args(words(line)).output().expect("conntrack starts");
        }
        self.heard(child.id());
        let pid = Pid::from_child(child);
        kill_process(pid, Signal::INT).expect("it is our child");
    }
}

/// Bytes that wait at each socket of the calling thread's namespace that listens to netfilter's events.
fn listeners() -> Vec<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/netlink").expect("proc is there");
    let rows = text.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    let ours = rows.filter(|row| row[1] == "12" && row[3] != "00000000");
    ours.filter_map(|row| row[4].parse().ok()).collect()
}

/// Whether a process waits for something.
fn sleeps(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'))
}

/// A flow with all that a request can set, its lifetime where masks look for it.
fn shown(mut flow: Flow) -> String {
    let timeout_s = flow.timeout_s;
    flow.drop_volatile();
    (flow.id, flow.timeout_s) = (0, 0);
    format!("-t {timeout_s} {flow:?}")
}
