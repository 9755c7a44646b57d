//! What runs on a router: a conntrackd, and Debian's keepalived with the files of `contrib`.

use crate::network::{INSIDE, OUTSIDE, host, link_address};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tests::conf::{Conf, End};
use tests::daemon::{Brand, Daemon, Files};
use tests::mesh::Members;
use tests::netns::Namespace;
use tests::wait::wait_until;

/// How the routers are run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// The version of the protocol.
    pub(crate) version: u8,
    /// How many nodes there are.
    pub(crate) nodes: usize,
    /// The maker of conntrackd.
    pub(crate) brand: Brand,
    /// Whether flows of the peer go straight into the kernel (`DisableExternalCache`).
    pub(crate) inject: bool,
    /// Whether a gate keeps traffic out until the commit.
    pub(crate) gate: bool,
}

/// A running router.
pub(crate) struct Router<'a> {
    namespace: &'a Namespace,
    inject: bool,
    pub(crate) daemon: Daemon<'a>,
    /// The daemon that will take its place, which runs beside it.
    pub(crate) beside: Option<Daemon<'a>>,
    pub(crate) keepalived: Keepalived,
}

impl<'a> Router<'a> {
    /// Starts conntrackd and, without waiting for anything, keepalived.
    pub(crate) fn start(
        (namespace, at): (&'a Namespace, usize),
        (setup, members): (Setup, &Members),
        files: &Files,
        name: &str,
    ) -> Self {
        Self::start_when((namespace, at), (setup, members), files, name, |_| {})
    }

    /// As [`Router::start`], but keepalived starts when `wait` returns.
    pub(crate) fn start_when(
        (namespace, at): (&'a Namespace, usize),
        (setup, members): (Setup, &Members),
        files: &Files,
        name: &str,
        wait: impl FnOnce(&Daemon<'_>),
    ) -> Self {
        if setup.gate {
            // As at boot: shut before anything else happens.
            namespace.nft(&gate());
        }
        let text = match setup.version {
            1 => version_1(at, setup).text(files.path(), name),
            _ => members.conf((at, name), link_address, ("", "")),
        };
        let command = Command::new(setup.brand.program());
        fs::write(files.path().join(format!("{name}.conf")), text)
            .expect("a configuration is written");
        let daemon = Daemon::start_with(command, namespace, setup.brand, files, name);
        wait(&daemon);
        let keepalived = Keepalived::start((namespace, at), setup, &daemon, files, name);
        Self { namespace, inject: setup.inject, daemon, beside: None, keepalived }
    }

    /// Starts ours over version 2 beside the daemon that runs; it is called `name`.
    pub(crate) fn start_beside(&mut self, at: usize, members: &Members, files: &Files, name: &str) {
        let text = members.conf((at, name), link_address, ("", ""));
        fs::write(files.path().join(format!("{name}.conf")), text)
            .expect("a configuration is written");
        let command = Command::new(Brand::Ours.program());
        let beside = Daemon::start_with(command, self.namespace, Brand::Ours, files, name);
        self.beside = Some(beside);
    }

    /// From here on keepalived's scripts ask the daemon that runs beside, which becomes the one that counts.
    pub(crate) fn switch(&mut self) {
        if let Some(beside) = &mut self.beside {
            std::mem::swap(&mut self.daemon, beside);
        }
        self.keepalived.ask_of(&self.daemon);
    }

    /// The daemon that runs beside ends.
    pub(crate) fn stop_beside(&mut self) {
        if let Some(beside) = self.beside.take() {
            let _ = beside.ask(&["-k"]);
        }
    }

    /// Whether it carries the traffic.
    pub(crate) fn has_addresses(&self) -> bool {
        let addresses = self.namespace.sh("ip -4 -oneline address show");
        [INSIDE, OUTSIDE].iter().all(|address| addresses.contains(&format!(" {address}/")))
    }

    /// Open connections of the other router that it knows.
    pub(crate) fn replicas(&self) -> usize {
        let text = if self.inject {
            self.namespace.sh("conntrack -L -p tcp --state ESTABLISHED")
        } else {
            self.daemon.ask(&["-e"])
        };
        text.lines().filter(|flow| flow.contains("ESTABLISHED")).count()
    }

    /// How its daemon stands, as JSON.
    pub(crate) fn state(&self) -> String {
        self.daemon.ask(&["-s", "json"])
    }

    /// Waits until it has taken the addresses and done everything a new primary does.
    pub(crate) fn wait_primary(&self) {
        wait_until("it takes the addresses", || self.has_addresses());
        wait_until("its script ends", || self.keepalived.said("conntrackd -B"));
    }

    /// The logs, for the text of a failure.
    pub(crate) fn logs(&self) -> String {
        format!("{}{}{}", self.daemon.log(), self.keepalived.log(), self.keepalived.script_log())
    }

    /// Ends everything at once and without warning.
    pub(crate) fn die(mut self) {
        self.daemon.kill_hard();
        self.beside.iter_mut().for_each(Daemon::kill_hard);
        self.keepalived.kill_hard();
    }
}

/// keepalived, its VRRP process and what it logs.
pub(crate) struct Keepalived {
    child: Child,
    folder: PathBuf,
}

impl Keepalived {
    fn start(
        (namespace, at): (&Namespace, usize),
        setup: Setup,
        daemon: &Daemon<'_>,
        files: &Files,
        name: &str,
    ) -> Self {
        let folder = files.path().join(format!("{name}.keepalived"));
        fs::create_dir(&folder).expect("a directory for keepalived");
        let file = |name: &str| folder.join(name);
        // As root installs it: keepalived runs no script that another user could change.
        let script = fs::read_to_string(contrib("primary-backup.sh")).expect("the file is there");
        executable(&file("primary-backup.sh"), &script);
        let conf = configuration((at, setup.nodes), &file("primary-backup.sh"));
        fs::write(file("conf"), conf).expect("a configuration is written");
        fs::write(file("gate.nft"), gate()).expect("a gate is written");
        executable(&file("logger"), &logger(&file("script.log")));
        ask_of(&folder, daemon);
        let log = File::create(file("log")).expect("a log file");
        let mut command = Command::new("keepalived");
        command.arg("-f").arg(file("conf")).args(["--vrrp", "--dont-fork", "--log-console"]);
        command.args(["--log-detail", "--no-syslog"]);
        command.arg("-p").arg(file("pid")).arg("-r").arg(file("vrrp.pid"));
        command.arg("-c").arg(file("checkers.pid"));
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", folder.display()));
        command.env("CONNTRACKD_BIN", file("conntrackd"));
        command.env("CONNTRACKD_CONFIG", file("conntrackd.conf"));
        command.env("CONNTRACKD_LOCK", daemon.path("lock"));
        command.env("CTFLOW_BIN", file("ready")).env("CTFLOW_RUN", file("run"));
        if setup.gate {
            command.env("CTFLOW_GATE", file("gate.nft"));
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("one file")).stderr(log);
        let child = namespace.within(|| command.spawn().expect("keepalived can be started"));
        Self { child, folder }
    }

    /// Sets the daemon that its scripts ask from here on.
    fn ask_of(&self, daemon: &Daemon<'_>) {
        ask_of(&self.folder, daemon);
    }

    /// Whether its scripts have printed this.
    pub(crate) fn said(&self, what: &str) -> bool {
        self.script_log().contains(what)
    }

    /// How often the node was asked whether it is ready.
    pub(crate) fn asked(&self) -> usize {
        fs::read_to_string(self.folder.join("asked")).unwrap_or_default().lines().count()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn script_log(&self) -> String {
        fs::read_to_string(self.folder.join("script.log")).unwrap_or_default()
    }

    /// `kill -9` of both processes. They are stopped first, or one would tidy up when it sees the other die.
    pub(crate) fn kill_hard(&mut self) {
        let vrrp = fs::read_to_string(self.folder.join("vrrp.pid")).unwrap_or_default();
        let vrrp = vrrp.trim().parse().ok().and_then(Pid::from_raw);
        let pids: Vec<_> =
            [Some(Pid::from_child(&self.child)), vrrp].into_iter().flatten().collect();
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        for signal in [Signal::STOP, Signal::KILL] {
            for pid in &pids {
                let _ = kill_process(*pid, signal);
            }
        }
        let _ = self.child.wait();
    }
}

impl Drop for Keepalived {
    fn drop(&mut self) {
        self.kill_hard();
        if std::thread::panicking() {
            let (log, script) = (self.log(), self.script_log());
            eprintln!("--- {}\n{log}{script}", self.folder.display());
        }
    }
}

/// Puts a daemon's program, its configuration and the command that asks whether it is ready where the scripts of a
/// keepalived look for them. Each file changes at once: a script may be running.
fn ask_of(folder: &Path, daemon: &Daemon<'_>) {
    let replace = |name: &str, put: &dyn Fn(&Path)| {
        let new = folder.join(format!("{name}.new"));
        put(&new);
        fs::rename(&new, folder.join(name)).expect("a file takes the place of another");
    };
    let program = format!("#!/bin/sh\nexec {} \"$@\"\n", daemon.brand().program().display());
    replace("conntrackd", &|new| executable(new, &program));
    replace("ready", &|new| executable(new, &ready(daemon.brand())));
    replace("conntrackd.conf", &|new| {
        symlink(daemon.path("conf"), new).expect("a link is made");
    });
}

/// A file of `contrib`.
fn contrib(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("contrib").join(name)
}

/// `contrib/keepalived.conf` with the values of one router.
fn configuration((at, nodes): (usize, usize), script: &Path) -> String {
    let mut peers = (0..nodes).filter(|other| *other != at).map(host);
    let (own, peer) = (host(at), peers.next().expect("no router stands alone"));
    let priority = ["150", "100", "50"][at];
    let values = [
        ("INSIDE", "lan".to_owned()),
        ("OUTSIDE", "wan".to_owned()),
        ("INSIDE_VIRTUAL", format!("{INSIDE}/24")),
        ("OUTSIDE_VIRTUAL", format!("{OUTSIDE}/24")),
        ("INSIDE_OWN", format!("10.99.1.{own}")),
        ("INSIDE_PEER", format!("10.99.1.{peer}")),
        ("OUTSIDE_OWN", format!("10.99.2.{own}")),
        ("OUTSIDE_PEER", format!("10.99.2.{peer}")),
        ("PRIORITY", priority.to_owned()),
        ("ADVERT", "0.4".to_owned()),
        ("STARTUP_DELAY", "0.1".to_owned()),
        ("PREEMPT_DELAY", "0".to_owned()),
        ("SCRIPT", script.display().to_string()),
    ];
    let text = fs::read_to_string(contrib("keepalived.conf")).expect("the file is there");
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    for (name, value) in values {
        let begin = format!("${name}=");
        let line = lines.iter_mut().find(|line| line.starts_with(&begin));
        *line.unwrap_or_else(|| panic!("no line {begin}")) = format!("{begin}{value}");
    }
    let mut text = lines.join("\n") + "\n";
    // One more router is one more peer in the lists.
    for (name, subnet) in [("\t\t$INSIDE_PEER\n", 1), ("\t\t$OUTSIDE_PEER\n", 2)] {
        assert!(text.contains(name), "no line {name}");
        let more: String =
            peers.clone().map(|host| format!("\t\t10.99.{subnet}.{host}\n")).collect();
        text = text.replace(name, &(name.to_owned() + &more));
    }
    text
}

fn version_1(at: usize, setup: Setup) -> Conf {
    let inject = if setup.inject { "yes" } else { "no" };
    Conf::new([End::A, End::B][at])
        .protocol("FTFW")
        .mode("StartupResync yes")
        .mode(&format!("DisableExternalCache {inject}"))
}

/// `contrib/gate.nft` with the addresses of the test.
fn gate() -> String {
    let text = fs::read_to_string(contrib("gate.nft")).expect("the file is there");
    let (theirs, ours) = ("198.51.100.1, 203.0.113.1", format!("{OUTSIDE}, {INSIDE}"));
    assert!(text.contains(theirs), "the gate has other addresses");
    text.replace(theirs, &ours)
}

fn executable(path: &Path, text: &str) {
    fs::write(path, text).expect("a script is written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it becomes executable");
}

/// Stands in for the logger that talks to syslog.
fn logger(file: &Path) -> String {
    format!("#!/bin/sh\necho \"$(date +%T.%3N) $*\" >>{}\n", file.display())
}

/// `ctflow`, taking note of each call.
fn ready(brand: Brand) -> String {
    match brand {
        Brand::Ours => {
            let ctflow = Brand::Ours.program().with_file_name("ctflow");
            format!("#!/bin/sh\necho >>\"${{0%/*}}/asked\"\nexec {} \"$@\"\n", ctflow.display())
        }
        Brand::Original => READY_ORIGINAL.to_owned(),
    }
}

/// The original does not answer `ctflow ready`: ready when its remote table or the kernel holds all connections.
const READY_ORIGINAL: &str = "#!/bin/sh
echo >>\"${0%/*}/asked\"
held=$(\"$CONNTRACKD_BIN\" -C \"$3\" -s | awk '/^cache external/ { e = 1 } e && /current active/ { print $4; exit }')
[ \"${held:-0}\" -ge 1000 ] || [ \"$(conntrack -C)\" -ge 1000 ]
";
