//! XML: a flow or an expectation as one `<flow>` element on one line.
//!
//! ```text
//! <?xml version="1.0" encoding="utf-8"?>      HEAD, with the root of what is listed: <conntrack> or <expect>
//! <conntrack>
//! <flow><meta direction="original">...</meta><meta direction="reply">...</meta><meta direction="independent">...
//! </conntrack>
//! ```
//!
//! An element appears if the flow has what it is about and the [`Xml`] wants it.

use crate::print::address::Address;
use crate::print::tame;
use crate::print::{label_bits, lifetime_s, state};
use ctnetlink::flow::{Extra, Flow, Known, Status, Timestamps, proto_name};
use ctnetlink::tuple::{FAMILY_IPV4, FAMILY_IPV6, ipproto};
use ctnetlink::{Change, Expectation, Tuple, expectation};
use std::fmt::{self, Display, Write};

/// Stands before the first element of a document, and then the root of it.
pub const HEAD: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>";

/// The element around all others of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// The root of a list of flows.
    Conntrack,
    /// The root of a list of expectations.
    Expect,
}

/// The elements that there may be beyond those that are always there.
#[derive(Clone, Copy, Default)]
pub struct Xml<'a> {
    /// What happened, in a listing of events.
    pub tag: Option<Change>,
    /// Seconds until it expires.
    pub timeout: bool,
    /// Packets and bytes.
    pub counters: bool,
    /// Reference count.
    pub use_count: bool,
    /// Start and stop time.
    pub timestamps: bool,
    /// Age of flows with a start time, measured against this wall clock if they have not ended. Nanoseconds since
    /// 1970.
    pub now_ns: Option<u64>,
    /// When the line is printed.
    pub when: Option<When>,
    /// Labels: turns the number of a bit into its name.
    pub labels: Option<&'a dyn Fn(u32) -> Option<String>>,
}

/// A local date and time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// Hour, 0 to 23.
    pub hour: u8,
    /// Minute, 0 to 59.
    pub min: u8,
    /// Second, 0 to 60.
    pub sec: u8,
    /// Day of the week, Sunday is 1.
    pub wday: u8,
    /// Day of the month.
    pub day: u8,
    /// Month, January is 1.
    pub month: u8,
    /// The year.
    pub year: i32,
}

