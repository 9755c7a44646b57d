//! `cargo xtask bench versus`: the daemon beside the original, everything `ctflow bench` can measure, recorded.

use crate::shell::{self, step};
use crate::{build, repo};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Measure the daemon beside the original and record the results in `benches/versus`.
///
/// Needs root and Debian's conntrackd. Takes about 20 minutes; name scenarios (`ctflow bench --list`) for parts of it.
#[derive(clap::Parser)]
#[command(name = "cargo xtask bench versus", bin_name = "cargo xtask bench versus")]
pub(crate) struct Options {
    /// What to measure; everything if left out
    scenarios: Vec<String>,
    /// How often each subject is measured
    #[arg(long, default_value_t = 3)]
    reps: u32,
    /// A first look: less work, once, no growth; recorded under names of its own
    #[arg(long)]
    quick: bool,
    /// Only draw the pictures of what is recorded again
    #[arg(long, conflicts_with_all = ["quick", "force", "scenarios"])]
    draw: bool,
    /// Measure although another process on this machine listens to conntrack events
    #[arg(long)]
    force: bool,
}

/// Where results are kept.
const RESULTS: &str = "benches/versus";

/// The part of all scenarios that stand in no other.
const TABLE: &str = "table";
/// What is recorded together: the name of the files, and of the scenarios.
const PARTS: [(&str, &[&str]); 4] = [
    (TABLE, &[]),
    ("traffic", &["churn-tcp", "churn-v6", "churn-nat", "churn-beginnings"]),
    ("growth-flows", &["growth-flows"]),
    ("growth-rings", &["growth-rings", "growth-shards"]),
];

/// The part that a scenario belongs to.
fn part_of(scenario: &str) -> &'static str {
    let part = PARTS.iter().find(|(_, scenarios)| scenarios.contains(&scenario));
    part.map_or(TABLE, |(part, _)| part)
}

/// The picture that the README shows, and the scenario that is in it.
const README: (&str, &str) = ("readme", "churn");
/// Records that `ctflow bench` does not make: of `cargo xtask bench nfct`, and of `tests/helpers/speed.rs`.
const OTHERS: [&str; 2] = ["nfct", "helpers"];

pub(crate) fn run(options: &Options) -> Result<()> {
    if options.draw {
        let built = build::some(false, &["ctflow"])?;
        return draw(&built.programs.join("ctflow"));
    }
    ensure!(repo::is_root(), "measuring beside the original needs root");
    let built = build::all(true)?;
    let program = built.programs.join("ctflow");
    let known = shell::output(Command::new(&program).args(["bench", "--list"]))?;
    // In order of importance; lines about their figures are indented.
    let names = known.lines().filter_map(|line| line.split(' ').next());
    let known: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
    fs::create_dir_all(repo::root().join(RESULTS)).with_context(|| format!("making {RESULTS}"))?;
    let start = Instant::now();
    for (part, _) in PARTS {
        let asked = |name: &&str| {
            options.scenarios.is_empty() || options.scenarios.iter().any(|s| s == name)
        };
        let here = |name: &&str| part_of(name) == part;
        let scenarios: Vec<&str> = known.iter().copied().filter(here).filter(asked).collect();
        if scenarios.is_empty() || options.quick && part != TABLE {
            continue;
        }
        step(&format!("versus: {part}"));
        measure(&program, options, part, &scenarios)?;
        if part == TABLE && options.scenarios.is_empty() && !options.quick {
            // The whole table takes the place of one that was broken off.
            for ending in ["txt", "json", "svg"] {
                let _ =
                    fs::remove_file(repo::root().join(format!("{RESULTS}/table-rest.{ending}")));
            }
        }
    }
    write_results()?;
    draw(&program)?;
    println!("recorded in {RESULTS} in {}", shell::took(start));
    Ok(())
}

/// Draws every record, and what the README shows of them.
fn draw(program: &Path) -> Result<()> {
    let records = PARTS.into_iter().map(|(part, _)| (part, part, None));
    let (readme, scenario) = README;
    for (record, name, scenario) in records.chain([(TABLE, readme, Some(scenario))]) {
        let record = format!("{RESULTS}/{record}.json");
        if repo::root().join(&record).is_file() {
            let mut command = Command::new(program);
            command.current_dir(repo::root()).arg("bench").args(scenario);
            command.args(["--from", &record, "--svg", &format!("{RESULTS}/{name}.svg")]);
            shell::run(&mut command)?;
        }
    }
    Ok(())
}

/// Puts together what is recorded, whenever it was; the words about it are in a file that people write.
pub(super) fn write_results() -> Result<()> {
    let folder = repo::root().join(RESULTS);
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let mut text = String::from("# Results\n\n<!-- written by `cargo xtask bench versus` -->\n\n");
    if let Some(words) = read("limits.md") {
        text += &words;
    }
    let quick = read("table.txt").is_none().then_some("quick-table");
    // A table that was broken off has the rest in a record of its own.
    let rest = read("table-rest.txt").is_some().then_some("table-rest");
    let parts = PARTS.into_iter().map(|(part, _)| part);
    let parts = parts.flat_map(|part| [Some(part), rest.filter(|_| part == TABLE)]);
    for part in quick.into_iter().chain(parts.flatten()) {
        if let Some(record) = read(&format!("{part}.txt")) {
            text += &format!(
                "\n## {part}\n\n![{part}]({part}.svg)\n\n```text\n{}\n```\n",
                record.trim()
            );
        }
    }
    for name in OTHERS {
        let Some(record) = read(&format!("{name}.txt")) else { continue };
        text += &format!("\n## {name}\n\n```text\n{}\n```\n", record.trim());
    }
    fs::write(folder.join("RESULTS.md"), text)
        .with_context(|| format!("writing {RESULTS}/RESULTS.md"))
}

/// Runs a part; what it prints is recorded as it stands.
fn measure(program: &Path, options: &Options, part: &str, scenarios: &[&str]) -> Result<()> {
    // Parts of a part are for looking at; they do not replace the record.
    let name = match (options.quick, options.scenarios.is_empty()) {
        (true, _) => format!("quick-{part}"),
        (false, true) => part.to_owned(),
        (false, false) => scenarios.join("+"),
    };
    let file = |ending: &str| format!("{RESULTS}/{name}.{ending}");
    let mut command = Command::new(program);
    // The record names the command as one would type it.
    command.arg0("ctflow").current_dir(repo::root());
    command.arg("bench").args(scenarios).args(["--json", &file("json"), "--svg", &file("svg")]);
    if options.quick {
        command.arg("--quick");
    } else {
        command.args(["--reps", &options.reps.to_string()]);
    }
    if options.force {
        command.arg("--force");
    }
    // Progress goes to the terminal. What could not be measured is in the table, so exit code 1 is no reason to stop.
    let output = command.stderr(std::process::Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot start {}", program.display()))?;
    ensure!(
        matches!(output.status.code(), Some(0 | 1)) && !output.stdout.is_empty(),
        "{} failed: {}",
        shell::line(&command),
        output.status
    );
    print!("{}", String::from_utf8_lossy(&output.stdout));
    fs::write(repo::root().join(file("txt")), &output.stdout)
        .with_context(|| format!("writing {}", file("txt")))
}
