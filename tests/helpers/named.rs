//! Protocols whose server names ports that the client then connects to: amanda, sane, tns, rpc.

use crate::stage::{
    CLIENT, Expected, Nat, SERVER, Stage, accept_from, connect, datagrams, in_every_variant, listen,
};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};

#[test]
fn amanda_answers() {
    in_every_variant("amanda", amanda);
}

#[test]
fn sane_scans() {
    in_every_variant("sane", sane);
}

#[test]
fn tns_redirects() {
    in_every_variant("tns", tns);
}

#[test]
fn rpc_over_udp() {
    in_every_variant("rpc udp", |stage, nat| rpc(stage, nat, 17, call_by_datagram));
}

#[test]
fn rpc_over_tcp() {
    in_every_variant("rpc tcp", |stage, nat| rpc(stage, nat, 6, call_by_stream));
}

/// Where the server waits for what it announces.
fn listener(stage: &Stage) -> (TcpListener, u16) {
    let listener = listen(&stage.server, SERVER, 0);
    let port = listener.local_addr().expect("it is bound").port();
    (listener, port)
}

/// The client connects to the announced port, and data pass.
fn connects(stage: &Stage, nat: Nat, to: u16, listener: &TcpListener) {
    let mut client = connect(&stage.client, nat.server(), to);
    let mut server = accept_from(listener, nat.client());
    client.write_all(b"data").expect("the other end is there");
    let mut bytes = [0; 4];
    server.read_exact(&mut bytes).expect("data pass");
    assert_eq!(&bytes, b"data");
}

/// The client is expected at a port.
fn expected(nat: Nat, (protocol, port): (u8, u16), master: [u16; 2], helper: &str) -> Expected<'_> {
    let masters = [(CLIENT, master[0]), (nat.server(), master[1])];
    Expected::once(helper, protocol, CLIENT, (nat.server(), port), masters)
}

fn amanda(stage: &Stage, nat: Nat) {
    let client = datagrams(&stage.client, CLIENT, 0);
    let server = datagrams(&stage.server, SERVER, 10_080);
    let from = client.local_addr().expect("it is bound").port();
    client
        .send_to(b"Amanda 2.6 REQ HANDLE 000-00000000 SEQ 1\n", (nat.server(), 10_080))
        .expect("it is sent");
    let mut bytes = [0; 500];
    let (_, asker) = server.recv_from(&mut bytes).expect("the request passes");
    let listeners = [(); 3].map(|()| listener(stage));
    let [data, messages, index] = listeners.each_ref().map(|(_, port)| *port);
    let answer = format!(
        "Amanda 2.6 REP HANDLE 000-00000000 SEQ 1\nCONNECT DATA {data} MESG {messages} INDEX {index}\n\
         OPTIONS features=x;\n"
    );
    server.send_to(answer.as_bytes(), asker).expect("it is sent");
    let (len, _) = client.recv_from(&mut bytes).expect("the answer passes");
    let text = String::from_utf8_lossy(&bytes[..len]).into_owned();
    let told: Vec<u16> = text
        .split_whitespace()
        .skip_while(|word| *word != "CONNECT")
        .filter_map(|word| word.parse().ok())
        .collect();
    assert_eq!(told.len(), 3, "{text}");
    let lines = told.iter().map(|&port| expected(nat, (6, port), [from, 10_080], "amanda").line());
    let mut lines: Vec<_> = lines.collect();
    lines.sort();
    assert_eq!(stage.expected(), lines);
    for (&port, (listener, _)) in told.iter().zip(&listeners) {
        connects(stage, nat, port, listener);
    }
}

/// Bytes of this length from a stream.
fn take(stream: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).expect("the other end speaks");
    bytes
}

fn sane(stage: &Stage, nat: Nat) {
    let (mut client, mut server) = stage.connection(nat, 6566);
    let from = client.local_addr().expect("it is bound").port();
    client.write_all(&[0, 0, 0, 7, 0, 0, 0, 0]).expect("the other end is there");
    take(&mut server, 8);
    let (listener, port) = listener(stage);
    let words = [0, u32::from(port), 0x1234, 0];
    server.write_all(words.map(u32::to_be_bytes).as_flattened()).expect("the other end is there");
    let answer = take(&mut client, 16);
    let told = u16::from_be_bytes([answer[6], answer[7]]);
    stage.expects(&expected(nat, (6, told), [from, 6566], "sane"));
    connects(stage, nat, told, &listener);
}

