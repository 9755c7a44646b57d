//! Keys and peers that come and go (R4.3).

use super::world::*;
use super::*;

/// Node `of`'s second key.
fn second(of: u64) -> Secret {
    secret(500 + of)
}

fn with_keys(of: usize, keys: Vec<Secret>, peer_keys: Vec<PublicKey>) -> Members {
    let peer = PeerConfig { keys: peer_keys, ..peer_config(1 - of) };
    Members { keys, peers: vec![peer], ..members(of, 2) }
}

fn reload(world: &mut World, of: usize, keys: Vec<Secret>, peer_keys: Vec<PublicKey>) {
    let now = world.now;
    world.nodes[of].secure.reconfigure(now, with_keys(of, keys, peer_keys));
    world.settle(of);
    world.run(10 * S);
}

fn pair(seed: u64) -> World {
    let mut world = World::new(2, seed);
    world.run(3 * S);
    assert!(world.all_up());
    world
}

#[test]
fn r4_3_a_key_is_changed_step_by_step_and_no_session_falls() {
    for (seed, a) in (0..8).map(|seed| (seed, usize::from(seed % 2 == 1))) {
        let mut world = pair(seed);
        let b = 1 - a;
        let (old, new, other) = (secret(a as u64), second(a as u64), secret(b as u64));
        let publics = |keys: &[&Secret]| keys.iter().map(|key| key.public()).collect::<Vec<_>>();
        let reported: Vec<_> = world.nodes.iter().map(|node| node.events.len()).collect();
        let own = |keys: &[&Secret]| keys.iter().map(|key| (*key).clone()).collect::<Vec<_>>();
        reload(&mut world, a, own(&[&old, &new]), publics(&[&other]));
        reload(&mut world, b, own(&[&other]), publics(&[&old, &new]));
        reload(&mut world, a, own(&[&new, &old]), publics(&[&other]));
        let peer = world.nodes[b].peer(a);
        assert_eq!(world.nodes[b].secure.standing(peer).unwrap().key, new.public());
        reload(&mut world, a, own(&[&new]), publics(&[&other]));
        reload(&mut world, b, own(&[&other]), publics(&[&new]));
        world.run(limit::REKEY_AFTER * 3);
        let now: Vec<_> = world.nodes.iter().map(|node| node.events.len()).collect();
        assert_eq!(now, reported, "seed {seed}: {:?}", world.nodes[a].events);
        assert!(world.all_up());
    }
}

#[test]
fn r4_3_a_key_that_is_taken_out_ends_its_sessions_at_once() {
    let mut world = pair(1);
    let peer = world.nodes[0].peer(1);
    let other = world.nodes[1].peer(0);
    let (_, mut datagram) = world.nodes[1].say(world.now, other).unwrap();
    let members = with_keys(0, vec![secret(0)], vec![second(1).public()]);
    let now = world.now;
    world.nodes[0].secure.reconfigure(now, members);
    world.settle(0);
    assert!(world.nodes[0].events.contains(&Event::PeerDown { peer, reason: Down::Removed }));
    assert_eq!(world.nodes[0].say(now, peer), None);
    world.deliver(0, address(1), &mut datagram);
    assert_eq!(world.nodes[0].secure.refused(Refusal::UnknownIndex), 1);
    world.run(30 * S);
    assert!(world.nodes[0].up.is_empty(), "and nobody gets a session with it");
    assert!(world.nodes[0].secure.refused(Refusal::UnknownKey) > 0);
}

#[test]
fn r4_3_an_own_key_that_is_taken_out_ends_its_sessions_at_once() {
    let mut world = pair(1);
    let now = world.now;
    let peer = world.nodes[0].peer(1);
    let members = with_keys(0, vec![second(0)], vec![secret(1).public()]);
    world.nodes[0].secure.reconfigure(now, members);
    world.settle(0);
    assert!(world.nodes[0].events.contains(&Event::PeerDown { peer, reason: Down::Removed }));
}

#[test]
fn r3_1_peers_come_and_go_and_other_sessions_stay() {
    let mut world = World::new(3, 4);
    world.run(3 * S);
    assert!(world.all_up());
    let reported = world.nodes[0].events.len();
    let peer = world.nodes[0].peer(1);
    let without = Members { peers: vec![peer_config(2)], ..members(0, 3) };
    let now = world.now;
    world.nodes[0].secure.reconfigure(now, without);
    world.settle(0);
    let down = Event::PeerDown { peer, reason: Down::Removed };
    assert_eq!(world.nodes[0].events[reported..], [down]);
    assert_eq!(world.nodes[0].secure.peer_named(&name(1)), None);
    world.run(10 * S);
    assert!(world.nodes[0].is_up(2));
    let now = world.now;
    world.nodes[0].secure.reconfigure(now, members(0, 3));
    world.run(15 * S);
    assert!(world.all_up());
}

#[test]
fn r4_3_either_of_a_peers_keys_is_found_by_asking() {
    // The peer has the second key alone; it never asks.
    let mut world = World::new(1, 9);
    let other = Members { keys: vec![second(1)], peers: vec![], ..members(1, 2) };
    let mut other = secure(hello(1, 9), other, 3, world.now);
    let mute = PeerConfig { addresses: vec![], ..peer_config(0) };
    other.reconfigure(
        world.now,
        Members { keys: vec![second(1)], peers: vec![mute], ..members(1, 2) },
    );
    world.join(other, address(1), 9);
    let now = world.now;
    let keys = vec![secret(1).public(), second(1).public()];
    world.nodes[0].secure.reconfigure(now, with_keys(0, vec![secret(0)], keys));
    world.run(5 * S);
    assert!(world.nodes[0].is_up(1) && world.nodes[1].is_up(0));
}

#[test]
fn a_preshared_key_that_differs_makes_no_session() {
    let mut world = World::new(2, 9);
    let now = world.now;
    world.nodes[0].secure.reconfigure(now, Members { preshared: secret(77), ..members(0, 2) });
    world.run(20 * S);
    assert!(world.nodes.iter().all(|node| node.up.is_empty()));
    let now = world.now;
    world.nodes[1].secure.reconfigure(now, Members { preshared: secret(77), ..members(1, 2) });
    world.run(20 * S);
    assert!(world.all_up());
}
