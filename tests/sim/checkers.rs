//! The truths, one function each. They look at tables and kernels, never into the engine's reasons.

use crate::claims;
use crate::cluster::{Cluster, Outcome, Violation};
use crate::model::{Essence, Ledger};
use crate::node::Node;
use crate::trace::{brief, name};
use ctnetlink::flow::{ProtoState, TCP_FLAG_BE_LIBERAL};
use ctnetlink::tuple::ipproto;
use ctnetlink::{Flow, FlowKey};
use engine::{Event, Side};
use std::collections::BTreeMap;

pub(crate) type Table = BTreeMap<FlowKey, Essence>;

pub(crate) fn table(node: &Node, side: Side) -> Table {
    let flows = node.engine.flows(side).into_iter();
    flows.map(|flow| (flow.key(), Essence::of(&flow))).collect()
}

/// What the nodes that `to` receives from know of their kernels, and which of them knows it. Of more than two nodes,
/// no two have the same flows.
fn locals(cluster: &Cluster, to: usize) -> BTreeMap<FlowKey, (usize, Essence)> {
    let mut all = BTreeMap::new();
    for from in cluster.heard_by(to) {
        let local = table(&cluster.nodes[from], Side::Local).into_iter();
        all.extend(local.map(|(key, flow)| (key, (from, flow))));
    }
    all
}

/// Pairs of nodes of which the second receives from the first.
fn pairs(cluster: &Cluster) -> Vec<(usize, usize)> {
    let nodes = 0..cluster.nodes.len();
    nodes.flat_map(|to| cluster.heard_by(to).into_iter().map(move |from| (from, to))).collect()
}

/// (a) The local table is the kernel's: nothing more, nothing less, nothing older.
pub(crate) fn local_is_kernel(cluster: &Cluster) -> Outcome {
    for (n, node) in cluster.nodes.iter().enumerate() {
        let config = node.engine.config();
        // What does not fit is missing, and the node says so.
        let tight = cluster.profile.tight && !claims::says_local(cluster, n);
        if !config.replication.keep_local
            || tight
            || node.engine.ours().is_none()
            || node.kernel.unnoticed
            || !cluster.is_in_sight(n)
        {
            continue;
        }
        let local = table(node, Side::Local);
        let kernel = node.kernel.flows();
        for (key, known) in &local {
            let true_one = kernel.get(key).filter(|flow| config.filter.passes(flow));
            let Some(flow) = true_one else {
                return fail("(a) local == kernel", n, key, "is in the local table only");
            };
            if *known != Essence::of(flow) {
                let text = format!("is {known:?} here, but in the kernel {}", brief(flow));
                return fail("(a) local == kernel", n, key, &text);
            }
        }
        for (key, flow) in kernel {
            let counts = config.filter.passes(flow) && !node.kernel.is_injected(key);
            // The limit "unseen traffic": a reading shows a flow of a peer's, and not that traffic used it meanwhile.
            let counts = counts && !node.may_use_unseen(key);
            if counts && !local.contains_key(key) && !cluster.profile.tight {
                return fail("(a) local == kernel", n, key, "is in the kernel only");
            }
        }
    }
    Ok(())
}

/// (b) Where nothing is lost, the peer knows exactly what this node does.
pub(crate) fn remote_is_local(cluster: &Cluster) -> Outcome {
    const TRUTH: &str = "(b) lossless: remote == local";
    for to in 0..cluster.nodes.len() {
        let local = locals(cluster, to);
        let remote = table(&cluster.nodes[to], Side::Remote);
        for (key, known) in &remote {
            let Some((_, flow)) = local.get(key) else {
                return fail(TRUTH, to, key, "is no flow of the peer's any more");
            };
            if flow != known {
                return fail(TRUTH, to, key, &format!("is {known:?}, at the peer {flow:?}"));
            }
        }
        if let Some(key) = local.keys().find(|key| !remote.contains_key(key)) {
            return fail(TRUTH, to, key, "is not known of the peer");
        }
    }
    Ok(())
}

/// (c) Beside the original: after a bulk transfer over a link that is whole again, each knows every flow of the other as it
/// is, but for those of which the original lost a message for good. What has ended it may keep.
pub(crate) fn remote_covers_local(cluster: &Cluster) -> Outcome {
    pairs(cluster).into_iter().try_for_each(|pair| peer_covers(cluster, pair))
}

