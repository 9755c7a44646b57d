//! What must be true (R18.2): always, at rest after the last fault, and while nothing happens.

use super::member::Member;
use super::traffic::is_closing;
use super::world::World;
use crate::cluster::{Outcome, Violation};
use crate::trace::{Trace, name};
use common::Instant;
use ctnetlink::FlowKey;
use engine::config::Owner;
use engine::{Exactness, Side};
use std::collections::BTreeMap;
use std::time::Duration;
use wire::sync::v2::{Frame, Frames};

/// So long a node may say that it has what a peer has while one row differs and stays as it is: a comparison counts for
/// three seconds, and takes a second and the way.
const DIFFERS_MAX: Duration = Duration::from_millis(4_700);
/// By so many an identity may be claimed more often than its kernels reported it (R10.5).
const EPOCHS_MORE: u64 = 10;
/// How long nothing happens at the end, seconds.
const QUIET_S: u64 = 5;

/// The owner and the version of a flow, at a node.
type View = BTreeMap<FlowKey, (Owner, u64)>;

/// A row that differs at a holder and its owner, and since when both have been as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Differs {
    prints: [Option<u64>; 2],
    since: Instant,
}

/// What is remembered of a run, to judge it.
#[derive(Debug)]
pub(super) struct Watch {
    events: BTreeMap<FlowKey, u64>,
    disturbances: u64,
    differing: BTreeMap<(usize, usize, FlowKey), Differs>,
    /// Datagrams from one to the other, and records in them, since the quiet began.
    sent: Vec<Vec<u64>>,
    records: u64,
    /// How often claims were sent, and events came.
    pub(super) told: u64,
}

impl Watch {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            events: BTreeMap::new(),
            disturbances: 0,
            differing: BTreeMap::new(),
            sent: vec![vec![0; nodes]; nodes],
            records: 0,
            told: 0,
        }
    }

    pub(super) fn on_event(&mut self, key: &FlowKey) {
        *self.events.entry(*key).or_default() += 1;
    }

    /// A process restarted, or received a command.
    pub(super) const fn on_disturbance(&mut self) {
        self.disturbances += 1;
    }

    /// A node sends this: no identity changes hands more often than its kernels say something (I9).
    pub(super) fn on_sent(
        &mut self,
        now: Instant,
        (from, to): (usize, usize),
        bytes: &[u8],
        trace: &Trace,
    ) -> Outcome {
        self.sent[from][to] += 1;
        let Ok((_, frames)) = Frames::of(bytes) else {
            return Err(Violation::new("I9 datagrams", "a datagram was sent that is malformed"));
        };
        for frame in frames {
            let frame =
                frame.map_err(|fault| Violation::new("I9 datagrams", format!("{fault:?}")))?;
            trace.say(now, from, format_args!("tells {}: {}", name(to), text(&frame)));
            let Frame::Flows { records, .. } = frame else { continue };
            for record in records.flatten() {
                (self.records, self.told) = (self.records + 1, self.told + 1);
                let events = self.events.get(&record.key).copied().unwrap_or_default();
                let most = events + self.disturbances + EPOCHS_MORE;
                if u64::from(record.claim.epoch) > most {
                    let text =
                        format!("{:?}: {:?} after {events} events", record.key, record.claim);
                    return Err(Violation::new("I9 no storm of claims", text));
                }
            }
        }
        Ok(())
    }
}

fn text(frame: &Frame<'_>) -> String {
    match frame {
        Frame::Flows { flags, records } => {
            let records = records.clone().flatten();
            let record = |record: wire::sync::v2::FlowRecord<'_>| {
                let tcp = record.to_flow().tcp().map(|tcp| tcp.state);
                format!("{} {:?} {tcp:?}", record.key.tuple.ports().0, record.claim)
            };
            format!("{flags:?} {:?}", records.map(record).collect::<Vec<_>>())
        }
        Frame::Beaten(records) => {
            let claims = records.clone().flatten().map(|r| (r.key.tuple.ports().0, r.claim));
            format!("beaten {:?}", claims.collect::<Vec<_>>())
        }
        Frame::Ack(_) => "ack".to_owned(),
        Frame::Ids(_) => "ids".to_owned(),
        Frame::Wants(_) => "wants".to_owned(),
        Frame::Sums(sums) => format!("sums {:?}", sums.level),
        other => format!("{other:?}"),
    }
}

fn differ(truth: &'static str, text: String) -> Outcome {
    Err(Violation::new(truth, text))
}

impl World {
    fn views(&self) -> Vec<View> {
        self.members.iter().map(|member| member.view(&self.keys)).collect()
    }

