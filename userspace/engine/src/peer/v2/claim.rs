//! The owner of a flow: each decision about claims as one pure function.
//!
//! - [`outcome`]: a claim is known, a claim comes (R10.1).
//! - [`said`]: the kernel says something; what does this node claim (R10.2)?
//! - [`join`]: two nodes saw parts of one connection (R10.3).
//! - [`meet`]: another's claim was taken, and this node's kernel has the flow (R10.4).
//!
//! `claim/tests/*.txt` lists what each of them answers to every combination of what it is asked.

#[cfg(test)]
mod tests;

use ctnetlink::Flow;
use ctnetlink::flow::{Known, ProtoState, Status};
pub use wire::sync::v2::What;

/// A node's word that a flow is its own, or over. `O` is the owner; the order of owners is the order of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim<O> {
    /// The node that claims.
    pub owner: O,
    /// The claimant's incarnation, in the order in which this node met them: those on the wire have none.
    pub incarnation: u32,
    /// How often the owner of the identity changed.
    pub epoch: u32,
    /// The owner's count of its changes.
    pub version: u64,
    /// The version of another's claim that this one superseded, or 0.
    pub base: u64,
    /// State or end.
    pub what: What,
}

/// What becomes of a claim that comes: the rows of section 10's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// 1: nothing was known. Taken.
    First,
    /// 2: the same owner's, and later. Taken.
    Later,
    /// 3: the same owner's, and known. Ignored.
    Again,
    /// 4: a higher epoch. Taken.
    Higher,
    /// 5: a lower epoch. Refused.
    Lower,
    /// 6: the same epoch, and the owner's name is the higher one. Taken.
    HigherName,
    /// 6: the same epoch, and the owner's name is the lower one. Refused.
    LowerName,
}

impl Outcome {
    /// Whether the claim that came is the known one from here on.
    #[must_use]
    pub const fn is_taken(self) -> bool {
        matches!(self, Self::First | Self::Later | Self::Higher | Self::HigherName)
    }

    /// Whether the claim that came lost against another's (`beaten`).
    #[must_use]
    pub const fn is_beaten(self) -> bool {
        matches!(self, Self::Lower | Self::LowerName)
    }
}

/// The outcome for the claim `coming` (R10.1). `repair`: it was sent to mend a difference.
#[must_use]
#[inline]
pub fn outcome<O: Ord>(known: Option<&Claim<O>>, coming: &Claim<O>, repair: bool) -> Outcome {
    let Some(known) = known else { return Outcome::First };
    if known.owner == coming.owner {
        let later = if coming.incarnation == known.incarnation {
            coming.version > known.version || repair && coming.version == known.version
        } else {
            coming.incarnation > known.incarnation
        };
        return if later { Outcome::Later } else { Outcome::Again };
    }
    match coming.epoch.cmp(&known.epoch) {
        core::cmp::Ordering::Greater => Outcome::Higher,
        core::cmp::Ordering::Less => Outcome::Lower,
        core::cmp::Ordering::Equal if coming.owner > known.owner => Outcome::HigherName,
        core::cmp::Ordering::Equal => Outcome::LowerName,
    }
}

/// Whether who made `coming` knew `ours` and superseded it (R10.4).
#[must_use]
pub const fn knew<O>(ours: &Claim<O>, coming: &Claim<O>) -> bool {
    coming.epoch == ours.epoch.wrapping_add(1) && coming.base >= ours.version
}

/// What the kernel says of a flow, or what this node did to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Happened {
    /// NEW, by traffic or by another program. `begins`: a TCP connection in SYN_SENT.
    New {
        /// Whether it cannot be a connection that was picked up.
        begins: bool,
    },
    /// UPDATE, by traffic or by another program.
    Update,
    /// DESTROY of the entry that the claim is about.
    Closed,
    /// DESTROY of the entry that the claim is about, because its time was over.
    Expired,
    /// DESTROY of another entry of the identity.
    OtherDestroyed,
    /// A commit wrote it, and the kernel has it.
    Committed,
    /// An injection of this node's wrote it or changed it.
    Injected,
    /// This node deleted its entry.
    Deleted,
    /// A reading of the kernel's table shows it.
    Shown,
}

