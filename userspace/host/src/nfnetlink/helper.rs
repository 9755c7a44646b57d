//! Helpers in user space (`nfnetlink_cthelper`): which flows the kernel shows to a program before it confirms them, and
//! what it lets that program expect. Numbers are those of `include/uapi/linux/netfilter/nfnetlink_cthelper.h`. There is
//! one list for the whole machine, whatever the network namespace.

use super::attributes::{self, Attributes};
use super::{Client, Mode, Request};
use engine::helper::Kind;
use netlink_packet_core::DefaultNla;
use std::io;

/// `NFNL_SUBSYS_CTHELPER`: messages about helpers.
pub(super) const SUBSYSTEM: u8 = 9;
/// Longest name, in bytes (`NF_CT_HELPER_NAME_LEN` less the NUL).
pub const NAME_BYTES_MAX: usize = 15;

mod message {
    pub(super) const NEW: u8 = 0;
    pub(super) const GET: u8 = 1;
    pub(super) const DELETE: u8 = 2;
}

mod attribute {
    pub(super) const NAME: u16 = 1;
    pub(super) const TUPLE: u16 = 2;
    pub(super) const QUEUE: u16 = 3;
    pub(super) const POLICY: u16 = 4;
    pub(super) const PRIVATE_BYTES: u16 = 5;
    pub(super) const STATUS: u16 = 6;
}

/// Within `TUPLE`.
mod tuple {
    pub(super) const L3_PROTOCOL: u16 = 1;
    pub(super) const L4_PROTOCOL: u16 = 2;
}

/// Within `POLICY`: how many sets there are, and the first of them.
mod policy {
    pub(super) const SET_COUNT: u16 = 1;
    pub(super) const SET: u16 = 2;
}

/// Within a set.
mod set {
    pub(super) const NAME: u16 = 1;
    pub(super) const EXPECT_MAX: u16 = 2;
    pub(super) const EXPECT_TIMEOUT: u16 = 3;
}

/// Identifies a helper.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HelperKey {
    /// Its name, at most [`NAME_BYTES_MAX`] bytes.
    pub name: String,
    /// Address family of the network protocol: `AF_INET` or `AF_INET6`.
    pub l3_protocol: u16,
    /// Number of the transport protocol.
    pub l4_protocol: u8,
}

/// What a helper may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HelperPolicy {
    /// Most expectations of a flow at a time.
    pub expect_max: u32,
    /// How long an expectation lives, in seconds.
    pub expect_timeout_s: u32,
    /// Bytes that the kernel keeps with each flow for the helper.
    pub private_bytes: u32,
}

/// A helper that the kernel knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HelperObject {
    /// Identifies the helper.
    pub key: HelperKey,
    /// The helper's limits.
    pub policy: HelperPolicy,
    /// The queue in which the kernel shows packets.
    pub queue: u32,
    /// Whether the kernel shows them.
    pub is_enabled: bool,
}

impl HelperKey {
    /// What conntrack-tools' helper of this name and transport protocol may do, if there is one.
    #[must_use]
    pub fn known_policy(&self) -> Option<HelperPolicy> {
        let kind = Kind::by_name(&self.name, self.l4_protocol)?;
        let policy = kind.policy();
        Some(HelperPolicy {
            expect_max: policy.expect_max,
            expect_timeout_s: policy.expect_timeout_s,
            private_bytes: kind.private_len() as u32,
        })
    }

    fn name(&self) -> DefaultNla {
        attributes::text(attribute::NAME, &self.name)
    }

    fn tuple(&self) -> DefaultNla {
        let l3 = attributes::u16(tuple::L3_PROTOCOL, self.l3_protocol);
        let l4 = attributes::u8(tuple::L4_PROTOCOL, self.l4_protocol);
        attributes::nest(attribute::TUPLE, &[l3, l4])
    }
}

impl HelperObject {
    /// The helpers of an answer to request number `seq`: any bytes give some, none or an error.
    ///
    /// # Errors
    /// What the answer ends with, or `InvalidData` if it is malformed.
    pub fn of_answer(bytes: &[u8], seq: u32) -> io::Result<Vec<Self>> {
        let mut answer = Vec::new();
        super::decode(bytes, seq, SUBSYSTEM, &mut answer)?;
        Ok(answer.iter().filter_map(Self::decode).collect())
    }

    /// The object as the kernel sent it, or nothing if it lacks a name or a protocol.
    pub(super) fn decode(answer: &Attributes) -> Option<Self> {
        let tuple = answer.nested(attribute::TUPLE)?;
        let sets = answer.nested(attribute::POLICY).unwrap_or_default();
        let set = sets.nested(policy::SET).unwrap_or_default();
        Some(Self {
            key: HelperKey {
                name: answer.text(attribute::NAME)?,
                l3_protocol: tuple.u16(tuple::L3_PROTOCOL)?,
                l4_protocol: tuple.u8(tuple::L4_PROTOCOL)?,
            },
            policy: HelperPolicy {
                expect_max: set.u32(set::EXPECT_MAX).unwrap_or_default(),
                expect_timeout_s: set.u32(set::EXPECT_TIMEOUT).unwrap_or_default(),
                private_bytes: answer.u32(attribute::PRIVATE_BYTES).unwrap_or_default(),
            },
            queue: answer.u32(attribute::QUEUE).unwrap_or_default(),
            is_enabled: answer.u32(attribute::STATUS).unwrap_or_default() != 0,
        })
    }
}

