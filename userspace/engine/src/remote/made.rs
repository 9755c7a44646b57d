//! Entries of a hot node's kernel that only an injection made.
//!
//! ```text
//!   Create succeeded --> made, id not known --event NEW of ours: id--> made
//!   news of traffic with that id --> this node's own     with another id, or none yet --> the kernel is asked
//!   DESTROY with that id, or the kernel has none --> gone
//! ```
//!
//! Events are late, and may overtake each other. So the id decides whether one is about the entry that was made, about
//! an earlier one, or about one that traffic has begun since.

use crate::bounded::{Bounded, QueueUsage};
use alloc::vec::Vec;
use ctnetlink::FlowKey;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// The longest time that an injected flow is given, seconds (R13.3).
pub const LIFE_MAX_S: u32 = 600;
/// Most entries whose claim is gone that are looked at again. Beyond, the oldest is left to the kernel.
const ORPHANS_MAX: usize = 65_536;

/// What is known of an entry that an injection made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Made {
    /// Its id in the kernel, once that is known.
    id: Option<u32>,
    /// The id of the one that was made before it. Events about that one may still be on their way.
    before: Option<u32>,
    /// Traffic has changed, or begun, an entry with this id, which may be another one.
    touched: Option<u32>,
    /// When it was given time, seconds.
    written_s: u32,
    /// Another flow of that identity will take its place.
    outdated: bool,
    /// The reading that is under way has shown it.
    shown: bool,
}

/// The entries that injections made.
#[derive(Debug)]
pub struct MadeFlows {
    made: HashMap<FlowKey, Made, FixedState>,
    /// Entries whose claim is gone, and when their time is over, seconds.
    orphans: Bounded<(FlowKey, u32)>,
}

