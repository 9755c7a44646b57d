//! The operations on the kernel's own table: one dump with the part of the filter that the kernel can test, and the
//! whole filter over the result.

use super::asked::Asked;
use super::{Deletion, Found, Intent, note};
use crate::conntrack::screen::{Frame, Screen};
use crate::ctflow::outcome::Fault;
use crate::grouping::Groups;
use crate::print::conntrack::{self, Root, Style};
use ctnetlink::frame::HEADER_LEN;
use ctnetlink::request::{self, Selection, Source};
use ctnetlink::uapi::flag;
use ctnetlink::{Detail, Flow, FlowKey, FlowView};
use engine::query::Read;
use host::clock;
use host::kstat::table_sizes;
use host::removal::{self, Removed};
use host::table::Table;
use std::collections::HashSet;
use std::io;

/// How often the table is read because the kernel said that a reading may have missed flows.
const READINGS_MAX: u32 = 5;
/// Flows shown before a delete.
pub(super) const EXAMPLES: usize = 3;

/// Reads the flows of the filter and hands each, once, to `each`: as a message and decoded. `each` returns false to
/// stop. Returns how many flows there were in the table.
pub(in crate::ctflow) fn read(
    asked: &Asked,
    detail: Detail,
    mut each: impl FnMut(&[u8], &Flow) -> io::Result<bool>,
) -> Result<u64, Fault> {
    let mut once = Once::default();
    shown(asked, detail, |message, flow| match once.is_new(flow) {
        true => each(message, flow),
        false => Ok(true),
    })
}

/// Reads flows for callers that recognise repeated flows themselves: some are handed out twice.
pub(in crate::ctflow) fn shown(
    asked: &Asked,
    detail: Detail,
    mut each: impl FnMut(&[u8], &Flow) -> io::Result<bool>,
) -> Result<u64, Fault> {
    asked.check_kernel()?;
    let mut table = Table::open()?;
    let flows = size(&mut table)?;
    let now_ns = clock::wall_ns();
    for _ in 0..READINGS_MAX {
        let mut torn = false;
        let mut stopped = false;
        let mut one = |message: &[u8]| {
            torn |= is_torn(message);
            // A message that cannot be parsed is not selected.
            let Ok(view) = FlowView::parse(&message[HEADER_LEN..]) else { return Ok(()) };
            let flow = view.to_flow(detail);
            if !asked.program.matches(&Read { flow: &flow, now_ns }) {
                return Ok(());
            }
            if each(message, &flow)? {
                return Ok(());
            }
            stopped = true;
            Err(io::ErrorKind::Interrupted.into())
        };
        let outcome = dump(&mut table, &asked.selection, &mut one);
        if stopped {
            return Ok(flows);
        }
        outcome?;
        if !torn {
            return Ok(flows);
        }
    }
    Err(Fault::kernel(format_args!(
        "the kernel could not show its table in one piece, {READINGS_MAX} times"
    )))
}

/// A kernel that does not know how to compare tuples is asked without them.
fn dump(
    table: &mut Table,
    selection: &Selection,
    each: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let ask = |table: &mut Table, selection: &Selection, each: &mut dyn FnMut(&[u8]) -> _| {
        table.dump(|w, seq| request::dump(w, seq, Source::Table, selection), each)
    };
    match ask(table, selection, &mut *each) {
        Err(error)
            if selection.tuples.is_some()
                && matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) =>
        {
            let mut plain = *selection;
            plain.tuples = None;
            ask(table, &plain, each)
        }
        outcome => outcome,
    }
}

/// Whether the kernel says of a message that flows before it may be missing or repeated.
fn is_torn(message: &[u8]) -> bool {
    let flags = message.get(6..8).and_then(|flags| flags.first_chunk());
    flags.is_some_and(|flags| u16::from_ne_bytes(*flags) & flag::DUMP_INTR != 0)
}

/// Flows of the kernel.
fn size(table: &mut Table) -> io::Result<u64> {
    let mut flows = 0;
    table.ask(request::stats, |message| {
        flows = table_sizes(message).0.unwrap_or_default();
        Ok(())
    })?;
    Ok(flows)
}

/// Flows that were handed out: a dump that is read again, or whose table the kernel rebuilt, shows flows twice.
#[derive(Debug, Default)]
struct Once(HashSet<(FlowKey, u32)>);

impl Once {
    fn is_new(&mut self, flow: &Flow) -> bool {
        self.0.insert((flow.key(), flow.id))
    }
}

pub(super) fn list(asked: &Asked, style: Style<'_>, limit: Option<u64>) -> Result<(), Fault> {
    let mut screen = Screen::new(style, Root::Conntrack, Frame::List);
    let most = limit.unwrap_or(u64::MAX);
    let outcome = read(asked, asked.detail(), |message, _| {
        if screen.shown < most {
            screen.listed(message)?;
        }
        Ok(screen.shown < most)
    });
    screen.end_document()?;
    outcome.map(drop)
}

pub(super) fn count(asked: &Asked, mut groups: Option<&mut Groups>) -> Result<Found, Fault> {
    let mut matched = 0;
    let table = read(asked, asked.detail(), |_, flow| {
        matched += 1;
        if let Some(groups) = &mut groups {
            groups.count(flow);
        }
        Ok(true)
    })?;
    Ok(Found { matched, table })
}

/// What a delete would delete: at most `max` flows are kept, all are counted.
pub(super) fn plan(asked: &Asked, max: u64) -> Result<Intent, Fault> {
    let mut plan = Intent::default();
    let style = Style::default();
    let now_ns = clock::wall_ns();
    plan.found.table = read(asked, asked.detail(), |message, flow| {
        plan.found.matched += 1;
        if plan.found.matched <= EXAMPLES as u64 {
            let mut line = Vec::new();
            let by = crate::print::Origin::default();
            conntrack::flow(&mut line, &style, message, None, by, now_ns);
            plan.examples.push(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
        if plan.found.matched <= max {
            let id = flow.has(ctnetlink::flow::Known::ID).then_some(flow.id);
            plan.victims.push((flow.key(), id));
        }
        Ok(true)
    })?;
    Ok(plan)
}

pub(super) fn delete(plan: Intent) -> Result<Deletion, Fault> {
    let Removed { deleted, ended, refused, errno } = removal::remove(plan.victims)?;
    if refused > 0 {
        note(format_args!("the kernel says: {}", io::Error::from_raw_os_error(errno)));
    }
    Ok(Deletion { found: plan.found, deleted, ended, refused })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctnetlink::Tuple;

    #[test]
    fn a_flow_that_a_dump_shows_twice_is_handed_out_once() {
        let flow = |id| Flow { id, ..Flow::new(Tuple::v4([1; 4], [2; 4], 6)) };
        let mut once = Once::default();
        assert_eq!([once.is_new(&flow(1)), once.is_new(&flow(1))], [true, false]);
        assert!(once.is_new(&flow(2)), "a successor is another flow");
    }

    #[test]
    fn a_torn_dump_is_seen_in_any_message() {
        let mut message = [0; HEADER_LEN];
        assert!(!is_torn(&message) && !is_torn(&[]));
        message[6..8].copy_from_slice(&(flag::DUMP_INTR | flag::REQUEST).to_ne_bytes());
        assert!(is_torn(&message));
    }
}
