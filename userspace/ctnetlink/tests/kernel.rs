//! Proof that the kernel takes the requests that are written here, and keeps what they say.
//!
//! Needs root and a network namespace of its own, which it fills and empties:
//!
//! ```text
//! ip netns add ctflow-test
//! ip netns exec ctflow-test cargo test -p ctnetlink --test kernel -- --ignored
//! ip netns del ctflow-test
//! ```
#![expect(clippy::unwrap_used, reason = "it is a test, helpers included")]

use ctnetlink::flow::{
    HelperName, Known, Name, ProtoState, SeqAdj, Status, Synproxy, TcpFlags, TcpState,
};
use ctnetlink::request::{self, IfExists, Selection, Source, Ticket};
use ctnetlink::tuple::ipproto;
use ctnetlink::{Detail, Expectation, Flow, Message, Messages, Tuple, Writer};
use rustix::fd::OwnedFd;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io::Write as _;
use std::process::{Command, Stdio};

#[path = "../examples/follow.rs"]
#[expect(dead_code, reason = "an example is a program")]
mod follow;
#[path = "../examples/list.rs"]
#[expect(dead_code, reason = "an example is a program")]
mod list;

const ENOENT: i32 = 2;
const EBUSY: i32 = 16;
const EEXIST: i32 = 17;
const ENOSPC: i32 = 28;
const EOPNOTSUPP: i32 = 95;

/// Rules that are never passed, but whose presence makes the kernel set room for labels aside.
const LABEL_RULES: &str = "table inet ctflow_wire { chain labels {\n ct label set 1\n }\n }";

struct Kernel {
    socket: OwnedFd,
    seq: u32,
}

#[derive(Debug, Default)]
struct Reply {
    errno: i32,
    flows: Vec<Flow>,
    expectations: Vec<Expectation>,
    others: usize,
}

impl Kernel {
    /// A socket in this namespace, which must not be that of the machine: the tests flush tables.
    fn open() -> Self {
        let interfaces = std::fs::read_to_string("/proc/self/net/dev").unwrap();
        let names = interfaces.lines().skip(2).filter_map(|line| line.split(':').next());
        assert!(names.map(str::trim).eq(["lo"]), "run this in an empty namespace of its own");
        let kind = SocketType::RAW;
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            kind,
            SocketFlags::CLOEXEC,
            Some(NETFILTER),
        )
        .unwrap();
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0)).unwrap();
        let mut kernel = Self { socket, seq: 0 };
        kernel.ask(|w, t| request::flush(w, t, &Selection::default()));
        kernel
    }

    /// Sends one request and collects what comes until it is answered.
    fn ask(&mut self, write: impl Fn(&mut Writer<'_>, Ticket)) -> Reply {
        self.seq += 1;
        let ticket = Ticket::acked(self.seq);
        let mut counted = Writer::counting();
        write(&mut counted, ticket);
        let mut buffer = vec![0; counted.position()];
        let mut writer = Writer::new(&mut buffer);
        write(&mut writer, ticket);
        assert_eq!(writer.finish(), Ok(buffer.len()));
        rustix::net::send(&self.socket, &buffer, SendFlags::empty()).unwrap();
        self.collect()
    }

    fn collect(&mut self) -> Reply {
        let mut reply = Reply::default();
        let mut buffer = vec![0; 65_536];
        loop {
            let (len, _) =
                rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty()).unwrap();
            for raw in Messages::new(&buffer[..len]) {
                match ctnetlink::decode(&raw.unwrap()).unwrap() {
                    Message::Flow { flow, .. } => reply.flows.push(flow.to_flow(Detail::State)),
                    Message::Expect { expect, .. } => {
                        reply.expectations.push(expect.to_expectation());
                    }
                    Message::Error(answer) | Message::Done(answer) => {
                        return Reply { errno: answer.errno, ..reply };
                    }
                    _ => reply.others += 1,
                }
            }
        }
    }

    fn create(&mut self, flow: &Flow) -> i32 {
        self.ask(|w, t| request::create(w, t, flow, IfExists::Fail)).errno
    }

    fn update(&mut self, flow: &Flow) -> i32 {
        self.ask(|w, t| request::update(w, t, flow)).errno
    }

    fn read(&mut self, flow: &Flow) -> Flow {
        let key = flow.key();
        let mut reply = self.ask(|w, t| request::get(w, t, &key));
        assert_eq!(reply.errno, 0, "{key:?}");
        reply.flows.pop().unwrap()
    }

    fn delete(&mut self, flow: &Flow, id: Option<u32>) -> i32 {
        let key = flow.key();
        self.ask(|w, t| request::delete(w, t, &key, id)).errno
    }
}

