//! How long datagrams to one peer may be (R12.4, as RFC 8899): found by probes, for no router has to say it.
//!
//! ```text
//!   searches --a probe came--------------------------> this size; the next longer ones are of no use: rests
//!     |  ^  --three probes lost, their witnesses came--> the next shorter size; none is left: rests
//!     |  +--after 600 s -- rests --three long ones lost--> doubts: a short one is sent
//!     +<--------------------- a short one came: back to the base ----+
//! ```
//!
//! A probe is a datagram of the length that is tried, with nothing in it. A *witness* follows it: a short one. Where
//! that is lost too, nothing is known of the length: the path carries nothing just now, and the try is repeated.
//! Loss of a probe is no sign of congestion, and what ICMP says only ever shortens what is tried.

#[cfg(test)]
mod tests;

use common::Instant;
use core::time::Duration;

/// Bytes around the text of a datagram: what `host::secure` adds.
pub const SEAL_LEN: usize = 32;
/// The length of datagrams that every path carries: 1,280 bytes with the heads of IPv6 and UDP.
pub const SIZE_BASE: usize = 1_232;
/// The greatest length that is tried: 9,000 bytes with the heads of IPv4 and UDP.
pub const SIZE_MAX: usize = 8_972;
/// Lengths that are tried, from the greatest down: what packets of well-known sizes hold. Where an interface or a
/// router says another one, that is tried too.
const SIZES: [usize; 9] = [
    SIZE_MAX, // 9,000, IPv4
    8_952,    // 9,000, IPv6
    8_848,    // 8,896, IPv6: Google Cloud
    8_452,    // 8,500, IPv6: AWS, between networks
    3_852,    // 3,900, IPv6: Azure
    1_472,    // 1,500, IPv4
    1_452,    // 1,500, IPv6
    1_412,    // 1,460, IPv6: Google Cloud
    1_372,    // 1,420, IPv6: WireGuard
];
/// Probes of a length that must be lost.
const TRIES: u8 = 3;
/// So many long datagrams must be lost, one after the other.
const LONG_LOST: u8 = 3;
/// How long until the next search.
pub const SEARCH_EVERY: Duration = Duration::from_secs(600);

/// A datagram that the path search needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owed {
    /// A datagram of so many bytes, sealed.
    Probe {
        /// Its length in bytes.
        size: usize,
        /// One of this length was lost: what the kernel knows of the path is wanted.
        again: bool,
    },
    /// A short datagram that is acknowledged.
    Witness,
}

