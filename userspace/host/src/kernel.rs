//! Carries out what the engine asks of conntrack, in batches.
//!
//! ```text
//!  ops --same class--> one buffer: create, create, ..., last one with ACK --send--> kernel
//!                                                                                    |
//!  KernelFailed(token) ... KernelSettled(last token) <-- errors by seq, then the ACK -+
//! ```
//!
//! ctnetlink works a buffer off inside `send`, so its answers wait on the socket when `send` returns. Only failures
//! are answered, plus the last request, which is the barrier. A request's sequence number is its token.
//!
//! Commits and injections use sockets of their own: the kernel stamps the events they cause with the socket's port
//! id, which is how [`KernelWriter::origin`] tells them from traffic.

mod expectations;

use crate::netlink::Socket;
use crate::sys::Batch;
use common::Instant;
use engine::{Engine, Input, KernelOp, Origin, Request};
use rustix::fd::{AsFd, BorrowedFd};
use std::io;
use wire::cursor::Writer;
use wire::netlink::request::{self, IfExists, Selection, Source, Ticket};
use wire::netlink::{self, Detail, Message, Messages};

/// Requests per `send`. Their answers must fit the socket's default receive buffer even if all fail.
const BATCH_OPS: usize = 64;
/// More than 64 of the largest create requests.
const BATCH_BYTES: usize = 64 << 10;
/// The kernel fills dump buffers up to 32 KiB when the reader offers that much.
const DUMP_SLOT: usize = 32 << 10;
const DUMP_SLOTS: usize = 8;
/// An answer is a capped error or one flow.
const ANSWER_SLOT: usize = 4096;
const EIO: i32 = 5;

/// Writes to the kernel's connection tracking table and reads it.
#[derive(Debug)]
pub struct KernelWriter {
    commit: Socket,
    inject: Socket,
    dump: Socket,
    dumping: bool,
    /// The running dump skipped or repeated entries (`NLM_F_DUMP_INTR`), or broke off.
    dump_torn: bool,
    /// An op that was pulled but belongs to the next batch.
    held: Option<KernelOp>,
    buffer: Vec<u8>,
    answers: Batch,
    dumped: Batch,
}

