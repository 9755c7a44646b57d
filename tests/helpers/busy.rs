//! What cannot be had or taken away: a name that a module of the kernel has, an object that a rule has. The machines of
//! `cargo xtask test vm` run this before other tests have objects of that name.

use crate::stage::{Stage, alone};
use std::fs;
use std::process::{Command, Output};
use tests::daemon::{Brand, Files};

const MODULE: &str = "nf_conntrack_tftp";

/// The kernel's module, while this lives.
struct Module;

impl Module {
    fn load() -> Self {
        assert!(Command::new("modprobe").arg(MODULE).status().expect("modprobe").success());
        Self
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        let _ = Command::new("rmmod").arg(MODULE).status();
    }
}

/// Code, standard output and standard error.
fn result_of(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn nfct(stage: &Stage, brand: Brand, args: &[&str]) -> (Option<i32>, String, String) {
    let program = match brand {
        Brand::Ours => Brand::Ours.program().with_file_name("nfct"),
        Brand::Original => "/usr/sbin/nfct".into(),
    };
    let mut command = Command::new(program);
    result_of(&stage.router.within(|| command.args(args).output().expect("it starts")))
}

fn daemon(stage: &Stage, brand: Brand, setup: &str) -> (Option<i32>, String, String) {
    let files = Files::new();
    let path = files.path().join("d.conf");
    let text = "General { LockFile @.lock\n LogFile @.log\n UNIX { Path @.sock\n }\n Systemd off\n }\n\
                Helper { Setup S\n Type tftp inet udp { QueueNum 11\n QueueLen 10\n \
                Policy tftp { ExpectMax 1\n ExpectTimeout 300\n } } }\n";
    let stem = files.path().join("d").display().to_string();
    fs::write(&path, text.replace('@', &stem).replace("Setup S", setup)).expect("a file");
    let mut command = Command::new(brand.program());
    command.arg("-C").arg(&path);
    result_of(&stage.router.within(|| command.output().expect("it starts")))
}

#[test]
fn a_name_that_a_module_of_the_kernel_has_is_refused_as_by_the_original() {
    let _alone = alone();
    let stage = Stage::new();
    let _module = Module::load();
    for brand in [Brand::Original, Brand::Ours] {
        let (code, out, error) = nfct(&stage, brand, &["add", "helper", "tftp", "inet", "udp"]);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{brand:?}: {error}");
        assert!(error.contains("netlink error: Device or resource busy"), "{brand:?}: {error}");
        for (setup, why) in
            [("Setup on", "Device or resource busy"), ("Setup off", "Invalid argument")]
        {
            let (code, out, error) = daemon(&stage, brand, setup);
            let words = format!("trying to configure cthelper `tftp': {why}");
            assert_eq!(code, Some(1), "{brand:?}, {setup}: {out}{error}");
            assert!(format!("{out}{error}").contains(&words), "{brand:?}, {setup}: {out}{error}");
        }
    }
    let (.., error) = nfct(&stage, Brand::Ours, &["add", "helper", "tftp", "inet", "udp"]);
    assert!(error.ends_with("Maybe unload nf_conntrack_tftp.ko first?\n"), "{error}");
    let (_, out, error) = daemon(&stage, Brand::Ours, "Setup on");
    assert!(format!("{out}{error}").contains("unload nf_conntrack_tftp first"), "{out}{error}");
}

#[test]
fn an_object_that_a_rule_has_stays() {
    let _alone = alone();
    let stage = Stage::new();
    for brand in [Brand::Original, Brand::Ours] {
        let added = nfct(&stage, Brand::Ours, &["add", "helper", "tns", "inet6", "tcp"]);
        assert_eq!(added, (Some(0), String::new(), String::new()));
        stage.router.nft(
            "table inet busy {
                ct helper tns { type \"tns\" protocol tcp; l3proto ip6; }
                chain c {
                    type filter hook prerouting priority 0
                    meta nfproto ipv6 tcp dport 1521 ct helper set \"tns\"
                }
            }",
        );
        for words in [&["delete", "helper", "tns"][..], &["flush", "helper"]] {
            let (code, out, error) = nfct(&stage, brand, words);
            assert_eq!((code, out.as_str()), (Some(1), ""), "{brand:?}: {error}");
            assert!(error.contains("netlink error: Device or resource busy"), "{brand:?}: {error}");
        }
        stage.router.sh("nft delete table inet busy");
        let deleted = nfct(&stage, brand, &["delete", "helper", "tns"]);
        assert_eq!(deleted, (Some(0), String::new(), String::new()), "{brand:?}");
    }
}
