//! The line: a flow or an expectation in plain text, fields separated by one space.
//!
//! ```text
//! tcp      6 299 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=80 packets=9 bytes=999 \
//!     src=10.0.0.2 dst=10.0.0.1 sport=80 dport=40000 packets=9 bytes=999 [ASSURED] mark=0 use=1
//! ```
//!
//! A field appears if the flow has it and the [`Line`] wants it.

use crate::print::address::Address;
use crate::print::tame::{Name, Tame};
use crate::print::{SECOND_NS, age_s, label_bits, state};
use ctnetlink::flow::{Counters, Extra, Flow, Known, Status, Timestamps, proto_name};
use ctnetlink::tuple::{FAMILY_IPV6, ipproto};
use ctnetlink::{Expectation, Tuple, expectation};
use std::fmt::{self, Write};

/// The fields that a line may have beyond those it always has.
#[derive(Clone, Copy, Default)]
pub struct Line<'a> {
    /// Layer-3 protocol in front.
    pub layer3: bool,
    /// Seconds until the flow expires.
    pub timeout: bool,
    /// Packets and bytes.
    pub counters: bool,
    /// Reference count.
    pub use_count: bool,
    /// The kernel's id.
    pub id: bool,
    /// Age of flows with a start time, measured against this wall clock if they have not ended. Nanoseconds since
    /// 1970.
    pub now_ns: Option<u64>,
    /// Start and stop time: turns seconds since 1970 into text.
    pub date: Option<&'a dyn Fn(u64) -> String>,
    /// Labels: turns the number of a bit into its name.
    pub labels: Option<&'a dyn Fn(u32) -> Option<String>>,
}

/// How old an entry of a table is, after its line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Age {
    /// Seconds until it is forgotten, where entries are.
    pub expires_s: Option<u64>,
    /// Seconds since it was entered.
    pub active_s: u64,
}

/// The cause of an event, after its line. Nothing is printed for the kernel itself (port id 0).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Netlink port id.
    pub portid: u32,
    /// Name of the program.
    pub program: Option<&'a str>,
}

impl Line<'_> {
    /// As the daemon shows its tables: nothing that belongs to one reading of a flow.
    pub const TABLE: Self = Line {
        layer3: false,
        timeout: false,
        counters: false,
        use_count: false,
        id: false,
        now_ns: None,
        date: None,
        labels: None,
    };

    /// As the daemon logs flows that ended.
    pub const ENDED: Self = Line { counters: true, ..Self::TABLE };

    /// As a listing of the kernel's table; ages need [`now_ns`](Self::now_ns) on top.
    pub const LIST: Self = Line { timeout: true, counters: true, use_count: true, ..Self::TABLE };

    /// Prints a flow, without line end.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn flow(&self, out: &mut (impl Write + ?Sized), flow: &Flow) -> fmt::Result {
        let extra = flow.extra.as_deref();
        if self.layer3 {
            out.write_str(if flow.orig.family == FAMILY_IPV6 {
                "ipv6     10 "
            } else {
                "ipv4     2 "
            })?;
        }
        protocol(out, flow.orig.proto)?;
        if self.timeout && flow.has(Known::TIMEOUT) {
            write!(out, " {}", flow.timeout_s)?;
        }
        if let Some(state) = state::name(&flow.proto) {
            write!(out, " {state}")?;
        }
        self.direction(out, &flow.orig, extra, 0)?;
        if flow.has(Known::STATUS) && !flow.status.contains(Status::SEEN_REPLY) {
            out.write_str(" [UNREPLIED]")?;
        }
        if flow.reply.is_known() {
            self.direction(out, &flow.reply, extra, 1)?;
        }
        self.both(out, flow, extra.unwrap_or(&Extra::default()))
    }

    /// One direction: tuple, zone, counters.
    fn direction(
        &self,
        out: &mut (impl Write + ?Sized),
        tuple: &Tuple,
        extra: Option<&Extra>,
        at: usize,
    ) -> fmt::Result {
        write!(out, " src={} dst={}", Address::src(tuple), Address::dst(tuple))?;
        layer4(out, tuple)?;
        let Some(extra) = extra else { return Ok(()) };
        if let Some(zone) = extra.zones[at] {
            write!(out, " zone-{}={zone}", ["orig", "reply"][at])?;
        }
        match extra.counters[at] {
            Some(Counters { packets, bytes }) if self.counters => {
                write!(out, " packets={packets} bytes={bytes}")
            }
            _ => Ok(()),
        }
    }

    /// What belongs to no direction.
    fn both(&self, out: &mut (impl Write + ?Sized), flow: &Flow, extra: &Extra) -> fmt::Result {
        out.write_str(fate(flow))?;
        if flow.has(Known::MARK) {
            write!(out, " mark={}", flow.mark)?;
        }
        if let Some(secmark) = extra.secmark {
            write!(out, " secmark={secmark}")?;
        }
        if let Some(secctx) = &extra.secctx {
            let text = String::from_utf8_lossy(secctx);
            write!(out, " secctx={}", Tame(text.trim_end_matches('\0')))?;
        }
        if flow.has(Known::ZONE) {
            write!(out, " zone={}", flow.zone)?;
        }
        if let Some(times) = &extra.timestamps {
            self.times(out, times)?;
        }
        if let Some(helper) = &extra.helper {
            write!(out, " helper={}", Name(helper.as_str()))?;
        }
        if let Some(count) = extra.use_count.filter(|_| self.use_count) {
            write!(out, " use={count}")?;
        }
        if self.id && flow.has(Known::ID) {
            write!(out, " id={}", flow.id)?;
        }
        self.label_names(out, extra)
    }

    fn times(&self, out: &mut (impl Write + ?Sized), times: &Timestamps) -> fmt::Result {
        if let Some(age) = self.now_ns.and_then(|now_ns| age_s(times, now_ns)) {
            write!(out, " delta-time={age}")?;
        }
        let Some(date) = self.date else { return Ok(()) };
        for (name, at_ns) in [("start", times.start_ns), ("stop", times.stop_ns)] {
            if at_ns != 0 {
                write!(out, " [{name}={}]", date(at_ns / SECOND_NS))?;
            }
        }
        Ok(())
    }

    fn label_names(&self, out: &mut (impl Write + ?Sized), extra: &Extra) -> fmt::Result {
        let (Some(name), Some(words)) = (self.labels, &extra.labels) else { return Ok(()) };
        for (i, label) in label_bits(words).filter_map(name).enumerate() {
            write!(out, "{}{}", if i == 0 { " labels=" } else { "," }, Name(&label))?;
        }
        Ok(())
    }
}

