//! What a command writes: flows and expectations as values for requests.

use super::command::Command;
use super::failure::Failure;
use super::protocol::Which;
use super::values::{Addr, Nat};
use ctnetlink::flow::{Flow, Known, ProtoState, Status, TCP_FLAG_BE_LIBERAL, TcpFlags, TcpState};
use ctnetlink::tuple::{FAMILY_IPV4, FAMILY_IPV6, ipproto};
use ctnetlink::view::label_words;
use ctnetlink::{Detail, Expectation, FlowView, Tuple};

/// `IP_CT_TCP_FLAG_SACK_PERM` and `IP_CT_TCP_FLAG_CLOSE_INIT`
/// (`include/uapi/linux/netfilter/nf_conntrack_tcp.h`).
const SACK_PERM: u8 = 0x02;
const CLOSE_INIT: u8 = 0x04;
const TIME_WAIT: u8 = 7;

/// The tuple of one direction, from what was given of it.
fn tuple(command: &Command, which: Which, addresses: [Option<Addr>; 2]) -> Tuple {
    let port = |dst| command.ports.of(which, dst).unwrap_or_default();
    let (kind, code, id) = command.icmp;
    let proto = command.proto.unwrap_or_default();
    let tuple = Tuple {
        src: addresses[0].unwrap_or_default(),
        dst: addresses[1].unwrap_or_default(),
        family: command.family,
        proto,
        ..Tuple::default()
    };
    if tuple.is_icmp() {
        tuple.with_icmp(id.unwrap_or_default(), kind.unwrap_or_default(), code.unwrap_or_default())
    } else {
        tuple.with_ports(port(false), port(true))
    }
}

/// The original tuple that a command is about: the one given, or the reply turned around.
#[must_use]
pub fn original(command: &Command) -> Tuple {
    if command.orig[0].is_some() {
        let mut orig = tuple(command, Which::Orig, command.orig);
        if !orig.is_icmp() && command.ports.of(Which::Orig, false).is_none() {
            // Ports may be given of the reply alone.
            let reply = tuple(command, Which::Reply, command.orig);
            orig.l4 = reply.inverted().l4;
        }
        orig
    } else {
        let mut reply = tuple(command, Which::Reply, command.reply);
        if !reply.is_icmp() && command.ports.of(Which::Reply, false).is_none() {
            reply.l4 = tuple(command, Which::Orig, command.reply).inverted().l4;
        }
        reply.inverted()
    }
}

/// The tuple to ask the kernel for: the original one, or the reply, which it finds a flow by as well. A reply
/// that is translated cannot be turned around.
#[must_use]
pub fn asked(command: &Command) -> Tuple {
    if command.orig[0].is_some() || command.ports.has_any_of(Which::Orig) {
        return original(command);
    }
    tuple(command, Which::Reply, command.reply)
}

/// A flow to create.
///
/// # Errors
/// When a translation does not fit the family.
pub fn flow(command: &Command) -> Result<Flow, Failure> {
    let orig = original(command);
    refuse_impossible(command, &orig)?;
    let mut flow = Flow::new(orig);
    flow.reply = if command.reply[0].is_some() && command.orig[0].is_some() {
        let mut reply = tuple(command, Which::Reply, command.reply);
        if orig.is_icmp() || command.ports.of(Which::Reply, false).is_none() {
            reply.l4 = orig.inverted().l4;
        }
        reply.proto = orig.proto;
        reply
    } else {
        orig.inverted()
    };
    translate(&mut flow, command)?;
    flow.timeout_s = command.timeout_s.unwrap_or_default();
    flow.known |= Known::TIMEOUT | Known::STATUS;
    let status = command.status.unwrap_or_default().value;
    flow.status |= Status::CONFIRMED | Status::from_bits_retain(status);
    if let Some((mark, _)) = command.mark {
        flow.mark = mark;
        flow.known |= Known::MARK;
    }
    flow.zone = command.zones[0].or(command.zones[1]).unwrap_or_default();
    if command.zones[0].is_none() && command.zones[1..] != [None; 2] {
        flow.extra_mut().zones = [command.zones[1], command.zones[2]];
    }
    flow.proto = proto_state(command);
    if command.helper.is_some() {
        flow.extra_mut().helper = command.helper;
    }
    if !command.labels.add.is_empty() {
        flow.extra_mut().labels = Some(bits_to_words(&command.labels.add));
    }
    Ok(flow)
}

