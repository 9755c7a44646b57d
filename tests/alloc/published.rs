//! Published state: reading it wakes no thread, and it lacks nothing that an answer contained before.

use super::{ALONE, threads};
use engine::query::{Expr, Program};
use engine::{Command, Side};
use host::fleet::{self, Handle, Threads};
use host::log::{Form, Log, Places};
use host::purge::PurgeSubject;
use host::shard::{Order, Place, Query, Snapshot, Want};
use std::sync::{Arc, PoisonError};
use std::time::Instant;
use tests::ctnetlink::{Requests, udp_flows};
use tests::netns::Namespace;
use tests::wait::wait_until;
use tokio::sync::oneshot;

/// Runs `test` beside the threads of so many shards.
fn beside(shards: usize, test: impl AsyncFnOnce(&Namespace, &Handle) + Send) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let node = Namespace::new();
    node.within(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let log = Arc::new(Log::open(Form::Daemon, &Places::default()).expect("a log"));
        let threads = fleet::start(threads(shards, &Arc::default()), &log).expect("threads start");
        let handle = threads.handle();
        wait_until("the table is read", || handle.is_filled() == Some(true));
        runtime.block_on(async { test(&node, &handle).await });
        let is_sound = |threads: Threads| threads.stop().is_sound;
        runtime.block_on(async { assert!(is_sound(threads)) });
        assert!(handle.published().is_none(), "there are no threads any more whose state it is");
    });
}

fn published(handle: &Handle) -> Snapshot {
    handle.published().expect("the shards run")
}

async fn answer<T>(handle: &Handle, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> T {
    let (reply, answer) = oneshot::channel();
    handle.order(order(reply));
    answer.await.expect("the shard answers")
}

#[test]
fn reading_what_is_published_wakes_nobody() {
    for shards in [1, 3] {
        beside(shards, async |_, handle| {
            let (began, before) = (Instant::now(), handle.turns());
            (0..10_000).for_each(|_| drop(published(handle)));
            // One that sleeps turns ten times a second; it may have had something to do when this began.
            let ten = began.elapsed().as_millis() as u64 / 100;
            let (turns, most) = (handle.turns() - before, shards as u64 * (ten + 20));
            assert!(turns <= most, "{shards} shards: {turns} turns, of {most}");
        });
    }
}

#[test]
fn what_was_answered_is_in_what_is_published_next() {
    beside(1, async |node, handle| {
        let mut requests = Requests::open(node);
        let program = Arc::new(Program::new(&Expr::Everything).expect("a filter"));
        for round in 1..=50 {
            requests.create(&udp_flows((round - 1) * 100..round * 100));
            let from = Place::default();
            let (side, want) = (Side::Local, Want::Count);
            let query = |reply| {
                Order::Query(Query { side, program: Arc::clone(&program), from, want, reply })
            };
            let found = answer(handle, query).await.matched as usize;
            assert!(published(handle).flows[Side::Local as usize] >= found, "round {round}");
            let resyncs = published(handle).counters.resyncs;
            let command = |reply| Order::Command(Command::ResyncKernel, reply);
            answer(handle, command).await.expect("the table is read");
            assert!(published(handle).counters.resyncs > resyncs, "round {round}");
        }
        for round in 1..=20 {
            let purge = |reply| Order::Purge(vec![PurgeSubject::Expectations], reply);
            answer(handle, purge).await.expect("it is done");
            let now = published(handle);
            assert_eq!((now.purges, now.purging), (round, false));
        }
        let flush = |reply| Order::Command(Command::Flush { local: true, remote: true }, reply);
        answer(handle, flush).await.expect("it is done");
        assert_eq!(published(handle).flows, [0, 0]);
    });
}
