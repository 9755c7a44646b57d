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
//! A third router, c, is at 10.99.1.4 and 10.99.2.4. The client's gateway 10.99.1.1 and 10.99.2.1, which all connections
//! are translated to, belong to the primary.

mod network;
mod router;
mod connections;
mod upgrade;

use connections::{COUNT, Connections, Outcome};
use network::Network;
use router::{Router, Setup};
use std::collections::VecDeque;
use tests::conntrack::count;
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::{Brand, Files};
use tests::mesh::Members;
use tests::netns::nft;
use tests::wait::{wait_or_explain, wait_until};

/// What the routers' files are called.
const NAMES: [&str; 3] = ["a", "b", "c"];
/// Two nodes of ours over version 1, behind a gate.
const GATED: Setup = Setup { version: 1, nodes: 2, brand: Brand::Ours, inject: false, gate: true };

/// The observations of one run.
struct Seen {
    outcome: Outcome,
    /// Resets that came to the client and to the server.
    resets: [u64; 2],
}

/// A carries the connections and dies; B takes over. With three nodes B dies too, and C takes over. A returns with an
/// empty kernel and takes over again.
fn play(setup: Setup) -> Seen {
    let (network, files) = (Network::new(), Files::new());
    let members = Members::new(files.path(), setup.nodes);
    let machines: Vec<_> = (0..setup.nodes).map(|at| network.router(at)).collect();
    let start = |machine, at: usize, name: &str| {
        Router::start((machine, at), (setup, &members), &files, name)
    };
    let first = start(&machines[0], 0, NAMES[0]);
    first.wait_primary();
    let mut routers: VecDeque<_> = [first].into();
    for at in 1..setup.nodes {
        routers.push_back(start(&machines[at], at, NAMES[at]));
        wait_until("its script ends", || routers[at].keepalived.said("conntrackd -n"));
    }
    let connections = Connections::open(&network.client, &network.server);
    connections.wait_for_talk();

    for at in 0..setup.nodes - 1 {
        let lives = connections.living();
        for heir in routers.iter().skip(1) {
            wait_until("it knows all connections", || heir.replicas() >= lives);
        }
        routers.pop_front().expect("one is primary").die();
        network.unplug(at);
        routers[0].wait_primary();
        connections.wait_for_talk();
    }
    let last = routers.pop_front().expect("one is left");
    let again = network.router(0);
    let first = Router::start((&again, 0), (setup, &members), &files, "a-again");
    first.wait_primary();
    wait_until("the last one gives the addresses back", || !last.has_addresses());
    connections.wait_for_talk();
    let differs = || {
        let (known, living) = (last.replicas(), connections.living());
        if known >= living { Ok(()) } else { Err((known, living)) }
    };
    wait_or_explain(differs, |(known, living)| {
        let states = [&first, &last].map(Router::state).join("\n");
        format!("the last one knows {known} of {living} connections again\n{states}")
    });
    // Closing resets nothing by itself, but it is not what is counted.
    let resets = network.resets();
    let outcome = connections.close();
    if !outcome.broken.is_empty() || resets != [0, 0] {
        eprintln!("--- A, which returned\n{}\n--- the last one\n{}", first.logs(), last.logs());
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
    all_survive(Setup { inject: true, gate: false, ..GATED });
}

#[test]
fn a_thousand_connections_outlive_their_router_and_its_return_behind_a_gate() {
    all_survive(GATED);
}

#[test]
fn r19_3_a_thousand_connections_outlive_their_router_and_its_return_over_version_2() {
    all_survive(Setup { version: 2, ..GATED });
}

#[test]
fn r19_3_a_thousand_connections_outlive_two_of_three_routers_and_a_return() {
    all_survive(Setup { version: 2, nodes: 3, ..GATED });
}

#[test]
fn the_script_serves_the_original_as_well() {
    all_survive(Setup { brand: Brand::Original, ..GATED });
}

#[test]
fn a_node_that_lacks_flows_leaves_the_addresses_to_the_other_one_and_a_lone_node_does_not() {
    let (network, files) = (Network::new(), Files::new());
    let (a, b) = (network.router(0), network.router(1));
    let setup = (GATED, &Members::new(files.path(), 2));
    // No node is ready: there is no other to be ready for.
    let on_b = Router::start((&b, 1), setup, &files, "b");
    on_b.wait_primary();
    // A receives from B, but B does not receive A's requests.
    b.within(|| {
        nft("add table inet deaf
add chain inet deaf in { type filter hook input priority 0; }
\
             add rule inet deaf in udp dport 3780 drop");
    });
    // Longer than it takes to become primary.
    let on_a = Router::start_when((&a, 0), setup, &files, "a", |daemon| {
        wait_until("A has heard of B", || {
            !daemon.status()["replication"]["peer_heard_s"].is_null()
        });
    });
    wait_until("A has been asked several times", || on_a.keepalived.asked() > 5);
    assert!(on_b.has_addresses() && !on_a.has_addresses());
    Requests::open(&b).create(&udp_flows(0..COUNT as u32));
    b.sh("nft delete table inet deaf");
    on_a.wait_primary();
    wait_until("B gives the addresses back", || !on_b.has_addresses());
    assert_eq!(count(&a), COUNT);
}
