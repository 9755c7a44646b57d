//! Whether everything that a peer holds has arrived here, and nothing else is here.
//!
//! ```text
//!   us                                         peer
//!    |-- RESYNC ------------------------------->|  asked: everything sent from here on counts
//!    |<-- flow 17, flow 18, ... flow 400 -------|  the transfer begins at 17
//!    |<-- SETTLED, transfer from 17, 384 flows -|  an account
//!    |
//!    `- nothing missing since 17? A flow that the peer sent before 17 and not again does not exist there: it goes.
//!       Do we hold 384 flows of this peer? If not for several accounts in a row, ask again.
//! ```
//!
//! A place in the peer's sequence is an *order* ([`crate::peer::v1::Tracker`]); it grows with every message.

use crate::config::limit;
use common::Instant;
use core::time::Duration;
use wire::sync::v1::Account;

/// What is known of how much of a peer's table is here.
#[derive(Debug)]
pub struct Whole {
    /// When everything was requested, and the order of the last message before that; `None` once it is here, or
    /// without a request.
    asked: Option<(Instant, u64)>,
    /// Everything that was asked for is here.
    complete: bool,
    /// Order from which on the last transfer that is here named every flow of the peer; 0: no transfer is known.
    base: u64,
    /// Order of the last message of the last transfer that an account spoke of.
    applied: u64,
    /// Order of the last message that was not kept as received: there was no room for its flow, or a stranger used
    /// the peer's address about then.
    refused: u64,
    /// When the peer was last sent one of its own flows, if everything was not requested since ([`Whole::on_said`]).
    said: Option<Instant>,
    /// The peer writes received flows straight into its kernel, according to its last account, or to that of an
    /// earlier life.
    injects: bool,
    /// Flows with a lower order than this are being removed.
    sweeping: bool,
    /// The last account, if the peer sends any.
    account: Option<Account>,
    /// The peer sends accounts, or is going to.
    accounts: bool,
    /// Each message of the peer about a flow carries all of it, according to its last account.
    carries_all: bool,
    /// Order of the last update that was merged into what may have been another flow, before that was known.
    merged: u64,
    /// Order of the last update that replaced what was known, on the assumption that it carried all.
    replaced: u64,
    /// An account speaks of a transfer that is not here.
    pending: bool,
    /// Accounts in a row that differ from what is held, and in which direction.
    streak: (u8, bool),
    /// Flows that ended may be held, because the peer does not say which transfer is complete, and something of it
    /// was lost.
    lingers: bool,
    /// When to ask again at the earliest, and how long to wait after that.
    ask_next: Instant,
    ask_pause: Duration,
}

/// What an account leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The account asks for no action.
    Fine,
    /// Flows that the peer sent before this order, and not since, have to be removed.
    Sweep(u64),
    /// The engine has to request everything from the peer.
    Ask,
    /// The engine has to request everything, because the peer holds `theirs` flows, and of these `ours` are here.
    Differs {
        /// What the peer says.
        theirs: u32,
        /// How many of these are here.
        ours: u32,
    },
}

impl Default for Whole {
    fn default() -> Self {
        Self {
            asked: None,
            complete: false,
            base: 0,
            applied: 0,
            refused: 0,
            said: None,
            injects: false,
            sweeping: false,
            account: None,
            accounts: false,
            carries_all: false,
            merged: 0,
            replaced: 0,
            pending: false,
            streak: (0, false),
            lingers: false,
            ask_next: Instant(0),
            ask_pause: limit::ASK_AGAIN,
        }
    }
}

/// What is known of a peer when one of its accounts comes in.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// The time.
    pub now: Instant,
    /// Order of the account's transfer, if it is known and was heard from its beginning.
    pub transfer: Option<u64>,
    /// Order of the last message that passed over numbers which will not come; 0 if there is none.
    pub hole: u64,
    /// No message from before the account is still on its way.
    pub quiet: bool,
    /// Flows held of this peer that count; `None` where that says nothing.
    pub held: Option<u32>,
    /// Flows are held in a table, so that those which a transfer does not name can be removed.
    pub table: bool,
}

impl Whole {
    /// Everything is being asked for; the last message of the peer had this order.
    pub fn on_asked(&mut self, now: Instant, order: u64) {
        self.asked = Some((now, order));
        self.complete = false;
        self.ask_next = self.ask_next.max(now + limit::ASK_AGAIN);
    }

