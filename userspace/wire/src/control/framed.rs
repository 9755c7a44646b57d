//! The framed protocol of the control socket (`docs/spec/control.md`, section 2), which [`super::Request::Framed`]
//! opens.
//!
//! ```text
//!  client                                        daemon
//!    number 1002
//!    HELLO  versions ---------------------------->
//!    <------------------------- HELLO  version, or END with a status
//!    PART   filter text, in pieces -------------->
//!    ASK    verb and fields --------------------->
//!    <------------------------- NOTE, DATA  any number
//!    <------------------------- END  a status, and what came of it
//!
//!   0               4      5       6        8
//!  +---------------+------+-------+--------+---------------------+
//!  | length        | kind | check | status | body, length bytes  |   numbers in native order: both ends are on
//!  +---------------+------+-------+--------+---------------------+   one machine
//!   check: the other seven bytes and 0xa5, joined by exclusive or
//! ```
//!
//! A refusal is an END with a status other than 0, and no other frame has a status. An answer without an END is not
//! complete. The check finds every header of which one byte is wrong.

use crate::cursor::Reader;
use ctnetlink::{DecodeError, Writer};

/// Bytes of a frame's header.
pub const HEADER_LEN: usize = 8;
/// The longest body, bytes.
pub const BODY_MAX: usize = 64 << 10;
/// Bytes of all pieces of a filter.
pub const FILTER_MAX: usize = 64 << 20;
/// The version of the protocol that is spoken here.
pub const VERSION: u16 = 1;

