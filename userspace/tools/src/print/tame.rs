//! Text of foreign origin: from the peer (names of helpers), the kernel (security contexts), another program (its
//! name), files (names of labels). It must neither end a line, nor talk to a terminal, nor break a document, nor look
//! like another field. What could is shown as a question mark; ordinary names are shown as they are.

use std::fmt::{self, Display, Write as _};

/// Whether a terminal shows a character as a sign in its place, and XML 1.0 allows it: no control
/// characters (C0, DEL, C1), no line or paragraph separators, nothing that turns the direction of writing,
/// no noncharacters.
#[must_use]
pub fn is_tame(c: char) -> bool {
    !(c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(c, '\u{61c}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'))
}

/// Text of any number of words.
pub struct Tame<'a>(pub &'a str);

impl Display for Tame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| f.write_char(if is_tame(c) { c } else { '?' }))
    }
}

/// A name, which is one word: no blanks, and no quotes, which have a meaning in the files that `-R` reads.
pub struct Name<'a>(pub &'a str);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_part = |c: char| is_tame(c) && !c.is_whitespace() && c != '"';
        self.0.chars().try_for_each(|c| f.write_char(if is_part(c) { c } else { '?' }))
    }
}

/// Text between tags of XML.
pub struct Xml<'a>(pub &'a str);

impl Display for Xml<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            c => f.write_char(if is_tame(c) { c } else { '?' }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ordinary_stays_and_what_is_not_does_nothing() {
        let ordinary = "ftp-21_\u{e4}\u{4e2d}\u{1f600}";
        for shown in
            [Tame(ordinary).to_string(), Name(ordinary).to_string(), Xml(ordinary).to_string()]
        {
            assert_eq!(shown, ordinary);
        }
        let hostile = "a\x1b]0;x\x07\n\r\t\0\x7f\u{9b}\u{202e}\u{2028}\u{feff}\u{ffff}z";
        let shown = "a?]0;x????????????z";
        assert_eq!(Tame(hostile).to_string(), shown.replacen("????????????", "???????????", 1));
        assert_eq!(Name("x -m 5\" y").to_string(), "x?-m?5??y");
        assert_eq!(Tame("/usr/bin/man (enforce)").to_string(), "/usr/bin/man (enforce)");
        assert_eq!(Xml("<a>&\x1b").to_string(), "&lt;a&gt;&amp;?");
    }
}
