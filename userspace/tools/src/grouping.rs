//! Counts flows by what they have in common (`ctflow count --by`).

use crate::print::state;
use ctnetlink::Flow;
use ctnetlink::flow::proto_name;
use engine::query::{Read, Subject};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::str::FromStr;

/// Most keys that flows are counted by at once.
pub const KEYS_MAX: usize = 8;
/// Limit of separate groups; flows of all others are counted together.
pub const GROUPS_MAX: usize = 1_000_000;

/// What flows may have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Conntrack zone.
    Zone,
    /// IP protocol.
    Proto,
    /// Layer-4 state; of protocols without, whether there was an answer.
    State,
    /// Source address of the original direction, cut to a prefix length.
    Src(Option<u8>),
    /// Destination address of the original direction, cut to a prefix length.
    Dst(Option<u8>),
    /// Destination port of the original direction.
    Dport,
    /// The ends that are translated.
    Nat,
    /// The address that the source is translated to.
    NatSrc,
    /// The address that the destination is translated to.
    NatDst,
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, len) = match text.split_once('/') {
            Some((name, len)) => {
                let len = len.parse().ok().filter(|len| *len <= 128);
                (name, Some(len.ok_or_else(|| format!("`{text}`: a prefix length is 0 to 128"))?))
            }
            None => (text, None),
        };
        Ok(match (name, len) {
            ("zone", None) => Self::Zone,
            ("proto", None) => Self::Proto,
            ("state", None) => Self::State,
            ("src", len) => Self::Src(len),
            ("dst", len) => Self::Dst(len),
            ("dport", None) => Self::Dport,
            ("nat", None) => Self::Nat,
            ("natsrc", None) => Self::NatSrc,
            ("natdst", None) => Self::NatDst,
            ("class", None) => return Err("there are no classes in the configuration".into()),
            _ => {
                return Err(format!(
                    "`{text}`: expected zone, proto, state, src, dst, dport, nat, natsrc or natdst"
                ));
            }
        })
    }
}

impl Key {
    /// Its word.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Zone => "zone".into(),
            Self::Proto => "proto".into(),
            Self::State => "state".into(),
            Self::Src(None) => "src".into(),
            Self::Src(Some(len)) => format!("src/{len}"),
            Self::Dst(None) => "dst".into(),
            Self::Dst(Some(len)) => format!("dst/{len}"),
            Self::Dport => "dport".into(),
            Self::Nat => "nat".into(),
            Self::NatSrc => "natsrc".into(),
            Self::NatDst => "natdst".into(),
        }
    }

    /// Appends what a flow has.
    pub(crate) fn of(self, out: &mut String, flow: &Flow) {
        let read = Read { flow, now_ns: 0 };
        let _ = match self {
            Self::Zone => write!(out, "{}", flow.zone),
            Self::Proto => match proto_name(flow.orig.proto) {
                Some(name) => out.write_str(name),
                None => write!(out, "{}", flow.orig.proto),
            },
            Self::State => out.write_str(&standing(flow)),
            Self::Src(len) => address(out, read.address(false, false), len),
            Self::Dst(len) => address(out, read.address(false, true), len),
            Self::Dport if flow.orig.has_ports() => write!(out, "{}", flow.orig.ports().1),
            Self::Dport => out.write_char('-'),
            Self::Nat => out.write_str(match (flow.source_nat(), flow.destination_nat()) {
                (None, None) => "none",
                (Some(_), None) => "snat",
                (None, Some(_)) => "dnat",
                (Some(_), Some(_)) => "both",
            }),
            Self::NatSrc => match flow.source_nat().and_then(|end| end.addr) {
                Some(_) => write!(out, "{}", flow.reply.dst_ip()),
                None => out.write_char('-'),
            },
            Self::NatDst => match flow.destination_nat().and_then(|end| end.addr) {
                Some(_) => write!(out, "{}", flow.reply.src_ip()),
                None => out.write_char('-'),
            },
        };
    }
}

fn standing(flow: &Flow) -> String {
    use ctnetlink::flow::Status;
    match state::name(&flow.proto) {
        Some(name) => name.to_lowercase(),
        None if flow.status.contains(Status::ASSURED) => "assured".into(),
        None if flow.status.contains(Status::SEEN_REPLY) => "replied".into(),
        None => "unreplied".into(),
    }
}

fn address(out: &mut String, address: Option<IpAddr>, len: Option<u8>) -> std::fmt::Result {
    match (address, len.map(u32::from)) {
        (None, _) => out.write_char('-'),
        (Some(address), None) => write!(out, "{address}"),
        (Some(IpAddr::V4(v4)), Some(len)) => {
            let len = len.min(32);
            let rest = u32::MAX.checked_shr(len).unwrap_or(0);
            write!(out, "{}/{len}", std::net::Ipv4Addr::from_bits(v4.to_bits() & !rest))
        }
        (Some(IpAddr::V6(v6)), Some(len)) => {
            let rest = u128::MAX.checked_shr(len).unwrap_or(0);
            write!(out, "{}/{len}", std::net::Ipv6Addr::from_bits(v6.to_bits() & !rest))
        }
    }
}

