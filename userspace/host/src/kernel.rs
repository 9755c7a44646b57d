//! Carries out what the engine asks of conntrack, in batches.
//!
//! ```text
//!  requests of one class --> Writes: create, create, ... --send--> kernel
//!                                                                     |
//!  KernelFailed(token) ... KernelSettled(last token) <--- outcomes ---+
//! ```
//!
//! Commits and injections use sockets of their own: the kernel stamps the events they cause with the socket's port
//! id, by which [`KernelWriter::origin`] distinguishes them from traffic.

mod expectations;

use crate::exchange::dump::{Dump, Reading};
use crate::exchange::writes::{WriteOutcome, Writes};
use crate::prefetch::Prefetch;
use common::Instant;
use ctnetlink::request::{self, IfExists, Selection, Source, Ticket};
use ctnetlink::{Detail, Flow, FlowKey, Message, Messages, Writer};
use engine::{Engine, Input, KernelOp, Origin, Request};
use rustix::fd::{AsFd, BorrowedFd};
use std::io;

/// Requests per `send`.
const BATCH_OPS: u32 = 64;
/// Pieces of a dump that are received together.
const DUMP_PIECES: usize = 8;
const EIO: i32 = 5;

/// Writes to the kernel's connection tracking table and reads it.
#[derive(Debug)]
pub struct KernelWriter {
    commit: Writes<Op>,
    inject: Writes<Op>,
    dump: Dump,
    prefetch: Prefetch,
}

/// A request under way, and, of a query, the flow to read.
#[derive(Debug)]
struct Op {
    token: u32,
    read: Option<FlowKey>,
}

impl KernelWriter {
    /// Opens its sockets.
    ///
    /// # Errors
    /// As `socket(2)` and `bind(2)`.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            commit: Writes::open()?,
            inject: Writes::open()?,
            dump: Dump::open(DUMP_PIECES)?,
            prefetch: Prefetch::new(),
        })
    }

    /// The cause of an event, by the port id that it carries.
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
            if flows {
                self.start_dump(engine, now);
            } else {
                expectations::dump(&mut |input| engine.handle(now, input));
            }
            engine.handle(now, Input::KernelSettled { token });
            return 1;
        }
        self.write(engine, now, commit)
    }

    /// Carries out requests until there is none of this class or the batch is full; how many that were.
    fn write(&mut self, engine: &mut Engine, now: Instant, commit: bool) -> usize {
        let writes = if commit { &mut self.commit } else { &mut self.inject };
        let belongs = |op: KernelOp<'_>| op.commit == commit && !is_dump(op.request);
        let (mut first, mut count, mut refused, mut full) = (None, 0, None, false);
        while !full && refused.is_none() && engine.peek_kernel().is_some_and(belongs) {
            let Some(KernelOp { token, request, .. }) = engine.poll_kernel() else { break };
            first.get_or_insert(token);
            count += 1;
            let read = if let Request::Get(key) = request { Some(*key) } else { None };
            match writes.add(Op { token, read }, |w, ticket| encode(w, ticket, request)) {
                Ok(is_full) => full = is_full || count == BATCH_OPS,
                Err(error) => refused = Some(error),
            }
        }
        let Some(first) = first else { return 0 };
        let sent = writes.flush(|op, came| report(engine, now, &op, came));
        // No batch has room for the last one; or the outcome of all of them is unknown.
        let failed = sent.err().map(|error| (0, error)).or(refused.map(|error| (count - 1, error)));
        if let Some((from, error)) = failed {
            let errno = error.raw_os_error().unwrap_or(EIO);
            let tokens = (from..count).map(|at| first.wrapping_add(at));
            tokens.for_each(|token| engine.handle(now, Input::KernelFailed { token, errno }));
        }
        engine.handle(now, Input::KernelSettled { token: first.wrapping_add(count - 1) });
        count as usize
    }

    fn start_dump(&mut self, engine: &mut Engine, now: Instant) {
        let all = Selection::default();
        if self.dump.begin(|w, seq| request::dump(w, seq, Source::Table, &all)).is_err() {
            engine.handle(now, Input::DumpDone { complete: false });
        }
    }

    /// Whether a dump is running.
    #[must_use]
    pub const fn is_dumping(&self) -> bool {
        self.dump.is_running()
    }

    /// Hands the next piece of a running dump to the engine; returns how many flows that were.
    pub fn read_dump(&mut self, engine: &mut Engine, now: Instant) -> usize {
        if !self.dump.is_running() {
            return 0;
        }
        let (mut flows, prefetch) = (0, &mut self.prefetch);
        let reading = self.dump.read(|message| {
            if let Message::Flow { flow, .. } = message {
                flows += 1;
                let flow = flow.to_flow(Detail::State);
                let key = flow.key();
                prefetch.push(engine, now, (&key, Input::Dumped(flow)), (None, None));
            }
        });
        prefetch.finish(engine, now, None);
        let complete = match reading {
            Ok(Reading::Nothing | Reading::Some) => return flows,
            Ok(Reading::Over(end)) => end.is_complete(),
            Err(_) => false,
        };
        engine.handle(now, Input::DumpDone { complete });
        flows
    }

    /// The descriptor that is readable while a dump has more.
    #[must_use]
    pub fn dump_descriptor(&self) -> BorrowedFd<'_> {
        self.dump.as_fd()
    }
}

const fn is_dump(request: &Request) -> bool {
    matches!(request, Request::Dump | Request::DumpExpectations)
}

fn encode(writer: &mut Writer<'_>, ticket: Ticket, request: &Request) {
    match request {
        Request::Create(flow) => request::create(writer, ticket, flow, IfExists::Fail),
        Request::Update(flow) => request::update(writer, ticket, flow),
        Request::Delete(key, id) => request::delete(writer, ticket, key, *id),
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

/// Reports a request's answer or error to the engine, but not its success: that is known when the batch is settled.
fn report(engine: &mut Engine, now: Instant, op: &Op, came: WriteOutcome<'_>) -> io::Result<()> {
    if let Some(key) = op.read {
        let shown = came.answer.and_then(flow_of);
        if shown.is_some() || came.errno != 0 {
            engine.handle(now, Input::Verified { key, flow: shown });
        }
    }
    if came.errno != 0 {
        engine.handle(now, Input::KernelFailed { token: op.token, errno: came.errno });
    }
    Ok(())
}

/// The flow that an answer shows.
fn flow_of(answer: &[u8]) -> Option<Flow> {
    match ctnetlink::decode(&Messages::new(answer).flatten().next()?) {
        Ok(Message::Flow { flow, .. }) => Some(flow.to_flow(Detail::State)),
        _ => None,
    }
}
