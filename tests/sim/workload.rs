//! What traffic does to a kernel: flows begin, change, end, and begin again with the tuple they had, often at once.

use crate::kernel::{Kernel, Parts};
use crate::prng::Rng;
use common::Instant;
use ctnetlink::flow::{HelperName, Known, ProtoState, Status, TcpState};
use ctnetlink::tuple::ipproto;
use ctnetlink::{Flow, FlowKey, Tuple};

/// One node's traffic.
#[derive(Debug)]
pub(crate) struct Workload {
    rng: Rng,
    net: u8,
    identities: Vec<FlowKey>,
    /// Identities touched last; most steps go there, so that changes follow each other closely.
    hot: Vec<usize>,
    /// An identity that ended a moment ago and begins again at the next step.
    owed: Option<usize>,
    /// Ends in a thousand that are followed by a report of a late packet.
    race: u32,
    interval_ns: u64,
}

impl Workload {
    /// Traffic over `count` identities in address space `net`.
    pub(crate) fn new(mut rng: Rng, net: u8, count: usize, race: u32, interval_ns: u64) -> Self {
        let identities = (0..count).map(|n| identity(net, n as u16)).collect();
        let hot = (0..4).map(|_| rng.below(count as u64) as usize).collect();
        Self { rng, net, identities, hot, owed: None, race, interval_ns }
    }

    /// Does something; returns after how many nanoseconds to call again.
    pub(crate) fn step(&mut self, kernel: &mut Kernel, now: Instant) -> u64 {
        if let Some(n) = self.owed.take() {
            self.begin(kernel, now, n);
            return self.pause();
        }
        let n = self.choose();
        let key = self.identities[n];
        if !kernel.flows().contains_key(&key) {
            self.begin(kernel, now, n);
            return self.pause();
        }
        match self.rng.below(100) {
            0..55 => self.change(kernel, now, &key),
            55..75 => self.end(kernel, now, &key),
            _ => {
                self.end(kernel, now, &key);
                self.owed = Some(n);
                return 2 + self.rng.below(20_000);
            }
        }
        self.pause()
    }

    /// Begins something, for tables that are not empty at the start.
    pub(crate) fn fill(&mut self, kernel: &mut Kernel, now: Instant) {
        for n in 0..self.identities.len() {
            if self.rng.chance(500) {
                self.begin(kernel, now, n);
            }
        }
    }

    fn pause(&mut self) -> u64 {
        let burst = self.rng.chance(500);
        1 + self.rng.below(if burst { self.interval_ns / 20 + 1 } else { self.interval_ns })
    }

    fn choose(&mut self) -> usize {
        if self.rng.chance(600) {
            return *self.rng.pick(&self.hot);
        }
        let n = self.rng.below(self.identities.len() as u64) as usize;
        let at = self.rng.below(self.hot.len() as u64) as usize;
        self.hot[at] = n;
        n
    }

    fn begin(&mut self, kernel: &mut Kernel, now: Instant, n: usize) {
        let flow = self.flow(kernel, n);
        let same_id = self.rng.chance(300);
        kernel.begin(now, flow, same_id);
    }

    fn end(&mut self, kernel: &mut Kernel, now: Instant, key: &FlowKey) {
        let gone = kernel.end(now, key);
        if let Some(gone) = gone.filter(|_| self.rng.chance(self.race)) {
            kernel.race(Instant(now.0 + 1), &gone);
        }
    }

    fn change(&mut self, kernel: &mut Kernel, now: Instant, key: &FlowKey) {
        let rng = &mut self.rng;
        let (kind, value) = (rng.below(10), rng.below(3) as u32);
        let parts = Parts { proto: kind < 5, mark: kind == 5 || kind == 6, labels: kind == 7 };
        kernel.change(now, key, parts, |flow| {
            flow.timeout_s = 60 + value;
            match kind {
                0..5 => advance(flow),
                5 | 6 => flow.mark = value * 7,
                7 => flow.extra_mut().labels = Some(vec![1 << value, 0, 0, 0]),
                _ => flow.status |= Status::SEEN_REPLY,
            }
        });
    }

