//! Datagrams in flight in one stream: each with its number, its time, and the ledger items that it carried (R8.3).
//!
//! ```text
//!   front                                            back
//!   | 41 lost | 42 flies | 43 acknowledged | 44 flies |      numbers follow each other
//!               records 7@v90, 9@v91          9@v95          in the order of their datagrams
//! ```
//!
//! A datagram is lost when one that was sent three later was acknowledged and it is older than 9/8 of a round trip;
//! or after the probe timeout. Its content has to be sent again, if it has not changed since.

#[cfg(test)]
mod tests;

use super::ledger::{Entry, Item, Ledger};
use super::path::Path;
use super::rate::{Rate, RoundTrip, Snapshot};
use super::stream::ACK_AFTER;
use crate::bounded::{Bounded, QueueUsage};
use alloc::collections::VecDeque;
use common::Instant;
use core::ops::RangeInclusive;
use core::time::Duration;

/// Most bytes in flight in a stream.
pub const BYTES_MAX: u64 = 4 << 20;
/// Most records in flight in a stream.
pub const RECORDS_MAX: usize = 131_072;
/// Datagrams in flight in a stream; those that carry nothing of the ledger count here.
pub const DATAGRAMS_MAX: usize = 16_384;
/// How many later ones must have been acknowledged.
const LATER: u64 = 3;
/// Most lost records: all records in flight, and all ends, which a peer gets after a restart. Lost records are sent
/// before new ones, so no more can be lost meanwhile.
pub const LOST_MAX: usize = RECORDS_MAX + super::claims::ENDS_MAX;
/// How often the probe timeout doubles at most.
const BACKOFF_MAX: u32 = 6;

/// Content of a datagram: an item of the ledger, at this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentRecord {
    /// The item.
    pub item: Item,
    /// Its version.
    pub version: u64,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    at: Instant,
    snapshot: Snapshot,
    /// When the oldest news in it arose.
    news_at: Option<Instant>,
    len: u32,
    records: u32,
    flies: bool,
    /// The datagram tries a length: the rate does not learn from it.
    tries: bool,
}

/// What learns from what becomes of datagrams.
#[derive(Debug)]
pub struct Models<'a> {
    /// How fast the path is.
    pub rate: &'a mut Rate,
    /// How long datagrams may be.
    pub path: &'a mut Path,
}

/// What an acknowledgement, or a timeout, showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AckOutcome {
    /// Datagrams that arrived, of which that was not known.
    pub acked: u32,
    /// Datagrams that are lost.
    pub lost: u32,
    /// When the oldest news arose that arrived, of which that was not known.
    pub news_at: Option<Instant>,
}

/// What is in flight in one stream.
#[derive(Debug)]
pub struct Sent {
    flights: VecDeque<Flight>,
    /// The number of the front one.
    first: u64,
    records: VecDeque<SentRecord>,
    /// Records at the back that belong to the datagram that is being packed.
    packing: u32,
    /// When the oldest news arose that the datagram carries.
    packing_news_at: Option<Instant>,
    bytes: u64,
    greatest_acked: u64,
    backoff: u32,
    /// When anything was last acknowledged, or in flight after nothing was.
    heard_at: Instant,
}

impl Default for Sent {
    fn default() -> Self {
        Self {
            flights: VecDeque::new(),
            first: 1,
            records: VecDeque::new(),
            packing: 0,
            packing_news_at: None,
            bytes: 0,
            greatest_acked: 0,
            backoff: 0,
            heard_at: Instant(0),
        }
    }
}

