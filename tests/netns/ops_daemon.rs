//! `ctflow list | count | delete`, answered from a daemon's table.

use crate::ops::{FILTERS, said};
use ctnetlink::Flow;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};
use tests::conf::{Conf, End};
use tests::conntrack::{catalogue_len, count, insert_catalogue};
use tests::ctnetlink::{Requests, udp, udp_flows};
use tests::daemon::{Brand, Daemon};
use tests::netns::Namespace;
use tests::solo::{Solo, solo};
use tests::stage::Stage;
use tests::wait::{wait_equal, wait_until};
use wire::control::Request;
use wire::control::framed::{Ask, HEADER_LEN, Header, Kind, Status, Verb, versions};

/// Runs `ctflow` against a daemon, in a namespace, without a terminal.
fn ask_in(namespace: &Namespace, daemon: &Daemon<'_>, line: &str) -> (i32, String, String) {
    let mut command = Command::new(Brand::Ours.program().with_file_name("ctflow"));
    command.args(line.split_whitespace()).arg("-C").arg(daemon.path("conf")).stdin(Stdio::null());
    let output: Output = namespace.within(|| command.output().expect("the program can be started"));
    said(&output)
}

fn ask(stage: &Solo, daemon: &Daemon<'_>, line: &str) -> (i32, String, String) {
    ask_in(&stage.node, daemon, line)
}

/// A daemon that knows the kernel's whole table.
fn ready<'a>(stage: &'a Solo, general: &str) -> Daemon<'a> {
    let daemon = stage.ours("a", &solo(general));
    wait_until("it has read the table", || daemon.status()["work"]["state"] == "exact");
    daemon
}

/// Lines of a list without what only the kernel knows: seconds left, use count.
fn lines(text: &str, from_kernel: bool) -> Vec<String> {
    let mut lines: Vec<_> = text
        .lines()
        .map(|line| {
            let mut words: Vec<_> = line.split_whitespace().collect();
            if from_kernel {
                words.remove(2);
            }
            words.retain(|word| !word.starts_with("use="));
            words.join(" ")
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn the_table_answers_as_the_kernel_does() {
    let stage = Solo::new();
    insert_catalogue(&stage.node);
    let daemon = ready(&stage, "");
    for (filter, expected) in FILTERS {
        let (code, out, err) = ask(&stage, &daemon, &format!("count {filter}"));
        assert_eq!((code, out.trim()), (0, expected.to_string().as_str()), "{filter}: {err}");
        assert_eq!(err, "", "{filter}");
    }
    for filter in ["", "tcp", "anynat", "zone 7,9"] {
        let (_, ours, _) = ask(&stage, &daemon, &format!("list {filter}"));
        let (_, kernels, _) = ask(&stage, &daemon, &format!("list --kernel {filter}"));
        assert_eq!(lines(&ours, false), lines(&kernels, true), "{filter}");
        assert!(!ours.is_empty());
    }
    let (_, json, _) = ask(&stage, &daemon, "list -o json udp");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let (_, all, _) = ask(&stage, &daemon, "count udp");
    assert_eq!(json.as_array().unwrap().len().to_string(), all.trim());
    let (_, xml, _) = ask(&stage, &daemon, "list -o xml zone 7");
    assert!(xml.contains("<zone>7</zone>") && xml.trim_end().ends_with("</conntrack>"), "{xml}");
    let by = ask(&stage, &daemon, "count --by zone --top 1").1;
    assert_eq!(by, "26\t0\n2\tothers\n");
    let json = ask(&stage, &daemon, "count --by zone -o json zone 7,9").1;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["count"], json["groups"].as_array().unwrap().len()), (&2.into(), 2));
}

#[test]
fn what_the_table_cannot_know_the_kernel_is_asked() {
    let stage = Solo::new();
    insert_catalogue(&stage.node);
    let daemon = ready(&stage, "");
    for (line, words, expected) in [
        ("count left > 1m", "asking the kernel itself: only the kernel knows how long", "28"),
        ("count --kernel tcp", "asking the kernel itself: as --kernel says", "13"),
        ("list -o save zone 7", "only the kernel knows the timeouts", ""),
    ] {
        let (code, out, err) = ask(&stage, &daemon, line);
        assert_eq!(code, 0, "{line}: {err}");
        assert!(err.contains(words), "{line}: {err}");
        assert!(out.contains(expected), "{line}: {out}");
    }
    // Flows that were only read are at least so old, and perhaps older: the kernel notes no times here.
    let (code, _, err) = ask(&stage, &daemon, "count age < 1d");
    assert_eq!((code, err.contains("nf_conntrack_timestamp is 0")), (2, true), "{err}");
    assert_eq!(ask(&stage, &daemon, "count age > 1d").1, "0\n");
    assert_eq!(ask(&stage, &daemon, "count age >= 0s").1, "28\n");
}

#[test]
fn deletes_go_by_the_table_and_the_table_hears_of_them() {
    let stage = Solo::new();
    insert_catalogue(&stage.node);
    let daemon = ready(&stage, "");
    let all = catalogue_len();
    for (line, code, words, left) in [
        ("delete", 2, "--all says that it is meant", all),
        ("delete zone 7 --dry-run", 0, "would delete 1 of 28 flows", all),
        ("delete not tcp --max 3", 3, "15 flows match, more than --max 3; nothing deleted", all),
        ("delete not tcp", 3, "more than half of the table", all),
        ("delete zone 8 --require-match", 1, "deleted 0 of 28 flows", all),
        ("delete zone", 2, "filter:1:5", all),
        ("delete zone 7", 0, "deleted 1 of 28 flows", all - 1),
        ("delete not tcp --yes", 0, "deleted 14 of 27 flows", 13),
        ("delete --all --yes", 0, "(0 had ended, 0 refused)", 0),
    ] {
        let (is, _, err) = ask(&stage, &daemon, line);
        assert_eq!(is, code, "{line}: {err}");
        assert!(err.contains(words) && !err.contains("asking the kernel"), "{line}: {err}");
        assert_eq!(count(&stage.node), left, "{line}");
        wait_equal("the table hears of it", || daemon.internal().len(), || left);
    }
    daemon.wait_to_say(
        "flows deleted from the kernel by request (zone 7): 1, had ended: 0, refused: 0",
    );
    let (_, out, _) = ask(&stage, &daemon, "delete -o json --yes --all");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&json["matched"], &json["table"]), (&0.into(), &0.into()), "{json}");
}

