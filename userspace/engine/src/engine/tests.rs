//! The engine as its host sees it.

use super::Engine;
use crate::config::{Mode, Replication, limit};
use crate::exactness::Exactness;
use crate::{Config, Event, Input, Origin, Sender, Side, Stamp};
use alloc::vec::Vec;
use common::{Instant, Tuple};
use core::net::Ipv4Addr;
use core::time::Duration;
use wire::Flow;
use wire::cursor::Writer;
use wire::netlink::EventKind;
use wire::sync::v1::{self, Control, Flags};

/// Defect 9 of the original (`docs/defects.md`).
#[test]
fn without_a_local_table_an_event_leaves_at_once() {
    let mut config = Config::default();
    config.replication.keep_local = false;
    let mut engine = Engine::new(config, Instant(0));
    let flow = Flow::new(Tuple::v4([1; 4], [2; 4], 17).with_ports(5, 6));
    let (event, origin, stamp) = (EventKind::New, Origin::Foreign, Stamp::InOrder);
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
    for event in [EventKind::New, EventKind::Update, EventKind::Destroy] {
        engine.handle(Instant(5), Input::Kernel { event, flow: flow.clone(), origin, stamp });
        assert_eq!(engine.table(Side::Local).len(), usize::from(event != EventKind::Destroy));
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
        let (event, flow) = (EventKind::New, flow(n));
        engine.handle(Instant(2), Input::Kernel { event, flow, origin, stamp });
    }
    for n in 0..last {
        let (event, flow) = (EventKind::Destroy, flow(n));
        engine.handle(Instant(3), Input::Kernel { event, flow, origin, stamp });
    }
    engine.set_repair_after(Some(Duration::from_nanos(1)));
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
