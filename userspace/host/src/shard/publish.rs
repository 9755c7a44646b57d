//! What a shard publishes of its state, so that reading it takes none of the shard's time.
//!
//! ```text
//!   shard thread                                  any reader
//!   fill the spare --swap--> Mutex<Arc<newest>> --clone of the Arc--> reads, at leisure
//!        ^------ the publication before, unless a reader holds it
//!   beat, turns: one store in each turn --------> does the thread go on?
//! ```
//!
//! The shard publishes when something has changed, at most four times a second, and sleeps no longer than until it
//! may do so: what a sleeping shard has published is true. An answer comes after the publication of what the shard
//! did for it: a client that got an answer finds nothing older.

use common::Instant;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The shortest time between two publications that no answer waits for.
const EVERY: Duration = Duration::from_millis(250);

/// Something published, and when that was.
#[derive(Debug)]
pub(super) struct Published<T> {
    pub(super) at: Instant,
    pub(super) value: T,
}

#[derive(Debug)]
struct Shared<T> {
    newest: Mutex<Arc<Published<T>>>,
    /// When the thread began its last turn, nanoseconds of [`Instant`].
    beat: AtomicU64,
    turns: AtomicU64,
    ended: AtomicBool,
}

/// The end of those who ask.
#[derive(Debug)]
pub(super) struct Reader<T>(Arc<Shared<T>>);

impl<T> Clone for Reader<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Reader<T> {
    /// What was published last.
    pub(super) fn newest(&self) -> Arc<Published<T>> {
        Arc::clone(&self.0.newest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// When the thread began its last turn.
    pub(super) fn beat(&self) -> Instant {
        Instant(self.0.beat.load(Ordering::Relaxed))
    }

    /// Turns that the thread has begun.
    pub(super) fn turns(&self) -> u64 {
        self.0.turns.load(Ordering::Relaxed)
    }

    /// Whether the thread has ended: what it published is no longer so.
    pub(super) fn has_ended(&self) -> bool {
        self.0.ended.load(Ordering::Acquire)
    }
}

/// The shard's end.
#[derive(Debug)]
pub(super) struct Publisher<T> {
    shared: Arc<Shared<T>>,
    newest: Arc<Published<T>>,
    /// What was published before that, to be filled again.
    spare: Arc<Published<T>>,
    /// When the next publication that no answer waits for may happen.
    due: Instant,
    changed: bool,
}

impl<T> Publisher<T> {
    /// Begins with the first of `values`; the second one is filled first.
    pub(super) fn new(now: Instant, values: [T; 2]) -> (Self, Reader<T>) {
        let [newest, spare] = values.map(|value| Arc::new(Published { at: now, value }));
        let shared = Arc::new(Shared {
            newest: Mutex::new(Arc::clone(&newest)),
            beat: AtomicU64::new(now.0),
            turns: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        let reader = Reader(Arc::clone(&shared));
        (Self { shared, newest, spare, due: now, changed: false }, reader)
    }

    /// A turn begins.
    pub(super) fn turn(&self, now: Instant) {
        self.shared.beat.store(now.0, Ordering::Relaxed);
        // No other thread writes it.
        let turns = self.shared.turns.load(Ordering::Relaxed);
        self.shared.turns.store(turns + 1, Ordering::Relaxed);
    }

    /// What was published last.
    pub(super) fn newest(&self) -> &T {
        &self.newest.value
    }

    /// Something is not as it was published, if `changed`.
    pub(super) const fn note(&mut self, changed: bool) {
        self.changed |= changed;
    }

    /// Whether it is time to publish.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.changed && now >= self.due
    }

    /// How long the thread may sleep before it has to publish; `None` where all is published.
    pub(super) fn sleep_max(&self, now: Instant) -> Option<Duration> {
        self.changed.then(|| self.due.since(now))
    }

    /// The publication before the newest, so that its memory is used again; `None` while a reader holds it.
    pub(super) fn spare(&mut self) -> Option<&mut T> {
        Arc::get_mut(&mut self.spare).map(|spare| &mut spare.value)
    }

    /// Publishes a value as of `now`.
    pub(super) fn publish(&mut self, now: Instant, value: T) {
        let published = Published { at: now, value };
        match Arc::get_mut(&mut self.spare) {
            Some(spare) => *spare = published,
            None => self.renew(published),
        }
        std::mem::swap(&mut self.newest, &mut self.spare);
        let newest = Arc::clone(&self.newest);
        // The shard holds what was there before, so nothing is freed while others wait for the lock.
        *self.shared.newest.lock().unwrap_or_else(PoisonError::into_inner) = newest;
        (self.due, self.changed) = (now + EVERY, false);
    }

    /// Leaves a publication that a reader still holds to that reader.
    fn renew(&mut self, published: Published<T>) {
        self.spare = Arc::new(published);
    }
}

impl<T> Drop for Publisher<T> {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Turns of so many milliseconds each, in all of which something changes; the ages of what was published, as the
    /// turns leave it.
    fn busy(turns: u64, each_ms: u64) -> (u64, Duration) {
        let (mut publisher, reader) = Publisher::new(Instant(0), [0; 2]);
        let (mut times, mut oldest) = (0, Duration::ZERO);
        for turn in 1..=turns {
            let now = Instant(turn * each_ms * MS);
            publisher.turn(now);
            publisher.note(true);
            if publisher.is_due(now) {
                publisher.publish(now, turn);
                times += 1;
            }
            let age = now.since(reader.newest().at);
            oldest = oldest.max(age);
        }
        assert_eq!((reader.turns(), reader.beat()), (turns, Instant(turns * each_ms * MS)));
        (times, oldest)
    }

    #[test]
    fn a_busy_shard_publishes_four_times_a_second_and_no_less() {
        let (times, oldest) = busy(10_000, 1);
        assert_eq!(times, 40);
        assert!(oldest <= EVERY, "{oldest:?}");
        assert_eq!(busy(10, 1).0, 1, "what changes after a rest is published at once");
    }

    #[test]
    fn what_changed_ends_the_sleep_and_what_did_not_does_not() {
        let (mut publisher, reader) = Publisher::new(Instant(0), ["old", ""]);
        assert_eq!((publisher.is_due(Instant(0)), publisher.sleep_max(Instant(0))), (false, None));
        publisher.publish(Instant(0), "new");
        publisher.note(true);
        publisher.note(false);
        let now = Instant(100 * MS);
        assert_eq!((publisher.is_due(now), *publisher.newest()), (false, "new"));
        assert_eq!(publisher.sleep_max(now), Some(Duration::from_millis(150)));
        publisher.publish(now, "because somebody waits for an answer");
        assert_eq!(publisher.sleep_max(now), None);
        assert_eq!(reader.newest().value, "because somebody waits for an answer");
    }

    #[test]
    fn what_somebody_reads_stays_as_it_is_and_memory_is_used_again_otherwise() {
        let (mut publisher, reader) = Publisher::new(Instant(0), [vec![1], Vec::with_capacity(9)]);
        assert_eq!(publisher.spare().map(|spare| spare.capacity()), Some(9));
        let read = reader.newest();
        publisher.publish(Instant(1), vec![2]);
        assert!(publisher.spare().is_none());
        publisher.publish(Instant(2), vec![3]);
        assert_eq!((&read.value, &reader.newest().value), (&vec![1], &vec![3]));
        assert_eq!(publisher.spare(), Some(&mut vec![2]));
        drop(publisher);
        assert!(reader.has_ended());
    }
}