#[test]
fn a_large_table_behind_several_shards_is_one() {
    const FLOWS: u32 = 40_000;
    let stage = Solo::new();
    let mut requests = Requests::open(&stage.node);
    let zoned = |n| Flow { zone: 5, ..udp(n) };
    requests.create(&udp_flows(0..FLOWS));
    requests.create(&(0..2000).map(zoned).collect::<Vec<_>>());
    let daemon = ready(&stage, "Shards 3");
    assert_eq!(ask(&stage, &daemon, "count").1, format!("{}\n", FLOWS + 2000));
    assert_eq!(ask(&stage, &daemon, "list").1.lines().count(), FLOWS as usize + 2000);
    assert_eq!(ask(&stage, &daemon, "list --limit 1500").1.lines().count(), 1500);
    assert_eq!(ask(&stage, &daemon, "count --by zone").1, format!("{FLOWS}\t0\n2000\t5\n"));
    // A set that is longer than a frame.
    let hosts: String = (0..9000).map(|n| format!("{}\n", udp(n).orig.src_ip())).collect();
    let path = daemon.path("hosts");
    std::fs::write(&path, hosts).unwrap();
    let (code, out, err) = ask(&stage, &daemon, &format!("count src @{} zone 0", path.display()));
    assert_eq!((code, out.as_str()), (0, "9000\n"), "{err}");
    // Deletes while other flows come and go.
    let (code, _, err) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut requests = Requests::open(&stage.node);
            for round in 0..20 {
                let flows = udp_flows(100_000 + round * 500..100_500 + round * 500);
                requests.create(&flows);
                requests.delete(&flows);
            }
        });
        ask(&stage, &daemon, "delete zone 5")
    });
    assert_eq!((code, err.contains("deleted 2000 of")), (0, true), "{err}");
    wait_equal("the table hears of it", || daemon.internal().len(), || FLOWS as usize);
    assert_eq!(count(&stage.node), FLOWS as usize);
}

