//! What a flow can do without: parts that a kernel refuses because it was built, or is set up, without them.
//!
//! The kernel refuses the whole request then. A connection that goes on without its helper is better than one that
//! breaks, so the request is made again without the first part that can be meant, until the kernel takes it or there is
//! no such part left. What makes a flow another one (its zone, its translation) is never left out.

use crate::errno::{ENOSPC, EOPNOTSUPP, ERANGE};
use crate::output::{Part, Request};
use ctnetlink::Flow;

/// The request without the part that the kernel may have meant with `errno`, and that part; `None` if it meant none.
#[must_use]
pub fn without_refused(request: &Request, errno: i32) -> Option<(Request, Part)> {
    let (flow, creates) = match request {
        Request::Create(flow) => (flow, true),
        Request::Update(flow) => (flow, false),
        _ => return None,
    };
    let part = refused(flow, creates, errno)?;
    let mut flow = flow.clone();
    let extra = flow.extra_mut();
    match part {
        Part::Helper(_) => extra.helper = None,
        Part::Labels => extra.labels = None,
        Part::Synproxy => extra.synproxy = None,
        Part::SeqAdj => extra.seq_adj = None,
    }
    flow.drop_empty_extra();
    let request = if creates { Request::Create(flow) } else { Request::Update(flow) };
    Some((request, part))
}

/// The part of a flow that the errno may have meant. `EOPNOTSUPP` says that the kernel has no such thing; without room
/// for labels it answers `ENOSPC` or `ERANGE` (kernel v6.12, `net/netfilter/nf_conntrack_netlink.c`).
fn refused(flow: &Flow, creates: bool, errno: i32) -> Option<Part> {
    let extra = flow.extra.as_deref()?;
    match errno {
        // Changes name no helper.
        EOPNOTSUPP if creates && let Some(name) = extra.helper => Some(Part::Helper(name)),
        EOPNOTSUPP | ENOSPC | ERANGE if extra.labels.is_some() => Some(Part::Labels),
        EOPNOTSUPP if extra.synproxy.is_some() => Some(Part::Synproxy),
        EOPNOTSUPP if extra.seq_adj.is_some() => Some(Part::SeqAdj),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errno::EINVAL;
    use alloc::vec;
    use alloc::vec::Vec;
    use ctnetlink::Tuple;
    use ctnetlink::flow::{HelperName, SeqAdj, Synproxy};

    fn rich() -> Flow {
        let mut flow = Flow::new(Tuple::v4([1; 4], [2; 4], 6).with_ports(1000, 21));
        let extra = flow.extra_mut();
        extra.helper = HelperName::from_bytes(b"ftp");
        extra.labels = Some(vec![1]);
        extra.synproxy = Some(Synproxy { isn: 1, its: 2, tsoff: 3 });
        extra.seq_adj = Some([SeqAdj::default(); 2]);
        flow
    }

    /// What goes, one after the other, as long as the kernel answers this.
    fn goes(mut request: Request, errno: i32) -> (Vec<Part>, Request) {
        let mut parts = Vec::new();
        while let Some((next, part)) = without_refused(&request, errno) {
            request = next;
            parts.push(part);
        }
        (parts, request)
    }

    #[test]
    fn parts_go_one_after_the_other_and_the_flow_stays() {
        let helper = HelperName::from_bytes(b"ftp").unwrap();
        let (parts, left) = goes(Request::Create(rich()), EOPNOTSUPP);
        assert_eq!(parts, [Part::Helper(helper), Part::Labels, Part::Synproxy, Part::SeqAdj]);
        assert_eq!(left, Request::Create(Flow { extra: None, ..rich() }));
    }

    #[test]
    fn only_what_the_kernel_can_have_meant_goes() {
        assert_eq!(goes(Request::Create(rich()), ENOSPC).0, [Part::Labels]);
        assert_eq!(goes(Request::Update(rich()), ERANGE).0, [Part::Labels]);
        assert_eq!(goes(Request::Create(rich()), EINVAL).0, []);
        let (parts, _) = goes(Request::Update(rich()), EOPNOTSUPP);
        assert_eq!(parts, [Part::Labels, Part::Synproxy, Part::SeqAdj], "none is asked for");
        assert_eq!(goes(Request::Delete(rich().key(), None), EOPNOTSUPP).0, []);
        let mut zoned = Flow::new(Tuple::v4([1; 4], [2; 4], 6));
        zoned.zone = 7;
        assert_eq!(goes(Request::Create(zoned), EOPNOTSUPP).0, [], "it would be another flow");
    }
}
