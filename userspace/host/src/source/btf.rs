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
                    id = found.value;
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
        let has_members = matches!(outer.kind, kind::STRUCT | kind::UNION);
        if depth > DEPTH_MAX || !has_members || name.is_empty() {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes types as a compiler would.
    #[derive(Default)]
    struct Author {
        types: Vec<u8>,
        strings: Vec<u8>,
        /// Length of the strings of the file below.
        below: u32,
    }

    impl Author {
        fn above(below: &Self) -> Self {
            Self { below: below.strings.len() as u32, ..Self::default() }
        }

        fn name(&mut self, text: &str) -> u32 {
            let at = self.below + self.strings.len() as u32;
            self.strings.extend(text.bytes().chain([0]));
            at
        }

        fn add(&mut self, name: u32, kind: u8, count: u32, value: u32, rest: &[u32]) {
            let head = [name, u32::from(kind) << 24 | count, value];
            let words = head.iter().chain(rest);
            self.types.extend(words.flat_map(|word| word.to_ne_bytes()));
        }

        fn file(&self) -> Vec<u8> {
            let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
            let mut out = MAGIC.to_ne_bytes().to_vec();
            out.extend([1, 0]);
            out.extend([24, 0, types, types, strings].iter().flat_map(|w: &u32| w.to_ne_bytes()));
            out.extend(self.types.iter().chain(&self.strings));
            out
        }
    }

    /// `struct inner { u32 a; u32 list[4]; }`, and a union of one of these without a name in `struct outer`.
    fn kernel() -> Author {
        let mut author = Author::default();
        let none = author.name("");
        let [a, list, inner, outer, x, id, first, second, function] =
            ["a", "list", "inner", "outer", "x", "nf_id", "FIRST", "SECOND", "cast"]
                .map(|text| author.name(text));
        author.add(none, kind::INT, 0, 4, &[32]); // 1
        author.add(none, kind::ARRAY, 0, 0, &[1, 1, 4]); // 2
        author.add(inner, kind::STRUCT, 2, 20, &[a, 1, 0, list, 2, 32]); // 3
        author.add(inner, kind::TYPEDEF, 0, 3, &[]); // 4
        author.add(none, kind::UNION, 1, 20, &[none, 4, 0]); // 5
        author.add(none, kind::ARRAY, 0, 0, &[4, 1, 3]); // 6
        author.add(outer, kind::STRUCT, 3, 88, &[none, 5, 64, x, 6, 224, none, 1, 0]); // 7
        author.add(id, kind::ENUM, 2, 4, &[first, 0, second, 1]); // 8
        author.add(function, kind::FUNC, 0, 0, &[]); // 9
        author
    }

    fn of(files: &[Vec<u8>]) -> Btf {
        let mut btf = Btf::default();
        files.iter().for_each(|file| btf.add(file.clone()).unwrap());
        btf
    }

    #[test]
    fn fields_are_found_through_names_indexes_and_members_without_a_name() {
        let btf = of(&[kernel().file()]);
        assert_eq!(btf.offset("inner", "list[3]"), Some(16));
        assert_eq!(btf.offset("outer", "a"), Some(8));
        assert_eq!(btf.offset("outer", "list[1]"), Some(16));
        assert_eq!(btf.offset("outer", "x[2].list[0]"), Some(28 + 40 + 4));
        for missing in ["b", "list[4]", "a[0]", "x[3]", "x.a", "x[", "x[1", ""] {
            assert_eq!(btf.offset("outer", missing), None, "{missing}");
        }
        assert_eq!(btf.offset("nothing", "a"), None);
    }

    #[test]
    fn numbers_are_found() {
        let btf = of(&[kernel().file()]);
        assert_eq!(btf.function("cast"), Some(9));
        assert_eq!(btf.enumerator("nf_id", "SECOND"), Some(1));
        assert_eq!(btf.enumerator("nf_id", "THIRD"), None);
        assert_eq!(btf.array_structure(16), None, "no structure begins with an array");
    }

    #[test]
    fn a_module_goes_on_where_the_kernel_ends() {
        let kernel = kernel();
        let mut module = Author::above(&kernel);
        let [conn, far, big, bytes] =
            ["nf_conn", "far", "big", "bytes"].map(|text| module.name(text));
        module.add(conn, kind::STRUCT, 1, 100, &[far, 7, 96]); // 10: a member of the kernel's type
        module.add(0, kind::ARRAY, 0, 0, &[1, 1, 64]); // 11
        module.add(big, kind::STRUCT, 1, 256, &[bytes, 11, 0]); // 12
        let btf = of(&[kernel.file(), module.file()]);
        assert_eq!(btf.offset("nf_conn", "far.x[1].a"), Some(12 + 28 + 20));
        assert_eq!(btf.offset("big", "bytes[9]"), Some(36));
        assert_eq!(btf.array_structure(100), None, "a module's type cannot be named");
        assert_eq!(of(&[module.file()]).offset("nf_conn", "far.x[1].a"), None, "alone");
    }

    #[test]
    fn a_type_that_is_made_of_itself_has_no_fields_and_ends_nothing() {
        let mut author = Author::default();
        let [none, name] = ["", "loop"].map(|text| author.name(text));
        author.add(name, kind::STRUCT, 1, 8, &[none, 1, 0]); // 1
        author.add(name, kind::TYPEDEF, 0, 2, &[]); // 2
        author.add(none, kind::ARRAY, 0, 0, &[3, 3, 9]); // 3
        author.add(name, kind::STRUCT, 2, 8, &[name, 3, 0, name, 2, 0]); // 4
        let btf = of(&[author.file()]);
        assert_eq!(btf.offset("loop", "x"), None);
        assert_eq!(btf.size(3, 0), None);
        assert_eq!(btf.array_structure(1), None);
        assert!(btf.resolve(2).is_none());
    }

    #[test]
    fn bytes_that_are_no_types_are_refused_and_broken_ones_answer_something() {
        let whole = kernel().file();
        for end in 0..whole.len() {
            assert!(Btf::default().add(whole[..end].to_vec()).is_none(), "cut at {end}");
        }
        let mut seed = 7_u64;
        for at in (0..whole.len()).cycle().take(20 * whole.len()) {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let mut broken = whole.clone();
            broken[at] = (seed >> 56) as u8;
            let mut btf = Btf::default();
            if btf.add(broken).is_some() {
                let _ = (btf.offset("outer", "x[2].list[0]"), btf.enumerator("nf_id", "SECOND"));
                let _ = (btf.function("cast"), btf.array_structure(1));
            }
        }
    }
}
