//! Flows that come from a table rather than from a message of the kernel.

use ctnetlink::flow::Known;
use ctnetlink::{Flow, FlowView};

/// The bytes of labels as the kernel's messages have them; see [`ctnetlink::view::label_words`].
pub(super) fn label_bytes(flow: &Flow) -> Option<Vec<u8>> {
    let words = flow.extra.as_deref()?.labels.as_deref()?;
    let swapped = cfg!(all(target_endian = "big", target_pointer_width = "64"));
    let last = words.len().saturating_sub(1);
    let order = (0..words.len()).map(|at| if swapped { (at ^ 1).min(last) } else { at });
    Some(order.flat_map(|at| words[at].to_ne_bytes()).collect())
}

/// The view that a message about the flow would have.
pub(super) fn view<'a>(flow: &'a Flow, labels: Option<&'a [u8]>) -> FlowView<'a> {
    let has = |field| flow.has(field);
    let mut view = FlowView::default();
    view.family = flow.orig.family;
    (view.orig, view.reply) = (flow.orig, flow.reply);
    view.zone = zone(flow);
    view.status = has(Known::STATUS).then_some(flow.status);
    view.timeout_s = has(Known::TIMEOUT).then_some(flow.timeout_s);
    view.mark = has(Known::MARK).then_some(flow.mark);
    view.id = has(Known::ID).then_some(flow.id);
    (view.proto, view.labels) = (flow.proto, labels);
    view.synproxy = flow.synproxy();
    if let Some(extra) = flow.extra.as_deref() {
        view.zones = extra.zones;
        view.master = extra.master;
        view.helper = extra.helper;
        view.seq_adj = extra.seq_adj.map_or([None; 2], |both| both.map(Some));
        view.secmark = extra.secmark;
        view.secctx = extra.secctx.as_deref();
        view.counters = extra.counters;
        view.timestamps = extra.timestamps;
        view.event_ns = extra.event_ns;
        view.use_count = extra.use_count;
    }
    view
}

/// Zone 0 is seldom shown, and a zone of one direction by itself.
fn zone(flow: &Flow) -> Option<u16> {
    let own = flow.extra.as_deref().map_or([None; 2], |extra| extra.zones);
    let shows_zone = flow.has(Known::ZONE) || (flow.zone != 0 && own == [None; 2]);
    shows_zone.then_some(flow.zone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctnetlink::Detail;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_flow_is_what_its_view_says(flow in wire::arbitrary::v1_flow()) {
            let labels = label_bytes(&flow);
            let mut again = view(&flow, labels.as_deref()).to_flow(Detail::Full);
            again.known.set(Known::ZONE, flow.has(Known::ZONE));
            prop_assert_eq!(again, flow);
        }
    }
}
