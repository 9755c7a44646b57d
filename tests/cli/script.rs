//! The files of command lines.
//!
//! ```text
//! # a comment
//! @ flows                              from here on, the table is that of tables/flows.txt and what became of it
//! @each flows                          from here on, every command line meets a fresh table
//! -L -p tcp -o extended                a command line; single quotes hold a word together
//! -R - << -I ... | -F                  the same with a text on standard input, `|` being a line end
//! -R %file << -I ... | -F              the same with the text in a file, whose name replaces `%file`
//! %none                                no word at all
//! -E -o xml << -D -p tcp | -F          events of what Debian's conntrack then does, until SIGINT
//! ```

/// One command line.
#[derive(Debug)]
pub(crate) struct Line {
    /// The line of the script.
    pub(crate) text: String,
    /// Where it is written.
    pub(crate) place: String,
    /// Whether the table must be prepared before it.
    pub(crate) reset: bool,
    /// The table it began with.
    pub(crate) table: String,
}

impl Line {
    /// The file it is written in.
    pub(crate) fn file(&self) -> &str {
        self.place.split(':').next().unwrap_or_default()
    }

    /// Its words.
    pub(crate) fn words(&self) -> Vec<String> {
        match self.text.split(" << ").next() {
            None | Some("%none") => Vec::new(),
            Some(text) => words(text),
        }
    }

    /// The text behind `<<`, with line ends.
    pub(crate) fn given(&self) -> Option<String> {
        let (_, given) = self.text.split_once(" << ")?;
        Some(given.split(" | ").map(|line| format!("{line}\n")).collect())
    }

    /// Whether it waits for events.
    pub(crate) fn listens(&self) -> bool {
        self.given().is_some() && !self.text.contains("-R") && !self.text.contains("--load-file")
    }
}

/// Reads a file. A command line in front of the first marker meets no flow.
pub(crate) fn read(name: &str, text: &str) -> Vec<Line> {
    let (mut table, mut each, mut pending) = ("empty".to_owned(), false, true);
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(marker) = line.strip_prefix('@') {
            each = marker.starts_with("each ");
            table = marker.trim_start_matches("each").trim().to_owned();
            pending = true;
            continue;
        }
        let reset = pending || each;
        pending = false;
        let place = format!("{name}:{}", at + 1);
        lines.push(Line { text: line.to_owned(), place, reset, table: table.clone() });
    }
    lines
}

/// Splits at blanks outside of single quotes.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}
