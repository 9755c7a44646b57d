//! `Metrics`: who may read the node's metrics.

use super::{Checker, last};
use crate::conf::diagnostic::quoted;
use crate::conf::model::{CLASSES_MAX, LISTEN_MAX, MetricsConf, PerCpu};
use crate::conf::parser::Node;
use crate::conf::schema::{IpPrefix, Key, Value};
use export::http::{Listen, Network};
use std::net::IpAddr;

impl Checker<'_> {
    pub(super) fn metrics(&mut self, node: &Node) -> MetricsConf {
        let standard = MetricsConf::default();
        let of = |key| node.block.iter().filter(move |inner| inner.keyword.key == key);
        let items = of(Key::Allow).flat_map(|inner| inner.items.iter().flatten());
        let allow: Vec<_> = items.filter_map(|item| network(&item.value)).collect();
        let is_open = of(Key::Allow).next().is_none();
        let per_cpu =
            |inner: &Node| PerCpu::ALL.into_iter().find(|per_cpu| per_cpu.name() == inner.choice());
        MetricsConf {
            listen: self.listen(node, is_open),
            allow: (!is_open).then_some(allow),
            per_cpu: last(&node.block, Key::PerCpu).and_then(per_cpu).unwrap_or_default(),
            census_s: last(&node.block, Key::Census).map_or(standard.census_s, Node::number),
            zones_max: last(&node.block, Key::ZonesMax).map_or(standard.zones_max, Node::number),
            classes: self.classes(node),
            series_max: last(&node.block, Key::SeriesMax).map_or(standard.series_max, Node::number),
        }
    }

    /// Names and filters; what a filter says, the start and `--check` look at.
    fn classes(&mut self, node: &Node) -> Vec<(String, String)> {
        let mut classes: Vec<(String, String)> = Vec::new();
        let nodes = node.block.iter().filter(|inner| inner.keyword.key == Key::Class);
        for inner in nodes {
            let words = inner.items.iter().flatten().filter_map(|item| match &item.value {
                Value::Name(word) => Some(word.as_str()),
                _ => None,
            });
            let (name, filter) = (inner.name(), words.collect::<Vec<_>>().join(" "));
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
            if name.len() > 32 || !name.chars().all(is_plain) {
                let message = format!("`{}` is no name of a class", quoted(name));
                self.error(inner.span, message, "expected at most 32 letters, digits, _ - .");
            } else if classes.iter().any(|(other, _)| other == name) {
                self.error(
                    inner.span,
                    format!("`Class {name}` is given twice"),
                    "keep one of them",
                );
            } else if filter.trim().is_empty() {
                let message = format!("`Class {name}` has no filter");
                self.error(
                    inner.span,
                    message,
                    "expected `Class web { tcp dst port 443 }`, for example",
                );
            } else if classes.len() == CLASSES_MAX {
                let message = format!("`Metrics` has more than {CLASSES_MAX} classes");
                self.error(inner.span, message, "each is a time series and a walk over the table");
            } else {
                classes.push((name.to_owned(), filter));
            }
        }
        if !classes.is_empty() && last(&node.block, Key::Census).is_some_and(|n| n.number() == 0) {
            self.warn(node.span, "`Class` without a `Census` is not counted", "Census is 0 here");
        }
        classes
    }

    /// `is_open`: whether everybody may ask.
    fn listen(&mut self, node: &Node, is_open: bool) -> Vec<Listen> {
        let mut known: Vec<(Listen, &Node)> = Vec::new();
        let nodes = node.block.iter().filter(|inner| inner.keyword.key == Key::Listen);
        for inner in nodes {
            let Some(Value::Endpoint(listen)) = inner.value() else { continue };
            if let Some((_, first)) = known.iter().find(|(other, _)| other == listen) {
                let (source, first) = (self.source, first.span);
                self.found.error(|| {
                    let message = format!("`Listen {listen}` is given twice");
                    let error = source.error(inner.span, message).label("keep one of them");
                    error.context(first, "first given here")
                });
            }
            let is_far = matches!(listen, Listen::Tcp(to) if !to.ip().to_canonical().is_loopback());
            if is_far && is_open {
                self.warn(
                    inner.span,
                    "anybody who reaches this address reads counters of this router",
                    "name who may ask: `Allow { 192.0.2.0/24 }`, for example",
                );
            }
            known.push((listen.clone(), inner));
        }
        match known.get(LISTEN_MAX) {
            Some((_, one_more)) => {
                let message = format!("`Metrics` listens at more than {LISTEN_MAX} addresses");
                self.error(one_more.span, message, "one too many");
            }
            None if known.is_empty() => self.warn(
                node.span,
                "`Metrics` listens nowhere: no scrape can reach it",
                "expected `Listen 127.0.0.1:10466`, for example",
            ),
            None => {}
        }
        known.into_iter().map(|(listen, _)| listen).collect()
    }
}

fn network(value: &Value) -> Option<Network> {
    let of = |address: IpAddr, len| Some(Network { address, len });
    match *value {
        Value::Ipv4Prefix(IpPrefix { addr, len }) => of(addr.into(), len),
        Value::Ipv6Prefix(IpPrefix { addr, len }) => of(addr.into(), len),
        _ => None,
    }
}
