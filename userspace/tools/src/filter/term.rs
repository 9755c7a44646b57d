//! The terms of the language.

use super::error::{Error, Kind, nearest};
use super::lexer::{Token, line_item};
use super::parser::Parser;
use super::value::{self, PROTOCOLS, Range};
use super::world::World;
use ctnetlink::flow::{HelperName, Status};
use ctnetlink::tuple::{FAMILY_IPV4, FAMILY_IPV6};
use engine::interval::{Addresses, Intervals};
use engine::query::{Expr, Measure, PeerIs, Quantity, Scope, States, Term, Which};
use std::path::PathBuf;

/// Words that a term may begin with, or that join terms, beside protocols and measures.
pub const WORDS: [&str; 36] = [
    "orig",
    "reply",
    "nat",
    "src",
    "dst",
    "host",
    "net",
    "port",
    "portrange",
    "ip",
    "ip6",
    "proto",
    "family",
    "state",
    "status",
    "assured",
    "replied",
    "unreplied",
    "snat",
    "dnat",
    "anynat",
    "offload",
    "hwoffload",
    "expected",
    "zone",
    "mark",
    "secmark",
    "id",
    "helper",
    "label",
    "class",
    "iif",
    "oif",
    "peer",
    "and",
    "or",
];

/// Whether a word looks like an address, so that it begins a list of addresses.
fn is_address(word: &str) -> bool {
    let begins = word.starts_with(|c: char| c.is_ascii_hexdigit() || c == ':' || c == '[');
    begins && word.contains(['.', ':'])
}

