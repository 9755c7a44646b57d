//! What a shard keeps of its conversation with one shard of a peer: what is in flight, what came, where both stand.
//!
//! ```text
//!   down --PeerUp--> OPEN until acknowledged --OPEN of the peer--> news from where it stopped, or from the head
//!    ^                                                               |
//!    +--PeerDown: what is in flight is forgotten, nothing else <-----+-- a CUT a second: equal, or locate
//! ```

use super::compare::{Comparing, Comparison};
use super::digest::Listing;
use super::lag::Lags;
use super::ledger::{Entry, Item, Ledger, PositionId};
use super::path::{Owed, Path, SIZE_BASE};
use super::rate::Rate;
use super::sent::{Lost, Sent};
use super::stream::Arrived;
use crate::bounded::Bounded;
use crate::config::Owner;
use crate::input::CommandId;
use crate::message_id::PeerId;
use alloc::boxed::Box;
use alloc::vec::Vec;
use common::Instant;
use core::ops::Range;
use core::time::Duration;
use ctnetlink::FlowKey;
use wire::sync::v2::digest::{FlowId, IdRow, LEAF_BITS_MAX, Level, SLICES};

/// How often OPEN is said until it is acknowledged.
const OPEN_EVERY: Duration = Duration::from_millis(200);
/// The round of a node's first OPEN to a run of a peer.
pub(super) const FIRST_ROUND: u32 = 1;
/// A cut is said so often.
pub const BEAT: Duration = Duration::from_secs(1);
/// A comparison that ended so long ago says nothing of now.
pub const EQUAL_FOR: Duration = Duration::from_secs(3);
/// A peer that is behind by less than this is ready.
pub const READY_LAG: Duration = Duration::from_secs(1);
/// Answers that wait to be sent to a peer. The next comparison asks again for those that find no room.
const REPLIES_MAX: usize = 4_096;

/// The content of a frame that waits to be sent.
#[derive(Debug)]
pub enum Reply {
    /// Sums of the children of these nodes.
    Sums(Level, Vec<u16>),
    /// Rows of leaves.
    Ids {
        /// The last version when they were listed.
        upto: u64,
        /// The rows.
        leaves: Vec<(u16, Vec<IdRow>)>,
        /// How far they are packed.
        at: Listing,
    },
    /// Rows that are wanted, in the order of ids: to mend a difference, or for people to look at.
    Wants {
        /// The last version of the list that they come from.
        upto: u64,
        /// The ids of the flows.
        ids: Vec<FlowId>,
        /// For people.
        people: bool,
    },
    /// A claim, to mend a difference.
    Repair(Item),
    /// A claim, for people at the peer to look at.
    Show(Item),
    /// What is held against a claim of the peer's.
    Beaten(FlowKey),
}

/// What was counted of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams sent and received.
    pub sent: u64,
    /// How many datagrams were received.
    pub received: u64,
    /// Records sent, and how many of them again, because they were lost.
    pub records_sent: u64,
    /// Records of these that were sent again.
    pub records_sent_again: u64,
    /// Claims of the peer's that were taken.
    pub taken: u64,
    /// Claims that were known.
    pub again: u64,
    /// Claims that lost against others.
    pub beaten: u64,
    /// Claims that found no room.
    pub no_space: u64,
    /// Flows that both nodes translate, and differently.
    pub nat_conflicts: u64,
    /// Frames or records that make no sense.
    pub malformed: u64,
    /// Datagrams that came before the peer's OPEN.
    pub unopened: u64,
    /// Comparisons that found a difference.
    pub unequal: u64,
    /// Rows that the peer did not list, and that went.
    pub unlisted: u64,
    /// Rows that were sent to mend a difference.
    pub repaired: u64,
}

impl core::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.records_sent += other.records_sent;
        self.records_sent_again += other.records_sent_again;
        self.taken += other.taken;
        self.again += other.again;
        self.beaten += other.beaten;
        self.no_space += other.no_space;
        self.nat_conflicts += other.nat_conflicts;
        self.malformed += other.malformed;
        self.unopened += other.unopened;
        self.unequal += other.unequal;
        self.unlisted += other.unlisted;
        self.repaired += other.repaired;
    }
}

