//! Attributes: the type-length-value lists inside every message, and the lists inside those.
//!
//! ```text
//! 0        2        4                4 + n       next multiple of 4
//! +--------+--------+----------------+-----------+
//! | 4 + n  | kind   | value, n bytes | padding   |   length and kind in native byte order
//! +--------+--------+----------------+-----------+
//! ```
//!
//! The two top bits of the kind are flags; the kernel does not set them reliably, so they are masked off and ignored.

use crate::uapi::nla;
use crate::{DecodeError, Writer};

const HEADER_LEN: usize = 4;

/// One attribute of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its number in the enum of its nest ([`crate::uapi`]), flag bits masked off.
    pub kind: u16,
    /// Its value, padding excluded.
    pub value: &'a [u8],
    /// Offset of the value in the outermost buffer, for error reports.
    pub at: usize,
}

impl<'a> Attribute<'a> {
    /// The attributes inside this one.
    #[must_use]
    #[inline]
    pub const fn nest(&self) -> Attributes<'a> {
        Attributes { bytes: self.value, base: self.at, at: 0 }
    }

    /// The value as `N` bytes.
    ///
    /// # Errors
    /// `what`, when it has another length.
    #[inline]
    pub fn array<const N: usize>(&self, what: &'static str) -> Result<[u8; N], DecodeError> {
        self.value.try_into().map_err(|_| self.error(what))
    }

    /// The value as one byte.
    ///
    /// # Errors
    /// When it has another length.
    #[inline]
    pub fn u8(&self) -> Result<u8, DecodeError> {
        self.array("attribute is not 1 byte long").map(|[byte]| byte)
    }

    /// The value as a 16-bit number in network byte order.
    ///
    /// # Errors
    /// When it has another length.
    #[inline]
    pub fn be16(&self) -> Result<u16, DecodeError> {
        self.array("attribute is not 2 bytes long").map(u16::from_be_bytes)
    }

    /// The value as a 32-bit number in network byte order.
    ///
    /// # Errors
    /// When it has another length.
    #[inline]
    pub fn be32(&self) -> Result<u32, DecodeError> {
        self.array("attribute is not 4 bytes long").map(u32::from_be_bytes)
    }

    /// The value as a 64-bit number in network byte order.
    ///
    /// # Errors
    /// When it has another length.
    #[inline]
    pub fn be64(&self) -> Result<u64, DecodeError> {
        self.array("attribute is not 8 bytes long").map(u64::from_be_bytes)
    }

    /// The value up to its first NUL: names are sent with their terminator.
    #[must_use]
    pub fn text(&self) -> &'a [u8] {
        let end = self.value.iter().position(|&byte| byte == 0);
        &self.value[..end.unwrap_or(self.value.len())]
    }

    /// An error that points at the value.
    #[must_use]
    #[cold]
    pub fn error(&self, what: &'static str) -> DecodeError {
        DecodeError::new(self.at, what)
    }
}

/// Iterates over a list of attributes; ends after an error.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    bytes: &'a [u8],
    base: usize,
    at: usize,
}

impl<'a> Attributes<'a> {
    /// The attributes in `bytes`. Offsets in errors are relative to a buffer in which `bytes` begins at `base`.
    #[must_use]
    pub const fn new(bytes: &'a [u8], base: usize) -> Self {
        Self { bytes, base, at: 0 }
    }

    #[cold]
    fn fail(&mut self, what: &'static str) -> DecodeError {
        let at = self.base + self.at;
        self.at = self.bytes.len();
        DecodeError::new(at, what)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        let Some((&[l0, l1, k0, k1], _)) = rest.split_first_chunk::<HEADER_LEN>() else {
            return Some(Err(self.fail("attribute header is cut short")));
        };
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        let Some(value) = rest.get(HEADER_LEN..len) else {
            return Some(Err(self.fail("attribute length does not fit")));
        };
        let kind = u16::from_ne_bytes([k0, k1]) & nla::TYPE_MASK;
        let at = self.base + self.at + HEADER_LEN;
        // The last attribute may lack its padding; the position then lies past the end, which ends the walk.
        self.at += len.next_multiple_of(4);
        Some(Ok(Attribute { kind, value, at }))
    }
}

