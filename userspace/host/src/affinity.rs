//! Where a thread waits for single events: on the CPU on which they happen.
//!
//! ```text
//!   scheduler:  CPU 0  packet -> event --wake another CPU, which sleeps--> CPU 1  thread
//!   affinity:   CPU 0  packet -> event -> thread
//! ```
//!
//! The scheduler likes to wake a thread on an idle CPU. Waking that CPU from its sleep takes longer than the work to
//! do there, in a virtual machine most of all, and the CPU on which the event happened is awake. So while events come
//! one by one and from one CPU, the thread stays there. It leaves when they stream in, when they come from elsewhere,
//! when there is other work, and, for a while, when that CPU turns out to be too busy to let it run soon.

use crate::place;
use common::Instant;
use rustix::thread::CpuSet;
use std::time::Duration;

/// So many single events in a row from one CPU are a habit.
const HABIT: u32 = 8;
/// An event that waited longer for its thread was not worth staying for.
const LATE: Duration = Duration::from_micros(400);
/// One late event is chance. It counts like so many events in time; when late ones add up to [`LATE_MAX`], it is not.
const LATE_WEIGHT: u32 = 8;
/// See [`LATE_WEIGHT`]: three late ones soon after each other.
const LATE_MAX: u32 = 20;
/// How long a CPU that kept the thread waiting is not trusted again.
const AWAY: Duration = Duration::from_secs(1);

/// A turn that heard something or is not through with its work, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// The CPU on which all of it happened; `None` if there were several, or if that is unknown.
    pub(crate) cpu: Option<usize>,
    /// How long the first of it had waited.
    pub(crate) waited: Duration,
    /// Whether events stream in, or there is more to do than one of them.
    pub(crate) busy: bool,
}

/// The CPU that the thread should move to, or none in particular.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Go {
    To(usize),
    Free,
}

/// Decides on which CPU the thread sleeps.
#[derive(Debug)]
struct Policy {
    /// Where the thread is held.
    held: Option<usize>,
    /// Where the last events came from, and how many in a row.
    habit: (Option<usize>, u32),
    /// What late events count, less those in time since.
    lateness: u32,
    away_until: Instant,
}

impl Policy {
    const fn new() -> Self {
        Self { held: None, habit: (None, 0), lateness: 0, away_until: Instant(0) }
    }

    /// After a turn. `None`: stay as you are.
    fn on_turn(&mut self, now: Instant, turn: Turn) -> Option<Go> {
        let Turn { cpu, waited, busy } = turn;
        let known = cpu.filter(|_| !busy);
        self.habit = match (known, self.habit) {
            (Some(cpu), (Some(last), times)) if cpu == last => (known, times.saturating_add(1)),
            (Some(_), _) => (known, 1),
            (None, _) => (None, 0),
        };
        self.lateness = match self.held {
            Some(_) if waited > LATE => self.lateness + LATE_WEIGHT,
            _ => self.lateness.saturating_sub(1),
        };
        let late = self.lateness > LATE_MAX;
        if late {
            (self.lateness, self.away_until) = (0, now + AWAY);
        }
        match self.held {
            Some(cpu) if late || known != Some(cpu) => self.go(None),
            None if self.habit.1 >= HABIT && now >= self.away_until => self.go(known),
            _ => None,
        }
    }

    fn go(&mut self, to: Option<usize>) -> Option<Go> {
        self.held = to;
        Some(to.map_or(Go::Free, Go::To))
    }
}

/// Moves the thread that runs it.
#[derive(Debug)]
pub(crate) struct Affinity {
    policy: Policy,
    /// Where it is held, and where it may run when it is not.
    held: Option<(usize, CpuSet)>,
}

impl Affinity {
    pub(crate) const fn new() -> Self {
        Self { policy: Policy::new(), held: None }
    }

