//! What was seen of the machine: plain values, each of which may be unknown.

use crate::conf::Conf;
use crate::print::status::Status;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// A value, or why it is not known: a right that is missing, a file that is not there.
pub type Known<T> = Result<T, String>;

/// What belongs together when facts are gathered. Checks name the parts they look at, so that `--only` takes no longer
/// than it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// [`Facts::kernel`]
    Kernel,
    /// [`Facts::programs`]: two eBPF programs are loaded.
    Programs,
    /// [`Facts::modules`]
    Modules,
    /// [`Facts::tracking`]
    Tracking,
    /// [`Facts::sysctl`]
    Sysctl,
    /// [`Facts::counters`]: takes a second.
    Counters,
    /// [`Facts::flowtables`]
    Flowtables,
    /// [`Facts::listeners`]: looks at every process.
    Listeners,
    /// [`Facts::daemon`]
    Daemon,
    /// [`Facts::daemon`] a second later.
    Later,
    /// [`Facts::conf`]
    Conf,
    /// [`Facts::links`]
    Links,
    /// [`Link::path`]: sends a few datagrams to the peer.
    Paths,
    /// [`Facts::clock_in_step`]
    Clock,
    /// [`Facts::keepalived`]
    Keepalived,
    /// [`Facts::service`]
    Service,
}

/// Everything that the checks look at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facts {
    /// The kernel.
    pub kernel: Kernel,
    /// Our eBPF programs on it.
    pub programs: Programs,
    /// Its modules.
    pub modules: Modules,
    /// Whether packets of this network namespace meet conntrack.
    pub tracking: Known<bool>,
    /// Numbers under `/proc/sys/net/netfilter`, by the names of their files.
    pub sysctl: BTreeMap<String, Known<u64>>,
    /// The kernel's counters of all CPUs together, and the same a second later: by `conntrack -S`'s names.
    pub counters: Known<[BTreeMap<String, u64>; 2]>,
    /// Flowtables of this network namespace.
    pub flowtables: Known<Vec<Flowtable>>,
    /// Sockets that receive conntrack events, in all network namespaces.
    pub listeners: Known<Vec<Listener>>,
    /// The daemon.
    pub daemon: Daemon,
    /// The configuration. (Fixtures have it as a file.)
    #[serde(skip)]
    pub conf: Configuration,
    /// The links to the peer that the configuration names.
    pub links: Known<Vec<Link>>,
    /// Whether something keeps the system's clock in step.
    pub clock_in_step: Known<bool>,
    /// The configuration of keepalived.
    pub keepalived: Keepalived,
    /// How the daemon is started, and the original beside it.
    pub service: Service,
}

/// The kernel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kernel {
    /// As `uname -r` says it.
    pub release: Known<String>,
    /// Whether the kernel says what its types are (BTF).
    pub types: Known<bool>,
    /// Whether conntrack does, if it is a module.
    pub types_of_conntrack: Known<bool>,
    /// The lockdown that is on: `none`, `integrity`, `confidentiality`.
    pub lockdown: Known<String>,
    /// Whether there are kprobes.
    pub kprobes: Known<bool>,
    /// Functions that failure events would probe and the kernel does not have by name.
    pub missing_functions: Known<Vec<String>>,
}

/// Our programs: `None` where one can be loaded, else why not.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Programs {
    /// The tap.
    pub tap: Known<Option<String>>,
    /// The hook.
    pub hook: Known<Option<String>>,
}

/// Kernel modules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Modules {
    /// Names of those that are loaded; what is built in has none.
    pub loaded: Known<Vec<String>>,
    /// Whether connection tracking is there.
    pub conntrack: Known<bool>,
    /// Settings of it that are made at boot: `FILE: KEY`.
    pub boot_settings: Known<Vec<String>>,
    /// Modules that are loaded at boot, by name.
    pub boot_modules: Known<Vec<String>>,
}

/// A flowtable.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flowtable {
    /// `ip`, `ip6` or `inet`.
    pub family: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Priority of its hook.
    pub priority: i32,
    /// Names of the interfaces.
    pub devices: Vec<String>,
    /// Whether it counts packets.
    pub counts: bool,
}

/// A socket that receives conntrack events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// The process that listens; `None` where that cannot be seen.
    pub pid: Option<u32>,
    /// Name of that process, or the port where it is not known.
    pub name: String,
    /// Its systemd unit.
    pub unit: Option<String>,
}

/// What a daemon says when it is asked for its state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Its state.
    Status(Box<Status>),
    /// The daemon does not answer, for this reason.
    Silent(String),
    /// The daemon answers something else: it is another program, or another version.
    Foreign(String),
}

/// The daemon.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Daemon {
    /// Its answer.
    pub answer: Known<Answer>,
    /// The daemon's answer a second later.
    pub later: Known<Answer>,
    /// Addresses that it serves metrics at, with why each does not answer.
    pub metrics: Known<Vec<(String, Option<String>)>>,
    /// Seconds by which the peer's clock is ahead of ours.
    pub peer_ahead_s: Known<i64>,
}

