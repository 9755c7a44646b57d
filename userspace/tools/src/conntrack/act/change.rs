//! Changes flows.

use super::list::dump;
use super::{Outcome, code, style};
use crate::conntrack::command::Command;
use crate::conntrack::definition::{Opt, Verb};
use crate::conntrack::failure::Failure;
use crate::conntrack::screen::{Frame, Screen, say, summary};
use crate::conntrack::several::Choice;
use crate::conntrack::wanted;
use crate::print::conntrack::Root;
use ctnetlink::flow::{Flow, Known, Status};
use ctnetlink::frame::HEADER_LEN;
use ctnetlink::request::{self, IfExists, Selection, Ticket};
use ctnetlink::{FlowKey, FlowView, Tuple};
use host::exchange::writes::{WriteOutcome, Writes};
use host::table::Table as Kernel;
use std::io;
use std::process::ExitCode;

/// Error texts of the numbers that a create may return.
pub(super) const CREATE: [(i32, &str); 2] = [
    (libc::EEXIST, "Such conntrack exists, try -U to update"),
    (libc::ENOENT, "such conntrack doesn't exist"),
];

/// The meaning of an errno of a delete.
pub(super) const DELETE: [(i32, &str); 1] = [(libc::ENOENT, "such conntrack doesn't exist")];

/// The meaning of an errno of an update.
const UPDATE: [(i32, &str); 3] = [
    (libc::ENOENT, "such conntrack doesn't exist"),
    // A user that may read the table may change it.
    (libc::EPERM, "the timeout of the flow is fixed"),
    (libc::ENOSPC, "the flow has no room for labels"),
];

/// `-I`, `-A`
pub(super) fn create(command: &Command) -> Outcome {
    let flow = wanted::flow(command)?;
    let mut kernel = Kernel::open()?;
    let adds = command.verb == Verb::Add;
    let done = if adds { "added" } else { "created" };
    let made = kernel.ask(|w, t| request::create(w, t, &flow, IfExists::Fail), |_| Ok(()));
    let made = match made {
        Ok(()) => 1,
        Err(error) if adds && error.raw_os_error() == Some(libc::EEXIST) => {
            change(&mut kernel, flow, command.has(Opt::Status))?;
            1
        }
        Err(error) => return Err(Failure::kernel(super::errno_of(&error), &CREATE)),
    };
    summary(made, &format!("flow entries have been {done}"));
    Ok(ExitCode::SUCCESS)
}

/// Changes what can be changed of an existing flow; its status only if one was given.
///
/// # Errors
/// What the kernel says, or that it would have to be translated in another way than it is.
pub(super) fn change(kernel: &mut Kernel, mut flow: Flow, status: bool) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::kernel(super::errno_of(&error), &CREATE);
    let translated = flow.status.intersects(Status::SRC_NAT | Status::DST_NAT);
    if translated && reply(kernel, &flow.key()).map_err(failed)? != Some(flow.reply) {
        return Err(Failure::other(
            "Operation failed: Such conntrack exists, and its translation cannot change",
        ));
    }
    flow.known.set(Known::STATUS, status);
    kernel.ask(|w, t| request::update(w, t, &flow), |_| Ok(())).map_err(failed)
}

/// The reply direction of a flow that exists.
fn reply(kernel: &mut Kernel, key: &FlowKey) -> io::Result<Option<Tuple>> {
    let mut reply = None;
    kernel.ask(
        |w, t| request::get(w, t, key),
        |message| {
            reply = FlowView::parse(&message[HEADER_LEN..]).ok().map(|flow| flow.reply);
            Ok(())
        },
    )?;
    Ok(reply)
}

/// `-D`
pub(super) fn delete(command: &Command, lines: &[Command]) -> Outcome {
    let deleted = delete_quietly(command, lines)?;
    let done = if command.has(Opt::DryRun) { "would be deleted" } else { "have been deleted" };
    summary(deleted, &format!("flow entries {done}"));
    Ok(code(deleted))
}

/// Deletes, shows what was deleted, and says how many.
pub(super) fn delete_quietly(command: &Command, lines: &[Command]) -> Result<u64, Failure> {
    let choice = Choice::new(command, lines);
    let mut kernel = Kernel::open()?;
    let mut writes: Writes<Vec<u8>> = Writes::open()?;
    let mut screen = Screen::new(style(command), Root::Conntrack, Frame::Changed);
    let dry = command.has(Opt::DryRun);
    let mut failed = None;
    let outcome = dump(&mut kernel, command, &choice, |message, flow, _| {
        if dry {
            return screen.listed(message);
        }
        let line = screen.render(message);
        writes.push(
            line,
            |w, t, _| request::delete(w, t, &flow.key(), flow.id),
            |line, came| settle(&mut screen, &line, came.errno, &mut failed),
        )
    });
    outcome?;
    writes.flush(|line, came| settle(&mut screen, &line, came.errno, &mut failed))?;
    screen.end();
    failed.map_or(Ok(screen.shown), |errno| Err(Failure::kernel(errno, &DELETE)))
}

