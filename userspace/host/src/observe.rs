//! Engine events become log lines here and nowhere else.

use crate::log::record::{Code, Fields};
use crate::log::{Level, Log};
use crate::rate_limit::RateLimit;
use common::Instant;
use engine::{Cause, Event, Part, Side};
use std::time::Duration;

/// How often a long commit logs its progress.
const PROGRESS: Duration = Duration::from_secs(1);
/// Failed writes logged one by one before only their number is.
const WRITE_FAILURES_LOGGED: u64 = 10;

/// How soon the log repeats that the kernel refuses a part of flows.
const REFUSED_AGAIN: Duration = Duration::from_secs(600);

/// Flows that are written without some part, because the kernel refuses it.
#[derive(Clone, Copy, Debug, Default)]
struct Refused {
    log_at: Instant,
    left_out: u64,
}

/// Writes events to a log, and keeps what can come by the thousand from flooding it.
#[derive(Debug, Default)]
pub struct Observer {
    write_failures: u64,
    /// When a commit that is under way logs its progress next.
    progress_at: Option<Instant>,
    /// By the numbers of [`kind`].
    rate_limits: [RateLimit; 12],
    /// By the numbers of [`part_word`].
    refused: [Refused; 4],
}

impl Observer {
    /// Logs one event that is seen at `now`, unless there were many like it.
    pub fn observe(&mut self, log: &Log, event: &Event, now: Instant) {
        if let Some(rate_limit) = kind(event).and_then(|kind| self.rate_limits.get_mut(kind)) {
            match rate_limit.take(now) {
                None => return,
                Some(0) => {}
                Some(left_out) => {
                    let text = format!("{left_out} lines like the next one were left out");
                    let fields = vec![("lines", left_out.into())];
                    log.record(Level::Notice, Code::LinesLeftOut, text, fields);
                }
            }
        }
        let Some((code, fields)) = meaning(event) else { return };
        let log = &Lines { log, code, fields };
        match event {
            // `Vanished` is for who wants ended flows, see `shard`.
            Event::CommandDone(_) | Event::Compared(..) | Event::Vanished(_) => {}
            Event::CommandRefused(_, why) => log.warning(why),
            Event::CommitStarted { flows, expectations } => {
                log.notice(format!("committing {}", caches(*flows, *expectations)));
            }
            Event::CommitDone { committed, failed, took } => {
                log_commit(log, "entries", (*committed, *failed), *took);
            }
            Event::ExpectationsCommitted { committed, failed, took } => {
                log_commit(log, "expectations", (*committed, *failed), *took);
            }
            Event::WriteFailed { what, flow, errno } => {
                self.on_write_failed(log, what, flow, *errno);
            }
            Event::WrittenWithout { part, errno, .. } => {
                if let Some(line) = self.written_without(*part, *errno, now) {
                    log.warning(line);
                }
            }
            Event::ResyncRequested => log.notice("resync requested by other node"),
            Event::BulkStarted { .. } => log.notice("sending bulk update"),
            Event::BulkDone { flows } => log.info(format!("bulk update sent: {flows} entries")),
            Event::KernelResynced { flows, purged: 0 } => {
                log.info(format!("kernel table read: {flows} entries"));
            }
            Event::KernelResynced { flows, purged } => log
                .notice(format!("kernel table read: {flows} entries, {purged} stale ones removed")),
            Event::Degraded(cause) => log.warning(degraded(*cause)),
            Event::Repaired { cause, lost, after } => log.notice(repaired(*cause, *lost, *after)),
            Event::PeerDiffers { theirs, ours } => log.warning(format!(
                "the other node has sent {theirs} flows and {ours} of them are known here: asking for everything"
            )),
            Event::StaleRemoved { flows } => log.notice(format!(
                "{flows} flows removed that the other node does not have any more"
            )),
            Event::TableFull { side, limit } => log.warning(format!(
                "{} cache is full: HashLimit {limit} reached, new flows are not kept",
                side_word(*side)
            )),
            Event::PeerMissed => log.warning(
                "the other node lacks messages that are not kept any more (ResendQueueSize): sending everything",
            ),
            Event::PeerSilent { since } => {
                let s = since.as_secs();
                log.warning(format!("the other node has been silent for {s} seconds"));
            }
            Event::PeerBack => log.notice("the other node is heard again"),
            // The end of its session has a line of its own.
            Event::PeerLeft(_) | Event::PathLength { .. } => {}
            Event::PeerRestarted { .. } => log.notice("the other node began a new sequence"),
        }
    }

