//! Requirements R4.2, R5.1 to R5.11, one by one.

use super::world::*;
use super::*;
use limit::{INITIATE_MAX, INITIATE_MIN, REJECT_AFTER, REKEY_AFTER, SHARDS_MAX};
use message::{NUMBER_END, SALT_LEN, u32_at};
use std::time::Duration;

fn pair() -> World {
    let mut world = World::new(2, 42);
    world.run(2 * S);
    assert!(world.all_up());
    world
}

fn present(world: &World, of: usize) -> session::Session {
    let peer = world.nodes[of].peer(1 - of);
    world.nodes[of].secure.peers[peer.place()].as_ref().unwrap().present.unwrap()
}

#[test]
fn r5_1_other_bytes_lengths_and_indices_are_dropped_counted_and_not_answered() {
    let mut world = pair();
    let (from, sent) = (address(1), world.heard.len());
    let refused = |world: &World, kind| world.nodes[0].secure.refused(kind);
    for len in [0, 1, 15, 31, 63, 64, 65, 155, 156, 199, 200, 201, 1400] {
        for first in 0..=255 {
            let mut bytes = vec![0; len];
            bytes.iter_mut().take(1).for_each(|byte| *byte = first);
            world.deliver(0, from, &mut bytes);
        }
    }
    // 13 lengths of 256 first bytes. What is left is an initiation without mac1, and unused indices.
    assert_eq!(refused(&world, Refusal::BadMac), 1);
    assert_eq!(refused(&world, Refusal::UnknownIndex), 2 + 9);
    assert_eq!(refused(&world, Refusal::Malformed), 13 * 256 - 12);
    assert_eq!(world.heard.len(), sent, "nothing was answered");
    // What must be zero is, and `to` says what the nonce says.
    for at in [1, 2, 3] {
        let peer = world.nodes[1].peer(0);
        let (_, mut datagram) = world.nodes[1].say(world.now, peer).unwrap();
        datagram[at] ^= 1;
        let before = refused(&world, Refusal::Malformed);
        world.deliver(0, from, &mut datagram);
        assert_eq!(refused(&world, Refusal::Malformed), before + 1, "byte {at}");
    }
}

#[test]
fn r5_2_without_the_right_mac1_nothing_is_done() {
    let mut world = World::new(2, 1);
    world.nodes[0].secure.reconfigure(world.now, Members { peers: vec![], ..members(0, 2) });
    world.settle(1);
    let (_, initiation) = world.sent(1, 0, INITIATION).remove(0);
    for at in 4..INITIATION_LEN - message::MAC_LEN {
        let mut damaged = initiation.clone();
        damaged[at] ^= 1;
        world.nodes[0].secure.random = Box::new(|_| panic!("nothing is drawn for a stranger"));
        world.deliver(0, address(1), &mut damaged);
    }
    let count = world.nodes[0].secure.refused(Refusal::BadMac);
    assert_eq!(count, (INITIATION_LEN - message::MAC_LEN - 4) as u64);
    assert!(world.sent(0, 1, RESPONSE).is_empty() && world.sent(0, 1, COOKIE).is_empty());
}

#[test]
fn r5_4_an_initiation_that_is_repeated_changes_nothing() {
    let mut world = pair();
    let handshakes: Vec<_> = world.heard.iter().filter(|f| f.4[0] != DATA).cloned().collect();
    let before = [present(&world, 0).index, present(&world, 1).index];
    let reported = world.nodes.iter().map(|node| node.events.len()).collect::<Vec<_>>();
    for (_, _, from, to, bytes) in handshakes.iter().cycle().take(200) {
        let of = usize::from(*to == address(1));
        world.deliver(of, *from, &mut bytes.clone());
        world.run(50 * MS);
    }
    assert_eq!([present(&world, 0).index, present(&world, 1).index], before);
    let lines =
        |node: &Node| node.events.iter().filter(|e| !matches!(e, Event::Refused { .. })).count();
    assert_eq!(world.nodes.iter().map(lines).collect::<Vec<_>>(), reported);
    assert!(world.all_up());
}

