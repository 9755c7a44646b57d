//! Counts the local table by zone, protocol and state now and then, for metrics.

use super::serve::{Counted, SharedHandle};
use engine::census::Census;
use engine::query::{Expr, Program};
use host::shard::{Order, Place, Query, TableState, Want};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// A task that counts. It ends with this, and what it counted is forgotten.
#[derive(Debug)]
pub struct Counter {
    task: AbortHandle,
    counted: Counted,
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.task.abort();
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Counter {
    /// Counts every so often. Must be called inside a tokio runtime.
    #[must_use]
    pub fn start(engine: SharedHandle, every: Duration, counted: &Counted) -> Self {
        let into = Arc::clone(counted);
        let task = tokio::spawn(async move {
            let mut interval = interval(every);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                interval.tick().await;
                if let Some(census) = count(&engine).await {
                    let kept = (Instant::now(), Arc::new(census));
                    *into.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
                }
            }
        });
        Self { task: task.abort_handle(), counted: Arc::clone(counted) }
    }
}

/// One count over all shards; `None` where there is no table, while it is read for the first time, and where the engine
/// is started anew meanwhile.
async fn count(engine: &SharedHandle) -> Option<Census> {
    let program = Arc::new(Program::new(&Expr::Everything).ok()?);
    let (mut all, mut from) = (Census::default(), Some(Place::default()));
    while let Some(place) = from {
        let (reply, answer) = oneshot::channel();
        let query = Query { program: Arc::clone(&program), from: place, want: Want::Census, reply };
        // The lock is not held while the engine works: a reload need not wait for a count.
        engine.read().await.order(Order::Query(query));
        let answer = answer.await.ok()?;
        if matches!(answer.trust?.state, TableState::Loading { .. }) {
            return None;
        }
        all.join(*answer.census?);
        from = answer.next;
    }
    Some(all)
}
