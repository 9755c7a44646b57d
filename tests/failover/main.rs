//! Failover as people run it: Debian's keepalived moves the addresses and calls `contrib/primary-backup.sh`.
//!
//! ```text
//!                   10.99.1.2 [ a ] 10.99.2.2
//!                  lan switch /  | \ wan switch
//! [ client ] ----------------+  sync +---------------- [ server ]
//!   10.99.1.100              \  |  /                    10.99.2.100
//!                   10.99.1.3 [ b ] 10.99.2.3
//! ```
//!
//! The client's gateway 10.99.1.1 and 10.99.2.1, which all connections are translated to, belong to the primary.

mod network;
mod router;
mod connections;

use connections::{COUNT, Connections, Outcome};
use network::Network;
use router::{Router, Setup};
use tests::conf::End;
use tests::conntrack::count;
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::{Brand, Files};
use tests::netns::nft;
use tests::wait::wait_until;

/// What was seen.
struct Seen {
    outcome: Outcome,
    /// Resets that came to the client and to the server.
    resets: [u64; 2],
}

/// A carries the connections and dies; B takes over; A returns with an empty kernel and takes over again.
fn play(setup: Setup) -> Seen {
    let (network, files) = (Network::new(), Files::new());
    let (a, b) = (network.router(End::A), network.router(End::B));
    let on_a = Router::start(&a, End::A, setup, &files, "a");
    on_a.wait_primary();
    let on_b = Router::start(&b, End::B, setup, &files, "b");
    wait_until("B's script ends", || on_b.keepalived.said("conntrackd -n"));
    let connections = Connections::open(&network.client, &network.server);
    connections.wait_for_talk();
    wait_until("B knows all connections", || on_b.replicas() >= COUNT);

    on_a.die();
    network.unplug(End::A);
    drop(a);
    on_b.wait_primary();
    connections.wait_for_talk();

    let a = network.router(End::A);
    let on_a = Router::start(&a, End::A, setup, &files, "a-again");
    on_a.wait_primary();
    wait_until("B gives the addresses back", || !on_b.has_addresses());
    connections.wait_for_talk();
    wait_until("B knows all connections again", || on_b.replicas() >= connections.living());
    // Closing resets nothing by itself, but it is not what is counted.
    let resets = network.resets();
    let outcome = connections.close();
    if !outcome.broken.is_empty() || resets != [0, 0] {
        eprintln!("--- A, which returned\n{}\n--- B\n{}", on_a.logs(), on_b.logs());
    }
    Seen { outcome, resets }
}

fn measure(setup: Setup) -> Seen {
    let seen = play(setup);
    let Seen { outcome, resets } = &seen;
    let (broken, silence) = (outcome.broken.len(), outcome.silence);
    println!(
        "{setup:?}: {broken} of {COUNT} broken, waited {silence:?} at most, resets {resets:?}"
    );
    seen
}

fn all_survive(setup: Setup) {
    let Seen { outcome, resets } = measure(setup);
    assert_eq!(outcome.broken, Vec::<String>::new());
    assert_eq!(resets, [0, 0]);
}

#[test]
fn a_thousand_connections_outlive_their_router_and_its_return_when_flows_are_injected() {
    all_survive(Setup { brand: Brand::Ours, inject: true, gate: false });
}

#[test]
fn a_thousand_connections_outlive_their_router_and_its_return_behind_a_gate() {
    all_survive(Setup { brand: Brand::Ours, inject: false, gate: true });
}

#[test]
fn the_script_serves_the_original_as_well() {
    all_survive(Setup { brand: Brand::Original, inject: false, gate: true });
}

#[test]
fn a_node_that_lacks_flows_leaves_the_addresses_to_the_other_one_and_a_lone_node_does_not() {
    let (network, files) = (Network::new(), Files::new());
    let (a, b) = (network.router(End::A), network.router(End::B));
    let setup = Setup { brand: Brand::Ours, inject: false, gate: true };
    // Nobody is ready: there is nobody to be it for.
    let on_b = Router::start(&b, End::B, setup, &files, "b");
    on_b.wait_primary();
    // A hears B, and B does not hear what A asks for.
    b.within(|| {
        nft("add table inet deaf
add chain inet deaf in { type filter hook input priority 0; }
\
             add rule inet deaf in udp dport 3780 drop");
    });
    // More than it takes to become primary for whoever may.
    let on_a = Router::start(&a, End::A, setup, &files, "a");
    wait_until("A has been asked several times", || on_a.keepalived.asked() > 5);
    assert!(on_b.has_addresses() && !on_a.has_addresses());
    Requests::open(&b).create(&udp_flows(0..COUNT as u32));
    b.sh("nft delete table inet deaf");
    on_a.wait_primary();
    wait_until("B gives the addresses back", || !on_b.has_addresses());
    assert_eq!(count(&a), COUNT);
}