    /// The peer is asked once more, after its message `order`: if that is in vain too, the next time is later.
    pub fn on_ask_again(&mut self, now: Instant, order: u64) {
        if self.said.take().is_some() {
            self.on_refused(order);
        }
        self.ask_next = now + self.ask_pause;
        self.ask_pause = (self.ask_pause * 2).min(limit::ASK_AGAIN_MAX);
    }

    /// The peer has restarted: what became of its flows meanwhile is not known.
    pub const fn on_restart(&mut self) {
        self.complete = false;
        self.account = None;
        self.accounts = false;
        self.pending = false;
        self.streak = (0, false);
        self.lingers = true;
    }

    /// Whether an account, which message `order` brings, shows a new life of the peer that its numbers did not show,
    /// because they go on where those of the life before ended: it knows of no transfer any more. It did not send
    /// what ended meanwhile, so the engine has to request everything.
    pub fn shows_new_life(&mut self, account: Account, order: u64) -> bool {
        let shows = account.transfer.is_none()
            && self.account.is_some_and(|before| before.transfer.is_some());
        if shows {
            self.on_restart();
            self.on_accountable();
            self.on_refused(order);
        }
        shows
    }

    /// There was no room for the flow of message `order`, or a stranger used the peer's address after it.
    pub fn on_refused(&mut self, order: u64) {
        self.refused = self.refused.max(order);
    }

    /// The peer is sent one of its own flows, and does not report what becomes of that flow. The engine requests
    /// everything when that message has surely arrived: a transfer under way may have named the flow before.
    pub fn on_said(&mut self, now: Instant) {
        self.said = Some(now);
        self.ask_next = self.ask_next.max(now + limit::ASK_AGAIN);
    }

    /// Whether the peer passes on what changed, as far as is known, so that an update which is overtaken is missing.
    #[must_use]
    pub const fn carries_parts(&self) -> bool {
        match self.account {
            Some(account) => !account.whole,
            None => self.accounts && !self.carries_all,
        }
    }

    /// Whether the peer writes received flows straight into its kernel, as far as is known.
    #[must_use]
    pub const fn injects(&self) -> bool {
        self.injects
    }

    /// Whether an update replaces what was known of its flow; otherwise the update is merged into that, and fields that
    /// it does not carry stay.
    #[must_use]
    pub const fn carries_all(&self) -> bool {
        // Until the first account comes, a peer that gives accounts is taken for one that keeps a table.
        self.carries_all || (self.accounts && self.account.is_none())
    }

    /// Whether that is only assumed.
    const fn assumes(&self) -> bool {
        self.account.is_none()
    }

    /// Message `order` updates a known flow, and no account has said yet whether such a message carries all of it.
    pub const fn on_update(&mut self, order: u64) {
        if !self.assumes() {
            return;
        }
        if self.carries_all() {
            self.replaced = order;
        } else {
            self.merged = order;
        }
    }

    /// Nothing of the peer is held any more; the last message had this order.
    pub fn on_flushed(&mut self, order: u64) {
        self.lingers = false;
        // A transfer that began before has named flows that are gone now.
        (self.asked, self.complete, self.pending) = (None, false, false);
        self.base = self.base.max(order + 1);
        self.applied = self.applied.max(order);
    }

    /// Whether something was not kept as received, and no transfer has carried it again since.
    #[must_use]
    pub const fn lacks_some(&self) -> bool {
        // The first message of a transfer may be the one that was not taken.
        self.said.is_some() || (self.refused > 0 && self.refused >= self.base)
    }

    /// Whether it is time to ask for everything, if there is a reason.
    #[must_use]
    pub fn may_ask(&self, now: Instant) -> bool {
        now >= self.ask_next
    }

    /// When the peer may be asked again.
    #[must_use]
    pub const fn ask_next(&self) -> Instant {
        self.ask_next
    }

    /// What was requested is here, as far as that can be known of a peer that sends no accounts: all of it came after
    /// the request. With `sure`, a flow that the peer sent before and not since does not exist there: returns the
    /// order that separates the two. `hole`: as in [`Circumstances`].
    pub fn on_answered(&mut self, hole: u64, sure: bool) -> Option<u64> {
        let (_, order) = self.asked.take()?;
        self.complete = true;
        self.base = self.base.max(order + 1);
        if !sure {
            // What is held of flows whose end was lost, no transfer takes away.
            self.lingers |= (1..=self.base).contains(&hole);
            return None;
        }
        self.ask_pause = limit::ASK_AGAIN;
        (self.lingers, self.sweeping) = (false, true);
        Some(order + 1)
    }

    /// Whether flows may be held that ended unheard.
    #[must_use]
    pub const fn lingers(&self) -> bool {
        self.lingers
    }