#[test]
fn a_daemon_that_hides_flows_says_so() {
    let stage = Solo::new();
    insert_catalogue(&stage.node);
    let filter = "Filter From Userspace {\n Protocol Accept { TCP }\n }";
    let daemon = ready(&stage, filter);
    let (code, out, err) = ask(&stage, &daemon, "count");
    assert_eq!((code, out.as_str()), (0, "13\n"), "{err}");
    assert!(err.contains("Filter keeps flows out of the table"), "{err}");
    assert_eq!(ask(&stage, &daemon, "count --kernel").1, "28\n");
}

#[test]
fn a_daemon_of_another_namespace_is_not_asked_about_this_one() {
    let stage = Solo::new();
    insert_catalogue(&stage.node);
    let daemon = ready(&stage, "");
    let name = format!("ctflow-far-{}", std::process::id());
    stage.node.sh(&format!("ip netns add {name}"));
    let far = ask(&stage, &daemon, &format!("delete --netns {name} --all --yes"));
    stage.node.sh(&format!("ip netns del {name}"));
    assert_eq!(far.0, 0, "{}", far.2);
    assert!(far.2.contains("works in another network namespace"), "{}", far.2);
    assert!(far.2.contains("deleted 0 of 0 flows"), "{}", far.2);
    assert_eq!(count(&stage.node), catalogue_len(), "nothing is deleted here");
    // A command that names the daemon's configuration, and no namespace, means that daemon.
    let elsewhere = Namespace::new();
    assert_eq!(ask_in(&elsewhere, &daemon, "count tcp").1, "13\n");
}

#[test]
fn without_a_daemon_that_understands_the_kernel_is_asked() {
    let stage = Solo::new();
    insert_catalogue(&stage.node);
    let conf = solo("");
    let mut daemon = stage.ours("a", &conf);
    daemon.kill_hard();
    let (code, out, err) = ask(&stage, &daemon, "count tcp");
    assert_eq!((code, out.as_str()), (0, "13\n"), "{err}");
    assert!(err.contains("no daemon answers at"), "{err}");
    let original = stage.start(Brand::Original, "b", &solo(""));
    let (code, out, err) = ask(&stage, &original, "count tcp");
    assert_eq!((code, out.as_str()), (0, "13\n"), "{err}");
    assert!(err.contains("does not speak this protocol"), "{err}");
}

/// A delete by filter is no flush: the peer must not carry the flows on.
#[test]
fn the_peer_hears_of_the_ends() {
    let stage = Stage::new();
    let conf = |end| Conf { protocol: "FTFW", ..Conf::new(end) };
    let (a, b) = (stage.ours("a", &conf(End::A)), stage.ours("b", &conf(End::B)));
    let mut requests = Requests::open(&stage.a);
    requests.create(&udp_flows(0..50));
    wait_until("the peer knows them", || {
        let knows = b.external().len() == 50;
        if !knows {
            // What the link has lost.
            b.ask(&["-n"]);
        }
        knows
    });
    let hosts = "100.0.0.0-100.0.0.19";
    let (code, _, err) = ask_in(&stage.a, &a, &format!("delete src {hosts}"));
    assert_eq!((code, err.contains("deleted 20 of 50")), (0, true), "{err}");
    wait_equal("the peer has forgotten them", || b.external().len(), || 30);
}

