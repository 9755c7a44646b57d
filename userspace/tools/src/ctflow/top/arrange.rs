//! Picks of a sample what is shown: the flows of a filter, the first of them by a column, and groups.

use super::first::First;
use super::heavy::{COUNTERS, Counter, Heavy};
use super::mode::Mode;
use super::row::{Asked, Row};
use super::sample::{Sample, Totals, add_rate};
use crate::grouping::Key;
use crate::print::state;
use ctnetlink::Flow;
use ctnetlink::flow::Status;
use ctnetlink::tuple::{FAMILY_IPV6, ipproto};
use engine::Bounded;
use engine::query::Program;
use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Rows of a picture: how far one can scroll.
pub const ROWS_MAX: usize = 1000;
/// IPv6 groups beside IPv4 groups of up to 32 bits.
const V6_PREFIX: u8 = 64;
/// How far back the column *in the last minute* looks, and how far its pictures lie apart.
const MINUTE_NS: u64 = 60_000_000_000;
const STEP_NS: u64 = 5_000_000_000;
/// Walks over the kernel's table, and readings of its counters, take at most one part in so many of the time.
pub const SHARE: u32 = 20;
/// Totals of a minute, the one before, and one that is due.
const PAST_MAX: usize = (MINUTE_NS / STEP_NS) as usize + 2;

/// Columns that flows are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// Rate towards who began the flow.
    #[default]
    In,
    /// Rate from who began it.
    Out,
    /// Age of the flow.
    Age,
    /// Seconds left.
    Left,
    /// Source of the original direction.
    From,
    /// Destination of the original direction.
    To,
    /// Protocol, then state.
    State,
}

impl By {
    /// In the order in which a key goes through them.
    pub const ALL: [Self; 7] =
        [Self::In, Self::Out, Self::Age, Self::Left, Self::From, Self::To, Self::State];

    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Age => "age",
            Self::Left => "left",
            Self::From => "from",
            Self::To => "to",
            Self::State => "state",
        }
    }

    /// Whether the largest come first, unless turned round.
    #[must_use]
    pub const fn falls(self) -> bool {
        matches!(self, Self::In | Self::Out | Self::Age | Self::Left)
    }

    fn compare(self, a: &Row, b: &Row) -> Ordering {
        let ends = |row: &Row| (row.flow.orig.src, row.flow.orig.dst, row.flow.orig.l4);
        let began = |row: &Row| row.began_ns.map(Reverse);
        match self {
            Self::In => a.in_bps().cmp(&b.in_bps()),
            Self::Out => a.out_bps().cmp(&b.out_bps()),
            Self::Age => began(a).cmp(&began(b)),
            Self::Left => a.flow.timeout_s.cmp(&b.flow.timeout_s),
            Self::From => ends(a).cmp(&ends(b)),
            Self::To => {
                let tail = |row: &Row| (row.flow.orig.dst, row.flow.orig.l4, row.flow.orig.src);
                tail(a).cmp(&tail(b))
            }
            Self::State => {
                let stand = |row: &Row| (row.flow.orig.proto, state_word(&row.flow));
                stand(a).cmp(&stand(b))
            }
        }
    }

    /// The order of two rows. Rows of equal worth have a fixed order, so that they do not dance.
    fn order(self, turned: bool, a: &Row, b: &Row) -> Ordering {
        let first = self.compare(a, b);
        let first = if self.falls() != turned { first.reverse() } else { first };
        let total =
            |row: &Row| row.in_bps().unwrap_or(0).saturating_add(row.out_bps().unwrap_or(0));
        let name = |row: &Row| (row.flow.key(), row.flow.id);
        first.then_with(|| total(b).cmp(&total(a))).then_with(|| name(a).cmp(&name(b)))
    }
}

/// How a flow stands: its state, or whether it was answered.
#[must_use]
pub fn state_word(flow: &Flow) -> &'static str {
    match state::name(&flow.proto) {
        Some(name) => name,
        None if flow.orig.is_icmp() => "-",
        None if flow.status.contains(Status::ASSURED) => "ASSURED",
        None if flow.status.contains(Status::SEEN_REPLY) => "REPLIED",
        None => "UNREPLIED",
    }
}

/// What the user chose to see.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The compiled filter; `None`: every flow.
    pub program: Option<Arc<Program>>,
    /// What flows are sorted by.
    pub by: By,
    /// Whether the order is reversed.
    pub turned: bool,
    /// The key of the groups.
    pub group: Option<Key>,
    /// Only flows of this group.
    pub within: Option<String>,
    /// What groups are sorted by.
    pub groups_by: GroupsBy,
}

