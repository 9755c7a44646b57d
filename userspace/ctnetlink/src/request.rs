//! Encodes requests to the kernel as whole messages.
//!
//! Each function appends one message, padded to a multiple of 4. Several calls on one writer make a batch for one
//! `send`; the kernel processes it in order and answers each message by its sequence number. [`Writer::counting`]
//! measures lengths.
//!
//! A request contains only what Linux 6.18 accepts; comments in the code give the reasons. A create contains all of a
//! flow, an update omits what the kernel sets only at creation.

#[cfg(feature = "alloc")]
mod flow;
mod expectation;

pub use expectation::{
    create as create_expectation, delete as delete_expectation, dump as dump_expectations,
    flush as flush_expectations, get as get_expectation,
    stats_per_cpu as expectation_stats_per_cpu,
};

pub use expectation::put_expectation;

use crate::attribute::{put, put_be16, put_be32, put_nest};
use crate::frame::HEADER_LEN;
use crate::uapi::{ct, cta, filter, flag, subsystem};
#[cfg(feature = "alloc")]
use crate::{Flow, flow::Status};
use crate::{FlowKey, Tuple, Writer, direction};

/// `AF_UNSPEC`: both address families.
pub const ANY_FAMILY: u8 = 0;

/// The answers that a request gets, and how they are recognised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticket {
    /// Sequence number, which the answer repeats.
    pub seq: u32,
    /// Whether the kernel answers success too (`NLM_F_ACK`); it always answers failure.
    pub ack: bool,
}

impl Ticket {
    /// A request whose success is answered too.
    #[must_use]
    pub const fn acked(seq: u32) -> Self {
        Self { seq, ack: true }
    }

    /// A request of which only failure is answered.
    #[must_use]
    pub const fn silent(seq: u32) -> Self {
        Self { seq, ack: false }
    }
}

/// What a create does when the flow or expectation exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfExists {
    /// The request fails with `EEXIST`.
    Fail,
    /// The request changes what exists. For flows with translation or a master it fails with `EOPNOTSUPP`, because the
    /// kernel sets these only when a flow begins.
    Change,
}

/// Turns the silent request at the beginning of `message` into one whose success is answered too, such as the last one
/// of a batch that has grown long enough.
pub fn acknowledge(message: &mut [u8]) {
    let flags = message.get_mut(6..8).and_then(|flags| flags.first_chunk_mut());
    let Some(flags) = flags else { return };
    *flags = (u16::from_ne_bytes(*flags) | flag::ACK).to_ne_bytes();
}

/// Creates a flow.
///
/// The kernel wants `timeout_s` known (else `EINVAL`; with 0 the flow is gone at once), and answers `ENOENT` when there
/// is a master it does not know, `EOPNOTSUPP` when there is a helper it does not know for this protocol and family.
/// Labels are passed over in a namespace whose rules set none. Bits of the status that the kernel sets by itself
/// are left out; so are labels beyond 128 bits.
#[cfg(feature = "alloc")]
pub fn create(w: &mut Writer<'_>, ticket: Ticket, flow: &Flow, if_exists: IfExists) {
    let head = Head::new(ct::NEW, create_flags(if_exists), flow.orig.family);
    head.message(w, ticket, |w| flow::create(w, flow));
}

/// Changes a flow: status, timeout, mark, layer-4 state, labels, sequence adjustment, synproxy parameters, as far as
/// they are known. It fails with `ENOENT` if there is no such flow.
///
/// The kernel cannot take `SEEN_REPLY` and `ASSURED` back: a status without a bit that is set there fails with
/// `EBUSY`. Labels fail with `ENOSPC` in a namespace whose rules set none, after everything else has been applied.
/// The timeout is left out when the status says that it is fixed, because that fails with `EPERM`.
#[cfg(feature = "alloc")]
pub fn update(w: &mut Writer<'_>, ticket: Ticket, flow: &Flow) {
    let head = Head::new(ct::NEW, 0, flow.orig.family);
    let fixed = flow.status.contains(Status::FIXED_TIMEOUT);
    head.message(w, ticket, |w| flow::update(w, flow, fixed));
}

/// As [`update`], with the timeout whatever the status: a flow whose timeout becomes fixed can get its last one in the
/// same request. The kernel answers `EPERM`, and changes nothing, if the timeout is fixed already.
#[cfg(feature = "alloc")]
pub fn update_with_timeout(w: &mut Writer<'_>, ticket: Ticket, flow: &Flow) {
    let head = Head::new(ct::NEW, 0, flow.orig.family);
    head.message(w, ticket, |w| flow::update(w, flow, false));
}

