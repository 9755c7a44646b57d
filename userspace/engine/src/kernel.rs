//! Requests to the kernel: waiting, in flight, settled.
//!
//! Requests go out in order and are not acknowledged one by one. The host reports failures by token and, now and then,
//! that everything up to some token is settled. A failed request may be followed by a second attempt, unless
//! something newer about the same flow has been asked meanwhile: then the newer request decides.

use crate::config::limit;
use crate::merge;
use crate::output::{KernelOp, Request};
use alloc::collections::VecDeque;
use common::FlowKey;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use wire::Flow;

/// What a request is for; decides what its failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A flow of the remote table becomes local.
    Commit,
    /// The second attempt of that, after removing what was in the way.
    CommitAgain,
    /// The peer's new flow goes straight into the kernel.
    InjectNew,
    /// The peer's update goes straight into the kernel.
    InjectUpdate,
    /// The same, after a new flow found another one in its place: once this is through, the flow is written anew.
    InjectReplace,
    /// The peer's destruction goes straight into the kernel.
    InjectDestroy,
    /// The second attempt of an injection.
    InjectAgain,
    /// An expectation of the remote table becomes local.
    CommitExpect,
    /// The second attempt of that.
    CommitExpectAgain,
    /// The peer's expectation goes straight into the kernel.
    InjectExpect,
    /// The second attempt of that.
    InjectExpectAgain,
    /// The end of the peer's expectation goes straight into the kernel.
    InjectExpectEnd,
    /// Makes room for a second attempt; its failure means nothing.
    Clearing,
    /// Reads.
    Read,
}

/// A request on its way.
#[derive(Clone, Debug)]
pub struct InFlight {
    /// Its token.
    pub token: u32,
    /// What it is for.
    pub purpose: Purpose,
    /// What was asked.
    pub request: Request,
}

/// The queue.
#[derive(Debug)]
pub struct KernelQueue {
    waiting: VecDeque<(Purpose, Request)>,
    in_flight: VecDeque<InFlight>,
    next_token: u32,
    /// Writes per flow that are waiting or in flight.
    pending: HashMap<FlowKey, u32, FixedState>,
    dropped: u64,
}

impl KernelQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            next_token: 1,
            pending: HashMap::with_hasher(FixedState::with_seed(seed)),
            dropped: 0,
        }
    }

    /// Adds a request. Past the limit it is dropped and counted, and the answer is false.
    pub fn push(&mut self, purpose: Purpose, request: Request) -> bool {
        if self.waiting.len() >= limit::KERNEL_QUEUE_MAX {
            self.dropped += 1;
            return false;
        }
        if let Some(key) = key_of(&request) {
            *self.pending.entry(key).or_insert(0) += 1;
        }
        self.waiting.push_back((purpose, request));
        true
    }

    /// The next request to hand over; `None` when there is none or enough are in flight.
    pub fn poll(&mut self) -> Option<KernelOp> {
        if self.in_flight.len() >= limit::KERNEL_IN_FLIGHT_MAX {
            return None;
        }
        let (purpose, request) = self.waiting.pop_front()?;
        let token = self.next_token;
        self.next_token = token.wrapping_add(1);
        self.in_flight.push_back(InFlight { token, purpose, request: request.clone() });
        let commit = is_of_commit(purpose);
        let commit = commit || (purpose == Purpose::Clearing && self.next_is_commit());
        Some(KernelOp { token, commit, request })
    }

    /// Takes out the request a failure is about, and whether nothing newer about its flow is on its way.
    pub fn failed(&mut self, token: u32) -> Option<(InFlight, bool)> {
        let at = self.in_flight.iter().position(|op| op.token == token)?;
        let op = self.in_flight.remove(at)?;
        let left = self.forget(&op.request);
        // Older requests about the flow may not be settled yet.
        let key = key_of(&op.request);
        let older = self.in_flight.iter().take(at).filter(|op| key_of(&op.request) == key).count();
        Some((op, left == older))
    }

    /// Takes out the oldest request that is covered by `token`, in order, and whether nothing newer about its flow
    /// is on
    /// its way; call it until there is none.
    pub fn settled(&mut self, token: u32) -> Option<(InFlight, bool)> {
        let oldest = self.in_flight.front()?;
        if (token.wrapping_sub(oldest.token) as i32) < 0 {
            return None;
        }
        let op = self.in_flight.pop_front()?;
        let left = self.forget(&op.request);
        Some((op, left == 0))
    }

    /// Leaves the flow of request `token`, which could not be written, to the next request about it. An update would
    /// change the wrong flow, so it is to be followed by a second attempt.
    pub fn pass_on(&mut self, token: u32, flow: Flow) {
        let key = Some(flow.key());
        let in_flight = self.in_flight.iter_mut();
        let in_flight = in_flight.filter(|op| (op.token.wrapping_sub(token) as i32) > 0);
        let in_flight = in_flight.map(|op| (&mut op.purpose, &mut op.request));
        let waiting = self.waiting.iter_mut().map(|(purpose, request)| (purpose, request));
        let next = in_flight.chain(waiting).find(|(_, request)| key_of(request) == key);
        if let Some((purpose, Request::Update(news))) = next {
            *purpose = Purpose::InjectReplace;
            let newer = core::mem::replace(news, flow);
            merge::absorb(news, newer);
        }
    }

    /// Whether requests wait.
    #[must_use]
    pub fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Requests waiting or in flight.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len() + self.in_flight.len()
    }

    /// Whether nothing is waiting or in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Requests dropped because too many were waiting.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn next_is_commit(&self) -> bool {
        self.waiting.front().is_some_and(|(purpose, _)| {
            matches!(purpose, Purpose::CommitAgain | Purpose::CommitExpectAgain)
        })
    }

    /// Counts a request of this flow out; returns how many are left.
    fn forget(&mut self, request: &Request) -> usize {
        let Some(key) = key_of(request) else { return 0 };
        let Some(count) = self.pending.get_mut(&key) else { return 0 };
        *count -= 1;
        let left = *count;
        if left == 0 {
            self.pending.remove(&key);
        }
        left as usize
    }
}

const fn is_of_commit(purpose: Purpose) -> bool {
    matches!(
        purpose,
        Purpose::Commit | Purpose::CommitAgain | Purpose::CommitExpect | Purpose::CommitExpectAgain
    )
}

/// The flow a request writes. A read decides nothing.
fn key_of(request: &Request) -> Option<FlowKey> {
    match request {
        Request::Create(flow) | Request::Update(flow) => Some(flow.key()),
        Request::Delete(key) => Some(*key),
        Request::Get(_)
        | Request::Dump
        | Request::CreateExpectation(_)
        | Request::DeleteExpectation(_)
        | Request::DumpExpectations => None,
    }
}
