//! The language as a document. Keywords, arguments and ranges come from the schema that the parser reads, defaults from
//! the model that it fills.

use crate::conf::schema::{Block, Body, Keyword, Kind};
use std::fmt::Write;

const PREAMBLE: &str = "\
# The language of conntrackd.conf

Generated from the keyword table (`userspace/tools/src/conf/schema/table.rs`); change it there and run
`UPDATE=1 cargo test -p ctflow-tools reference`.

## Grammar

1. The text is a sequence of words and braces. Blank space and line ends separate words and mean nothing else.
2. `#` begins a comment that lasts to the end of the line. It does not inside a word that begins with `/`.
3. A word ends at blank space, at a brace, at `#` (see 2) and at `\"`. A word in double quotes may hold anything but a
   line end; `\\\"` stands for `\"` and `\\\\` for `\\`. Quotes are not known to conntrack-tools.
4. Keywords are written in the case shown here. `on`, `yes`, `off`, `no` and the names of modes may be written in any
   case.
5. What a word means depends on the place only: `fa0` is an interface name after `Interface`.
6. A setting given twice in a block holds the last time, with a warning. A block given twice is an error, except where
   it says \"may be repeated\".
7. Numbers are decimal and without sign unless stated otherwise. A number out of its range is an error.
8. Exactly one of `Sync` and `Stats` makes sense; neither means `Stats`, or with `Helper` that only helpers are served;
   both is an error.
9. The file has at most 16 MiB. Outside of comments it is UTF-8. Of errors and warnings the first 20 are shown, and the
   others counted.

## What the check finds

`conntrackd --check` refuses what a start refuses: settings, and what lies at the paths they name. It notes, with exit
code 0, an interface or an address of a link that does not exist at the moment. It does not look whether a daemon runs,
whether a port is free, or what the kernel can do; except that it notes a kernel without helpers in user space, if the
file names any.

## What a reload does

On SIGHUP the daemon opens its log files again, reads the file again and applies all of it. A file that is not valid,
is empty, or names an interface or an address that does not exist changes nothing; the log says why, and so does the
status that systemd shows.

These change while the engine runs, and no event is lost: `LogFile`, `Syslog`, `Filter`, `CommitTimeout`,
`PurgeTimeout`, `NetlinkBufferSizeMaxGrowth`, `NetlinkOverrunResync`, `EventIterationLimit`, `EventLatency`,
`Scheduler`, `LockFile`, `UNIX`, `Systemd`, `Metrics`, `Log`, and in `Replication` `KeyFile`, and `PublicKey`,
`Address`, `Port` and `Rate` of the same peers in the same order. The log names what changed so. Keys are read again
with every reload: a session of a key that is gone ends at once, all others go on.

Every other change restarts the engine inside the process: links, peers that are added or taken out, everything
else in `Replication`, `Mode`, `Options`, `Sync` in place of `Stats`,
`HashLimit`, `EventSource`, `NetlinkBufferSize`, `NetlinkEventsReliable`, `PollSecs`, `Shards`, a first
`MinimumAge`, and whether `Stats` logs at all. It reads the kernel's
table again, asks the peer for its flows and sends it this node's. Until the answer has come, the flows of the peer are
unknown, and a commit writes none of them. Requests that are under way, a commit for one, are waited for; clients that
come meanwhile wait. In statistics mode, a flow that ends in that moment has no line. If the engine does not start with
the new settings, it is started with the old ones, and the log says so.

A changed `Subscribe` restarts the thread of the feed: its clients get a goodbye and connect again. While
it does not change they stay, whatever else does; where the engine restarts, they get a notice and a new
snapshot.

A changed `Helper` restarts the thread that serves helpers, and nothing else; what it does not name any more
stays as it is in the kernel, or is disabled (`HelperDisableOnExit`). If the kernel refuses it, the old one is served
again.

`HashSize` is room made when an engine starts; a change of it alone takes effect with the next engine, and the log says
so.

