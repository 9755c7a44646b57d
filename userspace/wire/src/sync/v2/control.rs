//! The small frames: acknowledgements, cuts, the opening of an association, progress, leaving.
//!
//! ```text
//!   ACK    greatest number v | delay, us v | room, KiB 2 | n 1 | n times: gap v, run v
//!   CUT    upto 8 | settled 8 | stable 8 | rows 4 | digest 8 | table 1 | role 1
//!   OPEN   attributes: number v, length v, value
//!   BULK   upto 8 | rows 4 | sent 4 | left, s 2 | over 1
//!   BYE    reason 1
//! ```

use super::number;
use crate::cursor::Reader;
use core::ops::RangeInclusive;
use ctnetlink::{DecodeError, Writer};

/// Most ranges of an acknowledgement that a sender of ours makes.
pub const ACK_RANGES_MAX: usize = 32;

/// Frame 3: which numbers of a stream arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The greatest number that arrived.
    pub greatest: u64,
    /// How long ago it arrived, microseconds.
    pub delay_us: u64,
    /// How much more may be in flight, KiB.
    pub room_kib: u16,
    ranges: &'a [u8],
    count: u8,
}

impl<'a> Ack<'a> {
    pub(super) fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(body);
        let greatest = number::take(&mut r)?;
        let delay_us = number::take(&mut r)?;
        let [room0, room1, count] = r.array("truncated acknowledgement")?;
        let ranges = r.take(r.remaining(), "truncated acknowledgement")?;
        let room_kib = u16::from_be_bytes([room0, room1]);
        Ok(Self { greatest, delay_us, room_kib, ranges, count })
    }

    /// The numbers that arrived, as ranges from the greatest down. Each is encoded as how many numbers are missing
    /// above it (`gap`) and how many it has (`run`). An error ends the walk; the ranges before it hold.
    pub fn ranges(self) -> impl Iterator<Item = Result<RangeInclusive<u64>, DecodeError>> + 'a {
        let mut r = Reader::new(self.ranges);
        // Numbers below are not covered; `None`: all numbers are covered.
        let mut below = self.greatest.checked_add(1);
        let mut left = self.count;
        core::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let mut next = || {
                let gap = number::take(&mut r)?;
                let run = number::take(&mut r)?;
                let end = below.and_then(|below| below.checked_sub(gap)?.checked_sub(1));
                let start = end.and_then(|end| end.checked_sub(run.checked_sub(1)?));
                let wrong = || DecodeError::new(r.position(), "a range of no numbers");
                let (start, end) = start.zip(end).ok_or_else(wrong)?;
                Ok((start, end))
            };
            Some(match next() {
                Ok((start, end)) => {
                    below = Some(start);
                    Ok(start..=end)
                }
                Err(e) => {
                    left = 0;
                    Err(e)
                }
            })
        })
    }
}

/// The body of frame 3. `ranges` descend from the greatest number on and do not touch; at most 255 of them are
/// encoded.
pub fn put_ack(
    w: &mut Writer<'_>,
    delay_us: u64,
    room_kib: u16,
    ranges: impl ExactSizeIterator<Item = RangeInclusive<u64>> + Clone,
) {
    let count = ranges.len().min(255) as u8;
    let greatest = ranges.clone().next().map_or(0, |range| *range.end());
    number::put(w, greatest);
    number::put(w, delay_us);
    w.put(&room_kib.to_be_bytes());
    w.put(&[count]);
    let mut below = greatest.saturating_add(1);
    for range in ranges.take(usize::from(count)) {
        let (start, end) = range.into_inner();
        number::put(w, below.saturating_sub(end).saturating_sub(1));
        number::put(w, end.saturating_sub(start).saturating_add(1));
        below = start;
    }
}

/// How sure a node is of its own table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Table {
    /// The table is being read for the first time.
    #[default]
    Loading = 0,
    /// The table is what the kernel holds.
    Exact = 1,
    /// Events were lost.
    Degraded = 2,
    /// The table is being read again after a loss.
    Repairing = 3,
}

/// What a node does with its flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// The node claims what its kernel shows.
    #[default]
    Active = 0,
    /// The node claims by traffic only.
    Standby = 1,
}

