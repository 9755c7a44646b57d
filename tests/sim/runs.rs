//! The seeds to run, and their outcomes: a range for a test, a time for `cargo xtask sim`.

use crate::checkers;
use crate::cluster::{Cluster, Outcome, Violation};
use crate::profile::Profile;
use crate::trace::name;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What a run checks when traffic is over.
pub(crate) type Check = fn(&mut Cluster) -> Outcome;

/// The share of the seeds that a world runs: so many times as many, and of those one in so many.
pub(crate) type Share = (u64, u64);
pub(crate) const ALL: Share = (1, 1);
/// For worlds that take long.
pub(crate) const FEW: Share = (1, 20);
/// For worlds that have everything.
pub(crate) const MANY: Share = (10, 1);

/// A profile, how much of it is run, and what must be true of it.
pub(crate) struct World {
    pub(crate) profile: Profile,
    pub(crate) share: Share,
    pub(crate) check: Check,
}

/// A world that is run for a time.
pub(crate) struct Timed<'a> {
    pub(crate) name: &'static str,
    /// The run of a seed.
    pub(crate) run: Box<dyn Fn(u64) -> Outcome + Sync + 'a>,
}

impl<'a> Timed<'a> {
    pub(crate) fn of(world: &'a World) -> Self {
        Self { name: world.profile.name, run: Box::new(|seed| run(world, seed, false).map(|_| ())) }
    }
}

/// Failing seeds that are printed in full.
const TOLD: usize = 10;

pub(crate) fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, not a number"));
    Some(number)
}

/// The one seed to replay, with all it does.
pub(crate) fn replayed() -> Option<u64> {
    number("CTFLOW_SIM_SEED")
}

/// The first seed: `cargo xtask` derives it from the commit.
fn base() -> u64 {
    number("CTFLOW_SIM_BASE").unwrap_or(0)
}

/// The seeds of a test.
pub(crate) fn seeds((times, one_in): Share) -> impl Iterator<Item = u64> {
    let count = number("CTFLOW_SIM_SEEDS").unwrap_or(200);
    let range: Range<u64> = match replayed() {
        Some(seed) => seed..seed + 1,
        None => base()..base() + count.saturating_mul(times).div_ceil(one_in),
    };
    range
}

/// One run; its hash.
fn simulate(world: &World, seed: u64, verbose: bool) -> Outcome<u64> {
    let mut cluster = Cluster::new(&world.profile, seed, verbose);
    let mut judge = || {
        cluster.settle()?;
        checkers::nothing_is_left_over(&cluster)?;
        (world.check)(&mut cluster)?;
        checkers::nothing_is_left_over(&cluster)
    };
    let outcome = judge();
    if verbose {
        describe(&cluster);
    }
    outcome.map(|()| cluster.trace.hash())
}

/// What each node knows of its peers at the end of a run that is replayed.
fn describe(cluster: &Cluster) {
    println!("{:?}", cluster.profile);
    for (n, node) in cluster.nodes.iter().enumerate() {
        let Some(engine) = node.engine.ours() else { continue };
        println!("{}: {:?}", name(n), engine.exactness());
        for (id, peer) in engine.peers().into_iter().flat_map(engine::peer::v1::Peers::iter) {
            let (order, hole) = (peer.tracker.order(), peer.tracker.hole());
            println!("  {id:?} at {order}, hole {hole}: {:?}", peer.whole);
        }
    }
}

/// The run of a seed; its hash. Every sixteenth is done twice: (g) the same seed does the same.
fn run(world: &World, seed: u64, verbose: bool) -> Outcome<u64> {
    let once = || {
        let run = catch_unwind(AssertUnwindSafe(|| simulate(world, seed, verbose)));
        run.unwrap_or_else(|_| Err(Violation::new("(f) no panic", "it panicked, see above")))
    };
    let hash = once()?;
    let again = if seed.is_multiple_of(16) && !verbose { once()? } else { hash };
    let same = again == hash;
    same.then_some(hash).ok_or_else(|| Violation::new("(g) determinism", "two runs differ"))
}

