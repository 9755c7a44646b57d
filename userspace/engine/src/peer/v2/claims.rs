//! Every claim that a shard knows: its own in the ledger, its peers' beside the remote table, ends of both.
//!
//! ```text
//!                     local slot --> [ledger] cell   [marks] id, print      flow: the local table
//!   this node's  -- <
//!                     key ---------> [own ends] --> place in the ledger
//!
//!                     remote slot -> [held] claim, id, print                flow: the remote table
//!   its peers'   -- <
//!                     key ---------> [held ends] claim
//! ```
//!
//! An identity has one claim at most: who loses, goes (R10.1). Each owner has a [`Digest`] over its living flows.

use super::claim::{self, Claim, What};
use super::digest::Digest;
use super::ledger::{Entry as LedgerEntry, Gone, Item, Ledger, PositionId};
use crate::bounded::{Bounded, QueueUsage};
use crate::config::{Cluster, Config, Owner};
use crate::flows::table::{Full, Slot};
use crate::node::Node;
use alloc::boxed::Box;
use alloc::vec::Vec;
use common::Instant;
use core::ops::Range;
use ctnetlink::{Flow, FlowKey};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use wire::sync::v2::digest::FlowId;
use wire::sync::v2::{Canonical, DigestKey};

mod listing;
pub mod expects;

use expects::Expects;

/// Ends that are remembered, of this node's flows and of its peers' (`ENDS_MAX`, section 16).
pub const ENDS_MAX: usize = 65_536;

/// A claim by a node.
pub type Claimed = Claim<Owner>;

/// A flow as digests know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark {
    id: FlowId,
    print: u64,
}

/// A peer's claim of the flow in a slot of the remote table.
#[derive(Clone, Copy, Debug)]
struct Held {
    claim: Claimed,
    mark: Mark,
    /// The flow's owner released it, and no sum has it (R13.6).
    released: bool,
}

/// A peer's claim that a flow is over.
#[derive(Clone, Copy, Debug)]
struct HeldEnd {
    claim: Claimed,
    id: FlowId,
}

/// What is claimed of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing is claimed.
    Nothing,
    /// This node claims it: the flow in this slot of the local table.
    Own(Slot, Claimed),
    /// This node says that it is over, at this place of the ledger.
    OwnEnd(u32, Claimed),
    /// A peer claims it: the flow in this slot of the remote table.
    Held(Slot, Claimed),
    /// A peer says that it is over.
    HeldEnd(Claimed),
}

impl Known {
    /// The claim.
    #[must_use]
    pub const fn claim(&self) -> Option<&Claimed> {
        match self {
            Self::Nothing => None,
            Self::Own(_, claim)
            | Self::OwnEnd(_, claim)
            | Self::Held(_, claim)
            | Self::HeldEnd(claim) => Some(claim),
        }
    }
}

/// All claims of a shard.
#[derive(Debug)]
pub struct Claims {
    me: Owner,
    key: DigestKey,
    /// This node's claims and ends.
    pub ledger: Ledger,
    /// By local slot.
    marks: Vec<Mark>,
    own_ends: HashMap<FlowKey, u32, FixedState>,
    /// By remote slot.
    held: Vec<Option<Held>>,
    /// The slot behind the last row that gave way to another peer's.
    gave: usize,
    held_ends: HashMap<FlowKey, HeldEnd, FixedState>,
    /// Keys of the held ends with their versions, in the order in which they came. Some have been dropped since.
    graves: Bounded<(FlowKey, u64)>,
    /// By local slot: what a peer said of the connection that this node's kernel does not show (R10.3).
    joined: HashMap<Slot, Box<Flow>, FixedState>,
    /// The claims of expectations.
    pub expects: Expects,
    /// By owner: over its living flows, and over its expectations.
    digests: Vec<Digest>,
}

impl Claims {
    /// Makes an empty set of claims.
    #[must_use]
    pub fn new(config: &Config, cluster: &Cluster) -> Self {
        let bits = Digest::bits_for(config.flows_max);
        let hasher = || FixedState::with_seed(config.hash_seed);
        let nodes = cluster.peers.len() + 1;
        Self {
            me: cluster.me,
            key: cluster.digest_key,
            ledger: Ledger::new(ENDS_MAX),
            marks: Vec::new(),
            own_ends: HashMap::with_hasher(hasher()),
            held: Vec::new(),
            gave: 0,
            held_ends: HashMap::with_hasher(hasher()),
            graves: Bounded::new(ENDS_MAX),
            joined: HashMap::with_hasher(hasher()),
            expects: Expects::default(),
            digests: (0..nodes).map(|_| Digest::new(bits)).collect(),
        }
    }

