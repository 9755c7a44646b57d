//! Paths that carry datagrams of different lengths and change in a run, and crowds of flows that make long datagrams.

use super::links::Packet;
use super::traffic::{SYN_SENT, flow};
use super::world::World;
use crate::cluster::{Outcome, Violation};
use crate::prng::Rng;
use crate::trace::name;
use engine::peer::v2::path::SEAL_LEN;

/// Bytes that packets of 1,280, 1,500 and 9,000 bytes have for UDP, over IPv6 the least of them.
const CARRIED: [usize; 3] = [1_232, 1_472, 8_972];
/// Flows of a crowd, and the number of the first: no other traffic has them.
const CROWD: usize = 250;
const FIRST: usize = 1_000;
/// Between two changes at most, nanoseconds.
const PAUSE: u64 = 6_000_000_000;

/// The datagrams' lengths that paths carry.
#[derive(Debug)]
pub(super) struct Paths {
    /// Its draws are its own: a run is as it would be without it, but for what paths do.
    rng: Rng,
    /// From one to the other: bytes of a datagram, and the most that it ever was.
    carry: Vec<Vec<(usize, usize)>>,
    /// Datagrams that were too long, and long ones that passed.
    pub(super) dropped: u64,
    pub(super) passed: u64,
}

impl Paths {
    pub(super) fn drawn(seed: u64, nodes: usize) -> Self {
        let mut rng = Rng::new(seed ^ 0x7a74_6873);
        let mut draw = || *rng.pick(&CARRIED);
        let mut path = || {
            let carries = draw();
            (carries, carries)
        };
        let carry = (0..nodes).map(|_| (0..nodes).map(|_| path()).collect()).collect();
        Self { rng, carry, dropped: 0, passed: 0 }
    }

    /// Whether the path from one to the other takes a packet.
    pub(super) fn carry(&mut self, (from, to): (usize, usize), packet: &Packet) -> bool {
        let Packet::Data { bytes, .. } = packet else { return true };
        let len = bytes.len() + SEAL_LEN;
        let passes = len <= self.carry[from][to].0;
        self.dropped += u64::from(!passes);
        self.passed += u64::from(passes && len > CARRIED[0]);
        passes
    }
}

impl World {
    /// A path carries another length from here on, or a crowd comes to a node, or goes. How long until the next one.
    pub(super) fn on_path(&mut self) -> u64 {
        let count = self.members.len() as u64;
        let Some(Paths { rng, carry, .. }) = &mut self.paths else { return PAUSE };
        let [from, to] = [rng.below(count), rng.below(count)].map(|at| at as usize);
        let pause = 1 + rng.below(PAUSE);
        if rng.chance(500) || self.tight {
            let carries = *rng.pick(&CARRIED);
            let most = carries.max(carry[from][to].1);
            carry[from][to] = (carries, most);
            let text = format_args!("the path to {} carries {carries}", name(to));
            self.trace.say(self.now, from, text);
            return pause;
        }
        let kernel = &mut self.members[from].kernel;
        let numbers = (0..CROWD).map(|at| FIRST * (from + 1) + at);
        for number in numbers {
            let key = super::traffic::key(number);
            if kernel.end(self.now, &key).is_none() && kernel.most.is_none() {
                kernel.begin(self.now, flow(number, SYN_SENT, 0), false);
            }
        }
        pause
    }

    /// No node believes that a path carries more than it ever did (I7).
    pub(super) fn paths_are_known(&self) -> Outcome {
        let Some(paths) = &self.paths else { return Ok(()) };
        for (at, member) in self.members.iter().enumerate() {
            let others = (0..self.members.len()).filter(|other| *other != at);
            for (other, standing) in others.zip(member.peer_standings(self.now)) {
                let most = paths.carry[at][other].1;
                if standing.path_len > most {
                    let text = format!("{} to {}: {standing:?}", name(at), name(other));
                    return Err(Violation::new("I7 datagrams within the path", text));
                }
            }
        }
        Ok(())
    }
}
