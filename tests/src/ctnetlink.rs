//! Requests to the conntrack table of a namespace, in batches: for flows the tool `conntrack` cannot make, and for more
//! of them than it can make in reasonable time.

use crate::netns::Namespace;
use ctnetlink::flow::{Known, Status};
use ctnetlink::request::{self, IfExists, Ticket};
use ctnetlink::{Expectation, Flow, FlowKey, Message, Messages, Tuple, Writer};
use host::netlink::Socket;
use host::sys::Batch;
use rustix::fd::AsFd;
use std::fmt::Debug;

/// Requests per batch.
const BATCH: usize = 64;

/// A socket for requests.
#[derive(Debug)]
pub struct Requests {
    socket: Socket,
    answers: Batch,
}

impl Requests {
    /// Opens one into `namespace`. It keeps belonging there, whichever thread uses it.
    ///
    /// # Panics
    /// When the kernel refuses.
    #[must_use]
    pub fn open(namespace: &Namespace) -> Self {
        let socket = namespace.within(|| Socket::for_requests().expect("a netlink socket"));
        Self { socket, answers: Batch::new(BATCH, 4096) }
    }

    /// Creates flows.
    ///
    /// # Panics
    /// When the kernel refuses one.
    pub fn create(&mut self, flows: &[Flow]) {
        self.batches(flows, |w, ticket, flow| request::create(w, ticket, flow, IfExists::Fail));
    }

    /// Changes flows: what they say that they know.
    ///
    /// # Panics
    /// When one does not exist.
    pub fn update(&mut self, flows: &[Flow]) {
        self.batches(flows, request::update);
    }

    /// Deletes flows.
    ///
    /// # Panics
    /// When one does not exist.
    pub fn delete(&mut self, flows: &[Flow]) {
        self.batches(flows, |w, ticket, flow| request::delete(w, ticket, &flow.key(), None));
    }

    /// Creates expectations.
    ///
    /// # Panics
    /// When the kernel refuses one.
    pub fn expect(&mut self, expectations: &[Expectation]) {
        self.batches(expectations, |w, ticket, given| {
            request::create_expectation(w, ticket, given, IfExists::Fail);
        });
    }

    /// Deletes expectations.
    ///
    /// # Panics
    /// When one does not exist.
    pub fn unexpect(&mut self, expectations: &[Expectation]) {
        self.batches(expectations, |w, ticket, given| {
            let key = FlowKey::new(given.tuple, 0);
            request::delete_expectation(w, ticket, &key, None);
        });
    }

    fn batches<T: Debug>(&mut self, flows: &[T], put: impl Fn(&mut Writer<'_>, Ticket, &T)) {
        let mut buffer = vec![0; 64 << 10];
        for flows in flows.chunks(BATCH) {
            let last = flows.len() - 1;
            let mut writer = Writer::new(&mut buffer);
            for (at, flow) in flows.iter().enumerate() {
                put(&mut writer, Ticket { seq: at as u32, ack: at == last }, flow);
            }
            let len = writer.finish().expect("the buffer holds a batch");
            self.socket.send(&buffer[..len]).expect("the kernel takes a batch");
            self.await_ack(last as u32, flows);
        }
    }

    fn await_ack<T: Debug>(&mut self, last: u32, flows: &[T]) {
        loop {
            let got = self.answers.receive(self.socket.as_fd()).expect("answers arrive");
            assert!(got > 0, "the kernel answers inside of send");
            for raw in (0..got).flat_map(|i| Messages::new(self.answers.datagram(i)).flatten()) {
                let Ok(Message::Error(answer)) = ctnetlink::decode(&raw) else { continue };
                let seq = raw.header.seq;
                let flow = &flows[seq as usize];
                assert!(answer.errno == 0, "the kernel refused {flow:?}: errno {}", answer.errno);
                if seq == last {
                    return;
                }
            }
        }
    }
}

/// The `n`-th of many UDP flows, with a lifetime that outlasts any test.
#[must_use]
pub fn udp(n: u32) -> Flow {
    let [_, a, b, c] = n.to_be_bytes();
    with_lifetime(Flow::new(Tuple::v4([100, a, b, c], [2; 4], 17).with_ports(1000, 53)))
}

/// UDP flows by number.
#[must_use]
pub fn udp_flows(numbers: std::ops::Range<u32>) -> Vec<Flow> {
    numbers.map(udp).collect()
}

/// The flow with the rest of what the kernel wants to create it.
#[must_use]
pub fn with_lifetime(mut flow: Flow) -> Flow {
    flow.reply = flow.orig.inverted();
    flow.timeout_s = 3000;
    flow.status |= Status::CONFIRMED;
    flow.known |= Known::TIMEOUT | Known::STATUS;
    flow
}