    /// The sums over an owner's living flows.
    #[must_use]
    pub fn digest(&self, owner: Owner) -> &Digest {
        &self.digests[usize::from(owner.0)]
    }

    /// What is claimed of an identity.
    #[must_use]
    pub fn known(&self, node: &Node, key: &FlowKey) -> Known {
        let own = |entry: LedgerEntry| Claim {
            owner: self.me,
            incarnation: 0,
            epoch: entry.epoch,
            version: entry.version,
            base: entry.base,
            what: entry.what,
        };
        if let Some(slot) = node.flows.table.find(key)
            && let Some(entry) = self.ledger.flow(slot)
        {
            return Known::Own(slot, own(entry));
        }
        if let Some(slot) = node.remote.find(key)
            && let Some(held) = self.held_at(slot)
        {
            return Known::Held(slot, held.claim);
        }
        if let Some(place) = self.own_ends.get(key)
            && let Some((entry, _)) = self.ledger.ended(*place)
        {
            return Known::OwnEnd(*place, own(entry));
        }
        self.held_ends.get(key).map_or(Known::Nothing, |end| Known::HeldEnd(end.claim))
    }

    fn held_at(&self, slot: Slot) -> Option<&Held> {
        self.held.get(slot as usize)?.as_ref()
    }

    /// The peer that claims the flow in a slot of the remote table.
    #[must_use]
    pub fn holder(&self, slot: Slot) -> Option<Owner> {
        self.held_at(slot).map(|held| held.claim.owner)
    }

    /// Whether the owner of the flow in a slot of the remote table released it.
    #[must_use]
    pub fn is_released(&self, slot: Slot) -> bool {
        self.held_at(slot).is_some_and(|held| held.released)
    }

    /// The slice of the flow in a slot of the remote table.
    #[must_use]
    pub fn held_slice(&self, slot: Slot) -> Option<usize> {
        self.held_at(slot).map(|held| held.mark.id.slice())
    }

    /// The slice of a flow.
    #[must_use]
    pub fn slice(&self, key: &FlowKey) -> usize {
        self.key.id(key).slice()
    }

    /// The slice of an item of the ledger.
    fn slice_of(&self, item: Item) -> Option<usize> {
        match item {
            Item::Flow(slot) => self.marks.get(slot as usize).map(|mark| mark.id.slice()),
            Item::End(place) => self.ledger.ended(place).map(|(_, key)| self.slice(&key)),
            Item::Expect(place) => self.expects.id_at(place).map(FlowId::slice),
        }
    }

    /// Whether an item of the ledger is in these slices.
    #[must_use]
    pub fn is_in(&self, item: Item, slices: &Range<usize>) -> bool {
        self.slice_of(item).is_some_and(|slice| slices.contains(&slice))
    }

    /// Moves a position on, to what is in these slices; `None`: in any.
    pub fn advance(&mut self, position: PositionId, slices: Option<&Range<usize>>) {
        self.ledger.advance(position);
        slices.into_iter().for_each(|slices| self.skip(position, slices));
    }

    /// Moves a position behind what is not in these slices.
    pub fn skip(&mut self, position: PositionId, slices: &Range<usize>) {
        while let Some((item, _)) = self.ledger.peek(position)
            && !self.is_in(item, slices)
        {
            self.ledger.advance(position);
        }
    }

    /// An owner released all that it claimed in these slices up to a version of its present run, and before: these
    /// flows have no owner, and go on.
    pub fn release(&mut self, (owner, run): (Owner, u32), slices: &Range<usize>, upto: u64) {
        let digest = &mut self.digests[usize::from(owner.0)];
        for held in self.held.iter_mut().flatten().filter(|held| held.claim.owner == owner) {
            let sent_here = slices.contains(&held.mark.id.slice());
            if sent_here
                && !held.released
                && (held.claim.incarnation != run || held.claim.version <= upto)
            {
                held.released = true;
                digest.remove(held.mark.id, held.mark.print);
            }
        }
        self.release_expects((owner, run), slices, upto);
    }

    /// The flow in a slot of the local table, with what a peer said of it beyond what this node's kernel shows.
    #[must_use]
    pub fn flow(&self, node: &Node, slot: Slot) -> Option<Flow> {
        let mut flow = node.flows.table.at(slot)?.flow();
        if let Some(joined) = self.joined.get(&slot) {
            claim::join(&mut flow, joined);
        }
        Some(flow)
    }

    /// Sends of a flow only what its kernel shows.
    pub fn unjoin(&mut self, slot: Slot) {
        self.joined.remove(&slot);
    }

    /// Merges a peer's view of a connection into what this node's kernel shows, as long as the kernel shows less.
    pub fn join(&mut self, slot: Slot, theirs: Flow) {
        self.joined.insert(slot, Box::new(theirs));
    }

