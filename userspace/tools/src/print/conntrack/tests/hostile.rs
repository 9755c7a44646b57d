use super::message::{attribute, nest, whole};
use super::*;
use crate::print::conntrack::{count, expectation, statistics};
use proptest::prelude::*;

const FORMATS: [Format; 4] = [Format::Plain, Format::Save, Format::Xml, Format::Json];

/// A flow with everything that is printed.
fn rich() -> Vec<u8> {
    let message = FlowMessage::natted_v4(132).status(0xffff).timeout(1).sctp(4, [1, 2]).mark(5);
    let message = message.counters(1, 2).lived(5, Some(6)).labels([u32::MAX; 4]).helper("ftp");
    let secctx = nest(19, &attribute(1, b"a\"\n<b>\x1b\0"));
    message.with(secctx).zone(1).uses(1).id(1).bytes()
}

/// Prints it in every way; what is printed is one line, and JSON where it says so.
fn printed_any_way(bytes: &[u8]) {
    let map = LabelMap::parse("0 zero\n31 thirty-one\n127 last\n");
    let origin = Origin { portid: 1, program: Some("a\x1b\"\n") };
    for format in FORMATS {
        let style = Style {
            format,
            extended: true,
            id: true,
            ktimestamp: true,
            timestamp: true,
            labels: Some(&map),
            ..Style::default()
        };
        for print in [flow, expectation] {
            let mut out = Vec::new();
            let told = print(&mut out, &style, bytes, Some(Event::Update), origin, NOW_NS);
            assert_eq!(told, !out.is_empty());
            assert_eq!(out.iter().filter(|&&byte| byte == b'\n').count(), usize::from(told));
            assert!(!out.contains(&0x1b));
            if told && format == Format::Json {
                serde_json::from_slice::<serde_json::Value>(&out).unwrap();
            }
        }
    }
    let mut out = Vec::new();
    statistics(&mut out, bytes);
    count(&mut out, bytes);
}

#[test]
fn what_a_flow_is_called_neither_ends_the_line_nor_talks_to_the_terminal() {
    let mut out = Vec::new();
    assert!(flow(&mut out, &Style::default(), &rich(), None, Origin::default(), 0));
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains(" secctx=a\"?<b>? "), "{text}");
    printed_any_way(&rich());
}

proptest! {
    #[test]
    fn flows_with_broken_bytes(breaks in prop::collection::vec((any::<usize>(), any::<u8>()), 0..6)) {
        let mut bytes = rich();
        for (at, value) in breaks {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        printed_any_way(&bytes);
    }

    #[test]
    fn attributes_of_any_bytes(
        kind in prop::sample::select(vec![0x0100_u16, 0x0102, 0x0104, 0x0105, 0x0200, 0x0203]),
        attributes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        printed_any_way(&whole(kind, 2, &attributes));
    }
}
