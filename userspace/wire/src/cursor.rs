//! Bounds-checked reading.

use ctnetlink::DecodeError;

/// Reads forward through a byte slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Bytes left.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Takes the next `len` bytes.
    ///
    /// # Errors
    /// `what`, when fewer are left.
    pub fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(len).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| DecodeError::new(self.at, what))?;
        let out = &self.bytes[self.at..end];
        self.at = end;
        Ok(out)
    }

    /// Takes the next `N` bytes as an array.
    ///
    /// # Errors
    /// `what`, when fewer are left.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N, what)?);
        Ok(out)
    }

    /// Skips up to `len` bytes; stops at the end without complaint (padding may be cut off).
    pub fn skip_at_most(&mut self, len: usize) {
        self.at = self.bytes.len().min(self.at.saturating_add(len));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_past_the_end_says_where() {
        let mut r = Reader::new(&[1, 2, 3]);
        assert_eq!(r.array::<2>("short"), Ok([1, 2]));
        assert_eq!(r.array::<2>("short"), Err(DecodeError::new(2, "short")));
    }
}