/// The daemon alone knows the peers' flows: no kernel holds them.
#[test]
fn the_flows_of_the_peers_are_listed_and_counted_and_nothing_else_is_done_to_them() {
    let stage = Stage::new();
    let conf = |end| Conf { protocol: "FTFW", ..Conf::new(end) };
    let (a, mut b) = (stage.ours("a", &conf(End::A)), stage.ours("b", &conf(End::B)));
    Requests::open(&stage.a).create(&udp_flows(0..50));
    wait_until("the peer knows them", || {
        let knows = b.external().len() == 50;
        if !knows {
            b.ask(&["-n"]);
        }
        knows
    });
    let at_b = |line: &str| ask_in(&stage.b, &b, line);
    assert_eq!(at_b("count --table remote").1, "50\n");
    assert_eq!(at_b("count --table local").1, "0\n");
    assert_eq!(at_b("count --table remote src 100.0.0.0-100.0.0.19").1, "20\n");
    assert_eq!(at_b("count --table remote --by proto").1, "50\tudp\n");
    let (code, out, _) = at_b("list --table remote src 100.0.0.7");
    assert_eq!((code, out.lines().count()), (0, 1), "{out}");
    assert!(out.contains("src=100.0.0.7"), "{out}");
    assert_eq!(ask_in(&stage.a, &a, "count --table remote").1, "0\n");
    // Whatever only a kernel knows cannot be asked.
    for (line, words) in [
        ("list --table remote bytes > 5", "only the kernel knows counters"),
        ("list --table remote --counters", "the kernel does not know the flows of the peers"),
        ("list --table remote -o save", "only the kernel knows the timeouts"),
        ("list --table remote --kernel", "cannot be used with"),
    ] {
        let (code, out, err) = at_b(line);
        assert_eq!((code, out.as_str()), (2, ""), "{line}: {err}");
        assert!(err.contains(words), "{line}: {err}");
    }
    let mut body = [0; 64];
    let mut w = ctnetlink::Writer::new(&mut body);
    Ask { remote: true, confirmed: true, ..Ask::new(Verb::Delete) }.encode(&mut w);
    let len = w.finish().expect("there is room");
    let frames = [frame(Kind::Hello, &versions()), frame(Kind::Ask, &body[..len])].concat();
    let (status, why) = raw(&b, &frames).expect("it answers");
    assert_eq!(status, Status::Malformed, "{why}");
    b.kill_hard();
    let (code, out, err) = ask_in(&stage.b, &b, "list --table remote");
    assert_eq!((code, out.as_str()), (2, ""), "no kernel is asked instead: {err}");
}

#[test]
fn counters_and_time_left_come_from_the_kernel_flow_by_flow() {
    let stage = Solo::new();
    stage.node.within(|| tests::netns::sysctl("net/netfilter/nf_conntrack_acct", "1"));
    insert_catalogue(&stage.node);
    Requests::open(&stage.node).create(&udp_flows(0..100));
    let daemon = ready(&stage, "");
    let few = "src 100.0.0.0-100.0.0.9";
    let (code, out, err) = ask(&stage, &daemon, &format!("list --counters {few}"));
    assert_eq!((code, out.lines().count(), err.as_str()), (0, 10, ""), "{out}");
    let (_, kernels, _) = ask(&stage, &daemon, &format!("list --kernel {few}"));
    assert_eq!(lines(&out, true), lines(&kernels, true), "as the kernel shows them");
    assert!(out.lines().all(|line| line.contains("bytes=")), "{out}");
    let (_, json, _) = ask(&stage, &daemon, &format!("list --counters -o json --limit 3 {few}"));
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json.as_array().map(Vec::len), Some(3), "{json}");
    // For many flows, one reading of the whole table costs less.
    let (_, out, err) = ask(&stage, &daemon, "list --counters udp");
    assert!(err.contains("more than a quarter of the table"), "{err}");
    let (_, kernels, _) = ask(&stage, &daemon, "list --kernel udp");
    assert_eq!(lines(&out, true), lines(&kernels, true));
}

/// Sends bytes behind the number that opens the framed protocol; the status of the answer's END, and its body.
fn raw(daemon: &Daemon<'_>, frames: &[u8]) -> Option<(Status, String)> {
    let mut stream = UnixStream::connect(daemon.path("sock")).expect("it listens");
    stream.write_all(&Request::Framed.encode()).expect("it reads a number");
    // A daemon that has refused the first frame may not read the others.
    let _ = stream.write_all(frames);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    loop {
        let mut head = [0; HEADER_LEN];
        stream.read_exact(&mut head).ok()?;
        let header = Header::decode(&head).expect("it answers in frames");
        let mut body = vec![0; header.len];
        stream.read_exact(&mut body).expect("a frame is whole");
        if header.kind == Kind::End {
            return Some((header.status, String::from_utf8_lossy(&body).into_owned()));
        }
    }
}

fn frame(kind: Kind, body: &[u8]) -> Vec<u8> {
    let header = Header { len: body.len(), kind, status: Status::Done }.encode();
    [&header[..], body].concat()
}

