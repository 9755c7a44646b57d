//! Events on their way from the kernel to the table take no memory, once the table and the buffers have room.
//!
//! Every allocation is taken down with the place in the code where it was made, so none needs to be excused by number. The
//! first tests hold the thread that drains, decodes and hands in to none at all. The others allow the daemon's threads
//! what is no event's: the places of [`HOUSEKEEPING`].

mod counting;
mod published;
mod sealed;

use common::Instant;
use ctnetlink::Flow;
use engine::config::Replication;
use engine::drive::{Io, drive};
use engine::{Config, Engine, Input, Journal, Origin, Request, Share, ShareBy, Side};
use export::records::Sink;
use host::clock;
use host::ended;
use host::feed;
use host::fleet::{self, Consumer, FleetParts, Handle};
use host::hear::{Ears, Hearing};
use host::kernel::KernelWriter;
use host::lane;
use host::log::{Form, Log, Places};
use host::place;
use host::purge::Purger;
use host::reader::SourceReader;
use host::shard::{Parts, Snapshot};
use host::source::{Choice, Heard, Settings, Source};
use host::tuning::{COALESCE, Tuning};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tests::churn;
use tests::ctnetlink::{Requests, udp_flows};
use tests::netns::{self, Namespace};
use tests::wait::wait_for;
use wire::feed::{Lost, Op, Record};

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

/// Takes all waiting events; returns how many there were. The engine's requests to the kernel are left to the host.
fn listen(source: &mut Source, engine: &mut Engine, hearing: &mut Hearing) -> u64 {
    let mut ears = Ears { origin: |_| Origin::Foreign, ends: None };
    let mut events = 0;
    loop {
        let now = clock::now();
        let mut sink = |heard: Heard<'_>, stamp| {
            events += 1;
            hearing.take(engine, now, (heard, stamp), &mut ears);
        };
        let taken = source.drain(4096, &mut sink).expect("draining works");
        hearing.finish(engine, now, &mut ears);
        if taken == 0 {
            assert_eq!(hearing.malformed, 0);
            return events;
        }
        source.arm();
        let Ok(_) = drive(engine, now, &mut EmptyKernel);
    }
}

/// A kernel that has no flow, whatever the engine asks it for.
struct EmptyKernel;

impl Io<Engine> for EmptyKernel {
    type Error = Infallible;

    fn kernel(&mut self, engine: &mut Engine, now: Instant) -> Result<usize, Infallible> {
        let mut answered = 0;
        while let Some(op) = engine.poll_kernel() {
            let token = op.token;
            if let Request::Get(key) = *op.request {
                engine.handle(now, Input::Verified { key, flow: None });
            }
            engine.handle(now, Input::KernelSettled { token });
            answered += 1;
        }
        Ok(answered)
    }

    fn transmit(&mut self, engine: &mut Engine, now: Instant) -> Result<usize, Infallible> {
        assert_eq!(engine.poll_transmit(now, &mut [0; 1500]), None, "it has no peer");
        Ok(0)
    }

    fn report(&mut self, engine: &mut Engine, _: Instant) -> Result<(), Infallible> {
        while engine.poll_event().is_some() {}
        Ok(())
    }
}

/// Room for as many questions to the kernel as may be open at once.
fn make_room(engine: &mut Engine, flows: std::ops::Range<u32>) {
    let now = clock::now();
    udp_flows(flows).iter().for_each(|flow| engine.handle(now, Input::Noticed(flow.key())));
    let Ok(_) = drive(engine, now, &mut EmptyKernel);
}

