use super::message::{attribute, nest, whole};
use super::*;
use crate::print::conntrack::{count, expectation, statistics};
use crate::print::tame::is_tame;
use ctnetlink::Change;
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
    let map = LabelMap::parse("0 ze\x1bro\n31 thirty\u{9b}one<&>\n127 \"last\u{202e}\n");
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
            let printed = print(&mut out, &style, bytes, Some(Change::Update), origin, NOW_NS);
            assert_eq!(printed, !out.is_empty());
            let text = std::str::from_utf8(&out).expect("text");
            let line = if printed { text.strip_suffix('\n').expect("a line") } else { text };
            // Behind the time stands a tabulator.
            let line = line.replacen("]\t", "]", 1);
            assert!(line.chars().all(is_tame), "{format:?}: {line:?}");
            if printed && format == Format::Json {
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

/// What is saved is loaded as commands: a name must not become options.
#[test]
fn a_name_is_one_word_of_a_saved_line() {
    let message = FlowMessage::v4([1; 4], [2; 4], 17, Ports(1, 2)).helper("x -D\" -m 5");
    for (format, wanted) in
        [(Format::Save, " --helper x?-D??-m?5\n"), (Format::Plain, " helper=x?-D??-m?5")]
    {
        let text = printed(&Style { format, ..Style::default() }, &message, None, 0);
        assert!(text.contains(wanted), "{text}");
    }
}

#[test]
fn a_name_is_no_markup_and_no_end_of_a_document() {
    let message = FlowMessage::v4([1; 4], [2; 4], 17, Ports(1, 2)).helper("</a>]]>&\x1b");
    let style = Style { format: Format::Xml, ..Style::default() };
    let text = printed(&style, &message, None, 0);
    assert!(text.contains("<helper>&lt;/a&gt;]]&gt;&amp;?</helper>"), "{text}");
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
    fn names_of_any_bytes(
        helper in prop::collection::vec(1_u8.., 1..15),
        secctx in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let secctx = nest(19, &attribute(1, &secctx));
        let helper = nest(5, &attribute(1, &helper));
        let message = FlowMessage::v4([1; 4], [2; 4], 17, Ports(1, 2));
        printed_any_way(&message.with(secctx).with(helper).bytes());
    }

    #[test]
    fn attributes_of_any_bytes(
        kind in prop::sample::select(vec![0x0100_u16, 0x0102, 0x0104, 0x0105, 0x0200, 0x0203]),
        attributes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        printed_any_way(&whole(kind, 2, &attributes));
    }
}
