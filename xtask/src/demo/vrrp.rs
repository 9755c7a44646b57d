//! A router's keepalived, run with the files of `contrib` as an administrator would install them.

use super::daemon::{Daemon, Program, Site};
use super::network::{FOLDER, Node};
use crate::{repo, shell};
use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

/// The addresses that move.
const VIRTUAL: [&str; 2] = ["10.77.1.1", "10.77.2.1"];

/// A running keepalived.
pub(super) struct Keepalived {
    child: Child,
    folder: PathBuf,
    /// How much of the output of its scripts has been read.
    read: usize,
}

impl Keepalived {
    /// Starts it. Without a program its scripts have no daemon to talk to, and `true` says yes to everything.
    pub(super) fn start(node: Node, site: &Site) -> Result<Self> {
        let folder = Path::new(FOLDER).join(format!("{}-vrrp", node.name()));
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir(&folder)?;
        let file = |name: &str| folder.join(name);
        let script = file("primary-backup.sh");
        executable(&script, &contrib("primary-backup.sh")?)?;
        fs::write(file("conf"), configuration(node, &site.routers, &script)?)?;
        fs::write(file("gate.nft"), gate()?)?;
        executable(&file("logger"), &logger(&file("script.log")))?;
        executable(&file("ready"), &ready(site))?;
        let log = File::create(file("keepalived.log"))?;
        let mut command = node.command("keepalived");
        command.args(["--vrrp", "--dont-fork", "--log-console", "--log-detail", "--no-syslog"]);
        command.arg("-f").arg(file("conf")).arg("-p").arg(file("pid"));
        command.arg("-r").arg(file("vrrp.pid")).arg("-c").arg(file("checkers.pid"));
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", folder.display()));
        command.env("CTFLOW_BIN", file("ready")).env("CTFLOW_RUN", file("run"));
        command
            .env("CONNTRACKD_CONFIG", Daemon::config(node))
            .env("CONNTRACKD_LOCK", Daemon::lock(node));
        match &site.program {
            Some(program) => {
                command.env("CONNTRACKD_BIN", &program.path).env("CTFLOW_GATE", file("gate.nft"))
            }
            None => command.env("CONNTRACKD_BIN", "true"),
        };
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        let child = child.context("cannot start keepalived")?;
        Ok(Self { child, folder, read: 0 })
    }

    /// The reports of its scripts since the last call.
    pub(super) fn news(&mut self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("script.log")).unwrap_or_default();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let news = text.get(self.read..whole).unwrap_or_default().lines().map(str::to_owned);
        self.read = whole;
        news.collect()
    }

    /// `kill -9` of both its processes. They are stopped first, or one would tidy up when it sees the other die.
    pub(super) fn kill(&mut self) -> Result<()> {
        let vrrp = fs::read_to_string(self.folder.join("vrrp.pid")).unwrap_or_default();
        let vrrp = vrrp.trim().parse().ok().and_then(Pid::from_raw);
        let own = Some(Pid::from_child(&self.child));
        for signal in [Signal::STOP, Signal::KILL] {
            for pid in [own, vrrp].into_iter().flatten() {
                // It may have ended by itself.
                let _ = kill_process(pid, signal);
            }
        }
        self.child.wait()?;
        Ok(())
    }
}

/// Whether a router has both virtual addresses.
pub(super) fn has_addresses(node: Node) -> Result<bool> {
    let mut ip = std::process::Command::new("ip");
    let text = shell::output(ip.args(["-n", node.name(), "-4", "-oneline", "address", "show"]))?;
    Ok(VIRTUAL.iter().all(|address| text.contains(&format!(" {address}/"))))
}

/// Shuts a router's gate, as its boot would.
pub(super) fn shut_gate(node: Node) -> Result<()> {
    node.nft(&gate()?)
}

fn contrib(name: &str) -> Result<String> {
    let path = repo::root().join("contrib").join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// `contrib/keepalived.conf` with the values of one router. One more router is one more peer in the lists.
fn configuration(node: Node, routers: &[Node], script: &Path) -> Result<String> {
    let (own, priority) = (
        node.host(),
        if node == Node::A {
            "150"
        } else if node == Node::B {
            "100"
        } else {
            "50"
        },
    );
    let mut peers = routers.iter().filter(|other| **other != node).map(|other| other.host());
    let peer = peers.next().context("no router stands alone")?;
    let values = [
        ("INSIDE", "lan".to_owned()),
        ("OUTSIDE", "wan".to_owned()),
        ("INSIDE_VIRTUAL", format!("{}/24", VIRTUAL[0])),
        ("OUTSIDE_VIRTUAL", format!("{}/24", VIRTUAL[1])),
        ("INSIDE_OWN", format!("10.77.1.{own}")),
        ("INSIDE_PEER", format!("10.77.1.{peer}")),
        ("OUTSIDE_OWN", format!("10.77.2.{own}")),
        ("OUTSIDE_PEER", format!("10.77.2.{peer}")),
        ("PRIORITY", priority.to_owned()),
        ("ADVERT", "0.3".to_owned()),
        ("STARTUP_DELAY", "0.1".to_owned()),
        ("PREEMPT_DELAY", "1".to_owned()),
        ("SCRIPT", script.display().to_string()),
    ];
    let mut lines: Vec<_> = contrib("keepalived.conf")?.lines().map(str::to_owned).collect();
    for (name, value) in values {
        let begin = format!("${name}=");
        let line = lines.iter_mut().find(|line| line.starts_with(&begin));
        *line.with_context(|| format!("contrib/keepalived.conf has no {begin}"))? =
            format!("{begin}{value}");
    }
    let mut text = lines.join("\n") + "\n";
    for (name, subnet) in [("\t\t$INSIDE_PEER\n", 1), ("\t\t$OUTSIDE_PEER\n", 2)] {
        ensure!(text.contains(name), "contrib/keepalived.conf has no {name}");
        let more = peers.clone().map(|host| format!("\t\t10.77.{subnet}.{host}\n"));
        text = text.replace(name, &(name.to_owned() + &more.collect::<String>()));
    }
    Ok(text)
}

/// `contrib/gate.nft` with the addresses of the demonstration.
fn gate() -> Result<String> {
    let (text, theirs) = (contrib("gate.nft")?, "198.51.100.1, 203.0.113.1");
    ensure!(text.contains(theirs), "contrib/gate.nft has other addresses");
    Ok(text.replace(theirs, &VIRTUAL.join(", ")))
}

fn executable(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, Permissions::from_mode(0o755))?)
}

/// Stands in for the logger that talks to syslog: the text is what follows `--`.
fn logger(file: &Path) -> String {
    format!("#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\necho \"$2\" >>{}\n", file.display())
}

/// Our `ctflow`. The original does not answer it: ready when the daemon holds the background flows, or the kernel does.
fn ready(site: &Site) -> String {
    let flows = site.flows;
    if let Some(ctflow) = site.program.as_ref().and_then(Program::ctflow) {
        return format!("#!/bin/sh\nexec {} \"$@\"\n", ctflow.display());
    }
    format!(
        "#!/bin/sh
[ \"$CONNTRACKD_BIN\" = true ] && exit 0
held=$(\"$CONNTRACKD_BIN\" -C \"$3\" -s |
    awk '/^cache external/ {{ e = 1 }} e && /current active/ {{ print $4; exit }}')
[ \"${{held:-0}}\" -ge {flows} ] || [ \"$(conntrack -C)\" -ge {flows} ]
"
    )
}
