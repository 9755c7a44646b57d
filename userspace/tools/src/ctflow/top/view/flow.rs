//! A flow in lines. Addresses are never cut: what does not fit its column has a line of its own.

use super::amount::{count, rate, span};
use crate::ctflow::top::arrange::state_word;
use crate::ctflow::top::row::Row;
use crate::print::address::Address;
use crate::print::tame::Name;
use ctnetlink::Tuple;
use ctnetlink::flow::{Counters, Status, proto_name};
use ctnetlink::tuple::ipproto;
use std::net::IpAddr;

/// From this width on there are columns for zone, translation, age and time left.
pub const WIDE: usize = 124;
/// The longest IPv4 address with port.
const V4_LEN: usize = 21;
/// Where columns begin, in a narrow picture and in a wide one.
const FROM_AT: usize = 18;
const WIDE_FROM_AT: usize = 23;

/// The parts of flows to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Columns of the screen.
    pub width: usize,
    /// Lines of translations.
    pub nat: bool,
    /// All of a flow, in lines.
    pub unfold: bool,
    /// The wall clock, nanoseconds since 1970.
    pub now_ns: u64,
}

/// An end of a flow: address and port, of IPv6 as `address.port`, so that a double click takes all of it.
fn end(address: IpAddr, shown: Address, port: Option<u16>) -> String {
    match (port, address) {
        (None, _) => shown.to_string(),
        (Some(port), IpAddr::V4(_)) => format!("{shown}:{port}"),
        (Some(port), IpAddr::V6(_)) => format!("{shown}.{port}"),
    }
}

/// The source of a tuple.
#[must_use]
pub fn source(tuple: &Tuple) -> String {
    end(tuple.src_ip(), Address::src(tuple), tuple.has_ports().then(|| tuple.ports().0))
}

/// The destination of a tuple.
#[must_use]
pub fn destination(tuple: &Tuple) -> String {
    end(tuple.dst_ip(), Address::dst(tuple), tuple.has_ports().then(|| tuple.ports().1))
}

/// What identifies flows without ports.
fn identity(tuple: &Tuple) -> String {
    if tuple.is_icmp() {
        return match tuple.icmp() {
            (id, 8 | 128, 0) => format!("  echo id {id}"),
            (id, kind, code) => format!("  type {kind} code {code} id {id}"),
        };
    }
    if tuple.proto == ipproto::GRE {
        let (src, dst) = tuple.ports();
        return format!("  keys {src} {dst}");
    }
    String::new()
}

/// Where packets of the original direction seem to come from, and where they go, if that is somewhere else.
#[must_use]
pub fn translations(row: &Row) -> Vec<String> {
    let flow = &row.flow;
    let from = flow.source_nat().map(|_| format!("from {}", destination(&flow.reply)));
    let to = flow.destination_nat().map(|_| format!("to {}", source(&flow.reply)));
    from.into_iter().chain(to).collect()
}

/// The protocol in five characters, and a mark for offloaded flows.
fn proto(row: &Row) -> String {
    let number = row.flow.orig.proto;
    let name = match proto_name(number) {
        Some("icmpv6") => "icmp6".to_owned(),
        Some("udplite") => "udpl".to_owned(),
        Some(name) => name.to_owned(),
        None => number.to_string(),
    };
    if row.is_offloaded() { format!("{name:<3} o") } else { name }
}

/// Columns over flows.
#[must_use]
pub fn header(width: usize, by: &str) -> String {
    let mark = |name: &str, head: &str| if name == by { format!("v {head}") } else { head.into() };
    let rates = format!("{:>8} {:>8}", mark("in", "IN b/s"), mark("out", "OUT b/s"));
    if width >= WIDE {
        let right = format!("{rates} {:>6} {:>5}", mark("age", "AGE"), mark("left", "LEFT"));
        let left = format!(
            "{:<5} {:<11} {:>4} {:<V4_LEN$} {:<V4_LEN$} TRANSLATED",
            "PROTO",
            mark("state", "STATE"),
            "ZONE",
            mark("from", "FROM"),
            mark("to", "TO")
        );
        return spread(&left, &right, width);
    }
    let left = format!(
        "{:<5} {:<11} {:<V4_LEN$} {}",
        "PROTO",
        mark("state", "STATE"),
        mark("from", "FROM"),
        mark("to", "TO")
    );
    spread(&left, &rates, width)
}

/// Text at the left and at the right of a line; the left gives way.
#[must_use]
pub fn spread(left: &str, right: &str, width: usize) -> String {
    let room = width.saturating_sub(right.chars().count() + usize::from(!right.is_empty()));
    let left: String = left.chars().take(room).collect();
    let gap = width.saturating_sub(left.chars().count() + right.chars().count());
    format!("{left}{:gap$}{right}", "").trim_end().to_owned()
}

/// Both on one line, if they fit without touching.
fn beside(left: &str, right: &str, width: usize) -> Option<String> {
    let right = right.trim_start();
    (left.len() + 1 + right.len() <= width).then(|| spread(left, right, width))
}

