//! Flows of the peers: messages in, a table until the commit, or writes straight into the kernel.

use crate::bounded::{Bounded, QueueUsages};
use crate::config::{Config, Mode, limit};
use crate::counters::{Counters, TableCounters};
use crate::flows::table::{Becomes, Entry, FlowTable, Full, Marks, Notes, Slot};
use crate::flows::tombstone::{Span, Tombstones};
use crate::local::{count_insert, seconds};
use crate::message_id::{MessageId, OrderByPeer, PeerId};
use crate::wheel::Wheel;
use alloc::vec::Vec;
use common::Instant;
use core::time::Duration;
use ctnetlink::Change;
use ctnetlink::flow::{Known, ProtoState, Status, TCP_FLAG_BE_LIBERAL, TcpFlags};
use ctnetlink::{Flow, FlowKey};

mod made;
mod inject;

pub use inject::{InjectFailure, Pen, on_inject_failed, on_replace};
pub use made::{LIFE_MAX_S, MadeFlows};

/// The remote table and what belongs to it.
#[doc(alias = "external cache")]
#[derive(Debug)]
pub struct Remote {
    /// The flows; where they go straight into the kernel, their directions alone: which flows of the kernel are the
    /// peers'.
    known: FlowTable,
    /// Flows go straight into the kernel: there is no table of them to show.
    injects: bool,
    /// Flows are kept here, and written into the kernel at once, too: the entries of the kernel that are there for
    /// that.
    hot: Option<MadeFlows>,
    /// What is shown then.
    nothing: FlowTable,
    /// Flows with [`Marks::UNLIKE`].
    unlike: usize,
    /// Flows that were written into the kernel since the last flush though there was no room to remember whose they
    /// are.
    unremembered: u64,
    /// Ended flows.
    tombstones: Tombstones,
    /// By peer: order of its last message before the last flush.
    flushed: OrderByPeer,
    /// By peer: order of the first message of its last transfer that is here without a hole.
    transferred: OrderByPeer,
    held: Held,
    /// By peer: the latest order in which it sent a flow that another peer has sent since. Unless it names all its
    /// flows later than that, the number held of it is not the number it counts.
    contested: OrderByPeer,
    /// What is being removed, because transfers did not name it.
    sweeps: Bounded<Sweep>,
    /// ALARM: when flows go that are not refreshed, and after how many seconds that is.
    expiry: Option<Expiry>,
}

/// ALARM: when flows go that are not refreshed.
#[derive(Debug)]
struct Expiry {
    wheel: Wheel,
    /// Seconds a flow stays without being refreshed.
    after_s: u32,
    /// By slot: the name of the flow's timer.
    tickets: Vec<u32>,
}

impl Expiry {
    /// Plans when the flow that was added in a slot goes.
    fn plan(&mut self, now: Instant, slot: Slot) {
        let ticket = self.wheel.ticket();
        let at = slot as usize;
        self.tickets.resize(self.tickets.len().max(at + 1), 0);
        self.tickets[at] = ticket;
        self.wheel.plan(now + Duration::from_secs(self.after_s.into()), slot, ticket);
    }
}

/// A peer has sent all its flows in messages from order `base` on: those it sent before that and not since do not
/// exist there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sweep {
    peer: PeerId,
    base: u64,
    from: Slot,
    removed: u64,
    due: Instant,
}

// A late message must find the trace of every one that can have overtaken it.
const _: () = assert!(limit::TOMBSTONES_MAX > limit::LATE_WINDOW as usize);

impl Remote {
    /// An empty side.
    #[must_use]
    pub fn new(config: &Config, now: Instant, travels: fn(u8) -> bool) -> Self {
        let expiry = match config.replication.mode {
            Mode::Alarm { expire_s, .. } => {
                let expire_s = expire_s.clamp(1, limit::ALARM_LONGEST_S);
                let longest = Duration::from_secs(expire_s.into());
                let wheel = Wheel::new(Duration::from_secs(1), longest, now);
                Some(Expiry { wheel, after_s: expire_s, tickets: Vec::new() })
            }
            Mode::NoTrack | Mode::Ftfw { .. } => None,
        };
        let most = config.cluster.as_ref().map_or(config.flows_max, |cluster| cluster.remote_max);
        let expected = if config.replication.has_peer { config.flows_expected } else { 0 };
        Self {
            known: FlowTable::new(most, config.hash_seed.wrapping_add(1))
                .with_room_for(expected.min(most)),
            injects: !config.replication.keep_remote,
            hot: config
                .cluster
                .as_ref()
                .filter(|cluster| cluster.hot)
                .map(|_| MadeFlows::new(config.hash_seed)),
            nothing: FlowTable::new(0, 0),
            unlike: 0,
            unremembered: 0,
            tombstones: Tombstones::new(limit::TOMBSTONES_MAX, config.hash_seed),
            flushed: OrderByPeer::default(),
            transferred: OrderByPeer::default(),
            held: Held { counts: Vec::new(), travels },
            contested: OrderByPeer::default(),
            sweeps: Bounded::new(limit::PEERS_MAX),
            expiry,
        }
    }