/// Columns that groups are sorted by, the largest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupsBy {
    /// How many flows.
    #[default]
    Flows,
    /// How many began since the walk before.
    New,
    /// Rate towards who began the flows.
    In,
    /// Rate from who began them.
    Out,
}

impl GroupsBy {
    /// In the order in which a key goes through them.
    pub const ALL: [Self; 4] = [Self::Flows, Self::New, Self::In, Self::Out];

    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flows => "flows",
            Self::New => "new",
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// What is counted of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Flows without an answer.
    pub unreplied: u64,
    /// Flows that began since the sample before; of a mirror, also those that have ended since.
    pub began: u64,
    /// As in [`Totals`].
    pub in_bps: Option<u64>,
    /// As in [`Totals`].
    pub out_bps: Option<u64>,
    /// TCP flows.
    pub tcp: u64,
    /// UDP flows.
    pub udp: u64,
    /// Flows of other protocols.
    pub other: u64,
}

impl Tally {
    fn add(&mut self, row: &Row) {
        self.unreplied += u64::from(!row.flow.status.contains(Status::SEEN_REPLY));
        self.began += u64::from(row.reading.is_new);
        add_rate(&mut self.in_bps, row.in_bps());
        add_rate(&mut self.out_bps, row.out_bps());
        match row.flow.orig.proto {
            ipproto::TCP => self.tcp += 1,
            ipproto::UDP => self.udp += 1,
            _ => self.other += 1,
        }
    }

    /// Adds another group's.
    pub fn join(&mut self, other: &Self) {
        self.unreplied += other.unreplied;
        self.began += other.began;
        add_rate(&mut self.in_bps, other.in_bps);
        add_rate(&mut self.out_bps, other.out_bps);
        self.tcp += other.tcp;
        self.udp += other.udp;
        self.other += other.other;
    }
}

/// A group as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its counters.
    pub counter: Counter<Tally>,
    /// How its flows changed in the last minute, percent; `None` if it was not seen then.
    pub change: Option<f64>,
}

/// Groups of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Groups {
    /// The key of the groups.
    pub key: Key,
    /// The first of them.
    pub rows: Vec<Group>,
    /// Groups that are not in `rows`, and their members.
    pub rest: Option<(u64, Counter<Tally>)>,
    /// How many groups there are.
    pub count: u64,
    /// Whether the counts are exact.
    pub is_exact: bool,
    /// Flows that began, whatever the filter says, and are in no group's number of new flows.
    pub unnamed: u64,
}

/// Everything that the screen shows.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// The sample without its rows.
    pub sample: Sample,
    /// Over the flows of the filter.
    pub matched: Totals,
    /// The flows of the filter, or of the group within, first ones first.
    pub rows: Vec<Row>,
    /// How many these are, with those that are not in `rows`.
    pub listed: u64,
    /// Groups of the flows of the filter.
    pub groups: Option<Groups>,
}

/// Flows by group, at a time.
type Then = (u64, HashMap<String, u64>);

/// Arranges pictures, and remembers how large groups were.
#[derive(Debug)]
pub struct Arranger {
    key: Option<Key>,
    past: Bounded<Then>,
}

impl Default for Arranger {
    fn default() -> Self {
        Self { key: None, past: Bounded::new(PAST_MAX) }
    }
}

impl Arranger {
    /// The picture of a sample.
    #[must_use]
    pub fn arrange(&mut self, sample: &Sample, settings: &Settings) -> Picture {
        let mut matched = Totals::default();
        let order = |a: &Row, b: &Row| settings.by.order(settings.turned, a, b);
        let (mut listed, mut first) = (0, First::new(ROWS_MAX, order));
        let mut heavy = Heavy::<Tally>::new(COUNTERS);
        let (mut key, mut named) = (String::new(), 0);
        let matches = |row: &Row| {
            let asked = Asked::new(row, sample.time_ns);
            settings.program.as_ref().is_none_or(|program| program.matches(&asked))
        };
        sample.each(|row| {
            named += u64::from(row.reading.is_new);
            if !matches(row) {
                return;
            }
            matched.add(&row.flow, &row.reading);
            if let Some(group) = settings.group {
                name_group(&mut key, group, &row.flow);
                heavy.count(&key).add(row);
            }
            if settings.within.as_ref().is_none_or(|within| *within == key) {
                listed += 1;
                first.take(row);
            }
        });
        if let Some(group) = settings.group {
            sample.each_passed(|row| {
                if !matches(row) {
                    named += 1;
                    return;
                }
                name_group(&mut key, group, &row.flow);
                if let Some(tally) = heavy.beside(&key) {
                    named += 1;
                    tally.began += 1;
                }
            });
        }
        let unnamed = sample.churn.began.map_or(0, |began| began.saturating_sub(named));
        let groups = settings.group.map(|key| {
            let groups = self.groups(sample.time_ns, key, heavy, settings);
            Groups { unnamed, ..groups }
        });
        Picture { sample: shell(sample), matched, rows: first.done(), listed, groups }
    }

