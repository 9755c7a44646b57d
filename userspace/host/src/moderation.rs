//! Lines that others can cause, in moderation: a few at once, then one now and then that says how many were left out.

use common::Instant;
use std::time::Duration;

/// How many lines of a kind may be logged at once.
const AT_ONCE: u32 = 10;
/// How soon one more may follow after those.
const EVERY: Duration = Duration::from_secs(10);

/// How many more lines of one kind may be logged.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    left: u32,
    /// When there is one more to tell.
    more_at: Instant,
    untold: u64,
}

impl Default for Quota {
    fn default() -> Self {
        Self { left: AT_ONCE, more_at: Instant(0), untold: 0 }
    }
}

impl Quota {
    /// Whether to tell one at `now`: how many were left out since the last one, or `None` if this one is left out too.
    pub fn take(&mut self, now: Instant) -> Option<u64> {
        while self.left < AT_ONCE && now >= self.more_at {
            self.left += 1;
            self.more_at += EVERY;
        }
        if self.left == AT_ONCE {
            self.more_at = now + EVERY;
        }
        if self.left == 0 {
            self.untold += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_burst_is_told_then_one_now_and_then_with_how_many_were_not() {
        let mut quota = Quota::default();
        let told = (0..1000).filter(|n| quota.take(Instant(100 * S + n)).is_some()).count();
        assert_eq!(told, AT_ONCE as usize);
        assert_eq!(quota.take(Instant(110 * S)), Some(990));
        assert_eq!(quota.take(Instant(111 * S)), None);
        assert_eq!(quota.take(Instant(121 * S)), Some(1));
    }

    #[test]
    fn after_a_long_silence_there_is_a_burst_again() {
        let mut quota = Quota::default();
        while quota.take(Instant(S)).is_some() {}
        let told = (0..1000).filter(|n| quota.take(Instant(1000 * S + n)).is_some()).count();
        assert_eq!(told, AT_ONCE as usize);
    }
}
