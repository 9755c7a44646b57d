//! The rate at which a peer may be sent to: a model of the path, which loss at random does not slow down (R12.1).
//!
//! ```text
//!   rate       the greatest delivery rate of the last 10 round trips
//!   trip       the least round trip of the last 10 seconds
//!   begins     10 datagrams a round trip, then twice the rate each round, until it grows no more
//!   then       1.25, 0.75, 1, 1, 1, 1, 1, 1 times the rate, a round trip each
//!   in flight  at most twice rate times trip
//! ```
//!
//! All streams to one peer share a model.

#[cfg(test)]
mod tests;

use common::Instant;
use core::time::Duration;

/// Datagrams of the first round trip.
const FIRST_WINDOW: u64 = 10;
/// Round trips whose greatest rate counts.
const ROUNDS: usize = 10;
/// How long the least round trip counts.
const TRIP_KEPT: Duration = Duration::from_secs(10);
/// The round trip before one was measured (RFC 9002, 6.2.2).
const TRIP_ASSUMED: Duration = Duration::from_millis(333);
/// Rounds without growth that end the beginning.
const ROUNDS_WITHOUT_GROWTH: u8 = 3;
/// Tenths of the rate, by round of the cycle.
const CYCLE: [u64; 8] = [125, 75, 100, 100, 100, 100, 100, 100];
/// What may be sent at once after a pause: what the rate gives in this time, and [`FIRST_WINDOW`] datagrams at least.
const BURST: Duration = Duration::from_millis(5);
/// The least rate, so that a model can grow again whatever it met: bytes a second.
const RATE_MIN: u64 = 10_000;

/// How long datagrams take to be acknowledged (RFC 9002, 5).
#[derive(Clone, Copy, Debug)]
pub struct RoundTrip {
    smoothed: Duration,
    variation: Duration,
    least: Duration,
    least_at: Instant,
    measured: bool,
}

impl Default for RoundTrip {
    fn default() -> Self {
        let (smoothed, variation) =
            (TRIP_ASSUMED, TRIP_ASSUMED.checked_div(2).unwrap_or(TRIP_ASSUMED));
        Self { smoothed, variation, least: TRIP_ASSUMED, least_at: Instant(0), measured: false }
    }
}

impl RoundTrip {
    /// A datagram was acknowledged so long after it was sent; the peer says that it waited with that for `delay`.
    pub fn on_sample(&mut self, now: Instant, trip: Duration, delay: Duration) {
        if !self.measured || trip <= self.least || now.since(self.least_at) > TRIP_KEPT {
            (self.least, self.least_at) = (trip, now);
        }
        let trip = if trip >= self.least + delay { trip - delay } else { trip };
        if !self.measured {
            (self.smoothed, self.variation, self.measured) = (trip, trip / 2, true);
            return;
        }
        self.variation = (self.variation * 3 + self.smoothed.abs_diff(trip)) / 4;
        self.smoothed = (self.smoothed * 7 + trip) / 8;
    }

    /// The mean of late.
    #[must_use]
    pub const fn smoothed(&self) -> Duration {
        self.smoothed
    }

    /// The least of the last 10 seconds.
    #[must_use]
    pub const fn least(&self) -> Duration {
        self.least
    }

    /// Whether any was measured.
    #[must_use]
    pub const fn is_measured(&self) -> bool {
        self.measured
    }

    /// How long after one was sent three later ones must have been, to say that it is lost.
    #[must_use]
    pub fn loss_delay(&self) -> Duration {
        self.smoothed * 9 / 8
    }

    /// How long nothing may be acknowledged (RFC 9002, 6.2.1), given how long a peer may wait with it.
    #[must_use]
    pub fn probe_timeout(&self, ack_after: Duration) -> Duration {
        self.smoothed + (self.variation * 4).max(Duration::from_millis(1)) + ack_after
    }
}

/// What the model was when a datagram was sent: kept with it until it is acknowledged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
    /// More could have been sent.
    idle: bool,
}

/// The model of the path to one peer.
#[derive(Clone, Debug)]
pub struct Rate {
    trip: RoundTrip,
    /// Bytes a second, by round; `at` is the present one's.
    rates: [u64; ROUNDS],
    at: usize,
    phase: Phase,
    delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
    /// A datagram that was sent when so much had been delivered ends the round.
    round_ends: u64,
    round: Round,
    credit: u64,
    credit_at: Instant,
    cap: Option<u64>,
    datagram_len: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The rate doubles. The rate that was greatest, and rounds since then.
    Begins { greatest: u64, rounds: u8 },
    /// Number of the round in the cycle.
    Cycle(usize),
}

/// What happened since the last round ended.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    delivered: u64,
    lost: u64,
    /// Some of it was sent while more waited, so that the rate is the path's.
    full: bool,
}

impl Rate {
    /// For a path whose datagrams have so many bytes. `cap`: bytes a second at most (`Rate` of the configuration).
    #[must_use]
    pub fn new(now: Instant, datagram_len: usize, cap: Option<u64>) -> Self {
        Self {
            trip: RoundTrip::default(),
            rates: [0; ROUNDS],
            at: 0,
            phase: Phase::Begins { greatest: 0, rounds: 0 },
            delivered: 0,
            delivered_at: now,
            first_sent_at: now,
            round_ends: 0,
            round: Round::default(),
            credit: FIRST_WINDOW * datagram_len as u64,
            credit_at: now,
            cap,
            datagram_len: datagram_len as u64,
        }
    }

    /// Another cap.
    pub const fn set_cap(&mut self, cap: Option<u64>) {
        self.cap = cap;
    }

    /// Another length of datagrams.
    pub const fn set_datagram_len(&mut self, len: usize) {
        self.datagram_len = len as u64;
    }

