//! The daemon's own services: latencies in detail, reloads, answers over HTTP.

use export::http::HttpCounts;
use host::shard::{LATENCY_BOUNDS_US, Latency};
use serde::{Deserialize, Serialize};

object! {
    /// How many events waited so long.
    Bucket {
        /// The longest wait that counts here, microseconds; longer ones are in the next bucket.
        le_us: u64,
        /// How many waits.
        count: u64,
    }
}

object! {
    /// The last time the configuration was read again.
    Reload {
        /// Whether it is in force.
        succeeded: bool,
        /// When that was known, seconds since 1970.
        at_s: u64,
    }
}

object! {
    /// Requests for metrics and readiness over HTTP.
    Http {
        /// Answered, those for what does not exist included.
        answered: u64,
        /// Refused, because they came from an address that may not ask.
        forbidden: u64,
        /// Connections closed at once, because there were too many.
        busy: u64,
        /// Connections that ended before their answer was sent.
        failed: u64,
    }
}

impl Bucket {
    /// The buckets that have a bound.
    pub(super) fn all(latency: &Latency) -> Vec<Self> {
        let bounds = LATENCY_BOUNDS_US.into_iter().zip(latency.buckets);
        bounds.map(|(le_us, count)| Self { le_us, count }).collect()
    }
}

impl From<HttpCounts> for Http {
    fn from(counts: HttpCounts) -> Self {
        let HttpCounts { answered, forbidden, busy, failed } = counts;
        Self { answered, forbidden, busy, failed }
    }
}
