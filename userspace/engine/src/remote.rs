//! Flows of the peer: messages in, a table until the commit, or writes straight into the kernel.

use crate::config::{Config, Mode, limit};
use crate::counters::Counters;
use crate::kernel::{InFlight, KernelQueue, Purpose};
use crate::local::{count_insert, seconds};
use crate::output::Request;
use crate::replica::refresh::Wheel;
use crate::table::{FlowTable, Full, Notes, Slot};
use crate::tombstone::{Span, Tombstones};
use common::{FlowKey, Instant};
use core::time::Duration;
use wire::Flow;
use wire::flow::{Known, ProtoState, Status, TCP_FLAG_BE_LIBERAL, TcpFlags};
use wire::sync::v1::Change;

const ENOENT: i32 = 2;
const EEXIST: i32 = 17;

/// The remote table and what belongs to it.
#[derive(Debug)]
pub struct Remote {
    /// The flows.
    pub table: FlowTable,
    /// Ended flows; without a table, whatever flow there was a message about.
    tombstones: Tombstones,
    /// Flows that injections put into the kernel, and when.
    made: Tombstones,
    /// Place of the last message before the last flush.
    flushed: u64,
    /// ALARM: when flows go that are not told again, and after how many seconds that is.
    expiry: Option<(Wheel, u32)>,
}

// A late message must find the trace of every one that can have overtaken it.
const _: () = assert!(limit::TOMBSTONES_MAX > limit::LATE_WINDOW as usize);

impl Remote {
    /// An empty side.
    #[must_use]
    pub fn new(config: &Config, now: Instant) -> Self {
        let expiry = match config.replication.mode {
            Mode::Alarm { expire_s, .. } => {
                let expire_s = expire_s.clamp(1, limit::ALARM_LONGEST_S);
                let longest = Duration::from_secs(expire_s.into());
                Some((Wheel::new(Duration::from_secs(1), longest, now), expire_s))
            }
            Mode::NoTrack | Mode::Ftfw { .. } => None,
        };
        Self {
            table: FlowTable::new(config.flows_max, config.hash_seed.wrapping_add(1))
                .with_room_for(if config.replication.has_peer { config.flows_expected } else { 0 }),
            tombstones: Tombstones::new(limit::TOMBSTONES_MAX, config.hash_seed),
            made: Tombstones::new(limit::TOMBSTONES_MAX, config.hash_seed),
            flushed: 0,
            expiry,
        }
    }

    /// Removes the flows that were not told again in time.
    pub fn expire(&mut self, counters: &mut Counters, now: Instant) {
        let Some((wheel, after_s)) = &mut self.expiry else { return };
        while let Some(due) = wheel.due(now) {
            for (slot, ticket) in due {
                let Some(entry) = self.table.at(slot).filter(|e| e.ticket == ticket) else {
                    continue;
                };
                let end = end_of(&entry, *after_s);
                if end <= now {
                    self.table.remove(slot);
                    counters.remote.destroyed += 1;
                } else {
                    wheel.plan(end, slot, ticket);
                }
            }
        }
    }

    /// How long an entry stays if it is not told again; `None` where entries just stay.
    #[must_use]
    pub fn expires_in(&self, entry: &Notes, now: Instant) -> Option<Duration> {
        self.expiry.as_ref().map(|(_, after_s)| end_of(entry, *after_s).since(now))
    }

    /// When the next flow may have to go.
    #[must_use]
    pub fn expiry_next(&self) -> Option<Instant> {
        self.expiry.as_ref().and_then(|(wheel, _)| wheel.next_tick())
    }

    /// Takes the peer's word about a flow, the `order`-th of its messages. A message that was overtaken by a later
    /// one about the same flow changes nothing.
    ///
    /// # Errors
    /// [`Full`] when the flow is new and the table is full.
    pub fn on_message(
        &mut self,
        counters: &mut Counters,
        change: Change,
        flow: Flow,
        order: u64,
        now: Instant,
    ) -> Result<(), Full> {
        let key = flow.key();
        let known = self.table.find(&key);
        if self.last_word(&key, known) >= order {
            counters.remote.stale += 1;
            return Ok(());
        }
        match (change, known) {
            (Change::Destroy, Some(slot)) => {
                self.table.remove(slot);
                self.tombstones.bury(key, Span::at(order));
                counters.remote.destroyed += 1;
            }
            (Change::Destroy, None) => {
                self.tombstones.bury(key, Span::at(order));
                counters.remote.destroy_not_found += 1;
            }
            (_, Some(slot)) => {
                self.change(slot, change, flow, order, now);
                counters.remote.updated += 1;
            }
            (_, None) => {
                let since_s = seconds(now);
                let ticket = self.expiry.as_mut().map_or(0, |(wheel, _)| wheel.ticket());
                let updated_s = since_s;
                let notes = Notes { stamp: order, since_s, updated_s, ticket, ..Notes::default() };
                let slot = count_insert(self.table.insert(flow, notes), &mut counters.remote)?;
                if let Some((wheel, after_s)) = &mut self.expiry {
                    wheel.plan(now + Duration::from_secs((*after_s).into()), slot, ticket);
                }
            }
        }
        Ok(())
    }

