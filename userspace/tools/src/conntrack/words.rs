//! Words of the lines of a file.

use super::failure::Failure;
use std::borrow::Cow;
use std::io::{BufRead as _, BufReader, Read};

/// Longest line, and most words of one.
const LINE_MAX: usize = 10 << 10;
const WORDS_MAX: usize = 255;
const WORD_MAX: usize = 1023;

/// Hands out the lines of a file, numbered from 0.
///
/// # Errors
/// When it cannot be read, or what `each` says.
pub fn each_line(
    file: impl Read,
    mut each: impl FnMut(usize, &str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut reader = BufReader::with_capacity(64 << 10, file);
    let (mut line, mut number) = (String::new(), 0);
    while reader.read_line(&mut line)? > 0 {
        each(number, &line)?;
        line.clear();
        number += 1;
    }
    Ok(())
}

/// The words of a line; `None` if it is empty or a comment.
///
/// # Errors
/// When it is too long.
pub fn of_line(number: usize, line: &str) -> Result<Option<Vec<Cow<'_, str>>>, Failure> {
    let line = line.trim_end_matches(['\r', '\n']).trim_start_matches([' ', '\t']);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let at = |why: &str| Failure::usage(format_args!("line {}: {why}", number + 1));
    if line.len() > LINE_MAX {
        return Err(at("it is too long"));
    }
    let words = split(line);
    if words.len() > WORDS_MAX || words.iter().any(|word| word.len() > WORD_MAX) {
        return Err(at("too many words, or too long ones"));
    }
    Ok(Some(words))
}

/// Quotes group, a backslash in quotes takes the next character as it is.
fn split(line: &str) -> Vec<Cow<'_, str>> {
    if line.contains('"') {
        return quoted(line).into_iter().map(Cow::Owned).collect();
    }
    let words = line.split([' ', '\t']).filter(|word| !word.is_empty());
    words.map(Cow::Borrowed).collect()
}

fn quoted(line: &str) -> Vec<String> {
    let (mut words, mut word): (Vec<String>, Option<String>) = (Vec::new(), None);
    let (mut quoted, mut escaped) = (false, false);
    for c in line.chars() {
        match c {
            _ if escaped => {
                word.get_or_insert_default().push(c);
                escaped = false;
            }
            '\\' if quoted => escaped = true,
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' | '\t' if !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_words() {
        let words = |line| of_line(0, line).unwrap().unwrap_or_default();
        assert_eq!(words("-I  -s\t1\r\n"), ["-I", "-s", "1"]);
        assert_eq!(words(r#"-l "a b" "c\"d" """#), ["-l", "a b", "c\"d", ""]);
        assert!(words("  # -L").is_empty() && words("\n").is_empty());
        assert!(of_line(0, &"x ".repeat(256)).is_err());
        assert!(of_line(0, &"x".repeat(11_000)).is_err());
    }
}
