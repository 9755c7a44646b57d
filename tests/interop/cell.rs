//! One cell of the matrix: two daemons, rules, a link, which caches are on, and the life of a flow of each kind.
//!
//! ```text
//!   all rules        flows appear, change, end
//!   NOTRACK, FTFW    B is emptied, A sends everything; B is emptied and asks; B is killed, starts and asks
//!   all rules        B commits
//!   ALARM            A is killed, and B forgets its flows
//! ```
//!
//! Beside the two daemons of the cell run two of the original on the same namespaces and another port. They hear the
//! same events, so whatever the daemons of the cell show must be what these show, to the character.

use ctnetlink::flow::{Known, ProtoState, Status, TcpState};
use ctnetlink::{Flow, Tuple};
use tests::conf::{Conf, End, Rules, Transport};
use tests::conntrack::{
    allow_labels, catalogue_len, insert_catalogue, lines, lines_for_peer, table,
};
use tests::ctnetlink::{Requests, with_lifetime};
use tests::daemon::{Brand, Daemon};
use tests::netns::{Family, Namespace};
use tests::stage::Stage;
use tests::wait::{wait_equal, wait_for, wait_until};

/// The tables that exist between a flow and the other kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caches {
    Both,
    /// `DisableExternalCache` on B: straight into the kernel.
    OnlyInternal,
    /// `DisableInternalCache` on A: straight from the kernel.
    OnlyExternal,
    None,
}

impl Caches {
    pub(crate) const fn internal(self) -> bool {
        matches!(self, Self::Both | Self::OnlyInternal)
    }

    pub(crate) const fn external(self) -> bool {
        matches!(self, Self::Both | Self::OnlyExternal)
    }
}

/// What is tried: flows go from `from` on A to `to` on B.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) from: Brand,
    pub(crate) to: Brand,
    pub(crate) rules: Rules,
    pub(crate) transport: Transport,
    pub(crate) link: Family,
    pub(crate) caches: Caches,
}

/// Two nodes whose kernels keep labels.
pub(crate) fn stage() -> Stage {
    let stage = Stage::new();
    allow_labels(&stage.a);
    allow_labels(&stage.b);
    stage
}

/// The daemons of a cell and the ones they are measured by.
struct Nodes<'a> {
    stage: &'a Stage,
    cell: Cell,
    a: Daemon<'a>,
    b: Daemon<'a>,
    model_a: Daemon<'a>,
    model_b: Daemon<'a>,
}

/// Runs a cell.
pub(crate) fn check(cell: Cell) {
    let stage = stage();
    let mut nodes = Nodes::start(&stage, cell);
    insert_catalogue(&stage.a);
    nodes.compare("everything has arrived", |seen| seen.len() == catalogue_len());
    change(&stage.a);
    nodes.compare("changes have arrived", |seen| {
        seen.iter().filter(|line| line.contains("mark=9")).count() == 12
    });
    end_some(&stage.a);
    nodes.compare("ends have arrived", |seen| seen.len() == catalogue_len() - 6);
    if cell.rules.has_bulk() && cell.caches == Caches::Both {
        nodes.send_everything();
        nodes.restart_b();
    }
    if cell.caches.external() {
        nodes.commit();
    }
    if let Rules::Alarm { cache_s, .. } = cell.rules {
        nodes.fall_silent(cache_s);
    }
}

/// What has been received on the first link, packets.
pub(crate) fn heard(daemon: &Daemon<'_>) -> u64 {
    let text = daemon.ask(&["-s", "network"]);
    let line = text.lines().find(|line| line.contains("Pckts sent")).expect("such a line");
    line.split_whitespace().nth(3).and_then(|word| word.parse().ok()).expect("a number")
}

