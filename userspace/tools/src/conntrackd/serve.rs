//! What the daemon answers on its control socket.

mod dump;
mod framed;
mod purge;

use super::plan::{Plan, Purpose};
use super::statistics;
use crate::metrics::Limits;
use crate::print::stats::{self, Report, Taken};
use crate::print::status::{Reload, Status, readiness};
use anyhow::Result;
use engine::message_id::PeerId;
use engine::{Command, Side};
use export::failures::Failures;
use export::feed::Question;
use export::http::HttpCounters;
use host::clock;
use host::control::{Client, Faults};
use host::fleet::Handle;
use host::helpers::Counts;
use host::log::Log;
use host::purge::PurgeSubject;
use host::shard::{CommandOutcome, Order};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{RwLock, Semaphore, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};
use wire::control::Request;

use dump::Form;

/// The last count of the table by zone, protocol and state, and when it was taken.
pub type Counted = Arc<Mutex<Option<(Instant, Arc<Taken>)>>>;

/// Begins the answer to a request that was not carried out.
pub const REFUSAL: &str = "error: ";
/// Begins the answer to a request that asks for nothing here.
pub const NOTE: &str = "note: ";

/// A thread of the engine without a turn for so long hangs, or has no CPU. One that sleeps takes ten a second.
const HANGS: Duration = Duration::from_millis(500);

/// Requests of the framed protocol that are served at once.
const FRAMED_MAX: usize = 8;

/// The handle of the running engine. While the lock is held for reading, the engine stays: a
/// reload that starts another one waits.
pub type SharedHandle = Arc<RwLock<Handle>>;

/// Everything that answers are made from.
#[derive(Debug)]
pub struct Service {
    engine: SharedHandle,
    log: Arc<Log>,
    /// Clients that did not say what they want.
    faults: Arc<Faults>,
    facts: Mutex<Facts>,
    /// Lines that the disk did not take.
    log_lines_lost: AtomicU64,
    /// What the thread counts that serves helpers.
    helpers: Mutex<Counts>,
    /// Places for requests of the framed protocol.
    framed: Semaphore,
    /// The last reload.
    reload: Mutex<Option<Reload>>,
    /// What became of requests over HTTP.
    http: Arc<HttpCounters>,
    /// The last count of the table.
    counted: Counted,
    /// The purge that `-t` has scheduled.
    scheduled: Mutex<Option<AbortHandle>>,
    /// What the feed counts, if there is one.
    feed: Mutex<Option<Arc<export::feed::Stats>>>,
    /// The task that reports failures, if there is one.
    failures: OnceLock<Failures>,
}

/// The parts of the plan that answers depend on.
#[derive(Clone, Debug, Default)]
struct Facts {
    /// What the daemon is for.
    purpose: Purpose,
    /// Whether expectations are replicated.
    expectations: bool,
    /// How long `-t` waits, seconds.
    purge_after_s: u64,
    /// The event source that was asked for.
    wanted: &'static str,
    /// Limit of zones that are shown separately.
    zones_max: usize,
    /// Names of the peers of version 2, in the order of the configuration.
    peers: Arc<[String]>,
}

impl Service {
    /// Answers by asking `engine`; `faults` is what the socket counts.
    #[must_use]
    pub fn new(engine: SharedHandle, log: Arc<Log>, faults: Arc<Faults>) -> Self {
        Self {
            engine,
            log,
            faults,
            facts: Mutex::default(),
            log_lines_lost: AtomicU64::default(),
            helpers: Mutex::default(),
            framed: Semaphore::new(FRAMED_MAX),
            reload: Mutex::default(),
            http: Arc::default(),
            counted: Counted::default(),
            scheduled: Mutex::default(),
            feed: Mutex::default(),
            failures: OnceLock::new(),
        }
    }

    /// Takes over a plan.
    pub fn adopt(&self, plan: &Plan) {
        let peers = plan.replication.iter().flat_map(|conf| &conf.peers);
        let peers = peers.map(|peer| peer.name.to_string());
        *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = Facts {
            purpose: plan.purpose,
            expectations: plan.config.expectations.any(),
            purge_after_s: plan.purge_after_s,
            peers: peers.collect(),
            wanted: plan.wanted_source(),
            // The status shows zones without a `Metrics` block, too.
            zones_max: plan
                .metrics
                .as_ref()
                .map_or_else(Limits::default, |metrics| metrics.limits)
                .zones_max,
        };
    }