/// Sets the labels of a flow whose bits are set in `mask` to what they are in `labels`, and leaves the others alone.
/// Both are 128 bits, bit 0 of word 0 first. An update replaces all labels.
///
/// `ENOENT` if there is no such flow, `ENOSPC` in a namespace whose rules set no labels.
pub fn set_labels(
    w: &mut Writer<'_>,
    ticket: Ticket,
    key: &FlowKey,
    labels: &[u32; 4],
    mask: &[u32; 4],
) {
    // The kernel takes the masked bits away and then flips those of the value (`nf_connlabels_replace`, kernel v6.12
    // `net/netfilter/nf_conntrack_labels.c`): a bit outside the mask would be flipped.
    let labels = core::array::from_fn::<_, 4, _>(|i| labels[i] & mask[i]);
    Head::new(ct::NEW, 0, key.tuple.family).message(w, ticket, |w| {
        put_key(w, key);
        put_labels(w, cta::LABELS, &labels);
        put_labels(w, cta::LABELS_MASK, mask);
    });
}

/// Deletes a flow; with `id` only if the flow that now has this identity is that one. `ENOENT` if there is none.
pub fn delete(w: &mut Writer<'_>, ticket: Ticket, key: &FlowKey, id: Option<u32>) {
    Head::new(ct::DELETE, 0, key.tuple.family).message(w, ticket, |w| {
        put_key(w, key);
        if let Some(id) = id {
            put_be32(w, cta::ID, id);
        }
    });
}

/// Reads a flow. The answer is the flow, as a message of type NEW.
pub fn get(w: &mut Writer<'_>, ticket: Ticket, key: &FlowKey) {
    Head::new(ct::GET, 0, key.tuple.family).message(w, ticket, |w| put_key(w, key));
}

/// Selects the flows of a dump or a flush. The default is all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Selection {
    /// Address family; [`ANY_FAMILY`] is both.
    pub family: u8,
    /// Only flows with `mark & mask == value`: value and mask.
    pub mark: Option<(u32, u32)>,
    /// Only flows with `status & mask == value`: value and mask. Older kernels ignore it (seen to work on 6.18).
    pub status: Option<(u32, u32)>,
    /// Only flows of this zone. Older kernels ignore it (seen to work on 6.18).
    pub zone: Option<u16>,
    /// Only flows whose tuples, original and reply, are as these in the parts that the bits name
    /// ([`crate::uapi::filter::flag`]). Needs kernel 5.8; addresses need the family.
    pub tuples: Option<[(Tuple, u32); 2]>,
}

impl Selection {
    /// The selection after `change` has set fields. Other crates make a selection so: a struct literal would not
    /// compile any more when a newer kernel adds a field.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// The list that a dump reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The table.
    #[default]
    Table,
    /// The table, and the counters are zeroed after they are read.
    TableZeroingCounters,
    /// Flows that are gone but still referenced.
    Dying,
    /// Flows whose first packet has not left yet.
    Unconfirmed,
}

/// Dumps flows: a run of messages of type NEW, ended by DONE.
pub fn dump(w: &mut Writer<'_>, seq: u32, source: Source, selection: &Selection) {
    let message = match source {
        Source::Table => ct::GET,
        Source::TableZeroingCounters => ct::GET_CTRZERO,
        Source::Dying => ct::GET_DYING,
        Source::Unconfirmed => ct::GET_UNCONFIRMED,
    };
    let head = Head::new(message, flag::DUMP, selection.family);
    head.message(w, Ticket::silent(seq), |w| put_selection(w, selection));
}

/// Deletes all flows of the selection.
pub fn flush(w: &mut Writer<'_>, ticket: Ticket, selection: &Selection) {
    // A flush of version 0 is one from before the family was looked at, and deletes both
    // (`ctnetlink_del_conntrack`, kernel v6.12 `net/netfilter/nf_conntrack_netlink.c`).
    let head = Head { version: 1, ..Head::new(ct::DELETE, 0, selection.family) };
    head.message(w, ticket, |w| put_selection(w, selection));
}

/// Reads the statistics of the table. The answer is one message `GET_STATS`.
pub fn stats(w: &mut Writer<'_>, ticket: Ticket) {
    Head::new(ct::GET_STATS, 0, ANY_FAMILY).message(w, ticket, |_| {});
}

/// Dumps the statistics of each CPU: messages `GET_STATS_CPU`, the CPU's number in the resource id, ended by DONE.
pub fn stats_per_cpu(w: &mut Writer<'_>, seq: u32) {
    let head = Head::new(ct::GET_STATS_CPU, flag::DUMP, ANY_FAMILY);
    head.message(w, Ticket::silent(seq), |_| {});
}

const fn create_flags(if_exists: IfExists) -> u16 {
    match if_exists {
        IfExists::Fail => flag::CREATE | flag::EXCL,
        IfExists::Change => flag::CREATE,
    }
}

fn put_key(w: &mut Writer<'_>, key: &FlowKey) {
    direction::encode(w, cta::TUPLE_ORIG, &key.tuple, None);
    put_zone(w, key.zone);
}

