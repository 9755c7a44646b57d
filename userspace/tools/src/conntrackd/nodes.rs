//! The nodes of a `Replication` block, opened: keys read, the cluster named to the engine, names looked up.

use super::keys::{self, Identity, Keyring};
use super::plan::Plan;
use crate::conf::{PeerAddress, PeerConf, ReplicationConf};
use anyhow::{Context as _, Result};
use engine::Config;
use engine::config::{Cluster, Owner};
use host::fleet::Handle;
use host::log::Log;
use host::nodes::{Nodes, Renewal, Settings};
use host::resolve::{self, Place, Resolved, System};
use host::secure::{Members, Name, PeerConfig};
use host::shard::Order;
use host::{clock, keyfile, process};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use wire::sync::v2::DigestKey;

/// Names that were looked up and not passed on yet.
const REPORTS_MAX: usize = 32;

/// Opens the sockets of version 2, one for each shard, if the plan has peers, and adds the peers to the engine's
/// settings.
///
/// # Errors
/// When a key file cannot be read, or the socket cannot be opened.
pub fn open(
    plan: &Plan,
    config: &mut Config,
    log: &Arc<Log>,
    keyring: &Keyring,
) -> Result<Vec<Nodes>> {
    let Some(conf) = &plan.replication else { return Ok(Vec::new()) };
    let (name, renewal) = read(conf, log, keyring)?;
    let Renewal { members, rates } = renewal;
    let incarnation = random_number();
    config.cluster = Some(Arc::new(Cluster {
        hot: conf.inject,
        settle: Duration::from_millis(conf.settle_ms.into()),
        remote_max: conf.remote_limit.map_or(config.flows_max, |flows| flows as usize),
        incarnation,
        digest_key: DigestKey(members.preshared.digest_key()),
        rates,
        ..cluster(name, &conf.peers)
    }));
    let (addresses, port) = (conf.addresses.clone(), conf.port);
    let settings = Settings { name, members, addresses, port, incarnation };
    let nodes = Nodes::open(settings, plan.shards, keyfile::random(), clock::now(), log);
    let nodes = nodes.with_context(|| format!("{}: opening port {port} for peers", conf.place))?;
    log.notice(format!("node {name}: replication, version 2, with {} peers", conf.peers.len()));
    Ok(nodes)
}

/// What a reload hands to the shard that runs.
///
/// # Errors
/// When a key file cannot be read.
pub fn renewal(plan: &Plan, log: &Log, keyring: &Keyring) -> Result<Option<Renewal>> {
    let Some(conf) = &plan.replication else { return Ok(None) };
    Ok(Some(read(conf, log, keyring)?.1))
}

/// This node's name; keys, peers and rates.
fn read(conf: &ReplicationConf, log: &Log, keyring: &Keyring) -> Result<(Name, Renewal)> {
    let identity = keys::identity(conf, &process::host_name(), keyring)?;
    let Identity { name, keys, preshared, notes } = identity;
    notes.iter().for_each(|note| log.warning(note));
    let peers = conf.peers.iter().map(|peer| PeerConfig {
        name: peer.name,
        keys: peer.keys.iter().map(|key| key.key).collect(),
        addresses: addresses(peer),
    });
    let members = Members { keys, preshared, peers: peers.collect() };
    Ok((name, Renewal { members, rates: conf.peers.iter().map(rate).collect() }))
}

/// The cluster: this node's and the peers' numbers in the order of names.
fn cluster(me: Name, peers: &[PeerConf]) -> Cluster {
    let place = |name: Name| {
        let before = peers.iter().map(|peer| peer.name).chain([me]);
        Owner(before.filter(|other| other.as_str() < name.as_str()).count() as u8)
    };
    Cluster {
        me: place(me),
        peers: peers.iter().map(|peer| place(peer.name)).collect(),
        rates: Vec::new(),
        hot: false,
        settle: Duration::ZERO,
        remote_max: 0,
        incarnation: 0,
        digest_key: DigestKey([0; 16]),
    }
}

/// `Rate` in bytes a second.
fn rate(peer: &PeerConf) -> Option<u64> {
    peer.rate_kbit_s.map(|kbit| u64::from(kbit) * 1_000 / 8)
}

/// What is known of a peer's places without looking names up.
fn addresses(peer: &PeerConf) -> Vec<SocketAddr> {
    let of = |place: &PeerAddress| match place {
        PeerAddress::Ip(ip) => Some(SocketAddr::new(*ip, peer.port)),
        PeerAddress::Name(_) => None,
    };
    peer.addresses.iter().filter_map(of).collect()
}

fn random_number() -> u64 {
    let mut bytes = [0; 8];
    keyfile::random()(&mut bytes);
    // 0 is reserved for no incarnation.
    u64::from_ne_bytes(bytes).max(1)
}

/// Looks up names of peers, and sends their addresses to the engine behind `handle`, until the tasks are dropped.
pub fn look_up(conf: Option<&ReplicationConf>, handle: &Handle, log: &Arc<Log>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let (tell, mut reports) = mpsc::channel(REPORTS_MAX);
    for (peer, conf) in conf.into_iter().flat_map(|conf| &conf.peers).enumerate() {
        let place = |address: &PeerAddress| match address {
            PeerAddress::Ip(ip) => Place::Address(SocketAddr::new(*ip, conf.port)),
            PeerAddress::Name(name) => Place::Name(name.clone(), conf.port),
        };
        let places: Vec<_> = conf.addresses.iter().map(place).collect();
        if places.iter().any(|place| matches!(place, Place::Name(..))) {
            let (name, tell) = (conf.name, tell.clone());
            tasks.spawn(async move { resolve::watch((peer, name), &places, &System, tell).await });
        }
    }
    let (handle, log) = (handle.clone(), Arc::clone(log));
    tasks.spawn(async move {
        while let Some(((peer, name), report)) = reports.recv().await {
            match report {
                Resolved::Addresses(addresses) => {
                    handle.order(Order::Addresses { peer, addresses });
                }
                Resolved::Unknown(host, why) => {
                    log.warning(format!("peer {name}: `{host}` does not resolve: {why}"));
                }
            }
        }
    });
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str) -> PeerConf {
        let text = format!(
            "General {{ UNIX {{ Path /x }} }}\nSync {{ Replication {{\nName x\nKeyFile /k\nPort 1\nPeer {name} {{\n\
             PublicKey {}\nAddress 192.0.2.2\nRate 20000\n}} }} }}",
            keyfile::draw().public()
        );
        let conf = crate::conf::parse(&text, "c.conf").unwrap().0;
        let crate::conf::ModeConf::Sync(sync) = conf.mode else { panic!("not Sync") };
        sync.replication.unwrap().peers[0].clone()
    }

    #[test]
    fn r4_2_the_order_of_owners_is_that_of_names_at_every_node() {
        let names = ["fw-a", "fw-b", "fw-c"];
        let of = |me: usize| {
            let peers: Vec<_> = (0..3).rev().filter(|n| *n != me).map(|n| peer(names[n])).collect();
            let Cluster { me, peers, .. } = cluster(Name::parse(names[me]).unwrap(), &peers);
            (me.0, peers.iter().map(|peer| peer.0).collect::<Vec<_>>())
        };
        assert_eq!(
            (0..3).map(of).collect::<Vec<_>>(),
            [(0, vec![2, 1]), (1, vec![2, 0]), (2, vec![1, 0])]
        );
        assert_eq!(rate(&peer("fw-b")), Some(2_500_000));
    }
}
