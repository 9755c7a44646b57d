//! FTFW as conntrackd 1.4.7 does it, as far as a peer can see: section 9 of docs/spec/sync.md without what is marked
//! as ours. It follows observations on the wire, and shares only the codec with the engine.
//!
//! What it cannot do, and what a run with it must therefore excuse:
//! - A HELLO makes it forget everything it keeps. What is lost shortly before is lost for good.
//! - A peer that restarts receives no flow unless a node requests a transfer, and the original requests one at its
//!   own start only.
//! - What ends while a process is not there, or has not read the kernel's table, is never sent.
//! - As long as its peer greets, it takes messages in whatever order they come.
//! - Its updates cannot take away what the peer knows of an earlier life: a helper, a label, a master, a mark.

use common::Instant;
use ctnetlink::{Change, Flow, FlowKey, Writer};
use engine::config::Mode;
use engine::flows::merge;
use engine::{Command, Config, Event, Input, KernelOp, Request, Side};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use wire::sync::v1::{self, Control, Flags, Message, Messages, Options, Stamp};

const ALIVE_AFTER: Duration = Duration::from_secs(1);

/// A flow of this node's kernel.
#[derive(Debug)]
struct Object {
    flow: Flow,
    /// What its next message is called.
    change: Change,
    queued: bool,
}

/// Something to send, or sent and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Flow(FlowKey),
    Control(Control),
}

/// Something that happened too early.
#[derive(Debug)]
enum Held {
    Event(Change, Box<Flow>),
    Datagram(Vec<u8>),
}

/// One conntrackd.
#[derive(Debug)]
pub(crate) struct Original {
    config: Config,
    resend_max: usize,
    window: u32,
    local: BTreeMap<FlowKey, Object>,
    remote: BTreeMap<FlowKey, Flow>,
    tx: VecDeque<Item>,
    /// Sent and not acknowledged; the oldest goes when it is full.
    rs: VecDeque<(u32, Item)>,
    seq: u32,
    greeting: bool,
    greet_back: bool,
    /// The peer's last number.
    last: Option<u32>,
    /// The first number that is not acknowledged, and how many more there may be.
    unacked: Option<u32>,
    left: u32,
    alive_next: Instant,
    dump_asked: bool,
    /// What came before the kernel's table was read; nothing else is done until then.
    held: Option<Vec<Held>>,
    events: VecDeque<Event>,
}

impl Original {
    /// A process that begins.
    pub(crate) fn new(config: Config, now: Instant) -> Self {
        let (resend_max, window) = match config.replication.mode {
            Mode::Ftfw { resend_max, ack_window } => (resend_max, ack_window),
            Mode::NoTrack | Mode::Alarm { .. } => (1, 1),
        };
        let asks = config.replication.startup_resync;
        Self {
            resend_max,
            window,
            local: BTreeMap::new(),
            remote: BTreeMap::new(),
            tx: asks.then_some(Item::Control(Control::Resync)).into_iter().collect(),
            rs: VecDeque::new(),
            seq: config.first_seq,
            greeting: true,
            greet_back: false,
            last: None,
            unacked: None,
            left: window,
            alive_next: now + ALIVE_AFTER,
            dump_asked: false,
            held: Some(Vec::new()),
            events: VecDeque::new(),
            config,
        }
    }

    pub(crate) const fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn flows(&self, side: Side) -> Vec<Flow> {
        let alive = |object: &&Object| object.change != Change::Destroy;
        match side {
            Side::Local => {
                self.local.values().filter(alive).map(|object| object.flow.clone()).collect()
            }
            Side::Remote => self.remote.values().cloned().collect(),
        }
    }

