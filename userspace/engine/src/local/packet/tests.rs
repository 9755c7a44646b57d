//! What the engine makes of packets, and when it asks the kernel.

use crate::config::limit;
use crate::input::{Input, Origin, Stamp};
use crate::output::{Request, Side};
use crate::{Config, Engine};
use alloc::vec::Vec;
use common::{FlowKey, Instant, Tuple};
use core::time::Duration;
use wire::Flow;
use wire::flow::{Known, Status};
use wire::netlink::EventKind;
use wire::packet::Seen;

const SECOND: u64 = 1_000_000_000;

/// An engine whose table has been read and was empty.
fn engine() -> Engine {
    let mut engine = Engine::new(Config::default(), Instant(0));
    assert!(asked(&mut engine).is_empty());
    engine.handle(Instant(1), Input::DumpDone { complete: true });
    engine
}

/// The flows it asks for.
fn asked(engine: &mut Engine) -> Vec<FlowKey> {
    let requests = core::iter::from_fn(|| engine.poll_kernel().map(|op| op.request.clone()));
    let gets = requests.filter_map(|request| match request {
        Request::Get(key) => Some(key),
        _ => None,
    });
    gets.collect()
}

fn flow() -> Flow {
    let orig = Tuple::v4([1; 4], [2; 4], 17).with_ports(1000, 53);
    Flow {
        reply: orig.inverted(),
        known: Known::STATUS | Known::TIMEOUT | Known::MARK,
        status: Status::CONFIRMED,
        timeout_s: 30,
        ..Flow::new(orig)
    }
}

fn packet(engine: &mut Engine, at: u64, confirmed: bool, whole: bool) {
    let seen = Seen { flow: flow(), confirmed, whole };
    engine.handle(Instant(at), Input::Packet { seen, at: Instant(at) });
}

fn destroy(engine: &mut Engine, at: u64) {
    let (origin, stamp) = (Origin::Foreign, Stamp::At(Instant(at)));
    let event = EventKind::Destroy;
    engine.handle(Instant(at), Input::Kernel { event, flow: flow(), origin, stamp });
}

fn answer(engine: &mut Engine, now: u64, flow_there: Option<Flow>) {
    let key = flow().key();
    engine.handle(Instant(now), Input::Verified { key, flow: flow_there });
}

fn len(engine: &Engine) -> usize {
    engine.flows(Side::Local).count()
}

/// Lets time pass until the engine asks for something or nothing can come any more.
fn wait(engine: &mut Engine, from: u64, seconds: u64) -> Vec<FlowKey> {
    for step in 0..seconds * 20 {
        engine.handle(Instant(from + step * SECOND / 20), Input::Timeout);
        let asked = asked(engine);
        if !asked.is_empty() {
            return asked;
        }
    }
    Vec::new()
}

#[test]
fn a_flow_of_one_packet_is_asked_for_after_a_while_and_once() {
    let mut engine = engine();
    packet(&mut engine, 10, false, true);
    assert_eq!((len(&engine), asked(&mut engine)), (1, Vec::new()));
    assert!(engine.poll_timeout() <= Instant(3 * SECOND));
    assert_eq!(wait(&mut engine, 20, 5), [flow().key()]);
    answer(&mut engine, 5 * SECOND, Some(flow()));
    assert_eq!(wait(&mut engine, 6 * SECOND, 60), []);
    assert_eq!(len(&engine), 1);
}

#[test]
fn a_flow_that_never_came_to_be_goes() {
    let mut engine = engine();
    packet(&mut engine, 10, false, true);
    assert_eq!(wait(&mut engine, 20, 5), [flow().key()]);
    answer(&mut engine, 5 * SECOND, None);
    assert_eq!(len(&engine), 0);
}

#[test]
fn its_second_packet_shows_that_a_flow_is_there() {
    let mut engine = engine();
    packet(&mut engine, 10, false, true);
    packet(&mut engine, 20, true, true);
    assert_eq!(wait(&mut engine, 30, 60), []);
    destroy(&mut engine, 61 * SECOND);
    assert_eq!(len(&engine), 0);
}

