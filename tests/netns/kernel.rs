//! Writing into a real kernel and reading it: failures name the right flows, origins are distinguished, nothing is
//! lost among a hundred thousand.

use ctnetlink::flow::{HelperName, Known, ProtoState, Status, TCP_FLAG_BE_LIBERAL, TcpState};
use ctnetlink::tuple::ipproto;
use ctnetlink::{Change, Flow, FlowKey, Message, Messages, Tuple, Writer, decode};
use engine::config::Replication;
use engine::{Command, CommandId, Config, Engine, Event, Input, Origin, Part, Sender, Side, Stamp};
use host::clock;
use host::kernel::KernelWriter;
use host::source::{Choice, Heard, Settings, Source};
use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use tests::conntrack;
use tests::ctnetlink::{Requests, udp, udp_flows, with_lifetime};
use tests::netns::{self, Namespace};
use wire::sync::v1::{self, Options, encode_flow};

const EINVAL: i32 = 22;

/// An engine on a kernel, without a daemon around them.
struct Bench {
    engine: Engine,
    writer: KernelWriter,
    seq: u32,
}

impl Bench {
    fn new(replication: Replication) -> Self {
        Self::with(Config { replication, ..Config::default() })
    }

    fn with(config: Config) -> Self {
        let engine = Engine::new(config, clock::now());
        let mut bench = Self { engine, writer: KernelWriter::open().expect("sockets"), seq: 0 };
        bench.settle();
        bench
    }

    /// Lets the engine and the kernel work until both rest; returns the engine's events.
    fn settle(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let now = clock::now();
            let read = self.writer.read_dump(&mut self.engine, now);
            let done = self.writer.execute(&mut self.engine, now);
            events.extend(std::iter::from_fn(|| self.engine.poll_event()));
            if read + done == 0 && !self.writer.is_dumping() && !self.engine.is_committing() {
                return events;
            }
        }
    }

    /// The peer says something about flows.
    fn hear(&mut self, change: Change, flows: &[Flow]) {
        let mut bytes = [0; 512];
        for flow in flows {
            self.seq += 1;
            let mut writer = Writer::new(&mut bytes);
            let stamp = v1::Stamp { seq: self.seq, ..v1::Stamp::default() };
            let options = Options { timeout: true, window_scale: false };
            encode_flow(change, stamp, flow, options, &mut writer);
            let len = writer.finish().expect("a message is short");
            let from = Sender { link: 0, addr: Ipv4Addr::new(10, 0, 0, 2).into() };
            self.engine.handle(clock::now(), Input::Datagram { from, bytes: &bytes[..len] });
        }
    }

    fn commit(&mut self) -> Vec<Event> {
        self.engine.handle(clock::now(), Input::Command(CommandId(1), Command::Commit));
        self.settle()
    }
}

/// A flow with a helper that no kernel has.
fn helpless(n: u32) -> Flow {
    let mut flow = udp(n);
    flow.extra_mut().helper = HelperName::from_bytes(b"nohelper");
    flow
}

/// A flow the kernel refuses: no ICMP redirect begins one.
fn absurd(n: u32) -> Flow {
    let udp = udp(n).orig;
    let orig = Tuple { proto: ipproto::ICMP, ..udp }.with_icmp(1, 5, 0);
    with_lifetime(Flow::new(orig))
}

/// A flow whose master does not exist.
fn orphan(n: u32) -> Flow {
    let mut flow = udp(n);
    flow.extra_mut().master = Some(Tuple::v4([9; 4], [9; 4], 6).with_ports(9, 9));
    flow
}

#[test]
fn a_flow_whose_master_is_nowhere_is_committed_without_one() {
    netns::enter_empty();
    let mut bench = Bench::new(Replication::default());
    bench.hear(Change::New, &[orphan(1), udp(2)]);
    let events = bench.commit();
    let done = |e: &Event| matches!(e, Event::CommitDone { committed: 2, failed: 0, .. });
    assert!(events.iter().any(done), "{events:?}");
    assert_eq!(conntrack::count(&Namespace::current()), 2);
}

#[test]
fn a_flow_with_something_the_kernel_lacks_is_written_without_it() {
    for keep_remote in [true, false] {
        netns::enter_empty();
        let here = Namespace::current();
        let mut bench = Bench::new(Replication { keep_remote, ..Replication::default() });
        bench.hear(Change::New, &[helpless(1), udp(2)]);
        let events = bench.commit();
        let failed = |e: &Event| matches!(e, Event::WriteFailed { .. });
        assert!(!events.iter().any(failed), "{events:?}");
        assert_eq!(conntrack::count(&here), 2);
        assert_eq!(bench.engine.counters().written_without, 1);
    }
}