    pub(crate) fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Kernel { event, flow, .. } => match &mut self.held {
                Some(held) => held.push(Held::Event(event, Box::new(flow))),
                None => self.on_event(event, flow),
            },
            Input::DumpDone { complete: true } => {
                for held in self.held.take().unwrap_or_default() {
                    match held {
                        Held::Event(event, flow) => self.on_event(event, *flow),
                        Held::Datagram(bytes) => self.on_datagram(&bytes),
                    }
                }
            }
            Input::Dumped(mut flow) => {
                flow.drop_volatile();
                let object = Object { flow, change: Change::New, queued: false };
                self.local.entry(object.flow.key()).or_insert(object);
            }
            Input::Datagram { bytes, .. } => match &mut self.held {
                Some(held) => held.push(Held::Datagram(bytes.to_vec())),
                None => self.on_datagram(bytes),
            },
            Input::Command(id, command) => {
                match command {
                    Command::RequestResync => self.tx.push_back(Item::Control(Control::Resync)),
                    Command::Bulk => self.queue_all(),
                    // The first reading was torn.
                    Command::ResyncKernel => self.dump_asked = self.held.is_none(),
                    _ => {}
                }
                self.events.push_back(Event::CommandDone(id));
            }
            _ => {}
        }
        if now >= self.alive_next {
            self.alive_next = now + ALIVE_AFTER;
            let control = self.ack().unwrap_or(Control::Alive);
            self.tx.push_back(Item::Control(control));
        }
    }

    /// The kernel's table is read once, at start.
    pub(crate) fn peek_kernel(&self) -> Option<KernelOp<'_>> {
        let dump = KernelOp { token: 1, commit: false, request: &Request::Dump };
        (!self.dump_asked).then_some(dump)
    }

    pub(crate) fn poll_kernel(&mut self) -> Option<KernelOp<'_>> {
        let first = !std::mem::replace(&mut self.dump_asked, true);
        first.then_some(KernelOp { token: 1, commit: false, request: &Request::Dump })
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(crate) const fn poll_timeout(&self) -> Instant {
        self.alive_next
    }

    fn on_datagram(&mut self, bytes: &[u8]) {
        for raw in Messages::datagram(bytes).flatten() {
            let Ok(message) = v1::decode(&raw) else { continue };
            if self.on_number(raw.header.seq, raw.header.flags) {
                self.on_message(message);
            }
        }
    }

    /// How many of `count` messages of a datagram, numbered from `seq` on, come too late to be taken.
    pub(crate) fn refused(&self, seq: u32, greets: bool, count: usize) -> usize {
        let Some(last) = self.last.filter(|_| !greets && self.held.is_none()) else { return 0 };
        let late = |n: &u32| !is_before(last, seq.wrapping_add(*n));
        (0..count as u32).take_while(late).count()
    }

    fn on_event(&mut self, event: Change, mut flow: Flow) {
        flow.drop_volatile();
        let key = flow.key();
        match (event, self.local.get_mut(&key)) {
            (Change::New, Some(object)) => (object.flow, object.change) = (flow, Change::New),
            (Change::New, None) => {
                drop(self.local.insert(key, Object { flow, change: Change::New, queued: false }));
            }
            (Change::Update, Some(object)) if object.change != Change::Destroy => {
                merge::absorb(&mut object.flow, flow);
                object.change = Change::Update;
            }
            (Change::Destroy, Some(object)) => object.change = Change::Destroy,
            // Nothing is known of it.
            (Change::Update | Change::Destroy, _) => return,
        }
        self.queue(key);
    }

    /// Queues a flow, unless it waits already. What was sent of it and not acknowledged is outdated.
    fn queue(&mut self, key: FlowKey) {
        let Some(object) = self.local.get_mut(&key) else { return };
        if !std::mem::replace(&mut object.queued, true) {
            self.rs.retain(|(_, item)| *item != Item::Flow(key));
            self.tx.push_back(Item::Flow(key));
        }
    }

    fn queue_all(&mut self) {
        let keys: Vec<_> = self.local.keys().copied().collect();
        keys.into_iter().for_each(|key| self.queue(key));
    }

    /// Fills a datagram.
    pub(crate) fn poll_transmit(&mut self, now: Instant, datagram: &mut [u8]) -> Option<usize> {
        if self.held.is_some() {
            return None;
        }
        let mut len = 0;
        while let Some(item) = self.tx.front().copied() {
            let mut writer = Writer::new(&mut datagram[len..]);
            self.write(item, &mut writer);
            let Ok(written) = writer.finish() else { break };
            len += written;
            self.tx.pop_front();
            self.on_sent(item);
        }
        self.alive_next = if len > 0 { now + ALIVE_AFTER } else { self.alive_next };
        (len > 0).then_some(len)
    }

    fn write(&self, item: Item, writer: &mut Writer<'_>) {
        let mut flags = Flags::empty();
        flags.set(Flags::HELLO, self.greeting);
        flags.set(Flags::HELLO_BACK, self.greet_back);
        let stamp = Stamp { seq: self.seq, flags };
        let options = Options { timeout: true, window_scale: self.config.window_tracking };
        match item {
            Item::Flow(key) => {
                let object = self.local.get(&key).expect("what is queued is kept");
                v1::encode_flow(object.change, stamp, &object.flow, options, writer);
            }
            Item::Control(control) => v1::encode_control(control, stamp, writer),
        }
    }

    fn on_sent(&mut self, item: Item) {
        self.greet_back = false;
        if item != Item::Control(Control::Alive) {
            self.rs.push_back((self.seq, item));
        }
        self.seq = self.seq.wrapping_add(1);
        if let Item::Flow(key) = item
            && let Some(object) = self.local.get_mut(&key)
        {
            object.queued = false;
        }
        while self.rs.len() > self.resend_max {
            let oldest = self.rs.pop_front();
            oldest.into_iter().for_each(|(_, item)| self.forget(item));
        }
    }

    /// An item is not kept any more: what has ended goes.
    fn forget(&mut self, item: Item) {
        let Item::Flow(key) = item else { return };
        if self.local.get(&key).is_some_and(|o| o.change == Change::Destroy && !o.queued) {
            self.local.remove(&key);
        }
    }

    /// The acknowledgement that is due.
    fn ack(&mut self) -> Option<Control> {
        let (from, to) = (self.unacked.take()?, self.last?);
        Some(Control::Ack { from, to })
    }

    /// Records a number; false if its message must be dropped.
    fn on_number(&mut self, seq: u32, flags: Flags) -> bool {
        if flags.contains(Flags::HELLO_BACK) {
            self.greeting = false;
        }
        if flags.contains(Flags::HELLO) {
            self.greet_back = true;
            let kept = std::mem::take(&mut self.rs);
            kept.into_iter().for_each(|(_, item)| self.forget(item));
            if self.unacked.is_some_and(|from| is_before(seq, from)) {
                self.begin_window(seq);
            }
        } else if let Some(next) = self.last.map(|last| last.wrapping_add(1)) {
            if is_before(seq, next) {
                return false;
            }
            if seq != next {
                let (from, to) = (next, seq.wrapping_sub(1));
                let ack = self.ack();
                self.tx.extend(ack.map(Item::Control));
                self.tx.push_back(Item::Control(Control::Nack { from, to }));
                self.begin_window(seq);
                self.last = Some(seq);
                return true;
            }
        }
        self.last = Some(seq);
        if self.unacked.is_none() {
            (self.unacked, self.left) = (Some(seq), self.window);
        }
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            let ack = self.ack();
            self.tx.extend(ack.map(Item::Control));
        }
        true
    }

    const fn begin_window(&mut self, seq: u32) {
        self.unacked = Some(seq);
        self.left = self.window.saturating_sub(1);
    }

    fn on_message(&mut self, message: Message) {
        match message {
            Message::Flow { change: Change::New, flow } => {
                drop(self.remote.insert(flow.key(), flow));
            }
            Message::Flow { change: Change::Update, flow } => {
                match self.remote.get_mut(&flow.key()) {
                    Some(known) => merge::absorb(known, flow),
                    None => drop(self.remote.insert(flow.key(), flow)),
                }
            }
            Message::Flow { change: Change::Destroy, flow } => {
                drop(self.remote.remove(&flow.key()));
            }
            Message::Control(Control::Resync) => self.queue_all(),
            Message::Control(Control::Ack { from, to }) => {
                for item in self.take_kept(from, to) {
                    self.forget(item);
                }
            }
            Message::Control(Control::Nack { from, to }) => {
                for item in self.take_kept(from, to) {
                    match item {
                        Item::Flow(key) => self.queue(key),
                        control @ Item::Control(_) => self.tx.push_back(control),
                    }
                }
            }
            Message::Control(_) | Message::Expect { .. } => {}
        }
    }

    /// Takes what is kept under the numbers `from` to `to`.
    fn take_kept(&mut self, from: u32, to: u32) -> Vec<Item> {
        let within = |seq: u32| !is_before(seq, from) && !is_before(to, seq);
        let kept = std::mem::take(&mut self.rs);
        let (taken, rest) = kept.into_iter().partition::<Vec<_>, _>(|(seq, _)| within(*seq));
        self.rs = rest.into();
        taken.into_iter().map(|(_, item)| item).collect()
    }
}

const fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}
