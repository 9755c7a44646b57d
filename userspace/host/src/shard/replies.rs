//! Clients that wait for the answers to orders, and answers that wait for a publication.

use super::{CommandOutcome, Comparison};
use engine::CommandId;
use engine::output::Compared;
use std::collections::HashMap;
use std::fmt;
use tokio::sync::oneshot;

/// The receiver of a command's answer.
#[derive(Debug)]
pub(super) enum Reply {
    /// The client waits until the command is done.
    Done(oneshot::Sender<CommandOutcome>),
    /// The client waits for the result of a comparison.
    Found(oneshot::Sender<Comparison>),
}

/// Replies that are owed, by command, and answers that are given at the end of a turn.
#[derive(Default)]
pub(super) struct Replies {
    owed: HashMap<CommandId, Reply>,
    /// At most a few in each turn.
    given: Vec<Box<dyn FnOnce() + Send>>,
}

impl fmt::Debug for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replies").field("owed", &self.owed).finish_non_exhaustive()
    }
}

impl Replies {
    /// A client waits for a command.
    pub(super) fn expect(&mut self, id: CommandId, reply: Reply) {
        self.owed.insert(id, reply);
    }

    /// Answers at the end of the turn. A receiver that has gone needs no answer.
    pub(super) fn give<T: Send + 'static>(&mut self, reply: oneshot::Sender<T>, answer: T) {
        self.given.push(Box::new(move || drop(reply.send(answer))));
    }

    /// Whether an answer is due.
    pub(super) fn are_given(&self) -> bool {
        !self.given.is_empty()
    }

    /// Sends the answers.
    pub(super) fn send(&mut self) {
        self.given.drain(..).for_each(|answer| answer());
    }

    /// A command is over.
    pub(super) fn end(&mut self, id: CommandId, outcome: CommandOutcome) {
        match (self.owed.remove(&id), outcome) {
            (Some(Reply::Done(reply)), outcome) => self.give(reply, outcome),
            (Some(Reply::Found(reply)), Err(why)) => self.give(reply, Err(why)),
            _ => {}
        }
    }

    /// A comparison is over.
    pub(super) fn compared(&mut self, id: CommandId, found: Box<Compared>) {
        if let Some(Reply::Found(reply)) = self.owed.remove(&id) {
            self.give(reply, Ok(found));
        }
    }
}
