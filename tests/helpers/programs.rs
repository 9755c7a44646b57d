//! Programs that people use, through the router: curl and lftp with vsftpd, tftp-hpa, rpcbind and rpcinfo, saned and
//! scanimage.

use crate::service::{Service, TEXT, client, folder, succeeds, written};
use crate::stage::{Nat, SERVER, Stage, datagrams, in_every_variant};
use std::fs;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::thread;
use tests::daemon::Files;
use tests::wait::wait_until;

/// Where the machines of `cargo xtask test vm` have it.
const TFTP: &str = "/bin/tftp";

#[test]
fn curl_reads_from_vsftpd() {
    in_every_variant("curl, vsftpd", curl);
}

/// In each of the four forms.
fn curl(stage: &Stage, nat: Nat) {
    let files = Files::new();
    let _service = vsftpd(stage, &files);
    let url = format!("ftp://{}/file", nat.server());
    let passive: [&[&str]; 2] = [&[], &["--disable-epsv"]];
    let active: [&[&str]; 2] = [&["-P", "-"], &["-P", "-", "--disable-eprt"]];
    for form in passive.into_iter().chain(active) {
        let text = succeeds(stage, "curl", &[&["-sS", &url], form].concat());
        assert_eq!(text, TEXT, "{form:?}");
    }
}

#[test]
fn lftp_reads_from_vsftpd() {
    in_every_variant("lftp, vsftpd", lftp);
}

/// PASV, EPSV and PORT, with a connection each.
fn lftp(stage: &Stage, nat: Nat) {
    let files = Files::new();
    let _service = vsftpd(stage, &files);
    let forms = ["", "set ftp:prefer-epsv yes;", "set ftp:passive-mode no;"];
    for form in forms {
        let words = format!(
            "set net:max-retries 1; set net:timeout 30; {form} cat ftp://{}/file",
            nat.server()
        );
        assert_eq!(succeeds(stage, "lftp", &["-c", &words]), TEXT, "{form:?}");
    }
}

/// A server of [`folder`].
fn vsftpd(stage: &Stage, files: &Files) -> Service {
    let served = folder(files, "served");
    let text = format!(
        "listen=YES\nlisten_address={SERVER}\nbackground=NO\nanonymous_enable=YES\nlocal_enable=NO\n\
         anon_root={served}\nsecure_chroot_dir={served}\nconnect_from_port_20=YES\nxferlog_enable=NO\n\
         isolate_network=NO\nseccomp_sandbox=NO\n"
    );
    let service = Service::start(&stage.server, "vsftpd", &[&written(files, "conf", &text)]);
    wait_until("vsftpd listens", || {
        stage.server.within(|| TcpStream::connect((SERVER, 21)).is_ok())
    });
    service
}

#[test]
fn scanimage_scans_with_saned() {
    in_every_variant("saned, scanimage", scan);
}

/// A picture of the backend `test`, over a connection of its own. The folders hold the two configurations.
fn scan(stage: &Stage, nat: Nat) {
    let files = Files::new();
    let device = fs::read_to_string("/etc/sane.d/test.conf").expect("libsane's configuration");
    for (name, text) in
        [("dll.conf", "test\n"), ("test.conf", &device), ("saned.conf", "10.99.0.0/16\n")]
    {
        written(&files, name, text);
    }
    let clients = Files::new();
    written(&clients, "dll.conf", "net\n");
    written(&clients, "net.conf", "");
    let variable = |files: &Files| format!("SANE_CONFIG_DIR={}", files.path().display());
    let address = SERVER.to_string();
    let saned = [&variable(&files), "saned", "-l", "-u", "root", "-b", &address];
    let _service = Service::start(&stage.server, "env", &saned);
    wait_until("saned listens", || {
        stage.server.within(|| TcpStream::connect((SERVER, 6566)).is_ok())
    });
    let device = format!("net:{}:test:0", nat.server());
    let scanimage = [&variable(&clients), "scanimage", "--format=pnm", "-d", &device];
    let output = client(&stage.client, "env", &scanimage);
    assert!(output.status.success(), "{output:?}");
    let (head, picture) = (b"P5\n# SANE data follows\n157 196\n255\n", 157 * 196);
    assert!(output.stdout.starts_with(head), "{output:?}");
    assert_eq!(output.stdout.len(), head.len() + picture);
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

/// Registers NFS version 3 over UDP with the port mapper (`PMAPPROC_SET`, RFC 1833).
fn is_registered(local: &UdpSocket, port: u16) -> bool {
    let words = [7, 0, 2, 100_000, 2, 1, 0, 0, 0, 0, 100_003, 3, 17, port.into()];
    let _ = local.send_to(words.map(u32::to_be_bytes).as_flattened(), "127.0.0.1:111");
    let mut answer = [0; 100];
    local.recv_from(&mut answer).is_ok_and(|(len, _)| len == 28 && answer[27] == 1)
}
