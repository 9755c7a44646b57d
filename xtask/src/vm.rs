//! `cargo xtask test vm`: the tests of event sources, the command lines of `nfct`, and helpers in user space, on
//! kernels of Debian, in QEMU.
//!
//! ```text
//!  apt-get download --> target/vm/NAME: vmlinuz, modules                  (vm/kernel.rs, kept)
//!  cargo test --no-run --> test binaries, their tools and libraries ---\
//!                                                                       +--> initramfs (vm/image.rs)
//!  busybox, modules, a script as init --------------------------------/
//!  qemu -accel tcg --serial console--> lines, as of any test runner, counted here
//! ```
//!
//! A guest tests and switches itself off. One that says nothing for long is ended, and the end of what it said is
//! shown.

mod machine;
mod kernel;
mod image;
mod programs;

use crate::apt::Apt;
use crate::build::Built;
use crate::cross::{self, Arch};
use crate::shell::{self, step};
use crate::tally::Tally;
use crate::{repo, setup};
use anyhow::{Context as _, Result};
use image::Contents;
use kernel::Kernel;
use machine::{Machine, Plan};
use programs::Userland;
use std::collections::VecDeque;
use std::env;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// What is installed for this part alone.
const PROGRAMS: [(&str, &str); 5] = [
    ("busybox", "busybox-static"),
    ("dpkg-deb", "dpkg"),
    ("xz", "xz-utils"),
    ("curl", "curl"),
    ("strip", "binutils"),
];
/// Programs of ours that they run.
const OURS: [&str; 3] = ["conntrackd", "nfct", "ctflow"];
/// The tests of `tests/cli` that run there. Their texts are looked for where they were when they were built.
const NFCT: &str = "nfct::command_lines_do nfct::effect::";
const NFCT_TEXTS: [&str; 2] = ["tests/cli/nfct/lines", "docs/deviations.toml"];
/// Tests that run there: those of event sources, daemons that use them, and daemons that are not root.
const TESTS: [&str; 8] = [
    "kernels::",
    "tap::",
    "filter::",
    "filtered::what_was_let_in",
    "privilege::maps_and_links",
    "privilege::netlink_goes_on",
    "privilege::the_tap_goes_on",
    "confined::",
];
/// Tests that change settings of the whole machine: nothing else may run beside them.
const OF_MACHINE: &str = "doctor_guest:: failures::";
/// Tests of helpers that come before others: the kernel may have no object of the names they use.
const BUSY: &str = "busy::";
/// Modules that the kernel loads on demand. The guest's `modprobe` returns at once when another one is still at it, and
/// the kernel then answers `EINVAL`: tests that run beside each other would meet that.
const SUBSYSTEMS: [&str; 2] = ["nfnetlink_cttimeout", "nfnetlink_cthelper"];

/// The tests that come last and alone: they remove what the others need.
const LEFT: &str = "left::";
/// Names the one kernel to test on, and other tests to run there.
const ONLY: &str = "CTFLOW_VM_KERNEL";
const CHOSEN: &str = "CTFLOW_VM_TESTS";
/// Names another folder with our programs, for a measurement of a release build.
const BUILT: &str = "CTFLOW_VM_PROGRAMS";
/// Set for a measurement: one CPU whose clock is its instructions, a nanosecond each.
const COUNTED: &str = "CTFLOW_VM_COUNTED";
/// How long a guest may take until it says something: it unpacks a third of a gigabyte first.
const BOOT_MAX: Duration = Duration::from_secs(600);
/// How long it may say nothing then: one test of TCP connections takes a while without hardware's help, and longer
/// beside other work.
const SILENCE_MAX: Duration = Duration::from_secs(600);
/// Lines that wait to be read; the guest's console waits then.
const LINES_MAX: usize = 1000;
/// Lines shown of a guest that was ended.
const TAIL: usize = 40;
/// What a guest says first, and last.
const STARTED: &str = "ctflow-vm: started";
const DONE: &str = "ctflow-vm: done";

