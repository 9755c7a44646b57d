//! Many seeds of a bad network, restarts and an attacker.

use super::world::*;
use super::*;
use message::RESPONSE;

const SEEDS: u64 = 12;

fn faults(dice: &mut Dice) -> Faults {
    Faults {
        lost: dice.below(31),
        repeated: dice.below(31),
        damaged: dice.below(11),
        delay_ms: dice.below(201),
    }
}

/// Repeats what was sent, as it was, damaged, or from elsewhere; and makes datagrams up.
fn hostile(world: &mut World) {
    for _ in 0..20 {
        let kind = world.dice.below(4);
        let at = world.dice.below(world.heard.len().max(1) as u64) as usize;
        let Some((_, _, mut from, to, mut bytes)) = world.heard.get(at).cloned() else { return };
        match kind {
            0 => {}
            1 => from = "203.0.113.6:666".parse().unwrap(),
            2 => {
                let at = world.dice.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << world.dice.below(8);
            }
            _ => {
                let kept = world.dice.below(17).min(bytes.len() as u64) as usize;
                world.dice.fill(&mut bytes[kept..]);
            }
        }
        if let Some(of) = world.nodes.iter().position(|node| node.at == to) {
            world.deliver(of, from, &mut bytes);
        }
    }
}

fn heals(count: usize, seed: u64) {
    let mut world = World::new(count, seed);
    for _ in 0..12 {
        world.faults = faults(&mut world.dice);
        if world.dice.percent(30) {
            let of = world.dice.below(count as u64) as usize;
            world.restart(of);
        }
        if world.dice.percent(30) {
            let pairs = world.pairs();
            let (a, b) = pairs[world.dice.below(pairs.len() as u64) as usize];
            world.cut.push((address(a), address(b)));
        }
        let steps = 1 + world.dice.below(30);
        for _ in 0..steps {
            world.run(S);
            hostile(&mut world);
        }
        world.cut.clear();
    }
    // After the last fault everybody finds everybody: silence, then asking with the longest pauses, twice.
    world.faults = Faults::default();
    world.run(20 * S);
    assert!(world.all_up(), "seed {seed} of {count} nodes: {:?}", world.nodes[0].events);
    // And the session is one that both use.
    let before: Vec<_> = world.nodes.iter().map(|node| node.opened.len()).collect();
    world.run(3 * S);
    for (node, before) in world.nodes.iter().zip(before) {
        assert!(node.opened.len() >= before + 9 * (count - 1), "seed {seed} of {count} nodes");
    }
}

#[test]
fn two_nodes_find_each_other_whatever_happened() {
    (0..SEEDS).for_each(|seed| heals(2, seed));
}

#[test]
fn three_nodes_find_each_other_whatever_happened() {
    (0..SEEDS / 2).for_each(|seed| heals(3, 1000 + seed));
}

#[test]
fn the_same_seed_sends_the_same_bytes() {
    let run = || {
        let mut world = World::new(2, 7);
        world.faults = Faults { lost: 10, repeated: 10, damaged: 5, delay_ms: 50 };
        world.run(10 * S);
        world.heard
    };
    assert_eq!(run(), run());
}

#[test]
fn without_faults_there_is_one_handshake() {
    let mut world = World::new(2, 1);
    world.run(5 * S);
    assert!(world.all_up());
    let responses = world.sent(0, 1, RESPONSE).len() + world.sent(1, 0, RESPONSE).len();
    assert_eq!(responses, 1);
}