    /// Logs how far a commit is, if one has been under way for long: flows written, and flows there are.
    pub fn follow(&mut self, log: &Log, commit: Option<(u64, u64)>, now: Instant) {
        if let Some((done, of)) = self.progress(commit, now) {
            let text = format!("committing: {done} of {of} entries written");
            let fields = vec![("done", done.into()), ("of", of.into())];
            log.record(Level::Notice, Code::CommitProgress, text, fields);
        }
    }

    fn progress(&mut self, commit: Option<(u64, u64)>, now: Instant) -> Option<(u64, u64)> {
        if commit.is_none() {
            self.progress_at = None;
        } else if now >= *self.progress_at.get_or_insert(now + PROGRESS) {
            self.progress_at = Some(now + PROGRESS);
            return commit;
        }
        None
    }

    /// A line for the first flow that goes without such a part, and now and then for how many more do.
    fn written_without(&mut self, part: Part, errno: i32, now: Instant) -> Option<String> {
        let (kind, word) = part_word(part);
        let refused = &mut self.refused[kind];
        if now < refused.log_at {
            refused.left_out += 1;
            return None;
        }
        refused.log_at = now + REFUSED_AGAIN;
        let more = match std::mem::take(&mut refused.left_out) {
            0 => String::new(),
            more => format!(" ({more} more flows since the last such line)"),
        };
        let reason = std::io::Error::from_raw_os_error(errno);
        Some(format!("kernel refuses {word}: flows are written without ({reason}){more}"))
    }

    fn on_write_failed(
        &mut self,
        log: &Lines<'_>,
        what: &str,
        flow: &ctnetlink::FlowKey,
        errno: i32,
    ) {
        self.write_failures += 1;
        if self.write_failures <= WRITE_FAILURES_LOGGED {
            let reason = std::io::Error::from_raw_os_error(errno);
            log.warning(format!("kernel refused to {what} {:?}: {reason}", flow.tuple));
        }
        if self.write_failures == WRITE_FAILURES_LOGGED {
            log.warning("more refusals are only counted (-s)");
        }
    }
}

/// A log, and what all lines about one event say to machines.
struct Lines<'a> {
    log: &'a Log,
    code: Code,
    fields: Fields,
}

impl Lines<'_> {
    fn info(&self, text: impl AsRef<str>) {
        self.log.record(Level::Info, self.code, text, self.fields.clone());
    }

    fn notice(&self, text: impl AsRef<str>) {
        self.log.record(Level::Notice, self.code, text, self.fields.clone());
    }

    fn warning(&self, text: impl AsRef<str>) {
        self.log.record(Level::Warning, self.code, text, self.fields.clone());
    }
}

