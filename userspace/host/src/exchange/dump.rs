//! Reads a table of the kernel, piece by piece.
//!
//! The kernel makes the next piece while the last one is read. So a socket without data means that an answer was
//! lost, except for the first piece, which a busy kernel may still be making.

use crate::netlink::Socket;
use crate::sys::Batch;
use ctnetlink::{Message, Messages, RawMessage, Writer, uapi};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::time::Timespec;
use std::io;

/// The kernel fills dump buffers up to 32 KiB when the reader offers that much.
const PIECE_BYTES: usize = 32 << 10;
/// Room for a request.
const REQUEST_BYTES: usize = 256;

/// A table being read, and the socket for it.
#[derive(Debug)]
pub struct Dump {
    socket: Socket,
    pieces: Pieces,
    seq: u32,
    running: bool,
    torn: bool,
}

/// What one look at the socket brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The socket holds nothing.
    Nothing,
    /// Some of it; there is more.
    Some,
    /// The last of it.
    Over(DumpEnd),
}

/// How a dump ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DumpEnd {
    /// What the kernel says; 0: it has shown all.
    pub errno: i32,
    /// Entries were skipped or shown twice (`NLM_F_DUMP_INTR`), or could not be read.
    pub torn: bool,
}

impl DumpEnd {
    /// Whether every entry was shown.
    #[must_use]
    pub const fn is_complete(self) -> bool {
        self.errno == 0 && !self.torn
    }

    /// The same as an outcome.
    ///
    /// # Errors
    /// What the kernel said; `EINTR` when entries were skipped.
    pub fn outcome(self) -> io::Result<()> {
        match self {
            Self { errno: 0, torn: false } => Ok(()),
            Self { errno: 0, torn: true } => Err(io::Error::from_raw_os_error(libc::EINTR)),
            Self { errno, .. } => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

impl Dump {
    /// Opens a socket, with room for so many pieces at a time.
    ///
    /// # Errors
    /// As `socket(2)` and `bind(2)`.
    pub fn open(pieces: usize) -> io::Result<Self> {
        let (socket, pieces) = (Socket::for_requests()?, Pieces::new(pieces));
        Ok(Self { socket, pieces, seq: 0, running: false, torn: false })
    }

    /// Asks for a table: `request` writes what is sent, under the sequence number it is given.
    ///
    /// # Errors
    /// As `send(2)`.
    pub fn begin(&mut self, request: impl FnOnce(&mut Writer<'_>, u32)) -> io::Result<()> {
        self.seq = self.seq.wrapping_add(1);
        let mut bytes = [0; REQUEST_BYTES];
        let mut writer = Writer::new(&mut bytes);
        request(&mut writer, self.seq);
        let len = writer.finish().expect("a dump request is short");
        self.torn = false;
        self.socket.send(&bytes[..len])?;
        self.running = true;
        Ok(())
    }

    /// Whether the end has not come yet.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.running
    }

    /// Hands out what is there, without waiting.
    ///
    /// # Errors
    /// As `recvmmsg(2)`. The dump is over then.
    pub fn read(&mut self, mut each: impl FnMut(Message<'_>)) -> io::Result<Reading> {
        if !self.running {
            return Ok(Reading::Nothing);
        }
        self.running = false;
        if self.pieces.receive(self.socket.as_fd())? == 0 {
            self.running = true;
            return Ok(Reading::Nothing);
        }
        let mut misread = false;
        let end = self.pieces.hand_out(self.seq, &mut self.torn, |_, raw| {
            match ctnetlink::decode(raw) {
                Ok(message) => each(message),
                Err(_) => misread = true,
            }
            Ok(())
        })?;
        self.torn |= misread;
        self.running = end.is_none();
        let torn = self.torn;
        Ok(end.map_or(Reading::Some, |errno| Reading::Over(DumpEnd { errno, torn })))
    }

    /// Waits for the next piece. False when none came in time.
    ///
    /// # Errors
    /// As `poll(2)`.
    pub fn wait(&self, patience: &Timespec) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        Ok(poll(&mut fds, Some(patience))? > 0)
    }
}

impl AsFd for Dump {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Pieces of a dump that came together.
#[derive(Debug)]
pub(crate) struct Pieces {
    batch: Batch,
    count: usize,
}

impl Pieces {
    /// Room for so many.
    pub(crate) fn new(pieces: usize) -> Self {
        Self { batch: Batch::new(pieces, PIECE_BYTES), count: 0 }
    }

    /// Takes what is there; how many pieces that is.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.count = 0;
        self.count = self.batch.receive(socket)?;
        Ok(self.count)
    }

    /// Whether the end of the answer to the request `seq` is among them.
    pub(crate) fn holds_end(&self, seq: u32) -> bool {
        let pieces = (0..self.count).map(|at| self.batch.datagram(at));
        let mut answers = pieces.flat_map(|piece| Messages::new(piece).flatten());
        answers.any(|raw| raw.header.seq == seq && end_of(&raw).is_some())
    }

    /// Hands out the messages that answer the request `seq`, each with the piece it is in, and notes in `torn` whether
    /// the kernel skipped entries. `Some` at the end: what the kernel says, 0 for success.
    pub(crate) fn hand_out(
        &self,
        seq: u32,
        torn: &mut bool,
        mut each: impl FnMut(&[u8], &RawMessage<'_>) -> io::Result<()>,
    ) -> io::Result<Option<i32>> {
        for piece in (0..self.count).map(|at| self.batch.datagram(at)) {
            for raw in Messages::new(piece).flatten().filter(|raw| raw.header.seq == seq) {
                *torn |= raw.header.has(uapi::flag::DUMP_INTR);
                match end_of(&raw) {
                    Some(errno) => return Ok(Some(errno)),
                    None => each(piece, &raw)?,
                }
            }
        }
        Ok(None)
    }
}

/// The errno an answer ends with, 0 for success; `None` if it goes on.
pub(crate) fn end_of(raw: &RawMessage<'_>) -> Option<i32> {
    if raw.header.subsystem() != 0 {
        return None;
    }
    match ctnetlink::decode(raw) {
        Ok(Message::Error(answer) | Message::Done(answer)) => Some(answer.errno),
        Ok(Message::Overrun) => Some(libc::ENOBUFS),
        _ => None,
    }
}
