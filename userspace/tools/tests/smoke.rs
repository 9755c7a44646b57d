//! The binary as a script meets it: exit codes, streams, a reader that goes away.

use std::process::{Command, Output};

fn conntrackd(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_conntrackd")).args(args).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn help_and_version_go_to_standard_output_and_succeed() {
    for flag in ["-h", "--help", "-v", "--version"] {
        let output = conntrackd(&[flag]);
        assert!(output.status.success(), "{flag}");
        assert!(text(&output.stdout).contains("conntrackd"), "{flag}");
        assert!(output.stderr.is_empty(), "{flag}");
    }
}

#[test]
fn an_unknown_flag_fails_with_code_1_and_says_which() {
    let output = conntrackd(&["-Z"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("-Z"));
    assert!(output.stdout.is_empty());
}

#[test]
fn a_missing_configuration_is_named() {
    let output = conntrackd(&["-C", "/nonexistent/conntrackd.conf"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/nonexistent/conntrackd.conf"));
}

#[test]
fn a_wrong_line_is_shown_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.conf");
    std::fs::write(&path, "General {\n\tHashSise 8192\n}\n").unwrap();
    let output = conntrackd(&["--check", "-C", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("bad.conf:2:2"), "{said}");
    assert!(said.contains("HashSize"), "{said}");
}

/// `Checksum off` where it has no effect: the check says so, and so does a start, this one before it is refused for
/// another reason.
#[test]
fn a_checksum_that_cannot_be_left_out_is_warned_of_by_the_check_and_by_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sum.conf");
    let at = |name: &str| dir.path().join(name).display().to_string();
    let udp6 =
        "UDP {\n IPv6_address ::1\n IPv6_Destination_Address ::1\n Port 3780\n Interface lo\n";
    let tcp = "TCP {\n IPv4_address 127.0.0.1\n IPv4_Destination_Address 127.0.0.1\n Port 3780\n Interface lo\n";
    for (link, place) in [(udp6, "over IPv6"), (tcp, "on a TCP link")] {
        let conf = |mode: &str, general: &str| {
            let text = format!(
                "Sync {{\n Mode NOTRACK {{ {mode} }}\n {link} Checksum off\n }}\n}}\nGeneral {{\n {general}\n \
                 LockFile {}\n UNIX {{ Path {} }}\n}}\n",
                at("lock"),
                at("sock"),
            );
            std::fs::write(&path, text).unwrap();
        };
        let warning = format!("`Checksum off` has no effect {place}");
        conf("", "");
        let output = conntrackd(&["--check", "-C", path.to_str().unwrap()]);
        let said = text(&output.stderr);
        assert!(output.status.success() && said.contains(&warning), "{said}");
        conf("DisableInternalCache on", "PollSecs 3");
        let output = conntrackd(&["-C", path.to_str().unwrap()]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(said.contains(&warning) && said.contains("PollSecs compares"), "{said}");
    }
}

#[test]
fn a_client_without_a_daemon_fails_and_says_where_it_looked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lone.conf");
    let socket = dir.path().join("none.sock");
    let conf =
        format!("Stats {{ LogFile off }}\nGeneral {{ UNIX {{ Path {} }} }}\n", socket.display());
    std::fs::write(&path, conf).unwrap();
    let output = conntrackd(&["-C", path.to_str().unwrap(), "-s"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("none.sock"));
}

const PROGRAMS: [(&str, &[&str]); 7] = [
    (env!("CARGO_BIN_EXE_conntrackd"), &["--help"]),
    (env!("CARGO_BIN_EXE_conntrack"), &["--help"]),
    (env!("CARGO_BIN_EXE_conntrack"), &["-V"]),
    (env!("CARGO_BIN_EXE_nfct"), &["list", "version"]),
    (env!("CARGO_BIN_EXE_ctflow"), &["--help"]),
    (env!("CARGO_BIN_EXE_ctflow"), &["bench", "--list"]),
    (env!("CARGO_BIN_EXE_ctflow"), &["doctor", "--list"]),
];

/// As `SIGPIPE` ends a C program: a script sees 141, or nothing.
#[test]
fn a_reader_that_goes_away_ends_a_program_silently() {
    use std::os::unix::process::ExitStatusExt as _;
    const SIGPIPE: i32 = 13;
    for (program, args) in PROGRAMS {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(program).args(args).stdout(writer).output().unwrap();
        assert_eq!(output.status.signal(), Some(SIGPIPE), "{program} {args:?}");
        assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    }
}

#[test]
fn what_cannot_be_written_is_an_error_with_its_cause() {
    for (program, args) in PROGRAMS {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = Command::new(program).args(args).stdout(full).output().unwrap();
        let said = text(&output.stderr);
        assert!(said.ends_with("write error: No space left on device\n"), "{program}: {said}");
        // For `ctflow`, 1 is an answer.
        let code = if program.ends_with("ctflow") { 2 } else { 1 };
        assert_eq!(output.status.code(), Some(code), "{program} {args:?}");
    }
}

/// Whatever this machine is like: it looks, or says why it could not.
#[test]
fn doctor_says_by_its_code_what_it_found_and_whether_it_could_look() {
    let doctor = |args: &[&str]| {
        let ctflow = Command::new(env!("CARGO_BIN_EXE_ctflow")).arg("doctor").args(args).output();
        let output = ctflow.expect("the binary runs");
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let dir = tempfile::tempdir().unwrap();
    let conf = |words: &str| {
        let path = dir.path().join("doctor.conf");
        std::fs::write(&path, words).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (code, out, _) = doctor(&["--only", "conf.check", "-C", &conf("General { Wrong 1 }")]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("[x] conf.check: "), "{out}");
    let warned = conf("Stats { }\nGeneral { UNIX { Path /run/none.sock\n Backlog 20\n } }\n");
    let ignored = ["--only", "conf.ignored", "-C", &warned];
    let (code, out, _) = doctor(&ignored);
    assert_eq!(code, Some(0), "a note is no error: {out}");
    assert!(out.contains("[i] conf.ignored: "), "{out}");
    for wrong in [&["--only", "conf.none"][..], &["--explain", "none"], &["--none"]] {
        let (code, out, said) = doctor(wrong);
        assert_eq!(code, Some(2), "{wrong:?}");
        assert!(out.is_empty() && said.contains("none"), "{said}");
    }
    let (code, out, _) = doctor(&["--explain", "sysctl.max"]);
    assert!(code == Some(0) && out.starts_with("sysctl.max: "), "{out}");
    let (code, out, _) = doctor(&["--skip", "conf,kernel", "--list"]);
    assert!(code == Some(0) && out.contains("peer.heard"), "{out}");
}

/// What a node of version 2 cannot do yet, neither the check nor a start lets pass.
#[test]
fn what_replication_cannot_do_yet_is_refused_at_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let path = at("nodes.conf");
    assert!(ctflow(&["key", "generate", &at("a.key")]).status.success());
    let nodes = format!(
        "Replication {{\n Name fw-a\n KeyFile {}\n Port 3790\n Settle 5\n RemoteLimit 5\n Peer fw-b {{\n \
         PublicKey gN65BkIKy1eCE9pP1wdc8ROUtkHLF2PfAqYdyYBz6EA=\n Address 127.0.0.1\n}}\n}}",
        at("a.key")
    );
    let text = format!(
        "General {{\n UNIX {{ Path {} }}\n LockFile {}\n}}\nSync {{\n  {nodes}\n  Mode NOTRACK {{\n }}\n  UDP {{\n IPv4_address 127.0.0.1\n IPv4_Destination_Address 127.0.0.1\n Port 3780\n Interface lo\n }}\n}}\n",
        at("ctl"),
        at("lock")
    );
    std::fs::write(&path, text).unwrap();
    let wanted =
        "nodes.conf:6:3: `Replication`: this build has not links of version 1 beside it yet";
    for args in [vec!["--check", "-C", &path], vec!["-C", &path]] {
        let output = conntrackd(&args);
        let said = text_of(&output);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.contains(wanted), "{args:?}: {said}");
    }
}

fn text_of(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

fn ctflow(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ctflow")).args(args).output().expect("the binary runs")
}

#[test]
fn r4_1_a_key_is_made_shown_and_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.key");
    let at = path.to_str().unwrap();
    let made = ctflow(&["key", "generate", at]);
    assert_eq!((made.status.code(), text(&made.stderr)), (Some(0), String::new()));
    let public = text(&made.stdout);
    assert_eq!(public.trim_end().len(), 44, "{public}");
    let secret = std::fs::read_to_string(&path).unwrap();
    assert_ne!(secret, public);
    assert_eq!(text(&ctflow(&["key", "public", at]).stdout), public);
    let json = text(&ctflow(&["key", "public", "--json", at]).stdout);
    let object: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&object["public_key"], &object["file"]), (&public.trim_end().into(), &at.into()));

    let again = ctflow(&["key", "generate", at]);
    assert_eq!((again.status.code(), again.stdout), (Some(2), vec![]));
    let wanted = format!("ctflow: {at}: there is a file already, and a key is never overwritten\n");
    assert_eq!(text(&again.stderr), wanted);
    let psk = ctflow(&["key", "psk", at]);
    assert_eq!((psk.status.code(), text(&psk.stderr)), (Some(2), wanted));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), secret);
}