impl Xml<'_> {
    /// As the daemon shows its tables: nothing that belongs to one reading of a flow.
    pub const TABLE: Self = Xml {
        tag: None,
        timeout: false,
        counters: false,
        use_count: false,
        timestamps: false,
        now_ns: None,
        when: None,
        labels: None,
    };

    /// As a listing of the kernel's table; ages need [`now_ns`](Self::now_ns) on top.
    pub const LIST: Self = Xml { timeout: true, counters: true, use_count: true, ..Self::TABLE };

    /// Prints a flow, without line end.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn flow(&self, out: &mut (impl Write + ?Sized), flow: &Flow) -> fmt::Result {
        let none = Extra::default();
        let extra = flow.extra.as_deref().unwrap_or(&none);
        self.open(out)?;
        self.direction(out, "original", &flow.orig, extra, 0)?;
        self.direction(out, "reply", &flow.reply, extra, 1)?;
        self.independent(out, flow, extra)?;
        self.when(out)?;
        if let Some(helper) = &extra.helper {
            element(out, "helper", tame::Xml(helper.as_str()))?;
        }
        out.write_str("</flow>")
    }

    /// Prints an expectation, without line end.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn expectation(
        &self,
        out: &mut (impl Write + ?Sized),
        expectation: &Expectation,
    ) -> fmt::Result {
        let proto = expectation.tuple.proto;
        let tuples = [
            ("expected", &expectation.tuple),
            ("mask", &expectation.mask),
            ("master", &expectation.master),
        ];
        self.open(out)?;
        layer3_head(out, expectation.tuple.family)?;
        for (name, tuple) in tuples {
            write!(out, "<{name}>")?;
            addresses(out, tuple)?;
            write!(out, "</{name}>")?;
        }
        out.write_str("</layer3>")?;
        layer4_head(out, proto)?;
        for (name, tuple) in tuples {
            write!(out, "<{name}>")?;
            ports(out, tuple)?;
            write!(out, "</{name}>")?;
        }
        out.write_str("</layer4>")?;
        self.expectation_meta(out, expectation)?;
        out.write_str("</flow>")
    }

    fn open(&self, out: &mut (impl Write + ?Sized)) -> fmt::Result {
        match self.tag {
            None => out.write_str("<flow>"),
            Some(Change::New) => out.write_str("<flow type=\"new\">"),
            Some(Change::Update) => out.write_str("<flow type=\"update\">"),
            Some(Change::Destroy) => out.write_str("<flow type=\"destroy\">"),
        }
    }

    fn direction(
        &self,
        out: &mut (impl Write + ?Sized),
        name: &str,
        tuple: &Tuple,
        extra: &Extra,
        at: usize,
    ) -> fmt::Result {
        write!(out, "<meta direction=\"{name}\">")?;
        if tuple.is_known() {
            layer3_head(out, tuple.family)?;
            addresses(out, tuple)?;
        } else {
            out.write_str("<layer3 protonum=\"0\" protoname=\"unknown\"><src></src><dst></dst>")?;
        }
        out.write_str("</layer3>")?;
        layer4_head(out, tuple.proto)?;
        ports(out, tuple)?;
        out.write_str("</layer4>")?;
        if let Some(zone) = extra.zones[at] {
            element(out, "zone", zone)?;
        }
        if let Some(counters) = extra.counters[at].filter(|_| self.counters) {
            out.write_str("<counters>")?;
            element(out, "packets", counters.packets)?;
            element(out, "bytes", counters.bytes)?;
            out.write_str("</counters>")?;
        }
        out.write_str("</meta>")
    }

    /// What belongs to no direction.
    fn independent(
        &self,
        out: &mut (impl Write + ?Sized),
        flow: &Flow,
        extra: &Extra,
    ) -> fmt::Result {
        out.write_str("<meta direction=\"independent\">")?;
        if let Some(state) = state::name(&flow.proto) {
            element(out, "state", state)?;
        }
        if self.timeout && flow.has(Known::TIMEOUT) {
            element(out, "timeout", flow.timeout_s)?;
        }
        if flow.has(Known::MARK) {
            element(out, "mark", flow.mark)?;
        }
        self.label_names(out, extra)?;
        if let Some(secmark) = extra.secmark {
            element(out, "secmark", secmark)?;
        }
        if let Some(secctx) = &extra.secctx {
            let text = String::from_utf8_lossy(secctx);
            element(out, "secctx", tame::Xml(text.trim_end_matches('\0')))?;
        }
        if flow.has(Known::ZONE) {
            element(out, "zone", flow.zone)?;
        }
        if let Some(count) = extra.use_count.filter(|_| self.use_count) {
            element(out, "use", count)?;
        }
        if flow.has(Known::ID) {
            element(out, "id", flow.id)?;
        }
        if flow.has(Known::STATUS) {
            out.write_str(if flow.status.contains(Status::ASSURED) { "<assured/>" } else { "" })?;
            let replied = flow.status.contains(Status::SEEN_REPLY);
            out.write_str(if replied { "" } else { "<unreplied/>" })?;
        }
        if let Some(times) = &extra.timestamps {
            self.times(out, times)?;
        }
        out.write_str("</meta>")
    }

    fn times(&self, out: &mut (impl Write + ?Sized), times: &Timestamps) -> fmt::Result {
        if self.timestamps && times.start_ns != 0 {
            out.write_str("<timestamp>")?;
            element(out, "start", times.start_ns)?;
            if times.stop_ns != 0 {
                element(out, "stop", times.stop_ns)?;
            }
            out.write_str("</timestamp>")?;
        }
        match self.now_ns.and_then(|now_ns| lifetime_s(times, now_ns)) {
            Some(age) => element(out, "deltatime", age),
            None => Ok(()),
        }
    }

    fn label_names(&self, out: &mut (impl Write + ?Sized), extra: &Extra) -> fmt::Result {
        let (Some(name), Some(words)) = (self.labels, &extra.labels) else { return Ok(()) };
        let names: Vec<String> = label_bits(words).filter_map(name).collect();
        if names.is_empty() {
            return Ok(());
        }
        out.write_str("<labels>")?;
        for name in &names {
            element(out, "label", tame::Xml(name))?;
        }
        out.write_str("</labels>")
    }

    fn when(&self, out: &mut (impl Write + ?Sized)) -> fmt::Result {
        let Some(When { hour, min, sec, wday, day, month, year }) = self.when else {
            return Ok(());
        };
        write!(out, "<when><hour>{hour}</hour><min>{min:02}</min><sec>{sec:02}</sec>")?;
        write!(out, "<wday>{wday}</wday><day>{day}</day><month>{month}</month>")?;
        write!(out, "<year>{year}</year></when>")
    }

    fn expectation_meta(
        &self,
        out: &mut (impl Write + ?Sized),
        expectation: &Expectation,
    ) -> fmt::Result {
        out.write_str("<meta>")?;
        if let Some(helper) = &expectation.helper {
            element(out, "helper-name", tame::Xml(helper.as_str()))?;
        }
        if let Some(timeout_s) = expectation.timeout_s.filter(|_| self.timeout) {
            element(out, "timeout", timeout_s)?;
        }
        if let Some(class) = expectation.class {
            element(out, "class", class)?;
        }
        if let Some(zone) = expectation.zone {
            element(out, "zone", zone)?;
        }
        self.when(out)?;
        let flags = expectation.flags.unwrap_or(0);
        for (bit, name) in [
            (expectation::flag::PERMANENT, "<permanent/>"),
            (expectation::flag::INACTIVE, "<inactive/>"),
            (expectation::flag::USERSPACE, "<userspace/>"),
        ] {
            out.write_str(if flags & bit == 0 { "" } else { name })?;
        }
        out.write_str("</meta>")
    }
}

