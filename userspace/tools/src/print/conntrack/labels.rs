//! Names of labels: `/etc/xtables/connlabel.conf`, lines of a bit and its name.

use std::collections::BTreeMap;

/// How many labels a flow has room for (`NF_CT_LABELS_MAX_SIZE`, kernel v6.12
/// `include/net/netfilter/nf_conntrack_labels.h`), in bits.
const BITS: usize = 128;

/// The names of the bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelMap {
    names: Vec<Option<Box<str>>>,
    bits: BTreeMap<Box<str>, u8>,
}

impl LabelMap {
    /// Reads the text of a map: on each line a bit and a name, parted by blanks; `#` begins a comment. Lines that are
    /// anything else, and bits and names that were there before, are passed over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut map = Self { names: vec![None; BITS], bits: BTreeMap::new() };
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let (Some(bit), Some(name)) = (words.next(), words.next()) else { continue };
            if let Ok(bit) = bit.parse::<u8>() {
                map.add(bit, name);
            }
        }
        map
    }

    fn add(&mut self, bit: u8, name: &str) {
        let Some(place) = self.names.get_mut(usize::from(bit)) else { return };
        if place.is_none() && !self.bits.contains_key(name) {
            *place = Some(name.into());
            self.bits.insert(name.into(), bit);
        }
    }

    /// The name of a bit.
    #[must_use]
    pub fn name(&self, bit: u32) -> Option<&str> {
        self.names.get(bit as usize)?.as_deref()
    }

    /// The bit of a name, 0 to 127.
    #[must_use]
    pub fn bit(&self, name: &str) -> Option<u8> {
        self.bits.get(name).copied()
    }

    /// The names of the bits that are set in `words` (bit 0 is the lowest of the first), lowest bit first.
    pub(super) fn names_of(&self, words: impl Iterator<Item = u32>) -> impl Iterator<Item = &str> {
        (0_u32..).zip(words).flat_map(move |(at, word)| {
            let set = (0..32).filter(move |bit| word >> bit & 1 == 1);
            set.filter_map(move |bit| self.name(at * 32 + bit))
        })
    }
}