/// The part of the ledger to send besides the changes from here on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bulk {
    pub(super) position: PositionId,
    /// What is later is news.
    pub(super) upto: u64,
}

/// One of the associations of a shard, until a peer comes with another number of shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssociationId(pub(super) usize);

/// With one shard of a peer: a stream in each direction (R8.1).
#[derive(Debug)]
pub struct Association {
    /// The peer, in the order of the configuration.
    pub(super) peer: PeerId,
    /// Number of the peer's shard.
    pub(super) to: u8,
    /// The slices that both shards have: flows of other slices are neither sent nor taken here.
    pub(super) slices: Range<usize>,
    /// These are all that this shard has.
    pub(super) is_whole: bool,
    /// The peer's number in the cluster.
    pub owner: Owner,
    /// Identifies the run of the peer; 0: it was never met.
    pub incarnation: u64,
    /// How many runs of it were met.
    pub run: u32,
    /// Whether there is a session.
    pub up: bool,
    /// When the last datagram came.
    pub heard_at: Option<Instant>,
    /// Its OPEN came, of this round of it.
    pub opened: bool,
    pub(super) round: u32,
    /// This node's round, the datagram with its OPEN, and whether that was acknowledged.
    pub(super) my_round: u32,
    pub(super) open_number: Option<u64>,
    pub(super) open_acked: bool,
    pub(super) open_at: Instant,
    /// What is next for it.
    pub(super) position: PositionId,
    pub(super) bulk: Option<Bulk>,
    pub(super) sent: Sent,
    pub(super) lost: Lost,
    pub(super) rate: Rate,
    pub(super) path: Path,
    /// The length of datagrams as last logged.
    pub(super) path_told: usize,
    /// Bytes that it has room for.
    pub(super) room: u64,
    /// When there may be room for a datagram that waits for the pace alone.
    pub(super) paced_until: Option<Instant>,
    pub(super) arrived: Arrived,
    pub(super) stable: u64,
    /// The run of the peer, and the version up to which this node has everything.
    pub(super) hold: Option<(u64, u64)>,
    /// What arose later than this version, and after this time, is news to it. The rest is a transfer.
    pub(super) news_from: (u64, Instant),
    /// How long news took to it, and from it.
    pub(super) lags: Lags,
    pub(super) lags_heard: Lags,
    /// How old its last news was when that came.
    pub(super) heard_lag: Option<Duration>,
    /// The peer holds flows of an earlier run of this node, which are compared when this node claims what its kernel
    /// shows.
    pub(super) compares: bool,
    pub(super) cut_at: Instant,
    pub(super) locate_at: Instant,
    /// How many bits of leaves both nodes use.
    pub(super) bits: u8,
    /// Everything it claims was here once, in this run of it.
    pub complete: bool,
    /// The last comparison, and when it found both equal.
    pub equal: bool,
    /// See above.
    pub equal_at: Option<Instant>,
    /// There was no room for some of its flows, and there is none for all of them yet: what differs is not located.
    pub full: bool,
    /// The peer has yet to learn that this node stops.
    pub(super) owes_bye: bool,
    /// The peer claims by traffic only.
    pub standby: bool,
    /// The peer owes a sign of life.
    pub(super) owes_probe: bool,
    /// The peer has yet to learn that this node's claims up to this version have no owner; the last datagram that said
    /// so, and when to say so again.
    pub(super) release: Option<u64>,
    pub(super) release_number: Option<u64>,
    pub(super) release_at: Instant,
    pub(super) replies: Bounded<Reply>,
    /// What people compare with it (`ctflow diff`).
    pub(super) comparing: Option<Box<Comparing>>,
    /// What that found, until the other streams of the peer have ended it, too.
    pub(super) compared: Option<(CommandId, Comparison)>,
    /// The counters.
    pub counts: Counts,
}

