//! The lanes from the shards: made when the first client wants the changes of a table, and again after a restart of
//! the engine.

use engine::{Journal, Side};
use host::fleet::Handle;
use host::lane::Reader;
use host::shard::{Order, Wish};
use rustix::fd::OwnedFd;
use std::io;
use std::rc::Rc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// The reader's end of a lane.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) reader: Reader,
    pub(super) shard: u16,
    pub(super) side: Side,
    /// The number of the last record that came out of it, or was lost in it.
    pub(super) seq: u64,
    counters: bool,
    waker: AbortHandle,
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.waker.abort();
    }
}

impl Lane {
    /// Has a shard write down the changes of a table from here on. If it cannot, the lane is closed.
    pub(super) fn open(
        engine: &Handle,
        (shard, side): (usize, Side),
        (seq, counters): (u64, bool),
        hub: &Rc<Notify>,
    ) -> io::Result<Self> {
        let (recorder, reader) = host::feed::recorder()?;
        let waker = wake(reader.descriptor().try_clone_to_owned()?, Rc::clone(hub))?;
        let journal = Journal::new(Box::new(recorder), seq, (counters, side == Side::Remote));
        let wish = Wish::Listen(Some(Box::new(journal)));
        engine.order(Order::Feed { shard, side, wish });
        Ok(Self { reader, shard: shard as u16, side, seq, counters, waker })
    }

    /// Says whether counters and times are wanted, if that is news.
    pub(super) fn want_counters(&mut self, engine: &Handle, wanted: bool) {
        if std::mem::replace(&mut self.counters, wanted) != wanted {
            let (shard, side) = (self.shard.into(), self.side);
            engine.order(Order::Feed { shard, side, wish: Wish::Counters(wanted) });
        }
    }

    /// Closes the lane: no client wants the changes any more.
    pub(super) fn close(&self, engine: &Handle) {
        let (shard, side) = (self.shard.into(), self.side);
        engine.order(Order::Feed { shard, side, wish: Wish::Listen(None) });
    }
}

/// Wakes the hub whenever a descriptor becomes readable.
fn wake(descriptor: OwnedFd, hub: Rc<Notify>) -> io::Result<AbortHandle> {
    #[expect(deprecated, reason = "the other way is unsafe; an `OwnedFd` is what that asks for")]
    let descriptor = AsyncFd::with_interest(descriptor, Interest::READABLE)?;
    let task = tokio::task::spawn_local(async move {
        while let Ok(mut ready) = descriptor.readable().await {
            // The hub empties it when it arms the lane.
            ready.clear_ready();
            hub.notify_one();
        }
    });
    Ok(task.abort_handle())
}

/// The numbers of the last records of a table, by shard.
pub(super) fn seqs(lanes: &[Lane], side: Side) -> Vec<u64> {
    let mut seqs: Vec<_> =
        lanes.iter().filter(|lane| lane.side == side).map(|lane| (lane.shard, lane.seq)).collect();
    seqs.sort_unstable();
    seqs.into_iter().map(|(_, seq)| seq).collect()
}

/// The highest number that was used for a table, if it was listened to.
pub(super) fn last_of(ended: &[(u16, Side, u64)], side: Side) -> Option<u64> {
    ended.iter().filter(|lane| lane.1 == side).map(|lane| lane.2).max()
}
