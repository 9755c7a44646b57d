//! What the simulation found where flows go straight into the kernel, one by one.

use super::*;
use crate::Engine;
use crate::config::{Config, Mode, Replication};
use crate::errno::EEXIST;
use crate::input::{Command, CommandId, Input, Sender, Stamp};
use crate::peer::v1::codec::{self as v1, Account, Control, Flags, Message, Messages, Options};
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use ctnetlink::flow::{Known, Status};
use ctnetlink::{Tuple, Writer};
use wire::packet::Seen;

const ENOMEM: i32 = 12;

fn at_ms(ms: u64) -> Instant {
    Instant(1_000_000_000 + ms * 1_000_000)
}

fn flow(n: u16) -> Flow {
    let orig = Tuple::v4([1; 4], [2; 4], 17).with_ports(n, 80);
    Flow { known: Known::STATUS, reply: orig.inverted(), ..Flow::new(orig) }
}

fn key(n: u16) -> FlowKey {
    flow(n).key()
}

/// An engine that writes what its peer says into the kernel, and has read that when it was empty.
struct Talk {
    engine: Engine,
    now: u64,
    seq: u32,
    /// Last byte of the address that speaks.
    host: u8,
}

impl Talk {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let replication = Replication { keep_remote: false, ..Replication::default() };
        let replication = Replication { mode: Mode::NoTrack, startup_resync: true, ..replication };
        let mut config = Config { replication, earlier_life: false, ..Config::default() };
        change(&mut config);
        let engine = Engine::new(config, at_ms(0));
        let mut talk = Self { engine, now: 0, seq: 50, host: 1 };
        talk.kernel(|_| None);
        talk.handle(Input::DumpDone { complete: true });
        talk.says(Control::Settled(None));
        talk.sent();
        talk
    }

    fn handle(&mut self, input: Input<'_>) {
        self.now += 1;
        self.engine.handle(at_ms(self.now), input);
    }

    fn hears(&mut self, encode: impl FnOnce(&mut Writer<'_>, v1::Stamp)) {
        let mut bytes = [0; 500];
        let mut writer = Writer::new(&mut bytes);
        encode(&mut writer, v1::Stamp { seq: self.seq, flags: Flags::empty() });
        self.seq += 1;
        let len = writer.finish().unwrap();
        let from = Sender { link: 0, addr: Ipv4Addr::new(127, 0, 0, self.host).into() };
        self.handle(Input::Datagram { from, bytes: &bytes[..len] });
    }

    fn says(&mut self, control: Control) {
        self.hears(|writer, stamp| v1::encode_control(control, stamp, writer));
    }

    fn tells(&mut self, change: Change, flow: &Flow) {
        let options = Options { timeout: false, window_scale: false };
        self.hears(|writer, stamp| v1::encode_flow(change, stamp, flow, options, writer));
    }

    /// The peer says that it has named all its flows from message `from` on.
    fn settles(&mut self, from: u32, flows: u32) {
        let account = Account {
            exact: true,
            whole: true,
            injects: false,
            transfer: Some(from),
            flows: Some(flows),
        };
        self.says(Control::Settled(Some(account)));
    }

    fn happens(&mut self, event: Change, flow: &Flow) {
        let (origin, flow) = (Origin::Foreign, flow.clone());
        self.handle(Input::Kernel { event, flow, origin, stamp: Stamp::InOrder });
    }

    /// The kernel carries out everything, or refuses it.
    fn kernel(&mut self, answer: impl Fn(&Request) -> Option<i32>) -> Vec<Request> {
        let mut requests = Vec::new();
        while let Some(op) = self.engine.poll_kernel() {
            let (token, request) = (op.token, op.request.clone());
            if let Some(errno) = answer(&request) {
                self.handle(Input::KernelFailed { token, errno });
            }
            self.handle(Input::KernelSettled { token });
            requests.push(request);
        }
        requests
    }

    fn sent(&mut self) -> Vec<Message> {
        let (mut all, mut bytes) = (Vec::new(), [0; 1472]);
        while let Some(len) = self.engine.poll_transmit(at_ms(self.now), &mut bytes) {
            let messages = Messages::datagram(&bytes[..len]).flatten();
            all.extend(messages.map(|raw| v1::decode(&raw).unwrap()));
        }
        all
    }

    /// The messages about flows.
    fn told(&mut self) -> Vec<(Change, FlowKey)> {
        let flows = self.sent().into_iter().filter_map(|message| match message {
            Message::Flow { change, flow } => Some((change, flow.key())),
            _ => None,
        });
        flows.collect()
    }

    fn reads(&mut self, flows: &[Flow]) {
        self.handle(Input::Command(CommandId(7), Command::ResyncKernel));
        self.kernel(|_| None);
        flows.iter().for_each(|flow| self.handle(Input::Dumped(flow.clone())));
        self.handle(Input::DumpDone { complete: true });
    }

    fn is_exact(&self) -> bool {
        // So long after the start who is there has spoken.
        let standing = self.engine.standing(at_ms(self.now + 1_300));
        standing.remote_complete && standing.remote_exact
    }

    fn own(&self) -> Vec<FlowKey> {
        self.engine.flows(Side::Local).map(|flow| flow.key()).collect()
    }
}

