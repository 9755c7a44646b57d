//! Reads the kernel's expectations, all at once: there are few.

use crate::netlink::Socket;
use crate::sys::Batch;
use ctnetlink::{Message, Messages, Writer, request};
use engine::Input;
use rustix::fd::AsFd;
use std::io;

/// The kernel fills dump buffers up to 32 KiB when the reader offers that much.
const DUMP_SLOT: usize = 32 << 10;

/// Hands every expectation of the kernel to `sink`, and then that it was the last one.
pub(super) fn dump(sink: &mut impl FnMut(Input<'_>)) {
    let complete = read(sink).unwrap_or(false);
    sink(Input::ExpectationDumpDone { complete });
}

/// Whether nothing was skipped.
fn read(sink: &mut impl FnMut(Input<'_>)) -> io::Result<bool> {
    let socket = Socket::for_requests()?;
    let mut bytes = [0; 64];
    let mut writer = Writer::new(&mut bytes);
    request::dump_expectations(&mut writer, 1, request::ANY_FAMILY);
    let len = writer.finish().expect("a dump request is short");
    socket.send(&bytes[..len])?;
    let mut piece = Batch::new(1, DUMP_SLOT);
    let mut torn = false;
    loop {
        // The next piece is made while the last one is read, so that nothing there means that nothing comes.
        let got = piece.receive(socket.as_fd())?;
        if got == 0 {
            return Ok(false);
        }
        for raw in (0..got).flat_map(|i| Messages::new(piece.datagram(i)).flatten()) {
            torn |= raw.header.has(ctnetlink::uapi::flag::DUMP_INTR);
            match ctnetlink::decode(&raw) {
                Ok(Message::Expect { expect, .. }) => {
                    sink(Input::DumpedExpectation(Box::new(expect.to_expectation())));
                }
                Ok(Message::Done(answer) | Message::Error(answer)) => {
                    return Ok(answer.errno == 0 && !torn);
                }
                Ok(_) => {}
                Err(_) => torn = true,
            }
        }
    }
}