/// What the kernel would refuse of what was given, but for what is filled in or left out here.
fn refuse_impossible(command: &Command, orig: &Tuple) -> Result<(), Failure> {
    let refused = |errno| Err(Failure::kernel(errno, &[(libc::EBUSY, "Device or resource busy")]));
    let reply = command.reply.iter().any(Option::is_some);
    // A translation says where the reply comes from, or goes to, too.
    let [to, from, _] = command.nat;
    let ends = [(command.reply[0], from), (command.reply[1], to)];
    let missing = ends.iter().any(|(addr, nat)| addr.is_none() && nat.is_none());
    let half = reply && missing && command.orig[0].is_some();
    let portless = reply
        && command.orig[0].is_some()
        && orig.has_ports()
        && !command.ports.has_any_of(Which::Reply);
    let family = match orig.proto {
        ipproto::ICMP => orig.family == FAMILY_IPV4,
        ipproto::ICMPV6 => orig.family == FAMILY_IPV6,
        _ => true,
    };
    let zones = command.zones[0].is_some() && command.zones[1..] != [None; 2];
    if half || portless || !family || zones {
        return refused(libc::EINVAL);
    }
    let status = Status::from_bits_retain(command.status.unwrap_or_default().value);
    if status.contains(Status::EXPECTED) { refused(libc::EBUSY) } else { Ok(()) }
}

/// Lets the reply come from, or go to, where the translation says.
fn translate(flow: &mut Flow, command: &Command) -> Result<(), Failure> {
    let nat = command.nat;
    let given = |dst| command.ports.of(Which::Reply, dst);
    let address = |nat: Nat, family| match nat.addr {
        Some(addr) if addr.family != family => Err(Failure::usage("mismatched address family")),
        addr => Ok(addr.map(|addr| addr.bytes)),
    };
    let family = flow.orig.family;
    let (mut src_port, mut dst_port) = flow.reply.ports();
    let has_ports = flow.reply.has_ports();
    if let Some(nat) = nat[0] {
        flow.reply.dst = address(nat, family)?.unwrap_or(flow.reply.dst);
        dst_port = nat.port.or_else(|| given(true)).unwrap_or(dst_port);
        flow.status |= Status::SRC_NAT | Status::SRC_NAT_DONE;
    }
    if let Some(nat) = nat[1] {
        flow.reply.src = address(nat, family)?.unwrap_or(flow.reply.src);
        src_port = nat.port.or_else(|| given(false)).unwrap_or(src_port);
        flow.status |= Status::DST_NAT | Status::DST_NAT_DONE;
    }
    if has_ports {
        flow.reply = flow.reply.with_ports(src_port, dst_port);
    }
    Ok(())
}

/// State of the protocol. A TCP flow made by hand is followed without looking at windows.
fn proto_state(command: &Command) -> ProtoState {
    match (command.proto, command.state) {
        (Some(ipproto::TCP), Some(state)) => {
            let close = if state >= TIME_WAIT { CLOSE_INIT } else { 0 };
            let flags = TCP_FLAG_BE_LIBERAL | SACK_PERM | close;
            let both = TcpFlags { flags, mask: flags };
            ProtoState::Tcp(TcpState { state, wscale: None, flags: Some([both; 2]) })
        }
        (Some(ipproto::SCTP), Some(state)) => {
            let vtag = command.vtag.map(|tag| kernel_tag(tag.unwrap_or_default()));
            ProtoState::Sctp { state, vtag }
        }
        (Some(ipproto::DCCP), Some(state)) => {
            ProtoState::Dccp { state, role: command.role.unwrap_or_default() }
        }
        _ => ProtoState::None,
    }
}

