//! The links to the peer.

use super::super::facts::{Facts, Known, Link, Part, PathFound};
use super::{Check, Finding, Status, word};
use std::net::IpAddr;

/// What every interface of the world can do.
const USUAL_MTU: u64 = 1500;

pub(super) static CHECKS: [Check; 3] = [
    Check {
        id: "link.state",
        title: "interfaces of the links work",
        looks_at: "state of each interface",
        bad: &[
            (Status::Error, "absent, down or without carrier, and no other link works"),
            (Status::Warning, "one of several links does not work"),
        ],
        why: "no message reaches the peer",
        fix: "the cable, or the interface switched on",
        parts: &[Part::Links],
        at_start: false,
        run: state,
    },
    Check {
        id: "link.mtu",
        title: "full datagrams reach the peer",
        looks_at: "MTU of each interface, and what becomes of a datagram as large, sent to the peer's port 9",
        bad: &[(Status::Error, "the path takes less, or swallows it")],
        why: "large messages vanish while small ones arrive: jumbo frames on the node, but not on the switch or the \
              peer",
        fix: "an MTU that all of the path can do",
        parts: &[Part::Links, Part::Paths],
        at_start: false,
        run: mtu,
    },
    Check {
        id: "link.private",
        title: "links are private",
        looks_at: "addresses of the links, and routes over their interfaces",
        bad: &[(Status::Warning, "a public address, or a default route over the interface")],
        why: "version 1 of the protocol knows no password: who can send there can add and delete flows",
        fix: "a cable of its own between the nodes, or a network for nothing else",
        parts: &[Part::Links],
        at_start: false,
        run: private,
    },
];

fn links(facts: &Facts) -> Known<&[Link]> {
    match facts.links.as_deref().map_err(Clone::clone)? {
        [] => Err("the configuration names no link".into()),
        links => Ok(links),
    }
}

/// Joins what was found of each link; if nothing was, why not.
fn of_links(facts: &Facts, look: impl Fn(&Link) -> Known<Finding>) -> Known<Finding> {
    let (mut findings, mut reason) = (Vec::new(), String::new());
    for link in links(facts)? {
        match look(link) {
            Ok(finding) => findings.push(finding),
            Err(why) => reason = why,
        }
    }
    Finding::of_all(findings).ok_or(reason)
}

fn state(facts: &Facts) -> Known<Finding> {
    let works = |link: &Link| matches!(&link.state, Ok(Some(state)) if state == "RUNNING");
    let any = links(facts)?.iter().any(works);
    of_links(facts, |link| {
        let name = &link.interface;
        let (found, fix) = match link.state.clone()?.as_deref() {
            Some("RUNNING") => return Ok(Finding::ok(format!("{name} is up"))),
            Some("DOWN") => {
                (format!("{name} is down"), format!("ip link set dev {} up", word(name)))
            }
            Some(_) => {
                let fix = format!("# look at the cable and the other end of {name}");
                (format!("{name} has no carrier"), fix)
            }
            None => (format!("there is no interface {name}"), "ip -brief link".to_owned()),
        };
        Ok(if any { Finding::warning(found) } else { Finding::error(found) }.fix(fix))
    })
}

fn mtu(facts: &Facts) -> Known<Finding> {
    of_links(facts, |link| {
        let (name, mtu) = (&link.interface, link.mtu.clone()?);
        let set = |mtu| format!("ip link set dev {} mtu {mtu}", word(name));
        Ok(match link.path.clone()? {
            PathFound::Passes => {
                Finding::ok(format!("datagrams of {mtu} bytes reach the peer over {name}"))
            }
            PathFound::TooLarge(path) => {
                let found = format!("{name} sends {mtu} bytes, the path to the peer takes {path}");
                Finding::error(found).fix(set(path))
            }
            PathFound::Vanishes => {
                let found =
                    format!("datagrams of {mtu} bytes over {name} vanish, small ones arrive");
                let usual = if mtu > USUAL_MTU { USUAL_MTU } else { 1280 };
                Finding::error(found)
                    .fix("# on both nodes, unless the switch can do more:")
                    .fix(set(usual))
            }
            PathFound::Silent => {
                return Err(format!(
                    "over {name} the peer's kernel does not answer at port 9: a packet filter, or no peer"
                ));
            }
        })
    })
}

/// Whether the address is routable on the Internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let is_shared = first == 100 && second & 0xc0 == 64;
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_documentation()
                || is_shared)
        }
        // Global unicast is 2000::/3 (RFC 4291), but for documentation.
        IpAddr::V6(v6) => {
            let [first, second, ..] = v6.segments();
            first & 0xe000 == 0x2000 && (first, second) != (0x2001, 0xdb8)
        }
    }
}

fn private(facts: &Facts) -> Known<Finding> {
    of_links(facts, |link| {
        let name = &link.interface;
        let public = link.addresses.iter().find(|address| is_public(**address));
        let found = match public {
            Some(address) => {
                format!("{name} carries messages to or from the public address {address}")
            }
            None if link.has_default_route.clone()? => {
                format!("{name} carries the default route, too")
            }
            None => return Ok(Finding::ok(format!("{name} is for the nodes alone"))),
        };
        let finding = Finding::warning(found).wanted("an interface for nothing else");
        Ok(finding.fix("# a cable between the nodes, with addresses of 192.168.0.0/16 or fd00::/8"))
    })
}