/// Keys as they are given: with commas between them.
///
/// # Errors
/// What is wrong with them.
pub fn keys(text: &str) -> Result<Vec<Key>, String> {
    let keys: Result<Vec<Key>, String> = text.split(',').map(str::parse).collect();
    keys.and_then(|keys| match keys.len() {
        len if len > KEYS_MAX => Err(format!("flows are counted by at most {KEYS_MAX} keys")),
        _ => Ok(keys),
    })
}

/// Flows counted by keys.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    keys: Vec<Key>,
    /// The values of the keys, parted by tabs.
    counts: HashMap<String, u64>,
    others: u64,
    line: String,
}

impl Groups {
    /// Groups by these keys, without a flow.
    #[must_use]
    pub fn by(keys: Vec<Key>) -> Self {
        Self { keys, ..Self::default() }
    }

    /// Counts a flow.
    pub fn count(&mut self, flow: &Flow) {
        self.line.clear();
        for (at, key) in self.keys.iter().enumerate() {
            if at > 0 {
                self.line.push('\t');
            }
            key.of(&mut self.line, flow);
        }
        if let Some(count) = self.counts.get_mut(&self.line) {
            *count += 1;
        } else if self.counts.len() >= GROUPS_MAX {
            self.others += 1;
        } else {
            self.counts.insert(self.line.clone(), 1);
        }
    }

    /// The largest `top` groups, or all of them, largest first; the rest is one more.
    #[must_use]
    pub fn sorted(&self, top: Option<usize>) -> (Vec<(&str, u64)>, u64) {
        let mut all: Vec<_> = self.counts.iter().map(|(key, n)| (key.as_str(), *n)).collect();
        all.sort_unstable_by(|(a, n), (b, m)| m.cmp(n).then(a.cmp(b)));
        let rest = all.split_off(top.unwrap_or(all.len()).min(all.len()));
        (all, self.others + rest.iter().map(|(_, count)| count).sum::<u64>())
    }

    /// Lines of a count and the values of the keys.
    #[must_use]
    pub fn text(&self, top: Option<usize>) -> String {
        let (groups, others) = self.sorted(top);
        let lines = groups.into_iter().map(|(key, count)| format!("{count}\t{key}\n"));
        let rest = (others > 0).then(|| format!("{others}\tothers\n"));
        lines.chain(rest).collect()
    }

    /// An array of objects of a count and the values of the keys.
    #[must_use]
    pub fn json(&self, top: Option<usize>) -> Value {
        let (groups, others) = self.sorted(top);
        let objects = groups.into_iter().map(|(key, count)| {
            let names = self.keys.iter().map(|key| key.name());
            let mut object: Map<_, _> = names.zip(key.split('\t').map(Value::from)).collect();
            object.insert("count".into(), count.into());
            Value::Object(object)
        });
        let rest = (others > 0).then(|| serde_json::json!({ "others": true, "count": others }));
        objects.chain(rest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctnetlink::Tuple;

    #[test]
    fn flows_are_counted_by_what_they_have_in_common() {
        let mut groups = Groups::by(keys("zone,src/24,dport").unwrap());
        for (last, port, zone) in [(1, 80, 0), (2, 80, 0), (3, 443, 0), (4, 80, 7)] {
            let orig = Tuple::v4([10, 0, 0, last], [10, 1, 0, 1], 6).with_ports(9, port);
            groups.count(&Flow { zone, ..Flow::new(orig) });
        }
        groups.count(&Flow::new(Tuple::v6([1; 16], [2; 16], 58)));
        let all = "2\t0\t10.0.0.0/24\t80\n1\t0\t10.0.0.0/24\t443\n1\t0\t101:100::/24\t-\n\
                   1\t7\t10.0.0.0/24\t80\n";
        assert_eq!(groups.text(None), all);
        assert_eq!(groups.text(Some(1)), "2\t0\t10.0.0.0/24\t80\n3\tothers\n");
        let json = groups.json(Some(1)).to_string();
        let first = r#"{"count":2,"dport":"80","src/24":"10.0.0.0/24","zone":"0"}"#;
        assert_eq!(json, format!("[{first},{{\"count\":3,\"others\":true}}]"));
    }

    #[test]
    fn translated_ends_are_groups() {
        use ctnetlink::flow::Status;
        let mut groups = Groups::by(keys("natsrc,natdst").unwrap());
        let orig = Tuple::v4([10, 0, 0, 1], [10, 1, 0, 1], 6).with_ports(9, 80);
        let mut flow = Flow { reply: orig.inverted(), ..Flow::new(orig) };
        groups.count(&flow);
        flow.status = Status::SRC_NAT_DONE | Status::DST_NAT_DONE;
        (flow.reply.dst[0], flow.reply.src[0]) = (192, 172);
        groups.count(&flow);
        assert_eq!(groups.text(None), "1\t-\t-\n1\t192.0.0.1\t172.1.0.1\n");
    }

    #[test]
    fn keys_are_refused_by_name() {
        assert_eq!(keys("zone,proto,state,src,dst,nat,natsrc,natdst").unwrap().len(), 8);
        for wrong in ["", "zones", "zone/5", "src/129", "src/x", "zone,", "class", "a,b"] {
            assert!(keys(wrong).is_err(), "{wrong}");
        }
        assert!(keys(&["zone"; 9].join(",")).is_err());
    }
}
