//! Refusals: counted by kind, and logged once a minute and kind (R5.9).

use super::limit::TELL_EVERY;
use common::Instant;
use std::net::SocketAddr;

/// Why a datagram was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum Refusal {
    /// No datagram of this protocol: first byte, length, or what must be zero or agree and does not (R5.1).
    Malformed,
    /// No session or handshake has this index (R5.1).
    UnknownIndex,
    /// A handshake message with a wrong mac1 (R5.2).
    BadMac,
    /// Answered by a cookie (R5.3).
    Cookie,
    /// With a right cookie, but too many of an address (R5.3).
    Flood,
    /// A number that was opened, or is too old; an initiation that was read before (R5.4, R5.6).
    Replayed,
    /// The sender did not have the key, or sealed it for another node.
    Forged,
    /// A genuine handshake of a key that no peer has.
    UnknownKey,
    /// A peer's key with another name than ours for it (R4.2).
    OtherName,
    /// A peer that speaks no version that we speak (R5.10).
    NoVersion,
    /// A handshake that ours goes before (R5.5).
    Tie,
}

impl Refusal {
    /// Each kind, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Malformed,
        Self::UnknownIndex,
        Self::BadMac,
        Self::Cookie,
        Self::Flood,
        Self::Replayed,
        Self::Forged,
        Self::UnknownKey,
        Self::OtherName,
        Self::NoVersion,
        Self::Tie,
    ];

    /// What it is called in counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownIndex => "unknown_index",
            Self::BadMac => "bad_mac",
            Self::Cookie => "cookies",
            Self::Flood => "flood",
            Self::Replayed => "replayed",
            Self::Forged => "forged",
            Self::UnknownKey => "unknown_key",
            Self::OtherName => "other_name",
            Self::NoVersion => "no_version",
            Self::Tie => "ties",
        }
    }

    /// Whether it is worth a line: two nodes that begin at once are no news.
    const fn is_news(self) -> bool {
        !matches!(self, Self::Tie)
    }
}

/// How many of each kind, and from where.
#[derive(Debug, Default)]
pub(super) struct Refused {
    kinds: [Kind; Refusal::ALL.len()],
}

#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    count: u64,
    unreported: u64,
    last: Option<SocketAddr>,
    tell_at: Instant,
}

impl Refused {
    pub(super) fn count(&self, kind: Refusal) -> u64 {
        self.kinds[kind as usize].count
    }

    /// One more was refused.
    pub(super) fn note(&mut self, kind: Refusal, from: SocketAddr) {
        let kind = &mut self.kinds[kind as usize];
        kind.count += 1;
        kind.unreported += 1;
        kind.last = Some(from);
    }

    /// The log line that is due: kind, how many since the last time, and the last source.
    pub(super) fn tell(&mut self, now: Instant) -> Option<(Refusal, u64, SocketAddr)> {
        let mut kinds = Refusal::ALL.into_iter().zip(&mut self.kinds);
        kinds.find_map(|(name, kind)| {
            let due = kind.unreported > 0 && now >= kind.tell_at && name.is_news();
            let last = kind.last.filter(|_| due)?;
            kind.tell_at = now + TELL_EVERY;
            Some((name, std::mem::take(&mut kind.unreported), last))
        })
    }

    /// When the next refusal is logged.
    pub(super) fn tell_at(&self) -> Option<Instant> {
        let kinds = Refusal::ALL.into_iter().zip(&self.kinds);
        let waiting = kinds.filter(|(name, kind)| kind.unreported > 0 && name.is_news());
        waiting.map(|(_, kind)| kind.tell_at).min()
    }
}