    /// Takes over what the thread counts that serves helpers.
    pub fn count_helpers(&self, counts: Counts) {
        *self.helpers.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    /// Takes over the task that reports failures; once.
    pub fn count_failures(&self, failures: Option<Failures>) {
        if let Some(failures) = failures {
            // There is one in the life of a daemon.
            let _ = self.failures.set(failures);
        }
    }

    /// A receiver of failures, if they are reported.
    #[must_use]
    pub fn failures(&self) -> Option<export::failures::Receiver> {
        self.failures.get().map(Failures::subscribe)
    }

    /// Takes over what the feed counts.
    pub fn count_feed(&self, stats: Option<Arc<export::feed::Stats>>) {
        *self.feed.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }

    /// Takes over how many lines the disk did not take so far.
    pub fn note_lost_lines(&self, lines: u64) {
        self.log_lines_lost.store(lines, Ordering::Relaxed);
    }

    /// Takes over how a reload has ended.
    pub fn note_reload(&self, succeeded: bool) {
        let reload = Reload { succeeded, at_s: clock::wall_s().unsigned_abs() };
        *self.reload.lock().unwrap_or_else(PoisonError::into_inner) = Some(reload);
    }

    /// Where counts of the table are put.
    #[must_use]
    pub fn counted(&self) -> Counted {
        Arc::clone(&self.counted)
    }

    /// Counters for requests over HTTP.
    #[must_use]
    pub fn http(&self) -> Arc<HttpCounters> {
        Arc::clone(&self.http)
    }

    /// The way to the engine.
    #[must_use]
    pub fn engine(&self) -> SharedHandle {
        Arc::clone(&self.engine)
    }

    /// Clients that did not say what they want.
    #[must_use]
    pub fn faults(&self) -> Arc<Faults> {
        Arc::clone(&self.faults)
    }

    /// The last count of the table, with its age.
    fn census(&self) -> Option<(Duration, Arc<Taken>)> {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.as_ref().map(|(taken, census)| (taken.elapsed(), Arc::clone(census)))
    }

    /// The log of the daemon.
    #[must_use]
    pub fn log(&self) -> Arc<Log> {
        Arc::clone(&self.log)
    }

    /// The name of a peer of version 2.
    #[must_use]
    pub fn peer_name(&self, peer: PeerId) -> Option<String> {
        self.facts().peers.get(peer.index()).cloned()
    }

    fn facts(&self) -> Facts {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves one client. True when it asked the daemon to end.
    pub async fn serve(self: &Arc<Self>, mut client: Client) -> bool {
        let Some(request) = client.request().await else { return false };
        if request == Request::Kill {
            return true;
        }
        if request == Request::Framed {
            if let Err(error) = self.framed(&mut client).await {
                self.log.info(format!("control client: {error:#}"));
            }
            return false;
        }
        if let Err(error) = self.answer(&mut client, request).await {
            self.log.info(format!("control client: {error:#}"));
            // Part of the answer may have been sent; the client looks at the last line. If it was the client that did
            // not take it, nothing reaches it any more.
            let _ = client.reply(&format!("{REFUSAL}{error:#}\n")).await;
        }
        false
    }

    async fn answer(self: &Arc<Self>, client: &mut Client, request: Request) -> Result<()> {
        if let Some(answer) = needless(request, &self.facts()) {
            return Ok(client.reply(answer).await?);
        }
        match request {
            Request::DumpLocal => self.dump(client, Side::Local, Form::Text).await,
            Request::DumpRemote => self.dump(client, Side::Remote, Form::Text).await,
            Request::DumpLocalXml => self.dump(client, Side::Local, Form::Xml).await,
            Request::DumpRemoteXml => self.dump(client, Side::Remote, Form::Xml).await,
            Request::DumpLocalExpectations => {
                self.dump_expectations(client, Side::Local, Form::Text).await
            }
            Request::DumpRemoteExpectations => {
                self.dump_expectations(client, Side::Remote, Form::Text).await
            }
            Request::DumpLocalExpectationsXml => {
                self.dump_expectations(client, Side::Local, Form::Xml).await
            }
            Request::DumpRemoteExpectationsXml => {
                self.dump_expectations(client, Side::Remote, Form::Xml).await
            }
            Request::FlushKernelFlows => self.purge(client, &[PurgeSubject::Flows]).await,
            Request::FlushKernelExpectations => {
                self.purge(client, &[PurgeSubject::Expectations]).await
            }
            Request::FlushKernel => {
                self.purge(client, &[PurgeSubject::Flows, PurgeSubject::Expectations]).await
            }
            Request::PurgeLater => {
                self.purge_later();
                Ok(())
            }
            Request::StatsResendQueue => self.resend_queue(client).await,
            other => match (text(other), command(other)) {
                (Some(text), _) => Ok(client.reply(&text(&self.report().await?)).await?),
                (None, Some((command, note))) => {
                    if stops_purge(other) {
                        self.cancel_purge();
                    }
                    self.log.notice(note);
                    if other == Request::Reload && self.facts().expectations {
                        self.log.notice("resync with master expect table");
                    }
                    self.carry_out(client, command).await
                }
                (None, None) => {
                    let text = format!("{REFUSAL}\"{}\" is not implemented yet\n", other.name());
                    Ok(client.reply(&text).await?)
                }
            },
        }
    }

    async fn carry_out(&self, client: &mut Client, command: Command) -> Result<()> {
        let engine = self.engine.read().await;
        let (reply, outcome) = oneshot::channel::<CommandOutcome>();
        engine.order(Order::Command(command, reply));
        report_outcome(client, outcome).await
    }

    /// Sends the messages that wait for an acknowledgement; nothing in a mode without acknowledgements.
    async fn resend_queue(&self, client: &mut Client) -> Result<()> {
        let (reply, waiting) = oneshot::channel();
        self.engine.read().await.order(Order::Resend(reply));
        match waiting.await.map_err(|_| ended())? {
            Some(waiting) => Ok(client.reply(&stats::resend_queue(&waiting)).await?),
            None => Ok(()),
        }
    }

    /// Answers a question on the feed's socket, as on the control socket.
    pub async fn question(&self, question: Question) -> String {
        let request = match question {
            Question::Status => Request::StatsJson,
            Question::Ready => Request::Ready,
        };
        match (text(request), self.report().await) {
            (Some(text), Ok(report)) => text(&report),
            (_, Err(error)) => format!("{error:#}"),
            (None, Ok(_)) => String::new(),
        }
    }

    /// The state of everything, as the engine published it: its threads are not asked. While they hang, what they
    /// published is not so, and this waits.
    ///
    /// # Errors
    /// When the engine has ended.
    pub async fn report(&self) -> Result<Report> {
        let engine = self.engine.read().await;
        let mut snapshot = loop {
            let snapshot = Box::new(engine.published().ok_or_else(ended)?);
            if engine.is_turning(HANGS) {
                break snapshot;
            }
            sleep(HANGS / 10).await;
        };
        if self.facts().purpose == Purpose::Helper {
            // The event socket of such a daemon receives no events.
            snapshot.receive_buffer = 0;
        }
        Ok(Report {
            snapshot,
            requests_unread: self.faults.unread(),
            requests_unknown: self.faults.unknown(),
            log_lines_lost: self.log_lines_lost.load(Ordering::Relaxed),
            helpers: self.helpers.lock().unwrap_or_else(PoisonError::into_inner).report(),
            wanted: self.facts().wanted,
            zones_max: self.facts().zones_max,
            reload: self.reload.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            http: self.http.read(),
            census: self.census(),
            feed: self.feed.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            failures: self.failures.get().map(Failures::stats),
        })
    }
}

/// Waits for the outcome and reports a failure to the client.
async fn report_outcome(
    client: &mut Client,
    outcome: oneshot::Receiver<CommandOutcome>,
) -> Result<()> {
    match outcome.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(why)) => Ok(client.reply(&format!("{REFUSAL}{why}\n")).await?),
        Err(_) => Err(ended()),
    }
}