    fn groups(
        &mut self,
        now_ns: u64,
        key: Key,
        heavy: Heavy<Tally>,
        settings: &Settings,
    ) -> Groups {
        let (is_exact, count) = (heavy.is_exact(), heavy.groups());
        let mut all = heavy.into_counters();
        let then = self.minute_ago(now_ns, key, &all);
        let rank = |one: &Counter<Tally>| match settings.groups_by {
            GroupsBy::Flows => Some(one.count),
            GroupsBy::New => Some(one.tally.began),
            GroupsBy::In => one.tally.in_bps,
            GroupsBy::Out => one.tally.out_bps,
        };
        all.sort_unstable_by(|a, b| {
            rank(b).cmp(&rank(a)).then(b.count.cmp(&a.count)).then_with(|| a.key.cmp(&b.key))
        });
        let others = all.split_off(all.len().min(ROWS_MAX));
        let mut rest = Counter { key: String::new(), count: 0, error: 0, tally: Tally::default() };
        for one in &others {
            rest.count += one.count;
            rest.tally.join(&one.tally);
        }
        let change = |one: &Counter<Tally>| {
            let was = then.get(&one.key).copied().filter(|was| *was > 0)?;
            Some((one.count as f64 - was as f64) * 100.0 / was as f64)
        };
        let rows =
            all.into_iter().map(|one| Group { change: change(&one), counter: one }).collect();
        let rest = (!others.is_empty()).then(|| (count.saturating_sub(ROWS_MAX as u64), rest));
        Groups { key, rows, rest, count, is_exact, unnamed: 0 }
    }

    /// The groups a minute ago, or as long ago as is known; remembers those of now.
    fn minute_ago(
        &mut self,
        now_ns: u64,
        key: Key,
        all: &[Counter<Tally>],
    ) -> HashMap<String, u64> {
        if self.key != Some(key) {
            self.past.clear();
            self.key = Some(key);
        }
        let is_due = self.past.back().is_none_or(|(at, _)| now_ns.saturating_sub(*at) >= STEP_NS);
        if is_due {
            let counts = all.iter().map(|one| (one.key.clone(), one.count)).collect();
            self.past.displace((now_ns, counts));
        }
        let is_over = |at: u64| now_ns.saturating_sub(at) > MINUTE_NS;
        while self.past.len() > 2 && self.past.get(1).is_some_and(|(at, _)| is_over(*at)) {
            self.past.pop();
        }
        self.past
            .front()
            .filter(|(at, _)| *at < now_ns)
            .map(|(_, all)| all.clone())
            .unwrap_or_default()
    }
}

/// A sample without its rows.
fn shell(sample: &Sample) -> Sample {
    Sample {
        time_ns: sample.time_ns,
        took: sample.took,
        mode: sample.mode,
        lapse: sample.lapse.clone(),
        origin: sample.origin,
        is_whole: sample.is_whole,
        rows: Vec::new(),
        held: None,
        passed: Arc::default(),
        rated: sample.rated,
        unread: sample.unread.clone(),
        left_out: sample.left_out,
        uncounted: sample.uncounted,
        churn: sample.churn,
        totals: sample.totals.clone(),
        machine: sample.machine.clone(),
        failures_before: sample.failures_before,
        notes: sample.notes.clone(),
    }
}

/// The name of a flow's group. A prefix length of up to 32 bits is IPv4's; IPv6 goes by /64 beside it.
pub fn name_group(out: &mut String, key: Key, flow: &Flow) {
    let is_v6 = flow.orig.family == FAMILY_IPV6;
    let key = match key {
        Key::Src(Some(..=32)) if is_v6 => Key::Src(Some(V6_PREFIX)),
        Key::Dst(Some(..=32)) if is_v6 => Key::Dst(Some(V6_PREFIX)),
        key => key,
    };
    out.clear();
    key.of(out, flow);
}

/// How long until the next walk begins: walks take at most a twentieth of the time. The mirror reads counters as seldom
/// by itself.
#[must_use]
pub fn pause(mode: Mode, every: Duration, took: Duration) -> Duration {
    match mode {
        Mode::Walk => every.max(took.saturating_mul(SHARE)).saturating_sub(took),
        Mode::Mirror => every,
    }
}

#[cfg(test)]
mod tests;
