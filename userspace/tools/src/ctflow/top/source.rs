//! Where samples come from: the mirror of a daemon's table while its feed can be followed, else walks.
//!
//! ```text
//!            no feed, over --max-flows, daemon gone           every RETRY, if there is room
//!   mirror ------------------------------------------> walk ------------------------------> a new mirror, once live
//!      '--> no walk is possible: the mirror as it was last, with the reason
//! ```

use super::arrange::SHARE;
use super::follow::{Follower, Place, Stand, locked};
use super::meter::Churn;
use super::mirror::Rates;
use super::mode::{Cause, Lapse, Mode, Origin};
use super::row::Held;
use super::sample::{Failures, Machine, Sample, Totals};
use super::walk::{Signs, Walk, Walker, Wanted, machine};
use crate::ctflow::feed;
use crate::ctflow::outcome::Fault;
use host::clock;
use host::control::framed::namespace;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// The shortest time between two attempts to follow the feed: while the daemon may come back, and when it has refused.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_REFUSED: Duration = Duration::from_secs(30);
/// How long to wait for the first snapshot before looking whether to stop.
const MOMENT: Duration = Duration::from_millis(50);
/// A mirror that had no room is tried again when the table takes at most so many eighths of it.
const ROOM_EIGHTHS: u64 = 7;

/// Where a feed may be.
#[derive(Clone, Debug)]
pub struct Feed {
    /// Its socket, if it was named.
    pub socket: Option<PathBuf>,
    /// The configuration that says where it is.
    pub config: PathBuf,
    /// Whichever namespace its daemon works in: it was named.
    pub is_anywhere: bool,
}

impl Feed {
    /// Where the daemon's socket is; `None` if no daemon here has one.
    #[must_use]
    pub fn socket(&self) -> Option<PathBuf> {
        self.socket.clone().or_else(|| feed::socket(&self.config).ok())
    }

    /// The feed's socket; `None` if no daemon here has one.
    fn place(&self) -> Option<Place> {
        let socket = self.socket()?;
        Some(Place { socket, namespace: if self.is_anywhere { None } else { namespace() } })
    }
}

/// The counters of the kernel, as they were read last.
#[derive(Clone, Copy, Debug)]
struct Counters {
    at: Instant,
    took: Duration,
    rates: Rates,
}

/// A feed that is followed, and what was made of it.
struct Following {
    follower: Follower,
    /// What the daemon says of its table while that is in this state. It is asked when the state changes: a daemon that
    /// hangs says nothing new, and keeps no picture waiting.
    notes: Option<(String, Vec<String>)>,
    counters: Option<Counters>,
    /// When the last turn ended.
    turned: Option<Instant>,
}

/// A mirror, or walks.
pub struct Source {
    walker: Walker,
    wanted: Wanted,
    feed: Feed,
    flows_max: usize,
    /// How much rarer counters are read than the time a reading takes; 0: as often as pictures are made.
    share: u32,
    following: Option<Following>,
    tried: Option<Instant>,
    lapse: Option<Lapse>,
    /// Flows of the last walk.
    walked: u64,
    /// The last sample of a mirror, while nothing has come in its place.
    last: Option<Sample>,
    is_shown: bool,
    failures: Option<Failures>,
    begun: Instant,
}

impl Source {
    /// `walker` walks where there is no mirror; a mirror holds at most so many flows.
    #[must_use]
    pub fn new(walker: Walker, (wanted, feed): (Wanted, Feed), flows_max: usize) -> Self {
        Self {
            walker,
            wanted,
            feed,
            flows_max,
            share: SHARE,
            following: None,
            tried: None,
            lapse: None,
            walked: 0,
            last: None,
            is_shown: false,
            failures: None,
            begun: Instant::now(),
        }
    }

    /// Reads counters for every picture, however long that takes.
    #[must_use]
    pub fn always_metered(self) -> Self {
        Self { share: 0, ..self }
    }