/// The engine that was asked has ended.
#[derive(Clone, Copy, Debug)]
struct Ended;

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the engine has ended, was started anew, or has too many requests waiting: ask again",
        )
    }
}

impl std::error::Error for Ended {}

fn ended() -> anyhow::Error {
    Ended.into()
}

/// The answer to a request that is about something this daemon does not have, if it is one. Scripts
/// that were written for conntrack-tools rely on exit code 0 then: statistics say nothing, commands
/// say why nothing is done.
fn needless(request: Request, facts: &Facts) -> Option<&'static str> {
    use Request::{CommitExpectations, ReloadExpectations};
    let why = match facts.purpose {
        Purpose::Stats if !statistics::knows(request) => {
            "note: there is no other node in statistics mode\n"
        }
        Purpose::Helper if needs_tables(request) => "note: only helpers are served\n",
        _ => "",
    };
    if !why.is_empty() {
        let shows = text(request).is_some() || request == Request::StatsResendQueue;
        let asks = shows || (facts.purpose == Purpose::Helper && is_dump(request));
        return Some(if asks { "" } else { why });
    }
    let about_expectations = matches!(request, CommitExpectations | ReloadExpectations);
    (about_expectations && !facts.expectations)
        .then_some("note: expectations are not replicated (ExpectationSync is off)\n")
}

