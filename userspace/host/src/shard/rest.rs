//! How a shard rests.

use super::{Parts, SLEEP_MAX, Shard};
use crate::nodes::Nodes;
use crate::waits::{Ready, Wait, Waits};
use common::Instant;
use rustix::fd::OwnedFd;
use std::io;
use std::sync::Arc;

/// What a shard waits for.
pub(super) fn waits(parts: &Parts, wake: Arc<OwnedFd>) -> io::Result<Waits> {
    let waits = Waits::new(&parts.source, wake)?;
    if let Some(links) = &parts.links {
        waits.watch_links(links.descriptor())?;
    }
    for socket in parts.nodes.iter().flat_map(Nodes::fds) {
        waits.watch_links(socket)?;
    }
    if let Some(expectations) = &parts.expectations {
        waits.watch_events(expectations.descriptor())?;
    }
    waits.watch_events(parts.writer.dump_descriptor())?;
    Ok(waits)
}

impl Shard {
    /// Waits a moment for more events to gather, unless the peer or the main thread speaks, or a ring is full.
    pub(super) fn nap(&self, now: Instant) -> io::Result<Ready> {
        self.waits.wait(Wait::Nap, now, self.tuning.gather)
    }

    /// Waits until woken: by an event, the peer, the main thread, or the engine's next timeout.
    pub(super) fn sleep(&mut self, now: Instant) -> io::Result<Ready> {
        self.source.arm();
        // What came before the source was armed wakes nobody. Sockets do, whenever it came.
        let quiet = Ready { links: false, overflow_empty: Some(now) };
        if self.take_events(now, quiet)? > 0 {
            return Ok(Ready::ALL);
        }
        let retry = if self.train.is_empty() { SLEEP_MAX } else { self.link_retry };
        let nodes = self.nodes.as_ref().and_then(Nodes::poll_timeout);
        let next = nodes.into_iter().fold(self.engine.poll_timeout(), Instant::min);
        let longest = next.since(now).min(retry.min(SLEEP_MAX));
        self.waits.wait(Wait::Sleep, now, longest)
    }
}
