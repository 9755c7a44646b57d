//! News compared with the known state: newer, older, or of uncertain order.
//!
//! Events come from several CPUs and overtake each other, so the order in which they are handed in says nothing. The
//! time that each one carries decides, where it carries one.

use crate::flows::knowledge::Age;
use crate::flows::merge;
use crate::flows::table::Entry;
use crate::flows::tombstone::Span;
use crate::input::Stamp;
use common::Instant;
use ctnetlink::Flow;
use ctnetlink::flow::Known;

/// How old news is that carries `stamp`, when the last word was spoken at `last`.
#[must_use]
pub const fn age(stamp: Stamp, last: Option<Span>) -> Age {
    match (stamp, last) {
        (_, None) | (Stamp::InOrder, _) => Age::Newer,
        (Stamp::At(at), Some(last)) if at.0 >= last.to => Age::Newer,
        (Stamp::At(at), Some(last)) if at.0 < last.from => Age::Older,
        (Stamp::After(at), Some(last)) if at.0 >= last.to => Age::Newer,
        (Stamp::At(_) | Stamp::After(_), _) => Age::Unclear,
    }
}

/// When something happened that is handed in at `now` with `stamp`.
#[must_use]
pub const fn span_of(stamp: Stamp, now: Instant) -> Span {
    match stamp {
        Stamp::InOrder => Span::at(now.0),
        Stamp::At(at) => Span::at(at.0),
        Stamp::After(at) => Span { from: at.0, to: now.0 },
    }
}

/// Whether the two are different flows that follow each other under one identity: ids differ, or the reply direction
/// does, which a flow keeps for life. The kernel may give the second one the id of the first, so `false` proves
/// nothing.
#[must_use]
pub fn is_another(known: Entry<'_>, news: &Flow) -> bool {
    let other_id = news.has(Known::ID) && known.id().is_some_and(|id| id != news.id);
    other_id || (news.reply.is_known() && known.has_other_reply(&news.reply))
}

/// Whether news holds anything that is unknown. An older event may carry a change that the newer ones left out.
#[must_use]
pub fn says_more(known: Entry<'_>, news: &Flow) -> bool {
    if is_another(known, news) {
        return false;
    }
    let mut news = news.clone();
    news.drop_volatile();
    let known = known.flow();
    let mut both = known.clone();
    merge::absorb(&mut both, news);
    !is_same(&both, &known)
}

/// Whether `news` has everything that `known` has, so that a peer who lays one over the other ends up with `news`. A
/// flow's reply direction never changes, and a peer's kernel could not change it.
#[must_use]
pub fn covers(news: &Flow, known: &Flow) -> bool {
    if known.reply.is_known() && known.reply != news.reply {
        return false;
    }
    let mut both = known.clone();
    merge::absorb(&mut both, news.clone());
    is_same(&both, news)
}

/// Whether nothing differs but the lifetime, which every event carries, and the id, which no message carries. A mark
/// of 0 and an absent mark are the same: the kernel leaves 0 out of events.
#[must_use]
pub fn is_same(one: &Flow, other: &Flow) -> bool {
    let known = |flow: &Flow| flow.known.difference(Known::TIMEOUT | Known::ID | Known::MARK);
    known(one) == known(other)
        && (one.reply, one.status, one.mark, one.proto, &one.extra)
            == (other.reply, other.status, other.mark, other.proto, &other.extra)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_within_a_span_cannot_be_told_from_it() {
        let last = Some(Span { from: 10, to: 20 });
        assert_eq!(age(Stamp::At(Instant(9)), last), Age::Older);
        assert_eq!(age(Stamp::At(Instant(15)), last), Age::Unclear);
        assert_eq!(age(Stamp::At(Instant(20)), last), Age::Newer);
        assert_eq!(age(Stamp::After(Instant(9)), last), Age::Unclear);
        assert_eq!(age(Stamp::After(Instant(20)), last), Age::Newer);
    }
}
