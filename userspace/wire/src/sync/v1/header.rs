//! The message header, and cutting datagrams and streams into messages.

use super::{Account, Control, Fault, FaultKind, Flags, Kind, Stamp, VERSION};
use ctnetlink::Writer;

/// Bytes of the header every message has.
pub const HEADER_LEN: usize = 8;
/// Bytes of an ACK, NACK or RESYNC: the header and the two ends of a range.
pub const RANGE_HEADER_LEN: usize = 16;

/// The flags of which a control message has at least one.
const VERBS: Flags = Flags::RESYNC.union(Flags::NACK).union(Flags::ACK).union(Flags::ALIVE);
/// The flags of control messages that carry a range.
const RANGED: Flags = Flags::RESYNC.union(Flags::NACK).union(Flags::ACK);
/// The flags any message may have, and a state message no others.
const GREETINGS: Flags = Flags::HELLO.union(Flags::HELLO_BACK);

/// The head of a message, all fields in host order.
///
/// ```text
///  0        1        2                 4                8               12              16
/// +--------+--------+-----------------+----------------+---------------+---------------+
/// | 1 |kind| flags  | len, BE         | seq, BE        | from, BE      | to, BE        |
/// +--------+--------+-----------------+----------------+---------------+---------------+
///                                                       `-- ACK, NACK, RESYNC only ---'
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// What the message is about.
    pub kind: Kind,
    /// Flags, unknown bits included.
    pub flags: Flags,
    /// Length of the whole message in bytes, header included.
    pub len: u16,
    /// The sender's sequence number.
    pub seq: u32,
    /// First and last sequence number meant by an ACK or NACK; meaningless in a RESYNC.
    pub range: Option<(u32, u32)>,
}

impl Header {
    /// What a control message with this `body` says. Any other message counts as a sign of life, which it is.
    pub(super) fn control(&self, body: &[u8]) -> Control {
        let (from, to) = self.range.unwrap_or_default();
        if self.flags.contains(Flags::ACK) {
            Control::Ack { from, to }
        } else if self.flags.contains(Flags::NACK) {
            Control::Nack { from, to }
        } else if self.flags.contains(Flags::RESYNC) {
            Control::Resync
        } else if self.flags.contains(Flags::SETTLED) {
            Control::Settled(Account::decode(body))
        } else {
            Control::Alive
        }
    }
}

/// A message whose header has been read and whose body has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawMessage<'a> {
    /// Its header.
    pub header: Header,
    /// Everything behind the first [`HEADER_LEN`] bytes.
    pub body: &'a [u8],
    /// Where the message begins: offset in bytes from the start of the datagram or of the stream buffer.
    pub at: usize,
}

impl<'a> RawMessage<'a> {
    /// Reads the header of `frame`, one whole message that begins at byte `at`.
    // Inlined, here and below: a message that is passed on in memory, written field by field and read in larger pieces,
    // waits for every store before it, those of the table's last entry too.
    #[inline(always)]
    fn read(frame: &'a [u8], at: usize) -> Result<Self, Fault> {
        let fault = |kind, offset, what| Err(Fault::new(kind, at + offset, what));
        let Some((head, body)) = frame.split_first_chunk::<HEADER_LEN>() else {
            return fault(FaultKind::Truncated, 0, "truncated header");
        };
        if head[0] >> 4 != VERSION {
            return fault(FaultKind::Version, 0, "unknown protocol version");
        }
        let Some(kind) = Kind::from_number(head[0] & 0x0f) else {
            return fault(FaultKind::Type, 0, "unknown message type");
        };
        let flags = Flags::from_bits_retain(head[1]);
        let fits = match kind {
            Kind::Control => flags.intersects(VERBS),
            Kind::Flow(_) | Kind::Expect(_) => GREETINGS.contains(flags),
        };
        if !fits {
            return fault(FaultKind::Header, 1, "flags do not fit the message type");
        }
        let range = range(body).filter(|_| flags.intersects(RANGED));
        let meant = flags.intersects(Flags::ACK | Flags::NACK);
        if range.is_some_and(|(from, to)| meant && is_before(to, from)) {
            return fault(FaultKind::Header, HEADER_LEN, "range ends before it begins");
        }
        let len = u16::from_be_bytes([head[2], head[3]]);
        let seq = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        Ok(Self { header: Header { kind, flags, len, seq, range }, body, at })
    }
}

/// Both ends of the range a body begins with.
fn range(body: &[u8]) -> Option<(u32, u32)> {
    let (from, rest) = body.split_first_chunk()?;
    Some((u32::from_be_bytes(*from), u32::from_be_bytes(*rest.first_chunk()?)))
}

/// Bytes of the header that begins with `head`: the range counts as part of it.
const fn header_len(head: &[u8]) -> usize {
    let control = head[0] & 0x0f == Kind::Control.number();
    if control && Flags::from_bits_retain(head[1]).intersects(RANGED) {
        RANGE_HEADER_LEN
    } else {
        HEADER_LEN
    }
}

/// Whether `a` comes before `b` in a count that wraps.
const fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// What an unfinished message at the end means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// An error.
    Datagram,
    /// The rest has not arrived yet.
    Stream,
}

/// Cuts a datagram or a stream buffer into messages, front to back.
///
/// A message that is refused is skipped and the walk goes on, unless [`FaultKind::ends_walk`]: then the walk is
/// over, and a stream is beyond repair.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    bytes: &'a [u8],
    at: usize,
    framing: Framing,
    ended: bool,
}

