//! How bytes become what happens to an engine.
//!
//! ```text
//!   settings | step | step | step ...        a step: what happens (1 byte), and what it needs
//! ```
//!
//! Bytes that are not there are zeros. Few flows and numbers near the right ones make it likely that steps have
//! something to do with each other; raw datagrams are there for the rest.

use common::Instant;
use core::time::Duration;
use ctnetlink::flow::{Known, ProtoState, Status, TcpState};
use ctnetlink::tuple::ipproto;
use ctnetlink::{Change, Flow, Tuple, Writer};
use engine::config::{Mode, Replication};
use engine::{Command, Config, Origin, Stamp};
use wire::sync::v1::{self, Account, Control, Flags};

/// A step of a plan.
#[derive(Debug)]
pub(crate) enum Step {
    /// Time passes.
    Wait(Duration),
    /// A datagram comes in.
    Datagram(Vec<u8>),
    /// The kernel reports something.
    Kernel(Change, Flow, Origin, Stamp),
    /// The kernel answers: so many of what was asked, the first of them with this errno.
    Settle(usize, i32),
    /// An answer about a request that was never made.
    Astray(u32, i32),
    /// A part of the kernel's table.
    Dumped(Flow),
    /// The end of that.
    DumpDone(bool),
    /// What the kernel says about one flow.
    Verified(Flow, bool),
    /// An operator wants something.
    Command(Command),
    /// The link takes so many datagrams of this length.
    Send(u8, usize),
}

/// Bytes, read to their end and beyond.
#[derive(Debug)]
pub(crate) struct Plan<'a>(&'a [u8]);

