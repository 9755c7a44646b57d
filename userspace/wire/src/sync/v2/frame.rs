//! Datagrams, taken apart and packed.
//!
//! ```text
//!   head    sent, us, BE 4 | age of the oldest news, 0.1 ms, BE 2 | flags 1 | 0
//!   frame   type 1 | length, BE 2 | body
//!   PAD     type 0, and all that is left
//! ```

use super::control::{self, Ack, Bulk, Bye, Cut, Open};
use super::digest::{Ids, Sums, Wants};
use super::expect::{Expectations, put_expect};
use super::flow::{Canonical, Claim, Packer, Records, What};
use super::number;
use crate::cursor::Reader;
use bitflags::bitflags;
use ctnetlink::{DecodeError, Expectation, FlowKey, Writer};

/// Bytes of a head.
pub const HEAD_LEN: usize = 8;
/// Bytes in front of a frame's body.
pub const FRAME_HEAD_LEN: usize = 3;

bitflags! {
    /// Flags of a datagram. Those of later versions are kept.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Flags: u8 {
        /// The sender wants to be answered soon.
        const ANSWER = 1;
        /// The sender has more to send.
        const MORE = 2;
        /// Flags of later versions.
        const _ = !0;
    }
}

/// What every datagram begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// When it was sent, microseconds of the sender's clock; it wraps.
    pub sent_us: u32,
    /// How long its oldest news waited, in units of 0.1 ms; 65,535 and longer are 65,535.
    pub age: u16,
    /// The flags of the datagram.
    pub flags: Flags,
}

impl Head {
    fn bytes(&self) -> [u8; HEAD_LEN] {
        let ([a, b, c, d], [e, f]) = (self.sent_us.to_be_bytes(), self.age.to_be_bytes());
        [a, b, c, d, e, f, self.flags.bits(), 0]
    }
}

bitflags! {
    /// The flags of a frame of flows: how its records are encoded.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct FlowsFlags: u8 {
        /// To mend a difference: a version that is known is taken too.
        const REPAIR = 1;
        /// For people alone (`ctflow diff`): nothing is taken.
        const DIFF = 2;
        /// Flags of later versions.
        const _ = !0;
    }
}

/// Numbers of frames.
mod kind {
    pub(super) const PAD: u8 = 0;
    pub(super) const FLOWS: u8 = 1;
    pub(super) const EXPECTS: u8 = 2;
    pub(super) const ACK: u8 = 3;
    pub(super) const CUT: u8 = 4;
    pub(super) const OPEN: u8 = 5;
    pub(super) const SUMS: u8 = 6;
    pub(super) const IDS: u8 = 7;
    pub(super) const WANT: u8 = 8;
    pub(super) const BEATEN: u8 = 9;
    pub(super) const BULK: u8 = 10;
    pub(super) const RELEASE: u8 = 11;
    pub(super) const PROBE: u8 = 12;
    pub(super) const BYE: u8 = 13;
}

