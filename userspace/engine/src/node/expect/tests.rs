use crate::config::{Config, Helpers, Mode, Replication};
use crate::errno::{EEXIST, ENOENT};
use crate::peer::v1::codec::{self as v1, Control, Kind, Messages, Options};
use crate::{Command, CommandId, Engine, Event, Input, Origin, Request, Sender, Side, Stamp};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use common::Instant;
use core::net::Ipv4Addr;
use ctnetlink::flow::HelperName;
use ctnetlink::{Change, Expectation, Flow, Tuple, Writer};

const NOW: Instant = Instant(1_000_000_000);

fn master() -> Flow {
    Flow::new(Tuple::v4([1; 4], [2; 4], 6).with_ports(4000, 21))
}

fn expectation(port: u16) -> Expectation {
    Expectation::default().with(|expect| {
        expect.master = master().orig;
        expect.tuple = master().orig.inverted().with_ports(0, port);
        expect.mask = Tuple::v4([255; 4], [255; 4], 6).with_ports(0, 0xffff);
        expect.timeout_s = Some(300);
        expect.flags = Some(0);
        expect.class = Some(0);
        expect.helper = HelperName::from_bytes(b"ftp");
    })
}

fn engine(replication: Replication) -> Engine {
    let config = Config { expectations: Helpers::All, replication, ..Config::default() };
    let mut engine = Engine::new(config, Instant(0));
    answer_reads(&mut engine, &[]);
    drain_events(&mut engine);
    engine
}

fn ftfw() -> Replication {
    let mode = Mode::Ftfw { resend_max: 100, ack_window: 10 };
    Replication { mode, ..Replication::default() }
}

/// Answers the requests for dumps, that of flows with none; returns the writes.
fn answer_reads(engine: &mut Engine, shown: &[Expectation]) -> Vec<(u32, Request)> {
    let mut writes = Vec::new();
    while let Some(op) = engine.poll_kernel() {
        let (token, request) = (op.token, op.request.clone());
        match request {
            Request::Dump => engine.handle(NOW, Input::DumpDone { complete: true }),
            Request::DumpExpectations => {
                for expect in shown {
                    engine.handle(NOW, Input::DumpedExpectation(Box::new(expect.clone())));
                }
                engine.handle(NOW, Input::ExpectationDumpDone { complete: true });
            }
            request => {
                writes.push((token, request));
                continue;
            }
        }
        engine.handle(NOW, Input::KernelSettled { token });
    }
    writes
}

fn drain_events(engine: &mut Engine) -> Vec<Event> {
    core::iter::from_fn(|| engine.poll_event()).collect()
}

fn hear(engine: &mut Engine, event: Change, expect: &Expectation, origin: Origin) {
    let expect = Box::new(expect.clone());
    engine.handle(NOW, Input::KernelExpect { event, expect, origin });
}

/// What the engine sends: number and kind of each message.
fn sent(engine: &mut Engine, now: Instant) -> Vec<(u32, Kind)> {
    let mut out = Vec::new();
    let mut datagram = [0; 1472];
    while let Some(len) = engine.poll_transmit(now, &mut datagram) {
        for raw in Messages::datagram(&datagram[..len]).flatten() {
            v1::decode(&raw).unwrap();
            out.push((raw.header.seq, raw.header.kind));
        }
    }
    out
}

fn kinds(engine: &mut Engine) -> Vec<Kind> {
    sent(engine, NOW).into_iter().map(|(_, kind)| kind).filter(|k| *k != Kind::Control).collect()
}

fn say(engine: &mut Engine, seq: u32, change: Change, expect: &Expectation) {
    let options = Options { timeout: true, window_scale: false };
    let stamp = v1::Stamp { seq, ..v1::Stamp::default() };
    receive(engine, |w| v1::encode_expectation(change, stamp, expect, options, w));
}

fn control(engine: &mut Engine, seq: u32, control: Control) {
    let stamp = v1::Stamp { seq, ..v1::Stamp::default() };
    receive(engine, |w| v1::encode_control(control, stamp, w));
}

