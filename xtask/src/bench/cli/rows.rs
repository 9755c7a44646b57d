//! The rows of the table: the setup, the command, the goal.

use super::events::{self, Heard};
use super::measure::{self, Run};
use super::report;
use anyhow::{Result, ensure};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A port of one flow in a hundred.
const PORT: u16 = 1007;
/// `-I`, `-C` and `-G` are run so often for one measurement.
const ONES: usize = 100;

/// A comparison of our program, the original and the floor.
pub(super) struct Bench {
    pub(super) ours: PathBuf,
    pub(super) beside: PathBuf,
    pub(super) floor: PathBuf,
    pub(super) entries: u32,
    pub(super) reps: usize,
}

/// The goal.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// So many times the floor.
    OfFloor(f64),
    /// In the unit of the row.
    AtMost(f64),
    /// At most as long as the original, and a tenth for chance.
    AsOriginal,
}

/// A row: values of every run, in one unit.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) command: String,
    pub(super) unit: &'static str,
    pub(super) ours: Vec<f64>,
    /// Empty if it failed.
    pub(super) beside: Vec<f64>,
    pub(super) floor: Vec<f64>,
    pub(super) target: Target,
    /// What else is worth knowing, of each run.
    pub(super) notes: Vec<String>,
    /// Whether our program did its work.
    pub(super) done: bool,
}

impl Row {
    fn new(name: &str, line: &str, unit: &'static str, target: Target) -> Self {
        Self {
            name: name.to_owned(),
            command: format!("conntrack {line}"),
            unit,
            ours: Vec::new(),
            beside: Vec::new(),
            floor: Vec::new(),
            target,
            notes: Vec::new(),
            done: true,
        }
    }
}

/// How a row is measured.
struct Plan {
    name: &'static str,
    line: String,
    /// Flows that are there before each run; `None` leaves them as they are.
    fill: Option<u32>,
    /// Floors whose seconds add up.
    floors: Vec<String>,
    target: Target,
    /// Microseconds of one of so many, instead of seconds.
    per: Option<u32>,
}

impl Plan {
    fn new(name: &'static str, line: &str, floors: &[String], target: Target) -> Self {
        let (line, floors) = (line.to_owned(), floors.to_vec());
        Self { name, line, fill: None, floors, target, per: None }
    }

    fn filled(self, count: u32) -> Self {
        Self { fill: Some(count), ..self }
    }
}

impl Bench {
    /// Every row whose name contains `only`.
    pub(super) fn run(&self, only: &str) -> Result<Vec<Row>> {
        let is_wanted = |name: &str| name.contains(only);
        let mut rows = Vec::new();
        report::head();
        let mut done = |row: Row| {
            report::print(&row);
            rows.push(row);
        };
        let lists = lists();
        if lists.iter().any(|plan| is_wanted(plan.name)) {
            self.refill(self.entries)?;
        }
        for plan in lists.iter().filter(|plan| is_wanted(plan.name)) {
            done(self.row(plan)?);
        }
        let saved = std::env::temp_dir().join(format!("ctflow-bench-{}.save", std::process::id()));
        self.save(&saved)?;
        for plan in self.changes(&saved).iter().filter(|plan| is_wanted(plan.name)) {
            done(self.row(plan)?);
        }
        fs::remove_file(saved)?;
        if is_wanted("-E") {
            self.events(self.entries / 10 * 3)?.into_iter().for_each(&mut done);
        }
        for (name, line) in ONE_BY_ONE {
            if is_wanted(name) {
                done(self.one_by_one(name, line)?);
            }
        }
        measure::floor(&self.floor, "flush")?;
        Ok(rows)
    }

    fn changes(&self, saved: &Path) -> Vec<Plan> {
        let (few, fewer) = (self.entries / 10, self.entries / 100 * 3);
        let all = [String::from("dump"), format!("delete {few}")];
        let one = [format!("pick {PORT}"), format!("delete {few} {PORT}")];
        let one_line = format!("-D -p tcp --dport {PORT}");
        let load = format!("-R {}", saved.display());
        let update = Plan::new("-U -m", "-U -f ipv4 -p tcp -m 5", &[], Target::AtMost(10.0));
        vec![
            Plan::new("-D, all", "-D -p tcp", &all, Target::AtMost(0.70)).filled(few),
            Plan::new("-D, 1 % of them", &one_line, &one, Target::AtMost(0.20)).filled(few),
            Plan { per: Some(fewer), ..update.filled(fewer) },
            Plan::new("-R", &load, &[format!("fill {few}")], Target::AtMost(0.35)).filled(0),
        ]
    }

    /// Command lines that make a tenth of the flows.
    fn save(&self, path: &Path) -> Result<()> {
        self.refill(self.entries / 10)?;
        let mut command = Command::new(&self.beside);
        command.args(["-L", "-o", "save"]).stdout(File::create(path)?).stderr(Stdio::null());
        ensure!(command.status()?.success(), "the original cannot save");
        Ok(())
    }