    /// Ready is never said for long over a table that is wrong (I8).
    pub(super) fn sample(&mut self) -> Outcome {
        let views = self.views();
        let mut differing = BTreeMap::new();
        for (holder, member) in self.members.iter().enumerate() {
            let standings = member.peer_standings(self.now);
            let peers = (0..self.members.len()).filter(|owner| *owner != holder);
            for (owner, standing) in peers.zip(standings) {
                let same_run =
                    member.sessions[owner].incarnation() == Some(self.members[owner].incarnation);
                if !standing.equal || !self.members[owner].is_up() || !same_run {
                    continue;
                }
                for key in &self.keys {
                    let prints = [&views[holder], &views[owner]].map(|view| of(view, key, owner));
                    if prints[0] != prints[1] {
                        let fresh = Differs { prints, since: self.now };
                        let before = self.watch.differing.get(&(holder, owner, *key));
                        let lasts = before.filter(|before| before.prints == prints);
                        differing.insert((holder, owner, *key), *lasts.unwrap_or(&fresh));
                    }
                }
            }
        }
        let now = self.now;
        let late = differing.iter().find(|(_, differs)| now.since(differs.since) > DIFFERS_MAX);
        if let Some(((holder, owner, key), differs)) = late {
            let (holder, owner) = (name(*holder), name(*owner));
            let text = format!("{holder} says that it equals {owner}, {key:?}: {differs:?}");
            return differ("I8 equal is equal", text);
        }
        self.watch.differing = differing;
        Ok(())
    }

    /// A node did something: a difference to a peer that is gone now is over. Between two samples a
    /// difference may be mended, and come again with the same prints: that is another one.
    pub(super) fn follow_differences(&mut self, node: usize) {
        let (members, differing) = (&self.members, &mut self.watch.differing);
        differing.retain(|(holder, owner, key), differs| {
            let now = [*holder, *owner].map(|at| print_of(members[at].sees(key), *owner));
            ![*holder, *owner].contains(&node) || now == differs.prints
        });
    }

    /// All is well.
    pub(super) fn agree(&self) -> Outcome {
        self.paths_are_known()?;
        let views = self.views();
        for (at, member) in self.members.iter().enumerate() {
            self.is_settled(member)?;
            self.rows_are_claims(at, &views)?;
            self.hot_kernel_has_them(member, &views[at])?;
        }
        for (which, key) in self.keys.iter().enumerate() {
            let owners: Vec<_> = views.iter().map(|view| view.get(key).map(|of| of.0)).collect();
            if owners.iter().any(|owner| *owner != owners[0]) {
                return differ("I2 one owner", format!("{which}: {owners:?}"));
            }
            self.owner_has_it(which, owners[0])?;
            // What is being closed does not live: it goes when its time is over, which this kernel does not know.
            let entry = |Owner(at)| self.members[usize::from(at)].kernel.flows().get(key);
            let lives = owners[0].and_then(entry).is_some_and(|flow| !is_closing(flow));
            if let Some(at) = self.connections[which].closed.filter(|_| lives) {
                let text = format!("{which} was closed at {}, and is {owners:?}'s", name(at));
                return differ("I4 what is closed stays closed", text);
            }
        }
        Ok(())
    }

    /// A node has its kernel's flows, nothing waits, and it says that all is well.
    fn is_settled(&self, member: &Member) -> Outcome {
        let now = member.clock(self.now);
        let who = name(member.index);
        let heard = |key: &FlowKey| !member.kernel.is_unheard(key);
        let engines = || member.shards.iter().map(|shard| &shard.engine);
        let local = engines().flat_map(|engine| engine.flows(Side::Local)).map(|flow| flow.key());
        let mut local: Vec<_> = local.filter(heard).collect();
        local.sort_unstable();
        let kernel = member.kernel.flows().keys();
        let kernel: Vec<_> =
            kernel.filter(|key| !member.kernel.is_injected(key) && heard(key)).copied().collect();
        if local != kernel {
            let text = format!("{who} {local:?}, {kernel:?}");
            return differ("I3 the local table is the kernel's", text);
        }
        for (shard, engine) in engines().enumerate() {
            let standing = engine.standing(now);
            let ready = standing.local_loaded && standing.remote_complete && standing.remote_exact;
            if !ready || standing.in_bulk || standing.committing {
                let peers: Vec<_> = engine.peer_standings(now).collect();
                let text = format!("{who}, shard {shard}: {standing:?}, {peers:?}");
                return differ("I1 ready is said", text);
            }
            if engine.exactness() != Exactness::Exact {
                return differ("I1 ready is said", format!("{who}: {:?}", engine.exactness()));
            }
        }
        for (peer, standing) in member.peer_standings(self.now).into_iter().enumerate() {
            let all = standing.up && standing.complete && standing.equal;
            if !all || standing.behind != 0 || standing.in_flight != 0 {
                return differ("I1 level with each peer", format!("{who}, {peer}: {standing:?}"));
            }
        }
        Ok(())
    }

