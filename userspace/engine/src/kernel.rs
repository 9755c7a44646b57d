//! Requests to the kernel: waiting, in flight, settled.
//!
//! Requests go out in order and are not acknowledged one by one. The host reports failures by token and, now and then,
//! that everything up to some token is settled. A failed request may be followed by a second attempt, unless
//! something newer about the same flow has been asked meanwhile: then the newer request decides.
//!
//! ```text
//!   settled <-- [ in flight, oldest first | waiting ] <-- push       one queue, and a mark in it:
//!                                         ^ poll moves it            a request is written once and lent
//! ```

use crate::bounded::{Bounded, QueueUsage};
use crate::config::limit;
use crate::flows::merge;
use crate::output::{KernelOp, Request};
use ctnetlink::{Flow, FlowKey};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// What a request is for; decides what its failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A flow of the remote table becomes local.
    Commit,
    /// The second attempt of that, after removing what was in the way.
    CommitAgain,
    /// The attempt at the end of a commit, for a flow whose place another identity had.
    CommitLast,
    /// The peer's new flow goes straight into the kernel.
    InjectNew,
    /// The peer's update goes straight into the kernel.
    InjectUpdate,
    /// An injection after a new flow found another one in its place: once this request has succeeded, the flow is
    /// written as new.
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
    /// Reads flows or expectations.
    Read,
}

/// A request waiting or on its way.
#[derive(Clone, Debug)]
pub struct InFlight {
    /// Its token.
    pub token: u32,
    /// Why the engine made the request.
    pub purpose: Purpose,
    /// The request itself.
    pub request: Request,
    /// A newer request about the flow has failed: that one had the state the flow should have.
    overtaken: bool,
}

/// The queue.
#[derive(Debug)]
pub struct KernelQueue {
    /// Requests in flight, oldest first, and then those that wait.
    ops: Bounded<InFlight>,
    in_flight: usize,
    next_token: u32,
    /// Writes per flow that are waiting or in flight, as far as it matters which one was the last.
    pending: HashMap<FlowKey, u32, FixedState>,
}