/// The path to one peer.
#[derive(Clone, Debug)]
pub struct Path {
    /// What it carries, as far as is known.
    size: usize,
    /// What is not tried beyond, in this search.
    most: usize,
    state: State,
    probe: Flight,
    witness: Flight,
    /// When the next search begins.
    search_at: Instant,
    /// The longest datagram of this size that arrived: its number, and its length.
    proof: (u64, usize),
    hole: Hole,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Rests,
    /// This size is tried, and so many probes of it were lost.
    Searches(usize, u8),
    /// Long datagrams are lost. Whether short ones arrive is not known.
    Doubts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flight {
    Owed,
    Flies(u64),
    Arrived,
    Lost,
}

/// Datagrams longer than the base that were lost, and none as long arrived that was sent later.
#[derive(Clone, Copy, Debug, Default)]
struct Hole {
    lost: u8,
    /// The number of the first, and the length of the shortest.
    first: u64,
    least: usize,
    /// A shorter one arrived that was sent later.
    shorter_came: bool,
}

impl Path {
    /// A path of which nothing is known: a search begins.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let mut path = Self {
            size: SIZE_BASE,
            most: SIZE_MAX,
            state: State::Rests,
            probe: Flight::Owed,
            witness: Flight::Owed,
            search_at: now,
            proof: (0, 0),
            hole: Hole::default(),
        };
        path.on_time(now);
        path
    }

    /// Bytes of a sealed datagram that it carries, as far as is known.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Bytes of text in one.
    #[must_use]
    pub const fn text_len(&self) -> usize {
        self.size - SEAL_LEN
    }

    /// The datagram that is due now.
    #[must_use]
    pub fn owed(&self) -> Option<Owed> {
        match (self.state, self.probe, self.witness) {
            (State::Searches(size, lost), Flight::Owed, _) => {
                Some(Owed::Probe { size, again: lost != 0 })
            }
            (State::Searches(..) | State::Doubts, _, Flight::Owed) => Some(Owed::Witness),
            _ => None,
        }
    }

    /// When [`Path::on_time`] does something, if nothing happens before.
    #[must_use]
    pub fn timeout(&self) -> Option<Instant> {
        (self.state == State::Rests).then_some(self.search_at)
    }

    /// Time went by.
    pub fn on_time(&mut self, now: Instant) {
        if self.timeout().is_some_and(|at| at <= now) {
            self.most = SIZE_MAX;
            self.search_below(now, usize::MAX);
        }
    }

    /// What is owed goes out with this number.
    pub const fn on_sent(&mut self, owed: Owed, number: u64) {
        match owed {
            Owed::Probe { .. } => self.probe = Flight::Flies(number),
            Owed::Witness => self.witness = Flight::Flies(number),
        }
    }

    /// The datagram of this number, with so many bytes of text, arrived.
    pub fn on_acked(&mut self, now: Instant, number: u64, text: usize) {
        let size = text + SEAL_LEN;
        if size > SIZE_BASE && size >= self.proof.1 {
            self.proof = (number.max(self.proof.0), size);
        }
        if self.hole.lost != 0 && number > self.hole.first {
            if size >= self.hole.least {
                self.hole = Hole::default();
            } else {
                self.hole.shorter_came = true;
            }
        }
        self.note(number, Flight::Arrived);
        self.decide(now);
    }

    /// The datagram of this number, with so many bytes of text, is lost. Numbers of one moment come in their order,
    /// after those that arrived.
    pub fn on_lost(&mut self, now: Instant, number: u64, text: usize) {
        let size = text + SEAL_LEN;
        let is_probe = self.probe == Flight::Flies(number);
        self.note(number, Flight::Lost);
        let proved = number < self.proof.0 && size <= self.proof.1;
        // A longer one is a probe that was given up before.
        if (SIZE_BASE + 1..=self.size).contains(&size) && !is_probe && !proved {
            let Hole { lost, first, least, .. } = &mut self.hole;
            (*first, *least) = if *lost == 0 { (number, size) } else { (*first, size.min(*least)) };
            *lost = lost.saturating_add(1);
        }
        self.decide(now);
    }

    /// A datagram of `tried` bytes, sealed, does not pass here, or on the way as far as routers say: `most` bytes do.
    /// Returns the number of a probe that is not waited for any more.
    pub fn on_limit(&mut self, now: Instant, tried: usize, most: usize) -> Option<u64> {
        if tried <= SIZE_BASE || most >= tried {
            return None;
        }
        let flies = if let Flight::Flies(number) = self.probe { Some(number) } else { None };
        self.most = self.most.min(most);
        if tried <= self.size {
            self.fall(now);
        } else if let State::Searches(size, _) = self.state
            && size > self.most
        {
            self.search_below(now, size);
        }
        flies.filter(|_| self.probe == Flight::Owed)
    }

    /// The datagrams in flight are forgotten: their outcome stays unknown.
    pub fn on_forgotten(&mut self) {
        self.hole = Hole::default();
        self.try_again();
        if self.state == State::Doubts {
            self.state = State::Rests;
        }
    }

    fn note(&mut self, number: u64, became: Flight) {
        for flight in [&mut self.probe, &mut self.witness] {
            if *flight == Flight::Flies(number) {
                *flight = became;
            }
        }
    }

    fn decide(&mut self, now: Instant) {
        if self.hole.lost >= LONG_LOST && self.hole.shorter_came {
            self.most = SIZE_MAX;
            return self.fall(now);
        }
        match (self.state, self.probe, self.witness) {
            (State::Searches(size, _), Flight::Arrived, _) => {
                (self.size, self.proof, self.hole) = (size, (0, 0), Hole::default());
                self.search_below(now, size);
            }
            (State::Searches(size, lost), Flight::Lost, Flight::Arrived) => {
                if lost + 1 >= TRIES {
                    self.search_below(now, size);
                } else {
                    self.state = State::Searches(size, lost + 1);
                    self.try_again();
                }
            }
            (State::Searches(..), Flight::Lost, Flight::Lost) => self.try_again(),
            (State::Doubts, ..) if self.hole.lost == 0 => self.state = State::Rests,
            (State::Doubts, _, Flight::Lost) => self.try_again(),
            (State::Rests, ..) if self.hole.lost >= LONG_LOST => {
                self.state = State::Doubts;
                self.try_again();
            }
            _ => {}
        }
    }

    const fn try_again(&mut self) {
        (self.probe, self.witness) = (Flight::Owed, Flight::Owed);
    }

    /// What was known of the path does not hold any more.
    fn fall(&mut self, now: Instant) {
        (self.size, self.proof, self.hole) = (SIZE_BASE, (0, 0), Hole::default());
        self.search_below(now, usize::MAX);
    }

    /// The next size is tried that is less than `failed`, if there is one beyond what is known.
    fn search_below(&mut self, now: Instant, failed: usize) {
        self.try_again();
        let sizes = SIZES.into_iter().chain([self.most]);
        let sizes = sizes.filter(|size| *size < failed && *size <= self.most && *size > self.size);
        self.state = match sizes.max() {
            Some(size) => State::Searches(size, 0),
            None => {
                self.search_at = now + SEARCH_EVERY;
                State::Rests
            }
        };
    }
}
