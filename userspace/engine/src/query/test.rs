//! What a term says of a flow.

use super::{Age, Measure, Op, Quantity, Scope, States, Subject, Term, Which};
use crate::flows::table::Facts;
use core::net::IpAddr;
use ctnetlink::Tuple;
use ctnetlink::flow::{Known, ProtoState, Status};

/// `true` if one test is true; else unknown if one is.
#[inline]
fn any(tests: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    let mut out = Some(false);
    for test in tests {
        match test {
            Some(true) => return test,
            Some(false) => {}
            None => out = None,
        }
    }
    out
}

impl Term {
    /// Whether it is true of a flow; `None` where that is not known.
    #[inline]
    pub fn holds(&self, subject: &impl Subject) -> Option<bool> {
        match self {
            Self::Address { scope: Scope::Nat, which, set } => {
                translated(subject, *which, |addr, _| set.hold(addr))
            }
            Self::Address { scope, which, set } => any(ends(*scope, *which)
                .map(|(reply, dst)| Some(set.hold(subject.address(reply, dst)?)))),
            Self::Port { scope: Scope::Nat, which, set } => {
                let has_ports = has_ports(subject.family_and_proto().1);
                translated(subject, *which, |_, port| has_ports && set.hold(port))
            }
            Self::Port { scope, which, set } => {
                if !has_ports(subject.family_and_proto().1) {
                    return Some(false);
                }
                any(ends(*scope, *which)
                    .map(|(reply, dst)| Some(set.hold(port(subject.l4(reply)?, dst)))))
            }
            Self::Family(family) => Some(subject.family_and_proto().0 == *family),
            Self::Proto(set) => Some(set.hold(subject.family_and_proto().1)),
            Self::Translated { which, addr, port } => translated(subject, *which, |to, at| {
                addr.is_none_or(|addr| addr == to) && port.is_none_or(|port| port == at)
            }),
            Self::State(states) => state(subject, *states),
            Self::Status(bits) => status(&subject.facts()).map(|has| has.intersects(*bits)),
            Self::Zone { scope, set } => {
                Some(zones(&subject.facts(), *scope).into_iter().flatten().any(|z| set.hold(z)))
            }
            Self::Mark(pairs) => {
                let mark = mark(&subject.facts())?;
                Some(pairs.iter().any(|(value, mask)| mark & mask == *value))
            }
            Self::Secmark(set) => Some(set.hold(subject.facts().extra?.secmark?)),
            Self::Id(id) => {
                let facts = subject.facts();
                facts.known.contains(Known::ID).then_some(facts.id == *id)
            }
            Self::Helper(name) => rare(&subject.facts(), |extra| extra.helper == Some(*name)),
            Self::Label(bits) => rare(&subject.facts(), |extra| {
                let words = extra.labels.as_deref().unwrap_or_default();
                bits.iter().any(|bit| {
                    let word = words.get(usize::from(bit / 32)).copied().unwrap_or_default();
                    word >> (bit % 32) & 1 == 1
                })
            }),
            Self::Class(_) | Self::Iif(_) | Self::Oif(_) | Self::Peer(..) => None,
            Self::Quantity(quantity) => measured(subject, *quantity),
        }
    }
}

/// The ends that are looked at: whether of the reply, and whether the destination.
#[inline]
fn ends(scope: Scope, which: Which) -> impl Iterator<Item = (bool, bool)> {
    let all = [(false, false), (false, true), (true, false), (true, true)];
    all.into_iter().filter(move |(reply, dst)| {
        let meant = match scope {
            Scope::Any | Scope::Nat => true,
            Scope::Orig => !reply,
            Scope::Reply => *reply,
        };
        meant && which.takes(*dst)
    })
}

#[inline]
const fn has_ports(proto: u8) -> bool {
    Tuple { proto, ..Tuple::UNKNOWN }.has_ports()
}

#[inline]
const fn port([a, b, c, d]: [u8; 4], dst: bool) -> u16 {
    u16::from_be_bytes(if dst { [c, d] } else { [a, b] })
}

/// The status. The kernel sends it with every flow that it sends completely.
#[inline]
fn status(facts: &Facts<'_>) -> Option<Status> {
    facts.known.contains(Known::STATUS).then_some(facts.status)
}

/// The mark. The kernel sends it with the status, unless it is 0.
#[inline]
fn mark(facts: &Facts<'_>) -> Option<u32> {
    facts.known.intersects(Known::MARK | Known::STATUS).then_some(facts.mark)
}

/// A test of a field that the kernel reports only if the flow has it.
fn rare(facts: &Facts<'_>, test: impl Fn(&ctnetlink::flow::Extra) -> bool) -> Option<bool> {
    match facts.extra {
        Some(extra) if test(extra) => Some(true),
        _ => facts.known.contains(Known::STATUS).then_some(false),
    }
}

