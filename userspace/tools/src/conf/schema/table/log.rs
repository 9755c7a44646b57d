//! The rows of `Log`.

use super::{keyword, word};
use crate::conf::model::LogConf;
use crate::conf::schema::Block::Log;
use crate::conf::schema::{Key, Keyword, Kind, Value};

pub(super) const ROWS: &[Keyword] = &[
    keyword(Key::LogFormat, "Format", &[Log])
        .takes(LOG_FORMAT)
        .default(|| Value::Choice(LogConf::default().format.name()))
        .doc(
            "How lines look in the file and on the terminal: `plain`, or `json` with one object a line, with a \
             code that stays and fields (docs/spec/log.md). The log of ended flows stays as it is.",
        ),
    keyword(Key::LogJournal, "Journal", &[Log])
        .takes(LOG_JOURNAL)
        .default(|| Value::Choice(LogConf::default().journal.name()))
        .doc(
            "Whether lines go to journald with code and fields. `auto`: where standard error is connected to it; they \
             do not go to the terminal then.",
        ),
    keyword(Key::LogLevel, "Level", &[Log])
        .takes(LOG_LEVEL)
        .default(|| Value::Choice(LogConf::default().level.name()))
        .doc("Lines that matter less are not written."),
];

const LOG_FORMAT: Kind = Kind::Choice { words: &[word("plain"), word("json")], any_case: true };
const LOG_JOURNAL: Kind =
    Kind::Choice { words: &[word("auto"), word("on"), word("off")], any_case: true };
const LOG_LEVEL: Kind = Kind::Choice {
    words: &[word("info"), word("notice"), word("warning"), word("error")],
    any_case: true,
};
