//! The receiving half of a stream: which numbers came, when to say so, and whether a cut can be compared.
//!
//! ```text
//!   numbers   ... 90 91 92 .. 94 95 | settled: the sender waits for nothing below
//!   ranges        [94, 95] [.., 92]   from the greatest down; the oldest are left out
//! ```

#[cfg(test)]
mod tests;

use common::Instant;
use core::ops::RangeInclusive;
use core::time::Duration;
use wire::sync::v2::Frame;
use wire::sync::v2::control::ACK_RANGES_MAX;

/// Within this time a datagram is acknowledged.
pub const ACK_AFTER: Duration = Duration::from_millis(20);
/// After so many datagrams at the latest they are acknowledged.
pub const ACK_EVERY: u32 = 32;

/// What a datagram's number says to its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// The datagram came for the first time, as far as is remembered.
    Fresh,
    /// The datagram came before.
    Known,
    /// The sender does not wait for the datagram any more (R8.7): it is ignored.
    Settled,
}

/// The numbers of a stream that came.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// First and last number of each range, from the greatest down; they do not touch.
    ranges: [(u64, u64); ACK_RANGES_MAX],
    len: usize,
    /// When the greatest number came.
    greatest_at: Instant,
    settled: u64,
    /// Datagrams that ask to be acknowledged and were not.
    owed: u32,
    /// When they must be.
    due: Option<Instant>,
}

impl Default for Arrived {
    fn default() -> Self {
        Self {
            ranges: [(0, 0); ACK_RANGES_MAX],
            len: 0,
            greatest_at: Instant(0),
            settled: 0,
            owed: 0,
            due: None,
        }
    }
}

/// Whether a datagram with this frame asks to be acknowledged. Acknowledgements and cuts do not: two nodes that have
/// nothing to send would talk for ever.
#[must_use]
pub const fn elicits(frame: &Frame<'_>) -> bool {
    !matches!(frame, Frame::Ack(_) | Frame::Cut(_) | Frame::Bye(_) | Frame::Unknown(_))
}

impl Arrived {
    /// A datagram came. `elicits`: it asks to be acknowledged; `soon`: at once.
    pub fn on_datagram(&mut self, now: Instant, number: u64, elicits: bool, soon: bool) -> Number {
        if number < self.settled {
            return Number::Settled;
        }
        let greatest = self.greatest();
        let known = self.ranges().any(|range| range.contains(&number));
        if !known {
            self.insert(number);
        }
        if greatest.is_none_or(|greatest| number > greatest) {
            self.greatest_at = now;
        }
        // One is missing, or one that was missing came: its sender should know.
        let in_order = match greatest {
            None => true,
            Some(greatest) => number == greatest.wrapping_add(1),
        };
        if elicits {
            self.owed += 1;
            let due =
                if in_order && !soon && self.owed < ACK_EVERY { now + ACK_AFTER } else { now };
            self.due = Some(self.due.map_or(due, |before| before.min(due)));
        } else if soon {
            self.due = Some(now);
        }
        if known { Number::Known } else { Number::Fresh }
    }

    fn insert(&mut self, number: u64) {
        let ranges = &mut self.ranges[..self.len];
        // The first range that begins at the number or before it.
        let at = ranges.iter().position(|range| range.0 <= number).unwrap_or(self.len);
        let joins_above = at > 0 && ranges[at - 1].0 == number.wrapping_add(1);
        let joins_below = at < self.len && ranges[at].1.wrapping_add(1) == number;
        match (joins_above, joins_below) {
            (true, true) => {
                ranges[at - 1].0 = ranges[at].0;
                ranges.copy_within(at + 1.., at);
                self.len -= 1;
            }
            (true, false) => ranges[at - 1].0 = number,
            (false, true) => ranges[at].1 = number,
            (false, false) if at < ACK_RANGES_MAX => {
                self.len = (self.len + 1).min(ACK_RANGES_MAX);
                self.ranges[..self.len].copy_within(at..self.len - 1, at + 1);
                self.ranges[at] = (number, number);
            }
            // Older than all that is remembered.
            (false, false) => {}
        }
    }

    /// The greatest number that came.
    #[must_use]
    pub fn greatest(&self) -> Option<u64> {
        self.ranges[..self.len].first().map(|range| range.1)
    }

    /// What came, from the greatest number down.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = RangeInclusive<u64>> + Clone + '_ {
        self.ranges[..self.len].iter().map(|(from, to)| *from..=*to)
    }

    /// Whether an acknowledgement must go out now.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Whether an acknowledgement is due: with the next datagram, if there is one.
    #[must_use]
    pub const fn is_owed(&self) -> bool {
        self.due.is_some()
    }

    /// When an acknowledgement must go out.
    #[must_use]
    pub const fn timeout(&self) -> Option<Instant> {
        self.due
    }

    /// How long ago the greatest number came, which an acknowledgement carries.
    #[must_use]
    pub const fn delay(&self, now: Instant) -> Duration {
        now.since(self.greatest_at)
    }

    /// An acknowledgement with all ranges went out.
    pub const fn on_acknowledged(&mut self) {
        (self.owed, self.due) = (0, None);
    }

    /// The sender waits for nothing below this number (R8.7). It may have said a greater one before.
    pub fn on_settled(&mut self, settled: u64) {
        self.settled = self.settled.max(settled);
        let settled = self.settled;
        while self.len > 1 && self.ranges[self.len - 1].1 < settled {
            self.len -= 1;
        }
    }

    /// The greatest `settled` that came.
    #[must_use]
    pub const fn settled(&self) -> u64 {
        self.settled
    }

    /// Whether a cut with this `settled`, in the datagram with this number, can be compared (R11.4): all numbers from
    /// `settled` to its own came, and none after it.
    #[must_use]
    pub fn is_comparable(&self, settled: u64, own: u64) -> bool {
        let newest = self.ranges[..self.len].first();
        newest.is_some_and(|(from, to)| *to == own && *from <= settled && settled <= own)
    }
}