/// Prints an expectation, without line end. Its timeout is left out if `timeout` is false.
///
/// # Errors
/// Those of `out`.
pub fn expectation(
    out: &mut (impl Write + ?Sized),
    expectation: &Expectation,
    timeout: bool,
) -> fmt::Result {
    if let Some(timeout_s) = expectation.timeout_s.filter(|_| timeout) {
        write!(out, "{timeout_s} ")?;
    }
    write!(out, "proto={}", expectation.tuple.proto)?;
    let tuples =
        [("", &expectation.tuple), ("mask-", &expectation.mask), ("master-", &expectation.master)];
    for (prefix, tuple) in tuples {
        write!(out, " {prefix}src={} {prefix}dst={}", Address::src(tuple), Address::dst(tuple))?;
        layer4(out, tuple)?;
    }
    if let Some(zone) = expectation.zone {
        write!(out, " zone={zone}")?;
    }
    expectation_flags(out, expectation.flags.unwrap_or(0))?;
    if let Some(class) = expectation.class {
        write!(out, " class={class}")?;
    }
    match &expectation.helper {
        Some(helper) => write!(out, " helper={}", Name(helper.as_str())),
        None => Ok(()),
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(expires_s) = self.expires_s {
            write!(f, " [expires in {expires_s}s]")?;
        }
        write!(f, " [active since {}s]", self.active_s)
    }
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.portid == 0 {
            return Ok(());
        }
        write!(f, " [USERSPACE] portid={}", self.portid)?;
        self.program.map_or(Ok(()), |program| write!(f, " progname={}", Tame(program)))
    }
}

/// Name in eight columns, and number.
fn protocol(out: &mut (impl Write + ?Sized), proto: u8) -> fmt::Result {
    write!(out, "{:<8} {proto}", proto_name(proto).unwrap_or("unknown"))
}

fn layer4(out: &mut (impl Write + ?Sized), tuple: &Tuple) -> fmt::Result {
    let (src, dst) = tuple.ports();
    if tuple.has_ports() {
        write!(out, " sport={src} dport={dst}")
    } else if tuple.proto == ipproto::GRE {
        write!(out, " srckey={src:#x} dstkey={dst:#x}")
    } else if tuple.is_icmp() {
        let (id, kind, code) = tuple.icmp();
        write!(out, " type={kind} code={code} id={id}")
    } else {
        Ok(())
    }
}

/// The strongest of the bits that say how the kernel treats the flow.
fn fate(flow: &Flow) -> &'static str {
    let status = if flow.has(Known::STATUS) { flow.status } else { Status::empty() };
    let names = [
        (Status::HW_OFFLOAD, " [HW_OFFLOAD]"),
        (Status::OFFLOAD, " [OFFLOAD]"),
        (Status::ASSURED, " [ASSURED]"),
    ];
    names.iter().find(|(bit, _)| status.contains(*bit)).map_or("", |(_, name)| name)
}

fn expectation_flags(out: &mut (impl Write + ?Sized), flags: u32) -> fmt::Result {
    let names = [
        (expectation::flag::PERMANENT, "PERMANENT"),
        (expectation::flag::INACTIVE, "INACTIVE"),
        (expectation::flag::USERSPACE, "USERSPACE"),
    ];
    let set = names.iter().filter(|(bit, _)| flags & bit != 0);
    for (i, (_, name)) in set.enumerate() {
        write!(out, "{}{name}", if i == 0 { " " } else { "," })?;
    }
    Ok(())
}
