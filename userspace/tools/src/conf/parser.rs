//! Parses tokens into a tree, as the schema says. The parser goes on after an error wherever it knows what was meant,
//! so that one run reports as many mistakes as possible; a tree is of use only if there were none.

use crate::conf::diagnostic::{Findings, Source, Span, quoted};
use crate::conf::lexer::{Lexer, Token, TokenKind};
use crate::conf::schema::{Block, Body, Key, Keyword, Kind, Param, Value};

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
    /// The place in the text.
    pub span: Span,
}

/// The keywords of the top level, and all findings.
#[must_use]
pub fn parse(source: &Source<'_>) -> (Vec<Node>, Findings) {
    let mut found = Findings::default();
    let unclosed = survey(source, &mut found);
    let mut lexer = Lexer::new(source.text);
    let ahead = lexer.next();
    let last = Span::default();
    let open = Vec::new();
    let mut parser =
        Parser { source, lexer, ahead, taken: 0, last, open, unwind: 0, unclosed, found };
    let nodes = parser.block(Block::File);
    (nodes, parser.found)
}

/// Looks for tokens that cannot be read; how many closing braces the text lacks.
fn survey(source: &Source<'_>, found: &mut Findings) -> usize {
    let (mut opened, mut closed) = (0_usize, 0);
    for token in Lexer::new(source.text) {
        opened += usize::from(token.kind == TokenKind::Open);
        closed += usize::from(token.kind == TokenKind::Close);
        if !token.complete {
            found.error(|| {
                let message = "a quoted word is not closed".to_owned();
                let error = source.error(token.span, message);
                error.label("expected `\"` before the end of the line")
            });
        }
        if token.text.contains(char::REPLACEMENT_CHARACTER) {
            found.error(|| {
                let message = format!("`{}` is not UTF-8 text", quoted(token.text));
                source.error(token.span, message).label("only comments may hold such bytes")
            });
        }
    }
    opened.saturating_sub(closed)
}

/// How deep blocks may lie in one another. None of the language's lies deeper than four.
const DEPTH_MAX: usize = 16;
/// The most words in one list.
const ITEMS_MAX: usize = 1 << 20;

struct Parser<'a> {
    source: &'a Source<'a>,
    lexer: Lexer<'a>,
    /// The current token, which the lexer is past.
    ahead: Option<Token<'a>>,
    /// How many tokens came before it.
    taken: usize,
    /// Where the one before it stands.
    last: Span,
    /// The blocks we are in, outermost first, and the keywords that opened them.
    open: Vec<(Block, Span)>,
    /// How many of them to leave, because a closing brace was forgotten.
    unwind: usize,
    /// How many closing braces the text lacks.
    unclosed: usize,
    found: Findings,
}

/// What a block holds so far, with the first place of each keyword.
#[derive(Default)]
struct Held {
    nodes: Vec<Node>,
    first: Vec<(Key, Span)>,
}

impl<'a> Parser<'a> {
    /// The keywords up to the closing brace of `block`.
    fn block(&mut self, block: Block) -> Vec<Node> {
        let mut held = Held::default();
        while self.unwind == 0 {
            let Some(token) = self.peek() else {
                self.end_of_text();
                break;
            };
            match token.kind {
                TokenKind::Close if block != Block::File => {
                    self.next();
                    break;
                }
                TokenKind::Word if token.text.starts_with(char::is_alphabetic) => {
                    if let Some(node) = self.statement(block, token.text, token.span) {
                        self.hold(&mut held, node);
                    }
                }
                _ => self.stray(block, token),
            }
        }
        self.unwind = self.unwind.saturating_sub(1);
        held.nodes
    }

