//! Holds back flows that are too young to be reported, where no program in the kernel does. It lets pass what the
//! program would let pass (`ebpf/src/filter.rs`).

use common::filter::Subject;
use common::{Instant, event};
use ctnetlink::Change;
use ctnetlink::FlowKey;
use std::collections::HashMap;
use std::time::Duration;

/// Remembers when flows began, until they are old enough.
#[derive(Debug, Default)]
pub(super) struct Nursery {
    age_ns: u64,
    young: HashMap<FlowKey, Instant>,
    next_look: Instant,
}

/// How long after a look at all young flows the next one is due: looking costs something for each.
pub(super) const fn pause(age_ns: u64) -> Duration {
    Duration::from_nanos(age_ns / 4)
}

impl Nursery {
    /// Sets the minimum age of reported flows, from here on.
    pub(super) fn set(&mut self, age_ns: u64) {
        self.age_ns = age_ns;
        if age_ns == 0 {
            self.young = HashMap::new();
        }
    }

    /// Whether to hand out a message that comes at `now`.
    pub(super) fn passes(&mut self, message: &[u8], now: Instant) -> bool {
        if self.age_ns == 0 {
            return true;
        }
        let mut subject = Subject::NOTHING;
        let Some(kind) = event::read(message, true, &mut subject) else { return true };
        match kind {
            Change::New => {
                self.young.insert(subject.key, now);
                false
            }
            Change::Update => {
                let since = self.young.get(&subject.key);
                let young = since.is_some_and(|since| !self.is_ripe(*since, now));
                if !young {
                    self.young.remove(&subject.key);
                }
                !young
            }
            Change::Destroy => {
                self.young.remove(&subject.key);
                true
            }
        }
    }

    /// Hands out the flows that have become old enough by `now`, and forgets that they were young.
    pub(super) fn ripe(&mut self, now: Instant, sink: &mut impl FnMut(FlowKey)) {
        let Self { age_ns, young, next_look } = self;
        if *age_ns == 0 || now < *next_look {
            return;
        }
        *next_look = now + pause(*age_ns);
        young.retain(|key, since| {
            let young = now.0.saturating_sub(since.0) < *age_ns;
            if !young {
                sink(*key);
            }
            young
        });
    }

    const fn is_ripe(&self, since: Instant, now: Instant) -> bool {
        now.0.saturating_sub(since.0) >= self.age_ns
    }
}
