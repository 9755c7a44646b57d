//! Services and clients that are other people's programs.

use crate::stage::Stage;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Output, Stdio};
use tests::daemon::Files;
use tests::netns::Namespace;

/// What is in the file of [`folder`].
pub(crate) const TEXT: &str = "the file\n";

/// Seconds that a client may take.
const CLIENT_MAX_S: &str = "60";

/// A service, which ends with this.
pub(crate) struct Service(Child);

impl Service {
    pub(crate) fn start(namespace: &Namespace, program: &str, args: &[&str]) -> Self {
        let mut command = Command::new(program);
        Self::of(namespace, command.args(args).stdin(Stdio::null()))
    }

    /// Starts what the command says; what it reads from a pipe ends with this.
    pub(crate) fn of(namespace: &Namespace, command: &mut Command) -> Self {
        Self(namespace.within(|| command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"))))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a client to its end.
pub(crate) fn client(namespace: &Namespace, program: &str, args: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.arg(CLIENT_MAX_S).arg(program).args(args).stdin(Stdio::null());
    namespace.within(|| command.output().expect("it starts"))
}

/// Runs a client of the stage's client, which must succeed; what it printed.
pub(crate) fn succeeds(stage: &Stage, program: &str, args: &[&str]) -> String {
    let output = client(&stage.client, program, args);
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Writes a file for a program to read; returns its path.
pub(crate) fn written(files: &Files, name: &str, text: &str) -> String {
    let path = files.path().join(name);
    fs::write(&path, text).expect("a file");
    path.display().to_string()
}

/// A folder that services may read, with a file.
pub(crate) fn folder(files: &Files, name: &str) -> String {
    let path = files.path().join(name);
    let open = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    fs::create_dir(&path).expect("a folder");
    fs::write(path.join("file"), TEXT).expect("a file");
    open(files.path(), 0o755);
    open(&path, 0o755);
    open(&path.join("file"), 0o644);
    path.display().to_string()
}
