//! Shows what happens, as it happens.

use super::{Outcome, style};
use crate::conntrack::command::Command;
use crate::conntrack::definition::Table;
use crate::conntrack::failure::{Failure, NAME};
use crate::conntrack::filter::Filter;
use crate::conntrack::screen::{Frame, Screen, summary};
use crate::print::conntrack::{Event, Root};
use host::netlink::{Socket, set_receive_buffer};
use host::sys::{Batch, stop_signals};
use host::table::wait_for_either;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use wire::netlink::frame::HEADER_LEN;
use wire::netlink::uapi::{ct, flag, group, subsystem};
use wire::netlink::{FlowView, Messages};

/// Unless `-b` says otherwise: a burst of 100,000 events, where the kernel lets us.
const BUFFER: usize = 128 << 20;
/// Events are a few hundred bytes, one a datagram.
const SLOT: usize = 4096;
const SLOTS: usize = 256;

/// `-E`
pub(super) fn watch(command: &Command, table: Table) -> Outcome {
    let stop = stop_signals()?;
    let wanted = command.buffer.unwrap_or(BUFFER);
    let socket = Socket::open(groups(command, table), |fd| set_receive_buffer(fd, wanted))?;
    if command.buffer.is_some() {
        let effective = socket.receive_buffer();
        eprintln!("NOTICE: Netlink socket buffer size has been set to {effective} bytes.");
    }
    let root = if table == Table::Expect { Root::Expect } else { Root::Conntrack };
    let mut screen = Screen::new(style(command), root, Frame::Stream);
    let filter = Filter::new(command);
    let mut batch = Batch::new(SLOTS, SLOT);
    let mut overruns = 0_u64;
    let mut failed = None;
    while failed.is_none() {
        match batch.receive(socket.as_fd()) {
            Ok(0) => {
                if let Err(error) = screen.flush() {
                    failed = Some(error);
                } else if wait_for_either(&socket, &stop) {
                    break;
                }
            }
            Ok(count) => {
                let shown =
                    (0..count).try_for_each(|i| show(batch.datagram(i), &filter, &mut screen));
                failed = shown.err();
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => overruns += 1,
            Err(error) => failed = Some(error),
        }
    }
    if let Some(error) = failed {
        return Err(Failure::from(error));
    }
    screen.end()?;
    let what = if root == Root::Expect { "expectation events" } else { "flow events" };
    summary(screen.shown, &format!("{what} have been shown"));
    if overruns > 0 {
        let lost = socket.drops();
        eprintln!(
            "{NAME}: {lost} events were lost: they came faster than they could be shown (try -b)."
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn groups(command: &Command, table: Table) -> u32 {
    let bit = |group: u32| 1 << (group - 1);
    if table == Table::Expect {
        return bit(group::CONNTRACK_EXP_NEW)
            | bit(group::CONNTRACK_EXP_UPDATE)
            | bit(group::CONNTRACK_EXP_DESTROY);
    }
    let mask = command.events;
    let wanted = [
        (mask.is_none_or(|m| m.new), group::CONNTRACK_NEW),
        (mask.is_none_or(|m| m.updates), group::CONNTRACK_UPDATE),
        (mask.is_none_or(|m| m.destroy), group::CONNTRACK_DESTROY),
    ];
    wanted.iter().filter(|(is, _)| *is).fold(0, |bits, (_, group)| bits | bit(*group))
}

fn show(datagram: &[u8], filter: &Filter<'_>, screen: &mut Screen<'_>) -> io::Result<()> {
    for raw in Messages::new(datagram).flatten() {
        let header = raw.header;
        let event = match (header.message() == ct::DELETE, header.has(flag::CREATE | flag::EXCL)) {
            (true, _) => Event::Destroy,
            (false, true) => Event::New,
            // Expectations are made without EXCL.
            (false, false)
                if header.subsystem() == subsystem::CTNETLINK_EXP && header.has(flag::CREATE) =>
            {
                Event::New
            }
            (false, false) => Event::Update,
        };
        let message = &datagram[raw.at..raw.at + HEADER_LEN + raw.payload.len()];
        let is_flow = header.subsystem() == subsystem::CTNETLINK && !filter.is_everything();
        let meant = !is_flow || FlowView::parse(raw.payload).is_ok_and(|flow| filter.passes(&flow));
        if meant {
            // Who caused it is told of flows alone.
            let is_flow = header.subsystem() == subsystem::CTNETLINK;
            screen.event(message, event, if is_flow { header.portid } else { 0 })?;
        }
    }
    Ok(())
}
