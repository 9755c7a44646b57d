//! Words of the lines of a file.

use super::failure::Failure;
use std::borrow::Cow;
use std::io::{BufRead as _, BufReader, Read};

/// Longest line, and most words of one.
const LINE_MAX: usize = 10 << 10;
const WORDS_MAX: usize = 255;
const WORD_MAX: usize = 1023;

/// Hands out the lines of a file, numbered from 0. However long one is, no more of it than [`LINE_MAX`] is kept.
///
/// # Errors
/// When it cannot be read, a line is too long or no text, or what `each` says. Comments may be anything.
pub fn each_line(
    file: impl Read,
    mut each: impl FnMut(usize, &str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut reader = BufReader::with_capacity(64 << 10, file);
    let (mut line, mut number) = (Vec::new(), 0);
    loop {
        line.clear();
        // One more than may be, and its end.
        reader.by_ref().take(LINE_MAX as u64 + 2).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        let is_cut = line.len() > LINE_MAX + 1 && !line.ends_with(b"\n");
        if is_comment(&line) {
            if is_cut {
                reader.skip_until(b'\n')?;
            }
        } else if is_cut {
            return Err(wrong(number, "it is too long"));
        } else {
            each(number, text(number, &line)?)?;
        }
        number += 1;
    }
}

fn is_comment(line: &[u8]) -> bool {
    line.trim_ascii_start().first() == Some(&b'#')
}

fn text(number: usize, line: &[u8]) -> Result<&str, Failure> {
    if line.contains(&0) {
        return Err(wrong(number, "there is a NUL in it"));
    }
    std::str::from_utf8(line).map_err(|_| wrong(number, "it is not text (UTF-8)"))
}

/// What is wrong with a line, under the number that people give it.
fn wrong(number: usize, why: &str) -> Failure {
    Failure::usage(format_args!("line {}: {why}", number + 1))
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
    if line.len() > LINE_MAX {
        return Err(wrong(number, "it is too long"));
    }
    let words = split(line);
    if words.len() > WORDS_MAX || words.iter().any(|word| word.len() > WORD_MAX) {
        return Err(wrong(number, "too many words, or too long ones"));
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

    /// Endless, as `/dev/zero` would be.
    #[test]
    fn a_line_that_is_too_long_or_no_text_is_named_before_it_is_read_to_its_end() {
        let read = |before: &str, then: &[u8]| {
            let endless = before.as_bytes().chain(then).chain(std::io::repeat(b'x'));
            let mut lines = Vec::new();
            let outcome = each_line(endless, |number, line| {
                lines.push((number, line.to_owned()));
                Ok(())
            });
            (lines, outcome.unwrap_err().to_string())
        };
        let good = vec![(0, "-D\n".to_owned())];
        assert_eq!(read("-D\n", b""), (good.clone(), "line 2: it is too long".into()));
        assert_eq!(
            read("-D\n", b"-p \xff\n"),
            (good.clone(), "line 2: it is not text (UTF-8)".into())
        );
        assert_eq!(read("-D\n", b"-p \0\n"), (good, "line 2: there is a NUL in it".into()));
    }

    #[test]
    fn a_comment_may_be_anything_and_the_longest_line_is_read() {
        let longest = "x".repeat(LINE_MAX);
        let comment = [b"  # \xff\0".as_slice(), &[b'y'; 3 * LINE_MAX]].concat();
        let file = [longest.as_bytes(), b"\n", &comment, b"\n-D"].concat();
        let mut lines = Vec::new();
        each_line(&file[..], |number, line| {
            lines.push((number, line.trim_end().len()));
            Ok(())
        })
        .unwrap();
        assert_eq!(lines, [(0, LINE_MAX), (2, 2)]);
    }

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
