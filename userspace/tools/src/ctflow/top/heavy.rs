//! The largest groups of a stream, in bounded memory: Space-Saving (Metwally, Agrawal, El Abbadi, 2005).
//!
//! While there are no more groups than counters, every count is exact. A group beyond that takes over the smallest
//! counter, with its count as the error: so for each group that is shown, `count - error <= truth <= count`, and a
//! group larger than `stream / counters` is always among them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

/// Groups that are counted exactly.
pub const COUNTERS: usize = 8192;
/// Names of groups that are remembered to say how many there are.
const NAMES_MAX: usize = 1_000_000;

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter<T> {
    /// What its members have in common.
    pub key: String,
    /// Members, at most.
    pub count: u64,
    /// How many of these may be others' members.
    pub error: u64,
    /// What else is counted, since the group took its counter.
    pub tally: T,
}

/// Counters of groups.
#[derive(Debug)]
pub struct Heavy<T> {
    room: usize,
    places: HashMap<String, usize>,
    counters: Vec<Counter<T>>,
    /// Counters by count, kept once all are taken.
    order: BTreeSet<(u64, usize)>,
    names: HashSet<u64>,
    hasher: RandomState,
}

impl<T: Default> Heavy<T> {
    /// With so many counters, at least one.
    #[must_use]
    pub fn new(room: usize) -> Self {
        Self {
            room: room.max(1),
            places: HashMap::new(),
            counters: Vec::new(),
            order: BTreeSet::new(),
            names: HashSet::new(),
            hasher: RandomState::new(),
        }
    }

    /// Counts a member; what else is counted of its group.
    pub fn count(&mut self, key: &str) -> &mut T {
        let at = match self.places.get(key) {
            Some(at) => *at,
            None if self.counters.len() < self.room => self.take(key),
            None => self.take_over(key),
        };
        let counter = &mut self.counters[at];
        if !self.order.is_empty() {
            self.order.remove(&(counter.count, at));
            self.order.insert((counter.count + 1, at));
        }
        counter.count += 1;
        &mut counter.tally
    }

    /// What else is counted of a group, for what is no member; `None` if it has no counter, and there is none left.
    pub fn beside(&mut self, key: &str) -> Option<&mut T> {
        let at = match self.places.get(key) {
            Some(at) => *at,
            None if self.counters.len() < self.room => self.take(key),
            None => return None,
        };
        Some(&mut self.counters[at].tally)
    }

    /// A group takes a free counter.
    fn take(&mut self, key: &str) -> usize {
        let at = self.counters.len();
        self.places.insert(key.to_owned(), at);
        self.counters.push(Counter {
            key: key.to_owned(),
            count: 0,
            error: 0,
            tally: T::default(),
        });
        at
    }

    /// A group takes the smallest counter.
    fn take_over(&mut self, key: &str) -> usize {
        if self.order.is_empty() {
            let counts = self.counters.iter().enumerate();
            self.order = counts.map(|(at, counter)| (counter.count, at)).collect();
            self.names = self.counters.iter().map(|one| self.hasher.hash_one(&one.key)).collect();
        }
        if self.names.len() < NAMES_MAX {
            self.names.insert(self.hasher.hash_one(key));
        }
        let at = self.order.first().map_or(0, |(_, at)| *at);
        let counter = &mut self.counters[at];
        self.places.remove(&counter.key);
        self.places.insert(key.to_owned(), at);
        counter.key = key.to_owned();
        counter.error = counter.count;
        counter.tally = T::default();
        at
    }

    /// Whether every count is exact.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.order.is_empty()
    }

    /// How many groups there are; beyond a million, at least so many.
    #[must_use]
    pub fn groups(&self) -> u64 {
        self.counters.len().max(self.names.len()) as u64
    }

    /// The counters, in no order.
    #[must_use]
    pub fn into_counters(self) -> Vec<Counter<T>> {
        self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_truth_lies_between_count_less_error_and_count(
            stream in prop::collection::vec(0_u16..40, 0..600),
            room in 1_usize..50,
        ) {
            let mut heavy = Heavy::<u64>::new(room);
            let mut truth = HashMap::<String, u64>::new();
            for item in &stream {
                // Small numbers are frequent.
                let key = (item / 2 * item / 20).to_string();
                *truth.entry(key.clone()).or_default() += 1;
                *heavy.count(&key) += 1;
            }
            let exact = heavy.is_exact();
            prop_assert_eq!(exact, truth.len() <= room);
            prop_assert_eq!(heavy.groups(), truth.len() as u64);
            let counters = heavy.into_counters();
            prop_assert_eq!(counters.iter().map(|one| one.count).sum::<u64>(), stream.len() as u64);
            for Counter { key, count, error, tally } in &counters {
                let is = truth[key];
                prop_assert!(count - error <= is && is <= *count, "{key}: {count} {error} {is}");
                prop_assert!(count - error <= *tally && *tally <= is, "what else is counted is no more");
                prop_assert!(!exact || (*error == 0 && *tally == is));
            }
            for (key, is) in truth {
                let shown = counters.iter().any(|one| one.key == key);
                prop_assert!(shown || is <= stream.len() as u64 / room as u64, "{} of {}", key, is);
            }
        }
    }
}