`Failures` is taken once, at the start of the daemon, and so is what the daemon refuses itself by seccomp
(`host/src/confine.rs`).

Where the kernel has landlock, the daemon reaches the directories of the files that the configuration named at the
start, its own among them, and what the system's libraries read; nothing else, whatever its user may do. One line of the
log names them. In those directories files are renamed, replaced and named anew as ever. A reload that names a file
elsewhere is refused with keyword, line and column, and the daemon goes on; such a file needs a restart. Names of hosts
(`Address`) and services (`Class`) may come into a file that had none only with a restart, too: all of `/etc` is
readable where there are any. Without landlock (before 5.13, or not in the kernel's list), one line of the log says so.

`User` and `Group` are taken once, at the start of the daemon: a change of them needs a restart, and the log says so. A
daemon that has become another user can load no eBPF programs any more: a new engine goes on with the tap or the hook
that is open, and a change that would need another one (`EventSource`, `NetlinkBufferSize`, `NetlinkEventsReliable`,
a first `MinimumAge`, `Stats` in place of `Sync` where that changes which
events are received) is refused. It may not read root's key files again either:
keys that it has read stay in force, with a warning, and a file that is named for the first time is refused. To
change keys without a restart, give the files to that user (`chown ctflow`, mode 0600).

";

/// The text of `docs/spec/conf.md`.
#[must_use]
pub fn markdown() -> String {
    let mut out = PREAMBLE.to_owned();
    for block in Block::ALL {
        let _ = writeln!(out, "## Keywords of {}\n", block.title());
        for keyword in block.keywords() {
            entry(&mut out, keyword);
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn entry(out: &mut String, keyword: &Keyword) {
    let _ = write!(out, "- `{}`", synopsis(keyword));
    for alias in keyword.aliases {
        let _ = write!(out, ", also `{alias}`");
    }
    if keyword.repeats {
        out.push_str(", may be repeated");
    }
    if let Some(default) = keyword.default.text() {
        let _ = write!(out, " (default: {default})");
    }
    let _ = write!(out, "<br>\n  {}", keyword.doc);
    if let Some(on) = keyword.on {
        let _ = write!(out, " `on` means `{}`.", on());
    }
    out.push('\n');
    if let Some(why) = keyword.deprecated {
        let _ = writeln!(out, "  **Deprecated:** {why}.");
    }
    if let Some(range) = keyword.params().find_map(|param| range(param.kind)) {
        let _ = writeln!(out, "  {range}");
    }
}

fn synopsis(keyword: &Keyword) -> String {
    let mut out = keyword.name.to_owned();
    for param in keyword.params() {
        let lead = param.lead.map(|lead| format!("{lead} ")).unwrap_or_default();
        let arg = format!("{lead}{}", param.kind.placeholder());
        let _ = if param.optional { write!(out, " [{arg}]") } else { write!(out, " {arg}") };
    }
    match keyword.body {
        Body::None => {}
        Body::Block(_) | Body::ByChoice(_) => out.push_str(" { ... }"),
        Body::ListInstead(item) => {
            let _ = write!(out, "|{{ {}... }}", item.placeholder());
        }
        Body::List { item, trailer: [] } => {
            let _ = write!(out, " {{ {}... }}", item.placeholder());
        }
        Body::List { trailer, .. } => {
            let _ = write!(out, " {{ STATE... {} }}", trailer.join(" "));
        }
    }
    out
}

/// What the placeholder does not say.
fn range(kind: Kind) -> Option<String> {
    match kind {
        Kind::Number { min: 0, max: u32::MAX } => None,
        Kind::Number { min, max: u32::MAX } => Some(format!("At least {min}.")),
        Kind::Number { min, max } => Some(format!("From {min} to {max}.")),
        Kind::Path(max) => Some(format!("At most {max} bytes.")),
        Kind::OneOf(kinds) => kinds.iter().find_map(|kind| range(*kind)),
        _ => None,
    }
}