#[test]
fn requests_that_are_not_understood_are_refused_and_delete_nothing() {
    let stage = Solo::new();
    insert_catalogue(&stage.node);
    let daemon = ready(&stage, "");
    let body = |ask: Ask<'_>| {
        let mut bytes = vec![0; 256];
        let mut writer = ctnetlink::Writer::new(&mut bytes);
        ask.encode(&mut writer);
        let len = writer.finish().unwrap();
        bytes.truncate(len);
        bytes
    };
    let hello = frame(Kind::Hello, &versions());
    let delete = frame(Kind::Ask, &body(Ask { confirmed: true, ..Ask::new(Verb::Delete) }));
    let mut unknown = body(Ask { confirmed: true, ..Ask::new(Verb::Delete) });
    unknown.extend_from_slice(&[99, 0, 0, 0]);
    let later = [2_u16.to_ne_bytes(), 9_u16.to_ne_bytes()].concat();
    let mut damaged = delete.clone();
    damaged[0] ^= 1;
    for (frames, status) in [
        (vec![0xff; 40], Status::Malformed),
        (delete.clone(), Status::Malformed),
        ([hello.clone(), damaged].concat(), Status::Malformed),
        ([hello.clone(), frame(Kind::Ask, &unknown)].concat(), Status::Malformed),
        ([frame(Kind::Hello, &later), delete.clone()].concat(), Status::Version),
        (
            [hello.clone(), frame(Kind::Part, b"tcp or udp and ip"), delete.clone()].concat(),
            Status::Filter,
        ),
        (
            [hello.clone(), frame(Kind::Part, b"src @/etc/passwd"), delete.clone()].concat(),
            Status::Filter,
        ),
        (
            [hello.clone(), frame(Kind::Part, b"-s 1.1.1.1"), delete.clone()].concat(),
            Status::Filter,
        ),
        ([hello.clone(), frame(Kind::Part, b"bytes > 5"), delete.clone()].concat(), Status::Filter),
        ([hello.clone(), frame(Kind::Part, &[0xff]), delete].concat(), Status::Malformed),
        // Cut in the middle of what would have been everything.
        ([hello.clone(), frame(Kind::Part, b"tcp")].concat(), Status::Malformed),
        (hello, Status::Malformed),
    ] {
        let end = raw(&daemon, &frames);
        let is = end.as_ref().map(|(status, _)| *status);
        assert_eq!(is, Some(status), "{end:?} to {frames:?}");
        assert_eq!(count(&stage.node), catalogue_len());
    }
    // What comes next is served.
    assert_eq!(ask(&stage, &daemon, "count tcp").1, "13\n");
    assert!(daemon.ask(&["-s"]).contains("28"));
}

/// Runs `ctflow` at a terminal where `answer` is typed.
fn at_terminal(stage: &Solo, daemon: &Daemon<'_>, line: &str, answer: &str) -> (i32, String) {
    let program = Brand::Ours.program().with_file_name("ctflow");
    let line = format!("{} {line} -C {}", program.display(), daemon.path("conf").display());
    // `script` (bsdutils) runs it at a terminal of its own, and ends as it did.
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = stage.node.within(|| command.spawn().expect("script can be started"));
    let mut typed = child.stdin.take().expect("it is piped");
    typed.write_all(answer.as_bytes()).expect("script reads");
    drop(typed);
    let output = child.wait_with_output().expect("script ends");
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn at_a_terminal_somebody_is_asked() {
    let stage = Solo::new();
    insert_catalogue(&stage.node);
    let daemon = ready(&stage, "");
    let question = "delete 15 of 28 flows? [y/N]";
    let (code, said) = at_terminal(&stage, &daemon, "delete not tcp", "n\n");
    assert_eq!((code, said.contains(question), count(&stage.node)), (3, true, 28), "{said}");
    assert_eq!(said.matches("src=").count(), 2 * 3, "three examples: {said}");
    let (code, said) = at_terminal(&stage, &daemon, "delete not tcp --max 3", "y\n");
    assert_eq!((code, said.contains(question), count(&stage.node)), (3, false, 28), "{said}");
    let (code, said) = at_terminal(&stage, &daemon, "delete not tcp", "y\n");
    assert_eq!((code, said.contains(question), count(&stage.node)), (0, true, 13), "{said}");
    let (code, said) = at_terminal(&stage, &daemon, "delete --kernel tcp", "y\n");
    assert_eq!((code, said.contains("delete 13 of 13 flows?")), (0, true), "{said}");
    assert_eq!(count(&stage.node), 0);
}