#[test]
fn a_reading_does_not_take_the_peers_flow_for_one_of_its_own() {
    let mut talk = Talk::new();
    talk.tells(Change::New, &flow(1));
    talk.kernel(|_| None);
    talk.reads(&[flow(1), flow(2)]);
    assert_eq!((talk.own(), talk.told()), ([key(2)].into(), [(Change::New, key(2))].into()));
    // Nor where an operator made it forget what is its own.
    let flush = Command::Flush { local: true, remote: false };
    talk.handle(Input::Command(CommandId(8), flush));
    talk.reads(&[flow(1), flow(2)]);
    assert_eq!(talk.own(), [key(2)]);
    assert_eq!(talk.engine.flows(Side::Remote).count(), 0, "nobody is shown a table");
}

#[test]
fn what_was_there_before_the_peer_spoke_of_it_is_read() {
    let mut talk = Talk::new();
    talk.tells(Change::Update, &flow(1));
    talk.kernel(|_| None);
    talk.reads(&[flow(1)]);
    // The engine queries once more whose flow it is, behind requests that may be on their way.
    assert_eq!(talk.kernel(|_| None), [Request::Get(key(1))]);
    talk.handle(Input::Verified { key: key(1), flow: Some(flow(1)) });
    assert_eq!(talk.own(), [key(1)]);
}

#[test]
fn a_flow_that_traffic_of_both_uses_is_not_as_the_peer_says() {
    let mut talk = Talk::new();
    let first = talk.seq;
    talk.tells(Change::New, &flow(1));
    talk.settles(first, 1);
    talk.kernel(|_| None);
    assert!(talk.is_exact());
    talk.happens(Change::Update, &flow(1));
    assert!(!talk.is_exact());
    talk.kernel(|_| None);
    talk.handle(Input::Verified { key: key(1), flow: Some(flow(1)) });
    assert_eq!(talk.own(), [key(1)]);
    // The peer's word does not delete it, although the kernel says that it is there.
    talk.tells(Change::New, &flow(1));
    let is_new = |request: &Request| matches!(request, Request::Create(_));
    let requests = talk.kernel(|request| is_new(request).then_some(EEXIST));
    assert!(matches!(requests[..], [Request::Create(_), Request::Update(_)]), "{requests:?}");
    assert!(!talk.is_exact());
    talk.tells(Change::Destroy, &flow(1));
    assert!(talk.is_exact());
}

#[test]
fn what_the_kernel_refuses_is_asked_for_again_later_and_later() {
    let mut talk = Talk::new();
    let mut asked = Vec::new();
    let first = talk.seq;
    talk.tells(Change::New, &flow(1));
    talk.kernel(|_| Some(ENOMEM));
    assert!(!talk.is_exact());
    talk.settles(first, 1);
    assert!(!talk.is_exact());
    for _ in 0..30_000 {
        talk.handle(Input::Timeout);
        if talk.sent().contains(&Message::Control(Control::Resync)) {
            asked.push(talk.now / 1000);
            let first = talk.seq;
            talk.tells(Change::New, &flow(1));
            talk.settles(first, 1);
            talk.kernel(|_| Some(ENOMEM));
        }
    }
    assert_eq!(asked, [2, 6, 14, 30][..asked.len()]);
    assert!(asked.len() >= 3, "{asked:?}");
    let first = talk.seq;
    talk.tells(Change::New, &flow(1));
    talk.settles(first, 1);
    talk.kernel(|_| None);
    assert!(talk.is_exact(), "there is room again");
}

