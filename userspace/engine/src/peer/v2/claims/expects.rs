//! Claims of expectations: this node's in the ledger, its peers' by key and owner.
//!
//! ```text
//!   key -----------> [own] --> place: id, print; the ledger has version and what
//!   key and owner -> [held] claim, id, print, expectation        the remote table shows one of them
//! ```
//!
//! A kernel makes an expectation where the packet of its master passed that asked for it, whichever node owns the
//! flow. So each node claims what its own kernel has, no claim beats another's, and an expectation may have several
//! owners (R13.7). Ids and prints are part of the same sums as those of flows.

use super::{Claims, Mark};
use crate::bounded::Bounded;
use crate::config::Owner;
use crate::expectations::ExpectKey;
use crate::peer::v2::claim::What;
use crate::peer::v2::digest;
use crate::peer::v2::ledger::Item;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use common::Instant;
use core::ops::Range;
use core::time::Duration;
use ctnetlink::Expectation;
use wire::sync::v2::digest::{FlowId, IdRow};

/// Ends that are remembered, of this node's expectations and of its peers'.
pub const EXPECT_ENDS_MAX: usize = 4_096;

/// An expectation that this node claims, or did.
#[derive(Clone, Copy, Debug)]
struct Own {
    key: ExpectKey,
    mark: Mark,
    over: bool,
}

/// What a peer said of an expectation.
#[derive(Clone, Debug)]
pub struct HeldExpect {
    /// The owner's run, and its count of changes.
    pub version: (u32, u64),
    /// The expectation; `None`: it is over.
    pub expect: Option<Expectation>,
    /// When the claim came.
    pub at: Instant,
    /// Hot: it was written into this node's kernel.
    pub written: bool,
    /// The expectation's owner released it, and no sum has it.
    pub released: bool,
    mark: Mark,
}

impl HeldExpect {
    /// Whether it is long over by its last lifetime, which only a message can extend.
    #[must_use]
    pub fn is_outlived(&self, now: Instant, slack: Duration) -> bool {
        let permanent = ctnetlink::expectation::flag::PERMANENT;
        let expect = self.expect.as_ref().filter(|e| e.flags.unwrap_or(0) & permanent == 0);
        let left_s = expect.and_then(|expect| expect.timeout_s);
        left_s.is_some_and(|left_s| now.since(self.at) > Duration::from_secs(left_s.into()) + slack)
    }
}

/// All claims of expectations.
#[derive(Debug)]
pub struct Expects {
    own: BTreeMap<ExpectKey, u32>,
    places: Vec<Option<Own>>,
    free: Vec<u32>,
    /// Places and versions of own ends, the oldest first. Some have been claimed again since.
    ended: Bounded<(u32, u64)>,
    held: BTreeMap<(ExpectKey, Owner), HeldExpect>,
    /// Ended expectations, with the run and version of the end.
    graves: Bounded<((ExpectKey, Owner), (u32, u64))>,
}

impl Default for Expects {
    fn default() -> Self {
        Self {
            own: BTreeMap::new(),
            places: Vec::new(),
            free: Vec::new(),
            ended: Bounded::new(EXPECT_ENDS_MAX),
            held: BTreeMap::new(),
            graves: Bounded::new(EXPECT_ENDS_MAX),
        }
    }
}

impl Expects {
    fn at(&self, place: u32) -> Option<&Own> {
        self.places.get(place as usize)?.as_ref()
    }

    /// The expectation at a place.
    #[must_use]
    pub fn key_at(&self, place: u32) -> Option<&ExpectKey> {
        self.at(place).map(|own| &own.key)
    }

    /// The id of what is at a place.
    #[must_use]
    pub(super) fn id_at(&self, place: u32) -> Option<FlowId> {
        self.at(place).map(|own| own.mark.id)
    }

    /// The row of what is claimed at a place.
    pub(super) fn row_at(&self, place: u32) -> Option<IdRow> {
        let own = self.at(place).filter(|own| !own.over)?;
        Some(IdRow { id: own.mark.id, print: own.mark.print as u32 })
    }

