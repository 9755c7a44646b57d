//! systemd's unit, Debian's package, and processes of the original.

use super::super::facts::{Known, Service};
use super::{Root, processes};

const UNIT: &str = "conntrackd.service";
/// Where systemd looks for units, the first one wins (systemd.unit(5)).
const UNITS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// The files of Debian's package conntrackd.
const PACKAGE: &str = "/var/lib/dpkg/info/conntrackd.list";
/// Folders of programs.
const PROGRAMS: [&str; 4] = ["/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"];

pub(super) fn read(root: Root<'_>) -> Service {
    let originals = originals(root);
    let running = match &originals {
        Ok(originals) => running(root, originals),
        Err(why) => Err(why.clone()),
    };
    Service { unit: unit(root), enabled: Ok(is_enabled(root)), originals, running }
}

/// The unit and what is added to it.
fn unit(root: Root<'_>) -> Known<Option<(String, String)>> {
    for folder in UNITS {
        let path = format!("{folder}/{UNIT}");
        if !root.has(&path)? {
            continue;
        }
        let mut text = root.text(&path)?;
        for folder in UNITS {
            let folder = format!("{folder}/{UNIT}.d");
            for name in root.names(&folder).iter().filter(|name| name.ends_with(".conf")) {
                text += &root.text(&format!("{folder}/{name}"))?;
                text.push('\n');
            }
        }
        return Ok(Some((path, text)));
    }
    Ok(None)
}

fn is_enabled(root: Root<'_>) -> bool {
    let folder = UNITS[0];
    let wants = root.names(folder).into_iter().filter(|name| name.ends_with(".wants"));
    wants
        .into_iter()
        .any(|wants| root.names(&format!("{folder}/{wants}")).iter().any(|name| name == UNIT))
}

/// Programs of the package; none if it is not installed.
fn originals(root: Root<'_>) -> Known<Vec<String>> {
    if !root.has(PACKAGE)? {
        return Ok(Vec::new());
    }
    let list = root.text(PACKAGE)?;
    let programs =
        list.lines().filter(|line| PROGRAMS.iter().any(|folder| line.starts_with(folder)));
    Ok(programs.map(str::to_owned).collect())
}

/// Processes of this network namespace that run one of these programs.
fn running(root: Root<'_>, originals: &[String]) -> Known<Vec<u32>> {
    if originals.is_empty() {
        return Ok(Vec::new());
    }
    let own = root.target("/proc/self/ns/net")?;
    let mut found = Vec::new();
    for pid in processes::ids(root) {
        if processes::name(root, pid) != "conntrackd" {
            continue;
        }
        if processes::namespace(root, pid)? != Some(own.clone()) {
            continue;
        }
        // The process may have ended meanwhile. A file that was replaced while it runs is shown as deleted.
        let program = root.target(&format!("/proc/{pid}/exe")).unwrap_or_default();
        if originals.iter().any(|own| own == program.trim_end_matches(" (deleted)")) {
            found.push(pid);
        }
    }
    Ok(found)
}
