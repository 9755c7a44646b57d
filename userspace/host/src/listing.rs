//! The kernel's flows, for people: read beside the data plane, on the thread of whoever asks.

use crate::netlink::Socket;
use crate::sys::Batch;
use ctnetlink::request::{self, Selection, Source};
use ctnetlink::{Detail, Flow, Message, Messages, Writer};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::AsFd;
use rustix::time::Timespec;
use std::io;

/// The kernel fills dump buffers up to 32 KiB when the reader offers that much.
const DUMP_SLOT: usize = 32 << 10;
/// How long the kernel may take for the next piece. It has it ready, unless the machine is overwhelmed.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// Reads the kernel's flows and hands them to `sink` in pieces, until there are no more or it wants no more and
/// returns false. Blocks meanwhile.
///
/// # Errors
/// As `socket(2)`, `bind(2)`, `send(2)` and `recv(2)`, or what the kernel answers.
pub fn kernel_flows(mut sink: impl FnMut(Vec<Flow>) -> bool) -> io::Result<()> {
    let socket = Socket::for_requests()?;
    let mut bytes = [0; 256];
    let mut writer = Writer::new(&mut bytes);
    request::dump(&mut writer, 1, Source::Table, &Selection::default());
    let len = writer.finish().expect("a dump request is short");
    socket.send(&bytes[..len])?;
    let mut piece = Batch::new(1, DUMP_SLOT);
    loop {
        let mut fds = [PollFd::new(&socket, PollFlags::IN)];
        if poll(&mut fds, Some(&PATIENCE))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let got = piece.receive(socket.as_fd())?;
        let mut flows = Vec::new();
        let mut ended = false;
        for raw in (0..got).flat_map(|i| Messages::new(piece.datagram(i)).flatten()) {
            match ctnetlink::decode(&raw) {
                Ok(Message::Flow { flow, .. }) => flows.push(flow.to_flow(Detail::Full)),
                Ok(Message::Done(answer) | Message::Error(answer)) => match answer.errno {
                    0 => ended = true,
                    errno => return Err(io::Error::from_raw_os_error(errno)),
                },
                _ => {}
            }
        }
        if !sink(flows) || ended {
            return Ok(());
        }
    }
}