/// Runs the seeds of a world, all of them whatever fails, and then prints the failures, and one number for all that the
/// engines did in all runs: a change that claims to change no behaviour leaves that number as it was.
pub(crate) fn test(world: &World) {
    let verbose = replayed().is_some();
    let (mut runs, mut failures, mut behaviour) = (0, Vec::new(), 0_u64);
    for seed in seeds(world.share) {
        runs += 1;
        match run(world, seed, verbose) {
            Ok(hash) => behaviour = behaviour.rotate_left(1) ^ hash,
            Err(violation) => failures.push((seed, violation)),
        }
    }
    println!("behaviour of {} in {runs} runs: {behaviour:016x}", world.profile.name);
    let text = told(world.profile.name, runs, &failures);
    assert!(failures.is_empty(), "{text}");
}

/// What failed, for people: the first few in full, then how many there are of each kind.
pub(crate) fn told(name: &str, runs: u64, failures: &[(u64, Violation)]) -> String {
    let mut text =
        format!("{} of {runs} runs of {name} violate what must be true\n", failures.len());
    for (seed, Violation { truth, text: what }) in failures.iter().take(TOLD) {
        let _ = write!(
            text,
            "seed {seed} of {name} violates {truth}\n  {what}\n  replay: CTFLOW_SIM_SEED={seed} \
             cargo test -p tests --test sim {name} -- --exact --nocapture\n"
        );
    }
    let mut kinds: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    failures.iter().for_each(|(seed, v)| kinds.entry(v.truth).or_default().push(*seed));
    for (truth, seeds) in kinds {
        let _ =
            writeln!(text, "{truth}: {} seeds: {:?}", seeds.len(), &seeds[..seeds.len().min(50)]);
    }
    text
}

/// How far a world has come.
#[derive(Default)]
struct Progress {
    /// Time spent on it, by all threads.
    spent: Duration,
    /// Threads that are at it.
    busy: u32,
    next: u64,
    runs: u64,
    failures: Vec<(u64, Violation)>,
}

/// Spends CTFLOW_SIM_SECONDS on the worlds, the same time on each, with CTFLOW_SIM_JOBS threads. Then prints a table
/// of all of them.
pub(crate) fn for_a_time(worlds: &[Timed<'_>]) {
    let seconds = number("CTFLOW_SIM_SECONDS").unwrap_or(10);
    let jobs = number("CTFLOW_SIM_JOBS").unwrap_or(1).max(1);
    let end = Instant::now() + Duration::from_secs(seconds);
    let start = |_: &Timed<'_>| Progress { next: base(), ..Progress::default() };
    let progress = Mutex::new(worlds.iter().map(start).collect::<Vec<_>>());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| work(worlds, &progress, end));
        }
    });
    let progress = progress.into_inner().expect("runs catch their panics");
    report(worlds, &progress);
}

/// One thread: takes the world that has had the least time, again and again. Every world has its turn at least once.
fn work(worlds: &[Timed<'_>], progress: &Mutex<Vec<Progress>>, end: Instant) {
    loop {
        let (n, seed) = {
            let mut all = progress.lock().expect("runs catch their panics");
            let pending = |p: &Progress| Instant::now() < end || p.runs + u64::from(p.busy) == 0;
            let waiting = all.iter_mut().enumerate().filter(|(_, p)| pending(p));
            // Worlds that other threads work at come later: their time is not counted yet.
            let Some((n, next)) = waiting.min_by_key(|(_, p)| (p.busy, p.spent)) else { return };
            next.busy += 1;
            next.next += 1;
            (n, next.next - 1)
        };
        let began = Instant::now();
        let outcome = (worlds[n].run)(seed);
        let mut all = progress.lock().expect("runs catch their panics");
        let mine = &mut all[n];
        mine.busy -= 1;
        mine.runs += 1;
        mine.spent += began.elapsed();
        mine.failures.extend(outcome.err().map(|violation| (seed, violation)));
    }
}

fn report(worlds: &[Timed<'_>], progress: &[Progress]) {
    let failures = |p: &Progress| p.failures.len() as u64;
    for (world, p) in worlds.iter().zip(progress).filter(|(_, p)| failures(p) > 0) {
        println!("{}", told(world.name, p.runs, &p.failures));
    }
    println!("| world | runs | violations |\n|---|---|---|");
    for (world, p) in worlds.iter().zip(progress) {
        println!("| {} | {} | {} |", world.name, p.runs, failures(p));
    }
    let runs: u64 = progress.iter().map(|p| p.runs).sum();
    let violations: u64 = progress.iter().map(failures).sum();
    println!("| all {} worlds | {runs} | {violations} |", worlds.len());
    assert_eq!(violations, 0, "violations, see above");
}
