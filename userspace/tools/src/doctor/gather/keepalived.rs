//! keepalived's configuration and environment.

use super::super::facts::{Fault, Keepalived, Known};
use super::{Root, processes, said};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

const CONF: &str = "/etc/keepalived/keepalived.conf";
/// Files that its unit takes its environment from: Debian's, and Red Hat's.
const ENVIRONMENTS: [&str; 2] = ["/etc/default/keepalived", "/etc/sysconfig/keepalived"];
const GATE: &str = "CTFLOW_GATE=";
/// How deep files may include others.
const DEPTH_MAX: usize = 8;
/// Bits of a file's mode: writable by the group and by others; executable by root.
const WRITABLE: u32 = 0o022;
const EXECUTABLE: u32 = 0o100;

pub(super) fn read(root: Root<'_>) -> Keepalived {
    let text = match root.has(CONF) {
        Ok(true) => whole(root, CONF, 0).map(|text| replaced(&text)),
        Ok(false) => Err(format!("there is no {CONF}")),
        Err(why) => Err(why),
    };
    Keepalived {
        scripts: text.clone().and_then(|text| scripts(root, &text)),
        knows_gate: knows_gate(root),
        gate_shut: Err("nftables was not asked".into()),
        text,
    }
}

/// The lines of a file without comments, and those of the files it includes, in their places. Of a pattern only `*` at
/// the place of a name is known, which is what people write.
fn whole(root: Root<'_>, name: &str, depth: usize) -> Known<String> {
    let mut out = String::new();
    for line in root.text(name)?.lines() {
        let line = line.split(['#', '!']).next().unwrap_or_default().trim_end();
        match line.trim().strip_prefix("include ").map(str::trim) {
            Some(wanted) if depth < DEPTH_MAX => {
                let (folder, pattern) = name_parts(wanted);
                for file in root.names(&folder).iter().filter(|file| matches(&pattern, file)) {
                    out += &whole(root, &format!("{folder}/{file}"), depth + 1)?;
                }
            }
            Some(_) => return Err(format!("{CONF} includes files more than {DEPTH_MAX} deep")),
            None => {
                out += line;
                out.push('\n');
            }
        }
    }
    Ok(out)
}

/// Folder and name of a file to include, which may be named from keepalived's folder.
fn name_parts(wanted: &str) -> (String, String) {
    let wanted = if wanted.starts_with('/') {
        wanted.to_owned()
    } else {
        format!("/etc/keepalived/{wanted}")
    };
    let (folder, name) = wanted.rsplit_once('/').unwrap_or(("", &wanted));
    (folder.to_owned(), name.to_owned())
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, end)) => {
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        }
        None => pattern == name,
    }
}

/// The text with the values of its variables: `$NAME=VALUE`, later `$NAME` or `${NAME}`.
fn replaced(text: &str) -> String {
    let (mut variables, mut out) = (Vec::<(String, String)>::new(), String::new());
    for line in text.lines() {
        let mut line = line.to_owned();
        let definition = line.strip_prefix('$').and_then(|rest| rest.split_once('='));
        let definition = definition.map(|(name, value)| (name.to_owned(), value.to_owned()));
        // The longest name first: $A is the beginning of $AB.
        for (name, value) in &variables {
            if definition.is_none() {
                line = line
                    .replace(&format!("${{{name}}}"), value)
                    .replace(&format!("${name}"), value);
            }
        }
        match definition {
            Some(definition) => {
                variables.push(definition);
                variables.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
            }
            None => {
                out += &line;
                out.push('\n');
            }
        }
    }
    out
}

/// The files of scripts of ours that are called, and what is wrong with each.
fn scripts(root: Root<'_>, text: &str) -> Known<Vec<(String, Option<Fault>)>> {
    let words = text.split(|c: char| c.is_whitespace() || c == '"' || c == '\'');
    let mut paths: Vec<_> = words.filter(|word| word.ends_with("/primary-backup.sh")).collect();
    paths.sort_unstable();
    paths.dedup();
    paths.into_iter().map(|path| Ok((path.to_owned(), fault(root, path)?))).collect()
}

/// What keepalived holds against a script, or against a folder that it lies in.
fn fault(root: Root<'_>, path: &str) -> Known<Option<Fault>> {
    for at in Path::new(path).ancestors().filter(|at| at.parent().is_some()) {
        let name = at.display().to_string();
        let metadata = match fs::metadata(root.at(&name)) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Some(Fault::Absent)),
            Err(error) => return Err(format!("cannot look at {name}: {}", said(&error))),
        };
        let (uid, mode) = (metadata.uid(), metadata.mode());
        if let Some(fault) = fault_of(name, uid, mode) {
            return Ok(Some(fault));
        }
    }
    Ok(None)
}

/// What is wrong with the owner and the mode of a file or a folder. (A folder that no user may enter is none of
/// ours.)
fn fault_of(name: String, uid: u32, mode: u32) -> Option<Fault> {
    match () {
        () if uid != 0 => Some(Fault::Owner(name)),
        () if mode & WRITABLE != 0 => Some(Fault::Writable(name)),
        () if mode & EXECUTABLE == 0 => Some(Fault::NotExecutable),
        () => None,
    }
}

fn knows_gate(root: Root<'_>) -> Known<bool> {
    for file in ENVIRONMENTS {
        if root.has(file)?
            && root.text(file)?.lines().any(|line| line.trim_start().starts_with(GATE))
        {
            return Ok(true);
        }
    }
    for pid in processes::ids(root) {
        if processes::name(root, pid) == "keepalived" {
            match root.text(&format!("/proc/{pid}/environ")) {
                Ok(text) if text.split('\0').any(|variable| variable.starts_with(GATE)) => {
                    return Ok(true);
                }
                // The process may have ended meanwhile.
                Err(why) if root.has(&format!("/proc/{pid}/comm"))? => return Err(why),
                Ok(_) | Err(_) => {}
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_the_longest_name_first() {
        let text = "$A=x\n$AB=y z\nscript \"${AB} $A $AB\"\n";
        assert_eq!(replaced(text), "script \"y z x y z\"\n");
    }

    #[test]
    fn a_script_that_keepalived_would_not_run_is_at_fault() {
        let fault = |uid, mode| fault_of("x".into(), uid, mode);
        assert_eq!(fault(0, 0o100_755), None);
        assert_eq!(fault(1000, 0o755), Some(Fault::Owner("x".into())));
        let writable = [fault(0, 0o775), fault(0, 0o757), fault(0, 0o1777)];
        assert!(writable.iter().all(|it| *it == Some(Fault::Writable("x".into()))), "{writable:?}");
        assert_eq!(fault(0, 0o644), Some(Fault::NotExecutable));
    }
}
