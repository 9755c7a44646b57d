//! Interfaces of the links, and the way to the peer.

use super::super::facts::{Facts, Known, Link, NOT_ASKED, PathFound};
use super::{Root, said};
use crate::conf::{Conf, LinkConf, LinkKind, ModeConf, Unicast};
use export::http::{self, Listen};
use host::link::{Ends, Path, try_path};
use host::sys::interface::interface;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

/// The links that a configuration names, and routes over their interfaces.
pub(super) fn links(root: Root<'_>, conf: &Conf) -> Vec<Link> {
    let ModeConf::Sync(sync) = &conf.mode else { return Vec::new() };
    let link = |link: &LinkConf| Link {
        interface: link.interface.clone(),
        addresses: addresses(link),
        state: Err(NOT_ASKED.into()),
        mtu: Err(NOT_ASKED.into()),
        has_default_route: has_default_route(root, &link.interface),
        path: Err(NOT_ASKED.into()),
    };
    sync.links.iter().map(link).collect()
}

fn addresses(link: &LinkConf) -> Vec<IpAddr> {
    match link.kind {
        LinkKind::Multicast { local, .. } => local.map(IpAddr::from).into_iter().collect(),
        LinkKind::Udp(ends) | LinkKind::Tcp { unicast: ends, .. } => vec![ends.local, ends.remote],
    }
}

/// Whether a default route leaves by an interface: columns of `/proc/net/route` and `/proc/net/ipv6_route`, proc(5).
fn has_default_route(root: Root<'_>, interface: &str) -> Known<bool> {
    const ALL_V4: &str = "00000000";
    const ALL_V6: &str = "00000000000000000000000000000000";
    let v4 = root.text("/proc/net/route")?;
    // A kernel without IPv6 has no such file.
    let v6 = root.text("/proc/net/ipv6_route").unwrap_or_default();
    let is_v4 = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.first() == Some(&interface)
            && fields.get(1) == Some(&ALL_V4)
            && fields.get(7) == Some(&ALL_V4)
    };
    let is_v6 = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        matches!(fields[..], [ALL_V6, "00", .., device] if device == interface)
    };
    Ok(v4.lines().any(is_v4) || v6.lines().any(is_v6))
}

/// How long an address may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The addresses that metrics should be served at, with why each does not answer.
pub(super) fn metrics(conf: &Known<Conf>) -> Known<Vec<(String, Option<String>)>> {
    let metrics = conf.as_ref().map_err(Clone::clone)?.metrics.as_ref();
    let listens = metrics.into_iter().flat_map(|metrics| &metrics.listen);
    let ask = |listen: &Listen| {
        let why = match http::status_of(listen, "/-/healthy", PATIENCE) {
            // A refusal shows that a daemon answers.
            Ok(200 | 403) => None,
            Ok(code) => Some(format!("the answer is {code}")),
            Err(error) => Some(said(&error)),
        };
        (listen.to_string(), why)
    };
    Ok(listens.map(ask).collect())
}

/// Looks at the interfaces; with `paths`, at the way to the peer, too.
pub(super) fn look(facts: &mut Facts, paths: bool) {
    let links = match (&facts.conf.conf, &mut facts.links) {
        (Ok(Conf { mode: ModeConf::Sync(sync), .. }), Ok(links)) => sync.links.iter().zip(links),
        _ => return,
    };
    for (conf, link) in links {
        match interface(&conf.interface) {
            Ok(seen) => {
                let state = match (seen.up, seen.running) {
                    (true, true) => "RUNNING",
                    (true, false) => "NO-CARRIER",
                    (false, _) => "DOWN",
                };
                link.state = Ok(Some(state.into()));
                link.mtu = Ok(seen.mtu as u64);
                link.path = if seen.running && paths {
                    path(conf)
                } else {
                    Err(format!("{} does not work (link.state)", conf.interface))
                };
            }
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {
                link.state = Ok(None);
                let why = format!("there is no interface {} (link.state)", conf.interface);
                (link.mtu, link.path) = (Err(why.clone()), Err(why));
            }
            Err(error) => link.state = Err(format!("{}: {}", conf.interface, said(&error))),
        }
    }
}

fn path(conf: &LinkConf) -> Known<PathFound> {
    let Unicast { local, remote, port } = match conf.kind {
        LinkKind::Udp(ends) | LinkKind::Tcp { unicast: ends, .. } => ends,
        LinkKind::Multicast { .. } => {
            return Err("a group has no kernel that would answer".into());
        }
    };
    let ends = Ends { local, peer: remote, port };
    match try_path(&ends, &conf.interface) {
        Ok(Path::Passes) => Ok(PathFound::Passes),
        Ok(Path::TooLarge { mtu }) => Ok(PathFound::TooLarge(mtu as u64)),
        Ok(Path::Vanishes) => Ok(PathFound::Vanishes),
        Ok(Path::Silent) => Ok(PathFound::Silent),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Err("sending over it is not permitted".into())
        }
        Err(error) => Err(format!("a datagram to {remote} cannot be sent: {}", said(&error))),
    }
}
