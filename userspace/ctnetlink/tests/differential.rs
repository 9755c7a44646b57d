//! Two decoders that know nothing of each other read the same events the same way.

#[path = "support/reference.rs"]
mod reference;
#[path = "../src/message/tests/vectors.rs"]
#[expect(dead_code, reason = "the unit tests use the rest")]
mod vectors;

use ctnetlink::Messages;
use ctnetlink::uapi::subsystem;

#[test]
fn captured_events_read_the_same() {
    let mut compared = 0;
    for vector in vectors::EVENTS {
        let (digits, _) = vector.hex.as_bytes().as_chunks::<2>();
        let datagram: Vec<u8> = digits
            .iter()
            .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        for raw in Messages::new(&datagram).map(Result::unwrap) {
            if raw.header.subsystem() == subsystem::CTNETLINK {
                let (theirs, ours) = reference::compare(&raw);
                assert_eq!(theirs, ours, "{}", vector.name);
                compared += 1;
            }
        }
    }
    assert!(compared > 40, "only {compared} were compared");
}
