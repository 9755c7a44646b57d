//! Whether anything disturbs a measurement: other programs' CPU time, another listener, a CPU that changes its speed.
//!
//! ```text
//!   Readings --measurement--> Readings --> judge --> what disturbed it, in words; nothing when it was quiet
//! ```

use crate::place::on_cpus;
use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use std::fmt;
use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Ticks of `/proc/stat` in a second: `USER_HZ`, which is 100 on every architecture of ours.
const TICKS_PER_S: f64 = 100.0;
/// Others' CPU time that disturbs: more than this part of a CPU, and more than counting in ticks errs by.
const OTHERS_MAX: f64 = 0.10;
const OTHERS_LEAST_S: f64 = 0.10;
/// How much a CPU's speed may change during a measurement.
const SPEED_MAX: f64 = 0.10;
/// How often the speed is tried, and how many steps a try takes: the fastest try is the one without an interruption.
const TRIES: u32 = 12;
const STEPS: u32 = 100_000;

/// What disturbed a measurement.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Disturbance {
    /// Other programs, or other guests of this machine's host, took so many CPUs on average.
    Others(f64),
    /// A CPU was so many times as fast after it as before.
    Speed(f64),
    /// These programs listened to conntrack events.
    Company(String),
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Others(cpus) => write!(f, "others took {cpus:.2} CPUs"),
            Self::Speed(times) => write!(f, "a CPU changed its speed to {:.0} %", times * 100.0),
            Self::Company(who) => write!(f, "{who} listened too"),
        }
    }
}

/// The machine at one moment.
#[derive(Clone, Debug)]
pub(super) struct Readings {
    at: Instant,
    /// CPU time in user space of all programs, and what the host kept from all CPUs, in ticks.
    user: u64,
    stolen: u64,
    /// CPU time in user space of this program and its children that have ended, in ticks.
    own: u64,
    /// How long a fixed piece of work takes on each CPU that matters, nanoseconds.
    work_ns: Vec<u64>,
}

impl Readings {
    /// Now; `cpus` are those that the generator and the subject run on.
    pub(super) fn take(cpus: &[usize]) -> Result<Self> {
        let [user, stolen] = all_ticks(&fs::read_to_string("/proc/stat")?).context("/proc/stat")?;
        let own = own_ticks(&fs::read_to_string("/proc/self/stat")?).context("/proc/self/stat")?;
        let work_ns = cpus.iter().map(|cpu| on_cpus(&[*cpu], work_ns)).collect();
        Ok(Self { at: Instant::now(), user, stolen, own, work_ns })
    }

    /// What disturbed the time from these readings to those, beside other listeners.
    ///
    /// Kernel threads do not count: they do what the measured traffic causes, too.
    pub(super) fn judge(&self, after: &Self) -> Vec<Disturbance> {
        let mut found = Vec::new();
        let elapsed_s = (after.at - self.at).max(Duration::from_millis(1)).as_secs_f64();
        let ticks = |after: u64, before: u64| after.saturating_sub(before) as f64;
        let own = ticks(after.own, self.own);
        let others = ticks(after.user, self.user) - own + ticks(after.stolen, self.stolen);
        let others_s = others / TICKS_PER_S;
        if others_s > OTHERS_LEAST_S && others_s / elapsed_s > OTHERS_MAX {
            found.push(Disturbance::Others(others_s / elapsed_s));
        }
        let speeds = self.work_ns.iter().zip(&after.work_ns);
        let speeds = speeds.map(|(before, after)| *before as f64 / (*after).max(1) as f64);
        let changed = speeds.filter(|speed| (speed - 1.0).abs() > SPEED_MAX);
        found.extend(changed.map(Disturbance::Speed).next());
        found
    }
}

/// User and nice, and steal, in the line of all CPUs (proc_stat(5)).
fn all_ticks(stat: &str) -> Option<[u64; 2]> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    Some([fields.first()? + fields.get(1)?, *fields.get(7)?])
}

/// `utime` and `cutime` (proc_pid_stat(5)): fields 14 and 16, counted from behind the name, which may hold anything.
fn own_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(ticks(14)? + ticks(16)?)
}

/// How long a fixed piece of work takes on this CPU: the least CPU time of several tries.
fn work_ns() -> u64 {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    };
    let one = |_| {
        let began = now();
        let mut state = black_box(0x9e37_79b9_7f4a_7c15_u64);
        for _ in 0..STEPS {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
        }
        black_box(state);
        now() - began
    };
    (0..TRIES).map(one).min().unwrap_or(0)
}

/// How much may be measured again.
#[derive(Debug)]
pub(super) struct Repeats {
    /// Repeats allowed for one measurement.
    each: u32,
    /// Left of a whole run: a machine that is always busy gains nothing by them.
    left: u32,
    /// How many measurements were repeated.
    pub(super) taken: u32,
}