/// Flows begin, change where requests can do that, and end.
fn churn_for(
    choice: Choice,
    node: &Namespace,
    requests: &mut Requests,
    numbers: std::ops::Range<u32>,
) {
    if choice == Choice::Hook {
        // The hook sees packets; it does not see requests.
        churn::udp_flows(numbers.start, numbers.end - numbers.start);
        node.sh("conntrack -F");
    } else {
        let flows = udp_flows(numbers);
        requests.create(&flows);
        requests.update(&flows);
        requests.delete(&flows);
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

/// Writes the changes of the local table down for a subscriber, if there is one.
struct Written(Option<lane::Reader>);

impl Written {
    fn begin(engine: &mut Engine, subscribed: bool) -> Self {
        Self(subscribed.then(|| {
            let (recorder, reader) = feed::recorder().expect("a lane");
            let journal = Journal::new(Box::new(recorder), 0, (false, false));
            engine.listen(Side::Local, Some(journal));
            reader
        }))
    }

    /// Reads what was written; how many records that were, and how many found no room.
    fn read(&mut self, engine: &mut Engine) -> (u64, u64) {
        engine.hand_over();
        let (mut records, mut lost) = (0, 0);
        while let Some(bytes) = self.0.as_mut().and_then(lane::Reader::take) {
            let record = Record::decode(bytes).expect("it is a record").0;
            match record.head.op {
                Op::Gap => lost += Lost::decode(record.bytes).kinds.iter().sum::<u64>(),
                _ => records += 1,
            }
        }
        engine.hand_over();
        (records, lost)
    }
}

fn takes_no_memory(choice: Choice, subscribed: bool) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    Namespace::new().within(|| {
        // With a loopback that is up and tracked.
        netns::enter_new();
        let node = Namespace::current();
        let mut requests = Requests::open(&node);
        let (mut source, instead) = Source::open(&settings(choice)).expect("the source opens");
        assert!(instead.is_none(), "not the one that was asked for: {instead:?}");
        let mut engine = Engine::new(config(), clock::now());
        let mut hearing = Hearing::new(clock::jiffies_per_second());
        let mut written = Written::begin(&mut engine, subscribed);
        // Twice as many flows as later, each time all of it on one of the CPUs: the table, the buffer of each ring and the
        // queue of questions take what they need. So does the map of ended flows, which grows once more when so many
        // have come and gone that their places are used up (some 60,000).
        let cpus = place::cpus();
        for round in 0..u32::max(5, cpus.len() as u32) {
            place::bind(&[cpus[round as usize % cpus.len()]]).expect("a CPU of ours");
            let base = round * FLOWS * 2;
            churn_for(choice, &node, &mut requests, base..base + FLOWS * 2);
            listen(&mut source, &mut engine, &mut hearing);
            written.read(&mut engine);
        }
        make_room(&mut engine, 0..FLOWS * 2);
        counting::leave_out_this_thread(false);
        for round in 0..4 {
            place::bind(&[cpus[round as usize % cpus.len()]]).expect("a CPU of ours");
            let base = 1_000_000 + round * FLOWS;
            churn_for(choice, &node, &mut requests, base..base + FLOWS);
            counting::watch();
            let events = listen(&mut source, &mut engine, &mut hearing);
            let (records, lost) = written.read(&mut engine);
            let places = counting::places();
            assert!(events >= u64::from(FLOWS) * 2, "only {events} events");
            assert!(places.is_empty(), "round {round}: {}: {}", places.len(), places[0]);
            // A record that found no room may come in the next round.
            let all = u64::from(FLOWS) * 2;
            assert!(!subscribed || records + lost > all / 2, "{records} records, {lost} lost");
        }
        assert_eq!(source.account().lost, 0);
    });
}

#[test]
fn events_of_netlink_take_no_memory() {
    takes_no_memory(Choice::Netlink, false);
}

#[test]
fn events_of_the_tap_take_no_memory() {
    takes_no_memory(Choice::Tap, false);
}

#[test]
fn events_of_the_hook_take_no_memory() {
    takes_no_memory(Choice::Hook, false);
}

#[test]
fn events_of_netlink_take_no_memory_with_a_subscriber() {
    takes_no_memory(Choice::Netlink, true);
}

#[test]
fn events_of_the_tap_take_no_memory_with_a_subscriber() {
    takes_no_memory(Choice::Tap, true);
}

#[test]
fn events_of_the_hook_take_no_memory_with_a_subscriber() {
    takes_no_memory(Choice::Hook, true);
}

/// Counts ended flows, as statistics mode makes lines of them.
struct Counter(Arc<AtomicU64>);

impl Sink for Counter {
    fn on_end(&mut self, _: u64, _: &Flow) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn on_lost(&mut self, ends: u64) {
        panic!("{ends} ends found no room");
    }
}

/// The threads of a daemon in statistics mode without its control socket. What is made of `ended` flows takes memory, on
/// a thread of its own that is left out.
fn threads(shards: usize, ended: &Arc<AtomicU64>) -> FleetParts {
    let source = Source::open(&settings(Choice::Tap)).expect("the tap opens").0;
    let log = Arc::new(Log::open(Form::Daemon, &Places::default()).expect("a log to nowhere"));
    let tuning =
        Tuning { buffer_max: 0, events_per_turn: 4096, scheduling: None, coalesce: COALESCE };
    let (mut ends, readers): (Vec<_>, Vec<_>) =
        (0..shards).map(|_| ended::ends().expect("a lane")).unzip();
    let mut counter = Counter(Arc::clone(ended));
    let run = Box::new(move || {
        counting::leave_out_this_thread(true);
        export::records::run(readers, &mut counter);
    });
    let consumers = vec![Consumer { name: "records", run }];
    let mut part = |(index, source): (usize, Source)| Parts {
        config: Config { share: Share { index, count: shards, by: ShareBy::Seed(0) }, ..config() },
        source,
        expectations: None,
        links: None,
        nodes: None,
        writer: KernelWriter::open().expect("sockets"),
        purger: Purger::open().expect("sockets"),
        log: Arc::clone(&log),
        tuning,
        poll: None,
        reliable: false,
        ends: ends.pop(),
    };
    if shards == 1 {
        return FleetParts { shards: vec![part((0, source))], reader: None, consumers };
    }
    let reader =
        SourceReader::new(source, (shards, ShareBy::Seed(0)), tuning, false, Arc::clone(&log));
    let (reader, sources) = reader.expect("a reader");
    let shards = sources.into_iter().enumerate().map(part).collect();
    FleetParts { shards, reader: Some(reader), consumers }
}

/// Waits until so many events have been handled.
fn settle(handle: &Handle, events: u64) -> Snapshot {
    wait_for("all events are handled", || {
        let now = handle.published().expect("the shards run");
        assert_eq!(now.account.lost, 0);
        (now.counters.events >= events && now.filled).then_some(now)
    })
}

/// Functions that take memory but belong to no event: reading the kernel's counters, which looks for losses some
/// times a second, and publishing while a reader still holds the publication before.
const HOUSEKEEPING: [&str; 2] = ["account", "renew"];

/// Whether a backtrace goes through one of those. The compiler leaves out the path of what it has inlined.
fn is_housekeeping(place: &str) -> bool {
    let names = place.lines().filter_map(|line| line.trim().split_once(": "));
    names.filter_map(|(_, name)| name.rsplit("::").next()).any(|name| HOUSEKEEPING.contains(&name))
}

/// Rounds in which everything takes what it needs.
const WARM: u32 = 8;

fn threads_take_nothing(shards: usize) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let node = Namespace::new();
    let mut requests = Requests::open(&node);
    node.within(|| {
        counting::leave_out_this_thread(true);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let log = Arc::new(Log::open(Form::Daemon, &Places::default()).expect("a log"));
        let ended = Arc::default();
        let threads = fleet::start(threads(shards, &ended), &log).expect("threads start");
        let handle = threads.handle();
        requests.create(&udp_flows(0..FLOWS));
        let mut expected = u64::from(FLOWS);
        for round in 0..WARM + 3 {
            settle(&handle, expected);
            counting::watch();
            churn_by_requests(&mut requests, round);
            expected += u64::from(FLOWS) * 3;
            let now = settle(&handle, expected);
            let mut places = counting::places();
            assert_eq!(now.flows[Side::Local as usize], FLOWS as usize);
            assert!(round > 0 || !places.is_empty(), "nothing is taken down");
            places.retain(|place| !is_housekeeping(place));
            let text = places.join("\n");
            assert!(round < WARM || places.is_empty(), "round {round}: {}: {text}", places.len());
        }
        runtime.block_on(async { assert!(threads.stop().is_sound) });
        assert_eq!(ended.load(Ordering::Relaxed), u64::from(FLOWS * (WARM + 3)));
    });
}

#[test]
fn the_thread_of_one_shard_takes_no_memory_for_an_event() {
    threads_take_nothing(1);
}

#[test]
fn reader_and_shards_take_no_memory_for_an_event() {
    threads_take_nothing(3);
}
