//! Attributes: how values lie in a message, whatever they mean.
//!
//! ```text
//!  0                 2                 4               4 + n
//! +-----------------+-----------------+---------------+---------------------------+
//! | 4 + n, BE       | number, BE      | value, n      | zeros to a multiple of 4  |
//! +-----------------+-----------------+---------------+---------------------------+
//! ```

use crate::cursor::Reader;
use ctnetlink::flow::Name;
use ctnetlink::tuple::FAMILY_IPV6;
use ctnetlink::{DecodeError, Tuple, Writer};

/// Bytes in front of the value.
const HEADER_LEN: usize = 4;

/// One attribute of a message.
#[derive(Clone, Copy, Debug)]
pub(in crate::sync) struct Attribute<'a> {
    /// The attribute's number.
    pub(in crate::sync) number: u16,
    /// Its value, without padding.
    pub(in crate::sync) value: &'a [u8],
    /// Where it begins, from the start of the body.
    at: usize,
}

impl Attribute<'_> {
    /// The value, which must have exactly `N` bytes.
    pub(in crate::sync) fn array<const N: usize>(&self) -> Result<[u8; N], DecodeError> {
        self.value.try_into().map_err(|_| self.error("attribute of wrong size"))
    }

    /// A single byte.
    pub(in crate::sync) fn u8(&self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A number in network order.
    pub(in crate::sync) fn u32(&self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A string, with or without terminator; `None` if it is empty.
    pub(in crate::sync) fn name<const N: usize>(&self) -> Result<Option<Name<N>>, DecodeError> {
        let empty = self.value.first().is_none_or(|&byte| byte == 0);
        let name = Name::from_bytes(self.value).filter(|_| self.value.len() <= N + 1);
        match name {
            None if !empty => Err(self.error("name too long")),
            name => Ok(name),
        }
    }

    /// An error about this attribute.
    pub(in crate::sync) fn error(&self, what: &'static str) -> DecodeError {
        DecodeError::new(self.at, what)
    }
}

/// Walks the attributes of a body.
#[derive(Clone, Debug)]
pub(in crate::sync) struct Attributes<'a>(Reader<'a>);

impl<'a> Attributes<'a> {
    /// The attributes of `body`.
    pub(in crate::sync) const fn new(body: &'a [u8]) -> Self {
        Self(Reader::new(body))
    }

    /// The next attribute. A remainder without room for a value is ignored, as conntrackd does.
    pub(in crate::sync) fn next(&mut self) -> Result<Option<Attribute<'a>>, DecodeError> {
        let at = self.0.position();
        if self.0.remaining() <= HEADER_LEN {
            return Ok(None);
        }
        let [l0, l1, n0, n1] = self.0.array("truncated attribute")?;
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        let value = len.checked_sub(HEADER_LEN);
        let value =
            value.ok_or_else(|| DecodeError::new(at, "attribute shorter than its header"))?;
        let value = self.0.take(value, "attribute longer than the message")?;
        self.0.skip_at_most(len.wrapping_neg() & 3);
        Ok(Some(Attribute { number: u16::from_be_bytes([n0, n1]), value, at }))
    }
}

/// Appends an attribute.
///
/// Padding is counted from the attribute itself, so that a message may begin anywhere in the writer.
pub(in crate::sync) fn put(w: &mut Writer<'_>, number: u16, value: &[u8]) {
    put_header(w, number, value.len());
    w.put(value);
    w.put(&[0; 3][..value.len().wrapping_neg() & 3]);
}

/// Appends the head of an attribute whose value of `len` bytes, a multiple of 4, the caller appends.
pub(in crate::sync) fn put_header(w: &mut Writer<'_>, number: u16, len: usize) {
    w.put(&((HEADER_LEN + len) as u16).to_be_bytes());
    w.put(&number.to_be_bytes());
}

/// Longest name, terminator not counted, that conntrackd 1.4.7 takes in an attribute it limits to `limit` bytes:
/// it counts the attribute's header and the terminator too.
pub(in crate::sync) const fn name_len_max(limit: usize) -> usize {
    limit - HEADER_LEN - 1
}

/// Appends `name` with its terminator, unless it is longer than `len_max`.
pub(in crate::sync) fn put_name<const N: usize>(
    w: &mut Writer<'_>,
    number: u16,
    name: &Name<N>,
    len_max: usize,
) {
    let bytes = name.as_bytes();
    if bytes.len() > len_max {
        return;
    }
    put_header(w, number, bytes.len() + 1);
    w.put(bytes);
    // The terminator, and padding to a multiple of 4.
    w.put(&[0; 4][..4 - bytes.len() % 4]);
}

/// Appends the addresses of a tuple: number `v4` or `v6`, source then destination.
pub(in crate::sync) fn put_addresses(w: &mut Writer<'_>, v4: u16, v6: u16, tuple: &Tuple) {
    if !tuple.is_known() {
        return;
    }
    let (number, len) = if tuple.family == FAMILY_IPV6 { (v6, 16) } else { (v4, 4) };
    put_header(w, number, 2 * len);
    w.put(&tuple.src[..len]);
    w.put(&tuple.dst[..len]);
}

/// Reads an address attribute into `tuple`, `N` being twice the length of an address.
///
/// A tuple has one family: a message with both is refused.
pub(in crate::sync) fn addresses<const N: usize>(
    attribute: &Attribute<'_>,
    family: u8,
    tuple: &mut Tuple,
) -> Result<(), DecodeError> {
    let pair: [u8; N] = attribute.array()?;
    if tuple.is_known() && tuple.family != family {
        return Err(attribute.error("addresses of both families"));
    }
    let (src, dst) = pair.split_at(N / 2);
    tuple.src[..src.len()].copy_from_slice(src);
    tuple.dst[..dst.len()].copy_from_slice(dst);
    tuple.family = family;
    Ok(())
}