    /// The peers' flows, ready for a commit: none where they go straight into the kernel.
    #[must_use]
    pub const fn table(&self) -> &FlowTable {
        if self.injects { &self.nothing } else { &self.known }
    }

    /// The peers' table, mutable for a listener to it.
    pub(crate) const fn shown_mut(&mut self) -> &mut FlowTable {
        if self.injects { &mut self.nothing } else { &mut self.known }
    }

    /// How many of the peers' flows are known, and how many can be.
    #[must_use]
    pub fn room(&self) -> (usize, usize) {
        (self.known.len(), self.known.max())
    }

    /// Removes the flows that were not refreshed in time.
    pub fn expire(&mut self, counters: &mut Counters, now: Instant) {
        let Some(Expiry { wheel, after_s, tickets }) = &mut self.expiry else { return };
        let mut ended = Vec::new();
        while let Some(due) = wheel.due(now) {
            for (slot, ticket) in due {
                let mine = tickets.get(slot as usize) == Some(&ticket);
                let Some(entry) = self.known.at(slot).filter(|_| mine) else { continue };
                let end = end_of(&entry, *after_s);
                if end <= now {
                    ended.push(slot);
                } else {
                    wheel.plan(end, slot, ticket);
                }
            }
        }
        for slot in ended {
            self.end(slot);
            counters.remote.destroyed += 1;
        }
    }

    /// How long an entry stays without being refreshed; `None` where entries do not expire.
    #[must_use]
    pub fn expires_in(&self, entry: &Notes, now: Instant) -> Option<Duration> {
        self.expiry.as_ref().map(|expiry| end_of(entry, expiry.after_s).since(now))
    }

    /// When the next flow may have to go.
    #[must_use]
    pub fn expiry_next(&self) -> Option<Instant> {
        self.expiry.as_ref().and_then(|expiry| expiry.wheel.next_tick())
    }

    /// Applies a peer's message about a flow; `carries_all`: a field that an update does not carry is absent. A message
    /// that was overtaken by a later one of that peer about the same flow changes nothing.
    ///
    /// # Errors
    /// [`Full`] when the flow is new and the table is full.
    pub fn on_message(
        &mut self,
        counters: &mut TableCounters,
        (change, flow): (Change, Flow),
        message: MessageId,
        (now, carries_all): (Instant, bool),
    ) -> Result<(), Full> {
        let key = flow.key();
        let known = self.known.find(&key);
        if self.is_overtaken(&key, message) || self.is_outdated(change, message) {
            counters.stale += 1;
            return Ok(());
        }
        match (change, known) {
            (Change::Destroy, Some(slot)) => {
                self.contest(slot, message.peer());
                self.remove(slot);
                self.tombstones.replace(key, Span::at(message.stamp()));
                counters.destroyed += 1;
            }
            (Change::Destroy, None) => {
                self.tombstones.replace(key, Span::at(message.stamp()));
                counters.destroy_not_found += 1;
            }
            (_, Some(slot)) => {
                let anew = change == Change::New;
                self.change(slot, flow, message, (now, anew, carries_all));
                counters.updated += 1;
            }
            (_, None) => {
                let since_s = seconds(now);
                let (updated_s, stamp) = (since_s, message.stamp());
                let notes = Notes { stamp, since_s, updated_s, ..Notes::default() };
                let slot = count_insert(self.known.insert(flow, notes), counters)?;
                self.held.add(message.peer(), &key);
                self.expiry.iter_mut().for_each(|expiry| expiry.plan(now, slot));
            }
        }
        Ok(())
    }

    /// The slot of a peer's flow.
    #[must_use]
    pub fn find(&self, key: &FlowKey) -> Option<Slot> {
        self.known.find(key)
    }