impl Sent {
    /// The number of the next datagram; the first is 1.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.first + self.flights.len() as u64
    }

    /// Bytes in flight.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether another datagram with so many records may be sent at all.
    #[must_use]
    pub fn has_room(&self, records: usize) -> bool {
        self.bytes < BYTES_MAX
            && self.flights.len() < DATAGRAMS_MAX
            && self.records.len() + records <= RECORDS_MAX
    }

    /// Adds an item to the datagram that is being packed.
    #[inline]
    pub fn tell(&mut self, item: Item, version: u64) {
        self.records.push_back(SentRecord { item, version });
        self.packing += 1;
    }

    /// Notes that the datagram that is being packed carries news, the oldest of which arose then.
    pub const fn date(&mut self, oldest: Instant) {
        self.packing_news_at = Some(oldest);
    }

    /// The datagram that was packed goes out: its number is returned. One that asks for no acknowledgement (`elicits`)
    /// is not waited for, and must carry no item.
    pub fn send(&mut self, now: Instant, len: usize, elicits: bool, snapshot: Snapshot) -> u64 {
        let flies = elicits || self.packing != 0;
        let records = core::mem::take(&mut self.packing);
        let news_at = self.packing_news_at.take();
        let flight = Flight { at: now, snapshot, news_at, len: 0, records, flies, tries: false };
        let number = self.depart(flight, len);
        self.bytes += if flies { len as u64 } else { 0 };
        self.drop_done();
        number
    }

    /// A datagram goes out that tries its length and carries no records: its number is returned.
    pub fn send_probe(&mut self, now: Instant, len: usize) -> u64 {
        let snapshot = Snapshot::default();
        let flight = Flight {
            at: now,
            snapshot,
            news_at: None,
            len: 0,
            records: 0,
            flies: true,
            tries: true,
        };
        self.depart(flight, len)
    }

    fn depart(&mut self, flight: Flight, len: usize) -> u64 {
        let number = self.next_number();
        if self.is_idle() {
            self.heard_at = flight.at;
        }
        self.flights.push_back(Flight { len: u32::try_from(len).unwrap_or(u32::MAX), ..flight });
        number
    }

    /// A datagram that tries its length is not waited for any more.
    pub fn abandon(&mut self, number: u64) {
        let at = number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        let flight = at.and_then(|at| self.flights.get_mut(at)).filter(|flight| flight.tries);
        flight.into_iter().for_each(|flight| flight.flies = false);
        self.drop_done();
    }

    /// The peer has these numbers. What is lost because of that goes to `lost`.
    pub fn on_ack(
        &mut self,
        now: Instant,
        mut models: Models<'_>,
        ranges: impl Iterator<Item = RangeInclusive<u64>>,
        delay: Duration,
        mut lost: impl FnMut(SentRecord),
    ) -> AckOutcome {
        let mut outcome = AckOutcome::default();
        let next = self.next_number();
        for range in ranges {
            let (from, to) = ((*range.start()).max(self.first), (*range.end()).min(next - 1));
            for number in (from..=to).rev() {
                self.on_acked(now, &mut models, number, delay, &mut outcome);
            }
        }
        if outcome.acked != 0 {
            (self.backoff, self.heard_at) = (0, now);
        }
        outcome.lost += self.find_lost(now, &mut models, &mut lost);
        outcome
    }

    fn on_acked(
        &mut self,
        now: Instant,
        models: &mut Models<'_>,
        number: u64,
        delay: Duration,
        outcome: &mut AckOutcome,
    ) {
        let newest = number > self.greatest_acked;
        self.greatest_acked = self.greatest_acked.max(number);
        let flight = &mut self.flights[(number - self.first) as usize];
        if !flight.flies {
            return;
        }
        flight.flies = false;
        let Flight { at, snapshot, news_at, len, tries, .. } = *flight;
        outcome.news_at = [outcome.news_at, news_at].into_iter().flatten().min();
        outcome.acked += 1;
        models.path.on_acked(now, number, len as usize);
        if newest {
            models.rate.on_trip(now, now.since(at), delay);
        }
        if !tries {
            self.bytes -= u64::from(len);
            models.rate.on_acked(now, at, u64::from(len), &snapshot);
        }
    }

    /// Finds what is lost because later ones arrived.
    fn find_lost(
        &mut self,
        now: Instant,
        models: &mut Models<'_>,
        lost: &mut impl FnMut(SentRecord),
    ) -> u32 {
        let patience = models.rate.trip().loss_delay();
        let greatest = self.greatest_acked;
        let is_lost = |number: u64, flight: &Flight| {
            number + LATER <= greatest && now.since(flight.at) >= patience
        };
        let count = self.give_up(now, models, is_lost, lost);
        self.drop_done();
        count
    }

    /// Time went by. What is lost because of that goes to `lost`.
    pub fn on_timeout(
        &mut self,
        now: Instant,
        mut models: Models<'_>,
        mut lost: impl FnMut(SentRecord),
    ) -> AckOutcome {
        let mut count = self.find_lost(now, &mut models, &mut lost);
        let patience = self.patience(models.rate.trip());
        if now.since(self.heard_at) >= patience {
            let is_old = |_, flight: &Flight| now.since(flight.at) >= patience;
            let before = self.bytes;
            let old = self.give_up(now, &mut models, is_old, &mut lost);
            // A length that does not pass says nothing of how long others take.
            if self.bytes != before {
                (self.backoff, self.heard_at) = ((self.backoff + 1).min(BACKOFF_MAX), now);
            }
            count += old;
            self.drop_done();
        }
        AckOutcome { lost: count, ..AckOutcome::default() }
    }

    fn patience(&self, trip: &RoundTrip) -> Duration {
        trip.probe_timeout(ACK_AFTER) * (1 << self.backoff)
    }

    /// When [`Sent::on_timeout`] may find something, if nothing is acknowledged before.
    #[must_use]
    pub fn timeout(&self, trip: &RoundTrip) -> Option<Instant> {
        let mut flying = self.flights.iter().enumerate().filter(|(_, flight)| flight.flies);
        let (at, oldest) = flying.next()?;
        let overtaken = self.first + at as u64 + LATER <= self.greatest_acked;
        let by_probe = oldest.at.max(self.heard_at) + self.patience(trip);
        let by_loss = oldest.at + trip.loss_delay();
        Some(if overtaken { by_loss.min(by_probe) } else { by_probe })
    }

    fn give_up(
        &mut self,
        now: Instant,
        models: &mut Models<'_>,
        is_lost: impl Fn(u64, &Flight) -> bool,
        lost: &mut impl FnMut(SentRecord),
    ) -> u32 {
        let (mut count, mut record) = (0, 0);
        let first = self.first;
        for (number, flight) in (first..).zip(&mut self.flights) {
            let records = flight.records as usize;
            if flight.flies && is_lost(number, flight) {
                flight.flies = false;
                models.path.on_lost(now, number, flight.len as usize);
                if !flight.tries {
                    self.bytes -= u64::from(flight.len);
                    models.rate.on_lost(u64::from(flight.len));
                }
                self.records.range(record..record + records).copied().for_each(&mut *lost);
                count += 1;
            }
            record += records;
        }
        count
    }

    /// Forgets datagrams in front of the first that flies.
    fn drop_done(&mut self) {
        while let Some(flight) = self.flights.front().filter(|flight| !flight.flies) {
            self.records.drain(..flight.records as usize);
            self.flights.pop_front();
            self.first += 1;
        }
    }

    /// The least number in flight, or the next one: what is below is settled (R11.3).
    #[must_use]
    pub const fn settled(&self) -> u64 {
        // Datagrams in front that do not fly were dropped.
        self.first
    }

    /// Whether nothing is in flight.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        // Datagrams in front that do not fly were dropped.
        self.flights.is_empty()
    }

    /// The least version in flight.
    #[must_use]
    pub fn least_version(&self) -> Option<u64> {
        let mut record = 0;
        let mut least = None;
        for flight in &self.flights {
            let records = flight.records as usize;
            if flight.flies {
                let here =
                    self.records.range(record..record + records).map(|record| record.version).min();
                least = [least, here].into_iter().flatten().min();
            }
            record += records;
        }
        least
    }

    /// Forgets what is in flight, and nothing else: the peer is silent (R8.5). Numbers go on.
    pub fn forget(&mut self) {
        let packing = self.packing as usize;
        self.first = self.next_number();
        self.flights.clear();
        self.records.drain(..self.records.len() - packing);
        (self.bytes, self.backoff) = (0, 0);
    }
}

