//! What `-S` and `-C` print: the numbers of the kernel's table.

use super::plain::named;
use super::put::Put as _;
use ctnetlink::frame::FAMILY_HEADER_LEN;
use ctnetlink::uapi::{exp, subsystem};
use ctnetlink::{Attributes, Messages};

/// `CTA_STATS_*` (kernel v6.12, `include/uapi/linux/netfilter/nfnetlink_conntrack.h`) in the order of their numbers,
/// the first being 1, and room for four more.
const FLOWS: [&str; 19] = [
    "searched",
    "found",
    "new",
    "invalid",
    "ignore",
    "delete",
    "delete_list",
    "insert",
    "insert_failed",
    "drop",
    "early_drop",
    "error",
    "search_restart",
    "clash_resolve",
    "chaintoolong",
    "unknown1",
    "unknown2",
    "unknown3",
    "unknown4",
];

/// `CTA_STATS_EXP_*`, likewise.
const EXPECTATIONS: [&str; 3] = ["expect_new", "expect_create", "expect_delete"];

/// `CTA_STATS_GLOBAL_ENTRIES`.
const GLOBAL_ENTRIES: u16 = 1;

/// Appends the line of one processor: `message` is one answer to `IPCTNL_MSG_CT_GET_STATS_CPU` or
/// `IPCTNL_MSG_EXP_GET_STATS_CPU`, header included.
///
/// `false`, and nothing is appended, when it is none.
pub fn statistics(out: &mut Vec<u8>, message: &[u8]) -> bool {
    let Some(Ok(raw)) = Messages::new(message).next() else { return false };
    let names: &[&str] = match raw.header.subsystem() {
        // The kernel answers for expectations under the subsystem of flows (`ctnetlink_exp_stat_fill_info`, v6.12).
        subsystem::CTNETLINK if raw.header.message() == exp::GET_STATS_CPU => &EXPECTATIONS,
        subsystem::CTNETLINK => &FLOWS,
        subsystem::CTNETLINK_EXP => &EXPECTATIONS,
        _ => return false,
    };
    let Some((&[_, _, high, low], rest)) = raw.payload.split_first_chunk::<FAMILY_HEADER_LEN>()
    else {
        return false;
    };
    // The answer's resource id is the number of the processor.
    named(out, "cpu=", u16::from_be_bytes([high, low]));
    let width = out.iter().rev().position(|&byte| byte == b'=').unwrap_or(0);
    out.text(&"    "[width.min(4)..]);
    out.push(b'\t');
    for attribute in Attributes::new(rest, FAMILY_HEADER_LEN).flatten() {
        let name = names.get(usize::from(attribute.kind).wrapping_sub(1));
        if let (Some(name), Ok(number)) = (name, attribute.be32()) {
            out.text(name);
            named(out, "=", number);
            out.push(b' ');
        }
    }
    out.push(b'\n');
    true
}

/// The numbers of one processor with their names, as [`statistics`] shows them; none if the message is no answer to
/// `IPCTNL_MSG_CT_GET_STATS_CPU`.
#[must_use]
pub fn counters(message: &[u8]) -> Vec<(&'static str, u32)> {
    let Some(Ok(raw)) = Messages::new(message).next() else { return Vec::new() };
    let rest = raw.payload.get(FAMILY_HEADER_LEN..).unwrap_or_default();
    let attributes = Attributes::new(rest, FAMILY_HEADER_LEN).flatten();
    let named = attributes.filter_map(|attribute| {
        let name = FLOWS.get(usize::from(attribute.kind).wrapping_sub(1))?;
        Some((*name, attribute.be32().ok()?))
    });
    named.collect()
}

/// How many flows there are: `message` is the answer to `IPCTNL_MSG_CT_GET_STATS`, header included.
#[must_use]
pub fn entries(message: &[u8]) -> Option<u32> {
    let raw = Messages::new(message).next()?.ok()?;
    let rest = raw.payload.get(FAMILY_HEADER_LEN..)?;
    let mut attributes = Attributes::new(rest, FAMILY_HEADER_LEN).flatten();
    attributes.find(|attribute| attribute.kind == GLOBAL_ENTRIES)?.be32().ok()
}

/// Appends the number of [`entries`] as a line.
///
/// `false`, and nothing is appended, when the message is no answer.
pub fn count(out: &mut Vec<u8>, message: &[u8]) -> bool {
    let Some(entries) = entries(message) else { return false };
    named(out, "", entries);
    out.push(b'\n');
    true
}
