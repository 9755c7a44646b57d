//! Text to tokens. There are only braces and words: what a word means is for the schema to say, at the place where
//! it stands. So `fa0` is an interface name where a name is wanted, although it could begin an IPv6 address.
//!
//! A word ends at blank space, at a brace and at `#`, except that `#` is part of a word that begins with `/`
//! (a path). Anything may be written between double quotes, in which `\"` and `\\` stand for `"` and `\`.

use crate::conf::diagnostic::Span;
use std::borrow::Cow;
use winnow::combinator::{alt, opt, preceded, repeat};
use winnow::stream::{LocatingSlice, Location};
use winnow::token::{none_of, take_till, take_while};
use winnow::{Parser, Result};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// `{`
    Open,
    /// `}`
    Close,
    /// A bare word.
    Word,
    /// A quoted word.
    Quoted,
}

/// A token and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// The token's kind.
    pub kind: TokenKind,
    /// Its text; of a quoted word, what stands between the quotes.
    pub text: &'a str,
    /// The token's place in the text.
    pub span: Span,
    /// False for a quoted word without its closing quote.
    pub complete: bool,
}

impl<'a> Token<'a> {
    /// The word it means.
    #[must_use]
    pub fn word(self) -> Cow<'a, str> {
        if self.kind != TokenKind::Quoted || !self.text.contains('\\') {
            return self.text.into();
        }
        let mut word = String::new();
        let mut letters = self.text.chars().peekable();
        while let Some(letter) = letters.next() {
            let escapes = letter == '\\' && matches!(letters.peek(), Some('"' | '\\'));
            word.extend(if escapes { letters.next() } else { Some(letter) });
        }
        word.into()
    }
}

type Input<'a> = LocatingSlice<&'a str>;

/// The tokens of a text, one after the other: none is kept, however long the text is.
#[derive(Clone, Debug)]
pub struct Lexer<'a>(Input<'a>);

impl<'a> Lexer<'a> {
    /// The tokens of `text`.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self(LocatingSlice::new(text))
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        // `blank` accepts anything, also nothing; when no token follows it, the text has ended.
        blank(&mut self.0).ok()?;
        let start = self.0.current_token_start();
        let (kind, text, complete) = token(&mut self.0).ok()?;
        let span = Span { start, end: self.0.previous_token_end() };
        Some(Token { kind, text, span, complete })
    }
}

/// Blank space and comments.
fn blank(input: &mut Input<'_>) -> Result<()> {
    let space = take_while(1.., char::is_whitespace).void();
    let comment = ('#', take_till(0.., '\n')).void();
    repeat(0.., alt((space, comment))).parse_next(input)
}

/// A token's kind and text, and whether it is complete.
fn token<'a>(input: &mut Input<'a>) -> Result<(TokenKind, &'a str, bool)> {
    alt((
        '{'.take().map(|text| (TokenKind::Open, text, true)),
        '}'.take().map(|text| (TokenKind::Close, text, true)),
        quoted.map(|(text, closed)| (TokenKind::Quoted, text, closed)),
        word.map(|text| (TokenKind::Word, text, true)),
    ))
    .parse_next(input)
}

/// The closing quote is optional here, so that a forgotten one costs one line and not the rest of the file.
fn quoted<'a>(input: &mut Input<'a>) -> Result<(&'a str, bool)> {
    let escaped = preceded('\\', alt(('"', '\\')));
    let inside = repeat::<_, _, (), _, _>(0.., alt((escaped, none_of(['"', '\n'])))).take();
    preceded('"', (inside, opt('"').map(|quote| quote.is_some()))).parse_next(input)
}

fn word<'a>(input: &mut Input<'a>) -> Result<&'a str> {
    let ends = |c: char| c.is_whitespace() || matches!(c, '{' | '}' | '"');
    let path = ('/', take_till(0.., ends)).take();
    let plain = take_till(1.., move |c| c == '#' || ends(c));
    alt((path, plain)).parse_next(input)
}
