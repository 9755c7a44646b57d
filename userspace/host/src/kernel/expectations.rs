//! Reads the kernel's expectations, all at once: there are few.

use crate::exchange::dump::{Dump, Reading};
use ctnetlink::{Message, request};
use engine::Input;
use std::io;

/// Hands every expectation of the kernel to `sink`, and then that it was the last one.
pub(super) fn dump(sink: &mut impl FnMut(Input<'_>)) {
    let complete = read(sink).unwrap_or(false);
    sink(Input::ExpectationDumpDone { complete });
}

/// Whether nothing was skipped.
fn read(sink: &mut impl FnMut(Input<'_>)) -> io::Result<bool> {
    let mut dump = Dump::open(1)?;
    dump.begin(|w, seq| request::dump_expectations(w, seq, request::ANY_FAMILY))?;
    loop {
        let reading = dump.read(|message| {
            if let Message::Expect { expect, .. } = message {
                sink(Input::DumpedExpectation(Box::new(expect.to_expectation())));
            }
        })?;
        match reading {
            Reading::Some => {}
            // The next piece is made while the last one is read, so that nothing there means that nothing comes.
            Reading::Nothing => return Ok(false),
            Reading::Over(end) => return Ok(end.is_complete()),
        }
    }
}
