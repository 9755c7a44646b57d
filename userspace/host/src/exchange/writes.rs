//! Writes to the kernel's tables, in batches.
//!
//! Only the last message of a batch asks for an acknowledgement, because the kernel reports failures unasked.
//! ctnetlink works a batch off inside of `send`, so the answers wait on the socket when `send` returns.

use super::dump::end_of;
use crate::netlink::{Socket, set_receive_buffer};
use crate::sys::Batch;
use ctnetlink::request::{self, Ticket};
use ctnetlink::{Messages, RawMessage, Writer, frame};
use rustix::fd::AsFd;
use std::io;
use std::ops::Range;

/// Notes of a batch.
const BATCH_NOTES: usize = 128;
/// Past this many bytes a batch is full.
const BATCH_BYTES: usize = 64 << 10;
/// Room for the largest request beyond that.
const REQUEST_BYTES: usize = 8 << 10;
/// An answer is a capped error, or one entry.
const ANSWER_SLOT: usize = 4096;
/// Nearly always there is one, the acknowledgement, and each slot is made ready for every batch.
const ANSWER_SLOTS: usize = 8;
/// Receive buffer for the answers of a batch, which the kernel trims to about a kilobyte each.
const ANSWERS_BYTES: usize = 1 << 20;
/// Sequence numbers of a note: its request's, and that of a question behind it.
const SEQS: u32 = 2;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOutcome<'a> {
    /// The first errno that the kernel answered with, or 0.
    pub errno: i32,
    /// The message it answered with, if it was asked for one.
    pub answer: Option<&'a [u8]>,
}

/// Writes in batches, each with a note of what it is about.
#[derive(Debug)]
pub struct Writes<T> {
    socket: Socket,
    answers: Batch,
    buffer: Vec<u8>,
    seq: u32,
    notes: Vec<T>,
    len: usize,
    last_at: usize,
    /// Messages that were answered, one behind the other, and of each request: its errno, and where its answer is.
    answered: Vec<u8>,
    outcomes: Vec<(i32, Range<usize>)>,
}

impl<T> Writes<T> {
    /// Writes through a socket of their own.
    ///
    /// # Errors
    /// As `socket(2)` and `bind(2)`.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::for_requests()?;
        // A smaller one would do for errors, but perhaps not for answers.
        let _ = set_receive_buffer(socket.as_fd(), ANSWERS_BYTES);
        Ok(Self {
            socket,
            answers: Batch::new(ANSWER_SLOTS, ANSWER_SLOT),
            buffer: vec![0; BATCH_BYTES + REQUEST_BYTES],
            seq: 0,
            notes: Vec::new(),
            len: 0,
            last_at: 0,
            answered: Vec::new(),
            outcomes: Vec::new(),
        })
    }

    /// The port id that events carry which these writes cause.
    #[must_use]
    pub const fn portid(&self) -> u32 {
        self.socket.portid()
    }

    /// Adds what `request` writes for a note: a message under the sequence number of its ticket and, if the request
    /// needs its result, one that asks under the number after that. A full batch goes out, and `done` receives the
    /// outcome of each message.
    ///
    /// # Errors
    /// As [`Writes::flush`]; `EMSGSIZE` for a request that no batch has room for.
    pub fn push<E: From<io::Error>>(
        &mut self,
        note: T,
        request: impl FnOnce(&mut Writer<'_>, Ticket, &T),
        done: impl FnMut(T, WriteOutcome<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let full = self.add_written(note, request)?;
        if full { self.flush(done) } else { Ok(()) }
    }

    /// Adds what `request` writes for a note, as [`Writes::push`]. True when the batch is full: it goes out with
    /// [`Writes::flush`].
    ///
    /// # Errors
    /// `EMSGSIZE` for a request that no batch has room for.
    pub fn add(
        &mut self,
        note: T,
        request: impl FnOnce(&mut Writer<'_>, Ticket),
    ) -> io::Result<bool> {
        self.add_written(note, |w, ticket, _| request(w, ticket))
    }

    fn add_written(
        &mut self,
        note: T,
        request: impl FnOnce(&mut Writer<'_>, Ticket, &T),
    ) -> io::Result<bool> {
        self.seq = self.seq.wrapping_add(SEQS);
        let mut writer = Writer::new(&mut self.buffer[self.len..]);
        request(&mut writer, Ticket::silent(self.seq), &note);
        let too_long = |_| io::Error::from_raw_os_error(libc::EMSGSIZE);
        let len = writer.finish().map_err(too_long)?;
        self.last_at = self.len;
        self.len += len;
        self.notes.push(note);
        Ok(self.notes.len() >= BATCH_NOTES || self.len >= BATCH_BYTES)
    }

    /// Sends the batch, and passes the outcome of each request to `done`.
    ///
    /// # Errors
    /// As `send(2)` and `recvmmsg(2)`, or what `done` returns; `UnexpectedEof` when the acknowledgement was lost. The
    /// outcome of the rest of the batch is then unknown.
    pub fn flush<E: From<io::Error>>(
        &mut self,
        mut done: impl FnMut(T, WriteOutcome<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.notes.is_empty() {
            return Ok(());
        }
        let len = std::mem::take(&mut self.len);
        let mut notes = std::mem::take(&mut self.notes);
        let last_seq = self.ask_for_acknowledgement(len);
        self.socket.send(&self.buffer[..len])?;
        self.read_outcomes(notes.len(), last_seq)?;
        for (note, (errno, at)) in notes.drain(..).zip(&self.outcomes) {
            let answer = Some(&self.answered[at.clone()]).filter(|answer| !answer.is_empty());
            done(note, WriteOutcome { errno: *errno, answer })?;
        }
        self.notes = notes;
        Ok(())
    }

    /// Has the last message acknowledged; its number.
    fn ask_for_acknowledgement(&mut self, len: usize) -> u32 {
        let last = Messages::new(&self.buffer[self.last_at..len]).flatten().last();
        let (at, seq) = last.map_or((0, 0), |message| (message.at, message.header.seq));
        request::acknowledge(&mut self.buffer[self.last_at + at..len]);
        seq
    }

    /// What became of each of the last `count` notes, until the message `last_seq` is acknowledged.
    fn read_outcomes(&mut self, count: usize, last_seq: u32) -> io::Result<()> {
        self.answered.clear();
        self.outcomes.clear();
        self.outcomes.resize(count, (0, 0..0));
        let first = self.seq.wrapping_sub(SEQS * (count as u32 - 1));
        loop {
            let got = self.answers.receive(self.socket.as_fd())?;
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            for datagram in (0..got).map(|at| self.answers.datagram(at)) {
                for raw in Messages::new(datagram).flatten() {
                    let place = raw.header.seq.wrapping_sub(first) / SEQS;
                    let Some(outcome) = self.outcomes.get_mut(place as usize) else { continue };
                    match end_of(&raw) {
                        Some(errno) => {
                            outcome.0 = if outcome.0 == 0 { errno } else { outcome.0 };
                            if raw.header.seq == last_seq {
                                return Ok(());
                            }
                        }
                        None => {
                            let start = self.answered.len();
                            self.answered.extend_from_slice(whole(datagram, &raw));
                            outcome.1 = start..self.answered.len();
                        }
                    }
                }
            }
        }
    }
}

/// A message with its header.
pub(crate) fn whole<'a>(datagram: &'a [u8], raw: &RawMessage<'_>) -> &'a [u8] {
    &datagram[raw.at..raw.at + frame::HEADER_LEN + raw.payload.len()]
}
