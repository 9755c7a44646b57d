//! `--from-file`: lines that each say which flows, all of them looked for in one pass over the table.
//!
//! A line means what it would mean behind the other words of the command line. Where more than one fits a flow, the
//! first one counts.

use super::command::{self, Command};
use super::failure::Failure;
use super::filter::Filter;
use super::values::Addr;
use super::words;
use ctnetlink::FlowView;
use ctnetlink::request::Selection;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};

/// Understands the lines of a file, `-` being stdin, behind the words they follow.
///
/// # Errors
/// When it cannot be read, a line is wrong, or one fits every flow.
pub fn read(path: &str, before: &[&str]) -> Result<Vec<Command>, Failure> {
    let file: Box<dyn Read> = if path == "-" {
        Box::new(io::stdin().lock())
    } else {
        let cannot = |_| Failure::usage(format_args!("Failed to open file {path} for reading"));
        Box::new(File::open(path).map_err(cannot)?)
    };
    let mut commands = Vec::new();
    words::each_line(file, |number, line| {
        let Some(behind) = words::of_line(number, line)? else { return Ok(()) };
        let mut all = before.to_vec();
        all.extend(behind.iter().map(Cow::as_ref));
        let at = |why: &dyn std::fmt::Display| {
            Failure::usage(format_args!("{path}: line {}: {why}", number + 1))
        };
        let command = command::parse(&all).map_err(|failure| at(&failure))?;
        if Filter::new(&command).is_everything() {
            return Err(at(&"it fits every flow"));
        }
        commands.push(command);
        Ok(())
    })?;
    Ok(commands)
}

/// Selects the flows that one command or several are about.
#[derive(Debug)]
pub struct Choice<'a> {
    filters: Vec<Filter<'a>>,
    /// Commands that want one source address, by it: there may be thousands.
    by_source: HashMap<Addr, Vec<usize>>,
    /// The others.
    rest: Vec<usize>,
}

impl<'a> Choice<'a> {
    /// What a command means: the lines of its file, if it has one, else its own options.
    #[must_use]
    pub fn new(command: &'a Command, lines: &'a [Command]) -> Self {
        let commands =
            if command.from_file.is_some() { lines } else { std::slice::from_ref(command) };
        let filters: Vec<_> = commands.iter().map(Filter::new).collect();
        let (mut by_source, mut rest) = (HashMap::<_, Vec<_>>::new(), Vec::new());
        for (at, filter) in filters.iter().enumerate() {
            match filter.source() {
                Some(address) => by_source.entry(address).or_default().push(at),
                None => rest.push(at),
            }
        }
        Self { filters, by_source, rest }
    }

    /// The first command that means a flow.
    #[must_use]
    pub fn of(&self, flow: &FlowView<'_>) -> Option<&'a Command> {
        let first =
            |places: &[usize]| places.iter().copied().find(|at| self.filters[*at].passes(flow));
        let by_source = self.by_source.get(&flow.orig.src).and_then(|places| first(places));
        let at = by_source.into_iter().chain(first(&self.rest)).min()?;
        Some(self.filters[at].command())
    }

    /// What the kernel picks: what all of them have in common.
    #[must_use]
    pub fn selection(&self) -> Selection {
        let all = self.filters.iter().map(Filter::selection);
        let common = all.reduce(|left, right| {
            Selection::default().with(|selection| {
                selection.family = if left.family == right.family { left.family } else { 0 };
                selection.mark = left.mark.filter(|mark| right.mark == Some(*mark));
                selection.status = left.status.filter(|status| right.status == Some(*status));
                selection.zone = left.zone.filter(|zone| right.zone == Some(*zone));
                selection.tuples = left.tuples.filter(|tuples| right.tuples == Some(*tuples));
            })
        });
        common.unwrap_or_default()
    }

    /// Whether there is nothing to look for.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.filters.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctnetlink::Tuple;

    fn commands(lines: &[&str]) -> Vec<Command> {
        lines.iter().map(|line| command::parse(&words(line)).unwrap()).collect()
    }

    fn words(line: &str) -> Vec<&str> {
        line.split(' ').collect()
    }

    fn flow(source: u8, proto: u8, port: u16) -> FlowView<'static> {
        let orig = Tuple::v4([10, 0, 0, source], [10, 0, 0, 9], proto).with_ports(1, port);
        FlowView::default().with(|view| {
            view.orig = orig;
            view.reply = orig.inverted();
        })
    }

    #[test]
    fn the_first_line_that_fits_counts() {
        let all = commands(&[
            "-U -m 1 -s 10.0.0.1 -p udp",
            "-U -m 2 -p tcp --dport 80",
            "-U -m 3 -s 10.0.0.1",
            "-U -m 4 -s 10.0.0.0/30",
        ]);
        let command = command::parse(&words("-U --from-file x")).unwrap();
        let choice = Choice::new(&command, &all);
        let mark = |flow: FlowView<'_>| choice.of(&flow).and_then(|command| command.mark);
        for (flow, wanted) in [
            (flow(1, 17, 53), Some(1)),
            (flow(1, 6, 80), Some(2)),
            (flow(1, 6, 81), Some(3)),
            (flow(2, 6, 81), Some(4)),
            (flow(7, 6, 81), None),
        ] {
            assert_eq!(mark(flow), wanted.map(|mark| (mark, u32::MAX)));
        }
        let nothing = Choice::new(&command, &[]);
        assert!(nothing.is_nothing() && nothing.of(&flow(1, 6, 80)).is_none());
    }

    #[test]
    fn the_kernel_picks_what_all_lines_have_in_common() {
        let all = commands(&["-D -f ipv4 -p tcp -m 1", "-D -f ipv4 -p udp -m 1"]);
        let command = command::parse(&words("-D --from-file x")).unwrap();
        let selection = Choice::new(&command, &all).selection();
        assert_eq!((selection.family, selection.tuples), (2, None));
        assert_eq!(selection.mark, Some((1, u32::MAX)));
    }
}
