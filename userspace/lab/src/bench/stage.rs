//! The stage: routers in namespaces of their own, traffic before them, nothing behind them.

use crate::churn::Cable;
use crate::churn::table::Requests;
use crate::place::Namespace;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

/// The interface that traffic arrives on, and the other end of its cable.
const ARRIVAL: &str = "rtr0";
const SENDER: &str = "gen0";
/// The interface to the other router.
pub(super) const LINK: &str = "sync0";

/// Conntrack works where rules ask for it.
const TRACKING: &str = "\
table inet bench {
 chain forward { type filter hook forward priority 0; ct state invalid counter drop; ct state new counter accept; }
}
";
/// The server is known by another address behind the router.
const TRANSLATION: &str = "\
table inet nat {
 chain prerouting { type nat hook prerouting priority -100;
  ip daddr 172.16.0.1 dnat ip to 172.17.0.1
  ip6 daddr fd16::1 dnat ip6 to fd17::1
 }
}
";
/// Messages between the routers are not traffic.
const UNTRACKED: &str = "\
table inet raw {
 chain prerouting { type filter hook prerouting priority -300; iifname \"sync0\" notrack; }
 chain output { type filter hook output priority -300; oifname \"sync0\" notrack; }
}
";

/// A router with a cable to a sender.
#[derive(Debug)]
pub(super) struct Router {
    /// Where conntrack works and the daemon runs.
    pub(super) namespace: Namespace,
    sender: Namespace,
}

impl Router {
    /// Builds one.
    pub(super) fn new(nat: bool) -> Result<Self> {
        let namespace = Namespace::new().context("making a network namespace needs root")?;
        let router = Self { namespace, sender: Namespace::new()? };
        for side in [&router.namespace, &router.sender] {
            side.within(|| {
                // No address of its own: neighbour discovery would be tracked traffic.
                write("net/ipv6/conf/default/addr_gen_mode", "1")?;
                ip("link set lo up")
            })??;
        }
        let cable = format!(
            "link add {SENDER} address 02:00:00:00:00:02 type veth peer name {ARRIVAL} \
             address 02:00:00:00:00:01 netns {}",
            router.namespace.path()
        );
        router.sender.within(|| ip(&cable))??;
        router.sender.within(|| ip(&format!("link set {SENDER} up")))??;
        router.namespace.within(|| forwarding(nat))??;
        Ok(router)
    }

    /// For generators.
    pub(super) fn cable(&self) -> Cable<'_> {
        Cable { sender: (&self.sender, SENDER), router: (&self.namespace, ARRIVAL) }
    }

    /// A socket for requests to its table.
    pub(super) fn requests(&self) -> Result<Requests> {
        Ok(self.namespace.within(Requests::open)??)
    }

    /// Flows in its kernel.
    pub(super) fn flows(&self) -> Result<u64> {
        let path = "/proc/sys/net/netfilter/nf_conntrack_count";
        let text = self.namespace.within(|| fs::read_to_string(path))?.context(path)?;
        text.trim().parse().context(path)
    }

    /// Sets one of its sysctls.
    pub(super) fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        self.namespace.within(|| write(name, value))?
    }

    /// Lays a cable between two routers: 192.168.77.1 and .2, not tracked.
    pub(super) fn connect(&self, other: &Self) -> Result<()> {
        let peer = other.namespace.path();
        let cable = format!("link add {LINK} type veth peer name {LINK} netns {peer}");
        self.namespace.within(|| ip(&cable))??;
        for (router, host) in [(self, 1), (other, 2)] {
            // Datagrams that are sent together are cut before they reach the cable, as they are for most network cards:
            // else it would count one header for all of them, and the peer's network stack would see one packet.
            let lines = format!(
                "addr add 192.168.77.{host}/24 dev {LINK}\n\
                 link set {LINK} gso_max_segs 1\nlink set {LINK} up"
            );
            router.namespace.within(|| ip(&lines).and_then(|()| nft(UNTRACKED)))??;
        }
        Ok(())
    }

    /// Bytes and packets its side of that cable has sent.
    pub(super) fn link_sent(&self) -> Result<(u64, u64)> {
        let table = self.namespace.within(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
        let line = table.lines().find_map(|line| line.trim().strip_prefix("sync0:"));
        let fields: Vec<u64> = line
            .context("there is no link")?
            .split_whitespace()
            .filter_map(|field| field.parse().ok())
            .collect();
        match fields[..] {
            [_, _, _, _, _, _, _, _, bytes, packets, ..] => Ok((bytes, packets)),
            _ => bail!("/proc/net/dev is not understood"),
        }
    }
}

/// Forwards everything to an interface that swallows it.
fn forwarding(nat: bool) -> Result<()> {
    // Kernels have the one or the other.
    ip("link add sink type dummy").or_else(|_| ip("link add sink type ifb"))?;
    ip(&format!("link set sink up\nlink set {ARRIVAL} up\naddr add 192.0.2.1/24 dev {ARRIVAL}"))?;
    ip("route add 10.0.0.0/8 dev sink\nroute add 172.16.0.0/15 dev sink")?;
    ip("-6 route add fd10::/16 dev sink\n-6 route add fd16::/15 dev sink")?;
    for (name, value) in [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/rtr0/rp_filter", "0"),
        // What is measured must not end meanwhile.
        ("net/netfilter/nf_conntrack_udp_timeout", "600"),
        ("net/netfilter/nf_conntrack_tcp_timeout_syn_sent", "600"),
        ("net/netfilter/nf_conntrack_tcp_timeout_time_wait", "600"),
    ] {
        write(name, value)?;
    }
    nft(TRACKING)?;
    if nat { nft(TRANSLATION) } else { Ok(()) }
}

fn write(name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{name}");
    fs::write(&path, value).with_context(|| format!("{path} = {value}"))
}

/// Lines for `ip -batch`.
fn ip(lines: &str) -> Result<()> {
    // `ip -batch` takes no options inside of lines; the family is one.
    for line in lines.lines() {
        run(Command::new("ip").args(line.split_whitespace()), None)?;
    }
    Ok(())
}

fn nft(rules: &str) -> Result<()> {
    run(Command::new("nft").args(["-f", "-"]), Some(rules))
}

fn run(command: &mut Command, input: Option<&str>) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let started = command.stdin(stdin).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = started.with_context(|| format!("cannot start {name} (is it installed?)"))?;
    if let (Some(mut pipe), Some(text)) = (child.stdin.take(), input) {
        pipe.write_all(text.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}", said.trim());
    }
    Ok(())
}
