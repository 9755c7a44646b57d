//! Ours and Debian's `nfct`: the same command lines must end with the same exit code, the same output and the same
//! objects in the kernel.
//!
//! Helpers in user space are one list for the whole machine, so the programs do not run side by side: one works through
//! all command lines, then the other. A command line that prepares its table (`script.rs`) begins in a new namespace and
//! without helpers. The answers to `helper.txt` are others on a kernel without helpers in user space: its lines meet the
//! table `with` or `without`, and how they differ is recorded of such a kernel alone.

mod effect;

use crate::ledger;
use crate::lines::{Account, Subject, scripts};
use crate::script::Line;
use crate::side::Done;
use crate::twins::Pair;
use host::nfnetlink::Client;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tests::netns::Namespace;

const DIFFERENCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cli/nfct/differences.txt");
const THEIRS: &str = "/usr/sbin/nfct";

#[test]
fn command_lines_do_what_debians_nfct_does() {
    let only = std::env::var("CTFLOW_CLI").unwrap_or_default();
    let kernel = if has_helpers() { "with" } else { "without" };
    println!("cli: this kernel is {kernel} helpers in user space");
    let mut lines = scripts("nfct/lines");
    for line in lines.iter_mut().filter(|line| line.file() == "helper.txt") {
        kernel.clone_into(&mut line.table);
    }
    lines.retain(|line| line.text.contains(&only));
    let ours = work_through(&ours(), &lines);
    let theirs = work_through(Path::new(THEIRS), &lines);
    let mut known = ledger::read("nfct");
    for entry in &mut known {
        let is_met = |table: &str| !table.starts_with("with") || table == kernel;
        entry.kinds.retain(|kind| kind.table().is_none_or(is_met));
    }
    let subject: Subject = ("nfct", (kernel == "without").then_some(DIFFERENCES));
    let mut account = Account::new(subject, known);
    for (line, (ours, theirs)) in lines.iter().zip(ours.into_iter().zip(theirs)) {
        account.take(line, &Pair::new(ours, theirs));
    }
    account.check(only.is_empty());
}

fn ours() -> PathBuf {
    let folder = std::env::var("CTFLOW_BIN_DIR").expect("CTFLOW_BIN_DIR is set");
    Path::new(&folder).join("nfct")
}

fn work_through(program: &Path, lines: &[Line]) -> Vec<Done> {
    let mut namespace = Namespace::new();
    let mut done = Vec::new();
    for line in lines {
        if line.reset {
            // The reader of a slow machine's output sees that it goes on.
            println!("{}: {}", program.display(), line.place);
            namespace = Namespace::new();
            // Fails where there are no helpers.
            namespace.within(|| nfct(Path::new(THEIRS), &["flush", "helper"]));
        }
        let words = line.words();
        done.push(namespace.within(|| {
            let output = nfct(program, &words);
            Done {
                exit: output.status.code().unwrap_or(-1),
                stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
                table: objects(),
            }
        }));
    }
    done
}

fn nfct(program: &Path, words: &[impl AsRef<std::ffi::OsStr>]) -> Output {
    let mut command = Command::new(program);
    command.arg0("nfct").args(words).env("LC_ALL", "C").stdin(Stdio::null());
    command.output().unwrap_or_else(|e| panic!("{}: {e}", program.display()))
}

/// Whether the kernel has helpers in user space.
fn has_helpers() -> bool {
    Namespace::new().within(|| nfct(Path::new(THEIRS), &["list", "helper"]).status.success())
}

/// What the kernel holds for the calling thread's namespace: policies, helpers, default timeouts. Read in this process,
/// because a guest without hardware's help takes long to start a program.
fn objects() -> String {
    let mut client = Client::open().expect("netlink is there");
    let timeouts = client.timeouts().expect("the kernel shows its policies");
    // Fails where there are no helpers.
    let helpers = client.helpers().unwrap_or_default();
    let lines = timeouts.iter().map(|policy| format!("{policy:?}\n"));
    lines.chain(helpers.iter().map(|helper| format!("{helper:?}\n"))).collect::<String>()
        + &defaults()
}

/// The defaults of the calling thread's namespace.
fn defaults() -> String {
    let folder = "/proc/sys/net/netfilter";
    let entries = fs::read_dir(folder).expect("conntrack is there");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut lines: Vec<_> = names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.contains("timeout"))
        .map(|name| {
            let value = fs::read_to_string(format!("{folder}/{name}")).unwrap_or_default();
            format!("{name}={value}")
        })
        .collect();
    lines.sort();
    lines.concat()
}
