//! Tokens to a tree, as the schema says. The parser goes on after an error wherever it can tell what was meant, so
//! that one run reports as many mistakes as possible; a tree is of use only if there were none.

use crate::conf::diagnostic::{Diagnostic, Source, Span};
use crate::conf::lexer::{self, Token, TokenKind};
use crate::conf::schema::{Block, Body, Keyword, Kind, Param, Value};

/// A keyword with everything that belongs to it.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its row in the schema.
    pub keyword: &'static Keyword,
    /// Where its name stands.
    pub span: Span,
    /// Its arguments; an optional one that was left out is missing.
    pub args: Vec<Arg>,
    /// The keywords between its braces.
    pub block: Vec<Node>,
    /// The words between its braces, if it takes words.
    pub items: Option<Vec<Arg>>,
}

/// An argument.
#[derive(Clone, Debug)]
pub struct Arg {
    /// Its value.
    pub value: Value,
    /// Where it stands.
    pub span: Span,
}

/// The keywords of the top level, and everything there is to complain about.
#[must_use]
pub fn parse(source: &Source<'_>) -> (Vec<Node>, Vec<Diagnostic>) {
    let (tokens, found) = lexer::tokens(source);
    let count = |kind: &TokenKind| tokens.iter().filter(|token| token.kind == *kind).count();
    let unclosed = count(&TokenKind::Open).saturating_sub(count(&TokenKind::Close));
    let mut parser =
        Parser { source, tokens: &tokens, at: 0, open: Vec::new(), unwind: 0, unclosed, found };
    let nodes = parser.block(Block::File);
    (nodes, parser.found)
}

struct Parser<'a> {
    source: &'a Source<'a>,
    tokens: &'a [Token],
    at: usize,
    /// The blocks we are in, outermost first, and the keywords that opened them.
    open: Vec<(Block, Span)>,
    /// How many of them to leave, because a closing brace was forgotten.
    unwind: usize,
    /// How many closing braces the text lacks.
    unclosed: usize,
    found: Vec<Diagnostic>,
}

impl<'a> Parser<'a> {
    /// The keywords up to the closing brace of `block`.
    fn block(&mut self, block: Block) -> Vec<Node> {
        let mut nodes: Vec<Node> = Vec::new();
        while self.unwind == 0 {
            let Some(token) = self.peek() else {
                self.end_of_text();
                break;
            };
            match &token.kind {
                TokenKind::Close if block != Block::File => {
                    self.at += 1;
                    break;
                }
                TokenKind::Word(word) if word.starts_with(char::is_alphabetic) => {
                    if let Some(node) = self.statement(block, word, token.span) {
                        self.repetition(&nodes, &node);
                        nodes.push(node);
                    }
                }
                _ => self.stray(block, token),
            }
        }
        self.unwind = self.unwind.saturating_sub(1);
        nodes
    }

    /// One keyword of `block`, which the current token should be.
    fn statement(&mut self, block: Block, word: &str, span: Span) -> Option<Node> {
        if let Some(keyword) = block.find(word) {
            return self.node(block, keyword);
        }
        if let Some(depth) = self.forgotten_brace(word) {
            self.leave(word, span, depth);
        } else if let Some(keyword) = Keyword::anywhere(word) {
            self.misplaced(block, keyword);
        } else {
            self.unknown(block, word, span);
        }
        None
    }

    fn node(&mut self, block: Block, keyword: &'static Keyword) -> Option<Node> {
        let span = self.next()?.span;
        if let Some(why) = keyword.deprecated {
            let message = format!("`{}` is deprecated", self.source.word(span));
            self.found.push(self.source.warning(span, message).label(why));
        }
        let mut node = Node { keyword, span, args: Vec::new(), block: Vec::new(), items: None };
        if let Body::ListInstead(item) = keyword.body
            && self.at_open()
        {
            node.items = Some(self.list(keyword, span, item, &[])?);
            return Some(node);
        }
        let args = self.args(block, keyword, span);
        let complete = self.body(&mut node, args.as_deref())?;
        node.args = args?;
        complete.then_some(node)
    }

