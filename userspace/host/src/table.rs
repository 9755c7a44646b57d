//! The kernel's connection tracking table, for programs that ask and go.
//!
//! Everything is one netlink socket. A dump is handed out message by message as it comes. One that turns out to be long
//! is read ahead by a thread, because the kernel makes the next piece only when it is asked for it:
//!
//! ```text
//!  kernel --pieces--> reader thread --a few pieces--> caller, message by message
//! ```
//!
//! Writes go in batches of which only the last message asks for an acknowledgement, because the kernel reports failures
//! unasked.

use crate::netlink::{Socket, set_receive_buffer};
use crate::sys::Batch;
use ctnetlink::request::Ticket;
use ctnetlink::{Message, Messages, Writer, frame, uapi};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::time::Timespec;
use std::io;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

/// The kernel fills dump buffers up to 32 KiB when the reader offers that much.
const SLOT: usize = 32 << 10;
const SLOTS: usize = 4;
/// Readings of so many pieces before a thread is worth its start: a few thousand flows.
const READINGS_ALONE: usize = 16;
/// Readings that may wait for the caller.
const READINGS_AHEAD: usize = 8;
/// Requests of a batch. Their answers must fit the socket's default receive buffer even if all fail.
const BATCH_REQUESTS: usize = 128;
/// Past this many bytes a batch is full.
const BATCH_BYTES: usize = 56 << 10;
/// Room for the largest request beyond that.
const REQUEST_BYTES: usize = 8 << 10;
/// Receive buffer for a batch's answers, which the kernel trims to about a kilobyte each.
const ANSWERS_BYTES: usize = 1 << 20;
/// Sequence numbers of a note: its request's, and that of a question behind it.
const SEQS: u32 = 2;
/// Offset of the flags in a message's header.
const FLAGS_AT: usize = 6;

/// The table.
#[derive(Debug)]
pub struct Table {
    socket: Socket,
    answers: Batch,
    buffer: Vec<u8>,
    seq: u32,
}