impl Association {
    /// With a peer that was never met.
    pub(super) fn new(
        now: Instant,
        (peer, owner): (PeerId, Owner),
        (to, slices): (u8, Range<usize>),
        position: PositionId,
    ) -> Self {
        Self {
            peer,
            to,
            slices,
            is_whole: false,
            owner,
            incarnation: 0,
            run: 0,
            up: false,
            heard_at: None,
            opened: false,
            round: 0,
            my_round: 0,
            open_number: None,
            open_acked: false,
            open_at: now,
            position,
            bulk: None,
            sent: Sent::default(),
            lost: Lost::default(),
            rate: Rate::new(now, SIZE_BASE, None),
            path: Path::new(now),
            path_told: SIZE_BASE,
            room: 1 << 20,
            paced_until: None,
            arrived: Arrived::default(),
            stable: 0,
            hold: None,
            news_from: (0, now),
            lags: Lags::default(),
            lags_heard: Lags::default(),
            heard_lag: None,
            compares: false,
            cut_at: now,
            locate_at: now,
            bits: LEAF_BITS_MAX,
            complete: false,
            equal: false,
            equal_at: None,
            full: false,
            owes_bye: false,
            standby: false,
            owes_probe: false,
            release: None,
            release_number: None,
            release_at: now,
            replies: Bounded::new(REPLIES_MAX),
            comparing: None,
            compared: None,
            counts: Counts::default(),
        }
    }

    /// There is a session with this run of the peer. It does not know what another run of it received before.
    ///
    /// `rate` is what is sent to the peer at most: its streams share that as they share the flows. No stream knows how
    /// much the others send, because other threads do.
    pub(super) fn on_up(&mut self, now: Instant, incarnation: u64, rate: Option<u64>) {
        let rate = self.part_of(rate);
        if self.incarnation != incarnation {
            (self.incarnation, self.run) = (incarnation, self.run.saturating_add(1));
            (self.sent, self.arrived) = (Sent::default(), Arrived::default());
            self.rate = Rate::new(now, SIZE_BASE, rate);
            (self.stable, self.complete, self.standby) = (0, false, false);
            (self.my_round, self.round) = (0, 0);
            self.release = None;
        }
        // The peer may be reached by another path.
        (self.path, self.path_told) = (Path::new(now), SIZE_BASE);
        self.rate.set_datagram_len(self.path.size());
        self.up = true;
        self.heard_at = Some(now);
        self.begin_anew(now);
    }

    /// The slices that are sent here; `None`: all that this shard has.
    pub(super) const fn slices_sent(&self) -> Option<&Range<usize>> {
        if self.is_whole { None } else { Some(&self.slices) }
    }

    /// Whether flows of this slice are sent here.
    pub(super) fn has(&self, slice: impl FnOnce() -> usize) -> bool {
        self.slices.len() == SLICES || self.slices.contains(&slice())
    }

    /// The part of a peer's rate that is this association's.
    pub(super) fn part_of(&self, rate: Option<u64>) -> Option<u64> {
        rate.map(|rate| (rate * self.slices.len() as u64 / SLICES as u64).max(1))
    }

    /// The association starts again: this node sends OPEN, and takes nothing before the peer's.
    pub(super) fn begin_anew(&mut self, now: Instant) {
        self.forget();
        (self.opened, self.open_acked, self.open_number) = (false, false, None);
        (self.my_round, self.open_at) = (self.my_round.wrapping_add(1), now);
    }

    /// The session is over.
    pub(super) fn on_down(&mut self) {
        self.up = false;
        self.opened = false;
        self.forget();
    }

    fn forget(&mut self) {
        self.sent.forget();
        self.path.on_forgotten();
        self.lost.clear();
        self.replies.clear();
        self.equal = false;
        self.heard_lag = None;
    }

    /// Sends the present claims, all or those later than a version, and news before them (R8.2). False: ends of that
    /// version are forgotten, and nothing can be sent yet.
    pub(super) fn begin_bulk(&mut self, ledger: &mut Ledger, since: Option<u64>) -> bool {
        self.end_bulk(ledger);
        let position = ledger.open();
        let begins = since.is_none_or(|version| ledger.to_version(position, version));
        if since.is_none() {
            ledger.to_head(position);
        }
        ledger.to_tail(self.position);
        self.bulk = Some(Bulk { position, upto: ledger.last() });
        if !begins {
            self.end_bulk(ledger);
        }
        begins
    }

    pub(super) fn end_bulk(&mut self, ledger: &mut Ledger) {
        self.bulk.take().into_iter().for_each(|bulk| ledger.close(bulk.position));
    }

