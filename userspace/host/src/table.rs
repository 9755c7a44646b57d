//! The kernel's connection tracking table, for programs that ask and go.
//!
//! Everything is one netlink socket. A dump is handed out message by message as it comes. One that turns out to be long
//! is read ahead by a thread, because the kernel makes the next piece only when it is asked for it:
//!
//! ```text
//!  kernel --pieces--> reader thread --a few pieces--> caller, message by message
//! ```

use crate::exchange::dump::{DumpEnd, Pieces};
use crate::exchange::writes::whole;
use crate::netlink::Socket;
use ctnetlink::Writer;
use ctnetlink::request::Ticket;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::time::Timespec;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// Pieces that are received together.
const PIECES: usize = 4;
/// Readings of so many pieces before a thread is worth its start: a few thousand flows.
const READINGS_ALONE: usize = 16;
/// Readings that may wait for the caller.
const READINGS_AHEAD: usize = 8;
/// Room for a request.
const REQUEST_BYTES: usize = 64 << 10;

/// The table.
#[derive(Debug)]
pub struct Table {
    socket: Socket,
    pieces: Pieces,
    buffer: Vec<u8>,
    seq: u32,
}

impl Table {
    /// Opens a socket.
    ///
    /// # Errors
    /// As `socket(2)` and `bind(2)`.
    pub fn open() -> io::Result<Self> {
        let (socket, pieces) = (Socket::for_requests()?, Pieces::new(PIECES));
        Ok(Self { socket, pieces, buffer: vec![0; REQUEST_BYTES], seq: 0 })
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

    /// Sends a request with one answer: messages, then an acknowledgement.
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
        let mut answer = Answer { seq, torn: false };
        for _ in 0..READINGS_ALONE {
            receive(&mut self.pieces, self.socket.as_fd())?;
            if answer.hand_out(&self.pieces, &mut each)? {
                return Ok(());
            }
        }
        self.read_ahead(answer, each)
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
            let (back, empty) = sync_channel(READINGS_AHEAD);
            let reader = thread::Builder::new().name("dump".to_owned());
            reader.spawn_scoped(scope, move || {
                // The kernel begins to walk inside of this.
                match socket.send(bytes) {
                    Ok(()) => read_pieces(socket.as_fd(), seq, &full, &empty),
                    Err(error) => drop(full.send(Err(error))),
                }
            })?;
            self.dump(|w, seq| request(w, seq, 0), &mut each)?;
            take_readings(filled, &back, Answer { seq, torn: false }, &mut each)
        })
    }

    /// Goes on with a long dump: a thread reads, this one hands out.
    fn read_ahead(
        &self,
        answer: Answer,
        mut each: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let seq = answer.seq;
        let socket = self.socket.as_fd();
        thread::scope(|scope| {
            let (full, filled) = sync_channel(READINGS_AHEAD);
            let (back, empty) = sync_channel(READINGS_AHEAD);
            let reader = thread::Builder::new().name("dump".to_owned());
            reader.spawn_scoped(scope, move || read_pieces(socket, seq, &full, &empty))?;
            take_readings(filled, &back, answer, &mut each)
        })
    }
}

/// The answer to a request, as far as it has come.
struct Answer {
    seq: u32,
    torn: bool,
}

impl Answer {
    /// Hands out the messages of a reading; whether the last one was among them.
    fn hand_out(
        &mut self,
        pieces: &Pieces,
        each: &mut impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<bool> {
        let Self { seq, torn } = self;
        let end = pieces.hand_out(*seq, torn, |piece, raw| each(whole(piece, raw)))?;
        let Some(errno) = end else { return Ok(false) };
        DumpEnd { errno, torn: *torn }.outcome().map(|()| true)
    }
}

/// Hands out what a reader reads, to the end.
fn take_readings(
    filled: Receiver<io::Result<Pieces>>,
    back: &SyncSender<Pieces>,
    mut answer: Answer,
    each: &mut impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    for reading in filled {
        let pieces = reading?;
        if answer.hand_out(&pieces, each)? {
            break;
        }
        // A reader that has come to the end takes none back, and one that has plenty needs none.
        let _ = back.try_send(pieces);
    }
    Ok(())
}

/// How many bytes a request takes.
fn written(buffer: &mut [u8], request: impl FnOnce(&mut Writer<'_>)) -> io::Result<usize> {
    let mut writer = Writer::new(buffer);
    request(&mut writer);
    writer.finish().map_err(|_| io::Error::from_raw_os_error(libc::EMSGSIZE))
}

/// Reads pieces of a dump until its end, an error, or until the receiver is gone.
fn read_pieces(
    socket: BorrowedFd<'_>,
    seq: u32,
    full: &SyncSender<io::Result<Pieces>>,
    empty: &Receiver<Pieces>,
) {
    loop {
        let mut pieces = empty.try_recv().unwrap_or_else(|_| Pieces::new(PIECES));
        let outcome = receive(&mut pieces, socket);
        let goes_on = outcome.is_ok() && !pieces.holds_end(seq);
        if full.send(outcome.map(|()| pieces)).is_err() || !goes_on {
            return;
        }
    }
}

/// Waits for pieces.
fn receive(pieces: &mut Pieces, socket: BorrowedFd<'_>) -> io::Result<()> {
    while pieces.receive(socket)? == 0 {
        let _ = poll(&mut [PollFd::new(&socket, PollFlags::IN)], None);
    }
    Ok(())
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
