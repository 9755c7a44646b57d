//! The table for people, and the runs for machines.

use super::measure::spread;
use super::rows::{Bench, Row, Target};
use crate::shell;
use anyhow::Result;
use serde_json::{Value, json};
use std::process::Command;

/// Chance, where the target is the original.
const SLACK: f64 = 1.1;

impl Row {
    fn limit(&self) -> Option<f64> {
        let middle = |values: &[f64]| spread(values).map(|[_, middle, _]| middle);
        match self.target {
            Target::AtMost(limit) => Some(limit),
            Target::OfFloor(times) => middle(&self.floor).map(|floor| floor * times),
            Target::AsOriginal => middle(&self.beside).map(|beside| beside * SLACK),
        }
    }

    /// Whether the target is met, in words.
    fn verdict(&self) -> String {
        let (Some([_, ours, _]), Some(limit)) = (spread(&self.ours), self.limit()) else {
            return "not measured".to_owned();
        };
        match () {
            () if !self.done => "FAILED".to_owned(),
            () if ours <= limit => "met".to_owned(),
            () if limit > 0.0 => format!("MISSED by {:.0} %", (ours / limit - 1.0) * 100.0),
            () => format!("MISSED by {ours:.0}"),
        }
    }

    fn target_in_words(&self) -> String {
        match self.target {
            Target::OfFloor(times) => format!("{times} floors"),
            Target::AtMost(limit) => format!("{limit}"),
            Target::AsOriginal => "original".to_owned(),
        }
    }
}

/// The head of the table of issue 5.
pub(super) fn head() {
    println!("\nmedian [smallest..largest]; targets are those of issue 5");
    line(["command", "unit", "ours", "original", "floor", "target", ""]);
}

/// A row of it, as soon as it is measured.
pub(super) fn print(row: &Row) {
    let [ours, beside, floor] = [&row.ours, &row.beside, &row.floor].map(|values| shown(values));
    let (target, verdict) = (row.target_in_words(), row.verdict());
    line([&row.name, row.unit, &ours, &beside, &floor, &target, &verdict]);
    if let Some(note) = row.notes.last() {
        println!("{:<22} {note}", "");
    }
}

fn line(cells: [&str; 7]) {
    let [name, unit, ours, beside, floor, target, verdict] = cells;
    println!("{name:<16} {unit:<5} {ours:<22} {beside:<22} {floor:<22} {target:<11} {verdict}");
}

fn shown(values: &[f64]) -> String {
    spread(values).map_or_else(
        || "-".to_owned(),
        |[least, middle, most]| {
            let digits = if most >= 1000.0 { 0 } else { 3 };
            format!("{middle:.digits$} [{least:.digits$}..{most:.digits$}]")
        },
    )
}

/// Every run, and where it was.
pub(super) fn json(bench: &Bench, rows: &[Row]) -> Result<Value> {
    let said = |program: &str, words: &[&str]| shell::output(Command::new(program).args(words));
    let rows: Vec<Value> = rows.iter().map(of_row).collect();
    Ok(json!({
        "what": "cargo xtask bench cli",
        "date": said("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"])?.trim(),
        "commit": said("git", &["describe", "--always", "--dirty"])?.trim(),
        "kernel": said("uname", &["-r"])?.trim(),
        "cpus": std::thread::available_parallelism()?.get(),
        "load": std::fs::read_to_string("/proc/loadavg")?.trim(),
        "original": said(&bench.beside.to_string_lossy(), &["-V"])?.trim(),
        "entries": bench.entries,
        "reps": bench.reps,
        "rows": rows,
    }))
}

fn of_row(row: &Row) -> Value {
    json!({
        "name": row.name,
        "command": row.command,
        "unit": row.unit,
        "ours": row.ours,
        "original": row.beside,
        "floor": row.floor,
        "target": row.target_in_words(),
        "limit": row.limit(),
        "verdict": row.verdict(),
        "notes": row.notes,
    })
}