#[test]
fn what_a_transfer_did_not_name_stays_and_is_not_exact_until_the_kernel_lets_go_of_it() {
    let mut talk = Talk::new();
    talk.tells(Change::New, &flow(1));
    let first = talk.seq;
    talk.tells(Change::New, &flow(2));
    talk.kernel(|_| None);
    talk.settles(first, 1);
    assert_eq!(talk.kernel(|_| None), [], "traffic may use it of which no event tells");
    assert!(!talk.is_exact());
    // News comes late: an end may be that of an earlier flow, so the kernel is asked.
    talk.happens(Change::Destroy, &flow(1));
    assert_eq!(talk.kernel(|_| None), [Request::Get(key(1))]);
    talk.handle(Input::Verified { key: key(1), flow: Some(flow(1)) });
    assert!(!talk.is_exact(), "the kernel has it still");
    talk.happens(Change::Destroy, &flow(1));
    talk.kernel(|_| None);
    talk.handle(Input::Verified { key: key(1), flow: None });
    assert!(talk.is_exact());
}

#[test]
fn what_a_transfer_did_not_name_does_not_stay_when_the_kernel_has_let_go_of_it_before() {
    let mut talk = Talk::new();
    talk.tells(Change::New, &flow(1));
    talk.kernel(|_| None);
    talk.happens(Change::Destroy, &flow(1));
    let first = talk.seq;
    talk.tells(Change::New, &flow(2));
    talk.settles(first, 1);
    let requests = talk.kernel(|_| None);
    assert_eq!(requests.last(), Some(&Request::Get(key(1))), "{requests:?}");
    assert!(!talk.is_exact());
    // The question was lost.
    talk.reads(&[flow(2)]);
    assert_eq!(talk.kernel(|_| None), [Request::Get(key(1))]);
    talk.handle(Input::Verified { key: key(1), flow: None });
    assert!(talk.is_exact());
    assert_eq!(talk.engine.node().remote.room().0, 1);
}

#[test]
fn a_reading_finds_what_was_written_and_has_ended_without_a_word() {
    let mut talk = Talk::new();
    let first = talk.seq;
    talk.tells(Change::New, &flow(1));
    talk.tells(Change::New, &flow(2));
    talk.settles(first, 2);
    talk.kernel(|_| None);
    assert!(talk.is_exact());
    // Events were off, and no event reports what ended meanwhile.
    talk.reads(&[flow(2)]);
    assert_eq!(talk.kernel(|_| None), [Request::Get(key(1))]);
    talk.handle(Input::Verified { key: key(1), flow: None });
    assert!(!talk.is_exact());
    talk.tells(Change::New, &flow(1));
    talk.settles(first + 3, 2);
    talk.kernel(|_| None);
    talk.reads(&[flow(1), flow(2)]);
    assert_eq!(talk.kernel(|_| None), [], "all of it is there");
}

#[test]
fn what_the_peers_wrote_is_this_nodes_own_after_a_flush_and_a_reading() {
    let mut talk = Talk::new();
    talk.tells(Change::New, &flow(1));
    talk.kernel(|_| None);
    let flush = Command::Flush { local: true, remote: true };
    talk.handle(Input::Command(CommandId(1), flush));
    talk.handle(Input::Command(CommandId(2), Command::ResyncKernel));
    talk.kernel(|_| None);
    talk.reads(&[flow(1)]);
    assert_eq!(talk.own(), [key(1)], "a node that takes over tells the one that returns");
}

#[test]
fn an_update_of_another_flow_than_the_one_that_was_written_takes_its_place() {
    let mut talk = Talk::new();
    talk.tells(Change::New, &flow(1));
    talk.kernel(|_| None);
    let mut other = flow(1);
    other.reply.dst[0] = 9;
    other.status = Status::SRC_NAT | Status::SRC_NAT_DONE;
    talk.tells(Change::Update, &other);
    let requests = talk.kernel(|_| None);
    assert!(matches!(&requests[..], [Request::Delete(..), Request::Create(_)]), "{requests:?}");
}

#[test]
fn a_word_that_was_laid_over_a_flow_of_this_node_is_written_anew_when_that_one_has_ended() {
    for first_word in [Change::New, Change::Update] {
        let mut talk = Talk::new();
        talk.happens(Change::New, &flow(1));
        let mut other = flow(1);
        other.reply.dst[0] = 9;
        let first = talk.seq;
        talk.tells(first_word, &other);
        talk.settles(first, 1);
        let is_new = |request: &Request| matches!(request, Request::Create(_));
        let requests = talk.kernel(|request| is_new(request).then_some(EEXIST));
        assert!(matches!(requests.last(), Some(Request::Update(_))), "{requests:?}");
        // The kernel had ended that flow for an earlier word, and the news of it comes in now.
        let (event, origin, stamp) = (Change::Destroy, Origin::Inject, Stamp::InOrder);
        talk.handle(Input::Kernel { event, flow: flow(1), origin, stamp });
        assert!(!talk.is_exact());
        talk.tells(Change::Update, &other);
        let requests = talk.kernel(|_| None);
        assert!(matches!(&requests[..], [Request::Delete(..), Request::Create(_)]), "{requests:?}");
        assert!(talk.is_exact());
        talk.tells(Change::Update, &other);
        let requests = talk.kernel(|_| None);
        assert!(matches!(&requests[..], [Request::Update(_)]), "{requests:?}");
    }
}