    fn change(&mut self, slot: Slot, change: Change, flow: Flow, order: u64, now: Instant) {
        let anew = change == Change::New;
        if anew {
            self.table.set_flow(slot, flow);
        } else {
            self.table.absorb(slot, flow);
        }
        let notes = self.table.notes_mut(slot).expect("the slot was just found");
        if anew {
            notes.since_s = seconds(now);
        }
        notes.stamp = order;
        notes.updated_s = seconds(now);
    }

    /// The place of the last message about a flow; 0 if there was none. A message that is overtaken by more messages
    /// than [`Tombstones`] remember is none of the same life of the peer, and comes with a higher place.
    fn last_word(&self, key: &FlowKey, known: Option<Slot>) -> u64 {
        let entry = known.and_then(|slot| Some(self.table.at(slot)?.stamp));
        let last = entry.max(self.tombstones.last_about(key).map(|end| end.to));
        last.unwrap_or(self.flushed)
    }

    /// Whether the flow is known from a later message of the peer than the `order`-th.
    #[must_use]
    pub fn is_overtaken(&self, key: &FlowKey, order: u64) -> bool {
        self.last_word(key, self.table.find(key)) > order
    }

    /// Whether a flow is the peer's, or was a moment ago.
    #[must_use]
    pub fn spoke_of(&self, key: &FlowKey) -> bool {
        self.table.find(key).is_some() || self.tombstones.last_about(key).is_some()
    }

    /// An injection put this flow into the kernel.
    pub fn note_made(&mut self, key: FlowKey, now: Instant) {
        self.made.bury(key, Span::at(now.0));
    }

    /// Whether a flow of the kernel was put there by an injection, as far as that is remembered.
    #[must_use]
    pub fn made(&self, key: &FlowKey) -> bool {
        self.made.last_about(key).is_some()
    }

    /// Forgets every flow. `order` is the place of the latest message: what comes in late from before is forgotten too,
    /// or else the end of a flow would be forgotten and its beginning not.
    pub fn flush(&mut self, order: u64) {
        self.table.clear();
        self.tombstones.clear(order);
        self.flushed = order;
    }

    /// Writes the peer's word about a flow straight into the kernel, unless a later one about it came first.
    pub fn inject(
        &mut self,
        config: &Config,
        kernel: &mut KernelQueue,
        counters: &mut Counters,
        (change, flow): (Change, Flow),
        order: u64,
    ) {
        let key = flow.key();
        if self.last_word(&key, None) >= order {
            counters.remote.stale += 1;
            return;
        }
        self.tombstones.bury(key, Span::at(order));
        inject(config, kernel, counters, change, flow);
    }
}

/// When an entry goes if it is not told again.
fn end_of(entry: &Notes, after_s: u32) -> Instant {
    Instant((u64::from(entry.updated_s) + u64::from(after_s)) * 1_000_000_000)
}

fn inject(
    config: &Config,
    kernel: &mut KernelQueue,
    counters: &mut Counters,
    change: Change,
    flow: Flow,
) {
    let key = flow.key();
    let (purpose, request, counter) = match change {
        Change::New => {
            let request = Request::Create(writable(config, flow, 0));
            (Purpose::InjectNew, request, &mut counters.inject.created)
        }
        Change::Update => {
            let request = Request::Update(writable(config, flow, 0));
            (Purpose::InjectUpdate, request, &mut counters.inject.updated)
        }
        Change::Destroy => {
            (Purpose::InjectDestroy, Request::Delete(key), &mut counters.inject.destroyed)
        }
    };
    *counter += 1;
    kernel.push(purpose, request);
}