    /// A new life of identity `n`.
    fn flow(&mut self, kernel: &Kernel, n: usize) -> Flow {
        let key = self.identities[n];
        let rng = &mut self.rng;
        let mut flow = Flow::new(key.tuple);
        flow.zone = key.zone;
        flow.known = Known::STATUS | Known::TIMEOUT | Known::MARK;
        flow.known.set(Known::ZONE, key.zone != 0);
        flow.timeout_s = 30;
        flow.mark = *rng.pick(&[0, 0, 7, 9]);
        flow.status = Status::CONFIRMED;
        flow.reply = key.tuple.inverted();
        if key.tuple.proto == ipproto::TCP {
            let wscale = rng.chance(500).then_some([7, 9]);
            flow.proto = ProtoState::Tcp(TcpState { state: 1, wscale, flags: None });
            if rng.chance(100) {
                flow.extra_mut().helper = HelperName::from_bytes(b"ftp");
            }
        }
        if !key.tuple.is_icmp() && rng.chance(350) {
            translate(&mut flow, rng, self.net, n);
        }
        if rng.chance(200) {
            expect(&mut flow, kernel, rng);
        }
        flow
    }
}

/// The `n`-th identity: some the mirror of the one before, some the same tuple in another zone.
fn identity(net: u8, n: u16) -> FlowKey {
    let zone = if n % 3 == 2 { 7 } else { 0 };
    let base = if n % 3 == 2 { n - 1 } else { n };
    let (src, dst) = ([10, net, 0, 1], [192, 0, 2, 1]);
    let wide = |last: u8| {
        let mut addr = [0; 16];
        (addr[0], addr[1], addr[2], addr[15]) = (0x20, 0x01, net, last);
        addr
    };
    let tuple = match base % 7 {
        0..=2 => Tuple::v4(src, dst, ipproto::TCP).with_ports(1000 + base, 80),
        3 => Tuple::v4(src, dst, ipproto::UDP).with_ports(5060 + base, 5060),
        4 => Tuple::v4(src, dst, ipproto::UDP).with_ports(5060 + base - 1, 5060).inverted(),
        5 => Tuple::v6(wide(1), wide(2), ipproto::TCP).with_ports(1000 + base, 443),
        _ => Tuple::v4(src, dst, ipproto::ICMP).with_icmp(base, 8, 0),
    };
    FlowKey::new(tuple, zone)
}

fn advance(flow: &mut Flow) {
    flow.status |= Status::SEEN_REPLY;
    if let ProtoState::Tcp(tcp) = &mut flow.proto {
        tcp.state = (tcp.state + 1).min(7);
        if tcp.state >= 3 {
            flow.status |= Status::ASSURED;
        }
    }
}

/// Translates one end, to a port that belongs to this identity.
fn translate(flow: &mut Flow, rng: &mut Rng, net: u8, n: usize) {
    let v6 = flow.orig.family == ctnetlink::tuple::FAMILY_IPV6;
    let (src, dst) = flow.reply.ports();
    let mut to = [0; 16];
    to[..4].copy_from_slice(&if v6 { [0x20, 0x01, 0xff, net] } else { [203, 0, 113, net] });
    let port = 20_000 + 2 * n as u16 + rng.below(2) as u16;
    if rng.chance(600) {
        flow.reply.dst = to;
        flow.reply = flow.reply.with_ports(src, port);
        flow.status |= Status::SRC_NAT | Status::SRC_NAT_DONE;
    } else {
        flow.reply.src = to;
        flow.reply = flow.reply.with_ports(port, dst);
        flow.status |= Status::DST_NAT | Status::DST_NAT_DONE;
    }
}

/// Makes it the expected flow of another one, which may be expected itself.
fn expect(flow: &mut Flow, kernel: &Kernel, rng: &mut Rng) {
    let fits = |m: &&Flow| {
        m.zone == flow.zone && m.orig.family == flow.orig.family && m.orig.proto == ipproto::TCP
    };
    let masters: Vec<_> = kernel.flows().values().filter(fits).map(|m| m.orig).collect();
    if masters.is_empty() || masters.contains(&flow.orig) {
        return;
    }
    flow.extra_mut().master = Some(*rng.pick(&masters));
    flow.status |= Status::EXPECTED;
}
