//! What the daemon answers on its control socket.

mod dump;
mod purge;

use super::statistics;
use crate::print::stats::{self, Report};
use crate::print::status::{Status, readiness};
use anyhow::{Result, anyhow};
use engine::{Command, Side};
use host::control::{Client, Faults};
use host::fleet::Handle;
use host::log::Log;
use host::purge::Subject;
use host::shard::{Order, Outcome};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use wire::control::Request;

use dump::Form;

/// Begins the answer to a request that was not carried out.
pub const REFUSAL: &str = "error: ";

/// What answers need.
#[derive(Debug)]
pub struct Service {
    /// The engine's threads.
    pub shard: Handle,
    /// Where lines go.
    pub log: Arc<Log>,
    /// Clients that did not say what they want.
    pub faults: Arc<Faults>,
    /// Whether this is statistics mode.
    pub records: bool,
    /// Whether expectations are replicated.
    pub expectations: bool,
    /// How long `-t` waits, seconds; a reload may change it.
    pub purge_after_s: AtomicU64,
    /// The purge that `-t` has scheduled.
    pub scheduled: Mutex<Option<AbortHandle>>,
}

impl Service {
    /// Serves one client. True when it asked the daemon to end.
    pub async fn serve(self: &Arc<Self>, mut client: Client) -> bool {
        let Some(request) = client.request().await else { return false };
        if request == Request::Kill {
            return true;
        }
        if let Err(error) = self.answer(&mut client, request).await {
            self.log.info(format!("control client: {error:#}"));
        }
        false
    }

    async fn answer(self: &Arc<Self>, client: &mut Client, request: Request) -> Result<()> {
        match request {
            other if self.records && !statistics::knows(other) => {
                let text = format!("{REFUSAL}there is no other node in statistics mode\n");
                Ok(client.reply(&text).await?)
            }
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
            Request::FlushKernelFlows => self.purge(client, &[Subject::Flows]).await,
            Request::FlushKernelExpectations => self.purge(client, &[Subject::Expectations]).await,
            Request::FlushKernel => {
                self.purge(client, &[Subject::Flows, Subject::Expectations]).await
            }
            Request::PurgeLater => {
                self.purge_later();
                Ok(())
            }
            other => match (text(other), command(other)) {
                (Some(text), _) => Ok(client.reply(&text(&self.report().await?)).await?),
                (None, Some((command, note))) => {
                    if stops_purge(other) {
                        self.cancel_purge();
                    }
                    self.log.notice(note);
                    if other == Request::Reload && self.expectations {
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
        let (reply, outcome) = oneshot::channel::<Outcome>();
        self.shard.order(Order::Command(command, reply));
        tell(client, outcome).await
    }

    async fn report(&self) -> Result<Report> {
        let (reply, snapshot) = oneshot::channel();
        self.shard.order(Order::Snapshot(reply));
        let snapshot = snapshot.await.map_err(|_| ended())?;
        Ok(Report {
            snapshot,
            requests_unread: self.faults.unread(),
            requests_unknown: self.faults.unknown(),
        })
    }
}

/// Waits for the outcome and tells the client of a failure.
async fn tell(client: &mut Client, outcome: oneshot::Receiver<Outcome>) -> Result<()> {
    match outcome.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(why)) => Ok(client.reply(&format!("{REFUSAL}{why}\n")).await?),
        Err(_) => Err(ended()),
    }
}

fn ended() -> anyhow::Error {
    anyhow!("the engine does not answer: it has ended, or too many requests wait for it")
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
        Request::StatsResendQueue => stats::resend_queue,
        Request::StatsExpectations => stats::expectations,
        Request::StatsJson => |report| Status::of(report).to_json(),
        Request::Ready => |report| match readiness(&report.snapshot) {
            Ok(()) => "ready\n".into(),
            Err(reasons) => reasons.iter().map(|why| format!("not ready: {why}\n")).collect(),
        },
        _ => return None,
    })
}

/// Whether the request ends what `-t` has begun: this node is taking over, or begins anew.
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
