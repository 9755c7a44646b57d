//! What changes while a shard runs, and what a filter that asks for age lets in later.

use super::Shard;
use crate::source::SourceError;
use crate::tuning::Change;
use common::Instant;
use engine::{Input, Reconfigure};

impl Shard {
    /// Changes settings. While the filter changes, the kernel lets everything pass, and user space decides.
    pub(super) fn reconfigure(&mut self, now: Instant, change: Change) -> Result<(), String> {
        let Change { tuning, filter, commit_timeout_s, repair_after, peers } = change;
        let mut rates = None;
        if let (Some(renewal), Some(nodes)) = (peers, &mut self.nodes) {
            nodes.renew(&mut self.engine, now, renewal.members);
            rates = Some(renewal.rates);
        }
        let rescheduled = tuning.reschedules(&self.tuning);
        self.tuning = tuning;
        if rescheduled {
            self.tuning.schedule("engine", &self.log);
        }
        let settings = |filter| {
            Input::Reconfigure(Reconfigure { filter, commit_timeout_s, repair_after, rates })
        };
        let Some((filter, in_kernel)) = filter else {
            self.engine.handle(now, settings(None));
            return Ok(());
        };
        let explained = |e: SourceError| format!("the filter in the kernel: {e}");
        self.source.open_filter().map_err(explained)?;
        self.engine.handle(now, settings(Some(Box::new(filter))));
        let outcome = self.source.set_filter(&in_kernel).map_err(explained);
        if self.engine.config().replication.keep_local {
            self.read_kernel(now);
        }
        outcome
    }

    /// Lets in the flows that have grown old enough since they began: the kernel is asked how they are.
    pub(super) fn take_grown(&mut self, now: Instant) {
        let Self { source, engine, .. } = self;
        let outcome = source.ripe(now, &mut |key| engine.handle(now, Input::Noticed(key)));
        if let Err(error) = outcome {
            self.log.warning(format!("flows that grew old enough cannot be read: {error}"));
        }
    }
}
