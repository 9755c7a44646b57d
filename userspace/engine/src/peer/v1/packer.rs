//! One datagram, filled with whole messages.

use ctnetlink::Writer;

/// Whether a message went into the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packed {
    /// The message is in the datagram.
    Yes,
    /// The message will fit into the next datagram.
    LaterOne,
    /// The message fits into no datagram.
    Never,
    /// There was nothing to pack.
    Nothing,
}

/// Fills one datagram with whole messages.
#[derive(Debug)]
pub struct Packer<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl<'a> Packer<'a> {
    /// An empty datagram of at most `bytes.len()` bytes.
    #[must_use]
    pub const fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, len: 0 }
    }

    /// Appends what `encode` writes, if it fits.
    pub fn put(&mut self, encode: impl FnOnce(&mut Writer<'_>)) -> Packed {
        let mut writer = Writer::new(&mut self.bytes[self.len..]);
        encode(&mut writer);
        match writer.finish() {
            Ok(len) => {
                self.len += len;
                Packed::Yes
            }
            Err(_) if self.len > 0 => Packed::LaterOne,
            Err(_) => Packed::Never,
        }
    }

    /// Bytes packed.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is packed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_fits_no_datagram_is_told_apart_from_one_that_must_wait() {
        let mut bytes = [0; 10];
        let mut packer = Packer::new(&mut bytes);
        assert_eq!(packer.put(|w| w.put(&[0; 11])), Packed::Never);
        assert_eq!(packer.put(|w| w.put(&[0; 8])), Packed::Yes);
        assert_eq!(packer.put(|w| w.put(&[0; 8])), Packed::LaterOne);
        assert_eq!(packer.len(), 8);
    }
}