    /// A holder's rows of each owner are the owner's claims, field by field (I1).
    fn rows_are_claims(&self, holder: usize, views: &[View]) -> Outcome {
        for owner in (0..self.members.len()).filter(|owner| *owner != holder) {
            for (which, key) in self.keys.iter().enumerate() {
                let [here, there] = [holder, owner].map(|at| of(&views[at], key, owner));
                if here != there {
                    let (holder, owner) = (name(holder), name(owner));
                    let text = format!("{which}: {holder} has {here:?}, {owner} {there:?}");
                    return differ("I1 rows are claims", text);
                }
            }
        }
        Ok(())
    }

    /// The kernel of a hot node has what others own, too (R13.3).
    fn hot_kernel_has_them(&self, member: &Member, view: &View) -> Outcome {
        let lacks = |key: &&FlowKey| !member.kernel.flows().contains_key(*key);
        let lacked = member.is_hot.then(|| view.keys().find(lacks)).flatten();
        let Some(key) = lacked else { return Ok(()) };
        differ("I3 a hot kernel has all flows", format!("{}: {key:?}", name(member.index)))
    }

    /// An owner's kernel has the flow, and what a kernel tracks has an owner (I3).
    fn owner_has_it(&self, which: usize, owner: Option<Owner>) -> Outcome {
        let key = &self.keys[which];
        if let Some(Owner(at)) = owner {
            let has = self.members[usize::from(at)].kernel.flows().contains_key(key);
            let text = format!("{which} is {}'s, whose kernel lacks it", name(at.into()));
            return if has { Ok(()) } else { differ("I3 an owner has what it owns", text) };
        }
        let tracks = |member: &&Member| {
            let flow = member.kernel.flows().get(key).filter(|flow| !is_closing(flow));
            flow.is_some() && !member.kernel.is_injected(key) && !member.kernel.is_unheard(key)
        };
        let Some(member) = self.members.iter().find(tracks) else { return Ok(()) };
        let text = format!("{which} is tracked at {}, and nobody's", name(member.index));
        differ("I3 what is tracked has an owner", text)
    }

    /// Nodes that have nothing to say say once a second that they are there, and do nothing else (I7, I8).
    pub(super) fn quiet(&mut self) -> Outcome {
        self.watch.sent.iter_mut().flatten().for_each(|sent| *sent = 0);
        self.watch.records = 0;
        self.members.iter_mut().for_each(|member| member.wakes = 0);
        let unequal = self.unequal();
        self.wait(QUIET_S)?;
        if self.watch.records != 0 {
            return differ("I7 quiet", format!("{} records are told", self.watch.records));
        }
        if self.unequal() != unequal {
            return differ("I8 equal is equal", "a comparison finds what is not".to_owned());
        }
        for (from, to) in self.watch.sent.iter().enumerate() {
            // Each pair of shards that share slices is a stream, and says that it is there.
            let streams =
                |to: usize| self.members[from].shards.len() + self.members[to].shards.len() - 1;
            let most = |to| (QUIET_S + 2) * streams(to) as u64;
            if to.iter().enumerate().any(|(at, sent)| *sent > most(at)) {
                return differ("I7 quiet", format!("{} sends {to:?} datagrams", name(from)));
            }
        }
        let most =
            |member: &Member| 8 * QUIET_S * (self.members.len() * member.shards.len()) as u64;
        match self.members.iter().find(|member| member.wakes > most(member)) {
            Some(member) => {
                let text = format!("{} wakes up {} times", name(member.index), member.wakes);
                differ("I7 quiet", text)
            }
            None => Ok(()),
        }
    }

    /// Comparisons that found a difference.
    fn unequal(&self) -> u64 {
        let standings = self.members.iter().flat_map(|member| member.peer_standings(self.now));
        standings.map(|standing| standing.counts.unequal).sum()
    }
}

/// How a flow is in a view, if it is this node's there.
fn of(view: &View, key: &FlowKey, owner: usize) -> Option<u64> {
    print_of(view.get(key).copied(), owner)
}

fn print_of(seen: Option<(Owner, u64)>, owner: usize) -> Option<u64> {
    seen.filter(|(of, _)| usize::from(of.0) == owner).map(|(_, print)| print)
}
