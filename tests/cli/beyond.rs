//! What only ours can do.

use crate::script;
use crate::side::Side;
use crate::twins::Twins;
use ctnetlink::flow::{Known, Status};
use ctnetlink::request::{self, Selection};
use ctnetlink::{Flow, Tuple};
use host::table::Table;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use tests::ctnetlink::Requests;
use tests::wait::wait_for;

/// A side of ours with the flows of `tables/flows.txt`.
fn ours() -> Side {
    let ours = Twins::new().ours;
    ours.prepare("flows");
    ours
}

fn count(side: &Side) -> usize {
    side.table().lines().filter(|line| line.starts_with("-t ")).count()
}

#[test]
fn flows_that_fit_a_line_of_a_file_are_deleted_in_one_pass() {
    let side = ours();
    let before = count(&side);
    let lines =
        "# HTTP of one host, and all of DNS\n-s 10.0.0.1 -p tcp --dport 80\n\n-p udp --dport 53\n";
    let dry = side.output("-D --dry-run --from-file -", lines);
    assert!(dry.stderr.contains("would be deleted"), "{}", dry.stderr);
    assert_eq!(count(&side), before);
    let done = side.output("-D --from-file -", lines);
    let fits = |line: &&str| {
        line.contains("dport=53 ") || (line.contains("src=10.0.0.1 ") && line.contains("dport=80 "))
    };
    let deleted = done.stdout.lines().count();
    assert!(deleted > 3 && done.stdout.lines().all(|line| fits(&line)), "{}", done.stdout);
    assert_eq!((done.exit, before - count(&side)), (0, deleted));
    assert!(done.stderr.contains(&format!(": {deleted} flow entries have been deleted.")));
    // Nothing of it is left, and a file without lines means no flow.
    assert_eq!(side.output("-D --from-file -", lines).exit, 1);
    assert_eq!(side.output("-D --from-file -", "# none\n").exit, 1);
    assert_eq!(before - count(&side), deleted);
}

#[test]
fn flows_that_fit_a_line_of_a_file_are_updated_as_the_line_says() {
    let side = ours();
    let lines = "-p tcp --dport 443 -m 7\n-p tcp\n-s 10.0.0.1 -m 9\n";
    let done = side.output("-U -m 3 --from-file -", lines);
    assert_eq!(done.exit, 0, "{}", done.stderr);
    let marks = |mark: &str| done.stdout.lines().filter(|l| l.contains(mark)).collect::<Vec<_>>();
    assert!(!marks(" mark=7 ").is_empty() && !marks(" mark=3 ").is_empty());
    assert!(marks(" mark=7 ").iter().all(|line| line.contains("dport=443 ")));
    assert!(marks(" mark=3 ").iter().all(|line| line.starts_with("tcp ")));
}

#[test]
fn lines_that_are_wrong_or_fit_everything_change_nothing() {
    let side = ours();
    let before = count(&side);
    for (lines, why) in [
        ("-p udp\n-p tcp --dport 70000\n", "line 2: Invalid value `70000' for `--dport'"),
        ("-p udp\n-o xml\n", "line 2: it fits every flow"),
        ("-p udp\n-t\n", "line 2: option `-t' requires an argument"),
    ] {
        let done = side.output("-D --from-file -", lines);
        assert!(done.exit == 2 && done.stderr.contains(why), "{}", done.stderr);
    }
    let done = side.output("-R -", "-D --from-file x\n");
    assert!(done.stderr.contains("Cannot use `--from-file' with --load-file"), "{}", done.stderr);
    assert_eq!(count(&side), before);
}

/// In a file, the lines behind one that fails have not taken effect, even those of the same batch.
#[test]
fn what_stands_behind_a_line_that_failed_is_not_there() {
    let side = ours();
    side.prepare("empty");
    let line =
        |port: u16| format!("-I -p udp -s 10.1.1.1 -d 10.1.1.2 --sport {port} --dport 53 -t 600\n");
    let done = side.output("-R -", &(line(1) + &line(2) + &line(1) + &line(3)));
    assert!(done.exit == 1 && done.stderr.contains("Such conntrack exists"), "{}", done.stderr);
    assert_eq!(count(&side), 2, "{}", side.table());
}

