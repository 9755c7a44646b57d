//! Records the tap writes into its rings.
//!
//! ```text
//!  0        8       12     14     16
//! +--------+-------+------+------+---------------------------+-----+
//! | ktime  | len   | cpu  | kind | len bytes of this kind    | pad |
//! +--------+-------+------+------+---------------------------+-----+
//! ```
//!
//! All fields are in native byte order: writer and reader are one machine.

/// Bytes in front of the message.
pub const HEADER_LEN: usize = 16;
/// Record sizes, header included. A ring reservation must be a compile-time constant for the verifier, so a
/// message takes the smallest class it fits in and spills to the socket when it fits in none.
pub const RECORD_SMALL: usize = 256;
/// See [`RECORD_SMALL`].
pub const RECORD_MEDIUM: usize = 512;
/// See [`RECORD_SMALL`].
pub const RECORD_LARGE: usize = 1024;

/// What follows is a netlink message of the kernel.
pub const KIND_MESSAGE: u16 = 0;
/// What follows is a [`crate::hook::PacketRecord`].
pub const KIND_PACKET: u16 = 1;

/// In front of each message in a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RecordHeader {
    /// `bpf_ktime_get_ns` when the event passed the program: `CLOCK_MONOTONIC`, nanoseconds.
    pub ktime_ns: u64,
    /// Length of the message in bytes.
    pub len: u32,
    /// CPU the event happened on.
    pub cpu: u16,
    /// `KIND_MESSAGE` or `KIND_PACKET`.
    pub kind: u16,
}

const _: () = assert!(size_of::<RecordHeader>() == HEADER_LEN);

impl RecordHeader {
    /// Splits a ring record into its header and its message.
    ///
    /// `None` when the record is shorter than it claims, which a correct program never writes.
    #[must_use]
    pub fn split(record: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = record.split_first_chunk::<HEADER_LEN>()?;
        let u64_at = |at: usize| -> [u8; 8] {
            let mut out = [0; 8];
            out.copy_from_slice(&head[at..at + 8]);
            out
        };
        let header = Self {
            ktime_ns: u64::from_ne_bytes(u64_at(0)),
            len: u32::from_ne_bytes([head[8], head[9], head[10], head[11]]),
            cpu: u16::from_ne_bytes([head[12], head[13]]),
            kind: u16::from_ne_bytes([head[14], head[15]]),
        };
        Some((header, rest.get(..header.len as usize)?))
    }
}
