//! The kernel's connection tracking table, for programs that ask and go.
//!
//! Everything is one netlink socket. A dump is handed out message by message as it comes; writes go in batches of which
//! only the last message asks for an acknowledgement, because the kernel reports failures unasked.

use crate::netlink::Socket;
use crate::sys::Batch;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd};
use std::io;
use wire::cursor::Writer;
use wire::netlink::request::Ticket;
use wire::netlink::{self, Message, Messages, frame, uapi};

/// The kernel fills dump buffers up to 32 KiB when the reader offers that much.
const SLOT: usize = 32 << 10;
const SLOTS: usize = 4;
/// Requests of a batch. Their answers must fit the socket's default receive buffer even if all fail.
const BATCH_REQUESTS: usize = 128;
/// Past this many bytes a batch is full.
const BATCH_BYTES: usize = 56 << 10;
/// Room for the largest request beyond that.
const REQUEST_BYTES: usize = 8 << 10;

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
        let mut writer = Writer::new(&mut self.buffer);
        request(&mut writer);
        let len = writer.finish().map_err(|_| io::Error::from_raw_os_error(libc::EMSGSIZE))?;
        self.socket.send(&self.buffer[..len])
    }

    fn read_until_end(
        &mut self,
        seq: u32,
        mut each: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            let got = receive(&mut self.answers, self.socket.as_fd())?;
            for i in 0..got {
                let datagram = self.answers.datagram(i);
                for raw in Messages::new(datagram).flatten() {
                    if raw.header.seq != seq {
                        continue;
                    }
                    match end_of(&raw) {
                        Some(0) => return Ok(()),
                        Some(errno) => return Err(io::Error::from_raw_os_error(errno)),
                        None => each(whole(datagram, &raw))?,
                    }
                }
            }
        }
    }
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
fn end_of(raw: &netlink::RawMessage<'_>) -> Option<i32> {
    if raw.header.subsystem() != 0 {
        return None;
    }
    match netlink::decode(raw) {
        Ok(Message::Error(answer) | Message::Done(answer)) => Some(answer.errno),
        Ok(Message::Overrun) => Some(libc::ENOBUFS),
        _ => None,
    }
}

/// A message with its header.
fn whole<'a>(datagram: &'a [u8], raw: &netlink::RawMessage<'_>) -> &'a [u8] {
    &datagram[raw.at..raw.at + frame::HEADER_LEN + raw.payload.len()]
}

/// Writes in batches, each with a note of what it is about.
#[derive(Debug)]
pub struct Writes<T> {
    table: Table,
    notes: Vec<T>,
    len: usize,
    last_at: usize,
}

impl<T> Writes<T> {
    /// Writes through a socket of their own.
    ///
    /// # Errors
    /// As `socket(2)` and `bind(2)`.
    pub fn open() -> io::Result<Self> {
        Ok(Self { table: Table::open()?, notes: Vec::new(), len: 0, last_at: 0 })
    }

    /// Adds a request. When a batch is full it goes out, and `done` is told of each of it: its note, and its errno
    /// or 0.
    ///
    /// # Errors
    /// As `send(2)` and `recvmmsg(2)`, or what `done` says.
    pub fn push<E: From<io::Error>>(
        &mut self,
        note: T,
        request: impl FnOnce(&mut Writer<'_>, Ticket),
        done: impl FnMut(T, i32) -> Result<(), E>,
    ) -> Result<(), E> {
        self.table.seq += 1;
        let mut writer = Writer::new(&mut self.table.buffer[self.len..]);
        request(&mut writer, Ticket::silent(self.table.seq));
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
        mut done: impl FnMut(T, i32) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.notes.is_empty() {
            return Ok(());
        }
        let flags = &mut self.table.buffer[self.last_at + 6..self.last_at + 8];
        let acked = u16::from_ne_bytes([flags[0], flags[1]]) | uapi::flag::ACK;
        flags.copy_from_slice(&acked.to_ne_bytes());
        self.table.socket.send(&self.table.buffer[..self.len])?;
        let mut notes = std::mem::take(&mut self.notes);
        let errors = self.outcomes(notes.len())?;
        self.len = 0;
        for (note, errno) in notes.drain(..).zip(errors) {
            done(note, errno)?;
        }
        self.notes = notes;
        Ok(())
    }

    /// The errno of each of the last `count` requests.
    fn outcomes(&mut self, count: usize) -> io::Result<Vec<i32>> {
        let mut errors = vec![0; count];
        let last = self.table.seq;
        let first = last - (count as u32 - 1);
        loop {
            let got = receive(&mut self.table.answers, self.table.socket.as_fd())?;
            for i in 0..got {
                for raw in Messages::new(self.table.answers.datagram(i)).flatten() {
                    let seq = raw.header.seq;
                    let Some(errno) = end_of(&raw) else { continue };
                    if let Some(error) = errors.get_mut(seq.wrapping_sub(first) as usize) {
                        *error = errno;
                    }
                    if seq == last {
                        return Ok(errors);
                    }
                }
            }
        }
    }
}

/// Waits until `socket` has something to read; true if `stop` has.
#[must_use]
pub fn wait_for_either(socket: &impl AsFd, stop: &impl AsFd) -> bool {
    let mut both = [PollFd::new(socket, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
    let _ = poll(&mut both, None);
    !both[1].revents().is_empty()
}
