//! The engine as its host sees it.

use super::Engine;
use crate::config::{Mode, Replication, limit};
use crate::errno::{EEXIST, EOPNOTSUPP};
use crate::flows::exactness::Exactness;
use crate::peer::v1::codec::{self as v1, Control, Flags, Options};
use crate::{
    Command, CommandId, Config, Event, Input, Origin, Part, Reconfigure, Request, Sender, Side,
    Stamp,
};
use alloc::vec::Vec;
use common::Instant;
use core::net::Ipv4Addr;
use core::time::Duration;
use ctnetlink::flow::{HelperName, Known};
use ctnetlink::{Change, Flow, Tuple, Writer};

/// Defect 9 of the original (`docs/defects.md`).
#[test]
fn without_a_local_table_an_event_leaves_at_once() {
    let mut config = Config::default();
    config.replication.keep_local = false;
    let mut engine = Engine::new(config, Instant(0));
    let flow = Flow::new(Tuple::v4([1; 4], [2; 4], 17).with_ports(5, 6));
    let (event, origin, stamp) = (Change::New, Origin::Foreign, Stamp::InOrder);
    engine.handle(Instant(1), Input::Kernel { event, flow, origin, stamp });
    assert!(engine.poll_transmit(Instant(1), &mut [0; 1472]).is_some());
}

fn request(seq: u32) -> Vec<u8> {
    let mut bytes = [0; 64];
    let mut writer = Writer::new(&mut bytes);
    v1::encode_control(Control::Resync, v1::Stamp { seq, flags: Flags::HELLO }, &mut writer);
    let len = writer.finish().unwrap();
    bytes[..len].to_vec()
}

#[test]
fn a_request_that_looks_like_one_of_an_earlier_life_is_answered() {
    let mode = Mode::Ftfw { resend_max: 100, ack_window: 20 };
    let replication = Replication { mode, ..Replication::default() };
    let mut engine = Engine::new(Config { replication, ..Config::default() }, Instant(0));
    let from = Sender { link: 0, addr: Ipv4Addr::LOCALHOST.into() };
    for _ in 0..2 {
        engine.handle(Instant(0), Input::Datagram { from, bytes: &request(7) });
    }
    let events = core::iter::from_fn(|| engine.poll_event());
    let asked = events.filter(|event| matches!(event, Event::ResyncRequested)).count();
    assert_eq!(asked, 2);
}

#[test]
fn where_there_is_no_peer_nothing_is_said_and_ends_leave_at_once() {
    let mut config = Config::default();
    config.replication.has_peer = false;
    let mut engine = Engine::new(config, Instant(0));
    let flow = Flow::new(Tuple::v4([1; 4], [2; 4], 17).with_ports(1, 2));
    let (origin, stamp) = (Origin::Foreign, Stamp::InOrder);
    for event in [Change::New, Change::Update, Change::Destroy] {
        engine.handle(Instant(5), Input::Kernel { event, flow: flow.clone(), origin, stamp });
        assert_eq!(engine.table(Side::Local).len(), usize::from(event != Change::Destroy));
        let later = Instant(5) + Duration::from_secs(60);
        assert_eq!((engine.outbox_len(), engine.poll_transmit(later, &mut [0; 1000])), (0, None));
    }
    assert_eq!(engine.poll_timeout(), Instant(u64::MAX));
}

#[test]
fn a_reading_ends_where_a_large_part_of_the_table_is_empty() {
    let mut config = Config::default();
    config.replication.has_peer = false;
    let mut engine = Engine::new(config, Instant(0));
    while engine.poll_kernel().is_some() {}
    engine.handle(Instant(1), Input::DumpDone { complete: true });
    let flow = |n: u32| Flow::new(Tuple::v4(n.to_be_bytes(), [2; 4], 17).with_ports(1, 2));
    let (origin, stamp) = (Origin::Foreign, Stamp::InOrder);
    let last = 2 * limit::SWEEP_STEP_SLOTS;
    for n in 0..=last {
        let (event, flow) = (Change::New, flow(n));
        engine.handle(Instant(2), Input::Kernel { event, flow, origin, stamp });
    }
    for n in 0..last {
        let (event, flow) = (Change::Destroy, flow(n));
        engine.handle(Instant(3), Input::Kernel { event, flow, origin, stamp });
    }
    let repair_after = Some(Duration::from_nanos(1));
    let settings = Reconfigure { filter: None, commit_timeout_s: None, repair_after, rates: None };
    engine.handle(Instant(3), Input::Reconfigure(settings));
    engine.handle(Instant(4), Input::EventsLost { count: 1 });
    engine.handle(Instant(5), Input::Timeout);
    while engine.poll_kernel().is_some() {}
    assert!(matches!(engine.exactness(), Exactness::Repairing { .. }));
    engine.handle(Instant(6), Input::Dumped(flow(last)));
    engine.handle(Instant(6), Input::DumpDone { complete: true });
    for step in 0..8 {
        engine.handle(Instant(7) + limit::SWEEP_STEP * step, Input::Timeout);
    }
    assert_eq!(engine.exactness(), Exactness::Exact);
    assert_eq!(engine.table(Side::Local).len(), 1);
}

