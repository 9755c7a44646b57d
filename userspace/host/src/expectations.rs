//! Kernel events about expectations: a plain subscription beside the event source of flows, since they are rare.

use crate::netlink::{Socket, set_receive_buffer};
use crate::source::group;
use crate::sys::Batch;
use ctnetlink::{Change, Expectation, Message, Messages};
use rustix::fd::{AsFd, BorrowedFd};
use std::io;

/// Messages taken with one system call, which is also the most of one turn.
const BATCH: usize = 64;
/// Larger than any event: ctnetlink builds them in one page.
const MESSAGE_LEN_MAX: usize = 8192;

/// An event.
#[derive(Debug)]
pub struct ExpectEvent {
    /// Port id of the socket whose request caused it; 0 if none did.
    pub portid: u32,
    /// The change that the kernel reports.
    pub event: Change,
    /// The expectation that changed.
    pub expect: Box<Expectation>,
}

/// What one look at the socket gave.
#[derive(Debug, Default)]
pub struct ExpectNews {
    /// Events, in order.
    pub events: Vec<ExpectEvent>,
    /// Events were lost, because the socket was full.
    pub lost: bool,
    /// Messages that could not be understood.
    pub malformed: u64,
}

/// The subscription.
#[derive(Debug)]
pub struct ExpectEvents {
    socket: Socket,
    batch: Batch,
}

impl ExpectEvents {
    /// Subscribes, with a receive buffer of that many bytes or the system's default.
    ///
    /// # Errors
    /// When the socket cannot be made or the groups not be joined.
    pub fn open(buffer_bytes: Option<usize>) -> io::Result<Self> {
        let socket = Socket::open(group::EXPECTATIONS, |fd| match buffer_bytes {
            Some(bytes) => set_receive_buffer(fd, bytes),
            None => Ok(()),
        })?;
        Ok(Self { socket, batch: Batch::new(BATCH, MESSAGE_LEN_MAX) })
    }

    /// Takes what waits, up to a batch.
    ///
    /// # Errors
    /// As `recvmmsg(2)`, but for lost events, which are no error.
    pub fn take(&mut self) -> io::Result<ExpectNews> {
        let mut news = ExpectNews::default();
        let got = match self.batch.receive(self.socket.as_fd()) {
            Ok(got) => got,
            // What the kernel kept is still there, for the next turn.
            Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {
                news.lost = true;
                return Ok(news);
            }
            Err(e) => return Err(e),
        };
        for raw in (0..got).flat_map(|i| Messages::new(self.batch.datagram(i))) {
            match raw.and_then(|raw| Ok((raw.header.portid, ctnetlink::decode(&raw)?))) {
                Ok((portid, Message::Expect { event, expect })) => {
                    let expect = Box::new(expect.to_expectation());
                    news.events.push(ExpectEvent { portid, event, expect });
                }
                Ok(_) => {}
                Err(_) => news.malformed += 1,
            }
        }
        Ok(news)
    }

    /// The descriptor that is readable while events wait.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
