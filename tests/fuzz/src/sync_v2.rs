//! The decoder of version 2 of the replication protocol.

use ctnetlink::Flow;
use wire::sync::v2::frame::FlowsFlags;
use wire::sync::v2::{Canonical, Claim, Datagram, FlowRecord, Frame, Frames, Head, Records};

/// As an opened datagram: everything can be walked, errors point into the bytes, and a record that was decoded is the
/// same after it has been encoded and decoded again.
///
/// # Panics
/// When one of these does not hold.
pub fn sync_v2(data: &[u8]) {
    let Ok((_, frames)) = Frames::of(data) else { return };
    for frame in frames {
        match frame {
            Ok(Frame::Flows { records, .. } | Frame::Beaten(records)) => flows(records, data.len()),
            Ok(Frame::Expects(expects)) => {
                for record in expects.records() {
                    let record = record.map(|record| (record.version, record.what, record.expect));
                    let Ok((version, what, expect)) = record else { continue };
                    let mut bytes = [0; 1_400];
                    let mut datagram =
                        Datagram::new(&mut bytes, &Head::default()).expect("a head fits");
                    assert!(datagram.expect(version, what, &expect), "it fits a datagram");
                }
            }
            Ok(Frame::Ack(ack)) => assert!(ack.ranges().count() <= 255),
            Ok(Frame::Sums(sums)) => sums.nodes().for_each(|(_, sums)| assert!(sums.count() <= 64)),
            Ok(Frame::Ids(ids)) => assert!(ids.parts().count() <= data.len()),
            Ok(Frame::Wants(wants)) => assert!(wants.leaves().count() <= data.len()),
            Ok(_) => {}
            Err(e) => assert!(e.at as usize <= data.len(), "{e}"),
        }
    }
}

fn flows(records: Records<'_>, len: usize) {
    for record in records {
        match record {
            Ok(record) => comes_back(&record),
            Err(e) => assert!(e.at as usize <= len, "{e}"),
        }
    }
}

fn comes_back(record: &FlowRecord<'_>) {
    let flow = record.to_flow();
    let (claim, back) = again(&record.claim, &flow);
    assert_eq!((claim, &back), (record.claim, &flow));
}

fn again(claim: &Claim, flow: &Flow) -> (Claim, Flow) {
    let mut bytes = [0; 1_400];
    let mut datagram = Datagram::new(&mut bytes, &Head::default()).expect("a head fits");
    let canonical = Canonical::of(flow).expect("a record names its flow");
    assert!(datagram.flow(FlowsFlags::empty(), claim, &canonical), "a record fits a datagram");
    let len = datagram.len();
    let mut frames = Frames::of(&bytes[..len]).expect("its head is there").1;
    let Some(Ok(Frame::Flows { mut records, .. })) = frames.next() else {
        panic!("it encodes to a frame of flows")
    };
    let record = records.next().expect("it has a record").expect("that is right");
    assert!(records.next().is_none() && frames.next().is_none());
    (record.claim, record.to_flow())
}
