//! Rows of parts of a table, by the ids of their flows: what comparisons list, and what they ask for (R11.5).
//!
//! Each of these walks a column or a map once, whatever the number of leaves or ids: comparisons are rare, and one walk
//! over a million rows takes some milliseconds.

use super::{Claimed, Claims, Known, Mark};
use crate::config::Owner;
use crate::node::Node;
use crate::peer::v2::digest::Held;
use crate::peer::v2::ledger::Item;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use ctnetlink::{Flow, FlowKey};
use wire::sync::v2::digest::{FlowId, IdRow};

impl Claims {
    /// Every row of this node's in these leaves, ends included, each leaf in the order of ids.
    #[must_use]
    pub fn list(&self, leaves: impl Iterator<Item = u16>) -> Vec<(u16, Vec<IdRow>)> {
        let mut rows: BTreeMap<u16, Vec<IdRow>> = leaves.map(|leaf| (leaf, Vec::new())).collect();
        for (item, _) in self.ledger.iter() {
            let row = match item {
                Item::Flow(slot) => {
                    let mark = self.marks[slot as usize];
                    IdRow { id: mark.id, print: mark.print as u32 }
                }
                Item::End(place) => {
                    let Some((_, key)) = self.ledger.ended(place) else { continue };
                    IdRow { id: self.key.id(&key), print: 0 }
                }
                // What is not listed is over.
                Item::Expect(place) => {
                    let Some(row) = self.expects.row_at(place) else { continue };
                    row
                }
            };
            if let Some(leaf) = rows.get_mut(&row.id.leaf()) {
                leaf.push(row);
            }
        }
        rows.values_mut().for_each(|rows| rows.sort_unstable());
        rows.into_iter().collect()
    }

    /// The rows held of an owner in these leaves, each leaf in the order of ids. Rows from an earlier run than
    /// `incarnation` are older than any.
    #[must_use]
    pub fn held_in(
        &self,
        (owner, incarnation): (Owner, u32),
        leaves: impl Iterator<Item = u16>,
    ) -> BTreeMap<u16, Vec<Held>> {
        let mut rows: BTreeMap<u16, Vec<Held>> = leaves.map(|leaf| (leaf, Vec::new())).collect();
        let mut put = |claim: &Claimed, id: FlowId, print| {
            if claim.owner == owner
                && let Some(leaf) = rows.get_mut(&id.leaf())
            {
                let this_run = claim.incarnation == incarnation;
                leaf.push(Held { id, print, version: if this_run { claim.version } else { 0 } });
            }
        };
        let living = self.held.iter().flatten().filter(|held| !held.released);
        living.for_each(|held| put(&held.claim, held.mark.id, held.mark.print as u32));
        self.held_ends.values().for_each(|end| put(&end.claim, end.id, 0));
        for held in self.expects_held_of((owner, incarnation)) {
            rows.get_mut(&held.id.leaf()).into_iter().for_each(|leaf| leaf.push(held));
        }
        rows.values_mut().for_each(|rows| rows.sort_unstable_by_key(|held| held.id));
        rows
    }

    /// What is held of an owner's flows with these ids, each with the low 4 bytes of its print.
    pub fn held_flows(
        &self,
        node: &Node,
        owner: Owner,
        matches: impl Fn(FlowId) -> bool,
    ) -> BTreeMap<FlowId, (u32, Flow)> {
        let slots = self.held.iter().enumerate();
        let meant = slots.filter_map(|(slot, held)| {
            let held = held.as_ref().filter(|held| held.claim.owner == owner && !held.released)?;
            let Mark { id, print } = held.mark;
            let flow = matches(id).then(|| node.remote.table().at(slot as u32))??.flow();
            Some((id, (print as u32, flow)))
        });
        meant.collect()
    }

    /// Forgets flows and ends of an owner with these ids, which are in order. How many flows went.
    pub fn drop_held(&mut self, node: &mut Node, owner: Owner, ids: &[FlowId]) -> u64 {
        let matches = |id: &FlowId| ids.binary_search(id).is_ok();
        let mut keys: Vec<FlowKey> = Vec::new();
        for (slot, held) in self.held.iter().enumerate() {
            if let Some(held) = held
                && held.claim.owner == owner
                && !held.released
                && matches(&held.mark.id)
                && let Some(key) = node.remote.key_at(slot as u32)
            {
                keys.push(key);
            }
        }
        for key in &keys {
            let known = self.known(node, key);
            if matches!(known, Known::Held(..)) {
                self.let_go(node, key, known);
            }
        }
        self.held_ends.retain(|_, end| end.claim.owner != owner || !matches(&end.id));
        keys.len() as u64
    }

    /// Where in the ledger the flows and ends with these ids are, which are in order.
    #[must_use]
    pub fn find_own(&self, ids: &[FlowId]) -> Vec<Item> {
        let matches = |item: &Item| {
            let id = match *item {
                Item::Flow(slot) => self.marks.get(slot as usize).map(|mark| mark.id),
                Item::End(place) => self.ledger.ended(place).map(|(_, key)| self.key.id(&key)),
                Item::Expect(place) => self.expects.id_at(place),
            };
            id.is_some_and(|id| ids.binary_search(&id).is_ok())
        };
        self.ledger.iter().map(|(item, _)| item).filter(matches).collect()
    }
}
