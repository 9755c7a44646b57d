//! What disciplines the system's clock.

use super::check;
use std::io;
use std::mem::zeroed;

/// Whether something keeps the clock in step with the world's: an NTP daemon that has reached its servers, for one
/// (`STA_UNSYNC` of adjtimex(2) is not set). Nothing is changed.
///
/// # Errors
/// As `adjtimex(2)`, which takes no right as long as nothing is changed.
pub fn is_synchronised() -> io::Result<bool> {
    // SAFETY: `timex` is plain data; `modes` is 0, so the kernel only fills it in.
    let (state, times) = unsafe {
        let mut times: libc::timex = zeroed();
        (check(libc::adjtimex(&raw mut times))?, times)
    };
    Ok(state != libc::TIME_ERROR && times.status & libc::STA_UNSYNC == 0)
}