/// Items to send again, in the order in which their loss was found.
#[derive(Debug)]
pub struct Lost(Bounded<SentRecord>);

impl Default for Lost {
    fn default() -> Self {
        Self(Bounded::new(LOST_MAX))
    }
}

impl Lost {
    /// Adds a lost record.
    pub fn push(&mut self, record: SentRecord) {
        // A comparison of tables finds what there is no room for (R11.3).
        let _ = self.0.push(record);
    }

    /// Whether no loss is known that was not sent again.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next one that has not changed since it was lost, and stays so until [`Lost::advance`]. What has changed
    /// waits at the tail of the ledger, and is forgotten here.
    pub fn peek(&mut self, ledger: &Ledger) -> Option<(Item, Entry)> {
        while let Some(record) = self.0.front() {
            match ledger.entry(record.item).filter(|entry| entry.version == record.version) {
                Some(entry) => return Some((record.item, entry)),
                None => {
                    self.0.pop();
                }
            }
        }
        None
    }

    /// Removes the item that [`Lost::peek`] showed: it was sent.
    pub fn advance(&mut self) {
        self.0.pop();
    }

    /// How many records wait to be sent again.
    #[must_use]
    pub fn usage(&self) -> QueueUsage {
        self.0.usage()
    }

    /// The least version of what was lost.
    #[must_use]
    pub fn least_version(&self) -> Option<u64> {
        self.0.iter().map(|record| record.version).min()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// Up to which version a peer acknowledged everything (R8.4). `behind`: what all positions of the stream have behind
/// them, news and bulk ([`Ledger::version_of`]); `before`: what this was before, below which it never falls.
#[must_use]
pub fn stable(behind: u64, sent: &Sent, lost: &Lost, before: u64) -> u64 {
    let open = [sent.least_version(), lost.least_version()].into_iter().flatten().min();
    let acknowledged = open.map_or(behind, |open| behind.min(open.saturating_sub(1)));
    acknowledged.max(before)
}