/// What an injection's failure means: try another way, or count it. `last_word` says that nothing newer about the flow
/// is on its way. Returns whether it is a failure to tell.
pub fn on_inject_failed(
    kernel: &mut KernelQueue,
    counters: &mut Counters,
    op: InFlight,
    errno: i32,
    last_word: bool,
) -> bool {
    let failures = &mut counters.inject;
    match (op.purpose, op.request, errno) {
        (Purpose::InjectDestroy, _, ENOENT) => return false,
        (
            Purpose::InjectNew
            | Purpose::InjectUpdate
            | Purpose::InjectReplace
            | Purpose::InjectAgain,
            Request::Create(flow) | Request::Update(flow),
            _,
        ) if !last_word => {
            kernel.pass_on(op.token, flow);
            return false;
        }
        (Purpose::InjectUpdate | Purpose::InjectReplace, Request::Update(flow), ENOENT) => {
            kernel.push(Purpose::InjectAgain, Request::Create(flow));
            return false;
        }
        (_, Request::Create(flow), ENOENT) if flow.master().is_some() => {
            kernel.push(Purpose::InjectAgain, Request::Create(without_master(flow)));
            return false;
        }
        (Purpose::InjectNew, Request::Create(flow), EEXIST)
        | (Purpose::InjectUpdate | Purpose::InjectReplace, Request::Update(flow), _) => {
            write_anew(kernel, flow);
            return false;
        }
        (Purpose::InjectDestroy, ..) => failures.destroy_failed += 1,
        (Purpose::InjectUpdate, ..) => failures.update_failed += 1,
        _ => failures.create_failed += 1,
    }
    true
}

/// An update succeeded, but the flow it changed was another one.
pub fn on_replace(kernel: &mut KernelQueue, op: InFlight, last_word: bool) {
    match op.request {
        Request::Update(flow) if last_word => write_anew(kernel, flow),
        Request::Update(flow) => kernel.pass_on(op.token, flow),
        _ => {}
    }
}

fn write_anew(kernel: &mut KernelQueue, flow: Flow) {
    kernel.push(Purpose::Clearing, Request::Delete(flow.key()));
    kernel.push(Purpose::InjectAgain, Request::Create(flow));
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

/// The flow as one that nobody expected: its master is not in the kernel, and a connection that goes on without one is
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
    let told = flow.has(Known::TIMEOUT).then_some(flow.timeout_s);
    told.and_then(|s| s.checked_sub(age_s)).unwrap_or(limit::LIFETIME_UNTOLD_S)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::Tuple;

    fn flow(n: u16) -> Flow {
        Flow::new(Tuple::v4([1; 4], [2; 4], 6).with_ports(n, 80))
    }

    fn at(side: &mut Remote, change: Change, n: u16, order: u64) {
        let mut counters = Counters::default();
        let _ = side.on_message(&mut counters, change, flow(n), order, Instant(0));
    }

    #[test]
    fn a_new_that_comes_after_the_destroy_it_preceded_does_not_revive_the_flow() {
        let mut side = Remote::new(&Config::default(), Instant(0));
        at(&mut side, Change::Destroy, 1, 11);
        at(&mut side, Change::New, 1, 10);
        assert!(side.table.is_empty());
        at(&mut side, Change::New, 1, 12);
        assert_eq!(side.table.len(), 1);
    }

    #[test]
    fn an_overtaken_update_changes_nothing() {
        let mut side = Remote::new(&Config::default(), Instant(0));
        at(&mut side, Change::New, 1, 20);
        at(&mut side, Change::Destroy, 1, 19);
        assert_eq!(side.table.len(), 1);
    }

    #[test]
    fn what_is_not_told_again_has_less_and_less_time_left_and_goes_when_it_has_none() {
        let mode = Mode::Alarm { refresh_s: 1, expire_s: 6 };
        let replication = crate::config::Replication { mode, ..Default::default() };
        let mut side = Remote::new(&Config { replication, ..Config::default() }, Instant(0));
        at(&mut side, Change::New, 1, 10);
        let left = |side: &Remote, at| {
            let (_, entry) = side.table.next(0)?;
            side.expires_in(&entry, Instant(at)).map(|left| left.as_millis())
        };
        assert_eq!(left(&side, 1), Some(5_999));
        assert_eq!(left(&side, 4_500_000_000), Some(1_500));
        side.expire(&mut Counters::default(), Instant(5_900_000_000));
        assert_eq!(left(&side, 5_900_000_000), Some(100));
        side.expire(&mut Counters::default(), Instant(7_000_000_000));
        assert!(side.table.is_empty());
    }

    #[test]
    fn lifetimes_shrink_with_age_and_fall_back_when_used_up_or_untold() {
        let config = Config::default();
        let told = Flow { timeout_s: 100, known: Known::TIMEOUT, ..flow(1) };
        assert_eq!(writable(&config, told.clone(), 30).timeout_s, 70);
        assert_eq!(writable(&config, told.clone(), 101).timeout_s, 60);
        assert_eq!(writable(&config, flow(1), 0).timeout_s, 60);
        let fixed = Config { commit_timeout_s: Some(180), ..Config::default() };
        assert_eq!(writable(&fixed, told, 30).timeout_s, 180);
    }
}
