//! The files that a configuration names, whatever the block.

use super::{STATS_LOG_FILE_DEFAULT, log_file};
use crate::conf::diagnostic::Source;
use crate::conf::model::{LOG_FILE_DEFAULT, LogFile, NamedFile, PeerAddress};
use crate::conf::parser::{Arg, Node};
use crate::conf::schema::{Key, Value};
use export::http::Listen;
use host::confine::files::Use;
use std::path::{Path, PathBuf};

/// Where names of hosts are looked up. The files may be others tomorrow: what is put in their place lies there too.
const OF_HOSTS: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];
/// Where names of services are looked up.
const OF_SERVICES: &str = "/etc/services";

/// All files that are named in `nodes` and in their blocks.
pub(super) fn named(source: &Source<'_>, nodes: &[Node]) -> Vec<NamedFile> {
    let mut out = Vec::new();
    walk(source, nodes, LOG_FILE_DEFAULT, &mut out);
    out
}

fn walk(source: &Source<'_>, nodes: &[Node], log_default: &str, out: &mut Vec<NamedFile>) {
    for node in nodes {
        let file = |(path, used)| NamedFile {
            keyword: node.keyword.name,
            path,
            used,
            place: Some(source.place(node.span)),
        };
        out.extend(of(node, log_default).into_iter().map(file));
        let in_stats = node.keyword.key == Key::Stats;
        walk(source, &node.block, if in_stats { STATS_LOG_FILE_DEFAULT } else { log_default }, out);
    }
}

/// The files that one keyword names.
fn of(node: &Node, log_default: &str) -> Vec<(PathBuf, Use)> {
    let given = |used| node.path().map(|path| (path, used)).into_iter().collect();
    match node.keyword.key {
        Key::LogFile => match log_file(node, log_default) {
            LogFile::To(path) => vec![(path, Use::Log)],
            LogFile::Off => Vec::new(),
        },
        Key::LockFile | Key::Path => given(Use::Keep),
        Key::KeyFile | Key::PresharedKeyFile => given(Use::Read),
        Key::Listen => match node.value() {
            Some(Value::Endpoint(Listen::Unix(path))) => vec![(path.clone(), Use::Keep)],
            _ => Vec::new(),
        },
        Key::PeerAddress => match PeerAddress::from(node.name()) {
            PeerAddress::Name(_) => OF_HOSTS.map(|path| (path.into(), Use::Read)).into(),
            PeerAddress::Ip(_) => Vec::new(),
        },
        Key::Class => {
            sets(node).chain([OF_SERVICES.into()]).map(|path| (path, Use::Read)).collect()
        }
        _ => Vec::new(),
    }
}

/// The files of sets (`@FILE`) in the filter of a class. The daemon runs in `/`.
fn sets(node: &Node) -> impl Iterator<Item = PathBuf> {
    let ends = |letter: char| letter.is_whitespace() || "(){},\"".contains(letter);
    let of_word = move |arg: &Arg| {
        let Value::Name(word) = &arg.value else { return Vec::new() };
        let behind_signs = word.split('@').skip(1);
        let names = behind_signs.filter_map(|rest| rest.trim_start_matches('"').split(ends).next());
        names.filter(|name| !name.is_empty()).map(|name| Path::new("/").join(name)).collect()
    };
    node.items.iter().flatten().flat_map(of_word)
}
