//! What a process costs: CPU time, memory and descriptors, from the files of proc(5) about it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What a process has cost so far; a field is empty where its file cannot be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU time of all its threads, those that have ended included, seconds.
    pub cpu_s: Option<f64>,
    /// Resident memory, bytes.
    pub resident_bytes: Option<u64>,
    /// Open descriptors.
    pub open_fds: Option<u64>,
    /// When it began, seconds since 1970.
    pub start_s: Option<f64>,
    /// CPU time of its threads by their names, seconds: threads of the same name together.
    pub threads: BTreeMap<String, f64>,
}

/// Looks at the process `pid`.
#[must_use]
pub fn of(pid: u32) -> Usage {
    read(Path::new("/proc"), pid, rustix::param::clock_ticks_per_second())
}

/// `ticks`: how many of the files' units of time a second has.
fn read(proc: &Path, pid: u32, ticks: u64) -> Usage {
    let folder = proc.join(pid.to_string());
    let stat = Stat::read(&folder, ticks);
    let page = rustix::param::page_size() as u64;
    let pages = || text(folder.join("statm"))?.split(' ').nth(1)?.parse::<u64>().ok();
    let boot = || {
        let all = text(proc.join("stat"))?;
        all.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<f64>().ok()
    };
    let mut threads = BTreeMap::new();
    for task in fs::read_dir(folder.join("task")).into_iter().flatten().flatten() {
        if let Some(thread) = Stat::read(&task.path(), ticks) {
            let is_first = task.file_name().to_str() == Some(pid.to_string().as_str());
            let name = if is_first { "main".to_owned() } else { thread.name };
            *threads.entry(name).or_default() += thread.cpu_s;
        }
    }
    Usage {
        cpu_s: stat.as_ref().map(|stat| stat.cpu_s),
        resident_bytes: pages().map(|pages| pages * page),
        open_fds: fs::read_dir(folder.join("fd")).ok().map(|entries| entries.count() as u64),
        start_s: stat.as_ref().and_then(|stat| Some(boot()? + stat.since_boot_s)),
        threads,
    }
}

/// Fields of a line of proc_pid_stat(5).
struct Stat {
    name: String,
    cpu_s: f64,
    since_boot_s: f64,
}

impl Stat {
    fn read(folder: &Path, ticks: u64) -> Option<Self> {
        Self::parse(&text(folder.join("stat"))?, ticks)
    }

    /// The name may hold anything, brackets too; fields 14, 15 and 22 follow the last bracket, which closes field 2.
    fn parse(line: &str, ticks: u64) -> Option<Self> {
        let (head, tail) = line.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let fields: Vec<_> = tail.split_whitespace().collect();
        let seconds = |field: usize| {
            Some(fields.get(field - 3)?.parse::<u64>().ok()? as f64 / ticks.max(1) as f64)
        };
        Some(Self {
            name: name.to_owned(),
            cpu_s: seconds(14)? + seconds(15)?,
            since_boot_s: seconds(22)?,
        })
    }
}

fn text(path: PathBuf) -> Option<String> {
    fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_from_its_files() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let line = |pid, name, user, system| {
            format!(
                "{pid} ({name}) S 1 1 1 0 -1 4194560 9 0 0 0 {user} {system} 0 0 20 0 3 0 250 8 9\n"
            )
        };
        write("stat", "cpu 1 2 3\nbtime 1000\nprocesses 5\n");
        write("7/stat", &line(7, "a) (b", 150, 50));
        write("7/statm", "900 30 20 1 0 9 0\n");
        write("7/fd/0", "");
        write("7/fd/1", "");
        write("7/task/7/stat", &line(7, "a) (b", 50, 0));
        write("7/task/8/stat", &line(8, "shard-0", 100, 20));
        write("7/task/9/stat", &line(9, "pool", 1, 0));
        write("7/task/10/stat", &line(10, "pool", 2, 0));
        write("7/task/11/stat", "11 (torn");
        let usage = read(root.path(), 7, 100);
        assert_eq!(usage.cpu_s, Some(2.0));
        assert_eq!(usage.resident_bytes, Some(30 * rustix::param::page_size() as u64));
        assert_eq!((usage.open_fds, usage.start_s), (Some(2), Some(1002.5)));
        let threads = [("main", 0.5), ("pool", 0.03), ("shard-0", 1.2)];
        assert_eq!(usage.threads, threads.map(|(name, s)| (name.to_owned(), s)).into());
        assert_eq!(read(root.path(), 8, 100), Usage::default());
    }
}
