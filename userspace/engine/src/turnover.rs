//! What comes and goes in a table of flows: counts by zone, and how long flows lived. Written event by event, so it
//! takes no memory of its own after the start and no look-up while events are of one zone.

use alloc::vec::Vec;
use ctnetlink::tuple::ipproto;

/// Zones that are counted separately: the first ones seen. Flows of further zones are counted together. The set of
/// zones never changes, so none of these counts ever falls.
pub const ZONES_MAX: usize = 256;
/// Protocols whose lifetimes are counted separately.
pub const PROTOS: [&str; 4] = ["tcp", "udp", "icmp", "other"];
/// Bounds of the histogram of lifetimes, seconds. Longer ones are above all.
pub const LIFETIME_BOUNDS_S: [u32; 14] =
    [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 21_600, 86_400, 432_000];

/// What happened to flows of one zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Flows added.
    pub created: u64,
    /// Changes of flows.
    pub updated: u64,
    /// Flows removed.
    pub ended: u64,
}

/// How long flows of one protocol lived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetimes {
    /// Flows that lived at most as long as each of [`LIFETIME_BOUNDS_S`] and longer than the one before, and those that
    /// lived longer than all.
    pub buckets: [u64; LIFETIME_BOUNDS_S.len() + 1],
    /// All lives added, seconds.
    pub sum_s: u64,
}

/// The counts.
#[derive(Debug, PartialEq, Eq)]
pub struct Turnover {
    /// Zones in the order in which they were met.
    zones: Vec<u16>,
    /// What happened in each of them.
    changes: Vec<Changes>,
    /// The zone that was counted last: the next one nearly always is the same.
    last: usize,
    /// Changes in zones beyond [`ZONES_MAX`].
    rest: Changes,
    lifetimes: [Lifetimes; PROTOS.len()],
}

impl Default for Turnover {
    fn default() -> Self {
        Self {
            zones: Vec::with_capacity(ZONES_MAX),
            changes: Vec::with_capacity(ZONES_MAX),
            last: 0,
            rest: Changes::default(),
            lifetimes: [Lifetimes::default(); PROTOS.len()],
        }
    }
}

impl Clone for Turnover {
    fn clone(&self) -> Self {
        let mut copy = Self::without_room();
        copy.clone_from(self);
        copy
    }

    /// Into the memory that it has.
    fn clone_from(&mut self, other: &Self) {
        let Self { zones, changes, last, rest, lifetimes } = other;
        self.zones.clone_from(zones);
        self.changes.clone_from(changes);
        (self.last, self.rest, self.lifetimes) = (*last, *rest, *lifetimes);
    }
}

impl Turnover {
    /// Counts of nothing that take no memory, to put in the place of others.
    #[must_use]
    pub const fn without_room() -> Self {
        let none = Lifetimes { buckets: [0; LIFETIME_BOUNDS_S.len() + 1], sum_s: 0 };
        Self {
            zones: Vec::new(),
            changes: Vec::new(),
            last: 0,
            rest: Changes { created: 0, updated: 0, ended: 0 },
            lifetimes: [none; PROTOS.len()],
        }
    }

    /// A flow was added.
    #[inline]
    pub(crate) fn created(&mut self, zone: u16) {
        self.zone(zone).created += 1;
    }

    /// A flow changed.
    #[inline]
    pub(crate) fn updated(&mut self, zone: u16) {
        self.zone(zone).updated += 1;
    }

    /// A flow was removed.
    #[inline]
    pub(crate) fn ended(&mut self, zone: u16) {
        self.zone(zone).ended += 1;
    }

    /// A flow of this protocol ended, `life_s` seconds after it had been heard to begin.
    #[inline]
    pub(crate) fn lived(&mut self, proto: u8, life_s: u32) {
        let at = match proto {
            ipproto::TCP => 0,
            ipproto::UDP => 1,
            ipproto::ICMP | ipproto::ICMPV6 => 2,
            _ => 3,
        };
        let lives = &mut self.lifetimes[at];
        lives.buckets[LIFETIME_BOUNDS_S.partition_point(|bound| *bound < life_s)] += 1;
        lives.sum_s += u64::from(life_s);
    }

    /// The first `max` zones that were met, and all others together.
    #[must_use]
    pub fn zones(&self, max: usize) -> (Vec<(u16, Changes)>, Changes) {
        let all = || self.zones.iter().copied().zip(self.changes.iter().copied());
        let mut rest = self.rest;
        all().skip(max).for_each(|(_, changes)| rest.add(changes));
        (all().take(max).collect(), rest)
    }

    /// How long flows lived, by [`PROTOS`].
    #[must_use]
    pub const fn lifetimes(&self) -> &[Lifetimes; PROTOS.len()] {
        &self.lifetimes
    }

    /// Takes in the counts of another table.
    pub fn join(&mut self, other: &Self) {
        for (zone, changes) in other.zones.iter().zip(&other.changes) {
            self.zone(*zone).add(*changes);
        }
        self.rest.add(other.rest);
        for (lives, more) in self.lifetimes.iter_mut().zip(&other.lifetimes) {
            lives.sum_s += more.sum_s;
            for (count, more) in lives.buckets.iter_mut().zip(more.buckets) {
                *count += more;
            }
        }
    }

    #[inline]
    fn zone(&mut self, zone: u16) -> &mut Changes {
        if self.zones.get(self.last) != Some(&zone) {
            let Some(at) = self.place(zone) else { return &mut self.rest };
            self.last = at;
        }
        &mut self.changes[self.last]
    }

    /// Where a zone is counted, if it is by itself.
    fn place(&mut self, zone: u16) -> Option<usize> {
        let known = self.zones.iter().position(|known| *known == zone);
        if known.is_none() && self.zones.len() < ZONES_MAX {
            self.zones.push(zone);
            self.changes.push(Changes::default());
            return Some(self.zones.len() - 1);
        }
        known
    }
}

impl Changes {
    const fn add(&mut self, other: Self) {
        let Self { created, updated, ended } = other;
        self.created += created;
        self.updated += updated;
        self.ended += ended;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_keep_their_place_and_nothing_is_left_out() {
        let mut turnover = Turnover::default();
        for zone in (0..1000).chain([7, 7, 999]) {
            turnover.created(zone);
            turnover.updated(zone);
            turnover.ended(zone);
        }
        let mut twice = turnover.clone();
        twice.join(&turnover);
        assert!(
            twice.zones.len() == ZONES_MAX && twice.changes.len() == ZONES_MAX,
            "it is bounded"
        );
        let each = |n| Changes { created: n, updated: n, ended: n };
        let (zones, rest) = twice.zones(8);
        let wanted: Vec<_> =
            (0..8).map(|zone| (zone, each(if zone == 7 { 6 } else { 2 }))).collect();
        assert_eq!((zones, rest), (wanted, each(2 * 1003 - 20)));
        assert_eq!(twice.zones(0), (Vec::new(), each(2 * 1003)));
    }

    #[test]
    fn a_life_counts_in_the_first_bucket_that_is_as_long() {
        let mut turnover = Turnover::default();
        for life in [0, 1, 2, 3, 432_000, 432_001] {
            turnover.lived(ipproto::UDP, life);
        }
        turnover.lived(47, 60);
        let [tcp, udp, icmp, other] = *turnover.lifetimes();
        assert_eq!((tcp, icmp), (Lifetimes::default(), Lifetimes::default()));
        assert_eq!(udp.buckets, [2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!((udp.sum_s, other.sum_s, other.buckets[5]), (864_007, 60, 1));
    }
}
