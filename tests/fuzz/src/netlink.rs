//! The decoder of what the kernel says.

use ctnetlink::request::{self, IfExists, Ticket};
use ctnetlink::uapi::subsystem;
use ctnetlink::{Detail, Message, Messages, RawMessage, RequestView, Writer, decode};
use wire::queue::VerdictRefusal;
use wire::queue::{PacketView, Verdict};

/// Every message lies inside the bytes, errors point into them, flows and expectations become values, and a value can
/// be written as a request that reads as a flow or an expectation again.
///
/// # Panics
/// When one of these does not hold.
pub fn netlink(data: &[u8]) {
    for raw in Messages::new(data) {
        let Ok(raw) = raw.map_err(|error| assert!(error.at as usize <= data.len(), "{error}"))
        else {
            continue;
        };
        assert!(raw.at + raw.payload.len() <= data.len());
        let _ = RequestView::parse(raw.payload);
        let _ = VerdictRefusal::parse(&raw);
        shown(data, &raw);
        match decode(&raw) {
            Ok(message) => can_be_used(&message),
            Err(error) => assert!(error.at as usize <= data.len(), "{error} of {}", data.len()),
        }
    }
}

/// A packet for user space lies inside the bytes, and a verdict that gives all of it back reads.
fn shown(data: &[u8], raw: &RawMessage<'_>) {
    let number = PacketView::number(raw);
    match PacketView::parse(raw) {
        Ok(packet) => {
            assert_eq!(number, Some((packet.queue, packet.id)));
            let private = packet.flow.and_then(|flow| Some((flow.helper?, flow.private)));
            reads(|w| {
                let payload = Some(packet.payload);
                let (queue, id) = (packet.queue, packet.id);
                Verdict { queue, id, payload, private, ..Verdict::default() }.encode(w, 1);
            });
        }
        Err(error) => assert!(error.at as usize <= data.len(), "{error} of {}", data.len()),
    }
}

fn can_be_used(message: &Message<'_>) {
    match message {
        Message::Flow { flow, .. } => {
            let whole = flow.to_flow(Detail::Full);
            assert_eq!(whole.key(), flow.key());
            assert_eq!(flow.to_flow(Detail::State).key(), flow.key());
            reads(|w| request::create(w, Ticket::acked(1), &whole, IfExists::Fail));
            reads(|w| request::update(w, Ticket::acked(2), &whole));
            reads(|w| request::delete(w, Ticket::acked(3), &whole.key(), None));
        }
        Message::Expect { expect, .. } => {
            let whole = expect.to_expectation();
            let put = |w: &mut Writer<'_>| {
                request::create_expectation(w, Ticket::acked(1), &whole, IfExists::Fail);
            };
            if whole.master.is_known() && whole.mask.is_known() {
                reads(put);
            }
        }
        _ => {}
    }
}

/// What is written is one message whose attributes can be walked.
fn reads(put: impl Fn(&mut Writer<'_>)) {
    let mut count = Writer::counting();
    put(&mut count);
    let mut bytes = vec![0; count.position()];
    let mut w = Writer::new(&mut bytes);
    put(&mut w);
    assert_eq!(w.finish(), Ok(bytes.len()), "counting and writing agree");
    let mut messages = Messages::new(&bytes);
    let only = messages.next().expect("a request is a message").expect("its length is right");
    assert!(messages.next().is_none());
    understood(&only);
}

fn understood(raw: &RawMessage<'_>) {
    if raw.header.subsystem() == subsystem::CTNETLINK {
        RequestView::parse(raw.payload).expect("what it asks can be read");
    }
    if raw.header.message() == 0 {
        decode(raw).expect("what it says can be read");
    }
}
