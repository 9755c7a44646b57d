//! The master truth: whenever a node says that it is exact, at a moment at which nothing is under way, it is.
//!
//! A node's claims are `Engine::standing` and `Engine::exactness`. What is under way cannot be known yet: an event of
//! the kernel, a message, a loss that was not noticed, an answer of the kernel.

use crate::checkers::{self, Table, fail, table};
use crate::cluster::{Cluster, Outcome, Violation};
use crate::limits::{self, Limit};
use crate::model::Essence;
use crate::trace::name;
use ctnetlink::{Flow, FlowKey};
use engine::{Exactness, Side};
use wire::sync::v1::Account;

/// Every node, whatever happens around it.
pub(crate) fn hold(cluster: &Cluster) -> Outcome {
    for node in 0..cluster.nodes.len() {
        if !cluster.is_settled(node) {
            continue;
        }
        if says_local(cluster, node) && cluster.is_in_sight(node) {
            local_is_kernel(cluster, node)?;
        }
        if says_remote(cluster, node) && cluster.has_heard_all(node) {
            remote_is_sent(cluster, node)?;
        }
    }
    Ok(())
}

/// Everybody says so, and is so. Liveness: a bounded time after the last fault.
pub(crate) fn all_exact(cluster: &Cluster) -> Outcome {
    const TRUTH: &str = "(n) liveness: says exact in time";
    hold(cluster)?;
    for (n, node) in cluster.nodes.iter().enumerate() {
        let Some(engine) = node.engine.ours() else { continue };
        if says_local(cluster, n) && says_remote(cluster, n) {
            continue;
        }
        let (standing, exactness) = (node.engine.standing(cluster.now), engine.exactness());
        let Some(limit) = limits::of(cluster, n) else {
            let text = format!("{} says {standing:?}, {exactness:?}", name(n));
            return Err(Violation::new(TRUTH, text));
        };
        let Limit { name, reason, says, .. } = limit;
        let text = format_args!("limit: {name}: {reason}. Meanwhile: {says}: {standing:?}");
        cluster.trace.say(cluster.now, n, text);
    }
    Ok(())
}

/// Whether a node says that its local table is the kernel's.
pub(crate) fn says_local(cluster: &Cluster, n: usize) -> bool {
    let engine = &cluster.nodes[n].engine;
    let loaded = engine.standing(cluster.now).is_some_and(|standing| standing.local_loaded);
    loaded && engine.ours().is_some_and(|engine| engine.exactness() == Exactness::Exact)
}

/// Whether a node says that it has what its peers have.
fn says_remote(cluster: &Cluster, n: usize) -> bool {
    let standing = cluster.nodes[n].engine.standing(cluster.now);
    standing.is_some_and(|standing| standing.remote_complete && standing.remote_exact)
}

/// The flows of the kernel that are this node's own, as far as the filter lets them in.
pub(crate) fn own(cluster: &Cluster, n: usize) -> Table {
    let node = &cluster.nodes[n];
    let filter = &node.engine.config().filter;
    let counts = |flow: &&Flow| filter.passes(flow) && !node.kernel.is_injected(&flow.key());
    node.kernel.flows().values().filter(counts).map(|f| (f.key(), Essence::of(f))).collect()
}

/// The flows that a node must send: its local table; where it keeps none, its kernel's flows.
pub(crate) fn to_send(cluster: &Cluster, n: usize) -> Table {
    let node = &cluster.nodes[n];
    if node.keeps(Side::Local) { table(node, Side::Local) } else { own(cluster, n) }
}

fn local_is_kernel(cluster: &Cluster, n: usize) -> Outcome {
    const TRUTH: &str = "(m) who says exact is: local == kernel";
    let node = &cluster.nodes[n];
    if !node.keeps(Side::Local) {
        return Ok(());
    }
    let kernel = node.kernel.flows();
    let local = table(node, Side::Local);
    for (key, known) in &local {
        let real = kernel.get(key).map(Essence::of);
        if real.as_ref() != Some(known) {
            return fail(TRUTH, n, key, &format!("is {known:?}, in the kernel {real:?}"));
        }
    }
    let is_missing = |key: &FlowKey| !local.contains_key(key) && !node.may_use_unseen(key);
    let missing = own(cluster, n).into_keys().find(is_missing);
    missing.map_or(Ok(()), |key| fail(TRUTH, n, &key, "is in the kernel only"))
}

fn remote_is_sent(cluster: &Cluster, n: usize) -> Outcome {
    const TRUTH: &str = "(m) who says exact is: remote == sent";
    let node = &cluster.nodes[n];
    // A commit puts a flow into a second kernel: then two nodes send it.
    let tables: Vec<Table> =
        cluster.heard_by(n).into_iter().map(|from| to_send(cluster, from)).collect();
    let sent: Table = tables.iter().flatten().map(|(key, flow)| (*key, flow.clone())).collect();
    if !node.keeps(Side::Remote) {
        return checkers::kernel_mirrors_peers(cluster, n);
    }
    // A commit makes flows local that the peer sent, and does not send them back unasked.
    let committed = |key: &FlowKey| {
        cluster.heard_by(n).into_iter().any(|from| cluster.nodes[from].committed.contains(key))
    };
    let remote = table(node, Side::Remote);
    // Ports of UDP-Lite and keys of GRE do not travel (S4.16); damage can make a flow one of those.
    let travels = |key: &FlowKey| Account::counts(key.tuple.proto);
    for (key, known) in remote.iter().filter(|(key, _)| travels(key)) {
        let flow = sent.get(key);
        let is_sent = tables.iter().any(|table| table.get(key) == Some(known));
        if !is_sent && !committed(key) {
            return fail(TRUTH, n, key, &format!("is {known:?}, at the peer {flow:?}"));
        }
    }
    let is_missing = |key: &&FlowKey| travels(key) && !remote.contains_key(*key) && !committed(key);
    let missing = sent.keys().find(is_missing);
    missing.map_or(Ok(()), |key| fail(TRUTH, n, key, "is not known of the peer"))
}