fn tns(stage: &Stage, nat: Nat) {
    let (mut client, mut server) = stage.connection(nat, 1521);
    let from = client.local_addr().expect("it is bound").port();
    client.write_all(b"0123456789").expect("the other end is there");
    take(&mut server, 10);
    let (listener, port) = listener(stage);
    let text = format!("(ADDRESS=(PROTOCOL=tcp)(HOST={SERVER})(PORT={port}))");
    let len = text.len() as u8;
    let head = [0, len + 10, 0, 0, 5, 0, 0, 0, 0, len];
    server.write_all(&[&head[..], text.as_bytes()].concat()).expect("the other end is there");
    let head = take(&mut client, 10);
    let len = usize::from(u16::from_be_bytes([head[8], head[9]]));
    assert_eq!(usize::from(u16::from_be_bytes([head[0], head[1]])), len + 10, "both lengths fit");
    let text = String::from_utf8(take(&mut client, len)).expect("text");
    let value = |name: &str| text.split(name).nth(1).and_then(|rest| rest.split(')').next());
    let host: Ipv4Addr = value("(HOST=").expect("a host").parse().expect("an address");
    assert_eq!(host, nat.server(), "{text}");
    let told = value("(PORT=").expect("a port").parse().expect("a number");
    stage.expects(&expected(nat, (6, told), [from, 1521], "tns"));
    connects(stage, nat, told, &listener);
    // The listener's connection goes on: lengths may have changed in it.
    server.write_all(b"more").expect("the other end is there");
    assert_eq!(take(&mut client, 4), b"more");
    client.write_all(b"that").expect("the other end is there");
    assert_eq!(take(&mut server, 4), b"that");
}

/// A call of the portmapper's GETPORT (RFC 1833): NFS version 3 over this protocol.
fn call(protocol: u8) -> Vec<u8> {
    let words = [0x0102_0304, 0, 2, 100_000, 2, 3, 0, 0, 0, 0, 100_003, 3, protocol.into(), 0];
    words.map(u32::to_be_bytes).as_flattened().to_vec()
}

/// Its answer.
fn answer(port: u16) -> Vec<u8> {
    let words = [0x0102_0304, 1, 0, 0, 0, 0, port.into()];
    words.map(u32::to_be_bytes).as_flattened().to_vec()
}

/// Passes a call on and its answer back: what the client heard, and from which port it asked.
type Call = fn(&Stage, Nat, u8, u16) -> (Vec<u8>, u16);

fn call_by_datagram(stage: &Stage, nat: Nat, protocol: u8, port: u16) -> (Vec<u8>, u16) {
    let server = datagrams(&stage.server, SERVER, 111);
    let client = datagrams(&stage.client, CLIENT, 0);
    client.send_to(&call(protocol), (nat.server(), 111)).expect("it is sent");
    let mut bytes = [0; 200];
    let (_, asker) = server.recv_from(&mut bytes).expect("the call passes");
    server.send_to(&answer(port), asker).expect("it is sent");
    let (len, _) = client.recv_from(&mut bytes).expect("the answer passes");
    (bytes[..len].to_vec(), client.local_addr().expect("it is bound").port())
}

/// With record marks (RFC 5531, 11): one fragment, the last.
fn call_by_stream(stage: &Stage, nat: Nat, protocol: u8, port: u16) -> (Vec<u8>, u16) {
    let marked = |bytes: Vec<u8>| [&[0x80, 0, 0, bytes.len() as u8], &bytes[..]].concat();
    let (mut client, mut server) = stage.connection(nat, 111);
    client.write_all(&marked(call(protocol))).expect("the other end is there");
    take(&mut server, 60);
    server.write_all(&marked(answer(port))).expect("the other end is there");
    (take(&mut client, 32)[4..].to_vec(), client.local_addr().expect("it is bound").port())
}

fn rpc(stage: &Stage, nat: Nat, protocol: u8, by: Call) {
    let (listener, tcp_port) = listener(stage);
    let service = datagrams(&stage.server, SERVER, 0);
    let port =
        if protocol == 6 { tcp_port } else { service.local_addr().expect("it is bound").port() };
    let (heard, from) = by(stage, nat, protocol, port);
    let told = u16::from_be_bytes([heard[26], heard[27]]);
    let expected =
        Expected { permanent: true, ..expected(nat, (protocol, told), [from, 111], "rpc") };
    stage.expects(&expected);
    if protocol == 6 {
        connects(stage, nat, told, &listener);
    } else {
        let client = datagrams(&stage.client, CLIENT, 0);
        client.send_to(b"NFS", (nat.server(), told)).expect("it is sent");
        let mut bytes = [0; 10];
        let (len, asker) = service.recv_from(&mut bytes).expect("the call passes");
        assert_eq!((&bytes[..len], asker.ip()), (&b"NFS"[..], IpAddr::from(nat.client())));
        service.send_to(b"fine", asker).expect("it is sent");
        let (len, from) = client.recv_from(&mut bytes).expect("the answer passes");
        assert_eq!((&bytes[..len], from.ip()), (&b"fine"[..], IpAddr::from(nat.server())));
    }
    // The expectation outlives its first flow.
    stage.router.sh("conntrack -F expect");
}
