//! Processes that receive conntrack events.

use super::super::facts::{Known, Listener};
use super::Root;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;

/// `NETLINK_NETFILTER`, as `/proc/net/netlink` shows it.
const NETFILTER: &str = "12";
/// Groups that carry events about flows; above them are those of expectations and of nftables.
const FLOW_GROUPS: u32 = 0b111;

/// A line of `/proc/net/netlink`: a socket that receives conntrack events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Its port; a program's first socket has its process id.
    port: String,
    inode: String,
}

impl Heard {
    /// Reads a line, if it is about such a socket.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [_, family, port, groups, .., inode] = fields[..] else { return None };
        let groups = u32::from_str_radix(groups, 16).ok()?;
        let hears = family == NETFILTER && groups & FLOW_GROUPS != 0;
        hears.then(|| Self { port: port.into(), inode: inode.into() })
    }
}

/// Process ids.
pub(super) fn ids(root: Root<'_>) -> Vec<u32> {
    root.names("/proc").iter().filter_map(|name| name.parse().ok()).collect()
}

/// The first word of a file about a process.
pub(super) fn name(root: Root<'_>, pid: u32) -> String {
    root.text(&format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// The network namespace of a process; `None` if the process has ended meanwhile, or if not even root may see it, as
/// the first process of some containers.
pub(super) fn namespace(root: Root<'_>, pid: u32) -> Known<Option<String>> {
    let name = format!("/proc/{pid}/ns/net");
    match fs::read_link(root.at(&name)) {
        Ok(namespace) => Ok(Some(namespace.display().to_string())),
        Err(error) if error.kind() != ErrorKind::PermissionDenied || is_root(root) => Ok(None),
        // For one that has just ended, the kernel says this, too.
        Err(_) if !root.has(&format!("/proc/{pid}/comm"))? => Ok(None),
        Err(_) => Err("processes of other users cannot be seen: needs root".into()),
    }
}

/// Whether this process is root's.
fn is_root(root: Root<'_>) -> bool {
    fs::metadata(root.at("/proc/self")).is_ok_and(|metadata| metadata.uid() == 0)
}

/// Sockets that receive conntrack events, in every network namespace that has a process.
pub(crate) fn listeners(root: Root<'_>) -> Known<Vec<Listener>> {
    let ids = ids(root);
    if ids.is_empty() {
        return Err("/proc shows no process".into());
    }
    let mut sockets = BTreeMap::new();
    let mut namespaces = BTreeSet::new();
    for pid in &ids {
        let Some(namespace) = namespace(root, *pid)? else { continue };
        if namespaces.insert(namespace) {
            let table = root.text(&format!("/proc/{pid}/net/netlink")).unwrap_or_default();
            let heard = table.lines().filter_map(Heard::parse);
            sockets.extend(heard.map(|socket| (format!("socket:[{}]", socket.inode), socket.port)));
        }
    }
    if sockets.is_empty() {
        return Ok(Vec::new());
    }
    let mut owned = Vec::new();
    for pid in ids {
        let folder = format!("/proc/{pid}/fd");
        for descriptor in root.names(&folder) {
            let target = root.target(&format!("{folder}/{descriptor}")).unwrap_or_default();
            if sockets.remove(&target).is_some() {
                let (name, unit) = (name(root, pid), unit(root, pid));
                owned.push(Listener { pid: Some(pid), name, unit });
            }
        }
    }
    owned.dedup();
    let unowned = sockets.into_values();
    owned.extend(unowned.map(|port| Listener {
        pid: None,
        name: format!("port {port}"),
        unit: None,
    }));
    Ok(owned)
}

/// The systemd unit of a process: `0::/system.slice/NAME.service`.
fn unit(root: Root<'_>, pid: u32) -> Option<String> {
    let text = root.text(&format!("/proc/{pid}/cgroup")).ok()?;
    let last = text.lines().filter_map(|line| line.rsplit('/').next());
    last.into_iter().find(|name| name.ends_with(".service")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::Heard;

    #[test]
    fn only_listeners_to_flows_count() {
        let line = |protocol: &str, groups: &str| {
            format!("00000000c0ffee00 {protocol} 4294967295 {groups} 0 0 0 2 0 12345")
        };
        let heard = Heard::parse(&line("12", "00000004")).unwrap();
        assert_eq!((heard.port.as_str(), heard.inode.as_str()), ("4294967295", "12345"));
        assert_eq!(Heard::parse(&line("12", "00000000")), None);
        assert_eq!(Heard::parse(&line("12", "00000038")), None, "expectations are no flows");
        assert_eq!(Heard::parse(&line("0", "00000007")), None, "another protocol");
        assert_eq!(Heard::parse("sk Eth Pid Groups Rmem"), None);
    }
}