/// A deleted flow is shown. One that was gone already is not.
fn settle(
    screen: &mut Screen<'_>,
    line: &[u8],
    errno: i32,
    failed: &mut Option<i32>,
) -> io::Result<()> {
    match errno {
        0 => screen.push(line),
        libc::ENOENT => Ok(()),
        errno => {
            failed.get_or_insert(errno);
            Ok(())
        }
    }
}

/// `-U`
pub(super) fn update(command: &Command, lines: &[Command]) -> Outcome {
    let done = update_quietly(command, lines)?;
    if let Some(failure) = &done.failed {
        failure.print();
    }
    let what = if command.has(Opt::DryRun) { "would be updated" } else { "have been updated" };
    summary(done.count, &format!("flow entries {what}"));
    Ok(if done.failed.is_some() { ExitCode::FAILURE } else { code(done.count) })
}

/// What became of many flows.
pub(super) struct Done {
    /// How many flows were changed.
    pub(super) count: u64,
    /// The kernel's first error.
    pub(super) failed: Option<Failure>,
}

/// An update under way.
struct Update {
    key: FlowKey,
    /// Nothing else is asked for than labels.
    labels_alone: bool,
}

/// Updates, and shows what the flows are now.
pub(super) fn update_quietly(command: &Command, lines: &[Command]) -> Result<Done, Failure> {
    let choice = Choice::new(command, lines);
    let mut kernel = Kernel::open()?;
    let mut writes: Writes<Update> = Writes::open()?;
    let mut screen = Screen::new(style(command), Root::Conntrack, Frame::Changed);
    let dry = command.has(Opt::DryRun);
    let mut failed = None;
    let outcome = dump(&mut kernel, command, &choice, |message, view, command| {
        let flow = match wanted::update(command, view) {
            Ok(Some(flow)) => flow,
            Ok(None) => return Ok(()),
            Err(errno) => {
                failed.get_or_insert(errno);
                return Ok(());
            }
        };
        if dry {
            return screen.listed(message);
        }
        writes.push(
            Update { key: view.key(), labels_alone: wanted::is_labels_alone(&flow) },
            |w, ticket, update| {
                request::update_with_timeout(w, ticket, &flow);
                // What has become of it is asked for in the same breath.
                request::get(w, Ticket::silent(ticket.seq + 1), &update.key);
            },
            |update, came| show(&mut screen, &update, came, &mut failed),
        )
    });
    outcome?;
    writes.flush(|update, came| show(&mut screen, &update, came, &mut failed))?;
    screen.end();
    let failed = failed.map(|errno| Failure::kernel(errno, &UPDATE));
    Ok(Done { count: screen.shown, failed })
}

fn show(
    screen: &mut Screen<'_>,
    update: &Update,
    came: WriteOutcome<'_>,
    failed: &mut Option<i32>,
) -> io::Result<()> {
    match came.errno {
        0 => {}
        // The flow has ended meanwhile.
        libc::ENOENT => return Ok(()),
        errno => {
            failed.get_or_insert(errno);
            // A flow without room for labels is changed in all else.
            if errno != libc::ENOSPC || update.labels_alone {
                return Ok(());
            }
        }
    }
    let Some(message) = came.answer else { return Ok(()) };
    let same = FlowView::parse(&message[HEADER_LEN..]).is_ok_and(|flow| flow.key() == update.key);
    if same { screen.listed(message) } else { Ok(()) }
}

/// `-F`
pub(super) fn flush(command: &Command) -> Outcome {
    if command.has(Opt::DryRun) {
        let mut would = 0;
        let mut kernel = Kernel::open()?;
        dump(&mut kernel, command, &Choice::new(command, &[]), |_, _, _| {
            would += 1;
            Ok(())
        })?;
        summary(would, "flow entries would be deleted");
        return Ok(ExitCode::SUCCESS);
    }
    let selection = Selection::default().with(|selection| selection.family = command.family);
    let mut kernel = Kernel::open()?;
    kernel.ask(|w, t| request::flush(w, t, &selection), |_| Ok(()))?;
    say("connection tracking table has been emptied.");
    Ok(ExitCode::SUCCESS)
}