#[test]
fn a_word_that_the_kernel_refused_is_written_anew() {
    let mut talk = Talk::new();
    talk.tells(Change::New, &flow(1));
    // What is in the way is deleted in vain: it is the other direction of another flow's.
    talk.kernel(|request| matches!(request, Request::Create(_)).then_some(EEXIST));
    talk.tells(Change::Update, &flow(1));
    let requests = talk.kernel(|_| None);
    assert!(matches!(&requests[..], [Request::Delete(..), Request::Create(_)]), "{requests:?}");
}

#[test]
fn what_a_reading_shows_of_a_peers_flow_that_was_forgotten_since_may_be_outdated() {
    let mut talk = Talk::new();
    talk.tells(Change::New, &flow(1));
    talk.kernel(|_| None);
    talk.handle(Input::Command(CommandId(1), Command::ResyncKernel));
    talk.kernel(|_| None);
    // The reading has passed the flow when news of it comes in.
    let (event, origin, stamp) = (Change::Update, Origin::Inject, Stamp::InOrder);
    talk.handle(Input::Kernel { event, flow: flow(1), origin, stamp });
    let flush = Command::Flush { local: false, remote: true };
    talk.handle(Input::Command(CommandId(2), flush));
    talk.handle(Input::Dumped(flow(1)));
    assert_eq!((talk.own(), talk.kernel(|_| None)), (Vec::new(), [Request::Get(key(1))].into()));
}

#[test]
fn what_one_peers_word_does_to_a_flow_of_this_node_is_owed_to_the_others() {
    let mut talk = Talk::new();
    talk.host = 2;
    talk.says(Control::Settled(None));
    talk.happens(Change::New, &flow(1));
    talk.sent();
    let marked = Flow { mark: 9, known: Known::STATUS | Known::MARK, ..flow(1) };
    talk.tells(Change::Update, &marked);
    talk.kernel(|_| None);
    let (event, origin, stamp) = (Change::Update, Origin::Inject, Stamp::InOrder);
    talk.handle(Input::Kernel { event, flow: marked, origin, stamp });
    assert_eq!(talk.told(), [], "words that answer each other have no end");
    talk.handle(Input::Timeout);
    assert_eq!(talk.told(), [(Change::Update, key(1))], "a transfer tells it");
}

#[test]
fn that_a_transfer_is_owed_is_said_at_once_and_once() {
    let mut talk = Talk::new();
    talk.host = 2;
    talk.says(Control::Settled(None));
    talk.happens(Change::New, &flow(1));
    talk.happens(Change::New, &flow(2));
    talk.sent();
    for n in 1..=2 {
        talk.tells(Change::Destroy, &flow(n));
        talk.kernel(|_| None);
        let (event, origin, stamp) = (Change::Destroy, Origin::Inject, Stamp::InOrder);
        talk.handle(Input::Kernel { event, flow: flow(n), origin, stamp });
        let said = talk.sent();
        let not_exact = |message: &Message| matches!(message, Message::Control(Control::Settled(Some(a))) if !a.exact);
        assert_eq!(said.iter().filter(|m| not_exact(m)).count(), usize::from(n == 1), "{said:?}");
    }
}

#[test]
fn what_is_there_after_the_kernel_told_of_nothing_for_a_while_is_looked_after() {
    let mut talk = Talk::new();
    talk.happens(Change::New, &flow(1));
    talk.reads(&[flow(1)]);
    assert_eq!(talk.engine.flows_without_events(), 0, "an event told of it");
    for events in [false, true] {
        talk.handle(Input::KernelHealth { flows: 1, events });
    }
    talk.reads(&[flow(1)]);
    assert_eq!(
        talk.engine.flows_without_events(),
        1,
        "it may have ended and begun again under the same id"
    );
    talk.happens(Change::Update, &flow(1));
    talk.handle(Input::Verified { key: key(1), flow: Some(flow(1)) });
    assert_eq!(talk.engine.flows_without_events(), 0, "the kernel tells of it");
    talk.handle(Input::EventsLost { count: 1 });
    talk.reads(&[flow(1)]);
    assert_eq!(talk.engine.flows_without_events(), 0, "events were lost, and no more");
}