/// Changes the mark of twelve TCP flows, and state, status and lifetime of one.
fn change(a: &Namespace) {
    let ours = |port| Flow::new(Tuple::v4([1; 4], [2; 4], 6).with_ports(port, 80));
    let theirs = |host| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host];
    let wide = |port| Flow::new(Tuple::v6(theirs(1), theirs(2), 6).with_ports(port, 80));
    let mut flows: Vec<_> = (1001..=1010).map(ours).chain([wide(1001), wide(1002)]).collect();
    for flow in &mut flows {
        flow.mark = 9;
        flow.known = Known::MARK;
    }
    let grown = &mut flows[1];
    grown.proto = ProtoState::Tcp(TcpState { state: 3, ..TcpState::default() });
    grown.status = Status::CONFIRMED | Status::SEEN_REPLY | Status::ASSURED;
    grown.timeout_s = 2900;
    grown.known |= Known::STATUS | Known::TIMEOUT;
    Requests::open(a).update(&flows);
}

/// Ends ICMP and four UDP flows.
fn end_some(a: &Namespace) {
    a.sh("conntrack -D -p icmp");
    for port in [10, 12, 13, 14] {
        a.sh(&format!("conntrack -D -p udp --sport {port}"));
    }
}

impl Cell {
    fn conf_b(self) -> Conf {
        let conf = Conf::new(End::B).rules(self.rules).link(self.link).transport(self.transport);
        if self.caches.external() { conf } else { conf.mode("DisableExternalCache on") }
    }
}

impl<'a> Nodes<'a> {
    fn start(stage: &'a Stage, cell: Cell) -> Self {
        let b = Conf::new(End::B).rules(cell.rules);
        let mut a = Conf::new(End::A).rules(cell.rules);
        if !cell.caches.internal() {
            a = a.mode("DisableInternalCache on");
        }
        let model_b = stage.start(Brand::Original, "model-b", &b.clone().port(3781));
        let model_a = stage.start(Brand::Original, "model-a", &a.clone().port(3781));
        let b = stage.start(cell.to, "b", &cell.conf_b());
        let a = a.link(cell.link).transport(cell.transport);
        let a = stage.start(cell.from, "a", &a);
        let nodes = Self { stage, cell, a, b, model_a, model_b };
        nodes.wait_for_link();
        nodes
    }

    /// Waits until messages of either end reach the other. Over TCP, the original drops its messages while it is not
    /// connected; over multicast, no receiver misses messages from before the first one that arrived. ALARM sends
    /// everything again, and nothing while there are no flows.
    fn wait_for_link(&self) {
        if self.cell.rules.has_bulk() && self.cell.transport != Transport::Udp {
            wait_until("A and B hear each other", || heard(&self.a) > 0 && heard(&self.b) > 0);
        }
    }

    /// Waits until the model has got so far, then until the daemons of the cell show the same.
    fn compare(&self, what: &str, so_far: impl Fn(&[String]) -> bool) {
        wait_for(what, || Some(self.model_b.external()).filter(|lines| so_far(lines)));
        if self.cell.caches.internal() {
            wait_equal(what, || self.a.internal(), || self.model_a.internal());
        }
        if self.cell.caches.external() {
            wait_equal(what, || self.b.external(), || self.model_b.external());
        } else {
            assert_eq!(self.b.ask(&["-e"]), "", "there is no such table");
            let (a, b) = (&self.stage.a, &self.stage.b);
            wait_equal(what, || lines_for_peer(b), || lines_for_peer(a));
        }
    }

    /// Sends all of what B knows twice: A receives the command to send it, and B requests it.
    fn send_everything(&self) {
        let empty = || {
            self.b.ask(&["-f", "external"]);
            wait_until("the table is empty", || self.b.external().is_empty());
        };
        empty();
        self.a.ask(&["-B"]);
        wait_equal("the bulk arrives", || self.b.external(), || self.model_b.external());
        empty();
        self.b.ask(&["-n"]);
        wait_equal("the answer arrives", || self.b.external(), || self.model_b.external());
    }

