//! What the engine makes of packets, and when it asks the kernel.

use crate::config::limit;
use crate::input::{Command, CommandId, Input, Origin, Sender, Stamp};
use crate::output::{Request, Side};
use crate::peer::v1::codec::{self as v1, Message, Messages, Options};
use crate::{Config, Engine};
use alloc::vec::Vec;
use common::Instant;
use core::net::Ipv4Addr;
use core::time::Duration;
use ctnetlink::flow::{Known, Status};
use ctnetlink::{Change, Flow, FlowKey, Tuple, Writer};
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
    let event = Change::Destroy;
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

/// A flow whose beginning was not seen may be one whose end the kernel does not report.
#[test]
fn a_flow_that_is_met_half_way_is_looked_after() {
    let mut engine = engine();
    packet(&mut engine, 10, true, true);
    assert_eq!((len(&engine), engine.flows_without_events()), (1, 1));
    packet(&mut engine, 20, true, true);
    assert_eq!(engine.flows_without_events(), 1, "more packets show nothing about its end");
    packet(&mut engine, 30, false, true);
    assert_eq!(
        engine.flows_without_events(),
        0,
        "this one is another, which began while we listen"
    );
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

/// The peer says this of a flow.
fn hear(engine: &mut Engine, now: u64, change: Change, flow: &Flow) {
    let mut bytes = [0; 500];
    let mut writer = Writer::new(&mut bytes);
    let (options, seq) = (Options { timeout: true, window_scale: false }, now as u32);
    let stamp = v1::Stamp { seq, ..v1::Stamp::default() };
    v1::encode_flow(change, stamp, flow, options, &mut writer);
    let len = writer.finish().unwrap();
    let from = Sender { link: 0, addr: Ipv4Addr::LOCALHOST.into() };
    engine.handle(Instant(now), Input::Datagram { from, bytes: &bytes[..len] });
}

/// What is sent to the peer now: which flows, as new or as changed.
fn told(engine: &mut Engine, now: u64) -> Vec<(Change, FlowKey)> {
    let (mut bytes, mut told) = ([0; 1472], Vec::new());
    while let Some(len) = engine.poll_transmit(Instant(now), &mut bytes) {
        for raw in Messages::datagram(&bytes[..len]) {
            let message = v1::decode(&raw.unwrap()).unwrap();
            if let Message::Flow { change, flow } = message {
                told.push((change, flow.key()));
            }
        }
    }
    told
}

/// The packet that began it is reported after the reading, with a time before it.
#[test]
fn a_flow_that_the_first_reading_shows_before_its_first_packet_is_told() {
    let mut engine = Engine::new(Config::default(), Instant(100));
    assert!(asked(&mut engine).is_empty());
    engine.handle(Instant(150), Input::Dumped(flow()));
    engine.handle(Instant(160), Input::DumpDone { complete: true });
    assert_eq!(told(&mut engine, 170), [], "what was there at the start a bulk transfer tells");
    packet(&mut engine, 90, false, true);
    assert_eq!(told(&mut engine, 180), [(Change::New, flow().key())]);
}

/// Where requests of other programs are not reported, the kernel's table is read after a commit. What the commit wrote
/// is the peer's, but a flow that began at that moment is not, even if the reading shows it before its first packet is
/// reported.
#[test]
fn after_a_commit_what_began_here_meanwhile_is_told_and_what_was_written_is_not() {
    let config = Config { hears_requests: false, ..Config::default() };
    let mut engine = Engine::new(config, Instant(0));
    assert!(asked(&mut engine).is_empty());
    engine.handle(Instant(1), Input::DumpDone { complete: true });
    let theirs = Flow { orig: flow().orig.with_ports(7, 7), ..flow() };
    let theirs = Flow { reply: theirs.orig.inverted(), ..theirs };
    hear(&mut engine, 2, Change::New, &theirs);
    engine.handle(Instant(3), Input::Command(CommandId(1), Command::Commit));
    let token = engine.poll_kernel().expect("the flow is written").token;
    engine.handle(Instant(1000), Input::KernelSettled { token });
    assert_eq!(engine.poll_kernel().map(|op| op.request.clone()), Some(Request::Dump));
    engine.handle(Instant(1010), Input::Dumped(theirs));
    engine.handle(Instant(1010), Input::Dumped(flow()));
    engine.handle(Instant(1020), Input::DumpDone { complete: true });
    assert_eq!((len(&engine), told(&mut engine, 1030)), (2, [(Change::New, flow().key())].into()));
}

#[test]
fn a_reading_does_not_remove_a_flow_whose_first_packet_is_on_its_way() {
    let mut engine = engine();
    packet(&mut engine, 10, false, true);
    engine.handle(Instant(20), Input::Command(CommandId(1), Command::ResyncKernel));
    assert!(asked(&mut engine).is_empty());
    engine.handle(Instant(30), Input::DumpDone { complete: true });
    assert_eq!((len(&engine), asked(&mut engine)), (1, [flow().key()].into()));
    answer(&mut engine, 40, Some(flow()));
    assert_eq!(len(&engine), 1);
    // One that should have been there long ago is gone.
    let late = 50 + limit::CONFIRM_TIME.as_nanos() as u64;
    packet(&mut engine, 45, false, true);
    engine.handle(Instant(late), Input::Command(CommandId(2), Command::ResyncKernel));
    let _ = asked(&mut engine);
    engine.handle(Instant(late + 10), Input::DumpDone { complete: true });
    assert_eq!(len(&engine), 0);
}

/// An engine that writes the peer's flows straight into the kernel, in which a flow of both nodes lives.
fn injecting() -> Engine {
    let mut config = Config { hears_requests: false, ..Config::default() };
    config.replication.keep_remote = false;
    let mut engine = Engine::new(config, Instant(0));
    assert!(asked(&mut engine).is_empty());
    engine.handle(Instant(1), Input::DumpDone { complete: true });
    packet(&mut engine, 10, true, true);
    assert_eq!(told(&mut engine, 11).len(), 1);
    engine
}

/// The peer says this of the flow, and the kernel does it; the flows the engine then asks for.
fn inject(engine: &mut Engine, now: u64, change: Change, flow: &Flow) -> Vec<FlowKey> {
    hear(engine, now, change, flow);
    let token = engine.poll_kernel().expect("the flow is written").token;
    engine.handle(Instant(now), Input::KernelSettled { token });
    asked(engine)
}

/// Two nodes that sent each other the results of their writes would go on for ever.
#[test]
fn what_an_injection_changed_is_read_back_and_not_told_back() {
    let mut engine = injecting();
    let marked = Flow { mark: 7, ..flow() };
    assert_eq!(inject(&mut engine, 20, Change::Update, &marked), [flow().key()]);
    answer(&mut engine, 20, Some(marked.clone()));
    assert_eq!(engine.flows(Side::Local).next().map(|flow| flow.mark), Some(7));
    assert_eq!(told(&mut engine, 21), []);
    // A change by traffic that was read together with it is reported later, and is sent.
    packet(&mut engine, 15, true, true);
    assert_eq!(told(&mut engine, 22), [(Change::Update, flow().key())]);
    assert_eq!(engine.flows(Side::Local).next().map(|flow| flow.mark), Some(7));
}

#[test]
fn the_first_reading_does_not_take_the_peers_flows_for_ours() {
    let mut config = Config { hears_requests: false, ..Config::default() };
    config.replication.keep_remote = false;
    let mut engine = Engine::new(config, Instant(0));
    assert!(asked(&mut engine).is_empty());
    assert_eq!(inject(&mut engine, 5, Change::New, &flow()), []);
    engine.handle(Instant(10), Input::Dumped(flow()));
    engine.handle(Instant(20), Input::DumpDone { complete: true });
    assert_eq!(
        (len(&engine), asked(&mut engine), told(&mut engine, 30)),
        (0, [].into(), [].into())
    );
}

/// While the sources change, an event about one change may come in before the packet that made an earlier one.
#[test]
fn a_packet_from_before_an_event_that_left_its_news_out_makes_the_engine_ask() {
    for news in [true, false] {
        let mut engine = engine();
        packet(&mut engine, 10, false, true);
        packet(&mut engine, 11, true, true);
        let (origin, stamp) = (Origin::Foreign, Stamp::After(Instant(15)));
        let known = Known::STATUS | Known::TIMEOUT;
        let flow = Flow { status: Status::CONFIRMED | Status::SEEN_REPLY, known, ..flow() };
        let event = Change::Update;
        engine.handle(Instant(30), Input::Kernel { event, flow: flow.clone(), origin, stamp });
        assert!(asked(&mut engine).is_empty());
        let seen = Flow { mark: u32::from(news), known: known | Known::MARK, ..flow };
        let seen = Seen { flow: seen, confirmed: true, whole: true };
        engine.handle(Instant(40), Input::Packet { seen, at: Instant(20) });
        assert_eq!(!asked(&mut engine).is_empty(), news);
    }
}
