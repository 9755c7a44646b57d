//! `ctflow doctor` and files of `/etc`, in a mount namespace of their own.

use crate::doctor::commands;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::daemon::{Brand, Files};

/// A program of ours.
pub(crate) fn program(name: &str) -> PathBuf {
    Brand::Ours.program().with_file_name(name)
}

/// A folder that takes the place of `/etc` for the programs that are started through it.
pub(crate) struct Etc {
    files: Files,
}

impl Etc {
    /// With these files in it, by their names below `/etc`.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let etc = Self { files: Files::new() };
        let users = [("passwd", "root:x:0:0:root:/:/bin/sh\n"), ("group", "root:x:0:\n")];
        for (name, text) in files.iter().chain(&users) {
            let path = etc.root().join(name);
            let folder = path.parent().expect("it lies below the root");
            fs::create_dir_all(folder).expect("a folder can be made");
            fs::write(path, text).expect("a file can be written");
        }
        etc
    }

    fn root(&self) -> PathBuf {
        self.files.path().join("etc")
    }

    /// Runs a line of a shell where this is `/etc`, from the top of the repository; what it prints. It may end with
    /// codes up to `code_max`.
    fn run(&self, line: &str, code_max: i32) -> Vec<u8> {
        let script = format!("mount --bind {} /etc || exit 99\n{line}\n", self.root().display());
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        let output = command.output().expect("unshare is installed");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code().is_some_and(|code| code <= code_max), "{line}: {said}");
        output.stdout
    }

    fn find(&self, check: &str) -> Value {
        let line = format!("{} doctor -o json --only {check}", program("ctflow").display());
        let answer: Value = serde_json::from_slice(&self.run(&line, 1)).expect("JSON");
        answer["checks"][0].clone()
    }

    /// Finds a fault, runs the commands, and sees that the fault is gone.
    pub(crate) fn mends(&self, check: &str, status: &str) {
        let finding = self.find(check);
        assert_eq!(finding["status"], status, "{finding}");
        for line in commands(&finding) {
            self.run(&line, 0);
        }
        let finding = self.find(check);
        assert_eq!(finding["status"], "ok", "{finding}");
    }
}

const CONTRIB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../contrib");

fn contrib(name: &str) -> String {
    fs::read_to_string(Path::new(CONTRIB).join(name)).expect("contrib is there")
}

#[test]
fn a_bare_unit_is_hardened_by_the_commands() {
    let unit = "[Service]\nExecStart=/usr/local/sbin/conntrackd\n";
    let etc = Etc::new(&[("systemd/system/conntrackd.service", unit)]);
    etc.mends("service.unit", "info");
}

#[test]
fn a_script_that_keepalived_would_not_run_is_mended_by_the_commands() {
    let (conf, script) = (contrib("keepalived.conf"), contrib("primary-backup.sh"));
    let name = "conntrackd/primary-backup.sh";
    let etc = Etc::new(&[("keepalived/keepalived.conf", &conf), (name, &script)]);
    let mode = |mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(etc.root().join(name), mode).unwrap();
    };
    mode(0o777);
    etc.mends("keepalived.script", "error");
    mode(0o644);
    etc.mends("keepalived.script", "error");
    for path in [name, "conntrackd"] {
        chown(etc.root().join(path), Some(65534), None).expect("root may do that");
        etc.mends("keepalived.script", "error");
    }
    fs::remove_file(etc.root().join(name)).unwrap();
    etc.mends("keepalived.script", "error");
    // The file of contrib has what the other checks look for.
    assert_eq!(etc.find("keepalived.track")["status"], "ok");
}

#[test]
fn a_gate_is_made_by_the_commands() {
    let files = [
        ("keepalived/keepalived.conf", contrib("keepalived.conf")),
        ("conntrackd/conntrackd.conf", contrib("conntrackd-failover.conf")),
        ("default/keepalived", String::new()),
    ];
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    Etc::new(&files).mends("keepalived.gate", "warning");
}
