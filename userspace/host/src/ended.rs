//! Flows that have ended, each handed out once.

use ctnetlink::{Flow, FlowKey};
use engine::{Engine, Side};
use std::collections::{HashSet, VecDeque};
use std::fmt;

/// Ended flows remembered, so that an end that is reported twice is handed out once.
const REMEMBERED: usize = 8192;

/// Takes ended flows.
pub type Sink = Box<dyn FnMut(&Flow) + Send>;

/// One life of a flow: its key, the kernel's id, and when it began, where the kernel tells.
type Life = (FlowKey, u32, u64);

/// Hands flows that have ended to a sink.
///
/// A flow of the local table is handed out when it ends. One that is not, because it was flushed, found no room or
/// began before its events were heard, too, if the filter lets it pass. The kernel may report an end more than once, to
/// listeners it is to be reliable for.
pub struct Ended {
    sink: Sink,
    told: HashSet<Life>,
    order: VecDeque<Life>,
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ended").field("told", &self.order.len()).finish_non_exhaustive()
    }
}

impl Ended {
    /// Hands flows to `sink`.
    #[must_use]
    pub fn new(sink: Sink) -> Self {
        Self { sink, told: HashSet::new(), order: VecDeque::new() }
    }

    /// Takes the kernel's report of an end, before the engine does.
    pub fn on_destroy(&mut self, engine: &Engine, flow: &Flow) {
        let table = engine.table(Side::Local);
        let entry = table.find(&flow.key()).and_then(|slot| table.at(slot));
        let known = entry.is_some_and(|entry| !entry.has_ended());
        let filter = &engine.config().filter;
        // Of one that the table does not hold, nobody knows whether it grew old enough to count.
        if !known && (filter.asks_for_age() || !filter.passes(flow)) {
            return;
        }
        if self.remember(flow) || known {
            (self.sink)(flow);
        }
    }

    /// Takes a flow whose end was not reported.
    pub fn on_vanished(&mut self, flow: &Flow) {
        if self.remember(flow) {
            (self.sink)(flow);
        }
    }

    /// Whether this life is new.
    fn remember(&mut self, flow: &Flow) -> bool {
        let times = flow.extra.as_deref().and_then(|extra| extra.timestamps.as_ref());
        let life = (flow.key(), flow.id, times.map_or(0, |times| times.start_ns));
        if !self.told.insert(life) {
            return false;
        }
        self.order.push_back(life);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.told.remove(&oldest);
        }
        true
    }
}
