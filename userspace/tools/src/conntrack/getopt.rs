//! Words of a command line into options, as `getopt_long(3)` of glibc takes them apart.
//!
//! clap cannot: scripts rely on abbreviated long names, clustered letters, options after words, and on options of a
//! protocol that exist only once `-p` has named it.

use super::definition::Value;

/// An option that may come.
#[derive(Clone, Debug)]
pub struct Known<T> {
    /// The option.
    pub what: T,
    /// Its letter.
    pub letter: Option<char>,
    /// Its long name, without dashes.
    pub long: &'static str,
    /// Whether it takes a value.
    pub value: Value,
    /// Whether a beginning of its name means it only where it can mean nothing else.
    pub yields: bool,
}

/// Options that may come, made for looking them up: a file has a million lines of them.
#[derive(Clone, Debug)]
pub struct Vocabulary<T> {
    options: Vec<Known<T>>,
    by_letter: [Option<u8>; 128],
    /// Sorted by length, then name: most comparisons need not look at the letters.
    by_name: Vec<((usize, &'static str), u8)>,
}

impl<T: Copy + PartialEq> Vocabulary<T> {
    /// A vocabulary; of several options with one letter the first one has it.
    #[must_use]
    pub fn new(options: Vec<Known<T>>) -> Self {
        let (mut by_letter, mut by_name) = ([None; 128], Vec::new());
        for (at, option) in (0..u8::MAX).zip(&options) {
            if let Some(place) = option.letter.and_then(|c| by_letter.get_mut(c as usize)) {
                place.get_or_insert(at);
            }
            by_name.push(((option.long.len(), option.long), at));
        }
        by_name.sort_unstable();
        Self { options, by_letter, by_name }
    }

    fn letter(&self, letter: char) -> Option<&Known<T>> {
        let at = (*self.by_letter.get(letter as usize)?)?;
        self.options.get(usize::from(at))
    }

    fn long(&self, name: &str) -> Option<&Known<T>> {
        let key = (name.len(), name);
        let place = self.by_name.binary_search_by_key(&key, |&(key, _)| key).ok()?;
        self.options.get(usize::from(self.by_name[place].1))
    }
}

/// The result. Words keep their spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<'a, T> {
    /// An option, and its value if one was attached or is required.
    Option(T, Option<&'a str>),
    /// No such option, or an ambiguous abbreviation: the word.
    Unknown(&'a str),
    /// The value is missing: the word.
    Lacks(&'a str),
}

/// The words, as far as they are taken apart.
#[derive(Debug)]
pub struct Words<'a> {
    words: &'a [&'a str],
    at: usize,
    /// Letters of a cluster that are left.
    cluster: &'a str,
    /// The first word that was passed over: neither an option nor the value of one.
    stray: Option<&'a str>,
}

impl<'a> Words<'a> {
    /// `words` without the program's name.
    #[must_use]
    pub const fn new(words: &'a [&'a str]) -> Self {
        Self { words, at: 0, cluster: "", stray: None }
    }

    /// The next option, of the vocabularies that hold now; `None` at the end.
    pub fn next<T: Copy + PartialEq>(&mut self, known: &[&Vocabulary<T>]) -> Option<Found<'a, T>> {
        while self.cluster.is_empty() {
            let word = *self.words.get(self.at)?;
            self.at += 1;
            if word == "--" {
                self.stray = self.stray.or_else(|| self.words.get(self.at).copied());
                self.at = self.words.len();
                return None;
            }
            if let Some(long) = word.strip_prefix("--") {
                return Some(self.long(known, word, long));
            }
            if let Some(letters) = word.strip_prefix('-') {
                self.cluster = letters;
            }
            if self.cluster.is_empty() {
                self.stray.get_or_insert(word);
            }
        }
        Some(self.letter(known))
    }

