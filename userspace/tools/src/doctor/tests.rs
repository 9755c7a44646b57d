//! Every check over a healthy machine and over each fault it knows: trees of files, patches of facts that only system
//! calls return, and the printed findings. `UPDATE=1 cargo test -p ctflow-tools doctor` writes the findings, and
//! `docs/spec/doctor.md`.

use super::check::{Status, all};
use super::facts::{Answer, Facts, Part, PathFound};
use super::report::{Totals, json, text};
use super::{examine, gather, reference};
use crate::print::status::{Link, Replication, Status as DaemonStatus};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const FAMILIES: [&str; 10] = [
    "kernel",
    "module",
    "sysctl",
    "table",
    "daemon",
    "conf",
    "link",
    "peer",
    "keepalived",
    "service",
];
const CONF: &str = "/etc/conntrackd/conntrackd.conf";
const PARTS: [Part; 16] = [
    Part::Kernel,
    Part::Programs,
    Part::Modules,
    Part::Tracking,
    Part::Sysctl,
    Part::Counters,
    Part::Flowtables,
    Part::Listeners,
    Part::Daemon,
    Part::Later,
    Part::Conf,
    Part::Links,
    Part::Paths,
    Part::Clock,
    Part::Keepalived,
    Part::Service,
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/doctor/fixtures").join(format!("{name}.txt"))
}

fn is_update() -> bool {
    std::env::var_os("UPDATE").is_some()
}

/// Makes the files that lines name, below `root`. Other lines are handed back.
fn plant<'a>(root: &Path, lines: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let at = |name: &str| {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        path
    };
    // Each is written once: a file system may wait for the disk when a file is overwritten.
    let (mut file, mut rest) = (None::<(&str, String)>, Vec::new());
    let write = |file: &mut Option<(&str, String)>| {
        if let Some((name, text)) = file.take() {
            fs::write(at(name), text).unwrap();
        }
    };
    for line in lines {
        let (word, argument) = line.split_once(' ').unwrap_or((line, ""));
        if word == "|" {
            let (_, text) = file.as_mut().expect("a line belongs to a file");
            text.push_str(argument);
            text.push('\n');
            continue;
        }
        write(&mut file);
        match word {
            "file" => file = Some((argument, String::new())),
            "link" => {
                let (name, target) = argument.split_once(' ').unwrap();
                symlink(target, at(name)).unwrap();
            }
            "gone" => fs::remove_file(root.join(argument)).unwrap(),
            "" | "#" => {}
            _ => rest.push(line),
        }
    }
    write(&mut file);
    rest
}

/// RFC 7396: a null takes away, objects are merged, all else replaces.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    let object = into.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// A daemon that has run well for an hour.
fn status() -> DaemonStatus {
    let mut status = DaemonStatus {
        version: "0.1.0".into(),
        pid: 4242,
        uptime_s: 3600,
        ready: true,
        links: vec![Link { sent_packets: 1000, received_packets: 1000, ..Link::default() }],
        replication: Replication { lost: 4, peer_heard_s: Some(0), ..Replication::default() },
        ..DaemonStatus::default()
    };
    status.events.source = "tap".into();
    status
}

/// What the readers see below `root`, and beside it what system calls return on a healthy machine, patched.
fn facts(root: &Path, patches: &[Value]) -> Facts {
    let parts: BTreeSet<_> = PARTS.into_iter().collect();
    let mut facts = gather::files(root, &parts);
    let text = fs::read_to_string(root.join(CONF.trim_start_matches('/')));
    let text = text.map_err(|error| format!("cannot read the configuration: {error}"));
    gather::configuration(&mut facts, root, Path::new(CONF), text);
    facts.programs.tap = Ok(None);
    facts.programs.hook = Ok(None);
    facts.tracking = Ok(true);
    let zero = || [("found".to_owned(), 7), ("drop".to_owned(), 0)].into();
    facts.counters = Ok([zero(), zero()]);
    facts.flowtables = Ok(Vec::new());
    facts.daemon.answer = Ok(Answer::Status(Box::new(status())));
    facts.daemon.later = Ok(Answer::Status(Box::new(status())));
    facts.daemon.metrics = Ok(vec![("127.0.0.1:10466".into(), None)]);
    facts.daemon.peer_ahead_s = Ok(0);
    facts.clock_in_step = Ok(true);
    facts.keepalived.gate_shut = Ok(false);
    // The user who runs this test owns the file.
    facts.keepalived.scripts = Ok(vec![("/etc/conntrackd/primary-backup.sh".into(), None)]);
    for link in facts.links.iter_mut().flatten() {
        (link.state, link.mtu) = (Ok(Some("RUNNING".into())), Ok(1500));
        link.path = Ok(PathFound::Passes);
    }
    let mut value = serde_json::to_value(&facts).unwrap();
    patches.iter().for_each(|patch| merge(&mut value, patch));
    let mut conf = facts.conf;
    conf.refused = Ok(value["refused"].as_str().map(str::to_owned));
    Facts {
        conf,
        ..serde_json::from_value(value).unwrap_or_else(|error| panic!("{error}: {patches:?}"))
    }
}