/// Compares both tables in one direction.
pub(crate) fn peer_covers(cluster: &Cluster, (from, to): (usize, usize)) -> Outcome {
    const TRUTH: &str = "(c) healed: remote covers local";
    let original = cluster.profile.original == Some(from);
    let ledger = cluster.ledger(from, to);
    let local = table(&cluster.nodes[from], Side::Local);
    let remote = table(&cluster.nodes[to], Side::Remote);
    for (key, flow) in local.iter().filter(|(key, _)| !ledger.unkept.contains(key)) {
        let Some(known) = remote.get(key) else {
            return fail(TRUTH, to, key, "is not known of the peer");
        };
        // The original merges an update into what it knows, and a field that the message does not carry stays.
        let merges = cluster.profile.original == Some(to);
        let same = known == flow
            || original && known.without_mark() == flow.without_mark()
            || merges && known.without_rare() == flow.without_rare();
        if !same {
            return fail(TRUTH, to, key, &format!("is {known:?}, at the peer {flow:?}"));
        }
    }
    Ok(())
}

/// (j) The peer knows every flow as it is, by whatever messages.
pub(crate) fn peer_knows(cluster: &Cluster) -> Outcome {
    const TRUTH: &str = "(j) the peer knows every flow";
    for (from, to) in pairs(cluster) {
        let remote = table(&cluster.nodes[to], Side::Remote);
        for (key, flow) in table(&cluster.nodes[from], Side::Local) {
            let known = remote.get(&key).map(Essence::without_rare);
            if known.as_ref() != Some(&flow.without_rare()) {
                let text = format!("is {known:?}, at the peer {flow:?}");
                return fail(TRUTH, to, &key, &text);
            }
        }
    }
    Ok(())
}

/// (k) Two nodes to whom nothing happens send only signs of life: `datagrams` in the time of settling.
pub(crate) fn is_quiet(datagrams: u64) -> Outcome {
    if datagrams > 24 {
        return Err(Violation::new("(k) quiet", format!("{datagrams} datagrams about nothing")));
    }
    Ok(())
}

/// (d) A commit leaves the kernel with every flow of the remote table, or says how many it could not take.
pub(crate) fn commit_is_whole(node: &Node, before: &[Flow]) -> Outcome {
    const TRUTH: &str = "(d) commit";
    let done = node.events.iter().rev().find_map(|event| match event {
        Event::CommitDone { committed, failed, .. } => Some((*committed, *failed)),
        _ => None,
    });
    let Some((committed, failed)) = done else {
        return Err(Violation::new(TRUTH, "it never ended"));
    };
    if committed + failed != before.len() as u64 {
        let text = format!("{committed} + {failed} flows of {}", before.len());
        return Err(Violation::new(TRUTH, text));
    }
    let mut missing = 0;
    for flow in before {
        let Some(real) = node.kernel.flows().get(&flow.key()) else {
            missing += u64::from(!is_in_way(node, flow, before));
            if !is_excused(node, flow, before, 0) {
                return fail(TRUTH, node.index, &flow.key(), "is not in the kernel, for no reason");
            }
            continue;
        };
        check_committed(node, flow, real)?;
    }
    if missing > failed {
        return Err(Violation::new(TRUTH, format!("{missing} flows missing, {failed} failed")));
    }
    Ok(())
}

/// Why the kernel may refuse a flow: its master is nowhere, or another flow uses its tuples. Flows that are each
/// other's masters have no first one.
fn is_excused(node: &Node, flow: &Flow, all: &[Flow], depth: usize) -> bool {
    let lost_master = flow.master().is_some_and(|master| {
        let key = FlowKey::new(*master, flow.zone);
        node.kernel.read(&key).is_none()
            && all
                .iter()
                .find(|f| f.key() == key)
                .is_none_or(|f| depth > all.len() || is_excused(node, f, all, depth + 1))
    });
    lost_master || is_in_way(node, flow, all) || node.kernel.has_refused()
}

/// Whether another flow uses the tuples of this one. Of two such flows of a peer, the one that is written later takes
/// the place of the other.
fn is_in_way(node: &Node, flow: &Flow, all: &[Flow]) -> bool {
    let ends = [flow.orig, flow.reply];
    let in_way = |other: &Flow| {
        other.key() != flow.key()
            && other.zone == flow.zone
            && (ends.contains(&other.orig) || ends.contains(&other.reply))
    };
    all.iter().any(in_way) || node.kernel.flows().values().any(in_way)
}

fn check_committed(node: &Node, flow: &Flow, real: &Flow) -> Outcome {
    const TRUTH: &str = "(d) commit";
    let (wanted, got) = (Essence::of(flow), Essence::of(real));
    if (wanted.mark, wanted.proto, wanted.reply) != (got.mark, got.proto, got.reply) {
        return fail(TRUTH, node.index, &flow.key(), &format!("is {got:?}, sent was {wanted:?}"));
    }
    if let ProtoState::Tcp(tcp) = real.proto {
        let wants = !node.engine.config().window_tracking;
        let is = tcp
            .flags
            .is_some_and(|f| f.iter().all(|f| f.flags & f.mask & TCP_FLAG_BE_LIBERAL != 0));
        if wants != is {
            return fail(TRUTH, node.index, &flow.key(), "has the wrong window flags");
        }
    }
    Ok(())
}

