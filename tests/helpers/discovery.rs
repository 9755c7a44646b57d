//! Programs that ask a group who is there, and what answers: drill and avahi, gssdp-discover and minidlna, dhclient and
//! dnsmasq. As in `groups.rs`, the router asks.

use crate::groups::ask_towards_server;
use crate::service::{Service, client, succeeds, written};
use crate::stage::{Nat, SERVER, Stage, in_variants};
use std::fs;
use tests::daemon::Files;
use tests::wait::{wait_for, wait_until};

#[test]
fn drill_asks_avahi() {
    in_variants("drill, avahi", &[Nat::None], resolve);
}

/// One question from a port of its own: avahi answers it directly.
fn resolve(stage: &Stage, _: Nat) {
    let files = Files::new();
    let conf = written(
        &files,
        "conf",
        "[server]\nhost-name=printer\nuse-ipv6=no\nenable-dbus=no\nallow-interfaces=s0\n\
         [publish]\npublish-workstation=no\n",
    );
    let avahi = ["-f", &conf, "--no-drop-root", "--no-chroot", "--no-rlimits"];
    let _service = Service::start(&stage.server, "avahi-daemon", &avahi);
    ask_towards_server(stage);
    let question = ["-p", "5353", "printer.local", "@224.0.0.251"];
    let answer = format!("\nprinter.local.\t10\tIN\tA\t{SERVER}\n");
    wait_until("avahi answers", || {
        let said = client(&stage.router, "drill", &question).stdout;
        String::from_utf8_lossy(&said).contains(&answer)
    });
    stage.router.sh("conntrack -F expect");
}

#[test]
fn gssdp_discover_finds_minidlna() {
    in_variants("gssdp-discover, minidlna", &[Nat::None], discover);
}

/// The answer names the device's description, which the client may then fetch through the router.
fn discover(stage: &Stage, _: Nat) {
    let files = Files::new();
    let path = files.path().display();
    let text = format!(
        "media_dir={path}\ndb_dir={path}\nlog_dir={path}\nnetwork_interface=s0\nport=8200\n\
         friendly_name=box\ninotify=no\nnotify_interval=3600\n"
    );
    let (conf, pid) = (written(&files, "conf", &text), format!("{path}/pid"));
    let _service = Service::start(&stage.server, "minidlnad", &["-S", "-f", &conf, "-P", &pid]);
    ask_towards_server(stage);
    let question = ["-i", "rs", "--timeout=3", "--target=upnp:rootdevice"];
    let url = format!("http://{SERVER}:8200/rootDesc.xml");
    wait_until("minidlna answers", || {
        let said = client(&stage.router, "gssdp-discover", &question).stdout;
        String::from_utf8_lossy(&said).contains(&format!("  Location: {url}\n"))
    });
    let description = succeeds(stage, "curl", &["-sS", &url]);
    assert!(description.contains("<friendlyName>box</friendlyName>"), "{description}");
    stage.router.sh("conntrack -F expect");
}

#[test]
fn dhclient_asks_dnsmasq() {
    in_variants("dhclient, dnsmasq", &[Nat::None], lease);
}

fn lease(stage: &Stage, _: Nat) {
    let files = Files::new();
    let path = |name: &str| files.path().join(name).display().to_string();
    let leases = format!("--dhcp-leasefile={}", path("served"));
    let range = "--dhcp-range=fd99:2::1000,fd99:2::1fff,64,2m";
    let dnsmasq =
        ["-k", "-C", "/dev/null", "-p", "0", "-u", "root", "--interface=s0", range, &leases, "-x"];
    let pid = path("dnsmasq");
    let _service = Service::start(&stage.server, "dnsmasq", &[&dnsmasq[..], &[&pid]].concat());
    let (script, lease) = (written(&files, "script", "#!/bin/sh\n"), written(&files, "lease", ""));
    make_executable(&script);
    let conf = written(&files, "conf", "");
    let dhclient =
        ["-6", "-1", "-d", "-sf", &script, "-cf", &conf, "-lf", &lease, "-pf", &path("pid"), "rs"];
    let _client = Service::start(&stage.router, "dhclient", &dhclient);
    let got = wait_for("a lease is there", || {
        let text = fs::read_to_string(&lease).unwrap_or_default();
        text.contains("iaaddr").then_some(text)
    });
    assert!(got.contains("iaaddr fd99:2::1"), "{got}");
    stage.router.sh("conntrack -F expect");
}

fn make_executable(path: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
}
