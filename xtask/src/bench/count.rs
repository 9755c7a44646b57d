//! `cargo xtask bench count`: instructions and cache misses of an event, counted by valgrind, beside the committed
//! counts.
//!
//! Counts do not depend on what else the machine does, so a regression of a few per cent shows.

use crate::{repo, shell};
use anyhow::{Context as _, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The sources whose records are fed.
const SOURCES: [&str; 3] = ["netlink", "tap", "hook"];
/// Flows that stand in the table.
const FLOWS: [u32; 2] = [10_000, 100_000];
/// And as many as the largest routers have: up to a gigabyte and a half, and half an hour.
const MANY: [u32; 2] = [1_000_000, 10_000_000];
/// More instructions than this, in per cent, are a regression.
const MORE_MAX: f64 = 3.0;

/// Count the instructions and cache misses that an event costs, and compare them with benches/counts.txt.
///
/// An event is a record of a source, from its decoding to the message for the peer. Fails when there are 3 % more
/// instructions than committed. Needs valgrind.
#[derive(clap::Parser)]
#[command(name = "cargo xtask bench count", bin_name = "cargo xtask bench count")]
pub(super) struct Options {
    /// Rewrite benches/counts.txt
    #[arg(long)]
    bless: bool,
    /// With 1,000,000 and 10,000,000 flows, too
    #[arg(long)]
    many: bool,
}

/// What an event costs.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    source: String,
    flows: u32,
    instructions: f64,
    misses_l1: f64,
    misses_last: f64,
}

pub(super) fn run(options: &Options) -> Result<()> {
    ensure!(shell::find("valgrind").is_some(), "valgrind is missing: apt-get install valgrind");
    shell::step("build: the program that is counted (release)");
    let mut cargo = shell::cargo("build");
    shell::run(cargo.args(["--release", "--package", "benches", "--example", "count"]))?;
    let program = repo::target().join("release/examples/count");
    let flows = FLOWS.into_iter().chain(MANY.into_iter().filter(|_| options.many));
    let cases = flows.flat_map(|flows| SOURCES.map(|source| (source, flows)));
    let rows = cases.map(|case| counted(&program, case)).collect::<Result<Vec<_>>>()?;
    let path = repo::root().join("benches/counts.txt");
    let known = fs::read_to_string(&path).unwrap_or_default();
    let known = parsed(&known);
    let worse = report(&rows, &known);
    if options.bless {
        // What was not counted this time stays as it was.
        let is_new = |known: &&Row| {
            rows.iter().any(|row| (&row.source, row.flows) == (&known.source, known.flows))
        };
        let kept = known.iter().filter(|known| !is_new(known));
        let text: String = rows.iter().chain(kept).map(written).collect();
        fs::write(&path, format!("{HEAD}{text}")).with_context(|| path.display().to_string())?;
    } else if worse > 0 {
        bail!(
            "{worse} rows with more than {MORE_MAX} % more instructions; --bless if that is meant"
        );
    }
    Ok(())
}

const HEAD: &str = "\
# cargo xtask bench count: per event, from the record of a source to the message for the peer (valgrind's callgrind)
# source flows instructions misses_of_the_first_cache misses_of_the_last_cache
";

fn counted(program: &Path, (source, flows): (&str, u32)) -> Result<Row> {
    shell::step(&format!("{source}, {flows} flows"));
    let out: PathBuf = repo::target().join(format!("count.{source}.{flows}"));
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--toggle-collect=*measured*", "--cache-sim=yes"]);
    // The same caches on every machine: 32 KiB, 8 ways, and 8 MiB, 16 ways; lines of 64 bytes.
    valgrind.args(["--I1=32768,8,64", "--D1=32768,8,64", "--LL=8388608,16,64"]);
    valgrind.arg(format!("--callgrind-out-file={}", out.display()));
    valgrind.arg(program).args([source, &flows.to_string()]);
    let output = valgrind.output().context("valgrind does not start")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stderr);
    let numbers = collected(&said).context("valgrind says nothing of what it has counted")?;
    let records = String::from_utf8_lossy(&output.stdout);
    let records = records.split_whitespace().next().and_then(|count| count.parse::<f64>().ok());
    let per = |count: u64| count as f64 / records.unwrap_or(f64::NAN);
    let [ir, _, _, _, d1_read, d1_write, _, last_read, last_write] = numbers;
    Ok(Row {
        source: source.to_owned(),
        flows,
        instructions: per(ir),
        misses_l1: per(d1_read + d1_write),
        misses_last: per(last_read + last_write),
    })
}