    /// The identity of the flow in a slot.
    #[must_use]
    pub fn key_at(&self, slot: Slot) -> Option<FlowKey> {
        self.known.at(slot).map(|entry| entry.key())
    }

    /// Puts a peer's flow into the table, in the place of what was known of it. `anew`: that was another flow. The
    /// caller records which peer sent it, and in what order.
    ///
    /// # Errors
    /// [`Full`] when the flow is new and the table is full.
    pub fn hold(
        &mut self,
        counters: &mut TableCounters,
        flow: Flow,
        (now, anew): (Instant, bool),
    ) -> Result<Slot, Full> {
        let at_s = seconds(now);
        let Some(slot) = self.known.find(&flow.key()) else {
            let notes = Notes { since_s: at_s, updated_s: at_s, ..Notes::default() };
            return count_insert(self.known.insert(flow, notes), counters);
        };
        let becomes = if anew { Becomes::Another } else { Becomes::Changed };
        self.known.set_flow(slot, flow, becomes);
        if let Some(notes) = self.known.notes_mut(slot) {
            notes.updated_s = at_s;
            notes.since_s = if anew { at_s } else { notes.since_s };
        }
        counters.updated += 1;
        Ok(slot)
    }

    /// Takes a peer's flow out of the table.
    pub fn release(&mut self, counters: &mut TableCounters, slot: Slot) {
        if let (Some(made), Some(entry)) = (&mut self.hot, self.known.at(slot)) {
            made.on_orphaned(&entry.key());
        }
        if self.known.remove(slot).is_some() {
            counters.destroyed += 1;
        }
    }

    /// A peer speaks of a flow of which another one may have spoken last.
    fn contest(&mut self, slot: Slot, peer: PeerId) {
        let last = self.known.at(slot).and_then(|entry| MessageId::from_stamp(entry.stamp));
        if let Some(last) = last.filter(|last| last.peer() != peer) {
            let order = self.contested.of(last.peer()).max(last.order());
            self.contested.set(last.peer(), order);
        }
    }

    fn remove(&mut self, slot: Slot) {
        if let Some(entry) = self.known.at(slot) {
            self.held.remove(&entry);
            self.unlike -= usize::from(entry.marks.contains(Marks::UNLIKE));
        }
        self.known.remove(slot);
    }

    /// No message says that a flow ended, but it is not the peer's any more. A table forgets it. In the kernel it
    /// stays, but not with the peer's state: the peer may have restarted with nothing while this node carries its
    /// connections, and most traffic causes no event.
    fn end(&mut self, slot: Slot) {
        let key = self.known.at(slot).filter(|_| self.injects).map(|entry| entry.key());
        let Some(key) = key else { return self.remove(slot) };
        if let Some(entry) = self.known.at(slot) {
            self.held.remove(&entry);
        }
        self.set_unlike(&key, true);
        if let Some(notes) = self.known.notes_mut(slot) {
            notes.marks.insert(Marks::LEFT);
        }
    }

    fn change(
        &mut self,
        slot: Slot,
        flow: Flow,
        message: MessageId,
        (now, anew, carries_all): (Instant, bool, bool),
    ) {
        self.contest(slot, message.peer());
        if let Some(entry) = self.known.at(slot) {
            self.held.remove(&entry);
            self.held.add(message.peer(), &flow.key());
        }
        if anew || carries_all {
            let becomes = if anew { Becomes::Another } else { Becomes::Changed };
            self.known.set_flow(slot, flow, becomes);
        } else {
            self.known.absorb(slot, flow);
        }
        let notes = self.known.notes_mut(slot).expect("the slot was just found");
        // A flow that is refreshed is sent as new each time.
        if anew && self.expiry.is_none() {
            notes.since_s = seconds(now);
        }
        notes.stamp = message.stamp();
        notes.updated_s = seconds(now);
    }

    /// Whether the flow is known from a message of the same peer that came after, or is, the one that `message`
    /// names. A message that is overtaken by more messages than [`Tombstones`] remember is none of the same life of
    /// the peer, and comes with a higher order.
    #[must_use]
    pub fn is_overtaken(&self, key: &FlowKey, message: MessageId) -> bool {
        let entry = self.known.get(key).map(|entry| entry.stamp);
        let end = self.tombstones.last_about(key).map(|end| end.to);
        let mut words = [entry, end].into_iter().flatten().filter_map(MessageId::from_stamp);
        words.any(|last| message.is_overtaken_by(last))
            || message.order() <= self.flushed.of(message.peer())
    }

