//! Modules, and what is done with them at boot.

use super::super::facts::{Known, Modules};
use super::Root;

/// Where settings are, and where names of modules are, for systemd and for those before it.
const SETTINGS: [&str; 5] = [
    "/etc/sysctl.d",
    "/run/sysctl.d",
    "/usr/local/lib/sysctl.d",
    "/usr/lib/sysctl.d",
    "/lib/sysctl.d",
];
const MODULES: [&str; 5] = [
    "/etc/modules-load.d",
    "/run/modules-load.d",
    "/usr/local/lib/modules-load.d",
    "/usr/lib/modules-load.d",
    "/lib/modules-load.d",
];
/// Beginnings of settings that exist only with the module.
const KEYS: [&str; 2] = ["net.netfilter.nf_conntrack_", "net.nf_conntrack_"];

pub(super) fn read(root: Root<'_>) -> Modules {
    Modules {
        loaded: loaded(root),
        conntrack: root.has("/proc/sys/net/netfilter/nf_conntrack_max"),
        boot_settings: Ok(settings(root)),
        boot_modules: Ok(modules(root)),
    }
}

/// Names of what is loaded. A kernel without modules has no such file.
fn loaded(root: Root<'_>) -> Known<Vec<String>> {
    if !root.has("/proc/modules")? {
        return Ok(Vec::new());
    }
    let text = root.text("/proc/modules")?;
    Ok(text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

/// Lines of configuration files: those of `first`, then of `*.conf` in the folders. A file of one folder hides those of
/// the same name in later ones.
fn lines(root: Root<'_>, first: &str, folders: &[&str]) -> Vec<(String, String)> {
    let mut files = vec![first.to_owned()];
    let mut seen = Vec::new();
    for folder in folders {
        for name in root.names(folder).into_iter().filter(|name| name.ends_with(".conf")) {
            if !seen.contains(&name) {
                files.push(format!("{folder}/{name}"));
                seen.push(name);
            }
        }
    }
    let mut lines = Vec::new();
    for file in files {
        // Some of the files may not exist.
        let text = root.text(&file).unwrap_or_default();
        let settings = text.lines().map(str::trim);
        let settings = settings.filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
        lines.extend(settings.map(|line| (file.clone(), line.to_owned())));
    }
    lines
}

fn settings(root: Root<'_>) -> Vec<String> {
    let all = lines(root, "/etc/sysctl.conf", &SETTINGS);
    let key = |(file, line): &(String, String)| {
        // A minus means that a failure is no error; slashes may stand for points.
        let key = line.split('=').next()?.trim().trim_start_matches('-').replace('/', ".");
        let is_ours = KEYS.iter().any(|start| key.starts_with(start));
        is_ours.then(|| format!("{file}: {key}"))
    };
    all.iter().filter_map(key).collect()
}

fn modules(root: Root<'_>) -> Vec<String> {
    let mut names: Vec<_> = lines(root, "/etc/modules", &MODULES)
        .into_iter()
        .map(|(_, line)| line.replace('-', "_"))
        .collect();
    // `modules_load=a,b` of the kernel's command line (systemd-modules-load.service(8)).
    let line = root.text("/proc/cmdline").unwrap_or_default();
    for word in line.split_whitespace() {
        let list =
            word.strip_prefix("modules_load=").or_else(|| word.strip_prefix("modules-load="));
        names.extend(
            list.into_iter().flat_map(|list| list.split(',')).map(|name| name.replace('-', "_")),
        );
    }
    names
}
