//! The hub: takes what the shards wrote down, and hands it to those who want it.

mod failures;
mod questions;

use super::channel::{Channel, Heard, Key};
use super::client::{self, Connection, Word};
use super::lanes::{Lane, last_of, seqs};
use super::queue::{Piece, Queue};
use super::request::{Format, Request, Subscription};
use super::subscriber::Subscriber;
use super::{Parts, Product, Settings, Stats, lines};
use engine::Side;
use host::clock;
use host::fleet::Handle;
use host::log::Log;
use host::shard::{Order, Wish};
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, RwLock, mpsc};
use tokio::task::{spawn_local, yield_now};
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};
use wire::feed::{KINDS, Lost, Op, Record, Walked};

/// Records taken from a lane before the task yields.
const RECORDS_PER_TURN: usize = 256;
/// How long the hub works on one task before it looks for others.
const BUSY: Duration = Duration::from_millis(5);
/// How often clients receive the position of the stream.
const TICK: Duration = Duration::from_secs(1);
/// The shortest time between two pages of snapshots: 512 rows take a shard some 20 us.
const PAGE_PAUSE: Duration = Duration::from_millis(1);
/// A page that has not come after this long is asked for again.
const PAGE_PATIENCE: Duration = Duration::from_secs(2);
/// How long the goodbye may take.
const BYE: Duration = Duration::from_millis(500);
/// Words of clients that wait.
const WORDS_MAX: usize = 64;
/// Most different channels.
const CHANNELS_MAX: usize = 32;

/// A page of a snapshot that was asked for.
struct Page {
    id: u32,
    shard: usize,
    /// The clients that asked for it.
    clients: Vec<u64>,
    asked: Instant,
}

struct Hub {
    settings: Settings,
    shared: Arc<RwLock<Handle>>,
    engine: Handle,
    log: Arc<Log>,
    product: Arc<dyn Product>,
    stats: Arc<Stats>,
    notify: Rc<Notify>,
    words: mpsc::Sender<Word>,
    lanes: Vec<Lane>,
    /// The numbers of the last records of lanes that were closed, by shard and table.
    last: BTreeMap<(usize, usize), u64>,
    channels: Vec<Channel>,
    /// The connected clients, and the queues that they read once they have subscribed.
    queues: BTreeMap<u64, Rc<Queue>>,
    clients: BTreeMap<u64, Subscriber>,
    next_client: u64,
    page: Option<Page>,
    next_page: u32,
    /// The client that received the last page.
    served: u64,
    page_at: Instant,
    /// Flows of both tables, as last sent.
    flows: [u64; 2],
    state: Value,
    epoch: String,
    memory: Rc<Cell<usize>>,
}