    /// Follows the feed, if there is one, and it is time to try.
    fn look(&mut self) {
        let (retry, has_room) = match self.lapse.as_ref().map(|lapse| lapse.cause) {
            Some(Cause::Refused | Cause::Elsewhere) => (RETRY_REFUSED, true),
            Some(Cause::TooMany) => {
                let most = (self.flows_max as u64).saturating_mul(ROOM_EIGHTHS) / 8;
                (RETRY, self.walked <= most)
            }
            _ => (RETRY, true),
        };
        let is_tried = self.tried.is_some_and(|at| at.elapsed() < retry);
        if self.following.is_some() || self.wanted == Wanted::Kernel || is_tried || !has_room {
            return;
        }
        self.tried = Some(Instant::now());
        self.following = self.feed.place().map(|place| Following {
            follower: Follower::begin(place, self.flows_max),
            notes: None,
            counters: None,
            turned: None,
        });
    }

    /// How far the mirror is; waits for it while there is nothing else to show. `None` if `signs` said to stop.
    fn stand(&self, signs: &Signs) -> Option<Stand> {
        let Some(following) = &self.following else { return Some(Stand::Waiting) };
        loop {
            let moment = if self.is_shown { Duration::ZERO } else { MOMENT };
            let (stand, flows) = following.follower.wait(moment);
            if stand != Stand::Waiting || self.is_shown {
                return Some(stand);
            }
            signs.read.store(flows, Relaxed);
            if signs.stop.load(Relaxed) {
                return None;
            }
        }
    }

    /// Walks, because there is no mirror to show.
    fn fall_back(&mut self, signs: &Signs) -> Result<Option<Sample>, Fault> {
        self.walker.is_silent = self.lapse.as_ref().is_some_and(|one| one.cause == Cause::Silent);
        let sample = match (self.walker.walk(signs), &self.last) {
            (Ok(None), _) => return Ok(None),
            (Ok(Some(sample)), _) => sample,
            (Err(fault), None) => return Err(fault),
            (Err(fault), Some(last)) => return Ok(Some(self.stale(last, &fault))),
        };
        (self.is_shown, self.last) = (true, None);
        (self.walked, self.failures) = (sample.totals.flows, sample.machine.failures);
        Ok(Some(Sample { lapse: self.lapse.clone(), ..sample }))
    }

    /// The mirror as it was last.
    fn stale(&self, last: &Sample, fault: &Fault) -> Sample {
        let lapse = match &self.lapse {
            Some(lapse) => Lapse::new(lapse.cause, format!("{}; {fault}", lapse.why)),
            None => Lapse::new(Cause::Gone, fault.to_string()),
        };
        let machine = Machine { daemon: "none".into(), events_lost: None, ..last.machine.clone() };
        if let Some(held) = &last.held {
            locked(&held.mirror).forget_readings();
        }
        Sample {
            lapse: Some(lapse),
            is_whole: false,
            churn: Churn::default(),
            rated: None,
            unread: Some("nothing is known of now".into()),
            totals: Totals { in_bps: None, out_bps: None, ..last.totals.clone() },
            machine,
            ..last.clone()
        }
    }

