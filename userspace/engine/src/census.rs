//! Counts of a table's flows by zone, protocol and state. A walk of the table counts each flow once; the cost is that
//! walk, not the events.

use crate::flows::table::{Entry, FlowTable};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use ctnetlink::flow::{ProtoState, Status};
use ctnetlink::tuple::ipproto;

/// TCP states that are counted separately, by the kernel's numbers: `enum tcp_conntrack`, of which the first ten are
/// states.
pub const TCP_STATES: usize = 10;
/// Groups of other protocols.
pub const OTHERS: [&str; 3] = ["udp", "icmp", "other"];
/// What is known of a flow without states: no answer yet; an answer; and traffic enough that the kernel does not evict
/// it.
pub const REPLIES: [&str; 3] = ["unreplied", "replied", "assured"];
/// Kinds of flows: TCP's states, then those of [`REPLIES`] for each of [`OTHERS`].
pub const CELLS: usize = TCP_STATES + OTHERS.len() * REPLIES.len();
/// Zones that are counted separately. Flows of further zones are counted together, so that memory stays bounded.
pub const ZONES_MAX: usize = 1024;

/// Flows of each kind.
pub type Cells = [u64; CELLS];

/// The counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    zones: BTreeMap<u16, Cells>,
    /// Flows of zones beyond [`ZONES_MAX`].
    rest: Cells,
    /// Flows whose source is translated, whose destination is, and both.
    pub translated: [u64; 3],
    /// Flows that a flowtable of the kernel forwards, and those that hardware does.
    pub offloaded: [u64; 2],
    /// Flows whose changes and end the kernel may never report.
    pub without_events: u64,
    /// Flows that the kernel may never have inserted into its table.
    pub unconfirmed: u64,
}

impl Census {
    /// Counts a flow.
    pub fn count(&mut self, entry: Entry<'_>) {
        let facts = entry.facts();
        let cell = cell(entry.proto(), facts.state, facts.status);
        let (zone, is_known) = (facts.zone, self.zones.contains_key(&facts.zone));
        let cells = if is_known || self.zones.len() < ZONES_MAX {
            self.zones.entry(zone).or_insert([0; CELLS])
        } else {
            &mut self.rest
        };
        cells[cell] += 1;
        let (source, destination) =
            (facts.status.contains(Status::SRC_NAT), facts.status.contains(Status::DST_NAT));
        match (source, destination) {
            (true, false) => self.translated[0] += 1,
            (false, true) => self.translated[1] += 1,
            (true, true) => self.translated[2] += 1,
            (false, false) => {}
        }
        if facts.status.contains(Status::HW_OFFLOAD) {
            self.offloaded[1] += 1;
        } else if facts.status.contains(Status::OFFLOAD) {
            self.offloaded[0] += 1;
        }
    }

    /// Takes over what the table counts by itself.
    pub fn note(&mut self, table: &FlowTable) {
        self.without_events = table.without_events() as u64;
        self.unconfirmed = table.unconfirmed() as u64;
    }

    /// Takes in the counts of another table.
    pub fn join(&mut self, other: Self) {
        let Self { zones, rest, translated, offloaded, without_events, unconfirmed } = other;
        for (zone, cells) in zones {
            let is_known = self.zones.contains_key(&zone) || self.zones.len() < ZONES_MAX;
            let into = if is_known {
                self.zones.entry(zone).or_insert([0; CELLS])
            } else {
                &mut self.rest
            };
            add(into, &cells);
        }
        add(&mut self.rest, &rest);
        add(&mut self.translated, &translated);
        add(&mut self.offloaded, &offloaded);
        self.without_events += without_events;
        self.unconfirmed += unconfirmed;
    }

    /// The `max` zones with the most flows, in the order of their numbers, and the flows of all others.
    #[must_use]
    pub fn largest(&self, max: usize) -> (Vec<(u16, Cells)>, Cells) {
        let total = |cells: &Cells| cells.iter().sum::<u64>();
        let mut zones: Vec<_> = self.zones.iter().map(|(zone, cells)| (*zone, *cells)).collect();
        zones.sort_by_key(|(zone, cells)| (core::cmp::Reverse(total(cells)), *zone));
        let mut rest = self.rest;
        for (_, cells) in zones.iter().skip(max) {
            add(&mut rest, cells);
        }
        zones.truncate(max);
        zones.sort_by_key(|(zone, _)| *zone);
        (zones, rest)
    }
}

fn add<const N: usize>(into: &mut [u64; N], more: &[u64; N]) {
    for (count, more) in into.iter_mut().zip(more) {
        *count += more;
    }
}

