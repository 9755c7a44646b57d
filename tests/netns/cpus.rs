//! CPUs that come online while the daemon runs. The daemon under test sees a list of CPUs of the test's making.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::{Brand, Daemon};
use tests::solo::{Solo, solo};
use tests::wait::{wait_for, wait_until};

/// Shows the file named first in the place of the kernel's list, to what the other words start.
const BEHIND: &str = r#"mount --bind "$0" /sys/devices/system/cpu/online && exec "$@""#;

struct Cpus {
    stage: Solo,
    list: PathBuf,
}

impl Cpus {
    fn new(online: &str) -> Self {
        let stage = Solo::new();
        let list = stage.files.path().join("online");
        fs::write(&list, online).expect("it is written");
        Self { stage, list }
    }

    fn start(&self, general: &str) -> Daemon<'_> {
        self.stage.write("a", &solo(general));
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", BEHIND]).arg(&self.list).arg(Brand::Ours.program());
        Daemon::start_with(command, &self.stage.node, Brand::Ours, &self.stage.files, "a")
    }

    /// Makes these flows on a CPU.
    fn create(&self, cpu: usize, flows: std::ops::Range<u32>) {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut cpus = rustix::thread::CpuSet::new();
                cpus.set(cpu);
                rustix::thread::sched_setaffinity(None, &cpus).expect("the machine has this CPU");
                Requests::open(&self.stage.node).create(&udp_flows(flows));
            });
        });
    }
}

/// Events that went through rings, and events left to the socket, once they are as many as there were. The reader of
/// several shards reports them some times a second.
fn ways(daemon: &Daemon<'_>, of: u32) -> [u64; 2] {
    wait_for("all events are accounted for", || {
        let events = &daemon.status()["events"];
        let ways = ["tap_ring", "tap_spilled"].map(|name| events[name].as_u64().expect("a number"));
        (ways.iter().sum::<u64>() == u64::from(of)).then_some(ways)
    })
}

/// Bytes of each ring of the daemon.
fn ring_bytes(daemon: &Daemon<'_>) -> Vec<u64> {
    /// `BPF_MAP_TYPE_RINGBUF`
    const RINGS: &str = "27";
    let path = format!("/proc/{}/fdinfo", daemon.pid());
    let infos = fs::read_dir(path).expect("it runs");
    let texts = infos.filter_map(|info| fs::read_to_string(info.ok()?.path()).ok());
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_whitespace().nth(1)?.to_owned())
    };
    let rings = texts.filter(|text| field(text, "map_type").is_some_and(|kind| kind == RINGS));
    rings.filter_map(|text| field(&text, "max_entries")?.parse().ok()).collect()
}

#[test]
fn a_cpu_that_comes_online_gets_a_ring_and_until_then_the_socket_takes_its_events() {
    for general in ["", "Shards 2"] {
        let cpus = Cpus::new("0\n");
        let a = cpus.start(general);
        wait_until("the table is read", || a.status()["work"]["state"] == "exact");
        assert_eq!(ring_bytes(&a).len(), 1, "a ring for the CPU that is there");
        cpus.create(0, 0..100);
        cpus.create(1, 100..200);
        wait_until("all are known", || a.internal().len() == 200);
        assert_eq!(ways(&a, 200), [100, 100]);
        fs::write(&cpus.list, "0-1\n").expect("it is written");
        wait_until("there is another ring", || ring_bytes(&a).len() == 2);
        // The ring is seen before the programs know of it; what comes through it wakes the reader.
        let mut next = 200;
        wait_until("the ring is in use", || {
            let before = ways(&a, next);
            cpus.create(1, next..next + 1);
            next += 1;
            wait_until("it is known", || a.internal().len() == next as usize);
            ways(&a, next) == [before[0] + 1, before[1]]
        });
        let before = ways(&a, next);
        cpus.create(1, next..next + 100);
        wait_until("all are known", || a.internal().len() == next as usize + 100);
        assert_eq!(ways(&a, next + 100), [before[0] + 100, before[1]]);
        assert_eq!(a.status()["events"]["lost"], 0);
    }
}

#[test]
fn the_rings_of_many_cpus_are_bounded_and_the_log_says_so() {
    let cpus = Cpus::new("0-511\n");
    let a = cpus.start("");
    let rings = ring_bytes(&a);
    assert_eq!((rings.len(), rings.iter().sum()), (512, 256 << 20));
    wait_until("it is logged", || a.log().contains("rings of 512 CPUs have 512 KiB each"));
}
