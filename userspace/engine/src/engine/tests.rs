//! The engine as its host sees it.

use super::Engine;
use crate::{Config, Input, Origin, Stamp};
use common::{Instant, Tuple};
use wire::Flow;
use wire::netlink::EventKind;

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
