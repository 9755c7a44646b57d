//! Events on their way from the kernel to the table take no memory, once the table has room.
//!
//! The first tests count every allocation of the thread that drains, decodes and hands in: none. The others count those
//! of the daemon's own threads, which also look after themselves some times a second: far fewer than events.

mod counting;

use common::Instant;
use engine::config::Replication;
use engine::{Config, Engine, Input, Origin, Share, Side, Stamp};
use host::clock;
use host::fleet::{self, FleetParts, Handle};
use host::kernel::KernelWriter;
use host::log::{Form, Log, Places};
use host::purge::Purger;
use host::reader::Reader;
use host::shard::{Order, Parts, Snapshot};
use host::source::{Choice, Heard, Settings, Source, Stamp as SourceStamp};
use host::tuning::Tuning;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tests::churn;
use tests::ctnetlink::{Requests, udp_flows};
use tests::netns::{self, Namespace};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use wire::netlink::{Detail, Message, Messages, decode};
use wire::packet;

/// More than there are tombstones, so that those have taken what they need as well.
const FLOWS: u32 = 10_000;

/// What one test does must not be counted in the other.
static ALONE: Mutex<()> = Mutex::new(());

fn settings(choice: Choice) -> Settings {
    Settings { choice, buffer_bytes: Some(64 << 20), ring_bytes: 32 << 20, ..Settings::default() }
}

fn config() -> Config {
    let replication = Replication { has_peer: false, ..Replication::default() };
    Config { replication, ..Config::default() }
}

/// As a shard hears.
fn hear(engine: &mut Engine, now: Instant, hz: u32, heard: Heard<'_>, stamp: SourceStamp) {
    let bytes = match (heard, stamp) {
        (Heard::Message(bytes), _) => bytes,
        (Heard::Packet(bytes), SourceStamp::At(at)) => {
            let seen = packet::decode(bytes, hz).expect("a record is as agreed");
            return engine.handle(now, Input::Packet { seen, at });
        }
        (Heard::Packet(_) | Heard::Grown(_), _) => panic!("{heard:?} is not to come"),
    };
    let stamp = match stamp {
        SourceStamp::InOrder => Stamp::InOrder,
        SourceStamp::At(at) => Stamp::At(at),
        SourceStamp::After(at) => Stamp::After(at),
    };
    for raw in Messages::new(bytes).flatten() {
        if let Ok(Message::Flow { event, flow }) = decode(&raw) {
            let (flow, origin) = (flow.to_flow(Detail::State), Origin::Foreign);
            engine.handle(now, Input::Kernel { event, flow, origin, stamp });
        }
    }
}

/// Events heard, and allocations while they were.
fn listen(source: &mut Source, engine: &mut Engine, hz: u32) -> (u64, u64) {
    let (before, mut events) = (counting::of_this_thread(), 0);
    loop {
        let now = clock::now();
        let mut sink = |heard: Heard<'_>, stamp| {
            events += 1;
            hear(engine, now, hz, heard, stamp);
        };
        if source.drain(4096, &mut sink).expect("draining works") == 0 {
            return (events, counting::of_this_thread() - before);
        }
        source.arm();
    }
}

/// All known flows change or end, and as many begin.
fn churn_by_requests(requests: &mut Requests, round: u32) {
    let (known, new) =
        (round * FLOWS..(round + 1) * FLOWS, (round + 1) * FLOWS..(round + 2) * FLOWS);
    let known = udp_flows(known);
    requests.update(&known);
    requests.delete(&known);
    requests.create(&udp_flows(new));
}

fn takes_no_memory(choice: Choice) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    Namespace::new().within(|| {
        // With a loopback that is up and tracked.
        netns::enter_new();
        let node = Namespace::current();
        let mut requests = Requests::open(&node);
        let mut source = Source::open(&settings(choice)).expect("the source opens").0;
        let (mut engine, hz) = (Engine::new(config(), clock::now()), clock::jiffies_per_second());
        requests.create(&udp_flows(0..FLOWS));
        let mut counted = Vec::new();
        for round in 0..4 {
            match choice {
                Choice::Hook => {
                    churn::udp_flows(round * FLOWS, FLOWS);
                    node.sh("conntrack -F");
                }
                _ => churn_by_requests(&mut requests, round),
            }
            counted.push(listen(&mut source, &mut engine, hz));
        }
        eprintln!("{choice:?}: events and allocations by round: {counted:?}");
        let few = |(events, _): &(u64, u64)| *events < u64::from(FLOWS) * 2;
        assert!(!counted.iter().any(few), "too few events");
        // A table may grow in one of the rounds, but not in all. With the hook, one allocation in some ten thousand events
        // has been seen whose cause is not known.
        let spared = |(events, taken): &(u64, u64)| taken * 1000 < *events;
        assert!(counted[1..].iter().any(spared), "events take memory");
        if choice != Choice::Hook {
            assert!(counted[1..].iter().any(|(_, taken)| *taken == 0), "events take memory");
        }
        assert_eq!(source.account().lost, 0);
    });
}