impl Table {
    /// Opens a socket.
    ///
    /// # Errors
    /// As `socket(2)` and `bind(2)`.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            socket: Socket::for_requests()?,
            answers: Batch::new(SLOTS, SLOT),
            buffer: vec![0; BATCH_BYTES + REQUEST_BYTES],
            seq: 0,
        })
    }

    /// Sends the request that `request` writes under the sequence number it is given, and hands every message of the
    /// answer, header included, to `each`.
    ///
    /// # Errors
    /// What the kernel says instead of an answer, or in the middle of it.
    pub fn dump(
        &mut self,
        request: impl FnOnce(&mut Writer<'_>, u32),
        each: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        self.seq += 1;
        let seq = self.seq;
        self.send(|w| request(w, seq))?;
        self.read_until_end(seq, each)
    }

    /// The same for a request with one answer: messages, then an acknowledgement.
    ///
    /// # Errors
    /// What the kernel says instead of an answer.
    pub fn ask(
        &mut self,
        request: impl FnOnce(&mut Writer<'_>, Ticket),
        each: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        self.dump(|w, seq| request(w, Ticket::acked(seq)), each)
    }

    fn send(&mut self, request: impl FnOnce(&mut Writer<'_>)) -> io::Result<()> {
        let len = written(&mut self.buffer, request)?;
        self.socket.send(&self.buffer[..len])
    }

    fn read_until_end(
        &mut self,
        seq: u32,
        mut each: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        for _ in 0..READINGS_ALONE {
            let got = receive(&mut self.answers, self.socket.as_fd())?;
            if hand_out(&self.answers, got, seq, &mut each)? {
                return Ok(());
            }
        }
        self.read_ahead(seq, each)
    }

    /// Two dumps, of which a thread reads the second ahead while the first one is handed out: where the kernel picks
    /// few of many, its walk over the table is what takes time.
    ///
    /// # Errors
    /// As [`Table::dump`].
    pub fn dump_two(
        &mut self,
        other: &mut Self,
        mut request: impl FnMut(&mut Writer<'_>, u32, usize),
        mut each: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        other.seq += 1;
        let seq = other.seq;
        let second = |w: &mut Writer<'_>| request(w, seq, 1);
        let len = written(&mut other.buffer, second)?;
        let (socket, bytes) = (&other.socket, &other.buffer[..len]);
        thread::scope(|scope| {
            let (full, filled) = sync_channel(READINGS_AHEAD);
            let (back, empty) = channel();
            let reader = thread::Builder::new().name("dump".to_owned());
            reader.spawn_scoped(scope, move || {
                // The kernel begins to walk inside of this.
                match socket.send(bytes) {
                    Ok(()) => read_pieces(socket.as_fd(), seq, &full, &empty),
                    Err(error) => drop(full.send(Err(error))),
                }
            })?;
            self.dump(|w, seq| request(w, seq, 0), &mut each)?;
            take_readings(filled, &back, seq, &mut each)
        })
    }

    /// Goes on with a long dump: a thread reads, this one hands out.
    fn read_ahead(
        &self,
        seq: u32,
        mut each: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let socket = self.socket.as_fd();
        thread::scope(|scope| {
            let (full, filled) = sync_channel(READINGS_AHEAD);
            let (back, empty) = channel();
            let reader = thread::Builder::new().name("dump".to_owned());
            reader.spawn_scoped(scope, move || read_pieces(socket, seq, &full, &empty))?;
            take_readings(filled, &back, seq, &mut each)
        })
    }
}

/// Hands out what a reader reads, to the end.
fn take_readings(
    filled: Receiver<Reading>,
    back: &Sender<Batch>,
    seq: u32,
    each: &mut impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    for reading in filled {
        let (pieces, got) = reading?;
        if hand_out(&pieces, got, seq, each)? {
            break;
        }
        // A reader that has come to the end takes none back.
        let _ = back.send(pieces);
    }
    Ok(())
}

/// How many bytes a request takes.
fn written(buffer: &mut [u8], request: impl FnOnce(&mut Writer<'_>)) -> io::Result<usize> {
    let mut writer = Writer::new(buffer);
    request(&mut writer);
    writer.finish().map_err(|_| io::Error::from_raw_os_error(libc::EMSGSIZE))
}

/// One reading: pieces, and how many there are.
type Reading = io::Result<(Batch, usize)>;

/// Reads pieces of a dump until its end, an error, or until nobody wants them any more.
fn read_pieces(
    socket: BorrowedFd<'_>,
    seq: u32,
    full: &SyncSender<Reading>,
    empty: &Receiver<Batch>,
) {
    loop {
        let mut pieces = empty.try_recv().unwrap_or_else(|_| Batch::new(SLOTS, SLOT));
        let reading = receive(&mut pieces, socket);
        let ends = reading.as_ref().is_ok_and(|got| {
            let mut messages = (0..*got).flat_map(|i| Messages::new(pieces.datagram(i)).flatten());
            messages.any(|raw| raw.header.seq == seq && end_of(&raw).is_some())
        });
        let failed = reading.is_err();
        if full.send(reading.map(|got| (pieces, got))).is_err() || ends || failed {
            return;
        }
    }
}

/// Hands out the messages of a reading; whether the last one was among them.
fn hand_out(
    pieces: &Batch,
    got: usize,
    seq: u32,
    each: &mut impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<bool> {
    for datagram in (0..got).map(|i| pieces.datagram(i)) {
        for raw in Messages::new(datagram).flatten() {
            if raw.header.seq != seq {
                continue;
            }
            match end_of(&raw) {
                Some(0) => return Ok(true),
                Some(errno) => return Err(io::Error::from_raw_os_error(errno)),
                None => each(whole(datagram, &raw))?,
            }
        }
    }
    Ok(false)
}

/// Waits for datagrams.
fn receive(answers: &mut Batch, socket: BorrowedFd<'_>) -> io::Result<usize> {
    loop {
        let got = answers.receive(socket)?;
        if got > 0 {
            return Ok(got);
        }
        let _ = poll(&mut [PollFd::new(&socket, PollFlags::IN)], None);
    }
}

/// The errno an answer ends with, 0 for success; `None` if it goes on.
fn end_of(raw: &ctnetlink::RawMessage<'_>) -> Option<i32> {
    if raw.header.subsystem() != 0 {
        return None;
    }
    match ctnetlink::decode(raw) {
        Ok(Message::Error(answer) | Message::Done(answer)) => Some(answer.errno),
        Ok(Message::Overrun) => Some(libc::ENOBUFS),
        _ => None,
    }
}

/// A message with its header.
fn whole<'a>(datagram: &'a [u8], raw: &ctnetlink::RawMessage<'_>) -> &'a [u8] {
    &datagram[raw.at..raw.at + frame::HEADER_LEN + raw.payload.len()]
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// The first errno that the kernel answered with, or 0.
    pub errno: i32,
    /// The message it answered with, if it was asked for one.
    pub answer: Option<&'a [u8]>,
}

/// Writes in batches, each with a note of what it is about.
#[derive(Debug)]
pub struct Writes<T> {
    table: Table,
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
        let table = Table::open()?;
        // A smaller one would do for errors, but perhaps not for answers.
        let _ = set_receive_buffer(table.socket.as_fd(), ANSWERS_BYTES);
        let (notes, answered, outcomes) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { table, notes, len: 0, last_at: 0, answered, outcomes })
    }

    /// Adds what `request` writes for a note: a message under the sequence number of its ticket, and, if it wants to
    /// know what has come of it, one that asks under the number after that. When a batch is full it goes out, and
    /// `done` is told what became of each of it.
    ///
    /// # Errors
    /// As `send(2)` and `recvmmsg(2)`, or what `done` says.
    pub fn push<E: From<io::Error>>(
        &mut self,
        note: T,
        request: impl FnOnce(&mut Writer<'_>, Ticket, &T),
        done: impl FnMut(T, Outcome<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.table.seq += SEQS;
        let mut writer = Writer::new(&mut self.table.buffer[self.len..]);
        request(&mut writer, Ticket::silent(self.table.seq), &note);
        let too_long = |_| io::Error::from_raw_os_error(libc::EMSGSIZE);
        let len = writer.finish().map_err(too_long)?;
        self.last_at = self.len;
        self.len += len;
        self.notes.push(note);
        if self.notes.len() < BATCH_REQUESTS && self.len < BATCH_BYTES {
            return Ok(());
        }
        self.flush(done)
    }

    /// Sends what waits, and tells what became of it.
    ///
    /// # Errors
    /// As [`Writes::push`].
    pub fn flush<E: From<io::Error>>(
        &mut self,
        mut done: impl FnMut(T, Outcome<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.notes.is_empty() {
            return Ok(());
        }
        let last = Messages::new(&self.table.buffer[self.last_at..self.len]).flatten().last();
        let (at, last_seq) = last.map_or((0, 0), |message| (message.at, message.header.seq));
        let flags_at = self.last_at + at + FLAGS_AT;
        let flags = &mut self.table.buffer[flags_at..flags_at + 2];
        let acked = u16::from_ne_bytes([flags[0], flags[1]]) | uapi::flag::ACK;
        flags.copy_from_slice(&acked.to_ne_bytes());
        self.table.socket.send(&self.table.buffer[..self.len])?;
        let mut notes = std::mem::take(&mut self.notes);
        self.read_outcomes(notes.len(), last_seq)?;
        self.len = 0;
        for (note, (errno, at)) in notes.drain(..).zip(&self.outcomes) {
            let answer = Some(&self.answered[at.clone()]).filter(|answer| !answer.is_empty());
            done(note, Outcome { errno: *errno, answer })?;
        }
        self.notes = notes;
        Ok(())
    }

    /// What became of each of the last `count` notes, until the message `last_seq` is acknowledged.
    fn read_outcomes(&mut self, count: usize, last_seq: u32) -> io::Result<()> {
        self.answered.clear();
        self.outcomes.clear();
        self.outcomes.resize(count, (0, 0..0));
        let first = self.table.seq - SEQS * (count as u32 - 1);
        loop {
            let got = receive(&mut self.table.answers, self.table.socket.as_fd())?;
            for datagram in (0..got).map(|i| self.table.answers.datagram(i)) {
                for raw in Messages::new(datagram).flatten() {
                    let seq = raw.header.seq;
                    let errno = end_of(&raw);
                    let place = seq.wrapping_sub(first) / SEQS;
                    let Some(outcome) = self.outcomes.get_mut(place as usize) else { continue };
                    match errno {
                        Some(errno) if outcome.0 == 0 => outcome.0 = errno,
                        Some(_) => {}
                        None => {
                            let start = self.answered.len();
                            self.answered.extend_from_slice(whole(datagram, &raw));
                            outcome.1 = start..self.answered.len();
                        }
                    }
                    if errno.is_some() && seq == last_seq {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Waits until one of `sources` has something to read, or for so long; true if `stop` has something.
#[must_use]
pub fn wait_for_any(
    sources: &[BorrowedFd<'_>],
    stop: &impl AsFd,
    patience: Option<Duration>,
) -> bool {
    let mut all = vec![PollFd::new(stop, PollFlags::IN)];
    all.extend(sources.iter().map(|source| PollFd::new(source, PollFlags::IN)));
    let patience = patience.and_then(|time| Timespec::try_from(time).ok());
    let _ = poll(&mut all, patience.as_ref());
    !all[0].revents().is_empty()
}
