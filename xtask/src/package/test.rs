//! `cargo xtask test package`: the packages in chroots of Debian.
//!
//! ```text
//!   mmdebstrap --> target/package/SUITE.tar (kept: Debian's three packages lie in it) --> a fresh root for each script
//!   debug programs --package--> two debs --lintian, same again--> /srv/ours in that root --> the scripts beside this
//! ```

use super::{PACKAGES, bill, folder, make};
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
const PROGRAMS: [(&str, &str); 5] = [
    ("systemd-analyze", "systemd"),
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
const SCRIPTS: [(&str, &str); 3] = [
    ("fresh", include_str!("fresh.sh")),
    ("over_debians", include_str!("over.sh")),
    ("upgraded", include_str!("upgrade.sh")),
];
/// The highest exposure of the unit that `systemd-analyze security` may find, in tenths.
const EXPOSURE_MAX: &str = "32";
/// The exposure where systemd starts the daemon as its own user.
const EXPOSURE_UNPRIVILEGED_MAX: &str = "22";

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
    test("the_unit_is_valid_and_hardened".into(), unit(&debs));
    test("the_bill_names_the_crates".into(), bills(&debs));
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

/// Unpacks packages into a folder of that name, where they lie as they will on a machine.
fn unpacked(name: &str, debs: &[PathBuf]) -> Result<PathBuf> {
    let root = folder().join(name);
    let _ = fs::remove_dir_all(&root);
    for deb in debs {
        shell::run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(&root))?;
    }
    Ok(root)
}

/// The unit, alone and with the drop-in that starts it without root: systemd of this machine reads it, and finds it
/// hardened.
fn unit(debs: &[PathBuf]) -> Result<()> {
    let root = unpacked("unit", debs)?;
    let unit = root.join("lib/systemd/system/conntrackd.service");
    let verify = |unit: &Path| {
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(["verify", "--man=no", "--recursive-errors=no"]).arg(unit);
        let output = analyze.output().context("cannot start systemd-analyze")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // Other units of this machine are not what is tested; that the program is not installed here neither.
        let ours = said.lines().filter(|line| line.contains("conntrackd.service"));
        let ours: Vec<_> = ours.filter(|line| !line.contains("is not executable")).collect();
        ensure!(ours.is_empty(), "{}", ours.join("\n"));
        Ok(())
    };
    let exposure = |most: &str| {
        let threshold = format!("--threshold={most}");
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(["security", "--offline=true", "--no-pager", &threshold]).arg(&unit);
        let output = analyze.output().context("cannot start systemd-analyze")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let verdict = said.lines().find(|line| line.contains("Overall exposure"));
        println!("{}", verdict.unwrap_or("no verdict"));
        ensure!(output.status.success(), "exposed more than {most} tenths:\n{said}");
        Ok(())
    };
    verify(&unit)?;
    exposure(EXPOSURE_MAX)?;
    let drop_in = unit.with_extension("service.d");
    fs::create_dir_all(&drop_in)?;
    let unprivileged = root.join("usr/share/doc/ctflow-conntrack-tools/unprivileged.conf");
    fs::copy(unprivileged, drop_in.join("unprivileged.conf"))?;
    verify(&unit)?;
    exposure(EXPOSURE_UNPRIVILEGED_MAX)?;
    fs::remove_dir_all(root)?;
    Ok(())
}

/// Each package has a bill of materials, which lists what is linked into its programs.
fn bills(debs: &[PathBuf]) -> Result<()> {
    let root = unpacked("bill", debs)?;
    for package in &PACKAGES {
        let path = root.join(format!("usr/share/doc/{}/sbom.cdx.json.gz", package.name));
        let text = shell::output(Command::new("gzip").arg("-dc").arg(path))?;
        bill::check(&text, package.without).context(package.name)?;
    }
    fs::remove_dir_all(root)?;
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
