//! The feed: from a plan to the thread that serves its socket.

use super::check;
use super::plan::Plan;
use super::serve::Service as Answers;
use crate::conf::SubscribeConf;
use crate::filter::{Limits, Sealed, parse};
use crate::print::{conntrack, parsed};
use anyhow::{Context, Result};
use ctnetlink::{Flow, FlowKey};
use engine::message_id::PeerId;
use engine::query::Program;
use export::feed::{AnswerFuture, Feed, Parts, Product, Question, Settings, Stats};
use host::clock;
use host::control::framed::namespace;
use host::feed::Socket;
use host::log::Log;
use std::sync::Arc;
use wire::feed::Record;

/// Listens on the socket that the plan names.
///
/// # Errors
/// When it cannot be bound.
pub fn open(plan: &Plan, log: &Arc<Log>) -> Result<Option<Socket>> {
    let Some(SubscribeConf { path, mode, .. }) = &plan.subscribe else { return Ok(None) };
    if !plan.keeps_tables() {
        log.warning("Subscribe: this daemon only serves helpers: there is nothing to subscribe to");
        return Ok(None);
    }
    let group = check::group(plan)?;
    let socket = Socket::bind(path, *mode, group)
        .with_context(|| format!("cannot bind the feed's socket {}", path.display()))?;
    Ok(Some(socket))
}

/// The thread, and what it takes to have it serve something else.
#[derive(Debug)]
pub struct Service {
    running: Option<Feed>,
}

impl Service {
    /// Starts the thread, if there is a socket to serve.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(socket: Option<Socket>, plan: &Plan, answers: &Arc<Answers>) -> Result<Self> {
        let (Some(socket), Some(subscribe)) = (socket, &plan.subscribe) else {
            return Ok(Self { running: None });
        };
        let stats = Arc::<Stats>::default();
        answers.count_feed(Some(Arc::clone(&stats)));
        let parts = Parts {
            socket,
            settings: settings(subscribe),
            engine: answers.engine(),
            log: answers.log(),
            product: Arc::new(Words { answers: Arc::clone(answers) }),
            stats,
            failures: answers.failures(),
        };
        Ok(Self { running: Some(Feed::start(parts).context("starting the feed's thread")?) })
    }

    /// Serves what another plan says. A path belongs to one socket, so the old one goes first.
    ///
    /// # Errors
    /// When it cannot be bound; then there is no feed.
    pub fn change(&mut self, (old, new): (&Plan, &Plan), answers: &Arc<Answers>) -> Result<()> {
        if (&old.subscribe, old.keeps_tables()) == (&new.subscribe, new.keeps_tables()) {
            return Ok(());
        }
        self.stop();
        answers.count_feed(None);
        *self = Self::start(open(new, &answers.log())?, new, answers)?;
        Ok(())
    }

    /// Ends the thread. False when it had panicked.
    pub fn stop(&mut self) -> bool {
        self.running.take().is_none_or(Feed::stop)
    }
}

fn settings(conf: &SubscribeConf) -> Settings {
    let SubscribeConf { clients_max, queue_size, memory_max, .. } = conf;
    Settings {
        clients_max: *clients_max as usize,
        queue_bytes: *queue_size as usize,
        memory_max: *memory_max as usize,
        version: env!("CARGO_PKG_VERSION"),
        namespace: namespace(),
    }
}

/// What the feed has to know of filters and of how flows are printed.
struct Words {
    answers: Arc<Answers>,
}

impl Product for Words {
    fn compile(&self, filter: &str) -> Result<Program, String> {
        let wrong = |error: crate::filter::Error| error.render(filter, false);
        let parsed = parse(filter, &Limits::NORMAL, &mut Sealed).map_err(wrong)?;
        parsed.check(check::unreported).map_err(wrong)?;
        Program::new(&parsed.expr).map_err(|_| "the filter is too large".into())
    }

    fn line(&self, out: &mut Vec<u8>, record: &Record<'_>, flow: &Flow, shard: u16) {
        conntrack::feed_json(out, record, flow, shard);
    }

    fn answer(&self, question: Question) -> AnswerFuture<'_> {
        Box::pin(self.answers.question(question))
    }

    fn identity(&self, flow: &str) -> Option<FlowKey> {
        parsed::flow(flow.as_bytes()).map(|flow| flow.key())
    }

    fn object(&self, flow: &Flow) -> String {
        conntrack::table_object(flow, clock::wall_ns())
    }

    fn peer(&self, peer: PeerId) -> Option<String> {
        self.answers.peer_name(peer)
    }
}
