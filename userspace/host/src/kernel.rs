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

use crate::ahead::Ahead;
use crate::netlink::Socket;
use crate::sys::Batch;
use common::Instant;
use ctnetlink::request::{self, IfExists, Selection, Source, Ticket};
use ctnetlink::{Detail, FlowKey, Message, Messages, Writer};
use engine::{Engine, Input, KernelOp, Origin, Request};
use rustix::fd::{AsFd, BorrowedFd};
use std::io;

/// Requests per `send`. Their answers must fit the socket's default receive buffer even if all fail.
const BATCH_OPS: usize = 64;
/// More than 64 of the largest create requests.
const BATCH_BYTES: usize = 64 << 10;
/// The kernel fills dump buffers up to 32 KiB when the reader offers that much.
const DUMP_SLOT: usize = 32 << 10;
const DUMP_SLOTS: usize = 8;
/// An answer is a capped error or one flow.
const ANSWER_SLOT: usize = 4096;
/// Nearly always there is one, the barrier's, and each slot is made ready for every batch.
const ANSWER_SLOTS: usize = 8;
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
    buffer: Vec<u8>,
    /// Of the last batch.
    reads: Vec<Read>,
    answers: Batch,
    dumped: Batch,
    ahead: Ahead,
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
            buffer: vec![0; BATCH_BYTES],
            reads: Vec::new(),
            answers: Batch::new(ANSWER_SLOTS, ANSWER_SLOT),
            dumped: Batch::new(DUMP_SLOTS, DUMP_SLOT),
            ahead: Ahead::new(),
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
        let Some(first) = engine.peek_kernel() else { return 0 };
        let (token, commit) = (first.token, first.commit);
        if is_dump(first.request) {
            let flows = *first.request == Request::Dump;
            let _ = engine.poll_kernel();
            let sink = &mut |input: Input<'_>| engine.handle(now, input);
            if flows {
                self.start_dump(sink);
            } else {
                expectations::dump(sink);
            }
            engine.handle(now, Input::KernelSettled { token });
            return 1;
        }
        let written = self.collect(engine, (token, commit));
        self.send(commit, &written, &mut |input| engine.handle(now, input));
        written.count as usize
    }

    /// Writes requests into the buffer until there is none of this class or the batch is full. The last one asks for
    /// the acknowledgement.
    fn collect(&mut self, engine: &mut Engine, (first, commit): (u32, bool)) -> Written {
        let Self { buffer, reads, .. } = self;
        reads.clear();
        let mut written = Written { first, count: 0, len: 0 };
        let mut last_at = 0;
        let mut writer = Writer::new(buffer);
        let belongs = |op: KernelOp<'_>| op.commit == commit && !is_dump(op.request);
        while written.count < BATCH_OPS as u32 && engine.peek_kernel().is_some_and(belongs) {
            let Some(KernelOp { token, request, .. }) = engine.poll_kernel() else { break };
            if let Request::Get(key) = request {
                reads.push(Read { token, key: *key, shown: false });
            }
            last_at = writer.position();
            encode(&mut writer, token, request);
            written.count += 1;
        }
        written.len = writer.finish().expect("the buffer holds the largest batch");
        request::acknowledge(&mut buffer[last_at..]);
        written
    }

    fn send(&mut self, commit: bool, written: &Written, sink: &mut impl FnMut(Input<'_>)) {
        let Self { commit: of_commits, inject, buffer, reads, answers, .. } = self;
        let socket = if commit { of_commits } else { inject };
        let sent = socket.send(&buffer[..written.len]);
        let outcome = sent.and_then(|()| read_answers(socket, answers, written, reads, sink));
        if let Err(error) = outcome {
            let errno = error.raw_os_error().unwrap_or(EIO);
            written.tokens().for_each(|token| sink(Input::KernelFailed { token, errno }));
        }
        sink(Input::KernelSettled { token: written.last() });
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
        let Ok(got) = self.dumped.receive(self.dump.as_fd()) else {
            self.end_dump(engine, now, false);
            return 0;
        };
        let mut flows = 0;
        for index in 0..got {
            let mut end = None;
            for raw in Messages::new(self.dumped.datagram(index)).flatten() {
                self.dump_torn |= raw.header.has(ctnetlink::uapi::flag::DUMP_INTR);
                match ctnetlink::decode(&raw) {
                    Ok(Message::Flow { flow, .. }) => {
                        flows += 1;
                        let flow = flow.to_flow(Detail::State);
                        let key = flow.key();
                        let input = Input::Dumped(flow);
                        self.ahead.push(engine, now, (&key, input), (None, None));
                    }
                    Ok(Message::Done(answer) | Message::Error(answer)) => {
                        end = Some(answer.errno == 0);
                    }
                    Ok(_) => {}
                    Err(_) => self.dump_torn = true,
                }
            }
            self.ahead.finish(engine, now, None);
            if let Some(complete) = end {
                self.end_dump(engine, now, complete);
            }
        }
        flows
    }

    /// The descriptor that is readable while a dump has more.
    #[must_use]
    pub fn dump_descriptor(&self) -> BorrowedFd<'_> {
        self.dump.as_fd()
    }

    fn end_dump(&mut self, engine: &mut Engine, now: Instant, complete: bool) {
        self.dumping = false;
        engine.handle(now, Input::DumpDone { complete: complete && !self.dump_torn });
    }
}

