//! Rates of flows: what the kernel's counters gained between two walks over the table.
//!
//! ```text
//!  walk n     flow --> now    { name of the flow: bytes of both directions }
//!  walk n+1   flow --> before ^ the difference, divided by the time between the walks
//! ```
//!
//! Nothing is guessed: a flow whose counters went back, or of which the walk before knew nothing although it existed,
//! has no rate in this interval.

use ctnetlink::Flow;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

/// Default limit of flows that are metered at once.
pub const METERED_MAX: usize = 1_000_000;

/// What one walk says of a flow, beside the walk before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Bits a second of the original direction.
    pub orig_bps: Option<u64>,
    /// Bits a second of the reply direction.
    pub reply_bps: Option<u64>,
    /// The flow began since the walk before.
    pub is_new: bool,
}

/// What came of a walk as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Churn {
    /// Time since the walk before; `None` in the first one.
    pub interval: Option<Duration>,
    /// Flows that began since the walk before; those that ended meanwhile are not seen. `None` if that is not known.
    pub began: Option<u64>,
    /// Flows that ended since the walk before, if that is known.
    pub ended: Option<u64>,
    /// Flows that found no room in the meter.
    pub unmetered: u64,
}

/// Bytes of the original and the reply direction; `None` where the kernel does not count.
type Bytes = Option<[u64; 2]>;

/// Counters of the last two walks.
#[derive(Debug)]
pub struct Meter {
    hasher: RandomState,
    room: usize,
    before: HashMap<u64, Bytes>,
    now: HashMap<u64, Bytes>,
    /// When the walk began, on a clock that does not jump.
    at: Duration,
    interval: Option<Duration>,
    /// The walk before saw every flow.
    whole_before: bool,
    went_on: u64,
    began: u64,
    unmetered: u64,
}

impl Meter {
    /// A meter for so many flows.
    #[must_use]
    pub fn new(room: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            room,
            before: HashMap::new(),
            now: HashMap::new(),
            at: Duration::ZERO,
            interval: None,
            whole_before: false,
            went_on: 0,
            began: 0,
            unmetered: 0,
        }
    }

    /// A walk begins. `at` is the time on a clock that does not jump.
    pub fn begin(&mut self, at: Duration) {
        let is_first = self.before.is_empty() && !self.whole_before;
        self.interval = (!is_first).then(|| at.saturating_sub(self.at));
        self.at = at;
        self.now.clear();
        (self.went_on, self.began, self.unmetered) = (0, 0, 0);
    }

    /// Reads a flow; `None` if this walk has shown it already.
    pub fn see(&mut self, flow: &Flow) -> Option<Reading> {
        let name = self.hasher.hash_one((flow.key(), flow.id));
        if self.now.contains_key(&name) {
            return None;
        }
        let bytes = bytes(flow);
        let before = self.before.get(&name).copied();
        let is_new = before.is_none() && self.interval.is_some() && self.whole_before;
        self.went_on += u64::from(before.is_some());
        self.began += u64::from(is_new);
        if self.now.len() < self.room {
            self.now.insert(name, bytes);
        } else {
            self.unmetered += 1;
        }
        let gained = match (before, bytes) {
            (Some(Some(before)), Some(now)) => gained(before, now),
            // All that a flow counted, it counted since the walk before.
            (None, Some(now)) if is_new => Some(now),
            _ => None,
        };
        let rate = |bytes: u64| self.interval.and_then(|interval| rate_bps(bytes, interval));
        let [orig_bps, reply_bps] = gained.map_or([None; 2], |gained| gained.map(rate));
        Some(Reading { orig_bps, reply_bps, is_new })
    }

    /// The walk has ended; `whole` says that it saw every flow of the table.
    pub fn end(&mut self, whole: bool) -> Churn {
        let known = self.interval.is_some() && self.whole_before;
        let churn = Churn {
            interval: self.interval,
            began: known.then_some(self.began),
            ended: (known && whole).then(|| self.before.len() as u64 - self.went_on),
            unmetered: self.unmetered,
        };
        self.whole_before = whole && self.unmetered == 0;
        std::mem::swap(&mut self.before, &mut self.now);
        churn
    }
}

fn bytes(flow: &Flow) -> Bytes {
    let [orig, reply] = flow.extra.as_deref()?.counters;
    Some([orig?.bytes, reply?.bytes])
}

/// `None` if a counter went back: another program set the flow's counters to zero.
pub(super) fn gained(before: [u64; 2], now: [u64; 2]) -> Option<[u64; 2]> {
    Some([now[0].checked_sub(before[0])?, now[1].checked_sub(before[1])?])
}