#[test]
fn that_the_peers_flow_has_expired_here_is_not_told_to_the_peer() {
    let mut talk = Talk::new();
    let first = talk.seq;
    talk.tells(Change::New, &flow(1));
    talk.settles(first, 1);
    talk.kernel(|_| None);
    talk.happens(Change::Destroy, &flow(1));
    assert_eq!((talk.told(), talk.is_exact()), (Vec::new(), false));
}

#[test]
fn without_a_local_table_the_end_of_a_flow_that_a_peer_told_of_is_told() {
    let mut talk = without_a_local_table();
    talk.tells(Change::New, &flow(1));
    talk.kernel(|_| None);
    talk.happens(Change::Destroy, &flow(1));
    assert_eq!(talk.told(), [(Change::Destroy, key(1))]);
}

#[test]
fn flows_that_an_earlier_life_may_have_written_leave_it_open_whether_all_is_as_told() {
    for earlier_life in [true, false] {
        let mut talk = Talk::with(|config| config.earlier_life = earlier_life);
        let first = talk.seq;
        talk.settles(first, 0);
        assert!(talk.is_exact());
        talk.reads(&[flow(1)]);
        assert_eq!(talk.is_exact(), !earlier_life);
        talk.happens(Change::Destroy, &flow(1));
        talk.told();
        assert!(talk.is_exact());
    }
}

#[test]
fn an_answer_about_a_peers_flow_leaves_the_next_doubt_free_to_ask() {
    let mut talk = Talk::new();
    talk.happens(Change::New, &flow(1));
    talk.sent();
    // The entry stays until the peer has received the end.
    talk.happens(Change::Destroy, &flow(1));
    talk.tells(Change::New, &flow(1));
    talk.kernel(|_| None);
    talk.handle(Input::Noticed(key(1)));
    assert_eq!(talk.kernel(|_| None), [Request::Get(key(1))]);
    talk.handle(Input::Verified { key: key(1), flow: Some(flow(1)) });
    assert_eq!(talk.own(), [], "it is the peer's");
    // Traffic of this node's uses it now.
    talk.happens(Change::Update, &flow(1));
    assert_eq!(talk.kernel(|_| None), [Request::Get(key(1))]);
    talk.handle(Input::Verified { key: key(1), flow: Some(flow(1)) });
    assert_eq!(talk.own(), [key(1)]);
}

#[test]
fn a_flow_that_a_peers_word_ended_here_is_owed_to_the_peers_that_were_told_of_it() {
    let mut talk = Talk::new();
    talk.happens(Change::New, &flow(1));
    talk.happens(Change::New, &flow(2));
    talk.sent();
    talk.tells(Change::Destroy, &flow(1));
    talk.kernel(|_| None);
    let (event, origin, stamp) = (Change::Destroy, Origin::Inject, Stamp::InOrder);
    talk.handle(Input::Kernel { event, flow: flow(1), origin, stamp });
    assert_eq!(talk.told(), [], "words that answer each other have no end");
    talk.now += 60_000;
    talk.handle(Input::Timeout);
    assert_eq!(talk.told(), [(Change::Update, key(2))], "a transfer shows what is left");
}

#[test]
fn what_was_written_and_could_not_be_remembered_is_not_as_told_until_a_flush() {
    let mut talk = Talk::with(|config| config.flows_max = 1);
    talk.tells(Change::New, &flow(1));
    talk.tells(Change::New, &flow(2));
    let requests = talk.kernel(|_| None);
    assert!(matches!(requests[..], [Request::Create(_), Request::Create(_)]), "{requests:?}");
    // The peer has lost the second one since.
    let first = talk.seq;
    talk.tells(Change::New, &flow(1));
    talk.settles(first, 1);
    talk.kernel(|_| None);
    talk.reads(&[flow(1), flow(2)]);
    talk.kernel(|_| None);
    talk.handle(Input::Verified { key: key(2), flow: Some(flow(2)) });
    assert_eq!((talk.own(), talk.is_exact()), ([key(2)].into(), false));
    let flush = Command::Flush { local: false, remote: true };
    talk.handle(Input::Command(CommandId(1), flush));
    assert_eq!(talk.engine.node().remote.unremembered(), 0);
}

