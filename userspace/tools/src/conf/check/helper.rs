//! `Helper`: connection tracking helpers in user space.

use super::{Checker, last};
use crate::conf::diagnostic::{Span, quoted};
use crate::conf::model::{HelperConf, HelperPolicy, HelperType};
use crate::conf::parser::Node;
use crate::conf::schema::{Key, Value};
use ctnetlink::tuple::ipproto;
use engine::helper::Kind;

impl Checker<'_> {
    pub(super) fn helper(&mut self, nodes: &[Node]) -> HelperConf {
        let types = nodes.iter().filter(|node| node.keyword.key == Key::HelperType);
        let mut known: Vec<(HelperType, Span)> = Vec::new();
        for inner in types {
            let kind = self.helper_type(inner);
            self.differs_from(&known, (&kind, inner.span));
            known.push((kind, inner.span));
        }
        let standard = HelperConf::default();
        let flag = |key, default| last(nodes, key).map_or(default, Node::flag);
        HelperConf {
            setup: flag(Key::Setup, standard.setup),
            disable_on_exit: flag(Key::HelperDisableOnExit, standard.disable_on_exit),
            types: known.into_iter().map(|(kind, _)| kind).collect(),
        }
    }

    fn helper_type(&mut self, node: &Node) -> HelperType {
        let queue_num = last(&node.block, Key::QueueNum);
        if queue_num.is_none() {
            self.error(node.span, "the helper has no queue", "expected `QueueNum` in its block");
        }
        let is = |at: usize, name: &'static str| {
            node.args.get(at).is_some_and(|arg| arg.value == Value::Choice(name))
        };
        let mut kind = HelperType {
            name: node.name().to_owned(),
            ipv6: is(1, "inet6"),
            protocol: if is(2, "tcp") { ipproto::TCP } else { ipproto::UDP },
            queue_num: queue_num.map_or(0, |node| node.number() as u16),
            queue_len: last(&node.block, Key::QueueLen).map_or(HelperType::QUEUE_LEN, Node::number),
            policy: None,
        };
        if kind.key().known_policy().is_none() {
            self.unknown(node);
        }
        kind.policy = self.policy(node);
        kind
    }

    /// conntrack-tools says ``Unknown `foo' helper`` whether the name or the protocol does not fit.
    fn unknown(&mut self, node: &Node) {
        let name = node.name();
        let span = |at: usize| node.args.get(at).map_or(node.span, |arg| arg.span);
        if let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == name) {
            let protocol = if kind.takes(ipproto::TCP) { "tcp" } else { "udp" };
            let message = format!("the helper `{name}` is for {protocol} only");
            return self.error(span(2), message, format!("expected `{protocol}`"));
        }
        let names = Kind::ALL.map(Kind::name);
        let message = format!("there is no helper `{}`", quoted(name));
        self.error(span(0), message, format!("expected one of: {}", names.join(", ")));
    }

    /// The policy of a helper has the helper's name.
    fn policy(&mut self, node: &Node) -> Option<HelperPolicy> {
        let given = last(&node.block, Key::Policy)?;
        if given.name() != node.name() {
            let message = format!("the policy `{}` is not of this helper", quoted(given.name()));
            self.error(given.span, message, format!("expected `Policy {}`", quoted(node.name())));
        }
        if given.block.is_empty() {
            let label = "expected `ExpectMax` or `ExpectTimeout` in its block";
            self.error(given.span, "the policy is empty", label);
        }
        let standard = HelperPolicy::default();
        let number = |key| last(&given.block, key).map(Node::number);
        Some(HelperPolicy {
            expect_max: number(Key::ExpectMax).or(standard.expect_max),
            expect_timeout_s: number(Key::ExpectTimeout).or(standard.expect_timeout_s),
        })
    }

    /// A queue belongs to one helper, and a helper has one queue.
    fn differs_from(&mut self, known: &[(HelperType, Span)], (kind, span): (&HelperType, Span)) {
        let source = self.source;
        let mut refuse = |first: Span, message: String, label: &str| {
            self.found.error(|| {
                source.error(span, message).label(label).context(first, "first used here")
            });
        };
        if let Some((_, first)) = known.iter().find(|(other, _)| other.is(kind)) {
            refuse(
                *first,
                format!("the helper `{}` is given twice", kind.name),
                "keep one of them",
            );
        } else if let Some((_, first)) =
            known.iter().find(|(other, _)| other.queue_num == kind.queue_num)
        {
            let message = format!("two helpers share queue {}", kind.queue_num);
            refuse(*first, message, "expected a `QueueNum` of its own");
        }
    }
}
