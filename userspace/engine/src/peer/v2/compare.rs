//! A comparison with a peer for people (R11.7): the steps of R11.5, and nothing is mended meanwhile.
//!
//! ```text
//!   comparable CUT --equal--> over
//!        | not equal: SUMS, and so on
//!        v
//!   IDS: rows that are not the same --> do they explain by what the sums differ?
//!        | yes: WANT for people                   | no: flows changed meanwhile, or more IDS are to come
//!        v                                        v
//!   FLOWS for people, until all are here: over    a later CUT starts over, once nothing comes for STALLS
//! ```

use super::digest::{self, Held};
use crate::input::CommandId;
use crate::output::{Compared, Differing};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use common::Instant;
use core::time::Duration;
use ctnetlink::Flow;
use wire::sync::v2::digest::{FlowId, Ids};

/// Flows that are shown at most (`DIFF_ROWS_MAX`, section 16); the others are counted.
pub const ROWS_MAX: usize = 10_000;
/// Limit of counted rows: a peer that lists more than any table holds must not make memory grow.
const FOUND_MAX: usize = 1 << 20;
/// After so long without anything new the next cut starts over: something was lost.
const STALLS: Duration = Duration::from_millis(900);
/// After so long without a comparable cut, or anything else, there is no answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// So long it goes on at most while flows change faster than they are compared.
const LONGEST: Duration = Duration::from_secs(20);

/// What the flows of a table sum up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    /// The low 4 bytes of the sum of their prints.
    pub print: u32,
    /// How many rows there are.
    pub rows: u32,
}

/// What a comparison found, or why there is none.
pub type Comparison = Result<Box<Compared>, &'static str>;

/// A comparison under way.
#[derive(Debug)]
pub struct Comparing {
    /// The command that waits for it.
    pub id: CommandId,
    began: Instant,
    /// When something came that it goes on with.
    heard_at: Instant,
    /// What both tables summed up to at the cut that began this round: here, there.
    sums: Option<[Sum; 2]>,
    peer_is_exact: bool,
    /// The part of the difference of the sums that the rows found so far do not explain: prints, rows.
    unexplained: (u32, i64),
    /// The low 4 bytes of the prints of what is not the same: here, there; 0: not there, or over.
    found: BTreeMap<FlowId, [u32; 2]>,
    /// Flows as the peer has them, with their prints.
    shown: BTreeMap<FlowId, (u32, Flow)>,
}

const fn explains([here, there]: [u32; 2]) -> (u32, i64) {
    (there.wrapping_sub(here), (there != 0) as i64 - (here != 0) as i64)
}

impl Compared {
    /// Takes in what was found of other flows.
    pub fn join(&mut self, other: Self) {
        for (rows, more) in self.rows.iter_mut().zip(other.rows) {
            *rows = rows.saturating_add(more);
        }
        let both = self.counts.zip(other.counts);
        self.counts = both.map(|(mine, more)| core::array::from_fn(|at| mine[at] + more[at]));
        let room = ROWS_MAX.saturating_sub(self.differing.len());
        self.differing.extend(other.differing.into_iter().take(room));
        self.peer_is_exact &= other.peer_is_exact;
    }
}

impl Comparing {
    /// One that begins now.
    #[must_use]
    pub const fn new(now: Instant, id: CommandId) -> Self {
        Self {
            id,
            began: now,
            heard_at: now,
            sums: None,
            peer_is_exact: false,
            unexplained: (0, 0),
            found: BTreeMap::new(),
            shown: BTreeMap::new(),
        }
    }

    /// When it is given up, if nothing comes before.
    #[must_use]
    pub fn due(&self) -> Instant {
        (self.heard_at + PATIENCE).min(self.began + LONGEST)
    }

    /// A comparable cut: what both tables sum up to, here and there. Whether a round begins, with sums of slices.
    pub fn on_cut(&mut self, now: Instant, sums: [Sum; 2], exact: bool) -> bool {
        let [here, there] = sums;
        let equal = here == there;
        if !equal && self.sums.is_some() && now.since(self.heard_at) < STALLS {
            return false;
        }
        (self.sums, self.peer_is_exact, self.heard_at) = (Some(sums), exact, now);
        self.found.clear();
        let rows = i64::from(there.rows) - i64::from(here.rows);
        self.unexplained = (there.print.wrapping_sub(here.print), rows);
        !equal
    }