/// Frame 4: a place in a stream where both ends can be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// The sender's last version that the stream has carried.
    pub upto: u64,
    /// The least number in flight, or that of this datagram: everything below is settled, arrived or sent again.
    pub settled: u64,
    /// The greatest version up to which the receiver acknowledged everything.
    pub stable: u64,
    /// How many flows of the stream the sender claims.
    pub rows: u32,
    /// The sum of the prints of these.
    pub digest: u64,
    /// Its table.
    pub table: Table,
    /// Its role.
    pub role: Role,
}

impl Cut {
    /// Bytes of the body.
    pub const LEN: usize = 38;

    pub(super) fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(body);
        let short = "truncated cut";
        let [upto, settled, stable] = [r.array(short)?, r.array(short)?, r.array(short)?];
        let rows = r.array(short).map(u32::from_be_bytes)?;
        let digest = r.array(short).map(u64::from_be_bytes)?;
        let [table, role] = r.array(short)?;
        let [upto, settled, stable] = [upto, settled, stable].map(u64::from_be_bytes);
        // A state of a table that a later version may add says at least that the table is not exact.
        let table = match table {
            0 => Table::Loading,
            1 => Table::Exact,
            3 => Table::Repairing,
            _ => Table::Degraded,
        };
        let role = if role == 0 { Role::Active } else { Role::Standby };
        Ok(Self { upto, settled, stable, rows, digest, table, role })
    }

    /// The body.
    pub fn put(&self, w: &mut Writer<'_>) {
        for word in [self.upto, self.settled, self.stable] {
            w.put(&word.to_be_bytes());
        }
        w.put(&self.rows.to_be_bytes());
        w.put(&self.digest.to_be_bytes());
        w.put(&[self.table as u8, self.role as u8]);
    }
}

/// What a node holds of another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    /// Incarnation of the other node.
    pub incarnation: u64,
    /// Everything up to this version of it.
    pub version: u64,
    /// How many flows the sender holds.
    pub rows: u32,
}

/// Frame 5: the beginning of an association, which is a pair of incarnations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// The sender's incarnation.
    pub mine: u64,
    /// The receiver's.
    pub yours: u64,
    /// How often the sender restarted its stream with this incarnation of the receiver, which it does after silence.
    /// A node that sees another round than before repeats its own OPEN, because the peer has forgotten the last one.
    pub round: u32,
    /// The slices that the sender's end of this stream has: the first, and one more than the last.
    pub slices: [u8; 2],
    /// How many bits select the leaf of a slice in the sender's sums: both ends compare by the lesser number.
    pub leaf_bits: u8,
    /// The most flows that the sender holds of all its peers.
    pub flows_max: u32,
    /// What the sender holds of the receiver, if anything.
    pub hold: Option<Hold>,
}

impl Default for Open {
    fn default() -> Self {
        let (slices, leaf_bits) = ([0, super::digest::SLICES as u8], super::digest::LEAF_BITS_MAX);
        Self { mine: 0, yours: 0, round: 0, slices, leaf_bits, flows_max: 0, hold: None }
    }
}

/// Numbers of the attributes of [`Open`].
mod attribute {
    pub(super) const INCARNATIONS: u64 = 1;
    pub(super) const SLICES: u64 = 2;
    pub(super) const LEAF_BITS: u64 = 3;
    pub(super) const FLOWS_MAX: u64 = 4;
    pub(super) const HOLD: u64 = 5;
    pub(super) const ROUND: u64 = 6;
}

