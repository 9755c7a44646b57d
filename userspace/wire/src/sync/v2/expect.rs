//! Expectations on the wire: the attributes of version 1 (`docs/spec/sync.md`, section 5), and fields that version 1
//! cannot carry.
//!
//! ```text
//!   version 8; each: step v | what 1 | length 2, BE | attributes, padded to 4 bytes each
//! ```
//!
//! Layer-4 bytes travel whatever the protocol, names whole, zone (attribute 21, 2 bytes) and the translation of IPv6
//! (attribute 22, source and destination, 16 bytes each) besides.
//!
//! Ids and prints of expectations are in the same space as those of flows, so that one sum is over both. Hashed are the
//! attributes as they travel: for the id those of an end, with the zone always; for the print those of a state, without
//! the seconds left.

use super::digest::{DigestKey, FlowId};
use super::flow::What;
use super::number;
use crate::cursor::Reader;
use crate::sync::v1::attribute::{self, addresses};
use crate::sync::v1::expect::{decode_with, number as v1, put_tuple};
use core::hash::Hasher as _;
use ctnetlink::expectation::ExpectNat;
use ctnetlink::tuple::{FAMILY_IPV4, FAMILY_IPV6};
use ctnetlink::{DecodeError, Expectation, FlowKey, Writer};

/// Conntrack zone, 2 bytes.
const ZONE: u16 = 21;
/// Source and destination address of the translation, 16 bytes each.
const NAT_IPV6: u16 = 22;

/// The most bytes of a record.
pub const EXPECT_LEN_MAX: usize = number::LEN_MAX + 3 + 23 * (4 + 32);

/// One record: what a peer says of one expectation. A field without a value was not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectRecord {
    /// The owner's count of its changes.
    pub version: u64,
    /// State or end.
    pub what: What,
    /// The expectation.
    pub expect: Expectation,
}

/// Appends a record to the body of frame 2; `before` is the version of the record before, or that of the frame's
/// head. Master and expected tuple must be known. An end carries the identity alone: master, expected tuple, mask,
/// zone.
pub fn put_expect(w: &mut Writer<'_>, before: u64, version: u64, what: What, expect: &Expectation) {
    number::put(w, version.wrapping_sub(before) & number::MAX);
    w.put(&[what as u8, 0, 0]);
    let start = w.position();
    put_identity(w, expect, expect.zone);
    if !what.is_end() {
        put_state(w, expect, expect.timeout_s);
    }
    let len = (w.position() - start) as u16;
    w.patch(start - 2, &len.to_be_bytes());
}

fn put_identity(w: &mut Writer<'_>, expect: &Expectation, zone: Option<u16>) {
    put_tuple(w, v1::MASTER, &expect.master, true);
    put_tuple(w, v1::EXPECTED, &expect.tuple, true);
    put_tuple(w, v1::MASK, &expect.mask, true);
    if let Some(zone) = zone {
        attribute::put(w, ZONE, &zone.to_be_bytes());
    }
}

fn put_state(w: &mut Writer<'_>, expect: &Expectation, timeout_s: Option<u32>) {
    let numbers = [(v1::TIMEOUT, timeout_s), (v1::FLAGS, expect.flags), (v1::CLASS, expect.class)];
    for (number, value) in numbers {
        if let Some(value) = value {
            attribute::put(w, number, &value.to_be_bytes());
        }
    }
    if let Some(nat) = expect.nat.filter(|nat| nat.tuple.is_known()) {
        attribute::put_addresses(w, v1::NAT_IPV4, NAT_IPV6, &nat.tuple);
        attribute::put(w, v1::NAT_L4PROTO, &[nat.tuple.proto]);
        attribute::put(w, v1::NAT_PORT, &nat.tuple.l4);
        attribute::put(w, v1::NAT_DIR, &nat.direction.to_be_bytes());
    }
    if let Some(helper) = &expect.helper {
        attribute::put_name(w, v1::HELPER_NAME, helper, 15);
    }
    if let Some(function) = &expect.function {
        attribute::put_name(w, v1::FN, function, 31);
    }
}

impl DigestKey {
    /// Id and print of an expectation, as [`DigestKey::id`] and [`DigestKey::print`] of a flow. Equal at two nodes if
    /// all that travels is equal, but for the seconds left. The slice is that of the master's id, so that the shard of
    /// the flow has the expectations that it announces.
    #[must_use]
    pub fn expectation(&self, expect: &Expectation) -> (FlowId, u64) {
        let mut bytes = [0; EXPECT_LEN_MAX];
        let mut hash = |first: u64, put: &dyn Fn(&mut Writer<'_>)| {
            let mut w = Writer::new(&mut bytes);
            put(&mut w);
            let len = w.finish().unwrap_or(0);
            let mut hasher = self.hasher();
            // Nothing that is hashed of a flow begins like this.
            hasher.write(b"expect");
            hasher.write(&first.to_be_bytes());
            hasher.write(&bytes[..len]);
            hasher.finish()
        };
        let zone = expect.zone.unwrap_or(0);
        let id = FlowId(hash(0, &|w| put_identity(w, expect, Some(zone))));
        let id = id.in_slice_of(self.id(&FlowKey::new(expect.master, zone)));
        let print = hash(id.0, &|w| put_state(w, expect, None));
        (id, if print as u32 == 0 { print | 1 } else { print })
    }
}

/// Frame 2: expectations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectations<'a> {
    version: u64,
    records: &'a [u8],
}

impl<'a> Expectations<'a> {
    pub(super) fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let parts = body.split_first_chunk::<8>();
        let (version, records) =
            parts.ok_or_else(|| DecodeError::new(0, "truncated expectations"))?;
        Ok(Self { version: u64::from_be_bytes(*version) & number::MAX, records })
    }

    /// The records. An error is about one of them; the walk goes on behind it, unless the frame is cut off.
    pub fn records(&self) -> impl Iterator<Item = Result<ExpectRecord, DecodeError>> + use<'a> {
        let mut r = Reader::new(self.records);
        let mut version = self.version;
        core::iter::from_fn(move || {
            if r.remaining() == 0 {
                return None;
            }
            let at = r.position();
            let (step, what, attributes) = match cut(&mut r) {
                Ok(parts) => parts,
                Err(e) => {
                    r.skip_at_most(usize::MAX);
                    return Some(Err(e));
                }
            };
            version = super::flow::stepped(version, step);
            let expect = decode_with(attributes, take_more).map_err(|e| e.shifted(at));
            Some(expect.map(|expect| ExpectRecord { version, what, expect }))
        })
    }
}

fn cut<'a>(r: &mut Reader<'a>) -> Result<(u64, What, &'a [u8]), DecodeError> {
    let step = number::take(r)?;
    let [what, len0, len1] = r.array("truncated expectation")?;
    let len = usize::from(u16::from_be_bytes([len0, len1]));
    Ok((step, What::of_bits(what), r.take(len, "truncated expectation")?))
}

/// What version 1 does not have.
fn take_more(
    expect: &mut Expectation,
    nat: &mut ExpectNat,
    a: &attribute::Attribute<'_>,
) -> Result<bool, DecodeError> {
    match a.number {
        ZONE => expect.zone = Some(a.array().map(u16::from_be_bytes)?),
        NAT_IPV6 => addresses::<32>(a, FAMILY_IPV6, &mut nat.tuple)?,
        v1::NAT_IPV4 => addresses::<8>(a, FAMILY_IPV4, &mut nat.tuple)?,
        _ => return Ok(false),
    }
    Ok(true)
}
