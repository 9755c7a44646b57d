//! Any bytes give a value or an error.

use super::vectors::{ANSWERS, EVENTS};
use super::{bytes_of, decode};
use crate::{Detail, Header, Message, Messages, RawMessage};
use alloc::vec::Vec;
use proptest::prelude::*;

/// Goes as deep as a user would. That it comes back is the test.
fn read(datagram: &[u8]) {
    for raw in Messages::new(datagram) {
        let Ok(raw) = raw else { break };
        let Err(error) = decode(&raw).map(|message| own(&message)) else { continue };
        assert!(error.at as usize <= datagram.len(), "{error} of {}", datagram.len());
    }
}

fn own(message: &Message<'_>) {
    match message {
        Message::Flow { flow, .. } => drop(flow.to_flow(Detail::Full)),
        Message::Expect { expect, .. } => drop(expect.to_expectation()),
        _ => {}
    }
}

fn vectors() -> Vec<Vec<u8>> {
    EVENTS.iter().chain(ANSWERS).map(|vector| bytes_of(vector.hex)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_datagrams_are_read(datagram in prop::collection::vec(any::<u8>(), 0..512)) {
        read(&datagram);
    }

    #[test]
    fn arbitrary_payloads_are_read(
        kind in prop::sample::select(alloc::vec![2_u16, 3, 0x100, 0x102, 0x200, 0x202]),
        flags in any::<u16>(),
        payload in prop::collection::vec(any::<u8>(), 0..256),
    ) {
        let raw = RawMessage { header: Header { kind, flags, ..Header::default() }, payload: &payload, at: 0 };
        if let Ok(message) = decode(&raw) {
            own(&message);
        }
    }

    #[test]
    fn damaged_messages_are_read(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut datagram = which.get(&vectors()).clone();
        for (at, value) in damage {
            let at = at.index(datagram.len());
            datagram[at] = value;
        }
        if let Some(cut) = cut {
            datagram.truncate(cut.index(datagram.len()));
        }
        read(&datagram);
    }
}
