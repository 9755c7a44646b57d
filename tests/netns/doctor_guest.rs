//! `ctflow doctor` and what a whole machine has once: limits of the kernel's table, modules. Only where the machine is a
//! guest that goes with the test (`CTFLOW_SLOW`, `cargo xtask test vm`), and one test after the other.

use crate::doctor::{expect, find, mends};
use crate::doctor_machine::Etc;
use std::process::Command;
use tests::ctnetlink::{Requests, udp_flows};
use tests::netns::{Namespace, run, sysctl};
use tests::solo::{Solo, solo};

/// Whether this machine goes with the test.
fn is_guest() -> bool {
    let guest = std::env::var_os("CTFLOW_SLOW").is_some();
    if !guest {
        println!("skipped: changes settings of the whole machine (cargo xtask test vm)");
    }
    guest
}

#[test]
fn limits_of_the_kernels_table_are_raised_by_the_commands() {
    if !is_guest() {
        return;
    }
    // These settings can be changed in the first namespace alone.
    let (node, files) = (Namespace::current(), Solo::new());
    let conf = files.write("a", &solo(""));
    sysctl("net/netfilter/nf_conntrack_max", "100");
    Requests::open(&node).create(&udp_flows(0..90));
    mends(&node, &conf, "sysctl.max", "warning");
    sysctl("net/netfilter/nf_conntrack_max", "100");
    sysctl("net/netfilter/nf_conntrack_tcp_timeout_established", "432000");
    mends(&node, &conf, "sysctl.timeouts", "info");
    Requests::open(&node).create(&udp_flows(90..98));
    mends(&node, &conf, "sysctl.max", "error");
    sysctl("net/netfilter/nf_conntrack_max", "1000000");
    sysctl("net/netfilter/nf_conntrack_buckets", "1024");
    mends(&node, &conf, "sysctl.buckets", "warning");
    Requests::open(&node).delete(&udp_flows(0..98));
}

#[test]
fn a_flowtable_that_counts_nothing_gets_a_counter_by_the_command() {
    if !is_guest() {
        return;
    }
    let stage = Solo::new();
    let conf = stage.write("a", &solo(""));
    expect(&stage.node, &conf, "flowtable.counter", "ok");
    run("modprobe", &["nf_flow_table"]);
    stage.node.nft("table inet t { flowtable f { hook ingress priority 5; devices = { lo }; }; }");
    mends(&stage.node, &conf, "flowtable.counter", "warning");
}

#[test]
fn functions_at_the_hooks_say_whether_packets_are_tracked() {
    if !is_guest() {
        return;
    }
    // Debian's 6.1 has no such module.
    let loads = Command::new("modprobe").arg("nfnetlink_hook").status().expect("modprobe is there");
    if !loads.success() {
        println!("skipped: this kernel does not list its hooks");
        return;
    }
    let stage = Solo::new();
    let conf = stage.write("a", &solo(""));
    let finding = expect(&stage.node, &conf, "conntrack.active", "warning");
    assert!(finding["found"].as_str().unwrap().contains("meets conntrack"), "{finding}");
    stage.node.nft("table inet filter { chain forward { type filter hook forward priority 0; }; }");
    mends(&stage.node, &conf, "conntrack.active", "warning");
}

#[test]
fn a_module_that_is_not_there_is_loaded_by_the_command() {
    if !is_guest() {
        return;
    }
    let node = Namespace::current();
    expect(&node, "/nowhere", "module.conntrack", "ok");
    // No program listens any more: the tests run one after the other.
    run("modprobe", &["-r", "nf_conntrack_netlink"]);
    mends(&node, "/nowhere", "module.conntrack", "error");
}

#[test]
fn a_module_that_nobody_loads_at_boot_is_loaded_by_the_command() {
    if !is_guest() {
        return;
    }
    let setting = "net.netfilter.nf_conntrack_acct = 1\n";
    let etc = Etc::new(&[
        ("sysctl.d/90-conntrack.conf", setting),
        ("modules-load.d/other.conf", "e1000\n"),
    ]);
    etc.mends("module.boot", "warning");
    let node = Namespace::current();
    assert_eq!(find(&node, "/nowhere", "module.conntrack")["status"], "ok");
}
