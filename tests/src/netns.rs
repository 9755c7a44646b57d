//! Network namespaces for tests. They have no names: a namespace lives as long as a process holds it open or runs in
//! it, so nothing is left behind, whatever becomes of the test.

use crate::wait::wait_until;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use std::net::IpAddr;
use std::panic::resume_unwind;
use std::process::{Command, Stdio};
use std::thread;

/// Moves the calling thread into a new network namespace with loopback up and conntrack active on it.
///
/// The namespace goes when the thread and everything it started have gone.
///
/// # Panics
/// When the process is not root or a tool is missing.
pub fn enter_new() {
    enter_empty();
    nft(
        "table inet t { chain c { type filter hook output priority 0; ct state new,established accept; }; }",
    );
}

/// Moves the calling thread into a new network namespace with loopback up. Conntrack sees no traffic there: flows come
/// only from requests.
///
/// # Panics
/// When the process is not root or a tool is missing.
pub fn enter_empty() {
    #[expect(unsafe_code, reason = "rustix marks unshare unsafe because of CLONE_FILES")]
    // SAFETY: CLONE_NEWNET moves only this thread and leaves descriptors alone.
    unsafe {
        rustix::thread::unshare_unsafe(UnshareFlags::NEWNET)
            .expect("unshare(CLONE_NEWNET) needs root");
    }
    run("ip", &["link", "set", "lo", "up"]);
    // Flows made by a request without a listener would never cause an event (the default, 2, saves that).
    sysctl("net/netfilter/nf_conntrack_events", "1");
}

/// A network namespace.
#[derive(Debug)]
pub struct Namespace {
    file: OwnedFd,
}

impl Namespace {
    /// Makes one as [`enter_empty`] does.
    ///
    /// # Panics
    /// As there.
    #[must_use]
    pub fn new() -> Self {
        let made = thread::spawn(|| {
            enter_empty();
            Self::current()
        });
        made.join().unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// The one the calling thread is in.
    ///
    /// # Panics
    /// Without `/proc`.
    #[must_use]
    pub fn current() -> Self {
        let file = std::fs::File::open("/proc/thread-self/ns/net").expect("proc shows namespaces");
        Self { file: file.into() }
    }

    /// Another handle of the same namespace.
    ///
    /// # Panics
    /// When there are no descriptors left.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { file: self.file.try_clone().expect("a descriptor") }
    }

    /// Where other processes find it, as long as this one holds it.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Moves the calling thread into it.
    ///
    /// # Panics
    /// When the process is not root.
    pub fn enter(&self) {
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("setns needs root");
    }

    /// Runs `body` inside of it, on a thread of its own.
    pub fn within<R: Send>(&self, body: impl FnOnce() -> R + Send) -> R {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter();
                body()
            });
            inside.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Runs a tool inside of it, see [`run`].
    pub fn run(&self, tool: &str, args: &[&str]) -> String {
        self.within(|| run(tool, args))
    }

    /// Runs a whole command line inside of it, split at blanks, see [`run`].
    pub fn sh(&self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let tool = words.next().expect("a command line is not empty");
        self.run(tool, &words.collect::<Vec<_>>())
    }

    /// Loads an nftables ruleset inside of it, see [`nft`].
    pub fn nft(&self, rules: &str) {
        self.within(|| nft(rules));
    }

    /// Lays a cable to `other`: interface `name` here, `other_name` there, with the addresses of [`address`], this end
    /// being number 1. The link-local addresses are there at once, without duplicate address detection: after that, the
    /// kernel would send multicast from another source address than before. Returns when both ends have a carrier: the kernel reports that to interfaces in its own time,
    /// later on a busy machine, and a daemon that starts before says `NO-CARRIER`.
    pub fn cable(&self, name: &str, other: &Self, other_name: &str, subnet: u8) {
        let there = other.path();
        self.sh(&format!("ip link add {name} type veth peer name {other_name} netns {there}"));
        for (namespace, name, host) in [(self, name, 1), (other, other_name, 2)] {
            for family in [Family::V4, Family::V6] {
                let (addr, bits) = (address(family, subnet, host), family.subnet_bits());
                let nodad = if family == Family::V6 { "nodad" } else { "" };
                namespace.sh(&format!("ip addr add {addr}/{bits} dev {name} {nodad}"));
            }
            namespace.sh(&format!("sysctl -q net.ipv6.conf.{name}.accept_dad=0"));
            namespace.sh(&format!("ip link set {name} up"));
        }
        self.wait_until_running(name);
        other.wait_until_running(other_name);
    }

    /// Waits until an interface has a carrier and the kernel says so.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_until_running(&self, name: &str) {
        let running = || host::sys::interface::interface(name).is_ok_and(|state| state.running);
        self.within(|| wait_until("the interface is running", running));
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Addresses of IPv4.
    V4,
    /// Addresses of IPv6.
    V6,
}

impl Family {
    const fn subnet_bits(self) -> u8 {
        match self {
            Self::V4 => 24,
            Self::V6 => 64,
        }
    }
}

/// The address of a host on a test subnet.
#[must_use]
pub fn address(family: Family, subnet: u8, host: u8) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([10, 99, subnet, host]),
        Family::V6 => IpAddr::from([0xfd99, subnet.into(), 0, 0, 0, 0, 0, u16::from(host)]),
    }
}

/// Sets a sysctl in the calling thread's namespace.
///
/// # Panics
/// When the kernel refuses.
pub fn sysctl(name: &str, value: &str) {
    let path = format!("/proc/sys/{name}");
    std::fs::write(&path, value).unwrap_or_else(|e| panic!("{path} = {value}: {e}"));
}

/// Runs a tool in the calling thread's namespace.
///
/// # Panics
/// When it cannot be started or fails.
pub fn run(tool: &str, args: &[&str]) -> String {
    let output = Command::new(tool)
        .args(args)
        .output()
        .unwrap_or_else(|e| panic!("{tool} cannot be started: {e}"));
    assert!(
        output.status.success(),
        "{tool} {args:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Loads an nftables ruleset.
///
/// # Panics
/// When nft refuses it.
pub fn nft(rules: &str) {
    feed("nft", &["-f", "-"], rules);
}

/// Runs a tool with a text on its standard input.
///
/// # Panics
/// When it cannot be started or fails.
pub fn feed(tool: &str, args: &[&str], text: &str) {
    let mut child = Command::new(tool)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{tool} cannot be started: {e}"));
    std::io::Write::write_all(&mut child.stdin.take().expect("stdin is piped"), text.as_bytes())
        .expect("the tool reads its input");
    let output = child.wait_with_output().expect("the tool ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} refused: {said}\n{text}");
}