    /// The arguments of `keyword`; `None` if one is missing or wrong, which was reported.
    fn args(&mut self, block: Block, keyword: &'static Keyword, span: Span) -> Option<Vec<Arg>> {
        let mut args = Vec::new();
        let mut complete = true;
        for param in keyword.params() {
            if param.optional && self.at_open() {
                continue;
            }
            let before = self.at;
            match self.arg(block, keyword, span, param) {
                Some(arg) => args.push(arg),
                // Where one is missing the next would be reported as missing too.
                None if self.at == before => return None,
                None => complete = false,
            }
        }
        complete.then_some(args)
    }

    fn arg(&mut self, block: Block, keyword: &Keyword, span: Span, param: Param) -> Option<Arg> {
        if let Some(lead) = param.lead {
            self.literal(keyword, lead)?;
        }
        let found = self.peek().and_then(|token| match &token.kind {
            TokenKind::Quoted(word) => Some((word, token.span)),
            TokenKind::Word(word) => {
                let fits = !param.kind.is_open() && param.kind.value(word).is_ok();
                (fits || !self.is_keyword(block, word)).then_some((word, token.span))
            }
            TokenKind::Open | TokenKind::Close => None,
        });
        let Some((word, at)) = found else {
            self.missing(keyword, span, param.kind);
            return None;
        };
        self.at += 1;
        self.value(keyword, param.kind, word, at)
    }

    fn value(&mut self, keyword: &Keyword, kind: Kind, word: &str, span: Span) -> Option<Arg> {
        match kind.value(word) {
            Ok(value) => {
                if let Some(why) = kind.warning(word) {
                    let message = format!("`{word}` is deprecated");
                    self.found.push(self.source.warning(span, message).label(why));
                }
                Some(Arg { value, span })
            }
            Err(why) => {
                let message = format!("`{word}` cannot be used with `{}`", keyword.name);
                let label =
                    if why.is_empty() { format!("expected {}", kind.expected()) } else { why };
                self.found.push(self.source.error(span, message).label(label));
                None
            }
        }
    }

    /// What stands between the braces. `None` if there are no braces where there should be; `false` if they hold
    /// something wrong that was reported.
    fn body(&mut self, node: &mut Node, args: Option<&[Arg]>) -> Option<bool> {
        let inside = match node.keyword.body {
            Body::None | Body::ListInstead(_) => return Some(true),
            Body::List { item, trailer } => {
                self.brace(node, None)?;
                node.items = self.list(node.keyword, node.span, item, trailer);
                return Some(node.items.is_some());
            }
            Body::Block(block) => Some(block),
            Body::ByChoice(choices) => {
                let chosen = args.and_then(|args| args.first()).map(|arg| &arg.value);
                choices
                    .iter()
                    .find(|(name, _)| Some(&Value::Choice(name)) == chosen)
                    .map(|choice| choice.1)
            }
        };
        self.brace(node, inside)?;
        let Some(inside) = inside else {
            self.skip_braces();
            return Some(false);
        };
        if self.at_open() {
            self.at += 1;
        }
        self.open.push((inside, node.span));
        node.block = self.block(inside);
        self.open.pop();
        Some(true)
    }

    /// Makes sure that braces follow. If only the opening one was forgotten, what follows belongs inside.
    fn brace(&mut self, node: &Node, inside: Option<Block>) -> Option<()> {
        if self.at_open() {
            return Some(());
        }
        let follows = self.peek().map(|token| &token.kind);
        let inside_follows = match (follows, inside) {
            (Some(TokenKind::Word(word)), Some(inside)) => inside.find(word).is_some(),
            _ => false,
        };
        let span = self.tokens.get(self.at.saturating_sub(1)).map_or(node.span, |token| token.span);
        let message = format!("`{}` lacks its block", node.keyword.name);
        self.found.push(self.source.error(span, message).label("expected `{` after this"));
        inside_follows.then_some(())
    }