#[test]
fn events_of_netlink_take_no_memory() {
    takes_no_memory(Choice::Netlink);
}

#[test]
fn events_of_the_tap_take_no_memory() {
    takes_no_memory(Choice::Tap);
}

#[test]
fn events_of_the_hook_take_no_memory() {
    takes_no_memory(Choice::Hook);
}

/// The threads of a daemon without its control socket.
fn threads(shards: usize) -> FleetParts {
    let source = Source::open(&settings(Choice::Tap)).expect("the tap opens").0;
    let log = Arc::new(Log::open(Form::Daemon, &Places::default()).expect("a log to nowhere"));
    let tuning =
        Tuning { overrun_resync: None, buffer_max: 0, events_per_turn: 4096, scheduling: None };
    let part = |(index, source): (usize, Source)| Parts {
        config: Config { share: Share { index, count: shards, seed: 0 }, ..config() },
        source,
        expectations: None,
        links: None,
        writer: KernelWriter::open().expect("sockets"),
        purger: Purger::open().expect("sockets"),
        log: Arc::clone(&log),
        tuning,
        poll: None,
        reliable: false,
        ended: None,
    };
    if shards == 1 {
        return FleetParts { shards: vec![part((0, source))], reader: None };
    }
    let reader = Reader::new(source, (shards, 0), tuning, false, Arc::clone(&log));
    let (reader, sources) = reader.expect("a reader");
    FleetParts { shards: sources.into_iter().enumerate().map(part).collect(), reader: Some(reader) }
}

fn snapshot(handle: &Handle, runtime: &Runtime) -> Snapshot {
    runtime.block_on(async {
        let (reply, answer) = oneshot::channel();
        handle.order(Order::Snapshot(reply));
        *answer.await.expect("the shards answer")
    })
}

/// Waits until so many events have been handled.
fn settle(handle: &Handle, runtime: &Runtime, events: u64) -> Snapshot {
    loop {
        let now = snapshot(handle, runtime);
        assert_eq!(now.account.lost, 0);
        if now.counters.events >= events && now.filled {
            return now;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn threads_take_little(shards: usize) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let node = Namespace::new();
    let mut requests = Requests::open(&node);
    node.within(|| {
        counting::leave_out_this_thread();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let log = Arc::new(Log::open(Form::Daemon, &Places::default()).expect("a log"));
        let crew = fleet::start(threads(shards), &log).expect("threads start");
        let handle = crew.handle();
        requests.create(&udp_flows(0..FLOWS));
        let mut expected = u64::from(FLOWS);
        let mut counted = (0, 0);
        for round in 0..4 {
            settle(&handle, &runtime, expected);
            let before = (expected, counting::of_other_threads());
            churn_by_requests(&mut requests, round);
            expected += u64::from(FLOWS) * 3;
            let now = settle(&handle, &runtime, expected);
            assert_eq!(now.flows[Side::Local as usize], FLOWS as usize);
            counted = (expected - before.0, counting::of_other_threads() - before.1);
            eprintln!("{shards} shards: {} events, {} allocations", counted.0, counted.1);
        }
        // Looking for losses and answering takes some, whatever happens.
        assert!(counted.1 < counted.0 / 10, "{} allocations for {} events", counted.1, counted.0);
        runtime.block_on(async { assert!(crew.stop()) });
    });
}

#[test]
fn the_thread_of_one_shard_takes_no_memory_for_an_event() {
    threads_take_little(1);
}

#[test]
fn reader_and_shards_take_no_memory_for_an_event() {
    threads_take_little(3);
}
