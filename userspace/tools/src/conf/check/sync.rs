//! `Sync`: the replication protocol and its links.

use super::{Checker, last, speaks_version1};
use crate::conf::model::{
    ExpectationSync, LINKS_MAX, LinkConf, LinkKind, SyncConf, SyncMode, SyncOptions, Unicast,
};
use crate::conf::parser::Node;
use crate::conf::schema::{Key, Value};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

impl Checker<'_> {
    pub(super) fn sync(&mut self, node: &Node) -> SyncConf {
        let mode = last(&node.block, Key::Mode);
        let version1 = speaks_version1(node);
        if mode.is_none() && version1 {
            self.warn(
                node.span,
                "`Sync` has no `Mode`",
                "running as if `Mode FTFW { }` were given",
            );
        }
        let options = last(&node.block, Key::Options);
        let links = if version1 { self.links(node) } else { Vec::new() };
        let replication = last(&node.block, Key::Replication);
        SyncConf {
            mode: self.sync_mode(node, mode),
            links,
            options: options.map(|node| sync_options(&node.block)).unwrap_or_default(),
            replication: replication.map(|block| Box::new(self.replication(block, node, version1))),
        }
    }

    fn sync_mode(&mut self, sync: &Node, mode: Option<&Node>) -> SyncMode {
        let name = mode.map_or(SyncMode::NAME, Node::choice);
        // Timeouts may stand in `Sync` as well as in `Mode`. The file is read from top to bottom, so that the
        // last one counts wherever it stands.
        let settings = sync.block.iter().flat_map(|node| match node.keyword.key {
            Key::Mode => node.block.as_slice(),
            _ => std::slice::from_ref(node),
        });
        let all: Vec<&Node> = settings.collect();
        let given = |key| all.iter().rev().find(|node| node.keyword.key == key).copied();
        let number = |key, default| given(key).map_or(default, Node::number);
        let flag = |key, default| given(key).map_or(default, Node::flag);
        let disable_external_cache =
            flag(Key::DisableExternalCache, SyncMode::DISABLE_EXTERNAL_CACHE);
        let commit_timeout_s =
            self.commit_timeout(given(Key::CommitTimeout), disable_external_cache);
        let purge_timeout_s = number(Key::PurgeTimeout, SyncMode::PURGE_TIMEOUT_S);
        let startup_resync = flag(Key::StartupResync, SyncMode::STARTUP_RESYNC);
        self.alarm_only(name, [given(Key::RefreshTime), given(Key::CacheTimeout)]);
        match name {
            "ALARM" => SyncMode::Alarm {
                refresh_time_s: number(Key::RefreshTime, SyncMode::REFRESH_TIME_S),
                cache_timeout_s: number(Key::CacheTimeout, SyncMode::CACHE_TIMEOUT_S),
                commit_timeout_s,
                purge_timeout_s,
            },
            "NOTRACK" => SyncMode::NoTrack {
                commit_timeout_s,
                purge_timeout_s,
                disable_internal_cache: flag(
                    Key::DisableInternalCache,
                    SyncMode::DISABLE_INTERNAL_CACHE,
                ),
                disable_external_cache,
                startup_resync,
            },
            _ => SyncMode::Ftfw {
                resend_queue_size: number(Key::ResendQueueSize, SyncMode::RESEND_QUEUE_SIZE),
                ack_window_size: number(Key::AckWindowSize, SyncMode::ACK_WINDOW_SIZE),
                commit_timeout_s,
                purge_timeout_s,
                disable_external_cache,
                startup_resync,
            },
        }
    }

    fn commit_timeout(&mut self, node: Option<&Node>, disable_external_cache: bool) -> Option<u32> {
        let Some(node) = node else { return SyncMode::COMMIT_TIMEOUT_S };
        if disable_external_cache {
            let message = "`CommitTimeout` has no effect with `DisableExternalCache`";
            self.warn(node.span, message, "nothing is committed without an external cache");
            return None;
        }
        Some(node.number())
    }

    fn alarm_only(&mut self, mode: &str, settings: [Option<&Node>; 2]) {
        for node in settings.into_iter().flatten().filter(|_| mode != "ALARM") {
            let message = format!("`{}` has no effect in mode {mode}", node.keyword.name);
            self.warn(node.span, message, "only mode ALARM uses it");
        }
    }

    fn links(&mut self, sync: &Node) -> Vec<LinkConf> {
        let is_link =
            |node: &&Node| matches!(node.keyword.key, Key::Multicast | Key::Udp | Key::Tcp);
        let nodes: Vec<&Node> = sync.block.iter().filter(is_link).collect();
        let Some(first) = nodes.first() else {
            let label = "expected `UDP`, `TCP` or `Multicast` in its block";
            self.error(sync.span, "there is no dedicated link", label);
            return Vec::new();
        };
        for node in nodes.iter().filter(|node| node.keyword.key != first.keyword.key) {
            let source = self.source;
            self.found.error(|| {
                let message = "dedicated links must all be of one kind".to_owned();
                let label = format!("expected {}", first.keyword.name);
                source.error(node.span, message).label(label).context(first.span, "the first link")
            });
        }
        if let Some(node) = nodes.get(LINKS_MAX) {
            let message = format!("there are more than {LINKS_MAX} dedicated links");
            self.error(node.span, message, "one too many");
        }
        let mut links: Vec<_> = nodes.iter().filter_map(|node| self.link(node)).collect();
        self.choose_default(&nodes, &mut links);
        links
    }

    /// If several links want to be the first, the last of these wins; if none does, the first link is.
    fn choose_default(&mut self, nodes: &[&Node], links: &mut [LinkConf]) {
        let wanting: Vec<_> = nodes.iter().filter(|node| !node.args.is_empty()).collect();
        if let [first, .., last] = wanting.as_slice() {
            let source = self.source;
            self.found.warning(|| {
                let message = "several links are marked `Default`".to_owned();
                let warning = source.warning(last.span, message).label("the last one counts");
                warning.context(first.span, "first given here")
            });
        }
        let chosen = links.iter().rposition(|link| link.default).unwrap_or(0);
        for (i, link) in links.iter_mut().enumerate() {
            link.default = i == chosen;
        }
    }

    fn link(&mut self, node: &Node) -> Option<LinkConf> {
        let given = |key| last(&node.block, key);
        let interface = given(Key::Interface);
        if interface.is_none() {
            self.error(
                node.span,
                "the link has no `Interface`",
                "expected `Interface` in its block",
            );
        }
        let kind = match node.keyword.key {
            Key::Multicast => self.multicast(node),
            Key::Udp => self.unicast(node).map(LinkKind::Udp),
            _ => self.unicast(node).map(|unicast| LinkKind::Tcp {
                unicast,
                error_queue_len: given(Key::ErrorQueueLength)
                    .map_or(LinkConf::ERROR_QUEUE_LEN, Node::number),
            }),
        };
        let kind = kind?;
        if let Some(node) = given(Key::Checksum).filter(|node| !node.flag()) {
            self.checksum_off(&kind, node);
        }
        Some(LinkConf {
            kind,
            interface: interface?.name().to_owned(),
            default: !node.args.is_empty(),
            checksum: given(Key::Checksum).map_or(LinkConf::CHECKSUM, Node::flag),
            snd_buffer: given(Key::SndSocketBuffer).map(Node::number).or(LinkConf::SND_BUFFER),
            rcv_buffer: given(Key::RcvSocketBuffer).map(Node::number).or(LinkConf::RCV_BUFFER),
        })
    }

    /// Only UDP over IPv4 can do without.
    fn checksum_off(&mut self, kind: &LinkKind, node: &Node) {
        if let Some(why) = kind.checksum_required() {
            let place =
                if matches!(kind, LinkKind::Tcp { .. }) { "on a TCP link" } else { "over IPv6" };
            self.warn(node.span, format!("`Checksum off` has no effect {place}"), why);
        }
    }

    fn multicast(&mut self, node: &Node) -> Option<LinkKind> {
        let group = self.one_of(node, Key::Ipv4Address, Key::Ipv6Address);
        let port = self.port(node, Key::Group);
        let (node_of_group, group) = (group?, address(group?)?);
        if !group.is_multicast() {
            let at = node_of_group.args.first().map_or(node_of_group.span, |arg| arg.span);
            let message = format!("{group} is not a multicast address");
            self.error(at, message, "expected an address in 224.0.0.0/4 or ff00::/8");
        }
        let local = last(&node.block, Key::Ipv4Interface).and_then(|node| match node.value() {
            Some(Value::Ipv4(addr)) => Some(*addr),
            _ => None,
        });
        Some(LinkKind::Multicast { group, port: port?, local })
    }

    fn unicast(&mut self, node: &Node) -> Option<Unicast> {
        let remote = self.one_of(node, Key::Ipv4Destination, Key::Ipv6Destination);
        let port = self.port(node, Key::Port);
        let remote = address(remote?)?;
        Some(Unicast { local: self.local(node, remote), remote, port: port? })
    }

    /// This node's end of a link to `remote`, which must be of the same family.
    fn local(&mut self, node: &Node, remote: IpAddr) -> IpAddr {
        let (same, other, any) = match remote {
            IpAddr::V4(_) => (Key::Ipv4Address, Key::Ipv6Address, Ipv4Addr::UNSPECIFIED.into()),
            IpAddr::V6(_) => (Key::Ipv6Address, Key::Ipv4Address, Ipv6Addr::UNSPECIFIED.into()),
        };
        let local = last(&node.block, same);
        if let Some(wrong) = last(&node.block, other) {
            let message = "the two ends of the link are of different address families";
            self.error(wrong.span, message, format!("the destination is {remote}"));
        } else if local.is_none() {
            let message = "the link has no address of this node";
            self.warn(node.span, message, "it listens on every address");
        }
        local.and_then(address).unwrap_or(any)
    }

    /// The one of two keywords that is given; both, or none, is an error.
    fn one_of<'n>(&mut self, node: &'n Node, ipv4: Key, ipv6: Key) -> Option<&'n Node> {
        match (last(&node.block, ipv4), last(&node.block, ipv6)) {
            (Some(one), None) | (None, Some(one)) => Some(one),
            (Some(first), Some(second)) => {
                let source = self.source;
                self.found.error(|| {
                    let message = "a link has either an IPv4 or an IPv6 address".to_owned();
                    let error = source.error(second.span, message).label("keep one of them");
                    error.context(first.span, "the other one")
                });
                None
            }
            (None, None) => {
                let (what, label) = match ipv4 {
                    Key::Ipv4Address => {
                        ("group", "expected `IPv4_address` or `IPv6_address` in its block")
                    }
                    _ => (
                        "peer",
                        "expected `IPv4_Destination_Address` or `IPv6_Destination_Address` in its block",
                    ),
                };
                self.error(node.span, format!("the link has no {what} to send to"), label);
                None
            }
        }
    }

    fn port(&mut self, node: &Node, key: Key) -> Option<u16> {
        let Some(port) = last(&node.block, key) else {
            let name = if key == Key::Group { "Group" } else { "Port" };
            let label = format!("expected `{name}` in its block");
            self.error(node.span, format!("the link has no `{name}`"), label);
            return None;
        };
        Some(port.number() as u16)
    }
}

fn address(node: &Node) -> Option<IpAddr> {
    match node.value()? {
        Value::Ipv4(addr) => Some((*addr).into()),
        Value::Ipv6(addr) => Some((*addr).into()),
        _ => None,
    }
}

fn sync_options(nodes: &[Node]) -> SyncOptions {
    let standard = SyncOptions::default();
    let expectation_sync = match last(nodes, Key::ExpectationSync) {
        Some(Node { items: Some(items), .. }) => ExpectationSync::Helpers(
            items
                .iter()
                .filter_map(|item| match &item.value {
                    Value::Name(name) => Some(name.clone()),
                    _ => None,
                })
                .collect(),
        ),
        Some(node) if node.flag() => ExpectationSync::All,
        Some(_) => ExpectationSync::Off,
        None => standard.expectation_sync,
    };
    let tcp_window_tracking =
        last(nodes, Key::TcpWindowTracking).map_or(standard.tcp_window_tracking, Node::flag);
    SyncOptions { tcp_window_tracking, expectation_sync }
}
