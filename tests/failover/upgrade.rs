//! From version 1 to version 2 (R14.3), with a thousand open connections: from ours, and from the original.
//!
//! ```text
//!            standby              primary
//!   1        v1, v2               v1                 the scripts of keepalived ask v1
//!   2        v1, v2               v1, v2             each v2 knows that it equals the other one
//!   3        v1, [v2]             v1, [v2]           the scripts ask v2
//!   4        [v2]                 v1, [v2]
//!   5        [v2]                 [v2]
//! ```
//!
//! Version 2 runs as a daemon of its own beside the one that there is, with other files and another port. Whenever the
//! primary dies, the other router takes over with the daemon that the scripts ask. Until version 1 is stopped, each step
//! can be taken back.

use crate::connections::{COUNT, Connections};
use crate::network::Network;
use crate::router::{Router, Setup};
use crate::{GATED, NAMES};
use std::process::Stdio;
use tests::daemon::{Brand, Daemon, Files};
use tests::mesh::{Members, name};
use tests::wait::wait_until;

/// How far the way is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    BesideAtStandby,
    BesideAtBoth,
    Switched,
    StandbyAlone,
    BothAlone,
}

const STEPS: [Step; 5] = [
    Step::BesideAtStandby,
    Step::BesideAtBoth,
    Step::Switched,
    Step::StandbyAlone,
    Step::BothAlone,
];

/// `ctflow ready --peer`: whether a daemon knows that it holds what that peer has.
fn is_equal(daemon: &Daemon<'_>, peer: usize) -> bool {
    let said = daemon.ask_into("ctflow", &["ready", "--peer", &name(peer)], Stdio::piped());
    said.status.success()
}

/// Everything that a step of the upgrade needs.
struct Way<'a, 'b> {
    /// The primary and the standby.
    routers: &'b mut [Router<'a>; 2],
    members: &'b Members,
    files: &'b Files,
}

impl Way<'_, '_> {
    fn start_beside(&mut self, at: usize) {
        let name = format!("{}-v2", NAMES[at]);
        self.routers[at].start_beside(at, self.members, self.files, &name);
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::BesideAtStandby => self.start_beside(1),
            Step::BesideAtBoth => {
                self.start_beside(0);
                let beside = |way: &Self, at: usize, peer| {
                    is_equal(way.routers[at].beside.as_ref().expect("it runs"), peer)
                };
                wait_until("both are equal", || beside(self, 0, 1) && beside(self, 1, 0));
            }
            Step::Switched => self.routers.iter_mut().for_each(Router::switch),
            Step::StandbyAlone => self.routers[1].stop_beside(),
            Step::BothAlone => self.routers[0].stop_beside(),
        }
    }

    /// Back to version 1, from where both daemons run.
    fn go_back(&mut self) {
        self.routers.iter_mut().for_each(Router::switch);
        self.routers.iter_mut().for_each(Router::stop_beside);
    }
}

/// Walks up to a step, and maybe back again; then the primary dies. Where the way is over, it returns with version 2
/// alone, and takes over again.
fn walk(brand: Brand, last: Step, back: bool) {
    let setup = Setup { brand, ..GATED };
    let (network, files) = (Network::new(), Files::new());
    let members = Members::new(files.path(), 2);
    let machines = [network.router(0), network.router(1)];
    let start =
        |at: usize| Router::start((&machines[at], at), (setup, &members), &files, NAMES[at]);
    let a = start(0);
    a.wait_primary();
    let b = start(1);
    wait_until("its script ends", || b.keepalived.said("conntrackd -n"));
    let connections = Connections::open(&network.client, &network.server);
    connections.wait_for_talk();
    let mut routers = [a, b];
    let mut way = Way { routers: &mut routers, members: &members, files: &files };
    for step in STEPS.into_iter().filter(|step| *step <= last) {
        way.take(step);
        connections.wait_for_talk();
        assert_eq!(connections.living(), COUNT, "{brand:?}, {step:?}");
    }
    if back {
        way.go_back();
    }

    let [a, b] = routers;
    wait_until("the heir knows all connections", || b.replicas() >= connections.living());
    a.die();
    network.unplug(0);
    b.wait_primary();
    connections.wait_for_talk();
    let again = network.router(0);
    let returned = (last == Step::BothAlone).then(|| {
        let setup = Setup { version: 2, ..GATED };
        let first = Router::start((&again, 0), (setup, &members), &files, "a-again");
        first.wait_primary();
        wait_until("B gives the addresses back", || !b.has_addresses());
        connections.wait_for_talk();
        first
    });
    let resets = network.resets();
    let outcome = connections.close();
    println!(
        "{brand:?}, {last:?}, back {back}: {} of {COUNT} broken, waited {:?} at most, resets {resets:?}",
        outcome.broken.len(),
        outcome.silence
    );
    if !outcome.broken.is_empty() || resets != [0, 0] {
        let returned = returned.as_ref().map(Router::logs).unwrap_or_default();
        eprintln!("--- B\n{}\n--- A, which returned\n{returned}", b.logs());
    }
    assert_eq!((outcome.broken, resets), (Vec::new(), [0, 0]), "{brand:?}, {last:?}");
}

fn every_step(brand: Brand) {
    for last in STEPS {
        walk(brand, last, false);
    }
}

#[test]
fn r14_3_no_step_from_our_version_1_loses_a_connection() {
    every_step(Brand::Ours);
}

#[test]
fn r14_3_no_step_from_the_original_loses_a_connection() {
    every_step(Brand::Original);
}

#[test]
fn r14_3_before_version_1_is_stopped_the_way_back_loses_no_connection() {
    for brand in [Brand::Ours, Brand::Original] {
        walk(brand, Step::Switched, true);
    }
}
