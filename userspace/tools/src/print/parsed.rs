//! Flows from the JSON of a daemon's list (`docs/spec/conntrack-json.md`).

use crate::print::conntrack::STATUS;
use crate::print::state;
use ctnetlink::flow::{Known, ProtoState, TcpState};
use ctnetlink::tuple::ipproto;
use ctnetlink::{Flow, Tuple};
use serde::Deserialize;
use std::net::IpAddr;

#[derive(Deserialize)]
struct Entry<'a> {
    protonum: u8,
    orig: Direction,
    reply: Option<Direction>,
    #[serde(borrow)]
    state: Option<&'a str>,
    timeout: Option<u32>,
    mark: Option<u32>,
    zone: Option<u16>,
    id: Option<u32>,
    #[serde(borrow, default)]
    status: Vec<&'a str>,
}

#[derive(Deserialize)]
struct Direction {
    src: IpAddr,
    dst: IpAddr,
    sport: Option<u16>,
    dport: Option<u16>,
    srckey: Option<u16>,
    dstkey: Option<u16>,
    id: Option<u16>,
    #[serde(rename = "type")]
    kind: Option<u8>,
    code: Option<u8>,
    zone: Option<u16>,
}

impl Direction {
    fn tuple(&self, proto: u8) -> Option<Tuple> {
        let tuple = match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Tuple::v4(src.octets(), dst.octets(), proto),
            (IpAddr::V6(src), IpAddr::V6(dst)) => Tuple::v6(src.octets(), dst.octets(), proto),
            _ => return None,
        };
        Some(match (self.sport.or(self.srckey), self.dport.or(self.dstkey)) {
            (Some(src), Some(dst)) => tuple.with_ports(src, dst),
            _ if tuple.is_icmp() => {
                let [kind, code] = [self.kind, self.code].map(Option::unwrap_or_default);
                tuple.with_icmp(self.id.unwrap_or_default(), kind, code)
            }
            _ => tuple,
        })
    }
}

/// The flow of a line; `None` if there is none.
#[must_use]
pub fn flow(line: &[u8]) -> Option<Flow> {
    let line = line.strip_suffix(b",").unwrap_or(line);
    let entry: Entry<'_> = serde_json::from_slice(line).ok()?;
    let mut flow = Flow::new(entry.orig.tuple(entry.protonum)?);
    if let Some(reply) = entry.reply {
        flow.reply = reply.tuple(entry.protonum)?;
    }
    flow.zone = entry.zone.or(entry.orig.zone).unwrap_or_default();
    for (known, value, place) in [
        (Known::TIMEOUT, entry.timeout, &mut flow.timeout_s),
        (Known::MARK, entry.mark, &mut flow.mark),
        (Known::ID, entry.id, &mut flow.id),
    ] {
        if let Some(value) = value {
            flow.known |= known;
            *place = value;
        }
    }
    flow.known |= Known::STATUS;
    for name in entry.status {
        if let Some((bit, _)) = STATUS.iter().find(|(_, word)| *word == name) {
            flow.status |= *bit;
        }
    }
    flow.proto = entry.state.map_or(ProtoState::None, |name| tracker(entry.protonum, name));
    Some(flow)
}

fn tracker(proto: u8, name: &str) -> ProtoState {
    let number = |table: &[&str]| table.iter().position(|word| *word == name).unwrap_or(0) as u8;
    match proto {
        ipproto::TCP => {
            ProtoState::Tcp(TcpState { state: number(&state::TCP), ..TcpState::default() })
        }
        ipproto::SCTP => ProtoState::Sctp { state: number(&state::SCTP), vtag: [0; 2] },
        ipproto::DCCP => ProtoState::Dccp { state: number(&state::DCCP), role: 0 },
        _ => ProtoState::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::print::conntrack::{Format, Style, table_flow};
    use ctnetlink::flow::Status;

    fn round(flow: &Flow) -> Option<Flow> {
        let mut out = b"[".to_vec();
        table_flow(&mut out, &Style { format: Format::Json, ..Style::default() }, flow, 0);
        super::flow(out.split(|byte| *byte == b'\n').nth(1).unwrap())
    }

    #[test]
    fn what_a_list_prints_is_read_back() {
        let tcp = Tuple::v4([10, 0, 0, 1], [192, 0, 2, 7], 6).with_ports(4000, 443);
        let six = Tuple::v6([0x20; 16], [0x21; 16], 17).with_ports(1, 2);
        let icmp = Tuple::v4([10, 0, 0, 1], [192, 0, 2, 7], 1).with_icmp(4711, 8, 0);
        let gre = Tuple::v4([10, 0, 0, 1], [192, 0, 2, 7], 47).with_ports(3, 4);
        for orig in [tcp, six, icmp, gre, Tuple::v4([1; 4], [2; 4], 200)] {
            let mut flow =
                Flow { reply: orig.inverted(), zone: 7, id: 99, mark: 5, ..Flow::new(orig) };
            flow.reply.dst[0] = 9;
            flow.status = Status::SRC_NAT_DONE | Status::ASSURED | Status::SEEN_REPLY;
            flow.known = Known::STATUS | Known::MARK | Known::ID | Known::ZONE;
            if orig.proto == ipproto::TCP {
                flow.proto = ProtoState::Tcp(TcpState { state: 3, ..TcpState::default() });
            }
            let back = round(&flow).unwrap();
            assert_eq!(Flow { known: flow.known, ..back }, flow);
        }
    }

    #[test]
    fn what_is_no_flow_is_none() {
        for line in ["", "[", "]", "{}", "{\"protonum\":6}", "null", "\u{1b}[2J"] {
            assert_eq!(flow(line.as_bytes()), None, "{line}");
        }
    }
}