    /// The peer lists rows of leaves that differ; `held`: what is held there. Returns the flows that it should show.
    pub fn on_ids(
        &mut self,
        now: Instant,
        ids: Ids<'_>,
        held: &BTreeMap<u16, Vec<Held>>,
    ) -> Vec<FlowId> {
        for part in ids.parts().flatten() {
            let (first, last) = part.range;
            let here = held.get(&part.leaf).into_iter().flatten();
            let here = here.filter(|held| (first..=last).contains(&held.id)).copied();
            digest::unlike(part.rows(), here, ids.upto, |there, here| {
                let id = there.map(|there| there.id).or(here.map(|here| here.id));
                let prints = [here.map_or(0, |h| h.print), there.map_or(0, |t| t.print)];
                id.into_iter().for_each(|id| self.find(id, prints));
            });
        }
        self.heard_at = now;
        let unshown = self.unshown().map(|(id, _)| id);
        if self.is_explained() { unshown.collect() } else { Vec::new() }
    }

    fn find(&mut self, id: FlowId, prints: [u32; 2]) {
        if self.found.len() >= FOUND_MAX && !self.found.contains_key(&id) {
            return;
        }
        let before = self.found.insert(id, prints).map_or((0, 0), explains);
        let now = explains(prints);
        let (print, rows) = &mut self.unexplained;
        *print = print.wrapping_add(before.0).wrapping_sub(now.0);
        *rows += before.1 - now.1;
    }

    /// The peer shows a flow.
    pub fn on_shown(&mut self, now: Instant, (id, print): (FlowId, u32), flow: Flow) {
        let matches = self.found.get(&id).is_some_and(|[_, there]| *there == print);
        if matches && (self.shown.len() < ROWS_MAX || self.shown.contains_key(&id)) {
            self.shown.insert(id, (print, flow));
            self.heard_at = now;
        }
    }

    /// Whether all that was found makes the difference of the sums.
    fn is_explained(&self) -> bool {
        self.sums.is_some() && self.unexplained == (0, 0)
    }

    /// Rows to show that the peer has and that have not come.
    fn unshown(&self) -> impl Iterator<Item = (FlowId, u32)> {
        let listed = self.found.iter().take(ROWS_MAX).map(|(id, [_, there])| (*id, *there));
        listed.filter(|(id, there)| {
            *there != 0 && self.shown.get(id).is_none_or(|(print, _)| print != there)
        })
    }

    /// Whether all rows to show are here.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_explained() && self.unshown().next().is_none()
    }

    /// Whether this node has the flow, so that its state here is shown.
    #[must_use]
    pub fn is_shown_here(&self, id: FlowId) -> bool {
        self.found.get(&id).is_some_and(|[here, _]| *here != 0)
    }

    /// The result; `held`: the requested flows as they are here, with their prints. `None`: they have changed since
    /// they were compared, and another round starts.
    pub fn finish(&mut self, held: &BTreeMap<FlowId, (u32, Flow)>) -> Option<Compared> {
        let listed = || self.found.iter().take(ROWS_MAX);
        let is_as_found = |(id, [here, _]): (&FlowId, &[u32; 2])| {
            *here == 0 || held.get(id).is_some_and(|(print, _)| print == here)
        };
        if !listed().all(is_as_found) {
            self.sums = None;
            return None;
        }
        let mut counts = [0; 3];
        for [here, there] in self.found.values() {
            counts[if *here == 0 { 0 } else { 1 + usize::from(*there != 0) }] += 1;
        }
        Some(Compared { counts: Some(counts), ..self.so_far(held) })
    }

    /// What was found when it is given up; `None`: the peer said nothing that could be compared.
    #[must_use]
    pub fn give_up(&self, held: &BTreeMap<FlowId, (u32, Flow)>) -> Option<Compared> {
        self.sums.map(|_| self.so_far(held))
    }

    fn so_far(&self, held: &BTreeMap<FlowId, (u32, Flow)>) -> Compared {
        let listed = self.found.iter().take(ROWS_MAX);
        let differing = listed.map(|(id, [here, there])| Differing {
            here: held.get(id).filter(|_| *here != 0).map(|(_, flow)| flow.clone()),
            there: self.shown.get(id).filter(|_| *there != 0).map(|(_, flow)| flow.clone()),
        });
        Compared {
            rows: self.sums.map_or([0; 2], |sums| sums.map(|sum| sum.rows)),
            counts: None,
            differing: differing.filter(|d| d.here.is_some() || d.there.is_some()).collect(),
            peer_is_exact: self.peer_is_exact,
        }
    }
}