    /// After a turn: goes where the next event is expected.
    pub(crate) fn on_turn(&mut self, now: Instant, turn: Turn) {
        // A CPU that is not available, or a placement that another program changed meanwhile, is no error.
        match self.policy.on_turn(now, turn) {
            Some(Go::To(cpu)) => self.hold(cpu),
            Some(Go::Free) => self.free(),
            None => {}
        }
    }

    fn hold(&mut self, cpu: usize) {
        let allowed = place::allowed();
        if cpu < CpuSet::MAX_CPU && allowed.is_set(cpu) && place::bind(&[cpu]).is_ok() {
            self.held = Some((cpu, allowed));
        }
    }

    fn free(&mut self) {
        let Some((cpu, allowed)) = self.held.take() else { return };
        if place::allowed() == place::set_of(&[cpu]) {
            let _ = place::bind_to(&allowed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_micros(20);

    fn on(cpu: usize) -> Turn {
        Turn { cpu: Some(cpu), waited: SOON, busy: false }
    }

    fn habit(policy: &mut Policy, cpu: usize) -> Vec<Option<Go>> {
        (0..HABIT).map(|n| policy.on_turn(Instant(n.into()), on(cpu))).collect()
    }

    #[test]
    fn it_goes_where_events_come_from_once_that_is_a_habit_and_stays() {
        let mut policy = Policy::new();
        let mut moves = habit(&mut policy, 3);
        assert_eq!(moves.pop().unwrap(), Some(Go::To(3)));
        assert!(moves.iter().all(Option::is_none));
        assert!(habit(&mut policy, 3).iter().all(Option::is_none));
    }

    #[test]
    fn it_leaves_when_events_stream_or_come_from_elsewhere() {
        let elsewhere = [on(2), Turn { cpu: None, ..on(3) }, Turn { busy: true, ..on(3) }];
        for turn in elsewhere {
            let mut policy = Policy::new();
            habit(&mut policy, 3);
            assert_eq!(policy.on_turn(Instant(9), turn), Some(Go::Free), "{turn:?}");
            assert_eq!(policy.on_turn(Instant(9), on(3)), None);
        }
        // Events that alternate between CPUs form no habit.
        let mut policy = Policy::new();
        assert!((0..100).all(|n| policy.on_turn(Instant(n), on(n as usize % 2)).is_none()));
    }

    #[test]
    fn a_cpu_that_kept_it_waiting_is_left_alone_for_a_while() {
        let mut policy = Policy::new();
        habit(&mut policy, 0);
        let late = Turn { waited: LATE * 2, ..on(0) };
        assert_eq!([100, 101].map(|n| policy.on_turn(Instant(n), late)), [None; 2]);
        assert_eq!(policy.on_turn(Instant(100), late), Some(Go::Free));
        assert!((101..200).all(|n| policy.on_turn(Instant(n), on(0)).is_none()));
        assert_eq!(policy.on_turn(Instant(101) + AWAY, on(0)), Some(Go::To(0)));
    }

    #[test]
    fn late_events_now_and_then_are_chance() {
        let mut policy = Policy::new();
        habit(&mut policy, 0);
        for n in 0..1000 {
            let waited = if n % 20 == 0 { LATE * 2 } else { SOON };
            assert_eq!(policy.on_turn(Instant(n), Turn { waited, ..on(0) }), None);
        }
    }

    #[test]
    fn a_thread_is_held_where_it_may_be_and_freed_to_where_it_was() {
        let before = place::cpus();
        let home = *before.last().unwrap();
        let mut affinity = Affinity::new();
        (0..HABIT).for_each(|n| affinity.on_turn(Instant(n.into()), on(home)));
        assert_eq!(place::cpus(), [home]);
        affinity.on_turn(Instant(9), Turn { busy: true, ..on(home) });
        assert_eq!(place::cpus(), before);
        // CPUs that do not exist or are not allowed change nothing.
        (0..2 * HABIT).for_each(|n| affinity.on_turn(Instant(n.into()), on(1000)));
        assert_eq!(place::cpus(), before);
    }
}