    /// The mirror at the end of a turn.
    fn sample(&mut self, signs: &Signs, stand: &Stand) -> Option<Sample> {
        let mut machine = machine();
        let unread = self.read_counters(signs, &machine);
        if signs.stop.load(Relaxed) {
            return None;
        }
        let Following { follower, notes, counters, turned } = self.following.as_mut()?;
        let state = {
            let line = follower.line();
            machine.daemon.clone_from(&line.state);
            line.status.iter().for_each(|status| machine.take_status(status));
            line.state.clone()
        };
        let notes = notes_of(notes, state, &self.walker);
        let mirror = Arc::clone(&follower.mirror);
        let turn = locked(&mirror).turn();
        let now = Instant::now();
        let interval = turned.replace(now).map(|before| now.duration_since(before));
        let rates = counters.map(|counters| counters.rates).unwrap_or_default();
        let [flows, tcp, udp] = turn.flows;
        let (zones, other) = (turn.zones, flows.saturating_sub(tcp + udp));
        let (in_bps, out_bps) = (rates.in_bps, rates.out_bps);
        let lapse = match stand {
            Stand::Behind(cause) => {
                let why = format!("{}: the mirror is not whole", cause.word());
                Some(Lapse::new(*cause, why))
            }
            _ => None,
        };
        let sample = Sample {
            time_ns: clock::wall_ns(),
            took: counters.map_or(Duration::ZERO, |counters| counters.took),
            mode: Mode::Mirror,
            origin: Origin::Daemon,
            is_whole: lapse.is_none() && notes.is_empty(),
            lapse,
            held: Some(Held { mirror, turn: turn.number }),
            passed: turn.passed.into(),
            rated: rates.interval,
            unread,
            uncounted: if counters.is_some() { rates.uncounted } else { flows },
            churn: Churn {
                interval,
                began: interval.map(|_| turn.began),
                ended: interval.map(|_| turn.ended),
                unmetered: flows.saturating_sub(rates.seen),
            },
            totals: Totals { flows, tcp, udp, other, in_bps, out_bps, zones },
            failures_before: std::mem::replace(&mut self.failures, machine.failures),
            machine,
            notes,
            ..Sample::default()
        };
        (self.is_shown, self.lapse, self.last) = (true, None, Some(sample.clone()));
        Some(sample)
    }

    /// Reads the kernel's counters, if they can be read and it is time; why they cannot.
    fn read_counters(&mut self, signs: &Signs, machine: &Machine) -> Option<String> {
        let following = self.following.as_mut()?;
        let is_here = following.follower.line().namespace == namespace();
        let why = match self.wanted {
            Wanted::Daemon => Some("only the kernel has counters (--source auto)"),
            _ if !is_here => Some("the daemon is in another network namespace"),
            _ if !machine.is_counted => {
                Some("acct off: sysctl -w net.netfilter.nf_conntrack_acct=1")
            }
            _ => None,
        };
        let mirror = &following.follower.mirror;
        if let Some(why) = why {
            locked(mirror).forget_readings();
            following.counters = None;
            return Some(why.into());
        }
        let is_due = |last: Counters| last.at.elapsed() >= last.took.saturating_mul(self.share);
        if !following.counters.is_none_or(is_due) {
            return None;
        }
        let at = Instant::now();
        locked(mirror).begin_reading(at.duration_since(self.begun), clock::wall_ns());
        let read = self.walker.counters(signs, |flow| locked(mirror).read(flow));
        let rates = locked(mirror).end_reading();
        match read {
            Ok(_) => {
                following.counters = Some(Counters { at, took: at.elapsed(), rates });
                None
            }
            Err(fault) => {
                locked(mirror).forget_readings();
                following.counters = None;
                Some(format!("the kernel may not be asked: {fault}"))
            }
        }
    }
}

/// Notes about a daemon's table in this state.
fn notes_of(
    known: &mut Option<(String, Vec<String>)>,
    state: String,
    walker: &Walker,
) -> Vec<String> {
    if let Some((_, notes)) = known.as_ref().filter(|(of, _)| *of == state) {
        return notes.clone();
    }
    let mut notes = walker.notes();
    if notes.is_empty() && state != "exact" {
        notes.push(format!("the daemon's table is {state}"));
    }
    known.insert((state, notes)).1.clone()
}

impl Walk for Source {
    fn walk(&mut self, signs: &Signs) -> Result<Option<Sample>, Fault> {
        self.look();
        match self.stand(signs) {
            None => Ok(None),
            Some(stand @ (Stand::Live | Stand::Behind(_))) => Ok(self.sample(signs, &stand)),
            Some(Stand::Waiting) => self.fall_back(signs),
            Some(Stand::Over(lapse)) => {
                self.following = None;
                // A daemon that has gone serves no feed either: the first reason stays.
                if lapse.cause != Cause::NoFeed || self.lapse.is_none() {
                    self.lapse = Some(lapse);
                }
                self.fall_back(signs)
            }
        }
    }
}