/// Whether a request is about tables of flows, or another node.
const fn needs_tables(request: Request) -> bool {
    use Request::{FlushKernel, FlushKernelExpectations, FlushKernelFlows};
    !matches!(
        request,
        FlushKernel
            | FlushKernelExpectations
            | FlushKernelFlows
            | Request::Kill
            | Request::Ready
            | Request::StatsJson
            | Request::StatsRuntime
    )
}

/// Whether a request is answered with a table.
const fn is_dump(request: Request) -> bool {
    use Request::{DumpLocal, DumpLocalExpectations, DumpLocalExpectationsXml, DumpLocalXml};
    use Request::{DumpRemote, DumpRemoteExpectations, DumpRemoteExpectationsXml, DumpRemoteXml};
    matches!(
        request,
        DumpLocal
            | DumpLocalExpectations
            | DumpLocalExpectationsXml
            | DumpLocalXml
            | DumpRemote
            | DumpRemoteExpectations
            | DumpRemoteExpectationsXml
            | DumpRemoteXml
    )
}

/// What prints the answer to a request for statistics.
fn text(request: Request) -> Option<fn(&Report) -> String> {
    Some(match request {
        Request::Stats => stats::general,
        Request::StatsNetwork => stats::network,
        Request::StatsTables => stats::tables,
        Request::StatsRuntime => stats::runtime,
        Request::StatsLinks => stats::links,
        Request::StatsProcesses => stats::processes,
        Request::StatsQueues => stats::queues,
        Request::StatsExpectations => stats::expectations,
        Request::StatsJson => |report| Status::of(report).to_json(),
        Request::Ready => |report| match readiness(&report.snapshot) {
            Ok(()) => "ready\n".into(),
            Err(reasons) => {
                reasons.iter().map(|why| format!("not ready: {}\n", why.text())).collect()
            }
        },
        _ => return None,
    })
}

/// Whether the request ends what `-t` has begun: this node is taking over, or starts again.
const fn stops_purge(request: Request) -> bool {
    use Request::{Commit, CommitExpectations, CommitFlows};
    use Request::{FlushFlowTables, FlushLocal, FlushTables};
    matches!(
        request,
        Commit | CommitFlows | CommitExpectations | FlushTables | FlushFlowTables | FlushLocal
    )
}

/// The engine command behind a request, and what the log says of it.
const fn command(request: Request) -> Option<(Command, &'static str)> {
    Some(match request {
        Request::Commit => (Command::CommitAll, "commit requested"),
        Request::CommitFlows => (Command::Commit, "commit requested"),
        Request::CommitExpectations => (Command::CommitExpectations, "commit requested"),
        Request::SendBulk => (Command::Bulk, "bulk update requested"),
        Request::RequestBulk => (Command::RequestResync, "resync requested"),
        Request::ReloadFlows => (Command::ResyncKernel, "resync with master conntrack table"),
        Request::ReloadExpectations => {
            (Command::ResyncKernelExpectations, "resync with master expect table")
        }
        Request::Reload => (Command::ResyncKernelAll, "resync with master conntrack table"),
        Request::FlushTables | Request::FlushFlowTables => {
            (Command::Flush { local: true, remote: true }, "flushing caches")
        }
        Request::FlushLocal => {
            (Command::Flush { local: true, remote: false }, "flushing internal cache")
        }
        Request::FlushRemote => {
            (Command::Flush { local: false, remote: true }, "flushing external cache")
        }
        _ => return None,
    })
}
