//! A client of the daemon's feed (`docs/spec/feed.md`): where its socket is, and what comes out of it.
//!
//! ```text
//!   bytes --piece--> records of a shard            (binary)
//!                    a control line: hello, snapshot, live, gap, tick, error ..
//! ```

use super::outcome::Fault;
use crate::conf;
use serde_json::Value;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use wire::feed::{FRAME_LEN, Frame, unframe};

/// Bytes read at once.
pub const READ_LEN: usize = 64 << 10;
/// The longest frame that is believed.
const FRAME_MAX: usize = 64 << 20;

/// What comes out of the feed in binary.
#[derive(Debug, PartialEq)]
pub enum Piece<'a> {
    /// A control line.
    Control(Value),
    /// Records of a shard, one behind the other.
    Records(u16, &'a [u8]),
}

/// The feed's socket that a configuration names.
///
/// # Errors
/// When the configuration cannot be read, or names none.
pub fn socket(path: &Path) -> Result<PathBuf, Fault> {
    let text = conf::text(path)?;
    let name = path.display();
    let Ok((conf, _)) = conf::parse(&text, &name.to_string()) else {
        let why = "not a valid configuration (conntrackd --check says why)";
        return Err(Fault::usage(format_args!("{name}: {why}")));
    };
    conf.subscribe.map(|subscribe| subscribe.path).ok_or_else(|| {
        Fault::usage(format_args!(
            "{name}: the configuration has no `Subscribe` block, so the daemon has no feed: add `Subscribe {{ }}` \
             and reload it (kill -HUP)"
        ))
    })
}

/// Connects to a feed.
///
/// # Errors
/// Why that is not possible, and what helps.
pub fn connect(path: &Path) -> Result<UnixStream, Fault> {
    let name = path.display();
    UnixStream::connect(path).map_err(|error| {
        let help = match error.kind() {
            ErrorKind::PermissionDenied => {
                "you are not in the group that may read it: `Group` of `Subscribe`; usermod -aG ctflow USER, and log \
                 in again"
            }
            ErrorKind::NotFound => {
                "no daemon serves a feed there: is conntrackd running, and was it reloaded since `Subscribe` was added?"
            }
            ErrorKind::ConnectionRefused => "no daemon answers there: is conntrackd running?",
            _ => return Fault::usage(format_args!("cannot connect to the feed at {name}: {error}")),
        };
        Fault::usage(format_args!("cannot connect to the feed at {name}: {error}\nhelp: {help}"))
    })
}

/// The daemon has ended the connection.
#[must_use]
pub fn gone(path: &Path) -> Fault {
    Fault::usage(format_args!("the daemon has closed the feed at {}", path.display()))
}

/// The first piece of what was read, and how long it is; `None` while it is not whole.
///
/// # Errors
/// When the bytes are no feed of this version.
pub fn piece(bytes: &[u8]) -> Result<Option<(Piece<'_>, usize)>, Fault> {
    // An error comes as a line, whatever the format.
    if bytes.starts_with(b"{") {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let value = serde_json::from_slice(&bytes[..end]).unwrap_or_default();
        return Ok(Some((Piece::Control(value), end + 1)));
    }
    let Some((header, rest)) = bytes.split_first_chunk::<FRAME_LEN>() else { return Ok(None) };
    let foreign = || Fault::usage("what answers is no feed of this version");
    let (kind, shard, len) = unframe(*header).ok_or_else(foreign)?;
    let len = len as usize;
    if len > FRAME_MAX {
        return Err(foreign());
    }
    let Some(body) = rest.get(..len) else { return Ok(None) };
    let piece = match kind {
        Frame::Control => Piece::Control(serde_json::from_slice(body).unwrap_or_default()),
        Frame::Records => Piece::Records(shard, body),
    };
    Ok(Some((piece, FRAME_LEN + len)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use wire::feed::frame;

    #[test]
    fn pieces_are_handed_out_whole_and_in_order() {
        let line = br#"{"control":"live"}"#;
        let mut bytes = frame(Frame::Control, 0, line.len() as u32).to_vec();
        bytes.extend_from_slice(line);
        let first = bytes.len();
        bytes.extend_from_slice(&frame(Frame::Records, 3, 2));
        bytes.extend_from_slice(b"ab{\"control\":\"error\"}\n");
        for cut in 0..first {
            assert_eq!(piece(&bytes[..cut]).unwrap(), None, "{cut}");
        }
        let control = |word: &str| Piece::Control(json!({ "control": word }));
        assert_eq!(piece(&bytes).unwrap(), Some((control("live"), first)));
        let rest = &bytes[first..];
        assert_eq!(piece(rest).unwrap(), Some((Piece::Records(3, b"ab"), FRAME_LEN + 2)));
        let rest = &rest[FRAME_LEN + 2..];
        assert_eq!(piece(&rest[..5]).unwrap(), None);
        assert_eq!(piece(rest).unwrap(), Some((control("error"), rest.len())));
    }

    #[test]
    fn what_is_no_feed_is_refused() {
        assert!(piece(b"HTTP/1.1 400 Bad Request").is_err());
        assert!(piece(&frame(Frame::Records, 0, u32::MAX)).is_err(), "too long to be believed");
    }
}
