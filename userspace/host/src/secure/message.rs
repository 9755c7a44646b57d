//! The four datagrams, byte by byte (`replication-v2.md`, section 5). All numbers are in network order.
//!
//! ```text
//!   0x21 initiation  200   | 0x21 | 0 | 0 0 | sender index 4 | noise 160 | mac1 16 | mac2 16 |
//!   0x22 response    156   | 0x22 | 0 | 0 0 | sender index 4 | receiver index 4 | noise 112 | mac1 16 | mac2 16 |
//!   0x23 cookie       64   | 0x23 | 0 | 0 0 | receiver index 4 | salt 24 | cookie 16+16 |
//!   0x24 data              | 0x24 | to 1 | 0 0 | receiver index 4 | nonce 8 | sealed ... | tag 16 |
//! ```

use super::limit::{NAME_LEN_MAX, SHARDS_MAX};
use super::noise::{INITIATION_EXTRA, RESPONSE_EXTRA, TAG_LEN};
use std::fmt;

pub(super) const INITIATION: u8 = 0x21;
pub(super) const RESPONSE: u8 = 0x22;
pub(super) const COOKIE: u8 = 0x23;
pub(super) const DATA: u8 = 0x24;

/// Bytes of a MAC over a handshake message.
pub(super) const MAC_LEN: usize = 16;
/// Both MACs, at the end of a handshake message.
pub(super) const MACS_LEN: usize = 2 * MAC_LEN;
const INITIATION_HEAD: usize = 8;
const RESPONSE_HEAD: usize = 12;
pub(super) const INITIATION_LEN: usize = INITIATION_HEAD + INITIATION_EXTRA + HELLO_LEN + MACS_LEN;
pub(super) const RESPONSE_LEN: usize = RESPONSE_HEAD + RESPONSE_EXTRA + HELLO_LEN + MACS_LEN;
pub(super) const SALT_LEN: usize = 24;
pub(super) const COOKIE_LEN: usize = 8 + SALT_LEN + MAC_LEN + TAG_LEN;
const _: () = assert!(INITIATION_LEN == 200 && RESPONSE_LEN == 156 && COOKIE_LEN == 64);

/// Bytes before what a data datagram seals.
pub const HEAD_LEN: usize = 16;
/// Bytes that a data datagram has around what it seals.
pub const OVERHEAD: usize = HEAD_LEN + TAG_LEN;
/// Numbers of a stream are less: 52 bits of a nonce.
pub(super) const NUMBER_END: u64 = 1 << 52;

/// The part of a handshake message that `snow` reads and writes.
pub(super) const INITIATION_NOISE: std::ops::Range<usize> =
    INITIATION_HEAD..INITIATION_LEN - MACS_LEN;
pub(super) const RESPONSE_NOISE: std::ops::Range<usize> = RESPONSE_HEAD..RESPONSE_LEN - MACS_LEN;

/// Four bytes of a message, which its length was checked for, as a number.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |four| u32::from_be_bytes(four.try_into().expect("4 bytes")))
}

/// Writes the head of a message: what it is, and up to two indices.
pub(super) fn put_head(bytes: &mut [u8], kind: u8, indices: &[u32]) {
    bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
    for (place, index) in bytes[4..].chunks_exact_mut(4).zip(indices) {
        place.copy_from_slice(&index.to_be_bytes());
    }
}

/// The stream that a data datagram belongs to: from one shard here to one shard there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stream {
    /// The sender's shard, below 64.
    pub from: u8,
    /// The receiver's shard, below 64.
    pub to: u8,
}

impl Stream {
    /// The stream of two nodes with one shard each.
    pub const ONLY: Self = Self { from: 0, to: 0 };

    /// The nonce of a datagram; `None` when a part of it is out of range.
    pub(super) const fn nonce(self, number: u64) -> Option<u64> {
        let fits = self.from < SHARDS_MAX && self.to < SHARDS_MAX && number < NUMBER_END;
        if fits { Some((self.from as u64) << 58 | (self.to as u64) << 52 | number) } else { None }
    }

    pub(super) const fn of_nonce(nonce: u64) -> (Self, u64) {
        let stream = Self { from: (nonce >> 58) as u8, to: (nonce >> 52 & 0x3f) as u8 };
        (stream, nonce & (NUMBER_END - 1))
    }
}

/// What a data datagram says in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DataHead {
    pub(super) index: u32,
    pub(super) stream: Stream,
    pub(super) number: u64,
}

impl DataHead {
    /// Reads it; `None` when these bytes are no data datagram.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<HEAD_LEN>()?;
        let &[DATA, to, 0, 0, i0, i1, i2, i3, nonce @ ..] = head else { return None };
        let (stream, number) = Stream::of_nonce(u64::from_be_bytes(nonce));
        let sound = rest.len() >= TAG_LEN && stream.to == to;
        sound.then(|| Self { index: u32::from_be_bytes([i0, i1, i2, i3]), stream, number })
    }

    pub(super) fn encode(self, nonce: u64) -> [u8; HEAD_LEN] {
        let mut head = [DATA, self.stream.to, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        head[4..8].copy_from_slice(&self.index.to_be_bytes());
        head[8..].copy_from_slice(&nonce.to_be_bytes());
        head
    }
}