impl MadeFlows {
    /// Makes an empty record.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            made: HashMap::with_hasher(FixedState::with_seed(seed)),
            orphans: Bounded::new(ORPHANS_MAX),
        }
    }

    /// Whether an injection made the entry, and no traffic has touched it since.
    #[must_use]
    pub fn contains(&self, key: &FlowKey) -> bool {
        self.made.contains_key(key)
    }

    /// The kernel created an entry on request. Its id comes with the event.
    pub fn on_created(&mut self, key: &FlowKey, now_s: u32) {
        let before = self.made.get(key).and_then(|made| made.id.or(made.before));
        self.made.insert(*key, Made { before, written_s: now_s, ..Made::default() });
    }

    /// The event of that.
    pub fn on_created_event(&mut self, key: &FlowKey, id: Option<u32>, now_s: u32) {
        let fresh = Made { written_s: now_s, ..Made::default() };
        let made = self.made.entry(*key).or_insert(fresh);
        if id.is_none() || id != made.before {
            made.id = id;
        }
    }

    /// The entry was given time.
    pub fn on_written(&mut self, key: &FlowKey, now_s: u32) {
        if let Some(made) = self.made.get_mut(key) {
            made.written_s = now_s;
        }
    }

    /// When the entry was given time, seconds.
    #[must_use]
    pub fn written_s(&self, key: &FlowKey) -> Option<u32> {
        self.made.get(key).map(|made| made.written_s)
    }

    /// The id of the entry, if it is known.
    #[must_use]
    pub fn id(&self, key: &FlowKey) -> Option<u32> {
        self.made.get(key).and_then(|made| made.id)
    }

    /// Another flow will take its place once its id is known.
    pub fn outdate(&mut self, key: &FlowKey) {
        if let Some(made) = self.made.get_mut(key) {
            made.outdated = true;
        }
    }

    /// Whether another flow will take its place.
    #[must_use]
    pub fn is_outdated(&self, key: &FlowKey) -> bool {
        self.made.get(key).is_some_and(|made| made.outdated)
    }

    /// Whether an event with this id is about the entry. An event without an id is.
    #[must_use]
    pub fn matches(&self, key: &FlowKey, id: Option<u32>) -> bool {
        self.made.get(key).is_some_and(|made| id.is_none() || made.id == id)
    }

    /// Traffic changed, or began, an entry of that identity of which this is not known to be the one that was made.
    pub fn on_touched(&mut self, key: &FlowKey, id: Option<u32>) {
        if let Some(made) = self.made.get_mut(key) {
            made.touched = id;
        }
    }

    /// Whether an event reported traffic of the entry with this id.
    #[must_use]
    pub fn is_touched(&self, key: &FlowKey, id: Option<u32>) -> bool {
        id.is_some() && self.made.get(key).is_some_and(|made| made.touched == id)
    }

    /// A reading shows an entry with this id: whether it may be the one that was made. It may have been read before
    /// that.
    #[must_use]
    pub fn may_be(&self, key: &FlowKey, id: Option<u32>) -> bool {
        self.made
            .get(key)
            .is_some_and(|made| id.is_none() || made.id.is_none_or(|known| Some(known) == id))
    }

    /// A reading shows the entry. Its id, if it is known.
    pub fn on_read(&mut self, key: &FlowKey) -> Option<u32> {
        let made = self.made.get_mut(key)?;
        made.shown = true;
        made.id
    }

    /// A reading is over that began at second `began_s`: what it did not show and was there before.
    pub fn hidden(&mut self, began_s: u32) -> Vec<FlowKey> {
        let mut hidden = Vec::new();
        for (key, made) in &mut self.made {
            if !core::mem::take(&mut made.shown) && made.written_s <= began_s {
                hidden.push(*key);
            }
        }
        // In an order that the table's does not decide, or the same seed would not be the same run.
        hidden.sort_unstable();
        hidden
    }

    /// The kernel answers with an entry that has this id: whether it is the one that was made. Then its id is known
    /// from here on.
    pub fn on_shown(&mut self, key: &FlowKey, id: Option<u32>) -> bool {
        let Some(made) = self.made.get_mut(key) else { return false };
        let meant = id.is_none() || made.id.is_none_or(|_| made.id == id) && made.touched != id;
        if meant && id.is_some() {
            made.id = id;
        }
        meant
    }

    /// The entry is gone, or is this node's own from here on. Whether there was one.
    pub fn remove(&mut self, key: &FlowKey) -> bool {
        self.made.remove(key).is_some()
    }

    /// No peer claims the entry any more. It goes by itself, or traffic keeps it.
    pub fn on_orphaned(&mut self, key: &FlowKey) {
        let Some(made) = self.made.get(key) else { return };
        self.orphans.displace((*key, made.written_s.saturating_add(LIFE_MAX_S)));
    }

    /// How many entries without a claim wait for the end of their time.
    #[must_use]
    pub fn orphans(&self) -> QueueUsage {
        self.orphans.usage()
    }

    /// The next entry that lost its claim and whose time is over.
    pub fn orphan_due(&mut self, now_s: u32) -> Option<FlowKey> {
        self.orphans.pop_if(|(_, due_s)| *due_s <= now_s).map(|(key, _)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctnetlink::Tuple;

    fn key() -> FlowKey {
        FlowKey::new(Tuple::v4([1; 4], [2; 4], 6).with_ports(1, 80), 0)
    }

    #[test]
    fn the_id_tells_the_entry_that_was_made_from_others() {
        let mut flows = MadeFlows::new(0);
        flows.on_created(&key(), 1);
        assert!(!flows.matches(&key(), Some(7)), "an earlier one, for all that is known");
        flows.on_created_event(&key(), Some(7), 1);
        assert!(flows.matches(&key(), Some(7)) && !flows.matches(&key(), Some(6)));
        assert!(flows.on_shown(&key(), Some(7)) && !flows.on_shown(&key(), Some(8)));
    }

    #[test]
    fn what_the_kernel_shows_is_the_entry_unless_traffic_was_heard_of_it() {
        let mut flows = MadeFlows::new(0);
        flows.on_created(&key(), 1);
        flows.on_touched(&key(), Some(9));
        assert!(!flows.on_shown(&key(), Some(9)), "traffic began it");
        assert!(flows.on_shown(&key(), Some(7)));
        assert_eq!(flows.id(&key()), Some(7));
    }

    #[test]
    fn an_entry_without_a_claim_is_looked_at_when_its_time_is_over() {
        let mut flows = MadeFlows::new(0);
        flows.on_created(&key(), 10);
        flows.on_orphaned(&key());
        assert_eq!(flows.orphan_due(609), None);
        assert_eq!(flows.orphan_due(610), Some(key()));
        assert_eq!(flows.orphan_due(610), None);
    }
}