fn request(message: u8, mode: Mode, attributes: Vec<DefaultNla>) -> Request {
    Request { subsystem: SUBSYSTEM, message, resource: 0, family: 0, mode, attributes }
}

/// The request that adds a helper. Without a queue and a status the kernel keeps it disabled.
pub(super) fn adding(key: &HelperKey, policy: HelperPolicy) -> Request {
    let attributes = vec![
        key.name(),
        attributes::u32(attribute::PRIVATE_BYTES, policy.private_bytes),
        key.tuple(),
        attributes::nest(attribute::POLICY, &sets(key, policy)),
    ];
    request(message::NEW, Mode::Create, attributes)
}

/// The request that has the kernel show packets. It adds the helper if it says how much private data there is, which
/// `create` is about.
pub(super) fn serving(object: &HelperObject, create: bool) -> Request {
    let HelperObject { key, policy, queue, .. } = object;
    let size = create.then(|| attributes::u32(attribute::PRIVATE_BYTES, policy.private_bytes));
    let mut attributes = vec![
        key.name(),
        attributes::u32(attribute::QUEUE, *queue),
        key.tuple(),
        attributes::nest(attribute::POLICY, &sets(key, *policy)),
    ];
    attributes.extend(size);
    attributes.push(attributes::u32(attribute::STATUS, 1));
    request(message::NEW, Mode::Create, attributes)
}

fn sets(key: &HelperKey, policy: HelperPolicy) -> [DefaultNla; 2] {
    let set = [
        attributes::text(set::NAME, &key.name),
        attributes::u32(set::EXPECT_MAX, policy.expect_max),
        attributes::u32(set::EXPECT_TIMEOUT, policy.expect_timeout_s),
    ];
    [attributes::nest(policy::SET, &set), attributes::u32(policy::SET_COUNT, 1)]
}

/// The request that disables a helper.
pub(super) fn disabling(key: &HelperKey) -> Request {
    let status = attributes::u32(attribute::STATUS, 0);
    request(message::NEW, Mode::Create, vec![key.name(), key.tuple(), status])
}

/// The request that deletes a helper, of all protocols if `any_protocol`.
pub(super) fn deleting(key: &HelperKey, any_protocol: bool) -> Request {
    let tuple = (!any_protocol).then(|| key.tuple());
    let attributes = [key.name()].into_iter().chain(tuple).collect();
    request(message::DELETE, Mode::Ask, attributes)
}

/// Every function fails as the kernel refuses, with the errno it gives: `EINVAL` if it has no helpers in user space.
impl Client {
    /// Adds a helper, disabled.
    ///
    /// # Errors
    /// `EBUSY` if the kernel has a helper of its own of that name.
    pub fn add_helper(&mut self, key: &HelperKey, policy: HelperPolicy) -> io::Result<()> {
        self.ask(adding(key, policy)).map(drop)
    }

    /// Has the kernel show the packets of a helper in its queue. It adds the helper where there is none, if `create`.
    ///
    /// # Errors
    /// `EINVAL` if there is none and `create` is false, or if the kernel cannot (it was built without
    /// `NF_CT_NETLINK_HELPER`); `EBUSY` if it has one of its own of that name, or the same with private data of
    /// another length.
    pub fn serve_helper(&mut self, object: &HelperObject, create: bool) -> io::Result<()> {
        self.ask(serving(object, create)).map(drop)
    }

    /// Disables a helper: the kernel shows no packets any more.
    ///
    /// # Errors
    /// `EINVAL` if there is none.
    pub fn disable_helper(&mut self, key: &HelperKey) -> io::Result<()> {
        self.ask(disabling(key)).map(drop)
    }

    /// All helpers, in the order of the kernel's table.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn helpers(&mut self) -> io::Result<Vec<HelperObject>> {
        let answer = self.ask(request(message::GET, Mode::Dump, Vec::new()))?;
        Ok(answer.iter().filter_map(HelperObject::decode).collect())
    }

    /// The first helper of a name, whatever the protocol.
    ///
    /// # Errors
    /// `ENOENT` if there is none.
    pub fn helper(&mut self, name: &str) -> io::Result<Vec<HelperObject>> {
        let name = vec![attributes::text(attribute::NAME, name)];
        let answer = self.ask(request(message::GET, Mode::Ask, name))?;
        Ok(answer.iter().filter_map(HelperObject::decode).collect())
    }

    /// Deletes a helper, of all protocols if `any_protocol`.
    ///
    /// # Errors
    /// `ENOENT` if there are helpers and none of them is it, `EBUSY` if rules or flows use it.
    pub fn delete_helper(&mut self, key: &HelperKey, any_protocol: bool) -> io::Result<()> {
        self.ask(deleting(key, any_protocol)).map(drop)
    }

    /// Deletes all helpers of the machine.
    ///
    /// # Errors
    /// `EBUSY` if rules or flows use one.
    pub fn flush_helpers(&mut self) -> io::Result<()> {
        self.ask(request(message::DELETE, Mode::Ask, Vec::new())).map(drop)
    }
}