fn flow(orig: Tuple) -> Flow {
    Flow {
        reply: orig.inverted(),
        known: Known::STATUS | Known::TIMEOUT,
        status: Status::SEEN_REPLY | Status::ASSURED,
        timeout_s: 600,
        ..Flow::new(orig)
    }
}

fn v4(proto: u8) -> Tuple {
    Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], proto).with_ports(4000, 80)
}

fn v6(proto: u8) -> Tuple {
    let mut src = [0; 16];
    (src[0], src[1], src[15]) = (0x20, 1, 1);
    let mut dst = src;
    dst[15] = 2;
    Tuple::v6(src, dst, proto).with_ports(4000, 80)
}

fn tcp() -> ProtoState {
    let flags = TcpFlags { flags: 0x09, mask: 0x09 };
    ProtoState::Tcp(TcpState { state: 3, wscale: Some([7, 9]), flags: Some([flags; 2]) })
}

/// A flow whose source, destination or both are translated, to `src` and `dst` as the replies name them.
fn translated(orig: Tuple, src: Option<(u8, u16)>, dst: Option<(u8, u16)>) -> Flow {
    let mut flow = flow(orig);
    let (mut from, mut to) = flow.reply.ports();
    let last = if orig.family == 2 { 3 } else { 15 };
    if let Some((host, port)) = src {
        flow.reply.dst[last] = host;
        to = port;
        flow.status |= Status::SRC_NAT;
    }
    if let Some((host, port)) = dst {
        flow.reply.src[last] = host;
        from = port;
        flow.status |= Status::DST_NAT;
    }
    flow.reply = flow.reply.with_ports(from, to);
    flow.status |= Status::SRC_NAT_DONE | Status::DST_NAT_DONE;
    flow
}

fn plain_cases() -> Vec<(&'static str, Flow)> {
    let icmp = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], ipproto::ICMP).with_icmp(77, 8, 0);
    let icmpv6 = Tuple { l4: [0; 4], ..v6(ipproto::ICMPV6) }.with_icmp(77, 128, 0);
    let mut zoned = flow(v4(ipproto::UDP));
    (zoned.zone, zoned.known) = (5, zoned.known | Known::ZONE);
    let mut marked = flow(v4(ipproto::UDP));
    (marked.mark, marked.known) = (0xdead_beef, marked.known | Known::MARK);
    let sctp = ProtoState::Sctp { state: 4, vtag: [0x0102_0304, 0xfffe_fdfc] };
    let fixed = Status::SEEN_REPLY | Status::FIXED_TIMEOUT;
    vec![
        ("udp", flow(v4(ipproto::UDP))),
        ("udp v6", flow(v6(ipproto::UDP))),
        ("tcp", Flow { proto: tcp(), ..flow(v4(ipproto::TCP)) }),
        ("tcp v6", Flow { proto: tcp(), ..flow(v6(ipproto::TCP)) }),
        ("icmp", flow(icmp)),
        ("icmpv6", flow(icmpv6)),
        ("sctp", Flow { proto: sctp, ..flow(v4(ipproto::SCTP)) }),
        ("gre with keys", flow(v4(ipproto::GRE))),
        ("udp-lite", flow(v4(ipproto::UDPLITE))),
        ("unknown protocol", flow(Tuple { l4: [0; 4], ..v4(253) })),
        ("zone", zoned),
        ("mark", marked),
        ("fixed timeout", Flow { status: fixed, ..flow(v4(ipproto::UDP)) }),
    ]
}