const fn is_dump(request: &Request) -> bool {
    matches!(request, Request::Dump | Request::DumpExpectations)
}

/// A batch in the buffer. Its tokens rise by one.
struct Written {
    first: u32,
    count: u32,
    /// Bytes.
    len: usize,
}

impl Written {
    /// The barrier.
    const fn last(&self) -> u32 {
        self.first.wrapping_add(self.count.wrapping_sub(1))
    }

    const fn holds(&self, token: u32) -> bool {
        token.wrapping_sub(self.first) < self.count
    }

    fn tokens(&self) -> impl Iterator<Item = u32> {
        let first = self.first;
        (0..self.count).map(move |at| first.wrapping_add(at))
    }
}

/// A read of a batch.
#[derive(Debug)]
struct Read {
    token: u32,
    key: FlowKey,
    /// The flow has come.
    shown: bool,
}

fn encode(writer: &mut Writer<'_>, token: u32, request: &Request) {
    let ticket = Ticket::silent(token);
    match request {
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
    written: &Written,
    reads: &mut [Read],
    sink: &mut impl FnMut(Input<'_>),
) -> io::Result<()> {
    loop {
        let got = answers.receive(socket.as_fd())?;
        if got == 0 {
            // Answers are there when `send` returns; their absence means that the barrier was lost.
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let mut done = false;
        for index in 0..got {
            for raw in Messages::new(answers.datagram(index)).flatten() {
                done |= on_answer(&raw, written, reads, sink);
            }
        }
        if done {
            return Ok(());
        }
    }
}

/// Reports one answer; true when it is the barrier.
fn on_answer(
    raw: &ctnetlink::RawMessage<'_>,
    written: &Written,
    reads: &mut [Read],
    sink: &mut impl FnMut(Input<'_>),
) -> bool {
    let token = raw.header.seq;
    let read = reads.iter_mut().find(|read| read.token == token);
    match (ctnetlink::decode(raw), read) {
        (Ok(Message::Flow { flow, .. }), Some(read)) => {
            read.shown = true;
            sink(Input::Verified { key: read.key, flow: Some(flow.to_flow(Detail::State)) });
            false
        }
        (Ok(Message::Error(answer)), read) if written.holds(token) => {
            if answer.errno != 0 {
                if let Some(read) = read.filter(|read| !read.shown) {
                    sink(Input::Verified { key: read.key, flow: None });
                }
                sink(Input::KernelFailed { token, errno: answer.errno });
            }
            token == written.last()
        }
        _ => false,
    }
}
