//! Messages as the kernel sends them, and what conntrack prints for them.

mod message;

use super::{Format, LabelMap, Style, flow};
use crate::print::Origin;
use ctnetlink::Change;
use message::{FlowMessage, Ports};

/// 2026-11-24 02:53:51 and a bit, UTC.
const NOW_NS: u64 = 1_795_488_831_681_765_432;

const A: [u8; 4] = [1, 1, 1, 1];
const B: [u8; 4] = [2, 2, 2, 2];

fn printed(style: &Style<'_>, message: &FlowMessage, event: Option<Change>, portid: u32) -> String {
    let mut out = b"before ".to_vec();
    assert!(flow(
        &mut out,
        style,
        &message.bytes(),
        event,
        Origin { portid, program: None },
        NOW_NS
    ));
    let text = String::from_utf8(out).unwrap();
    text.strip_prefix("before ").unwrap().to_string()
}

#[track_caller]
fn listed(format: Format, message: &FlowMessage, wanted: &str) {
    let style = Style { format, ..Style::default() };
    assert_eq!(printed(&style, message, None, 0), format!("{wanted}\n"));
}

fn tcp() -> FlowMessage {
    FlowMessage::v4(A, B, 6, Ports(10, 20)).status(0x0e).timeout(299).tcp(3).mark(5).uses(1)
}

fn icmp() -> FlowMessage {
    FlowMessage::v4(A, B, 1, Ports::icmp(3, 8, 0)).status(8).timeout(99).mark(0).uses(1)
}

fn gre() -> FlowMessage {
    FlowMessage::v6("::ffff:1.2.3.4", "::5", 47, Ports(3, 0x40)).status(8).timeout(99).mark(0)
}

fn unknown() -> FlowMessage {
    FlowMessage::v6("::1.2.3.4", "1:0:0:2::3", 77, Ports::none()).status(8).timeout(99).mark(0)
}

mod plain;
mod save;
mod xml;
mod json;
mod lists;
mod hostile;
