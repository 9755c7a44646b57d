//! Reading a configuration from a file.

use crate::conf::{Conf, parse};
use anyhow::{Context, Result};
use host::files;
use std::path::Path;

/// The longest configuration file, bytes.
const LEN_MAX: u64 = 16 << 20;

/// The text of the file. Bytes that are no UTF-8 become U+FFFD, which is an error outside of
/// comments.
///
/// # Errors
/// When it cannot be read, or is longer than 16 MiB.
pub fn text(path: &Path) -> Result<String> {
    let bytes = files::read(path, LEN_MAX)
        .with_context(|| format!("cannot read the configuration {}", path.display()))?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// The configuration in the file, and a line for each warning.
///
/// # Errors
/// A line for each thing that is wrong with it.
pub fn read(path: &Path) -> Result<(Conf, Vec<String>), Vec<String>> {
    let text = text(path).map_err(|error| vec![format!("{error:#}")])?;
    match parse(&text, &path.display().to_string()) {
        Ok((conf, found)) => Ok((conf, found.lines())),
        Err(found) => Err(found.lines()),
    }
}
