//! Who waits for the answers to commands.

use super::{CommandOutcome, Comparison};
use engine::CommandId;
use engine::output::Compared;
use std::collections::HashMap;
use tokio::sync::oneshot;

/// Whom a command is answered to.
#[derive(Debug)]
pub(super) enum Reply {
    /// Who waits until it is done.
    Done(oneshot::Sender<CommandOutcome>),
    /// Who waits for what a comparison finds.
    Found(oneshot::Sender<Comparison>),
}

/// Replies that are owed, by command.
#[derive(Debug, Default)]
pub(super) struct Replies(HashMap<CommandId, Reply>);

impl Replies {
    /// Somebody waits for a command.
    pub(super) fn expect(&mut self, id: CommandId, reply: Reply) {
        self.0.insert(id, reply);
    }

    /// A command is over. Who asked may have gone, which is nobody's loss.
    pub(super) fn end(&mut self, id: CommandId, outcome: CommandOutcome) {
        match (self.0.remove(&id), outcome) {
            (Some(Reply::Done(reply)), outcome) => drop(reply.send(outcome)),
            (Some(Reply::Found(reply)), Err(why)) => drop(reply.send(Err(why))),
            _ => {}
        }
    }

    /// A comparison is over.
    pub(super) fn compared(&mut self, id: CommandId, found: Box<Compared>) {
        if let Some(Reply::Found(reply)) = self.0.remove(&id) {
            let _ = reply.send(Ok(found));
        }
    }
}