impl<'a> Plan<'a> {
    /// The plan in these bytes.
    pub(crate) const fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn number(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// The settings: small limits, so that they are reached.
    pub(crate) fn config(&mut self) -> Config {
        let (kind, switches) = (self.byte(), self.byte());
        let is_on = |bit: u8| switches & (1 << bit) != 0;
        let mode = match kind % 4 {
            0 | 1 => Mode::Ftfw {
                resend_max: 1 + usize::from(kind >> 2) % 16,
                ack_window: 1 + u32::from(kind >> 6),
            },
            2 => Mode::NoTrack,
            _ => Mode::Alarm { refresh_s: u32::from(kind >> 5), expire_s: u32::from(kind >> 4) },
        };
        let replication = Replication {
            mode,
            keep_local: !is_on(0),
            keep_remote: !is_on(1),
            startup_resync: is_on(2),
            ..Replication::default()
        };
        Config {
            flows_max: if is_on(3) { 4 } else { 64 },
            replication,
            commit_timeout_s: is_on(4).then_some(180),
            window_tracking: is_on(5),
            report_vanished: is_on(6),
            // Close to where numbers wrap.
            first_seq: if is_on(7) { 0xffff_fff0 } else { 100 },
            ..Config::default()
        }
    }

    /// The next step at `now`, the peer's numbers being near `seq` and ours near `own`; `None` at the end.
    pub(crate) fn step(&mut self, now: Instant, seq: u32, own: u32) -> Option<Step> {
        if self.0.is_empty() {
            return None;
        }
        Some(match self.byte() % 16 {
            0 => Step::Wait(Duration::from_millis(self.number().into())),
            1 => Step::Wait(Duration::from_secs(self.number().into())),
            2 => Step::Datagram(self.raw()),
            3..=5 => Step::Datagram(self.flow_message(seq)),
            6 | 7 => Step::Datagram(self.control_message(seq, own)),
            8 | 9 => {
                let (kind, flow) = (self.byte(), self.flow());
                Step::Kernel(event(kind), flow, origin(kind >> 2), stamp(kind >> 4, now))
            }
            10 => Step::Settle(self.byte().into(), errno(self.byte())),
            11 => match self.byte() % 4 {
                0 => Step::Astray(self.number().into(), errno(self.byte())),
                1 => Step::DumpDone(self.byte() & 1 == 0),
                _ => Step::Verified(self.flow(), self.byte() & 1 == 0),
            },
            12 => Step::Dumped(self.flow()),
            13 => Step::DumpDone(true),
            14 => Step::Command(command(self.byte())),
            _ => Step::Send(self.byte(), 64 + usize::from(self.byte()) * 8),
        })
    }

    fn raw(&mut self) -> Vec<u8> {
        let (bytes, rest) = self.0.split_at(usize::from(self.byte()).min(self.0.len()));
        self.0 = rest;
        bytes.to_vec()
    }

    fn flow(&mut self) -> Flow {
        let (which, how) = (self.byte(), self.byte());
        let proto = [ipproto::UDP, ipproto::TCP][usize::from(which >> 7)];
        let orig = Tuple::v4([1; 4], [2; 4], proto).with_ports(u16::from(which & 0x0f), 80);
        let mut flow = Flow::new(orig);
        flow.reply = orig.inverted();
        flow.zone = u16::from(which >> 4 & 1);
        flow.mark = u32::from(how & 3);
        flow.timeout_s = u32::from(how >> 2) * 100;
        flow.known = Known::from_bits_truncate(u16::from(how)) | Known::MARK | Known::TIMEOUT;
        flow.status = Status::from_bits_retain(u32::from(how) << 1);
        if proto == ipproto::TCP {
            flow.proto = ProtoState::Tcp(TcpState { state: how % 12, ..TcpState::default() });
        }
        if which & 0x20 != 0 {
            flow.extra_mut().master = Some(Tuple { l4: [0, 1, 0, 80], ..orig });
        }
        flow
    }

    fn message_head(&mut self, seq: u32) -> v1::Stamp {
        let offset = self.byte() as i8;
        // Mostly near, sometimes anywhere.
        let offset = if offset == i8::MIN { i32::from(self.number()) << 16 } else { offset.into() };
        let flags = Flags::from_bits_truncate(self.byte()) & (Flags::HELLO | Flags::HELLO_BACK);
        v1::Stamp { seq: seq.wrapping_add_signed(offset), flags }
    }

    fn flow_message(&mut self, seq: u32) -> Vec<u8> {
        let stamp = self.message_head(seq);
        let change = [Change::New, Change::Update, Change::Destroy][usize::from(self.byte()) % 3];
        let flow = self.flow();
        let options = v1::Options { timeout: true, window_scale: true };
        written(|w| v1::encode_flow(change, stamp, &flow, options, w))
    }

    fn control_message(&mut self, seq: u32, own: u32) -> Vec<u8> {
        let stamp = self.message_head(seq);
        let kind = self.byte();
        let from = own.wrapping_sub(self.byte().into());
        let to = match self.byte() {
            255 => from.wrapping_add(u32::from(self.number()) << 15),
            near => from.wrapping_add(near.into()),
        };
        let control = match kind % 5 {
            0 => Control::Ack { from, to },
            1 => Control::Nack { from, to },
            2 => Control::Resync,
            3 => Control::Alive,
            _ => Control::Settled((kind & 0x10 != 0).then_some(Account {
                exact: kind & 0x20 != 0,
                whole: kind & 0x10 != 0,
                injects: seq & 1 != 0,
                transfer: (kind & 0x40 != 0).then_some(seq.wrapping_sub(to & 0xff)),
                flows: (kind & 0x80 != 0).then_some(from & 0xff),
            })),
        };
        let once = written(|w| v1::encode_control(control, stamp, w));
        once.repeat(1 + usize::from(kind >> 4))
    }
}

fn written(put: impl Fn(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    let mut w = Writer::new(&mut bytes);
    put(&mut w);
    let len = w.finish().expect("no message of a plan is so long");
    bytes.truncate(len);
    bytes
}

fn event(n: u8) -> Change {
    [Change::New, Change::Update, Change::Destroy, Change::Update][usize::from(n) % 4]
}

fn origin(n: u8) -> Origin {
    [Origin::Foreign, Origin::Commit, Origin::Inject, Origin::Foreign][usize::from(n) % 4]
}

fn stamp(n: u8, now: Instant) -> Stamp {
    let then = Instant(now.0.saturating_sub(u64::from(n) * 1000));
    [Stamp::InOrder, Stamp::At(then), Stamp::After(then), Stamp::At(now)][usize::from(n) % 4]
}

fn errno(n: u8) -> i32 {
    // Nothing, ENOENT, EEXIST, EBUSY, anything.
    [0, 2, 17, 16, i32::from(n)][usize::from(n) % 5]
}

fn command(n: u8) -> Command {
    match n % 6 {
        0 => Command::Commit,
        1 => Command::Flush { local: true, remote: n & 0x40 != 0 },
        2 => Command::Flush { local: n & 0x40 != 0, remote: true },
        3 => Command::Bulk,
        4 => Command::RequestResync,
        _ => Command::ResyncKernel,
    }
}
