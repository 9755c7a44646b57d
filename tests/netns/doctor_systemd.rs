//! `ctflow doctor` on a machine that systemd runs: `systemctl` and `timedatectl` do what its commands ask of them.
//!
//! The machine is systemd as process 1 of namespaces of its own, over the files of this one (`doctor_systemd.sh`).

use crate::doctor_machine::program;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use tests::solo::solo;
use tests::wait::{wait_for, wait_or_explain, wait_until};

const SYSTEMD: &str = "/lib/systemd/systemd";
const CONF: &str = "/etc/conntrackd/conntrackd.conf";
const UNIT: &str = "/etc/systemd/system/conntrackd.service";

/// The machine.
struct Machine {
    unshare: Child,
    systemd: u32,
    files: tempfile::TempDir,
}

impl Machine {
    /// Boots it; `None` where systemd is not installed.
    fn boot() -> Option<Self> {
        if !Path::new(SYSTEMD).exists() {
            println!(
                "skipped: there is no {SYSTEMD} (apt-get install systemd dbus systemd-timesyncd)"
            );
            return None;
        }
        let files = tempfile::tempdir().expect("a folder can be made");
        let programs = program("ctflow").parent().expect("it lies in a folder").to_owned();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-eu"]);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/netns/doctor_systemd.sh"));
        command.arg(files.path()).arg(programs).stdin(Stdio::null());
        let unshare = command.spawn().expect("unshare is installed");
        let systemd = wait_for("systemd begins", || child_of(unshare.id()));
        let machine = Self { unshare, systemd, files };
        wait_for("it is up", || {
            Some(machine.sh("systemctl is-active stage.target")).filter(|up| up.status.success())
        });
        Some(machine)
    }

    /// Runs lines of a shell there.
    fn sh(&self, lines: &str) -> Output {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.systemd.to_string()]);
        command
            .args(["--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--root", "--wd=/"]);
        let path = "PATH=/run/programs:/usr/sbin:/usr/bin:/sbin:/bin";
        command.args(["env", "-i", path, "sh", "-c", lines]).stdin(Stdio::null());
        command.output().expect("nsenter is installed")
    }

    /// What they print; they must succeed.
    fn run(&self, lines: &str) -> String {
        let output = self.sh(lines);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{lines}: {said}");
        String::from_utf8(output.stdout).expect("it is text")
    }

    fn write(&self, path: &str, text: &str) {
        let root = format!("/proc/{}/root{path}", self.systemd);
        fs::write(root, text).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    fn find(&self, check: &str) -> Value {
        let output = self.sh(&format!("ctflow doctor -C {CONF} -o json --only {check}"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let answer: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {said}"));
        answer["checks"][0].clone()
    }

    /// Waits until a check has this status.
    fn wait_to_find(&self, check: &str, status: &str) -> Value {
        let look = || match self.find(check) {
            finding if finding["status"] == status => Ok(finding),
            finding => Err(finding),
        };
        wait_or_explain(look, |last| format!("never {status}: {last}"))
    }

    /// Runs all commands of a finding, as they are.
    fn mend(&self, finding: &Value) -> Vec<String> {
        let lines = finding["fix"].as_array().expect("commands are a list");
        let lines: Vec<_> = lines.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        lines.iter().for_each(|line| drop(self.run(line)));
        lines
    }

    /// A property of a unit, as systemd knows it.
    fn property(&self, unit: &str, name: &str) -> String {
        self.run(&format!("systemctl show --value -p {name} {unit}")).trim().to_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Process 1 obeys this signal alone, and all others of its namespace go with it.
        let pid = i32::try_from(self.systemd).ok().and_then(rustix::process::Pid::from_raw);
        let _ = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
        let _ = self.unshare.wait();
        // Its cgroups stay when its processes have gone.
        let groups = self.files.path().join("groups").display().to_string();
        let of_it = format!("{groups}/ctflow-{}", self.unshare.id());
        let lines = format!(
            "mount -t cgroup2 none {groups}; find {of_it} -depth -type d -exec rmdir {{}} +"
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &lines]);
        let _ = command.status();
    }
}

/// The systemd that a process has started.
fn child_of(parent: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    let child = children.split_whitespace().next()?.parse().ok()?;
    let name = fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
    (name.trim() == "systemd").then_some(child)
}

/// A unit of ours: that of contrib, with the programs under test.
fn unit() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../contrib/conntrackd.service");
    let text = fs::read_to_string(path).expect("contrib is there");
    // Debian 12's systemd is older than 253.
    let text = text.replace("Type=notify-reload", "Type=notify");
    text.replace("/usr/sbin/conntrackd", "/run/programs/conntrackd")
}

fn conf() -> String {
    solo("").replace("@.", "/run/conntrackd/a.")
}

