//! Requests about expectations.

use super::{Head, IfExists, Ticket, create_flags};
use crate::attribute::{put_be16, put_be32, put_nest, put_text};
use crate::expectation::{ExpectNat, Expectation};
use crate::uapi::{exp, expect, flag};
use crate::{FlowKey, Writer, direction};

/// Creates an expectation.
///
/// The kernel wants master, tuple and mask (else `EINVAL`), the master flow to exist in the expectation's zone (else
/// `ENOENT`) and to have a helper (else `EOPNOTSUPP`), the class to be one of that helper and the function to be
/// known (else `EINVAL`).
pub fn create(w: &mut Writer<'_>, ticket: Ticket, given: &Expectation, if_exists: IfExists) {
    let flags = create_flags(if_exists);
    let head = Head::of_expectations(exp::NEW, flags, given.tuple.family);
    head.message(w, ticket, |w| put_expectation(w, given));
}

/// Appends the attributes of an expectation, of a request or inside another message.
pub fn put_expectation(w: &mut Writer<'_>, given: &Expectation) {
    put_tuples(w, given);
    put_numbers(w, given);
    if let Some(name) = &given.helper {
        put_text(w, expect::HELP_NAME, name.as_bytes());
    }
    if let Some(nat) = &given.nat {
        put_nat(w, nat);
    }
    if let Some(name) = &given.function {
        put_text(w, expect::FN, name.as_bytes());
    }
}

/// Deletes the expectation that a flow with this identity would fulfil; with `id` only if it is that one.
pub fn delete(w: &mut Writer<'_>, ticket: Ticket, key: &FlowKey, id: Option<u32>) {
    Head::of_expectations(exp::DELETE, 0, key.tuple.family).message(w, ticket, |w| {
        direction::encode(w, expect::TUPLE, &key.tuple, None);
        if key.zone != 0 {
            put_be16(w, expect::ZONE, key.zone);
        }
        if let Some(id) = id {
            put_be32(w, expect::ID, id);
        }
    });
}

/// Dumps the expectations of a family (or of [`super::ANY_FAMILY`]): messages of type NEW, ended by DONE.
pub fn dump(w: &mut Writer<'_>, seq: u32, family: u8) {
    Head::of_expectations(exp::GET, flag::DUMP, family).message(w, Ticket::silent(seq), |_| {});
}

/// Reads the expectation that a flow with this identity would fulfil. The answer is a message of type NEW.
pub fn get(w: &mut Writer<'_>, ticket: Ticket, key: &FlowKey) {
    Head::of_expectations(exp::GET, 0, key.tuple.family).message(w, ticket, |w| {
        direction::encode(w, expect::TUPLE, &key.tuple, None);
        if key.zone != 0 {
            put_be16(w, expect::ZONE, key.zone);
        }
    });
}

/// Dumps the statistics of each CPU about expectations; see [`super::stats_per_cpu`].
pub fn stats_per_cpu(w: &mut Writer<'_>, seq: u32) {
    let head = Head::of_expectations(exp::GET_STATS_CPU, flag::DUMP, super::ANY_FAMILY);
    head.message(w, Ticket::silent(seq), |_| {});
}

/// Deletes all expectations of both families; the kernel does not look at the family here.
pub fn flush(w: &mut Writer<'_>, ticket: Ticket) {
    Head::of_expectations(exp::DELETE, 0, super::ANY_FAMILY).message(w, ticket, |_| {});
}

fn put_tuples(w: &mut Writer<'_>, given: &Expectation) {
    if given.master.is_known() {
        direction::encode(w, expect::MASTER, &given.master, None);
    }
    direction::encode(w, expect::TUPLE, &given.tuple, None);
    if given.mask.is_known() {
        direction::encode(w, expect::MASK, &given.mask, None);
    }
}

fn put_numbers(w: &mut Writer<'_>, given: &Expectation) {
    if let Some(timeout_s) = given.timeout_s {
        put_be32(w, expect::TIMEOUT, timeout_s);
    }
    if let Some(flags) = given.flags {
        put_be32(w, expect::FLAGS, flags);
    }
    if let Some(class) = given.class {
        put_be32(w, expect::CLASS, class);
    }
    if let Some(zone) = given.zone.filter(|&zone| zone != 0) {
        put_be16(w, expect::ZONE, zone);
    }
}

fn put_nat(w: &mut Writer<'_>, nat: &ExpectNat) {
    put_nest(w, expect::NAT, |w| {
        put_be32(w, expect::NAT_DIR, nat.direction);
        direction::encode(w, expect::NAT_TUPLE, &nat.tuple, None);
    });
}