#[test]
fn r5_4_an_initiation_that_the_network_doubles_is_answered_once() {
    for seed in 0..10 {
        let mut world = World::new(2, seed);
        world.faults = Faults { repeated: 100, delay_ms: 40, ..Faults::default() };
        world.run(3 * S);
        assert!(world.all_up());
        let answered = [world.sent(0, 1, RESPONSE), world.sent(1, 0, RESPONSE)].concat();
        let mut indices: Vec<_> = answered.iter().map(|(_, bytes)| u32_at(bytes, 8)).collect();
        let count = indices.len();
        indices.sort_unstable();
        indices.dedup();
        assert_eq!(indices.len(), count, "seed {seed}: {answered:?}");
    }
}

#[test]
fn r5_4_after_a_restart_repeated_initiations_make_no_session() {
    let mut world = pair();
    let recorded = world.heard.clone();
    world.nodes[1].beats = false;
    world.restart(0);
    world.cut = vec![(address(1), address(0))];
    for (_, _, from, to, bytes) in recorded {
        if to == address(0) {
            world.deliver(0, from, &mut bytes.clone());
            world.run(100 * MS);
        }
    }
    assert!(!world.nodes[0].is_up(1), "{:?}", world.nodes[0].events);
    assert!(world.nodes[0].opened.is_empty());
}

#[test]
fn r5_5_initiations_go_to_each_address_in_turn_ever_slower() {
    let mut world = World::new(1, 3);
    let places: Vec<SocketAddr> = (7..10).map(address).collect();
    let peer = PeerConfig { addresses: places.clone(), ..peer_config(1) };
    world.nodes[0].secure.reconfigure(world.now, Members { peers: vec![peer], ..members(0, 1) });
    world.run(60 * S);
    let sent: Vec<_> = world.heard.iter().map(|flight| (flight.0, flight.3)).collect();
    assert!(sent.len() > 12, "{}", sent.len());
    let mut wanted = INITIATE_MIN;
    let mut random = std::collections::HashSet::new();
    for (n, two) in sent.windows(2).enumerate() {
        assert_eq!(two[0].1, places[n % 3]);
        let pause = two[1].0.since(two[0].0);
        assert!((wanted * 4 / 5..=wanted).contains(&pause), "{n}: {pause:?} of {wanted:?}");
        random.insert(pause);
        wanted = (wanted * 2).min(INITIATE_MAX);
    }
    assert!(random.len() > sent.len() / 2, "a fifth is random");
}

#[test]
fn r5_5_of_two_begun_at_once_both_keep_the_one_of_the_lower_name() {
    for seed in 0..20 {
        let mut world = World::new(2, seed);
        world.run(100 * MS);
        assert_eq!(world.sent(0, 1, INITIATION).len(), 1, "both began at once");
        assert_eq!(world.sent(1, 0, INITIATION).len(), 1);
        world.run(400 * MS);
        assert!(world.all_up(), "seed {seed}");
        assert_eq!([world.initiator(0, 1), world.initiator(1, 0)], [name(0); 2]);
        assert_eq!(world.nodes[0].secure.refused(Refusal::Tie), 1);
    }
}

#[test]
fn r5_5_the_higher_names_is_taken_where_the_lower_names_do_not_arrive() {
    // The lower name has a wrong address of the higher one.
    let mut world = World::new(2, 5);
    let peer = PeerConfig { addresses: vec![address(9)], ..peer_config(1) };
    world.nodes[0].secure = secure(
        hello(0, world.nodes[0].incarnation),
        Members { peers: vec![peer], ..members(0, 1) },
        1,
        world.now,
    );
    world.run(12 * S);
    assert!(world.all_up());
    assert_eq!([world.initiator(0, 1), world.initiator(1, 0)], [name(1); 2]);
}

#[test]
fn r5_6_a_number_is_opened_once_whatever_the_order() {
    let mut world = pair();
    let peer = world.nodes[1].peer(0);
    let mut datagrams: Vec<_> =
        (0..3000).map(|_| world.nodes[1].say(world.now, peer).unwrap().1).collect();
    for n in (1..datagrams.len()).rev() {
        datagrams.swap(n, world.dice.below(n as u64 + 1) as usize);
    }
    let before = world.nodes[0].opened.len();
    for datagram in datagrams.iter().chain(&datagrams) {
        world.deliver(0, address(1), &mut datagram.clone());
    }
    assert_eq!(world.nodes[0].opened.len(), before + 3000);
    assert_eq!(world.nodes[0].secure.refused(Refusal::Replayed), 3000);
}