/// What a node knows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Node<O> {
    /// Its name.
    pub me: O,
    /// Whether it writes flows of others into its kernel at once.
    pub hot: bool,
    /// Whether it claims by traffic alone (R13.6).
    pub standby: bool,
    /// Whether it is complete of each peer, or has waited long enough (`JOIN_WAIT`).
    pub joined: bool,
}

/// The content of a new claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// The flow as the kernel shows it.
    Kernel,
    /// That, and what this node's own claim said already: what was joined stays.
    Kept,
    /// That, joined with what another's claim says ([`join`]).
    Joined,
    /// The flow's end.
    End,
}

/// What a node says because of what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Said {
    /// The node says nothing.
    Nothing,
    /// The node claims the flow; the ledger gives the version.
    Claim {
        /// The epoch.
        epoch: u32,
        /// The version of another's claim that it supersedes, or 0.
        base: u64,
        /// State or end.
        what: What,
        /// What to send of it.
        carries: Content,
    },
    /// Nothing, and the owner's flow is written into the kernel again.
    WriteAgain,
}

/// What this node says (R10.2). `closing`: the known claim is about a TCP connection from FIN_WAIT on.
#[must_use]
pub fn said<O: Ord>(
    node: &Node<O>,
    happened: Happened,
    known: Option<&Claim<O>>,
    closing: bool,
) -> Said {
    let own = known.is_some_and(|known| known.owner == node.me);
    let live = known.is_some_and(|known| !known.what.is_end());
    match happened {
        Happened::New { begins } => match known {
            Some(known) if live && !own && !(begins && closing) => {
                next(known, own, What::State, Content::Joined)
            }
            Some(known) => next(known, own, What::New, Content::Kernel),
            None => first(What::New),
        },
        Happened::Update => match known {
            Some(known) if own && live => same(known, known.what, Content::Kept),
            Some(known) if live => next(known, own, What::State, Content::Joined),
            Some(known) => next(known, own, What::State, Content::Kernel),
            None => first(What::State),
        },
        Happened::Closed | Happened::Expired | Happened::Deleted => match known {
            Some(known) if own && live => {
                let expired = happened == Happened::Expired;
                let what = if expired { What::Expired } else { What::Closed };
                same(known, what, Content::End)
            }
            Some(_) if live && node.hot && happened != Happened::Deleted => Said::WriteAgain,
            _ => Said::Nothing,
        },
        Happened::Committed => match known {
            Some(known) if !own => next(known, own, What::State, Content::Joined),
            _ => Said::Nothing,
        },
        Happened::Shown if !node.joined || node.standby => Said::Nothing,
        // What ended is an earlier flow, or who said so did not know that this node has it.
        Happened::Shown => match known {
            Some(known) if !live => next(known, own, What::State, Content::Kernel),
            Some(_) => Said::Nothing,
            None => first(What::State),
        },
        Happened::OtherDestroyed | Happened::Injected => Said::Nothing,
    }
}

const fn first(what: What) -> Said {
    Said::Claim { epoch: 0, base: 0, what, carries: Content::Kernel }
}

const fn same<O>(known: &Claim<O>, what: What, carries: Content) -> Said {
    Said::Claim { epoch: known.epoch, base: known.base, what, carries }
}

const fn next<O>(known: &Claim<O>, own: bool, what: What, carries: Content) -> Said {
    let base = if own { 0 } else { known.version };
    Said::Claim { epoch: known.epoch.saturating_add(1), base, what, carries }
}