    /// How long datagrams take.
    #[must_use]
    pub const fn trip(&self) -> &RoundTrip {
        &self.trip
    }

    /// What the path carries, as far as is known: bytes a second.
    #[must_use]
    pub fn rate(&self) -> u64 {
        let known = self.rates.iter().copied().max().unwrap_or(0);
        if known != 0 {
            return known.max(RATE_MIN);
        }
        per_second(FIRST_WINDOW * self.datagram_len, self.trip.least)
    }

    /// The present sending rate, bytes a second.
    #[must_use]
    pub fn pace(&self) -> u64 {
        let percent = match self.phase {
            Phase::Begins { .. } => 200,
            Phase::Cycle(at) => CYCLE[at],
        };
        let pace = self.rate().saturating_mul(percent) / 100;
        self.cap.map_or(pace, |cap| pace.min(cap)).max(1)
    }

    /// Bytes that may be in flight.
    #[must_use]
    pub fn window(&self) -> u64 {
        let least = FIRST_WINDOW * self.datagram_len;
        if !self.trip.measured {
            return least;
        }
        let rate = self.cap.map_or(self.rate(), |cap| self.rate().min(cap));
        (2 * bytes_in(rate, self.trip.least)).max(least)
    }

    /// Bytes that may be sent now, given what is in flight and what the peer has room for.
    pub fn allowance(&mut self, now: Instant, in_flight: u64, room: u64) -> u64 {
        let pace = self.pace();
        let gained = bytes_in(pace, now.since(self.credit_at));
        let most = bytes_in(pace, BURST).max(FIRST_WINDOW * self.datagram_len);
        // Time that gave no whole byte counts later.
        if gained != 0 {
            self.credit = self.credit.saturating_add(gained).min(most);
            self.credit_at = now;
        }
        self.credit.min(self.window().min(room).saturating_sub(in_flight))
    }

    /// How long until a datagram may be sent, as far as the pace is concerned.
    #[must_use]
    pub fn wait(&self) -> Duration {
        let lacking = self.datagram_len.saturating_sub(self.credit);
        Duration::from_nanos(lacking.saturating_mul(1_000_000_000) / self.pace())
    }

    /// A datagram goes out. `more`: others wait to be sent; `in_flight`: bytes, without it.
    pub fn on_sent(&mut self, now: Instant, len: u64, in_flight: u64, more: bool) -> Snapshot {
        self.credit = self.credit.saturating_sub(len);
        if in_flight == 0 {
            (self.delivered_at, self.first_sent_at) = (now, now);
        }
        let Self { delivered, delivered_at, first_sent_at, .. } = *self;
        Snapshot { delivered, delivered_at, first_sent_at, idle: !more }
    }

    /// A datagram of `len` bytes, sent at `sent_at`, was acknowledged.
    pub fn on_acked(&mut self, now: Instant, sent_at: Instant, len: u64, sent: &Snapshot) {
        self.delivered += len;
        self.delivered_at = now;
        self.first_sent_at = self.first_sent_at.max(sent_at);
        self.round.delivered += len;
        self.round.full |= !sent.idle;
        let took = now.since(sent.delivered_at).max(sent_at.since(sent.first_sent_at));
        let rate = per_second(self.delivered - sent.delivered, took);
        // What is measured over less than a round trip says how datagrams came together, not what the path carries. A
        // sender that had nothing more to send learns from it only that the path carries at least as much.
        if took >= self.trip.least && (!sent.idle || rate > self.rate()) {
            self.rates[self.at] = self.rates[self.at].max(rate);
        }
        if sent.delivered >= self.round_ends {
            self.end_round();
        }
    }

    /// A datagram of `len` bytes was lost.
    pub const fn on_lost(&mut self, len: u64) {
        self.round.lost += len;
    }

    /// Takes the round trip of the newest datagram that an acknowledgement is about.
    pub fn on_trip(&mut self, now: Instant, trip: Duration, delay: Duration) {
        self.trip.on_sample(now, trip, delay);
    }

    fn end_round(&mut self) {
        let round = core::mem::take(&mut self.round);
        self.round_ends = self.delivered;
        let too_much = round.lost * 10 > round.lost + round.delivered;
        if too_much {
            self.rates = self.rates.map(|rate| rate - rate / 5);
        }
        // Without more to send, what is known of the path stays known.
        if !round.full && !too_much {
            return;
        }
        let rate = self.rate();
        self.phase = match self.phase {
            Phase::Begins { .. } if too_much => Phase::Cycle(1),
            Phase::Begins { greatest, .. } if rate >= greatest.saturating_add(greatest / 4) => {
                Phase::Begins { greatest: rate, rounds: 0 }
            }
            Phase::Begins { rounds, .. } if rounds + 1 >= ROUNDS_WITHOUT_GROWTH => Phase::Cycle(1),
            Phase::Begins { greatest, rounds } => Phase::Begins { greatest, rounds: rounds + 1 },
            Phase::Cycle(at) => Phase::Cycle((at + 1) % CYCLE.len()),
        };
        self.at = (self.at + 1) % ROUNDS;
        self.rates[self.at] = 0;
    }
}

const fn per_second(bytes: u64, took: Duration) -> u64 {
    let nanos = took.as_nanos();
    let nanos = if nanos == 0 { 1 } else { nanos };
    let rate = bytes as u128 * 1_000_000_000 / nanos;
    if rate > u64::MAX as u128 { u64::MAX } else { rate as u64 }
}

const fn bytes_in(rate: u64, time: Duration) -> u64 {
    let bytes = rate as u128 * time.as_nanos() / 1_000_000_000;
    if bytes > u64::MAX as u128 { u64::MAX } else { bytes as u64 }
}