#[test]
fn what_a_packet_cannot_tell_is_asked_for() {
    let mut engine = engine();
    packet(&mut engine, 10, false, false);
    assert_eq!(asked(&mut engine), [flow().key()]);
    let named = Flow { id: 9, known: flow().known | Known::ID, ..flow() };
    answer(&mut engine, 20, Some(named.clone()));
    assert_eq!(engine.flows(Side::Local).next(), Some(named));
}

/// The question overtakes the packet.
#[test]
fn a_flow_that_is_not_there_yet_is_asked_for_again() {
    let mut engine = engine();
    packet(&mut engine, 10, false, false);
    assert_eq!(asked(&mut engine).len(), 1);
    answer(&mut engine, 2000, None);
    assert_eq!((len(&engine), asked(&mut engine)), (1, [flow().key()].into()));
    answer(&mut engine, 10 + limit::CONFIRM_TIME.as_nanos() as u64, None);
    assert_eq!((len(&engine), asked(&mut engine)), (0, Vec::new()));
}

/// Two CPUs begin the same flow, and the kernel keeps one of the two.
#[test]
fn a_flow_that_begins_twice_is_asked_for() {
    let mut engine = engine();
    packet(&mut engine, 10, false, true);
    packet(&mut engine, 20, false, true);
    assert_eq!(asked(&mut engine), [flow().key()]);
}

/// The end of an earlier life comes after the first packet of this one.
#[test]
fn an_end_right_behind_a_first_packet_is_checked() {
    let mut engine = engine();
    packet(&mut engine, 10, false, true);
    destroy(&mut engine, 2000);
    assert_eq!((len(&engine), asked(&mut engine)), (1, [flow().key()].into()));
    answer(&mut engine, 3000, Some(flow()));
    assert_eq!(len(&engine), 1);
    // Later it is believed.
    destroy(&mut engine, SECOND);
    assert_eq!(len(&engine), 0);
}

#[test]
fn a_packet_that_is_reported_after_the_end_revives_nothing_by_itself() {
    let mut engine = engine();
    packet(&mut engine, 10, false, true);
    packet(&mut engine, 20, true, true);
    destroy(&mut engine, SECOND);
    packet(&mut engine, SECOND + 5, true, true);
    assert_eq!((len(&engine), asked(&mut engine)), (0, [flow().key()].into()));
    answer(&mut engine, SECOND + 10, None);
    assert_eq!(len(&engine), 0);
}

#[test]
fn an_older_report_does_not_overwrite_a_newer_one() {
    let mut engine = engine();
    packet(&mut engine, 10, false, true);
    let news = |mark| Seen { flow: Flow { mark, ..flow() }, confirmed: true, whole: true };
    engine.handle(Instant(50), Input::Packet { seen: news(2), at: Instant(40) });
    engine.handle(Instant(60), Input::Packet { seen: news(1), at: Instant(30) });
    assert_eq!(engine.flows(Side::Local).next().map(|flow| flow.mark), Some(2));
}

/// A flow whose beginning nobody saw may be one of those whose end the kernel does not tell.
#[test]
fn a_flow_that_is_met_half_way_is_looked_after() {
    let mut engine = engine();
    packet(&mut engine, 10, true, true);
    assert_eq!((len(&engine), engine.silent_flows()), (1, 1));
    packet(&mut engine, 20, true, true);
    assert_eq!(engine.silent_flows(), 1, "more packets show nothing about its end");
    packet(&mut engine, 30, false, true);
    assert_eq!(engine.silent_flows(), 0, "this one is another, which began while we listen");
}

#[test]
fn the_table_is_read_after_a_commit_where_requests_are_not_heard() {
    use crate::input::{Command, CommandId};
    for hears_requests in [true, false] {
        let config = Config { hears_requests, ..Config::default() };
        let mut engine = Engine::new(config, Instant(0));
        while engine.poll_kernel().is_some() {}
        engine.handle(Instant(1), Input::DumpDone { complete: true });
        engine.handle(Instant(2), Input::Command(CommandId(1), Command::Commit));
        engine.handle(Instant(2) + Duration::from_secs(1), Input::Timeout);
        let mut asked = core::iter::from_fn(|| engine.poll_kernel().map(|op| op.request.clone()));
        let reads = asked.any(|request| request == Request::Dump);
        assert_eq!(reads, !hears_requests);
    }
}
