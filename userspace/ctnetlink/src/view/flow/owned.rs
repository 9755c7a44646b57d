//! From a view to the owned value.

use super::{FlowView, label_words};
use crate::flow::{Extra, Flow, Known, Synproxy};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// How much of an event goes into a [`Flow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Detail {
    /// The state of the flow. Most flows need no allocation.
    State,
    /// Also the fields that describe one moment: counters, timestamps, reference count. They take an allocation.
    Full,
}

impl FlowView<'_> {
    /// The flow as an owned value.
    #[must_use]
    pub fn to_flow(&self, detail: Detail) -> Flow {
        let mut known = Known::empty();
        known.set(Known::STATUS, self.status.is_some());
        known.set(Known::TIMEOUT, self.timeout_s.is_some());
        known.set(Known::MARK, self.mark.is_some());
        known.set(Known::ID, self.id.is_some());
        known.set(Known::ZONE, self.zone.is_some());
        known.set(Known::SYNPROXY, self.synproxy.is_some());
        Flow {
            orig: self.orig,
            reply: self.reply,
            zone: self.identity_zone(),
            known,
            status: self.status.unwrap_or_default(),
            timeout_s: self.timeout_s.unwrap_or(0),
            mark: self.mark.unwrap_or(0),
            id: self.id.unwrap_or(0),
            proto: self.proto,
            extra: self.extra(detail),
        }
    }

    fn extra(&self, detail: Detail) -> Option<Arc<Extra>> {
        let volatile = detail == Detail::Full && self.has_volatile();
        if !volatile && !self.has_rare() {
            return None;
        }
        let mut extra = Extra {
            master: self.master,
            helper: self.helper,
            labels: self.labels.map(|labels| label_words(labels).collect()),
            seq_adj: self.has_seq_adj().then(|| self.seq_adj.map(Option::unwrap_or_default)),
            synproxy: self.synproxy_set(),
            zones: self.zones,
            secmark: self.secmark,
            secctx: self.secctx.map(Vec::from),
            ..Extra::default()
        };
        if volatile {
            extra.counters = self.counters;
            extra.timestamps = self.timestamps;
            extra.event_ns = self.event_ns;
            extra.use_count = self.use_count;
        }
        Some(Arc::new(extra))
    }

    fn has_rare(&self) -> bool {
        self.master.is_some()
            || self.helper.is_some()
            || self.labels.is_some()
            || self.has_seq_adj()
            || self.synproxy_set().is_some()
            || self.zones != [None; 2]
            || self.secmark.is_some()
            || self.secctx.is_some()
    }

    fn has_volatile(&self) -> bool {
        self.counters != [None; 2]
            || self.timestamps.is_some()
            || self.event_ns.is_some()
            || self.use_count.is_some()
    }

    fn has_seq_adj(&self) -> bool {
        self.seq_adj != [None; 2]
    }

    /// The kernel sends zeros for every flow made through netlink (seen on 6.18): the request reserves the room.
    fn synproxy_set(&self) -> Option<Synproxy> {
        self.synproxy.filter(|given| *given != Synproxy::default())
    }
}
