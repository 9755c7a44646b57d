//! How much is known of an identity, and how news about it changes that: one table, without a side effect.
//! `knowledge/transitions.txt` shows every row of it.
//!
//! ```text
//!               event NEW, UPDATE                              first packet              anything more
//!   Absent, ----------------------------> Sure        Absent, ---------------> Seen --------------------> Sure
//!   Ended   --later packet, the kernel--> Read        Ended
//!              shows it                    |
//!                                          '--event UPDATE: the kernel is asked--> Sure
//!
//!   Read, Seen, Sure --end, or the kernel has no such flow--> Ended --no peer needs its end-------> Absent
//! ```
//!
//! Where the order of news and known state is uncertain, the kernel is queried, and its answer is right.

/// News about a flow compared with the last word about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// The news is newer.
    Newer,
    /// The news is older.
    Older,
    /// Only the kernel knows.
    Unclear,
}

/// What is known of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// There is no such flow, for all one knows.
    Absent,
    /// The last flow of that identity has ended, and a peer has yet to receive the end.
    Ended,
    /// The flow lives. It is known from a reading of the kernel's table alone, or from packets that did not begin it,
    /// so the kernel may never report its end.
    Read,
    /// The flow lives. It is known from its first packet alone, so perhaps it never got into the kernel's table.
    Seen,
    /// The flow lives, and the kernel will report its end.
    Sure,
}

/// What reported the news of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// An event: an update carries what has changed.
    Event,
    /// A packet: it shows the state of the flow, all of it (`whole`) or all but what few flows have.
    Packet {
        /// The packet shows all of the flow's state.
        whole: bool,
    },
}

/// The kind of news about a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The flow began.
    Began(By),
    /// The flow changed.
    Changed(By),
    /// The flow ended.
    Ended,
}

/// The facts that a decision needs, each looked up only if it matters.
pub trait Facts {
    /// How old the news is beside what is known.
    fn age(&self) -> Age;
    /// Whether the news is of another flow than the one that is known.
    fn is_another(&self) -> bool;
    /// Whether the news says anything that is not known.
    fn says_more(&self) -> bool;
    /// Whether the last word was an event that was merged into what was known: older news may carry what the event left
    /// out.
    fn is_laid_over(&self) -> bool;
    /// Whether the unknown flow in this news may have ended already.
    fn may_be_over(&self) -> bool;
    /// Whether the flow that is known may be on its way into the kernel's table.
    fn may_be_about_to_begin(&self) -> bool;
}

/// The action to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is older than what is known.
    Ignore,
    /// The news is older than what is known, but peers may not have received the state that is known.
    TellLate,
    /// Only the kernel knows. `anew`: the next message sends the flow as new.
    Ask {
        /// The next message to peers sends the flow as new.
        anew: bool,
    },
    /// What was heard is known from here on.
    Take(Taken),
    /// The flow has ended.
    End,
    /// A flow has ended that is not known.
    Bury,
}

/// How news is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// What is known then.
    pub next: Knowledge,
    /// Whether the kernel is asked, too.
    pub ask: Ask,
}

/// Whether the kernel is asked beside taking news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// No: the news says all.
    No,
    /// Yes, and peers receive at once what is known so far.
    Beside,
    /// Yes, and peers receive the flow after the answer: a peer might commit half a flow.
    First,
    /// Yes, and if there is room for the question, nothing else is done.
    Instead,
}

impl Knowledge {
    /// Whether a flow lives.
    #[must_use]
    pub const fn is_alive(self) -> bool {
        matches!(self, Self::Read | Self::Seen | Self::Sure)
    }