/// Zone 0 is what the kernel assumes when none is given, and one built without zones refuses the attribute.
fn put_zone(w: &mut Writer<'_>, zone: u16) {
    if zone != 0 {
        put_be16(w, cta::ZONE, zone);
    }
}

fn put_selection(w: &mut Writer<'_>, selection: &Selection) {
    if let Some((value, mask)) = selection.mark {
        put_be32(w, cta::MARK, value);
        put_be32(w, cta::MARK_MASK, mask);
    }
    if let Some((value, mask)) = selection.status {
        put_be32(w, cta::STATUS, value);
        put_be32(w, cta::STATUS_MASK, mask);
    }
    if let Some(zone) = selection.zone {
        put_be16(w, cta::ZONE, zone);
    }
    if let Some(tuples) = &selection.tuples {
        put_tuple_filter(w, tuples);
    }
}

/// The bits are in host order, unlike everything else (`ctnetlink_parse_filter`, kernel v6.12
/// `net/netfilter/nf_conntrack_netlink.c`).
fn put_tuple_filter(w: &mut Writer<'_>, tuples: &[(Tuple, u32); 2]) {
    for ((tuple, bits), kind) in tuples.iter().zip([cta::TUPLE_ORIG, cta::TUPLE_REPLY]) {
        if *bits != 0 {
            direction::encode(w, kind, tuple, None);
        }
    }
    put_nest(w, cta::FILTER, |w| {
        for ((_, bits), kind) in tuples.iter().zip([filter::ORIG_FLAGS, filter::REPLY_FLAGS]) {
            put(w, kind, &bits.to_ne_bytes());
        }
    });
}

/// Appends a request to another subsystem of netfilter (its number of [`subsystem`] and the
/// message's), about the object with number `resource` (`nfgenmsg.res_id`). Only failure is answered. `body` appends
/// the attributes.
pub fn put_message(
    w: &mut Writer<'_>,
    (subsystem, message): (u8, u8),
    resource: u16,
    seq: u32,
    body: impl FnOnce(&mut Writer<'_>),
) {
    let head = Head { subsystem, ..Head::new(message, 0, ANY_FAMILY) };
    head.message_about(w, resource, Ticket::silent(seq), body);
}

/// Most label words the kernel takes: `NF_CT_LABELS_MAX_SIZE` is 128 bits; more is `ERANGE`.
const LABEL_WORDS_MAX: usize = 4;

/// The counterpart of [`crate::view::label_words`]. Always the full 128 bits: the kernel clears what
/// is not given, and on 64-bit big-endian machines half a word has no place.
fn put_labels(w: &mut Writer<'_>, kind: u16, labels: &[u32]) {
    let swapped = cfg!(all(target_endian = "big", target_pointer_width = "64"));
    let mut bytes = [0; 4 * LABEL_WORDS_MAX];
    for (i, word) in labels.iter().take(LABEL_WORDS_MAX).enumerate() {
        let to = if swapped { i ^ 1 } else { i };
        bytes[4 * to..4 * to + 4].copy_from_slice(&word.to_ne_bytes());
    }
    put(w, kind, &bytes);
}

/// What differs between the headers of requests.
struct Head {
    subsystem: u8,
    message: u8,
    flags: u16,
    family: u8,
    version: u8,
}

impl Head {
    const fn new(message: u8, flags: u16, family: u8) -> Self {
        Self { subsystem: subsystem::CTNETLINK, message, flags, family, version: 0 }
    }

    const fn of_expectations(message: u8, flags: u16, family: u8) -> Self {
        Self { subsystem: subsystem::CTNETLINK_EXP, ..Self::new(message, flags, family) }
    }

    /// Appends both headers and what `body` appends.
    fn message(&self, w: &mut Writer<'_>, ticket: Ticket, body: impl FnOnce(&mut Writer<'_>)) {
        self.message_about(w, 0, ticket, body);
    }

    /// A message about the object with number `resource`.
    fn message_about(
        &self,
        w: &mut Writer<'_>,
        resource: u16,
        ticket: Ticket,
        body: impl FnOnce(&mut Writer<'_>),
    ) {
        let start = w.position();
        let ack = if ticket.ack { flag::ACK } else { 0 };
        let mut header = [0; HEADER_LEN];
        let kind = u16::from_be_bytes([self.subsystem, self.message]);
        header[4..6].copy_from_slice(&kind.to_ne_bytes());
        header[6..8].copy_from_slice(&(flag::REQUEST | self.flags | ack).to_ne_bytes());
        header[8..12].copy_from_slice(&ticket.seq.to_ne_bytes());
        w.put(&header);
        let [high, low] = resource.to_be_bytes();
        w.put(&[self.family, self.version, high, low]);
        body(w);
        // Attributes pad themselves, so the message ends at a multiple of 4 from where it began.
        let len = (w.position() - start) as u32;
        w.patch(start, &len.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests;