fn translated_cases() -> Vec<(&'static str, Flow)> {
    let udp = v4(ipproto::UDP);
    let mut icmp = flow(udp_to_icmp(udp));
    icmp.reply = icmp.reply.with_icmp(99, 0, 0);
    icmp.status |= Status::SRC_NAT | Status::SRC_NAT_DONE | Status::DST_NAT_DONE;
    let gre = translated(v4(ipproto::GRE), Some((9, 4000)), None);
    vec![
        ("source", translated(udp, Some((9, 4000)), None)),
        ("source and port", translated(udp, Some((9, 6000)), None)),
        ("source port only", translated(udp, Some((1, 6000)), None)),
        ("destination", translated(udp, None, Some((8, 80)))),
        ("destination and port", translated(udp, None, Some((8, 8080)))),
        ("destination port only", translated(udp, None, Some((2, 8080)))),
        ("both", translated(udp, Some((9, 6000)), Some((8, 8080)))),
        ("both, tcp v6", translated(v6(ipproto::TCP), Some((9, 6000)), Some((8, 8080)))),
        ("port only, v6", translated(v6(ipproto::UDP), Some((1, 6000)), None)),
        ("sctp", translated(v4(ipproto::SCTP), Some((9, 6000)), None)),
        ("icmp id", icmp),
        ("gre", gre),
    ]
}

fn udp_to_icmp(tuple: Tuple) -> Tuple {
    Tuple { proto: ipproto::ICMP, ..tuple }.with_icmp(77, 8, 0)
}

fn rare_cases() -> Vec<(&'static str, Flow)> {
    let mut labelled = flow(v4(ipproto::UDP));
    labelled.extra_mut().labels = Some(vec![1, 0x8000_0000, 0, 0x8000_0001]);
    let mut helped = Flow { proto: tcp(), ..flow(v4(ipproto::TCP).with_ports(4000, 21)) };
    helped.extra_mut().helper = HelperName::from_bytes(b"ftp");
    let mut adjusted = Flow { proto: tcp(), ..flow(v4(ipproto::TCP)) };
    let adj = SeqAdj { correction_pos: 1, offset_before: 2, offset_after: 3 };
    adjusted.extra_mut().seq_adj = Some([adj, SeqAdj { offset_after: u32::MAX, ..adj }]);
    let mut proxied = Flow { proto: tcp(), ..flow(v4(ipproto::TCP)) };
    proxied.extra_mut().synproxy = Some(Synproxy { isn: 1, its: 2, tsoff: 3 });
    let mut one_way = Flow { zone: 8, ..flow(v4(ipproto::UDP)) };
    one_way.extra_mut().zones = [Some(8), None];
    let mut other_way = flow(v4(ipproto::UDP));
    other_way.extra_mut().zones = [None, Some(9)];
    vec![
        ("labels", labelled),
        ("helper", helped),
        ("sequence adjustment", adjusted),
        ("synproxy", proxied),
        ("zone of the original direction", one_way),
        ("zone of the reply direction", other_way),
    ]
}

/// A written flow as the kernel returns it: the kernel adds bits of its own and never sends masks.
fn as_kept(written: &Flow, read: &Flow) -> Flow {
    let mut kept = Flow { id: read.id, known: read.known, ..written.clone() };
    kept.status |= Status::CONFIRMED | (read.status & (Status::HELPER | Status::SEQ_ADJUST));
    kept.timeout_s = read.timeout_s;
    kept.proto = match kept.proto {
        ProtoState::Tcp(tcp) => ProtoState::Tcp(TcpState {
            flags: tcp.flags.map(|both| both.map(|one| TcpFlags { mask: 0, ..one })),
            ..tcp
        }),
        ProtoState::None => read.proto,
        other => other,
    };
    kept
}

fn check(kernel: &mut Kernel, name: &str, flow: &Flow) {
    assert_eq!(kernel.create(flow), 0, "create {name}");
    assert_eq!(kernel.create(flow), EEXIST, "create {name} again");
    let read = kernel.read(flow);
    assert_eq!(read, as_kept(flow, &read), "read {name}");
    assert!((590..=600).contains(&read.timeout_s), "{name}: {}", read.timeout_s);

    let changed = Flow { mark: 17, timeout_s: 60, known: flow.known | Known::MARK, ..flow.clone() };
    assert_eq!(kernel.update(&changed), 0, "update {name}");
    let read = kernel.read(flow);
    assert_eq!(read, as_kept(&changed, &read), "read changed {name}");
    assert!(read.timeout_s <= 60 || read.status.contains(Status::FIXED_TIMEOUT), "{name}");

    assert_eq!(kernel.delete(flow, Some(read.id ^ 1)), ENOENT, "delete {name} by a wrong id");
    assert_eq!(kernel.delete(flow, Some(read.id)), 0, "delete {name}");
    assert_eq!(kernel.update(&changed), ENOENT, "update {name} when gone");
}