impl Open {
    pub(super) fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        const SIZE: &str = "attribute of wrong size";
        let mut open = Self::default();
        let mut named = false;
        let mut r = Reader::new(body);
        while r.remaining() != 0 {
            let number = number::take(&mut r)?;
            let len = number::take_len(&mut r)?;
            let mut value = Reader::new(r.take(len, "attribute longer than the frame")?);
            match number {
                attribute::INCARNATIONS => {
                    open.mine = value.array(SIZE).map(u64::from_be_bytes)?;
                    open.yours = value.array(SIZE).map(u64::from_be_bytes)?;
                    named = true;
                }
                attribute::ROUND => open.round = value.array(SIZE).map(u32::from_be_bytes)?,
                attribute::SLICES => open.slices = value.array(SIZE)?,
                attribute::LEAF_BITS => [open.leaf_bits] = value.array(SIZE)?,
                attribute::FLOWS_MAX => {
                    open.flows_max = value.array(SIZE).map(u32::from_be_bytes)?;
                }
                attribute::HOLD => {
                    open.hold = Some(Hold {
                        incarnation: value.array(SIZE).map(u64::from_be_bytes)?,
                        version: value.array(SIZE).map(u64::from_be_bytes)?,
                        rows: value.array(SIZE).map(u32::from_be_bytes)?,
                    });
                }
                _ => value.skip_at_most(usize::MAX),
            }
            if value.remaining() != 0 {
                return Err(DecodeError::new(r.position(), SIZE));
            }
        }
        open.checked(named)
    }

    fn checked(mut self, named: bool) -> Result<Self, DecodeError> {
        let [first, end] = self.slices;
        if !named {
            return Err(DecodeError::new(0, "an opening without incarnations"));
        }
        if first >= end || usize::from(end) > super::digest::SLICES {
            return Err(DecodeError::new(0, "an opening without slices"));
        }
        self.leaf_bits = self.leaf_bits.min(super::digest::LEAF_BITS_MAX);
        Ok(self)
    }

    /// The body.
    pub fn put(&self, w: &mut Writer<'_>) {
        let mut incarnations = [0; 16];
        incarnations[..8].copy_from_slice(&self.mine.to_be_bytes());
        incarnations[8..].copy_from_slice(&self.yours.to_be_bytes());
        put(w, attribute::INCARNATIONS, &incarnations);
        put(w, attribute::ROUND, &self.round.to_be_bytes());
        put(w, attribute::SLICES, &self.slices);
        put(w, attribute::LEAF_BITS, &[self.leaf_bits]);
        put(w, attribute::FLOWS_MAX, &self.flows_max.to_be_bytes());
        if let Some(hold) = self.hold {
            number::put(w, attribute::HOLD);
            number::put(w, 20);
            w.put(&hold.incarnation.to_be_bytes());
            w.put(&hold.version.to_be_bytes());
            w.put(&hold.rows.to_be_bytes());
        }
    }
}

fn put(w: &mut Writer<'_>, number: u64, value: &[u8]) {
    number::put(w, number);
    number::put(w, value.len() as u64);
    w.put(value);
}

/// Frame 10: how far a bulk is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bulk {
    /// The version up to which the bulk goes.
    pub upto: u64,
    /// How many rows it has.
    pub rows: u32,
    /// How many of them were sent.
    pub sent: u32,
    /// Seconds that it will still take; 65,535: longer, or not known.
    pub left_s: u16,
    /// Everything was acknowledged: the receiver drops the sender's flows that the stream has not carried since OPEN.
    pub over: bool,
}

impl Bulk {
    pub(super) fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(body);
        let short = "truncated bulk";
        let upto = r.array(short).map(u64::from_be_bytes)?;
        let rows = r.array(short).map(u32::from_be_bytes)?;
        let sent = r.array(short).map(u32::from_be_bytes)?;
        let left_s = r.array(short).map(u16::from_be_bytes)?;
        let [over] = r.array(short)?;
        Ok(Self { upto, rows, sent, left_s, over: over != 0 })
    }

    /// The body.
    pub fn put(&self, w: &mut Writer<'_>) {
        w.put(&self.upto.to_be_bytes());
        w.put(&self.rows.to_be_bytes());
        w.put(&self.sent.to_be_bytes());
        w.put(&self.left_s.to_be_bytes());
        w.put(&[u8::from(self.over)]);
    }
}

/// Frame 13: why a node leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bye {
    /// The sender stops.
    #[default]
    Stopping = 0,
    /// The sender's configuration does not name the receiver any more.
    Removed = 1,
}

impl Bye {
    pub(super) fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let [reason] = Reader::new(body).array("truncated farewell")?;
        Ok(if reason == 1 { Self::Removed } else { Self::Stopping })
    }
}

/// The one number of frame 11: the version up to which the sender gives up its claims, though their flows live.
pub(super) fn decode_release(body: &[u8]) -> Result<u64, DecodeError> {
    Reader::new(body).array("truncated release").map(u64::from_be_bytes)
}
