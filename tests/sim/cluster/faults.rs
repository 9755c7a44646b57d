//! What happens to nodes: forgers, operators, ends and new beginnings.

use super::{Cluster, MILLISECOND, Outcome, Step};
use crate::model::Ledger;
use crate::profile::Rules;
use engine::{Command, Input};
use wire::sync::v1::Messages;

impl Cluster {
    /// A stranger sends under the address of `node`.
    pub(super) fn forge(&mut self, node: usize) {
        let bytes = self.hostile[node].forge();
        self.trace.say(self.now, node, format_args!("forged {:?}", Messages::datagram(&bytes)));
        self.links[node].ledgers().for_each(Ledger::on_garbage);
        let link = &self.links[node];
        let forged = |path| (path, link.forged(bytes.clone(), path));
        let forged: Vec<_> = link.paths.iter().map(forged).map(|(p, f)| (p.to, f)).collect();
        for (to, packet) in forged {
            let pause = self.rng.below(MILLISECOND);
            self.plan(pause, Step::Arrival { node: to, packet });
        }
    }

    pub(super) fn some_command(&mut self, node: usize) -> Command {
        match self.rng.below(10) {
            0..=1 => Command::Bulk,
            2..=3 => Command::RequestResync,
            4..=5 => Command::ResyncKernel,
            6 => {
                let (local, remote) = (self.rng.chance(500), self.rng.chance(500));
                if local {
                    // Else the table stays empty where the kernel is not, which is what was asked for.
                    self.plan(5 * MILLISECOND, Step::Command(node, Command::ResyncKernel));
                }
                if remote && self.profile.rules == Rules::Ftfw {
                    // What was forgotten on purpose is asked for on purpose.
                    self.plan(6 * MILLISECOND, Step::Command(node, Command::RequestResync));
                }
                Command::Flush { local, remote }
            }
            _ => Command::Commit,
        }
    }

    /// Tap and hook change places.
    pub(super) fn change_source(&mut self, node: usize) -> Outcome {
        let Some(hears_requests) = self.nodes[node].source.change(self.now) else { return Ok(()) };
        self.trace.say(self.now, node, format_args!("requests are heard: {hears_requests}"));
        self.input(node, Input::SourceChanged { hears_requests })
    }

    /// The process ends; after a while another one begins, on the same machine or after a reboot.
    pub(super) fn stop(&mut self, node: usize) {
        self.trace.say(self.now, node, format_args!("stop"));
        self.nodes[node].up = false;
        self.links[node].restart();
        self.ledgers_to(node).for_each(|ledger| ledger.forget(true));
        let pause = self.rng.below(50 * MILLISECOND);
        if self.rng.chance(300) {
            self.nodes[node].kernel.reboot();
            if self.profile.disasters && self.rng.chance(500) {
                // Another machine takes its place and its address; it has flows of its own.
                self.traffic[node].fill(&mut self.nodes[node].kernel, self.now);
                self.nodes[node].kernel.take_happened();
            }
        }
        self.plan(pause, Step::Start(node));
    }

    pub(super) fn on_start(&mut self, node: usize) -> Outcome {
        let profile = self.profile;
        self.trace.say(self.now, node, format_args!("start"));
        let back = self.rng.chance(500).then(|| self.rng.below(40) as u32);
        let far = self.rng.next() as u32;
        let back = back.filter(|_| self.links[node].paths.len() == 1);
        let mut ledgers = self.links[node].ledgers();
        let first_seq = ledgers.next().map_or(far, |ledger| ledger.first_seq(far, back));
        // The ledgers of the other nodes start again as well.
        ledgers.for_each(|ledger| {
            ledger.first_seq(far, None);
        });
        self.nodes[node].start(&profile, self.now, first_seq);
        self.turn(node)
    }
}
