//! The peer's sequence numbers, as they come in.

use super::is_before;
use crate::bounded::{Bounded, QueueUsage};
use crate::config::limit;
use crate::counters::ReplicaCounters;
use alloc::boxed::Box;
use common::Instant;
use core::hash::BuildHasher;
use foldhash::fast::FixedState;

/// How a received message follows the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The first one ever, or the first one of a new life of the peer.
    First,
    /// The next number.
    Next,
    /// A later number; these, both included, have not come.
    Gap(u32, u32),
    /// A number that was passed over before.
    Late,
    /// A message that was here before.
    Again,
}

/// Where a received message stands in the peer's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// A number that only grows over the peer's messages, across wrap-arounds and restarts of the peer.
    pub order: u64,
    /// How it follows the others.
    pub step: Step,
    /// This message shows that the peer restarted.
    pub restarted: bool,
}

/// How to interpret the first number of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belief {
    /// The datagram continues what came before, or it begins a life of the peer that says so.
    Continues,
    /// The datagram lies far from everything before, and only this one says so.
    Doubtful,
    /// The datagram lies far from everything before the doubtful one, but continues that.
    Confirmed,
}

/// Follows the peer's sequence numbers.
///
/// A number a little behind is a late message, unless another message had that number before, or no later message
/// came for a while: then the peer restarted, with a number below the one it had reached. One far behind is from a
/// peer that restarted, too.
#[derive(Debug)]
pub struct Tracker {
    /// Highest number seen, and its order.
    last: Option<(u32, u64)>,
    /// When the highest number came.
    last_at: Instant,
    /// What the last messages looked like, each where its number says; 0 where none came.
    seen: Box<[u32]>,
    /// Whether the peer announces its restarts, so that late messages need not be taken for one.
    greets: bool,
    /// Numbers and their orders, in order: between one and the next, both grow alike. The first number of this life of
    /// the peer is the oldest, unless there are too many.
    anchors: Bounded<(u32, u64)>,
    /// Numbers that were passed over and have not come.
    missing: u32,
    /// Order of the message that passed over the last of these; 0 when none is missing.
    hole: u64,
    /// Numbers missing before this order have been made good by other means, and count as missing no longer.
    forgiven: u64,
    /// The number that follows a datagram whose numbers lie far from all others.
    doubtful: Option<u32>,
    hasher: FixedState,
    /// Order of the first message.
    floor: u64,
}

impl Tracker {
    /// A tracker that has seen nothing. `greets`: whether the peer announces its restarts.
    #[must_use]
    pub fn new(seed: u64, greets: bool) -> Self {
        let seen = alloc::vec![0; limit::LATE_WINDOW as usize].into_boxed_slice();
        let hasher = FixedState::with_seed(seed);
        let last_at = Instant(0);
        let anchors = Bounded::new(limit::ANCHORS_MAX);
        Self {
            last: None,
            last_at,
            seen,
            greets,
            anchors,
            missing: 0,
            hole: 0,
            forgiven: 0,
            doubtful: None,
            hasher,
            floor: FIRST_ORDER,
        }
    }

    /// Makes the tracker go on behind the orders of another one, whose place it takes.
    #[must_use]
    pub fn behind(mut self, other: &Self) -> Self {
        self.floor = other.order() + u64::from(limit::LATE_WINDOW);
        self
    }

    /// What to make of a datagram that begins with number `from` and after which `next` comes. A jump in the numbers is
    /// believed when two datagrams of the same sender agree on it: one forged datagram must not stop replication.
    pub fn believe(&mut self, from: u32, next: u32, anew: bool) -> Belief {
        let near = |a: u32, b: u32| a.wrapping_sub(b).min(b.wrapping_sub(a)) < limit::LATE_WINDOW;
        let Some((last, _)) = self.last.filter(|_| !anew) else {
            self.doubtful = None;
            return Belief::Continues;
        };
        if near(from, last) {
            self.doubtful = None;
            return Belief::Continues;
        }
        match self.doubtful.replace(next) {
            Some(expected) if near(from, expected) => {
                self.doubtful = None;
                Belief::Confirmed
            }
            _ => Belief::Doubtful,
        }
    }

