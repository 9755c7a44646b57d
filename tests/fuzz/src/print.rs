//! What `conntrack` prints of what the kernel says.

use ctnetlink::Change;
use ctnetlink::Messages;
use ctnetlink::frame::HEADER_LEN;
use tools::print::Origin;
use tools::print::conntrack::{Format, LabelMap, Style, count, expectation, flow, statistics};

const FORMATS: [Format; 4] = [Format::Plain, Format::Save, Format::Xml, Format::Json];

/// The first byte says how; each message of the rest becomes one line or nothing, in every format, and nothing in it
/// talks to a terminal.
///
/// # Panics
/// When one of these does not hold.
pub fn print(data: &[u8]) {
    let Some((&how, data)) = data.split_first() else { return };
    let map = LabelMap::parse("0 zero\n31 thirty-one\n127 last\n");
    let event = match how >> 5 & 3 {
        0 => None,
        1 => Some(Change::New),
        2 => Some(Change::Update),
        _ => Some(Change::Destroy),
    };
    let style = Style {
        extended: how & 1 != 0,
        id: how & 2 != 0,
        ktimestamp: how & 4 != 0,
        timestamp: how & 8 != 0,
        labels: Some(&map).filter(|_| how & 16 != 0),
        deleted: how & 128 != 0,
        ..Style::default()
    };
    for raw in Messages::new(data).flatten() {
        let message = &data[raw.at..raw.at + HEADER_LEN + raw.payload.len()];
        for format in FORMATS {
            printed(message, &Style { format, ..style }, event, raw.header.portid);
        }
        let mut out = Vec::new();
        assert_eq!(count(&mut out, message), !out.is_empty());
        out.clear();
        assert_eq!(statistics(&mut out, message), !out.is_empty());
    }
}

fn printed(message: &[u8], style: &Style<'_>, event: Option<Change>, portid: u32) {
    let origin = Origin { portid, program: Some("a\x1b\"\n<") };
    for print in [flow, expectation] {
        let mut out = Vec::new();
        let printed = print(&mut out, style, message, event, origin, 1_795_488_831_681_765_432);
        assert_eq!(printed, !out.is_empty(), "what is understood is printed");
        let ends = out.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(ends, usize::from(printed), "{}", String::from_utf8_lossy(&out));
        assert!(!out.contains(&0x1b), "{}", String::from_utf8_lossy(&out));
    }
}
