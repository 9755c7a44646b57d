//! Command lines of `nfct`, and the kernel's answers to it.

use host::nfnetlink::helper::HelperObject;
use host::nfnetlink::timeout::{NAME_BYTES_MAX, SECONDS_MAX, TimeoutPolicy};
use tools::nfct::parameters::{self, Action};
use tools::nfct::{print, words};

/// Words, one a line, are something to ask the kernel or an error, and what is asked fits a message.
///
/// # Panics
/// When one of these does not hold.
pub fn nfct(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let words: Vec<&str> = text.split('\n').collect();
    match words::split(&words).and_then(|line| parameters::parse(&line)) {
        Ok(Action::AddTimeout(policy) | Action::SetDefault(policy)) => {
            assert!(policy.name.len() <= NAME_BYTES_MAX);
            assert!(policy.seconds.values().all(|seconds| *seconds <= SECONDS_MAX));
        }
        Ok(_) => {}
        Err(failure) => assert!(!failure.to_string().is_empty()),
    }
}

/// Answers of the kernel to request number 1 are objects or errors, and objects can be shown: as JSON, a line each.
///
/// # Panics
/// When one of these does not hold.
pub fn policy(data: &[u8]) {
    if let Ok(list) = TimeoutPolicy::of_answer(data, 1) {
        shown(&list);
    }
    if let Ok(list) = HelperObject::of_answer(data, 1) {
        shown(&list);
    }
}

fn shown(list: &[impl print::Object]) {
    assert_eq!(print::all(list, true).lines().count(), list.len());
    assert!(print::all(list, false).lines().count() >= list.len());
}
