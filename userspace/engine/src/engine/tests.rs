//! The engine as its host sees it.

use super::Engine;
use crate::config::{Mode, Replication};
use crate::{Config, Event, Input, Origin, Side, Stamp};
use alloc::vec::Vec;
use common::{Instant, Tuple};
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
    for _ in 0..2 {
        engine.handle(Instant(0), Input::Datagram(&request(7)));
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
