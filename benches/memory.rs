//! Resident memory per flow: a million IPv4 flows in a table, everything included.

mod sample;

use engine::flows::table::{FlowTable, Notes};

const FLOWS: u32 = 1_000_000;

fn main() {
    let before = resident_bytes();
    let mut table = FlowTable::new(FLOWS as usize, 1);
    for n in 0..FLOWS {
        let flow = if n % 2 == 0 { sample::tcp_v4(n) } else { sample::tcp_v4_nat(n) };
        assert!(table.insert(flow, Notes::default()).is_ok(), "the table has room");
    }
    let bytes = resident_bytes() - before;
    println!("memory: {} bytes resident per flow, {FLOWS} IPv4 flows", bytes / table.len() as u64);
    println!("        (a flow on its way is {} bytes)", size_of::<ctnetlink::Flow>());
    let _ = sample::tcp_v6(0);
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs is mounted");
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("VmRSS is there");
    let kib = line.trim().trim_end_matches(" kB").parse::<u64>().expect("VmRSS is a number");
    kib * 1024
}
