//! `Replication`: the nodes of replication, version 2, and their keys (`replication-v2.md`, R3.2).

use super::{Checker, last};
use crate::conf::diagnostic::Span;
use crate::conf::model::{KeyFile, PeerAddress, PeerConf, PeerKey, ReplicationConf};
use crate::conf::parser::Node;
use crate::conf::schema::{Key, Value};
use host::secure::Name;
use host::secure::limit::{ADDRESSES_MAX, KEYS_MAX, PEERS_MAX};
use std::net::IpAddr;

impl Checker<'_> {
    /// `has_links`: whether version 1 is spoken, too.
    pub(super) fn replication(
        &mut self,
        node: &Node,
        sync: &Node,
        has_links: bool,
    ) -> ReplicationConf {
        let given = |key| last(&node.block, key);
        let alarm = last(&sync.block, Key::Mode).filter(|mode| mode.choice() == "ALARM");
        if let Some(mode) = alarm {
            let label = "expected FTFW or NOTRACK: ALARM forgets what is not repeated";
            self.error(mode.span, "`Replication` cannot be used with `Mode ALARM`", label);
        }
        let mut key_files = self.at_most(node, Key::KeyFile, KEYS_MAX, "keys of this node");
        if key_files.is_empty() {
            let label = "expected `KeyFile` in its block (make one: ctflow key generate FILE)";
            self.error(node.span, "`Replication` has no `KeyFile`", label);
        }
        let port = given(Key::Port);
        if port.is_none() {
            let label = "expected `Port` in its block";
            self.error(node.span, "`Replication` has no `Port`", label);
        }
        let address = |key| given(key).and_then(|node| address(node.value()?));
        let addresses = [Key::Ipv4Address, Key::Ipv6Address].into_iter().filter_map(address);
        let name = given(Key::NodeName).and_then(|node| Name::parse(node.name()).ok());
        let number = |key| given(key).map(Node::number);
        let settled = ReplicationConf {
            place: self.source.place(node.span),
            name,
            key_files: key_files.drain(..).filter_map(|node| self.key_file(node)).collect(),
            preshared_key_file: given(Key::PresharedKeyFile).and_then(|node| self.key_file(node)),
            port: port.map_or(0, |node| node.number() as u16),
            addresses: addresses.collect(),
            inject: given(Key::Inject).map_or(ReplicationConf::INJECT, Node::flag),
            settle_ms: number(Key::Settle).unwrap_or(ReplicationConf::SETTLE_MS),
            remote_limit: number(Key::RemoteLimit),
            peers: Vec::new(),
        };
        let peers = self.peers(node, &settled, has_links);
        ReplicationConf { peers, ..settled }
    }

    fn key_file(&self, node: &Node) -> Option<KeyFile> {
        Some(KeyFile { path: node.path()?, place: self.source.place(node.span) })
    }

    fn peers(&mut self, node: &Node, own: &ReplicationConf, has_links: bool) -> Vec<PeerConf> {
        let nodes = self.at_most(node, Key::Peer, PEERS_MAX, "peers");
        if nodes.is_empty() {
            let label = "expected `Peer NAME` in its block";
            self.error(node.span, "`Replication` has no `Peer`", label);
        }
        let mut names: Vec<(&str, Span)> = Vec::new();
        let mut keys: Vec<(Value, Span)> = Vec::new();
        let mut version1: Option<Span> = None;
        let mut peers = Vec::new();
        for peer in &nodes {
            let name = peer.name();
            if own.name.is_some_and(|own| own.as_str() == name) {
                let message = format!("peer `{name}` is this node");
                self.error(peer.span, message, "expected another node's name");
            }
            self.twice(&mut names, name, peer.span, format!("the peer `{name}` is given twice"));
            for key in peer.block.iter().filter(|node| node.keyword.key == Key::PublicKey) {
                let Some(value) = key.value() else { continue };
                self.twice(&mut keys, value.clone(), key.span, "this key is given twice".into());
            }
            let v1 = last(&peer.block, Key::Version1).filter(|node| node.flag());
            if let Some(v1) = v1 {
                self.version1(v1.span, &mut version1, has_links);
            }
            peers.extend(self.peer(peer, own.port));
        }
        if has_links && version1.is_none() && !nodes.is_empty() {
            let message = "no peer is said to be at the other end of the links";
            self.warn(node.span, message, "expected `Version1 on` in one `Peer`, or no links");
        }
        peers
    }

    fn version1(&mut self, span: Span, first: &mut Option<Span>, has_links: bool) {
        if !has_links {
            let label = "expected a link (`UDP`, `TCP` or `Multicast`) in `Sync`";
            self.error(span, "`Version1 on` without links", label);
        }
        let source = self.source;
        if let Some(first) = *first {
            self.found.error(|| {
                let message = "two peers have `Version1 on`".to_owned();
                let error = source.error(span, message).label("keep one of them");
                error.context(first, "the other one")
            });
        }
        first.get_or_insert(span);
    }

    fn peer(&mut self, node: &Node, own_port: u16) -> Option<PeerConf> {
        let keys = self.at_most(node, Key::PublicKey, KEYS_MAX, "keys of a peer");
        let addresses = self.at_most(node, Key::PeerAddress, ADDRESSES_MAX, "addresses of a peer");
        for (given, name) in [(&keys, "PublicKey"), (&addresses, "Address")] {
            if given.is_empty() {
                let message = format!("the peer `{}` has no `{name}`", node.name());
                self.error(node.span, message, format!("expected `{name}` in its block"));
            }
        }
        let key = |node: &&Node| match node.value()? {
            Value::PublicKey(key) => {
                Some(PeerKey { key: *key, place: self.source.place(node.span) })
            }
            _ => None,
        };
        let given = |key| last(&node.block, key);
        Some(PeerConf {
            name: Name::parse(node.name()).ok()?,
            place: self.source.place(node.span),
            keys: keys.iter().filter_map(key).collect(),
            addresses: addresses.iter().map(|node| PeerAddress::from(node.name())).collect(),
            port: given(Key::Port).map_or(own_port, |node| node.number() as u16),
            rate_kbit_s: given(Key::Rate).map(Node::number),
            version1: given(Key::Version1).map_or(ReplicationConf::VERSION1, Node::flag),
        })
    }

    /// The nodes of a keyword that may be repeated up to a limit.
    fn at_most<'n>(&mut self, node: &'n Node, key: Key, most: usize, what: &str) -> Vec<&'n Node> {
        let mut nodes: Vec<_> = node.block.iter().filter(|node| node.keyword.key == key).collect();
        if let Some(beyond) = nodes.get(most) {
            self.error(beyond.span, format!("there are more than {most} {what}"), "one too many");
            nodes.truncate(most);
        }
        nodes
    }

    /// Notes what may be given once.
    fn twice<T: PartialEq>(
        &mut self,
        known: &mut Vec<(T, Span)>,
        thing: T,
        span: Span,
        message: String,
    ) {
        let first = known.iter().find(|(other, _)| *other == thing).map(|(_, first)| *first);
        known.push((thing, span));
        let source = self.source;
        if let Some(first) = first {
            self.found.error(|| {
                let error = source.error(span, message).label("keep one of them");
                error.context(first, "first given here")
            });
        }
    }
}

fn address(value: &Value) -> Option<IpAddr> {
    match value {
        Value::Ipv4(addr) => Some((*addr).into()),
        Value::Ipv6(addr) => Some((*addr).into()),
        _ => None,
    }
}
