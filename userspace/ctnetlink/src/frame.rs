//! Messages: how a datagram of the netlink socket divides.
//!
//! ```text
//! 0        4       6       8       12       16        20
//! +--------+-------+-------+-------+--------+---------+------------+-----+
//! | length | kind  | flags | seq   | portid | nfgenmsg| attributes | pad |
//! +--------+-------+-------+-------+--------+---------+------------+-----+
//!                                           family (1), version (1), resource id (2, network order)
//! ```
//!
//! The first five fields are in native byte order, and messages begin at multiples of 4.

use crate::DecodeError;
use crate::attribute::Attributes;

/// Bytes of `struct nlmsghdr`.
pub const HEADER_LEN: usize = 16;
/// Bytes of `struct nfgenmsg`, which every subsystem of netfilter puts in front of its attributes.
pub const FAMILY_HEADER_LEN: usize = 4;

/// `struct nlmsghdr` (`include/uapi/linux/netlink.h`), native byte order on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the message, header included, padding excluded.
    pub len: u32,
    /// Message type: below 16 one of [`crate::uapi::control`], else subsystem and message.
    pub kind: u16,
    /// Bits of [`crate::uapi::flag`].
    pub flags: u16,
    /// Sequence number of the request that this answers; 0 in events.
    pub seq: u32,
    /// Port id of the receiver; in events, of the socket whose request caused them.
    pub portid: u32,
}

impl Header {
    /// Bytes it takes.
    pub const LEN: usize = HEADER_LEN;

    /// Reads a header.
    #[must_use]
    pub const fn from_bytes(b: &[u8; HEADER_LEN]) -> Self {
        Self {
            len: u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
            kind: u16::from_ne_bytes([b[4], b[5]]),
            flags: u16::from_ne_bytes([b[6], b[7]]),
            seq: u32::from_ne_bytes([b[8], b[9], b[10], b[11]]),
            portid: u32::from_ne_bytes([b[12], b[13], b[14], b[15]]),
        }
    }

    /// Upper byte of the type: a number of [`crate::uapi::subsystem`], 0 for control messages.
    #[must_use]
    pub const fn subsystem(&self) -> u8 {
        self.kind.to_be_bytes()[0]
    }

    /// Lower byte of the type: which message of the subsystem.
    #[must_use]
    pub const fn message(&self) -> u8 {
        self.kind.to_be_bytes()[1]
    }

    /// Whether all of these flags are set.
    #[must_use]
    pub const fn has(&self, flags: u16) -> bool {
        self.flags & flags == flags
    }
}

/// One message of a datagram, not yet understood.
#[derive(Clone, Copy, Debug)]
pub struct RawMessage<'a> {
    /// Its header.
    pub header: Header,
    /// What follows the header, padding excluded.
    pub payload: &'a [u8],
    /// Offset of the header in the datagram, so that errors can point into it.
    pub at: usize,
}

/// Iterates over the messages of a datagram; ends after an error, because the next message cannot be found without a
/// length.
#[derive(Clone, Copy, Debug)]
pub struct Messages<'a> {
    datagram: &'a [u8],
    at: usize,
}

impl<'a> Messages<'a> {
    /// The messages of `datagram`.
    #[must_use]
    pub const fn new(datagram: &'a [u8]) -> Self {
        Self { datagram, at: 0 }
    }

    #[cold]
    fn fail(&mut self, what: &'static str) -> DecodeError {
        let at = self.at;
        self.at = self.datagram.len();
        DecodeError::new(at, what)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<RawMessage<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.datagram.get(self.at..).filter(|rest| !rest.is_empty())?;
        let Some((head, _)) = rest.split_first_chunk::<HEADER_LEN>() else {
            return Some(Err(self.fail("message header is cut short")));
        };
        let header = Header::from_bytes(head);
        let Some(payload) = rest.get(HEADER_LEN..header.len as usize) else {
            return Some(Err(self.fail("message length does not fit")));
        };
        let at = self.at;
        self.at = at.saturating_add((header.len as usize).next_multiple_of(4));
        Some(Ok(RawMessage { header, payload, at }))
    }
}

/// Splits `struct nfgenmsg` (`include/uapi/linux/netfilter/nfnetlink.h`) off the payload of a message: the address
/// family, and the attributes. Version and resource id lie in bytes 1 and 2 to 3.
///
/// # Errors
/// When the payload is shorter than [`FAMILY_HEADER_LEN`]. Offsets, also of the attributes, count from the start of
/// `payload`.
pub fn split_family(payload: &[u8]) -> Result<(u8, Attributes<'_>), DecodeError> {
    let Some((head, rest)) = payload.split_first_chunk::<FAMILY_HEADER_LEN>() else {
        return Err(DecodeError::new(payload.len(), "family header is cut short"));
    };
    Ok((head[0], Attributes::new(rest, FAMILY_HEADER_LEN)))
}