#[test]
fn r4_1_a_key_file_has_mode_0600_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    for umask in ["0000", "0777"] {
        let path = dir.path().join(umask);
        let line = format!("umask {umask}; exec \"$0\" key generate \"$1\"");
        let mut shell = Command::new("sh");
        shell.args(["-c", &line, env!("CARGO_BIN_EXE_ctflow"), path.to_str().unwrap()]);
        assert!(shell.output().unwrap().status.success());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600, "{umask}");
    }
}

#[test]
fn r4_1_a_preshared_key_is_made_and_not_printed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("all.psk");
    let made = ctflow(&["key", "psk", path.to_str().unwrap()]);
    assert_eq!(
        (made.status.code(), made.stdout, text(&made.stderr)),
        (Some(0), vec![], String::new())
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap().len(), 45);
}

#[test]
fn r4_1_what_is_no_key_is_refused_with_its_length_and_not_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("short.key");
    let at = path.to_str().unwrap();
    let missing = ctflow(&["key", "public", at]);
    let wanted = format!("ctflow: {at}: no such file (make one: ctflow key generate {at})\n");
    assert_eq!((missing.status.code(), text(&missing.stderr)), (Some(2), wanted));
    std::fs::write(&path, "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode;
    std::fs::set_permissions(&path, mode(0o600)).unwrap();
    let short = text(&ctflow(&["key", "public", at]).stderr);
    assert_eq!(short, format!("ctflow: {at}: a key has 44 characters, this has 43\n"));
    std::fs::set_permissions(&path, mode(0o644)).unwrap();
    let open = text(&ctflow(&["key", "public", at]).stderr);
    assert_eq!(open, format!("ctflow: {at} has mode 0644, expected 0600\n"));
    let usage = ctflow(&["key"]);
    assert_eq!(usage.status.code(), Some(2));
}