/// The healthy machine with `lines` on top.
fn machine(lines: &[&str]) -> (tempfile::TempDir, Facts) {
    // Thousands of small files: in memory where that is possible.
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let healthy = fs::read_to_string(fixture("healthy")).unwrap();
    plant(dir.path(), healthy.lines());
    let rest = plant(dir.path(), lines.iter().copied());
    let patch = |line: &str| {
        let text = line.strip_prefix("json ").unwrap_or_else(|| panic!("not understood: {line}"));
        serde_json::from_str(text).unwrap()
    };
    let patches: Vec<_> = rest.into_iter().map(patch).collect();
    let facts = facts(dir.path(), &patches);
    (dir, facts)
}

/// A case of a fixture: its check, the expected status, its lines, and the expected text.
struct Case<'a> {
    title: &'a str,
    lines: Vec<&'a str>,
    said: String,
}

fn cases(fixture: &str) -> (&str, Vec<Case<'_>>) {
    let start = fixture.find("## ").unwrap();
    let cases = fixture[start..].split("## ").skip(1).map(|case| {
        let (title, body) = case.split_once('\n').unwrap();
        let (said, lines): (Vec<_>, Vec<_>) = body.lines().partition(|line| line.starts_with('>'));
        let said = said.iter().map(|line| line.trim_start_matches("> ").to_owned() + "\n");
        Case { title, lines, said: said.collect() }
    });
    (&fixture[..start], cases.collect())
}

/// Runs the check of a case: the status's word, and what is said of it.
fn run(case: &Case<'_>) -> (String, String) {
    let id = case.title.split(' ').next().unwrap();
    let (_dir, facts) = machine(&case.lines);
    let check = all().find(|check| check.id == id).unwrap_or_else(|| panic!("no check {id}"));
    let outcomes = examine(&facts, [check]);
    let status = outcomes[0].status().map_or("skipped", Status::word);
    let shown = text(&outcomes, true);
    let lines = shown.lines().filter(|line| line.starts_with("     "));
    (status.to_owned(), lines.map(|line| line[5..].to_owned() + "\n").collect())
}

#[test]
fn every_case_has_the_status_and_the_words_of_its_fixture() {
    for family in FAMILIES {
        let before = fs::read_to_string(fixture(family)).unwrap();
        let (head, cases) = cases(&before);
        let mut after = head.to_owned();
        for case in cases {
            let (status, said) = run(&case);
            let wanted = case.title.split([' ', ':']).nth(1).unwrap();
            assert_eq!(status, wanted, "{}: {said}", case.title);
            assert!(
                is_update() || said == case.said,
                "{}:\n{said}\nwas\n{}",
                case.title,
                case.said
            );
            let lines = case.lines.iter().filter(|line| !line.is_empty());
            let lines: String = lines.map(|line| format!("{line}\n")).collect();
            let said: String = said.lines().map(|line| format!("> {line}\n")).collect();
            after += &format!("## {}\n{lines}{said}\n", case.title);
        }
        if is_update() {
            fs::write(fixture(family), after.trim_end().to_owned() + "\n").unwrap();
        }
    }
}

#[test]
fn every_check_has_a_case_for_ok_and_for_each_way_to_be_bad() {
    let mut told = BTreeSet::new();
    for family in FAMILIES {
        let text = fs::read_to_string(fixture(family)).unwrap();
        for case in cases(&text).1 {
            let (what, _) = case.title.split_once(':').unwrap();
            told.insert(what.to_owned());
        }
    }
    let mut known: BTreeSet<_> = all().map(|check| format!("{} skipped", check.id)).collect();
    for check in all() {
        let bad = check.bad.iter().map(|(status, _)| status.word());
        for status in bad.chain(["ok"]) {
            let what = format!("{} {status}", check.id);
            assert!(told.contains(&what), "no case: {what}");
            known.insert(what);
        }
    }
    let strange: Vec<_> = told.difference(&known).collect();
    assert!(strange.is_empty(), "the table does not say that this happens: {strange:?}");
}