    /// Whether `seq` is near the numbers that came last.
    #[must_use]
    pub fn continues_with(&self, seq: u32) -> bool {
        self.last.is_some_and(|(last, _)| {
            seq.wrapping_sub(last).min(last.wrapping_sub(seq)) < limit::LATE_WINDOW
        })
    }

    /// The order that message `seq` of this life of the peer had or would have had; `None` for numbers before the first
    /// one that was received, for those that were passed over in a jump, and for those too long ago to decide.
    #[must_use]
    pub fn order_of(&self, seq: u32) -> Option<u64> {
        let (last, _) = self.last?;
        if is_before(last, seq) {
            return None;
        }
        let behind = self.anchors.iter().rposition(|(at, _)| !is_before(seq, *at))?;
        let (at, order) = self.anchors[behind];
        let order = order + u64::from(seq.wrapping_sub(at));
        // Numbers that were passed over in a jump have no order of their own.
        let passed_over = self.anchors.get(behind + 1).is_some_and(|(_, next)| order >= *next);
        (!passed_over).then_some(order)
    }

    /// Order of the last message that passed over numbers which have not come since; 0 when none is missing.
    #[must_use]
    pub const fn hole(&self) -> u64 {
        self.hole
    }

    /// What was missing before `order` has been made good by other means.
    pub const fn forgive(&mut self, order: u64) {
        if self.hole <= order {
            (self.hole, self.missing) = (0, 0);
            self.forgiven = if order > self.forgiven { order } else { self.forgiven };
        }
    }

    /// Order of the latest message; 0 before the first.
    #[must_use]
    pub fn order(&self) -> u64 {
        self.last.map_or(0, |(_, order)| order)
    }

    /// When the latest message came; `None` before the first.
    #[must_use]
    pub fn heard_at(&self) -> Option<Instant> {
        self.last.map(|_| self.last_at)
    }

    /// Places the message `bytes` with number `seq`. `anew`: whether the message says that the peer restarted, unless
    /// it is a late one.
    pub fn place(
        &mut self,
        now: Instant,
        seq: u32,
        bytes: &[u8],
        anew: bool,
        counters: &mut ReplicaCounters,
    ) -> Placement {
        let looks = self.hasher.hash_one(bytes) as u32 | 1;
        let patience = if self.greets { limit::LATE_TIME_GREETED } else { limit::LATE_TIME };
        let quiet = now.since(self.last_at) > patience;
        let Some((last, order)) = self.last else {
            self.anchor(seq, self.floor);
            return self.advance(now, seq, looks, self.floor, Step::First);
        };
        let step = seq.wrapping_sub(last) as i32;
        let distance = step.unsigned_abs();
        if step > 0 && !anew {
            // A number further back than the window counts as a restart, so longer gaps need no more room; otherwise
            // forged numbers could use up all there is.
            let order = order + u64::from(distance.min(limit::LATE_WINDOW));
            if distance == 1 {
                return self.advance(now, seq, looks, order, Step::Next);
            }
            counters.lost += u64::from(distance) - 1;
            self.skip(last, distance - 1);
            self.missing = self.missing.saturating_add(distance - 1);
            self.hole = order;
            if distance > limit::LATE_WINDOW {
                self.anchor(seq, order);
            }
            let gap = Step::Gap(last.wrapping_add(1), seq.wrapping_sub(1));
            return self.advance(now, seq, looks, order, gap);
        }
        let seen = &mut self.seen[slot_of(seq)];
        let near = step <= 0 && distance < limit::LATE_WINDOW && !quiet;
        if near && (*seen == 0 || *seen == looks) {
            counters.before += 1;
            let step = if *seen == looks { Step::Again } else { Step::Late };
            *seen = looks;
            if step == Step::Late && self.order_of(seq).is_some_and(|order| order > self.forgiven) {
                self.missing = self.missing.saturating_sub(1);
                self.hole = if self.missing == 0 { 0 } else { self.hole };
            }
            return Placement { order: order - u64::from(distance), step, restarted: false };
        }
        let far = (limit::LATE_WINDOW..limit::LATE_REACH_GREETED).contains(&distance);
        if self.greets && step <= 0 && far && !anew && !quiet {
            // The message was asked for long ago, and comes again with another number.
            counters.before += 1;
            return Placement { order, step: Step::Again, restarted: false };
        }
        counters.peer_restarts += 1;
        self.seen.fill(0);
        let order = order + u64::from(limit::LATE_WINDOW);
        self.anchors.clear();
        self.anchor(seq, order);
        (self.missing, self.hole) = (0, 0);
        let place = self.advance(now, seq, looks, order, Step::First);
        Placement { restarted: true, ..place }
    }

