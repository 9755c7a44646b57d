//! Finds quiet moments, in which a node can know everything that is under way.

use super::{Cluster, MILLISECOND, Step};
use crate::profile::Profile;

impl Cluster {
    /// Whether nothing is under way between a node's kernel and its engine.
    pub(crate) fn is_settled(&self, n: usize) -> bool {
        let about = |step: &Step| match step {
            Step::Event { node, .. }
            | Step::Execute { node, .. }
            | Step::DumpGoesOn { node, .. }
            | Step::Loss(node)
            | Step::Start(node) => *node == n,
            _ => false,
        };
        self.nodes[n].up && !self.agenda.values().any(about)
    }

    /// Whether a node has had time to see all its kernel did. What the kernel does not report is searched for every
    /// few seconds; what an operator made the node forget is read on request.
    pub(crate) fn is_in_sight(&self, n: usize) -> bool {
        // Counts are compared every second, and a difference has to stay.
        let looked_for = if self.profile.switches > 0 { 7_000 } else { 5_000 } * MILLISECOND;
        let Profile { hook, silent, switches, adapts, .. } = self.profile;
        let unreported = hook || silent || switches > 0 || adapts > 0;
        let touched = self.nodes[n].kernel.touched();
        let noticed = !self.nodes[n].kernel.unnoticed;
        noticed && !self.nodes[n].flushed && (!unreported || touched.0 + looked_for < self.now.0)
    }

    /// Whether everything that its peers have sent has reached a node, or is known to be missing, and they know their
    /// own flows.
    pub(crate) fn has_heard_all(&self, n: usize) -> bool {
        let to_it = |step: &Step| matches!(step, Step::Arrival { node, packet } if *node == n && !packet.messages.is_empty());
        let known = |from: usize| {
            let node = &self.nodes[from];
            let standing = node.engine.standing(self.now);
            let ready = standing.is_some_and(|s| s.local_loaded && !s.in_bulk && !s.committing);
            let ledger = self.ledger(from, n);
            let heard = ledger.is_heard() && !ledger.forged && self.links[from].has_spoken();
            let missed = !self.links[from].has_just_moved(self.now);
            ready && heard && missed && self.is_settled(from) && self.is_in_sight(from)
        };
        self.heard_by(n).into_iter().all(known) && !self.agenda.values().any(to_it)
    }
}
