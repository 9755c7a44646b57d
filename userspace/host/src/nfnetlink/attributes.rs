//! Attributes, written and read. All numbers are big-endian.

use netlink_packet_core::{DefaultNla, Emitable as _, NLA_F_NESTED, NLA_TYPE_MASK, Nla as _};
use netlink_packet_core::{NlasIterator, Parseable as _};

/// A text with the NUL at its end. Callers bound its length: an attribute holds 65,531 bytes.
pub(super) fn text(kind: u16, value: &str) -> DefaultNla {
    DefaultNla::new(kind, [value.as_bytes(), &[0]].concat())
}

pub(super) fn u8(kind: u16, value: u8) -> DefaultNla {
    DefaultNla::new(kind, vec![value])
}

pub(super) fn u16(kind: u16, value: u16) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().into())
}

pub(super) fn u32(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().into())
}

/// Attributes within one.
pub(super) fn nest(kind: u16, inner: &[DefaultNla]) -> DefaultNla {
    let mut value = vec![0; inner.buffer_len()];
    inner.emit(&mut value);
    DefaultNla::new(kind | NLA_F_NESTED, value)
}

/// The attributes of an object, as the kernel sent them.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes(Vec<DefaultNla>);

impl From<Vec<DefaultNla>> for Attributes {
    fn from(list: Vec<DefaultNla>) -> Self {
        Self(list)
    }
}

impl Attributes {
    fn value(&self, kind: u16) -> Option<Vec<u8>> {
        let nla = self.0.iter().find(|nla| nla.kind() & NLA_TYPE_MASK == kind)?;
        let mut value = vec![0; nla.value_len()];
        nla.emit_value(&mut value);
        Some(value)
    }

    /// A text up to its NUL; what is no UTF-8 of it is replaced.
    pub(super) fn text(&self, kind: u16) -> Option<String> {
        let value = self.value(kind)?;
        let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
        Some(String::from_utf8_lossy(text).into_owned())
    }

    /// All texts of a kind, in their order, each as [`Attributes::text`] reads it.
    pub(super) fn texts(&self, kind: u16) -> Vec<String> {
        let same = self.0.iter().filter(|nla| nla.kind() & NLA_TYPE_MASK == kind);
        same.filter_map(|nla| Self(vec![nla.clone()]).text(kind)).collect()
    }

    pub(super) fn u8(&self, kind: u16) -> Option<u8> {
        self.value(kind)?.first().copied()
    }

    pub(super) fn u16(&self, kind: u16) -> Option<u16> {
        Some(u16::from_be_bytes(self.value(kind)?.first_chunk().copied()?))
    }

    pub(super) fn u32(&self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.value(kind)?.first_chunk().copied()?))
    }

    /// What is within an attribute, up to the first one that is malformed.
    pub(super) fn nested(&self, kind: u16) -> Option<Self> {
        let value = self.value(kind)?;
        let views = NlasIterator::new(&value).map_while(Result::ok);
        Some(Self(views.filter_map(|view| DefaultNla::parse(&view).ok()).collect()))
    }
}
