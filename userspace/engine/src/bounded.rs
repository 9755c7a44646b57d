//! The queue of this product: it has a limit, and counts what found no room.
//!
//! `cargo xtask tidy` refuses every other queue, a few aside that it lists with what bounds them.

use alloc::collections::VecDeque;
use alloc::collections::vec_deque::Drain;
use core::ops::{AddAssign, Deref, RangeBounds};

/// A first-in, first-out queue with a limit and a counter. It reads as the [`VecDeque`] in it; only what can make it
/// longer is different.
#[derive(Clone, Debug)]
pub struct Bounded<T> {
    items: VecDeque<T>,
    max: usize,
    no_space: u64,
}

/// How full a queue is, for people and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueUsage {
    /// Elements in it.
    pub len: usize,
    /// Limit: the most elements it takes.
    pub max: usize,
    /// Elements that were refused or displaced because the queue was full.
    pub no_space: u64,
}

/// Queues by name, as their owners list them.
pub type QueueUsages = alloc::vec::Vec<(&'static str, QueueUsage)>;

impl AddAssign for QueueUsage {
    fn add_assign(&mut self, Self { len, max, no_space }: Self) {
        self.len += len;
        self.max += max;
        self.no_space += no_space;
    }
}

impl<T> Bounded<T> {
    /// An empty queue for at most `max` elements. It takes no memory yet.
    #[must_use]
    pub const fn new(max: usize) -> Self {
        Self { items: VecDeque::new(), max, no_space: 0 }
    }

    /// Appends an element.
    ///
    /// # Errors
    /// When the queue is full: the element, which is counted.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), T> {
        self.push_within(self.max, item)
    }

    /// Appends an element to a queue of which this kind of element may take the first `room` places only.
    ///
    /// # Errors
    /// When these are taken: the element, which is counted.
    #[inline]
    pub fn push_within(&mut self, room: usize, item: T) -> Result<(), T> {
        if self.items.len() >= room.min(self.max) {
            self.no_space += 1;
            return Err(item);
        }
        self.items.push_back(item);
        Ok(())
    }

    /// Appends an element. If the queue is full, its oldest element gives way: that one is counted and returned.
    #[inline]
    pub fn displace(&mut self, item: T) -> Option<T> {
        if self.items.len() < self.max {
            self.items.push_back(item);
            return None;
        }
        self.no_space += 1;
        let Some(oldest) = self.items.pop_front() else { return Some(item) };
        self.items.push_back(item);
        Some(oldest)
    }

    /// Puts an element in front of all others.
    ///
    /// # Errors
    /// When the queue is full: the element, which is counted.
    pub fn put_back(&mut self, item: T) -> Result<(), T> {
        if self.items.len() >= self.max {
            self.no_space += 1;
            return Err(item);
        }
        self.items.push_front(item);
        Ok(())
    }

    /// Takes the oldest element.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        self.items.pop_front()
    }

    /// Takes the oldest element if `is_due` says so.
    pub fn pop_if(&mut self, mut is_due: impl FnMut(&T) -> bool) -> Option<T> {
        self.items.pop_front_if(|item| is_due(item))
    }

    /// Takes out the element at `at`.
    pub fn remove(&mut self, at: usize) -> Option<T> {
        self.items.remove(at)
    }

    /// Takes out the elements in `range`, in order.
    pub fn drain(&mut self, range: impl RangeBounds<usize>) -> Drain<'_, T> {
        self.items.drain(range)
    }

    /// Keeps the elements that `stays` names.
    pub fn retain(&mut self, stays: impl FnMut(&T) -> bool) {
        self.items.retain(stays);
    }

    /// Removes all elements; what was counted stays.
    pub fn clear(&mut self) {
        self.items.clear();
    }

    /// The elements from the oldest on, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.items.iter_mut()
    }

    /// The length and the limit of the queue, and how much it refused.
    #[must_use]
    pub fn usage(&self) -> QueueUsage {
        QueueUsage { len: self.items.len(), max: self.max, no_space: self.no_space }
    }
}

impl<T> Deref for Bounded<T> {
    type Target = VecDeque<T>;

    #[inline]
    fn deref(&self) -> &VecDeque<T> {
        &self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    fn of(max: usize, items: impl IntoIterator<Item = u8>) -> Bounded<u8> {
        let mut queue = Bounded::new(max);
        items.into_iter().for_each(|item| queue.push(item).unwrap());
        queue
    }

    fn drained(queue: &mut Bounded<u8>) -> Vec<u8> {
        core::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn a_full_queue_hands_back_what_is_pushed_and_counts_it() {
        let mut queue = of(2, [1, 2]);
        assert_eq!([queue.push(3), queue.put_back(4)], [Err(3), Err(4)]);
        assert_eq!(queue.usage(), QueueUsage { len: 2, max: 2, no_space: 2 });
        assert_eq!(drained(&mut queue), [1, 2]);
    }

    #[test]
    fn the_oldest_gives_way_and_is_counted() {
        let mut queue = of(2, [1]);
        assert_eq!([queue.displace(2), queue.displace(3)], [None, Some(1)]);
        assert_eq!(queue.usage().no_space, 1);
        assert_eq!(drained(&mut queue), [2, 3]);
    }

    #[test]
    fn a_queue_without_room_takes_nothing() {
        let mut queue = Bounded::new(0);
        assert_eq!(
            (queue.push(1), queue.put_back(2), queue.displace(3)),
            (Err(1), Err(2), Some(3))
        );
        assert_eq!(queue.usage(), QueueUsage { len: 0, max: 0, no_space: 3 });
    }

    #[test]
    fn some_elements_may_have_less_room_and_none_has_more() {
        let mut queue = of(3, [1]);
        assert_eq!([queue.push_within(1, 2), queue.push_within(9, 3)], [Err(2), Ok(())]);
        assert_eq!([queue.push(4), queue.push_within(9, 5)], [Ok(()), Err(5)]);
        assert_eq!(queue.usage().no_space, 2);
    }

    #[test]
    fn what_is_put_back_comes_first_and_what_was_counted_outlives_a_clear() {
        let mut queue = of(3, [2, 3]);
        assert_eq!(queue.put_back(1), Ok(()));
        assert_eq!(queue.push(4), Err(4));
        assert_eq!(queue.iter().copied().collect::<Vec<_>>(), vec![1, 2, 3]);
        queue.clear();
        assert_eq!(queue.usage(), QueueUsage { len: 0, max: 3, no_space: 1 });
    }
}
