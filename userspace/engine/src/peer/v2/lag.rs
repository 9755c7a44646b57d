//! How long news takes from this node's kernel to a peer, and back (R15.2).
//!
//! ```text
//!   kernel's event --[Clock]: when versions arose--> datagram: the oldest news in it --acknowledged--> lag to the peer
//!   the peer's datagram: age of its oldest news, and half of the least round trip ------------------> lag from it
//! ```
//!
//! The engine has no allocation to spare here and no std, so it counts by itself, in a fixed number of buckets: 8 for
//! each power of two, which is exact to an eighth. Figures err to the slow side.

#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use common::Instant;
use core::time::Duration;

/// The unit of the age that a datagram carries.
pub const AGE_UNIT: Duration = Duration::from_micros(100);
/// Most times that are remembered of when versions arose.
const MARKS_MAX: usize = 4_096;
/// What arises within this time arose together.
const TOGETHER: Duration = Duration::from_millis(1);
/// How long a window of samples lasts. Two of them are kept.
const WINDOW: Duration = Duration::from_secs(30);
/// Bits that separate the buckets of one power of two.
const SUB_BITS: u32 = 3;
/// Buckets for every number of 32 bits.
const BUCKETS: usize = ((u32::BITS - SUB_BITS + 1) << SUB_BITS) as usize;

/// When the versions of a ledger arose.
#[derive(Debug, Default)]
pub struct Clock {
    /// First version, and when that arose; both rise.
    marks: Vec<(u64, Instant)>,
}

impl Clock {
    /// Versions from `first` on arose then.
    #[inline]
    pub fn note(&mut self, first: u64, at: Instant) {
        if self.marks.last().is_some_and(|(_, last)| at < *last + TOGETHER) {
            return;
        }
        if self.marks.len() >= MARKS_MAX {
            // Every second time of the older half is forgotten: what arose then counts as older than it is.
            let mut at = 0;
            self.marks.retain(|_| {
                at += 1;
                at > MARKS_MAX / 2 || at % 2 == 1
            });
        }
        self.marks.push((first, at));
    }

    /// When a version arose, or a little earlier.
    #[must_use]
    pub fn at(&self, version: u64) -> Instant {
        let later = self.marks.partition_point(|(first, _)| *first <= version);
        let mark = self.marks.get(later.saturating_sub(1));
        mark.map_or(Instant(0), |(_, at)| *at)
    }
}

/// What most of the samples of the last 30 to 60 seconds do not exceed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// Half of them.
    pub p50: Duration,
    /// All but one in a hundred.
    pub p99: Duration,
    /// The greatest of all.
    pub max: Duration,
}

#[derive(Clone, Debug)]
struct Window {
    counts: [u32; BUCKETS],
    max_us: u32,
}

impl Window {
    const EMPTY: Self = Self { counts: [0; BUCKETS], max_us: 0 };
}

/// Samples of the last minute.
#[derive(Clone, Debug)]
pub struct Lags {
    began: Instant,
    now: Window,
    before: Window,
}

impl Default for Lags {
    fn default() -> Self {
        Self { began: Instant(0), now: Window::EMPTY, before: Window::EMPTY }
    }
}

const fn bucket(us: u32) -> usize {
    let Some(power) = us.checked_ilog2() else { return 0 };
    if power < SUB_BITS {
        return us as usize;
    }
    let shift = power - SUB_BITS;
    ((shift << SUB_BITS) + (us >> shift)) as usize
}

/// The greatest number in a bucket.
const fn greatest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 << SUB_BITS {
        return bucket;
    }
    let shift = (bucket >> SUB_BITS) - 1;
    let sub = (bucket & ((1 << SUB_BITS) - 1)) | 1 << SUB_BITS;
    ((sub + 1) << shift) - 1
}

impl Lags {
    /// Something took so long.
    pub fn record(&mut self, now: Instant, lag: Duration) {
        let passed = now.since(self.began);
        if passed >= WINDOW {
            let last = core::mem::replace(&mut self.now, Window::EMPTY);
            self.before = if passed >= WINDOW * 2 { Window::EMPTY } else { last };
            self.began = now;
        }
        let us = u32::try_from(lag.as_micros()).unwrap_or(u32::MAX);
        let count = &mut self.now.counts[bucket(us)];
        *count = count.saturating_add(1);
        self.now.max_us = self.now.max_us.max(us);
    }

    /// What is known of the last minute; `None`: nothing.
    #[must_use]
    pub fn quantiles(&self, now: Instant) -> Option<Quantiles> {
        let passed = now.since(self.began);
        let recent = [(&self.now, WINDOW * 2), (&self.before, WINDOW)];
        let windows = recent.into_iter().filter(|(_, kept)| passed < *kept);
        let windows = windows.map(|(window, _)| window);
        let count = |at: usize| windows.clone().map(|w| u64::from(w.counts[at])).sum::<u64>();
        let all: u64 = (0..BUCKETS).map(count).sum();
        let max_us = u64::from(windows.clone().map(|window| window.max_us).max()?);
        let quantile = |permille: u64| {
            let rank = (all * permille).div_ceil(1_000);
            let mut seen = 0;
            let found = (0..BUCKETS).find(|at| {
                seen += count(*at);
                seen >= rank
            });
            Duration::from_micros(found.map_or(max_us, greatest).min(max_us))
        };
        let max = Duration::from_micros(max_us);
        (all != 0).then(|| Quantiles { p50: quantile(500), p99: quantile(990), max })
    }
}