    /// Whether a message that makes or changes a flow was sent before a transfer of all the peer's flows that is here:
    /// the transfer has named what exists there. An end still ends what stays until the kernel removes it.
    fn is_outdated(&self, change: Change, message: MessageId) -> bool {
        change != Change::Destroy && message.order() < self.transferred.of(message.peer())
    }

    /// Whether a flow is a peer's.
    #[must_use]
    pub fn holds(&self, key: &FlowKey) -> bool {
        self.known.find(key).is_some()
    }

    /// Whether a flow is a peer's, or was a moment ago.
    #[must_use]
    pub fn has_heard_of(&self, key: &FlowKey) -> bool {
        self.known.find(key).is_some() || self.tombstones.last_about(key).is_some()
    }

    /// Whether a flow is a peer's, and the peer has sent it since a time in seconds or later.
    #[must_use]
    pub fn has_been_sent(&self, key: &FlowKey, since_s: u32) -> bool {
        let theirs = self.known.get(key).filter(|entry| !entry.marks.contains(Marks::LEFT));
        theirs.is_some_and(|entry| entry.updated_s >= since_s)
    }

    /// Flows held of which a peer spoke last and that count in its accounts; `None` if another peer has spoken of its
    /// flows too.
    #[must_use]
    pub fn held_of(&self, peer: PeerId) -> Option<u32> {
        (self.contested.of(peer) == 0).then(|| self.held.of(peer))
    }

    /// Whether a flow is held of which this peer spoke last and that counts in its accounts.
    #[must_use]
    pub fn holds_of(&self, peer: PeerId) -> bool {
        self.held.of(peer) > 0
    }

    /// A peer has named all its flows in messages from order `base` on: removes, piece by piece, those it sent only
    /// before.
    pub fn begin_sweep(&mut self, peer: PeerId, base: u64, now: Instant) {
        if self.contested.of(peer) < base {
            self.contested.set(peer, 0);
        }
        self.transferred.set(peer, base);
        self.sweeps.retain(|sweep| sweep.peer != peer);
        // A peer has one at most, so there is room.
        let _ = self.sweeps.push(Sweep { peer, base, from: 0, removed: 0, due: now });
    }

    /// Its queues, by name.
    pub fn queues(&self, queues: &mut QueueUsages) {
        queues.push(("remote_tombstones", self.tombstones.usage()));
        queues.push(("sweeps", self.sweeps.usage()));
        let hot = self.hot.iter().map(|made| ("orphans", made.orphans()));
        queues.extend(hot);
    }

    /// When there is more to remove.
    #[must_use]
    pub fn sweep_next(&self) -> Option<Instant> {
        self.sweeps.front().map(|sweep| sweep.due)
    }

    /// Goes on removing, if it is time. When it is done for a peer: which one, and how many flows went. `ask` is given
    /// each flow that stays until the kernel removes it, which may have happened before.
    pub fn sweep(
        &mut self,
        counters: &mut Counters,
        now: Instant,
        mut ask: impl FnMut(FlowKey),
    ) -> Option<(PeerId, u64)> {
        let mut sweep = self.sweeps.pop_if(|sweep| sweep.due <= now)?;
        let end = sweep.from.saturating_add(limit::SWEEP_STEP_SLOTS);
        while let Some((slot, entry)) = self.known.next(sweep.from) {
            if slot >= end {
                (sweep.from, sweep.due) = (slot, now + limit::SWEEP_STEP);
                // It has just left this place.
                let _ = self.sweeps.put_back(sweep);
                return None;
            }
            sweep.from = slot + 1;
            let message = MessageId::from_stamp(entry.stamp);
            if message.is_some_and(|t| t.peer() == sweep.peer && t.order() < sweep.base) {
                if self.injects && !entry.marks.contains(Marks::MADE) {
                    ask(entry.key());
                }
                self.end(slot);
                let removed = u64::from(!self.injects);
                counters.remote.destroyed += removed;
                sweep.removed += removed;
            }
        }
        Some((sweep.peer, sweep.removed))
    }

    /// Forgets every flow. `orders` are those of the latest message of each peer: what comes in late from before is
    /// forgotten too, or else the end of a flow would be forgotten and its beginning not.
    pub fn flush(&mut self, orders: impl Iterator<Item = u64>) {
        if let Some(made) = &mut self.hot {
            self.known.iter().for_each(|(_, entry)| made.on_orphaned(&entry.key()));
        }
        self.known.clear();
        (self.unlike, self.unremembered) = (0, 0);
        self.tombstones.clear(0);
        self.held.counts.clear();
        self.contested = OrderByPeer::default();
        self.flushed = orders.collect();
    }
}