    /// Whether this node claims an expectation.
    #[must_use]
    pub fn is_own(&self, key: &ExpectKey) -> bool {
        self.own.get(key).and_then(|place| self.at(*place)).is_some_and(|own| !own.over)
    }

    /// What peers say that is not over of an expectation, by owner.
    pub fn held_of(&self, key: &ExpectKey) -> impl Iterator<Item = (Owner, &HeldExpect)> {
        let all = self.held.range((*key, Owner(0))..=(*key, Owner(u8::MAX)));
        let living = all.filter(|(_, held)| held.expect.is_some());
        living.map(|((_, owner), held)| (*owner, held))
    }

    /// All that peers say.
    pub fn held(&self) -> impl Iterator<Item = (&(ExpectKey, Owner), &HeldExpect)> {
        self.held.iter().filter(|(_, held)| held.expect.is_some())
    }

    /// How many expectations of an owner are in its sum of these slices.
    #[must_use]
    pub fn count_of(&self, owner: Owner, slices: &Range<usize>) -> usize {
        let summed = |of: Owner, held: &HeldExpect| {
            of == owner && !held.released && slices.contains(&held.mark.id.slice())
        };
        self.held().filter(|((_, of), held)| summed(*of, held)).count()
    }

    /// Notes whether the expectation was written into this node's kernel.
    pub fn note_written(&mut self, key: &ExpectKey, written: bool) {
        for (_, held) in self.held.range_mut((*key, Owner(0))..=(*key, Owner(u8::MAX))) {
            held.written = written;
        }
    }

    /// The expectations of an owner that have these ids.
    pub fn with_ids(&self, owner: Owner, matches: impl Fn(FlowId) -> bool) -> Vec<ExpectKey> {
        let held = self.held().filter(|((_, of), held)| *of == owner && !held.released);
        held.filter(|(_, held)| matches(held.mark.id)).map(|((key, _), _)| *key).collect()
    }

    fn next_place(&mut self) -> u32 {
        if let Some(place) = self.free.pop() {
            return place;
        }
        self.places.push(None);
        (self.places.len() - 1) as u32
    }
}

/// Claims of this node.
impl Claims {
    /// Claims an expectation of this node's kernel, of which master and expected tuple must be known.
    pub fn claim_expect(&mut self, key: &ExpectKey, expect: &Expectation) {
        let mark = self.mark_expect(expect);
        let own = &mut self.digests[usize::from(self.me.0)];
        let place = match self.expects.own.get(key) {
            Some(place) => *place,
            None => self.expects.next_place(),
        };
        match self.expects.at(place).filter(|own| !own.over) {
            Some(before) => own.change(mark.id, before.mark.print, mark.print),
            None => own.add(mark.id, mark.print),
        }
        self.expects.places[place as usize] = Some(Own { key: *key, mark, over: false });
        self.expects.own.insert(*key, place);
        self.ledger.change_expect(place, What::State);
    }

    /// Whether an expectation is claimed as it is.
    #[must_use]
    pub fn is_expect_as_claimed(&self, key: &ExpectKey, expect: &Expectation) -> bool {
        let own = self.expects.own.get(key).and_then(|place| self.expects.at(*place));
        own.is_some_and(|own| !own.over && own.mark == self.mark_expect(expect))
    }

    /// An expectation that this node claims is over. The oldest end gives way.
    pub fn end_expect(&mut self, key: &ExpectKey) {
        let Some(place) = self.expects.own.get(key).copied() else { return };
        let Some(Some(own)) = self.expects.places.get_mut(place as usize) else { return };
        if core::mem::replace(&mut own.over, true) {
            return;
        }
        self.digests[usize::from(self.me.0)].remove(own.mark.id, own.mark.print);
        let version = self.ledger.change_expect(place, What::Closed);
        if let Some((oldest, version)) = self.expects.ended.displace((place, version)) {
            let entry = self.ledger.entry(Item::Expect(oldest));
            if entry.is_some_and(|entry| entry.version == version) {
                self.forget_expect(oldest);
            }
        }
    }

    fn forget_expect(&mut self, place: u32) {
        self.ledger.drop_expect(place);
        if let Some(own) = self.expects.places[place as usize].take() {
            self.expects.own.remove(&own.key);
            self.expects.free.push(place);
        }
    }