/// The peer sends a new flow.
fn announce(engine: &mut Engine, flow: &Flow) {
    let mut bytes = [0; 500];
    let mut writer = Writer::new(&mut bytes);
    let options = Options { timeout: true, window_scale: false };
    v1::encode_flow(Change::New, v1::Stamp::default(), flow, options, &mut writer);
    let len = writer.finish().unwrap();
    let from = Sender { link: 0, addr: Ipv4Addr::LOCALHOST.into() };
    engine.handle(Instant(2), Input::Datagram { from, bytes: &bytes[..len] });
}

/// The peer's flow with a helper comes to this engine, which is asked to commit; the kernel, which lacks that helper,
/// answers `second` to the request without it.
fn meets_a_kernel_without_the_helper(keep_remote: bool, second: Option<i32>) -> Engine {
    let replication = Replication { keep_remote, ..Replication::default() };
    let mut engine = Engine::new(Config { replication, ..Config::default() }, Instant(0));
    while engine.poll_kernel().is_some() {}
    engine.handle(Instant(1), Input::DumpDone { complete: true });
    let mut flow = Flow::new(Tuple::v4([1; 4], [2; 4], 17).with_ports(1, 69));
    flow.extra_mut().helper = HelperName::from_bytes(b"tftp");
    (flow.timeout_s, flow.known) = (100, Known::TIMEOUT);
    announce(&mut engine, &flow);
    engine.handle(Instant(3), Input::Command(CommandId(1), Command::Commit));
    for (has_helper, answer) in [(true, Some(EOPNOTSUPP)), (false, second)] {
        let op = engine.poll_kernel().expect("a request");
        let (token, Request::Create(asked)) = (op.token, op.request) else { panic!("{op:?}") };
        let helper = asked.extra.as_ref().and_then(|extra| extra.helper);
        assert_eq!((asked.key(), helper.is_some()), (flow.key(), has_helper));
        if let Some(errno) = answer {
            engine.handle(Instant(4), Input::KernelFailed { token, errno });
        }
        engine.handle(Instant(4), Input::KernelSettled { token });
    }
    assert!(engine.poll_kernel().is_none(), "it is not tried again and again");
    assert_eq!(engine.counters().written_without, 1);
    engine
}

#[test]
fn a_flow_is_committed_without_a_helper_that_the_kernel_lacks() {
    let mut engine = meets_a_kernel_without_the_helper(true, None);
    let mut events: Vec<_> = core::iter::from_fn(|| engine.poll_event()).collect();
    events.retain(|e| matches!(e, Event::CommitDone { .. } | Event::WrittenWithout { .. }));
    let helper = HelperName::from_bytes(b"tftp").unwrap();
    assert!(matches!(
        events[..],
        [
            Event::WrittenWithout { part: Part::Helper(name), .. },
            Event::CommitDone { committed: 1, failed: 0, .. }
        ] if name == helper
    ));
}

#[test]
fn a_flow_is_injected_without_a_helper_that_the_kernel_lacks() {
    let engine = meets_a_kernel_without_the_helper(false, None);
    let inject = engine.counters().inject;
    assert_eq!((inject.created, inject.create_failed), (1, 0));
}

#[test]
fn a_flow_that_is_refused_without_it_too_is_a_failure() {
    let mut engine = meets_a_kernel_without_the_helper(true, Some(EOPNOTSUPP));
    let mut events = core::iter::from_fn(|| engine.poll_event());
    assert!(events.any(|e| matches!(e, Event::CommitDone { committed: 0, failed: 1, .. })));
    let engine = meets_a_kernel_without_the_helper(false, Some(EOPNOTSUPP));
    assert_eq!(engine.counters().inject.create_failed, 1);
}

/// Commits one flow of the peer's, and answers EEXIST to so many attempts; what the commit says in the end.
fn committed_after(refusals: usize) -> (u64, u64) {
    let mut engine = Engine::new(Config::default(), Instant(0));
    while engine.poll_kernel().is_some() {}
    engine.handle(Instant(1), Input::DumpDone { complete: true });
    announce(&mut engine, &Flow::new(Tuple::v4([1; 4], [2; 4], 17).with_ports(1, 2)));
    engine.handle(Instant(3), Input::Command(CommandId(1), Command::Commit));
    let mut refused = 0;
    while let Some(op) = engine.poll_kernel() {
        let (token, create) = (op.token, matches!(op.request, Request::Create(_)));
        if create && refused < refusals {
            refused += 1;
            engine.handle(Instant(4), Input::KernelFailed { token, errno: EEXIST });
        }
        engine.handle(Instant(4), Input::KernelSettled { token });
    }
    assert_eq!(refused, refusals);
    let done = core::iter::from_fn(|| engine.poll_event()).find_map(|event| match event {
        Event::CommitDone { committed, failed, .. } => Some((committed, failed)),
        _ => None,
    });
    done.expect("the commit ends")
}

#[test]
fn a_flow_whose_place_another_identity_has_is_tried_once_more_at_the_end_of_a_commit() {
    assert_eq!(committed_after(1), (1, 0), "what is in the way is removed");
    assert_eq!(committed_after(2), (1, 0), "another flow of the commit has freed the place");
    assert_eq!(committed_after(3), (0, 1), "nobody has");
}