#[test]
fn a_healthy_machine_has_nothing_to_say() {
    let (_dir, facts) = machine(&[]);
    let outcomes = examine(&facts, all());
    let totals = Totals::of(&outcomes);
    assert_eq!(
        totals,
        Totals { ok: all().count(), ..Totals::default() },
        "{}",
        text(&outcomes, true)
    );
    let shown = text(&outcomes, false);
    assert!(shown.lines().all(|line| line.is_empty() || line.contains(" ok")), "{shown}");
    assert!(shown.ends_with(&format!("\n{} ok\n", all().count())), "{shown}");
}

#[test]
fn what_is_not_known_is_skipped_with_the_reason_and_never_ok() {
    let outcomes = examine(&Facts::unknown(), all());
    for outcome in &outcomes {
        let id = outcome.check.id;
        assert!(outcome.finding.is_err(), "{id}: {:?}", outcome.finding);
    }
    let shown = text(&outcomes, true);
    assert!(shown.contains("[-] sysctl.max: not checked, because it was not asked for"), "{shown}");
}

#[test]
fn families_and_names_are_in_order() {
    let ids: Vec<_> = all().map(|check| check.id).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "an id is there twice");
    let mut families: Vec<_> = all().map(super::check::Check::family).collect();
    families.dedup();
    let distinct: BTreeSet<_> = families.iter().collect();
    assert_eq!(distinct.len(), families.len(), "a family stands in two places: {families:?}");
    for check in all() {
        let worst_first = check.bad.is_sorted_by(|a, b| a.0 > b.0);
        assert!(worst_first && !check.bad.is_empty(), "{}", check.id);
    }
}

#[test]
fn json_has_every_field_of_every_check() {
    let (_dir, facts) = machine(&[
        "file proc/sys/net/netfilter/nf_conntrack_events",
        "| 0",
        "gone sys/kernel/security/lockdown",
    ]);
    let text = json(&examine(&facts, all()));
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&document["v"], &document["errors"], &document["warnings"]),
        (&1.into(), &1.into(), &0.into())
    );
    let checks = document["checks"].as_array().unwrap();
    assert_eq!(checks.len(), all().count());
    let of = |id: &str| checks.iter().find(|check| check["id"] == id).unwrap();
    let events = of("sysctl.events");
    assert_eq!(events["status"], "error");
    assert_eq!(events["fix"][0], "sysctl -w net.netfilter.nf_conntrack_events=1");
    assert_eq!(events["see"], "docs/spec/doctor.md#sysctlevents");
    let keys: Vec<_> = events.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["fix", "found", "id", "see", "status", "title", "wanted", "why"]);
    assert_eq!(of("kernel.lockdown")["status"], "skipped");
}

#[test]
fn the_document_is_fresh() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec/doctor.md");
    let wanted = reference::markdown();
    if is_update() {
        fs::write(&page, &wanted).unwrap();
    }
    let found = fs::read_to_string(&page).unwrap_or_default();
    assert!(found == wanted, "stale: UPDATE=1 cargo test -p ctflow-tools doctor");
}

/// What the daemon runs at its start is cheap: no process is looked at, no program loaded, nothing asked twice.
#[test]
fn the_start_of_a_daemon_reads_a_few_files() {
    let mut parts = super::cheap_parts();
    assert!(parts.remove(&Part::Modules) && parts.remove(&Part::Sysctl));
    assert!(parts.is_empty(), "{parts:?}");
}

#[test]
fn the_start_of_a_daemon_warns_with_the_name_of_the_check() {
    let lines = |lines: &[&str]| super::warnings(&machine(lines).1);
    assert!(lines(&[]).is_empty());
    // What is merely worth knowing is not logged.
    assert!(lines(&["file proc/sys/net/netfilter/nf_conntrack_acct", "| 0"]).is_empty());
    let told = lines(&["file proc/sys/net/netfilter/nf_conntrack_count", "| 900000"]);
    let line = "the kernel's table is 85 % full: 900000 of 1048576 flows; see `ctflow doctor --only sysctl.max`";
    assert_eq!(told, [line]);
}