    /// The first word that was passed over so far: neither an option nor the value of one.
    pub const fn stray(&self) -> Option<&'a str> {
        self.stray
    }

    /// The next word, if it is no option: the value of an option that need not have one.
    pub fn optional_word(&mut self) -> Option<&'a str> {
        let word = *self.words.get(self.at)?;
        if !self.cluster.is_empty() || word.starts_with('-') {
            return None;
        }
        self.at += 1;
        Some(word)
    }

    fn long<T: Copy + PartialEq>(
        &mut self,
        known: &[&Vocabulary<T>],
        word: &'a str,
        long: &'a str,
    ) -> Found<'a, T> {
        let (name, attached) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        let exact = known.iter().find_map(|vocabulary| vocabulary.long(name));
        let option = exact.or_else(|| {
            let options = known.iter().flat_map(|vocabulary| &vocabulary.options);
            let fitting = options.filter(|option| option.long.starts_with(name));
            let firm = fitting.clone().any(|option| !option.yields);
            let mut fitting = fitting.filter(|option| !(firm && option.yields));
            let first = fitting.next()?;
            fitting.all(|other| other.what == first.what).then_some(first)
        });
        let Some(option) = option else { return Found::Unknown(word) };
        match (option.value, attached) {
            (Value::None, Some(_)) => Found::Unknown(word),
            (Value::Required, None) => self.required(option.what, word),
            (_, attached) => Found::Option(option.what, attached),
        }
    }

    fn letter<T: Copy + PartialEq>(&mut self, known: &[&Vocabulary<T>]) -> Found<'a, T> {
        let word = self.words[self.at - 1];
        let mut letters = self.cluster.chars();
        let letter = letters.next().unwrap_or_default();
        self.cluster = letters.as_str();
        let Some(option) = known.iter().find_map(|vocabulary| vocabulary.letter(letter)) else {
            self.cluster = "";
            return Found::Unknown(word);
        };
        if option.value == Value::None {
            return Found::Option(option.what, None);
        }
        match (std::mem::take(&mut self.cluster), option.value) {
            ("", Value::Required) => self.required(option.what, word),
            ("", _) => Found::Option(option.what, None),
            (attached, _) => Found::Option(option.what, Some(attached)),
        }
    }

    fn required<T>(&mut self, what: T, word: &'a str) -> Found<'a, T> {
        let Some(value) = self.words.get(self.at).copied() else { return Found::Lacks(word) };
        self.at += 1;
        Found::Option(what, Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vocabulary<char> {
        let option = |what, long, value| Known {
            what,
            letter: Some(what),
            long,
            value,
            yields: what == 'y',
        };
        Vocabulary::new(vec![
            option('L', "dump", Value::None),
            option('s', "src", Value::Required),
            option('s', "source", Value::Required),
            option('t', "status", Value::Required),
            option('n', "nat", Value::Optional),
            option('y', "native", Value::None),
        ])
    }

    fn all(line: &str) -> Vec<Found<'_, char>> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let words: &[&str] = words.leak();
        let mut words = Words::new(words);
        std::iter::from_fn(|| words.next(&[&known()])).collect()
    }

    fn option(what: char, value: &str) -> Found<'_, char> {
        Found::Option(what, (!value.is_empty()).then_some(value))
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
        assert_eq!(all("--s 1"), [Found::Unknown("--s")]);
        assert_eq!(all("--dump=x"), [Found::Unknown("--dump=x")]);
    }

    #[test]
    fn what_is_new_does_not_make_unclear_what_was_clear() {
        assert_eq!(all("--n --na=1 --nati"), [option('n', ""), option('n', "1"), option('y', "")]);
    }

    #[test]
    fn words_between_options_are_passed_over() {
        assert_eq!(all("x -L y -s -- -L"), [option('L', ""), option('s', "--"), option('L', "")]);
        assert_eq!(all("-L -- -s"), [option('L', "")]);
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        assert_eq!(all("-s"), [Found::Lacks("-s")]);
        assert_eq!(all("-LZ"), [option('L', ""), Found::Unknown("-LZ")]);
    }
}