    /// What is next of a bulk.
    pub(super) fn peek_bulk(&self, ledger: &Ledger) -> Option<(Item, Entry)> {
        let Bulk { position, upto } = self.bulk?;
        ledger.peek(position).filter(|(_, entry)| entry.version <= upto)
    }

    /// The version up to which all was handed out.
    pub(super) fn told_to(&self, ledger: &Ledger) -> u64 {
        let bulk = self.peek_bulk(ledger).map(|(_, entry)| entry.version - 1);
        bulk.unwrap_or(u64::MAX).min(ledger.version_of(self.position))
    }

    /// Queues an answer.
    pub(super) fn reply(&mut self, reply: Reply) {
        // The peer compares again.
        let _ = self.replies.push(reply);
    }

    /// OPEN goes out with this number.
    pub(super) fn on_open_sent(&mut self, now: Instant, number: u64) {
        (self.open_number, self.open_at) = (Some(number), now + OPEN_EVERY);
    }

    /// Whether a release is due.
    pub(super) fn owes_release(&self, now: Instant) -> Option<u64> {
        self.release.filter(|_| self.opened && now >= self.release_at)
    }

    /// The release goes out with this number.
    pub(super) fn on_release_sent(&mut self, now: Instant, number: u64) {
        (self.release_number, self.release_at) = (Some(number), now + OPEN_EVERY);
    }

    /// Whether an OPEN is due.
    pub(super) fn owes_open(&self, now: Instant) -> bool {
        self.up && !self.open_acked && now >= self.open_at
    }

    /// The datagram that the path search needs next: only a peer that has this node's OPEN acknowledges.
    pub(super) fn owed_to_path(&self) -> Option<Owed> {
        let takes = self.opened && self.open_acked && self.sent.has_room(0);
        self.path.owed().filter(|_| takes)
    }

    /// Whether a datagram of so many bytes is the last one for which there is room until it is acknowledged, when the
    /// next one has `most`.
    pub(super) fn closes_window(&self, len: usize, most: usize) -> bool {
        let after = self.sent.bytes() + len as u64 + most as u64;
        after > self.rate.window().min(self.room)
    }

    /// What datagrams meet on the path may have another length for it.
    pub(super) fn follow_path(&mut self) {
        self.rate.set_datagram_len(self.path.size());
    }

    /// Whether both ends were equal at the last comparison, and that was not long ago.
    #[must_use]
    pub fn is_equal(&self, now: Instant) -> bool {
        self.up && self.equal && self.equal_at.is_some_and(|at| now.since(at) <= EQUAL_FOR)
    }

    /// Whether both ends were equal at the last comparison, and that was not long before the peer was last heard, or
    /// its news comes soon and leaves no time to compare (R15.1). Nothing newer is known of a peer that has fallen
    /// silent: the node that will take over from it is as ready as before.
    #[must_use]
    pub fn was_equal(&self) -> bool {
        let heard = self.heard_at.unwrap_or_default();
        let lately = self.equal_at.is_some_and(|at| heard.since(at) <= EQUAL_FOR);
        self.up
            && self.equal
            && !self.full
            && (lately || self.heard_lag.is_some_and(|lag| lag < READY_LAG))
    }

    /// When it needs something next, if it sends nothing. `has_news`: news waits for it.
    pub(super) fn timeout(&self, has_news: bool) -> Option<Instant> {
        if !self.up {
            return None;
        }
        let open = (!self.open_acked).then_some(self.open_at);
        let probe = (self.owes_probe && self.opened).then_some(Instant(0));
        let cut = (self.opened && !has_news).then(|| self.cut_at + BEAT);
        let release = self.release.filter(|_| self.opened).map(|_| self.release_at);
        let pace = self.paced_until.filter(|_| self.opened && has_news);
        let lost = self.sent.timeout(self.rate.trip());
        let owed = self.owed_to_path().map(|_| Instant(0));
        let all = [
            open,
            probe,
            cut,
            pace,
            release,
            lost,
            owed,
            self.path.timeout(),
            self.arrived.timeout(),
        ];
        all.into_iter().flatten().min()
    }
}
