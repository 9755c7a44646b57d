//! `ctflow bench`: conntrack churn, and what listening to it costs: our daemon on each of its event sources beside the
//! original, in namespaces of its own.
//!
//! ```text
//!  for each scenario, size and repetition, each subject in turn:
//!      stage (routers) + subject (a daemon) + generator  -->  values
//!  then: table, JSON, SVG
//! ```

mod options;
mod product;
mod statistics;
mod machine;
mod kernel_memory;
mod quiet;
mod stage;
pub mod subject;
mod lab;
mod scenario;
mod table;
mod json;
mod picture;

pub use options::Options;
pub use product::{DaemonFigures, Product};

use anyhow::{Context, Result, ensure};
use json::{Head, Report};
use lab::{Case, Lab};
use machine::{Limit, Machine};
use quiet::{Disturbance, Readings, Repeats};
use scenario::{Outcome, Sample, Scenario, Values};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use subject::Subject;

/// How long to wait for other listeners to stop.
const OTHERS_PATIENCE: Duration = Duration::from_secs(10);
/// Number of the capability that making namespaces takes.
const CAP_SYS_ADMIN: u32 = 21;
/// The exit code after a signal that was obeyed.
const INTERRUPTED: i32 = 130;

/// Receives the results, piece by piece, as text. Progress goes to standard error.
pub type Print<'a> = &'a mut dyn FnMut(&str) -> Result<()>;