/// Without a rule that names labels the kernel has no room for them.
#[test]
fn a_change_of_a_flow_with_labels_the_kernel_has_no_room_for_is_made_in_place() {
    netns::enter_empty();
    let here = Namespace::current();
    let mut bench = Bench::new(Replication { keep_remote: false, ..Replication::default() });
    bench.hear(Change::New, &[connection()]);
    bench.settle();
    let mut changed = connection();
    changed.mark = 78;
    changed.extra_mut().labels = Some(vec![1, 0, 0, 0]);
    bench.hear(Change::Update, &[changed]);
    let events = bench.settle();
    assert!(events.iter().any(|e| matches!(e, Event::WrittenWithout { part: Part::Labels, .. })));
    assert_eq!(bench.engine.counters().inject.update_failed, 0);
    assert!(conntrack::lines(&here)[0].ends_with("mark=78"));
}

fn keys(flows: impl IntoIterator<Item = impl Borrow<Flow>>) -> BTreeSet<String> {
    flows.into_iter().map(|flow| format!("{:?}", flow.borrow().key())).collect()
}

#[test]
fn failures_in_the_middle_of_batches_name_the_flows_they_are_about() {
    netns::enter_empty();
    let mut bench = Bench::new(Replication::default());
    let bad = |n: &u32| n.is_multiple_of(7);
    let flows: Vec<_> = (0..500).map(|n| if bad(&n) { absurd(n) } else { udp(n) }).collect();
    bench.hear(Change::New, &flows);
    let events = bench.commit();
    let told: Vec<(FlowKey, i32)> = events
        .iter()
        .filter_map(|event| match event {
            Event::WriteFailed { flow, errno, .. } => Some((*flow, *errno)),
            _ => None,
        })
        .collect();
    assert!(told.iter().all(|(_, errno)| *errno == EINVAL), "{told:?}");
    let told: BTreeSet<_> = told.iter().map(|(key, _)| format!("{key:?}")).collect();
    assert_eq!(told, keys(flows.iter().step_by(7)));
    let failed = flows.len().div_ceil(7);
    let good = flows.len() - failed;
    assert!(events.iter().any(|event| matches!(
        event,
        Event::CommitDone { committed, failed: f, .. }
            if *committed == good as u64 && *f == failed as u64
    )));
    assert_eq!(conntrack::count(&Namespace::current()), good);
}

#[test]
fn a_commit_replaces_flows_that_are_in_its_way() {
    netns::enter_empty();
    let here = Namespace::current();
    let mut older = udp_flows(0..150);
    older.iter_mut().for_each(|flow| flow.timeout_s = 50);
    Requests::open(&here).create(&older);
    let mut bench = Bench::new(Replication::default());
    bench.hear(Change::New, &udp_flows(100..300));
    let events = bench.commit();
    assert!(
        events.iter().any(|e| matches!(e, Event::CommitDone { committed: 200, failed: 0, .. })),
        "{events:?}"
    );
    let table = conntrack::table(&here);
    assert_eq!(table.len(), 300);
    assert_eq!(table.values().filter(|lifetime_s| **lifetime_s <= 50).count(), 100);
}

#[test]
fn a_dump_shows_every_flow_and_an_engine_fills_its_table_from_it() {
    netns::enter_empty();
    let flows = udp_flows(0..20_000);
    Requests::open(&Namespace::current()).create(&flows);
    let bench = Bench::new(Replication::default());
    assert_eq!(keys(bench.engine.flows(Side::Local)), keys(&flows));
}

#[test]
fn a_hundred_thousand_flows_are_committed() {
    netns::enter_empty();
    let mut bench = Bench::new(Replication::default());
    bench.hear(Change::New, &udp_flows(0..100_000));
    let events = bench.commit();
    assert!(
        events.iter().any(|e| matches!(e, Event::CommitDone { committed: 100_000, failed: 0, .. })),
        "{events:?}"
    );
    assert_eq!(conntrack::count(&Namespace::current()), 100_000);
}

#[test]
fn a_hundred_thousand_flows_are_injected_changed_and_ended() {
    netns::enter_empty();
    let here = Namespace::current();
    let mut bench = Bench::new(Replication { keep_remote: false, ..Replication::default() });
    let mut flows = udp_flows(0..100_000);
    for some in flows.chunks(5000) {
        bench.hear(Change::New, some);
        bench.settle();
    }
    assert_eq!(conntrack::count(&here), 100_000);
    flows.truncate(1000);
    flows.iter_mut().for_each(|flow| flow.timeout_s = 90_000);
    bench.hear(Change::Update, &flows);
    bench.settle();
    let older = |lifetime_s: &&u32| **lifetime_s > 80_000;
    assert_eq!(conntrack::table(&here).values().filter(older).count(), 1000);
    bench.hear(Change::Destroy, &udp_flows(500..100_000));
    bench.settle();
    assert_eq!(conntrack::count(&here), 500);
    let inject = bench.engine.counters().inject;
    assert_eq!((inject.create_failed, inject.update_failed, inject.destroy_failed), (0, 0, 0));
}