/// So many measurements are repeated in a run at most, for each repetition that one of them may have.
const REPEATED_MAX: u32 = 10;

impl Repeats {
    /// So many for one measurement.
    pub(super) const fn new(each: u32) -> Self {
        Self { each, left: each.saturating_mul(REPEATED_MAX), taken: 0 }
    }

    /// Measures until nothing disturbs it, or the repeats are used up; returns the measurement with the fewest
    /// disturbances, the latest of those.
    pub(super) fn quietest<T>(
        &mut self,
        mut measure: impl FnMut() -> Result<(T, Vec<Disturbance>)>,
    ) -> Result<(T, Vec<Disturbance>)> {
        let mut best = measure()?;
        for _ in 0..self.each {
            if best.1.is_empty() || self.left == 0 {
                break;
            }
            self.left -= 1;
            self.taken += 1;
            let again = measure()?;
            if again.1.len() <= best.1.len() {
                best = again;
            }
        }
        Ok(best)
    }
}

#[cfg(test)]
mod tests {
    use super::{Disturbance, Readings, Repeats, all_ticks, own_ticks};
    use std::time::{Duration, Instant};

    fn readings(user: u64, stolen: u64, own: u64, work_ns: u64) -> Readings {
        Readings { at: Instant::now(), user, stolen, own, work_ns: vec![work_ns] }
    }

    /// What disturbs ten seconds between these.
    fn judged(before: &Readings, mut after: Readings) -> Vec<Disturbance> {
        after.at = before.at + Duration::from_secs(10);
        before.judge(&after)
    }

    #[test]
    fn what_others_compute_disturbs_and_what_we_compute_does_not() {
        let before = readings(5_000, 10, 300, 1_000);
        assert_eq!(judged(&before, readings(5_900, 10, 1_200, 1_000)), [], "all of it was ours");
        assert_eq!(judged(&before, readings(5_950, 10, 1_200, 1_000)), [], "a little is noise");
        let busy = judged(&before, readings(6_400, 10, 1_200, 1_000));
        assert_eq!(busy, [Disturbance::Others(0.5)]);
        let stolen = judged(&before, readings(5_900, 510, 1_200, 1_000));
        assert_eq!(stolen, [Disturbance::Others(0.5)], "the host's other guests");
    }

    #[test]
    fn a_cpu_that_changes_its_speed_disturbs() {
        let before = readings(0, 0, 0, 1_000);
        assert_eq!(judged(&before, readings(0, 0, 0, 1_050)), []);
        assert_eq!(judged(&before, readings(0, 0, 0, 2_000)), [Disturbance::Speed(0.5)]);
        assert_eq!(judged(&before, readings(0, 0, 0, 800)), [Disturbance::Speed(1.25)]);
    }

    #[test]
    fn a_short_measurement_is_not_judged_by_a_tick_or_two() {
        let before = readings(0, 0, 0, 1_000);
        let mut after = readings(3, 0, 0, 1_000);
        after.at = before.at + Duration::from_millis(50);
        assert_eq!(before.judge(&after), []);
    }

    #[test]
    fn what_the_kernel_says_is_read() {
        let stat = "cpu  100 20 30 4 5 6 7 8 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n";
        assert_eq!(all_ticks(stat), Some([120, 8]));
        assert_eq!(all_ticks("intr 1\n"), None);
        let own = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 500 60 70 8 20 0 1 0";
        assert_eq!(own_ticks(own), Some(570), "utime and cutime");
        assert!(Readings::take(&host::place::cpus()[..1]).is_ok(), "this machine has all of it");
    }

    #[test]
    fn what_was_disturbed_is_repeated_so_often_and_no_more() {
        let noise = || vec![Disturbance::Others(1.0)];
        let mut repeats = Repeats::new(2);
        let mut count = 0;
        let quiet_at_last = repeats.quietest(|| {
            count += 1;
            Ok((count, if count < 3 { noise() } else { Vec::new() }))
        });
        assert_eq!(quiet_at_last.unwrap(), (3, Vec::new()));
        let always = repeats.quietest(|| {
            count += 1;
            Ok((count, noise()))
        });
        assert_eq!(always.unwrap(), (6, noise()), "once, and twice again");
        for _ in 0..20 {
            let _ = repeats.quietest(|| Ok(((), noise()))).unwrap();
        }
        assert_eq!(repeats.taken, 20, "a busy machine does not make a run endless");
        let mut never = Repeats::new(0);
        let _ = never.quietest(|| Ok(((), noise()))).unwrap();
        assert_eq!(never.taken, 0);
    }
}