    /// How many jumps in the numbers are remembered.
    #[must_use]
    pub fn anchors(&self) -> QueueUsage {
        self.anchors.usage()
    }

    /// The `count` numbers after `last` have not come yet.
    fn skip(&mut self, last: u32, count: u32) {
        for back in 1..=count.min(limit::LATE_WINDOW) {
            self.seen[slot_of(last.wrapping_add(back))] = 0;
        }
    }

    /// From message `seq` on, orders grow with numbers again.
    fn anchor(&mut self, seq: u32, order: u64) {
        self.anchors.displace((seq, order));
    }

    fn advance(&mut self, now: Instant, seq: u32, looks: u32, order: u64, step: Step) -> Placement {
        self.seen[slot_of(seq)] = looks;
        // Numbers wrap: an anchor must never be half a count away.
        if self.anchors.back().is_some_and(|(at, _)| seq.wrapping_sub(*at) > 1 << 30) {
            self.anchor(seq, order);
        }
        self.last = Some((seq, order));
        self.last_at = now;
        Placement { order, step, restarted: false }
    }
}

const _: () = assert!(limit::LATE_WINDOW.is_power_of_two(), "slots must go on across the wrap");

const fn slot_of(seq: u32) -> usize {
    (seq % limit::LATE_WINDOW) as usize
}

