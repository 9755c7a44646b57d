//! Counts the local table by zone, protocol and state, and by class, now and then, for metrics.

use super::serve::{Counted, SharedHandle};
use crate::print::stats::Taken;
use engine::Side;
use engine::query::{Expr, Program};
use host::shard::{Order, Place, Query, QueryAnswer, TableState, Want};
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

/// Names of classes and their filters.
pub type Classes = Vec<(String, Arc<Program>)>;

impl Counter {
    /// Counts every so often. Must be called inside a tokio runtime.
    #[must_use]
    pub fn start(
        engine: SharedHandle,
        (every, classes): (Duration, Classes),
        counted: &Counted,
    ) -> Self {
        let into = Arc::clone(counted);
        let task = tokio::spawn(async move {
            let mut interval = interval(every);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                interval.tick().await;
                if let Some(taken) = count(&engine, &classes).await {
                    let kept = (Instant::now(), Arc::new(taken));
                    *into.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
                }
            }
        });
        Self { task: task.abort_handle(), counted: Arc::clone(counted) }
    }
}

/// One count over all shards; `None` where there is no table, during its first reading, and during a restart of the
/// engine. Each class is a walk of its own, in slices as any query.
async fn count(engine: &SharedHandle, classes: &Classes) -> Option<Taken> {
    let everything = Arc::new(Program::new(&Expr::Everything).ok()?);
    let mut taken = Taken::default();
    let answers = walk(engine, &everything, Want::Census).await?;
    answers.into_iter().filter_map(|answer| answer.census).for_each(|c| taken.census.join(*c));
    for (name, program) in classes {
        let answers = walk(engine, program, Want::Count).await?;
        let flows = answers.iter().map(|answer| answer.matched).sum();
        taken.classes.push((name.clone(), flows));
    }
    Some(taken)
}

/// The answers of all shards.
async fn walk(
    engine: &SharedHandle,
    program: &Arc<Program>,
    want: Want,
) -> Option<Vec<QueryAnswer>> {
    let (mut answers, mut from) = (Vec::new(), Some(Place::default()));
    while let Some(place) = from {
        let (reply, answer) = oneshot::channel();
        let query =
            Query { side: Side::Local, program: Arc::clone(program), from: place, want, reply };
        // The lock is not held while the engine works: a reload need not wait for a count.
        engine.read().await.order(Order::Query(query));
        let answer = answer.await.ok()?;
        if matches!(answer.trust?.state, TableState::Loading { .. }) {
            return None;
        }
        from = answer.next;
        answers.push(answer);
    }
    Some(answers)
}
