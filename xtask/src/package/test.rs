//! `cargo xtask test package`: the packages in chroots of Debian.
//!
//! ```text
//!   mmdebstrap --> target/package/SUITE.tar (kept: Debian's three packages lie in it) --> a fresh root for each script
//!   debug programs --package--> two debs --lintian, same again--> /srv/ours in that root --> the scripts beside this
//! ```

use super::{folder, make};
use crate::build::Built;
use crate::setup;
use crate::shell::{self, step};
use crate::tally::Tally;
use anyhow::{Context as _, Result, bail, ensure};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// What is installed for this part alone.
const PROGRAMS: [(&str, &str); 4] = [
    ("mmdebstrap", "mmdebstrap"),
    ("lintian", "lintian"),
    ("dpkg-shlibdeps", "dpkg-dev"),
    ("tar", "tar"),
];
const SUITES: [&str; 2] = ["bookworm", "trixie"];
/// What our packages need of Debian, and their scripts.
const INCLUDE: &str = "systemd-standalone-sysusers,init-system-helpers,libgcc-s1,util-linux";
/// Has Debian's three packages, with what they need, lie in the chroot, and lists for simulated installations.
const FETCH: &str = "mkdir -p \"$1/srv/debian\" && chroot \"$1\" apt-get update -q && \
    chroot \"$1\" sh -ec 'apt-get install -y -q --download-only --no-install-recommends conntrack conntrackd nfct && \
    mv /var/cache/apt/archives/*.deb /srv/debian/'";
const COMMON: &str = include_str!("common.sh");
const SCRIPTS: [(&str, &str); 2] =
    [("fresh", include_str!("fresh.sh")), ("over_debians", include_str!("over.sh"))];

/// Runs the part.
pub(crate) fn run(built: &Built) -> Result<Tally> {
    setup::ensure_programs(&PROGRAMS)?;
    let debs = make(&built.programs, &folder())?;
    let mut tally = Tally::default();
    let mut began = Instant::now();
    let mut test = |name: String, outcome: Result<()>| {
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("test package::{name} ... {word} ({})", shell::took(began));
        began = Instant::now();
        if let Err(error) = &outcome {
            println!("{error:#}");
        }
        tally += if outcome.is_ok() { Tally::PASSED } else { Tally::FAILED };
    };
    test("made_again_elsewhere_it_is_the_same".into(), same_again(built, &debs));
    test("lintian_is_content".into(), lint(&debs));
    for suite in SUITES {
        let tar = match chroot(suite) {
            Ok(tar) => tar,
            Err(error) => {
                test(format!("{suite}::chroot"), Err(error));
                continue;
            }
        };
        for (name, script) in SCRIPTS {
            test(format!("{suite}::{name}"), run_script(suite, &tar, &debs, script));
        }
    }
    Ok(tally)
}

/// Packs the same programs in another folder, with another time zone, umask and clock.
fn same_again(built: &Built, debs: &[PathBuf]) -> Result<()> {
    let elsewhere = folder().join("again");
    let programs = elsewhere.join("programs");
    fs::create_dir_all(&programs)?;
    for name in ["ctflow", "conntrack", "conntrackd", "nfct"] {
        fs::copy(built.programs.join(name), programs.join(name))?;
    }
    let mut again = Command::new("sh");
    again.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(built.programs.join("xtask"));
    again.args(["package", "--programs"]).arg(&programs).arg("--out").arg(&elsewhere);
    shell::output(again.env("TZ", "Pacific/Apia"))?;
    for deb in debs {
        let name = deb.file_name().context("a package has a name")?;
        ensure!(fs::read(deb)? == fs::read(elsewhere.join(name))?, "{} differs", deb.display());
    }
    fs::remove_dir_all(elsewhere)?;
    Ok(())
}

fn lint(debs: &[PathBuf]) -> Result<()> {
    let mut lintian = Command::new("lintian");
    lintian.args(["--fail-on", "error,warning", "--allow-root"]).args(debs);
    let output = lintian.output().context("cannot start lintian")?;
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    ensure!(output.status.success(), "lintian is not");
    Ok(())
}

/// The chroot of a suite, packed: that of last time, if there is one.
fn chroot(suite: &str) -> Result<PathBuf> {
    let tar = folder().join(format!("{suite}.tar"));
    if tar.exists() {
        return Ok(tar);
    }
    step(&format!("package: a chroot of {suite}"));
    let new = tar.with_extension("new.tar");
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args(["--variant=minbase", "--quiet", "--skip=cleanup/apt"]);
    mmdebstrap.arg(format!("--include={INCLUDE}")).arg(format!("--customize-hook={FETCH}"));
    shell::run(mmdebstrap.arg(suite).arg(&new))?;
    fs::rename(&new, &tar)?;
    Ok(tar)
}

/// Runs a script in a root of its own.
fn run_script(suite: &str, tar: &Path, debs: &[PathBuf], script: &str) -> Result<()> {
    let root = folder().join(format!("root-{suite}"));
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(&root)?;
    shell::run(Command::new("tar").arg("-xf").arg(tar).arg("-C").arg(&root))?;
    let ours = root.join("srv/ours");
    fs::create_dir_all(&ours)?;
    for deb in debs {
        fs::copy(deb, ours.join(deb.file_name().context("a package has a name")?))?;
    }
    let mut command = Command::new("timeout");
    command.args(["300", "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]);
    command.arg(format!("--mount-proc={}", root.join("proc").display()));
    command.arg("chroot").arg(&root).args(["bash", "-eu", "-o", "pipefail", "-c"]);
    command.arg(format!("{COMMON}\n{script}")).env_clear();
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").process_group(0);
    let output = command.output().context("cannot start unshare")?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{}: {}", output.status, String::from_utf8_lossy(&said));
    }
    fs::remove_dir_all(&root)?;
    Ok(())
}
