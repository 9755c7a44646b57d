//! Shows what happens, as it happens.
//!
//! Events of flows come through the tap where it may run (`host::source`), so that a burst has the rings to wait in
//! and costs the kernel no socket buffer each; else, and for expectations, by netlink alone. Either way a full buffer
//! is made larger, and the final account names what was lost all the same.

use super::{Outcome, style};
use crate::conntrack::command::Command;
use crate::conntrack::definition::Table;
use crate::conntrack::failure::Failure;
use crate::conntrack::filter::Filter;
use crate::conntrack::programs::Programs;
use crate::conntrack::screen::{Frame, Screen, say, summary};
use crate::print::Origin;
use crate::print::conntrack::{Format, Root};
use ctnetlink::frame::HEADER_LEN;
use ctnetlink::uapi::{ct, flag, group, subsystem};
use ctnetlink::{Change, FlowView, Messages};
use host::source::{self, Choice, Source, SourceError};
use host::sys::stop_signals;
use host::table::wait_for_any;
use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::Duration;

/// Unless `-b` says otherwise: a burst of 100,000 events, where the kernel lets us.
const BUFFER: usize = 128 << 20;
/// A buffer that was too small grows up to this.
const BUFFER_MAX: usize = 1 << 30;
/// Ring of each processor: 16,000 events.
const RING: usize = 4 << 20;
/// Events shown before signals are looked at.
const BUDGET: usize = 4096;
/// How long to wait for company after an event, before asking to be woken: being woken for each costs more than
/// showing it.
const NAP: Duration = Duration::from_micros(500);

/// `-E`
pub(super) fn watch(command: &Command, table: Table) -> Outcome {
    let stop = stop_signals()?;
    let mut source = open(command, table)?;
    if command.buffer.is_some() {
        let effective = source.receive_buffer();
        eprintln!("NOTICE: Netlink socket buffer size has been set to {effective} bytes.");
    }
    let root = if table == Table::Expect { Root::Expect } else { Root::Conntrack };
    let mut watcher = Watcher {
        filter: Filter::new(command),
        screen: Screen::new(style(command), root, Frame::Stream),
        // The original's XML never names the program that caused an event.
        programs: (style(command).format != Format::Xml).then(Programs::default),
    };
    let grows = command.buffer.is_none();
    watcher.run(&mut source, &stop, grows)?;
    watcher.screen.end();
    watcher.screen.flush()?;
    let what = if root == Root::Expect { "expectation events" } else { "flow events" };
    summary(watcher.screen.shown, &format!("{what} have been shown"));
    let lost = source.account().lost;
    if lost > 0 {
        say(&format!(
            "{lost} events were lost: they came faster than they could be shown (try -b)."
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn open(command: &Command, table: Table) -> Result<Source, Failure> {
    let settings = source::Settings {
        choice: if table == Table::Expect { Choice::Netlink } else { Choice::Auto },
        buffer_bytes: Some(command.buffer.unwrap_or(BUFFER)),
        ring_bytes: RING,
        groups: groups(command, table),
        ..source::Settings::default()
    };
    match Source::open(&settings) {
        // Why there is no tap is of no interest here: the same is shown.
        Ok((source, _)) => Ok(source),
        Err(SourceError::Socket(error)) => Err(Failure::from(error)),
        Err(error) => Err(Failure::other(error)),
    }
}

fn groups(command: &Command, table: Table) -> u32 {
    let bit = |group: u32| 1 << (group - 1);
    if table == Table::Expect {
        return source::group::EXPECTATIONS;
    }
    let mask = command.events;
    let wanted = [
        (mask.is_none_or(|m| m.new), group::CONNTRACK_NEW),
        (mask.is_none_or(|m| m.updates), group::CONNTRACK_UPDATE),
        (mask.is_none_or(|m| m.destroy), group::CONNTRACK_DESTROY),
    ];
    wanted.iter().filter(|(is, _)| *is).fold(0, |bits, (_, group)| bits | bit(*group))
}

/// What is done with events.
struct Watcher<'a> {
    filter: Filter<'a>,
    screen: Screen<'a>,
    programs: Option<Programs>,
}

impl Watcher<'_> {
    /// Shows events until a signal comes.
    fn run(&mut self, source: &mut Source, stop: &OwnedFd, grows: bool) -> io::Result<()> {
        let (mut since, mut lost, mut armed) = (0, 0, false);
        loop {
            let taken = self.drain(source)?;
            since += taken;
            if since >= BUDGET || armed {
                since = 0;
                let lost_now = source.account().lost;
                if grows && lost_now > lost {
                    source.grow(BUFFER_MAX);
                }
                lost = lost_now;
                if wait_for_any(&[], stop, Some(Duration::ZERO)) {
                    return Ok(());
                }
            }
            if taken >= BUDGET {
                continue;
            }
            self.screen.flush()?;
            if taken > 0 {
                armed = false;
                std::thread::sleep(NAP);
            } else if !armed {
                // Records from before are drained before the thread sleeps.
                armed = true;
                source.arm();
            } else {
                if wait_for_any(&source.descriptors(), stop, None) {
                    return Ok(());
                }
                armed = false;
            }
        }
    }

    fn drain(&mut self, source: &mut Source) -> io::Result<usize> {
        let mut failed = Ok(());
        let taken = source.drain(BUDGET, &mut |heard, _| {
            // The hook, which has other news than messages, is never asked for.
            if let (Ok(()), Some(datagram)) = (&failed, heard.message()) {
                failed = self.show(datagram);
            }
        })?;
        failed.map(|()| taken)
    }

    fn show(&mut self, datagram: &[u8]) -> io::Result<()> {
        for raw in Messages::new(datagram).flatten() {
            let header = raw.header;
            let is_flow = header.subsystem() == subsystem::CTNETLINK;
            let made = flag::CREATE | if is_flow { flag::EXCL } else { 0 };
            let event = match () {
                () if header.message() == ct::DELETE => Change::Destroy,
                // Expectations are made without EXCL.
                () if header.has(made) => Change::New,
                () => Change::Update,
            };
            let filtered = is_flow && !self.filter.is_everything();
            let passes = |flow: FlowView<'_>| self.filter.passes(&flow);
            if filtered && !FlowView::parse(raw.payload).is_ok_and(passes) {
                continue;
            }
            // Only events of flows name the program that caused them.
            let portid = if is_flow { header.portid } else { 0 };
            let programs = self.programs.as_mut().filter(|_| portid != 0);
            let program = programs.and_then(|programs| programs.name(portid));
            let message = &datagram[raw.at..raw.at + HEADER_LEN + raw.payload.len()];
            self.screen.event(message, event, Origin { portid, program })?;
        }
        Ok(())
    }
}
