//! Everything that can happen to an engine.

use crate::filter::Filter;
use crate::message_id::PeerId;
use alloc::boxed::Box;
use alloc::vec::Vec;
use common::Instant;
use core::net::IpAddr;
use core::time::Duration;
use ctnetlink::{Change, Expectation, Flow, FlowKey};
use wire::packet::Seen;

/// The cause of a kernel event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Traffic, or another program.
    Foreign,
    /// A commit of ours: the flow is local from here on, but the peer sent it to us and need not receive it back.
    Commit,
    /// An injection of ours: the flow is the peer's.
    Inject,
    /// A purge of ours: the flow has ended here, and the peer, which may be about to take it over, does not receive
    /// the end.
    Purge,
}

/// When a kernel event happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// After everything that was handed in before.
    InOrder,
    /// Exactly then.
    At(Instant),
    /// Some time after then.
    After(Instant),
}

/// Names a command in the events that answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// What an operator can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Write the peer's flows into the kernel (`-c ct`).
    Commit,
    /// Write the peer's expectations into the kernel (`-c expect`).
    CommitExpectations,
    /// Both: flows, then expectations (`-c`).
    CommitAll,
    /// Forget flows and expectations (`-f`).
    Flush {
        /// The local ones.
        local: bool,
        /// The peer's.
        remote: bool,
    },
    /// Write the flows of one peer of version 2 into the kernel, though it carries them (`ctflow takeover`).
    TakeOver(PeerId),
    /// Say how what is held of a peer of version 2 differs from what it has, and mend nothing (`ctflow diff`).
    Compare(PeerId),
    /// Another node takes over (`-t`): flows are this node's by traffic alone from here on, until a commit.
    StandBy,
    /// This node's flows have no owner from here on, and have not ended (before `-F`).
    Release,
    /// Send the peer everything (`-B`).
    Bulk,
    /// Ask the peer to send everything (`-n`).
    RequestResync,
    /// Read the kernel's flows into the local table (`-R ct`).
    ResyncKernel,
    /// Read the kernel's expectations into the local table (`-R expect`).
    ResyncKernelExpectations,
    /// The kernel's tables of flows and of expectations (`-R`).
    ResyncKernelAll,
}

/// Where a datagram came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sender {
    /// Number of the link, as configured: 0 is the first.
    pub link: u8,
    /// Source address; the port is left out on purpose, since the original sends from an ephemeral one.
    pub addr: IpAddr,
}

/// Everything that can happen to an engine.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// The kernel reported something about a flow.
    Kernel {
        /// What the kernel reported.
        event: Change,
        /// The fields of the flow that it reported.
        flow: Flow,
        /// The cause of the event.
        origin: Origin,
        /// When the kernel reported it.
        stamp: Stamp,
    },
    /// A flow exists that no event has reported, because it was too young: the engine queries the kernel about it.
    Noticed(FlowKey),
    /// A packet of a flow passed, and this is the flow's state after it. Unlike an event, this does not show that the
    /// kernel will report the flow's end.
    Packet {
        /// The flow as the packet left it, and what that says of it.
        seen: Seen,
        /// When the packet was seen.
        at: Instant,
    },
    /// Settings change.
    Reconfigure(Reconfigure),
    /// Another event source takes over from here on, and nothing was lost on the way. `hears_requests`: whether its
    /// events report what other programs do to flows by request ([`crate::Config::hears_requests`]).
    SourceChanged {
        /// The new value.
        hears_requests: bool,
    },
    /// Events about flows were lost.
    EventsLost {
        /// How many events were lost.
        count: u64,
    },
    /// The kernel reported something about an expectation, after everything that was handed in before.
    KernelExpect {
        /// What the kernel reported.
        event: Change,
        /// The expectation.
        expect: Box<Expectation>,
        /// The cause of the event.
        origin: Origin,
    },
    /// Events about expectations were lost.
    ExpectEventsLost,
    /// An expectation of the dump asked for with [`crate::Request::DumpExpectations`].
    DumpedExpectation(Box<Expectation>),
    /// The dump of expectations is over. If it is not complete, nothing is concluded from what it did not show.
    ExpectationDumpDone {
        /// Whether it showed everything.
        complete: bool,
    },
    /// A flow of the dump asked for with [`crate::Request::Dump`].
    Dumped(Flow),
    /// The dump of flows is over. If it is not complete, nothing is concluded from what it did not show.
    DumpDone {
        /// Whether it showed everything.
        complete: bool,
    },
    /// The answer to [`crate::Request::Get`]: the flow as it is, or that it is not. It must be handed in with a
    /// `now` from before the kernel was asked, and before any event that is handed in with a later one.
    Verified {
        /// Identity of the queried flow.
        key: FlowKey,
        /// The flow, if it exists.
        flow: Option<Flow>,
    },
    /// A datagram of the peer, or whole messages of its stream.
    Datagram {
        /// The sender of the datagram.
        from: Sender,
        /// The messages.
        bytes: &'a [u8],
    },
    /// A peer of version 2 is there, or is there again: what was in flight to it is lost.
    PeerUp {
        /// The peer, in the order of the configuration.
        peer: PeerId,
        /// Identifies this run of the peer.
        incarnation: u64,
        /// How many shards it has.
        shards: u8,
    },
    /// A peer of version 2 is not there any more.
    PeerDown {
        /// The peer.
        peer: PeerId,
    },
    /// A datagram for a peer of version 2 is too long: for the interface, or for the path as far as routers said.
    PathLimit {
        /// The peer.
        peer: PeerId,
        /// Number of the peer's shard.
        to: u8,
        /// Its length, sealed.
        tried: usize,
        /// Bytes of the longest that passes.
        most: usize,
    },
    /// This node stops: peers of version 2 learn it from the datagrams polled next.
    Leaving,
    /// What a peer of version 2 sealed, opened.
    Opened {
        /// The peer that sealed it.
        peer: PeerId,
        /// Number of the peer's shard.
        from: u8,
        /// Its place in the stream from that shard to this one.
        number: u64,
        /// Head and frames.
        bytes: &'a [u8],
    },
    /// What the kernel says of its table; about once a second.
    KernelHealth {
        /// Flows in the kernel's table of this network namespace (`nf_conntrack_count`).
        flows: u64,
        /// Whether the kernel sends events (`nf_conntrack_events` is not 0).
        events: bool,
    },
    /// An operator wants something.
    Command(CommandId, Command),
    /// A kernel request failed.
    KernelFailed {
        /// Its token.
        token: u32,
        /// Positive errno.
        errno: i32,
    },
    /// Every kernel request up to and including this token is settled; those not reported failed have succeeded.
    KernelSettled {
        /// The last token covered.
        token: u32,
    },
    /// The time [`crate::Engine::poll_timeout`] named has come.
    Timeout,
}

/// What can change while an engine runs.
#[derive(Clone, Debug)]
pub struct Reconfigure {
    /// The flows that count; `None`: as before. Flows that came before the change stay as they are until the kernel's
    /// table is read the next time ([`Command::ResyncKernel`]): then those the filter refuses go, and those it refused
    /// before come in.
    pub filter: Option<Box<Filter>>,
    /// As [`Config::commit_timeout_s`](crate::Config::commit_timeout_s).
    pub commit_timeout_s: Option<u32>,
    /// As [`Config::repair_after`](crate::Config::repair_after), from the next loss of events on.
    pub repair_after: Option<Duration>,
    /// As [`Cluster::rates`](crate::config::Cluster::rates); `None`: as before.
    pub rates: Option<Vec<Option<u64>>>,
}
