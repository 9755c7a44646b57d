//! What runs on a node: the engine, or the model of the original.

use crate::original::Original;
use common::Instant;
use engine::{Config, Engine, Event, Input, KernelOp, Side};
use wire::Flow;

/// Either of the two, driven alike.
pub(crate) enum Speaker {
    Ours(Box<Engine>),
    Original(Box<Original>),
}

impl Speaker {
    pub(crate) fn new(original: bool, config: Config, now: Instant) -> Self {
        if original {
            return Self::Original(Box::new(Original::new(config, now)));
        }
        Self::Ours(Box::new(Engine::new(config, now)))
    }

    /// The engine, if it is ours.
    pub(crate) fn ours(&self) -> Option<&Engine> {
        match self {
            Self::Ours(engine) => Some(engine),
            Self::Original(_) => None,
        }
    }

    /// How many of `count` messages of a datagram, numbered from `seq` on, come too late for it. Ours takes all.
    pub(crate) fn refused(&self, seq: u32, greets: bool, count: usize) -> usize {
        match self {
            Self::Ours(_) => 0,
            Self::Original(original) => original.refused(seq, greets, count),
        }
    }

    pub(crate) fn handle(&mut self, now: Instant, input: Input<'_>) {
        match self {
            Self::Ours(engine) => engine.handle(now, input),
            Self::Original(original) => original.handle(now, input),
        }
    }

    pub(crate) fn poll_transmit(&mut self, now: Instant, datagram: &mut [u8]) -> Option<usize> {
        match self {
            Self::Ours(engine) => engine.poll_transmit(now, datagram),
            Self::Original(original) => original.poll_transmit(now, datagram),
        }
    }

    pub(crate) fn peek_kernel(&self) -> Option<KernelOp<'_>> {
        match self {
            Self::Ours(engine) => engine.peek_kernel(),
            Self::Original(original) => original.peek_kernel(),
        }
    }

    pub(crate) fn poll_kernel(&mut self) -> Option<KernelOp<'_>> {
        match self {
            Self::Ours(engine) => engine.poll_kernel(),
            Self::Original(original) => original.poll_kernel(),
        }
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        match self {
            Self::Ours(engine) => engine.poll_event(),
            Self::Original(original) => original.poll_event(),
        }
    }

    pub(crate) fn poll_timeout(&self) -> Instant {
        match self {
            Self::Ours(engine) => engine.poll_timeout(),
            Self::Original(original) => original.poll_timeout(),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        match self {
            Self::Ours(engine) => engine.config(),
            Self::Original(original) => original.config(),
        }
    }

    pub(crate) fn flows(&self, side: Side) -> Vec<Flow> {
        match self {
            Self::Ours(engine) => engine.flows(side).collect(),
            Self::Original(original) => original.flows(side),
        }
    }

    pub(crate) fn is_committing(&self) -> bool {
        self.ours().is_some_and(Engine::is_committing)
    }
}