impl<W: World> Parser<'_, W> {
    pub(super) fn term(&mut self) -> Result<Expr, Error> {
        let Some(word) = self.peek_word().map(str::to_lowercase) else {
            return match self.peek() {
                Some(Token::File(_) | Token::OpenSet) => {
                    self.addresses(Scope::Any, Which::Any).map(Expr::Term)
                }
                _ => Err(self.unexpected("a test")),
            };
        };
        let flag = |bit| Expr::Term(Term::Status(bit));
        let simple = match word.as_str() {
            "ip" => Expr::Term(Term::Family(FAMILY_IPV4)),
            "ip6" => Expr::Term(Term::Family(FAMILY_IPV6)),
            "assured" => flag(Status::ASSURED),
            "replied" => flag(Status::SEEN_REPLY),
            "unreplied" => Expr::Not(Box::new(flag(Status::SEEN_REPLY))),
            "offload" => flag(Status::OFFLOAD),
            "hwoffload" => flag(Status::HW_OFFLOAD),
            "expected" => flag(Status::EXPECTED),
            _ => return self.term_with_value(&word).map(Expr::Term),
        };
        self.take();
        Ok(simple)
    }

    fn term_with_value(&mut self, word: &str) -> Result<Term, Error> {
        if let Some((_, number)) = PROTOCOLS.iter().find(|(name, _)| *name == word) {
            self.take();
            return Ok(Term::Proto(Intervals::new([(*number, *number)])));
        }
        if is_address(word) {
            return self.addresses(Scope::Any, Which::Any);
        }
        if let Some(measure) = measure(word) {
            return self.quantity(Scope::Any, measure);
        }
        match word {
            "orig" | "reply" | "nat" | "src" | "dst" | "host" | "net" | "port" | "portrange" => {
                return self.place();
            }
            "class" => return self.name().map(Term::Class),
            "iif" => return self.name().map(Term::Iif),
            "oif" => return self.name().map(Term::Oif),
            "peer" => return self.peer(),
            "snat" => return self.translated(Which::Src),
            "dnat" => return self.translated(Which::Dst),
            "anynat" => return self.translated(Which::Any),
            "zone" => return self.zone(Scope::Any),
            "proto" | "family" | "state" | "status" | "mark" | "secmark" | "id" | "helper"
            | "label" => {}
            _ => return Err(self.unknown_word(word)),
        }
        self.take();
        self.listed(word)
    }

    /// A term of a word and a list of values, behind the word.
    fn listed(&mut self, word: &str) -> Result<Term, Error> {
        match word {
            "proto" => {
                let set = self.list("a protocol", |_, word| Ok(vec![value::protocol(word)?]))?;
                Ok(Term::Proto(Intervals::new(set)))
            }
            "family" => self.family(),
            "state" => {
                let states = self.list("a state", |_, word| Ok(vec![value::state(word)?]))?;
                Ok(Term::State(states.into_iter().fold(States::default(), States::union)))
            }
            "status" => {
                let bits = self.list("a status", |_, word| Ok(vec![value::status(word)?]))?;
                Ok(Term::Status(bits.into_iter().fold(Status::empty(), Status::union)))
            }
            "mark" => Ok(Term::Mark(self.list("a mark", |_, word| Ok(vec![value::mark(word)?]))?)),
            "secmark" => {
                let set = self.list("a number", |_, word| {
                    let (first, last) = value::numbers(word, u32::MAX.into())?;
                    Ok(vec![(first as u32, last as u32)])
                })?;
                Ok(Term::Secmark(Intervals::new(set)))
            }
            "id" => {
                let word = self.value("a number")?;
                let id = value::number(&word, u32::MAX.into());
                id.map(|id| Term::Id(id as u32)).map_err(|kind| Error::new(kind, self.last))
            }
            "helper" => {
                let name = self.value("the name of a helper")?;
                let limits = || "at most 15 bytes".into();
                let long = || Kind::OutOfRange { word: name.clone(), limits: limits() };
                let helper = HelperName::from_bytes(name.as_bytes());
                // A name with a zero byte would be cut there.
                let whole = helper.filter(|helper| helper.as_bytes() == name.as_bytes());
                whole.map(Term::Helper).ok_or_else(|| Error::new(long(), self.last))
            }
            _ => {
                let mut bits = self.list("a label", Self::label)?;
                bits.sort_unstable();
                bits.dedup();
                Ok(Term::Label(bits))
            }
        }
    }

    fn unknown_word(&self, word: &str) -> Error {
        if word.starts_with('-') {
            return self.unexpected("a test");
        }
        let measures = Measure::ALL.iter().map(|(name, _)| *name);
        let protocols = PROTOCOLS.iter().map(|(name, _)| *name);
        let near = nearest(word, WORDS.into_iter().chain(measures).chain(protocols));
        let word = self.peek_word().unwrap_or(word).to_owned();
        self.error_here(Kind::UnknownWord { word, nearest: near })
    }

    /// What begins with a direction, an end, or the kind of a place.
    fn place(&mut self) -> Result<Term, Error> {
        let scope = match self.peek_word().map(str::to_lowercase).as_deref() {
            Some("orig") => Some(Scope::Orig),
            Some("reply") => Some(Scope::Reply),
            Some("nat") => Some(Scope::Nat),
            _ => None,
        };
        if scope.is_some() {
            self.take();
        }
        let mut word = self.peek_word().map(str::to_lowercase).unwrap_or_default();
        if let Some(scope @ (Scope::Orig | Scope::Reply)) = scope {
            if word == "zone" {
                return self.zone(scope);
            }
            if let Some(measure) = measure(&word) {
                return self.quantity(scope, measure);
            }
        }
        let which = match word.as_str() {
            "src" => Which::Src,
            "dst" => Which::Dst,
            _ => Which::Any,
        };
        if which != Which::Any {
            self.take();
            word = self.peek_word().map(str::to_lowercase).unwrap_or_default();
        }
        let scope = match (scope, which) {
            (Some(scope), _) => scope,
            (None, Which::Any) => Scope::Any,
            // As the initiator sees it.
            (None, _) => Scope::Orig,
        };
        match word.as_str() {
            "port" | "portrange" => {
                self.take();
                let read = |parser: &mut Self, word: &str| value::ports(word, parser.world);
                let set = Intervals::new(self.list("a port, a range or a list of ports", read)?);
                Ok(Term::Port { scope, which, set })
            }
            "host" | "net" => {
                self.take();
                self.addresses(scope, which)
            }
            _ => self.addresses(scope, which),
        }
    }

    fn addresses(&mut self, scope: Scope, which: Which) -> Result<Term, Error> {
        let expected = "an address, a prefix, a range or a list of these";
        let ranges = self.list(expected, |_, word| Ok(vec![value::addresses(word)?]))?;
        let v4 = ranges.iter().filter_map(|range| match range {
            Range::V4(first, last) => Some((*first, *last)),
            Range::V6(..) => None,
        });
        let v6 = ranges.iter().filter_map(|range| match range {
            Range::V6(first, last) => Some((*first, *last)),
            Range::V4(..) => None,
        });
        let set = Addresses { v4: Intervals::new(v4), v6: Intervals::new(v6) };
        Ok(Term::Address { scope, which, set })
    }

    fn family(&mut self) -> Result<Term, Error> {
        match self.value("`ipv4` or `ipv6`")?.to_lowercase().as_str() {
            "ipv4" => Ok(Term::Family(FAMILY_IPV4)),
            "ipv6" => Ok(Term::Family(FAMILY_IPV6)),
            word => {
                let nearest = nearest(word, ["ipv4", "ipv6"]);
                Err(Error::new(Kind::UnknownWord { word: word.into(), nearest }, self.last))
            }
        }
    }

    fn zone(&mut self, scope: Scope) -> Result<Term, Error> {
        self.take();
        let set = self.list("a zone", |_, word| {
            let (first, last) = value::numbers(word, u16::MAX.into())?;
            Ok(vec![(first as u16, last as u16)])
        })?;
        Ok(Term::Zone { scope, set: Intervals::new(set) })
    }

    fn label(&mut self, word: &str) -> Result<Vec<u8>, Kind> {
        if word.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(vec![value::number(word, 127)? as u8]);
        }
        let unknown = || Kind::UnknownWord { word: word.into(), nearest: None };
        Ok(vec![self.world.label(word).ok_or_else(unknown)?])
    }

    fn translated(&mut self, which: Which) -> Result<Term, Error> {
        self.take();
        let Some(word) = self.peek_word().filter(|word| is_address(word)) else {
            return Ok(Term::Translated { which, addr: None, port: None });
        };
        self.take();
        let (addr, port) = value::translation(word).map_err(|kind| Error::new(kind, self.last))?;
        Ok(Term::Translated { which, addr: Some(addr), port })
    }

    /// A word, and the name behind it.
    fn name(&mut self) -> Result<String, Error> {
        self.take();
        self.value("a name")
    }

    fn peer(&mut self) -> Result<Term, Error> {
        let name = self.name()?;
        let word = self.value("`queued`, `sent`, `acked` or `unknown`")?.to_lowercase();
        let found = PeerIs::ALL.iter().find(|(name, _)| *name == word);
        let near = || nearest(&word, PeerIs::ALL.iter().map(|(name, _)| *name));
        let unknown = || Kind::UnknownWord { word: word.clone(), nearest: near() };
        let (_, is) = found.ok_or_else(|| Error::new(unknown(), self.last))?;
        Ok(Term::Peer(name, *is))
    }

    fn quantity(&mut self, scope: Scope, measure: Measure) -> Result<Term, Error> {
        self.take();
        let Some(Token::Op(op)) = self.peek() else {
            return Err(self.unexpected("`=`, `!=`, `<`, `<=`, `>` or `>=`"));
        };
        let op = *op;
        self.take();
        let word = self.value("a number with a unit")?;
        let value = value::quantity(&word, measure.unit());
        let value = value.map_err(|kind| Error::new(kind, self.last))?;
        Ok(Term::Quantity(Quantity { measure, scope, op, value }))
    }

    /// A word, bare or quoted.
    fn value(&mut self, expected: &'static str) -> Result<String, Error> {
        let word = match self.peek() {
            Some(Token::Word(word)) => (*word).to_owned(),
            Some(Token::Quoted(word)) => word.clone().into_owned(),
            _ => return Err(self.unexpected(expected)),
        };
        self.take();
        Ok(word)
    }

    /// `item {, item}`, or `{ item ... }`; an item may be a file of items.
    fn list<T>(
        &mut self,
        expected: &'static str,
        mut read: impl FnMut(&mut Self, &str) -> Result<Vec<T>, Kind>,
    ) -> Result<Vec<T>, Error> {
        let mut out = Vec::new();
        if !self.take_if(&Token::OpenSet) {
            loop {
                self.item(expected, &mut out, &mut read)?;
                if !self.take_if(&Token::Comma) {
                    return Ok(out);
                }
            }
        }
        let open = self.last;
        if self.take_if(&Token::CloseSet) {
            let span = open.to(self.last);
            return if self.limits.allow_empty {
                Ok(out)
            } else {
                Err(Error::new(Kind::Empty, span))
            };
        }
        loop {
            if self.peek().is_none() {
                return Err(Error::new(Kind::Unbalanced, open));
            }
            self.item(expected, &mut out, &mut read)?;
            // Commas inside of braces are as good as blanks.
            self.take_if(&Token::Comma);
            if self.take_if(&Token::CloseSet) {
                return Ok(out);
            }
        }
    }

    fn item<T>(
        &mut self,
        expected: &'static str,
        out: &mut Vec<T>,
        read: &mut impl FnMut(&mut Self, &str) -> Result<Vec<T>, Kind>,
    ) -> Result<(), Error> {
        if let Some(Token::File(path)) = self.peek() {
            let path = path.clone().into_owned();
            self.take();
            return self.file(&path, out, read).map_err(|kind| Error::new(kind, self.last));
        }
        let word = self.value(expected)?;
        let values = read(self, &word).map_err(|kind| Error::new(kind, self.last))?;
        self.count(values.len()).map_err(|kind| Error::new(kind, self.last))?;
        out.extend(values);
        Ok(())
    }

    fn file<T>(
        &mut self,
        path: &str,
        out: &mut Vec<T>,
        read: &mut impl FnMut(&mut Self, &str) -> Result<Vec<T>, Kind>,
    ) -> Result<(), Kind> {
        let failed = |line, why| Kind::SetUnreadable { path: PathBuf::from(path), line, why };
        let text = self.world.file(path).map_err(|why| failed(0, why))?;
        let mut any = false;
        for (at, line) in text.lines().enumerate() {
            let item = line_item(line).map_err(|why| failed(at + 1, why.into()))?;
            let Some(item) = item else { continue };
            any = true;
            let values = read(self, item).map_err(|kind| failed(at + 1, kind.to_string()))?;
            self.count(values.len())?;
            out.extend(values);
        }
        if any || self.limits.allow_empty { Ok(()) } else { Err(Kind::SetEmpty(path.into())) }
    }

    fn count(&mut self, values: usize) -> Result<(), Kind> {
        self.values += values;
        if self.values > self.limits.values_max {
            return Err(Kind::TooLong("1,000,000 values in sets"));
        }
        Ok(())
    }
}

fn measure(word: &str) -> Option<Measure> {
    Measure::ALL.iter().find(|(name, _)| *name == word).map(|(_, measure)| *measure)
}