/// Runs the part: all kernels at once.
pub(crate) fn run(arch: Arch, built: &Built, targets: [(&str, Command); 3]) -> Result<Tally> {
    let machine = Machine::of(arch);
    setup::ensure_programs(&[PROGRAMS.as_slice(), &[machine.emulator]].concat())?;
    let tests: Vec<_> = targets
        .into_iter()
        .map(|(name, cargo)| Ok((name, test_binary(name, cargo)?)))
        .collect::<Result<_>>()?;
    let folder = folder(arch);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let native = Some(arch) == Arch::of_host();
    let apt = if native { Apt::native() } else { cross::apt()? };
    let userland = match native {
        true => Userland::native(&folder, machine)?,
        false => Userland::foreign(&folder, machine, &apt)?,
    };
    let mut guests = Vec::new();
    let asked = env::var(ONLY).ok();
    let wanted = |name: &str| asked.as_ref().is_none_or(|only| only == name);
    for plan in machine.plans.into_iter().filter(|plan| wanted(plan.name)) {
        let name = plan.name;
        let kernel = kernel::fetch(&apt, &folder, name, plan.package)?;
        let image = folder.join(name).join("initramfs");
        contents(&kernel, &tests, (built, &userland), plan)?.write(&image)?;
        step(&format!("vm: Linux {}", kernel.version));
        let log = folder.join(name).join("console.log");
        let run = move || Guest::start(machine, name, &kernel, &image)?.watch(&log);
        guests.push(thread::spawn(run));
    }
    let mut tally = Tally::default();
    for guest in guests {
        let outcome = guest.join().map_err(|_| anyhow::anyhow!("a guest's thread panicked"))?;
        tally += outcome?;
    }
    Ok(tally)
}

/// Where kernels, programs and consoles are kept.
fn folder(arch: Arch) -> PathBuf {
    let folder = repo::target().join("vm");
    match arch {
        Arch::Amd64 => folder,
        Arch::Arm64 => folder.join("arm64"),
    }
}

/// Builds a test target; the program that holds its tests.
fn test_binary(name: &str, mut cargo: Command) -> Result<PathBuf> {
    cargo.args(["--features", "kernel", "--no-run", "--message-format", "json"]);
    let text = shell::output(&mut cargo)?;
    let messages = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    let mut found = messages.filter_map(|message: serde_json::Value| {
        let is_it = message["target"]["name"] == name;
        message["executable"].as_str().filter(|_| is_it).map(PathBuf::from)
    });
    found.next_back().context("cargo named no test program")
}

fn contents(
    kernel: &Kernel,
    tests: &[(&str, PathBuf)],
    (built, userland): (&Built, &Userland),
    plan: Plan,
) -> Result<Contents> {
    let mut contents = userland.packed()?;
    let small = repo::target().join("vm").join(plan.name).join("stripped");
    for (name, test) in tests {
        contents.stripped(test, &format!("bin/{name}"), &small)?;
    }
    for program in OURS {
        let folder = env::var_os(BUILT).map_or_else(|| built.programs.clone(), PathBuf::from);
        contents.stripped(&folder.join(program), &format!("ctflow/{program}"), &small)?;
    }
    let root = Path::new("/");
    for text in NFCT_TEXTS {
        contents.text(root, &repo::root().join(text))?;
    }
    for text in ["/etc/protocols", "/etc/services"] {
        contents.text(root, Path::new(text))?;
    }
    contents.folder(&kernel.modules, &format!("lib/modules/{}", kernel.version))?;
    contents.script("init", &init(plan));
    Ok(contents)
}

/// What the guest does. `cli` goes first: a test of `netns` has the kernel load its own helper for FTP, beside which
/// `nfct` can add none of that name.
fn init(plan: Plan) -> String {
    let Plan { auto, hook, more, .. } = plan;
    let chosen = env::var(CHOSEN).ok();
    let all = || format!("{} {more} {NFCT}", TESTS.join(" "));
    let tests = chosen.clone().unwrap_or_else(all);
    let of_machine = match chosen {
        Some(_) => String::new(),
        None => format!("netns --test-threads=1 {OF_MACHINE} 2>&1"),
    };
    let busy = match &chosen {
        Some(chosen) if !chosen.contains(BUSY) => String::new(),
        _ => format!("helpers {BUSY} 2>&1"),
    };
    let of_helpers = chosen.unwrap_or_default();
    let left = format!("helpers {LEFT} 2>&1");
    let prepare = programs::PREPARE;
    let subsystems = SUBSYSTEMS.map(|module| format!("modprobe {module}")).join("\n");
    format!(
        "#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /sbin /usr/sbin /usr/bin
/bin/busybox --install -s /sbin
ln -s /bin/nfct /usr/sbin/nfct
ln -s busybox /bin/sh
export PATH=/bin:/sbin CTFLOW_BIN_DIR=/ctflow CTFLOW_AUTO={auto} CTFLOW_HOOK={hook} CTFLOW_SLOW=1 RUST_BACKTRACE=0
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
ln -s /proc/self/fd/0 /dev/stdin
{prepare}
echo {STARTED}
depmod
modprobe nf_conntrack_netlink
{subsystems}
ip link set lo up
netns --nocapture auto_takes the_hook_falls 2>&1 | grep '^Linux ' | sed 's/^/kernel: /'
cli --nocapture {tests} 2>&1
{left}
{busy}
helpers --nocapture --skip {BUSY} --skip {LEFT} {of_helpers} 2>&1
killall conntrackd 2>/dev/null
{left}
{of_machine}
netns --test-threads=2 {tests} 2>&1
echo {DONE}
poweroff -f
"
    )
}