#[test]
fn a_daemon_is_started_reloaded_and_hardened_by_systemctl() {
    let Some(machine) = Machine::boot() else { return };
    machine.write(CONF, &conf());
    machine.write(UNIT, &unit());
    machine.run("systemctl daemon-reload");
    let finding = machine.wait_to_find("daemon.running", "error");
    let lines = machine.mend(&finding);
    assert_eq!(lines[0], "systemctl restart conntrackd");
    machine.wait_to_find("daemon.running", "ok");
    let running = machine.property("conntrackd", "MainPID");
    // Its table is made larger by a reload, and it goes on.
    machine.write(CONF, &conf().replace("HashLimit 262144", "HashLimit 1000"));
    let finding = machine.wait_to_find("conf.hashlimit", "warning");
    let lines = machine.mend(&finding);
    assert_eq!(lines.last().map(String::as_str), Some("systemctl reload conntrackd"));
    machine.wait_to_find("conf.hashlimit", "ok");
    let log = "journalctl -u conntrackd";
    wait_until("it has applied the change", || machine.run(log).contains("HashLimit"));
    assert_eq!(machine.property("conntrackd", "MainPID"), running);
    // A bare unit: systemd knows of what is added to it.
    let start = "ExecStart=/run/programs/conntrackd -C /etc/conntrackd/conntrackd.conf";
    machine.write(UNIT, &format!("[Service]\nType=notify\n{start}\n"));
    machine.run("systemctl daemon-reload");
    assert_eq!(machine.property("conntrackd", "NoNewPrivileges"), "no");
    let finding = machine.wait_to_find("service.unit", "info");
    let lines = machine.mend(&finding);
    assert_eq!(lines.last().map(String::as_str), Some("systemctl daemon-reload"));
    machine.wait_to_find("service.unit", "ok");
    assert_eq!(machine.property("conntrackd", "NoNewPrivileges"), "yes");
    // With that taken away, it still starts.
    machine.run("systemctl restart conntrackd");
    machine.wait_to_find("daemon.running", "ok");
}

/// The units confine the daemon, and so does the daemon: neither may be killed by the other.
#[test]
fn the_units_of_contrib_start_a_daemon_that_confines_itself() {
    let Some(machine) = Machine::boot() else { return };
    machine.write(CONF, &conf());
    machine.write(UNIT, &unit());
    machine.run("systemctl daemon-reload && systemctl start conntrackd");
    machine.wait_to_find("daemon.running", "ok");
    let said = machine.run("journalctl -u conntrackd");
    assert!(said.contains("(landlock)"), "{said}");
    // From the beginning as its own user.
    let drop_in = concat!(env!("CARGO_MANIFEST_DIR"), "/../contrib/systemd/unprivileged.conf");
    let text = fs::read_to_string(drop_in).expect("contrib is there");
    machine.run("id ctflow > /dev/null 2>&1 || useradd --system --user-group ctflow");
    machine.run("systemctl stop conntrackd && mkdir /etc/systemd/system/conntrackd.service.d");
    machine.write("/etc/systemd/system/conntrackd.service.d/unprivileged.conf", &text);
    machine.run("systemctl daemon-reload && systemctl start conntrackd");
    machine.wait_to_find("daemon.running", "ok");
    let pid = machine.property("conntrackd", "MainPID");
    assert_eq!(machine.run(&format!("ps -o user= -p {pid}")).trim(), "ctflow");
}

#[test]
fn a_program_that_systemd_runs_and_that_hears_of_flows_is_stopped_by_systemctl() {
    let Some(machine) = Machine::boot() else { return };
    machine.write(CONF, &conf());
    machine.run("systemd-run --unit=hears.service /run/programs/conntrack -E");
    let look = || Some(machine.find("listeners.others")).filter(|one| one["status"] == "warning");
    let finding = wait_for("it is named", look);
    assert_eq!(machine.mend(&finding), ["systemctl stop hears.service"]);
    machine.wait_to_find("listeners.others", "ok");
    assert_ne!(machine.property("hears.service", "ActiveState"), "active");
}

#[test]
fn the_original_is_stopped_and_not_started_at_boot_by_systemctl() {
    let Some(machine) = Machine::boot() else { return };
    if !Path::new("/var/lib/dpkg/info/conntrackd.list").exists() {
        println!("skipped: Debian's conntrackd is not installed");
        return;
    }
    machine.write(CONF, &conf());
    let start = "ExecStart=/usr/sbin/conntrackd -C /etc/conntrackd/conntrackd.conf";
    let install = "[Install]\nWantedBy=multi-user.target";
    machine.write(UNIT, &format!("[Service]\nRuntimeDirectory=conntrackd\n{start}\n{install}\n"));
    machine.run("systemctl daemon-reload && systemctl enable --now conntrackd");
    wait_until("it runs", || machine.property("conntrackd", "ActiveState") == "active");
    let running = || {
        let finding = machine.find("service.package");
        let is_seen = finding["found"].as_str().is_some_and(|text| text.contains("runs here"));
        Some(finding).filter(|_| is_seen)
    };
    let finding = wait_for("it is seen", running);
    assert_eq!(finding["status"], "error");
    machine.mend(&finding);
    let finding = machine.wait_to_find("service.package", "info");
    assert!(finding["found"].as_str().is_some_and(|text| text.contains("nothing starts it")));
    assert_eq!(machine.property("conntrackd", "ActiveState"), "inactive");
}

/// The clock itself is the kernel's, and that of everybody: what keeps it in step is started, and may not set it here.
#[test]
fn what_keeps_the_clock_in_step_is_started_by_timedatectl() {
    let Some(machine) = Machine::boot() else { return };
    let finding = machine.find("clock.sync");
    if finding["status"] == "ok" {
        println!("skipped: something keeps this machine's clock in step");
        return;
    }
    // Without these lines it does not start in a container, and would set the clock.
    let drop_in = "/etc/systemd/system/systemd-timesyncd.service.d";
    machine.run(&format!("mkdir {drop_in}"));
    let text = "[Unit]\nConditionCapability=\nConditionVirtualization=\n\
                [Service]\nCapabilityBoundingSet=~CAP_SYS_TIME\nAmbientCapabilities=\n";
    machine.write(&format!("{drop_in}/test.conf"), text);
    machine.run("systemctl daemon-reload");
    let is_on = || machine.run("timedatectl show -p NTP").trim() == "NTP=yes";
    assert!(!is_on());
    assert_eq!(machine.mend(&finding), ["timedatectl set-ntp true"]);
    wait_until("it is on", is_on);
    wait_until("it runs", || machine.property("systemd-timesyncd", "ActiveState") == "active");
    assert_eq!(machine.property("systemd-timesyncd", "UnitFileState"), "enabled");
}