/// What an event says to machines; `None` if no line is about it.
fn meaning(event: &Event) -> Option<(Code, Fields)> {
    let commit = |committed: &u64, failed: &u64, took: &Duration| {
        vec![
            ("committed", (*committed).into()),
            ("failed", (*failed).into()),
            ("took_us", (took.as_micros() as u64).into()),
        ]
    };
    let errno = |errno: i32| vec![("errno", u64::from(errno.unsigned_abs()).into())];
    let flows = |flows: u64| vec![("flows", flows.into())];
    let none = Fields::new;
    Some(match event {
        Event::CommandDone(_) | Event::Compared(..) | Event::Vanished(_) => return None,
        Event::CommandRefused(..) => (Code::CommandRefused, none()),
        Event::CommitStarted { .. } => (Code::CommitStarted, none()),
        Event::CommitDone { committed, failed, took } => {
            (Code::CommitDone, commit(committed, failed, took))
        }
        Event::ExpectationsCommitted { committed, failed, took } => {
            (Code::ExpectationsCommitted, commit(committed, failed, took))
        }
        Event::WriteFailed { errno: number, .. } => (Code::KernelWriteFailed, errno(*number)),
        Event::WrittenWithout { errno: number, .. } => (Code::KernelRefusesPart, errno(*number)),
        Event::ResyncRequested => (Code::ResyncRequested, none()),
        Event::BulkStarted { .. } => (Code::BulkStarted, none()),
        Event::BulkDone { flows: sent } => (Code::BulkDone, flows(*sent)),
        Event::KernelResynced { flows, purged } => {
            let fields = vec![("flows", (*flows).into()), ("purged", (*purged).into())];
            (Code::KernelTableRead, fields)
        }
        Event::Degraded(cause) => (Code::TableNotExact, vec![("cause", cause_word(*cause).into())]),
        Event::Repaired { lost, after, .. } => {
            let after_ms = after.as_millis() as u64;
            (Code::TableExact, vec![("lost", (*lost).into()), ("after_ms", after_ms.into())])
        }
        Event::PeerDiffers { theirs, ours } => {
            let fields = vec![("theirs", (*theirs as u64).into()), ("ours", (*ours as u64).into())];
            (Code::PeerDiffers, fields)
        }
        Event::StaleRemoved { flows: gone } => (Code::StaleRemoved, flows(*gone)),
        Event::TableFull { side, limit } => {
            let fields =
                vec![("table", side_word(*side).into()), ("limit", (*limit as u64).into())];
            (Code::TableFull, fields)
        }
        Event::PeerMissed => (Code::PeerMissedMessages, none()),
        Event::PeerSilent { since } => {
            (Code::PeerSilent, vec![("silent_s", since.as_secs().into())])
        }
        Event::PeerBack => (Code::PeerBack, none()),
        Event::PeerLeft(_) | Event::PathLength { .. } => return None,
        Event::PeerRestarted { .. } => (Code::PeerRestarted, none()),
    })
}

/// One word for why the local table is not what the kernel holds.
const fn cause_word(cause: Cause) -> &'static str {
    match cause {
        Cause::EventsLost => "events-lost",
        Cause::TableFull => "table-full",
        Cause::EventsOff => "events-off",
        Cause::CountDiffers => "count-differs",
        Cause::Flushed => "flushed",
    }
}

/// Events that a stranger on the link can cause as often as it wants; by number.
const fn kind(event: &Event) -> Option<usize> {
    Some(match event {
        Event::ResyncRequested => 0,
        Event::BulkStarted { .. } => 1,
        Event::BulkDone { .. } => 2,
        Event::PeerMissed => 3,
        Event::PeerSilent { .. } => 4,
        Event::PeerBack => 5,
        Event::PeerRestarted { .. } => 6,
        Event::TableFull { .. } => 7,
        Event::Degraded(_) => 8,
        Event::Repaired { .. } => 9,
        Event::PeerDiffers { .. } => 10,
        Event::StaleRemoved { .. } => 11,
        _ => return None,
    })
}

/// Which caches a commit takes, in the original's words.
const fn caches(flows: bool, expectations: bool) -> &'static str {
    match (flows, expectations) {
        (true, true) => "all external caches",
        (false, true) => "expectation cache",
        _ => "conntrack cache",
    }
}