/// The line is named, nothing takes effect, from a file and through a pipe, and an endless line is not read to its end.
#[test]
fn a_line_that_is_no_text_is_named_and_nothing_of_the_file_takes_effect() {
    let side = ours();
    side.prepare("empty");
    let good = b"-I -p udp -s 10.1.1.1 -d 10.1.1.2 --sport 1 --dport 53 -t 600\n".as_slice();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lines");
    let path = path.to_str().expect("temporary files have plain names");
    let shell = |text: &str| {
        let output =
            side.within(|| Command::new("sh").args(["-c", text]).output().expect("sh starts"));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let program = side.program();
    for (bad, why) in [
        (b"-I -p \xff\xfe\n".as_slice(), "line 2: it is not text (UTF-8)"),
        (b"-I -p udp\0 -s 10.1.0.1\n", "line 2: there is a NUL in it"),
        (&[b'x'; 1 << 20], "line 2: it is too long"),
    ] {
        fs::write(path, [good, bad].concat()).expect("a file can be written");
        let piped = format!("cat {path} | {program} -R -");
        for said in [shell(&format!("{program} -R {path}")), shell(&piped)] {
            assert!(said.contains(why), "{said}");
            assert_eq!(count(&side), 0);
        }
    }
    fs::write(path, good).expect("a file can be written");
    let endless = format!("(cat {path}; cat /dev/zero) | {program} -R -");
    assert!(shell(&endless).contains("line 2: it is too long"));
    assert_eq!(count(&side), 0);
}

/// What comes through a pipe comes once, and is still checked before it takes effect.
#[test]
fn a_file_may_be_a_pipe() {
    let side = ours();
    side.prepare("empty");
    let line = "-I -p udp -s 10.1.1.1 -d 10.1.1.2 --sport 1 --dport 53 -t 600";
    let shell = |text: &str| {
        let text = format!("printf '%b' '{text}' | {} -R /dev/stdin", side.program());
        side.within(|| Command::new("sh").args(["-c", &text]).output().expect("sh starts"))
    };
    assert!(!shell(&format!("{line}\\n-L\\n")).status.success());
    assert_eq!(count(&side), 0);
    assert!(shell(&format!("{line}\\n")).status.success());
    assert_eq!(count(&side), 1);
}

/// Defect 20 of the original: it looks for IPv4 addresses alone.
#[test]
fn translated_addresses_are_looked_for_in_both_families() {
    let side = ours();
    side.prepare("empty");
    let port =
        |n: u16| format!("-p udp -s 2001:db8::1 -d 2001:db8::2 --sport {n} --dport 53 -t 600");
    for line in [format!("{} --src-nat 2001:db8::9", port(1)), port(2)] {
        let done = side.output(&format!("-I {line}"), "");
        assert_eq!(done.exit, 0, "{}", done.stderr);
    }
    let shown = |filter: &str| {
        let done = side.output(&format!("-L -f ipv6 {filter}"), "");
        done.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(shown("").len(), 2);
    for filter in ["-n", "-n 2001:db8::9", "-j"] {
        let lines = shown(filter);
        assert!(lines.len() == 1 && lines[0].contains("sport=1 "), "{filter}: {lines:?}");
    }
    assert!(shown("-n 2001:db8::8").is_empty() && shown("-g").is_empty());
}

/// Defect: `-b` enlarges the buffer of a socket that receives no events.
#[test]
fn a_buffer_size_is_that_of_the_socket_that_events_come_from() {
    let side = ours();
    let mut child = side.listening(&script::words("-E -b 1000000"));
    let shown = side.ss();
    side.interrupt(&mut child);
    // The kernel accounts for twice what is asked for.
    assert!(shown.contains(",rb2000000,"), "{shown}");
}

/// More than rings and socket hold, while the reader stands still: it goes on, and what it shows and what it says it
/// has lost are all there was.
#[test]
fn events_that_are_lost_are_counted_and_told_at_the_end() {
    const FLOWS: u32 = 60_000;
    let side = ours();
    side.prepare("empty");
    let mut child = side.listening(&script::words("-E -e NEW -b 4096"));
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::STOP).expect("it is our child");
    let flow = |n: u32| {
        let [_, _, c, d] = n.to_be_bytes();
        let orig = Tuple::v4([10, 1, c, d], [10, 2, 0, 1], 17).with_ports(1, 53);
        Flow {
            reply: orig.inverted(),
            timeout_s: 600,
            known: Known::TIMEOUT | Known::STATUS,
            status: Status::CONFIRMED,
            ..Flow::new(orig)
        }
    };
    let flows: Vec<_> = (0..FLOWS).map(flow).collect();
    Requests::open(side.namespace()).create(&flows);
    kill_process(pid, Signal::CONT).expect("it is our child");
    side.heard(child.id());
    let done = side.interrupt(&mut child);
    let shown = done.stdout.lines().count() as u64;
    let told = done.stderr.lines().find_map(|line| {
        let (_, line) = line.split_once("): ")?;
        line.strip_suffix(" events were lost: they came faster than they could be shown (try -b).")
    });
    let lost: u64 = told.unwrap_or_else(|| panic!("{}", done.stderr)).parse().expect("a number");
    assert!(shown > 100 && lost > 100, "{shown} shown, {lost} lost");
    assert_eq!(shown + lost, u64::from(FLOWS));
    assert_eq!(done.exit, 0);
}

/// A script that sets a mark again and again causes one event.
#[test]
fn an_update_that_changes_nothing_is_no_event() {
    let side = ours();
    side.prepare("empty");
    let mut child = side.listening(&script::words("-E -e UPDATES"));
    // Made while a listener is there: the kernel gives no events to a flow that began before.
    side.prepare("states");
    // `output` would add its own files, and the listener has those.
    let update = |change: &str| {
        let words = script::words(&format!("-U -p tcp -s 10.0.0.9 {change}"));
        side.within(|| Command::new(side.program()).args(words).output().expect("it starts"))
    };
    for (change, exit) in [
        ("-m 5", 1),
        ("-m 6", 0),
        ("-m 6", 1),
        ("--state ESTABLISHED", 1),
        ("--state CLOSE", 0),
        ("--state CLOSE -m 6 -u SEEN_REPLY", 1),
    ] {
        let done = update(change);
        assert_eq!(done.status.code(), Some(exit), "{change}: {done:?}");
        let shown = String::from_utf8_lossy(&done.stdout).lines().count();
        assert_eq!(shown, usize::from(exit == 0), "{change}");
        let again = update(&format!("{change} --dry-run"));
        assert_eq!(again.status.code(), Some(1), "{change} again: {again:?}");
    }
    side.heard(child.id());
    let done = side.interrupt(&mut child);
    assert_eq!(done.stdout.lines().count(), 2, "{}", done.stdout);
}

/// Every form of output, as scripts read it.
const FORMS: [&str; 9] = [
    "-L",
    "-L -o xml",
    "-L -o json",
    "-L -o save",
    "-G -p udp -s 10.0.0.1 -d 10.0.0.2 --sport 100 --dport 200",
    "-D --dry-run",
    "-C",
    "-S",
    "-h",
];

/// `conntrack -L | head -n1`: the reader leaves before the program writes.
#[test]
fn a_reader_that_has_gone_ends_the_program_silently_in_every_form() {
    let side = ours();
    side.prepare("many");
    for form in FORMS {
        let (reader, writer) = std::io::pipe().expect("a pipe can be made");
        drop(reader);
        let done = side.writing_to(form, writer.into());
        assert_eq!(done.status.signal(), Some(Signal::PIPE.as_raw()), "{form}: {done:?}");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(said.is_empty() || said.contains("flow entries"), "{form}: {said}");
    }
}

#[test]
fn what_cannot_be_written_is_told_in_every_form_and_done_all_the_same() {
    let side = ours();
    side.prepare("many");
    let full = || Stdio::from(File::options().write(true).open("/dev/full").expect("it is there"));
    let told = |form: &str| {
        let done = side.writing_to(form, full());
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(said.ends_with(": write error: No space left on device\n"), "{form}: {said}");
        assert_eq!(said.matches("write error").count(), 1, "{form}: {said}");
        assert_eq!(done.status.code(), Some(1), "{form}");
    };
    FORMS.into_iter().for_each(told);
    assert_eq!(count(&side), 60);
    told("-D -o xml");
    assert_eq!(count(&side), 0);
}

/// Events are written one by one: both are noticed with the first one.
#[test]
fn a_listener_whose_output_is_gone_ends() {
    let side = ours();
    side.prepare("empty");
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    drop(reader);
    let full = File::options().write(true).open("/dev/full").expect("it is there");
    for (out, signal) in [(Stdio::from(writer), Some(Signal::PIPE.as_raw())), (full.into(), None)] {
        let mut child = side.listening_into(&script::words("-E"), out);
        side.prepare("many");
        let status = wait_for("it ends", || child.try_wait().expect("it is our child"));
        assert_eq!(status.signal(), signal);
        assert_eq!(status.code(), signal.map_or(Some(1), |_| None));
    }
}

/// Events name the program that changed a flow, as long as it is there to be found.
#[test]
fn events_name_the_program_that_caused_them() {
    let side = ours();
    let mut child = side.listening(&script::words("-E -e DESTROY"));
    let mut table = side.within(|| Table::open().expect("a netlink socket"));
    let udp = Selection::default().with(|selection| selection.family = 2);
    table.ask(|w, t| request::flush(w, t, &udp), |_| Ok(())).expect("it may flush");
    side.heard(child.id());
    let done = side.interrupt(&mut child);
    drop(table);
    let comm = fs::read_to_string("/proc/self/comm").expect("proc is there");
    let name = format!(" progname={}", comm.trim_end());
    assert!(done.stdout.lines().count() > 3);
    assert!(done.stdout.lines().all(|line| line.ends_with(&name)), "{}", done.stdout);
}

/// Colours and progress are for terminals: `script` of util-linux makes one.
#[test]
fn a_terminal_gets_colours_unless_somebody_minds_and_a_pipe_never() {
    let side = ours();
    let piped = side.output("-L -p tcp", "");
    assert!(!piped.stdout.contains('\x1b') && !piped.stderr.contains('\x1b'));
    let red_green = side.on_terminal("-L -p tcp", "TERM=xterm");
    assert!(red_green.contains("\x1b[32m [ASSURED]\x1b[m"), "{red_green}");
    assert!(red_green.contains("\x1b[33m [UNREPLIED]\x1b[m"), "{red_green}");
    for setting in ["NO_COLOR=1", "TERM=dumb"] {
        let plain = side.on_terminal("-L -p tcp", setting);
        assert!(plain.contains(" [ASSURED] ") && !plain.contains('\x1b'), "{plain}");
    }
}
