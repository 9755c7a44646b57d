//! What must hold on every kernel: the source that `auto` takes, and that each source ends with the kernel's table.
//! `cargo xtask test vm` runs this, among others, on older kernels.

use ctnetlink::flow::Known;
use ctnetlink::request::{self, Selection};
use ctnetlink::{Change, Detail, Flow, Message, Messages, decode};
use host::source::{Choice, Heard, Settings, Source};
use host::table::Table;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use tests::churn;
use tests::ctnetlink::Requests;
use tests::netns::{self, Namespace};

fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("proc says it")
}

fn open(choice: Choice) -> Source {
    let settings = Settings { choice, buffer_bytes: Some(16 << 20), ..Settings::default() };
    Source::open(&settings).expect("the source opens").0
}

/// What a choice gives here. `CTFLOW_AUTO` and `CTFLOW_HOOK` name it where it is known.
fn gives(choice: Choice, variable: &str) {
    netns::enter_new();
    let settings = Settings { choice, ..Settings::default() };
    let (source, why) = Source::open(&settings).expect("one opens");
    let why = why.map_or_else(String::new, |why| format!(" ({why})"));
    println!("Linux {}: {choice:?} is {}{why}", release().trim(), source.name());
    if let Ok(wanted) = std::env::var(variable) {
        assert_eq!(source.name(), wanted, "{why}");
    }
}

#[test]
fn auto_takes_the_best_source_of_this_kernel() {
    gives(Choice::Auto, "CTFLOW_AUTO");
}

#[test]
fn the_hook_falls_back_where_the_kernel_has_no_such_programs() {
    gives(Choice::Hook, "CTFLOW_HOOK");
}

/// The compared part of a flow: its last reported state.
fn line(flow: &Flow) -> String {
    format!(
        "{:?} {:?} {:?} {:?} {}",
        flow.orig,
        flow.reply,
        flow.status,
        flow.tcp().map(|t| t.state),
        flow.mark
    )
}

type Flows = BTreeMap<String, String>;

fn key(flow: &Flow) -> String {
    format!("{:?} {}", flow.key(), flow.id)
}

fn take(source: &mut Source, flows: &mut BTreeMap<String, Flow>) {
    let mut sink = |heard: Heard<'_>, _| {
        for raw in Messages::new(heard.message().expect("it is a message")).flatten() {
            let Ok(Message::Flow { event, flow }) = decode(&raw) else { continue };
            let flow = flow.to_flow(Detail::State);
            let key = key(&flow);
            if event == Change::Destroy {
                flows.remove(&key);
                continue;
            }
            // An update leaves out what did not change.
            let mut flow = flow;
            if let Some(before) = flows.get(&key).filter(|_| flow.tcp().is_none()) {
                flow.proto = before.proto;
            }
            flows.insert(key, flow);
        }
    };
    while source.drain(4096, &mut sink).expect("draining works") > 0 {}
}

/// The kernel's own table.
fn dump() -> Flows {
    let mut flows = Flows::new();
    let mut table = Table::open().expect("a socket");
    let ask = |w: &mut ctnetlink::Writer<'_>, seq| {
        request::dump(w, seq, request::Source::Table, &Selection::default());
    };
    table
        .dump(ask, |bytes| {
            for raw in Messages::new(bytes).flatten() {
                if let Ok(Message::Flow { flow, .. }) = decode(&raw) {
                    let flow = flow.to_flow(Detail::State);
                    flows.insert(key(&flow), line(&flow));
                }
            }
            Ok(())
        })
        .expect("the kernel answers");
    flows
}

/// Connections that stay open, and some that have ended, over both families.
fn talk() -> Vec<(TcpStream, TcpStream)> {
    let mut open = Vec::new();
    for at in [SocketAddr::from(([127, 0, 0, 1], 0)), SocketAddr::from((Ipv6Addr::LOCALHOST, 0))] {
        let listener = TcpListener::bind(at).expect("a listener");
        let at = listener.local_addr().expect("it is bound");
        for n in 0..40 {
            let mut client = TcpStream::connect(at).expect("it listens");
            let (mut server, _) = listener.accept().expect("somebody called");
            client.write_all(b"hello").expect("it is connected");
            server.read_exact(&mut [0; 5]).expect("it was said");
            if n % 2 == 0 {
                open.push((client, server));
            }
        }
    }
    open
}

fn ends_with_the_table_of_the_kernel(choice: Choice) {
    netns::enter_new();
    let mut source = open(choice);
    let mut reported = BTreeMap::new();
    churn::udp_flows(0, 1_000);
    let open = talk();
    take(&mut source, &mut reported);
    let udp: Vec<_> = reported.values().filter(|flow| flow.orig.proto == 17).cloned().collect();
    let marked = udp.iter().map(|f| Flow { mark: 7, known: Known::MARK, ..Flow::new(f.orig) });
    let mut requests = Requests::open(&Namespace::current());
    requests.update(&marked.collect::<Vec<_>>());
    requests.delete(&udp[..128]);
    take(&mut source, &mut reported);
    let reported: Flows = reported.into_iter().map(|(key, flow)| (key, line(&flow))).collect();
    let held = dump();
    assert_eq!(held.len(), 1_000 - 128 + 80);
    assert_eq!(reported, held);
    println!("Linux {}: {} flows through {}", release().trim(), held.len(), source.name());
    drop(open);
}

#[test]
fn netlink_ends_with_the_table_of_the_kernel() {
    ends_with_the_table_of_the_kernel(Choice::Netlink);
}

#[test]
fn the_tap_ends_with_the_table_of_the_kernel() {
    ends_with_the_table_of_the_kernel(Choice::Tap);
}
