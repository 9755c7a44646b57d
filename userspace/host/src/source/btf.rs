//! What the kernel says of its own types: offsets of fields, numbers of types and enumerators.
//!
//! The format is `Documentation/bpf/btf.rst` of the kernel. A module's types continue those of the kernel: both its
//! type numbers and its string offsets begin where the kernel's end. Whatever the bytes are, an answer is a value or
//! `None`.

use std::ops::Range;

/// `BTF_MAGIC`.
const MAGIC: u16 = 0xeb9f;
/// Names of names, members of members: no real type is that deep.
const DEPTH_MAX: u32 = 32;

/// Kinds of types (`BTF_KIND_*`, `include/uapi/linux/btf.h`).
mod kind {
    pub(super) const INT: u8 = 1;
    pub(super) const PTR: u8 = 2;
    pub(super) const ARRAY: u8 = 3;
    pub(super) const STRUCT: u8 = 4;
    pub(super) const UNION: u8 = 5;
    pub(super) const ENUM: u8 = 6;
    pub(super) const FWD: u8 = 7;
    pub(super) const TYPEDEF: u8 = 8;
    pub(super) const VOLATILE: u8 = 9;
    pub(super) const CONST: u8 = 10;
    pub(super) const RESTRICT: u8 = 11;
    pub(super) const FUNC: u8 = 12;
    pub(super) const FUNC_PROTO: u8 = 13;
    pub(super) const VAR: u8 = 14;
    pub(super) const DATASEC: u8 = 15;
    pub(super) const FLOAT: u8 = 16;
    pub(super) const DECL_TAG: u8 = 17;
    pub(super) const TYPE_TAG: u8 = 18;
    pub(super) const ENUM64: u8 = 19;
}

/// The types of a kernel, and of modules on top.
#[derive(Debug, Default)]
pub(super) struct Btf {
    layers: Vec<Layer>,
}

/// The types of one file.
#[derive(Debug)]
struct Layer {
    bytes: Vec<u8>,
    /// Where each type begins.
    types: Vec<usize>,
    strings: Range<usize>,
    first_id: u32,
    first_string: usize,
}

/// A type: its head, and where what follows it begins.
#[derive(Clone, Copy, Debug)]
struct Type<'a> {
    layer: &'a Layer,
    name: u32,
    kind: u8,
    /// Whether offsets of members carry sizes of bit fields.
    flagged: bool,
    count: u32,
    /// Size or referenced type.
    value: u32,
    rest: usize,
}

/// A field of a structure: where it begins, and its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    at: usize,
    id: u32,
}

impl Btf {
    /// Adds the types of another file: first those of the kernel, then those of a module.
    pub(super) fn add(&mut self, bytes: Vec<u8>) -> Option<()> {
        let (first_id, first_string) = match self.layers.last() {
            // Number 0 is `void` and is written down nowhere.
            None => (1, 0),
            Some(below) => (
                below.first_id.checked_add(u32::try_from(below.types.len()).ok()?)?,
                below.first_string + below.strings.len(),
            ),
        };
        let layer = Layer::parse(bytes, first_id, first_string)?;
        self.layers.push(layer);
        Some(())
    }

    /// The number of the function of this name.
    pub(super) fn function(&self, name: &str) -> Option<u32> {
        self.find(kind::FUNC, name)
    }

    /// Where a field of a structure lies, bytes. `path` names members, with indexes: `tuplehash[1].tuple.src`.
    pub(super) fn offset(&self, structure: &str, path: &str) -> Option<usize> {
        let mut place = Place { at: 0, id: self.find(kind::STRUCT, structure)? };
        for step in path.split('.') {
            let (name, index) = match step.split_once('[') {
                None => (step, None),
                Some((name, rest)) => (name, Some(rest.strip_suffix(']')?.parse().ok()?)),
            };
            place = self.member(place, name, 0)?;
            if let Some(index) = index {
                place = self.element(place, index)?;
            }
        }
        Some(place.at)
    }

    /// The value of an enumerator.
    pub(super) fn enumerator(&self, enumeration: &str, name: &str) -> Option<u32> {
        let found = self.resolve(self.find(kind::ENUM, enumeration)?)?;
        (0..found.count as usize).find_map(|i| {
            let at = found.rest.checked_add(i * 8)?;
            let given = self.string(found.layer.u32(at)?)?;
            (given == name.as_bytes()).then(|| found.layer.u32(at + 4))?
        })
    }

    /// The number of a structure that begins with an array of at least `len` bytes of integers.
    pub(super) fn array_structure(&self, len: usize) -> Option<u32> {
        // Only the kernel's own types can be named in an instruction that calls one of its functions.
        let layer = self.layers.first()?;
        (layer.first_id..).zip(&layer.types).map(|(id, _)| id).find(|&id| {
            let begins = || {
                let found = self.at(id)?;
                let member = layer.u32(found.rest.checked_add(4)?)?;
                let offset = layer.u32(found.rest.checked_add(8)?)?;
                let array = self.resolve(member)?;
                let element = self.resolve(layer.u32(array.rest)?)?;
                let fits = found.kind == kind::STRUCT
                    && found.count > 0
                    && offset == 0
                    && array.kind == kind::ARRAY
                    && element.kind == kind::INT
                    && self.size(member, 0)? >= len;
                Some(fits)
            };
            begins() == Some(true)
        })
    }

