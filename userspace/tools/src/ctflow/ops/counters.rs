//! `ctflow list --counters`: the daemon's table says which flows, the kernel how much traffic they had and how long
//! they have left.
//!
//! ```text
//!   daemon: count --few of the table--> its list --each flow--> kernel: one look-up --> shown
//!                 '-many-------------------------------------> kernel: one dump ------> shown
//! ```

use super::asked::Asked;
use super::daemon::{Came, Daemon};
use super::{Found, ListOptions, answered, kernel};
use crate::conntrack::screen::{Frame, Screen};
use crate::ctflow::outcome::{Code, Fault, note};
use crate::print::conntrack::Root;
use crate::print::parsed;
use ctnetlink::flow::Known;
use ctnetlink::frame::HEADER_LEN;
use ctnetlink::{Detail, Flow, FlowView, request};
use host::table::Table;
use std::io;

/// With more than one in so many flows, reading the whole table costs less than reading flow by flow.
const SHARE: u64 = 4;

pub(super) fn list(asked: &Asked, options: &ListOptions) -> Result<Code, Fault> {
    if asked.remote {
        return Err(Fault::usage("--counters: the kernel does not know the flows of the peers"));
    }
    let most = options.limit.unwrap_or(u64::MAX);
    let flows = answered(asked, None, |daemon| selected(daemon, most))?.flatten();
    let style = options.output.style();
    let Some(flows) = flows else {
        kernel::list(asked, style, options.limit)?;
        return Ok(Code::Done);
    };
    let mut screen = Screen::new(style, Root::Conntrack, Frame::List);
    let mut table = Table::open()?;
    let outcome = flows.iter().try_for_each(|flow| show(&mut table, flow, &mut screen));
    screen.end_document()?;
    outcome?;
    Ok(Code::Done)
}

/// The flows of the daemon's table that the filter selects; `None` if they are so many that the kernel had better show
/// all it has.
fn selected(daemon: &Daemon, most: u64) -> Result<Came<Option<Vec<Flow>>>, Fault> {
    let found = match daemon.count(None, None, false)? {
        Came::Answer((found, _)) => found,
        Came::Elsewhere(why) => return Ok(Came::Elsewhere(why)),
    };
    if is_much(found, most) {
        note("asking the kernel itself: that is more than a quarter of the table");
        return Ok(Came::Answer(None));
    }
    let mut flows = Vec::new();
    let came = daemon.objects(|line| {
        flows.extend(parsed::flow(line));
        (flows.len() as u64) < most
    })?;
    Ok(match came {
        Came::Answer(_) => Came::Answer(Some(flows)),
        Came::Elsewhere(why) => Came::Elsewhere(why),
    })
}

const fn is_much(found: Found, most: u64) -> bool {
    let wanted = if found.matched < most { found.matched } else { most };
    wanted > found.table / SHARE
}

/// Shows a flow as the kernel holds it now. A flow that has ended is left out, and so is another one in its place.
fn show(table: &mut Table, flow: &Flow, screen: &mut Screen<'_>) -> io::Result<()> {
    let key = flow.key();
    let outcome = table.ask(
        |w, ticket| request::get(w, ticket, &key),
        |message| {
            let view = FlowView::parse(&message[HEADER_LEN..]).ok();
            let found = view.map(|view| view.to_flow(Detail::State));
            let is_it = |found: &Flow| !flow.has(Known::ID) || found.id == flow.id;
            if found.as_ref().is_some_and(is_it) { screen.listed(message) } else { Ok(()) }
        },
    );
    match outcome {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_flows_are_read_one_by_one_and_many_with_the_whole_table() {
        let found = |matched, table| Found { matched, table };
        assert!(!is_much(found(25, 100), u64::MAX) && is_much(found(26, 100), u64::MAX));
        assert!(!is_much(found(100, 100), 25), "a limit makes them few");
        assert!(!is_much(found(0, 0), u64::MAX));
    }
}
