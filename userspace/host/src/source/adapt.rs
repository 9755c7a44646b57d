//! Chooses between tap and hook by cost.
//!
//! The tap costs per event for which the kernel builds a message, the hook per packet. On the measured machines, the
//! hook's saving per event pays for 5 to 8 packets (`benches/versus`):
//!
//! ```text
//!   packets an event      0 ........ 5 ........ 8 ........
//!                         hook       as it is      tap
//!   events a second       0 ..... 500 ..... 1000 .........
//!                         tap     as it is       by packets
//! ```
//!
//! At low rates neither costs much, and the tap sees what other programs do to flows. A switch costs a dump of the
//! table, so the condition must hold for some seconds.
//!
//! During a switch both report for a while, so that no event is lost:
//!
//! ```text
//!   tap --> hook    the hook's programs begin to run; OVERLAP; the groups of new and changed flows are left
//!   hook --> tap    those groups are joined; OVERLAP; the programs are taken out
//! ```
//!
//! A commit writes many flows at once, and the kernel would build a message for each. The hook takes over before it
//! begins ([`Sides::take_hook`]), after a grace period of the kernel in place of the overlap.

use super::hook::Hook;
use super::{Account, Heard, HookAccount, NetlinkSource, SourceError};
use crate::sys;
use common::Instant;
use ctnetlink::uapi::ct;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

/// How long both report. A packet that was on its way when the change began has long left by then.
pub(super) const OVERLAP: Duration = Duration::from_secs(1);
/// How often is looked.
const EVERY: Duration = Duration::from_secs(1);
/// So many looks in a row must come to the same before sides change.
const LOOKS: u32 = 5;
/// Packets an event below which the hook costs less, and above which the tap does.
const PACKETS: [u64; 2] = [5, 8];
/// Events a second below which it does not matter, and above which it does.
const EVENTS: [u64; 2] = [500, 1000];

/// Where a netlink message carries its type (`struct nlmsghdr`, `include/uapi/linux/netlink.h`).
const TYPE_AT: usize = 4;

/// The program that reports flows that begin and change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Tap,
    Hook,
}

/// What has happened since some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    /// Packets that the hook would see.
    pub(super) packets: u64,
    /// Times that a flow began or changed.
    pub(super) events: u64,
}

/// Sides change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    /// Events a second.
    pub events: u64,
    /// Packets for each ten of them.
    pub packets_per_ten: u64,
}

/// Looks at the traffic.
#[derive(Debug, Default)]
pub(super) struct Judge {
    last: Option<(Instant, Traffic)>,
    looks: u32,
}

impl Judge {
    /// Whether it is time to look.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.last.is_none_or(|(at, _)| now.since(at) >= EVERY)
    }

    /// Looks at what has happened up to now; says when the other side should be taken.
    pub(super) fn look(&mut self, now: Instant, side: Side, all: Traffic) -> Option<Switch> {
        let (at, before) = self.last.replace((now, all))?;
        let span_ms = now.since(at).as_millis().max(1) as u64;
        let packets = all.packets.saturating_sub(before.packets);
        let events = all.events.saturating_sub(before.events);
        let verdict = Switch {
            events: events.saturating_mul(1000) / span_ms,
            packets_per_ten: packets.saturating_mul(10) / events.max(1),
        };
        self.looks = if verdict.is_against(side) { self.looks + 1 } else { 0 };
        (self.looks >= LOOKS).then(|| {
            self.begin_anew();
            verdict
        })
    }

    /// What was looked at says nothing of what comes.
    pub(super) const fn begin_anew(&mut self) {
        (self.last, self.looks) = (None, 0);
    }
}

impl Switch {
    /// Whether the other side would cost less.
    const fn is_against(self, side: Side) -> bool {
        match side {
            Side::Tap => self.events > EVENTS[1] && self.packets_per_ten < 10 * PACKETS[0],
            Side::Hook => self.events < EVENTS[0] || self.packets_per_ten > 10 * PACKETS[1],
        }
    }
}

/// The side that reports flows that begin and change, and its changes.
#[derive(Debug)]
pub(super) struct Sides {
    side: Side,
    /// Sides change: since when both report.
    both_since: Option<Instant>,
    /// The groups of new and changed flows, as far as they are wanted at all.
    groups: u32,
    /// What decides, where sides may change.
    judge: Option<(Judge, Packets)>,
    /// Messages that were handed out since the last look, and those of them that were not about ends.
    heard: [u64; 2],
    /// Events that the tap's program had seen by the last look.
    seen: u64,
    /// As many of all those as were not about ends.
    events: u64,
}

impl Sides {
    pub(super) fn new(side: Side, adapts: bool, groups: u32) -> Self {
        let packets = if adapts { Packets::open().ok() } else { None };
        let judge = packets.map(|packets| (Judge::default(), packets));
        Self { side, both_since: None, groups, judge, heard: [0; 2], seen: 0, events: 0 }
    }

    /// The side that reports, or is about to.
    pub(super) const fn side(&self) -> Side {
        self.side
    }

