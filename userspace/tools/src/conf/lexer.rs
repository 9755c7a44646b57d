//! Text to tokens. There are only braces and words: what a word means is for the schema to say, at the place where
//! it stands. So `fa0` is an interface name where a name is wanted, although it could begin an IPv6 address.
//!
//! A word ends at blank space, at a brace and at `#`, except that `#` is part of a word that begins with `/`
//! (a path). Anything may be written between double quotes, in which `\"` and `\\` stand for `"` and `\`.

use crate::conf::diagnostic::{Diagnostic, Source, Span};
use winnow::combinator::{alt, opt, preceded, repeat};
use winnow::stream::{LocatingSlice, Location};
use winnow::token::{none_of, take_till, take_while};
use winnow::{Parser, Result};

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// `{`
    Open,
    /// `}`
    Close,
    /// A bare word.
    Word(String),
    /// A quoted word, without its quotes.
    Quoted(String),
}

/// A token and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where it stands.
    pub span: Span,
}

type Input<'a> = LocatingSlice<&'a str>;

/// All tokens of the text, and what could not be read.
#[must_use]
pub fn tokens(source: &Source<'_>) -> (Vec<Token>, Vec<Diagnostic>) {
    let mut input = LocatingSlice::new(source.text);
    let (mut tokens, mut errors) = (Vec::new(), Vec::new());
    // `blank` accepts anything, also nothing; when no token follows it, the text has ended.
    while blank(&mut input).is_ok() {
        let start = input.current_token_start();
        let Ok((kind, complete)) = token(&mut input) else { break };
        let span = Span { start, end: input.previous_token_end() };
        if !complete {
            let message = "a quoted word is not closed".to_owned();
            errors.push(
                source.error(span, message).label("expected `\"` before the end of the line"),
            );
        }
        tokens.push(Token { kind, span });
    }
    (tokens, errors)
}

/// Blank space and comments.
fn blank(input: &mut Input<'_>) -> Result<()> {
    let space = take_while(1.., char::is_whitespace).void();
    let comment = ('#', take_till(0.., '\n')).void();
    repeat(0.., alt((space, comment))).parse_next(input)
}

/// A token, and whether it is complete.
fn token(input: &mut Input<'_>) -> Result<(TokenKind, bool)> {
    alt((
        '{'.value((TokenKind::Open, true)),
        '}'.value((TokenKind::Close, true)),
        quoted.map(|(text, closed)| (TokenKind::Quoted(text), closed)),
        word.map(|word| (TokenKind::Word(word.to_owned()), true)),
    ))
    .parse_next(input)
}

/// The closing quote is optional here, so that a forgotten one costs one line and not the rest of the file.
fn quoted(input: &mut Input<'_>) -> Result<(String, bool)> {
    let escaped = preceded('\\', alt(('"', '\\')));
    let inside = repeat(0.., alt((escaped, none_of(['"', '\n']))));
    preceded('"', (inside, opt('"').map(|quote| quote.is_some()))).parse_next(input)
}

fn word<'a>(input: &mut Input<'a>) -> Result<&'a str> {
    let ends = |c: char| c.is_whitespace() || matches!(c, '{' | '}' | '"');
    let path = ('/', take_till(0.., ends)).take();
    let plain = take_till(1.., move |c| c == '#' || ends(c));
    alt((path, plain)).parse_next(input)
}