    fn refill(&self, count: u32) -> Result<()> {
        measure::floor(&self.floor, "flush")?;
        let (met, _) = measure::floor(&self.floor, &format!("fill {count}"))?;
        ensure!(met == count, "only {met} of {count} flows could be made");
        Ok(())
    }

    fn row(&self, plan: &Plan) -> Result<Row> {
        let unit = if plan.per.is_some() { "us" } else { "s" };
        let mut row = Row::new(plan.name, &plan.line, unit, plan.target);
        let scale = plan.per.map_or(1.0, |count| 1e6 / f64::from(count));
        for _ in 0..self.reps {
            row.floor.extend(self.floors(plan)?);
            let ours = self.once(&self.ours, plan)?;
            row.done &= ours.exit == 0;
            row.ours.push(ours.seconds * scale);
            let beside = self.once(&self.beside, plan)?;
            if beside.exit == 0 {
                row.beside.push(beside.seconds * scale);
            } else {
                row.notes.push(format!("the original fails: {}", beside.said));
            }
            if plan.name == "-R" {
                let (ours, beside) = (ours.memory_kib >> 10, beside.memory_kib >> 10);
                row.notes.push(format!("memory: ours {ours} MiB, the original's {beside} MiB"));
            }
        }
        Ok(row)
    }

    fn once(&self, program: &Path, plan: &Plan) -> Result<Run> {
        if let Some(count) = plan.fill {
            self.refill(count)?;
        }
        measure::run(program, &plan.line, plan.name == "-R")
    }

    fn floors(&self, plan: &Plan) -> Result<Option<f64>> {
        if plan.floors.is_empty() {
            return Ok(None);
        }
        if let Some(count) = plan.fill {
            self.refill(count)?;
        }
        let seconds = plan.floors.iter().map(|line| Ok(measure::floor(&self.floor, line)?.1));
        seconds.sum::<Result<f64>>().map(Some)
    }

    /// Two rows: what was lost, and what a line costs.
    fn events(&self, count: u32) -> Result<[Row; 2]> {
        let mut lost = Row::new("-E, lost", events::LINE, "lines", Target::AtMost(0.0));
        let mut cost = Row::new("-E, a line", events::LINE, "us", Target::AtMost(2.0));
        let missing = |heard: &Heard| f64::from(heard.sent) - f64::from(heard.lines);
        for _ in 0..self.reps {
            measure::floor(&self.floor, "flush")?;
            let ours = events::listen(&self.ours, &self.floor, count)?;
            measure::floor(&self.floor, "flush")?;
            let beside = events::listen(&self.beside, &self.floor, count)?;
            lost.ours.push(missing(&ours));
            lost.beside.push(missing(&beside));
            cost.ours.push(ours.us_per_line);
            cost.beside.push(beside.us_per_line);
            let (sent, rate, other) = (ours.sent, ours.rate, beside.rate);
            lost.notes.push(format!(
                "of {sent} events, {rate:.0} a second; to the original {other:.0} a second"
            ));
        }
        Ok([lost, cost])
    }

    fn one_by_one(&self, name: &str, line: fn(usize) -> String) -> Result<Row> {
        let lines = |from: usize| (from..from + ONES).map(line).collect::<Vec<_>>();
        let mut row = Row::new(name, &line(0), "ms", Target::AsOriginal);
        self.refill(1000)?;
        for at in 0..self.reps {
            let from = at * 2 * ONES;
            let ours = measure::run_many(&self.ours, &lines(from))?;
            row.done &= ours.exit == 0;
            row.ours.push(ours.seconds * 1e3);
            let beside = measure::run_many(&self.beside, &lines(from + ONES))?;
            row.beside.push(beside.seconds * 1e3);
            let nothing = vec![String::new(); ONES];
            row.floor.push(measure::run_many(Path::new("/bin/true"), &nothing)?.seconds * 1e3);
        }
        Ok(row)
    }
}

fn lists() -> [Plan; 4] {
    let dump = [String::from("dump")];
    let list = |name, line: &str| Plan::new(name, line, &dump, Target::OfFloor(1.15));
    let picked = format!("-L -p tcp --dport {PORT}");
    let pick = [format!("pick {PORT}")];
    [
        list("-L", "-L"),
        list("-L -o save", "-L -o save"),
        list("-L -o xml", "-L -o xml"),
        Plan::new("-L, 1 % of them", &picked, &pick, Target::AtMost(0.55)),
    ]
}

type Line = fn(usize) -> String;

const ONE_BY_ONE: [(&str, Line); 3] = [
    ("one -I", |n| {
        let (c, d) = (n / 250, 1 + n % 250);
        let tuple = format!("-s 10.200.{c}.{d} -d 172.31.0.1 --sport 1024 --dport 80");
        format!("-I -p tcp {tuple} --state ESTABLISHED -t 600")
    }),
    ("one -C", |_| "-C".to_owned()),
    ("one -G", |_| "-G -p tcp -s 10.0.0.7 -d 172.16.0.8 --sport 1031 --dport 1007".to_owned()),
];