#[test]
fn r5_6_a_forged_number_moves_no_window() {
    let mut world = pair();
    let peer = world.nodes[1].peer(0);
    let (_, datagram) = world.nodes[1].say(world.now, peer).unwrap();
    let mut forged = datagram.clone();
    forged[9..16].fill(0xff);
    // The number is the greatest there is; from and to stay.
    (forged[8], forged[9]) = (0, 0x0f);
    world.deliver(0, address(1), &mut forged);
    assert_eq!(world.nodes[0].secure.refused(Refusal::Forged), 1);
    let before = world.nodes[0].opened.len();
    world.deliver(0, address(1), &mut datagram.clone());
    assert_eq!(world.nodes[0].opened.len(), before + 1);
}

#[test]
fn r5_7_keys_change_under_the_streams_which_notice_nothing() {
    let mut world = pair();
    let first = present(&world, 0).index;
    let reported: Vec<_> = world.nodes.iter().map(|node| node.events.len()).collect();
    world.faults.delay_ms = 20;
    world.run(REKEY_AFTER * 5);
    assert_eq!(world.nodes.iter().map(|node| node.events.len()).collect::<Vec<_>>(), reported);
    assert_ne!(present(&world, 0).index, first);
    for node in &world.nodes {
        let standing = node.secure.standing(PeerId(0)).unwrap();
        assert!((4..=5).contains(&standing.rekeys), "{}", standing.rekeys);
        // All that was sealed was opened, but for what is on its way.
        assert!(node.opened.len() as u64 + 2 >= world.nodes[0].number.min(world.nodes[1].number));
    }
}

#[test]
fn r5_7_the_initiator_of_a_session_begins_the_next_one() {
    let mut world = pair();
    let by: Vec<_> = [0, 1].map(|of| world.initiator(of, 1 - of)).to_vec();
    let before = [world.sent(0, 1, INITIATION).len(), world.sent(1, 0, INITIATION).len()];
    world.run(REKEY_AFTER + S);
    let after = [world.sent(0, 1, INITIATION).len(), world.sent(1, 0, INITIATION).len()];
    let initiator = usize::from(by[0] == name(1));
    assert_eq!(after[initiator], before[initiator] + 1);
    assert_eq!(after[1 - initiator], before[1 - initiator]);
}

#[test]
fn r5_7_an_old_key_opens_nothing_any_more_and_seals_nothing() {
    let mut world = pair();
    let (a, b) = (world.nodes[0].peer(1), world.nodes[1].peer(0));
    let (_, old) = world.nodes[1].say(world.now, b).unwrap();
    // No handshake passes, data does: the key grows old.
    world.nodes[0].secure.own[0].mac = MacKey::of(&PublicKey([1; 32]));
    world.nodes[1].secure.own[0].mac = MacKey::of(&PublicKey([1; 32]));
    world.run(REJECT_AFTER - 4 * S);
    assert!(world.all_up(), "a key that is not replaced serves until then");
    world.run(4 * S);
    for (node, peer) in world.nodes.iter_mut().zip([a, b]) {
        assert!(node.events.contains(&Event::PeerDown { peer, reason: Down::Expired }));
        assert_eq!(node.say(world.now, peer), None);
        assert_eq!(node.secure.peers[peer.place()].as_ref().unwrap().sessions().count(), 0);
    }
    let unknown = world.nodes[0].secure.refused(Refusal::UnknownIndex);
    world.deliver(0, address(1), &mut old.clone());
    assert_eq!(world.nodes[0].secure.refused(Refusal::UnknownIndex), unknown + 1);
}

#[test]
fn silence_is_told_and_what_comes_again_under_the_same_key_ends_it() {
    let mut world = pair();
    let peer = world.nodes[0].peer(1);
    let key = present(&world, 0).index;
    world.cut = vec![(address(0), address(1)), (address(1), address(0))];
    world.nodes[0].secure.own[0].mac = MacKey::of(&PublicKey([1; 32]));
    world.run(7 * S);
    assert_eq!(world.nodes[0].state(1), State::Silent);
    assert!(world.nodes[0].events.contains(&Event::PeerDown { peer, reason: Down::Silent }));
    let ups =
        |w: &World| w.nodes[0].events.iter().filter(|e| matches!(e, Event::PeerUp { .. })).count();
    let before = ups(&world);
    // The other one did not notice the silence: it still uses the key.
    let b = world.nodes[1].peer(0);
    let session = present(&world, 1);
    world.nodes[1].secure.peers[b.place()].as_mut().unwrap().state = State::Up;
    world.nodes[1].secure.peers[b.place()].as_mut().unwrap().reported =
        Some(session.hello.incarnation);
    world.nodes[1].up.insert(b, session.hello.incarnation);
    let (_, mut datagram) = world.nodes[1].say(world.now, b).unwrap();
    world.deliver(0, address(1), &mut datagram);
    assert_eq!((world.nodes[0].state(1), ups(&world)), (State::Up, before + 1));
    assert_eq!(present(&world, 0).index, key);
}

