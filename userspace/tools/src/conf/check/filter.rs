//! `Filter`: which flows are looked at.

use super::Checker;
use crate::conf::model::{Filter, FilterSet, FilterSide, Policy};
use crate::conf::parser::{Arg, Node};
use crate::conf::protocol::protocol;
use crate::conf::schema::{Key, Value};

impl Checker<'_> {
    pub(super) fn filter(&mut self, node: &Node) -> Filter {
        let side = match node.choice() {
            "Kernelspace" => FilterSide::Kernelspace,
            _ => FilterSide::Userspace,
        };
        let mut filter = Filter { side, ..Filter::default() };
        for set in &node.block {
            self.agrees(&node.block, set);
            let policy = if set.choice() == "Accept" { Policy::Accept } else { Policy::Ignore };
            match set.keyword.key {
                Key::Protocol => {
                    let items = set.items.iter().flatten();
                    let numbers = items.filter_map(|item| self.protocol(item)).collect();
                    add(&mut filter.protocols, policy, numbers);
                }
                Key::State => {
                    let states = set.items.iter().flatten().filter_map(tcp_state).collect();
                    add(&mut filter.tcp_states, policy, states);
                }
                Key::Address => addresses(&mut filter, policy, &set.block),
                _ => {}
            }
        }
        filter
    }

    /// A set may be written in pieces, but a flow cannot be both accepted and ignored by it.
    fn agrees(&mut self, sets: &[Node], set: &Node) {
        let same = |other: &&Node| other.keyword.key == set.keyword.key;
        let Some(first) = sets.iter().find(same).filter(|first| first.choice() != set.choice())
        else {
            return;
        };
        let name = set.keyword.name;
        let message = format!("`{name}` is given with `Accept` and with `Ignore`");
        let at = set.span.to(set.args.first().map_or(set.span, |arg| arg.span));
        let error = self.source.error(at, message).label("keep one of them");
        self.found.push(error.context(first.span, "the other one"));
    }

    fn protocol(&mut self, item: &Arg) -> Option<u8> {
        let Value::Name(name) = &item.value else { return None };
        let number = protocol(name);
        if number.is_none() {
            let message = format!("unknown protocol `{name}`; it is ignored");
            self.warn(item.span, message, "expected a name such as TCP, or a number from 0 to 255");
        }
        number
    }
}

fn addresses(filter: &mut Filter, policy: Policy, nodes: &[Node]) {
    let values = || nodes.iter().filter_map(Node::value);
    let ipv4 = values().filter_map(|value| match value {
        Value::Ipv4Prefix(prefix) => Some(*prefix),
        _ => None,
    });
    let ipv6 = values().filter_map(|value| match value {
        Value::Ipv6Prefix(prefix) => Some(*prefix),
        _ => None,
    });
    add(&mut filter.ipv4, policy, ipv4.collect());
    add(&mut filter.ipv6, policy, ipv6.collect());
}

fn add<T: PartialEq>(set: &mut Option<FilterSet<T>>, policy: Policy, members: Vec<T>) {
    let set = set.get_or_insert(FilterSet { policy, members: Vec::new() });
    for member in members {
        if !set.members.contains(&member) {
            set.members.push(member);
        }
    }
}

/// `enum tcp_conntrack` of the kernel; what it calls SYN_SENT2 was LISTEN once.
fn tcp_state(item: &Arg) -> Option<u8> {
    let Value::Choice(name) = item.value else { return None };
    Some(match name {
        "SYN_SENT" => 1,
        "SYN_RECV" => 2,
        "ESTABLISHED" => 3,
        "FIN_WAIT" => 4,
        "CLOSE_WAIT" => 5,
        "LAST_ACK" => 6,
        "TIME_WAIT" => 7,
        "CLOSED" => 8,
        "LISTEN" => 9,
        _ => return None,
    })
}
