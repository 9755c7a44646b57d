//! Limits of version 1 of the protocol and of the kernel: the only exceptions from the truths.
//!
//! Where one applies, a node need not come to have everything. It may not say that it has, either: its claims are
//! checked whatever applies (`claims.rs`). Three cannot be seen while they last.

use crate::claims;
use crate::cluster::Cluster;
use crate::profile::Rules;
use engine::Side;

/// One exception.
pub(crate) struct Limit {
    pub(crate) name: &'static str,
    /// Why the product cannot do better.
    pub(crate) reason: &'static str,
    /// What the product says while it lasts.
    pub(crate) says: &'static str,
    /// Whether it keeps a node from having all.
    pub(crate) applies: fn(&Cluster, usize) -> bool,
}

/// All of them.
pub(crate) const LIMITS: [Limit; 11] = [
    Limit {
        name: "straight into the kernel",
        reason: "flows in the kernel carry no sign of who sent them, so no node can take away those whose ends were lost",
        says: "not exact, until the external cache is flushed",
        applies: |cluster, node| !cluster.nodes[node].keeps(Side::Remote),
    },
    Limit {
        name: "table full",
        reason: "a table holds no more flows than HashLimit, or nf_conntrack_max, says",
        says: "not exact (local), not complete or not exact (remote)",
        applies: |cluster, node| is_full(cluster, node),
    },
    Limit {
        name: "several acknowledge",
        reason: "FTFW: ACK and NACK do not say whose messages they are about, so nodes beyond two answer for each other",
        says: "not complete or not exact",
        applies: |cluster, _| cluster.profile.rules == Rules::Ftfw && cluster.nodes.len() > 2,
    },
    Limit {
        name: "both have it",
        reason: "DisableExternalCache: a kernel holds one flow of an identity; where traffic of both nodes uses it, each sends \
                 the other one, and no message says who is right",
        says: "not exact, as long as both have it",
        applies: |cluster, node| both_have_some(cluster, node),
    },
    Limit {
        name: "the other one writes it",
        reason: "DisableExternalCache at the peer: what a node sends about a flow that the peer has, too, changes or ends the \
                 peer's, and the peer does not report that",
        says: "not exact, until the peer has sent everything once more, and as long as both have it",
        applies: |cluster, node| peers_write_some(cluster, node) || peers_share_some(cluster, node),
    },
    Limit {
        name: "an earlier life wrote it",
        reason: "DisableExternalCache: a flow of the kernel carries no sign of who wrote it; what an earlier life wrote and a \
                 peer ended before this one began looks like a flow of this node's of which nothing is heard",
        says: "not exact, until all flows that were there have been heard of or have ended",
        applies: |cluster, node| may_have_written(cluster, node),
    },
    Limit {
        name: "another address",
        reason: "messages name no sender, so a node whose address has changed cannot be told from another node: no peer reports \
                 the ends of what came from the old address",
        says: "not complete or not exact, until the external cache is flushed and everything requested",
        applies: |cluster, node| {
            cluster.heard_by(node).into_iter().any(|from| cluster.links[from].has_moved())
        },
    },
    Limit {
        name: "forged",
        reason: "messages are not signed: a whole one that somebody else sent is the peer's, for all one can know; a transfer \
                 that names all flows takes it away",
        says: "nothing: out of anybody's sight",
        applies: |_, _| false,
    },
    Limit {
        name: "silent flows",
        reason: "the kernel reports nothing of flows that began before the first listener, and the hook nothing of flows that \
                 never came to be: they are asked for every few seconds",
        says: "how many such flows there are; out of sight in between",
        applies: |_, _| false,
    },
    Limit {
        name: "unseen traffic",
        reason: "DisableExternalCache: that traffic of this node's uses a flow of a peer's shows in events alone; while they are \
                 off, and of one that is lost, nobody can know whose it is, whatever a reading or a transfer shows",
        says: "not exact (local) until the kernel's table has been read; then nothing, until the next event of the flow",
        applies: |_, _| false,
    },
    Limit {
        name: "the original forgets",
        reason: "conntrackd forgets what it keeps when it is greeted, reports nothing of what ended before it began, and takes \
                 nothing away that a transfer does not name (original.rs)",
        says: "ours: not complete or not exact",
        applies: |cluster, _| cluster.profile.original.is_some(),
    },
];

/// The first exception that applies to a node.
pub(crate) fn of(cluster: &Cluster, node: usize) -> Option<&'static Limit> {
    LIMITS.iter().find(|limit| (limit.applies)(cluster, node))
}

/// Whether the flows that a node should hold do not fit.
fn is_full(cluster: &Cluster, node: usize) -> bool {
    let most = cluster.nodes[node].engine.config().flows_max;
    let full = |n: &usize| {
        cluster.nodes[*n].kernel.flows().len() >= cluster.nodes[*n].engine.config().flows_max
    };
    if !cluster.nodes[node].keeps(Side::Remote) && cluster.nodes[node].kernel.is_full() {
        return true;
    }
    let heard = cluster.heard_by(node);
    let sent: usize = heard.iter().map(|from| cluster.nodes[*from].kernel.flows().len()).sum();
    sent >= most || full(&node) || heard.iter().any(full)
}

/// Whether flows go straight into the kernel although a flow of this node's is a peer's, too.
fn both_have_some(cluster: &Cluster, node: usize) -> bool {
    let own = claims::to_send(cluster, node);
    let has = |from: usize| claims::to_send(cluster, from).keys().any(|key| own.contains_key(key));
    !cluster.nodes[node].keeps(Side::Remote) && cluster.heard_by(node).into_iter().any(has)
}

/// Whether a peer writes received flows straight into its kernel, and has a flow that this node sends, too.
fn peers_write_some(cluster: &Cluster, node: usize) -> bool {
    let own = claims::to_send(cluster, node);
    let writes = |from: &usize| !cluster.nodes[*from].keeps(Side::Remote);
    let has = |from: usize| claims::to_send(cluster, from).keys().any(|key| own.contains_key(key));
    cluster.nodes[node].keeps(Side::Remote)
        && cluster.heard_by(node).into_iter().filter(writes).any(has)
}

/// Whether two peers send one flow, and one of them writes received flows straight into its kernel: each changes the
/// other's.
fn peers_share_some(cluster: &Cluster, node: usize) -> bool {
    let heard = cluster.heard_by(node);
    let writers = heard.iter().filter(|from| !cluster.nodes[**from].keeps(Side::Remote));
    writers.into_iter().any(|writer| {
        let own = claims::to_send(cluster, *writer);
        let others = heard.iter().filter(|other| *other != writer);
        others.into_iter().any(|o| claims::to_send(cluster, *o).keys().any(|k| own.contains_key(k)))
    })
}

/// Whether a flow may be one that an earlier life of the node wrote.
fn may_have_written(cluster: &Cluster, node: usize) -> bool {
    let node = &cluster.nodes[node];
    let silent = node.engine.ours().map_or(0, engine::Engine::flows_without_events);
    let began_again = node.engine.config().earlier_life && !node.keeps(Side::Remote);
    began_again && (silent > 0 || !node.keeps(Side::Local))
}