fn receive(engine: &mut Engine, encode: impl FnOnce(&mut Writer<'_>)) {
    let mut bytes = [0; 1472];
    let mut writer = Writer::new(&mut bytes);
    encode(&mut writer);
    let len = writer.finish().unwrap();
    let from = Sender { link: 0, addr: Ipv4Addr::LOCALHOST.into() };
    engine.handle(NOW, Input::Datagram { from, bytes: &bytes[..len] });
}

#[test]
fn a_life_is_sent_and_the_next_one_begins_as_new() {
    let mut engine = engine(Replication::default());
    let mut sent = Vec::new();
    for event in [Change::New, Change::Destroy, Change::New] {
        hear(&mut engine, event, &expectation(5000), Origin::Foreign);
        sent.extend(kinds(&mut engine));
    }
    hear(
        &mut engine,
        Change::Update,
        &expectation(5000).with(|expect| expect.class = Some(1)),
        Origin::Foreign,
    );
    sent.extend(kinds(&mut engine));
    let changes = [Change::New, Change::Destroy, Change::New, Change::Update];
    assert_eq!(sent, changes.map(Kind::Expect));
    assert_eq!(engine.expectation_counts(), [1, 0]);
}

#[test]
fn several_changes_that_wait_are_one_message() {
    let mut engine = engine(Replication::default());
    for event in [Change::New, Change::Destroy, Change::New] {
        hear(&mut engine, event, &expectation(5000), Origin::Foreign);
    }
    assert_eq!(kinds(&mut engine), [Kind::Expect(Change::New)]);
}

#[test]
fn helpers_that_are_not_named_are_left_out() {
    let named = Helpers::Named(vec![String::from("FT")]);
    assert!(named.counts(Some("ftp-2121")) && !named.counts(Some("sip")) && !named.counts(None));
    assert!(!named.counts(Some("f")), "the name begins like the word, not the word like the name");
    assert!(!Helpers::None.counts(Some("ftp")) && Helpers::All.counts(None));
    let config = Config { expectations: named, ..Config::default() };
    let mut engine = Engine::new(config, Instant(0));
    let sip = expectation(5060).with(|expect| expect.helper = HelperName::from_bytes(b"sip"));
    hear(&mut engine, Change::New, &sip, Origin::Foreign);
    hear(&mut engine, Change::New, &expectation(5000), Origin::Foreign);
    assert_eq!(engine.expectation_counts(), [1, 0]);
    assert_eq!(engine.counters().filtered, 1);
}

#[test]
fn what_is_sent_again_says_how_things_are_by_then() {
    let mut engine = engine(ftfw());
    hear(&mut engine, Change::New, &expectation(5000), Origin::Foreign);
    hear(&mut engine, Change::New, &expectation(5001), Origin::Foreign);
    let out = sent(&mut engine, NOW);
    let of_expectations: Vec<u32> =
        out.iter().filter(|(_, kind)| *kind != Kind::Control).map(|(seq, _)| *seq).collect();
    assert_eq!(of_expectations.len(), 2);
    hear(&mut engine, Change::Destroy, &expectation(5000), Origin::Foreign);
    assert_eq!(kinds(&mut engine), [Kind::Expect(Change::Destroy)]);
    // Both news were lost: the one that has ended must not come to life, the other one must not end.
    let (from, to) = (of_expectations[0], of_expectations[1]);
    control(&mut engine, 1, Control::Nack { from, to });
    assert_eq!(kinds(&mut engine), [Change::Destroy, Change::Update].map(Kind::Expect));
}

#[test]
fn a_bulk_transfer_sends_flows_and_then_expectations() {
    let mut engine = engine(Replication::default());
    hear(&mut engine, Change::New, &expectation(5000), Origin::Foreign);
    let (event, origin, stamp) = (Change::New, Origin::Foreign, Stamp::InOrder);
    engine.handle(NOW, Input::Kernel { event, flow: master(), origin, stamp });
    kinds(&mut engine);
    engine.handle(NOW, Input::Command(CommandId(1), Command::Bulk));
    let sent = sent(&mut engine, NOW + core::time::Duration::from_secs(2));
    let sent: Vec<_> = sent.into_iter().map(|(_, kind)| kind).collect();
    let update = Change::Update;
    assert_eq!(sent[..2], [Kind::Flow(update), Kind::Expect(update)], "{sent:?}");
    assert_eq!(sent[2..].iter().filter(|kind| **kind != Kind::Control).count(), 0);
}

#[test]
fn our_own_writes_are_not_sent_back() {
    let mut engine = engine(Replication::default());
    hear(&mut engine, Change::New, &expectation(5000), Origin::Commit);
    hear(&mut engine, Change::New, &expectation(5001), Origin::Inject);
    assert_eq!((kinds(&mut engine), engine.expectation_counts()), (vec![], [1, 0]));
    hear(&mut engine, Change::Destroy, &expectation(5000), Origin::Foreign);
    hear(&mut engine, Change::Destroy, &expectation(5001), Origin::Foreign);
    assert_eq!(kinds(&mut engine), [Kind::Expect(Change::Destroy)], "the committed one is ours");
}

#[test]
fn a_commit_that_replaces_the_master_is_not_sent_either() {
    let mut engine = engine(Replication::default());
    hear(&mut engine, Change::New, &expectation(5000), Origin::Commit);
    // The kernel ends it with its master, without a request.
    hear(&mut engine, Change::Destroy, &expectation(5000), Origin::Foreign);
    hear(&mut engine, Change::New, &expectation(5000), Origin::Commit);
    assert_eq!((kinds(&mut engine), engine.expectation_counts()), (vec![], [1, 0]));
}

#[test]
fn overtaken_messages_change_nothing() {
    let mut engine = engine(Replication::default());
    say(&mut engine, 12, Change::Destroy, &expectation(5000));
    say(&mut engine, 11, Change::New, &expectation(5000));
    assert_eq!(engine.expectation_counts(), [0, 0]);
    say(&mut engine, 14, Change::New, &expectation(5000));
    say(&mut engine, 13, Change::Destroy, &expectation(5000));
    assert_eq!(engine.expectation_counts(), [0, 1]);
    assert_eq!(engine.counters().remote_expectations.stale, 2);
}

#[test]
fn a_dump_fills_the_table_and_sends_what_was_missed() {
    let mut engine = engine(Replication::default());
    engine.handle(NOW, Input::ExpectEventsLost);
    answer_reads(&mut engine, &[expectation(1), expectation(2)]);
    assert_eq!(kinds(&mut engine), [Change::New, Change::New].map(Kind::Expect));
    // The dump that is under way showed 1 before it ended; 2 has ended without an event.
    let later = NOW + core::time::Duration::from_secs(1);
    engine.handle(later, Input::ExpectEventsLost);
    assert!(matches!(engine.poll_kernel().unwrap().request, Request::DumpExpectations));
    hear(&mut engine, Change::Destroy, &expectation(1), Origin::Foreign);
    engine.handle(later, Input::DumpedExpectation(Box::new(expectation(1))));
    engine.handle(later, Input::ExpectationDumpDone { complete: true });
    assert_eq!(kinds(&mut engine), [Change::Destroy, Change::Destroy].map(Kind::Expect));
    assert_eq!(engine.expectation_counts(), [0, 0]);
}

/// Defect 3 of the original: `-c` forgets the expectations.
#[test]
fn a_commit_of_everything_writes_flows_and_then_expectations() {
    let mut engine = engine(Replication::default());
    for port in 1..=3 {
        say(&mut engine, port, Change::New, &expectation(port as u16));
    }
    let stamp = v1::Stamp { seq: 4, ..v1::Stamp::default() };
    let options = Options { timeout: true, window_scale: false };
    receive(&mut engine, |w| v1::encode_flow(Change::New, stamp, &master(), options, w));
    engine.handle(NOW, Input::Command(CommandId(1), Command::CommitAll));
    let flows = answer_reads(&mut engine, &[]);
    assert!(matches!(flows[..], [(_, Request::Create(_))]), "{flows:?}");
    engine.handle(NOW, Input::KernelSettled { token: flows[0].0 });
    let writes = answer_reads(&mut engine, &[]);
    assert_eq!(writes.len(), 3);
    // The first one is in the way of itself, the second one has no master.
    engine.handle(NOW, Input::KernelFailed { token: writes[0].0, errno: EEXIST });
    engine.handle(NOW, Input::KernelFailed { token: writes[1].0, errno: ENOENT });
    engine.handle(NOW, Input::KernelSettled { token: writes[2].0 });
    let again = answer_reads(&mut engine, &[]);
    let [(_, Request::DeleteExpectation(_)), (last, Request::CreateExpectation(_))] = again[..]
    else {
        panic!("{again:?}");
    };
    engine.handle(NOW, Input::KernelSettled { token: last });
    let events = drain_events(&mut engine);
    let failed = |event: &Event| {
        matches!(event, Event::ExpectationsCommitted { committed: 2, failed: 1, .. })
    };
    assert!(events.iter().any(failed), "{events:?}");
    assert_eq!(events.last(), Some(&Event::CommandDone(CommandId(1))));
    assert!(!engine.is_committing());
}

#[test]
fn messages_are_taken_but_not_committed_where_expectations_are_not_replicated() {
    let mut engine = Engine::new(Config::default(), Instant(0));
    answer_reads(&mut engine, &[]);
    drain_events(&mut engine);
    say(&mut engine, 1, Change::New, &expectation(1));
    assert_eq!(engine.expectation_counts(), [0, 1]);
    engine.handle(NOW, Input::Command(CommandId(1), Command::CommitAll));
    assert_eq!(answer_reads(&mut engine, &[]).len(), 0);
    drain_events(&mut engine);
    engine.handle(NOW, Input::Command(CommandId(2), Command::CommitExpectations));
    let events = drain_events(&mut engine);
    assert!(matches!(events[..], [Event::CommandRefused(CommandId(2), _)]), "{events:?}");
}

#[test]
fn what_has_expired_is_not_committed_unless_it_is_permanent() {
    let mut engine = engine(Replication::default());
    say(&mut engine, 1, Change::New, &expectation(1));
    let permanent =
        expectation(2).with(|expect| expect.flags = Some(ctnetlink::expectation::flag::PERMANENT));
    say(&mut engine, 2, Change::New, &permanent);
    say(&mut engine, 3, Change::New, &expectation(3).with(|expect| expect.timeout_s = Some(9000)));
    let later = NOW + core::time::Duration::from_secs(301);
    engine.handle(later, Input::Command(CommandId(1), Command::CommitExpectations));
    let writes = answer_reads(&mut engine, &[]);
    let lifetime = |(_, request): &(u32, Request)| match request {
        Request::CreateExpectation(expect) => expect.timeout_s,
        other => panic!("{other:?}"),
    };
    assert_eq!(writes.iter().map(lifetime).collect::<Vec<_>>(), [Some(60), Some(8699)]);
}

#[test]
fn without_a_remote_table_messages_go_into_the_kernel() {
    let mut engine = engine(Replication { keep_remote: false, ..Replication::default() });
    say(&mut engine, 1, Change::New, &expectation(1));
    let writes = answer_reads(&mut engine, &[]);
    assert!(matches!(writes[..], [(_, Request::CreateExpectation(_))]), "{writes:?}");
    engine.handle(NOW, Input::KernelFailed { token: writes[0].0, errno: EEXIST });
    assert_eq!(answer_reads(&mut engine, &[]).len(), 2, "what is in the way goes first");
    say(&mut engine, 2, Change::Destroy, &expectation(1));
    let writes = answer_reads(&mut engine, &[]);
    assert!(matches!(writes[..], [(_, Request::DeleteExpectation(_))]), "{writes:?}");
    engine.handle(NOW, Input::KernelFailed { token: writes[0].0, errno: ENOENT });
    let counters = engine.counters().inject_expectations;
    assert_eq!((counters.created, counters.destroyed, counters.destroy_failed), (1, 1, 0));
    // Its own write, shown by a dump, is still the peer's.
    engine.handle(NOW, Input::ExpectEventsLost);
    answer_reads(&mut engine, &[expectation(1)]);
    assert_eq!((kinds(&mut engine), engine.expectation_counts()), (vec![], [0, 0]));
}

#[test]
fn a_flush_says_nothing_of_what_it_forgets() {
    let mut engine = engine(ftfw());
    hear(&mut engine, Change::New, &expectation(1), Origin::Foreign);
    let out = sent(&mut engine, NOW);
    hear(&mut engine, Change::New, &expectation(2), Origin::Foreign);
    say(&mut engine, 1, Change::New, &expectation(3));
    engine.handle(NOW, Input::Command(CommandId(1), Command::Flush { local: true, remote: true }));
    assert_eq!(engine.expectation_counts(), [0, 0]);
    let (from, to) = (out[0].0, out[out.len() - 1].0);
    control(&mut engine, 2, Control::Nack { from, to });
    assert_eq!(kinds(&mut engine), []);
    assert_eq!(engine.expectations(Side::Local, None).count(), 0);
}

#[test]
fn alarm_sends_again_and_forgets_what_is_not_sent_again() {
    let mode = Mode::Alarm { refresh_s: 5, expire_s: 20 };
    let mut engine = engine(Replication { mode, ..Replication::default() });
    hear(&mut engine, Change::New, &expectation(1), Origin::Foreign);
    say(&mut engine, 1, Change::New, &expectation(2));
    kinds(&mut engine);
    let at = |s| NOW + core::time::Duration::from_secs(s);
    engine.handle(at(6), Input::Timeout);
    assert_eq!(sent(&mut engine, at(6)).len(), 1);
    assert!(engine.poll_timeout() <= at(7));
    assert_eq!(engine.expectation_counts(), [1, 1]);
    engine.handle(at(21), Input::Timeout);
    assert_eq!(engine.expectation_counts(), [1, 0]);
}
