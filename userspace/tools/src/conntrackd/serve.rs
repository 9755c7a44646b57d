//! What the daemon answers on its control socket.

use super::statistics;
use crate::print::{Age, Line, stats};
use anyhow::{Result, anyhow};
use common::Tuple;
use engine::{Command, Side};
use host::control::Client;
use host::log::Log;
use host::shard::{Handle, Order, Outcome, Page, Snapshot};
use std::fmt::Write;
use tokio::sync::oneshot;
use wire::control::Request;

/// Begins the answer to a request that was not carried out.
pub const REFUSAL: &str = "error: ";
/// Flows copied out of a table at a time: the shard is held up for as long as that takes, well under a millisecond.
const PAGE_FLOWS: usize = 1024;

/// Serves one client; `records` says that this is statistics mode. True when it asked the daemon to end.
pub async fn serve(mut client: Client, shard: &Handle, log: &Log, records: bool) -> bool {
    let Some(request) = client.request().await else { return false };
    let answered = match request {
        Request::Kill => return true,
        other if records && !statistics::knows(other) => {
            let text = format!("{REFUSAL}there is no other node in statistics mode\n");
            client.reply(&text).await.map_err(Into::into)
        }
        Request::DumpLocal => dump(&mut client, shard, Side::Local).await,
        Request::DumpRemote => dump(&mut client, shard, Side::Remote).await,
        Request::Stats => report(&mut client, shard, stats::general).await,
        Request::StatsNetwork => report(&mut client, shard, stats::network).await,
        Request::StatsTables => report(&mut client, shard, stats::tables).await,
        Request::StatsRuntime => report(&mut client, shard, stats::runtime).await,
        Request::StatsLinks => report(&mut client, shard, stats::links).await,
        other => match command(other) {
            Some((command, note)) => {
                log.notice(note);
                carry_out(&mut client, shard, command).await
            }
            None => {
                let text = format!("{REFUSAL}\"{}\" is not implemented yet\n", other.name());
                client.reply(&text).await.map_err(Into::into)
            }
        },
    };
    if let Err(error) = answered {
        log.info(format!("control client: {error:#}"));
    }
    false
}

/// The engine command behind a request, and what the log says of it.
fn command(request: Request) -> Option<(Command, &'static str)> {
    let flush = |local, remote| (Command::Flush { local, remote }, "flushing caches");
    Some(match request {
        Request::Commit | Request::CommitFlows => (Command::Commit, "commit requested"),
        Request::SendBulk => (Command::Bulk, "bulk update requested"),
        Request::RequestBulk => (Command::RequestResync, "resync requested"),
        Request::Reload | Request::ReloadFlows => {
            (Command::ResyncKernel, "resync with master conntrack table")
        }
        Request::FlushTables | Request::FlushFlowTables => flush(true, true),
        Request::FlushLocal => flush(true, false),
        Request::FlushRemote => flush(false, true),
        _ => return None,
    })
}

async fn carry_out(client: &mut Client, shard: &Handle, command: Command) -> Result<()> {
    let (reply, outcome) = oneshot::channel::<Outcome>();
    shard.order(Order::Command(command, reply));
    match outcome.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(why)) => Ok(client.reply(&format!("{REFUSAL}{why}\n")).await?),
        Err(_) => Err(anyhow!("the engine has ended")),
    }
}

async fn report(client: &mut Client, shard: &Handle, text: fn(&Snapshot) -> String) -> Result<()> {
    let (reply, snapshot) = oneshot::channel();
    shard.order(Order::Snapshot(reply));
    let snapshot = snapshot.await.map_err(|_| anyhow!("the engine has ended"))?;
    Ok(client.reply(&text(&snapshot)).await?)
}

async fn dump(client: &mut Client, shard: &Handle, side: Side) -> Result<()> {
    let mut from = Some(0);
    while let Some(slot) = from {
        let (reply, page) = oneshot::channel::<Page>();
        shard.order(Order::Page { side, from: slot, max: PAGE_FLOWS, reply });
        let page = page.await.map_err(|_| anyhow!("the engine has ended"))?;
        from = page.next;
        client.reply(&lines(page, side)?).await?;
    }
    Ok(())
}

fn lines(page: Page, side: Side) -> Result<String> {
    let mut out = String::new();
    for (mut flow, active_s) in page.flows {
        if side == Side::Remote {
            // The peer does not send it; what it was rebuilt to is for the kernel.
            flow.reply = Tuple::default();
        }
        Line::TABLE.flow(&mut out, &flow)?;
        let age = Age { expires_s: None, active_s: active_s.into() };
        writeln!(out, "{age}")?;
    }
    Ok(out)
}
