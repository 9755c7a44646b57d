//! Text to tokens. What a word means is for the parser to say, at the place where it stands.
//!
//! A word ends at blank space and at `( ) { } , ! = < > & | "`. Anything may be written between double quotes, in which
//! `\"` and `\\` stand for `"` and `\`. `@` in front of a word, quoted or not, makes it the name of a file.

use crate::conf::diagnostic::Span;
use engine::query::Op;
use std::borrow::Cow;
use winnow::combinator::{alt, opt, preceded, repeat};
use winnow::stream::{LocatingSlice, Location};
use winnow::token::{any, none_of, take_while};
use winnow::{Parser, Result};

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// A bare word.
    Word(&'a str),
    /// A quoted word, without quotes.
    Quoted(Cow<'a, str>),
    /// The name of a file of values.
    File(Cow<'a, str>),
    /// `,`
    Comma,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `{`
    OpenSet,
    /// `}`
    CloseSet,
    /// `!` or `not`
    Not,
    /// `&&` or `and`
    And,
    /// `||` or `or`
    Or,
    /// A comparison.
    Op(Op),
    /// What is none of these: a lone `&` or `|`, a quote without its other half.
    Stray,
}

/// A token and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<'a> {
    /// The token.
    pub token: Token<'a>,
    /// The place in the text.
    pub span: Span,
}

type Input<'a> = LocatingSlice<&'a str>;

/// The tokens of a text.
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
    type Item = Placed<'a>;

    fn next(&mut self) -> Option<Placed<'a>> {
        blank(&mut self.0).ok()?;
        let start = self.0.current_token_start();
        let token = token(&mut self.0).ok()?;
        Some(Placed { token, span: Span { start, end: self.0.previous_token_end() } })
    }
}

fn blank(input: &mut Input<'_>) -> Result<()> {
    take_while(0.., char::is_whitespace).void().parse_next(input)
}

fn token<'a>(input: &mut Input<'a>) -> Result<Token<'a>> {
    alt((
        plain,
        quoted.map(Token::Quoted),
        preceded('@', alt((quoted, plain_text.map(Cow::Borrowed)))).map(Token::File),
        plain_text.map(word),
        any.value(Token::Stray),
    ))
    .parse_next(input)
}

/// Tokens that are signs.
fn plain<'a>(input: &mut Input<'a>) -> Result<Token<'a>> {
    let brackets = alt((
        '('.value(Token::Open),
        ')'.value(Token::Close),
        '{'.value(Token::OpenSet),
        '}'.value(Token::CloseSet),
        ','.value(Token::Comma),
        "&&".value(Token::And),
        "||".value(Token::Or),
    ));
    let comparisons = alt((
        "==".value(Token::Op(Op::Eq)),
        "!=".value(Token::Op(Op::Ne)),
        "<=".value(Token::Op(Op::Le)),
        ">=".value(Token::Op(Op::Ge)),
        '='.value(Token::Op(Op::Eq)),
        '<'.value(Token::Op(Op::Lt)),
        '>'.value(Token::Op(Op::Gt)),
    ));
    alt((brackets, comparisons, '!'.value(Token::Not))).parse_next(input)
}

/// Whether a letter may stand in a bare word.
#[must_use]
pub fn is_plain(letter: char) -> bool {
    !letter.is_whitespace() && !"(){},!=<>&|\"".contains(letter)
}

fn plain_text<'a>(input: &mut Input<'a>) -> Result<&'a str> {
    take_while(1.., is_plain).parse_next(input)
}

fn word(text: &str) -> Token<'_> {
    match text {
        _ if text.eq_ignore_ascii_case("and") => Token::And,
        _ if text.eq_ignore_ascii_case("or") => Token::Or,
        _ if text.eq_ignore_ascii_case("not") => Token::Not,
        _ => Token::Word(text),
    }
}

fn quoted<'a>(input: &mut Input<'a>) -> Result<Cow<'a, str>> {
    let escaped = preceded('\\', any);
    let inside = repeat::<_, _, (), _, _>(0.., alt((escaped, none_of(['"', '\\'])))).take();
    let (inside, _) = preceded('"', (inside, '"')).parse_next(input)?;
    Ok(unescaped(inside))
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return text.into();
    }
    let mut out = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let escapes = letter == '\\' && matches!(letters.peek(), Some('"' | '\\'));
        out.extend(if escapes { letters.next() } else { Some(letter) });
    }
    out.into()
}

/// One item of a line of a file: the line without its comment and blanks; `None` if nothing is left.
///
/// # Errors
/// When the line holds more than a word.
pub fn line_item(line: &str) -> std::result::Result<Option<&str>, &'static str> {
    let line = line.split('#').next().unwrap_or_default();
    let mut input = LocatingSlice::new(line.trim());
    match opt(plain_text).parse_next(&mut input) {
        Ok(Some(word)) if input.is_empty() => Ok(Some(word)),
        Ok(None) if input.is_empty() => Ok(None),
        _ => Err("one item a line, and `#` before comments"),
    }
}
