//! The decoder of the replication protocol.

use ctnetlink::flow::{Known, Synproxy};
use ctnetlink::tuple::ipproto;
use ctnetlink::{Expectation, Flow, Tuple, Writer};
use wire::sync::v1::{
    Flags, Message, Messages, Options, RawMessage, Stamp, decode, encode_control,
    encode_expectation, encode_flow,
};

const ALL: Options = Options { timeout: true, window_scale: true };
/// Longest helper and function names that travel.
const NAME_LEN_MAX: [usize; 2] = [11, 27];

/// As a datagram and as a stream: every message lies inside the bytes, errors point into them, and what was decoded
/// is the same after it has been encoded and decoded again, but for what the encoder leaves out on purpose.
///
/// # Panics
/// When one of these does not hold.
pub fn sync(data: &[u8]) {
    for mut messages in [Messages::datagram(data), Messages::stream(data)] {
        let mut end = 0;
        while let Some(message) = messages.next() {
            match message.and_then(|raw| Ok((raw, decode(&raw)?))) {
                Ok((raw, message)) => {
                    assert!(raw.at >= end && raw.at + usize::from(raw.header.len) <= data.len());
                    comes_back(&raw, message);
                }
                Err(fault) => assert!(fault.error.at as usize <= data.len(), "{fault}"),
            }
            end = messages.consumed();
            assert!(end <= data.len());
        }
        assert_eq!(messages.next(), None, "a walk that is over stays over");
    }
}

fn comes_back(raw: &RawMessage<'_>, message: Message) {
    let flags = raw.header.flags & (Flags::HELLO | Flags::HELLO_BACK);
    let stamp = Stamp { seq: raw.header.seq, flags };
    let bytes = encode(&message, stamp);
    let mut messages = Messages::datagram(&bytes);
    let again = messages.next().expect("it encodes to a message").expect("its header is right");
    assert_eq!(messages.next(), None, "it encodes to one message");
    assert_eq!(again.header.seq, stamp.seq);
    assert!(again.header.flags.contains(stamp.flags));
    let back = decode(&again);
    match message {
        // Their ports do not travel, nor what follows from them; a message with ports is understood all the same.
        Message::Flow { flow, .. } if flow.orig.proto == ipproto::UDPLITE => assert!(back.is_ok()),
        message => assert_eq!(back, Ok(carried(message))),
    }
}

fn encode(message: &Message, stamp: Stamp) -> Vec<u8> {
    let put = |w: &mut Writer<'_>| match message {
        Message::Flow { change, flow } => encode_flow(*change, stamp, flow, ALL, w),
        Message::Expect { change, expect } => encode_expectation(*change, stamp, expect, ALL, w),
        Message::Control(control) => encode_control(*control, stamp, w),
    };
    let mut count = Writer::counting();
    put(&mut count);
    let mut bytes = vec![0; count.position()];
    let mut w = Writer::new(&mut bytes);
    put(&mut w);
    assert_eq!(w.finish(), Ok(bytes.len()), "counting and writing agree");
    bytes
}

/// The part of a message that the encoder writes.
fn carried(message: Message) -> Message {
    match message {
        Message::Flow { change, flow } => Message::Flow { change, flow: carried_flow(flow) },
        Message::Expect { change, expect } => {
            Message::Expect { change, expect: carried_expectation(expect) }
        }
        control @ Message::Control(_) => control,
    }
}

fn carried_flow(mut flow: Flow) -> Flow {
    // The status is always written.
    flow.known |= Known::STATUS;
    if flow.extra.is_some() {
        let extra = flow.extra_mut();
        extra.helper = extra.helper.take().filter(|name| name.as_bytes().len() <= NAME_LEN_MAX[0]);
        let set = |labels: &Vec<u32>| labels.iter().any(|&word| word != 0);
        extra.labels = extra.labels.take().filter(set);
        extra.synproxy = extra.synproxy.filter(|synproxy| *synproxy != Synproxy::default());
        // A master flow has ports or nothing.
        if let Some(master) = extra.master.as_mut().filter(|master| !master.has_ports()) {
            master.l4 = [0; 4];
        }
    }
    flow.drop_empty_extra();
    flow
}

fn carried_expectation(mut expect: Expectation) -> Expectation {
    // Whether any of the tuples has ports is decided by the master's protocol.
    if !matches!(expect.master.proto, ipproto::TCP | ipproto::UDP | ipproto::SCTP | ipproto::DCCP) {
        let nat = expect.nat.as_mut().map(|nat| &mut nat.tuple);
        let tuples = [&mut expect.master, &mut expect.tuple, &mut expect.mask];
        tuples.into_iter().chain(nat).for_each(|tuple| tuple.l4 = [0; 4]);
    }
    // Without addresses nothing else of a mask is written.
    expect.mask = if expect.mask.is_known() { expect.mask } else { Tuple::default() };
    expect.helper = expect.helper.filter(|name| name.as_bytes().len() <= NAME_LEN_MAX[0]);
    expect.function = expect.function.filter(|name| name.as_bytes().len() <= NAME_LEN_MAX[1]);
    expect
}
