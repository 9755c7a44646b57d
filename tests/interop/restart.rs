//! FTFW when a node dies and starts again, and which one starts first.
//!
//! The first number of the original is the time in seconds. After some thousand messages, its next life begins behind
//! where the last one ended: only HELLO shows that.

use crate::tables::wait_for_agreement;
use ctnetlink::flow::Known;
use tests::conf::{Conf, End};
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::{Brand, Daemon};
use tests::stage::Stage;
use tests::wait::wait_until;

crate::in_each_direction!(
    a_node_that_is_killed_and_starts_again_knows_everything_and_is_known,
    its_peer_that_is_killed_and_starts_again_does_so_too,
    both_begin_with_flows_the_first_one_first,
    both_begin_with_flows_the_second_one_first,
);

fn conf(end: End) -> Conf {
    Conf::new(end).ftfw().mode("StartupResync on")
}

/// Two nodes with many flows to send.
struct Nodes<'a> {
    stage: &'a Stage,
    a: Daemon<'a>,
    b: Daemon<'a>,
}

impl<'a> Nodes<'a> {
    fn start(stage: &'a Stage, from: Brand, to: Brand) -> Self {
        let b = stage.start(to, "b", &conf(End::B));
        let a = stage.start(from, "a", &conf(End::A));
        let nodes = Self { stage, a, b };
        nodes.agree("what is told at first arrives", 0);
        nodes
    }

    /// Flows appear and change on either node, the `round`-th time, and the other one gets to know of it.
    fn agree(&self, what: &str, round: u32) {
        for (at, node) in [&self.stage.a, &self.stage.b].into_iter().enumerate() {
            let base = at as u32 * 1_000_000 + round * 1000;
            let mut flows = udp_flows(base..base + 1000);
            let mut requests = Requests::open(node);
            requests.create(&flows);
            for flow in &mut flows {
                flow.mark = round + 1;
                flow.known = Known::MARK;
            }
            requests.update(&flows);
        }
        wait_for_agreement(what, &self.a, &self.b);
        let known = [&self.a, &self.b].map(|daemon| daemon.external().len());
        assert!(known.iter().all(|&known| known >= 1000), "{known:?}");
    }
}

fn a_node_that_is_killed_and_starts_again_knows_everything_and_is_known(from: Brand, to: Brand) {
    let stage = Stage::new();
    let mut nodes = Nodes::start(&stage, from, to);
    for round in 1..3 {
        nodes.a.restart(&conf(End::A));
        wait_for_agreement("everything is known again", &nodes.a, &nodes.b);
        nodes.agree("what is told afterwards arrives", round);
    }
}

fn its_peer_that_is_killed_and_starts_again_does_so_too(from: Brand, to: Brand) {
    let stage = Stage::new();
    let mut nodes = Nodes::start(&stage, from, to);
    for round in 1..3 {
        nodes.b.restart(&conf(End::B));
        wait_for_agreement("everything is known again", &nodes.a, &nodes.b);
        nodes.agree("what is told afterwards arrives", round);
    }
}

fn both_begin_with_flows_the_first_one_first(from: Brand, to: Brand) {
    begin(from, to, [End::A, End::B]);
}

fn both_begin_with_flows_the_second_one_first(from: Brand, to: Brand) {
    begin(from, to, [End::B, End::A]);
}

/// Either node has flows when its daemon starts, and more of them before the other one does.
fn begin(from: Brand, to: Brand, order: [End; 2]) {
    let stage = Stage::new();
    let start = |end| {
        let base = if end == End::A { 0 } else { 1_000_000 };
        let mut requests = Requests::open(stage.node(end));
        requests.create(&udp_flows(base..base + 500));
        let brand = if end == End::A { from } else { to };
        let daemon = stage.start(brand, if end == End::A { "a" } else { "b" }, &conf(end));
        requests.create(&udp_flows(base + 500..base + 1000));
        wait_until("it knows its flows", || daemon.internal().len() == 1000);
        daemon
    };
    let [first, second] = order.map(start);
    if first.brand() == Brand::Original {
        // Its request went out when no peer was there, and it drops its resend queue when the other one says HELLO.
        first.ask(&["-n"]);
    }
    wait_for_agreement("both know the same", &first, &second);
    assert_eq!([first.external().len(), second.external().len()], [1000; 2]);
}
