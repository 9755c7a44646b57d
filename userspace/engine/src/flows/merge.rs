//! Merges newer news into older: an event carries only what changed, and what it leaves out stays as it was.

use alloc::sync::Arc;
use ctnetlink::flow::{Extra, Flow, Known, ProtoState, Status};

/// Lays `news` over `flow`.
pub fn absorb(flow: &mut Flow, news: Flow) {
    let Flow { orig: _, reply, zone: _, known, status, timeout_s, mark, id, proto, extra } = flow;
    if news.reply.is_known() {
        *reply = news.reply;
    }
    Fields { known, status, timeout_s, mark, id, proto, extra }.absorb(news);
}

/// The known fields of a flow besides its directions, wherever they lie.
pub(crate) struct Fields<'a> {
    pub known: &'a mut Known,
    pub status: &'a mut Status,
    pub timeout_s: &'a mut u32,
    pub mark: &'a mut u32,
    pub id: &'a mut u32,
    pub proto: &'a mut ProtoState,
    pub extra: &'a mut Option<Arc<Extra>>,
}

impl Fields<'_> {
    /// Lays news over it.
    #[inline]
    pub(crate) fn absorb(self, news: Flow) {
        let has = |field| news.known.contains(field);
        if has(Known::STATUS) {
            *self.status = news.status;
        }
        if has(Known::TIMEOUT) {
            *self.timeout_s = news.timeout_s;
        }
        if has(Known::MARK) {
            *self.mark = news.mark;
        }
        if has(Known::ID) {
            *self.id = news.id;
        }
        *self.known |= news.known;
        *self.proto = newer_state(*self.proto, news.proto);
        match (self.extra, news.extra) {
            (_, None) => {}
            // A repeated report is the same.
            (Some(old), Some(new)) if *old == new => {}
            (Some(old), Some(new)) => absorb_extra(Arc::make_mut(old), Arc::unwrap_or_clone(new)),
            (empty @ None, Some(new)) => *empty = Some(new),
        }
    }
}

fn newer_state(old: ProtoState, new: ProtoState) -> ProtoState {
    match (old, new) {
        (_, ProtoState::None) => old,
        (ProtoState::Tcp(old), ProtoState::Tcp(mut new)) => {
            new.wscale = new.wscale.or(old.wscale);
            new.flags = new.flags.or(old.flags);
            ProtoState::Tcp(new)
        }
        (_, new) => new,
    }
}

fn absorb_extra(old: &mut Extra, new: Extra) {
    old.master = new.master.or(old.master);
    old.helper = new.helper.or(old.helper);
    old.labels = new.labels.or_else(|| old.labels.take());
    old.seq_adj = new.seq_adj.or(old.seq_adj);
    old.synproxy = new.synproxy.or(old.synproxy);
    old.secmark = new.secmark.or(old.secmark);
    old.secctx = new.secctx.or_else(|| old.secctx.take());
    for (old, new) in old.zones.iter_mut().zip(new.zones) {
        *old = new.or(*old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctnetlink::Tuple;
    use ctnetlink::flow::{Status, TcpState};

    #[test]
    fn what_an_update_leaves_out_stays() {
        let tuple = Tuple::v4([1; 4], [2; 4], 6).with_ports(1, 2);
        let tcp = |state, wscale| ProtoState::Tcp(TcpState { state, wscale, flags: None });
        let mut flow = Flow {
            mark: 5,
            known: Known::MARK | Known::STATUS,
            proto: tcp(1, Some([7, 7])),
            ..Flow::new(tuple)
        };
        let news = Flow {
            status: Status::ASSURED,
            known: Known::STATUS,
            proto: tcp(3, None),
            ..Flow::new(tuple)
        };
        absorb(&mut flow, news);
        assert_eq!((flow.mark, flow.status), (5, Status::ASSURED));
        assert_eq!(flow.proto, tcp(3, Some([7, 7])));
    }
}