impl KernelWriter {
    /// Opens its sockets.
    ///
    /// # Errors
    /// As `socket(2)` and `bind(2)`.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            commit: Socket::for_requests()?,
            inject: Socket::for_requests()?,
            dump: Socket::for_requests()?,
            dumping: false,
            dump_torn: false,
            held: None,
            buffer: vec![0; BATCH_BYTES],
            answers: Batch::new(BATCH_OPS, ANSWER_SLOT),
            dumped: Batch::new(DUMP_SLOTS, DUMP_SLOT),
        })
    }

    /// Whose doing an event is, by the port id it carries.
    #[must_use]
    pub const fn origin(&self, portid: u32) -> Origin {
        if portid == 0 {
            Origin::Foreign
        } else if portid == self.commit.portid() {
            Origin::Commit
        } else if portid == self.inject.portid() {
            Origin::Inject
        } else {
            Origin::Foreign
        }
    }

    /// Carries out one batch of what the engine asks; returns how many requests that were. `now` must have been read
    /// before, so that whatever happens meanwhile counts as newer than the answers.
    pub fn execute(&mut self, engine: &mut Engine, now: Instant) -> usize {
        let Some(first) = self.held.take().or_else(|| engine.poll_kernel()) else { return 0 };
        if first.request == Request::Dump {
            self.start_dump(&mut |input| engine.handle(now, input));
            engine.handle(now, Input::KernelSettled { token: first.token });
            return 1;
        }
        if first.request == Request::DumpExpectations {
            expectations::dump(&mut |input| engine.handle(now, input));
            engine.handle(now, Input::KernelSettled { token: first.token });
            return 1;
        }
        let (ops, len) = self.collect(first, &mut || engine.poll_kernel());
        self.send(&ops, len, &mut |input| engine.handle(now, input));
        ops.len()
    }

    /// Encodes ops of the first one's class until the batch is full; the last one asks for the acknowledgement.
    fn collect(
        &mut self,
        first: KernelOp,
        next: &mut impl FnMut() -> Option<KernelOp>,
    ) -> (Vec<KernelOp>, usize) {
        let commit = first.commit;
        let mut ops = vec![first];
        while ops.len() < BATCH_OPS {
            match next() {
                Some(op) if op.commit == commit && !is_dump(&op.request) => ops.push(op),
                other => {
                    self.held = other;
                    break;
                }
            }
        }
        let last = ops.len() - 1;
        let mut writer = Writer::new(&mut self.buffer);
        for (at, op) in ops.iter().enumerate() {
            encode(&mut writer, op, at == last);
        }
        let len = writer.finish().expect("the buffer holds the largest batch");
        (ops, len)
    }

    fn send(&mut self, ops: &[KernelOp], len: usize, sink: &mut impl FnMut(Input<'_>)) {
        let last = ops.last().expect("a batch is not empty");
        let socket = if last.commit { &self.commit } else { &self.inject };
        let sent = socket.send(&self.buffer[..len]);
        let outcome = sent.and_then(|()| read_answers(socket, &mut self.answers, ops, sink));
        if let Err(error) = outcome {
            let errno = error.raw_os_error().unwrap_or(EIO);
            ops.iter().for_each(|op| sink(Input::KernelFailed { token: op.token, errno }));
        }
        sink(Input::KernelSettled { token: last.token });
    }

    fn start_dump(&mut self, sink: &mut impl FnMut(Input<'_>)) {
        let mut bytes = [0; 256];
        let mut writer = Writer::new(&mut bytes);
        request::dump(&mut writer, 1, Source::Table, &Selection::default());
        let len = writer.finish().expect("a dump request is short");
        self.dump_torn = false;
        self.dumping = self.dump.send(&bytes[..len]).is_ok();
        if !self.dumping {
            sink(Input::DumpDone { complete: false });
        }
    }

    /// Whether a dump is running.
    #[must_use]
    pub const fn is_dumping(&self) -> bool {
        self.dumping
    }

    /// Hands the next piece of a running dump to the engine; returns how many flows that were.
    pub fn read_dump(&mut self, engine: &mut Engine, now: Instant) -> usize {
        if !self.dumping {
            return 0;
        }
        let mut sink = |input: Input<'_>| engine.handle(now, input);
        let Ok(got) = self.dumped.receive(self.dump.as_fd()) else {
            self.end_dump(false, &mut sink);
            return 0;
        };
        let mut flows = 0;
        for index in 0..got {
            let mut end = None;
            for raw in Messages::new(self.dumped.datagram(index)).flatten() {
                self.dump_torn |= raw.header.has(netlink::uapi::flag::DUMP_INTR);
                match netlink::decode(&raw) {
                    Ok(Message::Flow { flow, .. }) => {
                        flows += 1;
                        sink(Input::Dumped(flow.to_flow(Detail::State)));
                    }
                    Ok(Message::Done(answer) | Message::Error(answer)) => {
                        end = Some(answer.errno == 0);
                    }
                    Ok(_) => {}
                    Err(_) => self.dump_torn = true,
                }
            }
            if let Some(complete) = end {
                self.end_dump(complete, &mut sink);
            }
        }
        flows
    }

    /// The descriptor that is readable while a dump has more.
    #[must_use]
    pub fn dump_descriptor(&self) -> BorrowedFd<'_> {
        self.dump.as_fd()
    }

    fn end_dump(&mut self, complete: bool, sink: &mut impl FnMut(Input<'_>)) {
        self.dumping = false;
        sink(Input::DumpDone { complete: complete && !self.dump_torn });
    }
}

const fn is_dump(request: &Request) -> bool {
    matches!(request, Request::Dump | Request::DumpExpectations)
}

fn encode(writer: &mut Writer<'_>, op: &KernelOp, ack: bool) {
    let ticket = Ticket { seq: op.token, ack };
    match &op.request {
        Request::Create(flow) => request::create(writer, ticket, flow, IfExists::Fail),
        Request::Update(flow) => request::update(writer, ticket, flow),
        Request::Delete(key) => request::delete(writer, ticket, key, None),
        Request::Get(key) => request::get(writer, ticket, key),
        Request::CreateExpectation(expect) => {
            request::create_expectation(writer, ticket, expect, IfExists::Fail);
        }
        Request::DeleteExpectation(key) => {
            request::delete_expectation(writer, ticket, key, None);
        }
        Request::Dump | Request::DumpExpectations => {} // never part of a batch
    }
}

/// Reads the answers of a batch, up to its barrier.
fn read_answers(
    socket: &Socket,
    answers: &mut Batch,
    ops: &[KernelOp],
    sink: &mut impl FnMut(Input<'_>),
) -> io::Result<()> {
    let barrier = ops.last().map_or(0, |op| op.token);
    let mut shown = Vec::new();
    loop {
        let got = answers.receive(socket.as_fd())?;
        if got == 0 {
            // Answers are there when `send` returns; their absence means that the barrier was lost.
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let mut done = false;
        for index in 0..got {
            for raw in Messages::new(answers.datagram(index)).flatten() {
                done |= on_answer(&raw, barrier, ops, &mut shown, sink);
            }
        }
        if done {
            return Ok(());
        }
    }
}

/// Reports one answer; true when it is the barrier.
fn on_answer(
    raw: &netlink::RawMessage<'_>,
    barrier: u32,
    ops: &[KernelOp],
    shown: &mut Vec<u32>,
    sink: &mut impl FnMut(Input<'_>),
) -> bool {
    let token = raw.header.seq;
    let asked = ops.iter().find(|op| op.token == token);
    match (netlink::decode(raw), asked.map(|op| &op.request)) {
        (Ok(Message::Flow { flow, .. }), Some(Request::Get(key))) => {
            shown.push(token);
            sink(Input::Verified { key: *key, flow: Some(flow.to_flow(Detail::State)) });
            false
        }
        (Ok(Message::Error(answer)), Some(request)) => {
            if answer.errno != 0 {
                if let Request::Get(key) = request
                    && !shown.contains(&token)
                {
                    sink(Input::Verified { key: *key, flow: None });
                }
                sink(Input::KernelFailed { token, errno: answer.errno });
            }
            token == barrier
        }
        _ => false,
    }
}
