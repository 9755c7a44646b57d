//! Commands about expectations.

use super::{Outcome, errno_of, style};
use crate::conntrack::command::Command;
use crate::conntrack::failure::Failure;
use crate::conntrack::screen::{Frame, Screen, say, summary};
use crate::conntrack::wanted;
use crate::print::conntrack::Root;
use ctnetlink::FlowKey;
use ctnetlink::request::{self, IfExists};
use host::table::Table as Kernel;
use std::process::ExitCode;

/// `-L expect`
pub(super) fn list(command: &Command) -> Outcome {
    let mut kernel = Kernel::open()?;
    let mut screen = Screen::new(style(command), Root::Expect, Frame::List);
    let outcome = kernel.dump(
        |w, seq| request::dump_expectations(w, seq, command.family),
        |message| screen.listed(message),
    );
    screen.end_document()?;
    outcome?;
    summary(screen.shown, "expectations have been shown");
    Ok(ExitCode::SUCCESS)
}

/// `-G expect`
pub(super) fn get(command: &Command) -> Outcome {
    let key = FlowKey::new(wanted::expected(command), 0);
    let mut kernel = Kernel::open()?;
    let mut screen = Screen::new(style(command), Root::Expect, Frame::List);
    kernel
        .ask(|w, t| request::get_expectation(w, t, &key), |message| screen.listed(message))
        .map_err(|error| Failure::kernel(errno_of(&error), &[]))?;
    screen.end();
    Ok(ExitCode::SUCCESS)
}

/// `-I expect`
pub(super) fn create(command: &Command) -> Outcome {
    let given = wanted::expectation(command);
    let texts = [
        (libc::EEXIST, "Such conntrack exists, try -U to update"),
        (libc::ENOENT, "master conntrack not found"),
    ];
    Kernel::open()?
        .ask(|w, t| request::create_expectation(w, t, &given, IfExists::Fail), |_| Ok(()))
        .map_err(|error| Failure::kernel(errno_of(&error), &texts))?;
    Ok(ExitCode::SUCCESS)
}

/// `-D expect`
pub(super) fn delete(command: &Command) -> Outcome {
    let key = FlowKey::new(wanted::expected(command), 0);
    Kernel::open()?
        .ask(|w, t| request::delete_expectation(w, t, &key, None), |_| Ok(()))
        .map_err(|error| Failure::kernel(errno_of(&error), &[]))?;
    Ok(ExitCode::SUCCESS)
}

/// `-F expect`
pub(super) fn flush() -> Outcome {
    Kernel::open()?.ask(request::flush_expectations, |_| Ok(()))?;
    say("expectation table has been emptied.");
    Ok(ExitCode::SUCCESS)
}
