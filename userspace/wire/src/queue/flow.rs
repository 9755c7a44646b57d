//! The flow of a packet, as far as helpers ask about it.

use ctnetlink::attribute::Attribute;
use ctnetlink::flow::{HelperName, Status};
use ctnetlink::uapi::{cta, help};
use ctnetlink::{DecodeError, Tuple};

/// The flow that a packet belongs to (`NFQA_CT`), with the fields that helpers need. The kernel sends more with each
/// packet; reading that, too, took half of the instructions that a packet costs in user space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchedFlow<'a> {
    /// `CTA_TUPLE_ORIG`.
    pub orig: Tuple,
    /// `CTA_TUPLE_REPLY`.
    pub reply: Tuple,
    /// The zone that distinguishes this flow from others with the same original tuple.
    pub zone: u16,
    /// `CTA_STATUS`.
    pub status: Status,
    /// `CTA_HELP_NAME`.
    pub helper: Option<HelperName>,
    /// `CTA_HELP_INFO`: the helper's private data.
    pub private: &'a [u8],
}

impl<'a> WatchedFlow<'a> {
    /// Reads the attribute. Those inside that are not asked for are stepped over, whatever they hold.
    ///
    /// # Errors
    /// When an attribute is cut short or has the wrong length, or there is no original tuple. Offsets count from where
    /// those of `nest` do.
    pub(super) fn of_nest(nest: &Attribute<'a>) -> Result<Self, DecodeError> {
        let mut flow = Self::default();
        for attribute in nest.nest() {
            let a = attribute?;
            match a.kind {
                cta::TUPLE_ORIG => {
                    let (tuple, zone) = Tuple::of_nest(&a)?;
                    flow.orig = tuple;
                    flow.zone = zone.unwrap_or(flow.zone);
                }
                cta::TUPLE_REPLY => flow.reply = Tuple::of_nest(&a)?.0,
                cta::ZONE => flow.zone = a.be16()?,
                cta::STATUS => flow.status = Status::from_bits_retain(a.be32()?),
                cta::HELP => flow.take_helper(&a)?,
                _ => {}
            }
        }
        if flow.orig.is_known() { Ok(flow) } else { Err(nest.error("flow without original tuple")) }
    }

    fn take_helper(&mut self, nest: &Attribute<'a>) -> Result<(), DecodeError> {
        for attribute in nest.nest() {
            let a = attribute?;
            match a.kind {
                help::NAME => self.helper = HelperName::from_bytes(a.text()),
                help::INFO => self.private = a.value,
                _ => {}
            }
        }
        Ok(())
    }
}
