//! A flooder, and a thief of a key.

use super::world::*;
use super::*;
use limit::{HANDSHAKES_BURST, HANDSHAKES_PER_S};

/// An initiation as every node can make it that knows the receiver's public key.
fn forged(dice: &mut Dice, to: usize) -> Vec<u8> {
    let mut message = vec![0; INITIATION_LEN];
    dice.fill(&mut message);
    message[..4].copy_from_slice(&[INITIATION, 0, 0, 0]);
    MacKey::of(&secret(to as u64).public()).put(&mut message, None);
    message
}

#[test]
fn r5_3_a_flood_of_initiations_is_read_at_its_rate_and_keeps_nobody_apart() {
    let mut world = World::new(2, 11);
    let from: SocketAddr = "203.0.113.5:5".parse().unwrap();
    for ms in 0..10_000_u64 {
        world.run(MS);
        let mut message = forged(&mut world.dice.clone(), 0);
        world.dice.next();
        world.deliver(0, from, &mut message);
        if ms == 3000 {
            world.restart(1);
        }
    }
    let secure = &world.nodes[0].secure;
    let read = secure.refused(Refusal::Forged);
    let most = u64::from(HANDSHAKES_BURST + 10 * HANDSHAKES_PER_S);
    assert!((most - 60..=most).contains(&read), "{read}");
    let cookies = secure.refused(Refusal::Cookie);
    assert!(read + cookies >= 10_000, "{read} read, {cookies} answered");
    assert!(world.all_up(), "the peer that restarted came through");
    let answers = world.heard.iter().filter(|flight| flight.3 == from);
    assert!(answers.clone().all(|answer| answer.4.len() < INITIATION_LEN));
    // One each and no other; the peer that restarted got some of the cookies.
    let answers = answers.count() as u64;
    assert!((cookies - 5..=cookies).contains(&answers), "{answers} answers, {cookies} cookies");
}

#[test]
fn r5_9_a_flood_of_anything_writes_few_lines_and_keeps_no_memory() {
    let mut world = World::new(2, 12);
    world.run(2 * S);
    let before = world.nodes[0].events.len();
    let from: SocketAddr = "203.0.113.5:5".parse().unwrap();
    let lens = [16, 32, 64, 156, 200, 1400];
    for n in 0..20_000 {
        let mut bytes = vec![0; lens[n % lens.len()]];
        world.dice.fill(&mut bytes);
        bytes[0] = 0x20 + (n / 7 % 6) as u8;
        bytes[1..4].fill(0);
        let opened = world.nodes[0].secure.handle_datagram(world.now, from, &mut bytes);
        assert_eq!(opened, None);
        if n % 100 == 0 {
            world.run(MS);
        }
    }
    let secure = &mut world.nodes[0].secure;
    assert!(secure.events.len() <= Refusal::ALL.len() && secure.transmits.is_empty());
    let reported = world.nodes[0].events.len() - before;
    assert!(reported <= Refusal::ALL.len(), "{reported} lines");
    assert!(world.all_up());
}

#[test]
fn answers_that_nobody_takes_are_dropped_and_counted() {
    let mut world = World::new(2, 13);
    for _ in 0..1000 {
        let mut message = forged(&mut world.dice.clone(), 0);
        world.dice.next();
        world.nodes[0].secure.handle_datagram(world.now, address(1), &mut message);
    }
    let secure = &world.nodes[0].secure;
    assert_eq!(secure.cookies.len(), TRANSMITS_MAX);
    assert!(secure.unsent() > 800, "{}", secure.unsent());
}

#[test]
fn r5_4_who_has_this_nodes_key_is_not_another_node_towards_it() {
    let mut world = World::new(2, 14);
    world.run(2 * S);
    let b = world.nodes[0].peer(1);
    let session = |world: &World| world.nodes[0].secure.peers[b.place()].as_ref().unwrap().present;
    let before = session(&world).unwrap().index;
    let reported = world.nodes[0].events.len();
    // With node 0's secret key, a handshake that says it is from node 1.
    let (own, preshared) = (secret(0), Secret::ZERO);
    let mut message = vec![0; INITIATION_LEN];
    message::put_head(&mut message, INITIATION, &[4711]);
    let hello = hello(1, 666).encode();
    noise::tests::impostor(
        &own,
        &secret(1).public(),
        &preshared,
        &hello,
        &mut message[message::INITIATION_NOISE],
    );
    MacKey::of(&own.public()).put(&mut message, None);
    let from: SocketAddr = "203.0.113.5:5".parse().unwrap();
    world.deliver(0, from, &mut message);
    let answered = world.heard.iter().any(|flight| flight.3 == from && flight.4[0] == RESPONSE);
    assert!(answered, "the first message alone cannot be told from node 1's");
    world.run(20 * S);
    assert_eq!(session(&world).unwrap().index, before);
    assert_eq!(world.nodes[0].events.len(), reported);
    assert!(world.all_up());
}
