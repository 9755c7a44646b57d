//! Every file of the corpora, once: what a fuzzer found interesting, or broke, stays tested.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The files of a corpus, sorted.
fn corpus(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<_> =
        entries.map(|entry| entry.expect("the corpus can be listed").path()).collect();
    files.sort();
    files
}

fn replay(name: &str) {
    let (_, target) = fuzz::TARGETS
        .into_iter()
        .find(|(known, _)| *known == name)
        .expect("a test names its target");
    let files = corpus(name);
    assert!(files.len() >= 10, "the corpus of {name} is not there: {files:?}");
    for file in files {
        let bytes = fs::read(&file).expect("the corpus can be read");
        let outcome = catch_unwind(AssertUnwindSafe(|| target(&bytes)));
        assert!(outcome.is_ok(), "{} breaks it; see above", file.display());
    }
    target(&[]);
}

#[test]
fn the_corpus_of_sync_is_survived() {
    replay("sync");
}

#[test]
fn the_corpus_of_sync_v2_is_survived() {
    replay("sync_v2");
}

#[test]
fn the_corpus_of_conf_is_survived() {
    replay("conf");
}

#[test]
fn the_corpus_of_control_is_survived() {
    replay("control");
}

#[test]
fn the_corpus_of_netlink_is_survived() {
    replay("netlink");
}

#[test]
fn the_corpus_of_engine_is_survived() {
    replay("engine");
}

#[test]
fn the_corpus_of_argv_is_survived() {
    replay("argv");
}

#[test]
fn the_corpus_of_lines_is_survived() {
    replay("lines");
}

#[test]
fn the_corpus_of_print_is_survived() {
    replay("print");
}

#[test]
fn the_corpus_of_nfct_is_survived() {
    replay("nfct");
}

#[test]
fn the_corpus_of_policy_is_survived() {
    replay("policy");
}

#[test]
fn every_corpus_has_a_target_and_is_small() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut bytes = 0;
    for folder in fs::read_dir(&root).unwrap() {
        let folder = folder.unwrap();
        let name = folder.file_name().into_string().unwrap();
        assert!(fuzz::TARGETS.iter().any(|(known, _)| *known == name), "{name} is no target");
        let files = corpus(&name);
        assert!(files.len() <= 220, "{name}: {} files; minimise it", files.len());
        bytes += files.iter().map(|file| fs::metadata(file).unwrap().len()).sum::<u64>();
    }
    assert!(bytes < 1 << 20, "{bytes} bytes of corpora; minimise them");
}

#[test]
fn the_corpus_of_helper_is_survived() {
    replay("helper");
}

#[test]
fn the_corpus_of_filter_is_survived() {
    replay("filter");
}

#[test]
fn the_corpus_of_secure_is_survived() {
    replay("secure");
}

#[test]
fn the_corpus_of_feed_is_survived() {
    replay("feed");
}

#[test]
fn the_corpus_of_follow_is_survived() {
    replay("follow");
}

#[test]
fn the_corpus_of_http_is_survived() {
    replay("http");
}
