//! What holds at the end of a run, by profile.

use crate::checkers;
use crate::cluster::{Cluster, Outcome};
use engine::{Command, Side};

/// Nothing is lost: all is exact at once.
pub(crate) fn exact(cluster: &mut Cluster) -> Outcome {
    checkers::local_is_kernel(cluster)?;
    checkers::remote_is_local(cluster)?;
    checkers::remote_is_what_arrived(cluster)?;
    commit(cluster, 1)
}

/// What was there before is told by a bulk transfer.
pub(crate) fn exact_after_bulk(cluster: &mut Cluster) -> Outcome {
    checkers::local_is_kernel(cluster)?;
    resync(cluster)?;
    checkers::remote_is_local(cluster)?;
    commit(cluster, 0)
}

/// Messages are lost: the receiver has what arrived, and a bulk transfer mends the rest.
pub(crate) fn mended(cluster: &mut Cluster) -> Outcome {
    checkers::local_is_kernel(cluster)?;
    checkers::remote_is_what_arrived(cluster)?;
    healed(cluster)
}

/// Anything happened: a bulk transfer mends it.
pub(crate) fn healed(cluster: &mut Cluster) -> Outcome {
    checkers::local_is_kernel(cluster)?;
    resync(cluster)?;
    checkers::remote_covers_local(cluster)?;
    commit(cluster, 1)
}

/// FTFW: once the link is whole again, nobody has to ask for anything.
pub(crate) fn reliable(cluster: &mut Cluster) -> Outcome {
    converge(cluster)?;
    checkers::local_is_kernel(cluster)?;
    checkers::remote_is_local(cluster)?;
    checkers::both_know_that_they_are_exact(cluster)?;
    commit(cluster, 0)
}

/// The same where processes end and begin again: what ended meanwhile may linger.
pub(crate) fn reliable_across_lives(cluster: &mut Cluster) -> Outcome {
    converge(cluster)?;
    checkers::local_is_kernel(cluster)?;
    checkers::remote_covers_local(cluster)?;
    checkers::both_know_that_they_are_exact(cluster)?;
    commit(cluster, 1)
}

/// FTFW with somebody in between who forges: once that is over, both find together again by themselves, and are then
/// quiet. What was forged whole stays, because nobody can know.
pub(crate) fn reliable_after_garbage(cluster: &mut Cluster) -> Outcome {
    converge(cluster)?;
    cluster.settle()?;
    checkers::local_is_kernel(cluster)?;
    checkers::both_know_that_they_are_exact(cluster)?;
    checkers::peer_knows(cluster)?;
    let before = cluster.datagrams;
    cluster.settle()?;
    checkers::is_quiet(cluster.datagrams - before)
}

/// FTFW with the original: once the link is whole again, ours needs nobody to ask for anything.
pub(crate) fn reliable_with_original(cluster: &mut Cluster) -> Outcome {
    converge(cluster)?;
    let original = cluster.profile.original.unwrap_or(0);
    checkers::peer_covers(cluster, (original, 1 - original))?;
    healed_with_original(cluster)
}

/// The same where processes end and begin again. The original's operator has to ask: what it asks for at its start gets
/// lost where nobody misses it, and when ours begins anew it does not ask.
pub(crate) fn healed_with_original(cluster: &mut Cluster) -> Outcome {
    converge(cluster)?;
    cluster.command(cluster.profile.original.unwrap_or(0), Command::RequestResync)?;
    cluster.settle()?;
    checkers::local_is_kernel(cluster)?;
    checkers::remote_covers_local(cluster)
}

/// ALARM: whatever was lost, everything is told again, and what is not told again goes.
pub(crate) fn repeated(cluster: &mut Cluster) -> Outcome {
    converge(cluster)?;
    converge(cluster)?;
    checkers::local_is_kernel(cluster)?;
    checkers::remote_is_local(cluster)
}

/// FTFW of three nodes: an acknowledgement says nothing of whose messages it acknowledges, so that a node may never come
/// to have all of the others. As long as it has not, it does not say so.
pub(crate) fn truthful(cluster: &mut Cluster) -> Outcome {
    checkers::no_false_claims(cluster)?;
    converge(cluster)?;
    checkers::local_is_kernel(cluster)?;
    checkers::no_false_claims(cluster)
}

/// The link becomes whole; then there is time for the numbers that follow to show what was lost.
fn converge(cluster: &mut Cluster) -> Outcome {
    cluster.heal();
    cluster.settle()?;
    cluster.settle()
}

/// Nobody can know what garbage did to the remote tables.
pub(crate) fn local_only(cluster: &mut Cluster) -> Outcome {
    checkers::local_is_kernel(cluster)?;
    resync(cluster)?;
    checkers::local_is_kernel(cluster)
}

/// B writes A's flows into its kernel.
pub(crate) fn mirrored(cluster: &mut Cluster) -> Outcome {
    checkers::local_is_kernel(cluster)?;
    checkers::kernel_mirrors_peers(cluster, 1)
}

/// A keeps no local table; the others know its kernel all the same.
pub(crate) fn passed_on(cluster: &mut Cluster) -> Outcome {
    checkers::remote_is_kernel(cluster, 0)?;
    cluster.command(0, Command::Bulk)?;
    cluster.settle()?;
    checkers::remote_is_kernel(cluster, 0)
}

/// Both nodes ask the other for everything.
fn resync(cluster: &mut Cluster) -> Outcome {
    cluster.heal();
    for node in 0..cluster.nodes.len() {
        cluster.command(node, Command::RequestResync)?;
    }
    cluster.settle()
}

/// The peer's flows become flows of `node`.
fn commit(cluster: &mut Cluster, node: usize) -> Outcome {
    cluster.heal();
    let before = cluster.nodes[node].engine.flows(Side::Remote);
    cluster.command(node, Command::Commit)?;
    cluster.settle()?;
    checkers::commit_is_whole(&cluster.nodes[node], &before)?;
    checkers::local_is_kernel(cluster)
}
