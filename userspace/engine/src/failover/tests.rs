//! What a commit writes while the flows of the peer change.

use crate::config::limit;
use crate::errno::{EEXIST, ENOENT, ENOSPC};
use crate::input::{Command, CommandId, Input, Sender};
use crate::output::{Event, Request};
use crate::peer::v1::codec::{self as v1, Options};
use crate::{Config, Engine, Share};
use alloc::vec::Vec;
use common::Instant;
use core::net::Ipv4Addr;
use core::time::Duration;
use ctnetlink::flow::{Known, ProtoState, TcpState};
use ctnetlink::{Change, Flow, FlowKey, Tuple, Writer};

const NOW: Instant = Instant(1_000_000);

/// An established connection of the peer's, which may have been expected by another one.
fn flow(port: u16, master: Option<&Flow>) -> Flow {
    let orig = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 6).with_ports(port, 80);
    let proto = ProtoState::Tcp(TcpState { state: 3, ..TcpState::default() });
    let known = Known::STATUS | Known::TIMEOUT;
    let mut flow = Flow { reply: orig.inverted(), known, proto, timeout_s: 600, ..Flow::new(orig) };
    if let Some(master) = master {
        flow.extra_mut().master = Some(master.orig);
    }
    flow
}

/// The peer sends a flow in its message with this number.
fn hear(engine: &mut Engine, seq: u32, change: Change, flow: &Flow) {
    let mut bytes = [0; 500];
    let mut writer = Writer::new(&mut bytes);
    let options = Options { timeout: true, window_scale: false };
    v1::encode_flow(change, v1::Stamp { seq, ..v1::Stamp::default() }, flow, options, &mut writer);
    let len = writer.finish().unwrap();
    let from = Sender { link: 0, addr: Ipv4Addr::LOCALHOST.into() };
    engine.handle(NOW, Input::Datagram { from, bytes: &bytes[..len] });
}

/// A flow that a stranger expected (which makes it one of the first generation), two that others expected, and a lone one.
struct Flows {
    first: Flow,
    second: Flow,
    other: Flow,
    lone: Flow,
}

impl Flows {
    fn new() -> Self {
        let first = flow(2, Some(&flow(9, None)));
        Self {
            second: flow(3, Some(&first)),
            other: flow(4, Some(&flow(8, None))),
            lone: flow(1, None),
            first,
        }
    }
}

/// An engine in the middle of a commit: the flows of the first generation have been asked of the kernel. With the numbers
/// of the requests, and their flows.
fn half_committed(flows: &Flows) -> (Engine, Vec<(u32, FlowKey)>) {
    let mut engine = Engine::new(Config::default(), NOW);
    assert!(engine.poll_kernel().is_some());
    engine.handle(NOW, Input::DumpDone { complete: true });
    let Flows { first, second, other, lone } = flows;
    for (seq, flow) in [lone, first, second, other].into_iter().enumerate() {
        hear(&mut engine, seq as u32, Change::New, flow);
    }
    engine.handle(NOW, Input::Command(CommandId(1), Command::Commit));
    for (token, key) in creates(&mut engine) {
        assert_eq!(key, lone.key());
        engine.handle(NOW, Input::KernelSettled { token });
    }
    let asked = creates(&mut engine);
    let keys: Vec<_> = asked.iter().map(|(_, key)| *key).collect();
    assert_eq!(keys, [first.key(), other.key()]);
    (engine, asked)
}

fn creates(engine: &mut Engine) -> Vec<(u32, FlowKey)> {
    let mut all = Vec::new();
    while let Some(op) = engine.poll_kernel() {
        if let Request::Create(flow) = op.request {
            all.push((op.token, flow.key()));
        }
    }
    all
}

/// The kernel does all it is asked for; what it was asked to make, and how many flows the commit says it wrote.
fn finished(engine: &mut Engine, mut open: Vec<(u32, FlowKey)>) -> (Vec<FlowKey>, u64) {
    let mut made = Vec::new();
    while !open.is_empty() {
        for (token, key) in core::mem::take(&mut open) {
            made.push(key);
            engine.handle(NOW, Input::KernelSettled { token });
        }
        open = creates(engine);
    }
    let done = core::iter::from_fn(|| engine.poll_event()).find_map(|event| match event {
        Event::CommitDone { committed, .. } => Some(committed),
        _ => None,
    });
    (made, done.expect("it ends"))
}

#[test]
fn a_flow_whose_master_ends_meanwhile_is_written_all_the_same() {
    let flows = Flows::new();
    let (mut engine, open) = half_committed(&flows);
    hear(&mut engine, 4, Change::Destroy, &flows.first);
    let (made, committed) = finished(&mut engine, open);
    assert_eq!((made.last(), committed), (Some(&flows.second.key()), 4));
}

