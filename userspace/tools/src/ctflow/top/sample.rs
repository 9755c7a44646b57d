//! What one walk over the table found.

use super::meter::{Churn, Meter, Reading};
use ctnetlink::Flow;
use ctnetlink::flow::Status;
use ctnetlink::tuple::ipproto;
use std::collections::BTreeMap;
use std::time::Duration;

/// Default limit of flows that are kept as rows.
pub const FLOWS_MAX: usize = 1_000_000;

/// A flow and its rates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// As the walk read it.
    pub flow: Flow,
    /// Its rates.
    pub reading: Reading,
}

impl Row {
    /// Bits a second towards who began the flow: of the reply direction.
    #[must_use]
    pub const fn in_bps(&self) -> Option<u64> {
        self.reading.reply_bps
    }

    /// Bits a second from who began the flow: of the original direction.
    #[must_use]
    pub const fn out_bps(&self) -> Option<u64> {
        self.reading.orig_bps
    }

    /// Whether packets of it pass by a flow table, which may not count them.
    #[must_use]
    pub const fn is_offloaded(&self) -> bool {
        self.flow.status.intersects(Status::OFFLOAD.union(Status::HW_OFFLOAD))
    }

    /// Seconds since it began, where the kernel notes that. `now_ns` is the wall clock.
    #[must_use]
    pub fn age_s(&self, now_ns: u64) -> Option<u64> {
        let begun = self.flow.extra.as_deref()?.timestamps?.start_ns;
        (begun != 0).then(|| now_ns.saturating_sub(begun) / 1_000_000_000)
    }
}

/// Who is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// The kernel.
    #[default]
    Kernel,
    /// The table of a daemon, which holds no counters.
    Daemon,
}

impl Origin {
    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Daemon => "daemon",
        }
    }
}

/// Numbers over all flows of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Flows.
    pub flows: u64,
    /// TCP flows.
    pub tcp: u64,
    /// UDP flows.
    pub udp: u64,
    /// Flows of other protocols.
    pub other: u64,
    /// Bits a second of the reply directions of flows that have rates; `None` if no flow has.
    pub in_bps: Option<u64>,
    /// The same of the original directions.
    pub out_bps: Option<u64>,
    /// Flows by zone.
    pub zones: BTreeMap<u16, u64>,
}

impl Totals {
    /// Counts a flow.
    pub fn add(&mut self, flow: &Flow, reading: &Reading) {
        self.flows += 1;
        match flow.orig.proto {
            ipproto::TCP => self.tcp += 1,
            ipproto::UDP => self.udp += 1,
            _ => self.other += 1,
        }
        for (sum, rate) in
            [(&mut self.in_bps, reading.reply_bps), (&mut self.out_bps, reading.orig_bps)]
        {
            add_rate(sum, rate);
        }
        *self.zones.entry(flow.zone).or_default() += 1;
    }
}

/// Adds a rate to a sum, which is known as soon as one of its parts is.
pub fn add_rate(sum: &mut Option<u64>, rate: Option<u64>) {
    if let Some(rate) = rate {
        *sum = Some(sum.unwrap_or(0).saturating_add(rate));
    }
}

/// The kernel's own counters of failures, over all CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// `drop`: packets dropped because the table was full.
    pub table_full: u64,
    /// `early_drop`: flows evicted to make room.
    pub evicted: u64,
    /// `insert_failed`.
    pub insert_failed: u64,
    /// `clash_resolve`.
    pub clash: u64,
    /// `invalid`: packets that no flow takes.
    pub invalid: u64,
}

/// What is known of the machine beside its flows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub host: String,
    /// How the daemon stands: `exact, ready`, or `none`.
    pub daemon: String,
    /// Events that the daemon lost; `None` without one.
    pub events_lost: Option<u64>,
    /// The most flows the kernel takes.
    pub flows_max: Option<u64>,
    /// What failed since the machine began.
    pub failures: Option<Failures>,
    /// Whether the kernel counts packets and bytes.
    pub is_counted: bool,
}

/// What one walk found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// When it began: wall clock, nanoseconds since 1970.
    pub time_ns: u64,
    /// How long it took.
    pub took: Duration,
    /// Who was asked.
    pub origin: Origin,
    /// Whether every flow was read.
    pub is_whole: bool,
    /// The flows, as many as are kept.
    pub rows: Vec<Row>,
    /// Flows beyond these: counted, and neither shown nor grouped.
    pub left_out: u64,
    /// Flows without counters: the kernel counts only flows that began while accounting was on.
    pub uncounted: u64,
    /// What came and went.
    pub churn: Churn,
    /// Numbers over all flows.
    pub totals: Totals,
    /// The machine.
    pub machine: Machine,
    /// Its failures at the walk before.
    pub failures_before: Option<Failures>,
    /// What the source says of itself.
    pub notes: Vec<String>,
}

