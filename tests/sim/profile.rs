//! The world in which a seed runs.

use crate::network::{Faults, Topology};
use crate::prng::Rng;
use crate::source::SourceKind;
use common::filter::{FilterConfig, mode};
use ctnetlink::tuple::FAMILY_IPV4;
use engine::Config;
use engine::config::Mode;
use engine::filter::{Filter, Prefix};
use std::time::Duration;

/// Rules of replication; the seed decides their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    NoTrack,
    Ftfw,
    Alarm,
}

impl Rules {
    fn mode(self, rng: &mut Rng) -> Mode {
        match self {
            Self::NoTrack => Mode::NoTrack,
            Self::Ftfw => Mode::Ftfw {
                // Few enough that messages are dropped before they are acknowledged, and asked for in vain.
                resend_max: *rng.pick(&[1, 8, 60, 131_072]),
                ack_window: *rng.pick(&[1, 3, 20, 300]),
            },
            Self::Alarm => {
                Mode::Alarm { refresh_s: *rng.pick(&[1, 2]), expire_s: *rng.pick(&[7, 9]) }
            }
        }
    }
}

/// Everything that one test varies. What a profile leaves open the seed decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    /// Name of the test, for the command that replays a seed.
    pub(crate) name: &'static str,
    /// How many nodes. What is said of the second holds for all that follow.
    pub(crate) nodes: usize,
    /// The nodes that receive from each other.
    pub(crate) topology: Topology,
    /// Steps of traffic at A and at B.
    pub(crate) steps: [u32; 2],
    /// Rules of replication.
    pub(crate) rules: Rules,
    /// Where events come from; else the seed decides.
    pub(crate) tap: Option<bool>,
    /// Flows are seen in packets.
    pub(crate) hook: bool,
    /// Identities that traffic uses; else the seed decides.
    pub(crate) identities: Option<usize>,
    /// Number of the node that is the original, if any.
    pub(crate) original: Option<usize>,
    pub(crate) network: Faults,
    /// The link breaks now and then.
    pub(crate) parts: bool,
    /// Forged datagrams in a thousand steps.
    pub(crate) hostile: u32,
    /// Commands in a thousand steps.
    pub(crate) commands: u32,
    /// Restarts in a thousand steps.
    pub(crate) restarts: u32,
    /// A node's address changes: times in a thousand steps.
    pub(crate) moves: u32,
    /// `nf_conntrack_events` is switched off and on again: times in a thousand steps.
    pub(crate) switches: u32,
    /// Tap and hook take turns, so often in a thousand steps.
    pub(crate) adapts: u32,
    /// Kernels hold fewer flows than traffic has.
    pub(crate) kernel_full: bool,
    /// Clocks of nodes differ.
    pub(crate) clocks_differ: bool,
    /// The link breaks for longer than anything is kept for.
    pub(crate) outages: bool,
    /// A node that ends may be replaced by another machine, and the others may end with it.
    pub(crate) disasters: bool,
    /// Tables have room again when traffic is over.
    pub(crate) room_again: bool,
    /// All of this is decided by the seed.
    pub(crate) mixed: bool,
    /// NOTRACK: a node asks for everything when it begins.
    pub(crate) asks: bool,
    /// The kernel loses events now and then, and says so.
    pub(crate) overruns: bool,
    /// Tables are smaller than the number of flows.
    pub(crate) tight: bool,
    pub(crate) keep_local: [bool; 2],
    pub(crate) keep_remote: [bool; 2],
    /// Kernels are not empty at the start.
    pub(crate) prefilled: bool,
    /// Two nodes may use the same identities. More than two never do.
    pub(crate) shared: bool,
    /// The kernel reports nothing of flows that were there at the start.
    pub(crate) silent: bool,
}

/// What holds for a node, of what is said of two.
pub(crate) fn of<T: Copy>(two: [T; 2], node: usize) -> T {
    two[node.min(1)]
}

impl Profile {
    /// A kind world: nothing is lost, nothing is asked for.
    pub(crate) const fn calm(name: &'static str) -> Self {
        Self {
            name,
            nodes: 2,
            topology: Topology::Multicast,
            steps: [150, 100],
            rules: Rules::NoTrack,
            tap: None,
            hook: false,
            identities: None,
            original: None,
            network: Faults { lose: 0, duplicate: 0, corrupt: 0, jitter_ns: 0 },
            parts: false,
            hostile: 0,
            commands: 0,
            restarts: 0,
            moves: 0,
            overruns: false,
            switches: 0,
            adapts: 0,
            kernel_full: false,
            clocks_differ: false,
            outages: false,
            disasters: false,
            room_again: false,
            mixed: false,
            asks: false,
            tight: false,
            keep_local: [true; 2],
            keep_remote: [true; 2],
            prefilled: false,
            shared: true,
            silent: false,
        }
    }