/// Declares an enum of numbers.
macro_rules! numbers {
    ($(#[doc = $about:literal])+ $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $number:literal;)+ }) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum $name {
            $($(#[doc = $doc])+ $variant = $number,)+
        }

        impl $name {
            /// Every one, in order of number.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The one with this number.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

numbers! {
    /// What a frame is.
    Kind {
        /// Either side, first: which versions it speaks; which one is spoken.
        Hello = 1;
        /// Client: a piece of the filter.
        Part = 2;
        /// Client, last: what it asks.
        Ask = 3;
        /// Daemon: a piece of the answer.
        Data = 4;
        /// Daemon: something for people to know, text.
        Note = 5;
        /// Daemon, last: how it ended.
        End = 6;
    }
}

numbers! {
    /// How a request ended.
    Status {
        /// The request was carried out. The body is a [`Tally`].
        Done = 0;
        /// The request was not understood. This and all others but `Limit`: the body is text.
        Malformed = 1;
        /// No version in common.
        Version = 2;
        /// The filter is wrong or can't be known; the body is the error as JSON.
        Filter = 3;
        /// The daemon works in another network namespace.
        Namespace = 4;
        /// The daemon has no table of flows that it could ask, or not yet.
        NoTable = 5;
        /// More flows than were allowed for. The body is a [`Tally`].
        Limit = 6;
        /// The request failed on the way.
        Failed = 7;
        /// Too much is asked at once.
        Busy = 8;
    }
}

numbers! {
    /// The operation that a request asks for.
    Verb {
        /// Show flows. DATA: the list.
        List = 1;
        /// Count flows. DATA: groups, if keys were given.
        Count = 2;
        /// Delete flows. DATA of a dry run: a few of the flows, as lines.
        Delete = 3;
        /// Write the flows of a peer of replication, version 2, into the kernel, and claim them. The filter is its
        /// name.
        TakeOver = 4;
        /// Compare what is held of a peer of replication, version 2, with what it has. The filter is its name. DATA:
        /// what differs.
        Diff = 5;
    }
}

numbers! {
    /// How flows are shown.
    Format {
        /// Lines for people.
        Text = 0;
        /// Output as JSON.
        Json = 1;
        /// Output as XML.
        Xml = 2;
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the body, at most [`BODY_MAX`].
    pub len: usize,
    /// The kind of the frame.
    pub kind: Kind,
    /// How it ended: other than [`Status::Done`] in [`Kind::End`] alone.
    pub status: Status,
}

impl Header {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let [a, b, c, d] = (self.len as u32).to_ne_bytes();
        let [low, high] = (self.status as u16).to_ne_bytes();
        let mut out = [a, b, c, d, self.kind as u8, 0, low, high];
        out[CHECK_AT] = check(&out);
        out
    }

    /// From its bytes.
    ///
    /// # Errors
    /// When a byte of it is wrong, the frame is longer than it may be, of an unknown kind or status, or has a status
    /// where none can be.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, DecodeError> {
        let [a, b, c, d, kind, given, low, high] = *bytes;
        if given != check(bytes) {
            return Err(DecodeError::new(CHECK_AT, "header is damaged"));
        }
        let len = u32::from_ne_bytes([a, b, c, d]) as usize;
        let kind = Kind::from_number(kind.into());
        let kind = kind.ok_or_else(|| DecodeError::new(4, "unknown kind of frame"))?;
        let status = Status::from_number(u16::from_ne_bytes([low, high]));
        let status = status.ok_or_else(|| DecodeError::new(6, "unknown status"))?;
        if len > BODY_MAX {
            return Err(DecodeError::new(0, "frame is too long"));
        }
        if status != Status::Done && kind != Kind::End {
            return Err(DecodeError::new(6, "status in a frame that has none"));
        }
        Ok(Self { len, kind, status })
    }
}

const CHECK_AT: usize = 5;

/// The check of a header, whatever stands in its place.
fn check(bytes: &[u8; HEADER_LEN]) -> u8 {
    bytes.iter().fold(0xa5 ^ bytes[CHECK_AT], |all, byte| all ^ byte)
}

/// What the versions of a HELLO have in common with ours; the body of a client's is the lowest and the highest one.
///
/// # Errors
/// When the body is no pair of versions. `None`: nothing in common.
pub fn common_version(body: &[u8]) -> Result<Option<u16>, DecodeError> {
    let mut reader = Reader::new(body);
    let lowest = u16::from_ne_bytes(reader.array("truncated versions")?);
    let highest = u16::from_ne_bytes(reader.array("truncated versions")?);
    if reader.remaining() > 0 || lowest > highest {
        return Err(DecodeError::new(0, "these are no versions"));
    }
    Ok((lowest..=highest).contains(&VERSION).then_some(VERSION))
}

/// The body of a client's HELLO.
#[must_use]
pub fn versions() -> [u8; 4] {
    let [a, b] = VERSION.to_ne_bytes();
    [a, b, a, b]
}

/// The frames of an answer in their order: what follows an END, or comes before a HELLO, is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// No byte has arrived.
    #[default]
    New,
    /// The versions are agreed.
    Open,
    /// The answer is complete.
    Ended,
}

impl Answer {
    /// Takes the header of the next frame.
    ///
    /// # Errors
    /// When such a frame cannot come now.
    pub fn take(&mut self, header: &Header) -> Result<(), DecodeError> {
        *self = match (*self, header.kind) {
            (Self::New, Kind::Hello) => Self::Open,
            (Self::Open, Kind::Data | Kind::Note) => Self::Open,
            (Self::New, Kind::End) if header.status != Status::Done => Self::Ended,
            (Self::Open, Kind::End) => Self::Ended,
            _ => return Err(DecodeError::new(4, "frame out of order")),
        };
        Ok(())
    }

    /// Whether it is complete.
    #[must_use]
    pub const fn is_complete(self) -> bool {
        matches!(self, Self::Ended)
    }
}

/// The frames of a request in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Question {
    /// No byte has arrived.
    #[default]
    New,
    /// The versions are known.
    Open,
    /// The request is complete.
    Asked,
}

impl Question {
    /// Takes the header of the next frame.
    ///
    /// # Errors
    /// When such a frame cannot come now.
    pub fn take(&mut self, header: &Header) -> Result<(), DecodeError> {
        *self = match (*self, header.kind) {
            (Self::New, Kind::Hello) => Self::Open,
            (Self::Open, Kind::Part) => Self::Open,
            (Self::Open, Kind::Ask) => Self::Asked,
            _ => return Err(DecodeError::new(4, "frame out of order")),
        };
        Ok(())
    }
}

/// Numbers of the fields of an ASK.
mod field {
    pub(super) const NAMESPACE: u16 = 1;
    pub(super) const LIMIT: u16 = 2;
    pub(super) const MAX: u16 = 3;
    pub(super) const DRY_RUN: u16 = 4;
    pub(super) const CONFIRMED: u16 = 5;
    pub(super) const FORMAT: u16 = 6;
    pub(super) const KEYS: u16 = 7;
    pub(super) const TOP: u16 = 8;
    pub(super) const REMOTE: u16 = 9;
}

/// What is asked; the filter came before. Its body is the verb, and fields:
///
/// ```text
///   0       2       4
///  +-------+-------+--------------------+
///  | number| length| value, length bytes|  ...   a daemon that does not know a field refuses the request
///  +-------+-------+--------------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask<'a> {
    /// The operation.
    pub verb: Verb,
    /// The network namespace that is meant: device and inode of its file. `None`: the daemon's, whichever it is.
    pub namespace: Option<(u64, u64)>,
    /// List: flows at most.
    pub limit: Option<u64>,
    /// Delete: refuse if more flows match.
    pub max: Option<u64>,
    /// Delete: only say what would be done.
    pub dry_run: bool,
    /// Delete: the operator has agreed to a delete of any size.
    pub confirmed: bool,
    /// How flows, or groups, are shown.
    pub format: Format,
    /// Count: by these keys, with commas between them.
    pub keys: Option<&'a str>,
    /// Count: so many groups at most.
    pub top: Option<u64>,
    /// List, count: of the remote table, not the local one.
    pub remote: bool,
}

impl<'a> Ask<'a> {
    /// A request without any field.
    #[must_use]
    pub const fn new(verb: Verb) -> Self {
        Self {
            verb,
            namespace: None,
            limit: None,
            max: None,
            dry_run: false,
            confirmed: false,
            format: Format::Text,
            keys: None,
            top: None,
            remote: false,
        }
    }

    /// Appends its body.
    pub fn encode(&self, w: &mut Writer<'_>) {
        let mut put = |number: u16, parts: [&[u8]; 2]| {
            w.put(&number.to_ne_bytes());
            w.put(&((parts[0].len() + parts[1].len()) as u16).to_ne_bytes());
            parts.iter().for_each(|part| w.put(part));
        };
        // The verb is a field without number.
        put(self.verb as u16, [&[], &[]]);
        if let Some((device, inode)) = self.namespace {
            put(field::NAMESPACE, [&device.to_ne_bytes(), &inode.to_ne_bytes()]);
        }
        let numbers = [(field::LIMIT, self.limit), (field::MAX, self.max), (field::TOP, self.top)];
        for (number, value) in numbers {
            if let Some(value) = value {
                put(number, [&value.to_ne_bytes(), &[]]);
            }
        }
        for (number, is) in [
            (field::DRY_RUN, self.dry_run),
            (field::CONFIRMED, self.confirmed),
            (field::REMOTE, self.remote),
        ] {
            if is {
                put(number, [&[], &[]]);
            }
        }
        if self.format != Format::Text {
            put(field::FORMAT, [&(self.format as u16).to_ne_bytes(), &[]]);
        }
        if let Some(keys) = self.keys {
            put(field::KEYS, [keys.as_bytes(), &[]]);
        }
    }

    /// Understands a body.
    ///
    /// # Errors
    /// When it is cut short, or has a field that is not known, of a wrong length, or twice.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let verb = u16::from_ne_bytes(reader.array("truncated request")?);
        let verb = Verb::from_number(verb).ok_or_else(|| DecodeError::new(0, "unknown verb"))?;
        if reader.array("truncated request")? != [0, 0] {
            return Err(DecodeError::new(2, "a verb has no value"));
        }
        let mut ask = Self::new(verb);
        let mut seen = 0_u16;
        while reader.remaining() > 0 {
            let at = reader.position();
            let number = u16::from_ne_bytes(reader.array("truncated field")?);
            let len = u16::from_ne_bytes(reader.array("truncated field")?);
            let value = reader.take(len.into(), "truncated field")?;
            let bit = 1_u16.checked_shl(number.into()).unwrap_or(0);
            if bit == 0 || seen & bit != 0 {
                return Err(DecodeError::new(at, "field that is unknown, or given twice"));
            }
            seen |= bit;
            ask.take(number, value).map_err(|what| DecodeError::new(at, what))?;
        }
        Ok(ask)
    }

    fn take(&mut self, number: u16, value: &'a [u8]) -> Result<(), &'static str> {
        const WRONG: &str = "field of a wrong length";
        let long = |at: usize| {
            let bytes = value.get(at..at + 8).and_then(|bytes| bytes.first_chunk());
            bytes.map(|bytes| u64::from_ne_bytes(*bytes)).ok_or(WRONG)
        };
        let wanted = match number {
            field::NAMESPACE => 16,
            field::LIMIT | field::MAX | field::TOP => 8,
            field::DRY_RUN | field::CONFIRMED | field::REMOTE => 0,
            field::FORMAT => 2,
            _ => value.len(),
        };
        if value.len() != wanted {
            return Err(WRONG);
        }
        match number {
            field::NAMESPACE => self.namespace = Some((long(0)?, long(8)?)),
            field::LIMIT => self.limit = Some(long(0)?),
            field::MAX => self.max = Some(long(0)?),
            field::TOP => self.top = Some(long(0)?),
            field::DRY_RUN => self.dry_run = true,
            field::CONFIRMED => self.confirmed = true,
            field::REMOTE => self.remote = true,
            field::FORMAT => {
                let number = u16::from_ne_bytes(*value.first_chunk().ok_or(WRONG)?);
                self.format = Format::from_number(number).ok_or("unknown format")?;
            }
            field::KEYS => {
                self.keys = Some(core::str::from_utf8(value).map_err(|_| "keys are no text")?);
            }
            _ => return Err("field that is unknown, or given twice"),
        }
        Ok(())
    }
}

/// What came of a request: the body of an END.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Flows that match.
    pub matched: u64,
    /// Flows in the table; of a list, flows that were looked at.
    pub table: u64,
    /// Flows that are deleted.
    pub deleted: u64,
    /// Flows that had ended by themselves.
    pub ended: u64,
    /// Flows that the kernel kept.
    pub refused: u64,
}

impl Tally {
    /// Bytes of it.
    pub const LEN: usize = 40;

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let numbers = [self.matched, self.table, self.deleted, self.ended, self.refused];
        let mut out = [0; Self::LEN];
        for (place, number) in out.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_ne_bytes());
        }
        out
    }

    /// From its bytes.
    ///
    /// # Errors
    /// When there are more or fewer.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let mut next = || reader.array("truncated tally").map(u64::from_ne_bytes);
        let (matched, table, deleted) = (next()?, next()?, next()?);
        let out = Self { matched, table, deleted, ended: next()?, refused: next()? };
        if reader.remaining() > 0 {
            return Err(DecodeError::new(Self::LEN, "tally is too long"));
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests;