pub(super) fn rate_bps(bytes: u64, interval: Duration) -> Option<u64> {
    let bits_ms = u128::from(bytes) * 8000;
    let rate = bits_ms.checked_div(interval.as_millis())?;
    Some(u64::try_from(rate).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctnetlink::Tuple;
    use ctnetlink::flow::Counters;

    fn flow(port: u16, id: u32, counted: Option<[u64; 2]>) -> Flow {
        let orig = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 6).with_ports(port, 80);
        let mut flow = Flow { id, reply: orig.inverted(), ..Flow::new(orig) };
        if let Some(counted) = counted {
            let counters = |bytes| Some(Counters { packets: 1, bytes });
            flow.extra_mut().counters = counted.map(counters);
        }
        flow
    }

    fn walk(meter: &mut Meter, s: u64, flows: &[Flow]) -> (Vec<Reading>, Churn) {
        meter.begin(Duration::from_secs(s));
        let readings = flows.iter().filter_map(|flow| meter.see(flow)).collect();
        (readings, meter.end(true))
    }

    #[test]
    fn a_rate_is_what_the_counters_gained_in_bits_a_second() {
        let mut meter = Meter::new(10);
        let (first, churn) = walk(&mut meter, 10, &[flow(1, 1, Some([1000, 9000]))]);
        assert_eq!(first, [Reading::default()], "one walk has no rate");
        assert_eq!(churn, Churn::default());
        let (second, churn) = walk(&mut meter, 12, &[flow(1, 1, Some([1500, 10_000]))]);
        let expected = Reading { orig_bps: Some(2000), reply_bps: Some(4000), is_new: false };
        assert_eq!(second, [expected]);
        let interval = Some(Duration::from_secs(2));
        assert_eq!(churn, Churn { interval, began: Some(0), ended: Some(0), unmetered: 0 });
    }

    #[test]
    fn counters_that_went_back_have_no_rate_once() {
        let mut meter = Meter::new(10);
        walk(&mut meter, 0, &[flow(1, 1, Some([5000, 5000]))]);
        let (zeroed, _) = walk(&mut meter, 1, &[flow(1, 1, Some([6000, 10]))]);
        assert_eq!(zeroed, [Reading::default()]);
        let (after, _) = walk(&mut meter, 2, &[flow(1, 1, Some([6000, 20]))]);
        assert_eq!(after[0].reply_bps, Some(80));
    }

    #[test]
    fn a_flow_that_began_between_walks_counts_from_nothing() {
        let mut meter = Meter::new(10);
        walk(&mut meter, 0, &[flow(1, 1, Some([1, 1]))]);
        // The same tuple under another id is another flow: one ended, one began.
        let flows = [flow(1, 2, Some([100, 50])), flow(2, 3, Some([10, 0]))];
        let (readings, churn) = walk(&mut meter, 1, &flows);
        assert_eq!(
            readings[0],
            Reading { orig_bps: Some(800), reply_bps: Some(400), is_new: true }
        );
        assert_eq!((churn.began, churn.ended), (Some(2), Some(1)));
    }

    #[test]
    fn an_empty_table_is_a_walk_too() {
        let mut meter = Meter::new(10);
        walk(&mut meter, 0, &[]);
        let (readings, churn) = walk(&mut meter, 1, &[flow(1, 1, Some([100, 0]))]);
        assert_eq!((readings[0].orig_bps, churn.began), (Some(800), Some(1)));
    }

    #[test]
    fn what_was_not_seen_before_is_not_guessed_to_be_new() {
        let mut meter = Meter::new(1);
        let two = |bytes| [flow(1, 1, Some([bytes, 0])), flow(2, 2, Some([bytes, 0]))];
        let (_, churn) = walk(&mut meter, 0, &two(10));
        assert_eq!(churn.unmetered, 1);
        let (readings, churn) = walk(&mut meter, 1, &two(20));
        assert_eq!((readings[0].orig_bps, readings[1]), (Some(80), Reading::default()));
        assert_eq!((churn.began, churn.ended), (None, None));
        let mut meter = Meter::new(10);
        meter.begin(Duration::ZERO);
        meter.see(&flow(1, 1, None));
        meter.end(false);
        let (readings, churn) = walk(&mut meter, 1, &two(10));
        assert_eq!(
            (readings[1], churn.began),
            (Reading::default(), None),
            "the walk was not whole"
        );
    }

    #[test]
    fn a_flow_that_a_walk_shows_twice_is_read_once_and_one_without_counters_has_no_rate() {
        let mut meter = Meter::new(10);
        let same = flow(1, 1, None);
        let (readings, _) = walk(&mut meter, 0, &[same.clone(), same.clone()]);
        assert_eq!(readings.len(), 1);
        let (readings, churn) = walk(&mut meter, 1, &[same]);
        assert_eq!((readings[0], churn.ended), (Reading::default(), Some(0)));
    }

    #[test]
    fn no_time_between_walks_is_no_rate_and_no_panic() {
        let mut meter = Meter::new(10);
        walk(&mut meter, 5, &[flow(1, 1, Some([0, 0]))]);
        let (readings, _) = walk(&mut meter, 5, &[flow(1, 1, Some([u64::MAX, 1]))]);
        assert_eq!(readings[0], Reading::default());
        let (readings, _) = walk(&mut meter, 6, &[flow(2, 1, Some([u64::MAX, 1]))]);
        assert_eq!(readings[0].orig_bps, Some(u64::MAX), "no rate is larger");
    }
}
