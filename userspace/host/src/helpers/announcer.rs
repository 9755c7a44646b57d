//! Expectations through ctnetlink: where a free port is looked for, or a packet announces more than one.

use crate::netlink::Socket;
use ctnetlink::request::{self, IfExists, Ticket};
use ctnetlink::{Expectation, FlowKey, Message, Messages, Writer};
use rustix::time::Timespec;
use std::io;

/// More than any request or answer about one expectation takes.
const MESSAGE_LEN_MAX: usize = 4096;
/// The kernel answers inside `send`; this is for one that would not.
const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Announces expectations to the kernel.
pub(super) trait Announce {
    /// Creates an expectation.
    ///
    /// # Errors
    /// As the kernel says: `EEXIST` and `EBUSY` mean that its place is taken.
    fn create(&mut self, expectation: &Expectation, if_exists: IfExists) -> io::Result<()>;

    /// The expectation that a flow with this identity would fulfil.
    ///
    /// # Errors
    /// `ENOENT` if there is none.
    fn existing(&mut self, key: &FlowKey) -> io::Result<Expectation>;
}

/// A socket for it.
#[derive(Debug)]
pub(super) struct Announcer {
    socket: Socket,
    seq: u32,
}

impl Announcer {
    /// Opens the socket.
    ///
    /// # Errors
    /// As `socket(2)` and `bind(2)`.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::for_requests()?, seq: 0 })
    }

    /// Sends a request and takes its answer: an expectation, if one was asked for.
    fn ask(
        &mut self,
        write: impl FnOnce(&mut Writer<'_>, Ticket),
    ) -> io::Result<Option<Expectation>> {
        self.seq = self.seq.wrapping_add(1).max(1);
        let mut bytes = [0; MESSAGE_LEN_MAX];
        let mut writer = Writer::new(&mut bytes);
        write(&mut writer, Ticket::acked(self.seq));
        let len = writer.finish().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.socket.send(&bytes[..len])?;
        let mut found = None;
        loop {
            let got = self.socket.receive(&mut bytes, Some(&PATIENCE))?;
            for raw in Messages::new(&bytes[..got]).map_while(Result::ok) {
                if raw.header.seq != self.seq {
                    continue;
                }
                match ctnetlink::decode(&raw) {
                    Ok(Message::Expect { expect, .. }) => found = Some(expect.to_expectation()),
                    Ok(Message::Error(answer)) if answer.errno != 0 => {
                        return Err(io::Error::from_raw_os_error(answer.errno));
                    }
                    Ok(Message::Error(_)) => return Ok(found),
                    _ => {}
                }
            }
        }
    }
}

impl Announce for Announcer {
    fn create(&mut self, expectation: &Expectation, if_exists: IfExists) -> io::Result<()> {
        self.ask(|w, ticket| request::create_expectation(w, ticket, expectation, if_exists))
            .map(drop)
    }

    fn existing(&mut self, key: &FlowKey) -> io::Result<Expectation> {
        self.ask(|w, ticket| request::get_expectation(w, ticket, key))?
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
    }
}
