//! Expectations between the two programs, in both directions and both modes that converse.
//!
//! Beside the daemons that are tried run two of the original on another port, which hear the same events.

use std::slice::from_ref;
use tests::conf::{Conf, End};
use tests::conntrack::count;
use tests::ctnetlink::Requests;
use tests::daemon::{Brand, Daemon};
use tests::expect::{data, irc, lines};
use tests::stage::Stage;
use tests::wait::{wait_equal, wait_until};

crate::in_each_direction!(
    expectations_live_and_end_in_notrack,
    expectations_live_and_end_in_ftfw,
    expectations_come_in_bulk_in_notrack,
    expectations_come_in_bulk_in_ftfw,
    expectations_go_straight_into_the_kernel,
);

struct Nodes<'a> {
    a: Daemon<'a>,
    b: Daemon<'a>,
    model_b: Daemon<'a>,
    model_a: Daemon<'a>,
}

fn conf(end: End, protocol: &'static str) -> Conf {
    Conf::new(end).protocol(protocol).option("ExpectationSync on")
}

fn start<'a>(stage: &'a Stage, from: Brand, to: Brand, protocol: &'static str) -> Nodes<'a> {
    let model = |end| conf(end, protocol).port(3781);
    let model_b = stage.start(Brand::Original, "model-b", &model(End::B));
    let model_a = stage.start(Brand::Original, "model-a", &model(End::A));
    let b = stage.start(to, "b", &conf(End::B, protocol));
    let a = stage.start(from, "a", &conf(End::A, protocol));
    Nodes { a, b, model_b, model_a }
}

impl Nodes<'_> {
    /// Waits until the model has so many, then until the daemons that are tried show the same.
    fn compare(&self, count: usize) {
        let (a, b) = (&self.a, &self.b);
        wait_until("the model has got so far", || {
            self.model_b.external_expectations().len() == count
        });
        wait_equal(
            "A shows them",
            || a.internal_expectations(),
            || self.model_a.internal_expectations(),
        );
        wait_equal(
            "B shows them",
            || b.external_expectations(),
            || self.model_b.external_expectations(),
        );
    }
}

fn life(from: Brand, to: Brand, protocol: &'static str) {
    let stage = Stage::new();
    let nodes = start(&stage, from, to, protocol);
    let mut requests = Requests::open(&stage.a);
    requests.create(from_ref(&irc()));
    requests.expect(&[data(5000), data(5001), data(5002)]);
    nodes.compare(3);
    requests.unexpect(&[data(5001)]);
    nodes.compare(2);
    requests.expect(&[data(5001)]);
    nodes.compare(3);
    wait_until("the flow has arrived", || nodes.b.external().len() == 1);
    wait_until("the flow has arrived", || nodes.model_b.external().len() == 1);
    nodes.b.ask(&["-c", "ct"]);
    nodes.b.ask(&["-c", "expect"]);
    wait_equal("B's kernel has them", || lines(&stage.b), || lines(&stage.a));
    stage.b.sh("conntrack -F");
    assert_eq!(lines(&stage.b), [""; 0], "they end with their master");
    nodes.model_b.ask(&["-c", "ct"]);
    nodes.model_b.ask(&["-c", "expect"]);
    wait_equal("the original commits the same", || lines(&stage.b), || lines(&stage.a));
    requests.delete(&[irc()]);
    nodes.compare(0);
}

fn bulk(from: Brand, to: Brand, protocol: &'static str) {
    let stage = Stage::new();
    let nodes = start(&stage, from, to, protocol);
    let mut requests = Requests::open(&stage.a);
    requests.create(from_ref(&irc()));
    requests.expect(&[data(5000), data(5001)]);
    nodes.compare(2);
    for (asked, verb) in [(&nodes.a, "-B"), (&nodes.b, "-n")] {
        // The original's `-f external` keeps them.
        nodes.b.ask(&["-f"]);
        wait_until("it is forgotten", || nodes.b.external_expectations().is_empty());
        asked.ask(&[verb]);
        nodes.compare(2);
    }
}

fn expectations_live_and_end_in_notrack(from: Brand, to: Brand) {
    life(from, to, "NOTRACK");
}

fn expectations_live_and_end_in_ftfw(from: Brand, to: Brand) {
    life(from, to, "FTFW");
}

fn expectations_come_in_bulk_in_notrack(from: Brand, to: Brand) {
    bulk(from, to, "NOTRACK");
}

fn expectations_come_in_bulk_in_ftfw(from: Brand, to: Brand) {
    bulk(from, to, "FTFW");
}

fn expectations_go_straight_into_the_kernel(from: Brand, to: Brand) {
    let stage = Stage::new();
    let _b = stage.start(to, "b", &conf(End::B, "NOTRACK").mode("DisableExternalCache on"));
    let _a = stage.start(from, "a", &conf(End::A, "NOTRACK"));
    let mut requests = Requests::open(&stage.a);
    requests.create(from_ref(&irc()));
    wait_until("the flow is there", || count(&stage.b) == 1);
    requests.expect(&[data(5000), data(5001)]);
    wait_equal("they are there", || lines(&stage.b), || lines(&stage.a));
    requests.unexpect(&[data(5001)]);
    wait_equal("they end", || lines(&stage.b), || lines(&stage.a));
    requests.delete(&[irc()]);
    wait_until("all ends", || lines(&stage.b).is_empty() && count(&stage.b) == 0);
}