#[test]
fn a_peer_that_leaves_is_down_at_once_and_what_it_sent_before_does_not_bring_it_back() {
    let mut world = pair();
    let (a, b) = (world.nodes[0].peer(1), world.nodes[1].peer(0));
    let (_, mut late) = world.nodes[1].say(world.now, b).unwrap();
    world.nodes[0].secure.on_leaving(world.now, a);
    world.nodes[0].up.remove(&a);
    let left = Event::PeerDown { peer: a, reason: Down::Left };
    assert_eq!(world.nodes[0].secure.poll_event(), Some(left));
    assert!(world.nodes[0].secure.handle_datagram(world.now, address(1), &mut late).is_some());
    assert_eq!(world.nodes[0].state(1), State::Silent);
    assert_eq!(world.nodes[0].secure.poll_event(), None);
}

#[test]
fn r5_8_data_goes_where_the_last_datagram_came_from() {
    let mut world = pair();
    let (a, b) = (world.nodes[0].peer(1), world.nodes[1].peer(0));
    let elsewhere: SocketAddr = "203.0.113.1:40000".parse().unwrap();
    let (_, old) = world.nodes[1].say(world.now, b).unwrap();
    for _ in 0..3 {
        let (_, mut datagram) = world.nodes[1].say(world.now, b).unwrap();
        world.deliver(0, elsewhere, &mut datagram);
    }
    assert_eq!(world.nodes[0].say(world.now, a).unwrap().0, elsewhere);
    let reported =
        |e: &&Event| matches!(e, Event::OtherAddress { address, .. } if *address == elsewhere);
    assert_eq!(world.nodes[0].events.iter().filter(reported).count(), 1, "told once");
    // Addresses that change all the time are reported once a minute.
    for port in 1..50 {
        let (_, mut datagram) = world.nodes[1].say(world.now, b).unwrap();
        world.deliver(0, SocketAddr::new(elsewhere.ip(), port), &mut datagram);
    }
    let reported = |e: &&Event| matches!(e, Event::OtherAddress { .. });
    assert_eq!(world.nodes[0].events.iter().filter(reported).count(), 1);
    let (_, mut datagram) = world.nodes[1].say(world.now, b).unwrap();
    world.deliver(0, elsewhere, &mut datagram);
    // What is late says nothing about where the peer is, and what is forged or repeated nothing at all.
    world.deliver(0, address(1), &mut old.clone());
    world.deliver(0, address(5), &mut old.clone());
    assert_eq!(world.nodes[0].say(world.now, a).unwrap().0, elsewhere);
}

#[test]
fn r5_8_after_a_second_without_an_answer_the_next_address_is_used() {
    let mut world = pair();
    let a = world.nodes[0].peer(1);
    let places = [address(1), address(8)];
    world.nodes[0].secure.set_addresses(world.now, a, &places);
    world.cut = vec![(address(1), address(0))];
    let used = |world: &World| world.nodes[0].secure.standing(a).unwrap().address.unwrap();
    world.run(900 * MS);
    assert_eq!(used(&world), places[0]);
    world.run(700 * MS);
    assert_eq!(used(&world), places[1]);
    world.cut.clear();
    // The engine may know that nothing arrives although something comes: that address is not taken back at once.
    world.run(600 * MS);
    assert_eq!(used(&world), places[1]);
    world.nodes[0].secure.on_unacknowledged(world.now, a);
    assert_eq!(used(&world), places[0]);
}

#[test]
fn r5_9_a_kind_of_refusal_is_told_once_a_minute_with_number_and_last_source() {
    let mut world = pair();
    let from = |n: u64| -> SocketAddr { format!("198.51.100.{}:5", n % 200 + 1).parse().unwrap() };
    for n in 0..1190 {
        world.deliver(0, from(n), &mut [0x24; 100]);
        world.deliver(0, from(n), &mut [0x77; 100]);
        world.run(100 * MS);
    }
    let reported = world.nodes[0].events.iter().filter_map(|event| match event {
        Event::Refused { kind: Refusal::Malformed, count, last } => Some((*count, *last)),
        _ => None,
    });
    let reported: Vec<_> = reported.collect();
    assert_eq!(reported.len(), 2, "{reported:?}");
    let (first, second) = (reported[0].0, reported[1].0);
    assert!(first == 2 && (1190..=1210).contains(&second), "{reported:?}");
}

