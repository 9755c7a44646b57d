//! `Filter`: which flows are looked at.

use super::Checker;
use crate::conf::diagnostic::quoted;
use crate::conf::model::{Filter, FilterSet, FilterSide, Policy};
use crate::conf::parser::{Arg, Node};
use crate::conf::protocol::protocol;
use crate::conf::schema::{Key, Value};
use common::filter::{MARKS_MAX, MarkTest};
use common::maps::FILTER_PREFIXES_MAX;
use std::collections::HashSet;
use std::hash::Hash;

impl Checker<'_> {
    pub(super) fn filter(&mut self, node: &Node) -> Filter {
        let side = match node.choice() {
            "Kernelspace" => FilterSide::Kernelspace,
            _ => FilterSide::Userspace,
        };
        let mut filter = Filter { side, ..Filter::default() };
        let mut firsts: Vec<&Node> = Vec::new();
        for set in &node.block {
            match set.keyword.key {
                Key::MinimumAge => filter.min_age_ms = set.number(),
                Key::Sample => filter.sample = set.number(),
                _ => {
                    match firsts.iter().find(|first| first.keyword.key == set.keyword.key) {
                        Some(first) => self.agrees(first, set),
                        None => firsts.push(set),
                    }
                    self.set(&mut filter, set);
                }
            }
        }
        unrepeated(&mut filter);
        self.fits_the_kernel(&filter, node);
        filter
    }

    fn fits_the_kernel(&mut self, filter: &Filter, node: &Node) {
        let ipv4 = filter.ipv4.as_ref().map_or(0, |set| set.members.len());
        let ipv6 = filter.ipv6.as_ref().map_or(0, |set| set.members.len());
        if filter.side == FilterSide::Kernelspace && ipv4.max(ipv6) > FILTER_PREFIXES_MAX as usize {
            let message = format!(
                "`Address` names more networks of a family than the kernel holds: {FILTER_PREFIXES_MAX}"
            );
            self.warn(node.span, message, "events come through netlink, and user space filters");
        }
    }

    fn set(&mut self, filter: &mut Filter, set: &Node) {
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
            Key::SourcePort => add(&mut filter.source_ports, policy, intervals(set)),
            Key::DestinationPort => add(&mut filter.destination_ports, policy, intervals(set)),
            Key::Zone => add(&mut filter.zones, policy, intervals(set)),
            Key::Mark => self.marks(filter, policy, set),
            Key::Address => addresses(filter, policy, &set.block),
            _ => {}
        }
    }

    /// The kernel looks at one after the other, so there is a limit.
    fn marks(&mut self, filter: &mut Filter, policy: Policy, set: &Node) {
        add(&mut filter.marks, policy, Vec::new());
        let Some(marks) = &mut filter.marks else { return };
        for item in set.items.iter().flatten() {
            let Value::Mark(value, mask) = item.value else { continue };
            let test = MarkTest { value, mask };
            if marks.members.contains(&test) {
                continue;
            }
            if marks.members.len() == MARKS_MAX {
                let message = format!("`Mark` names more than {MARKS_MAX} marks");
                let label = "this is one too many; a mask may name many at once";
                return self.error(item.span, message, label);
            }
            marks.members.push(test);
        }
    }

    /// A set may be written in pieces, but a flow cannot be both accepted and ignored by it.
    fn agrees(&mut self, first: &Node, set: &Node) {
        if first.choice() == set.choice() {
            return;
        }
        let source = self.source;
        self.found.error(|| {
            let message =
                format!("`{}` is given with `Accept` and with `Ignore`", set.keyword.name);
            let at = set.span.to(set.args.first().map_or(set.span, |arg| arg.span));
            let error = source.error(at, message).label("keep one of them");
            error.context(first.span, "the other one")
        });
    }

    fn protocol(&mut self, item: &Arg) -> Option<u8> {
        let Value::Name(name) = &item.value else { return None };
        let number = protocol(name);
        if number.is_none() {
            let message = format!("unknown protocol `{}`; it is ignored", quoted(name));
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

fn intervals(set: &Node) -> Vec<(u16, u16)> {
    let interval = |item: &Arg| match item.value {
        Value::Interval(first, last) => Some((first, last)),
        _ => None,
    };
    set.items.iter().flatten().filter_map(interval).collect()
}

fn add<T>(set: &mut Option<FilterSet<T>>, policy: Policy, members: Vec<T>) {
    let set = set.get_or_insert(FilterSet { policy, members: Vec::new() });
    set.members.extend(members);
}

/// Leaves each member of the sets once, where it comes first.
fn unrepeated(filter: &mut Filter) {
    fn once<T: Copy + Eq + Hash>(set: &mut Option<FilterSet<T>>) {
        let mut known = HashSet::new();
        set.iter_mut().for_each(|set| set.members.retain(|member| known.insert(*member)));
    }
    once(&mut filter.protocols);
    once(&mut filter.ipv4);
    once(&mut filter.ipv6);
    once(&mut filter.tcp_states);
    once(&mut filter.source_ports);
    once(&mut filter.destination_ports);
    once(&mut filter.zones);
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
