//! Rate limit of log lines that others can cause: a few at once, then one now and then that says how many were
//! left out.

use common::Instant;
use std::time::Duration;

/// How many lines of a kind may be logged at once.
const AT_ONCE: u32 = 10;
/// How soon one more may follow after those.
const EVERY: Duration = Duration::from_secs(10);

/// How many more lines of one kind may be logged.
#[derive(Clone, Copy, Debug)]
pub struct RateLimit {
    left: u32,
    /// When one more line may be logged.
    more_at: Instant,
    left_out: u64,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { left: AT_ONCE, more_at: Instant(0), left_out: 0 }
    }
}

impl RateLimit {
    /// Whether to log a line at `now`: how many were left out since the last one, or `None` to leave this one out too.
    pub fn take(&mut self, now: Instant) -> Option<u64> {
        while self.left < AT_ONCE && now >= self.more_at {
            self.left += 1;
            self.more_at += EVERY;
        }
        if self.left == AT_ONCE {
            self.more_at = now + EVERY;
        }
        if self.left == 0 {
            self.left_out += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_burst_is_logged_then_one_line_now_and_then_with_how_many_were_left_out() {
        let mut rate_limit = RateLimit::default();
        let logged = (0..1000).filter(|n| rate_limit.take(Instant(100 * S + n)).is_some()).count();
        assert_eq!(logged, AT_ONCE as usize);
        assert_eq!(rate_limit.take(Instant(110 * S)), Some(990));
        assert_eq!(rate_limit.take(Instant(111 * S)), None);
        assert_eq!(rate_limit.take(Instant(121 * S)), Some(1));
    }

    #[test]
    fn after_a_long_silence_there_is_a_burst_again() {
        let mut rate_limit = RateLimit::default();
        while rate_limit.take(Instant(S)).is_some() {}
        let logged = (0..1000).filter(|n| rate_limit.take(Instant(1000 * S + n)).is_some()).count();
        assert_eq!(logged, AT_ONCE as usize);
    }
}
