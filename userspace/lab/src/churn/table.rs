//! Flows written into the kernel's table by request, without packets: the fastest way to fill and to empty it.

use ctnetlink::flow::{Known, ProtoState, Status, TcpState, tcp};
use ctnetlink::request::{self, IfExists, Selection, Ticket};
use ctnetlink::{Flow, Message, Messages, Tuple, Writer};
use host::netlink::Socket;
use host::sys::Batch;
use rustix::fd::AsFd;
use std::io;

/// Requests per batch.
const BATCH: u32 = 64;

/// A socket for requests; it belongs to the namespace that the thread was in when it was opened.
#[derive(Debug)]
pub struct Requests {
    socket: Socket,
    answers: Batch,
    buffer: Vec<u8>,
}

impl Requests {
    /// Opens it.
    ///
    /// # Errors
    /// As `socket(2)` and `bind(2)`.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::for_requests()?;
        Ok(Self { socket, answers: Batch::new(BATCH as usize, 4096), buffer: vec![0; 64 << 10] })
    }

    /// Creates established TCP connections, `count` of them from number `base` on.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub fn fill(&mut self, base: u32, count: u32) -> io::Result<()> {
        self.fill_zone(base, count, 0)
    }

    /// The same in a conntrack zone.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub fn fill_zone(&mut self, base: u32, count: u32, zone: u16) -> io::Result<()> {
        let mut at = 0;
        while at < count {
            let batch = BATCH.min(count - at);
            let mut writer = Writer::new(&mut self.buffer);
            for seq in 0..batch {
                let ticket = Ticket { seq, ack: seq + 1 == batch };
                let flow = Flow { zone, ..established(base.wrapping_add(at + seq)) };
                request::create(&mut writer, ticket, &flow, IfExists::Fail);
            }
            let len = writer.finish().expect("the buffer holds a batch");
            self.socket.send(&self.buffer[..len])?;
            self.await_answer(batch - 1)?;
            at += batch;
        }
        Ok(())
    }

    /// Deletes all flows with one request.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn flush(&mut self) -> io::Result<()> {
        let mut writer = Writer::new(&mut self.buffer);
        request::flush(&mut writer, Ticket::acked(0), &Selection::default());
        let len = writer.finish().expect("the buffer holds a request");
        self.socket.send(&self.buffer[..len])?;
        self.await_answer(0)
    }

    fn await_answer(&mut self, last: u32) -> io::Result<()> {
        loop {
            let got = self.answers.receive(self.socket.as_fd())?;
            if got == 0 {
                let why = "the kernel did not answer inside of send";
                return Err(io::Error::other(why));
            }
            for raw in (0..got).flat_map(|i| Messages::new(self.answers.datagram(i)).flatten()) {
                let Ok(Message::Error(answer)) = ctnetlink::decode(&raw) else { continue };
                if answer.errno != 0 {
                    return Err(io::Error::from_raw_os_error(answer.errno));
                }
                if raw.header.seq == last {
                    return Ok(());
                }
            }
        }
    }
}

/// The `n`-th of many TCP connections.
fn established(n: u32) -> Flow {
    let [_, a, b, c] = n.to_be_bytes();
    let orig = Tuple::v4([10, a, b, c], [172, 16, 0, 1], ctnetlink::tuple::ipproto::TCP);
    let mut flow = Flow::new(orig.with_ports(40_000, 443));
    flow.reply = flow.orig.inverted();
    flow.timeout_s = 3000;
    flow.status = Status::CONFIRMED | Status::SEEN_REPLY | Status::ASSURED;
    flow.known |= Known::TIMEOUT | Known::STATUS;
    flow.proto = ProtoState::Tcp(TcpState { state: tcp::ESTABLISHED, ..TcpState::default() });
    flow
}
