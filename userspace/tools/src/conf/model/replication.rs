//! `Replication`: replication, version 2.

use crate::conf::diagnostic::Place;
use host::secure::{Name, PublicKey};
use std::net::IpAddr;
use std::path::PathBuf;

/// `Replication`. What lies in key files is not known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicationConf {
    /// Where the block stands.
    pub place: Place,
    /// `Name`; `None` is the host's.
    pub name: Option<Name>,
    /// `KeyFile`, one or two.
    pub key_files: Vec<KeyFile>,
    /// `PresharedKeyFile`
    pub preshared_key_file: Option<KeyFile>,
    /// `Port`
    pub port: u16,
    /// `IPv4_address`, `IPv6_address`; without any, all.
    pub addresses: Vec<IpAddr>,
    /// `Inject`
    pub inject: bool,
    /// `Settle`, milliseconds.
    pub settle_ms: u32,
    /// `RemoteLimit`; `None` is `HashLimit`.
    pub remote_limit: Option<u32>,
    /// `Peer`
    pub peers: Vec<PeerConf>,
}

impl ReplicationConf {
    /// `Inject` where it is not given.
    pub const INJECT: bool = false;
    /// `Settle` where it is not given.
    pub const SETTLE_MS: u32 = 0;
    /// `Version1` where it is not given.
    pub const VERSION1: bool = false;
}

/// A file with a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    /// The file's path.
    pub path: PathBuf,
    /// Where it is named.
    pub place: Place,
}

/// `Peer`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConf {
    /// The peer's name.
    pub name: Name,
    /// Where the block stands.
    pub place: Place,
    /// `PublicKey`, one or two.
    pub keys: Vec<PeerKey>,
    /// `Address`, preferred first.
    pub addresses: Vec<PeerAddress>,
    /// `Port`, or that of this node.
    pub port: u16,
    /// `Rate`
    pub rate_kbit_s: Option<u32>,
    /// `Version1`
    pub version1: bool,
}

/// `PublicKey`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerKey {
    /// The key.
    pub key: PublicKey,
    /// Where the key stands in the configuration.
    pub place: Place,
}

/// `Address` of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PeerAddress {
    /// An address.
    Ip(IpAddr),
    /// A name to look up.
    Name(String),
}

impl From<&str> for PeerAddress {
    fn from(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Ip)
    }
}