    /// Words up to the closing brace, the opening one being next.
    fn list(
        &mut self,
        keyword: &'static Keyword,
        opener: Span,
        item: Kind,
        trailer: &[&str],
    ) -> Option<Vec<Arg>> {
        self.at += 1;
        let mut items = Vec::new();
        let mut complete = true;
        let mut trailed = true;
        // No keyword can stand in a list, so its block does not matter; where it was opened does.
        self.open.push((Block::File, opener));
        loop {
            let Some(token) = self.peek() else {
                self.end_of_text();
                complete = false;
                break;
            };
            match &token.kind {
                TokenKind::Close => break,
                TokenKind::Open => {
                    self.stray_in_list(keyword, token);
                    complete = false;
                }
                TokenKind::Word(word) if trailer.first().is_some_and(|first| first == word) => {
                    complete &= trailer.iter().all(|word| self.literal(keyword, word).is_some());
                    trailed = true;
                }
                TokenKind::Word(word) | TokenKind::Quoted(word) => {
                    self.at += 1;
                    trailed = trailer.is_empty();
                    match self.value(keyword, item, word, token.span) {
                        Some(arg) => items.push(arg),
                        None => complete = false,
                    }
                }
            }
        }
        self.open.pop();
        if let Some(close) = self.next()
            && !trailed
        {
            let message = format!("the words of `{}` lack their end", keyword.name);
            let label = format!("expected `{}` before this", trailer.join(" "));
            self.found.push(self.source.error(close.span, message).label(label));
            complete = false;
        }
        complete.then_some(items)
    }

