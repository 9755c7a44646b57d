//! What holds at the end of a run, by world. Whatever the world, `claims.rs` holds all the way.

use crate::checkers;
use crate::claims;
use crate::cluster::{Cluster, Outcome};
use crate::profile::{Rules, of};
use engine::{Command, Side};

/// How long after the last fault everybody is exact, and says so.
const EXACT_IN_MS: u64 = 8_000;
/// In ALARM: a flow that is not refreshed goes after nine seconds at most, and each flow is refreshed every three.
const EXACT_IN_ALARM_MS: u64 = 16_000;

/// Nothing is lost: all is exact at once, without a request.
pub(crate) fn exact(cluster: &mut Cluster) -> Outcome {
    checkers::local_is_kernel(cluster)?;
    checkers::remote_is_local(cluster)?;
    checkers::remote_is_what_arrived(cluster)?;
    commit(cluster, 1)
}

/// Whatever happened: when it is over, every node has everything, knows it, and says so. With FTFW and ALARM that
/// needs no request; with NOTRACK an operator makes one, once.
pub(crate) fn sure(cluster: &mut Cluster) -> Outcome {
    claims::hold(cluster)?;
    cluster.heal();
    if cluster.profile.room_again {
        cluster.make_room()?;
    }
    match cluster.profile.rules {
        Rules::NoTrack => asked(cluster),
        Rules::Ftfw => comes_true(cluster, EXACT_IN_MS),
        Rules::Alarm => comes_true(cluster, EXACT_IN_ALARM_MS),
    }
}

/// Messages were forged: when an operator requests everything, that is gone, too.
pub(crate) fn asked(cluster: &mut Cluster) -> Outcome {
    cluster.heal();
    cluster.settle()?;
    for node in 0..cluster.nodes.len() {
        cluster.command(node, Command::RequestResync)?;
    }
    cluster.forgive();
    comes_true(cluster, EXACT_IN_MS)
}

fn comes_true(cluster: &mut Cluster, ms: u64) -> Outcome {
    cluster.wait_ms(ms)?;
    claims::all_exact(cluster)?;
    let node = cluster.nodes.len() - 1;
    commit(cluster, node)
}

/// FTFW with a forger in between: once that is over, both agree again by themselves, and are then quiet. A message
/// that was forged completely has effect until the next request, because no node can know.
pub(crate) fn reliable_after_garbage(cluster: &mut Cluster) -> Outcome {
    cluster.heal();
    cluster.wait_ms(EXACT_IN_MS)?;
    checkers::local_is_kernel(cluster)?;
    checkers::peer_knows(cluster)?;
    claims::all_exact(cluster)?;
    let before = cluster.datagrams;
    cluster.settle()?;
    checkers::is_quiet(cluster.datagrams - before)?;
    asked(cluster)
}

/// FTFW with the original: once the link is whole again, ours needs no request.
pub(crate) fn reliable_with_original(cluster: &mut Cluster) -> Outcome {
    cluster.heal();
    cluster.wait_ms(EXACT_IN_MS)?;
    let original = cluster.profile.original.unwrap_or(0);
    checkers::peer_covers(cluster, (original, 1 - original))?;
    healed_with_original(cluster)
}

/// As [`reliable_with_original`], where processes end and start again. The original's operator has to request a
/// transfer: its request at its start may get lost unnoticed, and when ours restarts it makes none.
pub(crate) fn healed_with_original(cluster: &mut Cluster) -> Outcome {
    cluster.heal();
    cluster.wait_ms(EXACT_IN_MS)?;
    cluster.command(cluster.profile.original.unwrap_or(0), Command::RequestResync)?;
    cluster.settle()?;
    checkers::local_is_kernel(cluster)?;
    checkers::remote_covers_local(cluster)
}

/// The peer's flows become flows of `node`.
fn commit(cluster: &mut Cluster, node: usize) -> Outcome {
    if !of(cluster.profile.keep_remote, node) || cluster.nodes[node].engine.ours().is_none() {
        return Ok(());
    }
    cluster.heal();
    let before = cluster.nodes[node].engine.flows(Side::Remote);
    cluster.command(node, Command::Commit)?;
    cluster.settle()?;
    checkers::commit_is_whole(&cluster.nodes[node], &before)?;
    checkers::local_is_kernel(cluster)
}