/// A flow in lines.
#[must_use]
pub fn lines(row: &Row, style: &Style) -> Vec<String> {
    let wide = style.width >= WIDE;
    let rates = format!("{:>8} {:>8}", rate(row.in_bps()), rate(row.out_bps()));
    let age = row.age_s(style.now_ns);
    let left_s = Some(u64::from(row.flow.timeout_s)).filter(|left| *left > 0);
    let numbers = match wide {
        true => format!("{rates} {:>6} {:>5}", span(age), span(left_s)),
        false => rates,
    };
    let state: String = state_word(&row.flow).chars().take(11).collect();
    let mut head = format!("{:<5} {state:<11} ", proto(row));
    if wide {
        head += &format!("{:>4} ", row.flow.zone);
    }
    let mut more = if style.nat { translations(row) } else { Vec::new() };
    let mut out = ends(row, &head, &numbers, style.width, &mut more);
    let indent = if wide { WIDE_FROM_AT } else { FROM_AT };
    let mut own = |text: String| out.push(indented(indent, &text, style.width));
    more.into_iter().for_each(|text| own(format!("nat {text}")));
    if style.nat
        && !row.flow.status.contains(Status::SEEN_REPLY)
        && let Some(age) = age
    {
        own(format!("unreplied for {age} s"));
    }
    if style.unfold {
        facts(row, style.now_ns).into_iter().for_each(own);
    }
    out
}

/// The lines of both ends; takes the translations that find room beside them.
fn ends(row: &Row, head: &str, numbers: &str, width: usize, more: &mut Vec<String>) -> Vec<String> {
    let (from, to) = (source(&row.flow.orig), destination(&row.flow.orig));
    let what = identity(&row.flow.orig);
    if from.len() <= V4_LEN && to.len() <= V4_LEN {
        let left = format!("{head}{from:<V4_LEN$} {to}{what}");
        if let [nat] = &more[..]
            && width >= WIDE
            && left.len() <= head.len() + 2 * V4_LEN + 1
            && let Some(line) = beside(
                &format!("{left:<at$} {nat}", at = head.len() + 2 * V4_LEN + 1),
                numbers,
                width,
            )
        {
            more.clear();
            return vec![line];
        }
        if let Some(line) = beside(&left, numbers, width) {
            return vec![line];
        }
    }
    let mut out = match head.len() + from.len() <= width {
        true => vec![format!("{head}{from}")],
        false => vec![head.trim_end().to_owned(), indented(head.len(), &from, width)],
    };
    let to = format!("to {to}");
    let fits = to.len() + what.len() <= width;
    let to = indented(head.len(), &if fits { to + &what } else { to }, width);
    match beside(&to, numbers, width) {
        Some(line) => out.push(line),
        None => out.extend([to, spread("", numbers, width)]),
    }
    if !fits {
        out.push(indented(head.len(), what.trim_start(), width));
    }
    out
}

/// A line of its own, as far to the right as it should be and as it can.
fn indented(indent: usize, text: &str, width: usize) -> String {
    let indent = indent.min(width.saturating_sub(text.len()));
    format!("{:indent$}{text}", "")
}

/// All of a flow.
#[must_use]
pub fn facts(row: &Row, now_ns: u64) -> Vec<String> {
    let flow = &row.flow;
    let mut first = format!("zone {}, mark {:#x}, id {}", flow.zone, flow.mark, flow.id);
    if flow.timeout_s > 0 {
        first += &format!("; ends in {} s unless traffic comes", flow.timeout_s);
    }
    let mut out = vec![first];
    if let Some(age) = row.age_s(now_ns) {
        out.push(format!("began {age} s ago"));
    }
    let counters = flow.extra.as_deref().map_or([None; 2], |extra| extra.counters);
    if let [Some(orig), Some(reply)] = counters {
        let text = |Counters { packets, bytes }: Counters| {
            format!("{} packets {} bytes", count(packets), count(bytes))
        };
        out.push(format!("counted: orig {}", text(orig)));
        out.push(format!("         reply {}", text(reply)));
    } else {
        out.push("counters not known".into());
    }
    if let Some(helper) = flow.extra.as_deref().and_then(|extra| extra.helper) {
        out.push(format!("helper {}", Name(helper.as_str())));
    }
    out
}

/// The command that shows a flow.
#[must_use]
pub fn command(row: &Row) -> String {
    let (flow, orig) = (&row.flow, &row.flow.orig);
    let proto = proto_name(orig.proto).map_or_else(|| orig.proto.to_string(), str::to_owned);
    let family = if orig.src_ip().is_ipv6() { "-f ipv6 " } else { "" };
    let mut out = format!(
        "conntrack -L {family}-p {proto} -s {} -d {}",
        Address::src(orig),
        Address::dst(orig)
    );
    if orig.has_ports() {
        let (src, dst) = orig.ports();
        out += &format!(" --sport {src} --dport {dst}");
    }
    if flow.zone != 0 {
        out += &format!(" -w {}", flow.zone);
    }
    out
}
