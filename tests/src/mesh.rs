//! Nodes that speak version 2 with each other: namespaces, a cable between each two, keys and configurations.

use crate::daemon::{Brand, Daemon, Files};
use crate::netns::{Family, Namespace, address};
use host::keyfile;
use host::secure::PublicKey;
use std::fmt::Write;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The port of all nodes.
pub const PORT: u16 = 3790;

/// Nodes, each with a cable to each other one.
#[derive(Debug)]
pub struct Mesh {
    /// The namespaces of the nodes.
    pub nodes: Vec<Namespace>,
    /// Where daemons keep their files.
    pub files: Files,
    /// Addresses of cables.
    family: Family,
    /// The nodes' names and keys.
    pub members: Members,
}

/// The nodes that take part: a key for each, whose secret half is in a file `NAME.key`.
#[derive(Debug)]
pub struct Members {
    folder: PathBuf,
    keys: Vec<PublicKey>,
    preshared: bool,
}

impl Members {
    /// So many nodes, with keys in files of `folder`.
    ///
    /// # Panics
    /// When a key cannot be written.
    #[must_use]
    pub fn new(folder: &Path, count: usize) -> Self {
        let path = |node: usize| folder.join(format!("{}.key", name(node)));
        let keys = (0..count).map(|node| keyfile::generate(&path(node)).expect("a key is written"));
        Self { folder: folder.to_owned(), keys: keys.collect(), preshared: false }
    }

    /// The public key of a node.
    #[must_use]
    pub fn key(&self, node: usize) -> PublicKey {
        self.keys[node]
    }

    /// The configuration of a node whose peers are at `address`, with lines for `Replication` and for `General`. Its
    /// files are called `files`.
    #[must_use]
    pub fn conf(
        &self,
        (node, files): (usize, &str),
        address: impl Fn(usize) -> IpAddr,
        (lines, general): (&str, &str),
    ) -> String {
        let (dir, own) = (self.folder.display(), name(node));
        let mut out = format!(
            "Sync {{\n Replication {{\n  Name {own}\n  KeyFile {dir}/{own}.key\n  Port {PORT}\n{lines}\n"
        );
        if self.preshared {
            let _ = writeln!(out, "  PresharedKeyFile {dir}/psk");
        }
        for other in (0..self.keys.len()).filter(|other| *other != node) {
            let (key, address) = (self.keys[other], address(other));
            let _ = writeln!(
                out,
                "  Peer {} {{\n   PublicKey {key}\n   Address {address}\n  }}",
                name(other)
            );
        }
        out + &format!(
            " }}\n}}\nGeneral {{\n HashSize 16384\n HashLimit 262144\n LogFile {dir}/{files}.log\n \
             LockFile {dir}/{files}.lock\n UNIX {{ Path {dir}/{files}.sock\n }}\n {general}\n}}\n"
        )
    }
}

/// What a node is called.
#[must_use]
pub fn name(node: usize) -> String {
    format!("fw-{}", char::from(b'a' + node as u8))
}

/// The cable between two nodes: its subnet, and which host each of them is.
const fn cable(node: usize, other: usize) -> (u8, u8) {
    let (low, high) = if node < other { (node, other) } else { (other, node) };
    (30 + (low * 6 + high) as u8, if node < other { 1 } else { 2 })
}

impl Mesh {
    /// Sets up so many nodes, five at most.
    ///
    /// # Panics
    /// When a key cannot be written.
    #[must_use]
    pub fn new(count: usize, family: Family) -> Self {
        let nodes: Vec<_> = (0..count).map(|_| Namespace::new()).collect();
        for (low, a) in nodes.iter().enumerate() {
            for (high, b) in nodes.iter().enumerate().skip(low + 1) {
                let (subnet, _) = cable(low, high);
                a.cable(&interface(low, high), b, &interface(high, low), subnet);
            }
        }
        let files = Files::new();
        let members = Members::new(files.path(), count);
        Self { nodes, files, family, members }
    }

    /// With a secret that all nodes share.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn with_preshared(mut self) -> Self {
        let path = self.files.path().join("psk");
        keyfile::create(&path, &keyfile::draw()).expect("a secret is written");
        self.members.preshared = true;
        self
    }

    /// The address at which one node finds another.
    #[must_use]
    pub fn address(&self, node: usize, other: usize) -> IpAddr {
        let (subnet, host) = cable(node, other);
        address(self.family, subnet, 3 - host)
    }

    /// The configuration of a node, with lines for `Replication` and for `General`.
    #[must_use]
    pub fn conf(&self, node: usize, lines: &str, general: &str) -> String {
        let address = |other| self.address(node, other);
        self.members.conf((node, &name(node)), address, (lines, general))
    }

    /// Starts ours on a node.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(&self, node: usize, general: &str) -> Daemon<'_> {
        self.start_with(node, "", general)
    }

    /// Starts a daemon with lines for `Replication`.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start_with(&self, node: usize, lines: &str, general: &str) -> Daemon<'_> {
        self.start_as(node, &self.conf(node, lines, general))
    }

    /// Starts ours on a node with this configuration.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start_as(&self, node: usize, conf: &str) -> Daemon<'_> {
        let own = name(node);
        let path = self.files.path().join(format!("{own}.conf"));
        fs::write(path, conf).expect("a configuration is written");
        let command = Command::new(Brand::Ours.program());
        Daemon::start_with(command, &self.nodes[node], Brand::Ours, &self.files, &own)
    }

    /// Has a node lose some of what its peers send.
    pub fn lose(&self, node: usize, percent: u32) {
        self.nodes[node].nft(&format!(
            "table inet loss {{ chain input {{ type filter hook input priority 0; policy accept; \
             udp dport {PORT} numgen random mod 100 < {percent} drop; }}; }}"
        ));
    }

    /// Has the interfaces of all cables take packets of so many bytes.
    pub fn set_mtu(&self, mtu: usize) {
        for (at, node) in self.nodes.iter().enumerate() {
            for other in (0..self.nodes.len()).filter(|other| *other != at) {
                node.sh(&format!("ip link set {} mtu {mtu}", interface(at, other)));
            }
        }
    }

    /// Drops longer packets to a node silently, as a switch on the way with a smaller MTU does.
    pub fn narrow(&self, node: usize, mtu: usize) {
        self.nodes[node].nft(&format!(
            "table inet narrow {{ chain input {{ type filter hook input priority 0; policy accept; \
             udp dport {PORT} meta length > {mtu} drop; }}; }}"
        ));
    }

    /// Pulls the cable between two nodes, or plugs it in again.
    pub fn plug(&self, node: usize, other: usize, is_in: bool) {
        let state = if is_in { "up" } else { "down" };
        self.nodes[node].sh(&format!("ip link set {} {state}", interface(node, other)));
    }
}

/// The interface of a node to another one.
fn interface(node: usize, other: usize) -> String {
    format!("m{node}{other}")
}
