//! `Helper`: connection tracking helpers in user space.

use super::{Checker, last};
use crate::conf::model::{HelperConf, HelperPolicy, HelperType};
use crate::conf::parser::Node;
use crate::conf::schema::{Key, Value};
use common::tuple::ipproto;

/// What the kernel takes for the length of an NFQUEUE unless told otherwise.
const QUEUE_LEN_DEFAULT: u32 = 1024;

impl Checker<'_> {
    pub(super) fn helper(&mut self, nodes: &[Node]) -> HelperConf {
        let types = nodes.iter().filter(|node| node.keyword.key == Key::HelperType);
        HelperConf {
            setup: last(nodes, Key::Setup).is_some_and(Node::flag),
            types: types.map(|node| self.helper_type(node)).collect(),
        }
    }

    fn helper_type(&mut self, node: &Node) -> HelperType {
        let queue_num = last(&node.block, Key::QueueNum);
        if queue_num.is_none() {
            self.error(node.span, "the helper has no queue", "expected `QueueNum` in its block");
        }
        let policies = node.block.iter().filter(|inner| inner.keyword.key == Key::Policy);
        let is = |at: usize, name: &'static str| {
            node.args.get(at).is_some_and(|arg| arg.value == Value::Choice(name))
        };
        HelperType {
            name: node.name().to_owned(),
            ipv6: is(1, "inet6"),
            protocol: if is(2, "tcp") { ipproto::TCP } else { ipproto::UDP },
            queue_num: queue_num.map_or(0, |node| node.number() as u16),
            queue_len: last(&node.block, Key::QueueLen).map_or(QUEUE_LEN_DEFAULT, Node::number),
            policies: policies.map(|policy| self.policy(policy)).collect(),
        }
    }

    fn policy(&mut self, node: &Node) -> HelperPolicy {
        if node.block.is_empty() {
            let label = "expected `ExpectMax` or `ExpectTimeout` in its block";
            self.error(node.span, "the policy is empty", label);
        }
        HelperPolicy {
            name: node.name().to_owned(),
            expect_max: last(&node.block, Key::ExpectMax).map(Node::number),
            expect_timeout_s: last(&node.block, Key::ExpectTimeout).map(Node::number),
        }
    }
}
