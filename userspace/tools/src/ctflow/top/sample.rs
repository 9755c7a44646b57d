//! What there is at a moment: what one walk over the table found, or what the mirror holds.

use super::meter::{Churn, Meter, Reading};
use super::mirror::Passed;
use super::mode::{Lapse, Mode, Origin};
use super::row::{Held, Row};
use crate::print::status::Status;
use ctnetlink::Flow;
use ctnetlink::tuple::ipproto;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Default limit of flows that are kept as rows.
pub const FLOWS_MAX: usize = 1_000_000;

/// Numbers over all flows of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many flows.
    pub flows: u64,
    /// TCP flows.
    pub tcp: u64,
    /// UDP flows.
    pub udp: u64,
    /// Flows of other protocols.
    pub other: u64,
    /// Bits a second of the reply directions of flows that have rates; `None` if no flow has.
    pub in_bps: Option<u64>,
    /// The rate of the original directions.
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

impl Machine {
    /// Takes what a daemon says of itself.
    pub fn take_status(&mut self, status: &Status) {
        let ready = if status.ready { "ready" } else { "not ready" };
        self.daemon = format!("{}, {ready}", status.work.state);
        self.events_lost = Some(status.events.lost);
    }
}

/// What there is at a moment.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// When the walk began, or the turn of the mirror ended: wall clock, nanoseconds since 1970.
    pub time_ns: u64,
    /// How long the walk took; of the mirror, the reading of the kernel's counters.
    pub took: Duration,
    /// How the table is known.
    pub mode: Mode,
    /// Why it is not the mirror, or the mirror is behind; `None` where all is as it should be.
    pub lapse: Option<Lapse>,
    /// The source of the sample.
    pub origin: Origin,
    /// Whether every flow was read.
    pub is_whole: bool,
    /// The flows of a walk, as many as are kept.
    pub rows: Vec<Row>,
    /// The mirror, instead of `rows`.
    pub held: Option<Held>,
    /// Flows of the mirror that began and went since the turn before.
    pub passed: Arc<[Passed]>,
    /// Time between the two readings of counters that rates come from, if there are two.
    pub rated: Option<Duration>,
    /// Why counters are not read.
    pub unread: Option<String>,
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
    /// Whether the numbers are of every flow: read, kept and, in a walk, metered.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        let is_metered = self.churn.unmetered == 0 || matches!(self.mode, Mode::Mirror);
        self.is_whole && self.left_out == 0 && is_metered
    }

    /// Hands out flows that came and went since the sample before, as far as they are kept.
    pub fn each_passed(&self, mut each: impl FnMut(&Row)) {
        for Passed { flow, began_ns } in self.passed.iter() {
            let reading = Reading { is_new: true, ..Reading::default() };
            let began_ns = Some(*began_ns).filter(|began| *began != 0);
            each(&Row { flow: flow.clone(), reading, began_ns });
        }
    }

    /// Hands out the flows, as far as they are kept.
    pub fn each(&self, each: impl FnMut(&Row)) {
        match &self.held {
            Some(held) => held.each(each),
            None => self.rows.iter().for_each(each),
        }
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
            self.sample.rows.push(Row::new(flow, reading));
        } else {
            self.sample.left_out += 1;
        }
    }

    /// The walk has ended; `is_whole` says that it saw every flow.
    pub fn end(&mut self, took: Duration, is_whole: bool, machine: Machine) -> Sample {
        let failures_before = std::mem::replace(&mut self.failures, machine.failures);
        let churn = self.meter.end(is_whole);
        let (rated, sample) = (churn.interval, std::mem::take(&mut self.sample));
        Sample { took, is_whole, churn, rated, machine, failures_before, ..sample }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctnetlink::Tuple;
    use ctnetlink::flow::Counters;

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
    fn flows_that_the_kernel_does_not_count_are_counted_apart() {
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
}
