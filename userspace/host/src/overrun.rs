//! Losses of kernel events: when to say so.

use crate::log::record::Code;
use crate::log::{Level, Log};
use crate::source::{Account, Source};
use common::Instant;
use std::time::Duration;

/// How long losses are gathered before the next report. The first is reported at once.
const GATHER: Duration = Duration::from_secs(10);

/// What is known of losses.
#[derive(Debug, Default)]
pub struct Overruns {
    seen: u64,
    unreported: u64,
    tell_at: Option<Instant>,
    /// Times losses were found.
    pub times: u64,
    /// What had become of events when losses were looked for the last time.
    pub account: Account,
}

impl Overruns {
    /// The overruns of `source` from here on: it may have lost events for an earlier reader.
    #[must_use]
    pub fn of(source: &Source) -> Self {
        let account = source.account();
        Self { seen: account.lost, account, ..Self::default() }
    }

    /// Looks for losses of `source`; returns how many events were lost, or held back, since the last look. If there
    /// were some, the socket gets more room, up to `buffer_max` bytes. A shard with a reader leaves room and log lines
    /// to that.
    pub fn look(&mut self, source: &mut Source, buffer_max: usize, log: &Log) -> u64 {
        self.account = source.account();
        let lost = self.note(self.account.lost);
        if lost > 0 {
            let before = source.receive_buffer();
            let size = source.grow(buffer_max);
            if size > before && !source.has_reader() {
                log.notice(format!(
                    "netlink event socket buffer size has been set to {size} bytes"
                ));
            }
        }
        lost
    }

    /// Logs losses, if it is time. `reliable`: the kernel keeps what the socket has no room for.
    pub fn tell(&mut self, now: Instant, source: &Source, reliable: bool, log: &Log) {
        if let Some(count) = self.due(now)
            && !source.has_reader()
        {
            let what = if reliable { "held back" } else { "lost" };
            let text = format!("{count} kernel events {what}: the event socket was full");
            let fields = vec![("lost", count.into()), ("source", source.name().into())];
            log.record(Level::Warning, Code::EventsLost, text, fields);
        }
    }

    /// Takes the number of events lost since the start; returns by how much it has risen.
    const fn note(&mut self, lost: u64) -> u64 {
        let more = lost.saturating_sub(self.seen);
        if more > 0 {
            self.unreported += more;
            self.seen = lost;
            self.times += 1;
        }
        more
    }

    /// How many losses to report now, if any.
    fn due(&mut self, now: Instant) -> Option<u64> {
        if self.unreported == 0 || self.tell_at.is_some_and(|at| now < at) {
            return None;
        }
        self.tell_at = Some(now + GATHER);
        Some(std::mem::take(&mut self.unreported))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_loss_is_told_at_once_and_the_next_ones_together() {
        let mut overruns = Overruns::default();
        assert_eq!(overruns.note(0), 0);
        assert_eq!(overruns.due(Instant(0)), None);
        assert_eq!(overruns.note(3), 3);
        assert_eq!(overruns.due(Instant(0)), Some(3));
        assert_eq!((overruns.note(5), overruns.note(9)), (2, 4));
        assert_eq!(overruns.due(Instant(0) + GATHER / 2), None);
        assert_eq!(overruns.note(9), 0);
        assert_eq!(overruns.due(Instant(0) + GATHER), Some(6));
        assert_eq!((overruns.due(Instant(0) + GATHER * 3), overruns.times), (None, 3));
    }
}
