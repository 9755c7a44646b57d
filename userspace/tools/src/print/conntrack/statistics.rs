//! What `-S` and `-C` print: the numbers of the kernel's table.

use super::plain::named;
use super::put::Put as _;
use ctnetlink::frame::FAMILY_HEADER_LEN;
use ctnetlink::uapi::{exp, subsystem};
use ctnetlink::{Attributes, Messages};
use host::kstat::{COUNTERS, table_sizes};

/// `CTA_STATS_EXP_*`, in the order of their numbers, the first being 1 (kernel v6.12,
/// `include/uapi/linux/netfilter/nfnetlink_conntrack.h`).
const EXPECTATIONS: [&str; 3] = ["expect_new", "expect_create", "expect_delete"];

/// Appends the line of one processor: `message` is one answer to `IPCTNL_MSG_CT_GET_STATS_CPU` or
/// `IPCTNL_MSG_EXP_GET_STATS_CPU`, header included.
///
/// `false`, and nothing is appended, when it is none.
pub fn statistics(out: &mut Vec<u8>, message: &[u8]) -> bool {
    let Some(Ok(raw)) = Messages::new(message).next() else { return false };
    let names: &[&str] = match raw.header.subsystem() {
        // The kernel answers for expectations under the subsystem of flows (`ctnetlink_exp_stat_fill_info`, v6.12).
        subsystem::CTNETLINK if raw.header.message() == exp::GET_STATS_CPU => &EXPECTATIONS,
        subsystem::CTNETLINK => &COUNTERS,
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

/// Appends how many flows there are as a line: `message` is the answer to `IPCTNL_MSG_CT_GET_STATS`, header included.
///
/// `false`, and nothing is appended, when the message is no answer.
pub fn count(out: &mut Vec<u8>, message: &[u8]) -> bool {
    let (Some(entries), _) = table_sizes(message) else { return false };
    named(out, "", entries);
    out.push(b'\n');
    true
}
