//! Emptying the kernel's tables, at once (`-F`) or later (`-t`).

use super::{Service, tell};
use anyhow::Result;
use engine::Command;
use host::control::Client;
use host::fleet::Handle;
use host::purge::PurgeSubject;
use host::shard::{CommandOutcome, Order};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

impl Service {
    /// Empties them at once; the client waits until it is done.
    pub(super) async fn purge(&self, client: &mut Client, subjects: &[PurgeSubject]) -> Result<()> {
        let flows = subjects.contains(&PurgeSubject::Flows);
        if flows {
            self.log.notice("flushing kernel conntrack table");
        }
        if subjects.contains(&PurgeSubject::Expectations) {
            self.log.notice("flushing kernel expect table");
        }
        let engine = self.engine.read().await;
        if flows {
            // Peers of version 2 keep what this node claims: its end here is not the flows' end.
            order(&engine, Command::Release);
        }
        tell(client, order_purge(&engine, subjects)).await
    }

    /// Plans a purge after the time that the configuration names, unless one is planned.
    pub(super) fn purge_later(self: &Arc<Self>) {
        let mut scheduled = self.scheduled.lock().unwrap_or_else(PoisonError::into_inner);
        if scheduled.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let after = Duration::from_secs(self.facts().purge_after_s);
        self.log.notice(format!("flushing conntrack table in {} secs", after.as_secs()));
        let service = Arc::clone(self);
        let task = tokio::spawn(async move {
            order(&*service.engine.read().await, Command::StandBy);
            tokio::time::sleep(after).await;
            service.log.notice("flushing kernel conntrack table (scheduled)");
            let engine = service.engine.read().await;
            // The peers learn that the flows have no owner, before this node forgets them.
            order(&engine, Command::Release);
            order(&engine, Command::Flush { local: true, remote: false });
            // From here on it cannot be cancelled: the engine does it whether or not this task
            // waits for the end.
            let done = order_purge(&engine, &[PurgeSubject::Flows, PurgeSubject::Expectations]);
            let _ = done.await;
        });
        *scheduled = Some(task.abort_handle());
    }

    /// Cancels the planned purge.
    pub(super) fn cancel_purge(&self) {
        let mut scheduled = self.scheduled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = scheduled.take() {
            task.abort();
        }
    }
}

fn order_purge(engine: &Handle, subjects: &[PurgeSubject]) -> oneshot::Receiver<CommandOutcome> {
    let (reply, outcome) = oneshot::channel();
    engine.order(Order::Purge(subjects.to_vec(), reply));
    outcome
}

/// Orders a command without waiting for its end.
fn order(engine: &Handle, command: Command) {
    let (reply, _) = oneshot::channel();
    engine.order(Order::Command(command, reply));
}