    /// Takes note of what is handed out.
    #[inline]
    pub(super) fn note(&mut self, heard: Heard<'_>) {
        if self.judge.is_some()
            && let Some(kind) = heard.message().and_then(|bytes| bytes.get(TYPE_AT..TYPE_AT + 2))
        {
            // The lower byte of a 16-bit number in the order of this machine.
            let is_end = u16::from_ne_bytes([kind[0], kind[1]]) as u8 == ct::DELETE;
            self.heard[0] += 1;
            self.heard[1] += u64::from(!is_end);
        }
    }

    pub(super) const fn is_changing(&self) -> bool {
        self.both_since.is_some()
    }

    /// Whether it is time to look whether sides should change.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.judge.as_ref().is_some_and(|(judge, _)| judge.is_due(now))
    }

    /// Ends the time in which both report.
    pub(super) fn go_on(&mut self, now: Instant, hook: &mut Hook, socket: &NetlinkSource) {
        if self.both_since.take_if(|since| now.since(*since) >= OVERLAP).is_none() {
            return;
        }
        match self.side {
            // What is still heard twice does no harm.
            Side::Hook => drop(socket.set_groups(self.groups, false)),
            Side::Tap => hook.detach(),
        }
    }

    /// Looks at the traffic, and begins to change sides if it asks for that. What cannot be begun is not tried again.
    pub(super) fn look(
        &mut self,
        now: Instant,
        account: &Account,
        (hook, socket): (&mut Hook, &NetlinkSource),
    ) -> Option<Result<Switch, SourceError>> {
        let traffic = self.traffic(account)?;
        let (judge, _) = self.judge.as_mut()?;
        let verdict = judge.look(now, self.side, traffic)?;
        let (outcome, side) = match self.side {
            Side::Tap => (hook.attach(), Side::Hook),
            Side::Hook => (socket.set_groups(self.groups, true).map_err(Into::into), Side::Tap),
        };
        if let Err(error) = outcome {
            self.judge = None;
            return Some(Err(error));
        }
        (self.side, self.both_since) = (side, Some(now));
        Some(Ok(verdict))
    }

    /// Has the hook report alone right away, where sides may change. True if it does since this call.
    ///
    /// A packet that passed before the programs ran has its event by the end of a grace period, and those after it are
    /// seen: then the groups can be left.
    pub(super) fn take_hook(
        &mut self,
        now: Instant,
        (hook, socket): (&mut Hook, &NetlinkSource),
    ) -> Result<bool, SourceError> {
        if self.judge.is_none() || (self.side == Side::Hook && !self.is_changing()) {
            return Ok(false);
        }
        // While sides change, the programs run already.
        if !self.is_changing()
            && let Err(error) = hook.attach()
        {
            self.judge = None;
            return Err(error);
        }
        self.side = Side::Hook;
        self.hold();
        let left = sys::wait_for_programs().and_then(|()| socket.set_groups(self.groups, false));
        // What is refused here comes with time: it costs the messages about what is written until then.
        self.both_since = left.is_err().then_some(now);
        Ok(true)
    }

    /// What has happened lately is not to decide: sides stay as they are for some time more.
    pub(super) fn hold(&mut self) {
        self.judge.iter_mut().for_each(|(judge, _)| judge.begin_anew());
    }

    /// What has happened up to now, as the side that reports knows it. The kernel builds messages for flows that the
    /// filter refuses too; of those, as many are taken to be about ends as of the others.
    fn traffic(&mut self, account: &Account) -> Option<Traffic> {
        let (_, packets) = self.judge.as_ref()?;
        let [all, news] = std::mem::take(&mut self.heard).map(u128::from);
        let seen = account.seen.saturating_sub(self.seen);
        self.seen = account.seen;
        self.events += (u128::from(seen) * news / all.max(1)) as u64;
        match (self.side, account.hook) {
            (Side::Hook, Some(hook)) => {
                let HookAccount { recorded, repeated, filtered, lost_full, lost_other, .. } = hook;
                let events = recorded + repeated + filtered + lost_full + lost_other;
                Some(Traffic { packets: events + hook.settled + hook.untracked, events })
            }
            (Side::Hook, None) => None,
            (Side::Tap, _) => Some(Traffic { packets: packets.count().ok()?, events: self.events }),
        }
    }
}

/// Counts the packets of a network namespace that pass the hook.
#[derive(Debug)]
pub(super) struct Packets {
    v4: File,
    /// The file for IPv6; not every kernel has it.
    v6: Option<File>,
}

impl Packets {
    /// Opens the files of the calling thread's namespace.
    pub(super) fn open() -> io::Result<Self> {
        let v4 = File::open("/proc/thread-self/net/snmp")?;
        Ok(Self { v4, v6: File::open("/proc/thread-self/net/snmp6").ok() })
    }

    /// How many there have been: delivered here, and sent from here, forwarded ones included.
    pub(super) fn count(&self) -> io::Result<u64> {
        let mut all = ipv4(&whole(&self.v4)?);
        if let Some(v6) = &self.v6 {
            all += ipv6(&whole(v6)?);
        }
        Ok(all)
    }
}

