//! How events travel from the kernel to the engine.
//!
//! ```text
//!  socket: one queue, in order                              Stamp::InOrder
//!  tap:    a ring per CPU, in order in each, not across     Stamp::At(exact time)
//!          what finds its ring full goes to the socket      Stamp::After(when the socket was last empty)
//!  hook:   the same rings; begins and changes are seen in packets, so what requests do is not seen; and some packets
//!          begin flows that the kernel never inserts
//! ```
//!
//! Tap and hook may take turns: for a while both report.

use crate::kernel::Happened;
use crate::prng::Rng;
use common::Instant;
use ctnetlink::Change;
use engine::{Origin, Stamp};

const CPUS: usize = 4;

/// The kind of source, and how unkind it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceKind {
    Socket,
    Tap {
        /// Longest way of an event to the reader.
        window_ns: u64,
        /// Events in a thousand that find their ring full.
        spill: u32,
    },
    Hook {
        /// Longest way of a record to the reader.
        window_ns: u64,
    },
}

impl SourceKind {
    const fn sees_packets(self) -> bool {
        matches!(self, Self::Hook { .. })
    }

    /// Whether it learns of this in a packet, or in a message; `None`: not at all.
    fn hears(self, happened: &Happened) -> Option<bool> {
        if !self.sees_packets() {
            return (!happened.silent).then_some(false);
        }
        if happened.event == Change::Destroy {
            return Some(false);
        }
        (happened.origin == Origin::Foreign && happened.whole.is_some()).then_some(true)
    }
}

/// One subscription.
#[derive(Debug)]
pub(crate) struct Source {
    kind: SourceKind,
    /// The source before this one, which reports until then.
    before: Option<(SourceKind, Instant)>,
    rng: Rng,
    /// When the last event of each ring, and of the socket, is handed over.
    ring_last: [u64; CPUS],
    socket_last: u64,
    /// When the socket was last known to be empty.
    socket_empty: u64,
}

impl Source {
    /// A subscription that begins at `now`.
    pub(crate) const fn new(kind: SourceKind, rng: Rng, now: Instant) -> Self {
        let ring_last = [now.0; CPUS];
        Self { kind, before: None, rng, ring_last, socket_last: now.0, socket_empty: now.0 }
    }

    /// Tap and hook change places. Returns whether requests are reported from here on; `None` where there are no two.
    pub(crate) fn change(&mut self, now: Instant) -> Option<bool> {
        let other = match self.kind {
            SourceKind::Socket => return None,
            SourceKind::Tap { window_ns, .. } => SourceKind::Hook { window_ns },
            SourceKind::Hook { window_ns } => {
                SourceKind::Tap { window_ns, spill: *self.rng.pick(&[0, 20, 200]) }
            }
        };
        self.before = Some((self.kind, Instant(now.0 + 5_000_000)));
        self.kind = other;
        Some(!self.kind.sees_packets())
    }

    /// How it learns of this: in a packet (true), in a message (false), in both, or not at all.
    pub(crate) fn hears(&mut self, happened: &Happened) -> Vec<bool> {
        self.before.take_if(|(_, until)| *until < happened.at);
        let before = self.before.map(|(kind, _)| kind);
        let both = [Some(self.kind), before].into_iter().flatten();
        let mut ways: Vec<bool> = both.filter_map(|kind| kind.hears(happened)).collect();
        ways.dedup();
        ways
    }

    /// When an event reaches the engine, and with which stamp. Nothing that was seen in a packet goes to the socket.
    pub(crate) fn route(&mut self, happened: &Happened, packet: bool) -> (Instant, Stamp) {
        match self.kind {
            SourceKind::Socket => {
                let delay = self.delay(1_000_000);
                self.socket_last = self.socket_last.max(happened.at.0 + delay) + 1;
                (Instant(self.socket_last), Stamp::InOrder)
            }
            SourceKind::Tap { window_ns, spill } if !packet && self.rng.chance(spill) => {
                let at = happened.at.0;
                if self.socket_last < at {
                    // The socket was found empty at some time between its last event and this one.
                    let idle = (at - self.socket_last).min(window_ns.max(1));
                    self.socket_empty = at - self.rng.below(idle);
                }
                let delay = self.delay(window_ns);
                self.socket_last = self.socket_last.max(at + delay) + 1;
                (Instant(self.socket_last), Stamp::After(Instant(self.socket_empty)))
            }
            SourceKind::Tap { window_ns, .. } | SourceKind::Hook { window_ns } => {
                let cpu = self.rng.below(CPUS as u64) as usize;
                let delay = self.delay(window_ns);
                self.ring_last[cpu] = self.ring_last[cpu].max(happened.at.0 + delay) + 1;
                (Instant(self.ring_last[cpu]), Stamp::At(happened.at))
            }
        }
    }

    /// Mostly short, sometimes all of the window.
    fn delay(&mut self, window_ns: u64) -> u64 {
        let most = if self.rng.chance(700) { window_ns / 16 } else { window_ns };
        self.rng.below(most + 1)
    }
}
