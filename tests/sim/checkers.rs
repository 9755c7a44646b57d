//! The truths, one function each. They look at tables and kernels, never into the engine's reasons.

use crate::cluster::{Cluster, Outcome, Violation};
use crate::model::{Essence, Ledger};
use crate::node::Node;
use crate::profile::Rules;
use crate::trace::{brief, name};
use common::FlowKey;
use common::tuple::ipproto;
use engine::{Event, Side};
use std::collections::{BTreeMap, BTreeSet};
use wire::Flow;
use wire::flow::{ProtoState, TCP_FLAG_BE_LIBERAL};

type Table = BTreeMap<FlowKey, Essence>;

fn table(node: &Node, side: Side) -> Table {
    let flows = node.engine.flows(side).into_iter();
    flows.map(|flow| (flow.key(), Essence::of(&flow))).collect()
}

/// What the nodes that `to` hears know of their kernels, and which of them knows it. Of more than two nodes, no two have
/// the same flows.
fn locals(cluster: &Cluster, to: usize) -> BTreeMap<FlowKey, (usize, Essence)> {
    let mut all = BTreeMap::new();
    for from in cluster.heard_by(to) {
        let local = table(&cluster.nodes[from], Side::Local).into_iter();
        all.extend(local.map(|(key, flow)| (key, (from, flow))));
    }
    all
}

/// Pairs of nodes of which the second hears the first.
fn pairs(cluster: &Cluster) -> Vec<(usize, usize)> {
    let nodes = 0..cluster.nodes.len();
    nodes.flat_map(|to| cluster.heard_by(to).into_iter().map(move |from| (from, to))).collect()
}

