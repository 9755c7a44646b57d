//! What a conntrackd of the demonstration is configured with, in either version of the protocol.

use super::Program;
use crate::demo::network::{FOLDER, Node};
use crate::shell;
use anyhow::{Context as _, Result};
use std::process::Command;

/// The port of version 2.
const PORT: u16 = 3790;

/// What all routers of a demonstration have in common.
pub(in crate::demo) struct Site {
    /// The routers that take part, the preferred one first.
    pub(in crate::demo) routers: Vec<Node>,
    /// Their conntrackd; none without replication.
    pub(in crate::demo) program: Option<Program>,
    /// How they speak with each other.
    pub(in crate::demo) speech: Speech,
    /// Background flows.
    pub(in crate::demo) flows: u64,
}

/// A version of the protocol.
pub(in crate::demo) enum Speech {
    /// Version 1, over one link of two.
    Version1,
    /// Version 2, with the public key of each router.
    Version2(Vec<(Node, String)>),
}

impl Speech {
    /// Version 2, with keys made on the spot, as an administrator makes them.
    pub(in crate::demo) fn with_new_keys(program: &Program, routers: &[Node]) -> Result<Self> {
        let ctflow = program
            .ctflow()
            .context("version 2 needs a ctflow beside the conntrackd: it makes keys")?;
        let key = |router: &Node| -> Result<_> {
            let mut command = Command::new(&ctflow);
            let public = shell::output(command.args(["key", "generate"]).arg(key_file(*router)))?;
            Ok((*router, public.trim().to_owned()))
        };
        let keys = routers.iter().map(key).collect::<Result<Vec<_>>>()?;
        shell::output(Command::new(&ctflow).args(["key", "psk"]).arg(secret_file()))?;
        Ok(Self::Version2(keys))
    }
}

/// What a router calls itself.
fn name(router: Node) -> String {
    format!("fw-{}", router.letter().to_lowercase())
}

fn key_file(router: Node) -> String {
    format!("{FOLDER}/{}.key", name(router))
}

fn secret_file() -> String {
    format!("{FOLDER}/psk.key")
}

/// A router's configuration.
pub(super) fn text(node: Node, program: &Program, site: &Site) -> String {
    let sync = match &site.speech {
        Speech::Version1 => version_1(node),
        Speech::Version2(keys) => version_2(node, keys),
    };
    format!("Sync {{\n{sync}}}\n{}", general(node, program.is_ours, site.flows))
}

/// What both ours and the original understand.
fn version_1(node: Node) -> String {
    let (own, peer) = (node.host(), if node == Node::A { 3 } else { 2 });
    format!(
        "    Mode FTFW {{
        DisableExternalCache Off
        StartupResync on
    }}
    UDP {{
        IPv4_address 10.77.3.{own}
        IPv4_Destination_Address 10.77.3.{peer}
        Port 3780
        Interface sync
        SndSocketBuffer 16777216
        RcvSocketBuffer 16777216
        Checksum on
    }}
"
    )
}

fn version_2(node: Node, keys: &[(Node, String)]) -> String {
    let peer = |(peer, key): &(Node, String)| {
        format!(
            "        Peer {} {{
            PublicKey {key}
            Address 10.77.3.{}
        }}
",
            name(*peer),
            peer.host()
        )
    };
    let peers: String = keys.iter().filter(|(other, _)| *other != node).map(peer).collect();
    format!(
        "    Replication {{
        Name {}
        KeyFile {}
        PresharedKeyFile {}
        IPv4_address 10.77.3.{}
        Port {PORT}
{peers}    }}
",
        name(node),
        key_file(node),
        secret_file(),
        node.host()
    )
}

/// All but replication; one line is ours alone.
fn general(node: Node, is_ours: bool, flows: u64) -> String {
    let event_source = if is_ours { "EventSource tap" } else { "" };
    let files = format!("{FOLDER}/{}", node.name());
    let limit = (flows * 2).max(524_288);
    format!(
        "\
General {{
    {event_source}
    HashSize 65536
    HashLimit {limit}
    LogFile {files}.log
    LockFile {files}.lock
    UNIX {{
        Path {files}.ctl
    }}
    NetlinkBufferSize 8388608
    NetlinkBufferSizeMaxGrowth 33554432
    Filter From Kernelspace {{
        Address Ignore {{
            IPv4_address 127.0.0.1
            IPv4_address 10.77.3.2
            IPv4_address 10.77.3.3
            IPv4_address 10.77.3.4
        }}
    }}
}}
"
    )
}