impl Sample {
    /// Whether the numbers are of every flow: read, kept and metered.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        self.is_whole && self.left_out == 0 && self.churn.unmetered == 0
    }
}

/// Makes samples of walks.
#[derive(Debug)]
pub struct Sampler {
    meter: Meter,
    rows_max: usize,
    failures: Option<Failures>,
    sample: Sample,
}

impl Sampler {
    /// Keeps and meters so many flows.
    #[must_use]
    pub fn new(flows_max: usize) -> Self {
        Self {
            meter: Meter::new(flows_max),
            rows_max: flows_max,
            failures: None,
            sample: Sample::default(),
        }
    }

    /// A walk begins; `at` on a clock that does not jump, `time_ns` the wall clock.
    pub fn begin(&mut self, at: Duration, time_ns: u64, origin: Origin) {
        self.meter.begin(at);
        self.sample = Sample { time_ns, origin, ..Sample::default() };
    }

    /// Takes a flow.
    pub fn take(&mut self, flow: Flow) {
        let Some(reading) = self.meter.see(&flow) else { return };
        self.sample.totals.add(&flow, &reading);
        let counters = flow.extra.as_deref().map_or([None; 2], |extra| extra.counters);
        self.sample.uncounted += u64::from(counters.contains(&None));
        if self.sample.rows.len() < self.rows_max {
            self.sample.rows.push(Row { flow, reading });
        } else {
            self.sample.left_out += 1;
        }
    }

    /// The walk has ended; `is_whole` says that it saw every flow.
    pub fn end(&mut self, took: Duration, is_whole: bool, machine: Machine) -> Sample {
        let failures_before = std::mem::replace(&mut self.failures, machine.failures);
        let churn = self.meter.end(is_whole);
        let sample = std::mem::take(&mut self.sample);
        Sample { took, is_whole, churn, machine, failures_before, ..sample }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctnetlink::Tuple;
    use ctnetlink::flow::{Counters, Timestamps};

    fn flow(port: u16, proto: u8, bytes: u64) -> Flow {
        let orig = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], proto).with_ports(port, 80);
        let mut flow = Flow { zone: port % 2, ..Flow::new(orig) };
        let counters = Some(Counters { packets: 1, bytes });
        flow.extra_mut().counters = [counters, counters];
        flow
    }

    #[test]
    fn totals_are_of_all_flows_and_rows_of_those_that_are_kept() {
        let mut sampler = Sampler::new(2);
        for (s, bytes) in [(0, 0), (1, 1000)] {
            sampler.begin(Duration::from_secs(s), 7, Origin::Kernel);
            for (port, proto) in [(1, 6), (2, 17), (3, 47)] {
                sampler.take(flow(port, proto, bytes));
            }
            let sample = sampler.end(Duration::ZERO, true, Machine::default());
            let Totals { flows, tcp, udp, other, in_bps, ref zones, .. } = sample.totals;
            assert_eq!((flows, tcp, udp, other), (3, 1, 1, 1));
            assert_eq!((sample.rows.len(), sample.left_out, sample.is_exact()), (2, 1, false));
            assert_eq!(zones.clone().into_iter().collect::<Vec<_>>(), [(0, 1), (1, 2)]);
            // Two of three found room in the meter.
            assert_eq!(in_bps, (s == 1).then_some(16_000));
            assert_eq!((sample.churn.unmetered, sample.uncounted), (1, 0));
        }
    }

    #[test]
    fn flows_that_the_kernel_does_not_count_are_told() {
        let mut sampler = Sampler::new(2);
        sampler.begin(Duration::ZERO, 7, Origin::Kernel);
        sampler.take(flow(1, 6, 0));
        sampler.take(Flow::new(Tuple::v4([1; 4], [2; 4], 6)));
        assert_eq!(sampler.end(Duration::ZERO, true, Machine::default()).uncounted, 1);
    }

    #[test]
    fn failures_are_compared_with_the_walk_before() {
        let mut sampler = Sampler::new(2);
        let failed = |invalid| Some(Failures { invalid, ..Failures::default() });
        let mut walk = |invalid| {
            sampler.begin(Duration::ZERO, 0, Origin::Kernel);
            let machine = Machine { failures: failed(invalid), ..Machine::default() };
            sampler.end(Duration::ZERO, true, machine).failures_before
        };
        assert_eq!([walk(1), walk(5)], [None, failed(1)]);
    }

    #[test]
    fn an_age_is_known_where_the_kernel_notes_times() {
        let mut row = Row { flow: flow(1, 6, 0), reading: Reading::default() };
        assert_eq!(row.age_s(90_000_000_000), None);
        row.flow.extra_mut().timestamps = Some(Timestamps { start_ns: 5_500_000_000, stop_ns: 0 });
        assert_eq!((row.age_s(90_000_000_000), row.age_s(1)), (Some(84), Some(0)));
    }
}