/// Bits that a connection only ever gains.
const GAINED: Status = Status::SEEN_REPLY
    .union(Status::ASSURED)
    .union(Status::SRC_NAT)
    .union(Status::DST_NAT)
    .union(Status::SRC_NAT_DONE)
    .union(Status::DST_NAT_DONE)
    .union(Status::SEQ_ADJUST)
    .union(Status::HELPER);

/// How far a TCP connection is in each of the kernel's states (`enum tcp_conntrack`).
const fn progress(state: u8) -> u8 {
    match state {
        // SYN_SENT, SYN_SENT2, SYN_RECV, ESTABLISHED, FIN_WAIT, CLOSE_WAIT, LAST_ACK, TIME_WAIT, CLOSE
        1 => 1,
        9 => 2,
        2..=8 => state + 1,
        _ => 0,
    }
}

/// Whether a TCP connection in this state is being closed, or is closed.
#[must_use]
pub const fn is_closing(state: u8) -> bool {
    progress(state) >= progress(4)
}

/// Whether `mine` says something of a connection that `theirs` does not: a bit that is only ever gained, or a later
/// state of TCP. Not where the replies differ: these are two connections.
#[must_use]
pub fn adds(mine: &Flow, theirs: &Flow) -> bool {
    let state = |flow: &Flow| flow.tcp().map_or(0, |tcp| progress(tcp.state));
    let bits = mine.status & GAINED;
    mine.reply == theirs.reply && (!theirs.status.contains(bits) || state(mine) > state(theirs))
}

/// Lays over `mine`, of who claims, what another's claim says more (R10.3): bits that are only ever gained, and a later
/// state of TCP. Nothing happens where the replies differ.
pub fn join(mine: &mut Flow, theirs: &Flow) {
    if !adds(theirs, mine) {
        return;
    }
    mine.status |= theirs.status & GAINED;
    mine.known |= Known::STATUS;
    if let (ProtoState::Tcp(mine), Some(theirs)) = (&mut mine.proto, theirs.tcp())
        && progress(theirs.state) > progress(mine.state)
    {
        mine.state = theirs.state;
    }
}

/// What this node has of a flow that another's claim, just taken, is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KernelEntry {
    /// No entry in its kernel.
    None,
    /// None, and its own claim was that the flow was closed.
    OwnClose,
    /// An entry of its own, which it claimed.
    Own,
    /// An entry of its own, whose claim it ceded before.
    Ceded,
    /// An entry that it wrote for the owner, and that had no news of its own since.
    Injected,
}

/// What another's claim, just taken, says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comes {
    /// A living flow.
    Live,
    /// A flow that began: what was known of the identity before was an earlier one.
    New,
    /// The flow was closed.
    Closed,
    /// Its time is over.
    Expired,
}

impl Comes {
    /// What `coming` says to who knew `known`. A flow that began says so for as long as its epoch lasts, so that no
    /// loss and no merging of states hides it; it is news once.
    #[must_use]
    pub fn of<O: Eq>(known: Option<&Claim<O>>, coming: &Claim<O>) -> Self {
        let same = |known: &Claim<O>| {
            known.owner == coming.owner
                && (known.incarnation, known.epoch) == (coming.incarnation, coming.epoch)
                && !known.what.is_end()
        };
        match coming.what {
            What::New if !known.is_some_and(same) => Self::New,
            What::State | What::New => Self::Live,
            What::Closed => Self::Closed,
            What::Expired => Self::Expired,
        }
    }
}

/// What else matters when another's claim meets an entry of this node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Meeting {
    /// Whether the other one superseded what this node claimed ([`knew`]).
    pub knew: bool,
    /// Whether both replies are the same.
    pub same_reply: bool,
    /// Whether this node's entry says more than the claim ([`adds`]).
    pub adds: bool,
    /// Whether this node writes flows of others into its kernel at once.
    pub hot: bool,
}

