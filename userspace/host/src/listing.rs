//! The kernel's flows, for people: read beside the data plane, on the caller's thread.

use crate::exchange::dump::{Dump, Reading};
use ctnetlink::request::{self, Selection, Source};
use ctnetlink::{Detail, Flow, Message};
use rustix::time::Timespec;
use std::io;

/// How long the kernel may take for the next piece. It has it ready, unless the machine is overwhelmed.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// Reads the kernel's flows and hands them to `sink` in pieces, until there are no more or it wants no more and
/// returns false. Blocks meanwhile.
///
/// # Errors
/// As `socket(2)`, `bind(2)`, `send(2)` and `recv(2)`, or what the kernel answers; `TimedOut` when it does not.
pub fn kernel_flows(mut sink: impl FnMut(Vec<Flow>) -> bool) -> io::Result<()> {
    let mut dump = Dump::open(1)?;
    dump.begin(|w, seq| request::dump(w, seq, Source::Table, &Selection::default()))?;
    loop {
        if !dump.wait(&PATIENCE)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut flows = Vec::new();
        let reading = dump.read(|message| {
            if let Message::Flow { flow, .. } = message {
                flows.push(flow.to_flow(Detail::Full));
            }
        })?;
        let wanted = sink(flows);
        match reading {
            Reading::Over(end) => return end.outcome(),
            Reading::Some | Reading::Nothing if wanted => {}
            Reading::Some | Reading::Nothing => return Ok(()),
        }
    }
}