    /// Any combination that makes sense. Whether tables may be missing, the profile says.
    pub(crate) fn drawn(self, rng: &mut Rng) -> Self {
        let mut it = self;
        it.rules =
            *rng.pick(&[Rules::NoTrack, Rules::NoTrack, Rules::Ftfw, Rules::Ftfw, Rules::Alarm]);
        (it.nodes, it.topology) = match rng.below(10) {
            0 => (3, Topology::Multicast),
            1 => (4, Topology::FanOut),
            _ => (2, Topology::Multicast),
        };
        it.hook = rng.chance(200);
        if it.keep_local != [true; 2] {
            it.keep_local = *rng.pick(&[[false; 2], [false, true], [true, false]]);
            it.rules = Rules::NoTrack;
        }
        // The configuration knows DisableInternalCache with NOTRACK alone, and DisableExternalCache not with ALARM.
        if it.keep_remote != [true; 2] {
            it.keep_remote = *rng.pick(&[[false; 2], [false, true], [true, false]]);
            it.rules = *rng.pick(&[Rules::NoTrack, Rules::Ftfw]);
        }
        if it.rules != Rules::NoTrack {
            it.keep_local = [true; 2];
        }
        // Where flows go straight into the kernel, their owner is unknown if both nodes have them.
        let tables = it.keep_remote == [true; 2] && it.keep_local == [true; 2];
        it.shared = tables && it.nodes == 2 && rng.chance(500);
        it.prefilled = rng.chance(700);
        it.silent = it.prefilled && rng.chance(200);
        it.asks = rng.chance(500);
        it.tight = rng.chance(150);
        it.room_again = it.tight && rng.chance(700);
        let faults = |rng: &mut Rng, most| if rng.chance(400) { rng.below(most) as u32 } else { 0 };
        // A commit makes two nodes send one flow; of three nodes, the third has two truths to choose from.
        it.commands = if it.nodes == 2 { faults(rng, 40) } else { 0 };
        it.restarts = faults(rng, 15);
        it.switches = if rng.chance(100) { 15 } else { 0 };
        it.overruns = rng.chance(250);
        it.kernel_full = rng.chance(100);
        it.clocks_differ = rng.chance(150);
        it.parts = rng.chance(300);
        it.outages = rng.chance(150);
        it.disasters = rng.chance(300);
        it.network.lose = faults(rng, 150);
        it.network.duplicate = faults(rng, 100);
        it.network.jitter_ns = if rng.chance(400) { rng.below(5_000_000) } else { 0 };
        it
    }

    /// How much the clock of a node is ahead of the simulation's. The kernel's stamps are of the same clock: in a time
    /// namespace the host sees to that (`tests/netns/clocks.rs`).
    pub(crate) fn clock(&self, rng: &mut Rng) -> Duration {
        const DAY_NS: u64 = 86_400_000_000_000;
        Duration::from_nanos(if self.clocks_differ { rng.below(DAY_NS) } else { 0 })
    }

    pub(crate) fn source(&self, node: usize, rng: &mut Rng) -> SourceKind {
        if self.hook {
            return SourceKind::Hook { window_ns: *rng.pick(&[10_000, 200_000, 3_000_000]) };
        }
        if self.original == Some(node) || !self.tap.unwrap_or_else(|| rng.chance(600)) {
            return SourceKind::Socket;
        }
        let window_ns = *rng.pick(&[10_000, 200_000, 3_000_000]);
        SourceKind::Tap { window_ns, spill: *rng.pick(&[0, 20, 200, 1000]) }
    }

    /// The settings of one node's engine for one life.
    pub(crate) fn config(&self, node: usize, rng: &mut Rng) -> Config {
        let mut config =
            Config { hash_seed: rng.next(), hears_requests: !self.hook, ..Config::default() };
        config.replication.keep_local = of(self.keep_local, node);
        config.replication.keep_remote = of(self.keep_remote, node);
        if self.rules != Rules::NoTrack {
            config.replication.mode = self.rules.mode(rng);
            config.replication.startup_resync = self.rules == Rules::Ftfw;
        } else {
            config.replication.startup_resync = self.asks;
        }
        if let Mode::Ftfw { resend_max, .. } = &mut config.replication.mode
            && self.original == Some(node)
        {
            // The original never makes good for what it drops.
            *resend_max = 131_072;
        }
        config.repair_after = Some(Duration::from_micros(*rng.pick(&[0, 500, 30_000])));
        config.window_tracking = rng.chance(300);
        config.commit_timeout_s = rng.chance(300).then_some(180);
        config.first_seq = match rng.below(3) {
            0 => u32::MAX - 50,
            1 => 1,
            _ => rng.next() as u32,
        };
        if self.tight {
            config.flows_max = 4 + rng.below(12) as usize;
        }
        config
    }
}

/// Ignores every seventh identity or so: IPv4 flows to or from nowhere near the others.
pub(crate) fn ignore_v4_destination(config: &mut Config) {
    let mut addr = [0; 16];
    addr[..4].copy_from_slice(&[192, 0, 2, 1]);
    let prefix = Prefix { addr, family: FAMILY_IPV4, bits: 32 };
    let ignoring = FilterConfig { ipv4_mode: mode::IGNORE, ..FilterConfig::PASS };
    config.filter = Filter::new(ignoring, &[prefix], [&[], &[], &[]]);
}