    /// B dies, starts again and requests everything.
    fn restart_b(&mut self) {
        let conf = self.cell.conf_b().mode("StartupResync on");
        let said = |node: &Daemon<'_>, what: &str| node.log().matches(what).count();
        let asked = |b: &Daemon<'_>| said(b, "resync requested by other node");
        let renewed = |a: &Daemon<'_>| said(a, "the other node began a new sequence");
        let before = (asked(&self.b), renewed(&self.a));
        self.b.restart(&conf);
        if (self.cell.rules, self.cell.transport) == (Rules::NoTrack, Transport::Tcp) {
            // The original drops messages from before the connection stands, and never repeats them.
            self.wait_for_link();
            self.b.ask(&["-n"]);
        }
        wait_equal("everything arrives", || self.b.external(), || self.model_b.external());
        if matches!(self.cell.rules, Rules::Ftfw) {
            self.let_a_ask();
            // Ours asks a node of which it notices that; later, if it asked just before; and once more after five
            // seconds, because a node that has just started may not know all yet. Until then it is not ready.
            if self.a.brand() == Brand::Ours && renewed(&self.a) > before.1 {
                wait_until("A asks who began anew", || asked(&self.b) > before.0);
                wait_until("A asks nothing more", || self.a.status()["ready"] == true);
            }
        }
    }

    /// Waits until B has received A's request to a node that restarted, so that the answer holds nothing of the
    /// commit that follows: A receives a flow of B's, by which it notices the restart, and then B one of A's, which
    /// comes after A's request.
    fn let_a_ask(&self) {
        let own = Flow::new(Tuple::v4([7; 4], [8; 4], 17).with_ports(9, 10));
        for (node, hears) in [(&self.stage.b, &self.a), (&self.stage.a, &self.b)] {
            Requests::open(node).create(&[with_lifetime(own.clone())]);
            let heard = || hears.external().iter().any(|line| line.contains("sport=9 "));
            wait_until("it has heard of the flow", heard);
        }
        for node in [&self.stage.a, &self.stage.b] {
            node.sh("conntrack -D -p udp --sport 9");
        }
        wait_until("A has forgotten it", || self.a.external().is_empty());
        wait_equal("so has B", || self.b.external(), || self.model_b.external());
    }

    /// A dies: a flow that is not refreshed goes after so many seconds.
    fn fall_silent(&mut self, cache_s: u32) {
        for daemon in [&self.b, &self.model_b] {
            let text = daemon.ask(&["-e"]);
            let left = |line: &str| {
                let (_, tail) = line.split_once(" [expires in ")?;
                tail.split_once("s] [active since ")?.0.parse::<u32>().ok()
            };
            assert!(text.lines().all(|line| left(line).is_some_and(|s| s < cache_s)), "{text}");
        }
        self.a.kill_hard();
        self.model_a.kill_hard();
        wait_until("B forgets", || self.b.external().is_empty());
        wait_until("the original does so too", || self.model_b.external().is_empty());
    }

    /// B takes over: its kernel must hold what the kernel of A holds, and what it would hold had the original done it.
    fn commit(&self) {
        let (a, b) = (&self.stage.a, &self.stage.b);
        assert_eq!(lines(b), [""; 0], "nothing is written before the commit");
        self.b.ask(&["-c"]);
        let committed = table(b);
        let shown: Vec<_> = committed.keys().cloned().collect();
        assert_eq!(shown, lines_for_peer(a));
        assert!(committed.values().all(|s| (2000..=3000).contains(s)), "{committed:#?}");
        if self.cell.rules.has_bulk() {
            self.check_nothing_goes_back();
        }
        b.sh("conntrack -F");
        self.model_b.ask(&["-c"]);
        assert_eq!(lines(b), shown, "the original commits the same");
    }

    /// The flows of the commit are not news for A, unless all flows are refreshed: of two messages that B could send,
    /// A gets the later one only.
    fn check_nothing_goes_back(&self) {
        let own = Flow::new(Tuple::v4([7; 4], [8; 4], 17).with_ports(7, 8));
        Requests::open(&self.stage.b).create(&[with_lifetime(own)]);
        wait_until("B's own flow arrives", || !self.a.external().is_empty());
        assert_eq!(self.a.external().len(), 1, "{:#?}", self.a.external());
        self.stage.b.sh("conntrack -D -p udp --sport 7");
    }
}
