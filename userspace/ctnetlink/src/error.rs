//! The one error of all decoders.

use core::fmt;

/// Why bytes could not be decoded: what was wrong, and where. It is `Copy` and holds no heap memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecodeError {
    /// Offset in bytes from the start of the buffer the failing decoder was given.
    pub at: u32,
    /// What was wrong, for people; lower case, no full stop.
    pub what: &'static str,
}

impl DecodeError {
    /// An error at byte `at`.
    #[must_use]
    pub fn new(at: usize, what: &'static str) -> Self {
        Self { at: u32::try_from(at).unwrap_or(u32::MAX), what }
    }

    /// The same error seen from a buffer in which the failing one begins at `base`.
    #[must_use]
    pub fn shifted(self, base: usize) -> Self {
        Self::new(base.saturating_add(self.at as usize), self.what)
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

impl core::error::Error for DecodeError {}