/// What a node does about its kernel, and about its own claim, after it took another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The node does nothing.
    Nothing,
    /// Its claim goes, the entry stays, and the entry's next news claims the flow again.
    Cede,
    /// The claim goes, the entry stays, and `nat_conflict` counts: the two nodes translate one flow differently. The
    /// kernel is left alone.
    CedeConflict,
    /// The node claims the flow with the next epoch, and with the joined state.
    ClaimJoined,
    /// The entry is an earlier flow's, and counts no longer.
    Forget,
    /// The entry is an earlier flow's; it is deleted by its id, and the owner's flow is created.
    Replace,
    /// The kernel is asked: if the flow is there and open, the node claims it with the next epoch.
    Ask,
    /// Nothing is written; when its time is over the kernel is asked, and what lives is claimed.
    AskWhenOver,
    /// The entry is deleted by its id, so that a flow that has begun since is safe.
    Delete,
    /// The node sends its close again, with the next epoch.
    CloseAgain,
    /// The owner's flow is created in the kernel.
    Create,
    /// The owner's flow is written over the entry that was written for it.
    Write,
    /// The entry has news of this node's own: status bits and a later state of TCP are written, nothing else (R10.6).
    Advance,
}

impl Action {
    /// Whether the peer's flow is written into the kernel.
    #[must_use]
    pub const fn is_write(self) -> bool {
        matches!(self, Self::Replace | Self::Create | Self::Write | Self::Advance)
    }
}

/// What this node does (R10.4, R13.3).
#[must_use]
pub const fn meet(entry: KernelEntry, comes: Comes, meeting: Meeting) -> Action {
    let Meeting { knew, same_reply, adds, hot } = meeting;
    match (entry, comes) {
        (KernelEntry::Own, Comes::Live | Comes::New) if !same_reply => Action::CedeConflict,
        (KernelEntry::Own, Comes::Live | Comes::New) if !knew && adds => Action::ClaimJoined,
        (KernelEntry::Own, Comes::Live | Comes::New) => Action::Cede,
        (KernelEntry::Ceded | KernelEntry::Injected, Comes::New) if hot => Action::Replace,
        (KernelEntry::Ceded | KernelEntry::Injected, Comes::New) => Action::Forget,
        (KernelEntry::Ceded, Comes::Live) if !same_reply => Action::CedeConflict,
        (KernelEntry::Ceded, Comes::Live) if hot => Action::Advance,
        (KernelEntry::Injected, Comes::Live) if hot && !same_reply => Action::Replace,
        (KernelEntry::Injected, Comes::Live) if hot => Action::Write,
        (KernelEntry::Ceded | KernelEntry::Injected, Comes::Live) => Action::Nothing,
        (KernelEntry::Own | KernelEntry::Ceded, Comes::Expired) => Action::Ask,
        (KernelEntry::Injected, Comes::Expired) => Action::AskWhenOver,
        (KernelEntry::Own, Comes::Closed) if !knew => Action::Ask,
        (KernelEntry::Own | KernelEntry::Ceded | KernelEntry::Injected, Comes::Closed) => {
            Action::Delete
        }
        (KernelEntry::OwnClose, Comes::Live) if !knew => Action::CloseAgain,
        (KernelEntry::None | KernelEntry::OwnClose, Comes::Live | Comes::New) if hot => {
            Action::Create
        }
        (KernelEntry::None | KernelEntry::OwnClose, _) => Action::Nothing,
    }
}

/// What the owner of a claim does when a holder says that it holds another one against it (R10.8). `there`: its kernel
/// has the flow.
#[must_use]
pub fn beaten<O: Ord>(ours: &Claim<O>, held: &Claim<O>, there: bool) -> Said {
    if held.epoch < ours.epoch || ours.what.is_end() {
        return Said::Nothing;
    }
    match (held.what.is_end(), there) {
        (true, true) => next(held, false, What::State, Content::Kernel),
        (true, false) => same(ours, What::Expired, Content::End),
        // The node cedes: the claim that beat it comes by itself.
        (false, _) => Said::Nothing,
    }
}