/// What a node is called (R4.2): 1 to 32 of `a-z 0-9 . -`. Names order nodes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    bytes: [u8; NAME_LEN_MAX],
    len: u8,
}

/// A text is no name of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to {NAME_LEN_MAX} of a-z, 0-9, `.' and `-'")]
pub struct NotAName;

impl Name {
    /// Reads a name.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        Self::decode(text.as_bytes()).ok_or(NotAName)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }

    fn decode(text: &[u8]) -> Option<Self> {
        let fits = (1..=NAME_LEN_MAX).contains(&text.len());
        let allowed = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
        if !fits || !text.iter().all(allowed) {
            return None;
        }
        let mut bytes = [0; NAME_LEN_MAX];
        bytes[..text.len()].copy_from_slice(text);
        Some(Self { bytes, len: text.len() as u8 })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

/// Bytes of a handshake's payload.
pub(super) const HELLO_LEN: usize = 64;

/// What a node says of itself in a handshake, sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Lowest and highest version of the protocol that it speaks.
    pub versions: (u8, u8),
    /// Its shards, 1 to 64.
    pub shards: u8,
    /// What it calls itself.
    pub name: Name,
    /// What it understands, a bit each.
    pub features: u64,
    /// A random number that identifies the run of the node.
    pub incarnation: u64,
}

impl Hello {
    pub(super) fn encode(&self) -> [u8; HELLO_LEN] {
        let mut bytes = [0; HELLO_LEN];
        bytes[..4].copy_from_slice(&[self.versions.0, self.versions.1, self.shards, self.name.len]);
        bytes[4..36].copy_from_slice(&self.name.bytes);
        bytes[36..44].copy_from_slice(&self.features.to_be_bytes());
        bytes[44..52].copy_from_slice(&self.incarnation.to_be_bytes());
        bytes
    }

    /// Reads it; what a later version puts behind it is ignored.
    pub(super) fn decode(bytes: &[u8; HELLO_LEN]) -> Option<Self> {
        let [lowest, highest, shards, len, rest @ ..] = bytes;
        let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let name = rest[..NAME_LEN_MAX].get(..usize::from(*len)).and_then(Name::decode)?;
        let sound = lowest <= highest && (1..=SHARDS_MAX).contains(shards);
        sound.then(|| Self {
            versions: (*lowest, *highest),
            shards: *shards,
            name,
            features: number(36),
            incarnation: number(44),
        })
    }

    /// The version that both ends speak, the highest; and the features that both have (R5.10).
    pub(super) fn common(&self, other: &Self) -> Option<(u8, u64)> {
        let version = self.versions.1.min(other.versions.1);
        let spoken = version >= self.versions.0.max(other.versions.0);
        spoken.then_some((version, self.features & other.features))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hello() -> Hello {
        let name = Name::parse("fw-a.example").unwrap();
        Hello { versions: (2, 3), shards: 4, name, features: 0x0102, incarnation: 0xfedc }
    }

    #[test]
    fn the_layouts_are_those_of_section_5() {
        let bytes = hello().encode();
        assert_eq!(bytes[..17], *b"\x02\x03\x04\x0cfw-a.example\0");
        assert_eq!(
            bytes[36..],
            *b"\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\xfe\xdc\0\0\0\0\0\0\0\0\0\0\0\0"
        );
        let stream = Stream { from: 1, to: 2 };
        let head = DataHead { index: 0x0506_0708, stream, number: 3 };
        let nonce = stream.nonce(3).unwrap();
        assert_eq!(head.encode(nonce), *b"\x24\x02\0\0\x05\x06\x07\x08\x04\x20\0\0\0\0\0\x03");
    }

    #[test]
    fn names_are_short_and_plain() {
        for wrong in ["", "Fw", "fw_a", "fw a", "fẅ", &"a".repeat(33)] {
            assert_eq!(Name::parse(wrong), Err(NotAName), "{wrong}");
        }
        assert!(Name::parse(&"a".repeat(32)).is_ok());
        let name = |text| Name::parse(text).unwrap();
        assert!(name("fw-a") < name("fw-b") && name("fw") < name("fw-b"), "names order nodes");
    }

    #[test]
    fn r5_10_the_version_is_the_highest_common_one_and_features_are_those_of_both() {
        let ours = hello();
        let other = |versions| Hello { versions, features: 0x0106, ..ours };
        assert_eq!(ours.common(&other((1, 2))), Some((2, 0x0102)));
        assert_eq!(ours.common(&other((3, 9))), Some((3, 0x0102)));
        assert_eq!(ours.common(&other((4, 9))), None);
        assert_eq!(ours.common(&other((0, 1))), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_hello_or_none(bytes: [u8; HELLO_LEN]) {
            if let Some(hello) = Hello::decode(&bytes) {
                prop_assert_eq!(Hello::decode(&hello.encode()), Some(hello));
            }
        }

        #[test]
        fn what_a_nonce_says_is_what_it_was_made_of(from in 0_u8..64, to in 0_u8..64, number in 0..NUMBER_END) {
            let stream = Stream { from, to };
            prop_assert_eq!(Stream::of_nonce(stream.nonce(number).unwrap()), (stream, number));
        }
    }
}
