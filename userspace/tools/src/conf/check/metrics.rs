//! `Metrics`: who is told how the node fares.

use super::{Checker, last};
use crate::conf::model::{LISTEN_MAX, MetricsConf, PerCpu};
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
            series_max: last(&node.block, Key::SeriesMax).map_or(standard.series_max, Node::number),
        }
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
                "`Metrics` listens nowhere: nobody is told anything",
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