/// (a) The local table is the kernel's: nothing more, nothing less, nothing older.
pub(crate) fn local_is_kernel(cluster: &Cluster) -> Outcome {
    for (n, node) in cluster.nodes.iter().enumerate() {
        let config = node.engine.config();
        if !config.replication.keep_local || node.engine.ours().is_none() {
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
    let alarm = cluster.profile.rules == Rules::Alarm;
    for to in 0..cluster.nodes.len() {
        let local = locals(cluster, to);
        let remote = table(&cluster.nodes[to], Side::Remote);
        for (key, known) in &remote {
            let Some((from, flow)) = local.get(key) else {
                return fail(TRUTH, to, key, "is no flow of the peer's any more");
            };
            let overtaken = cluster.ledger(*from, to).overtaken.contains(key);
            // What is told again is an update, which cannot take anything away.
            let same = flow == known
                || overtaken && flow.without_mark() == known.without_mark()
                || alarm && flow.without_rare() == known.without_rare();
            if !same {
                return fail(TRUTH, to, key, &format!("is {known:?}, at the peer {flow:?}"));
            }
        }
        if let Some(key) = local.keys().find(|key| !remote.contains_key(key)) {
            return fail(TRUTH, to, key, "is not known of the peer");
        }
    }
    Ok(())
}

/// (b) Where `from` keeps no table, the others know what its kernel holds.
pub(crate) fn remote_is_kernel(cluster: &Cluster, from: usize) -> Outcome {
    const TRUTH: &str = "(b) lossless: remote == kernel";
    let node = &cluster.nodes[from];
    let passes = |flow: &&Flow| node.engine.config().filter.passes(flow);
    let kernel: Table =
        node.kernel.flows().values().filter(passes).map(|f| (f.key(), Essence::of(f))).collect();
    for to in cluster.links[from].paths.iter().map(|path| path.to) {
        for (key, known) in &others_left_out(cluster, (from, to)) {
            match kernel.get(key) {
                None => return fail(TRUTH, to, key, "is no flow of the peer's any more"),
                // An event that came late is answered by an update, which cannot take anything away.
                Some(flow) if flow.without_rare() != known.without_rare() => {
                    let text = format!("is {known:?}, at the peer {flow:?}");
                    return fail(TRUTH, to, key, &text);
                }
                Some(_) => {}
            }
        }
        let remote = table(&cluster.nodes[to], Side::Remote);
        if let Some(key) = kernel.keys().find(|key| !remote.contains_key(key)) {
            return fail(TRUTH, to, key, "is not known of the peer");
        }
    }
    Ok(())
}

/// What `to` knows of its peers, without what it knows of others than `from`.
fn others_left_out(cluster: &Cluster, (from, to): (usize, usize)) -> Table {
    let mut remote = table(&cluster.nodes[to], Side::Remote);
    let others = locals(cluster, to).into_iter().filter(|(_, (owner, _))| *owner != from);
    others.for_each(|(key, _)| drop(remote.remove(&key)));
    remote
}

/// (l) Who says that it has its peers' whole tables has them.
pub(crate) fn no_false_claims(cluster: &Cluster) -> Outcome {
    const TRUTH: &str = "(l) who says exact is exact";
    for (to, node) in cluster.nodes.iter().enumerate() {
        let Some(engine) = node.engine.ours() else { continue };
        let standing = engine.standing(cluster.now);
        if !standing.remote_complete || !standing.remote_exact {
            continue;
        }
        let local = locals(cluster, to);
        let remote = table(node, Side::Remote);
        for (key, known) in &remote {
            let flow = local.get(key).map(|(_, flow)| flow);
            if flow != Some(known) {
                let text = format!("is {known:?}, at the peer {flow:?}, and it says {standing:?}");
                return fail(TRUTH, to, key, &text);
            }
        }
        if let Some(key) = local.keys().find(|key| !remote.contains_key(key)) {
            let text = format!("is not known of the peer, and it says {standing:?}");
            return fail(TRUTH, to, key, &text);
        }
    }
    Ok(())
}

/// (c) After a bulk transfer over a link that is whole again, the peer knows every flow as it is; what it knows beyond
/// is only what ended without a word that reached it.
pub(crate) fn remote_covers_local(cluster: &Cluster) -> Outcome {
    pairs(cluster).into_iter().try_for_each(|pair| peer_covers(cluster, pair))
}

/// The same in one direction.
pub(crate) fn peer_covers(cluster: &Cluster, (from, to): (usize, usize)) -> Outcome {
    const TRUTH: &str = "(c) healed: remote covers local";
    let ftfw = cluster.profile.rules == Rules::Ftfw;
    let original = cluster.profile.original == Some(from);
    let ledger = cluster.ledger(from, to);
    let local = table(&cluster.nodes[from], Side::Local);
    let remote = others_left_out(cluster, (from, to));
    for (key, flow) in &local {
        // A commit is not told; here nobody asked for a bulk transfer since.
        if (ftfw && cluster.nodes[from].committed.contains(key)) || ledger.unkept.contains(key) {
            continue;
        }
        let Some(known) = remote.get(key) else {
            return fail(TRUTH, to, key, "is not known of the peer");
        };
        let gaps = ledger.gaps.contains(key) || ledger.overtaken.contains(key);
        let same = match (original, gaps) {
            (true, _) => known.without_mark() == flow.without_mark(),
            (false, true) => known.without_rare() == flow.without_rare(),
            (false, false) => known == flow,
        };
        if !same {
            return fail(TRUTH, to, key, &format!("is {known:?}, at the peer {flow:?}"));
        }
    }
    let lingers = |k: &&FlowKey| {
        !local.contains_key(k) && !ledger.may_linger(k) && !ledger.unkept.contains(k)
    };
    let extra = remote.keys().find(lingers);
    extra.map_or(Ok(()), |key| fail(TRUTH, to, key, "lingers although its end arrived"))
}

/// (j) However it was told, the peer knows every flow as it is.
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

/// (k) Two nodes to whom nothing happens say that they are there, and no more: `datagrams` in the time of settling.
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
    lost_master || is_in_way(node, flow, all)
}

/// Whether another flow uses the tuples of this one. Of two such flows the peer may have told of, the one that is
/// written later takes the place of the other.
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
        return fail(TRUTH, node.index, &flow.key(), &format!("is {got:?}, told was {wanted:?}"));
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
    let local = locals(cluster, to);
    let kernel = &cluster.nodes[to].kernel;
    for (key, (_, flow)) in &local {
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
        if (flow.mark, flow.proto, flow.reply) != (real.mark, real.proto, real.reply) {
            return fail(TRUTH, to, key, &format!("is {real:?}, at the peer {flow:?}"));
        }
    }
    let extra = kernel.flows().keys().find(|k| kernel.is_injected(k) && !local.contains_key(k));
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

/// (i) Each node says that it has the peer's whole table.
pub(crate) fn both_know_that_they_are_exact(cluster: &Cluster) -> Outcome {
    for (n, node) in cluster.nodes.iter().enumerate() {
        let Some(engine) = node.engine.ours() else { continue };
        let standing = engine.standing(cluster.now);
        if !standing.local_loaded || !standing.remote_complete || !standing.remote_exact {
            let text = format!("{} says {standing:?}", name(n));
            return Err(Violation::new("(i) exactness", text));
        }
    }
    Ok(())
}

/// (h) The remote table is what the messages that arrived say, whatever order they arrived in.
pub(crate) fn remote_is_what_arrived(cluster: &Cluster) -> Outcome {
    const TRUTH: &str = "(h) remote == what arrived";
    for to in 0..cluster.nodes.len() {
        let told = cluster.heard_by(to).into_iter().map(|from| cluster.ledger(from, to));
        let overtaken: BTreeSet<_> = told.clone().flat_map(|l| l.overtaken.iter()).collect();
        let told: Table = told.flat_map(Ledger::told).collect();
        let remote = table(&cluster.nodes[to], Side::Remote);
        for (key, known) in &remote {
            let Some(flow) = told.get(key) else {
                return fail(TRUTH, to, key, "should be gone");
            };
            let overtaken = overtaken.contains(key);
            let same = flow == known || overtaken && flow.without_mark() == known.without_mark();
            if !same {
                return fail(TRUTH, to, key, &format!("is {known:?}, told was {flow:?}"));
            }
        }
        if let Some(key) = told.keys().find(|key| !remote.contains_key(key)) {
            return fail(TRUTH, to, key, "is missing");
        }
    }
    Ok(())
}

fn fail(truth: &'static str, node: usize, key: &FlowKey, what: &str) -> Outcome {
    let node = name(node);
    Err(Violation::new(truth, format!("{node}: {:?} zone {} {what}", key.tuple, key.zone)))
}
