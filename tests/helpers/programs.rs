//! Programs that people use, through the router: curl and vsftpd, tftp-hpa, rpcbind and rpcinfo.

use crate::stage::{Nat, SERVER, Stage, datagrams, in_every_variant};
use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use tests::daemon::Files;
use tests::netns::Namespace;
use tests::wait::wait_until;

/// Where the machines of `cargo xtask test vm` have it.
const TFTP: &str = "/bin/tftp";
const TEXT: &str = "the file\n";

/// A service, which ends with this.
struct Service(Child);

impl Service {
    fn start(namespace: &Namespace, program: &str, args: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null());
        Self(namespace.within(|| command.spawn().unwrap_or_else(|e| panic!("{program}: {e}"))))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a client says in the end.
fn client(stage: &Stage, program: &str, args: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.arg("30").arg(program).args(args).stdin(Stdio::null());
    stage.client.within(|| command.output().expect("it starts"))
}

fn succeeds(stage: &Stage, program: &str, args: &[&str]) -> String {
    let output = client(stage, program, args);
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A folder that services may read, with a file.
fn folder(files: &Files, name: &str) -> String {
    let path = files.path().join(name);
    let open = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    fs::create_dir(&path).expect("a folder");
    fs::write(path.join("file"), TEXT).expect("a file");
    open(files.path(), 0o755);
    open(&path, 0o755);
    open(&path.join("file"), 0o644);
    path.display().to_string()
}

#[test]
fn curl_reads_from_vsftpd() {
    in_every_variant("curl, vsftpd", curl);
}

/// In each of the four forms.
fn curl(stage: &Stage, nat: Nat) {
    let files = Files::new();
    let (served, conf) = (folder(&files, "served"), files.path().join("conf"));
    let text = format!(
        "listen=YES\nlisten_address={SERVER}\nbackground=NO\nanonymous_enable=YES\nlocal_enable=NO\n\
         anon_root={served}\nsecure_chroot_dir={served}\nconnect_from_port_20=YES\nxferlog_enable=NO\n\
         isolate_network=NO\nseccomp_sandbox=NO\n"
    );
    fs::write(&conf, text).expect("a file");
    let conf = conf.display().to_string();
    let _service = Service::start(&stage.server, "vsftpd", &[&conf]);
    let at = (SERVER, 21);
    wait_until("vsftpd listens", || {
        stage.server.within(|| std::net::TcpStream::connect(at).is_ok())
    });
    let url = format!("ftp://{}/file", nat.server());
    let passive: [&[&str]; 2] = [&[], &["--disable-epsv"]];
    let active: [&[&str]; 2] = [&["-P", "-"], &["-P", "-", "--disable-eprt"]];
    for form in passive.into_iter().chain(active) {
        let text = succeeds(stage, "curl", &[&["-sS", &url], form].concat());
        assert_eq!(text, TEXT, "{form:?}");
    }
}

#[test]
fn tftp_reads_and_writes() {
    in_every_variant("tftp-hpa", tftp);
}

fn tftp(stage: &Stage, nat: Nat) {
    let files = Files::new();
    let served = folder(&files, "served");
    fs::set_permissions(&served, fs::Permissions::from_mode(0o777)).expect("it is ours");
    let address = SERVER.to_string();
    let args = ["-L", "-c", "-a", &address, "-u", "root", "-s", &served];
    let _service = Service::start(&stage.server, "in.tftpd", &args);
    let (got, server) = (files.path().join("got").display().to_string(), nat.server().to_string());
    // By its whole name: `timeout` of busybox prefers the client of busybox. What comes before the server listens is
    // sent again.
    succeeds(stage, TFTP, &["-m", "binary", &server, "-c", "get", "file", &got]);
    assert_eq!(fs::read_to_string(&got).expect("a file"), TEXT);
    succeeds(stage, TFTP, &["-m", "binary", &server, "-c", "put", &got, "back"]);
    let back = format!("{served}/back");
    wait_until("the file is whole", || fs::read_to_string(&back).is_ok_and(|text| text == TEXT));
}

#[test]
fn rpcinfo_asks_rpcbind() {
    in_every_variant("rpcbind, rpcinfo", rpcinfo);
}

fn rpcinfo(stage: &Stage, nat: Nat) {
    fs::create_dir_all("/run/rpcbind").expect("a folder");
    let _service = Service::start(&stage.server, "rpcbind", &["-f", "-i"]);
    let service = datagrams(&stage.server, SERVER, 0);
    let port = service.local_addr().expect("it is bound").port();
    let local = stage.server.within(|| UdpSocket::bind("127.0.0.1:0").expect("a port is free"));
    local.set_read_timeout(Some(std::time::Duration::from_millis(500))).expect("a timeout");
    wait_until("rpcbind knows the service", || is_registered(&local, port));
    // Two calls with no argument, from two runs.
    let answering = thread::spawn(move || {
        for _ in 0..2 {
            let mut call = [0; 500];
            let (_, from) = service.recv_from(&mut call).expect("a call");
            let answer = [&call[..4], &[0, 0, 0, 1][..], &[0; 16]].concat();
            service.send_to(&answer, from).expect("it is sent");
        }
    });
    let server = nat.server().to_string();
    for _ in 0..2 {
        let said = succeeds(stage, "rpcinfo", &["-T", "udp", &server, "100003", "3"]);
        assert!(said.contains("ready and waiting"), "{said}");
    }
    answering.join().expect("both were answered");
    stage.router.sh("conntrack -F expect");
}

/// Tells the port mapper of NFS version 3 over UDP (`PMAPPROC_SET`, RFC 1833).
fn is_registered(local: &UdpSocket, port: u16) -> bool {
    let words = [7, 0, 2, 100_000, 2, 1, 0, 0, 0, 0, 100_003, 3, 17, port.into()];
    let _ = local.send_to(words.map(u32::to_be_bytes).as_flattened(), "127.0.0.1:111");
    let mut answer = [0; 100];
    local.recv_from(&mut answer).is_ok_and(|(len, _)| len == 28 && answer[27] == 1)
}
