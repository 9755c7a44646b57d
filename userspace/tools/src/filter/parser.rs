//! Tokens to a tree.

use super::error::{Error, Kind};
use super::lexer::{Lexer, Placed, Token};
use super::spelling;
use super::world::World;
use crate::conf::diagnostic::Span;
use engine::query::{DEPTH_MAX, Expr, TERMS_MAX, Term};

/// How much a filter may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of text, without files.
    pub text_max: usize,
    /// Values in all sets.
    pub values_max: usize,
    /// Whether a set may hold nothing.
    pub allow_empty: bool,
    /// Whether it may be in the other spelling.
    pub options: bool,
}

impl Limits {
    /// Limits of filters that people type.
    pub const TYPED: Self =
        Self { text_max: 64 << 10, values_max: 1_000_000, allow_empty: false, options: true };
    /// Limits of normal forms, which hold the contents of files.
    pub const NORMAL: Self =
        Self { text_max: 64 << 20, values_max: 1_000_000, allow_empty: true, options: false };
}

/// A filter that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The tree.
    pub expr: Expr,
    /// Where each term stands, in the order of [`Expr::for_each_term`].
    pub spans: Vec<Span>,
}

impl Parsed {
    /// Refuses the first term of which `why` says that it can never be known.
    ///
    /// # Errors
    /// [`Kind::NotKnown`], at the term.
    pub fn check(&self, why: impl Fn(&Term) -> Option<&'static str>) -> Result<(), Error> {
        let (mut at, mut found) = (0, None);
        self.expr.for_each_term(&mut |term| {
            let span = self.spans.get(at).copied().unwrap_or_default();
            found = found.take().or_else(|| Some(Error::new(Kind::NotKnown(why(term)?), span)));
            at += 1;
        });
        found.map_or(Ok(()), Err)
    }
}

/// Understands a filter: in this language, or, if it begins with `-`, in that of `conntrack`'s options.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(text: &str, limits: &Limits, world: &mut impl World) -> Result<Parsed, Error> {
    if text.len() > limits.text_max {
        let end = text.len();
        let start = limits.text_max;
        return Err(Error::new(Kind::TooLong("64 KiB of text"), Span { start, end }));
    }
    if limits.options && text.trim_start().starts_with('-') {
        return spelling::parse(text);
    }
    let mut parser = Parser::new(text, limits, world);
    let expr = parser.whole()?;
    Ok(Parsed { expr, spans: parser.spans })
}

/// A filter being read.
pub(super) struct Parser<'a, W> {
    lexer: Lexer<'a>,
    next: Option<Placed<'a>>,
    /// The place of the last token that was taken.
    pub(super) last: Span,
    /// Where the text ends.
    end: usize,
    text: &'a str,
    depth: usize,
    /// Values in sets so far.
    pub(super) values: usize,
    pub(super) limits: &'a Limits,
    pub(super) world: &'a mut W,
    spans: Vec<Span>,
}

impl<'a, W: World> Parser<'a, W> {
    fn new(text: &'a str, limits: &'a Limits, world: &'a mut W) -> Self {
        let mut lexer = Lexer::new(text);
        let next = lexer.next();
        let (last, end) = (Span::default(), text.len());
        Self { lexer, next, last, end, text, depth: 0, values: 0, limits, world, spans: Vec::new() }
    }

    fn whole(&mut self) -> Result<Expr, Error> {
        if self.next.is_none() {
            return Ok(Expr::Everything);
        }
        let expr = self.or()?;
        match self.peek() {
            None => Ok(expr),
            Some(Token::Close | Token::CloseSet) => Err(self.error_here(Kind::Unbalanced)),
            Some(_) => Err(self.unexpected("`and`, `or` or the end")),
        }
    }