    /// Drops all of this node's claims, and sends nothing. The caller recomputes its sum.
    pub(super) fn forget_own_expects(&mut self) {
        for place in 0..self.expects.places.len() as u32 {
            if self.expects.at(place).is_some_and(|own| !own.over) {
                self.forget_expect(place);
            }
        }
    }

    /// The slice of an expectation.
    #[must_use]
    pub fn expect_slice(&self, expect: &Expectation) -> usize {
        self.mark_expect(expect).id.slice()
    }

    fn mark_expect(&self, expect: &Expectation) -> Mark {
        let (id, print) = self.key.expectation(expect);
        Mark { id, print }
    }
}

/// Claims of peers.
impl Claims {
    /// Whether what an owner says is news: of a later run, or with a higher version. The same version mends what is
    /// here otherwise. `expect`: the expectation; `None`: it is over.
    #[must_use]
    pub fn is_expect_news(
        &self,
        place: &(ExpectKey, Owner),
        version: (u32, u64),
        expect: Option<&Expectation>,
    ) -> bool {
        let Some(held) = self.expects.held.get(place) else { return true };
        let mends = || expect.is_some_and(|expect| self.mark_expect(expect) != held.mark);
        version > held.version || version == held.version && held.expect.is_some() && mends()
    }

    /// A peer's claim is taken.
    pub fn hold_expect(
        &mut self,
        place: (ExpectKey, Owner),
        version: (u32, u64),
        (expect, at): (Expectation, Instant),
    ) {
        self.take_out_expect(&place);
        let mark = self.mark_expect(&expect);
        self.digests[usize::from(place.1.0)].add(mark.id, mark.print);
        let expect = Some(expect);
        let held = HeldExpect { version, expect, at, written: false, released: false, mark };
        self.expects.held.insert(place, held);
    }

    /// A peer says that an expectation is over. The oldest such end gives way.
    pub fn end_held_expect(&mut self, place: (ExpectKey, Owner), version: (u32, u64), at: Instant) {
        self.take_out_expect(&place);
        if let Some((oldest, version)) = self.expects.graves.displace((place, version))
            && let Some(held) = self.expects.held.get(&oldest)
            && held.expect.is_none()
            && held.version == version
        {
            self.expects.held.remove(&oldest);
        }
        let (mark, expect) = (Mark::default(), None);
        let held = HeldExpect { version, expect, at, written: false, released: false, mark };
        self.expects.held.insert(place, held);
    }

    /// What an owner says of an expectation is forgotten.
    pub fn take_out_expect(&mut self, place: &(ExpectKey, Owner)) {
        let held = self.expects.held.remove(place);
        if let Some(HeldExpect { expect: Some(_), released: false, mark, .. }) = held {
            self.digests[usize::from(place.1.0)].remove(mark.id, mark.print);
        }
    }

    pub(super) fn release_expects(
        &mut self,
        (owner, run): (Owner, u32),
        slices: &Range<usize>,
        upto: u64,
    ) {
        let digest = &mut self.digests[usize::from(owner.0)];
        let held = self.expects.held.iter_mut().filter(|((_, of), _)| *of == owner);
        for (_, held) in held.filter(|(_, held)| held.expect.is_some() && !held.released) {
            let sent_here = slices.contains(&held.mark.id.slice());
            if sent_here && (held.version.0 != run || held.version.1 <= upto) {
                held.released = true;
                digest.remove(held.mark.id, held.mark.print);
            }
        }
    }

    pub(super) fn forget_held_expects(&mut self) {
        self.expects.held.clear();
        self.expects.graves.clear();
    }

    /// What is held of an owner, as comparisons take it.
    pub(super) fn expects_held_of(
        &self,
        (owner, run): (Owner, u32),
    ) -> impl Iterator<Item = digest::Held> {
        let held =
            self.expects.held().filter(move |((_, of), held)| *of == owner && !held.released);
        held.map(move |(_, held)| digest::Held {
            id: held.mark.id,
            print: held.mark.print as u32,
            version: if held.version.0 == run { held.version.1 } else { 0 },
        })
    }
}
