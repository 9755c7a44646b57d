//! Amanda: a backup server has a client make a backup, and takes it over connections of their own.

use crate::service::{Service, written};
use crate::stage::{Nat, SERVER, Stage, datagrams, in_every_variant};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use tests::daemon::Files;
use tests::wait::wait_until;

/// User and group `backup` of the machines of `cargo xtask test vm`: amandad insists on it.
const BACKUP: u32 = 34;
/// What a dumper would ask for; amservice puts the head before it.
const REQUEST: &str = "<dle>\n<program>GNUTAR</program>\n<disk>/etc</disk>\n<level>0</level>\n\
    <auth>bsd</auth>\n<index>YES</index>\n<record>NO</record>\n<datapath>AMANDA</datapath>\n</dle>\n";
/// The four streams, into files, until standard input ends.
const SERVICE: &str = "exec amservice -o client_port=10080 -f request --stream DATA,0,4 \
    --stream MESG,0,5 --stream INDEX,0,6 --stream STATE,0,7 $0 bsd sendbackup \
    4>data 5>messages 6>index 7>state";

#[test]
fn amanda_backs_up() {
    in_every_variant("amservice, amandad", back_up);
}

/// amservice is the backup server here, and asks; amandad, on the other side, has the files.
fn back_up(stage: &Stage, nat: Nat) {
    let files = Files::new();
    written(&files, "request", REQUEST);
    let _amandad = amandad(stage);
    let mut command = Command::new("sh");
    command.args(["-c", SERVICE, &nat.server().to_string()]).current_dir(files.path());
    let service = Service::of(&stage.client, command.stdin(Stdio::piped()));
    let read = |name: &str| fs::read_to_string(files.path().join(name)).unwrap_or_default();
    wait_until("the backup is complete", || read("messages").contains("\nsendbackup: end\n"));
    wait_until("its index is there", || read("index").contains("/passwd\n"));
    let data = fs::read(files.path().join("data")).expect("a file");
    assert_eq!(data.get(257..262), Some(&b"ustar"[..]), "an archive of tar");
    drop(service);
}

/// As inetd starts it: with the socket on which the request waits.
fn amandad(stage: &Stage) -> Service {
    let socket = OwnedFd::from(datagrams(&stage.server, SERVER, 10_080));
    let output = socket.try_clone().expect("a descriptor");
    let mut command = Command::new("/usr/lib/amanda/amandad");
    command.args(["-auth=bsd", "sendbackup"]).uid(BACKUP).gid(BACKUP);
    Service::of(&stage.server, command.stdin(socket).stdout(output))
}