/// The zones that are looked at. A flow has one zone for both directions, or one for one direction and zone 0 for the
/// other.
#[inline]
fn zones(facts: &Facts<'_>, scope: Scope) -> [Option<u16>; 2] {
    let own = facts.extra.map_or([None; 2], |extra| extra.zones);
    match (own, scope) {
        ([None, None], _) => [Some(facts.zone), None],
        (own, Scope::Any | Scope::Nat) => own,
        ([orig, _], Scope::Orig) => [Some(orig.unwrap_or(0)), None],
        ([_, reply], Scope::Reply) => [Some(reply.unwrap_or(0)), None],
    }
}

/// Whether an end of the flow is translated to an address and port that `test` accepts.
#[inline]
fn translated(
    subject: &impl Subject,
    which: Which,
    test: impl Fn(IpAddr, u16) -> bool,
) -> Option<bool> {
    let status = status(&subject.facts())?;
    let end = |dst: bool| {
        let bit = if dst { Status::DST_NAT_DONE } else { Status::SRC_NAT_DONE };
        if !status.contains(bit) {
            return Some(false);
        }
        // The answers come from where the destination was translated to, and go to where the source was.
        let to = subject.address(true, !dst)?;
        let (orig, reply) = (subject.l4(false)?, subject.l4(true)?);
        let proto = subject.family_and_proto().1;
        let at = if has_ports(proto) { port(reply, !dst) } else { 0 };
        let was = if has_ports(proto) { port(orig, dst) } else { 0 };
        let changed = (to, at) != (subject.address(false, dst)?, was);
        Some(changed && test(to, at))
    };
    any([false, true].into_iter().filter(|dst| which.takes(*dst)).map(end))
}

fn state(subject: &impl Subject, states: States) -> Option<bool> {
    let bit = |set: u16, state: u8| Some(set.checked_shr(state.into()).unwrap_or(0) & 1 == 1);
    let facts = subject.facts();
    match *facts.state {
        ProtoState::Tcp(tcp) => bit(states.tcp, tcp.state),
        ProtoState::Sctp { state, .. } => bit(states.sctp, state),
        ProtoState::Dccp { state, .. } => bit(states.dccp, state),
        ProtoState::None => {
            use ctnetlink::tuple::ipproto::{DCCP, SCTP, TCP};
            let has_states = matches!(subject.family_and_proto().1, TCP | SCTP | DCCP);
            (!has_states).then_some(false)
        }
        // A state of another protocol, which no name is for.
        _ => Some(false),
    }
}

fn measured(subject: &impl Subject, quantity: Quantity) -> Option<bool> {
    let Quantity { measure, scope, op, value } = quantity;
    match measure {
        Measure::Bytes | Measure::Packets => {
            let of = |counted: ctnetlink::flow::Counters| match measure {
                Measure::Bytes => counted.bytes,
                _ => counted.packets,
            };
            let [orig, reply] = subject.counters();
            let has = match scope {
                Scope::Orig => of(orig?),
                Scope::Reply => of(reply?),
                Scope::Any | Scope::Nat => of(orig?).saturating_add(of(reply?)),
            };
            Some(op.holds(has, value))
        }
        Measure::Left => Some(op.holds(u64::from(subject.left_s()?) * 1000, value)),
        Measure::Age => aged(subject.age()?, op, value),
        Measure::Idle | Measure::Rate | Measure::Pps | Measure::Duration | Measure::Ended => None,
    }
}

/// An age of which only the least is known decides some comparisons all the same.
const fn aged(age: Age, op: Op, value: u64) -> Option<bool> {
    let Age { min_ms, exact } = age;
    if exact {
        return Some(op.holds(min_ms, value));
    }
    match op {
        Op::Gt | Op::Ne if min_ms > value => Some(true),
        Op::Ge if min_ms >= value => Some(true),
        Op::Lt if min_ms >= value => Some(false),
        Op::Le | Op::Eq if min_ms > value => Some(false),
        _ => None,
    }
}

/// Why a test can never be known of a kind of subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// Nothing of ours can know it (yet); the text says why.
    Never(&'static str),
    /// The kernel alone knows it: counters.
    Counters,
    /// The kernel alone knows it: seconds left.
    Left,
    /// The kernel's timestamps say it best; a table knows a least age.
    Began,
}

/// The field that a term needs and that some sources do not carry.
#[must_use]
pub const fn gap(term: &Term) -> Option<Gap> {
    Some(match term {
        Term::Class(_) => Gap::Never("there are no classes in the configuration"),
        Term::Iif(_) | Term::Oif(_) => Gap::Never("no source records interfaces"),
        Term::Peer(..) => Gap::Never("the table does not tell yet what peers know of a flow"),
        Term::Secmark(_) => Gap::Never("kernels tell security contexts, not security marks"),
        Term::Quantity(Quantity { measure, .. }) => match measure {
            Measure::Bytes | Measure::Packets => Gap::Counters,
            Measure::Left => Gap::Left,
            Measure::Age => Gap::Began,
            Measure::Idle => Gap::Never("the kernel does not tell when the last packet was"),
            Measure::Rate | Measure::Pps => Gap::Never("one reading tells no rate"),
            Measure::Duration | Measure::Ended => Gap::Never("a table holds no ended flows"),
        },
        _ => return None,
    })
}
