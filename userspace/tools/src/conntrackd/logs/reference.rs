//! The codes of the log as a document.

use host::log::record::Code;
use std::fmt::Write;

const PREAMBLE: &str = "\
# The log of conntrackd

Generated from the codes (`userspace/host/src/log/record.rs`); change them there and run
`UPDATE=1 cargo test -p ctflow-tools reference`.

A line of the daemon's own log is a record first: a level, a code, a text and fields. `Log { Format plain }`, the
default, writes level and text as conntrack-tools does. `Format json` writes an object a line, in the file and on the
terminal:

    {\"ts\":\"2026-11-28T14:03:27.123456Z\",\"level\":\"warning\",\"code\":\"events-lost\",
     \"msg\":\"...\",\"lost\":7,\"source\":\"tap\"}

`ts` is UTC; `level` is `info`, `notice`, `warning` or `error`. journald (`Log { Journal }`) gets `MESSAGE`, `PRIORITY`,
`SYSLOG_IDENTIFIER=conntrackd`, `MESSAGE_ID`, `CTFLOW_CODE`, and each field as `CTFLOW_` and its name in capitals:

    journalctl CTFLOW_CODE=events-lost
    journalctl MESSAGE_ID=MESSAGE_ID_HERE -o json

A code keeps its name, its id and the meaning of its fields. The text may change, and new fields may come. Numbers are
decimal; names that end in `_s`, `_ms` or `_us` are times. A journal that does not listen or is behind loses lines,
which are counted (code `lines-lost`); the daemon never waits for it.

## Codes
";

/// The document.
#[must_use]
pub fn markdown() -> String {
    let id = format!("{:032x}", Code::EventsLost.message_id());
    let mut out = PREAMBLE.replace("MESSAGE_ID_HERE", &id);
    out.push_str("\n| code | fields | meaning | MESSAGE_ID |\n|---|---|---|---|\n");
    for code in Code::ALL {
        let fields: Vec<_> = code.fields().iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | `{:032x}` |",
            code.name(),
            fields.join(", "),
            code.meaning(),
            code.message_id()
        );
    }
    out
}