#[test]
fn a_flow_the_engine_is_unsure_of_is_looked_up() {
    netns::enter_empty();
    let here = Namespace::current();
    let flows = udp_flows(0..200);
    let mut requests = Requests::open(&here);
    requests.create(&flows);
    let mut bench = Bench::new(Replication::default());
    requests.delete(&flows[..100]);
    // News about every flow, perhaps from before the engine read the kernel.
    for flow in &flows {
        let (event, origin) = (Change::Update, Origin::Foreign);
        let stamp = Stamp::After(common::Instant(1));
        let flow = Flow::new(flow.orig);
        bench.engine.handle(clock::now(), Input::Kernel { event, flow, origin, stamp });
    }
    bench.settle();
    assert_eq!(bench.engine.counters().verified, 200);
    assert_eq!(keys(bench.engine.flows(Side::Local)), keys(&flows[100..]));
}

/// Origins of the waiting events, as `writer` distinguishes them.
fn origins(source: &mut Source, writer: &KernelWriter) -> Vec<Origin> {
    let mut seen = Vec::new();
    let mut sink = |heard: Heard<'_>, _| {
        let bytes = heard.message().expect("both hand out messages");
        for raw in Messages::new(bytes).flatten() {
            if let Ok(Message::Flow { .. }) = decode(&raw) {
                seen.push(writer.origin(raw.header.portid));
            }
        }
    };
    while source.drain(4096, &mut sink).expect("draining works") > 0 {}
    seen
}

#[test]
fn events_tell_whose_doing_they_are() {
    for choice in [Choice::Netlink, Choice::Tap] {
        netns::enter_new();
        let settings = Settings { choice, ..Settings::default() };
        let mut source = Source::open(&settings).expect("the source opens").0;
        let mut bench = Bench::new(Replication::default());
        Requests::open(&Namespace::current()).create(&udp_flows(0..10));
        assert_eq!(origins(&mut source, &bench.writer), [Origin::Foreign; 10], "another program");
        bench.hear(Change::New, &udp_flows(5..20));
        bench.commit();
        // Five are in the way: each is deleted, then created.
        assert_eq!(origins(&mut source, &bench.writer), [Origin::Commit; 20]);
        tests::churn::udp_flows(0, 10);
        assert_eq!(origins(&mut source, &bench.writer), [Origin::Foreign; 10], "traffic");
        let mut direct = Bench::new(Replication { keep_remote: false, ..Replication::default() });
        direct.hear(Change::New, &udp_flows(100..110));
        direct.hear(Change::Destroy, &udp_flows(100..110));
        direct.settle();
        assert_eq!(origins(&mut source, &direct.writer), [Origin::Inject; 20]);
    }
}

/// An established connection with a mark.
fn connection() -> Flow {
    let mut flow = with_lifetime(Flow::new(Tuple::v4([1; 4], [2; 4], 6).with_ports(1000, 80)));
    flow.proto = ProtoState::Tcp(TcpState { state: 3, ..TcpState::default() });
    flow.status |= Status::SEEN_REPLY | Status::ASSURED;
    flow.mark = 77;
    flow.known |= Known::MARK;
    flow
}

#[test]
fn what_a_peer_says_is_in_the_kernel_as_it_said_it() {
    netns::enter_empty();
    let here = Namespace::current();
    let mut bench = Bench::new(Replication { keep_remote: false, ..Replication::default() });
    bench.hear(Change::New, &[connection()]);
    bench.settle();
    assert_eq!(
        conntrack::lines(&here),
        ["ipv4 2 tcp 6 ESTABLISHED src=1.1.1.1 dst=2.2.2.2 sport=1000 dport=80 \
          src=2.2.2.2 dst=1.1.1.1 sport=80 dport=1000 [ASSURED] mark=77"]
    );
}

#[test]
fn the_kernel_is_told_not_to_check_windows_it_has_not_seen_unless_that_is_asked_for() {
    for (window_tracking, liberal) in [(false, TCP_FLAG_BE_LIBERAL), (true, 0)] {
        netns::enter_empty();
        let config = Config { window_tracking, ..Config::default() };
        let mut bench = Bench::with(config.clone());
        bench.hear(Change::New, &[connection()]);
        bench.commit();
        let reader = Bench::with(config);
        let flows: Vec<_> = reader.engine.flows(Side::Local).collect();
        let tcp = flows[0].tcp().expect("the connection");
        let flags = tcp.flags.expect("the kernel tells flags");
        assert_eq!(flags.map(|f| f.flags & TCP_FLAG_BE_LIBERAL), [liberal; 2]);
    }
}
