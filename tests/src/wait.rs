//! Waiting for what must come true, without sleeping for longer than it takes.

use std::fmt::Debug;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long anything may take. It is so long that only a hang reaches it, on a loaded machine too.
pub const PATIENCE: Duration = Duration::from_secs(30);
const STEP_MIN: Duration = Duration::from_millis(2);
const STEP_MAX: Duration = Duration::from_millis(50);

/// Waits until `now` gives a value.
///
/// # Panics
/// When it does not within [`PATIENCE`], with the text that `tell` makes of the last error.
pub fn wait_or_tell<T, E>(mut now: impl FnMut() -> Result<T, E>, tell: impl Fn(E) -> String) -> T {
    let end = Instant::now() + PATIENCE;
    let mut step = STEP_MIN;
    loop {
        match now() {
            Ok(value) => return value,
            Err(last) => assert!(Instant::now() < end, "{}", tell(last)),
        }
        sleep(step);
        step = (step * 2).min(STEP_MAX);
    }
}

/// Waits until `now` gives something.
///
/// # Panics
/// When it does not within [`PATIENCE`]; `what` says what was waited for.
pub fn wait_for<T>(what: &str, mut now: impl FnMut() -> Option<T>) -> T {
    wait_or_tell(|| now().ok_or(()), |()| format!("this did not come true: {what}"))
}

/// Waits until `now` holds.
///
/// # Panics
/// When it does not within [`PATIENCE`].
pub fn wait_until(what: &str, mut now: impl FnMut() -> bool) {
    wait_for(what, || now().then_some(()));
}

/// Waits until `left` and `right` give the same.
///
/// # Panics
/// When they do not within [`PATIENCE`]; shows the last pair.
pub fn wait_equal<T: PartialEq + Debug>(
    what: &str,
    mut left: impl FnMut() -> T,
    mut right: impl FnMut() -> T,
) -> T {
    let pair = || {
        let (l, r) = (left(), right());
        if l == r { Ok(l) } else { Err((l, r)) }
    };
    wait_or_tell(pair, |(l, r)| format!("never became equal: {what}\n left: {l:#?}\nright: {r:#?}"))
}

/// So much work, or a tenth of it where `CTFLOW_SLOW` says that the machine is an emulated one.
#[must_use]
pub fn scaled(work: u32) -> u32 {
    if std::env::var_os("CTFLOW_SLOW").is_some() { work / 10 } else { work }
}
