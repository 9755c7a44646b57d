//! Keys: one table makes what they do and what `?` shows.

/// A key, whatever terminal it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are what keyboards call them")]
pub enum Key {
    Char(char),
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Backspace,
    Tab,
    Escape,
    F1,
    /// Ctrl-C, which raw terminals hand out as a key.
    Interrupt,
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table says what they do")]
pub enum Deed {
    Quit,
    Help,
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Into,
    Out,
    Filter,
    Command,
    Sort,
    Turn,
    Group,
    Pane,
    Freeze,
    Follow,
    Pin,
    Nat,
    Unfold,
    Copy,
    Write,
    Slower,
    Faster,
}

/// Keys, what they do, and how that is said.
pub const BINDINGS: [(&[Key], Deed, &str, &str); 25] = [
    (&[Key::Char('j'), Key::Down], Deed::Down, "j Down", "next line"),
    (&[Key::Char('k'), Key::Up], Deed::Up, "k Up", "line before"),
    (&[Key::PageDown], Deed::PageDown, "PgDn", "next page"),
    (&[Key::PageUp], Deed::PageUp, "PgUp", "page before"),
    (&[Key::Home], Deed::First, "Home", "first line"),
    (&[Key::End, Key::Char('G')], Deed::Last, "End G", "last line"),
    (&[Key::Enter], Deed::Into, "Enter", "into a group, or detail"),
    (&[Key::Backspace, Key::Escape], Deed::Out, "Backspace Esc", "out again"),
    (&[Key::Char('/')], Deed::Filter, "/", "edit the filter"),
    (&[Key::Char(':')], Deed::Command, ":", "a command: group, sort .."),
    (&[Key::Char('s')], Deed::Sort, "s", "sort by the next column"),
    (&[Key::Char('S')], Deed::Turn, "S", "turn the order round"),
    (&[Key::Char('g')], Deed::Group, "g", "group by the next key"),
    (&[Key::Char('o'), Key::Tab], Deed::Pane, "o Tab", "other pane"),
    (&[Key::Char(' ')], Deed::Freeze, "Space", "freeze the picture"),
    (&[Key::Char('f')], Deed::Follow, "f", "cursor follows its flow"),
    (&[Key::Char('p')], Deed::Pin, "p", "pin the flow to the top"),
    (&[Key::Char('n')], Deed::Nat, "n", "translations on, off"),
    (&[Key::Char('u')], Deed::Unfold, "u", "all of a flow on, off"),
    (&[Key::Char('y')], Deed::Copy, "y", "copy the flow (OSC 52)"),
    (&[Key::Char('w')], Deed::Write, "w", "write top-TIME.json"),
    (&[Key::Char('+')], Deed::Slower, "+", "look less often"),
    (&[Key::Char('-')], Deed::Faster, "-", "look more often"),
    (&[Key::Char('?'), Key::F1], Deed::Help, "? F1", "this page"),
    (&[Key::Char('q'), Key::Interrupt], Deed::Quit, "q Ctrl-C", "leave"),
];

/// What a key does; `None` for keys that do nothing.
#[must_use]
pub fn deed(key: Key) -> Option<Deed> {
    let binding = BINDINGS.iter().find(|(keys, ..)| keys.contains(&key))?;
    Some(binding.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_has_two_meanings_and_no_deed_two_lines() {
        let keys: Vec<_> = BINDINGS.iter().flat_map(|(keys, ..)| keys.iter()).collect();
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key), "{key:?}");
        }
        for (at, (_, deed, ..)) in BINDINGS.iter().enumerate() {
            assert!(BINDINGS[..at].iter().all(|(_, other, ..)| other != deed), "{deed:?}");
        }
        let is_short = |text: &str| text.len() <= 25;
        assert!(BINDINGS.iter().all(|(_, _, keys, what)| keys.len() < 14 && is_short(what)));
        assert_eq!(deed(Key::Interrupt), Some(Deed::Quit));
        assert_eq!(deed(Key::Char('x')), None);
    }
}