#[test]
#[ignore = "needs root and a network namespace of its own"]
fn the_kernel_keeps_what_is_written() {
    let mut kernel = Kernel::open();
    let mut unlabelled = flow(v4(ipproto::UDP));
    assert_eq!(kernel.create(&unlabelled), 0);
    unlabelled.extra_mut().labels = Some(vec![1]);
    (unlabelled.mark, unlabelled.known) = (3, unlabelled.known | Known::MARK);
    assert_eq!(kernel.update(&unlabelled), ENOSPC, "no rule sets labels");
    assert_eq!(kernel.read(&unlabelled).mark, 3, "all but the labels is applied");
    assert_eq!(kernel.delete(&unlabelled, None), 0);

    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    nft.stdin.take().unwrap().write_all(LABEL_RULES.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success());
    for (name, flow) in plain_cases().into_iter().chain(translated_cases()).chain(rare_cases()) {
        check(&mut kernel, name, &flow);
    }
    an_expected_flow_needs_its_master(&mut kernel);
    a_taken_port_is_not_replaced(&mut kernel);
    selections_select(&mut kernel);
    labels_are_set_one_by_one(&mut kernel);
    examples_show_what_the_kernel_says(&mut kernel);
    expectations_come_and_go(&mut kernel);
}

fn labels_are_set_one_by_one(kernel: &mut Kernel) {
    let mut labelled = flow(v4(ipproto::UDP).with_ports(4001, 80));
    labelled.extra_mut().labels = Some(vec![0b0101, 0, 0, 1]);
    assert_eq!(kernel.create(&labelled), 0);
    let (labels, mask) = ([0b1010, 7, 0, 0], [0b0011, 0, 0, 0]);
    let key = labelled.key();
    assert_eq!(kernel.ask(|w, t| request::set_labels(w, t, &key, &labels, &mask)).errno, 0);
    let read = kernel.read(&labelled);
    assert_eq!(read.extra.unwrap().labels, Some(vec![0b0110, 0, 0, 1]));
    assert_eq!(kernel.delete(&labelled, None), 0);
    assert_eq!(kernel.ask(|w, t| request::set_labels(w, t, &key, &labels, &mask)).errno, ENOENT);
}

fn examples_show_what_the_kernel_says(kernel: &mut Kernel) {
    let (subscribed, made) = (follow::subscribe().unwrap(), flow(v4(ipproto::UDP)));
    assert_eq!(kernel.create(&made), 0);
    let mut listed = Vec::new();
    assert_eq!(list::list(&mut listed).unwrap(), 1);
    assert_eq!(kernel.delete(&made, None), 0);
    let mut followed = Vec::new();
    follow::follow(&subscribed, 2, &mut followed).unwrap();
    let tuple = "Tuple(17 10.0.0.1 -> 10.0.0.2 4000 -> 80)";
    let listed = String::from_utf8(listed).unwrap();
    assert!(listed.starts_with(tuple) && listed.lines().count() == 1, "{listed}");
    let followed = String::from_utf8(followed).unwrap();
    assert_eq!(followed, format!("new {tuple} None\ndestroy {tuple} None\n"));
}

fn an_expected_flow_needs_its_master(kernel: &mut Kernel) {
    let master = flow(v4(ipproto::TCP));
    let mut child = flow(v4(ipproto::TCP).with_ports(2000, 3000));
    child.status |= Status::EXPECTED;
    child.extra_mut().master = Some(master.orig);
    assert_eq!(kernel.create(&child), ENOENT, "before its master");
    assert_eq!(kernel.create(&master), 0);
    check(kernel, "expected flow", &child);
    assert_eq!(kernel.delete(&master, None), 0);
}

fn a_taken_port_is_not_replaced(kernel: &mut Kernel) {
    let first = translated(v4(ipproto::UDP), Some((9, 4000)), None);
    let mut orig = v4(ipproto::UDP);
    orig.src[3] = 3;
    let second = translated(orig, Some((9, 4000)), None);
    assert_eq!(kernel.create(&first), 0);
    assert_eq!(kernel.create(&second), EEXIST);
    let change = kernel.ask(|w, t| request::create(w, t, &first, IfExists::Change));
    assert_eq!(change.errno, EOPNOTSUPP, "translation is set at birth");
    let less = Flow { status: Status::empty(), ..flow(first.orig) };
    assert_eq!(kernel.update(&less), EBUSY, "what was seen stays seen");
    assert_eq!(kernel.delete(&first, None), 0);
}