/// Leaves room below it for late messages.
const FIRST_ORDER: u64 = 1 << 32;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn places(numbers: &[u32]) -> (Vec<u64>, ReplicaCounters) {
        let (mut tracker, mut counters) = (Tracker::new(0, false), ReplicaCounters::default());
        let mut place = |n| tracker.place(Instant(0), n, &[], false, &mut counters);
        let orders = numbers.iter().map(|&n| place(n).order - FIRST_ORDER).collect();
        (orders, counters)
    }

    /// Defect 8 of the original (`docs/defects.md`).
    #[test]
    fn a_gap_of_two_is_two_lost_messages() {
        let (orders, counters) = places(&[10, 11, 14]);
        assert_eq!(orders, [0, 1, 4]);
        assert_eq!((counters.lost, counters.before), (2, 0));
    }

    #[test]
    fn what_was_forgiven_and_comes_late_fills_no_later_gap() {
        let (mut tracker, mut counters) = (Tracker::new(0, false), ReplicaCounters::default());
        let mut place = |tracker: &mut Tracker, n| {
            tracker.place(Instant(0), n, &[], false, &mut counters).order
        };
        place(&mut tracker, 10);
        let base = place(&mut tracker, 13);
        assert_eq!(tracker.hole(), base);
        tracker.forgive(base);
        let behind = place(&mut tracker, 16);
        let _ = [11, 12].map(|late| place(&mut tracker, late));
        assert_eq!(tracker.hole(), behind, "14 and 15 are missing");
        let _ = [14, 15].map(|late| place(&mut tracker, late));
        assert_eq!(tracker.hole(), 0);
    }

    #[test]
    fn jumps_of_any_length_use_up_little_of_the_order() {
        let far = u32::MAX / 2;
        let (orders, _) = places(&[0, far, far - 1, far.wrapping_mul(2)]);
        let window = u64::from(limit::LATE_WINDOW);
        assert_eq!(orders, [0, window, window - 1, 2 * window]);
    }

    #[test]
    fn orders_are_known_of_numbers_that_were_heard_or_nearly_so() {
        let (mut tracker, mut counters) = (Tracker::new(0, false), ReplicaCounters::default());
        for seq in [100, 101, 104, 1_000_000, 1_000_001] {
            tracker.place(Instant(0), seq, &[], false, &mut counters);
        }
        let order = |seq| tracker.order_of(seq).map(|order| order - FIRST_ORDER);
        let window = u64::from(limit::LATE_WINDOW);
        assert_eq!([99, 100, 103, 104].map(order), [None, Some(0), Some(3), Some(4)]);
        assert_eq!([999_999, 1_000_001].map(order), [None, Some(4 + window + 1)]);
        assert_eq!(order(1_000_002), None, "it has not come");
    }

    #[test]
    fn each_message_says_how_it_follows_the_others() {
        let (mut tracker, mut counters) = (Tracker::new(0, false), ReplicaCounters::default());
        let mut step =
            |n, bytes: &[u8]| tracker.place(Instant(0), n, bytes, false, &mut counters).step;
        assert_eq!(step(u32::MAX - 1, b"a"), Step::First);
        assert_eq!(step(u32::MAX, b"b"), Step::Next);
        assert_eq!(step(2, b"c"), Step::Gap(0, 1));
        assert_eq!(step(1, b"d"), Step::Late);
        assert_eq!(step(1, b"d"), Step::Again);
        assert_eq!(step(3, b"e"), Step::Next);
    }

    #[test]
    fn a_late_message_keeps_its_place_and_the_number_wraps() {
        let (orders, counters) = places(&[u32::MAX, 1, 0, 2]);
        assert_eq!(orders, [0, 2, 1, 3]);
        assert_eq!((counters.lost, counters.before), (1, 1));
    }

    #[test]
    fn of_a_peer_that_greets_what_is_late_is_only_late() {
        let (mut tracker, mut counters) = (Tracker::new(0, true), ReplicaCounters::default());
        let mut place = |s: u64, n, anew| {
            let at = Instant(s * 1_000_000_000);
            let place = tracker.place(at, n, &[], anew, &mut counters);
            (place.step, place.restarted)
        };
        assert_eq!(place(0, 50_000, false), (Step::First, false));
        assert_eq!(place(2, 49_990, false), (Step::Late, false));
        assert_eq!(place(2, 100, false), (Step::Again, false));
        assert_eq!(place(2, 100, true), (Step::First, true));
        assert_eq!(place(2, 3_000_000_000, false), (Step::First, true));
        assert_eq!(place(9, 2_999_999_999, false), (Step::First, true));
    }

    #[test]
    fn a_number_far_behind_is_a_new_life_of_the_peer_and_comes_after_everything() {
        let (orders, counters) = places(&[1_000_000, 5, 6]);
        assert!(orders[0] < orders[1] && orders[1] < orders[2]);
        assert_eq!((counters.peer_restarts, counters.lost), (1, 0));
    }

    #[test]
    fn a_number_ahead_is_a_new_life_if_the_message_says_so() {
        let (mut tracker, mut counters) = (Tracker::new(0, false), ReplicaCounters::default());
        let mut place = |n, anew| tracker.place(Instant(0), n, &[], anew, &mut counters);
        let old = place(100, false);
        let new = place(105, true);
        assert!(new.restarted && new.order > old.order);
        assert_eq!(place(106, false).step, Step::Next);
        assert_eq!(counters.lost, 0);
    }

    #[test]
    fn another_message_with_a_number_that_was_seen_is_a_new_life_of_the_peer() {
        let (mut tracker, mut counters) = (Tracker::new(0, false), ReplicaCounters::default());
        let mut place =
            |seq, bytes: &[u8]| tracker.place(Instant(0), seq, bytes, false, &mut counters);
        let old: Vec<_> = (100..110).map(|n| place(n, b"old").order).collect();
        let again = place(105, b"old");
        assert_eq!((again.order, again.step, again.restarted), (old[5], Step::Again, false));
        let new = place(105, b"new");
        assert!(new.restarted && new.order > old[9]);
        assert!(place(106, b"new").order > new.order);
        assert_eq!((counters.before, counters.peer_restarts), (1, 1));
    }

    #[test]
    fn a_number_behind_that_comes_after_a_pause_is_a_new_life_of_the_peer() {
        let (mut tracker, mut counters) = (Tracker::new(0, false), ReplicaCounters::default());
        let mut place = |at, seq| tracker.place(Instant(at), seq, &[], false, &mut counters);
        let last = place(0, 110);
        assert!(!place(0, 105).restarted, "overtaken");
        assert!(place(2_000_000_000, 100).order > last.order);
    }
}
