//! The view of an expectation.

use super::flow::helper_name;
use crate::attribute::Attribute;
use crate::expectation::{ExpectNat, Expectation};
use crate::flow::{HelperName, Name};
use crate::frame::split_family;
use crate::uapi::expect;
use crate::{DecodeError, Tuple, direction};

/// An expectation in a datagram.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpectView<'a> {
    /// `nfgenmsg.nfgen_family`.
    pub family: u8,
    /// `CTA_EXPECT_MASTER`: original tuple of the flow whose helper made it; unknown if the message did not carry it.
    pub master: Tuple,
    /// `CTA_EXPECT_TUPLE`: what the expected flow looks like.
    pub tuple: Tuple,
    /// `CTA_EXPECT_MASK`: which bits of the tuple are compared; unknown if the message did not carry it.
    pub mask: Tuple,
    /// `CTA_EXPECT_TIMEOUT`: seconds left.
    pub timeout_s: Option<u32>,
    /// `CTA_EXPECT_FLAGS`.
    pub flags: Option<u32>,
    /// `CTA_EXPECT_CLASS`.
    pub class: Option<u32>,
    /// `CTA_EXPECT_ID`.
    pub id: Option<u32>,
    /// `CTA_EXPECT_ZONE`.
    pub zone: Option<u16>,
    /// `CTA_EXPECT_NAT`.
    pub nat: Option<ExpectNat>,
    /// `CTA_EXPECT_HELP_NAME`.
    pub helper: Option<HelperName>,
    /// `CTA_EXPECT_FN`, without terminator.
    pub function: Option<&'a [u8]>,
}

impl<'a> ExpectView<'a> {
    /// Reads the payload of an expectation message: family header and attributes. Unknown attributes are skipped.
    ///
    /// # Errors
    /// When the family header or an attribute is cut short, an attribute has the wrong length, or there is no tuple.
    /// Offsets count from the start of `payload`.
    pub fn parse(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let (family, attributes) = split_family(payload)?;
        let mut view = Self { family, ..Self::default() };
        for attribute in attributes {
            view.take(&attribute?)?;
        }
        if !view.tuple.is_known() {
            return Err(DecodeError::new(payload.len(), "expectation without tuple"));
        }
        Ok(view)
    }

    /// The expectation as an owned value. A function name too long for [`Name`] is left out.
    #[must_use]
    pub fn to_expectation(&self) -> Expectation {
        Expectation {
            master: self.master,
            tuple: self.tuple,
            mask: self.mask,
            timeout_s: self.timeout_s,
            flags: self.flags,
            class: self.class,
            id: self.id,
            zone: self.zone,
            nat: self.nat,
            helper: self.helper,
            function: self.function.and_then(Name::from_bytes),
        }
    }

    fn take(&mut self, a: &Attribute<'a>) -> Result<(), DecodeError> {
        match a.kind {
            expect::MASTER => self.master = direction::decode(a)?.0,
            expect::TUPLE => self.tuple = direction::decode(a)?.0,
            expect::MASK => self.mask = direction::decode(a)?.0,
            expect::TIMEOUT => self.timeout_s = Some(a.be32()?),
            expect::ID => self.id = Some(a.be32()?),
            expect::HELP_NAME => self.helper = helper_name(a)?,
            expect::ZONE => self.zone = Some(a.be16()?),
            expect::FLAGS => self.flags = Some(a.be32()?),
            expect::CLASS => self.class = Some(a.be32()?),
            expect::NAT => self.nat = Some(translation(a)?),
            expect::FN => self.function = Some(a.text()),
            _ => {}
        }
        Ok(())
    }
}

fn translation(nest: &Attribute<'_>) -> Result<ExpectNat, DecodeError> {
    let mut out = ExpectNat { direction: 0, tuple: Tuple::default() };
    for attribute in nest.nest() {
        let attribute = attribute?;
        match attribute.kind {
            expect::NAT_DIR => out.direction = attribute.be32()?,
            expect::NAT_TUPLE => out.tuple = direction::decode(&attribute)?.0,
            _ => {}
        }
    }
    Ok(out)
}