    /// Claims the living flow in a slot of the local table; `known` is its present claim. False if the flow cannot be
    /// sent: then nothing changes.
    pub fn claim(
        &mut self,
        node: &mut Node,
        slot: Slot,
        (epoch, base, what): (u32, u64, What),
        known: Known,
    ) -> bool {
        let Some(flow) = self.flow(node, slot) else { return false };
        if let Some(joined) = self.joined.get(&slot)
            && let Some(kernels) = node.flows.table.at(slot)
            && !claim::adds(joined, &kernels.flow())
        {
            self.joined.remove(&slot);
        }
        let Some(mark) = self.mark(&flow) else { return false };
        match known {
            Known::Own(at, _) => {
                let before = self.marks[at as usize];
                self.digests[usize::from(self.me.0)].change(mark.id, before.print, mark.print);
            }
            _ => {
                self.let_go(node, &flow.key(), known);
                self.digests[usize::from(self.me.0)].add(mark.id, mark.print);
            }
        }
        let at = slot as usize;
        if self.marks.len() <= at {
            self.marks.resize(at + 1, Mark::default());
        }
        self.marks[at] = mark;
        self.ledger.change(slot, epoch, base, what);
        true
    }

    /// Whether the claimed flow in a slot of the local table is as it was claimed.
    #[must_use]
    pub fn is_as_claimed(&self, node: &Node, slot: Slot) -> bool {
        let mark = self.flow(node, slot).and_then(|flow| self.mark(&flow));
        mark == self.marks.get(slot as usize).copied()
    }

    /// The claimed flow in a slot as it is sent, for the packer. If it differs from its claim, without an event of
    /// its kernel that was news to peers, the sums follow, so that a comparison finds the peers that received it
    /// otherwise.
    pub fn sent_flow(&mut self, node: &Node, slot: Slot) -> Option<Flow> {
        let flow = self.flow(node, slot)?;
        let mark = self.mark(&flow)?;
        let before = self.marks.get_mut(slot as usize)?;
        if before.print != mark.print {
            let own = &mut self.digests[usize::from(self.me.0)];
            own.change(mark.id, before.print, mark.print);
            *before = mark;
        }
        Some(flow)
    }

    /// This node says that a flow is over; `known` is what is claimed of it.
    pub fn end(
        &mut self,
        node: &mut Node,
        key: &FlowKey,
        (epoch, base, what): (u32, u64, What),
        known: Known,
    ) {
        self.let_go(node, key, known);
        let (place, _, gone) = self.ledger.end(None, *key, epoch, base, what);
        if let Some(Gone { key, .. }) = gone {
            self.own_ends.remove(&key);
        }
        self.own_ends.insert(*key, place);
    }

    /// A peer's claim of a living flow is taken; `known` is what was claimed before. Returns whose flow had to go for
    /// it, if one had to.
    ///
    /// # Errors
    /// [`Full`] when there is no room for the flow; then nothing is claimed of it any more.
    pub fn hold(
        &mut self,
        node: &mut Node,
        (now, anew): (Instant, bool),
        (claim, flow): (Claimed, Flow),
        known: Known,
    ) -> Result<Option<Owner>, Full> {
        let Some(mark) = self.mark(&flow) else { return Ok(None) };
        match known {
            Known::Held(slot, before) => self.take_out(before.owner, slot),
            _ => self.let_go(node, &flow.key(), known),
        }
        let gave = match known {
            Known::Held(..) => None,
            _ => self.make_room(node, claim.owner).inspect_err(|Full| {
                node.counters.remote.create_no_space += 1;
            })?,
        };
        let slot = node.remote.hold(&mut node.counters.remote, flow, (now, anew))?;
        let at = slot as usize;
        if self.held.len() <= at {
            self.held.resize(at + 1, None);
        }
        self.held[at] = Some(Held { claim, mark, released: false });
        self.digests[usize::from(claim.owner.0)].add(mark.id, mark.print);
        Ok(gave)
    }

    /// How many more flows of a peer may be held: what is free, and what others have beyond their shares as long as
    /// this one has less than its own (`RemoteLimit`).
    #[must_use]
    pub fn room_for(&self, node: &Node, owner: Owner) -> usize {
        let (len, most) = node.remote.room();
        let share = self.share(most);
        let lent: usize = self.others(owner).map(|(_, rows)| rows.saturating_sub(share)).sum();
        let lacks = share.saturating_sub(self.digest(owner).rows() as usize);
        let free = most.saturating_sub(len);
        free.max(lacks.min(free + lent))
    }

    /// The flows that each peer is sure of.
    fn share(&self, most: usize) -> usize {
        most / self.digests.len().saturating_sub(1).max(1)
    }