/// One frame.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Frame<'a> {
    /// Claims of the sender.
    Flows {
        /// How they are encoded.
        flags: FlowsFlags,
        /// The records.
        records: Records<'a>,
    },
    /// Expectations of the sender.
    Expects(Expectations<'a>),
    /// An acknowledgement.
    Ack(Ack<'a>),
    /// A place to compare at.
    Cut(Cut),
    /// An association begins.
    Open(Open),
    /// Sums of parts of a table.
    Sums(Sums<'a>),
    /// Rows of some leaves.
    Ids(Ids<'a>),
    /// Rows that are wanted.
    Wants(Wants<'a>),
    /// What the sender holds against claims of the receiver.
    Beaten(Records<'a>),
    /// How far a bulk is.
    Bulk(Bulk),
    /// The sender gives up its claims up to this version, though their flows live.
    Release(u64),
    /// Nothing: the datagram has a length that is tried.
    Probe,
    /// The sender leaves.
    Bye(Bye),
    /// A frame of a later version; its number.
    Unknown(u8),
}

/// The frames of a datagram, or of what is left of one.
///
/// An error is about one frame; the walk goes on behind it, unless the frame is longer than what is left.
#[derive(Clone, Debug)]
pub struct Frames<'a>(Reader<'a>);

impl<'a> Frames<'a> {
    /// Head and frames of a datagram.
    ///
    /// # Errors
    /// When the head is cut off.
    pub fn of(datagram: &'a [u8]) -> Result<(Head, Self), DecodeError> {
        let mut reader = Reader::new(datagram);
        let [a, b, c, d, e, f, flags, _] = reader.array("truncated head")?;
        let sent_us = u32::from_be_bytes([a, b, c, d]);
        let head = Head {
            sent_us,
            age: u16::from_be_bytes([e, f]),
            flags: Flags::from_bits_retain(flags),
        };
        Ok((head, Self(reader)))
    }

    fn body(&mut self, kind: u8) -> Result<(u8, &'a [u8]), DecodeError> {
        let len = self.0.array("truncated frame").map(u16::from_be_bytes)?;
        Ok((kind, self.0.take(usize::from(len), "frame longer than the datagram")?))
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let at = self.0.position();
        let [kind] = self.0.array("no more").ok()?;
        if kind == kind::PAD {
            self.0.skip_at_most(usize::MAX);
            return None;
        }
        Some(match self.body(kind) {
            Ok((kind, body)) => decode(kind, body).map_err(|e| e.shifted(at + FRAME_HEAD_LEN)),
            Err(e) => {
                self.0.skip_at_most(usize::MAX);
                Err(e)
            }
        })
    }
}

fn decode(kind: u8, body: &[u8]) -> Result<Frame<'_>, DecodeError> {
    Ok(match kind {
        kind::FLOWS => {
            let (flags, records) = decode_flows(body)?;
            Frame::Flows { flags, records }
        }
        kind::EXPECTS => Frame::Expects(Expectations::decode(body)?),
        kind::ACK => Frame::Ack(Ack::decode(body)?),
        kind::CUT => Frame::Cut(Cut::decode(body)?),
        kind::OPEN => Frame::Open(Open::decode(body)?),
        kind::SUMS => Frame::Sums(Sums::decode(body)?),
        kind::IDS => Frame::Ids(Ids::decode(body)?),
        kind::WANT => Frame::Wants(Wants::decode(body)?),
        kind::BEATEN => Frame::Beaten(decode_flows(body)?.1),
        kind::BULK => Frame::Bulk(Bulk::decode(body)?),
        kind::RELEASE => Frame::Release(control::decode_release(body)?),
        kind::PROBE => Frame::Probe,
        kind::BYE => Frame::Bye(Bye::decode(body)?),
        kind => Frame::Unknown(kind),
    })
}

/// Head and records of a frame of flows, or of one of beaten claims, which has the same form.
fn decode_flows(body: &[u8]) -> Result<(FlowsFlags, Records<'_>), DecodeError> {
    let mut r = Reader::new(body);
    let [flags] = r.array("truncated flows")?;
    let zone = u16::try_from(number::take(&mut r)?);
    let zone = zone.map_err(|_| DecodeError::new(1, "zone too great"))?;
    let version = r.array("truncated flows").map(u64::from_be_bytes)?;
    let records = r.take(r.remaining(), "truncated flows")?;
    Ok((FlowsFlags::from_bits_retain(flags), Records::new(records, zone, version)))
}

/// Packs a datagram. What does not fit is not begun, so the datagram is right at any time.
#[derive(Debug)]
pub struct Datagram<'a> {
    bytes: &'a mut [u8],
    len: usize,
    /// The frame that more records may be added to.
    frame: Option<Unfinished>,
}

/// A frame whose length may still grow.
#[derive(Debug)]
struct Unfinished {
    at: usize,
    of: Of,
}

#[derive(Debug)]
enum Of {
    Flows { beaten: bool, flags: FlowsFlags, zone: u16, packer: Packer },
    Expects { version: u64 },
}

impl<'a> Datagram<'a> {
    /// A datagram of at most `bytes.len()` bytes, and of at most 65,535; `None` if not even the head fits.
    #[must_use]
    pub fn new(bytes: &'a mut [u8], head: &Head) -> Option<Self> {
        let len_max = bytes.len().min(usize::from(u16::MAX));
        let bytes = &mut bytes[..len_max];
        *bytes.first_chunk_mut()? = head.bytes();
        Some(Self { bytes, len: HEAD_LEN, frame: None })
    }

    /// Writes another head over the first one: age and flags may be known only at the end.
    pub fn set_head(&mut self, head: &Head) {
        self.bytes[..HEAD_LEN].copy_from_slice(&head.bytes());
    }

    /// Bytes packed so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing but the head is in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == HEAD_LEN
    }

    /// Bytes left.
    #[must_use]
    pub const fn room(&self) -> usize {
        self.bytes.len() - self.len
    }

    /// Appends the state of a flow; or, when that is what is claimed, its end. Whether it fitted.
    #[inline]
    pub fn flow(&mut self, flags: FlowsFlags, claim: &Claim, flow: &Canonical<'_>) -> bool {
        self.record(false, flags, flow.key.zone, claim, |packer, room| {
            packer.state(room, claim, flow)
        })
    }

    /// Appends the end of a flow. Whether it fitted.
    #[inline]
    pub fn end(&mut self, flags: FlowsFlags, claim: &Claim, key: &FlowKey) -> bool {
        self.record(false, flags, key.zone, claim, |packer, room| packer.end(room, claim, key))
    }

    /// Appends a claim that is held against one of the receiver's, whose state is known or which is an end. Whether it
    /// fitted.
    pub fn beaten(&mut self, claim: &Claim, flow: &Canonical<'_>) -> bool {
        let key = &flow.key;
        self.record(true, FlowsFlags::empty(), key.zone, claim, |p, room| {
            p.state(room, claim, flow)
        })
    }

    /// Appends an end that is held against a claim of the receiver's. Whether it fitted.
    pub fn beaten_end(&mut self, claim: &Claim, key: &FlowKey) -> bool {
        self.record(true, FlowsFlags::empty(), key.zone, claim, |packer, room| {
            packer.end(room, claim, key)
        })
    }

    fn record(
        &mut self,
        of_beaten: bool,
        of_flags: FlowsFlags,
        of_zone: u16,
        claim: &Claim,
        put: impl Fn(&mut Packer, &mut [u8]) -> Option<usize>,
    ) -> bool {
        if let Some(Unfinished { at, of: Of::Flows { beaten, flags, zone, packer } }) =
            &mut self.frame
            && (*beaten, *flags, *zone) == (of_beaten, of_flags, of_zone)
        {
            let at = *at;
            let Some(len) = put(packer, &mut self.bytes[self.len..]) else { return false };
            self.grow(at, len);
            return true;
        }
        let mut packer = Packer::new(claim.version & number::MAX);
        let mut w = Writer::new(&mut self.bytes[self.len..]);
        w.put(&[if of_beaten { kind::BEATEN } else { kind::FLOWS }, 0, 0, of_flags.bits()]);
        number::put(&mut w, u64::from(of_zone));
        w.put(&(claim.version & number::MAX).to_be_bytes());
        let Ok(head) = w.finish() else { return false };
        let Some(len) = put(&mut packer, &mut self.bytes[self.len + head..]) else { return false };
        let at = self.len;
        let of = Of::Flows { beaten: of_beaten, flags: of_flags, zone: of_zone, packer };
        self.frame = Some(Unfinished { at, of });
        self.grow(at, head + len);
        true
    }

    /// Appends an expectation, of which master and expected tuple must be known. Whether it fitted.
    pub fn expect(&mut self, version: u64, what: What, expect: &Expectation) -> bool {
        let (at, before) = match &self.frame {
            Some(Unfinished { at, of: Of::Expects { version } }) => (*at, Some(*version)),
            _ => (self.len, None),
        };
        let mut w = Writer::new(&mut self.bytes[self.len..]);
        if before.is_none() {
            w.put(&[kind::EXPECTS, 0, 0]);
            w.put(&(version & number::MAX).to_be_bytes());
        }
        put_expect(&mut w, before.unwrap_or(version), version, what, expect);
        let Ok(len) = w.finish() else { return false };
        self.frame = Some(Unfinished { at, of: Of::Expects { version } });
        self.grow(at, len);
        true
    }

    /// The frame at `at`, the last one, has `len` bytes more.
    fn grow(&mut self, at: usize, len: usize) {
        self.len += len;
        let body = (self.len - at - FRAME_HEAD_LEN) as u16;
        self.bytes[at + 1..at + FRAME_HEAD_LEN].copy_from_slice(&body.to_be_bytes());
    }

    /// Appends a frame with what `put` writes. Whether it fitted.
    fn frame(&mut self, kind: u8, put: impl FnOnce(&mut Writer<'_>)) -> bool {
        let mut w = Writer::new(&mut self.bytes[self.len..]);
        w.put(&[kind, 0, 0]);
        put(&mut w);
        let Ok(len) = w.finish() else { return false };
        self.frame = None;
        self.grow(self.len, len);
        true
    }

    /// Appends an acknowledgement ([`control::put_ack`] writes its body). Whether it fitted, as for those below.
    pub fn ack(&mut self, put: impl FnOnce(&mut Writer<'_>)) -> bool {
        self.frame(kind::ACK, put)
    }

    /// Appends a cut.
    pub fn cut(&mut self, cut: &Cut) -> bool {
        self.frame(kind::CUT, |w| cut.put(w))
    }

    /// Appends an opening.
    pub fn open(&mut self, open: &Open) -> bool {
        self.frame(kind::OPEN, |w| open.put(w))
    }

    /// Appends sums ([`super::digest::put_level`] and [`super::digest::put_node`] write the body).
    pub fn sums(&mut self, put: impl FnOnce(&mut Writer<'_>)) -> bool {
        self.frame(kind::SUMS, put)
    }

    /// Appends rows of leaves ([`super::digest::put_part`] writes what follows `upto`).
    pub fn ids(&mut self, upto: u64, put: impl FnOnce(&mut Writer<'_>)) -> bool {
        self.frame(kind::IDS, |w| {
            w.put(&upto.to_be_bytes());
            put(w);
        })
    }

    /// Appends what is wanted ([`super::digest::put_wants`] writes what follows `upto`).
    pub fn wants(&mut self, upto: u64, put: impl FnOnce(&mut Writer<'_>)) -> bool {
        self.frame(kind::WANT, |w| {
            w.put(&upto.to_be_bytes());
            put(w);
        })
    }

    /// Appends how far a bulk is.
    pub fn bulk(&mut self, bulk: &Bulk) -> bool {
        self.frame(kind::BULK, |w| bulk.put(w))
    }

    /// Appends a release.
    pub fn release(&mut self, upto: u64) -> bool {
        self.frame(kind::RELEASE, |w| w.put(&upto.to_be_bytes()))
    }

    /// Appends a probe.
    pub fn probe(&mut self) -> bool {
        self.frame(kind::PROBE, |_| ())
    }

    /// Appends a farewell.
    pub fn bye(&mut self, bye: Bye) -> bool {
        self.frame(kind::BYE, |w| w.put(&[bye as u8]))
    }

    /// Fills the rest with padding. Nothing fits behind it.
    pub fn pad(&mut self) {
        self.bytes[self.len..].fill(0);
        self.len = self.bytes.len();
        self.frame = None;
    }
}