impl Root {
    /// Its begin tag.
    #[must_use]
    pub const fn begin(self) -> &'static str {
        match self {
            Self::Conntrack => "<conntrack>",
            Self::Expect => "<expect>",
        }
    }

    /// Its end tag.
    #[must_use]
    pub const fn end(self) -> &'static str {
        match self {
            Self::Conntrack => "</conntrack>",
            Self::Expect => "</expect>",
        }
    }
}

impl When {
    /// Makes it of the text that `ctime(3)` gives, `Mon Nov 23 16:51:23 2026`; `None` if it is something else.
    #[must_use]
    pub fn from_ctime(text: &str) -> Option<Self> {
        const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let place = |names: &[&str], name: &str| {
            names.iter().position(|known| *known == name).map(|at| at as u8 + 1)
        };
        let words: Vec<_> = text.split_whitespace().collect();
        let [wday, month, day, time, year] = words.as_slice() else { return None };
        let mut time = time.split(':').map_while(|part| part.parse().ok());
        Some(Self {
            hour: time.next()?,
            min: time.next()?,
            sec: time.next()?,
            wday: place(&DAYS, wday)?,
            day: day.parse().ok()?,
            month: place(&MONTHS, month)?,
            year: year.parse().ok()?,
        })
    }
}

fn element(out: &mut (impl Write + ?Sized), name: &str, value: impl Display) -> fmt::Result {
    write!(out, "<{name}>{value}</{name}>")
}

fn layer3_head(out: &mut (impl Write + ?Sized), family: u8) -> fmt::Result {
    let name = match family {
        FAMILY_IPV4 => "ipv4",
        FAMILY_IPV6 => "ipv6",
        _ => "unknown",
    };
    write!(out, "<layer3 protonum=\"{family}\" protoname=\"{name}\">")
}

fn addresses(out: &mut (impl Write + ?Sized), tuple: &Tuple) -> fmt::Result {
    element(out, "src", Address::src(tuple))?;
    element(out, "dst", Address::dst(tuple))
}

fn layer4_head(out: &mut (impl Write + ?Sized), proto: u8) -> fmt::Result {
    let name = proto_name(proto).unwrap_or("unknown");
    write!(out, "<layer4 protonum=\"{proto}\" protoname=\"{name}\">")
}

fn ports(out: &mut (impl Write + ?Sized), tuple: &Tuple) -> fmt::Result {
    let (src, dst) = tuple.ports();
    if tuple.has_ports() {
        write!(out, "<sport>{src}</sport><dport>{dst}</dport>")
    } else if tuple.proto == ipproto::GRE {
        write!(out, "<srckey>{src:#x}</srckey><dstkey>{dst:#x}</dstkey>")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
