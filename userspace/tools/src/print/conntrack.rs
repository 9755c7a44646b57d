//! What the program `conntrack` writes: straight from a ctnetlink message into the bytes that go out, one file per
//! format. Nothing is allocated per flow, because listings have millions of them.
//!
//! ```
//! use ctnetlink::Tuple;
//! use tools::print::Origin;
//! use tools::print::conntrack::{Style, flow};
//! use ctnetlink::{Flow, Writer};
//! use ctnetlink::request::{self, Ticket};
//!
//! let udp = Flow::new(Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 17).with_ports(4000, 53));
//! let mut buffer = [0; 512];
//! let mut writer = Writer::new(&mut buffer);
//! request::update(&mut writer, Ticket::acked(1), &udp);
//! let len = writer.finish().unwrap();
//!
//! let mut out = Vec::new();
//! assert!(flow(&mut out, &Style::default(), &buffer[..len], None, Origin::default(), 0));
//! assert!(out.starts_with(b"udp      17 "), "{}", String::from_utf8_lossy(&out));
//! ```

mod put;
mod labels;
mod time;
mod plain;
mod save;
mod xml;
mod json;
mod expected;
mod statistics;
mod owned;
mod feed;

pub use crate::print::xml::Root;
pub use feed::{json as feed_json, text as feed_text};
#[cfg(feature = "top")]
pub(crate) use json::STATUS;
pub use labels::LabelMap;
pub use statistics::{count, statistics};

use crate::print::Origin;
use crate::print::xml::HEAD;
use ctnetlink::uapi::subsystem;
use ctnetlink::{Change, ExpectView, Flow, FlowView, Messages};
use put::Put as _;

/// What entries look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A line for people.
    #[default]
    Plain,
    /// A command line that makes the flow.
    Save,
    /// An element on a line.
    Xml,
    /// An object on a line; see docs/spec/conntrack-json.md.
    Json,
}

/// What `-o` asks for, and what the command adds to it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style<'a> {
    /// The word for the format.
    pub format: Format,
    /// `extended`: the layer-3 protocol in front.
    pub extended: bool,
    /// `id`: the kernel's number of the flow. XML and JSON always have it.
    pub id: bool,
    /// `ktimestamp`: when the flow began and ended.
    pub ktimestamp: bool,
    /// `timestamp`: when the event was.
    pub timestamp: bool,
    /// `userspace`: changes nothing; the program that caused an event is always shown.
    pub userspace: bool,
    /// `labels`: the names of labels.
    pub labels: Option<&'a LabelMap>,
    /// The entries are those that `-D` deleted: `save` calls them so.
    pub deleted: bool,
    /// What happened, and how the flow stands, in colour; lines for people only.
    pub colour: bool,
}

/// What belongs to one printing of an entry rather than to the entry.
#[derive(Clone, Copy, Debug, Default)]
struct Occasion<'a> {
    /// What happened; nothing in lists.
    event: Option<Change>,
    /// The cause of the event.
    origin: Origin<'a>,
    /// Wall clock, nanoseconds since 1970.
    now_ns: u64,
}

/// Appends a flow and a line end. `message` is one whole netlink message, header included; `origin` is the program
/// that caused the event (none in lists); `now_ns` is the wall clock, nanoseconds since 1970.
///
/// `false`, and nothing is appended, when the message is no flow.
pub fn flow(
    out: &mut Vec<u8>,
    style: &Style<'_>,
    message: &[u8],
    event: Option<Change>,
    origin: Origin<'_>,
    now_ns: u64,
) -> bool {
    let Some(payload) = payload(message, subsystem::CTNETLINK) else { return false };
    let Ok(flow) = FlowView::parse(payload) else { return false };
    print(out, style, &flow, &Occasion { event, origin, now_ns });
    true
}

/// Appends a flow of a table and a line end; otherwise as [`flow`], in lists.
pub fn table_flow(out: &mut Vec<u8>, style: &Style<'_>, flow: &Flow, now_ns: u64) {
    let labels = owned::label_bytes(flow);
    print(
        out,
        style,
        &owned::view(flow, labels.as_deref()),
        &Occasion { now_ns, ..Occasion::default() },
    );
}

/// A flow of a table as one JSON object.
#[must_use]
pub fn table_object(flow: &Flow, now_ns: u64) -> String {
    // Behind the begin of an array, an element has no comma before it.
    let mut out = b"[".to_vec();
    table_flow(&mut out, &Style { format: Format::Json, ..Style::default() }, flow, now_ns);
    String::from_utf8_lossy(&out[1..]).trim().to_owned()
}

fn print(out: &mut Vec<u8>, style: &Style<'_>, flow: &FlowView<'_>, occasion: &Occasion<'_>) {
    match style.format {
        Format::Plain => plain::flow(out, style, flow, occasion),
        Format::Save => save::flow(out, style, flow, occasion),
        Format::Xml => xml::flow(out, style, flow, occasion),
        Format::Json => json::flow(out, style, flow, occasion),
    }
}

/// Appends an expectation and a line end; otherwise as [`flow`].
pub fn expectation(
    out: &mut Vec<u8>,
    style: &Style<'_>,
    message: &[u8],
    event: Option<Change>,
    origin: Origin<'_>,
    now_ns: u64,
) -> bool {
    let Some(payload) = payload(message, subsystem::CTNETLINK_EXP) else { return false };
    let Ok(view) = ExpectView::parse(payload) else { return false };
    expected::expectation(out, style, &view, &Occasion { event, origin, now_ns });
    true
}

/// Appends what stands before the first entry. To be called when that is about to be printed: where there is no entry,
/// [`list_end`] alone does both. The buffer must not be emptied before the first entry is in it, because entries in
/// JSON are parted by what stands before them.
///
/// In events only XML has something here.
pub fn list_begin(out: &mut Vec<u8>, style: &Style<'_>, root: Root) {
    match style.format {
        Format::Plain | Format::Save => {}
        Format::Xml => {
            out.text(HEAD);
            out.push(b'\n');
            out.text(root.begin());
            out.push(b'\n');
        }
        Format::Json => out.push(b'['),
    }
}

/// Appends what stands after the last entry. `begun` says whether [`list_begin`] was called.
pub fn list_end(out: &mut Vec<u8>, style: &Style<'_>, root: Root, begun: bool) {
    if !begun {
        list_begin(out, style, root);
    }
    match style.format {
        Format::Plain | Format::Save => {}
        Format::Xml => {
            out.text(root.end());
            out.push(b'\n');
        }
        Format::Json => out.text(if begun { "\n]\n" } else { "]\n" }),
    }
}

/// The part of a message that views are made of.
fn payload(message: &[u8], subsystem: u8) -> Option<&[u8]> {
    let raw = Messages::new(message).next()?.ok()?;
    (raw.header.subsystem() == subsystem).then_some(raw.payload)
}

#[cfg(test)]
mod tests;
