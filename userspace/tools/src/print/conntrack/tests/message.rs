//! Builds flow messages attribute by attribute, independently of the codec that reads them.

use std::net::Ipv6Addr;

/// What a protocol nest holds besides the protocol.
#[derive(Clone)]
pub(super) struct Layer4(Vec<u8>);

/// Ports of the original direction, mirrored for the reply.
pub(super) struct Ports(pub(super) u16, pub(super) u16);

impl Ports {
    /// Attributes of both directions.
    fn both(&self) -> [Layer4; 2] {
        let one = |src: u16, dst: u16| {
            Layer4([attribute(2, &src.to_be_bytes()), attribute(3, &dst.to_be_bytes())].concat())
        };
        [one(self.0, self.1), one(self.1, self.0)]
    }

    /// An ICMP query and its answer.
    pub(super) fn icmp(id: u16, kind: u8, code: u8) -> [Layer4; 2] {
        let one = |kind: u8| {
            let id = attribute(4, &id.to_be_bytes());
            Layer4([id, attribute(5, &[kind]), attribute(6, &[code])].concat())
        };
        [one(kind), one(0)]
    }

    /// A protocol without any.
    pub(super) fn none() -> [Layer4; 2] {
        [Layer4(Vec::new()), Layer4(Vec::new())]
    }
}

impl From<Ports> for [Layer4; 2] {
    fn from(ports: Ports) -> Self {
        ports.both()
    }
}

/// A flow message that grows.
#[derive(Clone)]
pub(super) struct FlowMessage {
    family: u8,
    attributes: Vec<u8>,
}

impl FlowMessage {
    pub(super) fn v4(
        src: [u8; 4],
        dst: [u8; 4],
        proto: u8,
        layer4: impl Into<[Layer4; 2]>,
    ) -> Self {
        Self::new(2, 1, &src, &dst, proto, layer4.into())
    }

    /// From 1.1.1.1:10 to 2.2.2.2:20, which is really 9.9.9.9:99 to 8.8.8.8:88.
    pub(super) fn natted_v4(proto: u8) -> Self {
        let [orig, _] = Ports(10, 20).both();
        let [reply, _] = Ports(88, 99).both();
        let tuple = |number, src: [u8; 4], dst: [u8; 4], layer4: Layer4| {
            let ip = nest(1, &[attribute(1, &src), attribute(2, &dst)].concat());
            let proto = nest(2, &[attribute(1, &[proto]), layer4.0].concat());
            nest(number, &[ip, proto].concat())
        };
        let attributes = [tuple(1, [1; 4], [2; 4], orig), tuple(2, [8; 4], [9; 4], reply)].concat();
        Self { family: 2, attributes }
    }

    pub(super) fn v6(src: &str, dst: &str, proto: u8, layer4: impl Into<[Layer4; 2]>) -> Self {
        let [src, dst] = [src, dst].map(|text| text.parse::<Ipv6Addr>().unwrap().octets());
        Self::new(10, 3, &src, &dst, proto, layer4.into())
    }

    fn new(
        family: u8,
        kind: u16,
        src: &[u8],
        dst: &[u8],
        proto: u8,
        [orig, reply]: [Layer4; 2],
    ) -> Self {
        let tuple = |number, src, dst, layer4: Layer4| {
            let ip = nest(1, &[attribute(kind, src), attribute(kind + 1, dst)].concat());
            let proto = nest(2, &[attribute(1, &[proto]), layer4.0].concat());
            nest(number, &[ip, proto].concat())
        };
        let attributes = [tuple(1, src, dst, orig), tuple(2, dst, src, reply)].concat();
        Self { family, attributes }
    }

    /// Any attribute.
    pub(super) fn with(mut self, bytes: Vec<u8>) -> Self {
        self.attributes.extend(bytes);
        self
    }

    pub(super) fn be32(self, kind: u16, value: u32) -> Self {
        self.with(attribute(kind, &value.to_be_bytes()))
    }

    pub(super) fn status(self, bits: u32) -> Self {
        self.be32(3, bits)
    }

    pub(super) fn timeout(self, seconds: u32) -> Self {
        self.be32(7, seconds)
    }

    pub(super) fn mark(self, mark: u32) -> Self {
        self.be32(8, mark)
    }

    pub(super) fn uses(self, count: u32) -> Self {
        self.be32(11, count)
    }

    pub(super) fn id(self, id: u32) -> Self {
        self.be32(12, id)
    }

    pub(super) fn zone(self, zone: u16) -> Self {
        self.with(attribute(18, &zone.to_be_bytes()))
    }

    pub(super) fn tcp(self, state: u8) -> Self {
        self.with(nest(4, &nest(1, &attribute(1, &[state]))))
    }

    pub(super) fn sctp(self, state: u8, vtag: [u32; 2]) -> Self {
        let [orig, reply] = vtag.map(u32::to_be_bytes);
        let inner = [attribute(1, &[state]), attribute(2, &orig), attribute(3, &reply)].concat();
        self.with(nest(4, &nest(3, &inner)))
    }

    pub(super) fn counters(self, packets: u64, bytes: u64) -> Self {
        let inner = [attribute(1, &packets.to_be_bytes()), attribute(2, &bytes.to_be_bytes())];
        let inner = inner.concat();
        self.with(nest(9, &inner)).with(nest(10, &inner))
    }

    pub(super) fn lived(self, start_ns: u64, stop_ns: Option<u64>) -> Self {
        let mut inner = attribute(1, &start_ns.to_be_bytes());
        inner.extend(stop_ns.map(|ns| attribute(2, &ns.to_be_bytes())).unwrap_or_default());
        self.with(nest(20, &inner))
    }

    pub(super) fn helper(self, name: &str) -> Self {
        self.with(nest(5, &attribute(1, format!("{name}\0").as_bytes())))
    }

    pub(super) fn labels(self, words: [u32; 4]) -> Self {
        self.with(attribute(22, &words.map(u32::to_ne_bytes).concat()))
    }

    /// The whole message.
    pub(super) fn bytes(&self) -> Vec<u8> {
        whole(0x0100, self.family, &self.attributes)
    }
}

/// A message with header and family header.
pub(super) fn whole(kind: u16, family: u8, attributes: &[u8]) -> Vec<u8> {
    let len = 20 + attributes.len() as u32;
    let mut bytes = len.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend([0; 10]);
    bytes.extend([family, 0, 0, 0]);
    bytes.extend(attributes);
    bytes
}

pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

pub(super) fn nest(kind: u16, value: &[u8]) -> Vec<u8> {
    attribute(kind | 0x8000, value)
}