    /// Peers but one, and how many flows of each are held.
    fn others(&self, owner: Owner) -> impl Iterator<Item = (Owner, usize)> {
        let all = self.digests.iter().enumerate();
        let all = all.map(|(at, digest)| (Owner(at as u8), digest.rows() as usize));
        all.filter(move |(other, _)| *other != self.me && *other != owner)
    }

    /// Makes room for one more flow of a peer. Returns whose flow went for it, if one did: an owner with most beyond
    /// its share gives way to one with less.
    fn make_room(&mut self, node: &mut Node, owner: Owner) -> Result<Option<Owner>, Full> {
        let (len, most) = node.remote.room();
        if len < most {
            return Ok(None);
        }
        let share = self.share(most);
        let from = self.others(owner).max_by_key(|(_, rows)| *rows);
        let from = from.filter(|(_, rows)| *rows > share).map(|(other, _)| other);
        let lacks = (self.digest(owner).rows() as usize) < share;
        let from = from.filter(|_| lacks).ok_or(Full)?;
        let is_its =
            |held: &Option<Held>| held.as_ref().is_some_and(|held| held.claim.owner == from);
        let behind = self.held.get(self.gave..).unwrap_or_default();
        let slot = behind.iter().position(is_its).map(|at| at + self.gave);
        let slot = slot.or_else(|| self.held.iter().position(is_its)).ok_or(Full)?;
        self.gave = slot + 1;
        self.take_out(from, slot as Slot);
        node.remote.release(&mut node.counters.remote, slot as Slot);
        Ok(Some(from))
    }

    /// A peer's claim that a flow is over is taken; `known` is what was claimed before. The oldest end gives way.
    pub fn hold_end(&mut self, node: &mut Node, key: &FlowKey, claim: Claimed, known: Known) {
        self.let_go(node, key, known);
        if let Some((oldest, version)) = self.graves.displace((*key, claim.version))
            && self.held_ends.get(&oldest).is_some_and(|end| end.claim.version == version)
        {
            self.held_ends.remove(&oldest);
        }
        let id = self.key.id(key);
        self.held_ends.insert(*key, HeldEnd { claim, id });
    }

    /// How many ends of peers' claims are remembered.
    #[must_use]
    pub fn ends(&self) -> QueueUsage {
        self.graves.usage()
    }

    /// Drops the claim of an identity, and sends nothing.
    pub fn let_go(&mut self, node: &mut Node, key: &FlowKey, known: Known) {
        match known {
            Known::Nothing => {}
            Known::Own(slot, _) => {
                self.ledger.drop_flow(slot);
                self.joined.remove(&slot);
                let mark = self.marks[slot as usize];
                self.digests[usize::from(self.me.0)].remove(mark.id, mark.print);
            }
            Known::OwnEnd(place, _) => {
                self.ledger.drop_end(place);
                self.own_ends.remove(key);
            }
            Known::Held(slot, claim) => {
                self.take_out(claim.owner, slot);
                node.remote.release(&mut node.counters.remote, slot);
            }
            Known::HeldEnd(_) => {
                self.held_ends.remove(key);
            }
        }
    }

    fn take_out(&mut self, owner: Owner, slot: Slot) {
        if let Some(Held { mark, released: false, .. }) = self.held[slot as usize].take() {
            self.digests[usize::from(owner.0)].remove(mark.id, mark.print);
        }
    }

    /// Drops all of this node's claims, and sends nothing: its kernel's table is read again.
    pub fn forget_own(&mut self) {
        let flows: Vec<_> = self.ledger.iter().map(|(item, _)| item).collect();
        for item in flows {
            if let Item::Flow(slot) = item {
                self.ledger.drop_flow(slot);
            }
        }
        self.marks.clear();
        self.joined.clear();
        self.forget_own_expects();
        let own = &mut self.digests[usize::from(self.me.0)];
        *own = Digest::new(own.bits());
    }

    /// Nothing of the peers is known any more.
    pub fn forget_held(&mut self) {
        self.held.clear();
        self.held_ends.clear();
        self.graves.clear();
        self.forget_held_expects();
        for (owner, digest) in self.digests.iter_mut().enumerate() {
            if owner != usize::from(self.me.0) {
                *digest = Digest::new(digest.bits());
            }
        }
    }

    /// The id of a flow, and the low 4 bytes of its print; `None`: it cannot be sent.
    #[must_use]
    pub fn id_and_print(&self, flow: &Flow) -> Option<(FlowId, u32)> {
        self.mark(flow).map(|mark| (mark.id, mark.print as u32))
    }

    fn mark(&self, flow: &Flow) -> Option<Mark> {
        let canonical = Canonical::of(flow)?;
        let id = self.key.id(&canonical.key);
        Some(Mark { id, print: self.key.print(id, &canonical) })
    }
}
