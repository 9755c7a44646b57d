//! The table by zone, protocol and state.

use crate::print::state;
use crate::print::stats::Taken;
use engine::census::{Cells, OTHERS, REPLIES, TCP_STATES};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The zone that stands for all zones not shown separately.
const OTHER: &str = "other";

object! {
    /// Flows of the local table, counted by a walk over it.
    Census {
        /// How old the counts are, seconds.
        age_s: u64,
        /// Flows by zone, protocol and state; what would be 0 is left out.
        flows: Vec<Cell>,
        /// Flows whose source is translated, and not their destination.
        translated_source: u64,
        /// Flows whose destination is translated, and not their source.
        translated_destination: u64,
        /// Flows of which both are.
        translated_both: u64,
        /// Flows that a flowtable of the kernel forwards.
        offloaded_software: u64,
        /// Flows that hardware forwards.
        offloaded_hardware: u64,
        /// Flows whose changes and end the kernel may never report; the daemon queries it for them now and then.
        without_events: u64,
        /// Flows that the hook saw begin and that the kernel may never have inserted into its table.
        unconfirmed: u64,
        /// Flows of each `Class`.
        classes: Vec<Class>,
    }
}

object! {
    /// Flows of a class of the configuration.
    Class {
        /// Its name.
        class: String,
        /// How many flows.
        flows: u64,
    }
}

object! {
    /// Flows of one zone and kind.
    Cell {
        /// The zone's number, or `other`.
        zone: String,
        /// `tcp`, `udp`, `icmp` or `other`.
        proto: String,
        /// TCP's state, in the kernel's words; else `unreplied`, `replied`, `assured`.
        state: String,
        /// How many flows.
        flows: u64,
    }
}

impl Census {
    /// Counts of this age, with so many zones one by one.
    pub(super) fn of(age: Duration, taken: &Taken, zones_max: usize) -> Self {
        let Taken { census, classes } = taken;
        let class = |(class, flows): &(String, u64)| Class { class: class.clone(), flows: *flows };
        let (zones, rest) = census.largest(zones_max);
        let named = zones.iter().map(|(zone, cells)| (zone.to_string(), cells));
        let all = named.chain([(OTHER.to_owned(), &rest)]);
        let [translated_source, translated_destination, translated_both] = census.translated;
        let [offloaded_software, offloaded_hardware] = census.offloaded;
        Self {
            age_s: age.as_secs(),
            flows: all.flat_map(|(zone, cells)| of_zone(&zone, cells)).collect(),
            translated_source,
            translated_destination,
            translated_both,
            offloaded_software,
            offloaded_hardware,
            without_events: census.without_events,
            unconfirmed: census.unconfirmed,
            classes: classes.iter().map(class).collect(),
        }
    }
}

fn of_zone(zone: &str, cells: &Cells) -> Vec<Cell> {
    let filled = cells.iter().enumerate().filter(|(_, flows)| **flows > 0);
    let cell = |(at, &flows): (usize, &u64)| {
        let (proto, state) = words(at);
        Cell { zone: zone.to_owned(), proto: proto.into(), state: state.into(), flows }
    };
    filled.map(cell).collect()
}

/// The words of a kind of flows.
fn words(at: usize) -> (&'static str, &'static str) {
    match at.checked_sub(TCP_STATES) {
        None => ("tcp", state::TCP[at]),
        Some(at) => (OTHERS[at / REPLIES.len()], REPLIES[at % REPLIES.len()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::census::CELLS;
    use std::collections::BTreeSet;

    #[test]
    fn each_kind_of_flows_has_words_of_its_own() {
        let all: BTreeSet<_> = (0..CELLS).map(words).collect();
        assert_eq!(all.len(), CELLS);
        assert_eq!(words(3), ("tcp", "ESTABLISHED"));
        assert_eq!(words(CELLS - 1), ("other", "assured"));
    }
}