    /// Adds a keyword to a block. A setting given twice holds the last time. A block given twice is
    /// more likely a mistake of copying.
    fn hold(&mut self, held: &mut Held, node: Node) {
        if self.found.has_error() {
            // No one reads the tree after this.
            held.nodes.clear();
        }
        let (key, source) = (node.keyword.key, self.source);
        let known = held.first.iter().find(|(known, _)| *known == key && !node.keyword.repeats);
        match known {
            None if node.keyword.repeats => {}
            None => held.first.push((key, node.span)),
            Some((_, first)) => {
                let name = source.word(node.span);
                if node.keyword.is_block() {
                    self.found.error(|| {
                        let error = source.error(node.span, format!("duplicate block `{name}`"));
                        error.context(*first, "first given here")
                    });
                } else {
                    self.found.warning(|| {
                        let warning = source.warning(node.span, format!("`{name}` is given twice"));
                        warning.label("the last one counts").context(*first, "first given here")
                    });
                }
                // From the end: what repeats most stands there.
                if let Some(at) = held.nodes.iter().rposition(|node| node.keyword.key == key) {
                    held.nodes.remove(at);
                }
            }
        }
        held.nodes.push(node);
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
            let source = self.source;
            self.found.warning(|| {
                let message = format!("`{}` is deprecated", source.word(span));
                source.warning(span, message).label(why)
            });
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
            let before = self.taken;
            match self.arg(block, keyword, span, param) {
                Some(arg) => args.push(arg),
                // Where one is missing the next would be reported as missing too.
                None if self.taken == before => return None,
                None => complete = false,
            }
        }
        complete.then_some(args)
    }

    fn arg(&mut self, block: Block, keyword: &Keyword, span: Span, param: Param) -> Option<Arg> {
        if let Some(lead) = param.lead {
            self.literal(keyword, lead)?;
        }
        let found = self.peek().filter(|token| match token.kind {
            TokenKind::Quoted => true,
            TokenKind::Word => {
                let fits = !param.kind.is_open() && param.kind.value(token.text).is_ok();
                fits || !self.is_keyword(block, token.text)
            }
            TokenKind::Open | TokenKind::Close => false,
        });
        let Some(token) = found else {
            self.missing(keyword, span, param.kind);
            return None;
        };
        self.next();
        self.value(keyword, param.kind, token)
    }

    fn value(&mut self, keyword: &Keyword, kind: Kind, token: Token<'_>) -> Option<Arg> {
        let (source, span, word) = (self.source, token.span, token.word());
        match kind.value(&word) {
            Ok(value) => {
                if let Some(why) = kind.warning(&word) {
                    let message = format!("`{}` is deprecated", quoted(&word));
                    self.found.warning(|| source.warning(span, message).label(why));
                }
                Some(Arg { value, span })
            }
            Err(why) => {
                self.found.error(|| {
                    let (word, name) = (quoted(&word), keyword.name);
                    let message = format!("`{word}` cannot be used with `{name}`");
                    let label =
                        if why.is_empty() { format!("expected {}", kind.expected()) } else { why };
                    source.error(span, message).label(label)
                });
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
        if self.open.len() >= DEPTH_MAX {
            // Only what is misplaced, and reported, lies so deep.
            self.skip_braces();
            return Some(false);
        }
        if self.at_open() {
            self.next();
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
        let word = self.peek().filter(|token| token.kind == TokenKind::Word);
        let inside_follows = match (word, inside) {
            (Some(token), Some(inside)) => inside.find(token.text).is_some(),
            _ => false,
        };
        let (source, span) = (self.source, self.last);
        self.found.error(|| {
            let message = format!("`{}` lacks its block", node.keyword.name);
            source.error(span, message).label("expected `{` after this")
        });
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
        self.next();
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
            match token.kind {
                TokenKind::Close => break,
                TokenKind::Open => {
                    self.stray_in_list(keyword, token);
                    complete = false;
                }
                TokenKind::Word if trailer.first().is_some_and(|first| *first == token.text) => {
                    complete &= trailer.iter().all(|word| self.literal(keyword, word).is_some());
                    trailed = true;
                }
                TokenKind::Word | TokenKind::Quoted => {
                    self.next();
                    trailed = trailer.is_empty();
                    match self.value(keyword, item, token) {
                        Some(_) if items.len() >= ITEMS_MAX => {
                            self.too_many(keyword, token.span);
                            complete = false;
                        }
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
            let source = self.source;
            self.found.error(|| {
                let message = format!("the words of `{}` lack their end", keyword.name);
                let label = format!("expected `{}` before this", trailer.join(" "));
                source.error(close.span, message).label(label)
            });
            complete = false;
        }
        complete.then_some(items)
    }

    /// A fixed word.
    fn literal(&mut self, keyword: &Keyword, word: &str) -> Option<()> {
        let (source, last, name) = (self.source, self.last, keyword.name);
        match self.peek().filter(|token| token.kind == TokenKind::Word) {
            Some(token) if token.text == word => {
                self.next();
                Some(())
            }
            Some(token) => {
                self.next();
                self.found.error(|| {
                    let message = format!("`{}` cannot be used with `{name}`", quoted(token.text));
                    source.error(token.span, message).label(format!("expected `{word}`"))
                });
                None
            }
            None => {
                self.found.error(|| {
                    let message = format!("`{name}` is not complete");
                    source.error(last, message).label(format!("expected `{word}` after this"))
                });
                None
            }
        }
    }

    const fn peek(&self) -> Option<Token<'a>> {
        self.ahead
    }

    fn next(&mut self) -> Option<Token<'a>> {
        let token = self.ahead?;
        self.ahead = self.lexer.next();
        self.taken += 1;
        self.last = token.span;
        Some(token)
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
        let mut depth = 0_usize;
        while let Some(token) = self.peek() {
            match token.kind {
                TokenKind::Open => depth += 1,
                TokenKind::Close if depth == 1 => {
                    self.next();
                    return;
                }
                TokenKind::Close if depth > 0 => depth -= 1,
                _ if depth == 0 => return,
                _ => {}
            }
            self.next();
        }
    }
}

/// Everything that can be wrong with the shape of the text.
impl Parser<'_> {
    fn missing(&mut self, keyword: &Keyword, span: Span, kind: Kind) {
        let source = self.source;
        let last = if self.taken > 0 { self.last } else { span };
        self.found.error(|| {
            let message = format!("`{}` lacks an argument", keyword.name);
            let label = format!("expected {} after this", kind.expected());
            source.error(last, message).label(label)
        });
    }

    fn too_many(&mut self, keyword: &Keyword, span: Span) {
        let source = self.source;
        self.found.error(|| {
            let message = format!("`{}` names more than {ITEMS_MAX} things", keyword.name);
            source.error(span, message).label("this is one too many")
        });
    }

    fn unknown(&mut self, block: Block, word: &str, span: Span) {
        let source = self.source;
        self.found.error(|| {
            let message = format!("unknown keyword `{}` in {}", quoted(word), block.title());
            let error = source.error(span, message).help(block.expected());
            match block.nearest(word) {
                Some(near) => error.label(format!("did you mean `{near}`?")),
                None => error,
            }
        });
        self.skip_line(span);
    }

    /// Steps over the current line as far as it is words, and over a block that begins on it.
    fn skip_line(&mut self, span: Span) {
        let line = self.source.line(span.start);
        while let Some(token) = self.peek() {
            let is_word = matches!(token.kind, TokenKind::Word | TokenKind::Quoted);
            if !is_word || self.source.line(token.span.start) != line {
                break;
            }
            self.next();
        }
        if self.at_open() {
            self.skip_braces();
        }
    }

    fn misplaced(&mut self, block: Block, keyword: &'static Keyword) {
        let Some(token) = self.peek() else { return };
        let (source, word) = (self.source, token.text);
        self.found.error(|| {
            let places = Block::ALL.iter().filter(|place| place.find(word).is_some());
            let places: Vec<_> = places.map(|place| place.title()).collect();
            let message = format!("`{word}` cannot be used in {}", block.title());
            let error = source.error(token.span, message);
            error.label(format!("belongs in {}", places.join(", "))).help(block.expected())
        });
        // What belongs to it is stepped over as what it is; complaints about that would only distract.
        let reported = self.found.mark();
        if self.node(block, keyword).is_none() {
            self.skip_line(token.span);
        }
        self.found.rewind(reported);
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
        let (source, Some((block, opener))) = (self.source, self.open.last()) else { return };
        self.found.error(|| {
            let error = source.error(span, format!("{} is not closed", block.title()));
            error.label(format!("expected `}}` before `{word}`")).context(*opener, "opened here")
        });
    }

    fn end_of_text(&mut self) {
        // One forgotten brace leaves every outer block open; the innermost one shows where to look.
        let Some((_, opener)) = self.open.last().filter(|_| self.unclosed > 0) else { return };
        self.unclosed = 0;
        let source = self.source;
        self.found.error(|| {
            let end = source.text.trim_end().len();
            let message = format!("`{}` is not closed", source.word(*opener));
            let error = source.error(Span { start: end, end }, message);
            error.label("expected `}` before the end").context(*opener, "opened here")
        });
    }

    fn stray(&mut self, block: Block, token: Token<'_>) {
        let source = self.source;
        self.found.error(|| {
            let text = quoted(source.word(token.span));
            let message = format!("unexpected `{text}` in {}", block.title());
            let label = match token.kind {
                TokenKind::Close => "no block is open here",
                _ => "expected a keyword",
            };
            source.error(token.span, message).label(label)
        });
        match token.kind {
            TokenKind::Open => self.skip_braces(),
            _ => drop(self.next()),
        }
    }

    fn stray_in_list(&mut self, keyword: &Keyword, token: Token<'_>) {
        let source = self.source;
        self.found.error(|| {
            let message = format!("unexpected `{{` among the words of `{}`", keyword.name);
            source.error(token.span, message).label("is a `}` missing before this line?")
        });
        self.skip_braces();
    }
}
