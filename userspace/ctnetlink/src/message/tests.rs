//! What the kernel said, read back; and that nothing it could say makes a decoder panic.

mod properties;
mod vectors;

use super::*;
use crate::uapi::cta;
use crate::view::RequestView;
use crate::{Detail, Flow, Messages, Tuple, Writer, direction};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write as _;
use vectors::{ANSWERS, EVENTS, Vector};

pub(super) fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().map(|d| (d as char).to_digit(16).unwrap() as u8).collect();
    digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect()
}

fn event(name: &str) -> Vec<u8> {
    bytes_of(EVENTS.iter().find(|v| v.name == name).unwrap().hex)
}

fn flow_of(datagram: &[u8], detail: Detail) -> Flow {
    let raw = Messages::new(datagram).next().unwrap().unwrap();
    match decode(&raw) {
        Ok(Message::Flow { flow, .. }) => flow.to_flow(detail),
        other => panic!("{other:?}"),
    }
}

/// A message in one line, without the fields it does not carry.
fn describe(message: &Message<'_>) -> String {
    match message {
        Message::Flow { event, flow } => format!("{event:?} {}", flow_text(flow)),
        Message::Expect { event, expect } => format!("{event:?} expect {}", expect_text(expect)),
        Message::Error(answer) => format!("error {}", answer_text(answer)),
        Message::Done(answer) => format!("done {}", answer_text(answer)),
        other => format!("{other:?}").to_lowercase(),
    }
}

fn flow_text(view: &FlowView<'_>) -> String {
    let flow = view.to_flow(Detail::Full);
    let mut out = format!("{:?} {:?} zone {}", flow.orig, flow.reply, flow.zone);
    for (name, value) in [
        ("status", view.status.map(|status| format!("{:#x}", status.bits()))),
        ("timeout", view.timeout_s.map(|value| value.to_string())),
        ("mark", view.mark.map(|value| format!("{value:#x}"))),
        ("id", view.id.map(|value| format!("{value:#x}"))),
        ("proto", Some(format!("{:?}", flow.proto))),
        ("synproxy", view.synproxy.map(|value| format!("{value:?}"))),
    ] {
        push(&mut out, name, value);
    }
    let Some(extra) = flow.extra.as_deref() else { return out };
    for (name, value) in [
        ("master", extra.master.map(|value| format!("{value:?}"))),
        ("helper", extra.helper.map(|value| format!("{value:?}"))),
        ("labels", extra.labels.as_ref().map(|value| format!("{value:x?}"))),
        ("seq_adj", extra.seq_adj.map(|value| format!("{value:?}"))),
        ("zone_orig", extra.zones[0].map(|value| format!("{value}"))),
        ("zone_reply", extra.zones[1].map(|value| format!("{value}"))),
        ("counters", extra.counters[0].map(|value| format!("{value:?}"))),
        ("counters_reply", extra.counters[1].map(|value| format!("{value:?}"))),
        ("times", extra.timestamps.map(|value| format!("{value:?}"))),
        ("event", extra.event_ns.map(|value| format!("{value}"))),
        ("use", extra.use_count.map(|value| format!("{value}"))),
    ] {
        push(&mut out, name, value);
    }
    out
}

fn expect_text(view: &ExpectView<'_>) -> String {
    let expect = view.to_expectation();
    let mut out = format!("{:?} mask {:?} of {:?}", expect.tuple, expect.mask, expect.master);
    for (name, value) in [
        ("timeout", expect.timeout_s.map(|value| value.to_string())),
        ("flags", expect.flags.map(|value| value.to_string())),
        ("class", expect.class.map(|value| value.to_string())),
        ("id", expect.id.map(|value| format!("{value:#x}"))),
        ("zone", expect.zone.map(|value| value.to_string())),
        ("nat", expect.nat.map(|value| format!("{value:?}"))),
        ("helper", expect.helper.map(|value| format!("{value:?}"))),
        ("function", expect.function.map(|value| format!("{value:?}"))),
    ] {
        push(&mut out, name, value);
    }
    out
}