/// The kind of a flow.
fn cell(proto: u8, state: &ProtoState, status: Status) -> usize {
    let other = match proto {
        ipproto::TCP => {
            let state = if let ProtoState::Tcp(tcp) = state { usize::from(tcp.state) } else { 0 };
            return if state < TCP_STATES { state } else { 0 };
        }
        ipproto::UDP => 0,
        ipproto::ICMP | ipproto::ICMPV6 => 1,
        _ => 2,
    };
    let reply = if status.contains(Status::ASSURED) {
        2
    } else {
        usize::from(status.contains(Status::SEEN_REPLY))
    };
    TCP_STATES + other * REPLIES.len() + reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::table::Notes;
    use alloc::vec;
    use ctnetlink::flow::{Known, TcpState};
    use ctnetlink::{Flow, Tuple};

    fn census(flows: impl IntoIterator<Item = Flow>) -> Census {
        let mut table = FlowTable::new(1 << 20, 0);
        for flow in flows {
            table.insert(flow, Notes::default()).expect("there is room");
        }
        let mut census = Census::default();
        table.iter().for_each(|(_, entry)| census.count(entry));
        census.note(&table);
        census
    }

    fn flow(n: u32, proto: u8, zone: u16, status: Status) -> Flow {
        let [a, b, c, d] = n.to_be_bytes();
        let orig = Tuple::v4([a, b, c, d], [9; 4], proto).with_ports(1, 2);
        let known = Known::STATUS | Known::ZONE;
        Flow { zone, status, known, reply: orig.inverted(), ..Flow::new(orig) }
    }

    #[test]
    fn flows_are_counted_by_zone_and_by_how_far_they_are() {
        let established = Flow {
            proto: ProtoState::Tcp(TcpState { state: 3, ..TcpState::default() }),
            ..flow(1, ipproto::TCP, 7, Status::SRC_NAT)
        };
        let all = [
            established,
            flow(2, ipproto::TCP, 7, Status::empty()),
            flow(3, ipproto::UDP, 0, Status::DST_NAT),
            flow(4, ipproto::UDP, 0, Status::SEEN_REPLY | Status::SRC_NAT | Status::DST_NAT),
            flow(5, ipproto::UDP, 0, Status::SEEN_REPLY | Status::ASSURED | Status::OFFLOAD),
            flow(6, ipproto::ICMP, 0, Status::SEEN_REPLY),
            flow(7, 47, 0, Status::OFFLOAD | Status::HW_OFFLOAD),
        ];
        let census = census(all);
        let (zones, rest) = census.largest(16);
        let filled = |cells: &Cells| -> Vec<_> {
            let cells = cells.iter().enumerate().filter(|(_, count)| **count > 0);
            cells.map(|(at, count)| (at, *count)).collect()
        };
        let zones: Vec<_> = zones.iter().map(|(zone, cells)| (*zone, filled(cells))).collect();
        let icmp_replied = TCP_STATES + 3 + 1;
        let other_unreplied = TCP_STATES + 6;
        let wanted = [
            (0, vec![(10, 1), (11, 1), (12, 1), (icmp_replied, 1), (other_unreplied, 1)]),
            (7, vec![(0, 1), (3, 1)]),
        ];
        assert_eq!((zones.as_slice(), filled(&rest)), (wanted.as_slice(), vec![]));
        assert_eq!((census.translated, census.offloaded), ([1, 1, 1], [1, 1]));
    }

    #[test]
    fn of_many_zones_the_largest_are_told_and_no_flow_is_missing() {
        let one_each = (0..5000).map(|n| flow(n, ipproto::UDP, n as u16, Status::empty()));
        let more = (5000..5010).map(|n| flow(n, ipproto::UDP, 77, Status::empty()));
        let mut census = census(one_each.chain(more));
        assert!(census.zones.len() <= ZONES_MAX, "memory is bounded");
        let twice = census.clone();
        census.join(twice);
        let (zones, rest) = census.largest(3);
        let total = |cells: &Cells| cells.iter().sum::<u64>();
        assert_eq!(zones.len(), 3);
        assert!(zones.iter().any(|(zone, cells)| (*zone, total(cells)) == (77, 22)));
        let counted: u64 = zones.iter().map(|(_, cells)| total(cells)).sum();
        assert_eq!(counted + total(&rest), 2 * 5010);
        let (none, rest) = census.largest(0);
        assert_eq!((none.len(), total(&rest)), (0, 2 * 5010));
    }
}
