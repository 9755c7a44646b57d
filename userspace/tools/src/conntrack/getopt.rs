//! Words of a command line into options, as `getopt_long(3)` of glibc takes them apart.
//!
//! clap cannot: scripts rely on abbreviated long names, clustered letters, options after words, and on options of a
//! protocol that exist only once `-p` has named it.

use super::definition::Value;

/// An option that may come.
#[derive(Clone, Debug)]
pub struct Known<T> {
    /// What it is.
    pub what: T,
    /// Its letter.
    pub letter: Option<char>,
    /// Its long name, without dashes.
    pub long: &'static str,
    /// Whether it takes a value.
    pub value: Value,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<T> {
    /// An option, and its value if one was attached or is required.
    Option(T, Option<String>),
    /// No such option, or too short to tell which: the word.
    Unknown(String),
    /// The value is missing: the word.
    Lacks(String),
}

/// The words, as far as they are taken apart.
#[derive(Debug)]
pub struct Words {
    words: Vec<String>,
    at: usize,
    /// Letters of a cluster that are left.
    cluster: String,
    /// Words that are no options.
    rest: Vec<String>,
}

impl Words {
    /// `words` without the program's name.
    #[must_use]
    pub const fn new(words: Vec<String>) -> Self {
        Self { words, at: 0, cluster: String::new(), rest: Vec::new() }
    }

    /// The next option; `None` at the end.
    pub fn next<T: Copy + PartialEq>(&mut self, known: &[Known<T>]) -> Option<Found<T>> {
        while self.cluster.is_empty() {
            let word = self.words.get(self.at)?.clone();
            self.at += 1;
            if word == "--" {
                self.rest.extend(self.words.drain(self.at..));
                return None;
            }
            if let Some(long) = word.strip_prefix("--") {
                return Some(self.long(known, &word, long));
            }
            match word.strip_prefix('-') {
                Some(letters) if !letters.is_empty() => self.cluster = letters.to_owned(),
                _ => self.rest.push(word),
            }
        }
        Some(self.letter(known))
    }

    /// The next word, if it is no option: the value of an option that need not have one.
    pub fn optional_word(&mut self) -> Option<String> {
        let word =
            self.words.get(self.at).filter(|w| self.cluster.is_empty() && !w.starts_with('-'));
        let word = word.cloned()?;
        self.at += 1;
        Some(word)
    }

    fn last_word(&self) -> String {
        self.words[self.at - 1].clone()
    }

    fn long<T: Copy + PartialEq>(
        &mut self,
        known: &[Known<T>],
        word: &str,
        long: &str,
    ) -> Found<T> {
        let (name, attached) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (long, None),
        };
        let exact = known.iter().find(|option| option.long == name);
        let mut fitting = known.iter().filter(|option| option.long.starts_with(name));
        let option = exact.or_else(|| {
            let first = fitting.next()?;
            fitting.all(|other| other.what == first.what).then_some(first)
        });
        let Some(option) = option else { return Found::Unknown(word.to_owned()) };
        match (option.value, attached) {
            (Value::None, Some(_)) => Found::Unknown(word.to_owned()),
            (Value::Required, None) => self.required(option.what, word.to_owned()),
            (_, attached) => Found::Option(option.what, attached),
        }
    }

    fn letter<T: Copy>(&mut self, known: &[Known<T>]) -> Found<T> {
        let letter = self.cluster.remove(0);
        let Some(option) = known.iter().find(|option| option.letter == Some(letter)) else {
            self.cluster.clear();
            return Found::Unknown(self.last_word());
        };
        if option.value == Value::None {
            return Found::Option(option.what, None);
        }
        let attached = std::mem::take(&mut self.cluster);
        if !attached.is_empty() {
            return Found::Option(option.what, Some(attached));
        }
        match option.value {
            Value::Required => {
                let word = self.last_word();
                self.required(option.what, word)
            }
            _ => Found::Option(option.what, None),
        }
    }

    fn required<T>(&mut self, what: T, word: String) -> Found<T> {
        let Some(value) = self.words.get(self.at).cloned() else { return Found::Lacks(word) };
        self.at += 1;
        Found::Option(what, Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<Known<char>> {
        let option = |what, long, value| Known { what, letter: Some(what), long, value };
        vec![
            option('L', "dump", Value::None),
            option('s', "src", Value::Required),
            option('s', "source", Value::Required),
            option('t', "status", Value::Required),
            option('n', "nat", Value::Optional),
        ]
    }

    fn all(line: &str) -> Vec<Found<char>> {
        let mut words = Words::new(line.split_whitespace().map(str::to_owned).collect());
        std::iter::from_fn(|| words.next(&known())).collect()
    }

    fn option(what: char, value: &str) -> Found<char> {
        Found::Option(what, (!value.is_empty()).then(|| value.to_owned()))
    }

    #[test]
    fn letters_cluster_and_values_attach() {
        assert_eq!(all("-Ls1 -L"), [option('L', ""), option('s', "1"), option('L', "")]);
        assert_eq!(all("-Ls 1"), [option('L', ""), option('s', "1")]);
    }

    #[test]
    fn long_names_may_be_cut_where_that_is_clear() {
        assert_eq!(
            all("--du --sr=1 --so 2"),
            [option('L', ""), option('s', "1"), option('s', "2")]
        );
        assert_eq!(all("--s 1"), [Found::Unknown("--s".into())]);
        assert_eq!(all("--dump=x"), [Found::Unknown("--dump=x".into())]);
    }

    #[test]
    fn words_between_options_are_passed_over() {
        assert_eq!(all("x -L y -s -- -L"), [option('L', ""), option('s', "--"), option('L', "")]);
        assert_eq!(all("-L -- -s"), [option('L', "")]);
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        assert_eq!(all("-s"), [Found::Lacks("-s".into())]);
        assert_eq!(all("-LZ"), [option('L', ""), Found::Unknown("-LZ".into())]);
    }
}