impl KernelQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            ops: Bounded::new(limit::KERNEL_QUEUE_MAX + limit::KERNEL_IN_FLIGHT_MAX),
            in_flight: 0,
            next_token: 1,
            pending: HashMap::with_hasher(FixedState::with_seed(seed)),
        }
    }

    /// Adds a request. Past the limit it is dropped and counted, and the answer is false.
    #[inline]
    pub fn push(&mut self, purpose: Purpose, request: Request) -> bool {
        let token = self.next_token;
        let room = limit::KERNEL_QUEUE_MAX + self.in_flight;
        let key = contested(purpose, &request);
        if self
            .ops
            .push_within(room, InFlight { token, purpose, request, overtaken: false })
            .is_err()
        {
            return false;
        }
        if let Some(key) = key {
            *self.pending.entry(key).or_insert(0) += 1;
        }
        self.next_token = token.wrapping_add(1);
        true
    }

    /// The next request to hand over; `None` when there is none or enough are in flight.
    #[must_use]
    pub fn peek(&self) -> Option<KernelOp<'_>> {
        if self.in_flight >= limit::KERNEL_IN_FLIGHT_MAX {
            return None;
        }
        let InFlight { token, purpose, request, .. } = self.ops.get(self.in_flight)?;
        let (token, purpose) = (*token, *purpose);
        let clears = || purpose == Purpose::Clearing && self.clears_for_commit();
        Some(KernelOp { token, commit: is_of_commit(purpose) || clears(), request })
    }

    /// Hands over the request that [`KernelQueue::peek`] shows.
    pub fn poll(&mut self) -> Option<KernelOp<'_>> {
        let KernelOp { token, commit, .. } = self.peek()?;
        self.in_flight += 1;
        Some(KernelOp { token, commit, request: &self.ops[self.in_flight - 1].request })
    }

    /// Takes out the request a failure is about, and whether nothing newer about its flow is on its way.
    pub fn failed(&mut self, token: u32) -> Option<(InFlight, bool)> {
        // Tokens rise from the oldest on.
        let oldest = self.ops.front()?.token;
        let behind = |token: u32| token.wrapping_sub(oldest);
        let at = self.ops.partition_point(|op| behind(op.token) < behind(token));
        if at >= self.in_flight || self.ops[at].token != token {
            return None;
        }
        let op = self.ops.remove(at)?;
        self.in_flight -= 1;
        let Some(key) = contested(op.purpose, &op.request) else { return Some((op, true)) };
        let left = self.forget(&key);
        // Older requests about the flow may not be settled yet.
        let mut older = 0;
        for op in self.ops.iter_mut().take(at) {
            if contested(op.purpose, &op.request) == Some(key) {
                op.overtaken = true;
                older += 1;
            }
        }
        let last_word = left == older && !op.overtaken;
        Some((op, last_word))
    }

    /// Takes out the oldest request that is covered by `token`, in order, and whether nothing newer about its flow is
    /// on its way; call it until there is none.
    #[inline]
    pub fn settled(&mut self, token: u32) -> Option<(InFlight, bool)> {
        let oldest = self.ops.front().filter(|_| self.in_flight > 0)?;
        if (token.wrapping_sub(oldest.token) as i32) < 0 {
            return None;
        }
        let op = self.ops.pop()?;
        self.in_flight -= 1;
        let key = contested(op.purpose, &op.request);
        let left = key.map_or(0, |key| self.forget(&key));
        let last_word = left == 0 && !op.overtaken;
        Some((op, last_word))
    }

    /// Leaves the flow of request `token`, which could not be written, to the next request about it. That request, an
    /// update, would change the wrong flow, so a second attempt follows it.
    pub fn pass_on(&mut self, token: u32, flow: Flow) {
        let key = Some(flow.key());
        let mut newer = self.ops.iter_mut().filter(|op| (op.token.wrapping_sub(token) as i32) > 0);
        let next = newer.find(|op| contested(op.purpose, &op.request) == key);
        if let Some(InFlight { purpose, request: Request::Update(news), .. }) = next {
            *purpose = Purpose::InjectReplace;
            let newer = core::mem::replace(news, flow);
            merge::absorb(news, newer);
        }
    }

    /// Whether a request that writes a flow of a peer's is on its way, or its outcome is not known yet.
    #[must_use]
    pub fn is_pending(&self, key: &FlowKey) -> bool {
        self.pending.contains_key(key)
    }

    /// Whether requests wait in the queue.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.ops.len() > self.in_flight
    }

    /// Requests waiting or in flight.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether nothing is waiting or in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Length and limit of the queue. Requests in flight count; the limit for requests that wait is
    /// [`limit::KERNEL_QUEUE_MAX`].
    #[must_use]
    pub fn usage(&self) -> QueueUsage {
        self.ops.usage()
    }

    /// Whether the next request makes room for one of a commit.
    fn clears_for_commit(&self) -> bool {
        self.ops.get(self.in_flight + 1).is_some_and(|op| {
            matches!(op.purpose, Purpose::CommitAgain | Purpose::CommitExpectAgain)
        })
    }

    /// Counts a request of this flow out; returns how many are left.
    fn forget(&mut self, key: &FlowKey) -> usize {
        let Some(count) = self.pending.get_mut(key) else { return 0 };
        *count -= 1;
        let left = *count;
        if left == 0 {
            self.pending.remove(key);
        }
        left as usize
    }
}

const fn is_of_commit(purpose: Purpose) -> bool {
    matches!(
        purpose,
        Purpose::Commit
            | Purpose::CommitAgain
            | Purpose::CommitLast
            | Purpose::CommitExpect
            | Purpose::CommitExpectAgain
    )
}

/// The flow a request writes, if a newer request may decide instead of it. A read decides nothing, and a commit asks
/// once for each flow of a table that is there only where nothing is injected.
fn contested(purpose: Purpose, request: &Request) -> Option<FlowKey> {
    match request {
        _ if is_of_commit(purpose) => None,
        Request::Create(flow) | Request::Update(flow) => Some(flow.key()),
        Request::Delete(key, _) => Some(*key),
        Request::Get(_)
        | Request::Dump
        | Request::CreateExpectation(_)
        | Request::DeleteExpectation(_)
        | Request::DumpExpectations => None,
    }
}

#[cfg(test)]
mod tests;