#[test]
fn r5_10_without_a_common_version_there_is_no_session_and_that_is_told() {
    let mut world = World::new(1, 1);
    let other = Hello { versions: (3, 4), ..hello(1, 9) };
    let secure = secure(other, members(1, 2), 2, world.now);
    world.nodes[0].secure.reconfigure(world.now, members(0, 2));
    world.join(secure, address(1), 9);
    world.run(30 * S);
    for (of, versions) in [(0, (3, 4)), (1, (2, 2))] {
        let peer = world.nodes[of].peer(1 - of);
        let reported = Event::NoVersion { peer, versions };
        let reported = world.nodes[of].events.iter().filter(|event| **event == reported).count();
        assert!(!world.nodes[of].is_up(1 - of) && reported == 1, "{of}");
    }
}

#[test]
fn r5_10_version_and_features_are_what_both_have() {
    let mut world = World::new(1, 1);
    let other = Hello { versions: (2, 7), features: 0b110, shards: 4, ..hello(1, 9) };
    let secure = secure(other, members(1, 2), 2, world.now);
    world.nodes[0].secure.reconfigure(world.now, members(0, 2));
    world.join(secure, address(1), 9);
    world.run(3 * S);
    let up = |of: usize| {
        world.nodes[of].events.iter().find_map(|event| match event {
            Event::PeerUp { version, features, shards, .. } => Some((*version, *features, *shards)),
            _ => None,
        })
    };
    assert_eq!([up(0), up(1)], [Some((2, 0b10, 4)), Some((2, 0b10, 1))]);
}

#[test]
fn r4_2_a_peer_with_another_name_is_refused_and_that_is_told() {
    let mut world = World::new(1, 1);
    let other = Hello { name: name(23), ..hello(1, 9) };
    let secure = secure(other, members(1, 2), 2, world.now);
    world.nodes[0].secure.reconfigure(world.now, members(0, 2));
    world.join(secure, address(1), 9);
    world.run(30 * S);
    let peer = world.nodes[0].peer(1);
    let reported = Event::OtherName { peer, called: name(23) };
    assert_eq!(world.nodes[0].events.iter().filter(|event| **event == reported).count(), 1);
    assert!(world.nodes.iter().all(|node| node.up.is_empty()));
    assert!(world.nodes[0].secure.refused(Refusal::OtherName) > 1);
}

/// Node 0, and a session with node 1, which has so many shards and lanes of its own for them.
fn beside_shards(shards: u8) -> World {
    let mut world = World::new(1, 1);
    let other = Hello { shards, ..hello(1, 9) };
    let mut dice = Dice::new(8);
    let random: Random = Box::new(move |bytes| dice.fill(bytes));
    let secure = Secure::new(other, members(1, 2), 0, random, world.now);
    world.nodes[0].secure.reconfigure(world.now, members(0, 2));
    world.join(secure, address(1), 9);
    world.run(2 * S);
    assert!(world.all_up());
    world
}

