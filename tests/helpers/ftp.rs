//! FTP: data connections in both directions, in the old form and the extended one.

use crate::stage::{
    CLIENT, Expected, Nat, SERVER, Stage, accept, accept_from, connect, in_every_variant,
    in_variants, listen,
};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};

#[test]
fn ftp_active() {
    in_every_variant("ftp PORT", |stage, nat| active(stage, nat, false));
}

#[test]
fn ftp_active_extended() {
    in_every_variant("ftp EPRT", |stage, nat| active(stage, nat, true));
}

#[test]
fn ftp_passive() {
    in_every_variant("ftp PASV", |stage, nat| passive(stage, nat, false));
}

#[test]
fn ftp_passive_extended() {
    in_every_variant("ftp EPSV", |stage, nat| passive(stage, nat, true));
}

fn say(stream: &mut TcpStream, line: &str) {
    stream.write_all(format!("{line}\r\n").as_bytes()).expect("the other end is there");
}

/// One line; the peers never send two at a time.
fn hear(stream: &TcpStream) -> String {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("the other end speaks");
    line.trim_end().to_owned()
}

/// `h,h,h,h,p,p` as an address and a port.
fn commas(text: &str) -> (Ipv4Addr, u16) {
    let numbers: Vec<u8> = text.split(',').map(|n| n.parse().expect("a byte")).collect();
    let [a, b, c, d, high, low] = numbers[..] else { panic!("{text}") };
    (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]))
}

fn with_commas(address: Ipv4Addr, port: u16) -> String {
    let [high, low] = port.to_be_bytes();
    format!("{},{high},{low}", address.to_string().replace('.', ","))
}

/// Address and port of `EPRT |1|address|port|`.
fn extended(text: &str) -> (Ipv4Addr, u16) {
    let parts: Vec<_> = text.split('|').collect();
    (parts[2].parse().expect("an address"), parts[3].parse().expect("a port"))
}

/// The control connection goes on, whatever was rewritten in it: both ends' numbers fit.
fn goes_on(client: &mut TcpStream, server: &mut TcpStream) {
    for turn in 0..2 {
        say(client, &format!("NOOP {turn}"));
        assert_eq!(hear(server), format!("NOOP {turn}"));
        say(server, &format!("200 {turn}"));
        assert_eq!(hear(client), format!("200 {turn}"));
    }
}

pub(crate) fn greeted(stage: &Stage, nat: Nat) -> (TcpStream, TcpStream) {
    let (client, mut server) = stage.connection(nat, 21);
    say(&mut server, "220 ready");
    assert_eq!(hear(&client), "220 ready");
    (client, server)
}

fn passes_data(mut from: TcpStream, mut to: TcpStream) {
    from.write_all(b"the file").expect("the connection is there");
    drop(from);
    let mut text = String::new();
    to.read_to_string(&mut text).expect("data pass");
    assert_eq!(text, "the file");
}

fn active(stage: &Stage, nat: Nat, is_extended: bool) {
    let (mut client, mut server) = greeted(stage, nat);
    let listener = listen(&stage.client, CLIENT, 0);
    let port = listener.local_addr().expect("it is bound").port();
    let master = client.local_addr().expect("it is bound").port();
    if is_extended {
        say(&mut client, &format!("EPRT |1|{CLIENT}|{port}|"));
    } else {
        say(&mut client, &format!("PORT {}", with_commas(CLIENT, port)));
    }
    let line = hear(&server);
    let (_, words) = line.split_once(' ').expect("two words");
    let announced = if is_extended { extended(words) } else { commas(words) };
    assert_eq!(announced.0, nat.client(), "{line}");
    let masters = [(CLIENT, master), (nat.server(), 21)];
    stage.expects(&Expected::once("ftp", 6, SERVER, announced, masters));
    say(&mut server, "200 fine");
    assert_eq!(hear(&client), "200 fine");
    let data = connect(&stage.server, announced.0, announced.1);
    passes_data(data, accept_from(&listener, nat.server()));
    goes_on(&mut client, &mut server);
}

fn passive(stage: &Stage, nat: Nat, is_extended: bool) {
    let (mut client, mut server) = greeted(stage, nat);
    let listener = listen(&stage.server, SERVER, 0);
    let port = listener.local_addr().expect("it is bound").port();
    let master = client.local_addr().expect("it is bound").port();
    say(&mut client, if is_extended { "EPSV" } else { "PASV" });
    hear(&server);
    if is_extended {
        say(&mut server, &format!("229 Entering Extended Passive Mode (|||{port}|)"));
    } else {
        say(&mut server, &format!("227 Entering Passive Mode ({}).", with_commas(SERVER, port)));
    }
    let line = hear(&client);
    let inside = line.split(['(', ')']).nth(1).expect("brackets");
    let announced = if is_extended {
        (nat.server(), inside.trim_matches('|').parse().expect("a port"))
    } else {
        commas(inside)
    };
    assert_eq!(announced.0, nat.server(), "{line}");
    let masters = [(CLIENT, master), (nat.server(), 21)];
    stage.expects(&Expected::once("ftp", 6, CLIENT, announced, masters));
    let data = connect(&stage.client, announced.0, announced.1);
    passes_data(data, accept_from(&listener, nat.client()));
    goes_on(&mut client, &mut server);
}

/// A passive transfer is announced, and only that.
pub(crate) fn announces(stage: &Stage, client: &mut TcpStream, server: &mut TcpStream) {
    say(client, "PASV");
    assert_eq!(hear(server), "PASV");
    say(server, &format!("227 Entering Passive Mode ({}).", with_commas(SERVER, 50_000)));
    hear(client);
    let lines = stage.expected();
    assert!(lines.len() == 1 && lines[0].contains("dport=50000"), "{lines:?}");
}

const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 1, 0, 0, 0, 0, 0, 1);
const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 2, 0, 0, 0, 0, 0, 1);

#[test]
fn ftp_over_ipv6() {
    in_variants("ftp over IPv6", &[Nat::None], |stage, _| over_ipv6(stage));
}

/// What is expected goes from one address to a port of the other.
fn is_expected(stage: &Stage, from: Ipv6Addr, to: Ipv6Addr, port: u16) {
    let text = stage.router.sh("conntrack -L expect -f ipv6");
    let wanted = format!(" proto=6 src={from} dst={to} sport=0 dport={port} ");
    assert!(text.lines().count() == 1 && text.contains(&wanted), "{text}");
}

fn over_ipv6(stage: &Stage) {
    let listener = listen(&stage.server, SERVER_V6, 21);
    let mut client = connect(&stage.client, SERVER_V6, 21);
    let mut server = accept(&listener);
    say(&mut server, "220 ready");
    hear(&client);

    let data = listen(&stage.server, SERVER_V6, 0);
    let port = data.local_addr().expect("it is bound").port();
    say(&mut client, "EPSV");
    hear(&server);
    say(&mut server, &format!("229 Entering Extended Passive Mode (|||{port}|)"));
    hear(&client);
    is_expected(stage, CLIENT_V6, SERVER_V6, port);
    passes_data(connect(&stage.client, SERVER_V6, port), accept(&data));

    let data = listen(&stage.client, CLIENT_V6, 0);
    let port = data.local_addr().expect("it is bound").port();
    say(&mut client, &format!("EPRT |2|{CLIENT_V6}|{port}|"));
    hear(&server);
    is_expected(stage, SERVER_V6, CLIENT_V6, port);
    passes_data(connect(&stage.server, CLIENT_V6, port), accept(&data));
    goes_on(&mut client, &mut server);
}
