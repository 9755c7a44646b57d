//! journald's own protocol: a datagram of `NAME=value` lines for each record
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).

use super::record::{Record, Value};
use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// The socket on which journald listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";
/// The name under which journald lists the lines: `journalctl -t conntrackd`.
const IDENTIFIER: &str = "conntrackd";
/// Names device and inode of what is connected to the journal (systemd.exec(5)).
const STREAM: &str = "JOURNAL_STREAM";

/// The way to journald. It is asked for by its path each time, because it may restart.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journal {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path: path.to_owned() })
    }

    /// Sends a record. It fails where journald is gone or behind, and never waits.
    pub(super) fn send(&self, record: &Record) -> io::Result<()> {
        self.socket.send_to(&datagram(record), &self.path).map(drop)
    }
}

fn datagram(Record { level, code, text, fields }: &Record) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, "MESSAGE", text);
    put(&mut out, "PRIORITY", &level.priority().to_string());
    put(&mut out, "SYSLOG_IDENTIFIER", IDENTIFIER);
    put(&mut out, "SYSLOG_PID", &std::process::id().to_string());
    put(&mut out, "MESSAGE_ID", &format!("{:032x}", code.message_id()));
    put(&mut out, "CTFLOW_CODE", code.name());
    for (name, value) in fields {
        let name = format!("CTFLOW_{}", name.to_ascii_uppercase());
        match value {
            Value::Number(number) => put(&mut out, &name, &number.to_string()),
            Value::Text(text) => put(&mut out, &name, text),
        }
    }
    out
}

/// A value with a line end in it is preceded by its length: 64 bits, little-endian.
fn put(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value.as_bytes());
    out.push(b'\n');
}

/// Whether standard error is connected to the journal.
#[must_use]
pub fn is_stderr() -> bool {
    let found = std::fs::metadata("/proc/self/fd/2");
    std::env::var(STREAM).is_ok_and(|named| {
        found.is_ok_and(|found| {
            let mut own = String::new();
            let _ = write!(own, "{}:{}", found.dev(), found.ino());
            own == named
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::record::Code;
    use crate::log::{Form, Level, Log, Places};

    #[test]
    fn a_record_is_fields_and_a_text_of_several_lines_has_its_length_in_front() {
        let record = Record {
            level: Level::Warning,
            code: Code::TableFull,
            text: "a\nb".into(),
            fields: vec![("table", "internal".into()), ("limit", 5.into())],
        };
        let bytes = datagram(&record);
        let pid = std::process::id();
        let id = Code::TableFull.message_id();
        let rest = format!(
            "PRIORITY=4\nSYSLOG_IDENTIFIER=conntrackd\nSYSLOG_PID={pid}\nMESSAGE_ID={id:032x}\n\
             CTFLOW_CODE=table-full\nCTFLOW_TABLE=internal\nCTFLOW_LIMIT=5\n"
        );
        let wanted = [b"MESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n", rest.as_bytes()].concat();
        assert_eq!(bytes, wanted);
    }

    #[test]
    fn a_journal_gets_what_is_logged_and_one_that_is_gone_loses_lines_that_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        let places = Places { journal: Some(path.clone()), ..Places::default() };
        let log = Log::open(Form::Daemon, &places).unwrap();
        log.run_behind().unwrap();
        log.record(Level::Warning, Code::EventsLost, "gone", vec![("lost", 7.into())]);
        log.finish();
        let mut bytes = [0; 4096];
        let len = journald.recv(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes[..len]).into_owned();
        assert!(text.starts_with("MESSAGE=gone\nPRIORITY=4\n"), "{text}");
        assert!(text.contains("\nCTFLOW_CODE=events-lost\nCTFLOW_LOST=7\n"), "{text}");
        drop(journald);
        std::fs::remove_file(&path).unwrap();
        log.notice("nobody reads this");
        log.finish();
        assert_eq!(log.lost_total(), 1);
        // It comes back at the same path.
        let journald = UnixDatagram::bind(&path).unwrap();
        log.notice("back");
        log.finish();
        let len = journald.recv(&mut bytes).unwrap();
        assert!(bytes[..len].starts_with(b"MESSAGE=back\n"));
        assert_eq!(log.take_regained(), 1);
    }
}
