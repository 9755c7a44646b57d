//! Bounds-checked writing.
//!
//! A [`Writer`] over an empty buffer only counts, so one `encode` function returns the length and writes the bytes,
//! and a property test can hold the two against each other.

/// Writes forward into a byte slice, or only counts.
///
/// Writing past the end is not an error at the call: the writer goes on counting, and [`Writer::finish`] says
/// whether everything fitted and how much room it takes.
#[derive(Debug)]
pub struct Writer<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

/// The buffer was too small; `needed` bytes would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom {
    /// Bytes the encoding takes.
    pub needed: usize,
}

impl<'a> Writer<'a> {
    /// A writer at the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// A writer that only counts.
    #[must_use]
    pub const fn counting() -> Self {
        Self { bytes: &mut [], at: 0 }
    }

    /// Bytes written or counted so far.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Appends `data`.
    #[inline]
    pub fn put(&mut self, data: &[u8]) {
        let end = self.at + data.len();
        if let Some(room) = self.bytes.get_mut(self.at..end) {
            room.copy_from_slice(data);
        }
        self.at = end;
    }

    /// Appends zeros until the position is a multiple of 4.
    #[inline]
    pub fn pad4(&mut self) {
        let pad = self.at.wrapping_neg() & 3;
        self.put(&[0; 3][..pad]);
    }

    /// Overwrites earlier bytes, such as a length that is known only afterwards. Bytes that were only counted stay so.
    pub fn patch(&mut self, at: usize, data: &[u8]) {
        if let Some(room) = self.bytes.get_mut(at..at + data.len()) {
            room.copy_from_slice(data);
        }
    }

    /// Makes [`Writer::finish`] fail: a value does not fit its format. The position is then longer than any slice,
    /// and can still grow by as much: adding with a check for overflow would double what a request costs.
    pub(crate) const fn fail(&mut self) {
        self.at = usize::MAX / 2;
    }

    /// The length written.
    ///
    /// # Errors
    /// [`NoRoom`] when the buffer was too small, with the length that would do; or with more than any buffer has
    /// (`isize::MAX` or more) because an attribute is longer than the 16 bits of its length can say. The contents of
    /// the buffer are then meaningless.
    pub const fn finish(self) -> Result<usize, NoRoom> {
        if self.at <= self.bytes.len() { Ok(self.at) } else { Err(NoRoom { needed: self.at }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_buffer_is_reported_with_the_room_it_needs() {
        let mut buf = [0; 4];
        let mut w = Writer::new(&mut buf);
        w.put(&[1, 2, 3, 4, 5]);
        w.pad4();
        assert_eq!(w.finish(), Err(NoRoom { needed: 8 }));
    }
}
