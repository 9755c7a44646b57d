//! Tables, line by line.

use super::{REFUSAL, Service, ended};
use crate::print::{Age, Line, Xml, text};
use anyhow::Result;
use ctnetlink::{Flow, Tuple};
use engine::Side;
use engine::filter::Filter;
use host::control::Client;
use host::shard::{ExpectPage, ExpectPlace, Order, Page, Place};
use host::{clock, listing};
use std::fmt::Write;
use tokio::sync::{mpsc, oneshot};

/// Flows copied out of a table at a time: the shard is held up for as long as that takes, well under a millisecond.
const PAGE_FLOWS: usize = 1024;
/// Pieces of the kernel's table that wait for the client.
const PIECES: usize = 4;

/// How flows are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Xml,
}

impl Service {
    pub(super) async fn dump(&self, client: &mut Client, side: Side, form: Form) -> Result<()> {
        let engine = self.engine.read().await.clone();
        let mut next = Some(Place::default());
        while let Some(from) = next {
            let (reply, page) = oneshot::channel::<Page>();
            engine.order(Order::Page { side, from, max: PAGE_FLOWS, reply });
            let page = page.await.map_err(|_| ended())?;
            if let Some(filter) = page.kernel {
                return dump_kernel(client, form, &filter).await;
            }
            next = page.next;
            client.reply(&lines(page, side, form)?).await?;
        }
        Ok(())
    }
}

impl Service {
    pub(super) async fn dump_expectations(
        &self,
        client: &mut Client,
        side: Side,
        form: Form,
    ) -> Result<()> {
        let engine = self.engine.read().await.clone();
        let mut next = Some(ExpectPlace::default());
        while let Some(from) = next {
            let (reply, page) = oneshot::channel::<ExpectPage>();
            engine.order(Order::Expectations { side, from, reply });
            let page = page.await.map_err(|_| ended())?;
            next = page.next;
            client.reply(&expectation_lines(page, form)?).await?;
        }
        Ok(())
    }
}

/// Where no local table is kept, the kernel's is shown.
async fn dump_kernel(client: &mut Client, form: Form, filter: &Filter) -> Result<()> {
    let (sender, mut pieces) = mpsc::channel::<Vec<Flow>>(PIECES);
    let reading = tokio::task::spawn_blocking(move || {
        listing::kernel_flows(|flows| sender.blocking_send(flows).is_ok())
    });
    while let Some(mut flows) = pieces.recv().await {
        flows.retain(|flow| filter.passes(flow));
        client.reply(&kernel_lines(&flows, form)?).await?;
    }
    if let Err(why) = reading.await? {
        client.reply(&format!("{REFUSAL}reading the kernel's table: {why}\n")).await?;
    }
    Ok(())
}

fn lines(page: Page, side: Side, form: Form) -> Result<String> {
    let mut out = String::new();
    for (mut flow, age) in page.flows {
        if side == Side::Remote {
            // The peer does not send it; what it was rebuilt to is for the kernel.
            flow.reply = Tuple::default();
        }
        if form == Form::Xml {
            Xml::TABLE.flow(&mut out, &flow)?;
            out.push('\n');
            continue;
        }
        Line::TABLE.flow(&mut out, &flow)?;
        let age = Age { expires_s: age.expires_s, active_s: age.active_s.into() };
        writeln!(out, "{age}")?;
    }
    Ok(out)
}

fn expectation_lines(page: ExpectPage, form: Form) -> Result<String> {
    let mut out = String::new();
    for (expectation, active_s) in page.expectations {
        if form == Form::Xml {
            Xml::TABLE.expectation(&mut out, &expectation)?;
            out.push('\n');
            continue;
        }
        text::expectation(&mut out, &expectation, false)?;
        let age = Age { expires_s: None, active_s: active_s.into() };
        writeln!(out, "{age}")?;
    }
    Ok(out)
}

fn kernel_lines(flows: &[Flow], form: Form) -> Result<String> {
    let now_ns = Some(clock::wall_ns());
    let mut out = String::new();
    for flow in flows {
        match form {
            Form::Text => Line { now_ns, ..Line::LIST }.flow(&mut out, flow)?,
            Form::Xml => Xml { now_ns, ..Xml::LIST }.flow(&mut out, flow)?,
        }
        out.push('\n');
    }
    Ok(out)
}