    fn find(&self, kind: u8, name: &str) -> Option<u32> {
        self.layers.iter().find_map(|layer| {
            (layer.first_id..).zip(&layer.types).map(|(id, _)| id).find(|&id| {
                self.at(id).is_some_and(|found| {
                    found.kind == kind && self.string(found.name) == Some(name.as_bytes())
                })
            })
        })
    }

    fn at(&self, id: u32) -> Option<Type<'_>> {
        let layer = self.layers.iter().rfind(|layer| layer.first_id <= id)?;
        layer.head(*layer.types.get((id - layer.first_id) as usize)?)
    }

    /// The type behind names and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<Type<'_>> {
        for _ in 0..DEPTH_MAX {
            let found = self.at(id)?;
            match found.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = found.value
                }
                _ => return Some(found),
            }
        }
        None
    }

    fn string(&self, at: u32) -> Option<&[u8]> {
        let at = at as usize;
        let layer = self.layers.iter().rfind(|layer| layer.first_string <= at)?;
        let strings = layer.bytes.get(layer.strings.clone())?;
        let text = strings.get(at - layer.first_string..)?;
        text.split(|&b| b == 0).next()
    }

    /// A member of the structure at `place`, also of structures without a name in it.
    fn member(&self, place: Place, name: &str, depth: u32) -> Option<Place> {
        let outer = self.resolve(place.id)?;
        if depth > DEPTH_MAX || !matches!(outer.kind, kind::STRUCT | kind::UNION) {
            return None;
        }
        (0..outer.count as usize).find_map(|i| {
            let at = outer.rest.checked_add(i * 12)?;
            let [given, id, offset] = [0, 4, 8].map(|field| outer.layer.u32(at + field));
            let (given, offset) = (self.string(given?)?, offset?);
            let bits = if outer.flagged { offset & 0x00ff_ffff } else { offset };
            let inner = Place { at: place.at.checked_add(bits as usize / 8)?, id: id? };
            if given == name.as_bytes() {
                return bits.is_multiple_of(8).then_some(inner);
            }
            given.is_empty().then(|| self.member(inner, name, depth + 1))?
        })
    }

    fn element(&self, place: Place, index: usize) -> Option<Place> {
        let array = self.resolve(place.id).filter(|found| found.kind == kind::ARRAY)?;
        let [id, len] = [0, 8].map(|field| array.layer.u32(array.rest + field));
        let (id, len) = (id?, len? as usize);
        let at = place.at.checked_add(self.size(id, 0)?.checked_mul(index)?)?;
        (index < len).then_some(Place { at, id })
    }

    fn size(&self, id: u32, depth: u32) -> Option<usize> {
        let found = self.resolve(id).filter(|_| depth <= DEPTH_MAX)?;
        match found.kind {
            kind::PTR => Some(size_of::<usize>()),
            kind::ARRAY => {
                let [id, len] = [0, 8].map(|field| found.layer.u32(found.rest + field));
                self.size(id?, depth + 1)?.checked_mul(len? as usize)
            }
            kind::INT | kind::STRUCT | kind::UNION | kind::ENUM | kind::ENUM64 | kind::FLOAT => {
                Some(found.value as usize)
            }
            _ => None,
        }
    }
}

impl Layer {
    fn parse(bytes: Vec<u8>, first_id: u32, first_string: usize) -> Option<Self> {
        let mut layer = Self { bytes, types: Vec::new(), strings: 0..0, first_id, first_string };
        let magic = u16::from_ne_bytes(*layer.bytes.first_chunk()?);
        if magic != MAGIC {
            return None;
        }
        let [header, types_at, types_len, strings_at, strings_len] =
            [4, 8, 12, 16, 20].map(|at| layer.u32(at));
        let begin = |at: Option<u32>| (header? as usize).checked_add(at? as usize);
        let strings = begin(strings_at)?;
        layer.strings = strings..strings.checked_add(strings_len? as usize)?;
        layer.bytes.get(layer.strings.clone())?;
        let mut at = begin(types_at)?;
        let end = at.checked_add(types_len? as usize).filter(|&end| end <= layer.bytes.len())?;
        while at < end {
            layer.types.push(at);
            let head = layer.head(at)?;
            at = head.rest.checked_add(head.rest_len()?)?;
        }
        Some(layer)
    }

    fn head(&self, at: usize) -> Option<Type<'_>> {
        let [name, info, value] = [0, 4, 8].map(|field| self.u32(at.checked_add(field)?));
        let info = info?;
        Some(Type {
            layer: self,
            name: name?,
            kind: (info >> 24) as u8 & 0x1f,
            flagged: info >> 31 == 1,
            count: info & 0xffff,
            value: value?,
            rest: at.checked_add(12)?,
        })
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
    }
}

impl Type<'_> {
    /// Length of what follows the head; `None` for a kind that came later than this code.
    fn rest_len(&self) -> Option<usize> {
        let count = self.count as usize;
        Some(match self.kind {
            kind::PTR
            | kind::FWD
            | kind::TYPEDEF
            | kind::VOLATILE
            | kind::CONST
            | kind::RESTRICT
            | kind::FUNC
            | kind::FLOAT
            | kind::TYPE_TAG => 0,
            kind::INT | kind::VAR | kind::DECL_TAG => 4,
            kind::ARRAY => 12,
            kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12 * count,
            kind::ENUM | kind::FUNC_PROTO => 8 * count,
            _ => return None,
        })
    }
}
