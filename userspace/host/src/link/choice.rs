//! Decides which link to send on.

use crate::sys::interface::Interface;

/// State of the interface a link runs over, as `-s link` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Switched on, and working.
    Running,
    /// Switched on, without a carrier.
    NoCarrier,
    /// Switched off, or not there.
    Down,
}

impl Status {
    /// The status of what was seen; `None` when there was no interface.
    #[must_use]
    pub fn of(interface: Option<Interface>) -> Self {
        match interface {
            Some(Interface { up: true, running: true, .. }) => Self::Running,
            Some(Interface { up: true, .. }) => Self::NoCarrier,
            _ => Self::Down,
        }
    }

    /// The word in statistics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::NoCarrier => "NO-CARRIER",
            Self::Down => "DOWN",
        }
    }
}

/// The link to change to: the next one, round robin, that is running. `None` when `active` is running itself, or
/// nothing is.
pub(super) fn next(active: usize, links: &[Status]) -> Option<usize> {
    let is_running = |&at: &usize| links.get(at) == Some(&Status::Running);
    if is_running(&active) {
        return None;
    }
    (1..links.len()).map(|step| (active + step) % links.len()).find(is_running)
}

#[cfg(test)]
mod tests {
    use super::Status::{Down, NoCarrier, Running};
    use super::*;

    #[test]
    fn an_active_link_that_runs_is_kept() {
        assert_eq!(next(0, &[Running, Running]), None);
        assert_eq!(next(1, &[Down, Running]), None);
    }

    /// Defect 15 of the original (`docs/defects.md`).
    #[test]
    fn the_next_running_one_follows_round_robin() {
        assert_eq!(next(0, &[Down, Running, Running, Running]), Some(1));
        assert_eq!(next(1, &[Running, Down, Running, Running]), Some(2));
        assert_eq!(next(2, &[Running, Running, Down, Down]), Some(0));
        assert_eq!(next(3, &[NoCarrier, Running, Running, NoCarrier]), Some(1));
    }

    #[test]
    fn a_link_that_is_up_without_a_carrier_is_none_to_change_to() {
        assert_eq!(next(0, &[Down, NoCarrier]), None);
        assert_eq!(next(0, &[NoCarrier, NoCarrier, Running]), Some(2));
        assert_eq!(next(0, &[Down]), None);
        assert_eq!(next(0, &[]), None);
    }

    #[test]
    fn only_up_and_running_counts_as_running() {
        let of = |up, running| Status::of(Some(Interface { up, running, ..Interface::default() }));
        assert_eq!(
            [of(true, true), of(true, false), of(false, true), of(false, false)],
            [Running, NoCarrier, Down, Down]
        );
        assert_eq!(Status::of(None), Down);
    }
}