#[test]
fn r5_11_no_number_is_sealed_twice_and_each_shard_has_its_own_lane() {
    let mut world = beside_shards(4);
    let (a, now) = (world.nodes[0].peer(1), world.now);
    let b = world.nodes[1].peer(0);
    let mut lanes: Vec<Lane> = (1..4).map(Lane::new).collect();
    let keys = world.nodes[1].secure.keys_of(b);
    lanes.iter_mut().for_each(|lane| lane.follow(b, &keys));
    let mut datagram = [7; 64 + OVERHEAD];
    let mut seal = |world: &mut World, to, number| {
        let sealed = world.nodes[0].secure.seal(now, a, to, number, (&mut datagram, 64));
        sealed.map(|_| datagram)
    };
    for (to, lane) in (1..).zip(&mut lanes) {
        let sealed = seal(&mut world, to, 5).unwrap();
        assert_eq!(sealed[1], to, "what steers");
        let opened = lane.open(&mut sealed.clone()).unwrap();
        assert_eq!((opened.stream, opened.number), (Stream { from: 0, to }, 5));
        assert_eq!(lane.open(&mut sealed.clone()), Err(Refusal::Replayed));
        for again in [0, 4, 5] {
            assert_eq!(seal(&mut world, to, again), None, "{again} is not after 5");
        }
        let mut answer = [3; 10 + OVERHEAD];
        assert_eq!(lane.seal(b, 0, 1, &mut answer, 10), Some(10 + OVERHEAD));
        assert_eq!(lane.seal(b, 0, 1, &mut answer, 10), None);
        let opened = world.nodes[0].secure.handle_datagram(now, address(1), &mut answer);
        assert_eq!(opened.map(|opened| opened.stream), Some(Stream { from: to, to: 0 }));
    }
    let sealed = seal(&mut world, 1, 6).unwrap();
    assert_eq!(lanes[1].open(&mut sealed.clone()), Err(Refusal::Malformed), "another shard's");
    for wrong in [4, SHARDS_MAX, 255] {
        assert_eq!(seal(&mut world, wrong, 7), None, "shard {wrong}");
    }
    assert_eq!(seal(&mut world, 1, NUMBER_END), None);
}

/// The states between were lost: no key is left that the lane had.
#[test]
fn r5_7_a_lane_that_follows_late_takes_nothing_twice_under_the_next_keys_of_a_run() {
    let mut world = beside_shards(2);
    let (a, b) = (world.nodes[0].peer(1), world.nodes[1].peer(0));
    let mut lane = Lane::new(1);
    let mut opens = |world: &mut World, number| {
        lane.follow(b, &world.nodes[1].secure.keys_of(b));
        let mut bytes = [3; 10 + OVERHEAD];
        world.nodes[0].secure.seal(world.now, a, 1, number, (&mut bytes, 10)).unwrap();
        lane.open(&mut bytes).map(|opened| opened.index)
    };
    let first = opens(&mut world, 5).unwrap();
    world.run(3 * REKEY_AFTER);
    assert_eq!(opens(&mut world, 5), Err(Refusal::Replayed));
    assert_ne!(opens(&mut world, 6), Ok(first), "under another key");
    assert_eq!(opens(&mut world, 7).map(|_| ()), Ok(()));
}

#[test]
fn a_shard_that_makes_no_handshakes_does_what_shard_0_says_and_reports_what_is_new() {
    let mut world = beside_shards(2);
    let (a, b, now) = (world.nodes[0].peer(1), world.nodes[1].peer(0), world.now);
    let mut branch = Branch::new(1);
    let run = Run { incarnation: world.nodes[0].incarnation, shards: 1 };
    let keys = world.nodes[1].secure.keys_of(b);
    let state = |address, run| PeerState { peer: b, keys: keys.clone(), address, run };
    assert_eq!(branch.take(&state(Some(address(0)), None)), None);
    let mut datagram = [7; 64 + OVERHEAD];
    let mut seal = |branch: &mut Branch, number| branch.seal(b, 0, number, (&mut datagram, 64));
    assert_eq!(seal(&mut branch, 1), None, "nobody said that the peer is there");
    assert_eq!(branch.take(&state(None, Some(run))), Some(Some(run)), "the engine must know");
    assert_eq!(seal(&mut branch, 1), None, "nobody said where");
    assert_eq!(
        branch.take(&state(Some(address(0)), Some(run))),
        None,
        "nothing new for the engine"
    );
    assert_eq!(seal(&mut branch, 1).map(|sealed| sealed.to), Some(address(0)));
    branch.take(&state(Some(address(7)), Some(run)));
    assert_eq!(seal(&mut branch, 2).map(|sealed| sealed.to), Some(address(7)));
    // What is opened is reported when it says something new.
    let opens = |world: &mut World, branch: &mut Branch, number, (from, at)| {
        let mut bytes = [3; 10 + OVERHEAD];
        world.nodes[0].secure.seal(now, a, 1, number, (&mut bytes, 10)).unwrap();
        let opened = branch.handle_datagram(from, &mut bytes).unwrap();
        branch.report(at, from, &opened).map(|report| report.from)
    };
    assert_eq!(opens(&mut world, &mut branch, 1, (address(0), now)), Some(address(0)));
    assert_eq!(opens(&mut world, &mut branch, 2, (address(0), now)), None);
    assert_eq!(opens(&mut world, &mut branch, 3, (address(5), now)), Some(address(5)));
    assert_eq!(opens(&mut world, &mut branch, 4, (address(5), now + 999 * MS)), None);
    assert_eq!(opens(&mut world, &mut branch, 5, (address(5), now + S)), Some(address(5)));
    // Handshakes go to shard 0.
    for mut strange in [vec![INITIATION; INITIATION_LEN], vec![], vec![0x10; 5]] {
        assert!(branch.handle_datagram(address(3), &mut strange).is_none());
    }
    assert_eq!(branch.refused(Refusal::Malformed), 3);
    let reported = Event::Refused { kind: Refusal::Malformed, count: 3, last: address(3) };
    assert_eq!((branch.poll_event(now), branch.poll_event(now)), (Some(reported), None));
    assert_eq!(branch.take(&state(Some(address(7)), None)), Some(None));
    assert_eq!(seal(&mut branch, 3), None);
}

