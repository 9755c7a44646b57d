//! What an error of the system is called.

use std::io;

/// The system's text for an error, without the number that Rust appends, as the original's messages show it.
#[must_use]
pub fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
