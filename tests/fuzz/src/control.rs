//! The control socket: what clients ask, and the lines they get.

use ctnetlink::{Flow, Tuple, Writer};
use std::fmt;
use tools::print::text::expectation;
use tools::print::{Age, Line};
use wire::control::Request;
use wire::control::framed::{Answer, Ask, HEADER_LEN, Header, Question, Tally, common_version};
use wire::sync::v1::{Message, Messages, decode};

/// The first bytes are a request or they are not, whatever follows; and every flow that the peer made us keep is
/// shown as one line of plain text, in every form.
///
/// # Panics
/// When that does not hold.
pub fn control(data: &[u8]) {
    match Request::decode(data) {
        Ok(request) => assert!(data.starts_with(&request.encode()), "{request:?}"),
        Err(error) => assert!(error.at as usize <= data.len(), "{error}"),
    }
    framed(data);
    let told = Messages::datagram(data).flatten().filter_map(|raw| decode(&raw).ok());
    for message in told {
        match message {
            Message::Flow { mut flow, .. } => {
                show_flow(&flow);
                flow.reply = Tuple::default();
                show_flow(&flow);
            }
            Message::Expect { expect, .. } => show(|out| expectation(out, &expect, true)),
            Message::Control(_) => {}
        }
    }
}

/// Bytes are frames or they are not, and a body is a request or it is not, which then is written as it was read.
fn framed(data: &[u8]) {
    let (mut rest, mut answer, mut question) = (data, Answer::New, Question::New);
    while let Some((head, body)) = rest.split_first_chunk::<HEADER_LEN>() {
        let Ok(header) = Header::decode(head) else { break };
        assert_eq!(&header.encode(), head);
        let _ = (answer.take(&header), question.take(&header));
        rest = body.get(header.len..).unwrap_or_default();
    }
    let _ = (common_version(data), Tally::decode(data));
    if let Ok(ask) = Ask::decode(data) {
        let mut bytes = vec![0; data.len()];
        let mut writer = Writer::new(&mut bytes);
        ask.encode(&mut writer);
        let len = writer.finish().expect("no field is written longer than it was read");
        assert_eq!(Ask::decode(&bytes[..len]), Ok(ask));
    }
}

fn show_flow(flow: &Flow) {
    for line in [Line::TABLE, Line::LIST] {
        show(|out| line.flow(out, flow));
    }
}

fn show(print: impl Fn(&mut String) -> fmt::Result) {
    let mut out = String::new();
    print(&mut out).expect("a string takes everything");
    out += &Age { expires_s: Some(u64::MAX), active_s: 0 }.to_string();
    assert!(!out.contains(char::is_control), "{out:?}");
}
