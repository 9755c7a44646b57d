//! Memory of a process's eBPF programs and maps, which no process has as resident memory.
//!
//! The kernel states what a program or a map takes in `/proc/PID/fdinfo` (`memlock`), once for every descriptor: copies
//! of a descriptor count once. A map whose descriptor was closed lives on in its programs, and is found through them.

use super::machine::number_after;
use aya::maps::MapInfo;
use aya::programs::loaded_programs;
use rustix::fd::{AsFd as _, AsRawFd as _};
use std::collections::BTreeMap;
use std::fs;

/// Bytes of all programs and maps that process `pid` holds.
pub(super) fn of(pid: u32) -> u64 {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else { return 0 };
    let texts: Vec<_> =
        entries.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect();
    let programs = by_id(&texts, "prog_id:");
    let mut maps = by_id(&texts, "map_id:");
    for info in loaded_programs().flatten().filter(|info| programs.contains_key(&info.id())) {
        for id in info.map_ids().ok().flatten().unwrap_or_default() {
            maps.entry(id).or_insert_with(|| of_map(id).unwrap_or(0));
        }
    }
    programs.values().chain(maps.values()).sum()
}

/// The objects of one kind, by their number, with their bytes.
fn by_id(texts: &[String], label: &str) -> BTreeMap<u32, u64> {
    let object = |text: &String| {
        Some((number_after(text, label)?.try_into().ok()?, number_after(text, "memlock:")?))
    };
    texts.iter().filter_map(object).collect()
}

fn of_map(id: u32) -> Option<u64> {
    let map = MapInfo::from_id(id).and_then(|info| info.fd()).ok()?;
    let at = format!("/proc/self/fdinfo/{}", map.as_fd().as_raw_fd());
    number_after(&fs::read_to_string(at).ok()?, "memlock:")
}

#[cfg(test)]
mod tests {
    use super::by_id;

    #[test]
    fn a_map_with_two_descriptors_counts_once() {
        let map = |id: u32, bytes: u32| format!("pos:\t0\nmemlock:\t{bytes}\nmap_id:\t{id}\n");
        let texts = [map(7, 100), map(8, 20), map(7, 100), "pos:\t0\nflags:\t02\n".to_owned()];
        assert_eq!(by_id(&texts, "map_id:").values().sum::<u64>(), 120);
        assert!(by_id(&texts, "prog_id:").is_empty());
    }
}