impl<'a> Messages<'a> {
    /// The messages of a datagram: an unfinished message is a fault.
    #[must_use]
    pub const fn datagram(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, framing: Framing::Datagram, ended: false }
    }

    /// The messages of what has arrived of a stream: an unfinished message ends the walk without a fault, and
    /// belongs in front of the next bytes (see [`Messages::consumed`]).
    ///
    /// No message is longer than `u16::MAX` bytes, so a buffer of 64 KiB always makes progress.
    #[must_use]
    pub const fn stream(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, framing: Framing::Stream, ended: false }
    }

    /// Bytes of all messages walked over so far, refused ones included: where the incomplete tail begins.
    #[must_use]
    pub const fn consumed(&self) -> usize {
        self.at
    }

    /// The bytes of the next message, if it is complete.
    #[inline(always)]
    fn frame(&self) -> Result<Option<&'a [u8]>, Fault> {
        let rest = &self.bytes[self.at..];
        let unfinished = |kind, what| match self.framing {
            Framing::Stream => Ok(None),
            Framing::Datagram => Err(Fault::new(kind, self.at, what)),
        };
        if rest.len() < HEADER_LEN {
            return unfinished(FaultKind::Truncated, "truncated header");
        }
        let need = header_len(rest);
        // conntrackd counts by what is there before it looks at the length that is claimed.
        let kind = if rest.len() < need { FaultKind::Truncated } else { FaultKind::Size };
        let len = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        if len < need {
            return Err(Fault::new(kind, self.at + 2, "shorter than its header"));
        }
        match rest.get(..len) {
            Some(frame) => Ok(Some(frame)),
            None => unfinished(kind, "longer than the datagram"),
        }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<RawMessage<'a>, Fault>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended || self.at == self.bytes.len() {
            return None;
        }
        match self.frame() {
            Ok(Some(frame)) => {
                let message = RawMessage::read(frame, self.at);
                self.at += frame.len();
                Some(message)
            }
            Ok(None) => {
                self.ended = true;
                None
            }
            Err(fault) => {
                self.ended = true;
                Some(Err(fault))
            }
        }
    }
}

impl core::iter::FusedIterator for Messages<'_> {}

/// Begins a message; give its start to [`finish`].
pub(super) fn begin(w: &mut Writer<'_>, kind: Kind, stamp: Stamp) -> usize {
    begin_with(w, kind, stamp, Flags::empty())
}

fn begin_with(w: &mut Writer<'_>, kind: Kind, stamp: Stamp, verb: Flags) -> usize {
    let start = w.position();
    let own =
        if matches!(kind, Kind::Control) { GREETINGS.union(Flags::ACCOUNTS) } else { GREETINGS };
    let flags = stamp.flags.intersection(own).union(verb);
    w.put(&[VERSION << 4 | kind.number(), flags.bits(), 0, 0]);
    w.put(&stamp.seq.to_be_bytes());
    start
}

/// Writes the length of the message that began at `start`.
pub(super) fn finish(w: &mut Writer<'_>, start: usize) {
    let len = (w.position() - start) as u16;
    w.patch(start + 2, &len.to_be_bytes());
}

/// Bits of an [`Account`].
const EXACT: u32 = 1;
const TRANSFER: u32 = 2;
const FLOWS: u32 = 4;
const WHOLE: u32 = 8;
const INJECTS: u32 = 16;

impl Account {
    /// Reads the account in the body of a control message; `None` where the body is too short to hold one.
    fn decode(body: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let bytes = body.get(at..at + 4)?.first_chunk()?;
            Some(u32::from_be_bytes(*bytes))
        };
        let (bits, from, flows) = (word(0)?, word(4)?, word(8)?);
        word(12)?;
        Some(Self {
            exact: bits & EXACT != 0,
            whole: bits & WHOLE != 0,
            injects: bits & INJECTS != 0,
            transfer: (bits & TRANSFER != 0).then_some(from),
            flows: (bits & FLOWS != 0).then_some(flows),
        })
    }

    fn encode(&self, w: &mut Writer<'_>) {
        let mut bits = if self.exact { EXACT } else { 0 };
        bits |= if self.whole { WHOLE } else { 0 };
        bits |= if self.injects { INJECTS } else { 0 };
        bits |= if self.transfer.is_some() { TRANSFER } else { 0 };
        bits |= if self.flows.is_some() { FLOWS } else { 0 };
        for word in [bits, self.transfer.unwrap_or(0), self.flows.unwrap_or(0), 0] {
            w.put(&word.to_be_bytes());
        }
    }
}

/// Appends a control message: 8 bytes for [`Control::Alive`], 24 for [`Control::Settled`] with an account, 16 for the
/// others.
pub fn encode_control(control: Control, stamp: Stamp, w: &mut Writer<'_>) {
    let (verb, range) = match control {
        Control::Alive => (Flags::ALIVE, None),
        Control::Settled(_) => (Flags::ALIVE.union(Flags::SETTLED), None),
        Control::Ack { from, to } => (Flags::ACK, Some((from, to))),
        Control::Nack { from, to } => (Flags::NACK, Some((from, to))),
        Control::Resync => (Flags::RESYNC, Some((0, 0))),
    };
    let start = begin_with(w, Kind::Control, stamp, verb);
    if let Some((from, to)) = range {
        w.put(&from.to_be_bytes());
        w.put(&to.to_be_bytes());
    }
    if let Control::Settled(Some(account)) = control {
        account.encode(w);
    }
    finish(w, start);
}
