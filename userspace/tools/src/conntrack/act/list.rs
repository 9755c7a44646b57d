//! Shows flows, how many there are, and the counters.

use super::{Outcome, code, errno_of, style};
use crate::conntrack::command::Command;
use crate::conntrack::definition::{Opt, Table};
use crate::conntrack::failure::Failure;
use crate::conntrack::filter::Filter;
use crate::conntrack::progress::Progress;
use crate::conntrack::screen::{Frame, Screen, summary};
use crate::conntrack::several::Choice;
use crate::conntrack::wanted;
use crate::print::conntrack::{self, Root};
use crate::stdout;
use ctnetlink::frame::HEADER_LEN;
use ctnetlink::request::{self, Selection, Source};
use ctnetlink::tuple::{FAMILY_IPV4, FAMILY_IPV6};
use ctnetlink::{FlowKey, FlowView, Tuple};
use host::kstat::table_sizes;
use host::table::Table as Kernel;
use std::io::{self, Write};
use std::process::ExitCode;

/// Reads the flows that a command means, and hands each to `each`: as a message, understood, and the command that it
/// fits.
pub(super) fn dump(
    kernel: &mut Kernel,
    command: &Command,
    choice: &Choice<'_>,
    mut each: impl FnMut(&[u8], &FlowView<'_>, &Command) -> io::Result<()>,
) -> io::Result<()> {
    if choice.is_nothing() {
        return Ok(());
    }
    let mut meant = |message: &[u8]| {
        // A message that cannot be parsed is not shown.
        let Ok(flow) = FlowView::parse(&message[HEADER_LEN..]) else { return Ok(()) };
        choice.of(&flow).map_or(Ok(()), |command| each(message, &flow, command))
    };
    read(kernel, source(command), &choice.selection(), &mut meant)
}

/// A table of so many flows is worth a second thread.
const MANY: u64 = 20_000;

/// A kernel that does not know how to select is asked for everything.
fn read(
    kernel: &mut Kernel,
    source: Source,
    selection: &Selection,
    each: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut progress = Progress::new("flows", true);
    let each: &mut dyn FnMut(&[u8]) -> io::Result<()> = &mut |message| {
        progress.step();
        each(message)
    };
    let plain = selection.with(|selection| selection.tuples = None);
    // The kernel compares tuples in its table only.
    let picks = selection.tuples.is_some() && matches!(source, Source::Table);
    if !picks {
        return kernel.dump(|w, seq| request::dump(w, seq, source, &plain), each);
    }
    match read_picked(kernel, source, selection, each) {
        Err(error) if is_ignorance(&error) => {
            kernel.dump(|w, seq| request::dump(w, seq, source, &plain), each)
        }
        outcome => outcome,
    }
}

/// The kernel compares tuples only in a request that names the family (`EOPNOTSUPP` otherwise, seen on 6.18): for
/// both families it takes two requests.
fn read_picked(
    kernel: &mut Kernel,
    source: Source,
    selection: &Selection,
    each: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    if selection.family != request::ANY_FAMILY {
        return kernel.dump(|w, seq| request::dump(w, seq, source, selection), each);
    }
    let picked = [FAMILY_IPV4, FAMILY_IPV6].map(|family| of_family(selection, family));
    if flows(kernel)? < MANY {
        for selection in &picked {
            kernel.dump(|w, seq| request::dump(w, seq, source, selection), &mut *each)?;
        }
        return Ok(());
    }
    let mut other = Kernel::open()?;
    kernel.dump_two(&mut other, |w, seq, at| request::dump(w, seq, source, &picked[at]), each)
}

fn of_family(selection: &Selection, family: u8) -> Selection {
    let tuples = selection.tuples.map(|both| both.map(|(t, bits)| (Tuple { family, ..t }, bits)));
    selection.with(|selection| {
        selection.family = family;
        selection.tuples = tuples;
    })
}

/// How many flows the table has.
fn flows(kernel: &mut Kernel) -> io::Result<u64> {
    let mut flows = 0;
    kernel.ask(request::stats, |message| {
        flows = table_sizes(message).0.unwrap_or_default();
        Ok(())
    })?;
    Ok(flows)
}

fn is_ignorance(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}

fn source(command: &Command) -> Source {
    match command.table {
        Table::Dying => Source::Dying,
        Table::Unconfirmed => Source::Unconfirmed,
        _ if command.has(Opt::Zero) => Source::TableZeroingCounters,
        _ => Source::Table,
    }
}

/// `-L`
pub(super) fn list(command: &Command) -> Outcome {
    let mut kernel = Kernel::open()?;
    let mut screen = Screen::new(style(command), Root::Conntrack, Frame::List);
    let filter = Filter::new(command);
    let outcome = if filter.is_everything() {
        let selection = filter.selection();
        read(&mut kernel, source(command), &selection, &mut |message| screen.listed(message))
    } else {
        let choice = Choice::new(command, &[]);
        dump(&mut kernel, command, &choice, |message, _, _| screen.listed(message))
    };
    screen.end_document()?;
    outcome?;
    summary(screen.shown, "flow entries have been shown");
    Ok(ExitCode::SUCCESS)
}

/// `-G`
pub(super) fn get(command: &Command) -> Outcome {
    let key = FlowKey::new(wanted::asked(command), command.zones[0].unwrap_or_default());
    let mut kernel = Kernel::open()?;
    let mut screen = Screen::new(style(command), Root::Conntrack, Frame::List);
    let filter = Filter::new(command);
    let outcome = kernel.ask(
        |w, ticket| request::get(w, ticket, &key),
        |message| {
            let meant =
                FlowView::parse(&message[HEADER_LEN..]).is_ok_and(|flow| filter.passes(&flow));
            if meant { screen.listed(message) } else { Ok(()) }
        },
    );
    let texts = [
        (libc::ENOENT, "such conntrack doesn't exist"),
        (libc::EAFNOSUPPORT, "protocol not supported"),
    ];
    outcome.map_err(|error| Failure::kernel(errno_of(&error), &texts))?;
    screen.end();
    summary(screen.shown, "flow entries have been shown");
    Ok(code(screen.shown))
}

/// `-C`
pub(super) fn count(table: Table) -> Outcome {
    let mut kernel = Kernel::open()?;
    let mut out = Vec::new();
    if table == Table::Expect {
        let mut count = 0_u64;
        kernel.dump(
            |w, seq| request::dump_expectations(w, seq, request::ANY_FAMILY),
            |_| {
                count += 1;
                Ok(())
            },
        )?;
        writeln!(out, "{count}")?;
    } else {
        kernel.ask(request::stats, |message| {
            conntrack::count(&mut out, message);
            Ok(())
        })?;
    }
    stdout::put(&out);
    Ok(ExitCode::SUCCESS)
}

/// `-S`
pub(super) fn stats(table: Table) -> Outcome {
    let mut kernel = Kernel::open()?;
    let mut out = Vec::new();
    let expect = table == Table::Expect;
    kernel.dump(
        |w, seq| {
            if expect {
                request::expectation_stats_per_cpu(w, seq);
            } else {
                request::stats_per_cpu(w, seq);
            }
        },
        |message| {
            conntrack::statistics(&mut out, message);
            Ok(())
        },
    )?;
    stdout::put(&out);
    Ok(ExitCode::SUCCESS)
}