fn selections_select(kernel: &mut Kernel) {
    let mut marked = flow(v4(ipproto::TCP));
    (marked.mark, marked.known) = (5, marked.known | Known::MARK);
    let mut zoned = flow(v4(ipproto::UDP));
    (zoned.zone, zoned.known) = (7, zoned.known | Known::ZONE);
    let six = flow(v6(ipproto::UDP));
    for flow in [&marked, &zoned, &six] {
        assert_eq!(kernel.create(flow), 0);
    }
    let mut count = |selection: Selection| {
        kernel.ask(|w, t| request::dump(w, t.seq, Source::Table, &selection)).flows.len()
    };
    let all = Selection::default();
    assert_eq!(count(all), 3);
    assert_eq!(count(all.with(|selection| selection.family = 10)), 1);
    assert_eq!(count(all.with(|selection| selection.mark = Some((5, !0)))), 1);
    assert_eq!(count(all.with(|selection| selection.zone = Some(7))), 1);
    let assured = Status::ASSURED.bits();
    assert_eq!(count(all.with(|selection| selection.status = Some((0, assured)))), 0);
    assert_eq!(count(all.with(|selection| selection.status = Some((assured, assured)))), 3);

    let flush = all.with(|selection| selection.family = 10);
    assert_eq!(kernel.ask(|w, t| request::flush(w, t, &flush)).errno, 0);
    let left = kernel.ask(|w, t| request::dump(w, t.seq, Source::TableZeroingCounters, &all));
    assert_eq!(left.flows.len(), 2);
    for source in [Source::Dying, Source::Unconfirmed] {
        assert_eq!(kernel.ask(|w, t| request::dump(w, t.seq, source, &all)).errno, 0);
    }
    assert_eq!(kernel.ask(request::stats).others, 1);
    assert!(kernel.ask(|w, t| request::stats_per_cpu(w, t.seq)).others > 0);
    assert_eq!(kernel.ask(|w, t| request::flush(w, t, &all)).errno, 0);
}

fn expectations_come_and_go(kernel: &mut Kernel) {
    let mut master = flow(v4(ipproto::TCP).with_ports(4000, 21));
    master.extra_mut().helper = HelperName::from_bytes(b"ftp");
    assert_eq!(kernel.create(&master), 0);
    let mut given = Expectation::default().with(|expect| {
        expect.master = master.orig;
        expect.tuple = master.orig.inverted().with_ports(0, 5000);
        expect.mask = Tuple::v4([255; 4], [255; 4], ipproto::TCP).with_ports(0, 0xffff);
        expect.timeout_s = Some(300);
        expect.flags = Some(0);
        expect.class = Some(0);
        expect.helper = HelperName::from_bytes(b"ftp");
        expect.function = Name::from_bytes(b"nat-follow-master");
    });
    given.nat = Some(ctnetlink::expectation::ExpectNat {
        direction: 1,
        tuple: Tuple::v4([10, 0, 0, 7], [0; 4], ipproto::TCP).with_ports(5001, 0),
    });
    let created = kernel.ask(|w, t| request::create_expectation(w, t, &given, IfExists::Fail));
    assert_eq!(created.errno, 0);
    let again = kernel.ask(|w, t| request::create_expectation(w, t, &given, IfExists::Fail));
    assert_eq!(again.errno, EEXIST);

    let mut read = kernel.ask(|w, t| request::dump_expectations(w, t.seq, 0)).expectations;
    let read = read.pop().unwrap();
    let kept = given.clone().with(|expect| {
        expect.mask = Tuple { dst: read.mask.dst, l4: read.mask.l4, ..given.mask };
        expect.timeout_s = read.timeout_s;
        expect.id = read.id;
    });
    assert_eq!(read, kept);
    let key = ctnetlink::FlowKey::new(given.tuple.with_ports(1234, 5000), 0);
    let delete = |w: &mut Writer<'_>, t| request::delete_expectation(w, t, &key, read.id);
    assert_eq!(kernel.ask(delete).errno, 0);
    assert_eq!(kernel.ask(delete).errno, ENOENT);
    assert_eq!(kernel.ask(request::flush_expectations).errno, 0);
    assert_eq!(kernel.delete(&master, None), 0);
}