/// A verification tag as the kernel has it. Tags on command lines have always gone to the kernel in host
/// order, and come back so from saved files.
const fn kernel_tag(given: u32) -> u32 {
    u32::from_be_bytes(given.to_ne_bytes())
}

fn bits_to_words(bits: &[u8]) -> Vec<u32> {
    let mut words = vec![0; 4];
    for bit in bits {
        words[usize::from(bit / 32)] |= 1 << (bit % 32);
    }
    words
}

/// What `-U` writes to a flow: each value that was given and that the flow does not have yet; `None` if it
/// has them all.
///
/// # Errors
/// `EBUSY` where the status cannot become what was given: the kernel alone decides whether a flow was
/// expected.
pub fn update(command: &Command, view: &FlowView<'_>) -> Result<Option<Flow>, i32> {
    let now = view.to_flow(Detail::State);
    let mut flow = Flow { zone: now.zone, ..Flow::new(now.orig) };
    flow.extra_mut().zones = view.zones;
    flow.extra_mut().master = now.master().copied();
    if let Some(timeout_s) =
        command.timeout_s.filter(|timeout_s| view.timeout_s != Some(*timeout_s))
    {
        flow.timeout_s = timeout_s;
        flow.known |= Known::TIMEOUT;
    }
    if let Some((value, mask)) = command.mark {
        flow.mark = (now.mark & !mask) ^ value;
        flow.known.set(Known::MARK, flow.mark != now.mark);
    }
    let wanted = Status::from_bits_retain(command.status.unwrap_or_default().value);
    flow.status = now.status | wanted;
    flow.known.set(Known::STATUS, flow.status != now.status);
    if (flow.status - now.status).contains(Status::EXPECTED) {
        return Err(libc::EBUSY);
    }
    flow.proto = changed_state(command, view.proto).unwrap_or_default();
    flow.extra_mut().labels = changed_labels(command, view.labels);
    let changes = !flow.known.is_empty() || flow.proto != ProtoState::None || has_labels(&flow);
    Ok(changes.then_some(flow))
}

/// Whether an update writes labels.
fn has_labels(flow: &Flow) -> bool {
    flow.extra.as_deref().is_some_and(|extra| extra.labels.is_some())
}

/// Whether an update writes labels and nothing else.
#[must_use]
pub fn is_labels_alone(flow: &Flow) -> bool {
    has_labels(flow) && flow.known.is_empty() && flow.proto == ProtoState::None
}

/// The wanted state of the protocol, where it differs from the present one. Fields of SCTP and
/// DCCP that were not given stay as they are: the kernel takes all of them or nothing.
fn changed_state(command: &Command, now: ProtoState) -> Option<ProtoState> {
    let (was, tags, role) = match now {
        ProtoState::Tcp(tcp) => (tcp.state, [0; 2], 0),
        ProtoState::Sctp { state, vtag } => (state, vtag, 0),
        ProtoState::Dccp { state, role } => (state, [0; 2], role),
        _ => (0, [0; 2], 0),
    };
    if command.state.is_none() && command.vtag == [None; 2] {
        return None;
    }
    let state = command.state.unwrap_or(was);
    match command.proto {
        Some(ipproto::TCP) if state == was => None,
        Some(ipproto::SCTP) => {
            let [orig, reply] = command.vtag.map(|tag| tag.map(kernel_tag));
            let vtag = [orig.unwrap_or(tags[0]), reply.unwrap_or(tags[1])];
            Some(ProtoState::Sctp { state, vtag }).filter(|wanted| *wanted != now)
        }
        // Kernels without a tracker for DCCP report no state.
        Some(ipproto::DCCP) => {
            Some(ProtoState::Dccp { state, role }).filter(|wanted| *wanted != now)
        }
        _ => Some(proto_state(command)),
    }
}

