//! The feed: what clients say, and what they read.

use tools::ctflow::top::mirror::Mirror;
use wire::feed::{Record, encode, encode_tail, unframe};

/// Any line of a client is understood or refused with a code; any bytes are records or an error, and what a record holds
/// is the same when it is written again.
///
/// # Panics
/// When one of these does not hold.
pub fn feed(data: &[u8]) {
    if let Err((code, _)) = export::feed::understood(data) {
        assert!(["request", "version"].contains(&code));
    }
    let _ = data.first_chunk().map(|header| unframe(*header));
    let mut rest = data;
    while let Ok(Some((_, len))) = tools::ctflow::feed::piece(rest) {
        assert!(len > 0);
        rest = &rest[len..];
    }
    let mut mirror = Mirror::new(3);
    let mut rest = data;
    while let Ok((record, more)) = Record::decode(rest) {
        assert!(more.len() < rest.len());
        rest = more;
        let _ = mirror.apply(u16::from(record.bytes[0]), &record);
        let flow = record.flow();
        let mut tail = Vec::new();
        encode_tail(&mut tail, flow.extra.as_deref(), None);
        let mut again = encode(&record.head, &flow, tail.len() as u16).to_vec();
        again.extend_from_slice(&tail);
        let flow_again = Record::decode(&again).expect("what was encoded decodes").0.flow();
        assert_eq!((flow_again.key(), flow_again.reply), (flow.key(), flow.reply));
        assert_eq!((flow_again.status, flow_again.known), (flow.status, flow.known));
    }
    mirror.begin_snapshot();
    mirror.end_snapshot();
    assert!(mirror.is_empty(), "no record has named a flow since");
}