/// Measures `product`; success is that everything could be measured.
///
/// # Errors
/// When a scenario or a subject is not known, the machine is not fit (no root, another listener), results cannot be
/// written, or `print` fails.
pub fn run(options: &Options, product: Product, print: Print<'_>) -> Result<ExitCode> {
    let chosen = choose(options)?;
    if options.list {
        print(&list(&chosen))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(path) = &options.from {
        redraw(options, path)?;
        return Ok(ExitCode::SUCCESS);
    }
    // Programs that it starts may end before they have read what it writes to them.
    host::sys::process::ignore_sigpipe();
    let subjects = lab::subjects(options, &product)?;
    ensure!(host::sys::has_capability(CAP_SYS_ADMIN), "making network namespaces needs root");
    refuse_company(options, &product)?;
    let machine = Machine::this();
    let cleanup = CleanUp(Arc::new(Mess::make(options)?));
    clean_up_on_signals(Arc::clone(&cleanup.0))?;
    crate::place::outrank();
    let lab = Lab::new(options.clone(), product, cleanup.0.dir.clone())?;
    let subjects = lab.available(subjects)?;
    let head = Head {
        machine: &machine,
        generator: lab.method.name(),
        repetitions: lab.reps(),
        began_s: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    };
    let what = format!("packets by {}, {} repetitions", head.generator, head.repetitions);
    print(&format!("{}\n{what}: {}\n", machine.line(), command_line()))?;
    if options.quick {
        print(
            "a first look: one repetition shows no spread, and what is the same for few flows as for many \
             (memory, start) weighs five times as much\n",
        )?;
    }
    let (mut outcomes, mut repeats) = (Vec::new(), Repeats::new(options.again));
    for scenario in chosen {
        outcomes.push(measure(&lab, &subjects, scenario, &mut repeats));
        // After each, so that what ends early is not lost.
        write(options, head, &outcomes)?;
        let outcome = outcomes.last().expect("one was just added");
        print(&format!("\n{}\n", table::text(outcome).trim_end()))?;
    }
    print(&format!("\n{}", table::break_even(&outcomes)))?;
    print(&table::trust(&outcomes, repeats.taken))?;
    let failed = outcomes.iter().any(|outcome| !outcome.failures.is_empty());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Writes the files that were asked for.
fn write(options: &Options, head: Head<'_>, outcomes: &[Outcome]) -> Result<()> {
    let report = Report::new(head, outcomes);
    if let Some(path) = &options.json {
        std::fs::write(path, report.text()?).with_context(|| cannot_write(path))?;
    }
    draw(options, &report)
}

/// Draws what was recorded, or the scenarios of it that were named.
fn redraw(options: &Options, path: &Path) -> Result<()> {
    let reading = || format!("cannot read {}", path.display());
    let text = std::fs::read_to_string(path).with_context(reading)?;
    let mut report = Report::parse(&text).with_context(reading)?;
    let names = &options.scenarios;
    report.scenarios.retain(|scenario| names.is_empty() || names.contains(&scenario.name));
    ensure!(!report.scenarios.is_empty(), "{} has none of these scenarios", path.display());
    draw(options, &report)
}

fn draw(options: &Options, report: &Report) -> Result<()> {
    let Some(path) = &options.svg else { return Ok(()) };
    let picture = picture::draw(report).context("cannot draw the results")?;
    std::fs::write(path, picture).with_context(|| cannot_write(path))
}

fn choose(options: &Options) -> Result<Vec<Scenario>> {
    let names = &options.scenarios;
    let all = scenario::all();
    for name in names {
        let known = all.iter().any(|scenario| scenario.name == name);
        ensure!(known, "there is no scenario {name} (ctflow bench --list)");
    }
    let first_look = options.quick && !options.list;
    let wanted = |scenario: &Scenario| match &names[..] {
        [] => !(first_look && scenario.is_deeper()),
        names => names.iter().any(|name| name == scenario.name),
    };
    Ok(all.into_iter().filter(wanted).collect())
}

fn list(scenarios: &[Scenario]) -> String {
    let mut out = String::new();
    for scenario in scenarios {
        out += &format!("{:<17} {}\n", scenario.name, scenario.title);
        for figure in &scenario.figures {
            let goals = figure.goals.iter();
            let goals = goals.map(|(who, goal)| format!("{who} {}", goal.text()));
            let goals = goals.collect::<Vec<_>>().join(", ");
            let unit = if figure.unit.is_empty() { "" } else { ", " };
            let line = format!("{:<17}   {}{unit}{}  {goals}", "", figure.title, figure.unit);
            out += line.trim_end();
            out.push('\n');
        }
    }
    out
}

/// Every repetition of every subject at every size. A measurement that fails is logged and left out.
fn measure(lab: &Lab, subjects: &[Subject], scenario: Scenario, repeats: &mut Repeats) -> Outcome {
    let subjects: Vec<&Subject> = subjects.iter().filter(|s| (scenario.suits)(s)).collect();
    let mut outcome = Outcome { scenario, samples: Vec::new(), failures: Vec::new() };
    for case in (outcome.scenario.cases)(lab) {
        for rep in 0..lab.reps() {
            let round = outcome.samples.len();
            for at in 0..subjects.len() {
                // Each repetition begins with another one.
                let subject = subjects[(at + rep as usize) % subjects.len()];
                let turn = format!("{}/{}", rep + 1, lab.reps());
                let once = || once(lab, &outcome.scenario, subject, &case, &turn);
                match repeats.quietest(once) {
                    Ok((values, disturbed)) => {
                        let (case, subject) = (case.clone(), subject.clone());
                        outcome.samples.push(Sample { case, subject, values, disturbed });
                    }
                    Err(error) => {
                        outcome.failures.push(format!("{subject}, {}: {error:#}", case.label));
                    }
                }
            }
            relate(&mut outcome.samples[round..]);
        }
    }
    outcome
}

/// Measures once, and logs the result and what disturbed it.
fn once(
    lab: &Lab,
    scenario: &Scenario,
    subject: &Subject,
    case: &Case,
    turn: &str,
) -> Result<(Values, Vec<Disturbance>)> {
    let before = company(&lab.product, lab.options.force);
    let start = Instant::now();
    eprint!("{} {} {turn} {subject} ... ", scenario.name, case.label);
    let cpus = [lab.generator_cpu, lab.subject_cpu];
    let readings = Readings::take(&cpus)?;
    let values = (scenario.run)(lab, subject, case);
    let mut disturbed = readings.judge(&Readings::take(&cpus)?);
    // A listener that began meanwhile is still there, and may go before the next measurement.
    disturbed.extend(before.or_else(|| company(&lab.product, true)).map(Disturbance::Company));
    match &values {
        Ok(_) => eprintln!("{:.1} s", start.elapsed().as_secs_f64()),
        Err(error) => eprintln!("failed: {error:#}"),
    }
    disturbed.iter().for_each(|what| eprintln!("WARNING: {what}"));
    Ok((values?, disturbed))
}

/// What others' listening does.
const COMPANY: &str = "the kernel builds event messages as soon as anyone listens";

/// Refuses to measure beside another listener.
fn refuse_company(options: &Options, product: &Product) -> Result<()> {
    let Some(who) = company(product, options.force) else { return Ok(()) };
    ensure!(
        options.force,
        "{who} listens to conntrack events, and {COMPANY}: end it, or use --force"
    );
    eprintln!("ctflow: WARNING: {who} listens too, and {COMPANY}: \"nobody\" is not nobody");
    Ok(())
}

/// Other listeners; waits a while for them to stop, unless they may stay.
fn company(product: &Product, may: bool) -> Option<String> {
    let start = Instant::now();
    loop {
        let listeners = (product.listeners)();
        if listeners.is_empty() {
            return None;
        }
        if may || start.elapsed() > OTHERS_PATIENCE {
            return Some(listeners.join(", "));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Adds to the samples of a repetition their ratio to the one without a listener, where that was not measured beside
/// each.
fn relate(round: &mut [Sample]) {
    let nobody = round.iter().find(|sample| sample.subject == Subject::Nobody);
    let Some(nobody) = nobody.map(|sample| sample.values.clone()) else { return };
    for values in round.iter_mut().map(|sample| &mut sample.values) {
        let mut relate = |from, to, relation: fn(f64, f64) -> f64| {
            if let (Some(own), Some(base)) = (values.get(from), nobody.get(from)) {
                let relation = relation(*own, *base);
                values.entry(to).or_insert(relation);
            }
        };
        relate("rate", "kept", |own, base| own / base);
        relate("packet_us", "kept_cpu", |own, base| base / own);
    }
}

fn command_line() -> String {
    std::env::args().collect::<Vec<_>>().join(" ")
}

/// What must be put back.
#[derive(Debug)]
struct Mess {
    dir: PathBuf,
    limit: Limit,
}

impl Mess {
    fn make(options: &Options) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("ctflow-bench-{}", std::process::id()));
        let limit = Limit::raise(options.flows)?;
        std::fs::create_dir_all(&dir).with_context(|| cannot_write(&dir))?;
        Ok(Self { dir, limit })
    }

    fn clean_up(&self) {
        let _ = std::fs::remove_dir_all(&self.dir);
        self.limit.restore();
    }
}

/// Puts it back when this goes. (The thread that waits for signals holds on to the mess itself.)
#[derive(Debug)]
struct CleanUp(Arc<Mess>);

impl Drop for CleanUp {
    fn drop(&mut self) {
        self.0.clean_up();
    }
}

/// Daemons go with this program, and namespaces with the daemons; the rest is put back.
fn clean_up_on_signals(mess: Arc<Mess>) -> Result<()> {
    let signals = host::sys::stop_signals()?;
    std::thread::spawn(move || {
        if std::io::Read::read(&mut std::fs::File::from(signals), &mut [0; 128]).is_ok() {
            eprintln!("interrupted");
            mess.clean_up();
            std::process::exit(INTERRUPTED);
        }
    });
    Ok(())
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}
