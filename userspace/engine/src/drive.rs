//! One turn of the thread that runs an engine, in the order that all of its hosts keep: the daemon, the simulation,
//! the tests.
//!
//! ```text
//!   inputs: events, datagrams, commands --> handle
//!   drive:  time due? --> Timeout;  kernel, which may answer at once --> handle;  transmit;  events
//!   sleep until poll_timeout, or until there is more input
//! ```
//!
//! The kernel's answers may become messages to the peers, so datagrams are pulled after requests were carried out. A
//! datagram never causes a request to the kernel. Events come last: they report all that the turn did.

use crate::engine::Engine;
use crate::input::Input;
use common::Instant;

/// An engine that a turn drives.
pub trait Driven {
    /// Takes one input.
    fn handle(&mut self, now: Instant, input: Input<'_>);

    /// When it wants [`Input::Timeout`].
    fn poll_timeout(&self) -> Instant;
}

impl Driven for Engine {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        Self::handle(self, now, input);
    }

    fn poll_timeout(&self) -> Instant {
        Self::poll_timeout(self)
    }
}

/// The world around an engine. Each method pulls until the engine has no more, or until it has done a turn's share.
pub trait Io<E> {
    /// Why a turn fails.
    type Error;

    /// Carries out what the engine asks of the kernel, and hands in the answers that are there. Returns how much was
    /// done.
    ///
    /// # Errors
    /// Whatever makes going on pointless.
    fn kernel(&mut self, engine: &mut E, now: Instant) -> Result<usize, Self::Error>;

    /// Sends what the engine wants sent. Returns how many datagrams that were.
    ///
    /// # Errors
    /// As for `kernel`.
    fn transmit(&mut self, engine: &mut E, now: Instant) -> Result<usize, Self::Error>;

    /// Reports the engine's events.
    ///
    /// # Errors
    /// As for `kernel`.
    fn tell(&mut self, engine: &mut E, now: Instant) -> Result<(), Self::Error>;
}

/// What a turn did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Requests carried out, and flows read.
    pub kernel: usize,
    /// Datagrams sent.
    pub sent: usize,
}

/// Does one turn, after the inputs were handed in.
///
/// # Errors
/// The first that the world around the engine returns.
pub fn drive<E: Driven, I: Io<E>>(
    engine: &mut E,
    now: Instant,
    io: &mut I,
) -> Result<Turn, I::Error> {
    if now >= engine.poll_timeout() {
        engine.handle(now, Input::Timeout);
    }
    let kernel = io.kernel(engine, now)?;
    let sent = io.transmit(engine, now)?;
    io.tell(engine, now)?;
    Ok(Turn { kernel, sent })
}
