//! The outcomes of tests that run in several directions, as a table.

use std::collections::BTreeMap;
use std::fmt;

/// The columns: how a direction is called in the names of tests, and above the table.
const DIRECTIONS: [(&str, &str); 3] = [
    ("ours_to_original", "ours->original"),
    ("original_to_ours", "original->ours"),
    ("ours_to_ours", "ours->ours"),
];

/// A row for each test, a column for each direction.
#[derive(Debug, Default)]
pub(crate) struct Matrix(BTreeMap<String, [Option<&'static str>; DIRECTIONS.len()]>);

impl Matrix {
    /// Takes one line of a test runner: `test links::ours_to_original::udp_over_ipv4 ... ok`. Others say nothing.
    pub(crate) fn take(&mut self, line: &str) {
        let outcome = || line.strip_prefix("test ")?.split_once(" ... ");
        let Some((name, outcome)) = outcome() else { return };
        let mut path: Vec<_> = name.split("::").collect();
        let column = |word: &str| DIRECTIONS.iter().position(|(direction, _)| *direction == word);
        let Some(at) = path.iter().position(|word| column(word).is_some()) else { return };
        let Some(column) = column(path.remove(at)) else { return };
        let outcome = match outcome.split([',', ' ']).next() {
            Some("ok") => "pass",
            Some("ignored") => "skipped",
            _ => "FAIL",
        };
        let row = path.join(": ").replace('_', " ");
        self.0.entry(row).or_default()[column] = Some(outcome);
    }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.keys().map(String::len).max().unwrap_or(0);
        let titles = DIRECTIONS.map(|(_, title)| title);
        let mut line = |row: &str, cells: [&str; DIRECTIONS.len()]| {
            let cells: String =
                cells.iter().zip(titles).map(|(c, t)| format!("  {c:<0$}", t.len())).collect();
            writeln!(f, "{}", format!("{row:<width$}{cells}").trim_end())
        };
        line("", titles)?;
        for (row, cells) in &self.0 {
            line(row, cells.map(|cell| cell.unwrap_or("-")))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Matrix;

    #[test]
    fn a_row_has_a_cell_for_each_direction_and_other_lines_none() {
        let mut matrix = Matrix::default();
        for line in [
            "test links::ours_to_original::udp_over_ipv4 ... ok",
            "test links::original_to_ours::udp_over_ipv4 ... FAILED",
            "test matrix::ours_to_ours::ftfw_udp ... ignored, for a reason",
            "test texts::what_is_printed ... ok",
            "test result: ok. 3 passed",
        ] {
            matrix.take(line);
        }
        let wanted = "                      ours->original  original->ours  ours->ours\n\
                      links: udp over ipv4  pass            FAIL            -\n\
                      matrix: ftfw udp      -               -               skipped\n";
        assert_eq!(matrix.to_string(), wanted);
    }
}