/// (e) Where the flows of its peers go straight into the kernel, it holds them all, and none that has ended.
pub(crate) fn kernel_mirrors_peers(cluster: &Cluster, to: usize) -> Outcome {
    const TRUTH: &str = "(e) kernel mirrors the peer";
    let heard = cluster.heard_by(to).into_iter();
    // A commit makes flows local that this node sent, and does not send them back unasked.
    let sent = |from: usize| {
        let committed = &cluster.nodes[from].committed;
        let mut table = claims::to_send(cluster, from);
        table.retain(|key, _| !committed.contains(key));
        table
    };
    let tables: Vec<Table> = heard.map(sent).collect();
    let node = &cluster.nodes[to];
    let kernel = &node.kernel;
    let flows = tables.iter().flatten();
    for (key, flow) in flows.filter(|(key, _)| !node.may_use_unseen(key)) {
        // Where two flows that are each other's mirror follow one another and the news of it comes out of order, the
        // peer's kernel may end up with neither: it cannot hold both, not even for a moment.
        let mirrored = key.tuple.proto == ipproto::UDP;
        let Some(real) = kernel.flows().get(key) else {
            if mirrored {
                continue;
            }
            return fail(TRUTH, to, key, "is not in the kernel");
        };
        let real = Essence::of(real);
        let is_real = |flow: &Essence| {
            (flow.mark, &flow.proto, flow.reply) == (real.mark, &real.proto, real.reply)
        };
        // If several peers have a flow, a kernel holds what one of them says.
        if !tables.iter().filter_map(|table| table.get(key)).any(is_real) {
            return fail(TRUTH, to, key, &format!("is {real:?}, at the peer {flow:?}"));
        }
    }
    let is_sent = |key: &FlowKey| {
        cluster
            .heard_by(to)
            .into_iter()
            .any(|from| claims::to_send(cluster, from).contains_key(key))
    };
    // A node that took over has made them its own.
    let own = if node.took_over { table(node, Side::Local) } else { Table::new() };
    let is_left =
        |key: &&FlowKey| kernel.is_kept_for_peer(key) && !is_sent(key) && !own.contains_key(*key);
    let extra = kernel.flows().keys().find(is_left);
    extra.map_or(Ok(()), |key| fail(TRUTH, to, key, "has ended at the peer"))
}

/// (f) Tables are sound, and every command was answered.
pub(crate) fn nothing_is_left_over(cluster: &Cluster) -> Outcome {
    for (n, node) in cluster.nodes.iter().enumerate() {
        if let Some(id) = node.open_commands().first() {
            let text = format!("{id:?} was never answered by {}", name(n));
            return Err(Violation::new("(f) commands", text));
        }
        let Some(engine) = node.engine.ours() else { continue };
        for side in [Side::Local, Side::Remote] {
            let table = engine.table(side);
            for (slot, entry) in table.iter() {
                if table.find(&entry.key()) != Some(slot) {
                    return fail("(f) tables", n, &entry.key(), "cannot be found");
                }
            }
        }
        let refused = engine.counters().replica.malformed();
        let corrupted = |from: usize| cluster.ledger(from, n).corrupted;
        if refused > 0 && !cluster.heard_by(n).into_iter().any(corrupted) {
            let text = format!("{} refused {refused} messages of a sound link", name(n));
            return Err(Violation::new("(f) datagrams", text));
        }
    }
    Ok(())
}

/// (h) The remote table is what the messages that arrived say, whatever order they arrived in.
pub(crate) fn remote_is_what_arrived(cluster: &Cluster) -> Outcome {
    const TRUTH: &str = "(h) remote == what arrived";
    for to in 0..cluster.nodes.len() {
        let sent = cluster.heard_by(to).into_iter().map(|from| cluster.ledger(from, to));
        let sent: Table = sent.flat_map(Ledger::received_table).collect();
        let remote = table(&cluster.nodes[to], Side::Remote);
        for (key, known) in &remote {
            let Some(flow) = sent.get(key) else {
                return fail(TRUTH, to, key, "should be gone");
            };
            if flow != known {
                return fail(TRUTH, to, key, &format!("is {known:?}, sent was {flow:?}"));
            }
        }
        if let Some(key) = sent.keys().find(|key| !remote.contains_key(key)) {
            return fail(TRUTH, to, key, "is missing");
        }
    }
    Ok(())
}

pub(crate) fn fail(truth: &'static str, node: usize, key: &FlowKey, what: &str) -> Outcome {
    let node = name(node);
    Err(Violation::new(truth, format!("{node}: {:?} zone {} {what}", key.tuple, key.zone)))
}
