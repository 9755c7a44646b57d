//! What the kernel's counters say of flows, beside a table: one place for each slot, none
//! while counters are not read.

use crate::ctflow::top::meter::{gained, rate_bps};
use ctnetlink::Flow;
use ctnetlink::flow::Counters;
use engine::Slot;
use std::time::Duration;

/// The kernel's counters of the flow in a slot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Metered {
    counters: [Counters; 2],
    /// Bits a second, if `has_rates`.
    rates: [u64; 2],
    pub(super) left_s: u32,
    /// The reading that showed the flow last; 0: none did.
    reading: u16,
    is_counted: bool,
    has_rates: bool,
}

// A million flows are a million of these.
const _: () = assert!(size_of::<Metered>() == 56);

impl Metered {
    /// Counters of both directions, if the kernel counts.
    pub(super) fn counters(&self) -> Option<[Counters; 2]> {
        self.is_counted.then_some(self.counters)
    }

    /// Bits a second of both directions.
    pub(super) fn rates(&self) -> [Option<u64>; 2] {
        self.rates.map(|rate| self.has_rates.then_some(rate))
    }
}

/// What a reading of the kernel's counters found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Time since the reading before; `None` in the first one.
    pub interval: Option<Duration>,
    /// Flows that it showed and the table holds.
    pub seen: u64,
    /// Of these: flows that the kernel does not count.
    pub uncounted: u64,
    /// Bits a second of the reply directions; `None` if no flow has rates.
    pub in_bps: Option<u64>,
    /// The rate of the original directions.
    pub out_bps: Option<u64>,
}

/// The counters of all flows.
#[derive(Debug, Default)]
pub(super) struct Column {
    slots: Vec<Metered>,
    /// The number of the last reading, and when it began: on a clock that does not jump, and on the wall clock.
    reading: u16,
    at: Option<Duration>,
    time_ns: u64,
    /// When the one before began, on the wall clock.
    before_ns: u64,
    is_under_way: bool,
    rates: Rates,
}

impl Column {
    /// A reading begins, of a table with so many slots.
    pub(super) fn begin(&mut self, at: Duration, time_ns: u64, slots: Slot) {
        self.reading = next(self.reading);
        let before = self.at.replace(at);
        self.before_ns = std::mem::replace(&mut self.time_ns, time_ns);
        let interval = before.map(|before| at.saturating_sub(before));
        self.rates = Rates { interval, ..Rates::default() };
        self.is_under_way = true;
        self.slots.resize(slots as usize, Metered::default());
    }

    /// Ends the reading; returns what it found.
    pub(super) const fn end(&mut self) -> Rates {
        self.is_under_way = false;
        self.rates
    }

    /// Takes a flow as the kernel shows it; `began_ns` is when it began, if that is known.
    pub(super) fn read(&mut self, slot: Slot, flow: &Flow, began_ns: u64) {
        // Slots that were made since the reading began are not in it.
        let Some(was) = self.slots.get(slot as usize).copied() else { return };
        if was.reading == self.reading {
            return;
        }
        let now = self.measured(&was, flow, began_ns);
        self.rates.seen += 1;
        self.rates.uncounted += u64::from(!now.is_counted);
        let add = |sum: &mut Option<u64>, rate| *sum = Some(sum.unwrap_or(0).saturating_add(rate));
        if now.has_rates {
            add(&mut self.rates.out_bps, now.rates[0]);
            add(&mut self.rates.in_bps, now.rates[1]);
        }
        self.slots[slot as usize] = now;
    }

    fn measured(&self, was: &Metered, flow: &Flow, began_ns: u64) -> Metered {
        let (reading, left_s) = (self.reading, flow.timeout_s);
        let mut now = Metered { reading, left_s, ..Metered::default() };
        let [orig, reply] = flow.extra.as_deref().map_or([None; 2], |extra| extra.counters);
        let (Some(orig), Some(reply)) = (orig, reply) else { return now };
        (now.counters, now.is_counted) = ([orig, reply], true);
        let bytes = |counters: [Counters; 2]| counters.map(|one| one.bytes);
        let is_known = was.is_counted && next(was.reading) == self.reading;
        let gained = match is_known {
            true => gained(bytes(was.counters), bytes(now.counters)),
            // All that a flow counted, it counted since the reading before.
            false if self.before_ns != 0 && began_ns >= self.before_ns => Some(bytes(now.counters)),
            false => None,
        };
        let Some((gained, interval)) = gained.zip(self.rates.interval) else { return now };
        if let [Some(orig), Some(reply)] = gained.map(|bytes| rate_bps(bytes, interval)) {
            (now.rates, now.has_rates) = ([orig, reply], true);
        }
        now
    }

    /// What is known of the flow in a slot: from the last reading, or the one before while that is under way.
    pub(super) fn at(&self, slot: Slot) -> Option<&Metered> {
        self.slots.get(slot as usize).filter(|one| {
            let is_before = self.is_under_way && next(one.reading) == self.reading;
            one.reading != 0 && (one.reading == self.reading || is_before)
        })
    }

    /// Another flow is in the slot.
    pub(super) fn forget(&mut self, slot: Slot) {
        if let Some(metered) = self.slots.get_mut(slot as usize) {
            *metered = Metered::default();
        }
    }

    /// The table is empty.
    pub(super) fn clear(&mut self) {
        self.slots.clear();
    }
}

/// The number of the reading after; 0 is none's.
const fn next(reading: u16) -> u16 {
    if reading == u16::MAX { 1 } else { reading + 1 }
}
