//! `cargo xtask fuzz`: libFuzzer grows the corpora that every run of the tests replays.

use crate::repo;
use crate::shell::{self, step};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Let libFuzzer grow the corpus of a target, and minimise it into `tests/fuzz/corpus/TARGET`.
///
/// Works with the stable toolchain and a C++ compiler: the coverage instrumentation is LLVM's, without sanitizers, so
/// what is found is panics, hangs (25 s) and memory beyond 2 GiB, not memory errors. What breaks a target is left in
/// target/fuzz/found; mend it and put the file into the corpus.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// What to fuzz; a function of `tests/fuzz`
    #[arg(value_parser = TARGETS)]
    target: String,

    /// For how long
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,

    /// Most files kept in the corpus: the smallest of those that reach something no other does
    #[arg(long, value_name = "N", default_value_t = 180)]
    keep: usize,
}

const TARGETS: [&str; 17] = [
    "sync", "sync_v2", "conf", "control", "netlink", "engine", "argv", "lines", "print", "nfct",
    "policy", "helper", "filter", "feed", "follow", "http", "secure",
];

/// What libFuzzer wants of the compiler. `-Cpasses` is stable; only the sanitizers are not.
const INSTRUMENTATION: [&str; 7] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];

pub(crate) fn run(options: &Options) -> Result<()> {
    let program = compile(&options.target)?;
    let corpus = repo::root().join("tests/fuzz/corpus").join(&options.target);
    // A folder of its own for what is found on the way; the committed one is changed when all is done.
    let work = folder(&format!("grown/{}", options.target))?;
    let found = folder("found")?;
    step(&format!("fuzz: {} for {} s", options.target, options.seconds));
    let mut fuzzer = fuzzer(&program, &found);
    fuzzer.arg(format!("-max_total_time={}", options.seconds)).arg(&work).arg(&corpus);
    if !fuzzer.status().context("cannot start the fuzzer")?.success() {
        bail!("{} broke; the bytes are in {}", options.target, found.display());
    }
    minimise(&program, &corpus, &work, options.keep)
}

/// Builds the fuzzer of a target, with assertions and overflow checks.
fn compile(target: &str) -> Result<PathBuf> {
    step(&format!("fuzz: building {target}"));
    let name = format!("fuzz-{target}");
    let host = shell::host()?;
    let mut cargo = shell::cargo("build");
    cargo.args(["--package", "fuzz", "--features", "grow", "--profile", "fuzz"]);
    // With a target, build scripts and macros stay without instrumentation.
    cargo.args(["--target", &host, "--bin", &name]);
    cargo.env("CARGO_TARGET_DIR", repo::target().join("fuzz"));
    cargo.env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTATION.join("\x1f")).env_remove("RUSTFLAGS");
    shell::run(&mut cargo)?;
    Ok(repo::target().join("fuzz").join(host).join("fuzz").join(name))
}

fn fuzzer(program: &Path, found: &Path) -> Command {
    let mut fuzzer = Command::new(program);
    fuzzer.arg(format!("-artifact_prefix={}/", found.display()));
    fuzzer.args(["-timeout=25", "-rss_limit_mb=2048", "-max_len=4096", "-print_final_stats=1"]);
    fuzzer
}

/// Replaces what fuzzers have added to the corpus by the smallest files that reach as much. Files with a name of
/// their own were written by people and stay.
fn minimise(program: &Path, corpus: &Path, work: &Path, keep: usize) -> Result<()> {
    let merged = folder("merged")?;
    fs::remove_dir_all(&merged).and_then(|()| fs::create_dir_all(&merged))?;
    let mut fuzzer = Command::new(program);
    fuzzer.args(["-merge=1", "-timeout=25", "-verbosity=0"]).args([&merged, corpus, work]);
    shell::run(&mut fuzzer)?;
    let (ours, hashed): (Vec<_>, Vec<_>) = files(corpus)?.into_iter().partition(|f| is_named(f));
    for file in hashed {
        fs::remove_file(file)?;
    }
    let mut reaching: Vec<_> = files(&merged)?;
    reaching.sort_by_key(|file| fs::metadata(file).map_or(u64::MAX, |data| data.len()));
    let known: Vec<_> = ours.iter().filter_map(|file| fs::read(file).ok()).collect();
    let room = keep.saturating_sub(ours.len());
    let mut kept = 0;
    for file in reaching {
        let bytes = fs::read(&file)?;
        if kept < room && !known.contains(&bytes) {
            fs::write(corpus.join(file.file_name().context("a file has a name")?), bytes)?;
            kept += 1;
        }
    }
    println!("{}: {} files by hand, {kept} found", corpus.display(), ours.len());
    Ok(())
}

fn folder(name: &str) -> Result<PathBuf> {
    let path = repo::target().join("fuzz").join(name);
    fs::create_dir_all(&path).with_context(|| format!("{}", path.display()))?;
    Ok(path)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("{}", folder.display()))?;
    let mut files = entries.map(|e| Ok(e?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

/// Whether a person named it: libFuzzer names files by their SHA-1.
fn is_named(file: &Path) -> bool {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.len() != 40 || !name.chars().all(|c| c.is_ascii_hexdigit())
}