/// Appends an attribute. One with a value of more than 65,531 bytes cannot be encoded: [`Writer::finish`] then fails.
pub fn put(w: &mut Writer<'_>, kind: u16, value: &[u8]) {
    let Some(len) = value_len(value.len()) else { return w.fail() };
    w.put(&header(len, kind));
    w.put(value);
    w.pad4();
}

/// The length of a value that leaves room for the header in the 16 bits that hold both.
fn value_len(len: usize) -> Option<u16> {
    u16::try_from(len).ok().filter(|&len| len <= u16::MAX - HEADER_LEN as u16)
}

/// `struct nlattr`.
pub(crate) const fn header(value_len: u16, kind: u16) -> [u8; HEADER_LEN] {
    let (len, kind) = ((value_len + HEADER_LEN as u16).to_ne_bytes(), kind.to_ne_bytes());
    [len[0], len[1], kind[0], kind[1]]
}

/// Appends a 16-bit number in network byte order.
pub fn put_be16(w: &mut Writer<'_>, kind: u16, value: u16) {
    put(w, kind, &value.to_be_bytes());
}

/// Appends a 32-bit number in network byte order.
pub fn put_be32(w: &mut Writer<'_>, kind: u16, value: u32) {
    let (header, value) = (header(4, kind), value.to_be_bytes());
    let whole = [header, value];
    w.put(whole.as_flattened());
}

/// Appends a name and its terminating NUL, which the kernel requires (`NLA_NUL_STRING`).
pub fn put_text(w: &mut Writer<'_>, kind: u16, text: &[u8]) {
    let Some(len) = value_len(text.len() + 1) else { return w.fail() };
    w.put(&header(len, kind));
    w.put(text);
    w.put(&[0]);
    w.pad4();
}

/// Appends a nest: an attribute that holds the attributes which `body` appends, with `NLA_F_NESTED` set. One of more
/// than 65,535 bytes cannot be encoded: [`Writer::finish`] then fails.
pub fn put_nest(w: &mut Writer<'_>, kind: u16, body: impl FnOnce(&mut Writer<'_>)) {
    let start = w.position();
    w.put(&header(0, kind | nla::NESTED));
    body(w);
    let Ok(len) = u16::try_from(w.position() - start) else { return w.fail() };
    w.patch(start, &len.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn is_impossible(w: Writer<'_>) -> bool {
        w.finish().is_err_and(|room| room.needed >= isize::MAX as usize)
    }

    #[test]
    fn the_longest_attribute_is_written_and_a_longer_one_is_refused() {
        let (value, mut buffer) = (vec![1; 65_532], vec![0; 70_000]);
        let mut w = Writer::new(&mut buffer);
        put(&mut w, 5, &value[1..]);
        let len = w.finish().unwrap();
        let read = Attributes::new(&buffer[..len], 0).next().unwrap().unwrap();
        assert_eq!((read.kind, read.value), (5, &value[1..]));

        let mut w = Writer::new(&mut buffer);
        put(&mut w, 5, &value);
        put_be32(&mut w, 6, 7);
        assert!(is_impossible(w));
        let mut w = Writer::new(&mut buffer);
        put_text(&mut w, 5, &value[1..]);
        assert!(is_impossible(w), "the terminator has no room");
    }

    #[test]
    fn a_nest_that_is_too_long_is_refused() {
        let (value, mut buffer) = (vec![1; 40_000], vec![0; 100_000]);
        let mut w = Writer::new(&mut buffer);
        put_nest(&mut w, 1, |w| (0..2).for_each(|_| put(w, 2, &value)));
        assert!(is_impossible(w));
    }
}