/// The wanted labels: set, whether they are already or not, or cleared if there are any, as the
/// original does.
fn changed_labels(command: &Command, now: Option<&[u8]>) -> Option<Vec<u32>> {
    let labels = &command.labels;
    let mut words: Vec<u32> = label_words(now.unwrap_or_default()).collect();
    words.resize(4, 0);
    match labels.del.as_deref() {
        Some(_) if now.is_none() => return None,
        Some([]) => words.fill(0),
        Some(del) => words.iter_mut().zip(bits_to_words(del)).for_each(|(has, del)| *has &= !del),
        None if labels.add.is_empty() => return None,
        None => {
            words.iter_mut().zip(bits_to_words(&labels.add)).for_each(|(has, add)| *has |= add);
        }
    }
    Some(words)
}

/// An expectation to create.
#[must_use]
pub fn expectation(command: &Command) -> Expectation {
    Expectation::default().with(|expect| {
        expect.master = tuple(command, Which::Orig, command.orig);
        expect.tuple = tuple(command, Which::Tuple, command.tuple);
        expect.mask = tuple(command, Which::Mask, command.mask);
        expect.timeout_s = command.timeout_s;
    })
}

/// The tuple of an expectation to delete or to show.
#[must_use]
pub fn expected(command: &Command) -> Tuple {
    tuple(command, Which::Orig, command.orig)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conntrack::command;

    /// Defect 22 of the original: it takes the port for the protocol.
    #[test]
    fn ports_of_an_expected_flow_are_its_ports() {
        for (name, proto) in [("sctp", 132), ("dccp", 33), ("tcp", 6), ("udp", 17)] {
            let line = format!(
                "-I expect -p {name} -s 10.1.0.1 -d 10.2.0.1 --orig-port-src 4000 --orig-port-dst 21 \
                 --tuple-src 10.2.0.1 --tuple-dst 10.1.0.1 --tuple-port-src 20 --tuple-port-dst 5003 \
                 --mask-src 255.255.255.255 --mask-dst 255.255.255.255 --mask-port-src 0 \
                 --mask-port-dst 65535 -t 300"
            );
            let words: Vec<_> = line.split_whitespace().collect();
            let made = expectation(&command::parse(&words).unwrap());
            let wanted = Tuple::v4([10, 2, 0, 1], [10, 1, 0, 1], proto).with_ports(20, 5003);
            assert_eq!(made.tuple, wanted, "{name}");
            assert_eq!(made.mask.ports(), (0, 65535), "{name}");
        }
    }

    /// Seconds left cannot be met by a command line of a test.
    #[test]
    fn what_a_flow_has_already_is_not_written() {
        let orig = Tuple::v4([10, 1, 0, 1], [10, 2, 0, 1], ipproto::TCP).with_ports(1000, 80);
        let view = FlowView::default().with(|view| {
            view.orig = orig;
            view.reply = orig.inverted();
            view.timeout_s = Some(999);
            view.mark = Some(5);
            view.status = Some(Status::SEEN_REPLY | Status::ASSURED);
            view.proto = ProtoState::Tcp(TcpState { state: 3, ..TcpState::default() });
        });
        let written = |line: &str| {
            let line = format!("-U -p tcp {line}");
            let words: Vec<_> = line.split_whitespace().collect();
            let flow = update(&command::parse(&words).unwrap(), &view).unwrap();
            flow.map(|flow| (flow.known, flow.proto != ProtoState::None))
        };
        for line in
            ["", "-t 999", "-m 5", "-m 1/1", "-u ASSURED", "-u UNSET", "--state ESTABLISHED"]
        {
            assert_eq!(written(line), None, "{line}");
        }
        let all = "-t 999 -m 5 -u SEEN_REPLY --state ESTABLISHED";
        assert_eq!(written(all), None);
        let state = format!("{all} --state CLOSE");
        assert_eq!(written(&state), Some((Known::empty(), true)));
        assert_eq!(written(&format!("{all} -t 998")), Some((Known::TIMEOUT, false)));
        assert_eq!(written(&format!("{all} -m 4/4")), None);
        assert_eq!(written(&format!("{all} -m 2/2")), Some((Known::MARK, false)));
        assert_eq!(written(&format!("{all} -u FIXED_TIMEOUT")), Some((Known::STATUS, false)));
    }
}
