//! Words that comments do not use, because they hide who does what to what.

/// A word, and which plain ones say what it leaves open.
const HIDING: [(&str, &str); 10] = [
    ("told", "sent, reported, received, logged, known"),
    ("nobody", "no peer, no reader, no consumer, nothing"),
    ("somebody", "a client, a peer, another program, a stranger"),
    ("anybody", "any client, any peer, a caller"),
    ("whoever", "the caller, the reader, a program that"),
    ("anew", "again, as new"),
    ("is to be", "must be, has to be, will be"),
    ("are to be", "must be, have to be, will be"),
    ("was to be", "should have been"),
    ("were to be", "should have been"),
];

/// Comments that leave out the noun they are about.
const NAMELESS: [&str; 8] =
    ["It.", "Them.", "Which.", "What.", "Whose.", "Who.", "As above.", "That."];

/// What the comments of a file should say otherwise.
pub(super) fn hiding(name: &str, text: &str) -> Vec<String> {
    if name.ends_with("tidy/words.rs") || text.starts_with("// @generated") {
        return Vec::new();
    }
    let comments = text.lines().enumerate().filter_map(|(at, line)| Some((at + 1, comment(line)?)));
    let found = comments.filter_map(|(at, comment)| {
        let words = words(comment);
        let hides = |word: &str| words.contains(&format!(" {word} "));
        if let Some((word, plain)) = HIDING.iter().find(|(word, _)| hides(word)) {
            return Some(format!("{name}:{at}: a comment says `{word}`; plainer: {plain}"));
        }
        let nameless = NAMELESS.contains(&comment.trim());
        nameless.then(|| format!("{name}:{at}: a comment that does not name its subject"))
    });
    found.collect()
}

/// The text of a line that is a comment, or of a comment behind code.
fn comment(line: &str) -> Option<&str> {
    let (code, comment) = line.split_once("//")?;
    // Not an address in a text: `https://`.
    let begins = code.trim().is_empty() || code.ends_with(' ');
    begins.then(|| comment.trim_start_matches(['/', '!']))
}

/// Its words in lower case, each between blanks; names in backticks left out.
fn words(comment: &str) -> String {
    let plain: String = comment.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    let word = |c: char| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { ' ' };
    let spaced: String = plain.chars().map(word).collect();
    format!(" {} ", spaced.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::hiding;

    fn found(line: &str) -> usize {
        hiding("a.rs", line).len()
    }

    #[test]
    fn words_that_hide_who_acts_are_found_in_comments_alone() {
        for line in ["/// What is to be sent.", "x(); // Nobody reads it.", "//! It is told, once."]
        {
            assert_eq!(found(line), 1, "{line}");
        }
        for line in [
            "let told = 1;",
            "/// [`Told`] and `told` are names.",
            "/// It retold the old story.",
            "let url = \"https://nobody.example/told\";",
        ] {
            assert_eq!(found(line), 0, "{line}");
        }
    }

    #[test]
    fn a_comment_names_its_subject() {
        assert_eq!((found("    /// It."), found("    /// Which.")), (1, 1));
        assert_eq!(found("    /// It passes."), 0);
    }
}