    /// A fixed word.
    fn literal(&mut self, keyword: &Keyword, word: &str) -> Option<()> {
        match self.peek() {
            Some(Token { kind: TokenKind::Word(found), .. }) if found == word => {
                self.at += 1;
                Some(())
            }
            Some(Token { kind: TokenKind::Word(found), span }) => {
                self.at += 1;
                let message = format!("`{found}` cannot be used with `{}`", keyword.name);
                self.found
                    .push(self.source.error(*span, message).label(format!("expected `{word}`")));
                None
            }
            _ => {
                let span = self
                    .tokens
                    .get(self.at.saturating_sub(1))
                    .map_or_else(Span::default, |t| t.span);
                let message = format!("`{}` is not complete", keyword.name);
                let label = format!("expected `{word}` after this");
                self.found.push(self.source.error(span, message).label(label));
                None
            }
        }
    }

    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<&'a Token> {
        let token = self.peek();
        self.at += usize::from(token.is_some());
        token
    }

    fn at_open(&self) -> bool {
        self.peek().is_some_and(|token| token.kind == TokenKind::Open)
    }

    /// Whether the word is a keyword here, or in a block around here.
    fn is_keyword(&self, block: Block, word: &str) -> bool {
        let around = self.open.iter().map(|(block, _)| *block);
        around.chain([block]).any(|block| block.find(word).is_some())
    }

    /// Steps over a brace and everything up to its partner, or over nothing if no opening brace is next.
    fn skip_braces(&mut self) {
        let mut depth = 0;
        while let Some(token) = self.peek() {
            match token.kind {
                TokenKind::Open => depth += 1,
                TokenKind::Close => depth -= 1,
                TokenKind::Word(_) | TokenKind::Quoted(_) => {}
            }
            if depth == 0 && token.kind != TokenKind::Close {
                return;
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }
}

/// Everything that can be wrong with the shape of the text.
impl Parser<'_> {
    fn missing(&mut self, keyword: &Keyword, span: Span, kind: Kind) {
        let last = self.tokens.get(self.at.saturating_sub(1)).map_or(span, |token| token.span);
        let message = format!("`{}` lacks an argument", keyword.name);
        let label = format!("expected {} after this", kind.expected());
        self.found.push(self.source.error(last, message).label(label));
    }

    fn unknown(&mut self, block: Block, word: &str, span: Span) {
        let message = format!("unknown keyword `{word}` in {}", block.title());
        let mut error = self.source.error(span, message).help(block.expected());
        if let Some(near) = block.nearest(word) {
            error = error.label(format!("did you mean `{near}`?"));
        }
        self.found.push(error);
        self.skip_line(span);
    }

    /// Steps over the current line as far as it is words, and over a block that begins on it.
    fn skip_line(&mut self, span: Span) {
        let line = self.source.line(span.start);
        while let Some(token) = self.peek() {
            let is_word = matches!(token.kind, TokenKind::Word(_) | TokenKind::Quoted(_));
            if !is_word || self.source.line(token.span.start) != line {
                break;
            }
            self.at += 1;
        }
        if self.at_open() {
            self.skip_braces();
        }
    }

    fn misplaced(&mut self, block: Block, keyword: &'static Keyword) {
        let Some(token) = self.peek() else { return };
        let word = self.source.word(token.span);
        let places = Block::ALL.iter().filter(|place| place.find(word).is_some());
        let places: Vec<_> = places.map(|place| place.title()).collect();
        let message = format!("`{word}` cannot be used in {}", block.title());
        let error = self.source.error(token.span, message);
        self.found
            .push(error.label(format!("belongs in {}", places.join(", "))).help(block.expected()));
        // What belongs to it is stepped over as what it is; complaints about that would only distract.
        let reported = self.found.len();
        if self.node(block, keyword).is_none() {
            self.skip_line(token.span);
        }
        self.found.truncate(reported);
    }

    /// If the text lacks closing braces and `word` belongs in a block around this one, how many blocks to leave.
    fn forgotten_brace(&self, word: &str) -> Option<usize> {
        let around = self.open.iter().rev().skip(1).map(|(block, _)| *block).chain([Block::File]);
        let depth = 1 + around.take(self.unclosed).position(|block| block.find(word).is_some())?;
        (depth <= self.open.len()).then_some(depth)
    }

    fn leave(&mut self, word: &str, span: Span, depth: usize) {
        self.unwind = depth;
        self.unclosed -= depth;
        let Some((block, opener)) = self.open.last() else { return };
        let message = format!("{} is not closed", block.title());
        let error =
            self.source.error(span, message).label(format!("expected `}}` before `{word}`"));
        self.found.push(error.context(*opener, "opened here"));
    }

    fn end_of_text(&mut self) {
        // One forgotten brace leaves every outer block open; the innermost tells where to look.
        let Some((_, opener)) = self.open.last().filter(|_| self.unclosed > 0) else { return };
        self.unclosed = 0;
        let end = self.source.text.trim_end().len();
        let message = format!("`{}` is not closed", self.source.word(*opener));
        let error = self.source.error(Span { start: end, end }, message);
        self.found.push(error.label("expected `}` before the end").context(*opener, "opened here"));
    }

    fn stray(&mut self, block: Block, token: &Token) {
        let text = self.source.word(token.span);
        let message = format!("unexpected `{text}` in {}", block.title());
        let label = match token.kind {
            TokenKind::Close => "no block is open here",
            _ => "expected a keyword",
        };
        self.found.push(self.source.error(token.span, message).label(label));
        match token.kind {
            TokenKind::Open => self.skip_braces(),
            _ => self.at += 1,
        }
    }

    fn stray_in_list(&mut self, keyword: &Keyword, token: &Token) {
        let message = format!("unexpected `{{` among the words of `{}`", keyword.name);
        self.found.push(
            self.source.error(token.span, message).label("is a `}` missing before this line?"),
        );
        self.skip_braces();
    }

    /// A setting given twice holds the last time. A block given twice is more likely a mistake of copying.
    fn repetition(&mut self, before: &[Node], node: &Node) {
        let Some(first) = before.iter().find(|other| other.keyword.key == node.keyword.key) else {
            return;
        };
        if node.keyword.repeats {
            return;
        }
        let name = self.source.word(node.span);
        let diagnostic = if node.keyword.is_block() {
            self.source.error(node.span, format!("duplicate block `{name}`"))
        } else {
            self.source
                .warning(node.span, format!("`{name}` is given twice"))
                .label("the last one counts")
        };
        self.found.push(diagnostic.context(first.span, "first given here"));
    }
}