fn answer_text(answer: &Answer<'_>) -> String {
    let mut out = format!("errno {}", answer.errno);
    push(&mut out, "to", answer.request.map(|header| header.seq.to_string()));
    push(&mut out, "text", answer.text.map(str::to_string));
    push(&mut out, "offset", answer.offset.map(|value| value.to_string()));
    out
}

fn push(out: &mut String, name: &str, value: Option<String>) {
    if let Some(value) = value {
        write!(out, " {name} {value}").unwrap();
    }
}

#[track_caller]
fn check(vectors: &[Vector]) {
    let mut wrong = String::new();
    for vector in vectors {
        let datagram = bytes_of(vector.hex);
        let said: Vec<_> =
            Messages::new(&datagram).map(|raw| describe(&decode(&raw.unwrap()).unwrap())).collect();
        let said = said.join(" / ");
        if said != vector.says {
            writeln!(wrong, "{}\t{said}", vector.name).unwrap();
        }
    }
    assert!(wrong.is_empty(), "these say something else:\n{wrong}");
}

#[test]
fn events_say_what_happened() {
    check(EVENTS);
}

#[test]
fn answers_say_how_it_went() {
    check(ANSWERS);
}

#[test]
fn a_view_that_is_read_over_holds_nothing_of_what_it_held() {
    for one in EVENTS.iter().flat_map(|before| EVENTS.iter().map(move |vector| (before, vector))) {
        let datagrams = [one.0, one.1].map(|vector| bytes_of(vector.hex));
        let [before, raw] = [&datagrams[0], &datagrams[1]]
            .map(|datagram| Messages::new(datagram).next().unwrap().unwrap());
        let (Ok(Message::Flow { event, flow }), Some(_)) = (decode(&raw), flow_event(&before))
        else {
            continue;
        };
        let mut view = FlowView::default();
        let _whatever = read_flow(&before, &mut view);
        assert_eq!((flow_event(&raw), read_flow(&raw, &mut view)), (Some(event), Ok(())));
        assert_eq!(view, flow, "{} after {}", one.1.name, one.0.name);
    }
}

#[test]
fn a_common_flow_takes_no_allocation() {
    for name in ["udp", "udp nat both", "udp zone", "tcp is established", "tcp v6 ends", "tcp dnat"]
    {
        assert_eq!(flow_of(&event(name), Detail::State).extra, None, "{name}");
    }
}

#[test]
fn state_is_full_without_what_changes_all_the_time() {
    for vector in EVENTS.iter().filter(|v| !v.name.starts_with("expectation")) {
        let datagram = bytes_of(vector.hex);
        let mut full = flow_of(&datagram, Detail::Full);
        full.drop_volatile();
        assert_eq!(flow_of(&datagram, Detail::State), full, "{}", vector.name);
    }
}

#[test]
fn zones_of_one_direction_separate_flows_if_it_is_the_original() {
    assert_eq!(flow_of(&event("udp zone of one direction"), Detail::State).key().zone, 8);
    assert_eq!(flow_of(&event("zone of the reply direction"), Detail::State).key().zone, 0);
}

#[test]
fn labels_count_bits_from_the_lowest_of_the_first_word() {
    // The rule that made this flow said `ct label set 67`.
    let flow = flow_of(&event("udp label"), Detail::State);
    assert_eq!(flow.extra.unwrap().labels.as_deref(), Some(&[0, 0, 1 << 3, 0][..]));
}

#[test]
fn tuples_of_an_unusual_layout_read_the_same() {
    // Offsets of the flag bits of the first address and of the protocol number, original tuple.
    for (name, marks) in [("udp", [31, 47]), ("udp v6", [31, 75])] {
        let usual = event(name);
        for mark in marks {
            let mut unusual = usual.clone();
            unusual[mark] = 0x40;
            assert_eq!(flow_of(&unusual, Detail::Full), flow_of(&usual, Detail::Full), "{name}");
        }
    }
}

#[test]
fn several_messages_share_a_datagram() {
    let mut datagram = event("udp");
    datagram.extend(event("tcp begins"));
    let kinds: Vec<_> = Messages::new(&datagram).map(|raw| raw.unwrap().at).collect();
    assert_eq!(kinds, [0, event("udp").len()]);
}