/// By peer: flows in the table of which it spoke last.
#[derive(Debug)]
struct Held {
    counts: Vec<u32>,
    /// Whether flows of an IP protocol reach this node as what they are: others do not count.
    travels: fn(u8) -> bool,
}

impl Held {
    fn of(&self, peer: PeerId) -> u32 {
        self.counts.get(peer.index()).copied().unwrap_or(0)
    }

    /// A peer spoke of a flow last.
    fn add(&mut self, peer: PeerId, key: &FlowKey) {
        let at = peer.index();
        self.counts.resize(self.counts.len().max(at + 1), 0);
        self.counts[at] += u32::from((self.travels)(key.tuple.proto));
    }

    /// An entry is no longer one of which the peer spoke last that it remembers.
    fn remove(&mut self, entry: &Entry<'_>) {
        let counts_still = !entry.marks.contains(Marks::LEFT);
        if let Some(message) = MessageId::from_stamp(entry.stamp).filter(|_| counts_still)
            && let Some(count) = self.counts.get_mut(message.peer().index())
        {
            *count = count.saturating_sub(u32::from((self.travels)(entry.proto())));
        }
    }
}

/// When an entry goes if it is not refreshed.
fn end_of(entry: &Notes, after_s: u32) -> Instant {
    Instant((u64::from(entry.updated_s) + u64::from(after_s)) * 1_000_000_000)
}

/// The flow as it can be written into a kernel that does not know it, `age_s` seconds after the peer spoke of it.
///
/// The kernel checks TCP windows against what it has seen itself, and it has seen nothing of this connection: unless
/// window tracking is asked for, both directions become liberal.
#[must_use]
#[inline]
pub fn writable(config: &Config, mut flow: Flow, age_s: u32) -> Flow {
    flow.status.remove(Status::EXPECTED);
    flow.timeout_s = lifetime(config, &flow, age_s);
    flow.known |= Known::TIMEOUT;
    if let ProtoState::Tcp(tcp) = &mut flow.proto
        && !config.window_tracking
    {
        let liberal = TcpFlags { flags: TCP_FLAG_BE_LIBERAL, mask: TCP_FLAG_BE_LIBERAL };
        let given = tcp.flags.unwrap_or_default();
        tcp.flags = Some(
            given.map(|f| TcpFlags { flags: f.flags | liberal.flags, mask: f.mask | liberal.mask }),
        );
    }
    if flow.extra.as_deref().is_some_and(|e| e.master.is_some() && e.helper.is_some()) {
        // The kernel attaches the helper of an expected flow by its master.
        flow.extra_mut().helper = None;
    }
    flow.drop_empty_extra();
    flow
}

/// The flow as one without a master: its master is not in the kernel, and a connection that goes on without one is
/// better than a connection that breaks.
#[must_use]
pub fn without_master(mut flow: Flow) -> Flow {
    flow.extra_mut().master = None;
    flow.drop_empty_extra();
    flow
}