/// All of a file of `/proc`, from its beginning.
fn whole(file: &File) -> io::Result<String> {
    let mut text = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match file.read_at(&mut piece, text.len() as u64)? {
            0 => return Ok(String::from_utf8_lossy(&text).into_owned()),
            got => text.extend_from_slice(&piece[..got]),
        }
    }
}

/// From `/proc/net/snmp`: a line of names, and a line of values. `OutTransmits` counts what leaves, forwarded or not;
/// kernels that do not have it (before 6.6) count that as `OutRequests`.
fn ipv4(text: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Ip:"));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let value = |wanted: &str| {
        let mut both = names.split_whitespace().zip(values.split_whitespace());
        both.find(|(name, _)| *name == wanted).and_then(|(_, value)| value.parse().ok())
    };
    sum(&value, "InDelivers", ["OutTransmits", "OutRequests"])
}

/// From `/proc/net/snmp6`: a name and a value on each line.
fn ipv6(text: &str) -> u64 {
    let value = |wanted: &str| {
        let mut lines = text.lines().map(str::split_whitespace);
        let mut line = lines.find_map(|mut words| (words.next()? == wanted).then_some(words))?;
        line.next()?.parse().ok()
    };
    sum(&value, "Ip6InDelivers", ["Ip6OutTransmits", "Ip6OutRequests"])
}

fn sum(value: &dyn Fn(&str) -> Option<u64>, arrived: &str, left: [&str; 2]) -> u64 {
    let left = left.into_iter().find_map(value);
    value(arrived).unwrap_or(0) + left.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What side comes of seconds with so many packets and events each.
    fn after(mut side: Side, seconds: &[(u64, u64)]) -> Side {
        let (mut judge, mut all, mut now) = (Judge::default(), Traffic::default(), Instant(7));
        assert_eq!(judge.look(now, side, all), None);
        for (packets, events) in seconds {
            all.packets += packets;
            all.events += events;
            now += EVERY;
            assert!(judge.is_due(now));
            if judge.look(now, side, all).is_some() {
                side = if side == Side::Tap { Side::Hook } else { Side::Tap };
            }
        }
        side
    }

    #[test]
    fn short_flows_are_for_the_hook_and_long_ones_for_the_tap() {
        assert_eq!(after(Side::Tap, &[(40_000, 10_000); 5]), Side::Hook);
        assert_eq!(after(Side::Hook, &[(90_000, 10_000); 5]), Side::Tap);
        // Between the two, both stay.
        assert_eq!(after(Side::Tap, &[(65_000, 10_000); 50]), Side::Tap);
        assert_eq!(after(Side::Hook, &[(65_000, 10_000); 50]), Side::Hook);
    }

    #[test]
    fn where_little_begins_it_is_the_tap() {
        assert_eq!(after(Side::Tap, &[(600, 900); 50]), Side::Tap);
        assert_eq!(after(Side::Hook, &[(600, 600); 50]), Side::Hook);
        assert_eq!(after(Side::Hook, &[(400, 400); 5]), Side::Tap);
        assert_eq!(after(Side::Hook, &[(0, 0); 5]), Side::Tap);
    }

    #[test]
    fn what_does_not_last_counts_for_nothing() {
        let (short, long) = ((40_000, 10_000), (90_000, 10_000));
        assert_eq!(after(Side::Tap, &[short, short, short, short, long].repeat(5)), Side::Tap);
        assert_eq!(after(Side::Hook, &[long, long, long, long, short].repeat(5)), Side::Hook);
    }

    #[test]
    fn looks_are_far_enough_apart_and_counters_that_go_back_count_as_nothing() {
        let mut judge = Judge::default();
        let all = Traffic { packets: 1 << 40, events: 1 << 40 };
        assert_eq!(judge.look(Instant(0), Side::Tap, all), None);
        assert!(!judge.is_due(Instant(1)));
        assert_eq!(judge.look(Instant(0) + EVERY, Side::Tap, Traffic::default()), None);
        assert_eq!(judge.looks, 0);
    }

    #[test]
    fn packets_are_those_that_pass_the_hook_on_old_kernels_and_new_ones() {
        let new = "Ip: Forwarding InReceives InDelivers OutRequests OutTransmits\nIp: 1 100 30 20 90\nIcmp: InMsgs\n";
        assert_eq!(ipv4(new), 30 + 90);
        assert_eq!(ipv4("Ip: InReceives InDelivers OutRequests\nIp: 100 30 90\n"), 30 + 90);
        assert_eq!(ipv4(""), 0);
        assert_eq!(ipv4("Ip: InDelivers\nIp: x\n"), 0);
        let new =
            "Ip6InReceives \t100\nIp6InDelivers   \t30\nIp6OutRequests\t20\nIp6OutTransmits \t90\n";
        assert_eq!(ipv6(new), 30 + 90);
        assert_eq!(ipv6("Ip6InDelivers 30\nIp6OutRequests 90\n"), 30 + 90);
        assert_eq!(ipv6("Ip6InDelivers\n"), 0);
    }

    #[test]
    fn this_machine_counts_packets() {
        let packets = Packets::open().expect("the kernel counts");
        let before = packets.count().expect("it can be read");
        assert!(packets.count().expect("and again") >= before);
    }
}