/// The configuration.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// Its file, as it was named.
    pub path: PathBuf,
    /// Its text.
    pub text: Known<String>,
    /// What is wrong with it, a line each.
    pub errors: Vec<String>,
    /// What is not as its author may think, a line each.
    pub warnings: Vec<String>,
    /// Its meaning.
    pub conf: Known<Conf>,
    /// Why the daemon would not start with it, if so.
    pub refused: Known<Option<String>>,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            text: Err(NOT_ASKED.into()),
            errors: Vec::new(),
            warnings: Vec::new(),
            conf: Err(NOT_ASKED.into()),
            refused: Ok(None),
        }
    }
}

/// A link to the peer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Link {
    /// Its interface.
    pub interface: String,
    /// Our address and the peer's, as far as the configuration names them.
    pub addresses: Vec<IpAddr>,
    /// State of the interface: `RUNNING`, `NO-CARRIER`, `DOWN`; `None` if it does not exist.
    pub state: Known<Option<String>>,
    /// Bytes of the largest packet of the interface.
    pub mtu: Known<u64>,
    /// Whether a default route leaves by the interface.
    pub has_default_route: Known<bool>,
    /// What became of datagrams as large as the interface takes.
    pub path: Known<PathFound>,
}

/// As [`host::link::Path`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathFound {
    /// Datagrams that large reach the peer.
    Passes,
    /// The path takes so many bytes.
    TooLarge(u64),
    /// Datagrams that large do not come in, small ones do.
    Vanishes,
    /// The peer answers neither.
    Silent,
}

/// The configuration of keepalived.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Keepalived {
    /// Its configuration, variables replaced and comments removed.
    pub text: Known<String>,
    /// Scripts of ours that it calls: path, and what is wrong with the file, if anything.
    pub scripts: Known<Vec<(String, Option<Fault>)>>,
    /// Whether `CTFLOW_GATE` is in its environment, or in the file that its unit reads.
    pub knows_gate: Known<bool>,
    /// Whether the gate is shut now: nftables has its table.
    pub gate_shut: Known<bool>,
}

/// Why keepalived does not run a script (`enable_script_security`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// There is none.
    Absent,
    /// Root cannot execute it.
    NotExecutable,
    /// This file, or a folder that it lies in, belongs to another user.
    Owner(String),
    /// Others than root may write this file, or a folder that it lies in.
    Writable(String),
}

/// How the daemon is started, and the original beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Service {
    /// The unit `conntrackd.service` that systemd takes: its path, and the text with all drop-ins; `None` if there is
    /// none.
    pub unit: Known<Option<(String, String)>>,
    /// Whether systemd starts it at boot.
    pub enabled: Known<bool>,
    /// Programs of Debian's package conntrackd; none if it is not installed.
    pub originals: Known<Vec<String>>,
    /// Processes of this network namespace that run one of these.
    pub running: Known<Vec<u32>>,
}

/// Why a part is unknown that no check wanted.
pub const NOT_ASKED: &str = "it was not asked for";

fn unknown<T>() -> Known<T> {
    Err(NOT_ASKED.into())
}

impl Facts {
    /// Facts of which nothing is known.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            kernel: Kernel {
                release: unknown(),
                types: unknown(),
                types_of_conntrack: unknown(),
                lockdown: unknown(),
                kprobes: unknown(),
                missing_functions: unknown(),
            },
            programs: Programs { tap: unknown(), hook: unknown() },
            modules: Modules {
                loaded: unknown(),
                conntrack: unknown(),
                boot_settings: unknown(),
                boot_modules: unknown(),
            },
            tracking: unknown(),
            sysctl: BTreeMap::new(),
            counters: unknown(),
            flowtables: unknown(),
            listeners: unknown(),
            daemon: Daemon {
                answer: unknown(),
                later: unknown(),
                metrics: unknown(),
                peer_ahead_s: unknown(),
            },
            conf: Configuration::default(),
            links: unknown(),
            clock_in_step: unknown(),
            keepalived: Keepalived {
                text: unknown(),
                scripts: unknown(),
                knows_gate: unknown(),
                gate_shut: unknown(),
            },
            service: Service {
                unit: unknown(),
                enabled: unknown(),
                originals: unknown(),
                running: unknown(),
            },
        }
    }

    /// A number of `/proc/sys/net/netfilter`.
    ///
    /// # Errors
    /// Why it is not known.
    pub fn sysctl(&self, name: &str) -> Known<u64> {
        self.sysctl.get(name).cloned().unwrap_or_else(unknown)
    }

    /// The state of the daemon.
    ///
    /// # Errors
    /// Why it is not known.
    pub fn status(&self) -> Known<&Status> {
        match self.daemon.answer.as_ref().map_err(Clone::clone)? {
            Answer::Status(status) => Ok(status),
            Answer::Silent(_) => Err("the daemon does not answer (daemon.running)".into()),
            Answer::Foreign(_) => {
                Err("the daemon's answer is not understood (daemon.running)".into())
            }
        }
    }
}
