//! Names of labels, as `/etc/xtables/connlabel.conf` gives them.

use std::path::Path;

const FILE: &str = "/etc/xtables/connlabel.conf";

/// Bits and their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelMap {
    names: Vec<(u8, String)>,
}

impl LabelMap {
    /// Reads a file, or the system's. Of a missing one it is told, and there are no names.
    #[must_use]
    pub fn load(path: Option<&Path>) -> Self {
        match std::fs::read_to_string(path.unwrap_or_else(|| Path::new(FILE))) {
            Ok(text) => Self::parse(&text),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or_default();
                eprintln!("nfct_labelmap_new: {}", super::failure::plain(errno));
                Self::default()
            }
        }
    }

    /// Lines of a bit (0 to 127) and a name; `#` begins a comment.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let mut words = line.split('#').next()?.split_whitespace();
            let bit = words.next()?.parse().ok().filter(|bit| *bit < 128)?;
            Some((bit, words.next()?.to_owned()))
        };
        Self { names: text.lines().filter_map(line).collect() }
    }

    /// The bit of a name.
    #[must_use]
    pub fn bit(&self, name: &str) -> Option<u8> {
        self.names.iter().find(|(_, known)| known == name).map(|(bit, _)| *bit)
    }

    /// The name of a bit.
    #[must_use]
    pub fn name(&self, bit: u8) -> Option<&str> {
        self.names.iter().find(|(known, _)| *known == bit).map(|(_, name)| name.as_str())
    }
}