#[test]
fn errors_say_where() {
    let good = event("udp");
    let at = |datagram: &[u8]| {
        let raw = Messages::new(datagram).next().unwrap()?;
        decode(&raw).map(drop)
    };
    // The original tuple begins at 20, its address nest at 24, the source address at 28.
    for (offset, value, wrong) in [
        (0, 0xa4, DecodeError::new(0, "message length does not fit")),
        (20, 0xf0, DecodeError::new(20, "attribute length does not fit")),
        (20, 2, DecodeError::new(20, "attribute length does not fit")),
        (28, 7, DecodeError::new(32, "IPv4 address is not 4 bytes long")),
        (26, 9, DecodeError::new(24, "tuple without addresses")),
        (46, 9, DecodeError::new(24, "tuple without protocol number")),
        (22, 99, DecodeError::new(160, "flow without original tuple")),
    ] {
        let mut bad = good.clone();
        bad[offset] = value;
        assert_eq!(at(&bad), Err(wrong), "byte {offset}");
    }
    assert_eq!(at(&good[..10]), Err(DecodeError::new(0, "message header is cut short")));
}

#[test]
fn after_a_framing_error_the_walk_ends() {
    let mut datagram = event("udp");
    datagram[0] = 8;
    let mut messages = Messages::new(&datagram);
    assert!(messages.next().unwrap().is_err());
    assert!(messages.next().is_none());
}

/// A flow message that holds, behind its original tuple, one attribute of kind `kind`.
fn with_attribute(kind: u16) -> Vec<u8> {
    use crate::attribute::{put, put_nest};
    let numbers = |w: &mut Writer<'_>| (1..=3).for_each(|kind| put(w, kind, &[0, 0, 0, 9]));
    let mut bytes = alloc::vec![0; 512];
    let mut w = Writer::new(&mut bytes);
    w.put(&[2, 0, 0, 0]);
    let tuple = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 6).with_ports(1, 2);
    direction::encode(&mut w, cta::TUPLE_ORIG, &tuple, None);
    match kind {
        // The last of its kind counts.
        cta::TUPLE_ORIG | cta::TUPLE_REPLY | cta::TUPLE_MASTER => {
            direction::encode(&mut w, kind, &tuple.inverted(), None);
        }
        cta::PROTOINFO => put_nest(&mut w, kind, |w| put_nest(w, 1, |w| put(w, 1, &[3]))),
        cta::HELP | cta::SECCTX => put_nest(&mut w, kind, |w| put(w, 1, b"ftp\0")),
        cta::NAT_SRC | cta::NAT_DST => put_nest(&mut w, kind, |w| put(w, 1, &[10, 0, 0, 9])),
        cta::COUNTERS_ORIG | cta::COUNTERS_REPLY | cta::TIMESTAMP => {
            put_nest(&mut w, kind, |w| put(w, 1, &[9; 8]));
        }
        cta::SEQ_ADJ_ORIG | cta::SEQ_ADJ_REPLY | cta::SYNPROXY => put_nest(&mut w, kind, numbers),
        cta::FILTER => put_nest(&mut w, kind, |w| put(w, 1, &[9; 4])),
        cta::ZONE => put(&mut w, kind, &[0, 9]),
        cta::LABELS | cta::LABELS_MASK => put(&mut w, kind, &[9; 16]),
        cta::TIMESTAMP_EVENT => put(&mut w, kind, &[9; 8]),
        _ => put(&mut w, kind, &[0, 0, 0, 9]),
    }
    let len = w.finish().unwrap();
    bytes.truncate(len);
    bytes
}

/// The table in the crate's documentation: each of the 27 is read into one of the two views.
#[test]
fn every_attribute_of_a_flow_is_read() {
    let read = |bytes: &[u8]| {
        let views = (FlowView::parse(bytes).unwrap(), RequestView::parse(bytes).unwrap());
        format!("{views:?}")
    };
    let nothing = read(&with_attribute(u16::from(u8::MAX)));
    for kind in 1..=27 {
        assert_ne!(read(&with_attribute(kind)), nothing, "attribute {kind} is not read");
    }
}
