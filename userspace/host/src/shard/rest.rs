//! How a shard rests.

use super::{Parts, SLEEP_MAX, Shard};
use crate::nodes::Nodes;
use crate::waits::{Ready, Wait, Waits};
use common::Instant;
use rustix::fd::OwnedFd;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How often the engine's timers are looked at while the link has no room.
const BLOCKED_NAP: Duration = Duration::from_millis(20);

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
    /// Waits a moment for more events to coalesce, unless the peer or the main thread speaks, or a ring is full.
    pub(super) fn coalesce(&self, now: Instant) -> io::Result<Ready> {
        self.waits.wait(Wait::Coalesce, now, self.tuning.coalesce)
    }

    /// Waits until woken: by an event, the peer, the main thread, or the engine's next timeout.
    pub(super) fn sleep(&mut self, now: Instant) -> io::Result<Ready> {
        self.source.arm();
        // Records from before the source was armed ring no bell. Sockets do, whenever data came.
        let quiet = Ready { links: false, overflow_empty: Some(now) };
        if self.take_events(now, quiet)? > 0 {
            self.publisher.note(true);
            return Ok(Ready::ALL);
        }
        let retry = (!self.gso.is_empty()).then_some(self.link_retry);
        let rest = longest(self.timeout().since(now), retry);
        let rest = self.publisher.sleep_max(now).map_or(rest, |max| rest.min(max));
        self.waits.wait(Wait::Sleep, now, rest)
    }

    /// When the engine's or the peers' next timer is due, if nothing happens before.
    pub(super) fn timeout(&self) -> Instant {
        let nodes = self.nodes.as_ref().and_then(Nodes::poll_timeout);
        nodes.into_iter().fold(self.engine.poll_timeout(), Instant::min)
    }
}

/// How long to sleep when the engine's next timer is due in `next`. `retry`: the link has no room, and is tried
/// again after that time at the latest. The timer may be there to send something, which is impossible until there
/// is room: it must not keep the thread awake meanwhile.
fn longest(next: Duration, retry: Option<Duration>) -> Duration {
    match retry {
        None => next.min(SLEEP_MAX),
        Some(retry) => next.max(BLOCKED_NAP).min(retry).min(SLEEP_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_cannot_say_does_not_keep_the_thread_awake() {
        let ms = Duration::from_millis;
        // The engine has had something to do for an hour: where the link is down, and where its queue is full.
        assert_eq!(longest(ms(0), Some(ms(3_600_000))), BLOCKED_NAP);
        assert_eq!(longest(ms(0), Some(ms(1))), ms(1));
        assert_eq!(longest(ms(0), None), ms(0));
        assert_eq!(longest(ms(40), Some(ms(3_600_000))), ms(40));
        assert_eq!(longest(ms(40), None), ms(40));
        assert_eq!([longest(ms(500), None), longest(ms(500), Some(ms(3_600_000)))], [SLEEP_MAX; 2]);
    }
}
