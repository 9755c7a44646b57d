//! What runs on a node: the engine, or the model of the original.

use crate::original::Original;
use common::Instant;
use ctnetlink::Flow;
use engine::drive::Driven;
use engine::{Config, Engine, Event, Input, KernelOp, Side, Stamp, Standing};
use std::time::Duration;

/// What speaks on a node, and how its clock differs from the one of the simulation.
pub(crate) struct Speaker {
    kind: Kind,
    /// The node's clock is so much ahead.
    ahead: Duration,
}

/// Either of the two, driven alike.
enum Kind {
    Ours(Box<Engine>),
    Original(Box<Original>),
}

impl Driven for Speaker {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        let (now, input) = (now + self.ahead, self.shifted(input));
        match &mut self.kind {
            Kind::Ours(engine) => engine.handle(now, input),
            Kind::Original(original) => original.handle(now, input),
        }
    }

    fn poll_timeout(&self) -> Instant {
        let due = match &self.kind {
            Kind::Ours(engine) => engine.poll_timeout(),
            Kind::Original(original) => original.poll_timeout(),
        };
        Instant(due.0.saturating_sub(self.ahead.as_nanos() as u64))
    }
}

impl Speaker {
    pub(crate) fn new(original: bool, config: Config, now: Instant, ahead: Duration) -> Self {
        let now = now + ahead;
        let kind = if original {
            Kind::Original(Box::new(Original::new(config, now)))
        } else {
            Kind::Ours(Box::new(Engine::new(config, now)))
        };
        Self { kind, ahead }
    }

    /// How ours stands with its peers.
    pub(crate) fn standing(&self, now: Instant) -> Option<Standing> {
        self.ours().map(|engine| engine.standing(now + self.ahead))
    }

    /// The kernel's time in an input, by the clock of this node's kernel.
    fn shifted<'a>(&self, mut input: Input<'a>) -> Input<'a> {
        let by = self.ahead;
        match &mut input {
            Input::Kernel { stamp: Stamp::At(at) | Stamp::After(at), .. }
            | Input::Packet { at, .. } => *at += by,
            _ => {}
        }
        input
    }

    /// The engine, if it is ours.
    pub(crate) fn ours(&self) -> Option<&Engine> {
        match &self.kind {
            Kind::Ours(engine) => Some(engine),
            Kind::Original(_) => None,
        }
    }

    /// The engine, mutable, if it is ours.
    pub(crate) fn ours_mut(&mut self) -> Option<&mut Engine> {
        match &mut self.kind {
            Kind::Ours(engine) => Some(engine),
            Kind::Original(_) => None,
        }
    }

    /// How many of `count` messages of a datagram, numbered from `seq` on, come too late for it. Ours takes all.
    pub(crate) fn refused(&self, seq: u32, greets: bool, count: usize) -> usize {
        match &self.kind {
            Kind::Ours(_) => 0,
            Kind::Original(original) => original.refused(seq, greets, count),
        }
    }

    pub(crate) fn poll_transmit(&mut self, now: Instant, datagram: &mut [u8]) -> Option<usize> {
        let now = now + self.ahead;
        match &mut self.kind {
            Kind::Ours(engine) => engine.poll_transmit(now, datagram),
            Kind::Original(original) => original.poll_transmit(now, datagram),
        }
    }

    pub(crate) fn peek_kernel(&self) -> Option<KernelOp<'_>> {
        match &self.kind {
            Kind::Ours(engine) => engine.peek_kernel(),
            Kind::Original(original) => original.peek_kernel(),
        }
    }

    pub(crate) fn poll_kernel(&mut self) -> Option<KernelOp<'_>> {
        match &mut self.kind {
            Kind::Ours(engine) => engine.poll_kernel(),
            Kind::Original(original) => original.poll_kernel(),
        }
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        match &mut self.kind {
            Kind::Ours(engine) => engine.poll_event(),
            Kind::Original(original) => original.poll_event(),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        match &self.kind {
            Kind::Ours(engine) => engine.config(),
            Kind::Original(original) => original.config(),
        }
    }

    pub(crate) fn flows(&self, side: Side) -> Vec<Flow> {
        match &self.kind {
            Kind::Ours(engine) => engine.flows(side).collect(),
            Kind::Original(original) => original.flows(side),
        }
    }

    pub(crate) fn is_committing(&self) -> bool {
        self.ours().is_some_and(Engine::is_committing)
    }
}