/// The numbers behind `Collected :`; the order is that of the line above it: Ir Dr Dw I1mr D1mr D1mw ILmr DLmr DLmw.
pub(super) fn collected(said: &str) -> Option<[u64; 9]> {
    let (_, numbers) = said.lines().find_map(|line| line.split_once("Collected :"))?;
    // Zeros at the end are left out.
    let mut all = [0; 9];
    for (place, number) in all.iter_mut().zip(numbers.split_whitespace()) {
        *place = number.parse().ok()?;
    }
    Some(all)
}

/// Prints a line for each row; how many are worse than what was known.
fn report(rows: &[Row], known: &[Row]) -> usize {
    println!("source   flows      instructions  committed         misses: first, last cache");
    let mut worse = 0;
    for row in rows {
        let before =
            known.iter().find(|known| (&known.source, known.flows) == (&row.source, row.flows));
        let more = before.map(|before| 100.0 * (row.instructions / before.instructions - 1.0));
        worse += usize::from(more.is_some_and(|more| more > MORE_MAX));
        let beside = before.zip(more).map_or_else(String::new, |(before, more)| {
            format!("{:.0} ({more:+.1} %)", before.instructions)
        });
        println!(
            "{:8} {:10} {:12.0}  {beside:16}  {:.2}, {:.2}",
            row.source, row.flows, row.instructions, row.misses_l1, row.misses_last
        );
    }
    worse
}

fn written(row: &Row) -> String {
    let Row { source, flows, instructions, misses_l1, misses_last } = row;
    format!("{source} {flows} {instructions:.0} {misses_l1:.2} {misses_last:.2}\n")
}

fn parsed(text: &str) -> Vec<Row> {
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        Some(Row {
            source: words.next()?.to_owned(),
            flows: words.next()?.parse().ok()?,
            instructions: words.next()?.parse().ok()?,
            misses_l1: words.next()?.parse().ok()?,
            misses_last: words.next()?.parse().ok()?,
        })
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let row = |source: &str| Row {
            source: source.to_owned(),
            flows: 10_000,
            instructions: 3_600.0,
            misses_l1: 5.25,
            misses_last: 0.5,
        };
        let rows = SOURCES.map(row);
        let text: String = rows.iter().map(written).collect();
        assert_eq!(parsed(&format!("{HEAD}{text}")), rows);
    }

    #[test]
    fn more_instructions_than_committed_are_found() {
        let row = |instructions| Row {
            source: "tap".to_owned(),
            flows: 10_000,
            instructions,
            misses_l1: 0.0,
            misses_last: 0.0,
        };
        assert_eq!(report(&[row(1_029.0)], &[row(1_000.0)]), 0);
        assert_eq!(report(&[row(1_031.0)], &[row(1_000.0)]), 1);
        assert_eq!(report(&[row(1_031.0)], &[]), 0, "what nobody knows is no regression");
    }

    #[test]
    fn the_line_of_valgrind_is_read() {
        let said = "==1== Events    : Ir Dr Dw I1mr D1mr D1mw ILmr DLmr DLmw\n==1== Collected : 60 16 12 18 90 5 23\n";
        assert_eq!(collected(said), Some([60, 16, 12, 18, 90, 5, 23, 0, 0]));
    }
}
