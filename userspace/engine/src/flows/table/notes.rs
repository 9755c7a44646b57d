//! What the owner of a table remembers of a flow beside the flow itself.

use bitflags::bitflags;

bitflags! {
    /// What the owner of a table remembers of an entry.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Marks: u16 {
        /// Ended; kept until the peers that received the flow receive its end.
        const DEAD = 1 << 2;
        /// The kernel has been asked about it.
        const VERIFYING = 1 << 3;
        /// Shown by the dump that is running, or being compared.
        const IN_DUMP = 1 << 4;
        /// Local: known from reading the kernel's table alone, so the kernel may never report its end. Set and
        /// cleared by [`FlowTable::set_knowledge`].
        #[doc(alias = "nf_conntrack_ecache")]
        const NO_EVENTS = 1 << 9;
        /// Local: known from its first packet alone, which was seen before the kernel had the flow in its table, so
        /// perhaps it never got there. Set and taken away with [`FlowTable::set_knowledge`].
        #[doc(alias = "IPS_CONFIRMED")]
        const UNCONFIRMED = 1 << 11;
        /// Local: an event or a packet reported its beginning, so `since_s` is that time.
        const BEGAN = 1 << 6;
        /// Local: its stamp is the time its last news arrived, which may be long after it happened; or an update was
        /// merged into what was known, which may have been an earlier life.
        const ARRIVAL_TIME = 1 << 10;
        /// Local: a peer's message about it was written into the kernel, and the kernel was queried for the result.
        /// The answer is not sent back to peers.
        const READ_BACK = 1 << 12;
        /// Remote, straight into the kernel: this kernel may not hold the flow as the peer has it. It refused the flow,
        /// or traffic of this node's uses the flow, too.
        const UNLIKE = 1 << 13;
        /// Remote, straight into the kernel: an injection made the flow in this kernel, and no traffic of this node's
        /// has used it since.
        const MADE = 1 << 14;
        /// Remote, straight into the kernel: a transfer of all the peer's flows did not name it. It stays until the
        /// kernel removes it, because traffic that no event reports may use it.
        const LEFT = 1 << 15;
        /// Remote, straight into the kernel: the kernel may hold another flow in its place. One of this node's flows
        /// was there and the peer's message was merged into it, or the kernel refused the message. The next message
        /// is written as a new flow once this node has no such flow: an update would change what is left of the other
        /// one.
        const ANEW = 1 << 5;
    }
}

/// What is remembered of a flow.
///
/// Packed by four, or the eight bytes of the stamp would make a row of the table eight bytes longer.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, packed(4))]
pub struct Notes {
    /// Order of the last change: kernel time in nanoseconds for local flows, the message's place in the peer's
    /// sequence for remote ones.
    pub stamp: u64,
    /// Second it was added, on the engine's clock.
    pub since_s: u32,
    /// Second it was last changed.
    pub updated_s: u32,
    /// Notes of the owner.
    pub marks: Marks,
}
