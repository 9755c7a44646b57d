//! The states of a peer, as the table of section 5 has them, and one function that goes from one to the next.
//!
//! ```text
//!            Begin              Response
//!   None ----------> Asking ----------------> Up <--------+-- RekeyDue --> Renewing
//!     |               ^ |                     ^ |         |                   |
//!     | Initiation    | | Initiation  Confirmed | Silence '---- Response -----'
//!     '---> Answered <--' ------------------' | v
//!                                           Silent (asks again, its key stays for a while)
//! ```
//!
//! A good initiation is answered in any state, and what is answered takes the place of nothing before data under its
//! key has been opened (R5.4): so each state exists once more, *and an initiation has been answered*.

use super::keys::PublicKey;
use super::message::Hello;
use common::Instant;

/// How this node stands with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// There is no session, and no address to send an initiation to; or the peer has been taken out.
    None,
    /// An initiation was sent.
    Asking,
    /// A response was sent.
    Answered,
    /// There is a session.
    Up,
    /// There is a session, and an initiation was sent for the next one.
    Renewing,
    /// There is a session, and a response was sent for the next one.
    Renewed,
    /// The peer is not heard any more; its session stays, and an initiation was sent.
    Silent,
    /// As before, and a response was sent.
    SilentAnswered,
}

/// An event of the handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Event {
    /// There is an address to ask.
    Begin,
    /// A good initiation came, and ours does not go before it.
    Initiation,
    /// A good response to the initiation that was sent last came.
    Response,
    /// Data was opened under the next session's key.
    Confirmed,
    /// Data was opened under another key of the peer.
    Heard,
    /// No data came under the next session's key for a while.
    Unanswered,
    /// The present key is old, or no longer the one to use.
    RekeyDue,
    /// Nothing was opened for `PEER_SILENCE`, or the peer said that it goes.
    Silence,
    /// The present key reached `REJECT_AFTER`.
    Expired,
    /// The peer, or the key of its session, was taken out of the configuration.
    Removed,
}

/// What is done about it, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Action {
    /// The handshake that was begun here is forgotten.
    StopAsking,
    /// Begin a handshake.
    Ask,
    /// Send the response; what it makes is the next session.
    Answer,
    /// The next session is the present one, the present one the last.
    Promote,
    /// Report to the engine that the peer is there, unless it knows this incarnation.
    Tell,
    /// Report that the peer is gone.
    Down,
    /// Wipe the present and the last key.
    Forget,
    /// Wipe all keys.
    ForgetAll,
}

impl State {
    #[cfg(test)]
    pub(super) const ALL: [Self; 8] = [
        Self::None,
        Self::Asking,
        Self::Answered,
        Self::Up,
        Self::Renewing,
        Self::Renewed,
        Self::Silent,
        Self::SilentAnswered,
    ];