fn repaired(cause: Cause, lost: u64, after: Duration) -> String {
    let what = match cause {
        Cause::EventsLost => format!("{lost} lost events made good"),
        Cause::TableFull => "what it had no room for is known again".to_owned(),
        _ => "what was missing is known again".to_owned(),
    };
    let s = after.as_secs_f64();
    format!("the internal cache is exact again: {what} after {s:.1} s")
}

/// What is said when the local table is not what the kernel holds.
const fn degraded(cause: Cause) -> &'static str {
    match cause {
        Cause::EventsLost => {
            "kernel events were lost: the internal cache is not exact until the kernel's table has been read again"
        }
        Cause::TableFull => {
            "flows are missing in the internal cache (HashLimit): it is not exact until it has had room and the \
             kernel's table has been read again"
        }
        Cause::EventsOff => {
            "the kernel does not tell of flows (sysctl net.netfilter.nf_conntrack_events is 0): the internal cache \
             is not exact until it does and the kernel's table has been read again"
        }
        Cause::CountDiffers => {
            "the kernel holds another number of flows than the internal cache: it is not exact until the kernel's \
             table has been read again"
        }
        Cause::Flushed => {
            "the internal cache was flushed: it is not exact until the kernel's table has been read again"
        }
    }
}

fn log_commit(log: &Lines<'_>, what: &str, (committed, failed): (u64, u64), took: Duration) {
    log.notice(format!("Committed {committed} new {what}"));
    if failed > 0 {
        log.notice(format!("{failed} {what} can't be committed"));
    }
    let (s, us) = (took.as_secs(), took.subsec_micros());
    log.notice(format!("commit has taken {s}.{us:06} seconds"));
}

/// What to call such a part, and its number.
fn part_word(part: Part) -> (usize, String) {
    match part {
        Part::Helper(name) => (0, format!("helper `{}'", name.as_bytes().escape_ascii())),
        Part::Labels => (1, "labels".into()),
        Part::Synproxy => (2, "SYNPROXY parameters".into()),
        Part::SeqAdj => (3, "sequence adjustment".into()),
    }
}

/// The word conntrackd's users know a table by.
const fn side_word(side: Side) -> &'static str {
    match side {
        Side::Local => "internal",
        Side::Remote => "external",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_refuses_is_logged_once_for_each_kind_and_then_now_and_then() {
        let mut observer = Observer::default();
        let helper = ctnetlink::flow::HelperName::from_bytes(b"a\nb").unwrap();
        let mut logged = |part, s: u64| {
            observer.written_without(part, libc::EOPNOTSUPP, Instant(s * 1_000_000_000))
        };
        let line = logged(Part::Helper(helper), 1000).unwrap();
        assert!(line.starts_with("kernel refuses helper `a\\nb': flows are written"), "{line}");
        assert!(logged(Part::Labels, 1000).is_some(), "another kind");
        let more = (0..500).filter(|n| logged(Part::Helper(helper), 1001 + n % 500).is_some());
        assert_eq!(more.count(), 0);
        let line = logged(Part::Helper(helper), 1600).unwrap();
        assert!(line.ends_with("(500 more flows since the last such line)"), "{line}");
    }

    #[test]
    fn a_long_commit_logs_its_progress_and_a_short_one_does_not() {
        let mut observer = Observer::default();
        let mut logged = |ms: u64, done: Option<u64>| {
            let progress = observer.progress(done.map(|n| (n, 9)), Instant(ms * 1_000_000));
            progress.map(|(done, _)| done)
        };
        let short = [(0, Some(1)), (900, None), (1000, Some(2)), (1900, None)];
        assert!(short.into_iter().all(|(ms, done)| logged(ms, done).is_none()));
        let long = [(5000, 0), (5500, 3), (6100, 5), (6500, 7), (7200, 8)];
        let lines: Vec<_> = long.into_iter().map(|(ms, done)| logged(ms, Some(done))).collect();
        assert_eq!(lines, [None, None, Some(5), None, Some(8)]);
    }
}
