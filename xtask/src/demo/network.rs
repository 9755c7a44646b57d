//! The machines of the demonstration: network namespaces, wires, addresses and firewalls.
//!
//! ```text
//!                     .2 [ a ] .2
//!            lan switch /  |sync\ wan switch
//! [ client ] ----------+   |     +---------- [ server ]
//!   10.77.1.100         \  |    /               10.77.2.100
//!                     .3 [ b ] .3
//!                     .4 [ c ] .4       with three nodes
//! ```
//!
//! The gateway 10.77.1.1 and the NAT address 10.77.2.1 belong to the primary; keepalived moves them. The switches are
//! bridges in a namespace of their own; nothing touches the machine's network.

use crate::shell;
use anyhow::{Context as _, Result};
use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 100);
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 100);

/// Where daemons keep their files while the demonstration runs.
pub(super) const FOLDER: &str = "/run/ctflow-demo";
/// How many flows a kernel takes; only the machine's own namespace may change it.
const LIMIT: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

/// A machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// The machine with both switches.
    Net,
    Client,
    A,
    B,
    /// The third router, where there is one.
    C,
    Server,
}

impl Node {
    const ALL: [Self; 6] = [Self::Net, Self::Client, Self::A, Self::B, Self::C, Self::Server];
    /// Nodes that forward, the preferred one first.
    pub(super) const ROUTERS: [Self; 3] = [Self::A, Self::B, Self::C];

    /// The name of its namespace.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Net => "ctflow-demo-net",
            Self::Client => "ctflow-demo-client",
            Self::A => "ctflow-demo-a",
            Self::B => "ctflow-demo-b",
            Self::C => "ctflow-demo-c",
            Self::Server => "ctflow-demo-server",
        }
    }

    /// What a router is called, for people.
    pub(super) fn letter(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
            Self::Net | Self::Client | Self::Server => self.name(),
        }
    }

    /// The last number of a router's own addresses.
    pub(super) fn host(self) -> u8 {
        match self {
            Self::A => 2,
            Self::B => 3,
            Self::C => 4,
            Self::Net | Self::Client | Self::Server => 100,
        }
    }

    /// A program on that machine. Its process id is the one the command starts with.
    pub(super) fn command(self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.name()]).arg(program);
        command
    }

    /// Commands of ip on that machine, in one process.
    pub(super) fn ip(self, commands: &str) -> Result<()> {
        feed(Command::new("ip").args(["-n", self.name(), "-batch", "-"]), commands)
    }

    pub(super) fn nft(self, rules: &str) -> Result<()> {
        feed(self.command("nft").args(["-f", "-"]), rules)
    }

    fn sysctl(self, settings: &[(&str, u32)]) -> Result<()> {
        let write = |(key, value): &(&str, u32)| format!("echo {value} > /proc/sys/net/{key}");
        let script: Vec<_> = settings.iter().map(write).collect();
        shell::run(self.command("sh").args(["-ec", &script.join("\n")]))
    }

    /// How often a named counter of its firewall was passed.
    pub(super) fn counter(self, name: &str) -> Result<u64> {
        let mut nft = self.command("nft");
        let text = shell::output(nft.args(["list", "counter", "ip", "ctflow_demo", name]))?;
        let mut words = text.split_whitespace().skip_while(|word| *word != "packets").skip(1);
        words.next().and_then(|count| count.parse().ok()).with_context(|| format!("counter {name}"))
    }

    /// How many flows its kernel knows.
    pub(super) fn flow_count(self) -> Result<u64> {
        let mut cat = self.command("cat");
        let text = shell::output(cat.arg("/proc/sys/net/netfilter/nf_conntrack_count"))?;
        text.trim().parse().context("nf_conntrack_count")
    }

    /// The addresses of each flow of a protocol that its kernel knows, both directions, sorted.
    pub(super) fn flows(self, protocol: &str) -> Result<Vec<String>> {
        let text = shell::output(self.command("conntrack").args(["-L", "-p", protocol]))?;
        let is_address = |word: &&str| {
            ["src=", "dst=", "sport=", "dport="].iter().any(|prefix| word.starts_with(prefix))
        };
        let tuple =
            |line: &str| line.split_whitespace().filter(is_address).collect::<Vec<_>>().join(" ");
        let mut flows: Vec<_> = text.lines().map(tuple).collect();
        flows.sort_unstable();
        Ok(flows)
    }
}

/// Makes all machines, with these routers; none is primary yet.
pub(super) fn make(routers: &[Node]) -> Result<()> {
    fs::create_dir_all(FOLDER).with_context(|| FOLDER.to_owned())?;
    [Node::Net, Node::Client, Node::Server].into_iter().try_for_each(make_empty)?;
    routers.iter().copied().try_for_each(make_empty)?;
    Node::Net.ip(WIRES)?;
    for router in routers {
        make_router(*router)?;
    }
    Node::Client.ip(&format!(
        "link set lan up\naddress add {CLIENT}/24 dev lan\nroute add default via 10.77.1.1"
    ))?;
    Node::Server.ip(&format!("link set wan up\naddress add {SERVER}/24 dev wan"))?;
    for host in [Node::Client, Node::Server] {
        host.nft(HOST_RULES)?;
    }
    Ok(())
}