fn lifetime(config: &Config, flow: &Flow, age_s: u32) -> u32 {
    if let Some(fixed) = config.commit_timeout_s {
        return fixed;
    }
    let received = flow.has(Known::TIMEOUT).then_some(flow.timeout_s);
    received.and_then(|s| s.checked_sub(age_s)).unwrap_or(limit::LIFETIME_UNKNOWN_S)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctnetlink::Tuple;

    fn flow(n: u16) -> Flow {
        Flow::new(Tuple::v4([1; 4], [2; 4], 6).with_ports(n, 80))
    }

    fn at(side: &mut Remote, change: Change, n: u16, order: u64) {
        let mut counters = Counters::default();
        let message = MessageId::new(PeerId::FIRST, order);
        let _ =
            side.on_message(&mut counters.remote, (change, flow(n)), message, (Instant(0), false));
    }

    #[test]
    fn what_a_transfer_did_not_name_goes_and_nothing_else() {
        let mut side = Remote::new(&Config::default(), Instant(0), |_| true);
        let mut counters = Counters::default();
        let second = PeerId::FIRST.next();
        at(&mut side, Change::New, 1, 10);
        at(&mut side, Change::New, 2, 11);
        let word = (Change::New, flow(3));
        let _ = side.on_message(
            &mut counters.remote,
            word,
            MessageId::new(second, 5),
            (Instant(0), false),
        );
        at(&mut side, Change::Update, 2, 20);
        assert_eq!((side.held_of(PeerId::FIRST), side.held_of(second)), (Some(2), Some(1)));
        side.begin_sweep(PeerId::FIRST, 20, Instant(1));
        assert_eq!(side.sweep_next(), Some(Instant(1)));
        assert_eq!(side.sweep(&mut counters, Instant(1), |_| {}), Some((PeerId::FIRST, 1)));
        let left: Vec<_> = side.table().iter().map(|(_, entry)| entry.key()).collect();
        assert_eq!(left, [flow(2).key(), flow(3).key()]);
        assert_eq!((side.held_of(PeerId::FIRST), side.held_of(second)), (Some(1), Some(1)));
        // What was sent before the transfer and comes late makes no flow any more.
        at(&mut side, Change::Update, 1, 15);
        at(&mut side, Change::New, 4, 19);
        assert_eq!(side.held_of(PeerId::FIRST), Some(1));
        at(&mut side, Change::New, 1, 21);
        assert_eq!(side.held_of(PeerId::FIRST), Some(2));
    }

    #[test]
    fn what_different_peers_say_has_the_order_in_which_it_arrives() {
        let mut side = Remote::new(&Config::default(), Instant(0), |_| true);
        let mut counters = Counters::default();
        let mut say = |peer, change, order| {
            let message = MessageId::new(peer, order);
            let _ = side.on_message(
                &mut counters.remote,
                (change, flow(1)),
                message,
                (Instant(0), false),
            );
            side.table().len()
        };
        let second = PeerId::FIRST.next();
        assert_eq!(say(PeerId::FIRST, Change::New, 9000), 1);
        assert_eq!(say(second, Change::Destroy, 3), 0);
        assert_eq!(say(PeerId::FIRST, Change::New, 9001), 1);
        assert_eq!(say(PeerId::FIRST, Change::Destroy, 9000), 1, "overtaken");
        assert_eq!(say(second, Change::Destroy, 4), 0);
    }

    #[test]
    fn a_new_that_comes_after_the_destroy_it_preceded_does_not_revive_the_flow() {
        let mut side = Remote::new(&Config::default(), Instant(0), |_| true);
        at(&mut side, Change::Destroy, 1, 11);
        at(&mut side, Change::New, 1, 10);
        assert!(side.table().is_empty());
        at(&mut side, Change::New, 1, 12);
        assert_eq!(side.table().len(), 1);
    }

    #[test]
    fn an_overtaken_update_changes_nothing() {
        let mut side = Remote::new(&Config::default(), Instant(0), |_| true);
        at(&mut side, Change::New, 1, 20);
        at(&mut side, Change::Destroy, 1, 19);
        assert_eq!(side.table().len(), 1);
    }

    #[test]
    fn what_is_not_sent_again_has_less_and_less_time_left_and_goes_when_it_has_none() {
        let mode = Mode::Alarm { refresh_s: 1, expire_s: 6 };
        let replication = crate::config::Replication { mode, ..Default::default() };
        let mut side =
            Remote::new(&Config { replication, ..Config::default() }, Instant(0), |_| true);
        at(&mut side, Change::New, 1, 10);
        let left = |side: &Remote, at| {
            let (_, entry) = side.table().next(0)?;
            side.expires_in(&entry, Instant(at)).map(|left| left.as_millis())
        };
        assert_eq!(left(&side, 1), Some(5_999));
        assert_eq!(left(&side, 4_500_000_000), Some(1_500));
        side.expire(&mut Counters::default(), Instant(5_900_000_000));
        assert_eq!(left(&side, 5_900_000_000), Some(100));
        side.expire(&mut Counters::default(), Instant(7_000_000_000));
        assert!(side.table().is_empty());
    }

    #[test]
    fn lifetimes_shrink_with_age_and_fall_back_when_used_up_or_unknown() {
        let config = Config::default();
        let received = Flow { timeout_s: 100, known: Known::TIMEOUT, ..flow(1) };
        assert_eq!(writable(&config, received.clone(), 30).timeout_s, 70);
        assert_eq!(writable(&config, received.clone(), 101).timeout_s, 60);
        assert_eq!(writable(&config, flow(1), 0).timeout_s, 60);
        let fixed = Config { commit_timeout_s: Some(180), ..Config::default() };
        assert_eq!(writable(&fixed, received, 30).timeout_s, 180);
    }
}