#[test]
fn a_flow_whose_master_becomes_known_meanwhile_is_written_once() {
    let flows = Flows::new();
    let (mut engine, open) = half_committed(&flows);
    hear(&mut engine, 4, Change::New, &flow(8, Some(&flow(7, None))));
    let (made, _) = finished(&mut engine, open);
    assert_eq!(made.iter().filter(|key| **key == flows.other.key()).count(), 1, "{made:?}");
}

/// Whether the engine reads the kernel for the peer, after a commit without a local table whose request for a flow failed
/// with each of these errors, one after the other.
fn reads_for_the_peer_after(errors: &[i32]) -> bool {
    let mut config = Config::default();
    config.replication.keep_local = false;
    let mut engine = Engine::new(config, NOW);
    hear(&mut engine, 0, Change::New, &flow(1, None));
    engine.handle(NOW, Input::Command(CommandId(1), Command::Commit));
    for errno in errors {
        let open = creates(&mut engine);
        assert_eq!(open.len(), 1, "the commit tries again");
        engine.handle(NOW, Input::KernelFailed { token: open[0].0, errno: *errno });
    }
    engine.handle(NOW + Duration::from_secs(1), Input::Timeout);
    let mut reads = false;
    while let Some(op) = engine.poll_kernel() {
        assert!(!matches!(op.request, Request::Create(_)), "the commit is over");
        reads |= op.request == &Request::Dump;
    }
    reads
}

#[test]
fn a_place_that_a_commit_cleared_and_left_empty_is_shown_to_the_peers_by_a_transfer() {
    assert!(reads_for_the_peer_after(&[EEXIST, EEXIST, EEXIST]));
    assert!(!reads_for_the_peer_after(&[ENOSPC]), "nothing was cleared");
}

/// An engine in the middle of the commit of a flow that another one expected, which is not the peer's: the kernel has
/// been asked to create it with its master, and does not have that. `shards`: how many commit.
fn orphaned(shards: usize) -> (Engine, Flow) {
    let share = Share { count: shards, ..Share::ALL };
    let mut engine = Engine::new(Config { share, ..Config::default() }, NOW);
    assert!(engine.poll_kernel().is_some());
    engine.handle(NOW, Input::DumpDone { complete: true });
    let flow = flow(4, Some(&flow(8, None)));
    hear(&mut engine, 0, Change::New, &flow);
    engine.handle(NOW, Input::Command(CommandId(1), Command::Commit));
    let (token, master) = create(&mut engine).expect("the commit creates it");
    assert_eq!(master.as_ref(), flow.master());
    engine.handle(NOW, Input::KernelFailed { token, errno: ENOENT });
    (engine, flow)
}

/// The next flow to create: its request, and its master.
fn create(engine: &mut Engine) -> Option<(u32, Option<Tuple>)> {
    while let Some(op) = engine.poll_kernel() {
        if let Request::Create(flow) = op.request {
            return Some((op.token, flow.master().copied()));
        }
    }
    None
}

#[test]
fn with_one_shard_a_flow_does_without_a_master_that_is_not_there() {
    let (mut engine, _) = orphaned(1);
    assert_eq!(create(&mut engine).map(|(_, master)| master), Some(None));
}

#[test]
fn with_several_shards_a_flow_waits_for_another_one_to_write_its_master() {
    let (mut engine, flow) = orphaned(2);
    let mut now = NOW;
    for round in 0..3 {
        let (token, master) = create(&mut engine).expect("the commit tries again");
        assert_eq!(master.as_ref(), flow.master(), "round {round}");
        if round == 2 {
            engine.handle(now, Input::KernelSettled { token });
            break;
        }
        engine.handle(now, Input::KernelFailed { token, errno: ENOENT });
        assert_eq!(create(&mut engine), None, "not at once");
        assert_eq!(engine.poll_timeout(), now + limit::COMMIT_ORPHANS_PAUSE);
        now = engine.poll_timeout();
        engine.handle(now, Input::Timeout);
    }
    let mut events = core::iter::from_fn(|| engine.poll_event());
    assert!(events.any(|event| matches!(event, Event::CommitDone { committed: 1, failed: 0, .. })));
}

#[test]
fn a_master_that_no_shard_writes_is_waited_for_for_a_second() {
    let (mut engine, flow) = orphaned(2);
    let mut now = NOW;
    let ended = loop {
        let (token, master) = create(&mut engine).expect("the commit tries again");
        if master.is_none() {
            break token;
        }
        assert_eq!(master.as_ref(), flow.master());
        assert!(now <= NOW + limit::COMMIT_ORPHANS_WAIT, "it waits too long");
        engine.handle(now, Input::KernelFailed { token, errno: ENOENT });
        if now < NOW + limit::COMMIT_ORPHANS_WAIT {
            now = engine.poll_timeout();
            engine.handle(now, Input::Timeout);
        }
    };
    assert!(now >= NOW + limit::COMMIT_ORPHANS_WAIT);
    engine.handle(now, Input::KernelSettled { token: ended });
    let mut events = core::iter::from_fn(|| engine.poll_event());
    assert!(events.any(|event| matches!(event, Event::CommitDone { committed: 1, failed: 0, .. })));
}