#[test]
fn a_flow_that_an_answer_alone_shows_may_be_one_of_which_no_event_tells() {
    let mut talk = Talk::new();
    talk.handle(Input::Noticed(key(1)));
    talk.kernel(|_| None);
    talk.handle(Input::Verified { key: key(1), flow: Some(flow(1)) });
    assert_eq!((talk.own(), talk.engine.flows_without_events()), ([key(1)].into(), 1));
}

#[test]
fn a_table_full_of_flows_that_ended_unseen_is_compared_with_a_kernel_that_has_room() {
    let mut talk = Talk::with(|config| config.flows_max = 1);
    talk.happens(Change::New, &flow(1));
    talk.happens(Change::New, &flow(2));
    talk.now += 60_000;
    talk.handle(Input::KernelHealth { flows: 1, events: true });
    assert_eq!(talk.kernel(|_| None), [], "it is as full as the kernel says");
    talk.handle(Input::KernelHealth { flows: 0, events: true });
    talk.now += 60_000;
    talk.handle(Input::Timeout);
    assert_eq!(talk.kernel(|_| None), [Request::Dump]);
}

#[test]
fn what_a_peers_word_does_to_a_flow_without_events_is_read_back() {
    let mut talk = Talk::new();
    talk.happens(Change::New, &flow(1));
    // Another life under the same identity, which only a reading shows.
    let other = Flow { id: 9, known: Known::STATUS | Known::ID, ..flow(1) };
    talk.happens(Change::Update, &Flow { id: 8, known: Known::STATUS | Known::ID, ..flow(1) });
    talk.kernel(|_| None);
    assert_eq!(talk.engine.flows_without_events(), 0);
    talk.reads(&[other]);
    assert_eq!((talk.own(), talk.engine.flows_without_events()), ([key(1)].into(), 1));
    talk.tells(Change::Update, &flow(1));
    let requests = talk.kernel(|_| None);
    assert_eq!(requests.last(), Some(&Request::Get(key(1))), "{requests:?}");
}

fn without_a_local_table() -> Talk {
    Talk::with(|config| config.replication.keep_local = false)
}

#[test]
fn without_a_local_table_a_reading_tells_neither_what_has_ended_since_nor_what_is_the_peers() {
    let mut talk = without_a_local_table();
    talk.tells(Change::New, &flow(1));
    talk.kernel(|_| None);
    talk.handle(Input::Command(CommandId(1), Command::Bulk));
    talk.kernel(|_| None);
    talk.happens(Change::Destroy, &flow(2));
    for n in 1..=3 {
        talk.handle(Input::Dumped(flow(n)));
    }
    assert_eq!(talk.told(), [(Change::Destroy, key(2)), (Change::New, key(3))]);
    assert_eq!(talk.kernel(|_| None), [Request::Get(key(2))]);
}

#[test]
fn without_a_local_table_what_a_packet_does_not_show_is_asked_for() {
    let mut talk = without_a_local_table();
    let seen = |whole| Seen { flow: flow(1), confirmed: false, whole };
    let at = at_ms(5);
    talk.handle(Input::Packet { seen: seen(false), at });
    assert_eq!((talk.told(), talk.kernel(|_| None)), (Vec::new(), [Request::Get(key(1))].into()));
    talk.handle(Input::Packet { seen: seen(true), at });
    assert_eq!(talk.told(), [(Change::New, key(1))]);
}

/// The kernel looks for the flow to delete by either direction. Seed 1,795,992,735,006,702 of *mixed without a local table*:
/// the peer had sent a flow of that identity, too, and had ended it.
#[test]
fn without_a_local_table_a_flow_that_a_commit_deletes_and_the_peers_do_not_have_is_sent_as_ended() {
    let mut talk = Talk::with(|config| {
        (config.replication.keep_local, config.replication.keep_remote) = (false, true);
    });
    talk.tells(Change::New, &flow(1));
    talk.tells(Change::Destroy, &flow(1));
    talk.tells(Change::New, &flow(2));
    for n in [1, 2] {
        talk.happens(Change::New, &flow(n));
        assert_eq!(talk.told(), [(Change::New, key(n))]);
    }
    for n in [1, 2] {
        let (event, origin, stamp) = (Change::Destroy, Origin::Commit, Stamp::InOrder);
        talk.handle(Input::Kernel { event, flow: flow(n), origin, stamp });
    }
    assert_eq!(talk.told(), [(Change::Destroy, key(1))], "a commit writes the other one again");
}