    /// The state in a word, for people and scripts.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Asking => "asking",
            Self::Answered => "answered",
            Self::Up => "up",
            Self::Renewing | Self::Renewed => "renewing",
            Self::Silent | Self::SilentAnswered => "silent",
        }
    }

    /// Whether the peer counts as there.
    #[must_use]
    pub const fn is_up(self) -> bool {
        matches!(self, Self::Up | Self::Renewing | Self::Renewed)
    }

    /// Whether initiations are sent.
    pub(super) const fn asks(self) -> bool {
        matches!(self, Self::Asking | Self::Renewing | Self::Silent)
    }

    /// Whether a response was sent that nothing has confirmed.
    pub(super) const fn has_answered(self) -> bool {
        matches!(self, Self::Answered | Self::Renewed | Self::SilentAnswered)
    }

    /// The state behind an event, and what has to be done.
    pub(super) const fn after(self, event: Event) -> (Self, &'static [Action]) {
        use Action::{Answer, Promote, StopAsking, Tell};
        match event {
            Event::Begin | Event::Unanswered | Event::RekeyDue => self.after_time(event),
            Event::Silence | Event::Expired | Event::Removed => self.after_end(event),
            Event::Initiation => {
                let actions: &[Action] =
                    if self.asks() { &[StopAsking, Answer] } else { &[Answer] };
                match self {
                    Self::None | Self::Asking | Self::Answered => (Self::Answered, actions),
                    Self::Up | Self::Renewing | Self::Renewed => (Self::Renewed, actions),
                    Self::Silent | Self::SilentAnswered => (Self::SilentAnswered, actions),
                }
            }
            Event::Response if self.asks() => (Self::Up, &[StopAsking, Promote, Tell]),
            Event::Response => (self, &[]),
            Event::Confirmed if self.asks() => (Self::Up, &[StopAsking, Promote, Tell]),
            Event::Confirmed => (Self::Up, &[Promote, Tell]),
            Event::Heard => match self {
                Self::Silent => (Self::Up, &[StopAsking, Tell]),
                Self::SilentAnswered => (Self::Renewed, &[Tell]),
                _ => (self, &[]),
            },
        }
    }

    const fn after_time(self, event: Event) -> (Self, &'static [Action]) {
        match (self, event) {
            (Self::None, Event::Begin) | (Self::Answered, Event::Unanswered) => {
                (Self::Asking, &[Action::Ask])
            }
            (Self::SilentAnswered, Event::Unanswered) => (Self::Silent, &[Action::Ask]),
            (Self::Renewed, Event::Unanswered) => (Self::Up, &[]),
            (Self::Up, Event::RekeyDue) => (Self::Renewing, &[Action::Ask]),
            _ => (self, &[]),
        }
    }

    const fn after_end(self, event: Event) -> (Self, &'static [Action]) {
        use Action::{Ask, Down, Forget, ForgetAll, StopAsking};
        match (self, event) {
            (_, Event::Removed) => (Self::None, &[StopAsking, Down, ForgetAll]),
            (Self::Up, Event::Silence) => (Self::Silent, &[Down, Ask]),
            (Self::Renewing, Event::Silence) => (Self::Silent, &[Down]),
            (Self::Renewed, Event::Silence) => (Self::SilentAnswered, &[Down]),
            (Self::Up, Event::Expired) => (Self::Asking, &[Down, Forget, Ask]),
            (Self::Renewing, Event::Expired) => (Self::Asking, &[Down, Forget]),
            (Self::Renewed, Event::Expired) => (Self::Answered, &[Down, Forget]),
            (Self::Silent, Event::Expired) => (Self::Asking, &[Forget]),
            (Self::SilentAnswered, Event::Expired) => (Self::Answered, &[Forget]),
            _ => (self, &[]),
        }
    }
}

/// One session with a peer, as the handshake left it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    /// This node's index of it.
    pub(super) index: u32,
    pub(super) begun: Instant,
    /// Whether this node sent the initiation.
    pub(super) initiated: bool,
    /// What the peer said of itself.
    pub(super) hello: Hello,
    pub(super) version: u8,
    pub(super) features: u64,
    /// The keys that it was made from; when one goes, so does the session.
    pub(super) own_key: PublicKey,
    pub(super) peer_key: PublicKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event; 10] = [
        Event::Begin,
        Event::Initiation,
        Event::Response,
        Event::Confirmed,
        Event::Heard,
        Event::Unanswered,
        Event::RekeyDue,
        Event::Silence,
        Event::Expired,
        Event::Removed,
    ];

    /// Every pair of state and event: `UPDATE=1` rewrites the table; read what has changed.
    #[test]
    fn section_5_the_table_of_states_is_this_one() {
        let mut table = String::new();
        for state in State::ALL {
            for event in EVENTS {
                let (next, actions) = state.after(event);
                let line = format!("{state:?} {event:?}: {next:?} {actions:?}\n");
                table.push_str(&line.replace(" []", ""));
            }
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/secure/tests/states.txt");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, &table).unwrap();
        }
        assert_eq!(table, std::fs::read_to_string(path).unwrap());
    }

    #[test]
    fn section_5_whoever_was_told_up_is_told_down_and_only_they() {
        for (state, event) in State::ALL.into_iter().flat_map(|s| EVENTS.map(|e| (s, e))) {
            let (next, actions) = state.after(event);
            let down = actions.contains(&Action::Down) && event != Event::Removed;
            let reported = actions.contains(&Action::Tell);
            assert_eq!(
                down,
                state.is_up() && !next.is_up() && event != Event::Removed,
                "{state:?} {event:?}"
            );
            assert!(reported || state.is_up() || !next.is_up(), "{state:?} {event:?}");
            let (stops, asks) =
                (actions.contains(&Action::StopAsking), actions.contains(&Action::Ask));
            assert_eq!(asks, !state.asks() && next.asks(), "{state:?} {event:?}");
            assert!(stops || !state.asks() || next.asks(), "{state:?} {event:?}");
        }
    }

    #[test]
    fn r5_4_only_data_or_a_response_promotes() {
        for (state, event) in State::ALL.into_iter().flat_map(|s| EVENTS.map(|e| (s, e))) {
            let promotes = state.after(event).1.contains(&Action::Promote);
            let may = event == Event::Confirmed || event == Event::Response && state.asks();
            assert_eq!(promotes, may, "{state:?} {event:?}");
        }
    }
}