/// Serves until `stopped` says to stop.
pub(super) async fn run(mut parts: Parts, mut stopped: mpsc::Receiver<()>) -> io::Result<()> {
    let listener = parts.socket.take().ok_or(io::ErrorKind::NotConnected)?;
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let (words, mut said) = mpsc::channel(WORDS_MAX);
    let Parts {
        settings,
        engine: shared,
        log,
        product,
        stats,
        failures: mut heard_of,
        socket: _socket,
    } = parts;
    let engine = shared.read().await.clone();
    let mut hub = Hub {
        settings,
        shared,
        engine,
        log,
        product,
        stats,
        notify: Rc::new(Notify::new()),
        words,
        lanes: Vec::new(),
        last: BTreeMap::new(),
        channels: Vec::new(),
        queues: BTreeMap::new(),
        clients: BTreeMap::new(),
        next_client: 0,
        page: None,
        next_page: 0,
        served: 0,
        page_at: Instant::now(),
        flows: [0; 2],
        state: Value::Null,
        epoch: format!("{:016x}", RandomState::new().hash_one(clock::wall_ns())),
        memory: Rc::default(),
    };
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let woken = Rc::clone(&hub.notify);
    loop {
        let page_at = hub.page_due();
        tokio::select! {
            _ = stopped.recv() => break,
            client = listener.accept() => match client {
                Ok((stream, _)) => hub.accept(stream),
                // Descriptors come back.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
            Some(word) = said.recv() => hub.on_word(word),
            _ = tick.tick() => hub.on_tick().await,
            failure = failures::next(&mut heard_of) => match failure {
                Ok(record) => hub.on_failure(&record),
                Err(count) => hub.on_failures_lost(count),
            },
            () = woken.notified() => {}
            () = sleep_until(page_at.into()) => {}
        }
        hub.work().await;
    }
    hub.stop().await;
    Ok(())
}

impl Hub {
    /// Takes what waits in the lanes until nothing does, and arms them then; or comes back soon, while there is more.
    async fn work(&mut self) {
        let until = Instant::now() + BUSY;
        while Instant::now() < until {
            let taken = self.drain();
            self.settle();
            self.order_page();
            if taken {
                // Clients write meanwhile.
                yield_now().await;
                continue;
            }
            self.lanes.iter().for_each(|lane| lane.reader.arm());
            // The second look that an armed reader owes.
            if !self.drain() {
                return;
            }
        }
        self.notify.notify_one();
    }

    /// Takes a turn's share of records out of each lane; whether there were any.
    fn drain(&mut self) -> bool {
        let now_ns = clock::wall_ns();
        let ahead = now_ns.wrapping_sub(clock::now().0);
        let mut any = false;
        for at in 0..self.lanes.len() {
            for _ in 0..RECORDS_PER_TURN {
                let lane = &mut self.lanes[at];
                let (shard, side) = (lane.shard, lane.side);
                let Some(bytes) = lane.reader.take() else { break };
                let Ok((mut record, _)) = Record::decode(bytes) else { continue };
                any = true;
                match record.head.op {
                    Op::Gap => {
                        let lost = Lost::decode(record.bytes);
                        lane.seq = lost.to;
                        self.on_lost((shard, side), &lost);
                    }
                    Op::Walked => {
                        let walked = Walked::decode(record.bytes);
                        self.on_walked(&walked);
                    }
                    op => {
                        lane.seq = record.head.seq;
                        record.head.time_ns = record.head.time_ns.wrapping_add(ahead);
                        self.stats.produced[op as usize].fetch_add(1, Relaxed);
                        let mut flow = None;
                        let mut heard = Heard { record, flow: &mut flow, shard, now_ns };
                        let channels = self.channels.iter_mut();
                        for channel in channels.filter(|c| c.members > 0 && c.key.side == side) {
                            channel.take(&mut heard, &*self.product);
                        }
                    }
                }
            }
        }
        self.hand_out();
        any
    }

    /// Hands the chunks of all channels to their clients.
    fn hand_out(&mut self) {
        let limit = self.settings.share(self.clients.len());
        for (at, channel) in self.channels.iter_mut().enumerate() {
            channel.seal();
            for chunk in channel.ready.drain(..) {
                let members = self.clients.values_mut().filter(|client| client.channel == at);
                members.for_each(|client| client.push(&chunk, limit, &self.stats));
            }
        }
        self.stats.queue_bytes.store(self.memory.get() as u64, Relaxed);
    }

    /// Records found no room in a lane.
    fn on_lost(&mut self, (shard, side): (u16, Side), lost: &Lost) {
        self.hand_out();
        for kind in 0..KINDS {
            self.stats.produced[kind].fetch_add(lost.kinds[kind], Relaxed);
        }
        self.stats.lost_lane.fetch_add(lost.kinds.iter().sum(), Relaxed);
        let clients = self.clients.values_mut().filter(|client| client.wanted.side == side);
        clients.for_each(|client| client.lose_in_lane(shard, lost));
    }

    /// Handles a page of a snapshot.
    fn on_walked(&mut self, walked: &Walked) {
        self.hand_out();
        let Some(page) = self.page.take_if(|page| page.id == walked.id) else {
            // One that was given up, while another one is on its way.
            return self.channels.iter_mut().for_each(Channel::drop_rows);
        };
        let pages: Vec<_> = self.channels.iter_mut().map(Channel::take_page).collect();
        let (shards, limit) = (self.engine.shards(), self.settings.share(self.clients.len()));
        for id in page.clients {
            let Some(client) = self.clients.get_mut(&id) else { continue };
            let is_there = client.snap.is_some_and(|snap| snap.shard == page.shard);
            let chunks = &pages[client.channel];
            if is_there && client.take_page((chunks, walked), shards, limit) {
                let side = client.wanted.side;
                let seq = seqs(&self.lanes, side);
                self.clients[&id].say(&json!({"v": 1, "control": "live", "seq": seq}));
            }
        }
    }

    /// Sends gap messages to the clients that have lost records and have read on.
    fn settle(&mut self) {
        let limit = self.settings.share(self.clients.len());
        for client in self.clients.values_mut() {
            client.queue.wake_at(limit / 2);
            if client.settle(limit) {
                client.begin_snapshot(self.flows[client.wanted.side as usize], &self.stats);
            }
        }
        for (at, channel) in self.channels.iter_mut().enumerate() {
            let mut members = self.clients.values().filter(|client| client.channel == at);
            channel.counts_only = members.all(Subscriber::is_losing);
        }
    }

    /// When the next page may be asked for, if a member waits for one.
    fn page_due(&self) -> Instant {
        let limit = self.settings.share(self.clients.len());
        let waits = self.clients.values().any(|client| client.is_hungry(limit));
        match &self.page {
            Some(page) => page.asked + PAGE_PATIENCE,
            None if waits => self.page_at,
            None => Instant::now() + Duration::from_secs(3600),
        }
    }

    /// Asks for the next page of a snapshot. Clients that wait at the same position share a page; the position that
    /// has waited longest comes first.
    fn order_page(&mut self) {
        let now = Instant::now();
        if self.page.as_ref().is_some_and(|page| now < page.asked + PAGE_PATIENCE) {
            return;
        }
        self.page = None;
        let limit = self.settings.share(self.clients.len());
        if now < self.page_at {
            return;
        }
        let hungry = || self.clients.iter().filter(|(_, client)| client.is_hungry(limit));
        // The client after the one that was served last, or the first.
        let next = hungry().find(|(id, _)| **id > self.served).or_else(|| hungry().next());
        let Some((&served, first)) = next else { return };
        let (Some(snap), side) = (first.snap, first.wanted.side) else { return };
        let same = |client: &Subscriber| client.snap == Some(snap) && client.wanted.side == side;
        let clients: Vec<_> =
            hungry().filter(|(_, client)| same(client)).map(|(id, _)| *id).collect();
        for id in &clients {
            self.channels[self.clients[id].channel].wants_rows = true;
        }
        self.served = served;
        self.next_page = self.next_page.wrapping_add(1);
        self.page_at = now + PAGE_PAUSE;
        let (id, shard, from) = (self.next_page, snap.shard, snap.at);
        self.page = Some(Page { id, shard, clients, asked: now });
        self.engine.order(Order::Feed { shard, side, wish: Wish::Walk(id, from) });
    }

    fn accept(&mut self, stream: UnixStream) {
        let id = self.next_client;
        self.next_client += 1;
        let queue = Rc::new(Queue::new(Rc::clone(&self.notify)));
        let who = stream.peer_cred().map_or_else(
            |_| "somebody".into(),
            |cred| format!("uid {}, process {}", cred.uid(), cred.pid().unwrap_or(0)),
        );
        let is_full = self.queues.len() >= self.settings.clients_max;
        if is_full {
            self.stats.refused.fetch_add(1, Relaxed);
            let text = format!("{} clients are connected, and no more may be", self.queues.len());
            let refusal = lines::framed(Format::Json, &lines::error(&("full", text)));
            // The line fits into the buffer of a fresh socket; if it does not, the hub does not wait.
            let _ = stream.try_write(&refusal);
            return;
        }
        let (hub, stats) = (self.words.clone(), Arc::clone(&self.stats));
        let connection = Connection { id, hub, queue: Rc::clone(&queue), stats, who };
        spawn_local(client::serve(stream, connection));
        self.queues.insert(id, queue);
        self.stats.clients.store(self.queues.len() as u64, Relaxed);
    }

    fn on_word(&mut self, word: Word) {
        match word {
            Word::Says(id, who, request) => match *request {
                Request::Subscribe(wanted) => {
                    let Subscription { format, filter, .. } = &wanted;
                    self.log.info(format!("feed: {who} subscribes: {format:?}, filter `{filter}`"));
                    self.look_at_engine();
                    self.subscribe(id, wanted);
                }
                Request::Resync => {
                    if let Some(client) = self.clients.get_mut(&id) {
                        client.wanted.snapshot = true;
                        let side = client.wanted.side;
                        self.join(id);
                        self.listen(side);
                        self.begin_snapshot(id);
                    }
                }
                Request::Ask(question) => self.ask(id, question),
                Request::Get(side, flow) => self.get(id, side, &flow),
                Request::Bye => {}
            },
            Word::Gone(id) => self.remove(id),
        }
    }

    /// Takes over how the engine is, as it published that; if it has ended, what was known stays.
    fn look_at_engine(&mut self) {
        if let Some(snapshot) = self.engine.published() {
            self.flows = snapshot.flows.map(|flows| flows as u64);
            self.state = lines::state(snapshot.state);
        }
    }

    fn subscribe(&mut self, id: u64, wanted: Subscription) {
        let Some(queue) = self.queues.get(&id).cloned() else { return };
        let refuse = |refusal: (&str, String)| {
            queue.push(Piece::Line(lines::framed(Format::Json, &lines::error(&refusal))));
            queue.push(Piece::End);
        };
        let channel = match self.channel(&Key::of(&wanted)) {
            Ok(channel) => channel,
            Err(refusal) => return refuse(refusal),
        };
        self.channels[channel].members += 1;
        let (side, snapshot) = (wanted.side, wanted.snapshot);
        let of_tables = wanted.kinds & !(1 << Op::Failure as u8 | 1 << Op::Cleared as u8) != 0;
        let mut client = Subscriber::new(wanted, channel, Rc::clone(&queue));
        client.say(&json!({
            "v": 1, "control": "hello", "epoch": self.epoch, "daemon": self.settings.version,
            "shards": self.engine.shards(), "state": self.state["state"],
            "queue_bytes": self.settings.queue_bytes,
            "netns": self.settings.namespace.map(|(device, inode)| [device, inode]),
        }));
        client.knows_state(&self.state);
        self.clients.insert(id, client);
        self.count_channels();
        self.channels[channel].counts_only = false;
        // A client that wants failures alone costs the shards nothing.
        if of_tables {
            self.listen(side);
        }
        if snapshot {
            self.begin_snapshot(id);
        }
    }

    fn count_channels(&self) {
        let channels = self.channels.iter().filter(|channel| channel.members > 0).count();
        self.stats.channels.store(channels as u64, Relaxed);
    }

    fn begin_snapshot(&mut self, id: u64) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.begin_snapshot(self.flows[client.wanted.side as usize], &self.stats);
    }

    /// A client that asks for a snapshot wants rows from now on.
    fn join(&mut self, id: u64) {
        self.hand_out();
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.wanted.kinds |= 1 << Op::Have as u8;
        let (key, old) = (Key::of(&client.wanted), client.channel);
        if let Ok(channel) = self.channel(&key) {
            self.channels[old].members -= 1;
            self.channels[channel].members += 1;
            self.channels[channel].counts_only = false;
            self.clients.get_mut(&id).into_iter().for_each(|client| client.channel = channel);
        }
    }

    /// The channel of all who want this.
    fn channel(&mut self, key: &Key) -> Result<usize, (&'static str, String)> {
        let found = self.channels.iter().position(|c| c.members > 0 && c.key == *key);
        if let Some(found) = found {
            return Ok(found);
        }
        let program = self.product.compile(&key.filter).map_err(|why| ("filter", why))?;
        let channel = Channel::new(key.clone(), program, &self.memory);
        // A channel without members is empty.
        if let Some(free) = self.channels.iter().position(|c| c.members == 0) {
            self.channels[free] = channel;
            return Ok(free);
        }
        if self.channels.len() >= CHANNELS_MAX {
            let text = format!("{CHANNELS_MAX} different filters, formats and kinds are in use");
            return Err(("full", text));
        }
        self.channels.push(channel);
        Ok(self.channels.len() - 1)
    }

    /// Has the changes of a table written down, unless they are.
    fn listen(&mut self, side: Side) {
        let counters = self.wants_counters(side);
        for shard in 0..self.engine.shards() {
            let is_it = |lane: &&mut Lane| lane.side == side && usize::from(lane.shard) == shard;
            if let Some(lane) = self.lanes.iter_mut().find(is_it) {
                lane.want_counters(&self.engine, counters);
                continue;
            }
            let last = self.last.get(&(shard, side as usize)).copied().unwrap_or(0);
            self.open((shard, side), last);
        }
    }

    fn open(&mut self, place: (usize, Side), seq: u64) {
        let counters = self.wants_counters(place.1);
        match Lane::open(&self.engine, place, (seq, counters), &self.notify) {
            Ok(lane) => self.lanes.push(lane),
            Err(error) => self.log.error(format!("feed: no room for records: {error}")),
        }
    }

    fn wants_counters(&self, side: Side) -> bool {
        self.clients.values().any(|client| client.wanted.side == side && client.wanted.counters)
    }

    fn remove(&mut self, id: u64) {
        self.queues.remove(&id);
        self.stats.clients.store(self.queues.len() as u64, Relaxed);
        let Some(client) = self.clients.remove(&id) else { return };
        let channel = &mut self.channels[client.channel];
        channel.members -= 1;
        if channel.members == 0 {
            channel.seal();
            channel.ready.clear();
            channel.take_page();
        }
        self.count_channels();
        let side = client.wanted.side;
        if self.clients.values().all(|client| client.wanted.side != side) {
            self.lanes.iter().filter(|lane| lane.side == side).for_each(|l| l.close(&self.engine));
            for lane in self.lanes.extract_if(.., |lane| lane.side == side) {
                self.last.insert((lane.shard.into(), side as usize), lane.seq);
            }
            return;
        }
        let counters = self.wants_counters(side);
        let lanes = self.lanes.iter_mut().filter(|lane| lane.side == side);
        lanes.for_each(|lane| lane.want_counters(&self.engine, counters));
    }

    async fn on_tick(&mut self) {
        self.drain();
        self.follow_engine().await;
        if self.clients.is_empty() {
            return;
        }
        self.look_at_engine();
        self.tell_state();
        let limit = self.settings.share(self.clients.len());
        let time_ns = clock::wall_ns();
        for client in self.clients.values() {
            if client.is_whole() && client.queue.len() <= limit / 2 {
                let seq = seqs(&self.lanes, client.wanted.side);
                client.say(&json!({"v": 1, "control": "tick", "seq": seq, "time_ns": time_ns}));
            }
        }
    }

    fn tell_state(&mut self) {
        let limit = self.settings.share(self.clients.len());
        let Self { clients, state, .. } = self;
        clients.values_mut().for_each(|client| client.tell_state(state, limit));
    }

    /// When the lanes have ended, another engine runs or will: the contents of its tables differ from what clients
    /// received.
    async fn follow_engine(&mut self) {
        if !self.lanes.iter().any(|lane| lane.reader.is_closed()) {
            return;
        }
        while self.drain() {
            yield_now().await;
        }
        // During a restart the lock is held for writing.
        let Ok(engine) = timeout(TICK, self.shared.read()).await else { return };
        self.engine = engine.clone();
        drop(engine);
        let ended: Vec<_> =
            self.lanes.drain(..).map(|lane| (lane.shard, lane.side, lane.seq)).collect();
        self.page = None;
        for (side, seq) in [Side::Local, Side::Remote].map(|side| (side, last_of(&ended, side))) {
            let Some(seq) = seq else { continue };
            (0..self.engine.shards()).for_each(|shard| self.open((shard, side), seq));
            let clients = self.clients.iter_mut().filter(|(_, client)| client.wanted.side == side);
            for (_, client) in clients {
                client.say(&lines::cleared(0, seq));
                if client.wanted.snapshot {
                    client.begin_snapshot(0, &self.stats);
                }
            }
        }
    }

    /// Says goodbye, and waits a moment until that was read.
    async fn stop(&mut self) {
        self.drain();
        self.clients.values_mut().for_each(|client| client.close("the daemon ends"));
        self.lanes.iter().for_each(|lane| lane.close(&self.engine));
        let until = Instant::now() + BYE;
        while Instant::now() < until && self.queues.values().any(|queue| queue.len() > 0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
