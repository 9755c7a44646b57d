//! Everything an engine can ask for or say.

use crate::flows::exactness::Cause;
use crate::input::CommandId;
use crate::message_id::PeerId;
use alloc::boxed::Box;
use alloc::vec::Vec;
use common::Instant;
use core::time::Duration;
use ctnetlink::flow::HelperName;
use ctnetlink::{Expectation, Flow, FlowKey};

/// One of the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Flows of this node's kernel (conntrackd: internal cache).
    Local,
    /// Flows of the peer (conntrackd: external cache).
    Remote,
}

/// A request to the kernel. The engine keeps it: a failure may call for a second attempt.
#[derive(Clone, Copy, Debug)]
pub struct KernelOp<'a> {
    /// Answers name it. Tokens rise by one, modulo 2^32.
    pub token: u32,
    /// Whether events it causes are a commit's; else an injection's.
    pub commit: bool,
    /// The request.
    pub request: &'a Request,
}

/// A datagram of version 2 for one peer, to be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The peer that receives it.
    pub peer: PeerId,
    /// Number of the receiving shard of the peer.
    pub to: u8,
    /// Its place in the stream from this shard to that one.
    pub number: u64,
    /// How many bytes were written.
    pub len: usize,
    /// A datagram of this length was lost before: the host answers with [`Input::PathLimit`](crate::Input::PathLimit)
    /// if the kernel knows a lower limit of the path.
    pub asks_limit: bool,
}

/// What to ask the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Create this flow; fails with `EEXIST`.
    Create(Flow),
    /// Change this flow; fails with `ENOENT`.
    Update(Flow),
    /// Delete the flow; with the kernel's id of it only if that is the one that has this identity now. Fails with
    /// `ENOENT`.
    Delete(FlowKey, Option<u32>),
    /// Read the flow; answered by [`crate::Input::Verified`].
    Get(FlowKey),
    /// Create this expectation; fails with `EEXIST`, or `ENOENT` when there is no flow that it belongs to.
    CreateExpectation(Box<Expectation>),
    /// Delete the expectation that a flow with this identity would fulfil; fails with `ENOENT`.
    DeleteExpectation(FlowKey),
    /// Read all expectations; answered by [`crate::Input::DumpedExpectation`] and
    /// [`crate::Input::ExpectationDumpDone`] before anything else is asked.
    DumpExpectations,
    /// Read all flows; answered by [`crate::Input::Dumped`] and [`crate::Input::DumpDone`].
    Dump,
}

impl Request {
    /// Whether it is about expectations.
    #[must_use]
    pub const fn is_about_expectations(&self) -> bool {
        matches!(
            self,
            Self::CreateExpectation(_) | Self::DeleteExpectation(_) | Self::DumpExpectations
        )
    }
}

/// A part of a flow that a kernel may refuse, and that the flow can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The helper of this name.
    Helper(HelperName),
    /// The flow's labels.
    Labels,
    /// Parameters of SYNPROXY.
    Synproxy,
    /// Sequence adjustment.
    SeqAdj,
}

/// What a comparison for people found: a flow that is not the same here and at its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differing {
    /// The flow as this node holds it.
    pub here: Option<Flow>,
    /// As its owner has it.
    pub there: Option<Flow>,
}

/// How what is held here of a peer differs from what that has (R11.7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Flows of the peer that are here, and that it has, when they were compared.
    pub rows: [u32; 2],
    /// How many are missing here, are missing there, and are different. `None`: what was found does not explain how
    /// the sums of both differ, because flows changed meanwhile.
    pub counts: Option<[u64; 3]>,
    /// Some of these, in no order that means something.
    pub differing: Vec<Differing>,
    /// Whether the peer's table is all that its kernel has, as far as it knows.
    pub peer_is_exact: bool,
}

/// An event for the log and for those who wait for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A command was carried out.
    CommandDone(CommandId),
    /// A command was not carried out.
    CommandRefused(CommandId, &'static str),
    /// Two tables were compared for people.
    Compared(CommandId, Box<Compared>),
    /// A commit begins.
    CommitStarted {
        /// Whether flows are committed.
        flows: bool,
        /// Whether expectations are committed.
        expectations: bool,
    },
    /// A commit is over.
    CommitDone {
        /// Flows the kernel took.
        committed: u64,
        /// Flows it refused.
        failed: u64,
        /// How long it took.
        took: Duration,
    },
    /// A commit of expectations is over.
    ExpectationsCommitted {
        /// Expectations the kernel took.
        committed: u64,
        /// Expectations it refused.
        failed: u64,
        /// How long it took.
        took: Duration,
    },
    /// The kernel refused a flow or an expectation.
    WriteFailed {
        /// The operation that was tried.
        what: &'static str,
        /// Identity of the flow, or of the expected one.
        flow: FlowKey,
        /// Positive errno.
        errno: i32,
    },
    /// The kernel refused a part of a flow: the flow is written without it.
    WrittenWithout {
        /// The part that the kernel refused.
        part: Part,
        /// Identity of the flow.
        flow: FlowKey,
        /// Positive errno.
        errno: i32,
    },
    /// The peer asked for everything.
    ResyncRequested,
    /// Everything is being sent to the peer.
    BulkStarted {
        /// Flows in the table at that moment.
        flows: usize,
    },
    /// Everything has been sent.
    BulkDone {
        /// Flows sent.
        flows: u64,
    },
    /// The kernel's table was read into the local one.
    KernelResynced {
        /// Flows it holds.
        flows: u64,
        /// Entries that were removed because the kernel does not hold them.
        purged: u64,
    },
    /// The local table is not what the kernel holds.
    Degraded(Cause),
    /// What was lost has been made good: the local table is exact again.
    Repaired {
        /// Why the table was not exact.
        cause: Cause,
        /// Events that were lost.
        lost: u64,
        /// How long the table was not exact.
        after: Duration,
    },
    /// A flow has ended, but the kernel's event of that did not come. Only with
    /// [`crate::Config::tell_vanished`].
    Vanished(Box<Flow>),
    /// A table is full; new flows are not kept. Reported again only after it had room.
    TableFull {
        /// The side of the table.
        side: Side,
        /// Its limit.
        limit: usize,
    },
    /// The peer lacks messages that are not kept any more: everything is sent again.
    PeerMissed,
    /// Nothing has been heard from the peer for a while.
    PeerSilent {
        /// How long the peer has been silent.
        since: Duration,
    },
    /// The peer is heard again.
    PeerBack,
    /// The peer's count of its flows differs from the number held here: the engine requests everything.
    PeerDiffers {
        /// What the peer says.
        theirs: u32,
        /// How many flows of it are held here.
        ours: u32,
    },
    /// Flows were removed that a peer sent and does not have any more: their ends were lost.
    StaleRemoved {
        /// How many flows were removed.
        flows: u64,
    },
    /// A peer of version 2 announced that it leaves: the host ends its session.
    PeerLeft(PeerId),
    /// The path to a peer of version 2 carries datagrams of another length than before.
    PathLength {
        /// The peer at the end of the path.
        peer: PeerId,
        /// Bytes of the longest, sealed.
        len: usize,
    },
    /// The peer's sequence numbers restarted.
    PeerRestarted {
        /// When it was seen.
        at: Instant,
    },
}
