//! When: the stamps in front of lines, and the age of flows.

use super::put::Put as _;
use super::{Occasion, Style};
use crate::print::SECOND_NS;
use crate::print::xml::When;
use host::sys;
use std::io::Write as _;

/// Seconds since 1970 as `ctime(3)` writes them, local time, without the newline.
pub(super) fn date(out: &mut Vec<u8>, at_ns: u64) {
    out.text(&sys::local_time((at_ns / SECOND_NS) as i64));
}

/// `[1795453073.075658]` and a tabulator, if the style wants it.
pub(super) fn stamp(out: &mut Vec<u8>, style: &Style<'_>, at_ns: u64) {
    if !style.timestamp {
        return;
    }
    out.push(b'[');
    out.number(at_ns / SECOND_NS);
    out.push(b'.');
    let micros = at_ns % SECOND_NS / 1000;
    let mut digits = *b"000000";
    for (i, digit) in digits.iter_mut().rev().enumerate() {
        *digit += (micros / 10_u64.pow(i as u32) % 10) as u8;
    }
    out.extend_from_slice(&digits);
    out.text("]\t");
}

/// When an event was: the kernel says it, or the clock does.
pub(super) fn of_event(event_ns: Option<u64>, occasion: &Occasion<'_>) -> u64 {
    event_ns.filter(|at_ns| *at_ns != 0).unwrap_or(occasion.now_ns)
}
/// Date and time of day, local.
pub(super) fn when(at_ns: u64) -> When {
    When::from_ctime(&sys::local_time((at_ns / SECOND_NS) as i64)).unwrap_or_default()
}

/// The stamp in front of expectations, where the original fills up with blanks behind the numbers.
pub(super) fn loose_stamp(out: &mut Vec<u8>, style: &Style<'_>, at_ns: u64) {
    if style.timestamp {
        let (seconds, micros) = (at_ns / SECOND_NS, at_ns % SECOND_NS / 1000);
        // Writing to memory cannot fail.
        let _ = write!(out, "[{seconds:<8}.{micros:<6}]\t");
    }
}