    /// The next token, which stays.
    pub(super) fn peek(&self) -> Option<&Token<'a>> {
        self.next.as_ref().map(|placed| &placed.token)
    }

    /// The next bare word, which stays.
    pub(super) fn peek_word(&self) -> Option<&'a str> {
        match self.peek() {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    /// Takes the next token.
    pub(super) fn take(&mut self) -> Option<Token<'a>> {
        let placed = std::mem::replace(&mut self.next, self.lexer.next())?;
        self.last = placed.span;
        Some(placed.token)
    }

    /// Takes the next token if it is this one.
    pub(super) fn take_if(&mut self, token: &Token<'_>) -> bool {
        let is = self.peek() == Some(token);
        if is {
            self.take();
        }
        is
    }

    /// Where the next token is, or the end.
    pub(super) fn here(&self) -> Span {
        let end = Span { start: self.end, end: self.end };
        self.next.as_ref().map_or(end, |placed| placed.span)
    }

    pub(super) fn error_here(&self, kind: Kind) -> Error {
        Error::new(kind, self.here())
    }

    /// Something else was expected where the next token is.
    pub(super) fn unexpected(&self, expected: &'static str) -> Error {
        let span = self.here();
        let word = self.text.get(span.start..span.end).unwrap_or_default().to_owned();
        if matches!(self.peek(), Some(Token::Word(word)) if word.starts_with('-')) {
            let why = "options of conntrack and words of this language do not mix in one filter";
            return Error::new(Kind::Option(why.into()), span);
        }
        Error::new(Kind::Unexpected { word, expected }, span)
    }

    fn or(&mut self) -> Result<Expr, Error> {
        let mut parts = Vec::new();
        let mut mixed = None;
        let (first, mut bare_and) = self.and()?;
        flatten_or(&mut parts, first);
        while self.take_if(&Token::Or) {
            let span = self.last;
            let (part, is_bare) = self.and()?;
            bare_and |= is_bare;
            if bare_and {
                mixed.get_or_insert(span);
            }
            flatten_or(&mut parts, part);
        }
        match mixed {
            Some(span) => Err(Error::new(Kind::MixedAndOr, span)),
            None if parts.len() == 1 => Ok(parts.remove(0)),
            None => Ok(Expr::Or(parts)),
        }
    }

    /// Parts joined by `and`, or side by side; whether they were two or more.
    fn and(&mut self) -> Result<(Expr, bool), Error> {
        let mut parts = Vec::new();
        let mut written = 0;
        loop {
            let part = self.not()?;
            flatten_and(&mut parts, part);
            written += 1;
            let goes_on = match self.peek() {
                Some(Token::And) => self.take().is_some(),
                // What may begin another part.
                Some(
                    Token::Word(_)
                    | Token::Quoted(_)
                    | Token::File(_)
                    | Token::Open
                    | Token::OpenSet
                    | Token::Not,
                ) => true,
                _ => false,
            };
            if !goes_on {
                break;
            }
        }
        let expr = if parts.len() == 1 { parts.remove(0) } else { Expr::And(parts) };
        Ok((expr, written > 1))
    }

    fn not(&mut self) -> Result<Expr, Error> {
        if !self.take_if(&Token::Not) {
            return self.atom();
        }
        self.enter()?;
        let inner = self.not()?;
        self.depth -= 1;
        Ok(Expr::Not(Box::new(inner)))
    }

    fn enter(&mut self) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Error::new(Kind::TooDeep, self.last));
        }
        Ok(())
    }

    fn atom(&mut self) -> Result<Expr, Error> {
        if !self.take_if(&Token::Open) {
            return self.counted_term();
        }
        let open = self.last;
        self.enter()?;
        if self.take_if(&Token::Close) {
            return Err(Error::new(Kind::Empty, open.to(self.last)));
        }
        let inner = self.or()?;
        self.depth -= 1;
        match self.peek() {
            Some(Token::Close) => {
                self.take();
                Ok(inner)
            }
            None => Err(Error::new(Kind::Unbalanced, open)),
            Some(_) => Err(self.unexpected("`and`, `or` or `)`")),
        }
    }

    fn counted_term(&mut self) -> Result<Expr, Error> {
        let start = self.here();
        if self.spans.len() >= TERMS_MAX {
            return Err(Error::new(Kind::TooLong("4,096 terms"), start));
        }
        let expr = self.term()?;
        self.spans.push(start.to(self.last));
        Ok(expr)
    }
}

fn flatten_and(parts: &mut Vec<Expr>, part: Expr) {
    match part {
        Expr::And(inner) => parts.extend(inner),
        part => parts.push(part),
    }
}

fn flatten_or(parts: &mut Vec<Expr>, part: Expr) {
    match part {
        Expr::Or(inner) => parts.extend(inner),
        part => parts.push(part),
    }
}