    /// What to do about news.
    #[inline]
    pub fn on_news(self, what: What, facts: &impl Facts) -> Step {
        let by = match what {
            What::Ended => return self.on_end(facts),
            What::Began(by) | What::Changed(by) => by,
        };
        let (began, alive) = (matches!(what, What::Began(_)), self.is_alive());
        let ask = Step::Ask { anew: began && alive };
        match (facts.age(), by) {
            (Age::Newer, _) if !alive && facts.may_be_over() => ask,
            (Age::Newer, _) => Step::Take(self.take(began, by, facts)),
            // A packet carries all of the flow's state, an event what has changed: if both are on their way, either
            // may come in first.
            (Age::Older, By::Packet { .. })
                if alive && facts.is_laid_over() && facts.says_more() =>
            {
                ask
            }
            (Age::Older, By::Packet { .. }) if alive => Step::TellLate,
            (Age::Older, By::Packet { .. }) => Step::Ignore,
            (Age::Older, By::Event) if !alive || !facts.says_more() => Step::Ignore,
            (Age::Older | Age::Unclear, _) => ask,
        }
    }

    fn take(self, began: bool, by: By, facts: &impl Facts) -> Taken {
        let alive = self.is_alive();
        let next = match (by, began) {
            (By::Event, _) => Self::Sure,
            (By::Packet { .. }, true) => Self::Seen,
            // If the beginning of a flow was not seen, the kernel may not report its end either.
            (By::Packet { .. }, false) if !alive || facts.is_another() => Self::Read,
            // Once that is known, its packets change nothing.
            (By::Packet { .. }, false) if self == Self::Read => Self::Read,
            (By::Packet { .. }, false) => Self::Sure,
        };
        let ask = match (by, began) {
            (By::Event, true) => Ask::No,
            // The first event about it: either the kernel does report the flow, or the flow ended unreported and this
            // is another one, even if it has the id of the first.
            (By::Event, false) if self == Self::Read => Ask::Instead,
            // An update carries what changed, which is not enough for a flow that is not known.
            (By::Event, false) if !alive || facts.is_another() => Ask::First,
            (By::Event, false) => Ask::No,
            // Two packets may begin a flow at once, and the kernel keeps the one or the other.
            (By::Packet { whole }, true) if !whole || alive => Ask::First,
            (By::Packet { whole: false }, false) if !alive => Ask::First,
            // A packet's view of a known flow is merged into it: the result can be sent, whatever the kernel adds.
            (By::Packet { whole: false }, false) => Ask::Beside,
            (By::Packet { .. }, _) => Ask::No,
        };
        Taken { next, ask }
    }

    fn on_end(self, facts: &impl Facts) -> Step {
        if !self.is_alive() {
            return Step::Bury;
        }
        match facts.age() {
            // The end of an earlier flow may come between the first packet of this one and its place in the table.
            Age::Newer if facts.may_be_about_to_begin() => Step::Ask { anew: false },
            // The flow was read after this end, which came in late: a reading's flows are as old as its beginning. The
            // news of its beginning will be older than the answer, and the first reading was sent to no peer.
            Age::Newer if facts.is_another() => Step::Ask { anew: true },
            Age::Newer => Step::End,
            // An earlier flow, unless the id says that it may be this one: then a packet was reported after the end, or
            // the kernel gave the next flow the same id.
            Age::Older if facts.is_another() => Step::Ignore,
            Age::Older | Age::Unclear => Step::Ask { anew: false },
        }
    }

    /// What is known when the kernel shows the flow. `another`: not the one that was known.
    #[must_use]
    pub const fn on_shown(self, another: bool) -> Self {
        match self {
            Self::Absent | Self::Ended => Self::Read,
            // Another flow, of which there was no event: perhaps there never will be one.
            _ if another => Self::Read,
            Self::Seen => Self::Sure,
            Self::Read | Self::Sure => self,
        }
    }

    /// What to do when the kernel has no such flow. `about_to_begin`: its first packet may still be on its way.
    #[must_use]
    pub const fn on_missing(self, about_to_begin: bool) -> Step {
        match self {
            Self::Absent | Self::Ended => Step::Bury,
            _ if about_to_begin => Step::Ask { anew: false },
            Self::Read | Self::Seen | Self::Sure => Step::End,
        }
    }
}

#[cfg(test)]
mod tests;