/// A machine that runs.
struct Guest {
    name: &'static str,
    qemu: std::process::Child,
    lines: Receiver<String>,
}

impl Guest {
    fn start(machine: &Machine, name: &'static str, kernel: &Kernel, image: &Path) -> Result<Self> {
        let (emulator, _) = machine.emulator;
        let mut command = Command::new(emulator);
        // A clock that counts instructions makes what is measured the same whatever else this machine does.
        let counted = ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-smp", "1"];
        let usual = ["-accel", "tcg,thread=multi", "-smp", "2"];
        match env::var_os(COUNTED) {
            Some(_) => command.args(counted),
            None => command.args(usual),
        };
        command.args(machine.arguments).args(["-m", "2048"]);
        command.args(["-nodefaults", "-no-reboot", "-nographic", "-serial", "stdio"]);
        command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(image);
        let console = machine.console;
        // On a busy machine the guest's timer may seem dead while the kernel of x86 checks it, which ends the boot.
        let append =
            format!("console={console} quiet loglevel=3 panic=-1 mitigations=off no_timer_check");
        command.args(["-append", &append]);
        let mut qemu = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {emulator}"))?;
        let console = BufReader::new(qemu.stdout.take().context("stdout is piped")?);
        let (sender, lines) = sync_channel(LINES_MAX);
        thread::spawn(move || {
            for line in console.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { name, qemu, lines })
    }

    /// Shows what it says and counts, until it is done or says nothing any more.
    fn watch(mut self, log: &Path) -> Result<Tally> {
        let (began, name) = (Instant::now(), self.name);
        let mut log = File::create(log).context("cannot write the console's log")?;
        let (mut tally, mut done, mut tail) = (Tally::default(), false, VecDeque::new());
        let mut silence_max = BOOT_MAX;
        let why = loop {
            match self.lines.recv_timeout(silence_max) {
                Ok(line) => {
                    if line.starts_with(STARTED) {
                        silence_max = SILENCE_MAX;
                    }
                    writeln!(log, "{line}").context("cannot write the console's log")?;
                    if ["test ", "kernel: ", "cli: ", "helpers: "]
                        .iter()
                        .any(|sign| line.starts_with(sign))
                    {
                        println!("{name}: {line}");
                    }
                    done |= line == DONE;
                    tally += Tally::of_line(&line).unwrap_or_default();
                    tail.push_back(line);
                    if tail.len() > TAIL {
                        tail.pop_front();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break "it switched itself off",
                Err(RecvTimeoutError::Timeout) => break "it said nothing for too long",
            }
        };
        // It has ended, or it is to.
        let _ = self.qemu.kill();
        self.qemu.wait().context("cannot wait for qemu")?;
        if !done || tally == Tally::default() || tally.failed > 0 {
            println!("{name}: {why}; the end of what it said:");
            tail.iter().for_each(|line| println!("{name}| {line}"));
        }
        if !done || tally == Tally::default() {
            tally += Tally::FAILED;
        }
        println!("{name}: {tally} in {}", shell::took(began));
        Ok(tally)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// Whether this machine can run the part at all; why not.
pub(crate) fn obstacle() -> Option<&'static str> {
    if Arch::of_host().is_none() {
        return Some("the kernels are for x86-64 and arm64");
    }
    shell::find("apt-get").is_none().then_some("the kernels are Debian's, and there is no apt-get")
}
