//! The peer, what is said to it and by it, and commits.

use super::{Metric, Sample, counter, gauge, many, maybe, of_status, with};
use crate::print::status::{Queue, Replication, Status};
use export::exposition::{Series, Value};

pub(super) static METRICS: &[Metric] = &[
    gauge(
        "ctflow_peer_silence_seconds",
        &[],
        "Since the other node was heard; if it never was, since the engine began.",
        |s| replicating(s, |status| status.replication.peer_heard_s.unwrap_or(status.uptime_s)),
    ),
    counter("ctflow_peer_restarts", &[], "Restarts of the other node that were noticed.", |s| {
        replicating(s, |status| status.replication.peer_restarts)
    }),
    counter("ctflow_replication_messages", &["direction"], "Messages of the protocol.", |s| {
        of_peer(s, |r| vec![with(["sent"], r.sent), with(["received"], r.received)])
    }),
    counter(
        "ctflow_replication_messages_lost",
        &[],
        "Messages of the other node that never came. In FTFW they are sent again; look at receive buffer, cable, MTU.",
        |s| replicating(s, |status| status.replication.lost),
    ),
    counter(
        "ctflow_replication_messages_late",
        &[],
        "Messages that came after a later one.",
        |s| replicating(s, |status| status.replication.before),
    ),
    counter(
        "ctflow_replication_messages_malformed",
        &["reason"],
        "Messages that were refused: another program, another version or a stranger on the link.",
        |s| {
            of_peer(s, |r| {
                vec![
                    with(["version"], r.bad_version),
                    with(["header"], r.bad_header),
                    with(["payload"], r.bad_payload),
                    with(["type"], r.bad_type),
                    with(["truncated"], r.truncated),
                    with(["size"], r.bad_size),
                ]
            })
        },
    ),
    counter(
        "ctflow_replication_messages_unsent",
        &["reason"],
        "Messages not sent: larger than a datagram of the link, or the queue was full.",
        |s| {
            of_peer(s, |r| {
                vec![with(["too_large"], r.send_too_large), with(["no_room"], r.send_no_space)]
            })
        },
    ),
    counter(
        "ctflow_replication_ends_untold",
        &[],
        "Ends of flows that the other node never received, because new flows needed their room (HashLimit). A transfer \
         of all flows follows.",
        |s| replicating(s, |status| status.replication.ends_untold),
    ),
    counter(
        "ctflow_replication_ranges_absurd",
        &[],
        "Acknowledgements, and requests to send again, of numbers that were never given: a stranger on the link.",
        |s| replicating(s, |status| status.replication.absurd_ranges),
    ),
    counter(
        "ctflow_replication_jumps_doubted",
        &[],
        "Datagrams held back, because their numbers lay far from all others and no second one agreed yet.",
        |s| replicating(s, |status| status.replication.jumps_doubted),
    ),
    counter(
        "ctflow_replication_resyncs_put_off",
        &[],
        "Requests for all flows that were answered later, because the same node had sent several.",
        |s| replicating(s, |status| status.replication.resyncs_put_off),
    ),
    gauge(
        "ctflow_replication_remote_complete",
        &[],
        "1 if all of the other node's flows have come since they were asked for.",
        |s| replicating(s, |status| status.replication.remote_complete),
    ),
    gauge(
        "ctflow_replication_remote_exact",
        &[],
        "1 if no message of the other node is known to be missing.",
        |s| replicating(s, |status| status.replication.remote_exact),
    ),
    gauge("ctflow_replication_bulk_active", &[], "1 while everything is being sent.", |s| {
        replicating(s, |status| status.replication.in_bulk)
    }),
    gauge(
        "ctflow_replication_unacked_messages",
        &[],
        "Messages that the other node has not acknowledged (FTFW).",
        |s| maybe(s.status.as_ref().and_then(|status| Some(status.queues.resend.as_ref()?.len))),
    ),
    gauge(
        "ctflow_replication_lag_seconds",
        &[],
        "How long ago the oldest message was sent that the other node has not acknowledged; 0 if none waits (FTFW).",
        |s| {
            let lag = s.status.as_ref().and_then(|status| status.replication.lag_ms);
            maybe(lag.map(|ms| ms as f64 / 1000.0))
        },
    ),
    gauge(
        "ctflow_outbox_messages",
        &["queue"],
        "Messages that wait: to be sent (outbox), for a link that refused them (errors), to be acknowledged (resend).",
        |s| queues(s, |queue| queue.len),
    ),
    gauge("ctflow_outbox_messages_max", &["queue"], "Most messages a queue takes.", |s| {
        queues(s, |queue| queue.len_max)
    }),
    counter("ctflow_outbox_refused", &["queue"], "Messages that found no room.", |s| {
        queues(s, |queue| queue.no_space)
    }),
    counter("ctflow_commits", &[], "Commits (conntrackd -c) that are over.", |s| {
        of_status(s, |status| status.work.commits)
    }),
    counter(
        "ctflow_commit_flows",
        &["result"],
        "Flows and expectations of commits: written into the kernel, or refused by it, which the log explains.",
        |s| {
            many(s, |status| {
                let w = &status.work;
                vec![with(["written"], w.commit_taken), with(["failed"], w.commit_failed)]
            })
        },
    ),
    gauge("ctflow_commit_duration_seconds", &[], "How long the last commit took.", |s| {
        let took = s.status.as_ref().and_then(|status| status.work.last_commit_us);
        maybe(took.map(|us| us as f64 / 1e6))
    }),
    gauge("ctflow_commit_progress_flows", &[], "Flows a commit that runs has written.", |s| {
        maybe(s.status.as_ref().and_then(|status| status.work.committed))
    }),
    gauge("ctflow_commit_progress_flows_wanted", &[], "Flows it has to write.", |s| {
        maybe(s.status.as_ref().and_then(|status| status.work.to_commit))
    }),
    counter(
        "ctflow_kernel_writes_failed",
        &[],
        "Flows and expectations that the kernel refused to write, commits included.",
        |s| of_status(s, |status| status.work.writes_failed),
    ),
    counter(
        "ctflow_kernel_requests_refused",
        &[],
        "Requests to the kernel that found no room.",
        |s| of_status(s, |status| status.work.kernel_no_space),
    ),
    counter(
        "ctflow_flows_written_without",
        &[],
        "Flows written without a part that the kernel refuses: a helper, labels and such.",
        |s| of_status(s, |status| status.work.written_without),
    ),
    counter("ctflow_purges", &[], "Times the kernel's entries were deleted by request.", |s| {
        of_status(s, |status| status.work.purges)
    }),
    counter(
        "ctflow_engine_events_untold",
        &[],
        "Log lines not written, because too many things happened at once.",
        |s| of_status(s, |status| status.work.events_untold),
    ),
];

/// The one series of a metric that only a node with a peer has.
fn replicating<V: Into<Value>>(sample: &Sample, get: impl FnOnce(&Status) -> V) -> Vec<Series> {
    let status = sample.status.as_ref().filter(|status| !status.links.is_empty());
    maybe(status.map(get))
}

fn of_peer(sample: &Sample, get: impl FnOnce(&Replication) -> Vec<Series>) -> Vec<Series> {
    let status = sample.status.as_ref().filter(|status| !status.links.is_empty());
    status.map(|status| get(&status.replication)).unwrap_or_default()
}

fn queues(sample: &Sample, get: impl Fn(&Queue) -> u64) -> Vec<Series> {
    let status = sample.status.as_ref().filter(|status| !status.links.is_empty());
    let queues = status.map(|status| &status.queues);
    let named = queues.map(|q| {
        [("outbox", Some(&q.outbox)), ("errors", Some(&q.errors)), ("resend", q.resend.as_ref())]
    });
    let kept = named.into_iter().flatten().filter_map(|(name, queue)| Some((name, queue?)));
    kept.map(|(name, queue)| with([name], get(queue))).collect()
}