    /// Whether the peer sends accounts of its table.
    #[must_use]
    pub const fn has_account(&self) -> bool {
        self.accounts
    }

    /// The peer says that it sends accounts.
    pub const fn on_accountable(&mut self) {
        self.accounts = true;
    }

    /// When everything was asked for that is not here yet.
    #[must_use]
    pub fn asked_at(&self) -> Option<Instant> {
        self.asked.map(|(at, _)| at)
    }

    /// Takes an account.
    pub fn on_account(&mut self, account: Account, about: Circumstances) -> Finding {
        if account.exact && self.account.is_some_and(|before| !before.exact) {
            // What it was asked before was in vain for a reason that has gone.
            self.ask_next = self.ask_next.min(about.now + limit::ASK_AGAIN);
        }
        self.account = Some(account);
        self.injects = account.injects;
        self.carries_all = account.whole;
        // A flow that was merged in the wrong way has to be sent once more.
        let merged = core::mem::take(&mut self.merged);
        let replaced = core::mem::take(&mut self.replaced);
        self.refused = self.refused.max(if account.whole { merged } else { replaced });
        let heard = about.transfer.filter(|order| *order > self.applied);
        self.pending = heard.is_some();
        if !about.quiet || self.sweeping {
            return Finding::Fine;
        }
        // What the peer itself does not know, its transfer cannot show to be gone.
        if let Some(order) = heard.filter(|order| account.exact && *order > about.hole) {
            return self.on_transfer(order, about.table);
        }
        // The answer has a hole, or there is none although the peer has nothing left to send.
        if (self.asked.is_some() || self.pending) && self.may_ask(about.now) {
            return Finding::Ask;
        }
        self.compare(account, about)
    }

    /// A transfer from `order` on is here without a hole.
    fn on_transfer(&mut self, order: u64, table: bool) -> Finding {
        self.base = self.base.max(order);
        (self.applied, self.pending) = (order, false);
        if self.asked.is_none_or(|(_, asked)| order > asked) {
            (self.asked, self.complete) = (None, true);
            self.ask_pause = limit::ASK_AGAIN;
        }
        if !table {
            return Finding::Fine;
        }
        (self.lingers, self.sweeping) = (false, true);
        Finding::Sweep(order)
    }

    /// Compares how many flows the peer has with how many are held of it.
    fn compare(&mut self, account: Account, about: Circumstances) -> Finding {
        let known = account.exact && self.complete && about.table;
        let (Some(theirs), Some(ours)) = (account.flows.filter(|_| known), about.held) else {
            self.streak = (0, false);
            return Finding::Fine;
        };
        let more = theirs > ours;
        self.streak = match self.streak {
            _ if theirs == ours => (0, more),
            (count, same) if same == more => (count.saturating_add(1), more),
            _ => (1, more),
        };
        if self.differs() && self.may_ask(about.now) {
            return Finding::Differs { theirs, ours };
        }
        Finding::Fine
    }

    const fn differs(&self) -> bool {
        self.streak.0 >= limit::ACCOUNTS_DIFFER
    }

    /// The removal is complete.
    pub const fn on_swept(&mut self) {
        self.sweeping = false;
    }

    /// Whether the peer's whole table came in since it was asked for.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether what is held of the peer is what it has, as far as that is known. `hole`: as in [`Circumstances`].
    #[must_use]
    pub fn is_exact(&self, hole: u64) -> bool {
        let there = self.account.is_none_or(|account| account.exact);
        let settled = !self.sweeping && !self.pending && !self.lacks_some() && !self.differs();
        there && settled && hole <= self.base && !self.lingers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_becomes_exact_is_asked_soon_however_often_it_was_asked_in_vain() {
        let at = |s: u64| Instant(s * 1_000_000_000);
        let mut whole = Whole::default();
        whole.on_refused(5);
        for s in 0..5 {
            whole.on_ask_again(at(s), 5);
        }
        assert!(!whole.may_ask(at(15)), "the pause has grown");
        let account =
            |exact| Account { exact, whole: true, injects: false, transfer: None, flows: None };
        let about = |s| Circumstances {
            now: at(s),
            transfer: None,
            hole: 0,
            quiet: true,
            held: None,
            table: true,
        };
        whole.on_account(account(false), about(6));
        assert!(!whole.may_ask(at(15)));
        whole.on_account(account(true), about(7));
        assert!(whole.may_ask(at(9)) && !whole.may_ask(at(8)), "once, after the usual pause");
    }
}