fn make_empty(node: Node) -> Result<()> {
    shell::run(Command::new("ip").args(["netns", "add", node.name()]))?;
    node.sysctl(&[("ipv6/conf/all/disable_ipv6", 1), ("ipv6/conf/default/disable_ipv6", 1)])?;
    node.ip("link set lo up")
}

const WIRES: &str = "\
link add lan type bridge
link add wan type bridge
link add sync type bridge
link set lan up
link set wan up
link set sync up
link add client-lan type veth peer name lan netns ctflow-demo-client
link add server-wan type veth peer name wan netns ctflow-demo-server
link set client-lan master lan up
link set server-wan master wan up
";

/// A router that has just been switched on, with its cables.
fn make_router(router: Node) -> Result<()> {
    let (letter, host) = (port(router), router.host());
    for switch in ["lan", "wan", "sync"] {
        let (port, name) = (format!("{letter}-{switch}"), router.name());
        Node::Net.ip(&format!(
            "link add {port} type veth peer name {switch} netns {name}\nlink set {port} master {switch} up"
        ))?;
    }
    router.ip(&format!(
        "link set lan up\nlink set wan up\nlink set sync up\n\
         address add 10.77.1.{host}/24 dev lan\naddress add 10.77.2.{host}/24 dev wan\n\
         address add 10.77.3.{host}/24 dev sync"
    ))?;
    router.nft(ROUTER_RULES)?;
    router.sysctl(&[
        ("ipv4/ip_forward", 1),
        // Only a SYN opens a TCP connection; the middle of one proves nothing.
        ("netfilter/nf_conntrack_tcp_loose", 0),
        ("netfilter/nf_conntrack_udp_timeout", 600),
    ])
}

/// The firewall of a router, as careful ones are: what is not known and does not begin here is dropped.
const ROUTER_RULES: &str = r#"
table ip ctflow_demo {
    counter invalid {}
    counter to_router {}
    chain untracked_in {
        type filter hook prerouting priority raw;
        iifname { lo, sync } notrack
        ip protocol vrrp notrack
    }
    chain untracked_out {
        type filter hook output priority raw;
        oifname { lo, sync } notrack
        ip protocol vrrp notrack
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state invalid counter name invalid drop
        ct state established,related accept
        iifname lan ct state new accept
    }
    chain input {
        type filter hook input priority filter; policy accept;
        iifname wan meta l4proto tcp counter name to_router
    }
    chain nat { type nat hook postrouting priority srcnat; oifname wan snat to 10.77.2.1; }
}
"#;

/// The ends count the RSTs they get, and drop background datagrams without an answer.
const HOST_RULES: &str = "
table ip ctflow_demo {
    counter rst {}
    chain input {
        type filter hook input priority filter; policy accept;
        tcp flags & rst == rst counter name rst
        meta l4proto udp drop
    }
}
";

/// The name that a router's ports of switches begin with.
fn port(router: Node) -> String {
    router.letter().to_lowercase()
}

/// Pulls every cable of a router.
pub(super) fn unplug(router: Node) -> Result<()> {
    let a = port(router);
    Node::Net.ip(&format!("link set {a}-lan down\nlink set {a}-wan down\nlink set {a}-sync down"))
}

/// Switches a router off and on again: its kernel knows nothing any more, its cables are back.
pub(super) fn reboot(router: Node) -> Result<()> {
    let a = port(router);
    Node::Net.ip(&format!("link del {a}-lan\nlink del {a}-wan\nlink del {a}-sync"))?;
    remove(router)?;
    make_empty(router)?;
    make_router(router)
}

/// Makes room for so many flows; the former limit when it had to change.
pub(super) fn make_room(flows: u64) -> Result<Option<u64>> {
    let former: u64 = fs::read_to_string(LIMIT).context(LIMIT)?.trim().parse()?;
    let wanted = flows + 10_000;
    if wanted <= former {
        return Ok(None);
    }
    fs::write(LIMIT, wanted.to_string()).context(LIMIT)?;
    Ok(Some(former))
}

/// Removes everything a demonstration made, now or earlier, and puts the machine's limit back.
pub(super) fn clean(limit: Option<u64>) -> Result<()> {
    if let Some(limit) = limit {
        fs::write(LIMIT, limit.to_string()).context(LIMIT)?;
    }
    for node in Node::ALL {
        if Path::new("/run/netns").join(node.name()).exists() {
            remove(node)?;
        }
    }
    if Path::new(FOLDER).exists() {
        fs::remove_dir_all(FOLDER).context(FOLDER)?;
    }
    Ok(())
}

/// Removes a machine and whatever runs on it.
fn remove(node: Node) -> Result<()> {
    let pids = shell::output(Command::new("ip").args(["netns", "pids", node.name()]))?;
    for pid in pids.lines().filter_map(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?)) {
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    shell::run(Command::new("ip").args(["netns", "del", node.name()]))
}

/// Runs a command with text on its standard input.
fn feed(command: &mut Command, text: &str) -> Result<()> {
    let line = shell::line(command);
    let mut child = command.stdin(Stdio::piped()).spawn().with_context(|| line.clone())?;
    child.stdin.take().context("stdin is piped")?.write_all(text.as_bytes())?;
    let status = child.wait()?;
    anyhow::ensure!(status.success(), "{line} failed: {status}; it was given:\n{text}");
    Ok(())
}