#[test]
fn a_shard_seals_and_takes_nothing_for_a_run_that_its_engine_does_not_know_yet() {
    let mut world = beside_shards(2);
    let (a, b, now) = (world.nodes[0].peer(1), world.nodes[1].peer(0), world.now);
    let run = world.nodes[0].incarnation;
    let mut branch = Branch::new(1);
    let keys = world.nodes[1].secure.keys_of(b);
    let take = |branch: &mut Branch, run: Option<u64>| {
        let run = run.map(|incarnation| Run { incarnation, shards: 1 });
        branch.take(&PeerState { peer: b, keys: keys.clone(), address: Some(address(0)), run })
    };
    let passes = |world: &mut World, branch: &mut Branch, (number, theirs)| {
        let (mut to, mut from) = ([7; 64 + OVERHEAD], [3; 10 + OVERHEAD]);
        let sealed = branch.seal(b, 0, number, (&mut to, 64)).is_some();
        world.nodes[0].secure.seal(now, a, 1, theirs, (&mut from, 10)).unwrap();
        let opened = branch.handle_datagram(address(0), &mut from).expect("its keys are here");
        (sealed, branch.is_of_known_run(address(0), &opened))
    };
    // The peer began again, the keys of its new run are here, and the word that it is there is on its way.
    take(&mut branch, Some(run - 1));
    assert_eq!(passes(&mut world, &mut branch, (100, 1)), (false, false));
    assert_eq!(branch.refused(Refusal::UnknownIndex), 1);
    take(&mut branch, Some(run));
    assert_eq!(passes(&mut world, &mut branch, (1, 2)), (true, true), "numbers begin again");
    take(&mut branch, None);
    assert_eq!(passes(&mut world, &mut branch, (2, 3)), (false, false));
}

#[test]
fn a_cookie_brings_the_next_initiation_through() {
    let mut world = World::new(2, 6);
    world.nodes[0].secure =
        secure(hello(0, 1), Members { peers: vec![], ..members(0, 2) }, 1, world.now);
    world.run(100 * MS);
    let (_, question) = world.sent(1, 0, INITIATION).remove(0);
    // A busy node: whatever it may read, it has read.
    let mut gate = Gate::new();
    let (now, from) = (world.now, address(1));
    while gate.admit(now, from, &question, &mut |b| b.fill(9)) == cookie::Verdict::Read {}
    let own = secret(0).public();
    let mut answer = gate.answer(from, &own, &question);
    assert_eq!(u32_at(&answer, 4), u32_at(&question, 4));
    let (mut damaged, mut elses) = (answer, answer);
    damaged[8 + SALT_LEN] ^= 1;
    elses[5] ^= 1;
    for wrong in [&mut damaged, &mut elses] {
        assert!(world.nodes[1].secure.handle_datagram(now, address(0), wrong).is_none());
    }
    assert_eq!(world.nodes[1].secure.refused(Refusal::Forged), 1);
    assert_eq!(world.nodes[1].secure.refused(Refusal::UnknownIndex), 1);
    assert!(world.nodes[1].secure.handle_datagram(now, address(0), &mut answer).is_none());
    world.run(Duration::from_millis(600));
    let (_, again) = world.sent(1, 0, INITIATION).pop().unwrap();
    assert_ne!(again[INITIATION_LEN - message::MAC_LEN..], [0; message::MAC_LEN]);
    assert_eq!(gate.admit(now, from, &again, &mut |_| {}), cookie::Verdict::Read);
}
